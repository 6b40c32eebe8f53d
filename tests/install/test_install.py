"""install.sh on a plain Debian: what it puts where, that it can be run again and interrupted, and that it takes all of it away.

The tree has no systemd that runs, as an image that is being made has none: ``--root``.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edge_wm.cli import run
from tests.install.debian import REPOSITORY, SUITE, SUITES, clone_to, copy_to, tree, why_not
from tests.tiny_model import read_manifest, write_manifest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600 if SUITE is SUITES[0] else 3600),  # another one is debootstrapped first
    pytest.mark.skipif(why_not() is not None, reason=str(why_not())),
]

BOARD = "generic-x86-64"
ROBOT = REPOSITORY / "boards" / "robots" / "sim-avr.toml"
"""One that needs no simulator to be installed."""
PLANS = """
from edge_wm.clock import MonotonicClock
from edge_wm.drive.pilot import Pilot
from edge_wm.robot import load_robot
from edge_wm.paths import DEFAULT_MODEL
Pilot(load_robot("/etc/edge-wm/robot.toml"), DEFAULT_MODEL, MonotonicClock()).rehearse()
print("it plans")
"""
UNITS = ("edge-wm.service", "edge-wm-update.service", "edge-wm-update.timer")


def words(root: Path) -> list[str]:
    return [
        "--root",
        str(root),
        "--board",
        BOARD,
        "--robot",
        str(ROBOT),
        "--updates",
        "none",
        "--start",
        "yes",
    ]


def install(source: Path, root: Path, *more: str, offline: bool = False) -> subprocess.CompletedProcess[str]:
    script = source / "boards" / "install" / "install.sh"
    command = [*(["unshare", "--net"] if offline else []), str(script), *words(root), *more]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def inside(root: Path, *command: str, user: str = "root") -> str:
    with_proc = 'mount --bind /proc "$0/proc" && exec chroot --userspec="$1" "$0" "${@:2}"'
    words = ["unshare", "--mount", "bash", "-c", with_proc, str(root), user, *command]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clone_to(tmp_path_factory.mktemp("source") / "edge-wm")


@pytest.fixture(scope="module")
def root(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree in which it is installed from a clone."""
    root = copy_to(tmp_path_factory.mktemp("roots") / "board")
    done = install(clone, root)
    assert done.returncode == 0, done.stdout + done.stderr
    return root


def test_everything_is_where_it_belongs_and_works_as_the_user_that_drives(root: Path) -> None:
    assert inside(root, "edge-wm", "--version").startswith("edge-wm, version ")
    assert inside(root, "/opt/edge-wm/venv/bin/python", "-c", PLANS, user="edge-wm") == "it plans\n"
    groups = inside(root, "id", "-nG", "edge-wm").split()
    assert {"edge-wm", "dialout", "video", "i2c", "gpio"} <= set(groups)
    assert (root / "etc/edge-wm/robot.toml").read_bytes() == ROBOT.read_bytes()
    assert 'robot = "robot.toml"' in (root / "etc/edge-wm/drive.toml").read_text()
    owner = (root / "var/lib/edge-wm").stat().st_uid
    assert str(owner) == inside(root, "id", "-u", "edge-wm").strip()
    assert inside(root, "systemctl", "is-enabled", "edge-wm.service").strip() == "enabled"
    timer = subprocess.run(
        ["chroot", root, "systemctl", "is-enabled", "edge-wm-update.timer"], capture_output=True
    )
    assert timer.stdout.strip() == b"disabled"  # nobody named an update.toml
    leftovers = [
        path
        for path in tree(root)
        if path.endswith((".unfinished", "venv.next")) or "opt/edge-wm/source" in path
    ]
    assert leftovers == []
    packages = inside(root, "/opt/edge-wm/venv/bin/python", "-m", "pip", "list", "--format=freeze").lower()
    assert "mujoco" not in packages and "torch" not in packages  # a board has no use for them
    pinned = (REPOSITORY / "requirements/test.txt").read_text()
    onnxruntime = next(line for line in packages.splitlines() if line.startswith("onnxruntime=="))
    assert onnxruntime in pinned


