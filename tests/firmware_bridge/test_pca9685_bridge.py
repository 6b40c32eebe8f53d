"""The bridge, on a fake bus with a byte-exact chip.  The guard decides as the real one does, on the same clock and in the same process."""

from __future__ import annotations

import errno
import itertools
import math
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from firmware_bridge import NEUTRAL, BridgeError, Command
from firmware_bridge.chassis import Chassis
from firmware_bridge.drivetrain import Ackermann, Differential, Motor
from firmware_bridge.output_enable import GpioSwitch, OutputEnable
from firmware_bridge.pca9685 import Pca9685, registers_of
from firmware_bridge.pca9685_bridge import Pca9685Bridge
from firmware_bridge.pca9685_guard import RETRY_S, Watch
from firmware_bridge.pca9685_guard_process import GuardError
from firmware_bridge.pca9685_outputs import Car, Esc, HBridge, HBridges, Outputs, Steering, Wiring
from firmware_bridge.simulator.avr_bench import CHASSIS as SIMULATED
from tests.firmware_bridge.fake_pca9685 import FakeBus, FakeDevice, FakePca9685, FakeSwitch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="I2C devices are Linux's")

TICK_S = 0.05
CHASSIS = replace(SIMULATED, tick_s=TICK_S)
MOTOR = Motor(full_speed=0.5, dead_zone=0.25)
MOTORS = HBridges(Differential(0.15, MOTOR, MOTOR), left=HBridge(10, 9, pwm=8), right=HBridge(11, 12, pwm=13))
CAR = Car(
    Ackermann(0.26, 0.45, Motor(full_speed=2.0)),
    Steering(1, centre_us=1480, left_us=1900, right_us=1100),
    Esc(0, neutral_us=1500, forward_us=1900, backward_us=1150),
)
PIN = OutputEnable("/dev/gpiochip0", 17)
FAULTS = {
    "NACK": errno.ENXIO,
    "NACK, on other adapters": errno.EREMOTEIO,
    "bus stuck low": errno.ETIMEDOUT,
    "arbitration lost": errno.EAGAIN,
    "transfer failed": errno.EIO,
    "adapter gone": errno.ENODEV,
}
_buses = itertools.count(os.getpid() * 1000)
"""Each test claims a chip of its own."""


class Rig:
    """Clock, chip, bus, OE and guard around a bridge."""

    def __init__(
        self, outputs: Outputs = MOTORS, chassis: Chassis = CHASSIS, pin: OutputEnable | None = None
    ) -> None:
        self.now = 50.0
        self.chip = FakePca9685(lambda: self.now)
        self.bus = FakeBus(self.chip, sleep=self.sleep)
        self.devices: list[FakeDevice] = []
        self.guard: GuardHere | None = None
        self.guard_dead = False
        self.switch: FakeSwitch | None = None
        hz = 50.0 if isinstance(outputs, Car) else 1000.0
        self.wiring = Wiring(next(_buses), hz, output_enable=pin)
        self.outputs, self.chassis = outputs, chassis
        self.bridge = self.another()

    def another(self) -> Pca9685Bridge:
        return Pca9685Bridge(
            self.chassis,
            self.outputs,
            self.wiring,
            opened=lambda number: self.open(),
            guarded=lambda wiring, deadman_s, claim: self.guarded(deadman_s),
            switched=self.switched,
            clock=lambda: self.now,
            sleep=self.sleep,
        )

    def open(self) -> FakeDevice:
        self.devices.append(FakeDevice(self.bus))
        return self.devices[-1]

    def switched(self, pin: OutputEnable) -> FakeSwitch:
        self.switch = FakeSwitch(self.chip, pin)
        return self.switch

    def guarded(self, deadman_s: float) -> GuardHere:
        self.guard = GuardHere(self, deadman_s)
        return self.guard

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def armed(self) -> Pca9685Bridge:
        self.bridge.connect()
        self.bridge.arm()
        return self.bridge

    def drive(self, command: Command, ticks: int = 10) -> Command:
        for _ in range(ticks):
            applied = self.bridge.apply(command)
            self.sleep(TICK_S)
        return applied

    def fail(self, number: int, when: Callable[[int], bool]) -> None:
        """Transfers fail whose number from here on is such."""
        count = itertools.count()
        self.bus.fault = lambda what, address, register: number if when(next(count)) else None

    def heal(self) -> None:
        self.bus.fault = lambda what, address, register: None

    @property
    def high(self) -> dict[int, int]:
        """The channels that are high at all, once the cycle is over."""
        self.sleep(0.03)
        return {channel: high for channel, high in enumerate(self.chip.high) if high}


