"""Who may import whom: the runtime stays small, and starts quickly on a board."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

PEERS = {
    "pytorch_mppi",
    "torchrl",
    "tensordict",
    "mppi",
    "tdmpc2",
    "stable_worldmodel",
    "gym_pusht",
    "lerobot",
    "ultralytics",
    "jax",
}
TRAINING = {"torch", "torchvision", "onnxscript", "litert_torch", "ai_edge_quantizer", "tensorflow"}

FORBIDDEN = {
    # package: what it never imports, not even inside a function
    "edge_wm": TRAINING | PEERS | {"export", "tests", "benchmarks"},
    "firmware_bridge": TRAINING | PEERS | {"export", "tests", "benchmarks", "edge_wm"},
}

HEAVY = {"onnxruntime", "mujoco", "matplotlib", "scipy", "gymnasium", "PIL", "rich", "numpy"}
"""Libraries that cost tens of milliseconds or more; a command pays only for those that it uses."""

IMPORT_BUDGET_S = 0.3


def imports_of(source: str) -> Iterator[str]:
    """Yield the top-level name of everything that a module imports, wherever in it the import stands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (
                str(part.value).partition(".")[0] for part in node.args if isinstance(part, ast.Constant)
            )


def forbidden_imports(package: Path, forbidden: set[str]) -> list[str]:
    """Return `file imports module` for every import below ``package`` that is forbidden."""
    return [
        f"{file.relative_to(package)} imports {name}"
        for file in sorted(package.rglob("*.py"))
        for name in imports_of(file.read_text())
        if name in forbidden
    ]


@pytest.mark.parametrize("package", FORBIDDEN)
def test_the_runtime_never_imports_training_code_or_peers(package: str) -> None:
    assert list((ROOT / package).rglob("*.py"))
    assert forbidden_imports(ROOT / package, FORBIDDEN[package]) == []


@pytest.mark.parametrize(
    "line",
    [
        "import torch",
        "import torch.nn as nn",
        "from torch import nn",
        "from export.collect import main",
        "def late():\n    import pytorch_mppi",
        "import importlib\nimportlib.import_module('torch.onnx')",
    ],
)
def test_a_planted_import_is_caught(tmp_path: Path, line: str) -> None:
    (tmp_path / "clean.py").write_text("import numpy\nfrom .export import torch\n")
    assert forbidden_imports(tmp_path, FORBIDDEN["edge_wm"]) == []
    (tmp_path / "planted.py").write_text(line + "\n")
    assert len(forbidden_imports(tmp_path, FORBIDDEN["edge_wm"])) == 1


def fresh_python(program: str) -> str:
    """Run ``program`` in a Python of its own, started in the repository's root."""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


def loaded_by(statement: str) -> set[str]:
    return set(
        fresh_python(f"import sys; {statement}; print(*(m.partition('.')[0] for m in sys.modules))").split()
    )


@pytest.mark.parametrize("module", ["edge_wm", "edge_wm.cli", "edge_wm.robot", "firmware_bridge"])
def test_importing_it_loads_no_heavy_library(module: str) -> None:
    loaded = loaded_by(f"import {module}")
    assert module.partition(".")[0] in loaded
    assert loaded & HEAVY == set()


def test_a_heavy_library_would_be_seen() -> None:
    assert "numpy" in loaded_by("import edge_wm.cli, numpy")


def test_the_command_line_imports_within_its_budget() -> None:
    program = "import time; t = time.process_time(); import edge_wm.cli; print(time.process_time() - t)"
    # CPU time, and the best of three: other processes share the machine.
    assert min(float(fresh_python(program)) for _ in range(3)) < IMPORT_BUDGET_S
