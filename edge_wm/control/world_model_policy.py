"""The policy this project is about: observe, imagine, choose."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edge_wm.clock import Clock
from edge_wm.control.policy import ARRIVE_M, Decision
from edge_wm.control.trail import Trail
from edge_wm.planner.icem import ICEM
from edge_wm.planner.plan import PlanError
from edge_wm.sensors.observation import Observation
from firmware_bridge.bridge import NEUTRAL, Command

Array = npt.NDArray[Any]

POSE = "pose"
"""State tensor float32[3]: x, y, yaw in the odometry frame."""

MAX_REUSED_PLANS = 5
"""After this many ticks in a row without time to plan, the previous plan is too old to drive by."""


class Observer(Protocol):
    """What this policy asks of a world model; the planner asks for ``imagine``."""

    def initial_state(self) -> Mapping[str, Array]:
        """The latent state at the start of a run."""
        ...

    def observe(
        self, state: Mapping[str, Array], observation: Observation, applied: Array
    ) -> Mapping[str, Array]:
        """The latent state after ``observation``, valid until the call after the next."""
        ...


class WorldModelPolicy:
    """Drives by planning in what the model imagines.

    Args:
        model: the world model.
        planner: plans in what the same model imagines.
        clock: the one that deadlines are on.
        arrive_m: nearer to the goal than this it asks for rest.
    """

    def __init__(self, model: Observer, planner: ICEM, clock: Clock, arrive_m: float = ARRIVE_M) -> None:
        self._model, self._planner, self._clock, self._arrive_m = model, planner, clock, arrive_m
        self._applied = np.zeros(2, dtype=np.float32)
        self.observe_s = 0.0
        """Real seconds that the last ``act`` spent in ``observe``."""
        self._trail = Trail()
        self.reset((0.0, 0.0))

    @property
    def state(self) -> Mapping[str, Array]:
        """The latent state after the last ``act``, for decoding; valid until the next ``act``."""
        return self._state

    def reset(self, goal_xy: tuple[float, float]) -> None:
        """See ``Policy.reset``."""
        self._goal = np.array(goal_xy, dtype=np.float32)
        self._state = self._model.initial_state()
        self._planner.reset()
        self._reused = 0
        self._trail.forget()

    def act(self, observation: Observation, applied: Command, deadline: float) -> Decision:
        """See ``Policy.act``."""
        self._applied[:] = applied.v, applied.w
        began = time.perf_counter()
        self._state = self._model.observe(self._state, observation, self._applied)
        self.observe_s = time.perf_counter() - began
        pose = self._state[POSE]
        distance = math.hypot(float(self._goal[0] - pose[0]), float(self._goal[1] - pose[1]))
        if not math.isfinite(distance):
            raise PlanError("the model's pose is not finite")
        if distance <= self._arrive_m:
            return Decision(NEUTRAL, None, distance)
        self._trail.note(observation.time, float(pose[0]), float(pose[1]))
        plan = self._planner.plan(
            self._state,
            self._goal,
            applied=self._applied,
            visited=self._trail.visited,
            deadline=deadline,
            clock=self._clock,
        )
        self._reused = self._reused + 1 if plan.iterations == 0 else 0
        if self._reused > MAX_REUSED_PLANS:
            raise PlanError(f"no time to plan for {self._reused} ticks")
        v, w = plan.actions[0]
        return Decision(Command(float(v), float(w)), plan, distance)

    def draw_ahead(self) -> None:
        """Draw the planner's noise for later ticks.  Optional; call it after the command has been sent."""
        self._planner.draw_ahead()
