"""What install.sh asks of a bundle before it is used."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge_wm.install_model import why_not
from edge_wm.paths import shipped
from edge_wm.robot import DEFAULT_ROBOT
from tests.tiny_model import read_manifest, write_manifest


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return Path(shutil.copytree(shipped("models", "rooms-student"), tmp_path / "mine"))


def test_a_sound_bundle_that_fits_is_used_also_where_it_is_too_slow(bundle: Path) -> None:
    write_manifest(bundle, {**read_manifest(bundle), "latency_budget_ms": 0.001})
    assert why_not(bundle, DEFAULT_ROBOT) is None


def test_a_bundle_for_another_rate_is_not(bundle: Path) -> None:
    write_manifest(bundle, {**read_manifest(bundle), "tick_s": 0.2})
    assert "every 0.2 s" in str(why_not(bundle, DEFAULT_ROBOT))


def test_a_bundle_that_does_not_repeat_its_golden_vectors_is_not(bundle: Path) -> None:
    facts = read_manifest(bundle)
    for tolerance in facts["golden"]["tolerances"]:
        tolerance["max_abs"] = tolerance["mean_abs"] = 1e-12
    write_manifest(bundle, facts)
    assert why_not(bundle, DEFAULT_ROBOT) is not None


@pytest.mark.parametrize(("robot", "says"), [("sim", "mine"), ("/nowhere.toml", "/nowhere.toml")])
def test_it_is_said_in_one_line(bundle: Path, robot: str, says: str) -> None:
    (bundle / "manifest.json").unlink()
    command = [sys.executable, "-m", "edge_wm.install_model", str(bundle), robot]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "")
    assert done.stdout.count("\n") == 1 and says in done.stdout
