"""Two profiles beside each other: which stage of which way takes how many times as long as it did."""

from __future__ import annotations

from typing import NamedTuple

from edge_wm.engines.execution import Execution
from edge_wm.profile.at_rate import AtRate
from edge_wm.profile.profile_file import Profile
from edge_wm.profile.stages import CAMERA_TO_MOTOR, TICK

WORSE_RATIO, WORSE_MS = 1.5, 2.0
"""The chosen way is worse if its p99 has grown by more than both: percentiles of a few hundred ticks vary from run to run."""


class Ratio(NamedTuple):
    """What one stage of one way takes, old and new, milliseconds at the robot's rate without a load."""

    execution: Execution
    stage: str
    old_p50: float
    new_p50: float
    old_p99: float
    new_p99: float


class Comparison(NamedTuple):
    """Of an old and a new profile.

    Attributes:
        ratios: of all stages of all ways that both have.
        choice: what became of the chosen way's slowest ticks; None if one of both has none.
        notes: what differs between them beside the times.
        worse: why the new choice is worse than the old one; None if it is not, or that cannot be said.
    """

    ratios: list[Ratio]
    choice: str | None
    notes: list[str]
    worse: str | None


def compare(old: Profile, new: Profile) -> Comparison:
    """Compare two profiles.  Of two machines, nothing is worse: it is another machine."""
    ratios = []
    for row in new.rows:
        former = old.row(row.execution)
        before, after = (_stages(each.alone.idle if each and each.alone else None) for each in (former, row))
        ratios += [
            Ratio(row.execution, stage, was[0], after[stage][0], was[1], after[stage][1])
            for stage, was in before.items()
            if stage in after
        ]
    pairs = (
        ("machine", old.machine, new.machine),
        ("board", old.board, new.board),
        ("model", f"{old.model} {old.model_sha256[:12]}", f"{new.model} {new.model_sha256[:12]}"),
        ("tick", f"{old.tick_ms:g} ms", f"{new.tick_ms:g} ms"),
        ("body", old.body, new.body),
        ("edge-wm", old.edge_wm, new.edge_wm),
        ("governor", old.before.governor or "not told", new.before.governor or "not told"),
        ("chosen", str(old.chosen), str(new.chosen)),
    )
    notes = [f"{name}: {before}, now {after}" for name, before, after in pairs if before != after]
    return Comparison(ratios, _choice(old, new), notes, _worse(old, new))


def _choice(old: Profile, new: Profile) -> str | None:
    was, now = _chosen_p99(old), _chosen_p99(new)
    if was is None or now is None:
        return None
    return f"p99 of the chosen way at the robot's rate: {was:.1f} ms, now {now:.1f} ms: {now / was:.2f} times"


def _worse(old: Profile, new: Profile) -> str | None:
    was, now = _chosen_p99(old), _chosen_p99(new)
    if was is None or old.machine != new.machine:
        return None
    if now is None:
        return f"no way of running the model was measured; it was {was:.1f} ms"
    if now > was * WORSE_RATIO and now > was + WORSE_MS:
        return (
            f"the chosen way's p99 is {now:.1f} ms, it was {was:.1f} ms: more than {WORSE_RATIO:g} times"
            f" and {WORSE_MS:g} ms"
        )
    return None


def _chosen_p99(profile: Profile) -> float | None:
    row = profile.row(profile.chosen)
    idle = row.alone.idle if row is not None and row.alone is not None else None
    return None if idle is None else idle.stages[TICK].p99


def _stages(run: AtRate | None) -> dict[str, tuple[float, float]]:
    if run is None:
        return {}
    every = {**run.stages, CAMERA_TO_MOTOR: run.camera_to_motor}
    return {stage: (ms.p50, ms.p99) for stage, ms in every.items()}
