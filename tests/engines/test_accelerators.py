"""What is asked of an accelerator, how one that is missing is refused, and that only real work counts as proof."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from edge_wm.engines.engine import EngineError
from edge_wm.engines.execution import Execution
from edge_wm.engines.litert import LiteRtEngine
from edge_wm.engines.onnxruntime import OnnxRuntimeEngine, new_session
from edge_wm.engines.placement import Placement, delegated, placement, ran
from edge_wm.engines.providers import PROVIDERS, available, providers
from edge_wm.errors import BadInput
from tests import tiny_model, tiny_tflite
from tests.engines.accelerators import (
    CPU,
    cuda_is_built_in,
    cuda_is_in_the_list_only,
    cuda_is_the_cpu,
    delegate_is,
    inputs_are_copied_when_bound,
)

pytestmark = pytest.mark.filterwarnings("ignore:.* provider")  # ONNX Runtime's, about providers it drops

ONNX = tiny_model.observe_graph().SerializeToString()
TFLITE = tiny_tflite.pack(tiny_tflite.model(tiny_tflite.observe_graph()))
CUDA = Execution("onnx", "fp32", accelerator="cuda")
LIBRARY = "libc.so.6"  # any that can be loaded
DELEGATE = Execution("tflite", "fp32", accelerator="delegate", delegate=LIBRARY)

INPUTS = {spec.name: spec.empty() for spec in OnnxRuntimeEngine(ONNX, Execution()).inputs}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"format": "tflite", "accelerator": "cuda"}, "'cuda' does not run tflite graphs: cpu, delegate do"),
        ({"accelerator": "delegate", "delegate": "x.so"}, "'delegate' does not run onnx graphs"),
        ({"format": "tflite", "accelerator": "delegate"}, "needs delegate = the path"),
        ({"format": "tflite", "delegate": "x.so"}, "delegate is only for accelerator 'delegate'"),
        ({"accelerator": "cuda", "engine_cache": "/c"}, "engine_cache is only for accelerator 'tensorrt'"),
        ({"format": "tflite", "threads": 2, "spin": True}, "spin is only for onnx graphs on"),
        ({"threads": 1, "spin": True}, "spin needs threads = 2 or more"),
    ],
)
def test_what_contradicts_itself_is_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Execution(**values)


@pytest.mark.parametrize("accelerator", PROVIDERS)
def test_an_accelerator_that_onnx_runtime_was_built_without_names_what_to_install(
    accelerator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])
    assert available() == []
    with pytest.raises(BadInput, match=r"has no \w+: install (onnxruntime-gpu|one built with)") as refusal:
        OnnxRuntimeEngine(ONNX, Execution("onnx", accelerator=accelerator))  # type: ignore[arg-type]
    assert "\n" not in str(refusal.value)


def test_an_accelerator_that_onnx_runtime_drops_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda_is_built_in(monkeypatch)
    dropped = onnxruntime.InferenceSession(ONNX, providers=["CUDAExecutionProvider", CPU], enable_fallback=0)
    assert dropped.get_providers() == [CPU]  # the control: ONNX Runtime itself goes on without it
    with pytest.raises(EngineError, match="CUDAExecutionProvider did not start: install CUDA and cuDNN"):
        OnnxRuntimeEngine(ONNX, CUDA)


def test_a_provider_in_the_list_that_runs_no_node_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda_is_in_the_list_only(monkeypatch)
    assert new_session(ONNX, CUDA).get_providers()[0] == "CUDAExecutionProvider"
    with pytest.raises(EngineError, match=r"cuda started but ran no node; the CPU ran all \d+"):
        placement(ONNX, CUDA, INPUTS)


def test_a_provider_that_runs_every_node_leaves_none(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda_is_the_cpu(monkeypatch)
    found = placement(ONNX, CUDA, INPUTS)
    assert found.nodes > 4 and found.left == 0
    assert found.share == 1.0


def event(provider: str, op_name: str, name: str = "n_kernel_time", cat: str = "Node") -> dict[str, object]:
    return {"cat": cat, "name": name, "args": {"provider": provider, "op_name": op_name}}


def test_copies_to_a_device_and_other_events_are_no_work_of_it() -> None:
    cuda = "CUDAExecutionProvider"
    events = [
        {"cat": "Session", "name": "model_run", "args": {}},
        event(cuda, "MemcpyFromHost"),
        event(cuda, "MemcpyToHost"),
        event(cuda, "Gemm", "n_fence_before"),
        event("", "gemm", cat="Kernel"),
        event(CPU, "Gemm"),
    ]
    assert ran(events) == {CPU: 1}
    assert ran([*events, event(cuda, "Gemm")]) == {CPU: 1, cuda: 1}


def test_the_share_counts_what_the_cpu_is_spared() -> None:
    assert Placement(nodes=8, left=2).share == 0.75  # perhaps run as one node
    assert Placement(nodes=8, left=9).share == 0.0


def test_operators_between_the_borders_of_a_delegate_are_its_own() -> None:
    on_cpu = Execution("tflite")
    assert delegated(LiteRtEngine(TFLITE, on_cpu, xnnpack=False).operators()) == (9, 0)
    nodes, taken = delegated(LiteRtEngine(TFLITE, on_cpu).operators())
    assert nodes == 9 and 4 < taken < 9  # XNNPACK has no cast from uint8


def test_a_delegate_that_takes_nothing_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    delegate_is(monkeypatch, xnnpack=False)
    with pytest.raises(EngineError, match=rf"{LIBRARY} started but ran no node; the CPU ran all 9"):
        placement(TFLITE, DELEGATE, INPUTS)
    monkeypatch.undo()
    delegate_is(monkeypatch, xnnpack=True)
    assert 0.4 < placement(TFLITE, DELEGATE, INPUTS).share < 1.0


def test_a_device_with_memory_of_its_own_sees_every_new_input(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda_is_the_cpu(monkeypatch)
    inputs_are_copied_when_bound(monkeypatch)
    moved = {**INPUTS, "pose": np.array([1, 2, 3], dtype=np.float32)}
    for execution, seen in ((CUDA, True), (Execution(), False)):  # the CPU's way would not do there
        engine = OnnxRuntimeEngine(ONNX, execution)
        still = engine.run(INPUTS)["next_pose"].copy()
        assert (engine.run(moved)["next_pose"] != still).any() == seen


def tensorrt(folder: Path, precision: str = "fp16", model: bytes = b"weights") -> dict[str, str]:
    execution = Execution("onnx", precision, accelerator="tensorrt", engine_cache=str(folder))  # type: ignore[arg-type]
    (name, options), (last, _) = providers(execution, model)
    assert (name, last) == ("TensorrtExecutionProvider", CPU)
    return options


@pytest.fixture
def with_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["TensorrtExecutionProvider", CPU])


@pytest.mark.usefixtures("with_tensorrt")
@pytest.mark.parametrize(
    ("precision", "fp16", "int8"),
    [("fp32", "False", "False"), ("fp16", "True", "False"), ("int8", "False", "True")],
)
def test_tensorrt_may_round_no_more_than_the_precision_says(
    tmp_path: Path, precision: str, fp16: str, int8: str
) -> None:
    options = tensorrt(tmp_path, precision)
    assert (options["trt_fp16_enable"], options["trt_int8_enable"]) == (fp16, int8)


@pytest.mark.usefixtures("with_tensorrt")
def test_another_model_never_gets_the_engine_of_this_one(tmp_path: Path) -> None:
    folder = tensorrt(tmp_path)["trt_engine_cache_path"]
    assert Path(folder).is_dir() and Path(folder).stat().st_mode & 0o077 == 0
    assert tensorrt(tmp_path)["trt_engine_cache_path"] == folder
    assert tensorrt(tmp_path, model=b"other weights")["trt_engine_cache_path"] != folder


@pytest.mark.usefixtures("with_tensorrt")
def test_a_cache_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match=rf"^{tmp_path}/file/\w+: no folder for TensorRT's engines"):
        tensorrt(tmp_path / "file")


def test_xnnpack_has_the_threads_and_onnx_runtime_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Execution("onnx", "fp32", 3, "xnnpack")
    assert PROVIDERS["xnnpack"].options(asked, ONNX) == {"intra_op_num_threads": "3"}
    played = PROVIDERS["xnnpack"]._replace(name=CPU, options=lambda execution, model: {})
    monkeypatch.setitem(PROVIDERS, "xnnpack", played)
    for execution, threads in ((asked, 1), (asked.on_cpu(), 3)):
        assert new_session(ONNX, execution).get_session_options().intra_op_num_threads == threads
