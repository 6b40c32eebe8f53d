from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_wm.control.free_space import Box, Circle, free_along_arc
from edge_wm.control.supervisor import (
    Reason,
    SupervisedCommand,
    Supervisor,
    SupervisorConfig,
)
from edge_wm.errors import BadInput
from firmware_bridge.bridge import NEUTRAL, Command
from tests.control.fakes import FORWARD, TICK_S, observe, ring

CONFIG = SupervisorConfig()


class Driver:
    """Calls the supervisor once a tick, and feeds back what it sends as what was applied."""

    def __init__(self, config: SupervisorConfig = CONFIG, applied: Command = NEUTRAL) -> None:
        self.supervisor = Supervisor(config, TICK_S)
        self.ticks = 0
        self.applied = applied

    def tick(self, wanted: Command | None = FORWARD, late: bool = False, age: float = 0.0, **arrays):
        """One tick with a healthy observation but for ``arrays``; ``sequence`` and ``time`` may be among them."""
        now = self.ticks * TICK_S
        sequence = arrays.pop("sequence", self.ticks)
        return self.give(wanted, observe(now - age, sequence, **arrays), late)

    def give(self, wanted, observation, late: bool = False) -> SupervisedCommand:
        result = self.supervisor.check(
            wanted, observation, now=self.ticks * TICK_S, applied=self.applied, late=late
        )
        self.ticks += 1
        self.applied = result.command
        return result


def settled(config: SupervisorConfig = CONFIG, wanted: Command = FORWARD, **arrays) -> SupervisedCommand:
    """What a healthy robot that has had time for its ramp is sent."""
    driver = Driver(config)
    for _ in range(20):
        result = driver.tick(wanted, **arrays)
    return result


# -- nothing wrong ---------------------------------------------------------------------------------------------


def test_a_healthy_robot_in_the_open_is_sent_what_it_wants():
    assert settled() == SupervisedCommand(FORWARD, None, ())


def test_every_reason_is_a_name_for_people():
    assert f"{Reason.STALE_FRAME}" == "camera frame is stale"


# -- faults: each stops along the ramp, says why, and its negative control drives on --------------------------


def braking(fault, driver: Driver | None = None) -> list[SupervisedCommand]:
    """Drive, then let ``fault(driver)`` make every tick until rest."""
    driver = driver or Driver(applied=FORWARD)
    assert driver.tick().reason is None
    results = []
    while driver.applied != NEUTRAL or not results:
        results.append(fault(driver))
        assert len(results) < 30
    return results


def nan_array(name: str, shape: int):
    return {name: np.full(shape, np.nan, dtype=np.float32)}