class GuardHere:
    """The real guard's decisions; dead, it is a process that was killed."""

    def __init__(self, rig: Rig, deadman_s: float) -> None:
        self.rig = rig
        switch = rig.switched(PIN) if rig.wiring.output_enable else None
        self.watch = Watch(rig.open, 0x40, switch, deadman_s, lambda: rig.now, rig.sleep)
        self.ended = False

    def _alive(self) -> None:
        if self.rig.guard_dead:
            raise GuardError("the guard has died")

    def enable(self) -> None:
        self._alive()
        self.watch.enable()

    def check(self, now: float) -> None:
        self._alive()
        self.watch.look()
        if self.watch.tripped:
            self.watch.rest()
            raise GuardError("the guard has turned the outputs off")

    def feed(self, now: float) -> None:
        self._alive()
        self.watch.feed(now)

    def end(self, wait_s: float) -> bool:
        if not self.rig.guard_dead and not self.ended:
            self.watch.trip()
            self.ended = self.watch.rest()
        return self.ended or self.rig.guard_dead


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.heal()
    rig.bridge.close()


# --- driving -------------------------------------------------------------------------------------------------------------


def test_it_drives_two_motors_through_h_bridges(rig: Rig) -> None:
    rig.armed()
    assert rig.high == {}
    assert rig.drive(Command(0.25, 0.0)) == Command(0.25, 0.0)
    power = round((0.25 + 0.75 * 0.5) * 4096)
    assert rig.high == {8: power, 10: 4096, 13: power, 11: 4096}
    assert rig.drive(Command(-0.15, 0.0)) == Command(-0.15, 0.0)
    power = round((0.25 + 0.75 * 0.3) * 4096)
    assert rig.high == {8: power, 9: 4096, 13: power, 12: 4096}
    assert rig.drive(NEUTRAL) == NEUTRAL
    assert rig.high == {}


def test_full_power_is_full_on() -> None:
    rig = Rig()
    rig.armed()
    rig.drive(Command(0.5, 0.0))
    assert rig.high == {8: 4096, 10: 4096, 13: 4096, 11: 4096}
    rig.bridge.close()


def test_it_drives_two_motors_whose_inputs_carry_the_pwm() -> None:
    rig = Rig(HBridges(MOTORS.drive, left=HBridge(1, 0), right=HBridge(2, 3)))
    rig.armed()
    rig.drive(Command(0.0, 2.5), 20)
    power = round((0.25 + 0.75 * 2.5 * 0.075 / 0.5) * 4096)
    assert rig.high == {0: power, 2: power}
    rig.bridge.close()


def test_it_drives_a_car() -> None:
    rig = Rig(CAR)
    rig.armed()
    step_us = 4.88  # 122 cycles of a 25 MHz oscillator
    assert rig.high == {0: round(1500 / step_us), 1: round(1480 / step_us)}
    applied = rig.drive(Command(0.5, 0.5), 20)
    assert applied == Command(0.5, pytest.approx(0.5))
    share = math.atan(0.26) / 0.45
    assert rig.high == {0: round(1600 / step_us), 1: pytest.approx((1480 + share * 420) / step_us, abs=0.6)}
    rig.drive(Command(-0.15, 0.1), 20)
    assert rig.high[0] < round(1500 / step_us)
    assert rig.high[1] < round(1480 / step_us)
    rig.bridge.stop()
    assert rig.high == {}  # no pulse: the ESC is left to its own failsafe
    rig.bridge.close()


def test_an_esc_is_armed_with_its_neutral_pulse() -> None:
    rig = Rig(CAR)
    rig.bridge.connect()
    assert rig.high == {}
    before = rig.now
    rig.bridge.arm()
    assert rig.now - before >= 2.0
    assert rig.high
    assert {change.high[0] for change in rig.chip.changes} == {0, round(1500 / 4.88)}
    rig.bridge.close()


def test_it_returns_what_it_sent_along_the_ramps(rig: Rig) -> None:
    rig.armed()
    assert rig.bridge.apply(Command(9.0, 0.0)) == NEUTRAL  # no time has passed
    rig.sleep(TICK_S)
    assert rig.bridge.apply(Command(9.0, 0.0)).v == pytest.approx(1.5 * TICK_S, rel=0.2)
    assert rig.drive(Command(9.0, 0.0)) == Command(0.5, 0.0)
    assert 0.5 - rig.bridge.apply(Command(-9.0, 0.0)).v == pytest.approx(2.0 * TICK_S, rel=0.2)
    assert rig.drive(Command(-9.0, 0.0)) == Command(-0.15, 0.0)


