"""Everything between the sensors and the bridge of one robot: its world model, planner and supervisor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
from edge_wm.robot_sensors import ReplaySensors, SimSensors
from edge_wm.sensors.observation import Observation, Sensors
from edge_wm.world_model import WorldModel
from firmware_bridge.bridge import NEUTRAL, Bridge

REHEARSED_TICKS = 2
"""The first plan is cold, the second one warm: after both, everything has run once."""

LOCAL_MAP, KNOWN = "local_map", "known"
"""Decode heads float32[R, C] that pictures show: cells along the odometry frame's axes, the robot's in the middle."""
LOCAL_MAP_CELL_M = 0.15


@dataclass(frozen=True)
class Prepared:
    """A model ready to drive a robot: loaded, found to fit, with the planner that plans in it.

    Attributes:
        bundle: its directory.
        model: the model itself.
        policy: what drives by it.
        execution: how it is run.
        fell_back: why the CPU runs it though an accelerator was asked for; None where that is not so.
        has_map, has_known: which of the pictures of ``local_map`` it gives.
    """

    bundle: Path
    model: WorldModel
    policy: WorldModelPolicy
    execution: Execution
    fell_back: str | None
    has_map: bool
    has_known: bool

    def rehearse(self, clock: Clock) -> None:
        """Run every part once, while nothing moves: the first tick of a drive then lasts no longer than the next.

        Raises:
            BadInput: the engine fails, or the latent state is not finite.
        """
        try:
            self._run_once(clock)
        except EngineError as error:
            raise BadInput(f"{self.bundle}: the model fails before anything moves: {error}") from None

    def _run_once(self, clock: Clock) -> None:
        arrays = {
            spec.name: np.zeros(spec.shape, dtype=spec.dtype) for spec in self.model.manifest.observation
        }
        self.policy.reset((1.0, 0.0))
        for number in range(REHEARSED_TICKS):
            try:
                self.policy.act(Observation(0.0, number, arrays), NEUTRAL, clock.now() + 1.0)
            except PlanError:
                return  # a model that makes nothing of an empty picture may well drive
            self.policy.draw_ahead()
        self.local_map()

    def local_map(self) -> LocalMap | None:
        """What the model imagines around the robot now, in memory of its own; None if it has no such heads.

        Takes an inference: call it after the command has been sent.
        """
        if not self.has_map:
            return None
        pictures = self.model.decode(self.policy.state)
        x, y, yaw = (float(value) for value in self.policy.state[POSE])
        known = pictures[KNOWN].copy() if self.has_known else None
        return LocalMap.around((x, y, yaw), pictures[LOCAL_MAP].copy(), known, LOCAL_MAP_CELL_M)


def prepared(
    robot: Robot, loaded: Bundle, clock: Clock, *, execution: Execution | None = None, seed: int = 0
) -> Prepared:
    """Make a model ready to drive ``robot``, all but its rehearsal; see ``Pilot`` for the arguments.

    Raises:
        BadInput: the bundle cannot be used, or not by this robot.
    """
    refuse_misfit(robot, loaded)
    asked = execution or remembered(loaded.sha256) or robot.board.engine
    used, fell_back = accelerated_or_not(loaded, asked)
    form = (used.precision, used.format)
    model = WorldModel(loaded.only(*form, used.candidates), used)
    policy = planning_policy(model, robot.limits, clock, seed)
    heads = {head.name for head in loaded.manifest.heads if head.role == "decode"}
    graphs = {(graph.role, graph.precision, graph.format) for graph in loaded.manifest.graphs}
    has_map = LOCAL_MAP in heads and ("decode", *form) in graphs
    return Prepared(loaded.directory, model, policy, used, fell_back, has_map, KNOWN in heads)


class Pilot:
    """Drives one robot by one model; made once, for any number of goals.  Between goals another model can take over.

    Args:
        robot: whose sensors, limits and rates the model must fit.
        bundle: directory of the model.
        clock: the loop's.
        execution: how to run the model; what was measured to be best here when left out, else as the board file says.
        seed: of the planner's noise.

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
        self._clock, self._seed, self._asked = clock, seed, execution
        self._supervisor = Supervisor(SupervisorConfig.from_robot(robot), robot.rates.tick_s)
        self._driven_by = prepared(
            robot, load_bundle(bundle, whole=False), clock, execution=execution, seed=seed
        )
        self._driving = False

    @property
    def model(self) -> WorldModel:
        """The model that drives."""
        return self._driven_by.model

    @property
    def policy(self) -> WorldModelPolicy:
        """What drives by it."""
        return self._driven_by.policy

    @property
    def execution(self) -> Execution:
        """How the model is run."""
        return self._driven_by.execution

    @property
    def fell_back(self) -> str | None:
        """Why the CPU runs it though an accelerator was asked for; None where that is not so."""
        return self._driven_by.fell_back

    def prepare(self, bundle: Path) -> Prepared:
        """Load another model and rehearse it, while the robot stands: it takes a second or more.

        Args:
            bundle: directory of the model; it is run as was asked for the first one.

        Raises:
            BadInput: the bundle cannot be used, or not by this robot; the pilot drives on by the model it has.
        """
        self._refuse_while_driving()
        other = prepared(
            self.robot, load_bundle(bundle, whole=False), self._clock, execution=self._asked, seed=self._seed
        )
        other.rehearse(self._clock)
        return other

    def take(self, other: Prepared) -> Prepared:
        """Drive by another model from the next goal on.

        Returns:
            The former one, as ready as it was: to go back, take it.

        Raises:
            RuntimeError: the robot drives.
        """
        self._refuse_while_driving()
        former, self._driven_by = self._driven_by, other
        return former

    def _refuse_while_driving(self) -> None:
        if self._driving:
            raise RuntimeError("a model is not exchanged while the robot drives")

    def rehearse(self) -> None:
        """See ``Prepared.rehearse``."""
        self._driven_by.rehearse(self._clock)

    def drive(
        self,
        sensors: Sensors,
        bridge: Bridge,
        goal_xy: tuple[float, float],
        on_tick: Sequence[Callable[[Tick], None]] = (),
        stop: Callable[[], str | None] = lambda: None,
    ) -> RunResult:
        """Drive to a goal in the odometry frame, metres.  The bridge is connected; it is stopped at the end.

        Args:
            sensors: of the robot.
            bridge: of the robot.
            goal_xy: x, y.
            on_tick: see ``Loop``.
            stop: see ``Loop``.
        """
        loop = Loop(
            sensors,
            self.policy,
            self._supervisor,
            bridge,
            self._clock,
            self.robot.rates.tick_s,
            on_tick=[*on_tick, lambda tick: self.policy.draw_ahead()],
            stop=stop,
        )
        self._driving = True
        try:
            return loop.run(goal_xy)
        finally:
            self._driving = False

    def local_map(self) -> LocalMap | None:
        """See ``Prepared.local_map``."""
        return self._driven_by.local_map()


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
    given = {spec.name: spec for spec in observed(robot)}
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


def observed(robot: Robot) -> tuple[TensorSpec, ...]:
    """The arrays of this robot's observations; see ``Observation.arrays``.  Not every robot has the last two."""
    sensors = robot.sensors
    given = [
        TensorSpec("camera", (sensors.camera.height, sensors.camera.width, 3), "uint8"),
        TensorSpec("range", (sensors.range.beams,), "float32"),
    ]
    if isinstance(sensors, SimSensors) or sensors.wheels:
        given.append(TensorSpec("wheel", (2,), "float32"))
    if isinstance(sensors, SimSensors) or (
        sensors.gyro if isinstance(sensors, ReplaySensors) else sensors.imu is not None
    ):
        given.append(TensorSpec("gyro", (1,), "float32"))
    return tuple(given)
