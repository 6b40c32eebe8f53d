"""What a robot does is nobody else's business."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = "import edge_wm.engines.onnxruntime"


def traces(home: Path, program: str) -> list[Path]:
    """Files that a process left in its home."""
    home.mkdir()
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache")}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    return [path for path in home.rglob("*") if path.is_file()]


def test_the_engine_leaves_nothing_in_the_home_folder(tmp_path: Path) -> None:
    assert traces(tmp_path / "home", PROGRAM) == []


def test_left_alone_it_would(tmp_path: Path) -> None:
    if traces(tmp_path / "home", "import onnxruntime") == []:
        pytest.skip("this ONNX Runtime collects nothing")
