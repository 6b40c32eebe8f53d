"""The marks that both maps of a video frame share: imagined paths, the plan, the robot, the goal, labels.

Panels are drawn :data:`OVERSAMPLING` times too large and then reduced, because Pillow draws lines without
smoothing them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from edge_wm.record.palette import (
    BACKGROUND,
    CANDIDATE_COLOURS,
    GOAL,
    MUTED,
    PANEL,
    PLAN,
    ROBOT,
    TEXT,
    Colour,
    colour_ramp,
)
from edge_wm.record.tick_record import Array, Pose

OVERSAMPLING = 2
ROBOT_RADIUS_M = 0.12

_CANDIDATE_RAMP = colour_ramp(CANDIDATE_COLOURS, 32)
_CHEAPEST_ALPHA, _COSTLIEST_ALPHA = 190, 55

ToPixels = Callable[[Array], Array]
"""Maps points [..., 2] in metres to pixels [..., 2] of a panel."""


@lru_cache(maxsize=32)
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans from matplotlib's own files, so that pictures look the same on every machine."""
    from matplotlib import get_data_path

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(get_data_path()) / "fonts" / "ttf" / name), size)


def draw_candidates(
    draw: ImageDraw.ImageDraw, start: Array, paths: Array, costs: Array | None, width: int
) -> None:
    """Thin translucent lines, coloured by the rank of their cost; the cheapest come last, on top.

    Args:
        draw: of an RGB image, in RGBA mode, so that lines blend.
        start: [2], pixels, where every path begins.
        paths: [N, H, 2], pixels.
        costs: [N], any unit; not-a-number counts as costliest.
        width: of the lines, pixels.
    """
    count = len(paths)
    order = np.arange(count) if costs is None else np.argsort(np.nan_to_num(costs, nan=np.inf))
    for rank in range(count - 1, -1, -1):
        share = rank / max(count - 1, 1)
        red, green, blue = (int(c) for c in _CANDIDATE_RAMP[int(share * (len(_CANDIDATE_RAMP) - 1))])
        alpha = round(_CHEAPEST_ALPHA + share * (_COSTLIEST_ALPHA - _CHEAPEST_ALPHA))
        draw_path(draw, np.vstack([start, paths[order[rank]]]), (red, green, blue), width, alpha)


def draw_plan(draw: ImageDraw.ImageDraw, start: Array, path: Array, width: int) -> None:
    """The chosen path: thick, with a dot at each imagined step."""
    draw_path(draw, np.vstack([start, path]), PLAN, width)
    for point in path:
        _disc(draw, point, width * 0.9, fill=(*PLAN, 255))


def draw_path(draw: ImageDraw.ImageDraw, points: Array, colour: Colour, width: int, alpha: int = 255) -> None:
    """A line through pixels [P, 2]; points that are not finite are left out."""
    points = points[np.isfinite(points).all(axis=-1)]
    if len(points) >= 2:
        draw.line(
            [(float(u), float(v)) for u, v in points], fill=(*colour, alpha), width=width, joint="curve"
        )


def draw_robot(draw: ImageDraw.ImageDraw, to_pixels: ToPixels, pose: Pose) -> None:
    """A disc of the robot's true size with a wedge that points where it looks."""
    x, y, yaw = pose
    if not all(math.isfinite(value) for value in pose):
        return
    nose = ROBOT_RADIUS_M * 0.82
    corners = [(nose, 0.0), (-0.6 * nose, 0.62 * nose), (-0.25 * nose, 0.0), (-0.6 * nose, -0.62 * nose)]
    cos, sin = math.cos(yaw), math.sin(yaw)
    metres = [(x, y), (x + ROBOT_RADIUS_M, y)]
    metres += [(x + fwd * cos - left * sin, y + fwd * sin + left * cos) for fwd, left in corners]
    pixels = to_pixels(np.array(metres))
    radius = float(np.hypot(*(pixels[1] - pixels[0])))
    _disc(draw, pixels[0], radius * 1.18, fill=(*BACKGROUND, 150))
    _disc(draw, pixels[0], radius, fill=(*ROBOT, 255))
    draw.polygon([(float(u), float(v)) for u, v in pixels[2:]], fill=(*BACKGROUND, 255))


def draw_goal(
    draw: ImageDraw.ImageDraw, to_pixels: ToPixels, goal: tuple[float, float], radius_m: float
) -> None:
    """A ring of the radius that counts as reached, and a dot."""
    centre, rim = to_pixels(np.array([goal, (goal[0] + radius_m, goal[1])]))
    radius = float(np.hypot(*(rim - centre)))
    _disc(draw, centre, radius, fill=(*GOAL, 40), outline=(*GOAL, 255), width=max(2, round(radius * 0.12)))
    _disc(draw, centre, max(3.0, radius * 0.16), fill=(*GOAL, 255))


def draw_label(image: Image.Image, text: str, corner: tuple[int, int], scale: int) -> None:
    """A small caption on a dark plate; ``corner`` is its upper left, in pixels."""
    draw = ImageDraw.Draw(image, "RGBA")
    face = font(11 * scale)
    width = round(draw.textlength(text, font=face))
    u, v = corner
    draw.rounded_rectangle(
        (u, v, u + width + 12 * scale, v + 19 * scale), radius=5 * scale, fill=(*BACKGROUND, 205)
    )
    draw.text((u + 6 * scale, v + 9.5 * scale), text, font=face, fill=TEXT, anchor="lm")


def draw_placeholder(size: tuple[int, int], text: str, scale: int) -> Image.Image:
    """A panel that has nothing to show."""
    image = Image.new("RGB", size, PANEL)
    centre = (size[0] / 2, size[1] / 2)
    ImageDraw.Draw(image).text(centre, text, font=font(12 * scale), fill=MUTED, anchor="mm")
    return image


def _disc(
    draw: ImageDraw.ImageDraw,
    centre: Array,
    radius: float,
    fill: tuple[int, int, int, int],
    outline: tuple[int, int, int, int] | None = None,
    width: int = 1,
) -> None:
    if np.isfinite(centre).all():
        u, v = float(centre[0]), float(centre[1])
        box = (u - radius, v - radius, u + radius, v + radius)
        draw.ellipse(box, fill=fill, outline=outline, width=width)
