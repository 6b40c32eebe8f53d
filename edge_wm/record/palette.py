"""The colours of pictures, video, terminal and report, in one place."""

from __future__ import annotations

import numpy as np

from edge_wm.record.tick_record import Array

Colour = tuple[int, int, int]

BACKGROUND: Colour = (13, 17, 23)
PANEL: Colour = (22, 27, 34)
EDGE: Colour = (48, 54, 61)
TEXT: Colour = (230, 237, 243)
MUTED: Colour = (139, 148, 158)

PLAN: Colour = (255, 183, 3)
DRIVEN: Colour = (88, 196, 255)
GOAL: Colour = (63, 224, 138)
ROBOT: Colour = (245, 248, 250)
WARNING: Colour = (255, 92, 92)

COLLISION_COLOURS: tuple[Colour, ...] = ((17, 38, 58), (38, 62, 96), (118, 54, 84), (196, 92, 84))
"""Decoded map: from free (dark blue) to certainly occupied (dull red)."""

CANDIDATE_COLOURS: tuple[Colour, ...] = ((94, 242, 200), (70, 140, 230), (150, 70, 190))
"""Imagined candidates: from the cheapest (mint) to the costliest (purple)."""


def colour_ramp(stops: tuple[Colour, ...], steps: int) -> Array:
    """uint8[steps, 3]: linear blend through the evenly spaced ``stops``."""
    at = np.linspace(0.0, len(stops) - 1, steps)
    channels = [np.interp(at, np.arange(len(stops)), [stop[c] for stop in stops]) for c in range(3)]
    ramp: Array = np.stack(channels, axis=-1).round().astype(np.uint8)
    return ramp


def hexadecimal(colour: Colour) -> str:
    """The colour as CSS and matplotlib write it."""
    return "#{:02x}{:02x}{:02x}".format(*colour)
