"""What first boot could not use is refused before a card is touched."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import pytest

from edge_wm.board import load_board
from edge_wm.errors import BadInput
from edge_wm.flash.first_boot import Answers
from edge_wm.flash.payload import Payload, check_payload, write_archive
from edge_wm.paths import shipped
from tests.flash import official

ROBOT = shipped("boards", "robots", "sim-avr.toml")
UPDATES = """\
url = "https://models.example.org/fleet/"
trusted_root = "root.json"
robot_kind = "diff-drive-12cm"
robot_id = "rover-17"
"""
SERVERS = """\
[mqtt]
url = "mqtts://broker"
ca = "ca.pem"
certificate = "/etc/ssl/rover.pem"
[rollout]
url = "https://rollout"
ca = "ca.pem"
token_file = "token"
"""


def _refused(payload: Payload) -> str:
    with pytest.raises(BadInput) as refused:
        check_payload(payload, official.board("rpi5"))
    return str(refused.value)


def test_what_belongs_to_a_clone_and_a_robot_is_in_the_archive_and_nothing_else(tmp_path: Path) -> None:
    updates = tmp_path / "update.toml"
    updates.write_text(UPDATES + 'robot = "robot.toml"\n' + SERVERS)
    for name in ("root.json", "ca.pem", "token"):
        (tmp_path / name).write_text("{}")
    payload = Payload(robot=ROBOT, updates=updates)
    check_payload(payload, official.board("rpi5"))

    write_archive(payload, official.board("rpi5"), Answers(), tmp_path / "payload.tar.gz")

    with tarfile.open(tmp_path / "payload.tar.gz") as archive:
        names = archive.getnames()
        assert archive.extractfile("board").read() == b"rpi5"  # type: ignore[union-attr]
        assert archive.extractfile("robot.toml").read() == ROBOT.read_bytes()  # type: ignore[union-attr]
        assert archive.getmember("project/boards/install/install.sh").mode == 0o755
    wanted = {
        "project/pyproject.toml",
        "project/requirements/test.txt",
        "project/edge_wm/cli.py",
        "project/boards/rpi5.toml",
        "updates/update.toml",
        "updates/root.json",
        "updates/ca.pem",
        "updates/token",
    }
    assert wanted <= set(names)
    unwanted = (".git", "__pycache__", ".venv", "project/tests", "project/build")
    assert not [name for name in names if any(word in name for word in unwanted)]


def test_the_same_content_gives_the_same_bytes(bundle: Path, tmp_path: Path) -> None:
    payload, board = Payload(bundle, ROBOT), official.board("rpi5")

    digests = [write_archive(payload, board, Answers(), tmp_path / name) for name in ("one", "another")]

    assert digests[0] == digests[1]
    other = write_archive(payload, board, Answers(hostname="other"), tmp_path / "other")
    assert other != digests[0]


def test_a_bundle_that_is_none_or_was_changed_is_refused(bundle: Path, tmp_path: Path) -> None:
    assert "is no offline bundle: make one with  make offline-bundle BOARD=rpi5" in _refused(
        Payload(tmp_path)
    )

    changed = tmp_path / "bundle"
    shutil.copytree(bundle, changed)
    check_payload(Payload(changed), official.board("rpi5"))
    (changed / "wheels/mujoco-3.5.0-cp313-none-any.whl").write_bytes(b"another")
    assert "is not as it was when the bundle was made" in _refused(Payload(changed))
    (changed / "boards/rpi5.toml").unlink()
    assert f"{changed}: knows no board rpi5: name the nearest one" in _refused(Payload(changed))


def test_a_board_file_of_ones_own_comes_with_the_robot_file_that_names_it(tmp_path: Path) -> None:
    robot, own = tmp_path / "rover.toml", tmp_path / "mine.toml"
    own.write_text('name = "mine"\ndescription = ""\n')
    for named in ("mine.toml", "./mine.toml"):
        robot.write_text(ROBOT.read_text().replace('board = "sim"', f'board = "{named}"'))
        check_payload(Payload(robot=robot), official.board("rpi5"))
        write_archive(Payload(robot=robot), official.board("rpi5"), Answers(), tmp_path / "payload.tar.gz")
        with tarfile.open(tmp_path / "payload.tar.gz") as archive:
            assert archive.extractfile("mine.toml").read() == own.read_bytes()  # type: ignore[union-attr]

    robot.write_text(ROBOT.read_text().replace('board = "sim"', f'board = "{own}"'))
    assert _refused(Payload(robot=robot)) == f"{robot}: board: {own} must lie beside the file"
    with pytest.raises(BadInput, match="knows no board mine: name the nearest one that it knows"):
        check_payload(Payload(), load_board(own))


def test_a_bundle_may_bring_the_trusted_root(bundle: Path, tmp_path: Path) -> None:
    fleets, updates = tmp_path / "bundle", tmp_path / "update.toml"
    shutil.copytree(bundle, fleets)
    updates.write_text(UPDATES.replace('trusted_root = "root.json"', ""))
    payload = Payload(fleets, ROBOT, updates=updates)
    assert "trusted_root: is missing" in _refused(payload)
    (fleets / "root.json").write_text("{}")
    check_payload(payload, official.board("rpi5"))
    write_archive(payload, official.board("rpi5"), Answers(), tmp_path / "payload.tar.gz")
    with tarfile.open(tmp_path / "payload.tar.gz") as archive:
        names = archive.getnames()
    assert "project/root.json" in names and "updates/root.json" not in names


def test_a_bundle_without_the_simulator_wants_a_robot(tmp_path: Path) -> None:
    small = tmp_path / "bundle"
    (small / "boards/install").mkdir(parents=True)
    (small / "boards/install/install.sh").touch()
    (small / "boards/rpi5.toml").touch()
    (small / "SHA256SUMS").touch()

    assert "has nothing for the simulated robot: add --robot FILE" in _refused(Payload(small))
    check_payload(Payload(small, ROBOT), official.board("rpi5"))


def test_pictures_in_place_of_a_camera_need_more_than_a_small_bundle(bundle: Path, tmp_path: Path) -> None:
    robot = tmp_path / "rover.toml"
    text = shipped("boards", "robots", "rpi-picamera2.toml").read_text()
    rest = text[text.index("[sensors.range]") :]
    camera = '[sensors.camera]\nkind = "{}"\n{}\nheight = 48\nwidth = 64\n\n'
    head = 'name = "rover"\nboard = "rpi5"\n\n[sensors]\nkind = "real"\nwheels = true\n\n'
    robot.write_text(head + camera.format("v4l2", 'device = "/dev/video0"') + rest)
    check_payload(Payload(bundle, robot), official.board("rpi5"))
    robot.write_text(head + camera.format("files", 'path = "pictures"') + rest)

    assert (
        "has nothing for pictures in place of a camera: make it with  make offline-bundle BOARD=rpi5 ARGS=--sim"
        in _refused(Payload(bundle, robot))
    )


def test_files_that_the_robot_could_not_use_are_refused(tmp_path: Path) -> None:
    updates = tmp_path / "update.toml"
    broken = tmp_path / "robot.toml"
    broken.write_text("name = 3\n")

    assert "robot.toml" in _refused(Payload(robot=broken))
    assert "no such bundle directory" in _refused(Payload(model=tmp_path / "nothing"))
    updates.write_text(UPDATES)
    assert "trusted_root: there is no root.json beside it" in _refused(Payload(updates=updates))
    (tmp_path / "root.json").write_text("{}")
    check_payload(Payload(updates=updates), official.board("rpi5"))
    updates.write_text(UPDATES.replace('trusted_root = "root.json"', ""))
    assert "trusted_root: is missing, and no offline bundle brings one" in _refused(Payload(updates=updates))
    updates.write_text(UPDATES.replace("root.json", "keys/root.json"))
    assert "trusted_root: must lie beside the file" in _refused(Payload(updates=updates))
    updates.write_text(UPDATES + SERVERS)
    assert "mqtt.ca: there is no ca.pem beside it" in _refused(Payload(updates=updates))
    updates.write_text(UPDATES + 'robot = "rover.toml"\n')
    assert 'robot: is "robot.toml" on the board' in _refused(Payload(robot=ROBOT, updates=updates))
    updates.write_text(UPDATES)
    model = next(path.parent for path in shipped("models").glob("*/manifest.json"))
    assert "updates choose the model" in _refused(Payload(model=model, updates=updates))
