"""The result of an evaluation: one JSON file, and a few lines for people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import msgspec

from edge_wm.errors import BadInput
from edge_wm.evaluate.episode import Episode, Verdict
from edge_wm.evaluate.runner import Settings
from edge_wm.evaluate.statistics import mean, paired_p, wilson_interval
from edge_wm.output_file import write_json

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


class Summary(msgspec.Struct, frozen=True):
    """Rates over all episodes, with 95 % Wilson intervals; lengths in metres.

    ``time_s`` and ``min_clearance_m`` are means, the former over successes only.
    """

    n: int
    success_rate: float
    success_ci95: tuple[float, float]
    spl: float
    collision_rate: float
    collision_ci95: tuple[float, float]
    timeout_rate: float
    stopped_short_rate: float
    fault_rate: float
    time_s: float
    min_clearance_m: float
    supervisor_stops: float


class Comparison(msgspec.Struct, frozen=True):
    """Against another evaluation of the same episodes.

    Attributes:
        other: its file; policy: its policy.
        other_success_rate: its rate.
        only_ours, only_theirs: episodes in which one succeeded and the other did not.
        p: two-sided, exact McNemar test.
    """

    other: str
    policy: str
    other_success_rate: float
    only_ours: int
    only_theirs: int
    p: float


class Report(msgspec.Struct, frozen=True):
    """What ``edge-wm eval --json`` writes."""

    summary: Summary
    episodes: list[Episode]
    model_sha256: str | None
    seed: int
    policy: str
    precision: str | None
    worlds: str
    tasks_sha256: str
    comparison: Comparison | None = None
    format: str = "onnx"
    candidates: int | None = None


def make_report(
    settings: Settings, episodes: Sequence[Episode], comparison: Comparison | None = None
) -> Report:
    """Summarise ``episodes``, which are in order."""
    return Report(
        summarise(episodes),
        list(episodes),
        settings.model_sha256,
        settings.seed,
        settings.policy,
        settings.precision,
        settings.worlds,
        settings.tasks_sha256,
        comparison,
        settings.format,
        settings.candidates,
    )


def summarise(episodes: Sequence[Episode]) -> Summary:
    """Rates and means of some episodes."""
    n = len(episodes)
    count = {verdict: sum(episode.verdict == verdict for episode in episodes) for verdict in VERDICTS}

    def rate(verdict: Verdict) -> float:
        return count[verdict] / n if n else 0.0

    return Summary(
        n=n,
        success_rate=rate("success"),
        success_ci95=wilson_interval(count["success"], n),
        spl=mean([episode.spl for episode in episodes]),
        collision_rate=rate("collision"),
        collision_ci95=wilson_interval(count["collision"], n),
        timeout_rate=rate("timeout"),
        stopped_short_rate=rate("stopped-short"),
        fault_rate=rate("fault"),
        time_s=mean([episode.time_s for episode in episodes if episode.success]),
        min_clearance_m=mean([episode.min_clearance_m for episode in episodes]),
        supervisor_stops=mean([episode.supervisor_stops for episode in episodes]),
    )


def read_report(file: Path) -> Report:
    """Read what ``edge-wm eval --json`` wrote.  Raises BadInput if it is something else."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=Report)
    except OSError as error:
        raise BadInput(f"{file}: cannot read the evaluation: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise BadInput(f"{file}: not a result of edge-wm eval: {error}") from error


def write_report(file: Path, report: Report) -> None:
    """Write the JSON file, whole or not at all."""
    write_json(file, report)


def compare(episodes: Sequence[Episode], other: Report, file: str) -> Comparison:
    """Compare with ``other``, read from ``file``, which is of the same episodes in the same order."""
    ours, theirs = [e.success for e in episodes], [e.success for e in other.episodes]
    pairs = list(zip(ours, theirs, strict=True))
    return Comparison(
        file,
        other.policy,
        other.summary.success_rate,
        sum(a and not b for a, b in pairs),
        sum(b and not a for a, b in pairs),
        paired_p(ours, theirs),
    )


def as_text(report: Report) -> str:
    """A few lines for people, the last one for machines."""
    s = report.summary
    low, high = s.success_ci95
    lines = [
        f"{report.policy}: {s.n} episodes in {report.worlds}, seed {report.seed}",
        f"  success    {s.success_rate:6.1%}  (95 % interval {low:.1%} to {high:.1%}), SPL {s.spl:.3f}",
        f"  collision  {s.collision_rate:6.1%}",
        f"  timeout    {s.timeout_rate:6.1%}",
        f"  stopped short of the goal {s.stopped_short_rate:.1%}, fault {s.fault_rate:.1%}",
        f"  mean time of a success {s.time_s:.1f} s, mean least clearance {s.min_clearance_m:.3f} m,"
        f" supervisor stops {s.supervisor_stops:.2f} an episode",
    ]
    if report.comparison:
        c = report.comparison
        lines.append(
            f"  against {c.policy} ({c.other_success_rate:.1%}): {c.only_ours} won, {c.only_theirs} lost,"
            f" p = {c.p:.2g} (exact McNemar, two-sided)"
        )
    lines.append(
        f"RESULT n={s.n} success={s.success_rate:.4f} collision={s.collision_rate:.4f}"
        f" timeout={s.timeout_rate:.4f} spl={s.spl:.4f}"
    )
    return "\n".join(lines)
