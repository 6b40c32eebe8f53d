"""An accelerator is used only if it proves itself; otherwise the CPU drives, and everybody is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_wm.bundle.load import load_bundle
from edge_wm.clock import SimulatedClock
from edge_wm.drive.accelerated import accelerated_or_not
from edge_wm.drive.pilot import Pilot
from edge_wm.engines.execution import Execution
from edge_wm.robot import load_robot
from tests.blind_model import write_blind
from tests.engines.accelerators import cuda_is_in_the_list_only, cuda_is_the_cpu
from tests.tiny_model import read_manifest, write_manifest, write_tiny

pytestmark = pytest.mark.filterwarnings("ignore:.* provider")  # ONNX Runtime's, about providers it drops

CUDA = Execution("onnx", "fp32", accelerator="cuda")
INSTEAD = "cuda is not used, the CPU runs the model instead: "


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "tiny")


def test_an_accelerator_that_proves_itself_is_used(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda_is_the_cpu(monkeypatch)
    assert accelerated_or_not(load_bundle(bundle), CUDA) == (CUDA, None)


def test_one_that_runs_no_node_is_not(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda_is_in_the_list_only(monkeypatch)
    used, why = accelerated_or_not(load_bundle(bundle), CUDA)
    assert used == Execution("onnx", "fp32")
    assert why is not None and why.startswith(INSTEAD) and "started but ran no node" in why


def test_one_that_computes_something_else_is_not(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda_is_the_cpu(monkeypatch)
    facts = read_manifest(bundle)
    for tolerance in facts["golden"]["tolerances"]:
        tolerance.update(max_abs=0.0, mean_abs=0.0)
    write_manifest(bundle, facts)
    used, why = accelerated_or_not(load_bundle(bundle), CUDA)
    assert used.accelerator == "cpu"
    assert why is not None and why.startswith(f"{INSTEAD}is another model here: ")


def test_the_cpu_need_not_prove_itself(tmp_path: Path) -> None:
    without_golden_vectors = load_bundle(write_blind(tmp_path / "blind"), golden=False)
    assert accelerated_or_not(without_golden_vectors, Execution()) == (Execution(), None)


def test_a_pilot_says_that_it_drives_on_the_cpu_instead(tmp_path: Path) -> None:
    bundle = write_blind(tmp_path / "blind")
    assert Pilot(load_robot(), bundle, SimulatedClock()).fell_back is None
    asked = Execution(accelerator="xnnpack")
    pilot = Pilot(load_robot(), bundle, SimulatedClock(), execution=asked)
    assert pilot.execution == Execution()
    assert pilot.fell_back is not None and "xnnpack is not used" in pilot.fell_back
    pilot.rehearse()
