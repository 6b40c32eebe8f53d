"""What the doctor finds of the device files that a robot file names."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from edge_wm.board import Board, Buses
from edge_wm.doctor.devices import RASPI_CONFIG, devices
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
USB = '[bridge]\nkind = "serial"\ndevice = "/dev/ttyACM0"\n[bridge.firmware]\ncounts_per_turn = 1440\n'
SENSORS = """[sensors]
kind = "real"

[sensors.camera]
kind = "v4l2"
device = "/dev/v4l/by-id/usb-camera"
height = 48
width = 64

[sensors.range]
kind = "vl53l0x"
bus = 1
channels = [0, 1, 2, 3, 4, 5, 6, 7]
reach_m = 1.2

[sensors.imu]
kind = "mpu6050"
bus = 3
"""
NOBODY = 65534
GROUPS = {
    "i2c-1": 61001,
    "i2c-3": 61001,
    "gpiochip0": 61002,
    "ttyAMA0": 61003,
    "ttyACM0": 61003,
    "video0": 61004,
}
ENABLE = "dtparam=i2c_arm=on in /boot/firmware/config.txt"


def seeing(folder: Path, bridge: str, buses: Buses | None = None) -> Robot:
    """A robot with sensors of its own: a camera and two I2C buses."""
    robot(folder, bridge)
    file = folder / "robot.toml"
    file.write_text(re.sub(r"\[sensors\].*?(?=\[bridge\])", SENSORS, file.read_text(), flags=re.S))
    return msgspec.structs.replace(load_robot(file), board=Board("test", "a board", buses=buses or Buses()))


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
        for name, group in GROUPS.items():
            write(path, f"dev/{name}", "")
            (path / "dev" / name).chmod(0o660)
            if os.geteuid() == 0:
                os.chown(path / "dev" / name, 0, group)
        (path / "dev/serial0").symlink_to("ttyAMA0")
        (path / "dev/v4l/by-id").mkdir(parents=True)
        (path / "dev/v4l/by-id/usb-camera").symlink_to("../../video0")
        having("proc/cmdline", "console=tty1 root=/dev/mmcblk0p2\n")(path)
        yield path


def found(of: Robot, root: Path) -> list[Finding]:
    return list(devices(of, root))


@pytest.mark.parametrize(
    ("made", "bridge", "checks"),
    [
        (robot, CHIP, ["i2c", "gpio"]),
        (robot, SERIAL, ["serial"]),
        (seeing, CHIP, ["i2c", "i2c", "gpio", "video"]),
        (seeing, SERIAL, ["i2c", "i2c", "serial", "video"]),
    ],
)
def test_devices_that_can_be_used_are_well(
    made: Callable[[Path, str], Robot], bridge: str, checks: list[str], root: Path, tmp_path: Path
) -> None:
    findings = found(made(tmp_path, bridge), root)
    assert [finding.check for finding in findings] == checks
    assert all(finding.level is Level.OK for finding in findings)


def test_a_bus_with_motors_and_sensors_on_it_is_looked_at_once(root: Path, tmp_path: Path) -> None:
    said = [finding.said for finding in found(seeing(tmp_path, CHIP), root)]
    assert said[:2] == ["/dev/i2c-1 can be used", "/dev/i2c-3 can be used"]


@pytest.mark.parametrize(
    ("bridge", "device", "check", "plain", "with_raspi_config"),
    [
        (CHIP, "i2c-1", "i2c", ENABLE, "sudo raspi-config nonint do_i2c 0"),
        (SERIAL, "i2c-1", "i2c", ENABLE, "sudo raspi-config nonint do_i2c 0"),
        (SERIAL, "i2c-3", "i2c", ENABLE, ENABLE),  # another than the header's
        (CHIP, "gpiochip0", "gpio", "ls /dev/gpiochip*", "ls /dev/gpiochip*"),
        (SERIAL, "serial0", "serial", ENABLE, "sudo raspi-config nonint do_serial_hw 0; "),
        (USB, "ttyACM0", "serial", "edge-wm bridge find-port", "edge-wm bridge find-port"),
        (SERIAL, "v4l/by-id/usb-camera", "video", "ls /dev/video*", "ls /dev/video*"),
    ],
)
def test_a_device_that_is_not_there_is_found(
    bridge: str, device: str, check: str, plain: str, with_raspi_config: str, root: Path, tmp_path: Path
) -> None:
    (root / "dev" / device).unlink()
    of = seeing(tmp_path, bridge, Buses(enable=ENABLE))
    for remedy in (plain, with_raspi_config):
        (finding,) = (finding for finding in found(of, root) if finding.level is not Level.OK)
        assert (finding.check, finding.level) == (check, Level.ERROR)
        assert finding.said == f"/dev/{device} is not there"
        assert finding.remedy.startswith(remedy)
        write(root, RASPI_CONFIG, "")


def as_nobody(of: Robot, root: Path) -> list[tuple[str, str, str]]:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    return [(finding.check, finding.level.value, finding.remedy) for finding in devices(of, root)]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize(
    ("bridge", "groups"),
    [
        (CHIP, [("i2c", 61001), ("i2c", 61001), ("gpio", 61002), ("video", 61004)]),
        (SERIAL, [("i2c", 61001), ("i2c", 61001), ("serial", 61003), ("video", 61004)]),
    ],
)
def test_a_user_who_may_not_use_a_device_is_told_the_command(
    bridge: str, groups: list[tuple[str, int]], root: Path, tmp_path: Path
) -> None:
    findings = call_in_own_process(as_nobody, seeing(tmp_path, bridge), root, timeout_s=20.0)
    assert findings == [
        (check, "ERROR", f"sudo usermod -aG {group} nobody, then log in again") for check, group in groups
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("group", [0, GROUPS["i2c-1"]])
def test_nobody_is_put_into_the_group_of_a_device_that_is_root_s_alone(
    group: int, root: Path, tmp_path: Path
) -> None:
    """Neither into root's, nor into one that may not use it either."""
    os.chown(root / "dev/i2c-1", 0, group)
    (root / "dev/i2c-1").chmod(0o660 if group == 0 else 0o600)
    first, *_ = call_in_own_process(as_nobody, seeing(tmp_path, SERIAL), root, timeout_s=20.0)
    assert first == ("i2c", "ERROR", "sudo boards/install/install.sh gives it to a group")


@pytest.mark.parametrize("console", ["serial0,115200", "ttyAMA0,115200"])
def test_a_console_on_the_motors_port_is_found(console: str, root: Path, tmp_path: Path) -> None:
    having("proc/cmdline", f"console={console} console=tty1\n")(root)
    *_, finding = found(robot(tmp_path, SERIAL), root)
    assert (finding.check, finding.level) == ("console", Level.WARNING)
    assert "console=serial0" in finding.remedy