FAULTS = {
    Reason.NO_OBSERVATION: lambda d: d.give(FORWARD, None),
    Reason.OBSERVATION_NOT_FINITE: lambda d: d.tick(**nan_array("range", 8)),
    Reason.STALE_FRAME: lambda d: d.tick(age=0.26),
    Reason.NO_COMMAND: lambda d: d.tick(None),
    Reason.COMMAND_NOT_FINITE: lambda d: d.tick(Command(math.nan, 0.0)),
}
HARMLESS = {
    "fresh enough": lambda d: d.tick(age=0.24),
    "late once": lambda d: d.tick(late=d.ticks % 2 == 0),
    "missed frames": lambda d: d.tick(sequence=d.ticks // 2),
}


@pytest.mark.parametrize("reason", FAULTS)
def test_a_fault_stops_the_robot_along_the_ramp_and_is_named(reason):
    results = braking(FAULTS[reason])
    speeds = [0.4, *(result.command.v for result in results)]
    assert all(result.reason is reason and result.halted for result in results)
    assert all(0.0 < a - b <= CONFIG.decel * TICK_S + 1e-9 for a, b in pairwise(speeds))
    assert speeds[1] > 0.0


@pytest.mark.parametrize("reason", FAULTS)
def test_a_passing_fault_lets_the_robot_go_on(reason):
    driver = Driver()
    FAULTS[reason](driver)
    assert driver.tick().reason is None


BAD_FORMS = {
    "empty gyro": {"gyro": np.zeros(0, dtype=np.float32)},
    "scalar gyro": {"gyro": np.float32(0.0)},
    "gyro without axes": {"gyro": np.array(0.0, dtype=np.float32)},
    "empty wheel": {"wheel": np.zeros(0, dtype=np.float32)},
    "range as a list": {"range": [4.0] * 8},
    "range of objects": {"range": np.array([None] * 8, dtype=object)},
    "range of words": {"range": np.array(["far"] * 8)},
    "range with two axes": {"range": np.full((8, 1), 4.0, dtype=np.float32)},
    "empty range": {"range": np.zeros(0, dtype=np.float32)},
    "no array at all": {"camera": None},
    "time in words": {"time": "now"},
    "no counter": {"sequence": None},
}


def with_bad_form(driver: Driver, name: str) -> SupervisedCommand:
    """A tick whose reading is healthy but for one part."""
    healthy = observe(driver.ticks * TICK_S, driver.ticks)
    bad = dict(BAD_FORMS[name])
    own = {key: bad.pop(key) for key in ("time", "sequence") if key in bad}
    return driver.give(FORWARD, replace(healthy, arrays={**healthy.arrays, **bad}, **own))


@pytest.mark.parametrize("name", BAD_FORMS)
def test_a_reading_of_bad_form_is_no_observation_and_the_robot_brakes_along_the_ramp(name):
    results = braking(lambda driver: with_bad_form(driver, name))
    speeds = [0.4, *(result.command.v for result in results)]
    assert {result.reason for result in results} == {Reason.NO_OBSERVATION}
    assert all(0.0 < a - b <= CONFIG.decel * TICK_S + 1e-9 for a, b in pairwise(speeds))


@pytest.mark.parametrize("name", BAD_FORMS)
def test_a_passing_reading_of_bad_form_lets_the_robot_go_on(name):
    driver = Driver()
    with_bad_form(driver, name)
    assert driver.tick().reason is None  # the control: the same reading in good form


def test_something_else_than_an_observation_is_none():
    assert Driver().give(FORWARD, {"range": ring()}).reason is Reason.NO_OBSERVATION


@pytest.mark.parametrize("harmless", HARMLESS)
def test_what_is_harmless_does_not_stop_it(harmless):
    driver = Driver()
    assert all(HARMLESS[harmless](driver).reason is None for _ in range(50))


def test_a_frame_from_the_future_is_as_bad_as_a_stale_one():
    assert Driver().tick(age=-1.0).reason is Reason.STALE_FRAME


def test_a_frame_without_a_time_is_stale():
    assert Driver().tick(age=math.nan).reason is Reason.STALE_FRAME


@pytest.mark.parametrize("bad", [Command(math.inf, 0.0), Command(0.0, math.nan), Command(-math.inf, 1.0)])
def test_no_number_that_is_not_finite_gets_through(bad):
    result = Driver(applied=FORWARD).tick(bad)
    assert result.reason is Reason.COMMAND_NOT_FINITE
    assert math.isfinite(result.command.v)
    assert math.isfinite(result.command.w)


def test_a_bridge_that_reports_nonsense_as_applied_does_not_poison_the_ramp():
    result = Driver(applied=Command(math.nan, math.nan)).tick(FORWARD)
    assert result.command == Command(CONFIG.accel * TICK_S, 0.0)


def still_counter(driver: Driver):
    return driver.tick(sequence=0)


def still_picture(driver: Driver):
    return driver.tick(camera=np.full((48, 64, 3), 7, dtype=np.uint8))


@pytest.mark.parametrize("freeze", [still_counter, still_picture])
def test_a_frozen_camera_stops_it_after_some_ticks_and_holds_until_many_are_good(freeze):
    driver = Driver(applied=FORWARD)
    driver.tick()
    reasons = [freeze(driver).reason for _ in range(8)]
    first = reasons.index(Reason.FROZEN_FRAME)
    assert first in (CONFIG.frozen_ticks - 1, CONFIG.frozen_ticks)
    assert reasons == [None] * first + [Reason.FROZEN_FRAME] * (8 - first)
    driver.tick()
    freeze(driver)
    freeze(driver)  # a good tick in between must not count
    after = [driver.tick().reason for _ in range(14)]
    held = after.index(None)
    assert held in (CONFIG.recover_ticks - 1, CONFIG.recover_ticks)
    assert not any(after[held:])


def test_frozen_pixels_of_a_robot_at_rest_are_no_fault():
    driver = Driver()
    still = np.full((48, 64, 3), 7, dtype=np.uint8)
    assert all(driver.tick(NEUTRAL, camera=still).reason is None for _ in range(50))


def test_late_ticks_in_a_row_stop_it_until_many_are_in_time():
    driver = Driver()
    reasons = [driver.tick(late=True).reason for _ in range(CONFIG.late_ticks)]
    assert reasons == [None] * (CONFIG.late_ticks - 1) + [Reason.LATE_TICKS]
    for _ in range(CONFIG.recover_ticks - 1):
        assert driver.tick().reason is Reason.LATE_TICKS
    driver.tick(late=True)
    for _ in range(CONFIG.recover_ticks - 1):
        assert driver.tick().reason is Reason.LATE_TICKS
    assert driver.tick().reason is None


def test_the_goal_must_be_reached_in_time_and_a_new_goal_has_its_own():
    config = replace(CONFIG, goal_timeout_s=3.05)
    driver = Driver(config)
    reasons = [driver.tick().reason for _ in range(40)]
    assert reasons.index(Reason.GOAL_TIMEOUT) == 31
    assert reasons[-1] is Reason.GOAL_TIMEOUT
    driver.supervisor.start(driver.ticks * TICK_S)
    assert driver.tick().reason is None
    unlimited = Driver(replace(config, goal_timeout_s=None))
    assert not any(unlimited.tick().reason for _ in range(40))


def test_an_emergency_stop_is_a_step_to_rest_and_stays_until_the_next_start():
    driver = Driver(applied=FORWARD)
    driver.supervisor.emergency_stop()
    assert driver.tick() == SupervisedCommand(NEUTRAL, Reason.EMERGENCY_STOP, ())
    assert driver.tick().reason is Reason.EMERGENCY_STOP
    driver.supervisor.start(driver.ticks * TICK_S)
    assert driver.tick().reason is None


# -- limits and ramps ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "sent", "limit"),
    [
        (Command(9.0, 0.0), Command(CONFIG.max_v, 0.0), "speed"),
        (Command(-9.0, 0.0), Command(-CONFIG.max_reverse_v, 0.0), "reverse"),
        (Command(0.0, 99.0), Command(0.0, CONFIG.max_w), "turn"),
        (Command(0.0, -99.0), Command(0.0, -CONFIG.max_w), "turn"),
    ],
)
def test_speeds_are_limited_and_the_limit_is_named(wanted, sent, limit):
    assert settled(wanted=wanted) == SupervisedCommand(sent, None, (limit,))