def test_a_tick_that_came_late_is_no_leap(rig: Rig) -> None:
    rig.armed()
    rig.drive(NEUTRAL, 2)
    rig.sleep(0.1)
    assert rig.bridge.apply(Command(0.5, 0.0)).v <= 1.5 * 1.5 * TICK_S + 1e-9


def test_a_wheel_that_cannot_slows_both_on_the_same_arc(rig: Rig) -> None:
    rig.armed()
    applied = rig.drive(Command(0.5, 2.5), 20)
    assert applied.v < 0.5
    assert applied.w / applied.v == pytest.approx(5.0)


def test_it_tells_what_is_in_force(rig: Rig) -> None:
    rig.armed()
    rig.drive(Command(0.2, 0.0))
    told = rig.bridge.telemetry()
    assert (told.armed, told.applied, told.faults, told.wheels_m) == (True, Command(0.2, 0.0), (), None)
    rig.bridge.stop()
    assert (rig.bridge.telemetry().armed, rig.bridge.telemetry().applied) == (False, NEUTRAL)


@pytest.mark.parametrize("command", [Command(math.nan, 0.0), Command(0.0, math.inf)])
def test_a_velocity_that_is_not_finite_is_not_sent(rig: Rig, command: Command) -> None:
    rig.armed()
    rig.drive(Command(0.3, 0.0))
    rig.bus.log.clear()
    with pytest.raises(BridgeError, match="not finite"):
        rig.bridge.apply(command)
    assert rig.bus.log == []


def test_a_velocity_too_large_for_any_number_is_clamped(rig: Rig) -> None:
    rig.armed()
    assert rig.drive(Command(1e306, 0.0)) == Command(0.5, 0.0)


# --- starting and stopping -----------------------------------------------------------------------------------------------


def test_connecting_turns_off_what_a_dead_host_left_on(rig: Rig) -> None:
    rig.armed()
    rig.drive(Command(0.5, 0.0))
    rig.guard_dead = True
    rig.bridge._claim.close()  # type: ignore[union-attr] # both were killed
    assert rig.high
    rig.bus.log.clear()
    heir = rig.another()
    heir.connect()
    assert rig.bus.log[0] == (0xFD, b"\x10")
    assert rig.high == {}
    heir.close()


def test_stopping_puts_the_chip_to_sleep_and_arming_wakes_it(rig: Rig) -> None:
    rig.armed()
    for _ in range(2):
        rig.drive(Command(0.5, 0.0))
        assert rig.high
        rig.bridge.stop()
        assert rig.high == {}
        assert not rig.chip.awake
        rig.bridge.stop()
        rig.bridge.arm()
        assert rig.high == {}


def test_calls_out_of_order_are_refused(rig: Rig) -> None:
    for call in (rig.bridge.arm, lambda: rig.bridge.apply(NEUTRAL)):
        with pytest.raises(BridgeError, match="not connected"):
            call()
    rig.bridge.stop()
    rig.bridge.connect()
    with pytest.raises(BridgeError, match="not armed"):
        rig.bridge.apply(NEUTRAL)
    with pytest.raises(BridgeError, match="connected already"):
        rig.bridge.connect()
    rig.bridge.close()
    rig.bridge.close()
    with pytest.raises(BridgeError, match="not connected"):
        rig.bridge.apply(NEUTRAL)


def test_one_program_drives_a_chip(rig: Rig) -> None:
    rig.armed()
    rig.drive(Command(0.5, 0.0))
    with pytest.raises(BridgeError, match="another program drives it, or the guard of the last drive"):
        rig.another().connect()
    assert rig.high  # nor has it touched anything
    rig.bridge.close()
    heir = rig.another()
    heir.connect()
    heir.close()


@pytest.mark.parametrize("block", [0, 1, 2, 3])
def test_a_signal_handler_that_stops_within_a_command_has_the_last_word(block: int) -> None:
    """Whichever transfer it comes before."""
    rig = Rig()
    rig.armed()
    rig.drive(Command(0.3, 0.0))
    count = itertools.count()

    def interrupted(what: str, address: int, register: int) -> None:
        if next(count) == block:
            rig.bridge.stop()

    rig.bus.fault = interrupted
    with pytest.raises(BridgeError, match="the motors were stopped meanwhile"):
        rig.bridge.apply(Command(0.5, 0.0))
    assert rig.high == {}
    assert rig.bridge.telemetry().faults == ()
    rig.heal()
    rig.bridge.arm()  # it is connected still
    rig.drive(Command(0.3, 0.0))
    assert rig.high
    rig.bridge.close()


