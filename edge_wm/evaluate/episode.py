"""One episode: one task, one policy, the real control loop, and a referee who knows the truth."""

from __future__ import annotations

import math
from typing import Literal

import msgspec
import numpy as np

from edge_wm.clock import SimulatedClock
from edge_wm.control.loop import Loop, Outcome, RunResult, Tick
from edge_wm.control.supervisor import Supervisor, SupervisorConfig
from edge_wm.errors import BadInput
from edge_wm.evaluate.contestants import NEEDS_MODEL, PolicyName, Stage, make_policy
from edge_wm.evaluate.statistics import spl
from edge_wm.robot import Robot
from edge_wm.sensors.observation import Observation, Sensors
from edge_wm.sim.drivers import SimulatedBridge, SimulatedSensors
from edge_wm.sim.frames import to_odometry_frame
from edge_wm.sim.simulation import Simulation
from edge_wm.sim.tasks import (
    FILE_NAME,
    REACHED_SLACK_M,
    SUCCESS_M,
    TIME_LIMIT_S,
    Task,
    check_task,
    is_reached,
)
from edge_wm.sim.true_map import TrueMap, true_map_of
from edge_wm.world_model import WorldModel

Verdict = Literal["success", "collision", "timeout", "stopped-short", "fault"]


class Episode(msgspec.Struct, frozen=True):
    """How one episode went.

    Attributes:
        index: its number in the evaluation.
        world: file name of the world.
        task: number of the task in ``tasks.json``.
        seed: of the robot, its noise and the moving obstacles.
        verdict: ``stopped-short``: the policy believed it had arrived and had not.
        success: at the goal (``edge_wm.sim.tasks.is_reached``), in time, nothing touched.
        collision: touched something.
        spl: success weighted by path length.
        time_s: simulated seconds until the verdict.
        path_m: metres driven; geodesic_m: length of the shortest path.
        min_clearance_m: least gap between hull and things, at the ends of ticks; negative: within the map's error.
        goal_distance_m: true distance to the goal at the end.
        supervisor_stops: how often the supervisor began to stop the robot.
        message: what the loop said, if it ended the run.
    """

    index: int
    world: str
    task: int
    seed: int
    verdict: Verdict
    success: bool
    collision: bool
    spl: float
    time_s: float
    path_m: float
    geodesic_m: float
    min_clearance_m: float
    goal_distance_m: float
    supervisor_stops: int
    message: str = ""


class EpisodeOver(Exception):
    """The referee has seen enough; the loop brakes, and no more simulated time passes."""


class Referee:
    """Sensors of a simulated robot that watch the truth while they are read.

    Reading raises :class:`EpisodeOver` once something was touched, the goal was reached or the time is up.
    """

    def __init__(self, sensors: Sensors, stage: Stage, radius_m: float) -> None:
        self._sensors, self._simulation, self._map = sensors, stage.simulation, stage.true_map
        self._goal, self._radius_m = stage.task.goal, radius_m
        self._cost_to_go = self._map.cost_to_go(self._goal, limit_m=SUCCESS_M + REACHED_SLACK_M)
        self.min_clearance_m = math.inf
        self.verdict: Verdict | None = None

    @property
    def goal_distance_m(self) -> float:
        """True distance to the goal."""
        return math.dist(self._simulation.pose[:2], self._goal)

    def read(self) -> Observation:
        """Let one tick pass; see :class:`Referee`."""
        if self.verdict is not None:
            raise EpisodeOver
        observation = self._sensors.read()
        self.min_clearance_m = min(self.min_clearance_m, self._clearance())
        if self._simulation.contact:
            self.verdict = "collision"
        elif self._simulation.time > TIME_LIMIT_S + 1e-6:
            self.verdict = "timeout"
        elif self._at_goal():
            self.verdict = "success"
        if self.verdict is not None:
            raise EpisodeOver
        return observation

    def close(self) -> None:
        """Close the simulation."""
        self._sensors.close()

    def _at_goal(self) -> bool:
        here = self._simulation.pose[:2]
        return is_reached(self._goal, here, self._map.cost_at(self._cost_to_go, np.array(here)))

    def _clearance(self) -> float:
        here = np.array(self._simulation.pose[:2])
        clearance = float(self._map.clearance_at(here))
        discs = self._simulation.mover_discs
        if len(discs):
            clearance = min(clearance, float((np.hypot(*(discs[:, :2] - here).T) - discs[:, 2]).min()))
        return clearance - self._radius_m


class _StopCounter:
    """Counts how often the supervisor begins to stop the robot."""

    def __init__(self) -> None:
        self.stops = 0
        self._stopping = False

    def __call__(self, tick: Tick) -> None:
        stopping = tick.supervised.reason is not None and tick.observation is not None
        self.stops += stopping and not self._stopping
        self._stopping = stopping


def check_episode(task: Task, task_number: int) -> TrueMap:
    """The true map of ``task``, which can be tried.

    Raises:
        BadInput: it cannot; the message names the task.
    """
    true_map = true_map_of(task.world, task.start[:2], task.goal)
    check_task(task, true_map, f"{task.world.parent / FILE_NAME}: task {task_number}")
    return true_map


def run_episode(
    index: int,
    task: Task,
    task_number: int,
    seed: int,
    policy: PolicyName,
    robot: Robot,
    model: WorldModel | None = None,
) -> Episode:
    """Let ``policy`` try ``task`` once.  The same arguments give the same episode.

    Raises:
        BadInput: the task or the policy cannot be used; the message names which.
    """
    true_map = check_episode(task, task_number)
    clock = SimulatedClock()
    simulation = Simulation(task.world, task.start, seed, render=policy in NEEDS_MODEL)
    try:
        stage = Stage(task, true_map, simulation, clock, seed)
        bridge = SimulatedBridge(clock, robot.limits)
        referee = Referee(
            SimulatedSensors(simulation, bridge, clock, robot.rates.tick_s), stage, robot.geometry.radius_m
        )
        stops = _StopCounter()
        loop = Loop(
            referee,
            make_policy(policy, robot, model, stage),
            Supervisor(SupervisorConfig.from_robot(robot, goal_timeout_s=None), robot.rates.tick_s),
            bridge,
            clock,
            robot.rates.tick_s,
            on_tick=[stops],
        )
        result = loop.run(to_odometry_frame(task.start, task.goal))
        if isinstance(result.error, KeyboardInterrupt) or result.outcome is Outcome.INTERRUPTED:
            raise KeyboardInterrupt
        if isinstance(result.error, BadInput):  # of the world: its physics diverges
            raise result.error
        verdict = referee.verdict or _verdict_of(result)
        success = verdict == "success"
        return Episode(
            index=index,
            world=task.world.name,
            task=task_number,
            seed=seed,
            verdict=verdict,
            success=success,
            collision=simulation.contact,
            spl=round(spl(success, simulation.travelled_m, task.geodesic_m), 4),
            time_s=round(simulation.time, 2),
            path_m=round(simulation.travelled_m, 3),
            geodesic_m=task.geodesic_m,
            min_clearance_m=round(referee.min_clearance_m, 4),
            goal_distance_m=round(referee.goal_distance_m, 3),
            supervisor_stops=stops.stops,
            message="" if referee.verdict else result.message,
        )
    finally:
        simulation.close()


def _verdict_of(result: RunResult) -> Verdict:
    """What it means that the loop ended before the referee ended the episode."""
    return "stopped-short" if result.outcome is Outcome.REACHED else "fault"
