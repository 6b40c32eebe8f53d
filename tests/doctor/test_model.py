"""What the doctor finds of a model and of the engine that runs it."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from edge_wm.doctor.finding import Finding, Level
from edge_wm.doctor.model import model
from edge_wm.doctor.remedy import pip_install
from edge_wm.paths import shipped
from edge_wm.robot import load_robot
from tests.tiny_model import read_manifest, write_manifest

ROBOT = load_robot()


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return Path(shutil.copytree(shipped("models", "rooms-student"), tmp_path / "model"))


def found(bundle: Path) -> dict[str, Finding]:
    return {finding.check: finding for finding in model(bundle, ROBOT)}


def test_the_shipped_model_is_well_on_this_machine(bundle: Path) -> None:
    checks = found(bundle)
    assert checks.keys() == {"model", "engine", "speed"}
    assert checks["model"].level is checks["engine"].level is Level.OK


def test_a_changed_byte_of_a_graph_is_found(bundle: Path) -> None:
    graph = bundle / "imagine.int8.onnx"
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1
    graph.write_bytes(data)
    checks = found(bundle)
    assert checks.keys() == {"model"}
    assert checks["model"].level is Level.ERROR
    assert "imagine.int8.onnx" in checks["model"].said


def test_a_model_for_another_rate_is_found(bundle: Path) -> None:
    facts = read_manifest(bundle)
    facts["tick_s"] = 0.2
    write_manifest(bundle, facts)
    checks = found(bundle)
    assert checks["fit"].level is Level.ERROR
    assert "every 0.2 s" in checks["fit"].said
    assert "engine" not in checks


def test_an_engine_that_computes_another_model_is_found(bundle: Path) -> None:
    """Here the model does not keep its own promise, which looks the same."""
    facts = read_manifest(bundle)
    for tolerance in facts["golden"]["tolerances"]:
        tolerance["max_abs"] = tolerance["mean_abs"] = 1e-12
    write_manifest(bundle, facts)
    checks = found(bundle)
    assert checks["engine"].level is Level.ERROR
    assert checks["engine"].remedy == f"{pip_install('--force-reinstall', 'edge-wm')}; docs/engines.md"
    assert "speed" not in checks


def test_a_model_that_is_too_slow_here_is_found(bundle: Path) -> None:
    facts = read_manifest(bundle)
    facts["latency_budget_ms"] = 0.01
    write_manifest(bundle, facts)
    assert found(bundle)["speed"].level is Level.ERROR


def test_an_accelerator_that_is_not_there_is_found(bundle: Path) -> None:
    board = msgspec.structs.replace(
        ROBOT.board, engine=msgspec.structs.replace(ROBOT.board.engine, accelerator="cuda")
    )
    checks = {
        finding.check: finding for finding in model(bundle, msgspec.structs.replace(ROBOT, board=board))
    }
    assert checks["accelerator"].level is Level.WARNING
    assert checks["engine"].level is Level.OK, "the CPU runs it"
