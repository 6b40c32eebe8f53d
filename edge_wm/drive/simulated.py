"""The simulated robot on one task: what the loop drives, what the pictures show, and who judges the result."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edge_wm.clock import Clock
from edge_wm.control.loop import Outcome, RunResult
from edge_wm.drive.body import Point
from edge_wm.errors import BadInput, one_line
from edge_wm.evaluate.contestants import Stage
from edge_wm.evaluate.episode import Referee
from edge_wm.record.tick_record import GoalResult, Pose, TopView
from edge_wm.robot import Robot
from edge_wm.robot_bridge import SimavrTable
from edge_wm.sensors.observation import Sensors
from edge_wm.sim.camera import TOP_VIEW_SIZE, top_view, top_view_square
from edge_wm.sim.drivers import SimulatedBridge, SimulatedSensors
from edge_wm.sim.frames import to_odometry_frame
from edge_wm.sim.generator import TEST_SEEDS, generate
from edge_wm.sim.robot_model import PREFIX
from edge_wm.sim.simulation import Simulation
from edge_wm.sim.tasks import FILE_NAME, Task, check_task, load_tasks, save_tasks
from edge_wm.sim.true_map import TrueMap
from edge_wm.stop_signals import without_stop_signals
from firmware_bridge.bridge import Bridge, BridgeError

FIRST_WORLD = TEST_SEEDS + 900_000
"""Of the test worlds, those from here on are for looking at: no reported figure is about them."""

OUTCOMES = {"success": "reached", "stopped-short": "stopped short"}
"""The referee's verdicts in the words of a run; the others are the same."""


class SimulatedTask(NamedTuple):
    """A task with its world in memory.

    Attributes:
        task: start and goal, checked; ``task.world`` names the world.
        world: MJCF text of a generated world, or the path of the user's.
        true_map: of that world.
        seed: of the robot's imperfections, its noise and the moving obstacles.
    """

    task: Task
    world: str | Path
    true_map: TrueMap
    seed: int

    @property
    def name(self) -> str:
        """What people call it."""
        return self.task.world.stem

    def begin(self, robot: Robot, clock: Clock) -> SimulatedRobot:
        """See ``Trip.begin``."""
        return SimulatedRobot(robot, self, clock)

    def save(self, directory: Path) -> None:
        """See ``Trip.save``: a generated world, and its task beside those that are there."""
        if isinstance(self.world, Path):
            return
        directory.mkdir(exist_ok=True)
        known = load_tasks(directory) if (directory / FILE_NAME).is_file() else []
        file = directory / self.task.world
        file.write_text(self.world, encoding="utf-8")
        save_tasks(directory, [*known, self.task._replace(world=file)])


def task_in_generated_world(kind: str, number: int, goal: Point | None = None) -> SimulatedTask:
    """The task of a generated world that nothing was trained on.

    Args:
        kind: of the generator.
        number: counts the worlds, from 0; also the robot's seed.
        goal: x, y in the world frame instead of the generated goal.

    Raises:
        BadInput: the goal cannot be reached.
    """
    made = generate(kind, FIRST_WORLD + number)
    name = f"{kind}_{FIRST_WORLD + number}"
    task = Task(Path(f"{name}.xml"), made.start, made.goal, made.geodesic_m)
    if goal is not None:
        task = _checked(task._replace(goal=goal), made.true_map)
    return SimulatedTask(task, made.xml, made.true_map, number)


def task_in_world_file(world: Path, start: Pose | None, goal: Point | None, seed: int) -> SimulatedTask:
    """A task in the user's world.  What is None is taken from the ``tasks.json`` beside it, if that has this world.

    Raises:
        BadInput: MuJoCo refuses the world, there is no goal, or no path leads to it.
    """
    if not world.is_file():
        raise BadInput(f"{world}: there is no such world; name an MJCF file")
    known = _first_task(world) if start is None or goal is None else None
    if start is None:
        start = known.start if known else (0.0, 0.0, 0.0)
    if goal is None:
        if known is None:
            raise BadInput(f"{world}: has no task in a {FILE_NAME} beside it: name the goal with --goal X,Y")
        goal = known.goal
    true_map = TrueMap.from_world(world, (start[:2], goal))
    return SimulatedTask(_checked(Task(world, start, goal, math.nan), true_map), world, true_map, seed)


