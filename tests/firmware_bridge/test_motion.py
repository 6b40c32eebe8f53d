"""From a velocity to two motors: ramps, mixing, speed loops, and the faults that a wheel shows."""

from __future__ import annotations

import ctypes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge.wire import Fault, Result, State
from tests.firmware_bridge.core import Firmware, on_the_bench

TRACK_MM = 150.0
MAX_WHEEL_MMPS = 600


@pytest.mark.parametrize(
    ("v", "w"), [(300, 0), (-150, 0), (0, 2000), (0, -2000), (300, 1000), (100, -1500), (20, 0)]
)
def test_the_wheels_reach_their_speeds(firmware: Firmware, v: int, w: int) -> None:
    firmware.armed().run(2.0, v, w)
    assert firmware.left.speed_mmps == pytest.approx(v - w * TRACK_MM / 2000, abs=8)
    assert firmware.right.speed_mmps == pytest.approx(v + w * TRACK_MM / 2000, abs=8)


@pytest.mark.parametrize("gain", [0.5, 0.9])
def test_a_weaker_or_stronger_motor_reaches_them_too(firmware: Firmware, gain: float) -> None:
    """What a battery does in its life; without the integral the wheels would differ, and the robot drive an arc."""
    firmware.left.gain = gain
    firmware.armed().run(3.0, 300)
    assert firmware.left.speed_mmps == pytest.approx(300, abs=8)
    assert firmware.right.speed_mmps == pytest.approx(300, abs=8)


def test_without_encoders_the_power_is_that_of_an_unloaded_wheel(shim: ctypes.CDLL) -> None:
    with on_the_bench(shim, counts_per_turn=0) as firmware:
        firmware.armed().run(1.0, 350)
        assert firmware.power == (529, 529)  # 60 of dead zone, and of the rest 350 of 700 mm/s


def ramp(firmware: Firmware, v: int, w: int, ticks: int) -> list[tuple[int, int]]:
    powers = []
    for _ in range(ticks):
        firmware.drive(v, w)
        firmware.tick()
        powers.append(firmware.power)
    return powers


def test_it_stops_faster_than_it_starts(shim: ctypes.CDLL) -> None:
    with on_the_bench(shim, counts_per_turn=0) as firmware:
        firmware.armed()
        up = [right for _, right in ramp(firmware, 400, 0, 60)]
        down = [right for _, right in ramp(firmware, 0, 0, 60)]
        # 400 mm/s in steps of 10 and of 20.
        assert up.index(max(up)) == 39
        assert down.index(0) == 19


def test_turning_has_ramps_of_its_own(shim: ctypes.CDLL) -> None:
    with on_the_bench(shim, counts_per_turn=0) as firmware:
        firmware.armed()
        up = [right for _, right in ramp(firmware, 0, 2000, 60)]
        down = [right for _, right in ramp(firmware, 0, 0, 60)]
        assert up.index(max(up)) == 19  # steps of 100 mrad/s
        assert down.index(0) == 9  # and of 200


def test_from_forward_to_backward_it_passes_through_rest(shim: ctypes.CDLL) -> None:
    with on_the_bench(shim, counts_per_turn=0) as firmware:
        firmware.armed().run(1.0, 300)
        powers = [right for _, right in ramp(firmware, -100, 0, 60)]
        assert 0 in powers
        stop = powers.index(0)
        assert all(power > 0 for power in powers[:stop])
        assert all(power < 0 for power in powers[stop + 1 :])


@given(v=st.integers(-150, 500), w=st.integers(-2500, 2500))
def test_what_a_wheel_cannot_is_slowed_down_on_the_same_arc(shim: ctypes.CDLL, v: int, w: int) -> None:
    with on_the_bench(shim) as firmware:
        status = firmware.armed().drive(v, w)
        assert status.result == Result.OK
        fastest = abs(v) + abs(w) * TRACK_MM / 2000
        wheel = abs(status.v_mmps) + abs(status.w_mradps) * TRACK_MM / 2000
        assert wheel <= MAX_WHEEL_MMPS
        if fastest <= MAX_WHEEL_MMPS - 1:
            assert (status.v_mmps, status.w_mradps) == (v, w)
        else:
            share = min(1.0, MAX_WHEEL_MMPS / fastest)
            assert status.v_mmps == pytest.approx(v * share, abs=2)
            assert status.w_mradps == pytest.approx(w * share, abs=6)


@given(
    commands=st.lists(st.tuples(st.integers(-150, 500), st.integers(-2500, 2500)), min_size=1, max_size=12),
    gain=st.floats(0.2, 2.0),
)
@settings(max_examples=60)
def test_a_wheel_is_never_powered_against_its_command_nor_beyond_full(
    shim: ctypes.CDLL, commands: list[tuple[int, int]], gain: float
) -> None:
    with on_the_bench(shim) as firmware:
        firmware.armed()
        firmware.left.gain = firmware.right.gain = gain
        for v, w in commands:
            for _ in range(200):
                if firmware.drive(v, w).result != Result.OK:
                    return  # a motor as weak as this one may stall
                firmware.tick()
            left, right = firmware.power
            assert max(abs(left), abs(right)) <= 1000
            # A second in, the ramp is at the command.
            assert left * (v - w * TRACK_MM / 2000) >= 0 or abs(v - w * TRACK_MM / 2000) < 1
            assert right * (v + w * TRACK_MM / 2000) >= 0 or abs(v + w * TRACK_MM / 2000) < 1