def test_it_starts_slower_than_it_stops():
    start = Driver().tick(FORWARD)
    stop = Driver(applied=FORWARD).tick(NEUTRAL)
    assert start == SupervisedCommand(Command(pytest.approx(CONFIG.accel * TICK_S), 0.0), None, ("ramp",))
    assert stop.command.v == pytest.approx(0.4 - CONFIG.decel * TICK_S)
    assert CONFIG.decel > CONFIG.accel


def test_reversing_goes_through_rest():
    driver = Driver(applied=Command(0.05, 0.0))
    assert driver.tick(Command(-0.15, 0.0)).command.v == 0.0
    assert driver.tick(Command(-0.15, 0.0)).command.v == pytest.approx(-0.1)


def test_turning_has_its_ramp():
    driver = Driver(applied=Command(0.0, -2.0))
    assert driver.tick(Command(0.0, 2.0)).command.w == pytest.approx(-2.0 + CONFIG.max_w_accel * TICK_S)


COMMANDS = (
    st.builds(Command, st.floats(-3, 3), st.floats(-9, 9)) | st.just(None) | st.just(Command(math.nan, 1.0))
)
READINGS = st.lists(st.floats(0, 4, width=32), min_size=8, max_size=8)


@given(st.lists(st.tuples(COMMANDS, READINGS, st.booleans(), st.floats(0.0, 0.5)), max_size=30))
def test_whatever_happens_the_command_keeps_limits_and_ramps(ticks):
    driver = Driver()
    for wanted, readings, late, age in ticks:
        before = driver.applied
        after = driver.tick(wanted, late, age, range=np.array(readings, dtype=np.float32)).command
        assert -CONFIG.max_reverse_v <= after.v <= CONFIG.max_v
        assert abs(after.w) <= CONFIG.max_w
        assert abs(after.v - before.v) <= max(CONFIG.accel, CONFIG.decel) * TICK_S + 1e-9
        assert abs(after.w - before.w) <= CONFIG.max_w_accel * TICK_S + 1e-9


# -- braking distance ------------------------------------------------------------------------------------------


