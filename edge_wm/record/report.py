"""The run's ``report.html``: one file, with video, pictures and plots inside; it asks the network for nothing."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from edge_wm.output_file import write_atomically
from edge_wm.record.plots import RunPlots

GOAL_COLUMNS = {
    "number": "goal",
    "name": "world",
    "outcome": "outcome",
    "time_s": "time (s)",
    "travelled_m": "driven (m)",
    "geodesic_m": "shortest (m)",
    "min_clearance_m": "least clearance (m)",
    "ticks": "ticks",
    "misses": "misses",
}
FIGURES = {
    "tick_p50_ms": "tick p50 (ms)",
    "tick_p99_ms": "tick p99 (ms)",
    "tick_max_ms": "slowest tick (ms)",
    "observe_p50_ms": "observe p50 (ms)",
    "plan_p50_ms": "plan p50 (ms)",
}


def write_report(
    path: Path,
    summary: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    video: Path | None,
    worlds: Sequence[tuple[str, bytes]],
) -> None:
    """Write the report.

    Args:
        path: of the HTML file.
        summary: what ``summary.json`` holds.
        rows: what ``ticks.jsonl`` holds.
        video: MP4 file to embed.
        worlds: caption and PNG of each goal's world with the driven path.
    """
    template = Template(files(__package__).joinpath("report_template.html").read_text(encoding="utf-8"))
    page = template.substitute(
        title=html.escape(str(summary["title"])),
        started=html.escape(str(summary["started_utc"])),
        tiles=_tiles(summary),
        video=_video(video),
        goals=_goal_table(summary["goal_results"]),
        worlds="".join(_picture(caption, png) for caption, png in worlds),
        plots=_plots(rows, float(summary["tick_s"])),
        facts=_facts(summary),
    )
    write_atomically(path, page.encode())


def _tiles(summary: Mapping[str, Any]) -> str:
    collisions = summary["collisions"]
    tiles = (
        (f"{summary['reached']}/{summary['goals']}", "goals reached", summary["reached"] == summary["goals"]),
        (_shown(collisions), "collisions", None if collisions is None else collisions == 0),
        (_shown(summary["tick_p50_ms"]), "tick p50 (ms)", None),
        (_shown(summary["tick_p99_ms"]), "tick p99 (ms)", None),
        (summary["misses"], "deadline misses", summary["misses"] == 0),
    )
    return "".join(
        f'<div class="tile{"" if good is None else " good" if good else " bad"}">'
        f"<b>{html.escape(str(figure))}</b><span>{html.escape(name)}</span></div>"
        for figure, name, good in tiles
    )


def _video(video: Path | None) -> str:
    if video is None:
        return ""
    content = base64.b64encode(video.read_bytes()).decode()
    return f'<video controls muted playsinline src="data:video/mp4;base64,{content}"></video>'


def _picture(caption: str, png: bytes) -> str:
    content = base64.b64encode(png).decode()
    caption = html.escape(caption)
    return f'<figure><img alt="{caption}" src="data:image/png;base64,{content}"><figcaption>{caption}</figcaption></figure>'


def _goal_table(results: Sequence[Mapping[str, Any]]) -> str:
    head = "".join(f"<th>{html.escape(title)}</th>" for title in GOAL_COLUMNS.values())
    body = "".join(
        f'<tr class="{"good" if result["reached"] else "bad"}">'
        + "".join(f"<td>{html.escape(_shown(result[column]))}</td>" for column in GOAL_COLUMNS)
        + "</tr>"
        for result in results
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _plots(rows: Sequence[Mapping[str, Any]], tick_s: float) -> str:
    if not rows:
        return "<p>No tick was recorded.</p>"
    plots = RunPlots(rows, tick_s)
    drawn = (
        ("Distance to the goal", plots.goal_distance()),
        ("Nearest range reading", plots.nearest()),
        ("Commanded and applied velocity", plots.speeds()),
        ("Cost of the chosen plan", plots.plan_cost()),
        ("Latency over time", plots.latency()),
        ("Latency histogram", plots.latency_histogram()),
    )
    return "".join(f"<figure><figcaption>{title}</figcaption>{svg}</figure>" for title, svg in drawn)


def _facts(summary: Mapping[str, Any]) -> str:
    facts = {title: summary[key] for key, title in FIGURES.items()} | dict(summary["facts"])
    rows = "".join(
        f"<tr><th>{html.escape(str(name))}</th><td>{html.escape(_shown(value))}</td></tr>"
        for name, value in facts.items()
    )
    return f'<table class="facts"><tbody>{rows}</tbody></table>'


def _shown(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else str(value)