# --- faults --------------------------------------------------------------------------------------------------------------


def assert_recovers(rig: Rig) -> None:
    """On the same object, and without a new program."""
    rig.bridge.connect()
    assert rig.bridge.telemetry().faults == ()
    rig.bridge.arm()
    assert rig.drive(Command(0.2, 0.0)) == Command(0.2, 0.0)
    assert rig.high


def assert_reported_once(rig: Rig, fault: str) -> None:
    assert rig.bridge.telemetry().faults == (fault,)
    assert not rig.bridge.telemetry().armed
    for _ in range(3):
        with pytest.raises(BridgeError, match="not connected"):
            rig.bridge.apply(Command(0.5, 0.0))


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("first", range(4))
def test_a_bus_that_fails_is_noticed_within_the_tick_reported_once_and_recovered_from(
    name: str, first: int
) -> None:
    """Whichever transfer of a command fails first: both reads of the modes, the write, or its reading back."""
    rig = Rig()
    rig.armed()
    rig.drive(Command(0.5, 0.0))
    before = rig.now
    rig.fail(FAULTS[name], lambda number: number >= first)
    with pytest.raises(BridgeError, match=r"0x40: .*the guard goes on trying to turn the outputs off"):
        rig.bridge.apply(Command(0.5, 0.0))
    assert rig.now - before < 0.12  # the guard's own tries, which here stand in the way, included
    assert rig.high  # nothing reaches the chip
    assert_reported_once(rig, "bus failed")
    with pytest.raises(BridgeError):
        rig.bridge.connect()
    rig.heal()
    assert_recovers(rig)
    rig.bridge.close()


def test_what_a_tick_costs_on_a_stuck_bus_is_bounded(rig: Rig) -> None:
    rig.armed()
    rig.drive(Command(0.5, 0.0))
    rig.guard_dead = True  # so that it costs nothing here
    rig.fail(errno.ETIMEDOUT, lambda number: True)
    assert rig.guard is not None
    rig.guard._alive = lambda: None  # type: ignore[method-assign]
    before = rig.now
    with pytest.raises(BridgeError, match="the bus is stuck"):
        rig.bridge.apply(Command(0.5, 0.0))
    assert rig.now - before <= 0.0801


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("only", range(4))
def test_a_single_transfer_that_fails_is_tried_again_within_the_tick(name: str, only: int) -> None:
    rig = Rig()
    rig.armed()
    rig.drive(Command(0.5, 0.0))
    rig.fail(FAULTS[name], lambda number: number == only)
    assert rig.bridge.apply(Command(0.5, 0.0)) == Command(0.5, 0.0)
    assert len(rig.high) == 4
    rig.bridge.close()


def test_a_bus_that_works_again_at_once_is_turned_off_on(rig: Rig) -> None:
    rig.armed()
    rig.drive(Command(0.5, 0.0))
    rig.fail(errno.EIO, lambda number: number < 2)
    with pytest.raises(BridgeError, match=r"the transfer failed: .*: connect again"):
        rig.bridge.apply(Command(0.5, 0.0))
    assert rig.high == {}
    assert_recovers(rig)


def test_a_chip_that_browns_out_is_noticed_and_set_up_anew(rig: Rig) -> None:
    rig.armed()
    rig.drive(Command(0.5, 0.0))
    rig.chip.power_cycle()
    with pytest.raises(BridgeError, match="it was reset, as when its supply falls"):
        rig.bridge.apply(Command(0.5, 0.0))
    assert rig.high == {}
    assert_reported_once(rig, "chip changed")
    assert_recovers(rig)


