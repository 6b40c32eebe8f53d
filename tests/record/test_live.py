from __future__ import annotations

import io
import threading

import numpy as np
import pytest
from rich.console import Console

from edge_wm.record.live import LiveView
from edge_wm.record.live_screens import MAP_CELLS, Panels, PlainLines, map_text, sparkline
from edge_wm.record.palette import PLAN, ROBOT
from edge_wm.record.statistics import TickStatistics

HANG_S = 10.0
"""A test fails rather than waits longer; nothing waits this long when it passes."""


class SlowScreen:
    """A screen that stands still in the middle of drawing until it is released."""

    def __init__(self) -> None:
        self.drawing = threading.Event()
        self.release = threading.Event()
        self.drawn = []
        self.closed = False

    def draw(self, records, statistics):
        self.drawing.set()
        assert self.release.wait(HANG_S)
        self.drawn.extend(record.tick for record in records)

    def close(self):
        self.closed = True


def test_a_screen_that_hangs_does_not_hold_up_the_loop_and_the_oldest_records_are_lost(make_drive):
    screen = SlowScreen()
    records = make_drive(200)
    with LiveView(goals=1, screen=screen, queued_records=16) as view:
        view.show(records[0])
        assert screen.drawing.wait(HANG_S)
        for record in records[1:]:  # the screen hangs during all of these
            view.show(record)
        assert screen.drawn == []
        screen.release.set()
    assert screen.drawn == [0, *range(184, 200)]
    assert screen.closed


def test_a_screen_that_keeps_up_loses_nothing(make_drive):
    screen = SlowScreen()
    screen.release.set()
    with LiveView(goals=1, screen=screen, queued_records=200) as view:
        for record in make_drive(200):
            view.show(record)
    assert screen.drawn == list(range(200))


def test_figures_count_ticks_whose_records_were_lost(make_drive):
    seen = []

    class Screen(SlowScreen):
        def draw(self, records, statistics):
            seen.append((statistics.ticks, statistics.misses))

    view = LiveView(goals=1, screen=Screen(), queued_records=1)
    for record in make_drive(60):
        view.show(record)
    with view:
        pass
    assert seen[-1] == (60, 1)


def test_a_broken_terminal_ends_the_view_and_not_the_drive(make_drive):
    class BrokenScreen(SlowScreen):
        def draw(self, records, statistics):
            raise BrokenPipeError("the terminal is gone")

    with LiveView(goals=1, screen=BrokenScreen()) as view:
        for record in make_drive(20):
            view.show(record)
    view.show(make_drive(1)[0])
    assert "the terminal is gone" in view.problem


def test_without_a_terminal_there_is_one_plain_line_a_second(make_drive):
    console = Console(file=io.StringIO(), force_terminal=False)
    screen = PlainLines(console, goals=2)
    statistics = TickStatistics()
    quiet = [record for record in make_drive(120) if not record.supervisor]
    for record in quiet:
        statistics.add(record)
        screen.draw([record], statistics)
    lines = console.file.getvalue().splitlines()
    assert 11 <= len(lines) <= 13
    assert lines[0].startswith("goal 1/2   3.00 m to go")
    assert "\x1b" not in console.file.getvalue()


def test_plain_lines_tell_at_once_when_the_supervisor_steps_in(make_drive):
    console = Console(file=io.StringIO(), force_terminal=False)
    screen = PlainLines(console, goals=2)
    screen.draw(make_drive(120), TickStatistics())
    assert (
        sum("supervisor: closer than braking distance" in x for x in console.file.getvalue().splitlines())
        == 1
    )


def test_the_panels_show_what_the_operator_needs(make_drive):
    console = Console(file=io.StringIO(), force_terminal=True, width=100, color_system="truecolor")
    screen = Panels(console, goals=5)
    statistics = TickStatistics()
    records = make_drive(22)
    for record in records:
        statistics.add(record)
    screen.draw(records, statistics)
    screen.close()
    shown = console.file.getvalue()
    for words in (
        "goal 1/5",
        "m/s",
        "plan cost",
        "p50",
        "p99",
        "misses",
        "closer than braking distance",
        "▀",
        "█",
    ):
        assert words in shown


def test_the_terminal_map_puts_the_robot_in_the_middle_and_the_plan_ahead(make_drive):
    text = map_text(make_drive(40)[20])
    assert len(text.plain.splitlines()) == MAP_CELLS // 2
    robot, plan = ("rgb({},{},{})".format(*colour) for colour in (ROBOT, PLAN))
    lines_with = {
        name: {text.plain[: span.start].count("\n") for span in text.spans if name in str(span.style)}
        for name in (robot, plan)
    }
    assert lines_with[robot] == {MAP_CELLS // 4}
    assert lines_with[plan] and max(lines_with[plan]) <= MAP_CELLS // 4


@pytest.mark.parametrize(
    ("values", "bars"), [([], ""), ([0, 0], "▁▁"), ([1, 2, 4, 8], "▂▃▅█"), ([8, np.nan, 4], "█▁▅")]
)
def test_a_sparkline_starts_at_zero(values, bars):
    assert sparkline(values) == bars
