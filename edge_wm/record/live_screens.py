"""What the live view draws: panels on a terminal, plain lines into a pipe or a log."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.style import Style
from rich.table import Table
from rich.text import Text

from edge_wm.record.palette import COLLISION_COLOURS, PLAN, ROBOT, colour_ramp
from edge_wm.record.statistics import TickStatistics
from edge_wm.record.tick_record import Array, TickRecord

SPARKS = "▁▂▃▄▅▆▇█"
SPARKLINE_WIDTH = 40
LINE_PERIOD_S = 1.0

MAP_CELLS = 32
"""Width and height of the map in the terminal, in half-character cells."""
MAP_CELL_M = 0.15
MAP_SHADES = 8
"""Few shades make long runs of one style, which a terminal draws fast."""

_SHADES = colour_ramp(COLLISION_COLOURS, MAP_SHADES)


def sparkline(values: Sequence[float], width: int = SPARKLINE_WIDTH) -> str:
    """The newest part of a series as unicode bars, at most ``width`` of them; zero is the lowest bar."""
    shown = [value if math.isfinite(value) else 0.0 for value in list(values)[-width:]]
    top = max(shown, default=0.0)
    if top <= 0.0:
        return SPARKS[0] * len(shown)
    return "".join(SPARKS[min(int(max(value, 0.0) / top * len(SPARKS)), len(SPARKS) - 1)] for value in shown)


class PlainLines:
    """One line a second of the robot's time, for pipes and logs."""

    def __init__(self, console: Console, goals: int) -> None:
        self._console = console
        self._goals = goals
        self._last: TickRecord | None = None
        # Rich imports parts of itself when it first prints, 0.2 s on a busy core: now, before the robot moves.
        with console.capture():
            self._print("")

    def draw(self, records: Sequence[TickRecord], statistics: TickStatistics) -> None:
        """Print a line for each record that is due."""
        for record in records:
            if self._is_due(record):
                self._last = record
                self._print(self._line(record, statistics))

    def close(self) -> None:
        """Nothing was changed, so there is nothing to give back."""

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _is_due(self, record: TickRecord) -> bool:
        last = self._last
        if last is None or record.goal_number != last.goal_number:
            return True
        return record.time_s - last.time_s >= LINE_PERIOD_S - 1e-6 or record.supervisor != last.supervisor

    def _line(self, record: TickRecord, statistics: TickStatistics) -> str:
        line = (
            f"goal {record.goal_number}/{self._goals}  {record.goal_distance_m:5.2f} m to go"
            f"  {record.applied.v:+.2f} m/s  {record.applied.w:+.2f} rad/s  cost {_number(record.plan_cost)}"
            f"  tick p50 {statistics.tick_ms(50):.1f} p99 {statistics.tick_ms(99):.1f} ms"
            f"  misses {statistics.misses}"
        )
        return f"{line}  supervisor: {record.supervisor}" if record.supervisor else line


