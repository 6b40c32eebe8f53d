"""TD-MPC2 of ``td_mpc2.py`` beside this file, seeing pictures: a second adapter of the same model."""

from __future__ import annotations

from pathlib import Path

import td_mpc2

from export.adapter import Adapter


def adapter(checkpoint: Path | None) -> Adapter:
    """Declare the model with the convolutional encoder."""
    return td_mpc2.adapter(checkpoint, td_mpc2.Size(pictures=True))
