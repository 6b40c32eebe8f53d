"""What a tick takes is found in the stage that takes it, in the real loop, by a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_wm.bundle.golden import Golden
from edge_wm.bundle.load import load_bundle
from edge_wm.clock import SimulatedClock
from edge_wm.control.supervisor import Supervisor
from edge_wm.engines.execution import Execution
from edge_wm.errors import BadInput
from edge_wm.paths import DEFAULT_MODEL
from edge_wm.profile.at_rate import AtRate, AtRateLoop, StandInBridge, StandInSensors
from edge_wm.profile.stages import WARM_UP_TICKS, iteration
from edge_wm.robot import load_robot
from edge_wm.sensors.observation import Observation
from edge_wm.world_model import WorldModel
from firmware_bridge.bridge import Command
from tests.tiny_model import manifest, write_tiny

TICKS = 20
ITERATIONS = manifest().planner.iterations
SENSOR_S, OBSERVE_S, IMAGINE_S, SUPERVISE_S, BRIDGE_S = 0.002, 0.003, 0.005, 0.001, 0.004
TICK_S = SENSOR_S + OBSERVE_S + ITERATIONS * IMAGINE_S + SUPERVISE_S + BRIDGE_S


class Machine:
    """One whose parts take as long as it is told."""

    def __init__(self, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = SimulatedClock()
        self.robot = load_robot()
        self.sensor_s, self.bridge_s = 0.0, 0.0
        self.fail_at: int | None = None
        self._loaded = load_bundle(bundle)
        self._monkeypatch = monkeypatch

    def slow(self, owner: type, name: str, seconds: Callable[[int], float]) -> None:
        """Let call number 0, 1, ... of a method take so long."""
        original, calls, clock = getattr(owner, name), iter(range(1_000_000)), self.clock

        def slowly(*args: Any, **options: Any) -> Any:
            clock.advance(seconds(next(calls)))
            return original(*args, **options)

        self._monkeypatch.setattr(owner, name, slowly)

    def run(self, ticks: int = TICKS) -> AtRate:
        machine = self

        class Sensors(StandInSensors):
            reads = 0

            def read(self) -> Observation:
                machine.clock.advance(machine.sensor_s)
                self.reads += 1
                if self.reads == machine.fail_at:
                    raise OSError("the camera is gone")
                return super().read()

        class Bridge(StandInBridge):
            def apply(self, command: Command) -> Command:
                machine.clock.advance(machine.bridge_s)
                return super().apply(command)

        loop = AtRateLoop(
            self._loaded,
            Execution("onnx", "fp32"),
            Golden(self._loaded),
            self.robot,
            self.clock,
            self.clock.now,
        )
        return loop.run(ticks, Sensors(self.robot, self.clock), Bridge(self.clock))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(write_tiny(tmp_path / "tiny"), monkeypatch)


def test_stages_take_what_their_parts_take_and_add_up_to_the_tick(machine: Machine) -> None:
    machine.sensor_s, machine.bridge_s = SENSOR_S, BRIDGE_S
    machine.slow(WorldModel, "observe", lambda call: OBSERVE_S)
    machine.slow(WorldModel, "imagine", lambda call: IMAGINE_S)
    machine.slow(Supervisor, "check", lambda call: SUPERVISE_S)
    found = machine.run()
    planted = {
        "sensor": SENSOR_S,
        "observe": OBSERVE_S,
        **{iteration(number): IMAGINE_S for number in range(1, ITERATIONS + 1)},
        "supervise": SUPERVISE_S,
        "bridge": BRIDGE_S,
        "other": 0.0,
        "tick": TICK_S,
    }
    assert list(found.stages) == list(planted)
    for stage, seconds in planted.items():
        ms = found.stages[stage]
        for figure in (ms.first, ms.warm_up, ms.p50, ms.p95, ms.p99, ms.max):
            assert figure == pytest.approx(seconds * 1e3, abs=1e-3), stage
        assert ms.n == TICKS
    inside = sum(ms.p50 for stage, ms in found.stages.items() if stage != "tick")
    assert inside == pytest.approx(found.stages["tick"].p50, abs=1e-2)
    assert found.imagine is not None
    assert found.imagine.p50 == pytest.approx(ITERATIONS * IMAGINE_S * 1e3)
    # The stand-in stamps a frame when it is read, so reading is before it.
    assert found.camera_to_motor.p50 == pytest.approx((TICK_S - SENSOR_S) * 1e3)
    assert (found.ticks, found.missed, found.cut_short, found.ended_early) == (TICKS, 0, 0, None)


def test_a_slow_iteration_is_found_where_it_is_and_nowhere_else(machine: Machine) -> None:
    machine.slow(WorldModel, "imagine", lambda call: 0.02 if call % ITERATIONS == 1 else 0.0)
    found = machine.run()
    assert found.stages["iteration 2"].p50 == pytest.approx(20.0)
    others = [ms.max for stage, ms in found.stages.items() if stage not in ("iteration 2", "tick")]
    assert max(others) == pytest.approx(0.0)


def test_what_takes_long_at_first_only_is_not_steady(machine: Machine) -> None:
    machine.slow(WorldModel, "observe", lambda call: {0: 0.05, 4: 0.03}.get(call, 0.001))
    observe = machine.run().stages["observe"]
    assert (observe.first, observe.warm_up, observe.max) == (50.0, 30.0, 1.0)


def test_one_long_tick_of_many_is_the_maximum_and_not_the_median(machine: Machine) -> None:
    machine.slow(WorldModel, "observe", lambda call: 0.05 if call == WARM_UP_TICKS + 7 else 0.001)
    observe = machine.run(200).stages["observe"]
    assert (observe.p50, observe.p95, observe.max) == (1.0, 1.0, 50.0)


def test_ticks_that_end_after_their_deadline_are_counted(machine: Machine) -> None:
    long, period_s = 5, machine.robot.rates.tick_s
    machine.slow(Supervisor, "check", lambda call: 1.2 * period_s if call % long == 0 else 0.0)
    found = machine.run()
    assert found.missed == TICKS // long
    assert found.stages["tick"].p99 > period_s * 1e3


@pytest.mark.parametrize(("late", "missed"), [(-1, 0), (0, 1), (TICKS - 1, 1), (TICKS, 0)])
def test_the_first_and_the_last_steady_tick_count_and_their_neighbours_do_not(
    machine: Machine, late: int, missed: int
) -> None:
    period_s = machine.robot.rates.tick_s
    machine.slow(Supervisor, "check", lambda call: (call == WARM_UP_TICKS + late) * 1.2 * period_s)
    assert machine.run().missed == missed


def test_misses_before_the_steady_ticks_do_not_count(machine: Machine) -> None:
    period_s = machine.robot.rates.tick_s
    machine.slow(Supervisor, "check", lambda call: 1.2 * period_s if call < 2 else 0.0)
    assert machine.run().missed == 0


def test_plans_that_are_cut_short_are_counted_and_say_so(machine: Machine) -> None:
    machine.slow(WorldModel, "imagine", lambda call: 0.6 * machine.robot.rates.tick_s)
    found = machine.run()
    assert found.cut_short == TICKS
    assert iteration(ITERATIONS) not in found.stages


def test_without_time_for_any_iteration_there_are_none_and_not_zero(machine: Machine) -> None:
    machine.slow(WorldModel, "observe", lambda call: (call > 0) * 0.97 * machine.robot.rates.tick_s)
    found = machine.run()
    assert found.imagine is None and "iteration 1" not in found.stages
    assert found.cut_short == TICKS


def test_a_loop_that_ends_early_says_why_and_how_many_ticks_it_had(machine: Machine) -> None:
    machine.fail_at = WARM_UP_TICKS + 9
    found = machine.run()
    assert found.ticks < TICKS
    assert found.ended_early is not None and "the camera is gone" in found.ended_early
    machine.fail_at = 3
    with pytest.raises(BadInput, match="the camera is gone"):
        machine.run()


def test_a_second_run_does_not_remember_the_first(machine: Machine) -> None:
    calls_of_first = (WARM_UP_TICKS + TICKS + 1) * ITERATIONS
    machine.slow(WorldModel, "imagine", lambda call: 0.01 if call < calls_of_first else 0.0)
    loaded = machine._loaded
    loop = AtRateLoop(
        loaded, Execution("onnx", "fp32"), Golden(loaded), machine.robot, machine.clock, machine.clock.now
    )
    assert loop.run(TICKS).stages["iteration 1"].p50 == pytest.approx(10.0)
    assert loop.run(TICKS).stages["iteration 1"].max == pytest.approx(0.0)


def test_the_motors_of_a_real_robot_are_only_asked_for_rest(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Command] = []

    class Motors(StandInBridge):
        def apply(self, command: Command) -> Command:
            asked.append(command)
            return super().apply(command)

    loaded = load_bundle(DEFAULT_MODEL)  # the tiny one would rather rest
    loop = AtRateLoop(
        loaded, Execution("onnx", "fp32"), Golden(loaded), machine.robot, machine.clock, machine.clock.now
    )
    loop.run(5, bridge=Motors(machine.clock))
    assert asked and set(asked) == {Command(0.0, 0.0)}
    asked.clear()
    monkeypatch.setattr("edge_wm.profile.at_rate.StandInBridge", Motors)
    loop.run(5)  # motors that move nothing get the plan's commands
    assert set(asked) != {Command(0.0, 0.0)}
