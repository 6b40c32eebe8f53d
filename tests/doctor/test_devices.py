"""What the doctor finds of the device files that a robot file names."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from edge_wm.board import Board, Buses
from edge_wm.doctor.devices import devices
from edge_wm.doctor.finding import Finding, Level
from edge_wm.paths import shipped
from edge_wm.robot import Robot, load_robot
from tests.doctor.machines import having, write
from tests.power_cuts.own_process import call_in_own_process

CHIP = """[bridge]
kind = "pca9685"
bus = 1
pwm_hz = 1000
left = { forward = 1, backward = 0 }
right = { forward = 2, backward = 3 }
output_enable = { chip = "/dev/gpiochip0", line = 17 }
"""
SERIAL = '[bridge]\nkind = "serial"\ndevice = "/dev/serial0"\n[bridge.firmware]\ncounts_per_turn = 1440\n'
NOBODY = 65534


def robot(folder: Path, bridge: str, buses: Buses | None = None) -> Robot:
    text = shipped("boards", "robots", "sim-avr.toml").read_text()
    file = folder / "robot.toml"
    file.write_text(re.sub(r"\[bridge\].*?(?=\[drive\])", bridge + "\n", text, flags=re.S))
    return msgspec.structs.replace(load_robot(file), board=Board("test", "a board", buses=buses or Buses()))


@pytest.fixture
def root() -> Iterator[Path]:
    """Where another user can look, too."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        path.chmod(0o755)
        for name in ("dev/i2c-1", "dev/gpiochip0", "dev/ttyAMA0"):
            write(path, name, "")
            (path / name).chmod(0o660)
        (path / "dev/serial0").symlink_to("ttyAMA0")
        having("proc/cmdline", "console=tty1 root=/dev/mmcblk0p2\n")(path)
        yield path


def found(of: Robot, root: Path) -> dict[str, Finding]:
    return {finding.check: finding for finding in devices(of, root)}


def test_devices_that_can_be_used_are_well(root: Path, tmp_path: Path) -> None:
    chip, line = found(robot(tmp_path, CHIP), root), found(robot(tmp_path, SERIAL), root)
    assert (chip.keys(), line.keys()) == ({"i2c", "gpio"}, {"serial"})
    assert all(finding.level is Level.OK for finding in (*chip.values(), *line.values()))


@pytest.mark.parametrize(
    ("bridge", "device", "check"),
    [(CHIP, "i2c-1", "i2c"), (CHIP, "gpiochip0", "gpio"), (SERIAL, "serial0", "serial")],
)
def test_a_device_that_is_not_there_is_found(
    bridge: str, device: str, check: str, root: Path, tmp_path: Path
) -> None:
    (root / "dev" / device).unlink()
    finding = found(robot(tmp_path, bridge, Buses(enable="sudo raspi-config nonint do_i2c 0")), root)[check]
    assert finding.level is Level.ERROR
    assert finding.said == f"/dev/{device} is not there"
    assert finding.remedy == "sudo raspi-config nonint do_i2c 0"


def as_nobody(of: Robot, root: Path) -> list[tuple[str, str, str]]:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    return [(finding.check, finding.level.value, finding.remedy) for finding in devices(of, root)]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize(("bridge", "checks"), [(CHIP, {"i2c", "gpio"}), (SERIAL, {"serial"})])
def test_a_user_who_may_not_use_a_device_is_told_the_group(
    bridge: str, checks: set[str], root: Path, tmp_path: Path
) -> None:
    findings = call_in_own_process(as_nobody, robot(tmp_path, bridge), root, timeout_s=20.0)
    assert {check for check, _, _ in findings} == checks
    for _, level, remedy in findings:
        assert level == "ERROR"
        assert remedy.startswith("sudo usermod -aG root nobody")


@pytest.mark.parametrize("console", ["serial0,115200", "ttyAMA0,115200"])
def test_a_console_on_the_motors_port_is_found(console: str, root: Path, tmp_path: Path) -> None:
    having("proc/cmdline", f"console={console} console=tty1\n")(root)
    finding = found(robot(tmp_path, SERIAL), root)["console"]
    assert finding.level is Level.WARNING
    assert "console=serial0" in finding.remedy