def test_speed_is_scaled_so_that_the_braking_distance_fits():
    result = settled(range=ring(b0=0.25))
    v = result.command.v
    assert 0.02 < v < 0.4
    assert v * CONFIG.latency_s + v * v / (2 * CONFIG.decel) == pytest.approx(0.25 - 0.12 - 0.02, abs=0.003)
    assert result.reason is None
    assert "braking distance" in result.limited


def test_room_enough_does_not_slow_it():
    assert settled(range=ring(b0=0.40)) == SupervisedCommand(FORWARD, None, ())


def test_too_close_ahead_leaves_turning_and_reversing():
    near = ring(b0=0.13)
    turning = settled(wanted=Command(0.4, 1.0), range=near)
    assert turning.command == Command(0.0, 1.0)
    assert turning.reason is Reason.OBSTACLE_AHEAD
    assert not turning.halted
    backing = settled(wanted=Command(-0.1, 0.0), range=near)
    assert backing == SupervisedCommand(Command(-0.1, 0.0), None, ())


def test_too_close_behind_stops_reversing_and_leaves_driving():
    near = ring(b4=0.13)
    assert settled(wanted=Command(-0.1, 0.0), range=near).reason is Reason.OBSTACLE_BEHIND
    assert settled(range=near).command == FORWARD


def test_a_drive_at_a_wall_ends_before_it():
    wall, x = 2.0, 0.0
    driver = Driver()
    result = driver.tick(Command(0.5, 0.0))
    for _ in range(100):
        # The worst that the latency allows: the new command counts one tick late.
        x += max(driver.applied.v, result.command.v) * TICK_S
        result = driver.tick(Command(0.5, 0.0), range=ring(b0=max(0.02, wall - x)))
    assert result.reason is Reason.OBSTACLE_AHEAD
    assert 0.12 <= wall - x < 0.2


def doorway(y: float, half_width: float = 0.225) -> np.ndarray:
    """The ring of a robot in the middle of a long doorway, ``y`` off its centre line."""
    readings = np.full(8, 4.0)
    cone = CONFIG.beam_half_angle_rad
    for beam in range(8):
        for angle in beam * math.pi / 4 + np.linspace(-cone, cone, 9):
            across = (half_width - y) if math.sin(angle) > 0 else (half_width + y)
            if abs(math.sin(angle)) > 1e-9:
                readings[beam] = min(readings[beam], across / abs(math.sin(angle)))
    return readings.astype(np.float32)


@pytest.mark.parametrize(("off_centre", "least_v"), [(0.0, 0.4), (0.04, 0.3), (-0.04, 0.3), (0.08, 0.15)])
def test_a_doorway_of_45_cm_stays_passable(off_centre, least_v):
    result = settled(range=doorway(off_centre))
    assert result.command.v >= least_v
    assert result.reason is None


def test_a_gap_narrower_than_the_robot_is_not():
    assert settled(range=doorway(0.0, half_width=0.11)).command.v < 0.05


def test_it_brakes_for_what_stands_in_the_arc_and_not_for_what_the_arc_leaves_behind():
    left = ring(b1=0.2)
    into = settled(wanted=Command(0.4, 2.0), range=left)
    away = settled(wanted=Command(0.4, -2.0), range=left)
    assert into.command.v < 0.35
    assert away.command.v == 0.4


def test_a_beam_without_a_reading_is_bridged_by_the_last_and_then_means_slowly():
    driver = Driver(applied=FORWARD)
    driver.tick()
    results = [driver.tick(range=ring(b0=0.0)) for _ in range(12)]
    held = CONFIG.dropout_hold_ticks
    assert [r.command.v for r in results[:held]] == [0.4] * held
    assert results[-1] == SupervisedCommand(Command(CONFIG.blind_v, 0.0), None, ("range unknown",))
    assert driver.tick().limited == ("ramp",)


def test_a_held_reading_comes_nearer_as_the_robot_drives():
    driver = Driver(applied=FORWARD)
    speeds = [driver.tick(range=ring(b0=0.34)).command.v]
    speeds += [driver.tick(range=ring(b0=0.0)).command.v for _ in range(CONFIG.dropout_hold_ticks)]
    assert speeds[0] == 0.4
    assert speeds == sorted(speeds, reverse=True)
    assert speeds[-1] < 0.32