class SimulatedRobot:
    """The robot at the start of one task; close it after the drive.

    Args:
        robot: its limits and rates.
        simulated: the task.
        clock: the loop's.

    Attributes:
        sensors, bridge: what the loop reads and drives.
        goal_xy: the goal in the odometry frame.
        goal_in_view: in the world frame, that of the top view.

    Raises:
        BadInput: there is no bridge as the robot file says, or the firmware at its other end is for another robot.
    """

    def __init__(self, robot: Robot, simulated: SimulatedTask, clock: Clock) -> None:
        task, true_map, seed = simulated.task, simulated.true_map, simulated.seed
        self._simulated, self._name = simulated, robot.name
        self._simulation = Simulation(simulated.world, task.start, seed)
        self.bridge, self._drivers = _drivers(self._simulation, robot, clock)
        self.sensors = Referee(
            self._drivers,
            Stage(task, true_map, self._simulation, clock, seed),
            robot.geometry.radius_m,
        )
        self.goal_xy = to_odometry_frame(task.start, task.goal)
        self.goal_in_view = task.goal
        self._simulation.observe()  # the first camera frame compiles shaders: now, not in the first tick

    def __enter__(self) -> SimulatedRobot:
        try:
            self.bridge.connect()
        except BridgeError as error:
            self._drivers.close()
            raise BadInput(f"robot {self._name}: {error}") from error
        return self

    def __exit__(self, *_: object) -> None:
        with without_stop_signals():  # nothing interrupts stopping the motors
            self.bridge.close()
            self._drivers.close()

    def true_pose(self) -> Pose:
        """Where it really is, in the world frame."""
        return self._simulation.pose

    def top_view(self) -> TopView:
        """The world from above, as it is now."""
        bounds = self._simulated.true_map.bounds
        centre_x, centre_y, side_m = top_view_square(bounds)
        scale, middle = TOP_VIEW_SIZE / side_m, TOP_VIEW_SIZE / 2
        to_pixels = np.array(
            [[scale, 0.0, middle - scale * centre_x], [0.0, -scale, middle + scale * centre_y]]
        )
        model = self._simulation.model
        own = [geom for geom in range(model.ngeom) if model.geom(geom).name.startswith(PREFIX)]
        colours = model.geom_rgba[own].copy()
        model.geom_rgba[own, 3] = 0.0  # the pictures draw the robot where it is, not where it started
        try:
            return TopView(top_view(model, self._simulation.data, bounds), to_pixels)
        finally:
            model.geom_rgba[own] = colours

    def result(self, ended: RunResult) -> GoalResult:
        """What became of the drive, judged by the truth and not by what the robot believes."""
        verdict = self.sensors.verdict
        if verdict is None and ended.outcome is Outcome.REACHED:
            verdict = "stopped-short"
        outcome = OUTCOMES.get(verdict, verdict) if verdict else str(ended.outcome)
        return GoalResult(
            outcome=outcome,
            reached=verdict == "success",
            collision=self._simulation.contact,
            time_s=round(self._simulation.time, 2),
            travelled_m=round(self._simulation.travelled_m, 3),
            geodesic_m=round(self._simulated.task.geodesic_m, 3),
            min_clearance_m=_finite(self.sensors.min_clearance_m),
            message="" if self.sensors.verdict else one_line(ended.message),
        )


def _drivers(simulation: Simulation, robot: Robot, clock: Clock) -> tuple[Bridge, Sensors]:
    """The bridge that the robot file names, and the sensors beside it, which close the simulation.

    Raises:
        BadInput: there is no firmware where the robot file says.
    """
    if isinstance(robot.bridge, SimavrTable):
        from edge_wm.sim.board_in_the_loop import BoardInTheLoop

        board = BoardInTheLoop(simulation, robot, Path(robot.bridge.folder), clock)
        return board.bridge, board
    bridge = SimulatedBridge(clock, robot.limits)
    return bridge, SimulatedSensors(simulation, bridge, clock, robot.rates.tick_s)


def _checked(task: Task, true_map: TrueMap) -> Task:
    """The task with the length of its shortest path.  Raises BadInput if there is none."""
    return task._replace(geodesic_m=check_task(task, true_map, str(task.world)))


def _first_task(world: Path) -> Task | None:
    if not (world.parent / FILE_NAME).is_file():
        return None
    return next((task for task in load_tasks(world.parent) if task.world.name == world.name), None)


def _finite(metres: float) -> float | None:
    return round(metres, 4) if math.isfinite(metres) else None
