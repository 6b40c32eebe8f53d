"""The whole examination of robots that are not simulated: a good one is well, and of one fault there is one finding.

What is fake sits at the hardware's edge, as in ``tests/drive/test_real.py``; the machine is a recorded one.
"""

from __future__ import annotations

import errno
import json
import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from edge_wm import cli
from edge_wm.bundle.manifest import ObservationArray
from edge_wm.clock import SimulatedClock
from edge_wm.doctor import examination, sensors, system
from firmware_bridge.pca9685_bridge import Pca9685Bridge
from firmware_bridge.wire import PROTOCOL
from tests.doctor.machines import POLICY, WATCHDOG, good_machine, having, lacking, program_in, write
from tests.doctor.test_system import GOOD_SERVICE
from tests.drive.test_real import Robot, host_program, robot  # noqa: F401 - fixtures
from tests.firmware_bridge.fake_pca9685 import FakeBus, FakePca9685
from tests.tiny_model import golden, npz, observe_graph, write_tiny

pytest.importorskip("serial", reason="pip install 'edge-wm[serial]'")

FIRST = ["robot", "bundle", "board", "system", "python", "memory", "disk", "disk errors"]
MODEL = ["model", "engine", "speed"]
HEALTH = ["temperature", "throttling", "governor", "watchdog", "service"]
SERIAL = [*FIRST, *MODEL, *HEALTH, "i2c", "serial", "bridge", "camera", "sensors"]
PCA9685 = [*FIRST, *MODEL, *HEALTH, "i2c", "gpio", "bridge", "last pulse", "camera", "sensors"]

CHIP = """[bridge]
kind = "pca9685"
bus = 1
pwm_hz = 1000
left = { forward = 1, backward = 0 }
right = { forward = 2, backward = 3 }
output_enable = { chip = "/dev/gpiochip0", line = 17 }

"""


class Bench(NamedTuple):
    """A robot on the bench, and the machine in it.

    Attributes:
        robot: the robot.
        root: of the machine's file system.
        programs: that the machine has.
        model: that is to drive it.
    """

    robot: Robot
    root: Path
    programs: Path
    model: Path


SIDE = 8
"""Of a frame, in pixels: the least that a robot file may say."""


def write_model(directory: Path) -> Path:
    """The tiny one, for frames that a camera can give; it needs neither wheels nor gyroscope."""
    graph, vectors = observe_graph(), golden()
    (camera,) = (each for each in graph.graph.input if each.name == "camera")
    camera.type.tensor_type.shape.dim[0].dim_value = SIDE
    vectors["observe/in/camera"] = np.full((3, SIDE, SIDE, 3), 51, dtype=np.uint8)
    light = 51 / 255 + vectors["observe/in/range"].mean(axis=1, keepdims=True)
    vectors["observe/out/next_memory"] = (vectors["observe/in/memory"] + light).astype(np.float32)
    return write_tiny(
        directory,
        "int8",
        {"observe.int8.onnx": graph.SerializeToString(), "golden.npz": npz(vectors)},
        observation=(
            ObservationArray("camera", (SIDE, SIDE, 3), "uint8", "RGB", 0, 255, 0.3),
            ObservationArray("range", (4,), "float32", "m", 0.0, 4.0, 0.3),
        ),
    )


Spoil = Callable[[Bench], None]


def service_is(bench: Bench, **changes: str) -> None:
    lines = "".join(f"echo {name}={value}\n" for name, value in {**GOOD_SERVICE, **changes}.items())
    program_in(bench.programs, "systemctl", lines)


