"""Everything between the sensors and the bridge of one robot: its world model, planner and supervisor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from edge_wm.bundle.load import Bundle, load_bundle
from edge_wm.clock import Clock
from edge_wm.control.loop import Loop, RunResult, Tick
from edge_wm.control.supervisor import Supervisor, SupervisorConfig
from edge_wm.control.world_model_policy import POSE, WorldModelPolicy
from edge_wm.drive.accelerated import accelerated_or_not
from edge_wm.engines.engine import EngineError, TensorSpec
from edge_wm.engines.execution import Execution
from edge_wm.errors import BadInput
from edge_wm.planner.icem import ICEM
from edge_wm.planner.plan import BODY_VELOCITY, ActionLimits, PlanError, PlannerConfig
from edge_wm.profile.choice import remembered
from edge_wm.record.tick_record import LocalMap
from edge_wm.robot import Limits, Robot
from edge_wm.sensors.observation import Observation, Sensors
from edge_wm.world_model import WorldModel
from firmware_bridge.bridge import NEUTRAL, Bridge

REHEARSED_TICKS = 2
"""The first plan is cold, the second one warm: after both, everything has run once."""

LOCAL_MAP, KNOWN = "local_map", "known"
"""Decode heads float32[R, C] that pictures show: cells along the odometry frame's axes, the robot's in the middle."""
LOCAL_MAP_CELL_M = 0.15


class Pilot:
    """Drives one robot by one model; made once, for any number of goals.

    Args:
        robot: whose sensors, limits and rates the model must fit.
        bundle: directory of the model.
        clock: the loop's.
        execution: how to run the model; what was measured to be best here when left out, else as the board file says.
        seed: of the planner's noise.

    Attributes:
        execution: how the model is run.
        fell_back: why the CPU runs it though an accelerator was asked for; None where that is not so.

    Raises:
        BadInput: the bundle cannot be used, or not by this robot.
    """

    def __init__(
        self,
        robot: Robot,
        bundle: Path,
        clock: Clock,
        *,
        execution: Execution | None = None,
        seed: int = 0,
    ) -> None:
        self.robot = robot
        loaded = load_bundle(bundle)
        refuse_misfit(robot, loaded)
        self._bundle = bundle
        asked = execution or remembered(loaded.sha256) or robot.board.engine
        self.execution, self.fell_back = accelerated_or_not(loaded, asked)
        form = (self.execution.precision, self.execution.format)
        self.model = WorldModel(loaded.only(*form, self.execution.candidates), self.execution)
        self.policy = planning_policy(self.model, robot.limits, clock, seed)
        self._supervisor = Supervisor(SupervisorConfig.from_robot(robot), robot.rates.tick_s)
        self._clock = clock
        heads = {head.name for head in loaded.manifest.heads if head.role == "decode"}
        graphs = {(graph.role, graph.precision, graph.format) for graph in loaded.manifest.graphs}
        self._has_map = LOCAL_MAP in heads and ("decode", *form) in graphs
        self._has_known = KNOWN in heads

    def rehearse(self) -> None:
        """Run every part once, while nothing moves: the first tick of a drive then lasts no longer than the next.

        Raises:
            BadInput: the engine fails, or the latent state is not finite.
        """
        try:
            self._run_once()
        except EngineError as error:
            raise BadInput(f"{self._bundle}: the model fails before anything moves: {error}") from None

    def _run_once(self) -> None:
        arrays = {
            spec.name: np.zeros(spec.shape, dtype=spec.dtype) for spec in self.model.manifest.observation
        }
        self.policy.reset((1.0, 0.0))
        for number in range(REHEARSED_TICKS):
            try:
                self.policy.act(Observation(0.0, number, arrays), NEUTRAL, self._clock.now() + 1.0)
            except PlanError:
                return  # a model that makes nothing of an empty picture may well drive
            self.policy.draw_ahead()
        self.local_map()

    def drive(
        self,
        sensors: Sensors,
        bridge: Bridge,
        goal_xy: tuple[float, float],
        on_tick: Sequence[Callable[[Tick], None]] = (),
    ) -> RunResult:
        """Drive to a goal in the odometry frame, metres.  The bridge is connected; it is stopped at the end."""
        loop = Loop(
            sensors,
            self.policy,
            self._supervisor,
            bridge,
            self._clock,
            self.robot.rates.tick_s,
            on_tick=[*on_tick, lambda tick: self.policy.draw_ahead()],
        )
        return loop.run(goal_xy)

    def local_map(self) -> LocalMap | None:
        """What the model imagines around the robot now, in memory of its own; None if it has no such heads.

        Takes an inference: call it after the command has been sent.
        """
        if not self._has_map:
            return None
        pictures = self.model.decode(self.policy.state)
        x, y, yaw = (float(value) for value in self.policy.state[POSE])
        known = pictures[KNOWN].copy() if self._has_known else None
        return LocalMap.around((x, y, yaw), pictures[LOCAL_MAP].copy(), known, LOCAL_MAP_CELL_M)


def planning_policy(model: WorldModel, limits: Limits, clock: Clock, seed: int = 0) -> WorldModelPolicy:
    """The policy that plans in what ``model`` imagines, with the planner settings of its bundle.

    Raises:
        BadInput: the model is not one to drive a robot by (v, w) to a point.
    """
    manifest = model.manifest
    if manifest.action.names != BODY_VELOCITY:
        raise BadInput(
            f"{manifest.name}: its actions are {manifest.action.names}; a command is {BODY_VELOCITY}"
        )
    if manifest.goal is None:
        raise BadInput(f"{manifest.name}: it takes no goal; to drive to a point it must take x, y")
    if manifest.goal.shape != (2,):
        raise BadInput(f"{manifest.name}: its goal has shape {list(manifest.goal.shape)}; a point is x, y")
    if (POSE, (3,)) not in ((tensor.name, tensor.shape) for tensor in manifest.state):
        raise BadInput(f"{manifest.name}: its latent state has no tensor {POSE!r} of shape [3]: x, y, yaw")
    # The model was trained within its limits, the robot drives within its own: plan within both.
    allowed = ActionLimits(
        tuple(
            max(pair)
            for pair in zip(manifest.action.low, (-limits.max_reverse_v, -limits.max_w), strict=True)
        ),
        tuple(min(pair) for pair in zip(manifest.action.high, (limits.max_v, limits.max_w), strict=True)),
    )
    config = PlannerConfig.from_manifest(manifest)
    return WorldModelPolicy(model, ICEM(model, config, allowed, seed), clock)


def refuse_misfit(robot: Robot, bundle: Bundle) -> None:
    """Refuse a model that was made for other rates or sensors than the robot's, or whose map cannot be drawn.

    Raises:
        BadInput: what the model takes or gives, and what it should.
    """
    manifest = bundle.manifest
    if abs(manifest.tick_s - robot.rates.tick_s) > 1e-6:
        raise BadInput(
            f"{bundle.directory}: the model ticks every {manifest.tick_s:g} s, robot {robot.name} every"
            f" {robot.rates.tick_s:g} s: set rates.tick_s, or use a model made for this rate"
        )
    given = {spec.name: spec for spec in _observed(robot)}
    for array in manifest.observation:
        taken = TensorSpec(array.name, array.shape, array.dtype)
        if given.get(array.name) != taken:
            raise BadInput(
                f"{bundle.directory}: the model takes {taken}, robot {robot.name} gives"
                f" {given.get(array.name, 'no ' + array.name)}: use a model made for these sensors"
            )
    maps = [spec for spec in manifest.graph_outputs("decode") if spec.name in (LOCAL_MAP, KNOWN)]
    for spec in maps:
        if len(spec.shape) != 2 or spec.shape != maps[0].shape:
            raise BadInput(
                f"{bundle.directory}: decode gives {spec}; {LOCAL_MAP} and {KNOWN} are [R, C], the same for both"
            )


def _observed(robot: Robot) -> tuple[TensorSpec, ...]:
    """The arrays of this robot's observations; see ``Observation.arrays``."""
    camera, ring = robot.sensors.camera, robot.sensors.range
    return (
        TensorSpec("camera", (camera.height, camera.width, 3), "uint8"),
        TensorSpec("range", (ring.beams,), "float32"),
        TensorSpec("wheel", (2,), "float32"),
        TensorSpec("gyro", (1,), "float32"),
    )
