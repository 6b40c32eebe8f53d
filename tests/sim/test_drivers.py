"""The simulated robot behind the interfaces that every robot has."""

from __future__ import annotations

import pytest

from edge_wm.clock import SimulatedClock
from edge_wm.robot import load_robot
from edge_wm.sim.drivers import SimulatedBridge, SimulatedSensors
from edge_wm.sim.simulation import Simulation
from firmware_bridge.bridge import NEUTRAL, BridgeError, Command
from tests.sim.worlds import world

pytestmark = pytest.mark.sim


def parts() -> tuple[SimulatedClock, Simulation, SimulatedBridge, SimulatedSensors]:
    clock = SimulatedClock(100.0)
    simulation = Simulation(world(), (0.0, 0.0, 0.0), render=False)
    bridge = SimulatedBridge(clock, load_robot().limits)
    return clock, simulation, bridge, SimulatedSensors(simulation, bridge, clock, 0.1)


def test_reading_lets_one_tick_pass_and_stamps_it_with_the_clock_of_the_loop() -> None:
    clock, simulation, _, sensors = parts()
    first = sensors.read()
    clock.advance(0.1)
    second = sensors.read()
    assert simulation.time == pytest.approx(0.2)
    assert (first.time, second.time) == (100.0, pytest.approx(100.1))
    assert second.sequence == first.sequence + 1


def test_the_robot_moves_by_what_was_applied_and_stands_after_a_stop() -> None:
    _, simulation, bridge, sensors = parts()
    bridge.arm()
    bridge.apply(Command(0.4, 0.0))
    for _ in range(10):
        sensors.read()
    driven = simulation.travelled_m
    assert driven > 0.2
    bridge.stop()
    for _ in range(20):
        sensors.read()
    assert bridge.in_force == NEUTRAL
    assert simulation.travelled_m < driven + 0.15


def test_commands_are_clamped_and_what_is_returned_is_what_is_in_force() -> None:
    _, _, bridge, _ = parts()
    bridge.arm()
    limits = load_robot().limits
    assert (
        bridge.apply(Command(9.0, -9.0)) == Command(limits.max_v, -limits.max_w) == bridge.telemetry().applied
    )
    assert bridge.apply(Command(-9.0, 0.1)) == Command(-limits.max_reverse_v, 0.1)


def test_a_disarmed_bridge_refuses_commands() -> None:
    _, _, bridge, _ = parts()
    with pytest.raises(BridgeError, match="disarmed"):
        bridge.apply(Command(0.1, 0.0))
    bridge.arm()
    bridge.apply(Command(0.1, 0.0))
    bridge.stop()
    with pytest.raises(BridgeError, match="disarmed"):
        bridge.apply(Command(0.1, 0.0))
