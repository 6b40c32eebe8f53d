from __future__ import annotations

import gc
import math
import signal
import threading
import tracemalloc
from collections import deque
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from edge_wm.clock import SimulatedClock
from edge_wm.control.loop import GIVE_UP_S, RESERVE_S, Loop, Outcome, RunResult, Tick
from edge_wm.control.supervisor import Reason, Supervisor, SupervisorConfig
from edge_wm.planner.plan import PlanError
from firmware_bridge.bridge import NEUTRAL, BridgeError, Command
from tests.control.fakes import FORWARD, TICK_S, FakeBridge, FakePolicy, FakeSensors

CONFIG = SupervisorConfig(goal_timeout_s=20.0)


class Rig:
    """A loop with fakes at its edges, and every tick that it made."""

    def __init__(self, config: SupervisorConfig = CONFIG, **options) -> None:
        self.clock = SimulatedClock(50.0)
        self.sensors = FakeSensors(self.clock)
        self.policy = FakePolicy()
        self.bridge = FakeBridge()
        self.supervisor = Supervisor(config, TICK_S)
        self.ticks: list[Tick] = []
        options.setdefault("on_tick", [self.ticks.append])
        self.loop = Loop(
            self.sensors, self.policy, self.supervisor, self.bridge, self.clock, TICK_S, **options
        )

    def run(self) -> RunResult:
        return self.loop.run((3.0, 0.0))

    def reasons(self) -> list[Reason | None]:
        return [tick.supervised.reason for tick in self.ticks]


def assert_clean_stop(rig: Rig) -> None:
    """The motors rest, the bridge was stopped, and the robot braked along its ramp."""
    assert rig.bridge.stopped == 1
    assert not rig.bridge.armed
    assert rig.bridge.in_force == NEUTRAL
    assert rig.bridge.log[-1] == NEUTRAL
    for before, after in pairwise(rig.bridge.log):
        assert before.v - after.v <= CONFIG.decel * TICK_S + 1e-9


def raising(error: BaseException, at: int = 10):
    """A hook that raises ``error`` from its call number ``at`` on."""

    def hook(index: int, *rest):
        if index >= at:
            raise error
        return rest[0] if rest else None

    return hook


# -- reaching the goal -----------------------------------------------------------------------------------------


def test_it_drives_until_the_goal_is_near_and_then_brakes_to_rest():
    rig = Rig()

    def nearer(index: int) -> None:
        rig.policy.distance = 1.0 - 0.03 * index

    rig.policy.during = nearer
    result = rig.run()
    assert (result.outcome, result.error) == (Outcome.REACHED, None)
    assert rig.policy.goals == [(3.0, 0.0)]
    assert max(command.v for command in rig.bridge.log) == 0.4
    assert rig.policy.acts == 30
    assert_clean_stop(rig)


def test_the_policy_is_told_the_deadline_of_the_tick_and_what_was_applied():
    rig = Rig()
    told = []
    act = rig.policy.act
    rig.policy.act = lambda observation, applied, deadline: (
        told.append((applied, deadline)) or act(observation, applied, deadline)
    )
    rig.run()
    begins = [tick.time for tick in rig.ticks]
    for index, (applied, deadline) in enumerate(told):
        assert deadline == pytest.approx(begins[index] + TICK_S - RESERVE_S)
        assert applied == (rig.bridge.log[index - 1] if index else NEUTRAL)


def test_ticks_are_a_tick_apart_and_do_not_drift():
    rig = Rig()
    rig.policy.during = lambda index: rig.clock.advance(0.03 + 0.05 * (index % 2))
    rig.run()
    times = [tick.time for tick in rig.ticks]
    assert times == pytest.approx([50.0 + TICK_S * index for index in range(len(times))], abs=1e-9)
    assert rig.ticks[-1].missed == 0


# -- faults ----------------------------------------------------------------------------------------------------


def test_a_goal_out_of_reach_ends_by_time_out():
    rig = Rig()
    result = rig.run()
    assert result.outcome is Outcome.TIMEOUT
    assert result.duration_s == pytest.approx(20.0, abs=1.0)
    assert_clean_stop(rig)


def stale(rig: Rig) -> None:
    rig.sensors.change = lambda index, seen: replace(seen, time=min(seen.time, 51.0))


def frozen_counter(rig: Rig) -> None:
    rig.sensors.change = lambda index, seen: replace(seen, sequence=min(index, 10))