def test_systemd_finds_nothing_wrong_with_the_units_and_little_exposed(root: Path) -> None:
    assert complaints(root, *UNITS) == []
    for unit in UNITS[:2] if SUITE.name != "jammy" else ():  # systemd 249 cannot do it without running
        done = subprocess.run(
            ["chroot", root, "systemd-analyze", "security", "--offline=true", "--threshold=25", unit],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout
    broken = root / "etc/systemd/system/broken.service"  # the control: it would find something
    broken.write_text(
        (root / "etc/systemd/system/edge-wm.service")
        .read_text()
        .replace("Restart=on-failure", "Restart=often")
    )
    (complaint,) = complaints(root, "broken.service")
    broken.unlink()
    assert "Failed to parse" in complaint and "often" in complaint


def complaints(root: Path, *units: str) -> list[str]:
    """What systemd says of units of ours; of others of the system it may have to say something, too."""
    command = ["chroot", root, "systemd-analyze", "verify", *units]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == ""
    return [line for line in done.stderr.splitlines() if any(unit in line for unit in units)]


def unit(root: Path, name: str) -> str:
    return (root / "etc/systemd/system" / name).read_text()


def test_the_timer_looks_as_often_as_the_update_file_says(clone: Path, root: Path) -> None:
    shipped = (clone / "boards/install/edge-wm-update.timer").read_text()
    assert unit(root, "edge-wm-update.timer") == shipped
    updates = root / "etc/edge-wm/update.toml"
    updates.write_text('url = "https://example.org/"\nevery_h = 2.5 # hours\n')
    done = install(clone, root)
    assert done.returncode == 0, done.stdout + done.stderr
    changed = unit(root, "edge-wm-update.timer").splitlines()
    assert {"OnUnitInactiveSec=9000s", "RandomizedDelaySec=1500s", "OnBootSec=3min"} <= set(changed)
    assert len(changed) == len(shipped.splitlines())
    assert complaints(root, "edge-wm-update.timer") == []
    assert install(clone, root).stdout.endswith("nothing changed\n")
    updates.write_text('url = "https://example.org/"\nevery_h = 0.001\n')
    install(clone, root)
    assert "OnUnitInactiveSec=60s" in unit(root, "edge-wm-update.timer").splitlines()
    updates.unlink()
    install(clone, root)
    assert unit(root, "edge-wm-update.timer") == shipped


def test_a_hardware_watchdog_is_fed_where_there_is_one_that_nobody_feeds(clone: Path, root: Path) -> None:
    conf, device = root / "etc/systemd/system.conf.d/edge-wm.conf", root / "dev/watchdog"
    state = root / "sys/class/watchdog/watchdog0/state"
    assert not conf.exists()  # this tree has no such device
    device.touch()
    try:
        assert "system.conf.d" not in install(clone, root, "--dry-run", "--robot", "sim").stdout
        state.parent.mkdir(parents=True)
        state.write_text("active\n")
        assert install(clone, root).stdout.endswith("nothing changed\n")
        state.write_text("inactive\n")
        assert f"wrote /{conf.relative_to(root)}" in install(clone, root).stdout
        assert conf.read_text() == (clone / "boards/install/watchdog.conf").read_text()
        state.write_text("active\n")  # by this very file
        assert install(clone, root).stdout.endswith("nothing changed\n")
        conf.write_text("damaged")
        install(clone, root)
        assert "RuntimeWatchdogSec=10" in conf.read_text().splitlines()
    finally:
        device.unlink()
        shutil.rmtree(root / "sys/class", ignore_errors=True)


def test_a_model_of_ones_own_is_used_only_if_it_is_sound(clone: Path, root: Path, tmp_path: Path) -> None:
    mine, drive = tmp_path / "mine", root / "etc/edge-wm/drive.toml"
    shutil.copytree(clone / "models" / "rooms-student", mine)
    graph = mine / "imagine.int8.onnx"
    sound = graph.read_bytes()
    graph.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    before = drive.read_text()
    done = install(clone, root, "--model", str(mine))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"error: {mine}") and "imagine.int8.onnx" in done.stderr
    installed = root / "var/lib/edge-wm/installed"
    assert list(installed.iterdir()) == []
    assert drive.read_text() == before

    graph.write_bytes(sound)
    facts = read_manifest(mine)
    write_manifest(mine, {**facts, "tick_s": 0.2})
    done = install(clone, root, "--model", str(mine))
    assert done.returncode == 2 and "every 0.2 s" in done.stderr  # whole, and for another robot
    write_manifest(mine, facts)
    done = install(clone, root, "--model", str(mine))
    assert done.returncode == 0, done.stdout + done.stderr
    assert (
        'write into it  model = "/var/lib/edge-wm/installed/model"' in done.stdout
    )  # drive.toml is the person's
    drive.unlink()
    done = install(clone, root, "--model", str(mine))
    assert 'model = "/var/lib/edge-wm/installed/model"' in drive.read_text().splitlines()
    again = install(clone, root, "--model", str(mine))
    assert again.stdout.endswith("nothing changed\n") and "write into it" not in again.stdout
    asked = "from edge_wm.drive.service_file import *; from edge_wm.bundle.load import load_bundle; print(load_bundle(load_service_file(DEFAULT_FILE).model).manifest.name)"
    words = ("/opt/edge-wm/venv/bin/python", "-c", asked)
    assert inside(root, *words, user="edge-wm") == "rooms-student\n"

    write_manifest(mine, {**facts, "latency_budget_ms": 29.0})
    first = (installed / "model").resolve()
    done = install(clone, root, "--model", str(mine))
    assert done.returncode == 0, done.stdout + done.stderr
    assert (installed / "model").resolve() != first and not first.exists()
    assert install(clone, root).stdout.endswith("nothing changed\n")  # it stays, whoever names none
    assert (installed / "model" / "manifest.json").exists()
    shutil.rmtree(installed)
    drive.write_text(before)


