"""What a new model must show before it is kept: ``[shadow]`` and ``[trial]`` of ``update.toml``."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Count = Annotated[int, Meta(ge=0, le=1_000_000)]


class ShadowCriteria(Struct, frozen=True, forbid_unknown_fields=True):
    """What a shadow must show: ``[shadow]`` of ``update.toml``.

    Attributes:
        ticks: in which it is asked for a plan, of one process that drives: some robots' drives are short.
        min_planned_share: of these, in which it must have one.
        patience_s: driving without a tick that it took, after which it is given up.
    """

    ticks: Annotated[int, Meta(ge=1, le=100_000)] = 60
    min_planned_share: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.98
    patience_s: Annotated[float, Meta(gt=0.0, le=86400.0)] = 120.0


class TrialCriteria(Struct, frozen=True, forbid_unknown_fields=True):
    """What a trial must show, and what ends it: ``[trial]`` of ``update.toml``.

    A share is of the ticks or goals so far, or of the least that a trial has if there are fewer as yet: so a trial fails as
    soon as it can no longer pass in time.

    Attributes:
        min_driven_s: seconds in which the robot was not held by the supervisor.
        min_ticks: ticks in which the model was asked for a plan.
        min_goals: goals driven to, reached or not.
        max_missed_share: of the ticks, deadlines missed.
        max_unplanned_share: of the ticks, those without a new plan: an error, nothing finite, or no time.
        max_collision_stops_per_minute: times that the supervisor had to stop the robot in front of something, a driven
            minute.  The shipped model needed none in 25 rooms, one that sees nothing 2.3.
        max_blocked_share: of the ticks, those in which the supervisor kept it stopped there.
        max_unreached_share: of the goals, those not reached in time.
        max_faults: runs that an error ended which is not the hardware's.
        operator_stop_fails: whether somebody who stops the robot says something about its model: by ``edge-wm stop``, Ctrl-C or an
            emergency stop.  An end of the process, as by ``systemctl stop``, never does.
    """

    min_driven_s: Annotated[float, Meta(gt=0.0, le=1e6)] = 60.0
    min_ticks: Annotated[int, Meta(ge=1, le=1_000_000)] = 300
    min_goals: Annotated[int, Meta(ge=1, le=10_000)] = 3
    max_missed_share: Share = 0.01
    max_unplanned_share: Share = 0.02
    max_collision_stops_per_minute: Annotated[float, Meta(ge=0.0, le=600.0)] = 2.0
    max_blocked_share: Share = 0.1
    max_unreached_share: Share = 0.34
    max_faults: Count = 0
    operator_stop_fails: bool = True
