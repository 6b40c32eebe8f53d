"""A profile as text of at most 100 columns: one row a way, and the stages of the chosen way."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from rich import box
from rich.table import Column, Table

from edge_wm.profile.at_rate import AtRate
from edge_wm.profile.compare import Comparison
from edge_wm.profile.machine_state import MachineState
from edge_wm.profile.profile_file import Profile, Row
from edge_wm.profile.stages import CAMERA_TO_MOTOR, TICK, Durations

WIDTH = 100
BUSY = 0.5
"""Share of the cores that others used in the last minute, from which on times are not to be trusted."""

ON_WIDTH = 9
"""For a name like "cuda 100%"; the longer one of a delegate is folded."""

CHOSEN, FAILS = "*", "x"


def ways_table(profile: Profile, own: int) -> Table:
    """One row a way.

    Args:
        profile: what was measured.
        own: candidates of the bundle.
    """
    table = Table(
        Column("", no_wrap=True),
        Column("cand.", justify="right", no_wrap=True),
        Column("form", no_wrap=True),
        Column(
            "on",
            min_width=min(ON_WIDTH, max((len(_on(row)) for row in profile.rows), default=0)),
            overflow="fold",
        ),
        Column("threads", no_wrap=True),
        *(Column(heading, justify="right", no_wrap=True) for heading in _HEADINGS),
        caption=f"{CHOSEN} chosen, {FAILS} cannot be used; one after another, at the robot's rate, beside a CPU load",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )
    for row in profile.rows:
        how = row.execution
        mark = CHOSEN if how == profile.chosen else FAILS if row.failure else ""
        table.add_row(
            mark,
            str(how.candidates or own),
            f"{how.format} {how.precision}",
            _on(row),
            f"{how.threads}{' spin' if how.spin else ''}",
            _ms(row.tick_p50_ms),
            _ms(row.tick_p99_ms),
            *_at_rate_cells(row),
        )
    return table


_HEADINGS = (
    "p50\nms",
    "p99\nms",
    "p99 at\nrate",
    "missed",
    "camera\nmotor",
    "p99\nloaded",
    "missed\nloaded",
    "MiB",
)


def _on(row: Row) -> str:
    share = "" if row.accelerated is None else f" {row.accelerated:.0%}"
    return row.execution.accelerated_by + share


def _at_rate_cells(row: Row) -> list[str]:
    alone = row.alone
    if alone is None:
        return [""] * 6
    idle, loaded = alone.idle, alone.loaded
    return [
        _ms(_tick_p99(idle)),
        _missed(idle),
        _ms(None if idle is None else idle.camera_to_motor.p99),
        _ms(_tick_p99(loaded)),
        _missed(loaded),
        _mib(alone.peak_bytes),
    ]


def stages_table(row: Row) -> Table | None:
    """The stages of one way; None if it was not measured at the robot's rate."""
    if row.alone is None or row.alone.idle is None:
        return None
    table = Table(
        "stage, ms",
        *(
            Column(name, justify="right", no_wrap=True)
            for name in ("first", "warm-up", "p50", "p95", "p99", "max", "n", "loaded p50", "p99", "max")
        ),
        box=box.SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )
    idle, loaded = row.alone.idle, row.alone.loaded
    for stage, ms in _with_camera(idle).items():
        beside = _with_camera(loaded).get(stage) if loaded is not None else None
        table.add_row(
            stage,
            *(_ms(value) for value in (ms.first, ms.warm_up, ms.p50, ms.p95, ms.p99, ms.max)),
            str(ms.n),
            *(_ms(value) for value in ((beside.p50, beside.p99, beside.max) if beside else (None,) * 3)),
        )
    return table


def facts(profile: Profile) -> Iterator[str]:
    """Yield what else is known: memory, misses, accuracy, the machine."""
    row = profile.row(profile.chosen)
    if row is not None and row.alone is not None:
        yield from _of_process(profile, row)
    for form in profile.accuracy:
        if form.failure:
            yield f"{form.format} {form.precision}: {form.failure}"
    yield f"machine: {profile.machine}, {profile.kernel}, board file {profile.board}"
    for when, state in (("before", profile.before), ("after", profile.after)):
        yield f"{when}: {state_line(state)}"
    load = profile.before.load_average
    if load is not None and load > BUSY * profile.burners:
        yield f"warning: this machine was busy before (load {load:.2f}): a quiet one would be faster"
    if profile.note:
        yield f"note: {profile.note}"
    if profile.quick:
        yield "quick: only the plausible ways were tried, and only the chosen one at the robot's rate"