def test_a_blind_beam_behind_does_not_slow_driving_forward():
    assert settled(range=ring(b4=0.0)).command == FORWARD
    assert settled(wanted=Command(-0.15, 0.0), range=ring(b4=0.0)).limited == ()
    slower = replace(CONFIG, blind_v=0.05)
    assert settled(slower, Command(-0.15, 0.0), range=ring(b4=0.0)).command.v == -0.05


def test_a_ring_that_never_gave_a_reading_means_slowly():
    assert settled(range=ring(0.0)).command.v == CONFIG.blind_v


def test_a_robot_without_a_ring_drives():
    driver = Driver()
    for tick in range(20):
        seen = observe(tick * TICK_S, tick)
        bare = replace(seen, arrays={"camera": seen.arrays["camera"]})
        result = driver.give(FORWARD, bare)
    assert result.command == FORWARD


@given(
    st.floats(-1.5, 1.5),
    st.floats(-1.5, 1.5),
    st.floats(0.05, 0.5) | st.floats(-0.5, -0.05),
    st.floats(-2.5, 2.5),
)
def test_the_free_arc_agrees_with_driving_along_it(x, y, v, w):
    radius = 0.14
    if math.hypot(x, y) < radius + 0.01:
        return
    free = free_along_arc(x, y, Command(v, w), radius)
    step = 0.002
    px = py = yaw = 0.0
    reached = math.inf
    for index in range(1000):
        ds = math.copysign(step, v)
        yaw += 0.5 * w / v * ds
        px, py = px + ds * math.cos(yaw), py + ds * math.sin(yaw)
        yaw += 0.5 * w / v * ds
        if math.hypot(x - px, y - py) < radius:
            reached = index * step
            break
    if reached < math.inf:
        assert free == pytest.approx(reached, abs=0.03)
    else:
        # A touch within the distance driven would have been seen, but for one that only grazes.
        assert free > 1.9 or _grazes(x, y, v, w, radius)


def _grazes(x: float, y: float, v: float, w: float, radius: float) -> bool:
    if abs(w) < 0.02:
        return abs(abs(y) - radius) < 0.05
    off = abs(math.hypot(x, y - v / w) - abs(v / w))
    return abs(off - radius) < 0.01


# -- geofence --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fence", [Box(-1.0, -1.0, 1.0, 1.0), Circle(1.0)])
@pytest.mark.parametrize("wanted", [Command(0.5, 0.0), Command(-0.15, 0.0)])
def test_the_robot_stops_inside_its_fence_and_may_turn_there(fence, wanted):
    driver = Driver(replace(CONFIG, geofence=fence))
    x = 0.0
    for _ in range(120):
        speed = np.full(2, driver.applied.v, dtype=np.float32)
        result = driver.tick(wanted, wheel=speed)
        x += float(speed[0]) * TICK_S
    assert result.reason is Reason.GEOFENCE
    assert result.command.v == 0.0
    assert 0.85 < abs(x) <= 1.0
    turn = driver.tick(Command(wanted.v, 1.0))
    assert turn.command.w > 0.0
    back = [driver.tick(Command(-wanted.v, 0.0)) for _ in range(5)][-1]
    assert back.reason is None
    assert back.command.v * wanted.v < 0.0


def test_without_a_fence_it_drives_on():
    driver = Driver()
    assert all(driver.tick(wheel=np.full(2, 0.4, np.float32)).reason is None for _ in range(100))


@pytest.mark.parametrize("fence", [Box(-1.0, -1.0, 1.0, 1.0), Circle(1.0)])
def test_outside_the_fence_only_the_way_in_is_free(fence):
    assert fence.free_distance(1.5, 0.0, 1.0, 0.0) == 0.0
    assert fence.free_distance(1.5, 0.0, -1.0, 0.0) == pytest.approx(2.5)
    assert fence.free_distance(0.5, 0.0, 1.0, 0.0) == pytest.approx(0.5)


# -- configuration ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "value"), [("max_v", -1.0), ("decel", 0.0), ("margin_m", math.nan)])
def test_impossible_limits_are_named(name, value):
    with pytest.raises(BadInput, match=name):
        SupervisorConfig(**{name: value})


def test_the_limits_of_a_robot_file_are_taken_over():
    from edge_wm.robot import load_robot

    robot = load_robot()
    config = SupervisorConfig.from_robot(robot)
    assert (config.max_v, config.decel) == (robot.limits.max_v, robot.limits.decel)
    assert config.frozen_ticks * robot.rates.tick_s >= robot.supervisor.max_frozen_s
