"""What of edge-wm install.sh installs, by the robot file, and that an offline bundle has it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from export.offline_bundle import EXTRAS
from tests.install.debian import REPOSITORY
from tests.install.dry_run import SCRIPT, Install, refused, run_script

USUAL = {"serial", "i2c", "update", "fleet"}
EXAMPLE = (REPOSITORY / "boards" / "robots" / "rpi-picamera2.toml").read_text()


def robot_with(camera: str, bridge: str, folder: Path) -> Path:
    """A robot file with another camera and another bridge; what is a comment stays one."""
    file = folder / "rover.toml"
    text = EXAMPLE.replace('\nkind = "picamera2"', f'\nkind = "{camera}"')
    file.write_text(text.replace('\nkind = "serial"', f'\nkind = "{bridge}"'))
    return file


def extras_of(said: str) -> set[str]:
    found = re.search(r"would make: \S+ with edge-wm\[([a-z0-9,]+)\]", said)
    assert found is not None, said
    return set(found[1].split(","))


@pytest.mark.parametrize(
    ("camera", "bridge", "more"),
    [
        ("picamera2", "serial", set()),
        ("gstreamer", "serial", set()),
        ("v4l2", "serial", {"jpeg"}),
        ("v4l2", "mavlink", {"jpeg", "mavlink"}),
        ("files", "serial", {"camera"}),
    ],
)
def test_what_camera_and_bridge_need_is_installed_and_nothing_else(
    install: Install,
    tmp_path: Path,
    camera: str,
    bridge: str,
    more: set[str],
) -> None:
    done = install("--dry-run", "--robot", robot_with(camera, bridge, tmp_path))
    assert done.returncode == 0, done.stderr
    assert extras_of(done.stdout) == USUAL | more


@pytest.mark.parametrize(
    "camera",
    [
        "[sensors.camera]\n\tkind = 'v4l2' # a USB camera",
        '[sensors.camera]\n"kind"="v4l2"',
        '[sensors]\ncamera = { kind = "v4l2", device = "/dev/video0" }',
        '[sensors]\ncamera = {device = "/dev/video0", kind = "v4l2"} # kind = "files"',
        '[sensors]\ncamera.kind = "v4l2"',
    ],
)
def test_a_kind_is_read_however_toml_lets_people_write_it(
    install: Install, tmp_path: Path, camera: str
) -> None:
    robot = tmp_path / "rover.toml"
    robot.write_text(f"{camera}\n\n[bridge]\n  kind = 'mavlink'\n")
    done = install("--dry-run", "--robot", robot)
    assert done.returncode == 0, done.stderr
    assert extras_of(done.stdout) == USUAL | {"jpeg", "mavlink"}


def test_a_bundle_has_all_of_it_but_ffmpeg_and_the_simulator() -> None:
    asked_for = set(re.findall(r"extras\+=,([a-z0-9]+)", SCRIPT.read_text()))
    assert asked_for == {"mavlink", "jpeg", "camera", "sim"}  # the control: they are found
    assert asked_for - {"camera", "sim"} | USUAL == set(EXTRAS)


def test_a_bundle_without_ffmpeg_says_so_before_anything_changes(
    tools: Path,
    tmp_path: Path,
) -> None:
    bundle, robot = tmp_path / "bundle", robot_with("files", "serial", tmp_path)
    (bundle / "wheels").mkdir(parents=True)
    subprocess.run(["cp", "-r", str(REPOSITORY / "boards"), str(bundle / "boards")], check=True)
    (bundle / "requirements").mkdir()
    (bundle / "requirements" / "test.txt").touch()
    script = bundle / "boards/install/install.sh"
    for wheel, code in (("pillow-1-py3-none-any.whl", 2), ("imageio_ffmpeg-1-py3-none-any.whl", 0)):
        (bundle / "wheels" / wheel).touch()
        sums = "cd $0 && find wheels -type f | xargs sha256sum >SHA256SUMS"
        subprocess.run(["bash", "-c", sums, str(bundle)], check=True)
        done = run_script(script, tools, "--dry-run", "--robot", robot)
        assert done.returncode == code, done.stderr
        if code == 2:
            assert "need ffmpeg, which is not in this bundle" in refused(done)