def _of_process(profile: Profile, row: Row) -> Iterator[str]:
    alone = row.alone
    assert alone is not None
    if alone.failure:
        yield f"at the robot's rate: {alone.failure}"
    for name, run, watts in (
        ("idle", alone.idle, alone.idle_w),
        (f"beside {profile.burners} burning processes", alone.loaded, alone.loaded_w),
    ):
        if run is None:
            continue
        power = "" if watts is None else f", {watts:.2f} W, {watts * profile.tick_ms:.0f} mJ a tick"
        early = "" if run.ended_early is None else f"; it ended early: {run.ended_early}"
        yield (
            f"{name}: {run.ticks} ticks of {profile.tick_ms:g} ms: {run.missed} missed their deadline,"
            f" {run.cut_short} plans were cut short{power}{early}"
        )
    yield f"bundle read and checked in {_ms(alone.load_ms)} ms, engines started in {_ms(alone.start_ms)} ms"
    yield (
        f"memory {_mib(alone.steady_bytes)} MiB, at most {_mib(alone.peak_bytes)} MiB,"
        f" {_mib(alone.before_model_bytes)} MiB before the model"
    )


def accuracy_table(profile: Profile) -> Table:
    """Each form against the trained float model: the output that is nearest to its tolerance, and the plans."""
    table = Table(
        Column("against the float model", no_wrap=True),
        "output",
        *(
            Column(name, justify="right", no_wrap=True)
            for name in ("max error", "mean", "allowed", "rank corr.", "same elites", "regret")
        ),
        box=box.SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )
    for form in profile.accuracy:
        size = "" if form.candidates is None else f", plans of {form.candidates}"
        worst = form.worst
        errors = (None,) * 3 if worst is None else (worst.max_abs, worst.mean_abs, worst.allowed_max_abs)
        table.add_row(
            f"{form.format} {form.precision}{size}",
            "fails" if worst is None else worst.output,
            *(_short(figure) for figure in (*errors, form.spearman, form.elite_overlap, form.regret)),
        )
    return table


def state_line(state: MachineState) -> str:
    """How the machine was; what it does not tell is not there."""
    told = (
        (state.temperature_c, "{:.1f} °C"),
        (", ".join(map(str, state.clock_mhz)) or None, "{} MHz"),
        (state.governor, "governor {}"),
        (state.throttled, "throttled: {}"),
        (state.power_w, "{:.2f} W"),
        (state.load_average, "load {:.2f}"),
    )
    return ", ".join(text.format(value) for value, text in told if value is not None) or "it does not tell"


def comparison_table(comparison: Comparison, profile: Profile) -> Table:
    """The stages of the chosen way, and the whole tick of the others, now and then."""
    table = Table(
        "way",
        "stage, ms",
        *(Column(name, justify="right") for name in ("p50 was", "is", "ratio", "p99 was", "is", "ratio")),
        box=box.SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )
    for each in comparison.ratios:
        if each.execution == profile.chosen or each.stage == TICK:
            table.add_row(
                str(each.execution),
                each.stage,
                _ms(each.old_p50),
                _ms(each.new_p50),
                _ratio(each.old_p50, each.new_p50),
                _ms(each.old_p99),
                _ms(each.new_p99),
                _ratio(each.old_p99, each.new_p99),
            )
    return table


def comparison_facts(comparison: Comparison) -> Iterator[str]:
    """Yield what became of the choice, and what else differs."""
    if comparison.choice is not None:
        yield comparison.choice
    for note in comparison.notes:
        yield f"not the same: {note}"
    if comparison.worse is not None:
        yield f"worse: {comparison.worse}"


def verdict(profile: Profile, has_sizes: bool = False) -> str:
    """What was chosen, and whether it keeps the bundle's budget.

    Args:
        profile: one that has chosen.
        has_sizes: whether plans of fewer candidates were possible.
    """
    assert profile.chosen is not None
    chosen = msgspec.structs.replace(profile.chosen, candidates=profile.candidates)
    kept = "within" if profile.keeps_budget else "over"
    fewest = " even with the fewest candidates" if not profile.keeps_budget and has_sizes else ""
    return f"{chosen}: p99 {profile.chosen_p99_ms:.1f} ms a tick, {kept} the budget of {profile.budget_ms:g} ms{fewest}"


def _with_camera(run: AtRate) -> dict[str, Durations]:
    return {**run.stages, CAMERA_TO_MOTOR: run.camera_to_motor}


def _tick_p99(run: AtRate | None) -> float | None:
    return None if run is None else run.stages[TICK].p99


def _missed(run: AtRate | None) -> str:
    return "" if run is None else f"{run.missed}/{run.ticks}"


def _ratio(old: float, new: float) -> str:
    return f"{new / old:.2f}" if old > 0.0 else ""


def _ms(value: float | None) -> str:
    """Milliseconds in at most five characters."""
    if value is None:
        return ""
    return f"{value:.2f}" if value < 99.995 else f"{value:.1f}" if value < 999.95 else f"{value:.0f}"


def _short(figure: float | None) -> str:
    return "" if figure is None else f"{figure:.3g}"


def _mib(count: int | None) -> str:
    return "?" if count is None else f"{count / 2**20:.0f}"