@pytest.fixture
def bench(
    robot: Robot,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Bench:
    """A Raspberry Pi 5 with firmware, camera and chips that nothing is wrong with."""
    root, programs = good_machine(tmp_path / "root"), tmp_path / "programs"
    programs.mkdir()
    found = Bench(robot, root, programs, write_model(tmp_path / "model"))
    robot.amend('board = "sim"', 'board = "rpi5"')
    robot.amend("height = 48\nwidth = 64", f"height = {SIDE}\nwidth = {SIDE}")
    robot.amend("channels = [0, 1, 2, 3, 4, 5, 6, 7]", "channels = [0, 1, 2, 3]")
    # This machine may stand still for a moment, and has other disks than the one on the bench.
    robot.amend("max_frame_age_s = 0.25", "max_frame_age_s = 10.0")
    robot.amend("frozen_frames = 5", "frozen_frames = 2")
    monkeypatch.setattr(sensors, "LOOK_S", 1.5)
    monkeypatch.setattr(sensors, "ENOUGH", 0.0)
    for limit in ("LITTLE_DISK_MB", "NO_DISK_MB", "LITTLE_INODES"):
        monkeypatch.setattr(system, limit, 0)
    chips_alone, time_of_chips = sensors.chips, SimulatedClock()
    for part in (robot.bus, robot.multiplexer, robot.imu, *robot.ring):
        part.clock = time_of_chips
    monkeypatch.setattr(sensors, "chips", lambda of, tick_s, clock: chips_alone(of, tick_s, time_of_chips))
    for device in ("/dev/i2c-1", "/dev/gpiochip0", robot.board.device):
        write(root, device.lstrip("/"), "")
    program_in(programs, "vcgencmd", "echo throttled=0x0")
    service_is(found)
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setattr(examination, "findings", partial(examination.findings, root=root))
    return found


class Said(NamedTuple):
    """What ``edge-wm doctor`` came to.

    Attributes:
        code: its exit code.
        worst: its last line, and what it wrote for machines, which agree.
        checks: names, in order.
        alarms: name and level of each check that is not ok, in order.
        remedies: of these.
    """

    code: int
    worst: str
    checks: list[str]
    alarms: list[tuple[str, str]]
    remedies: list[str]


@pytest.fixture
def examined(bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[], Said]:
    def examine() -> Said:
        facts, words = tmp_path / "facts.json", ["doctor", "--robot", str(bench.robot.file)]
        code = cli.run([*words, "--model", str(bench.model), "--json", str(facts)])
        printed = capsys.readouterr()
        print(printed.out, printed.err)  # for whoever has to find out why it failed
        told = json.loads(facts.read_text())
        *lines, last = printed.out.splitlines()
        assert last.startswith(f"worst: {told['worst']} (")
        found = told["findings"]
        assert [line.split("  ")[0] for line in lines if line[0] != " "] == [each["check"] for each in found]
        alarming = [each for each in found if each["level"] != "ok"]
        return Said(
            code,
            told["worst"],
            [each["check"] for each in found],
            [(each["check"], each["level"]) for each in alarming],
            [each["remedy"] for each in alarming],
        )

    return examine


def on_a_pwm_chip(bench: Bench, monkeypatch: pytest.MonkeyPatch, bridge: str = CHIP) -> None:
    """The same robot without its firmware: nobody counts its wheels."""
    bus = FakeBus(FakePca9685(time.monotonic))
    monkeypatch.setitem(Pca9685Bridge.__init__.__kwdefaults__, "opened", lambda number: bus)
    bench.robot.amend("wheels = true", "wheels = false")
    text, changed = re.subn(r"\[bridge\].*?(?=\[drive\])", bridge, bench.robot.file.read_text(), flags=re.S)
    assert changed == 1
    bench.robot.file.write_text(text)


def test_a_good_robot_with_a_microcontroller_is_well(examined: Callable[[], Said]) -> None:
    assert examined() == Said(0, "ok", SERIAL, [], [])


def test_a_good_robot_with_a_pwm_chip_that_can_be_switched_off_is_well(
    bench: Bench, examined: Callable[[], Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_pwm_chip(bench, monkeypatch)
    assert examined() == Said(0, "ok", PCA9685, [], [])


def test_a_pwm_chip_that_nobody_can_switch_off_is_a_warning(
    bench: Bench, examined: Callable[[], Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_pwm_chip(bench, monkeypatch, re.sub("output_enable = .*\n", "", CHIP))
    said = examined()
    assert (said.code, said.worst, said.alarms) == (1, "warning", [("last pulse", "warning")])
    assert said.checks == [check for check in PCA9685 if check != "gpio"]


@pytest.mark.parametrize(
    ("spoil", "check", "remedy"),
    [
        (
            lambda bench: having(f"{POLICY}/scaling_governor", "ondemand\n")(bench.root),
            "governor",
            "echo performance | sudo tee ",
        ),
        (lambda bench: service_is(bench, ActiveState="inactive"), "service", "sudo systemctl start "),
        (lambda bench: service_is(bench, UnitFileState="disabled"), "service", "sudo systemctl enable "),
    ],
)
def test_what_somebody_chose_is_a_note_and_no_fault(
    spoil: Spoil, check: str, remedy: str, bench: Bench, examined: Callable[[], Said]
) -> None:
    """As after an installation with nothing but the usual answers, while the service is stopped for the doctor."""
    spoil(bench)
    said = examined()
    assert (said.code, said.worst, said.checks) == (0, "note", SERIAL)
    assert said.alarms == [(check, "note")]
    assert said.remedies[0].startswith(remedy)


def flip_a_byte(bench: Bench) -> None:
    graph = bench.model / "imagine.int8.onnx"
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1
    graph.write_bytes(data)


def press_the_button(bench: Bench) -> None:
    bench.robot.board.tell("button 1")
    bench.robot.board.wait_until_latched()


def of_another_computer(bench: Bench) -> None:
    having("proc/device-tree/compatible", "acme,board\0")(bench.root)
    having("proc/device-tree/model", "Acme Board\0")(bench.root)


FAULTS: dict[str, tuple[Spoil, str, str, str]] = {
    "another board": (of_another_computer, "board", "warning", 'board = "generic-aarch64"'),
    "little memory": (
        lambda bench: having("proc/meminfo", "MemTotal: 1000000 kB\nMemAvailable: 102400 kB\n")(bench.root),
        "memory",
        "ERROR",
        "ps ",
    ),
    "a worn card": (
        lambda bench: having("sys/fs/ext4/mmcblk0p2/errors_count", "3\n")(bench.root),
        "disk errors",
        "ERROR",
        "save what is on it",
    ),
    "heat": (
        lambda bench: having("sys/class/thermal/thermal_zone0/temp", "81000\n")(bench.root),
        "temperature",
        "ERROR",
        "a heat sink",
    ),
    "little voltage": (
        lambda bench: program_in(bench.programs, "vcgencmd", "echo throttled=0x50005"),
        "throttling",
        "ERROR",
        "a stronger power supply",
    ),
    "a firmware that may not be asked": (
        lambda bench: program_in(bench.programs, "vcgencmd", "exit 255"),
        "throttling",
        "warning",
        "sudo usermod -aG video ",
    ),
    "a clock at its lowest": (
        lambda bench: having(f"{POLICY}/scaling_governor", "powersave\n")(bench.root),
        "governor",
        "warning",
        "echo performance",
    ),
    "a watchdog that nobody feeds": (
        lambda bench: having(f"{WATCHDOG}/state", "inactive\n")(bench.root),
        "watchdog",
        "warning",
        "sudo mkdir -p /etc/systemd",
    ),
    "a service that fell": (
        lambda bench: service_is(bench, ActiveState="failed", Result="watchdog"),
        "service",
        "ERROR",
        "journalctl",
    ),
    "I2C not switched on": (
        lambda bench: lacking("dev/i2c-1")(having_raspi_config(bench)),
        "i2c",
        "ERROR",
        "sudo raspi-config nonint do_i2c 0",
    ),
    "a pressed button": (press_the_button, "bridge", "ERROR", "edge-wm bridge clear-faults --robot "),
    "a camera that stands still": (
        lambda bench: bench.robot.show(moving=1, still=200),
        "camera",
        "ERROR",
        "look at what it sees",
    ),
    "a camera that is not there": (
        lambda bench: bench.robot.amend('path = "pictures"', 'path = "nowhere"'),
        "camera",
        "ERROR",
        "is it plugged in?",
    ),
    "a dead distance sensor": (
        lambda bench: setattr(bench.robot.ring[3], "fault", errno.EREMOTEIO),
        "sensors",
        "ERROR",
        "docs/sensors.md",
    ),
    "a dead gyroscope": (
        lambda bench: setattr(bench.robot.imu, "fault", errno.EREMOTEIO),
        "sensors",
        "ERROR",
        "docs/sensors.md",
    ),
}


def having_raspi_config(bench: Bench) -> Path:
    write(bench.root, "usr/bin/raspi-config", "")
    return bench.root


@pytest.mark.parametrize("fault", FAULTS)
def test_of_one_fault_there_is_that_finding_and_no_other(
    fault: str, bench: Bench, examined: Callable[[], Said]
) -> None:
    spoil, check, level, remedy = FAULTS[fault]
    spoil(bench)
    said = examined()
    assert said.alarms == [(check, level)]
    assert (said.code, said.worst, said.checks) == (1, level, SERIAL)
    assert said.remedies[0].startswith(remedy)


def test_a_firmware_of_another_protocol_is_that_finding_and_no_other(
    bench: Bench, examined: Callable[[], Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("firmware_bridge.serial_bridge.PROTOCOL", PROTOCOL ^ 1)
    said = examined()
    assert (said.alarms, said.checks) == ([("bridge", "ERROR")], SERIAL)
    assert said.remedies == [f"edge-wm bridge flash --robot {bench.robot.file}"]


def test_a_damaged_model_is_not_run(bench: Bench, examined: Callable[[], Said]) -> None:
    flip_a_byte(bench)
    said = examined()
    assert said.alarms == [("model", "ERROR")]
    assert said.checks == [check for check in SERIAL if check not in ("engine", "speed")]


def test_a_console_on_the_motors_port_is_one_check_more(bench: Bench, examined: Callable[[], Said]) -> None:
    name = Path(bench.robot.board.device).name
    having("proc/cmdline", f"console={name},115200 console=tty1\n")(bench.root)
    said = examined()
    assert said.alarms == [("console", "warning")]
    behind = SERIAL.index("serial") + 1
    assert said.checks == [*SERIAL[:behind], "console", *SERIAL[behind:]]


def test_of_several_the_worst_is_said_last_and_they_stay_in_order(
    bench: Bench, examined: Callable[[], Said]
) -> None:
    for fault in ("a dead gyroscope", "a watchdog that nobody feeds", "little memory"):
        FAULTS[fault][0](bench)
    having(f"{POLICY}/scaling_governor", "schedutil\n")(bench.root)
    said = examined()
    assert (said.code, said.worst) == (1, "ERROR")
    assert said.alarms == [
        ("memory", "ERROR"),
        ("governor", "note"),
        ("watchdog", "warning"),
        ("sensors", "ERROR"),
    ]


def test_nothing_moves(bench: Bench, examined: Callable[[], Said]) -> None:
    examined()
    assert bench.robot.powers() == []
