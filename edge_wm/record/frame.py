"""One picture of the robot at work: header, camera, what the model imagines, the world from above.

+----------------------------------------------------------+
| Goal 2/5    to go    speed    plan    tick      [status] |
+----------------+-----------------------------------------+
| camera         |                                         |
|                |  the world from above: driven path,     |
+----------------+  imagined candidates, chosen path, goal |
| what the model |                                         |
| imagines       |                                         |
+----------------+-----------------------------------------+
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw

from edge_wm.record.drawing import draw_label, draw_placeholder, font
from edge_wm.record.imagined_panel import imagined_panel
from edge_wm.record.palette import (
    BACKGROUND,
    CANDIDATE_COLOURS,
    DRIVEN,
    GOAL,
    MUTED,
    PANEL,
    PLAN,
    TEXT,
    WARNING,
    Colour,
)
from edge_wm.record.tick_record import Array, GoalResult, GoalStart, TickRecord
from edge_wm.record.world_panel import WorldPanel

FRAME_SIZE = (960, 540)
CAMERA_BOX = (8, 52, 328, 292)  # left, upper, right, lower: 64 x 48 pixels, five times as large
IMAGINED_BOX = (8, 300, 328, 532)
WORLD_BOX = (336, 52, 952, 532)

GOAL_RADIUS_M = 0.3

Box = tuple[int, int, int, int]


class FrameComposer:
    """Composes the frames of one drive to a goal.

    Args:
        start: what was known when the robot set off.
        records: every tick of the drive; at least one.
        result: how it ended, shown in :meth:`last_frame`.
        scale: 1 for video frames of 960 x 540, 2 for a still twice as large.
    """

    def __init__(
        self,
        start: GoalStart,
        records: Sequence[TickRecord],
        result: GoalResult | None = None,
        scale: int = 1,
    ) -> None:
        self._start = start
        self._records = records
        self._result = result
        self._scale = scale
        self.size = (FRAME_SIZE[0] * scale, FRAME_SIZE[1] * scale)
        self._world = WorldPanel(start, records, self._box_size(WORLD_BOX), GOAL_RADIUS_M, scale)

    def frame(self, index: int) -> Image.Image:
        """RGB picture of the tick ``index`` of the drive."""
        record = self._records[index]
        if record.supervisor:
            return self._compose(index, record.supervisor, WARNING)
        return self._compose(index, "driving", MUTED)

    def last_frame(self) -> Image.Image:
        """The last tick, with the outcome."""
        index = len(self._records) - 1
        if self._result is None:
            return self.frame(index)
        return self._compose(index, self._result.outcome, GOAL if self._result.reached else WARNING)

    def world_at_end(self) -> Image.Image:
        """Only the world from above, with the whole driven path."""
        return self._world.picture(len(self._records) - 1, with_imagination=False)

    def _compose(self, index: int, status: str, status_colour: Colour) -> Image.Image:
        record = self._records[index]
        image = Image.new("RGB", self.size, BACKGROUND)
        self._draw_header(image, record, status, status_colour)
        camera = camera_panel(record.camera, self._box_size(CAMERA_BOX), self._scale)
        imagined = imagined_panel(record, self._box_size(IMAGINED_BOX), GOAL_RADIUS_M, self._scale)
        world = self._world.picture(index)
        self._draw_legend(world)
        for panel, box in ((camera, CAMERA_BOX), (imagined, IMAGINED_BOX), (world, WORLD_BOX)):
            image.paste(panel, (box[0] * self._scale, box[1] * self._scale))
        return image

    def _draw_header(
        self, image: Image.Image, record: TickRecord, status: str, status_colour: Colour
    ) -> None:
        s = self._scale
        draw = ImageDraw.Draw(image)
        draw.text(
            (12 * s, 27 * s),
            f"Goal {self._start.number}/{self._start.of}",
            font=font(20 * s, True),
            fill=TEXT,
            anchor="lm",
        )
        seconds = record.time_s - self._records[0].time_s
        figures = (
            ("to go", f"{_figure(record.goal_distance_m, 2)} m"),
            ("speed", f"{_figure(record.applied.v, 2)} m/s"),
            ("time", f"{_figure(seconds, 1)} s"),
            ("nearest", f"{_figure(record.min_range_m, 2)} m"),
            ("observe", f"{_figure(record.observe_ms, 1)} ms"),
            ("plan", f"{_figure(record.plan_ms, 1)} ms"),
        )
        for column, (name, figure) in enumerate(figures):
            left = (150 + column * 96) * s
            draw.text((left, 16 * s), name, font=font(11 * s), fill=MUTED, anchor="lm")
            draw.text((left, 34 * s), figure, font=font(15 * s), fill=TEXT, anchor="lm")
        face = font(13 * s, True)
        width = draw.textlength(status, font=face)
        right = 952 * s
        draw.rounded_rectangle((right - width - 24 * s, 13 * s, right, 41 * s), radius=14 * s, fill=PANEL)
        draw.text((right - 12 * s - width, 27 * s), status, font=face, fill=status_colour, anchor="lm")

    def _draw_legend(self, world: Image.Image) -> None:
        s = self._scale
        draw = ImageDraw.Draw(world, "RGBA")
        face = font(11 * s)
        entries: tuple[tuple[str, Colour, int], ...] = (
            ("driven", DRIVEN, 3),
            ("chosen", PLAN, 3),
            ("imagined, cheap", CANDIDATE_COLOURS[0], 2),
            ("imagined, costly", CANDIDATE_COLOURS[-1], 2),
            ("goal", GOAL, 3),
        )
        left, middle = 14 * s, world.height - 17 * s
        total = sum(round(draw.textlength(name, font=face)) + 38 * s for name, _, _ in entries)
        plate = (6 * s, middle - 11 * s, 12 * s + total, middle + 11 * s)
        draw.rounded_rectangle(plate, radius=5 * s, fill=(*BACKGROUND, 205))
        for name, colour, width in entries:
            draw.line([(left, middle), (left + 16 * s, middle)], fill=colour, width=width * s)
            draw.text((left + 21 * s, middle), name, font=face, fill=TEXT, anchor="lm")
            left += round(draw.textlength(name, font=face)) + 38 * s

    def _box_size(self, box: Box) -> tuple[int, int]:
        return (box[2] - box[0]) * self._scale, (box[3] - box[1]) * self._scale


def camera_panel(camera: Array | None, size: tuple[int, int], scale: int) -> Image.Image:
    """The camera frame uint8[H, W, 3] as large as fits, its pixels left visible; empty without a camera."""
    if camera is None:
        return draw_placeholder(size, "no camera", scale)
    panel = Image.new("RGB", size, PANEL)
    height, width = camera.shape[:2]
    factor = min(size[0] / width, size[1] / height)
    fitted = (round(width * factor), round(height * factor))
    picture = Image.fromarray(camera).resize(fitted, Image.Resampling.NEAREST)
    panel.paste(picture, ((size[0] - fitted[0]) // 2, (size[1] - fitted[1]) // 2))
    draw_label(panel, f"camera · {width} x {height}", (6 * scale, 6 * scale), scale)
    return panel


def _figure(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"