def frozen_picture(rig: Rig) -> None:
    def freeze(index, seen):
        return replace(seen, arrays=seen.arrays | {"camera": np.zeros((48, 64, 3), np.uint8)})

    rig.sensors.change = lambda index, seen: freeze(index, seen) if index >= 10 else seen


def nan_observation(rig: Rig) -> None:
    def poison(index, seen):
        return replace(seen, arrays=seen.arrays | {"gyro": np.full(1, np.nan, np.float32)})

    rig.sensors.change = lambda index, seen: poison(index, seen) if index >= 10 else seen


def nan_command(rig: Rig) -> None:
    rig.policy.during = lambda index: Command(math.nan, 0.0) if index >= 10 else None


def late(rig: Rig) -> None:
    rig.policy.during = lambda index: rig.clock.advance(0.14 if index >= 10 else 0.0)


def no_plan(rig: Rig) -> None:
    rig.policy.during = raising(PlanError("nothing finite"))


LASTING = {
    stale: Reason.STALE_FRAME,
    frozen_counter: Reason.FROZEN_FRAME,
    frozen_picture: Reason.FROZEN_FRAME,
    nan_observation: Reason.OBSERVATION_NOT_FINITE,
    nan_command: Reason.COMMAND_NOT_FINITE,
    late: Reason.LATE_TICKS,
    no_plan: Reason.NO_COMMAND,
}


@pytest.mark.parametrize("fault", LASTING)
def test_a_lasting_fault_stops_the_robot_and_in_the_end_the_run(fault):
    rig = Rig()
    fault(rig)
    result = rig.run()
    assert result.outcome is Outcome.FAULT
    assert result.message == str(LASTING[fault])
    assert max(command.v for command in rig.bridge.log) > 0.3
    assert GIVE_UP_S < result.duration_s < GIVE_UP_S + 4.0
    assert_clean_stop(rig)


@pytest.mark.parametrize("fault", [nan_command, no_plan, nan_observation])
def test_a_passing_fault_does_not_end_the_run(fault):
    rig = Rig()
    fault(rig)
    during, change = rig.policy.during, rig.sensors.change
    rig.policy.during = lambda index: during(index) if index == 10 else None
    rig.sensors.change = lambda index, seen: change(index, seen) if index == 10 else seen
    assert rig.run().outcome is Outcome.TIMEOUT
    stopped = [reason for reason in rig.reasons() if reason not in (None, Reason.GOAL_TIMEOUT)]
    assert stopped == [LASTING[fault]]


def test_the_policy_never_sees_an_observation_that_is_not_finite():
    rig = Rig()
    nan_observation(rig)
    rig.run()
    assert rig.policy.acts == 10


def test_missed_deadlines_are_counted():
    rig = Rig()
    rig.policy.during = lambda index: rig.clock.advance(0.13 if index in (5, 20) else 0.0)
    result = rig.run()
    assert result.missed == 2
    assert result.worst_late_s == pytest.approx(0.03)
    assert rig.ticks[-1].missed == 2


def test_a_sensor_that_fails_ends_the_run_after_braking():
    rig = Rig()
    rig.sensors.change = raising(OSError("camera unplugged"))
    result = rig.run()
    assert (result.outcome, result.message) == (Outcome.FAULT, "OSError: camera unplugged")
    assert isinstance(result.error, OSError)
    assert rig.bridge.log[9].v == pytest.approx(0.4)
    assert len(rig.bridge.log) > 11, "it must brake over several ticks"
    assert rig.reasons()[-1] is Reason.NO_OBSERVATION
    assert_clean_stop(rig)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"gyro": np.zeros(0, dtype=np.float32)}, "gyro has the shape (0,)"),
        ({"gyro": np.float32(0.0)}, "gyro is not an array of numbers"),
        ({"range": [4.0] * 8}, "range is not an array of numbers"),
        ({"range": np.array([None] * 8, dtype=object)}, "range is not an array of numbers"),
        ({"wheel": np.zeros(2, dtype=np.float32)}, None),  # the control: good form
    ],
)
def test_a_reading_of_bad_form_ends_the_run_after_braking_and_says_what_was_wrong(arrays, says):
    rig = Rig()
    rig.sensors.change = lambda index, seen: (
        replace(seen, arrays={**seen.arrays, **arrays}) if index >= 10 else seen
    )
    result = rig.run()
    if says is None:
        assert result.outcome is Outcome.TIMEOUT
        return
    assert result.outcome is Outcome.FAULT
    assert says in result.message
    assert rig.ticks[-1].supervised.reason is Reason.NO_OBSERVATION
    assert_clean_stop(rig)


