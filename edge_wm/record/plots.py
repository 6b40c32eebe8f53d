"""The report's plots, as SVG that takes the page's text colour and so reads on light and on dark."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from edge_wm.record.tick_record import Array

# Of middle brightness: readable on white and on near-black.
BLUE, ORANGE, RED, GREEN = "#3b8ad8", "#e08a1e", "#e05252", "#2fa36b"
INK = "#010203"
"""Stands for the page's text colour, and is replaced by ``currentColor`` in the finished SVG."""

SIZE_INCHES = (7.2, 2.8)


class RunPlots:
    """Plots of one run.

    Args:
        rows: as ``TickRecord.row`` gives them, in order; at least one.
        tick_s: duration of a tick, which is its deadline.
    """

    def __init__(self, rows: Sequence[Mapping[str, Any]], tick_s: float) -> None:
        self._tick_s = tick_s
        self._goal = np.array([row["goal"] for row in rows])
        self._missed = np.array([row["missed"] for row in rows], dtype=bool)
        self._time_s = _continuous(_column(rows, "time_s"), self._goal, tick_s)
        self._rows = rows

    def goal_distance(self) -> str:
        """Distance to the goal over time."""
        axes = self._time_axes("distance to the goal (m)")
        self._line(axes, "goal_distance_m", BLUE)
        axes.set_ylim(bottom=0)
        return _svg(axes.figure, "goal distance")

    def speeds(self) -> str:
        """Speed and yaw rate, commanded and applied, over time."""
        figure = _figure()
        upper, lower = figure.subplots(2, 1, sharex=True)
        for axes, index, name in ((upper, 0, "speed (m/s)"), (lower, 1, "yaw rate (rad/s)")):
            for key, colour, label in (("command", ORANGE, "commanded"), ("applied", BLUE, "applied")):
                values = np.array([_number(row[key][index]) for row in self._rows])
                self._draw(axes, values, colour, label)
            axes.set_ylabel(name)
            self._mark_goals(axes, named=axes is upper)
        _legend(upper)
        lower.set_xlabel("time (s)")
        return _svg(figure, "speeds")

    def latency(self) -> str:
        """Duration of each tick and of its parts over time, with the deadline."""
        axes = self._time_axes("duration (ms)")
        self._line(axes, "tick_ms", BLUE, "whole tick")
        self._line(axes, "plan_ms", ORANGE, "plan")
        self._line(axes, "observe_ms", GREEN, "observe")
        tick_ms = _column(self._rows, "tick_ms")
        if self._missed.any():
            axes.plot(self._time_s[self._missed], tick_ms[self._missed], "o", ms=4, color=RED, label="missed")
        deadline_ms = self._tick_s * 1000
        axes.axhline(deadline_ms, color=RED, lw=1.2, ls="--", label=f"deadline {deadline_ms:.0f} ms")
        axes.set_ylim(bottom=0)
        _legend(axes)
        return _svg(axes.figure, "latency")

    def latency_histogram(self) -> str:
        """How many ticks took how long."""
        axes = _figure().subplots()
        tick_ms = _column(self._rows, "tick_ms")
        tick_ms = tick_ms[np.isfinite(tick_ms)]
        if tick_ms.size:
            axes.hist(tick_ms, bins=60, color=BLUE, log=True)
            for percentile, colour in ((50, GREEN), (99, ORANGE)):
                at = float(np.percentile(tick_ms, percentile))
                axes.axvline(at, color=colour, lw=1.5, label=f"p{percentile} {at:.1f} ms")
            _legend(axes)
        axes.set_xlabel("duration of a tick (ms)")
        axes.set_ylabel("ticks")
        _finish(axes)
        return _svg(axes.figure, "latency histogram")

    def plan_cost(self) -> str:
        """Cost of the chosen plan over time."""
        axes = self._time_axes("cost of the plan")
        self._line(axes, "plan_cost", ORANGE)
        return _svg(axes.figure, "plan cost")

    def nearest(self) -> str:
        """The shortest range reading over time; ticks that the supervisor changed are marked."""
        axes = self._time_axes("nearest reading (m)")
        self._line(axes, "min_range_m", BLUE)
        changed = np.array([bool(row["supervisor"]) for row in self._rows])
        if changed.any():
            values = _column(self._rows, "min_range_m")[changed]
            axes.plot(self._time_s[changed], values, "o", ms=3, color=RED, label="supervisor stepped in")
            _legend(axes)
        axes.set_ylim(bottom=0)
        return _svg(axes.figure, "nearest")

    def _time_axes(self, ylabel: str) -> Axes:
        axes: Axes = _figure().subplots()
        axes.set_ylabel(ylabel)
        axes.set_xlabel("time (s)")
        self._mark_goals(axes)
        return axes

    def _line(self, axes: Axes, key: str, colour: str, label: str = "") -> None:
        self._draw(axes, _column(self._rows, key), colour, label)

    def _draw(self, axes: Axes, values: Array, colour: str, label: str) -> None:
        """One line a goal, so that nothing joins the end of one drive to the start of the next."""
        for number in np.unique(self._goal):
            of_goal = self._goal == number
            axes.plot(self._time_s[of_goal], values[of_goal], color=colour, lw=1.4, label=label)
            label = ""

    def _mark_goals(self, axes: Axes, named: bool = True) -> None:
        """A thin line where each drive starts, and its number above."""
        starts = np.flatnonzero(np.diff(self._goal, prepend=self._goal[0] - 1))
        for index in starts:
            at = float(self._time_s[index])
            axes.axvline(at, color=INK, lw=0.8, alpha=0.25)
            if not named:
                continue
            axes.annotate(
                f"goal {self._goal[index]}",
                (at, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(1, 3),
                textcoords="offset points",
                fontsize=7,
                color=INK,
                alpha=0.6,
            )
        axes.margins(x=0.01)
        _finish(axes)


def _continuous(time_s: Array, goal: Array, tick_s: float) -> Array:
    """Times that start at zero for every goal, laid one after another."""
    laid: Array = time_s.copy()
    for index in np.flatnonzero(np.diff(goal)) + 1:
        laid[index:] += laid[index - 1] + tick_s - laid[index]
    return laid


def _column(rows: Sequence[Mapping[str, Any]], key: str) -> Array:
    return np.array([_number(row[key]) for row in rows])


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _figure() -> Figure:
    figure = Figure(figsize=SIZE_INCHES, layout="constrained")
    FigureCanvasSVG(figure)
    figure.patch.set_alpha(0.0)
    return figure


def _finish(axes: Axes) -> None:
    axes.patch.set_alpha(0.0)
    axes.grid(color=INK, alpha=0.12, lw=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    for spine in axes.spines.values():
        spine.set_color(INK)
        spine.set_alpha(0.4)
    axes.tick_params(colors=INK, labelsize=8)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)


def _legend(axes: Axes) -> None:
    """Under the plot, where no line runs."""
    handles, labels = axes.get_legend_handles_labels()
    axes.figure.legend(
        handles, labels, loc="outside lower center", ncols=5, frameon=False, labelcolor=INK, fontsize=8
    )


def _svg(figure: Any, name: str) -> str:
    """The figure as an ``<svg>`` element for the inside of a page; ``name`` keeps its ids apart from others'."""
    content = io.StringIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    with rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif", "font.size": 9}
    ):
        figure.savefig(content, format="svg", metadata=nothing)
    text = content.getvalue()
    text = text[text.index("<svg") :]
    return text.replace(INK, "currentColor").replace("<svg", f'<svg role="img" aria-label="{name}"', 1)
