"""What the tests of profiles share."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_wm.profile import measure, take


@pytest.fixture(autouse=True)
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home of its own, and a short measurement."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(measure, "ROUNDS", 1)
    monkeypatch.setattr(measure, "TICKS_A_ROUND", 2)
    monkeypatch.setattr(take, "LEAST_TICKS", 2)
    monkeypatch.setattr(take, "WHOLE", take.Effort(quick=False, seconds=0.0))
    monkeypatch.setattr(take, "QUICK", take.Effort(quick=True, seconds=0.0))