def test_without_that_check_a_chip_that_browned_out_stands_and_nobody_knows(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control: in a chip that was reset, registers are not counted up, and reading back would be all that tells."""
    rig.armed()
    rig.drive(Command(0.5, 0.0))
    rig.chip.power_cycle()
    monkeypatch.setattr("firmware_bridge.pca9685.Pca9685.check", lambda chip: None)
    monkeypatch.setattr("firmware_bridge.pca9685.Pca9685.write", lambda chip, levels: None)
    assert rig.bridge.apply(Command(0.5, 0.0)) == Command(0.5, 0.0)
    assert rig.high == {}


def test_a_brown_out_between_check_and_write_is_noticed_in_the_same_tick(rig: Rig) -> None:
    rig.armed()
    rig.drive(Command(0.5, 0.0))
    count = itertools.count()

    def brown_out(what: str, address: int, register: int) -> None:
        if next(count) == 2:
            rig.chip.power_cycle()

    rig.bus.fault = brown_out
    with pytest.raises(BridgeError, match="it was reset"):
        rig.bridge.apply(Command(0.5, 0.0))
    assert rig.high == {}


@pytest.mark.parametrize(("register", "value"), [(0x00, 0x21), (0x01, 0x14), (0x00, 0x30)])
def test_another_program_at_the_chip_is_noticed(rig: Rig, register: int, value: int) -> None:
    rig.armed()
    rig.drive(Command(0.5, 0.0))
    rig.bus.write(0x40, register, bytes((value,)))
    with pytest.raises(BridgeError, match="another program has changed it"):
        rig.bridge.apply(Command(0.5, 0.0))
    assert rig.high == {}


def test_others_do_not_turn_our_motors_by_the_all_call_address(rig: Rig) -> None:
    rig.armed()
    with pytest.raises(BridgeError, match="nothing answers"):
        rig.bus.write(0x70, 0xFA, bytes((0, 0x10, 0, 0)))
    assert rig.high == {}


def test_a_byte_that_is_spoiled_once_is_sent_again_and_twice_is_a_fault(rig: Rig) -> None:
    rig.armed()
    rig.drive(Command(0.3, 0.0))
    left = [1]

    def spoil(data: bytes) -> bytes:
        if len(data) < 4 or not left:
            return data
        left.pop()
        return bytes((data[0], data[1], data[2] ^ 0x40, *data[3:]))

    rig.bus.spoil = spoil
    rig.bridge.apply(Command(0.3, 0.0))
    right = rig.high
    left += [1, 1]
    with pytest.raises(BridgeError, match=r"wrote .* and read"):
        rig.bridge.apply(Command(0.3, 0.0))
    assert rig.high == {}
    assert right[8] == right[13] == round((0.25 + 0.75 * 0.6) * 4096)


@pytest.mark.parametrize("name", FAULTS)
def test_a_chip_that_is_missing_at_the_start_is_one_line_and_connects_when_it_is_there(name: str) -> None:
    rig = Rig()
    rig.fail(FAULTS[name], lambda number: True)
    for _ in range(2):
        with pytest.raises(BridgeError) as error:
            rig.bridge.connect()
        assert "chip 0x40: " in str(error.value)
        assert "\n" not in str(error.value)
        assert not any(device.is_open for device in rig.devices)
    rig.heal()
    assert_recovers(rig)
    rig.bridge.close()


def test_another_device_at_the_address_is_refused_and_left_alone(rig: Rig) -> None:
    rig.chip.registers = bytearray(256)
    with pytest.raises(BridgeError, match="another device than a PCA9685"):
        rig.bridge.connect()
    assert rig.bus.log == []


# --- the deadman ---------------------------------------------------------------------------------------------------------


def test_a_command_that_comes_too_late_is_not_sent(rig: Rig) -> None:
    rig.armed()
    rig.drive(Command(0.5, 0.0))
    rig.sleep(0.2)
    rig.bus.log.clear()
    with pytest.raises(BridgeError, match=r"no command for 0\.2\d+ s, and the deadman allows 0\.194"):
        rig.bridge.apply(Command(0.5, 0.0))
    assert all(len(data) == 1 for _, data in rig.bus.log)  # modes and off; no pulses
    assert rig.high == {}
    assert_reported_once(rig, "deadman")
    assert_recovers(rig)


def test_what_the_guard_found_is_believed(rig: Rig) -> None:
    """Whatever the bridge's own clock says."""
    rig.armed()
    rig.drive(Command(0.5, 0.0))
    assert rig.guard is not None
    rig.guard.watch.trip()
    with pytest.raises(BridgeError, match="the guard has turned the outputs off: connect again"):
        rig.bridge.apply(Command(0.5, 0.0))
    assert rig.high == {}
    assert_reported_once(rig, "guard")
    assert_recovers(rig)


def test_without_guard_and_deadline_it_would_drive_on(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control."""
    rig.armed()
    rig.drive(Command(0.5, 0.0))
    monkeypatch.setattr(Pca9685Bridge, "_insist", lambda bridge, guard, now: None)
    rig.sleep(0.2)
    rig.bridge.apply(Command(0.5, 0.0))
    assert rig.high


def test_a_command_that_was_under_way_when_the_deadline_passed_does_not_stay(rig: Rig) -> None:
    """The host is stopped between its look at the clock and its write, and goes on long afterwards."""
    rig.armed()
    rig.drive(Command(0.5, 0.0))
    count = itertools.count()

    def stopped(what: str, address: int, register: int) -> None:
        if next(count) == 2:
            rig.sleep(0.5)

    rig.bus.fault = stopped
    with pytest.raises(BridgeError, match="no command for"):
        rig.bridge.apply(Command(0.5, 0.0))
    assert rig.high == {}


@pytest.mark.parametrize("outputs", [MOTORS, CAR], ids=["motors", "car"])
def test_pulses_that_come_when_the_guard_has_acted_have_no_effect(
    outputs: Outputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if the host did not look again: the chip is asleep."""
    rig = Rig(outputs)
    paused_within_a_command(rig, monkeypatch)
    assert rig.high == {}
    rig.bridge.close()


def test_were_the_chip_not_put_to_sleep_they_would(monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control."""
    rig = Rig()
    monkeypatch.setattr(Pca9685, "rest", Pca9685.off)
    monkeypatch.setattr(Pca9685, "set_up", lambda chip, prescale: awake(rig, chip, prescale))
    paused_within_a_command(rig, monkeypatch)
    assert rig.high
    rig.bridge.close()


def awake(rig: Rig, chip: Pca9685, prescale: int) -> None:
    rig.chip.registers[0xFE] = chip._prescale = prescale
    chip._write(0x00, 0x20)


def paused_within_a_command(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that is stopped right before its write, for half a second, in which the guard acts; afterwards it looks at nothing."""
    rig.armed()
    rig.drive(Command(0.5, 0.0))
    assert rig.high
    count = itertools.count()

    def stopped(what: str, address: int, register: int) -> None:
        if next(count) == 2:
            rig.sleep(0.5)
            assert rig.guard is not None
            rig.guard.watch.look()
            assert rig.guard.watch.rest()
            assert rig.high == {}

    rig.bus.fault = stopped
    monkeypatch.setattr(Pca9685Bridge, "_insist", lambda bridge, guard, now: None)
    rig.bridge.apply(Command(0.5, 0.0))


@pytest.mark.parametrize("outputs", [MOTORS, CAR], ids=["motors", "car"])
@pytest.mark.parametrize("moment", range(10))
def test_whenever_such_pulses_come_the_guard_turns_them_off(outputs: Outputs, moment: int) -> None:
    """Between any two of its transfers: at worst they last two cycles, and as long as the transfers of another round take."""
    rig = Rig(outputs)
    rig.armed()
    rig.drive(Command(0.5, 0.0))
    assert rig.guard is not None
    count, late = itertools.count(), dict.fromkeys(range(14), 2048)

    def host_goes_on(what: str, address: int, register: int) -> None:
        if next(count) == moment:
            for channel in late:
                rig.chip.write(bytes((6 + 4 * channel, *registers_of(late[channel]))))

    rig.bus.fault = host_goes_on
    rig.sleep(0.2)
    rig.guard.watch.look()
    began = rig.now
    for _ in range(3):
        rig.guard.watch.rest()
        rig.sleep(RETRY_S)
    assert next(count) > moment
    assert rig.high == {}
    assert rig.chip.changes[-1].at - began < 0.03 + 2.5 * rig.chip.cycle_s
    rig.heal()
    rig.bridge.close()


def test_a_host_that_is_stopped_within_its_first_command_is_one_whose_commands_stay_out(rig: Rig) -> None:
    rig.armed()
    rig.sleep(TICK_S)
    count = itertools.count()

    def stopped_after_the_pulses(what: str, address: int, register: int) -> None:
        if next(count) == 3:
            assert rig.high
            rig.sleep(0.2)
            assert rig.guard is not None
            rig.guard.watch.look()
            assert rig.guard.watch.rest()
            assert rig.high == {}

    rig.bus.fault = stopped_after_the_pulses
    with pytest.raises(BridgeError, match="no command for"):
        rig.bridge.apply(Command(0.5, 0.0))
    assert next(count) > 3
    assert rig.high == {}


@pytest.mark.parametrize("moment", range(14))
def test_a_signal_handler_that_stops_while_it_is_armed_has_the_last_word(moment: int) -> None:
    rig = Rig(CAR)
    rig.bridge.connect()
    count = itertools.count()

    def interrupted(what: str, address: int, register: int) -> None:
        if next(count) == moment:
            rig.bridge.stop()

    rig.bus.fault = interrupted
    with pytest.raises(BridgeError, match="the motors were stopped meanwhile"):
        rig.bridge.arm()
    assert next(count) > moment
    assert rig.high == {}
    with pytest.raises(BridgeError, match="not armed"):
        rig.bridge.apply(Command(0.5, 0.0))
    rig.heal()
    rig.bridge.close()


def test_between_arming_and_the_first_command_there_is_no_deadline(rig: Rig) -> None:
    rig.armed()
    rig.sleep(5.0)
    rig.bridge.apply(Command(0.5, 0.0))


def test_a_dead_guard_stops_the_robot_in_the_same_tick(rig: Rig) -> None:
    rig.armed()
    rig.drive(Command(0.5, 0.0))
    rig.guard_dead = True
    with pytest.raises(BridgeError, match="the guard has died: connect again"):
        rig.bridge.apply(Command(0.5, 0.0))
    assert rig.high == {}
    rig.guard_dead = False
    assert_recovers(rig)


def test_without_that_look_it_would_drive_on_unguarded(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control."""
    rig.armed()
    rig.drive(Command(0.5, 0.0))
    rig.guard_dead = True
    monkeypatch.setattr(GuardHere, "_alive", lambda guard: None)
    rig.bridge.apply(Command(0.5, 0.0))
    assert rig.high


def test_a_dead_guard_and_a_dead_bus_leave_only_the_switch_on_the_battery(rig: Rig) -> None:
    rig.armed()
    rig.drive(Command(0.5, 0.0))
    rig.guard_dead = True
    rig.fail(errno.ETIMEDOUT, lambda number: True)
    with pytest.raises(BridgeError, match="nobody can turn them off: cut the motors' power"):
        rig.bridge.apply(Command(0.5, 0.0))


def test_a_guard_that_does_not_start_is_no_drive(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(deadman_s: float) -> GuardHere:
        raise GuardError("OE, /dev/gpiochip0 line 17: in use by another program: gpioinfo says by which")

    monkeypatch.setattr(rig, "guarded", refuse)
    rig.bridge.connect()
    with pytest.raises(BridgeError, match="line 17: in use by another program"):
        rig.bridge.arm()
    assert not rig.bridge.telemetry().armed
    monkeypatch.undo()
    assert_recovers(rig)


# --- the OE pin ----------------------------------------------------------------------------------------------------------


def test_oe_turns_the_outputs_off_where_the_bus_does_not() -> None:
    rig = Rig(pin=PIN)
    rig.armed()
    rig.drive(Command(0.5, 0.0))
    assert rig.high
    rig.fail(errno.ETIMEDOUT, lambda number: True)
    with pytest.raises(BridgeError, match="the guard goes on trying"):
        rig.bridge.apply(Command(0.5, 0.0))
    assert rig.high == {}
    assert any(rig.chip._live)  # the chip itself does not know
    rig.heal()
    assert_recovers(rig)
    rig.bridge.close()
    assert rig.chip.oe_high


def test_the_bridge_takes_the_pin_of_a_guard_that_has_died() -> None:
    rig = Rig(pin=PIN)
    rig.armed()
    rig.drive(Command(0.5, 0.0))
    rig.guard_dead = True
    rig.fail(errno.ETIMEDOUT, lambda number: True)
    with pytest.raises(BridgeError, match="the guard has died: connect again"):
        rig.bridge.apply(Command(0.5, 0.0))
    assert rig.high == {}
    rig.heal()
    rig.guard_dead = False
    assert_recovers(rig)
    rig.bridge.close()


class FakeLine:
    """Of ``gpiod.request_lines``."""

    def __init__(self, path: str, config: dict[int, object], consumer: str) -> None:
        ((self.line, settings),) = config.items()
        self.path, self.consumer, self.values, self.released = path, consumer, [settings.output_value], False  # type: ignore[attr-defined]
        self.direction = settings.direction  # type: ignore[attr-defined]

    def set_value(self, line: int, value: object) -> None:
        assert line == self.line
        self.values.append(value)

    def release(self) -> None:
        self.released = True


def test_a_pin_is_high_from_the_first_moment_and_low_while_enabled(monkeypatch: pytest.MonkeyPatch) -> None:
    gpiod = pytest.importorskip("gpiod", reason="pip install 'edge-wm[i2c]'")
    lines: list[FakeLine] = []

    def request(path: str, config: dict[int, object], consumer: str) -> FakeLine:
        lines.append(FakeLine(path, config, consumer))
        return lines[-1]

    monkeypatch.setattr(gpiod, "request_lines", request)
    switch = GpioSwitch(PIN)
    switch.enable()
    switch.disable()
    switch.close()
    (line,) = lines
    high, low = gpiod.line.Value.ACTIVE, gpiod.line.Value.INACTIVE
    assert (line.path, line.line, line.direction) == ("/dev/gpiochip0", 17, gpiod.line.Direction.OUTPUT)
    assert line.values == [high, low, high]
    assert line.released


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EBUSY, "in use by another program"),
        (errno.EACCES, "no permission: run  sudo usermod -aG gpio"),
        (errno.EINVAL, "no such line"),
    ],
)
def test_a_pin_that_cannot_be_had_is_one_line(
    monkeypatch: pytest.MonkeyPatch, number: int, said: str
) -> None:
    gpiod = pytest.importorskip("gpiod", reason="pip install 'edge-wm[i2c]'")

    def request(*args: object, **options: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(gpiod, "request_lines", request)
    with pytest.raises(BridgeError, match=f"OE, /dev/gpiochip0 line 17: {said}"):
        GpioSwitch(PIN)


def test_no_gpio_chip_is_one_line() -> None:
    pytest.importorskip("gpiod", reason="pip install 'edge-wm[i2c]'")
    with pytest.raises(BridgeError, match="no such GPIO chip: gpiodetect lists them"):
        GpioSwitch(OutputEnable("/dev/gpiochip99", 1))


# --- numbers that do not fit together ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Wiring(1, 50.0, address=0x20), "address is 0x20: it must be 0x40 to 0x77"),
        (lambda: Wiring(1, 50.0, address=0x70), "and not 0x70"),
        (lambda: Wiring(1, 10.0), "the chip can do 24 to 1526 Hz"),
        (lambda: Wiring(1, math.nan), "pwm_hz"),
        (lambda: Wiring(1, 50.0, oscillator_hz=20e6), "within 10 % of 25e6"),
        (lambda: HBridge(1, 1), "channel 1 is used twice"),
        (lambda: HBridge(1, 16), "there is no channel 16"),
        (lambda: HBridges(MOTORS.drive, HBridge(0, 1, 2), HBridge(3, 4, 2)), "channel 2 is used twice"),
        (lambda: Car(CAR.drive, CAR.steering, replace(CAR.esc, channel=1)), "channel 1 is used twice"),
        (lambda: Steering(0, 1500, 400, 1900), "left_us is 400: it must be 500 to 2500 us"),
        (
            lambda: Steering(0, 1500, 1600, 1900),
            "centre_us is 1500: it must lie between left_us and right_us",
        ),
        (lambda: Esc(0, 1500, 1500), "neutral_us is 1500: it must lie between"),
        (lambda: Esc(0, 1500, 1900, 1600), "neutral_us is 1500: it must lie between"),
        (lambda: Esc(0, 1500, 1900, arming_s=-1.0), "arming_s"),
        (lambda: Pca9685Bridge(CHASSIS, CAR, Wiring(1, 100.0)), "for these outputs it must be 50 to 60"),
        (
            lambda: Pca9685Bridge(CHASSIS, replace(CAR, esc=Esc(0, 1500, 1900)), Wiring(1, 50.0)),
            "the ESC has no backward_us: set max_reverse_v = 0",
        ),
        (
            lambda: Pca9685Bridge(replace(CHASSIS, track_m=0.2), MOTORS, Wiring(1, 1000.0)),
            "the drive's track is 0.15 m and the robot's 0.2 m",
        ),
        (
            lambda: Pca9685Bridge(CHASSIS, MOTORS, Wiring(1, 1000.0), 0.07),
            r"deadman_s is 0\.07: it must be 0\.081, which is 1\.5 ticks and a PWM cycle, to 0\.5",
        ),
        (lambda: Pca9685Bridge(CHASSIS, MOTORS, Wiring(1, 1000.0), 0.6), "to 0.5"),
    ],
)
def test_numbers_that_do_not_fit_together_are_refused(make: Callable[[], object], said: str) -> None:
    with pytest.raises(BridgeError, match=said):
        make()


def test_a_servo_or_esc_that_turns_the_other_way_has_longer_pulses_to_the_other_side() -> None:
    assert Steering(0, 1500, 1900, 1100).pulse_us(1.0) == 1900
    assert Steering(0, 1500, 1100, 1900).pulse_us(1.0) == 1100
    assert Esc(0, 1500, 1100, 1900).pulse_us(0.5) == 1300
    assert Esc(0, 1500, 1900).pulse_us(-1.0) == 1500
