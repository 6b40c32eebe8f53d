"""The first drive, wheels up: right wheels pass it, and each thing that is commonly connected wrongly fails it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from firmware_bridge.arm_test import MOVEMENTS, Check, arm_test
from firmware_bridge.bridge import Command, Telemetry
from firmware_bridge.chassis import Chassis
from firmware_bridge.serial_bridge import SerialBridge
from firmware_bridge.simulator.avr_bench import CHASSIS, AvrBench, BenchLine


@pytest.fixture
def line(folder: Path) -> Iterator[BenchLine]:
    bench = AvrBench(folder)
    bench.run(100_000)
    yield BenchLine(bench)
    bench.close()


def bridge_to(line: BenchLine, chassis: Chassis = CHASSIS) -> SerialBridge:
    bridge = SerialBridge("bench", chassis, opened=lambda device, baud: line, clock=line.now)
    bridge.connect()
    return bridge


def checks(line: BenchLine, chassis: Chassis = CHASSIS) -> list[Check]:
    return list(arm_test(bridge_to(line, chassis), chassis, line.sleep))


def test_right_wheels_pass(line: BenchLine) -> None:
    found = checks(line)
    assert [check.name for check in found] == [*MOVEMENTS, "falls silent"]
    assert all(check.passed for check in found), found
    assert line.bench.state().power == (0, 0)


def test_a_robot_that_must_not_reverse_does_not(line: BenchLine) -> None:
    assert [check.name for check in checks(line, replace(CHASSIS, max_reverse_v=0.0))] == [
        "forward",
        "turn left",
        "turn right",
        "falls silent",
    ]


def test_an_encoder_the_wrong_way_round_ends_it(line: BenchLine) -> None:
    line.bench.wheel(True, encoder=-1)
    [found] = checks(line)
    assert found.passed is False
    assert "latched: runaway" in found.remark
    assert line.bench.state().power == (0, 0)


@pytest.mark.parametrize("wheel", [{"blocked": True}, {"encoder": 0}, {"encoder": 2}])
def test_a_wheel_that_does_not_count_ends_it(line: BenchLine, wheel: dict[str, int]) -> None:
    line.bench.wheel(True, **wheel)  # type: ignore[arg-type]
    [found] = checks(line)
    assert found.passed is False
    assert found.remark == "bench: latched: stalled"
    assert line.bench.state().power == (0, 0)


def test_a_robot_that_must_be_slow_is_driven_slowly(line: BenchLine) -> None:
    found = {check.name: check for check in checks(line, replace(CHASSIS, max_v=0.05, max_w=0.5))}
    forward, left = found["forward"].expected_m, found["turn left"].expected_m
    assert forward is not None
    assert left is not None
    assert forward[0] < 0.07
    assert abs(left[0]) < 0.05


class StuckOn(SerialBridge):
    """Its motor driver does not do what the firmware tells it: the encoders go on."""

    extra_m = 0.0

    def telemetry(self) -> Telemetry:
        self.extra_m += 0.02
        found = super().telemetry()
        wheels = found.wheels_m or (0.0, 0.0)
        return replace(found, wheels_m=(wheels[0] + self.extra_m, wheels[1]))


def test_wheels_that_go_on_after_the_deadman_are_found(line: BenchLine) -> None:
    bridge = StuckOn("bench", CHASSIS, opened=lambda device, baud: line, clock=line.now)
    bridge.connect()
    last = list(arm_test(bridge, CHASSIS, line.sleep))[-1]
    assert (last.name, last.passed, last.remark) == ("falls silent", False, "the wheels still turn")


class Obedient:
    """A bridge whose firmware has no deadman, and whose encoders are exchanged."""

    def __init__(self) -> None:
        self.time = 0.0
        self.wheels = [0.0, 0.0]
        self.in_force = Command(0.0, 0.0)

    def connect(self) -> None:
        pass

    def arm(self) -> None:
        pass

    def apply(self, command: Command) -> Command:
        self.in_force = command
        return command

    def pass_time(self, seconds: float) -> None:
        rim = self.in_force.w * CHASSIS.track_m / 2.0
        self.time += seconds
        self.wheels[1] += (self.in_force.v - rim) * seconds
        self.wheels[0] += (self.in_force.v + rim) * seconds

    def telemetry(self) -> Telemetry:
        return Telemetry(self.time, True, self.in_force, wheels_m=(self.wheels[0], self.wheels[1]))

    def stop(self) -> None:
        self.in_force = Command(0.0, 0.0)

    def close(self) -> None:
        self.stop()


def test_exchanged_encoders_and_a_deadman_that_does_not_work_are_found() -> None:
    bridge = Obedient()
    found = {check.name: check for check in arm_test(bridge, CHASSIS, bridge.pass_time)}
    assert found["forward"].passed
    assert found["turn left"].remark == "wrong: left and right"
    assert found["falls silent"].remark == "it still obeyed: its deadman does not work"


def test_a_robot_that_is_stopped_by_somebody_else_is_not_made_to_wait_for(line: BenchLine) -> None:
    bridge = SerialBridge("bench", CHASSIS, opened=lambda device, baud: line, clock=line.now)
    bridge.connect()
    names = [check.name for check in arm_test(bridge, CHASSIS, line.sleep, has_deadman=False)]
    assert names == list(MOVEMENTS)
    assert line.bench.state().power == (0, 0)


def test_a_robot_with_a_short_tick_is_commanded_as_often_as_that(line: BenchLine) -> None:
    chassis, slept = replace(CHASSIS, tick_s=0.02), []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        line.sleep(seconds)

    bridge = SerialBridge("bench", chassis, opened=lambda device, baud: line, clock=line.now)
    bridge.connect()
    assert all(check.passed for check in arm_test(bridge, chassis, sleep, has_deadman=False))
    assert set(slept) == {0.02}