def test_a_policy_that_fails_ends_the_run_after_braking():
    rig = Rig()
    rig.policy.during = raising(ZeroDivisionError("oops\nsecond line"))
    result = rig.run()
    assert (result.outcome, result.message) == (Outcome.FAULT, "ZeroDivisionError: oops second line")
    assert len(rig.bridge.log) > 11
    assert rig.policy.acts == 11
    assert_clean_stop(rig)


def test_a_bridge_that_fails_is_stopped_at_once():
    rig = Rig()
    rig.bridge.fail_at = 10
    result = rig.run()
    assert result.outcome is Outcome.FAULT
    assert isinstance(result.error, BridgeError)
    assert len(rig.bridge.log) == 10
    assert rig.bridge.stopped == 1
    assert rig.bridge.in_force == NEUTRAL


def test_a_bridge_that_refuses_to_arm_ends_the_run_stopped():
    def refuse() -> None:
        raise BridgeError("disarmed by key")

    rig = Rig()
    rig.bridge.arm = refuse
    assert rig.run().message == "BridgeError: disarmed by key"
    assert rig.bridge.stopped == 1
    assert not rig.bridge.log


def test_a_policy_that_refuses_the_goal_ends_the_run_stopped():
    def refuse(goal_xy: tuple[float, float]) -> None:
        raise ValueError("no such place")

    rig = Rig()
    rig.policy.reset = refuse
    assert rig.run().message == "ValueError: no such place"
    assert rig.bridge.stopped == 1
    assert not rig.bridge.log


def test_an_emergency_stop_ends_the_run_without_a_ramp():
    rig = Rig()
    rig.policy.during = lambda index: rig.supervisor.emergency_stop() if index == 10 else None
    result = rig.run()
    assert (result.outcome, result.message) == (Outcome.FAULT, "emergency stop")
    assert rig.bridge.log[-2].v == pytest.approx(0.4)
    assert rig.bridge.log[-1] == NEUTRAL
    assert rig.bridge.stopped == 1


def test_a_callback_that_fails_is_dropped_and_the_robot_drives_on(caplog):
    calls = []

    def broken(tick: Tick) -> None:
        calls.append(tick.index)
        raise OSError("disk full")

    seen: list[int] = []
    rig = Rig(on_tick=[broken, lambda tick: seen.append(tick.index)])
    assert rig.run().outcome is Outcome.TIMEOUT
    assert calls == [0]
    assert seen == list(range(len(seen)))
    assert "disk full" in caplog.text


def test_a_reason_to_stop_brakes_the_robot_along_its_ramp_and_is_told():
    rig = Rig(stop=lambda: "the trial failed" if rig.policy.acts == 12 else None)
    result = rig.run()
    assert (result.outcome, result.message, rig.policy.acts) == (Outcome.FAULT, "the trial failed", 12)
    assert_clean_stop(rig)


def test_what_asks_for_a_reason_and_fails_stops_the_robot():
    def broken() -> str | None:
        raise OSError("disk full")

    rig = Rig(stop=broken)
    result = rig.run()
    assert (result.outcome, result.message) == (Outcome.FAULT, "OSError: disk full")
    assert (rig.bridge.armed, rig.bridge.in_force) == (False, NEUTRAL)


# -- Ctrl-C and SIGTERM ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_signal_brakes_and_ends_the_run(number):
    rig = Rig()
    rig.policy.during = lambda index: signal.raise_signal(number) if index == 10 else None
    before = signal.getsignal(number)
    result = rig.run()
    assert (result.outcome, result.message) == (Outcome.INTERRUPTED, f"stopped by {number.name}")
    assert result.signal == number.name
    assert rig.policy.acts == 11
    assert len(rig.bridge.log) > 12
    assert_clean_stop(rig)
    assert signal.getsignal(number) is before


