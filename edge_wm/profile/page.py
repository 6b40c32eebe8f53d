"""A profile as one HTML file with charts inside; it asks the network for nothing."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template

from rich.table import Table
from rich.text import Text

from edge_wm.output_file import write_atomically
from edge_wm.profile.compare import Comparison
from edge_wm.profile.profile_file import Profile, Row
from edge_wm.profile.stages import TICK
from edge_wm.profile.tables import (
    accuracy_table,
    comparison_facts,
    comparison_table,
    facts,
    stages_table,
    verdict,
    ways_table,
)

# Of middle brightness: readable on white and on near-black.
COLOURS = ("#8a6fd1", "#2fa36b", "#3b8ad8", "#e08a1e", "#c75d9b", "#57a5a5", "#a3a33a", "#e05252", "#7d8590")
"""Of the stages in the order of the tick; more than these begin again."""

LABEL, PLOT, BAR, GAP = 360, 640, 22, 12
"""Pixels: width of the names, width of the bars' part, height of a bar, distance to the next."""


def write_page(path: Path, profile: Profile, own: int, comparison: Comparison | None) -> None:
    """Write the page.

    Args:
        path: of the HTML file.
        profile: what was measured.
        own: candidates of the bundle.
        comparison: with an earlier profile, if that was asked for.
    """
    template = Template(files(__package__).joinpath("page_template.html").read_text(encoding="utf-8"))
    chosen = profile.row(profile.chosen)
    stages = None if chosen is None else stages_table(chosen)
    names = _stage_names(profile.rows)
    page = template.substitute(
        title=html.escape(f"{profile.model} {profile.model_version} on {profile.board}"),
        measured=html.escape(f"measured {profile.measured_at} on {profile.machine}; {profile.body}"),
        verdict=_verdict(profile),
        bars=_bars(profile, names),
        key=_key(names),
        ways=_table(ways_table(profile, own)),
        stages="<p>Not measured.</p>" if stages is None else _table(stages),
        accuracy=_table(accuracy_table(profile)),
        comparison="" if comparison is None else _compared(comparison, profile),
        facts=_list(facts(profile)),
    )
    write_atomically(path, page.encode())


def _verdict(profile: Profile) -> str:
    if profile.chosen is None:
        return '<b class="bad">No form of the model can be used on this machine.</b>'
    kind = "good" if profile.keeps_budget else "bad"
    return f'<b class="{kind}">{html.escape(verdict(profile))}</b>'


def _compared(comparison: Comparison, profile: Profile) -> str:
    table = _table(comparison_table(comparison, profile))
    return f'<h2>Against an earlier profile</h2><div class="scroll">{table}</div><ul>{_list(comparison_facts(comparison))}</ul>'


def _stage_names(rows: Iterable[Row]) -> list[str]:
    """Of all ways, in the order of the tick, without the tick itself."""
    longest: dict[str, None] = {}
    for row in rows:
        if row.alone is not None and row.alone.idle is not None:
            longest |= dict.fromkeys(row.alone.idle.stages)
    return [name for name in longest if name != TICK]


def _colour(names: Sequence[str], name: str) -> str:
    return COLOURS[names.index(name) % len(COLOURS)]


def _key(names: Sequence[str]) -> str:
    return "".join(
        f'<span><i style="background:{_colour(names, name)}"></i>{html.escape(name)}</span>' for name in names
    )


def _bars(profile: Profile, names: Sequence[str]) -> str:
    """One stacked bar a way, as SVG."""
    shown = [row for row in profile.rows if row.alone is not None and row.alone.idle is not None]
    if not shown:
        return "<p>Nothing was measured at the robot's rate.</p>"
    longest = max([profile.budget_ms, *(_slowest(row) for row in shown)]) * 1.05
    scale = PLOT / longest
    height = len(shown) * (BAR + GAP) + 30
    parts = [f'<svg viewBox="0 0 {LABEL + PLOT + 10} {height}" role="img" aria-label="ticks of each way">']
    for number, row in enumerate(shown):
        parts += _bar(row, names, number * (BAR + GAP) + 4, scale, row.execution == profile.chosen)
    budget = LABEL + profile.budget_ms * scale
    bottom = height - 26
    parts.append(
        f'<line x1="{budget:.1f}" x2="{budget:.1f}" y1="0" y2="{bottom}" stroke="#e05252" stroke-dasharray="4 4"/>'
        f'<text x="{budget:.1f}" y="{height - 8}" text-anchor="middle">{profile.budget_ms:g} ms</text></svg>'
    )
    return "".join(parts)


def _bar(row: Row, names: Sequence[str], y: int, scale: float, chosen: bool) -> Iterator[str]:
    assert row.alone is not None and row.alone.idle is not None
    middle = y + BAR / 2
    weight = ' font-weight="600"' if chosen else ""
    label = html.escape(str(row.execution) + (" *" if chosen else ""))
    yield f'<text x="{LABEL - 8}" y="{middle + 4}" text-anchor="end"{weight}>{label}</text>'
    x = float(LABEL)
    for name in names:
        ms = row.alone.idle.stages.get(name)
        if ms is None:
            continue
        width = ms.p50 * scale
        title = html.escape(f"{name}: p50 {ms.p50:.2f} ms, p99 {ms.p99:.2f} ms")
        yield (
            f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{BAR}" fill="{_colour(names, name)}">'
            f"<title>{title}</title></rect>"
        )
        x += width
    for run, opacity in ((row.alone.loaded, 0.35), (row.alone.idle, 1.0)):
        if run is not None:
            end = LABEL + run.stages[TICK].p99 * scale
            yield (
                f'<path d="M{LABEL} {middle}H{end:.1f}M{end:.1f} {y + 3}V{y + BAR - 3}" stroke="currentColor"'
                f' stroke-width="1.5" opacity="{opacity}"/>'
            )


def _slowest(row: Row) -> float:
    assert row.alone is not None
    runs = (row.alone.idle, row.alone.loaded)
    return max(run.stages[TICK].p99 for run in runs if run is not None)


def _table(table: Table) -> str:
    """A table of the terminal as one of HTML."""
    head = "".join(f"<th>{html.escape(_plain(column.header))}</th>" for column in table.columns)
    rows = zip(*(list(column.cells) for column in table.columns), strict=True)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(_plain(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _plain(cell: object) -> str:
    return cell.plain if isinstance(cell, Text) else str(cell).replace("\n", " ")


def _list(lines: Iterable[str]) -> str:
    return "".join(f"<li>{html.escape(line)}</li>" for line in lines)
