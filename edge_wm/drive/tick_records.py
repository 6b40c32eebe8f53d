"""From the loop's ticks to the records that every view of a run reads.

A record is made in the time that a tick has left after its command was sent.  Whether the tick then ended after
its deadline is known one tick later, so each record is handed on one tick late.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from edge_wm.control.loop import RunResult, Tick
from edge_wm.control.supervisor import SupervisedCommand
from edge_wm.control.world_model_policy import POSE
from edge_wm.drive.pilot import Pilot
from edge_wm.record.tick_record import Pose, TickRecord
from edge_wm.sensors.observation import Observation

TOLD_LIMITS = ("braking distance", "range unknown", "geofence")
"""Limits that a person should hear of; speed limits and ramps are at work all the time."""


class TickRecords:
    """Makes the records of one drive; ``tick`` is the loop's callback, ``end`` follows the loop's return.

    Args:
        pilot: who drives.
        goal_number: counts from 1.
        goal: x, y in the odometry frame.
        receivers: get each record, in order.
        true_pose: where the robot really is, in the world frame; gives None outside of simulation.
        with_map: whether to decode the model's local map for every tick.
    """

    def __init__(
        self,
        pilot: Pilot,
        goal_number: int,
        goal: tuple[float, float],
        receivers: Sequence[Callable[[TickRecord], None]],
        *,
        true_pose: Callable[[], Pose | None] = lambda: None,
        with_map: bool = True,
    ) -> None:
        self._pilot, self._goal_number, self._goal = pilot, goal_number, goal
        self._receivers, self._true_pose, self._with_map = receivers, true_pose, with_map
        self._distance = math.hypot(*goal)
        self._waiting: TickRecord | None = None
        self._missed = 0

    def tick(self, tick: Tick) -> None:
        """Take one tick.  One without an observation leaves nothing to show."""
        self._hand_on(tick.missed)
        if tick.observation is not None:
            self._waiting = self._record(tick, tick.observation)

    def end(self, result: RunResult) -> None:
        """Hand on the last record."""
        self._hand_on(result.missed)

    def _hand_on(self, missed: int) -> None:
        """Pass the waiting record on; ``missed`` counts the deadlines missed by its end."""
        record, self._waiting = self._waiting, None
        if record is not None:
            for receive in self._receivers:
                receive(replace(record, missed=missed > self._missed))
        self._missed = missed

    def _record(self, tick: Tick, observation: Observation) -> TickRecord:
        decision, policy = tick.decision, self._pilot.policy
        plan = decision.plan if decision is not None else None
        if decision is not None:
            self._distance = decision.goal_distance
        x, y, yaw = (float(value) for value in policy.state[POSE])
        # A tick whose policy was not asked, or failed, is no measure of how long one takes.
        tick_s = tick.policy_s if decision is not None else math.nan
        observe_s = policy.observe_s if decision is not None else math.nan
        return TickRecord(
            tick=tick.index,
            time_s=tick.time,
            observation=replace(
                observation, arrays={name: array.copy() for name, array in observation.arrays.items()}
            ),
            command=tick.supervised.command,
            applied=tick.applied,
            goal_distance_m=self._distance,
            tick_ms=tick_s * 1e3,
            goal_number=self._goal_number,
            goal=self._goal,
            pose=(x, y, yaw),
            true_pose=self._true_pose(),
            plan_poses=plan.poses if plan is not None else None,
            plan_cost=plan.cost if plan is not None else math.nan,
            iterations=plan.iterations if plan is not None else 0,
            candidate_poses=plan.candidates if plan is not None else None,
            candidate_costs=plan.candidate_costs if plan is not None else None,
            observe_ms=observe_s * 1e3,
            plan_ms=(tick_s - observe_s) * 1e3,
            supervisor=_told(tick.supervised),
            local_map=self._pilot.local_map() if self._with_map else None,
        )


def _told(supervised: SupervisedCommand) -> str:
    """Why the supervisor stepped in, in words; empty if it did nothing worth telling."""
    if supervised.reason is not None:
        return str(supervised.reason)
    return next((limit for limit in TOLD_LIMITS if limit in supervised.limited), "")