def test_a_second_run_changes_nothing_and_a_dry_one_neither(clone: Path, root: Path) -> None:
    before = tree(root)
    done = install(clone, root)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(f"edge-wm was installed already ({BOARD}): nothing changed\n")
    assert tree(root) == before
    assert install(clone, root, "--uninstall", "--purge", "--dry-run").returncode == 0
    assert tree(root) == before


def test_whether_it_is_started_at_boot_stays_as_it_was(clone: Path, root: Path) -> None:
    script = clone / "boards" / "install" / "install.sh"
    unanswered = [str(script), "--root", str(root), "--board", BOARD, "--robot", str(ROBOT), "--yes"]
    for start, state in (("no", "disabled"), ("yes", "enabled")):
        install(clone, root, "--start", start)
        done = subprocess.run(unanswered, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        command = ["chroot", root, "systemctl", "is-enabled", "edge-wm.service"]
        assert subprocess.run(command, capture_output=True, text=True).stdout.strip() == state


def test_a_mission_of_the_person_s_is_not_talked_over(clone: Path, root: Path) -> None:
    drive = root / "etc/edge-wm/drive.toml"
    before = drive.read_text()
    assert install(clone, root, "--dry-run").stdout.splitlines()[-1].endswith("go 1,0 --from-here")
    drive.write_text(before + "\n[mission]\ngoals = [[1.0, 0.0]]\n")
    said = install(clone, root, "--dry-run").stdout.splitlines()[-1]
    assert said == "and then: systemctl status edge-wm says how its mission goes"
    drive.write_text(before)


def test_without_answers_and_without_a_person_it_changes_nothing(clone: Path, root: Path) -> None:
    before = tree(root)
    script = clone / "boards" / "install" / "install.sh"
    command = [str(script), "--root", str(root), "--board", BOARD]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: nobody is there to ask: say --yes, or --robot, --updates and --start\n"
    assert tree(root) == before


def test_files_that_a_robot_file_or_an_update_file_names_come_with_it(
    clone: Path, root: Path, tmp_path: Path
) -> None:
    robot, updates = tmp_path / "rover.toml", tmp_path / "update.toml"
    robot.write_text(ROBOT.read_text().replace('board = "sim"', 'board = "mine.toml"'))
    (tmp_path / "mine.toml").write_text('name = "mine"\ndescription = ""\n')
    updates.write_text(
        'url = "https://example.org/"\ntrusted_root = "root.json"\nrobot_kind = "k"\nrobot_id = "r"\n'
    )
    (tmp_path / "root.json").write_text("{}")
    done = install(clone, root, "--dry-run", "--robot", str(robot), "--updates", str(updates))
    for name in ("mine.toml", "update.toml", "root.json"):
        assert f"would write: /etc/edge-wm/{name}" in done.stdout, done.stdout + done.stderr
    assert "would run: systemctl --quiet enable edge-wm-update.timer" in done.stdout
    with updates.open("a") as more:
        more.write(
            '[mqtt]\nurl = "mqtts://b"\nca = "ca.pem"\nkey = "rover.key"\n[rollout]\nurl = "https://r"\n'
        )
        more.write('ca = "/etc/ssl/own.pem"\ntoken_file = "token"\n')
    for name in ("ca.pem", "rover.key", "token"):
        (tmp_path / name).write_text(name)
    done = install(clone, root, "--dry-run", "--robot", str(robot), "--updates", str(updates))
    for name in ("ca.pem", "rover.key", "token"):
        assert f"would write: /etc/edge-wm/{name}" in done.stdout, done.stdout + done.stderr
        assert (f"would run: chgrp edge-wm /etc/edge-wm/{name}" in done.stdout) == (name != "ca.pem")
    (tmp_path / "root.json").unlink()
    done = install(clone, root, "--dry-run", "--robot", str(robot), "--updates", str(updates))
    assert done.returncode == 2 and "trusted_root: there is no root.json beside it" in done.stderr
    updates.write_text(updates.read_text().replace('trusted_root = "root.json"', ""))
    done = install(clone, root, "--dry-run", "--robot", str(robot), "--updates", str(updates))
    assert done.returncode == 2 and "trusted_root: is missing, and this package brings none" in done.stderr
    robot.write_text(ROBOT.read_text().replace('board = "sim"', "board = './mine.toml'"))
    assert (
        "would write: /etc/edge-wm/mine.toml"
        in install(clone, root, "--dry-run", "--robot", str(robot)).stdout
    )


def test_an_update_file_for_another_robot_than_the_one_that_drives_is_refused(
    clone: Path, root: Path, tmp_path: Path
) -> None:
    updates = tmp_path / "update.toml"
    lines = 'url = "https://example.org/"\ntrusted_root = "root.json"\nrobot_kind = "k"\nrobot_id = "r"\n'
    (tmp_path / "root.json").write_text("{}")
    for robot, named, code in (("rover.toml", ROBOT, 2), ("robot.toml", "sim", 2), ("robot.toml", ROBOT, 0)):
        updates.write_text(f'{lines}robot = "{robot}"\n')
        done = install(clone, root, "--dry-run", "--robot", str(named), "--updates", str(updates))
        assert done.returncode == code, done.stdout + done.stderr
        assert ("models are proven for the robot that drives" in done.stderr) == (code == 2)


def test_what_was_changed_on_the_robot_stays_and_what_is_ours_is_put_right(clone: Path, root: Path) -> None:
    ours, theirs = root / "etc/systemd/system/edge-wm.service", root / "etc/edge-wm/robot.toml"
    wanted = ours.read_text()
    ours.write_text("damaged")
    theirs.write_text("calibrated = true")
    done = install(clone, root)
    assert ours.read_text() == wanted
    assert theirs.read_text() == "calibrated = true"
    assert "robot.toml stays as it is, and differs from" in done.stdout
    assert "wrote /etc/systemd/system/edge-wm.service" in done.stdout
    theirs.write_bytes(ROBOT.read_bytes())


def test_another_version_takes_the_place_of_the_one_before_in_one_step(
    clone: Path, root: Path, tmp_path: Path
) -> None:
    before = (root / "opt/edge-wm/venv").resolve().name
    newer = tmp_path / "newer"
    shutil.copytree(clone, newer)
    version = newer / "edge_wm" / "__init__.py"
    version.write_text(version.read_text().replace('__version__ = "', '__version__ = "99.'))
    script = [str(newer / "boards/install/install.sh"), *words(root)]
    with subprocess.Popen(
        script, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("installing")
        time.sleep(3.0)
        os.killpg(process.pid, signal.SIGKILL)  # in the middle of pip
    assert (root / "opt/edge-wm/venv").resolve().name == before  # the old one is whole
    assert "99." not in inside(root, "edge-wm", "--version")
    done = install(newer, root)
    assert done.returncode == 0, done.stdout + done.stderr
    assert inside(root, "edge-wm", "--version").startswith("edge-wm, version 99.")
    assert len(list((root / "opt/edge-wm").iterdir())) == 2  # the environment, and the link to it


@pytest.mark.skipif(importlib.util.find_spec("uv") is None, reason="a bundle is made with uv: make .venv/.uv")
def test_a_bundle_installs_without_a_network_and_a_damaged_one_not_at_all(
    clone: Path, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle"
    repository, updates = tmp_path / "fleet", tmp_path / "update.toml"
    assert run(["update", "init-repo", str(repository), "--robot-kind", "k"]) == 0
    trusted_root = repository / "metadata" / "1.root.json"
    maker = [
        sys.executable,
        "-m",
        "export.offline_bundle",
        "--board",
        BOARD,
        "--python",
        SUITE.python,
        "--trusted-root",
        str(trusted_root),
    ]
    subprocess.run([*maker, "--to", str(bundle)], check=True, cwd=REPOSITORY)
    root = copy_to(tmp_path / "board")
    before = tree(root)
    wheel = next(bundle.glob("wheels/numpy-*.whl"))
    sound = wheel.read_bytes()
    wheel.write_bytes(sound[:-1] + b"x")
    done = install(bundle, root, offline=True)
    assert done.returncode == 2 and "the bundle is damaged" in done.stderr
    assert tree(root) == before
    wheel.write_bytes(sound)
    done = install(bundle, root, offline=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert inside(root, "edge-wm", "--version").startswith("edge-wm, version ")
    again = install(bundle, root, offline=True)
    assert again.stdout.endswith("nothing changed\n")
    updates.write_text('url = "https://example.org/"\nrobot_kind = "k"\nrobot_id = "r"\n')
    done = install(bundle, root, "--updates", str(updates), offline=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (root / "etc/edge-wm/root.json").read_bytes() == trusted_root.read_bytes()


def test_taken_away_nothing_is_left_but_what_is_kept(clone: Path, root: Path) -> None:
    (root / "etc/systemd/system.conf.d").mkdir(exist_ok=True)
    shutil.copy(clone / "boards/install/watchdog.conf", root / "etc/systemd/system.conf.d/edge-wm.conf")
    (root / "etc/modules-load.d").mkdir(exist_ok=True)
    (root / "etc/modules-load.d/edge-wm.conf").write_text("i2c-dev\n")  # of a first boot
    done = install(clone, root, "--uninstall")
    assert done.returncode == 0, done.stdout + done.stderr
    left = {path for path in tree(root) if "edge-wm" in path}  # and no watchdog's file
    assert left == {f"etc/edge-wm{name}" for name in ("", "/robot.toml", "/drive.toml")} | {"var/lib/edge-wm"}
    done = install(clone, root, "--uninstall", "--purge")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [path for path in tree(root) if "edge-wm" in path] == []
    for file in ("etc/passwd", "etc/group"):
        assert "edge-wm" not in (root / file).read_text()
    again = install(clone, root, "--uninstall", "--purge")
    assert (again.returncode, again.stderr) == (0, "")