def ticks_to_fault(firmware: Firmware, v: int, limit: int = 600) -> int:
    for tick in range(limit):
        firmware.drive(v)
        firmware.tick()
        if firmware.state is State.FAULT:
            return tick
    return limit


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_blocked_wheel_stops_the_robot(firmware: Firmware, side: str) -> None:
    firmware.armed()
    getattr(firmware, side).blocked = True
    assert ticks_to_fault(firmware, 300) * 0.005 < 0.4
    assert (firmware.faults, firmware.power) == (Fault.STALLED, (0, 0))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("v", [-150, 20, 50, 100, 300, 500])
@pytest.mark.parametrize("encoder", [0, 2])
def test_an_encoder_with_a_broken_wire_does_not_make_it_run_away(
    firmware: Firmware, side: str, v: int, encoder: int
) -> None:
    """The loop sees a wheel that stands, and gives it more and more power."""
    firmware.armed()
    getattr(firmware, side).encoder = encoder
    ticks_to_fault(firmware, v, limit=1000)
    assert firmware.faults == Fault.STALLED
    assert abs(getattr(firmware, side).turned_mm) < 200


@pytest.mark.parametrize("side", ["left", "right"])
def test_an_encoder_the_wrong_way_round_stops_it_in_a_third_of_a_second(
    firmware: Firmware, side: str
) -> None:
    firmware.armed()
    getattr(firmware, side).encoder = -1
    assert ticks_to_fault(firmware, 300) <= 66
    assert firmware.faults == Fault.RUNAWAY


@pytest.mark.parametrize("v", [20, 100, 500, -150])
def test_a_sound_robot_shows_no_fault(firmware: Firmware, v: int) -> None:
    firmware.armed()
    assert ticks_to_fault(firmware, v) == 600


def test_a_glitch_of_an_encoder_is_survived(firmware: Firmware) -> None:
    """Undefined behaviour would end this process."""
    firmware.armed().run(0.3, 300)
    for jump in (2e9, -2e9, 1e9):
        firmware.left.turned_mm += jump
        firmware.drive(300)
        firmware.tick()
    assert max(map(abs, firmware.power)) <= 1000


def test_a_fault_is_remembered_when_its_cause_is_gone(firmware: Firmware) -> None:
    firmware.armed()
    firmware.left.blocked = True
    ticks_to_fault(firmware, 300)
    firmware.left.blocked = False
    firmware.wait(1.0)
    assert firmware.faults == Fault.STALLED
    assert firmware.drive(100).result == Result.FAULT_LATCHED


# --- each wheel is built for by itself -----------------------------------------------------------------------------------


@pytest.mark.parametrize("right", [False, True])
def test_a_motor_that_is_connected_backward_may_be_built_for(firmware: Firmware, right: bool) -> None:
    firmware.rebuild_wheel(right, motor_reversed=True)
    firmware.armed()
    side = firmware.right if right else firmware.left
    side.gain = -side.gain
    status = firmware.run(1.0, 200) or firmware.drive(200)
    assert min(firmware.left.speed_mmps, firmware.right.speed_mmps) > 150
    assert min(status.left_permille, status.right_permille) > 0  # forward is positive, whatever the pins do
    assert firmware.power[right] < 0 < firmware.power[not right]
    assert firmware.faults == 0


@pytest.mark.parametrize("right", [False, True])
def test_an_encoder_that_counts_backward_may_be_built_for(firmware: Firmware, right: bool) -> None:
    firmware.rebuild_wheel(right, encoder_reversed=True)
    firmware.armed()
    (firmware.right if right else firmware.left).encoder = -1
    firmware.run(1.0, 200)
    status = firmware.drive(200)
    assert firmware.faults == 0
    assert status.left_counts == pytest.approx(status.right_counts, abs=20)
    assert status.left_counts > 500


@pytest.mark.parametrize("right", [False, True])
@pytest.mark.parametrize("which", ["motor_reversed", "encoder_reversed"])
def test_a_wheel_that_was_built_for_backward_and_is_not_is_a_fault(
    firmware: Firmware, right: bool, which: str
) -> None:
    firmware.rebuild_wheel(right, **{which: True})
    firmware.armed()
    assert ticks_to_fault(firmware, 200) < 600
    assert firmware.faults == Fault.RUNAWAY


def test_a_larger_wheel_turns_more_slowly_so_that_both_rims_make_the_same_way(firmware: Firmware) -> None:
    firmware.rebuild_wheel(True, radius_um=36_300)  # a tenth more
    firmware.armed()
    firmware.run(3.0, 300)
    before = firmware.drive(300)
    firmware.run(2.0, 300)
    after = firmware.drive(300)
    left, right = after.left_counts - before.left_counts, after.right_counts - before.right_counts
    assert left / right == pytest.approx(1.1, rel=0.01)