def test_a_second_ctrl_c_does_not_wait_for_the_ramp():
    rig = Rig()
    rig.policy.during = lambda index: signal.raise_signal(signal.SIGINT) if index == 10 else None
    change = rig.sensors.change
    rig.sensors.change = lambda index, seen: (
        (signal.raise_signal(signal.SIGINT) if index == 12 else None) or change(index, seen)
    )
    result = rig.run()
    assert result.outcome is Outcome.INTERRUPTED
    assert rig.bridge.log[-1].v > 0.0
    assert rig.bridge.stopped == 1
    assert rig.bridge.in_force == NEUTRAL


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_nothing_interrupts_stopping_the_motors(number):
    rig = Rig()
    rig.policy.during = lambda index: signal.raise_signal(signal.SIGINT) if index == 10 else None
    stop = rig.bridge.stop
    rig.bridge.stop = lambda: (signal.raise_signal(number), stop())
    before = signal.getsignal(number)
    assert rig.run().outcome is Outcome.INTERRUPTED
    assert rig.bridge.stopped == 1
    assert rig.bridge.in_force == NEUTRAL
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("place", ["sensors", "policy", "bridge", "callback", "reset"])
def test_a_keyboard_interrupt_anywhere_ends_with_the_motors_at_rest(place):
    rig = Rig()
    once = iter([KeyboardInterrupt()])

    def interrupt(index: int = 10, result=None):
        if index == 10:
            for error in once:
                raise error
        return result

    if place == "sensors":
        rig.sensors.change = interrupt
    if place == "policy":
        rig.policy.during = interrupt
    if place == "reset":
        rig.policy.reset = lambda goal: interrupt()
    if place == "callback":
        rig.loop._on_tick.append(lambda tick: interrupt(tick.index))
    if place == "bridge":
        apply = rig.bridge.apply
        rig.bridge.apply = lambda command: interrupt(len(rig.bridge.log), command) and apply(command)
    result = rig.run()
    assert result.outcome is Outcome.INTERRUPTED
    assert rig.bridge.stopped == 1
    if place != "reset":
        assert_clean_stop(rig)


def test_ctrl_c_during_the_last_braking_still_counts():
    rig = Rig()
    rig.policy.during = lambda index: setattr(rig.policy, "distance", 0.1 if index == 10 else 1.0)
    change = rig.sensors.change
    rig.sensors.change = lambda index, seen: (
        (signal.raise_signal(signal.SIGINT) if index == 12 else None) or change(index, seen)
    )
    assert rig.run().outcome is Outcome.INTERRUPTED
    assert_clean_stop(rig)


def test_it_runs_in_a_thread_where_no_signal_handler_can_be_set():
    rig = Rig()
    results = []
    thread = threading.Thread(target=lambda: results.append(rig.run()))
    thread.start()
    thread.join()
    assert results[0].outcome is Outcome.TIMEOUT


# -- the steady state ------------------------------------------------------------------------------------------


def test_garbage_is_collected_between_ticks_only_and_as_before_afterwards():
    rig = Rig()
    enabled = []
    rig.policy.during = lambda index: enabled.append(gc.isenabled())
    assert gc.isenabled()
    rig.run()
    assert not any(enabled)
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def growth_of_a_long_run(*callbacks) -> int:
    """Bytes that are still there after 800 more ticks."""
    measured: dict[int, int] = {}

    def measure(tick: Tick) -> None:
        if tick.index in (100, 900):
            gc.collect()
            measured[tick.index] = tracemalloc.get_traced_memory()[0]

    rig = Rig(replace(CONFIG, goal_timeout_s=100.0), on_tick=[*callbacks, measure])
    rig.policy.deadlines = deque(maxlen=1)
    rig.bridge.log = deque(maxlen=1)
    tracemalloc.start()
    try:
        rig.run()
    finally:
        tracemalloc.stop()
    return measured[900] - measured[100]


def test_a_long_run_leaves_no_memory_behind():
    assert growth_of_a_long_run() < 8192
    kept: list[Tick] = []
    assert growth_of_a_long_run(kept.append) > 800 * 9000, (
        "kept frames must show, or the measurement is blind"
    )


def test_compute_time_is_measured_with_the_stopwatch():
    now = iter(np.arange(0.0, 1e6))
    rig = Rig(stopwatch=lambda: float(next(now)))
    rig.run()
    assert rig.ticks[0].compute_s == 3.0
    assert rig.ticks[0].policy_s == 1.0


def test_commands_sent_are_those_of_the_supervisor():
    rig = Rig()
    rig.policy.command = Command(5.0, 0.0)
    rig.run()
    assert [tick.applied for tick in rig.ticks] == rig.bridge.log
    assert max(command.v for command in rig.bridge.log) == CONFIG.max_v
    assert FORWARD.v < CONFIG.max_v
