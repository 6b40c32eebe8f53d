"""The simulated robot as a Gymnasium environment, for people who train policies of their own.

``gymnasium.make("edge_wm/Navigate-v0")`` works once ``edge_wm.sim.environment`` is imported; Gymnasium also does
that by itself for ``"edge_wm.sim.environment:edge_wm/Navigate-v0"``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from edge_wm.errors import BadInput
from edge_wm.robot import load_robot
from edge_wm.sensors.observation import Array
from edge_wm.sim import robot_model as rm
from edge_wm.sim.camera import top_view
from edge_wm.sim.generator import KINDS, generate
from edge_wm.sim.simulation import Simulation
from edge_wm.sim.tasks import TIME_LIMIT_S, is_reached
from edge_wm.sim.top_view import draw_goal
from firmware_bridge.bridge import Command

ID = "edge_wm/Navigate-v0"
REWARD_GOAL = 10.0
REWARD_CONTACT = -10.0
SPEED_BOUND = 2.0
"""Bound of the observed wheel speeds, m/s: above anything the motors reach."""
TURN_BOUND = 20.0
"""Bound of the observed yaw rate, rad/s."""
GOAL_BOUND_M = 100.0


class Navigate(gymnasium.Env[dict[str, Array], Array]):
    """Drive to a goal in a generated world, ten decisions a second.

    Action: float32[2], v (m/s) and w (rad/s), within the robot's limits.

    Observation:
        ``camera`` uint8[48, 64, 3] RGB; ``range`` float32[8] m; ``wheel`` float32[2] m/s; ``gyro`` float32[1]
        rad/s; as in ``edge_wm.sensors.observation``.  ``goal`` float32[2]: the goal (x ahead, y to the left) in
        metres seen from the robot, without the drift that a real robot has.

    Reward: metres of progress along the shortest path, ``REWARD_GOAL`` for arriving, ``REWARD_CONTACT`` for
    touching anything.  Both end the episode; after 60 simulated seconds it is truncated.

    ``info`` has ``success``, ``contact``, ``pose`` (true), ``geodesic_m`` (left) and ``seed`` (of the world).

    Args:
        kinds: kinds of worlds to draw from.
        seeds: half-open range of world seeds to draw from; the default one makes training worlds.
        movers: moving obstacles in each world.
        render_mode: ``rgb_array`` for a view from above.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012  # as Gymnasium declares it

    def __init__(
        self,
        kinds: Sequence[str] = ("rooms",),
        seeds: tuple[int, int] = (0, 1_000_000),
        movers: int = 0,
        render_mode: str | None = None,
    ) -> None:
        unknown = sorted(set(kinds) - set(KINDS))
        if unknown or not kinds:
            raise BadInput(f"kinds: {', '.join(unknown) or 'none given'}; choose from {', '.join(KINDS)}")
        if render_mode not in (None, "rgb_array"):
            raise BadInput(f"render_mode: {render_mode!r}; choose 'rgb_array' or none")
        robot = load_robot()
        limits = robot.limits
        self._kinds, self._seeds, self._movers = tuple(kinds), seeds, movers
        self._tick_s = robot.rates.tick_s
        self.render_mode = render_mode
        self._simulation: Simulation | None = None
        self.action_space = spaces.Box(
            np.array([-limits.max_reverse_v, -limits.max_w], dtype=np.float32),
            np.array([limits.max_v, limits.max_w], dtype=np.float32),
        )
        self.observation_space: spaces.Space[Any] = spaces.Dict(
            {
                "camera": spaces.Box(0, 255, (rm.CAMERA_HEIGHT, rm.CAMERA_WIDTH, 3), np.uint8),
                "range": spaces.Box(0.0, rm.RING_REACH_M, (rm.RING_BEAMS,), np.float32),
                "wheel": spaces.Box(-SPEED_BOUND, SPEED_BOUND, (2,), np.float32),
                "gyro": spaces.Box(-TURN_BOUND, TURN_BOUND, (1,), np.float32),
                "goal": spaces.Box(-GOAL_BOUND_M, GOAL_BOUND_M, (2,), np.float32),
            }
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Array], dict[str, Any]]:
        """Begin an episode in a new world.

        Args:
            seed: the same one gives the same episode, given the same actions.
            options: ``{"kind": …, "world_seed": …}`` choose the world instead of drawing it.
        """
        super().reset(seed=seed)
        options = options or {}
        kind = str(options.get("kind", self.np_random.choice(self._kinds)))
        if kind not in KINDS:
            raise BadInput(f"kind: {kind!r}; choose from {', '.join(KINDS)}")
        self._seed = int(options.get("world_seed", self.np_random.integers(*self._seeds)))
        robot_seed = int(self.np_random.integers(2**31))
        world = generate(kind, self._seed, movers=self._movers)
        if self._simulation is not None:
            self._simulation.close()
        self._simulation = Simulation(world.xml, world.start, robot_seed)
        self._world = world
        self._cost_to_go = world.true_map.cost_to_go(world.goal)
        self._left_m = self._geodesic(self._simulation)
        return self._observe(self._simulation), self._info(self._simulation)

    def step(self, action: Array) -> tuple[dict[str, Array], float, bool, bool, dict[str, Any]]:
        """Drive one tick with ``action`` (v, w), clipped to the limits."""
        simulation = self._running()
        v, w = np.clip(action, self.action_space.low, self.action_space.high)  # type: ignore[attr-defined]
        simulation.step(Command(float(v), float(w)), self._tick_s)
        left_m = self._geodesic(simulation)
        reward = self._left_m - left_m
        self._left_m = left_m
        info = self._info(simulation)
        reward += REWARD_CONTACT if info["contact"] else REWARD_GOAL if info["success"] else 0.0
        terminated = info["contact"] or info["success"]
        truncated = not terminated and simulation.time >= TIME_LIMIT_S - 1e-6
        return self._observe(simulation), float(reward), terminated, truncated, info

    def render(self) -> Any:
        """The world from above, uint8[512, 512, 3], with the circle around the goal that counts as reached."""
        if self.render_mode is None:
            return None
        simulation, bounds = self._running(), self._world.true_map.bounds
        return np.asarray(
            draw_goal(top_view(simulation.model, simulation.data, bounds), self._world.goal, bounds)
        )

    def close(self) -> None:
        """Free the graphics memory."""
        if self._simulation is not None:
            self._simulation.close()
            self._simulation = None

    def _running(self) -> Simulation:
        if self._simulation is None:
            raise gymnasium.error.ResetNeeded("call reset() first")
        return self._simulation

    def _observe(self, simulation: Simulation) -> dict[str, Array]:
        x, y, yaw = simulation.pose
        dx, dy = self._world.goal[0] - x, self._world.goal[1] - y
        cos, sin = math.cos(yaw), math.sin(yaw)
        goal = np.array([cos * dx + sin * dy, -sin * dx + cos * dy], dtype=np.float32)
        return {**simulation.observe().arrays, "goal": goal}

    def _info(self, simulation: Simulation) -> dict[str, Any]:
        reached = is_reached(self._world.goal, simulation.pose[:2], self._left_m)
        return {
            "success": reached and not simulation.contact,
            "contact": simulation.contact,
            "pose": simulation.pose,
            "geodesic_m": self._left_m,
            "seed": self._seed,
        }

    def _geodesic(self, simulation: Simulation) -> float:
        """Length of the shortest path from here, metres; what it last was where the map knows none."""
        true_map = self._world.true_map
        value = true_map.cost_at(self._cost_to_go, np.array(simulation.pose[:2]))
        return value if math.isfinite(value) else self._left_m


gymnasium.register(id=ID, entry_point="edge_wm.sim.environment:Navigate")