class Panels:
    """Figures on the left, the model's map with the plan on the right, redrawn in place."""

    def __init__(self, console: Console, goals: int) -> None:
        self._goals = goals
        self._distances: deque[float] = deque(maxlen=SPARKLINE_WIDTH * 10)
        self._goal_number = 0
        self._has_colours = console.color_system is not None
        self._map: Text | None = None
        self._live = Live(console=console, auto_refresh=False)
        self._live.start()
        # Rich imports parts of itself when it first draws: now, before the robot moves.
        self._live.update(Panel("waiting for the first tick", width=46), refresh=True)

    def draw(self, records: Sequence[TickRecord], statistics: TickStatistics) -> None:
        """Redraw the panels for the newest record."""
        for record in records:
            if record.goal_number != self._goal_number:
                self._goal_number = record.goal_number
                self._distances.clear()
            self._distances.append(record.goal_distance_m)
        mapped = [record for record in records if record.local_map is not None]
        if mapped and self._has_colours:
            self._map = map_text(mapped[-1])
        self._live.update(self._picture(records[-1], statistics), refresh=True)

    def close(self) -> None:
        """Leave the last picture standing and give the cursor back."""
        self._live.stop()

    def _picture(self, record: TickRecord, statistics: TickStatistics) -> Table:
        figures = Table.grid(padding=(0, 2))
        figures.add_column(style="dim", width=10)
        figures.add_column(width=28)
        figures.add_row("to go", Text(f"{record.goal_distance_m:.2f} m", style="bold"))
        figures.add_row("speed", f"{record.applied.v:+.2f} m/s  {record.applied.w:+.2f} rad/s")
        figures.add_row("plan cost", f"{_number(record.plan_cost)}  ({record.iterations} iterations)")
        figures.add_row("tick", f"p50 {statistics.tick_ms(50):.1f} ms  p99 {statistics.tick_ms(99):.1f} ms")
        figures.add_row(
            "misses", Text(str(statistics.misses), style="bold red" if statistics.misses else "green")
        )
        figures.add_row(
            "supervisor",
            Text(record.supervisor, style="bold red")
            if record.supervisor
            else Text("lets it drive", style="green"),
        )
        # One bar for several ticks, so that a whole drive fits into the line.
        ticks_per_bar = max(1, math.ceil(len(self._distances) / SPARKLINE_WIDTH))
        bars = sparkline(list(self._distances)[::-1][::ticks_per_bar][::-1])
        left = Panel(
            Group(figures, Text(), Text("distance to the goal", style="dim"), Text(bars, style="cyan")),
            title=f"goal {record.goal_number}/{self._goals}",
            width=46,
            height=MAP_CELLS // 2 + 2,
        )
        whole = Table.grid()
        if self._map is None:
            whole.add_row(left)
        else:
            whole.add_row(left, Panel(self._map, title="what the model imagines", width=MAP_CELLS + 4))
        return whole


def map_text(record: TickRecord) -> Text:
    """The local map around the robot, heading up, two cells a character; plan in orange, robot in white."""
    pixels = _map_pixels(record)
    text = Text()
    for upper, lower in zip(pixels[0::2], pixels[1::2], strict=True):
        start = 0
        for column in range(1, MAP_CELLS + 1):
            run_ends = column == MAP_CELLS or (
                (upper[column] != upper[start]).any() or (lower[column] != lower[start]).any()
            )
            if run_ends:
                text.append("▀" * (column - start), _half_block_style(upper[start], lower[start]))
                start = column
        text.append("\n")
    text.rstrip()
    return text


def _map_pixels(record: TickRecord) -> Array:
    """uint8[MAP_CELLS, MAP_CELLS, 3]; the robot stands in the middle and looks up."""
    if record.local_map is None or record.pose is None:
        return np.zeros((MAP_CELLS, MAP_CELLS, 3), dtype=np.uint8)
    x, y, yaw = record.pose
    offset_m = (np.arange(MAP_CELLS) - (MAP_CELLS - 1) / 2) * MAP_CELL_M
    forward, left = np.meshgrid(-offset_m, -offset_m, indexing="ij")
    points = np.stack(
        [
            x + forward * math.cos(yaw) - left * math.sin(yaw),
            y + forward * math.sin(yaw) + left * math.cos(yaw),
        ],
        axis=-1,
    )
    probability, known = record.local_map.at(points)
    shade = np.clip(np.nan_to_num(probability) * MAP_SHADES, 0, MAP_SHADES - 1).astype(np.intp)
    pixels = np.where((known > 0.5)[..., None], _SHADES[shade], 0).astype(np.uint8)
    for pose in () if record.plan_poses is None else record.plan_poses:
        dx, dy = float(pose[0]) - x, float(pose[1]) - y
        _paint(pixels, dx * math.cos(yaw) + dy * math.sin(yaw), dy * math.cos(yaw) - dx * math.sin(yaw), PLAN)
    _paint(pixels, 0.0, 0.0, ROBOT)
    return pixels


def _paint(pixels: Array, forward_m: float, left_m: float, colour: tuple[int, int, int]) -> None:
    row = math.floor(MAP_CELLS / 2 - forward_m / MAP_CELL_M)
    column = math.floor(MAP_CELLS / 2 - left_m / MAP_CELL_M)
    if 0 <= row < MAP_CELLS and 0 <= column < MAP_CELLS:
        pixels[row, column] = colour


def _half_block_style(upper: Array, lower: Array) -> Style:
    return Style.parse(f"rgb({upper[0]},{upper[1]},{upper[2]}) on rgb({lower[0]},{lower[1]},{lower[2]})")


def _number(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "-"
