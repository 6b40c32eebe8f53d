"""The simulated robot behind the two interfaces that every robot has: sensors and bridge.

Both are ends of one :class:`Simulation`.  Reading the sensors is what makes time pass in it: one read, one tick.
The same control loop therefore drives it as fast as the machine can (with a ``SimulatedClock``) or in real time.
"""

from __future__ import annotations

from dataclasses import replace

from edge_wm.clock import Clock
from edge_wm.robot import Limits
from edge_wm.sensors.observation import Observation
from edge_wm.sim.simulation import Simulation
from firmware_bridge.bridge import NEUTRAL, BridgeError, Command, Telemetry


class SimulatedBridge:
    """Puts commands in force in a simulation, after the limits of its motors.

    Args:
        clock: stamps the telemetry.
        limits: what the motors take; as the firmware would, it clamps and says so.
    """

    def __init__(self, clock: Clock, limits: Limits) -> None:
        self._clock, self._limits = clock, limits
        self._armed = False
        self.in_force = NEUTRAL
        """What the motors do until the next command."""

    def connect(self) -> None:
        """Nothing to open."""

    def arm(self) -> None:
        """Let commands reach the motors."""
        self._armed = True

    def apply(self, command: Command) -> Command:
        """Put ``command`` in force; return it as clamped.  Raises BridgeError while disarmed, as the firmware does."""
        if not self._armed:
            raise BridgeError("the simulated motors are disarmed: call arm() first")
        limits = self._limits
        self.in_force = command.within(limits.max_v, limits.max_reverse_v, limits.max_w)
        return self.in_force

    def telemetry(self) -> Telemetry:
        """Report what is in force now."""
        return Telemetry(self._clock.now(), self._armed, self.in_force)

    def stop(self) -> None:
        """Bring the motors to rest and disarm."""
        self.in_force, self._armed = NEUTRAL, False

    def close(self) -> None:
        """Stop; there is no link to release."""
        self.stop()


class SimulatedSensors:
    """Reads a simulation, advancing it by one tick under the command that the bridge has in force.

    Args:
        simulation: the robot in its world; ``close`` closes it.
        bridge: where the command in force is.
        clock: the loop's; observations are stamped with it, as a camera driver would.
        tick_s: seconds a read.
    """

    def __init__(self, simulation: Simulation, bridge: SimulatedBridge, clock: Clock, tick_s: float) -> None:
        self._simulation, self._bridge, self._clock, self._tick_s = simulation, bridge, clock, tick_s

    def read(self) -> Observation:
        """Let one tick pass and read all sensors at its end."""
        self._simulation.step(self._bridge.in_force, self._tick_s)
        return replace(self._simulation.observe(), time=self._clock.now())

    def close(self) -> None:
        """Close the simulation."""
        self._simulation.close()
