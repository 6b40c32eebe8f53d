"""ONNX Runtime's execution providers: what each is told, and what must be installed for it.

The CPU provider is always the last one and runs the nodes that the others do not take.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import onnxruntime

from edge_wm.engines.execution import Accelerator, Execution
from edge_wm.errors import BadInput

CPU = "CPUExecutionProvider"
MAX_DEVICE_BYTES = 512 << 20
"""Memory of the GPU for one graph; on a Jetson it is the computer's own."""

Options = dict[str, str]


class Provider(NamedTuple):
    """One execution provider.

    Attributes:
        name: ONNX Runtime's for it.
        build: which build of ONNX Runtime has it.
        libraries: what else it loads when it starts.
        options: what it is told for one graph.
    """

    name: str
    build: str
    libraries: str
    options: Callable[[Execution, bytes], Options]


def _xnnpack(execution: Execution, model: bytes) -> Options:
    return {"intra_op_num_threads": str(execution.threads)}


def _cuda(execution: Execution, model: bytes) -> Options:
    return {
        "device_id": "0",
        "gpu_mem_limit": str(MAX_DEVICE_BYTES),
        "arena_extend_strategy": "kSameAsRequested",
        "cudnn_conv_algo_search": "HEURISTIC",  # the default tries all at start, and may choose others next time
        "use_tf32": "0",  # fp32 means fp32
    }


def _tensorrt(execution: Execution, model: bytes) -> Options:
    # ONNX Runtime names an engine by the graph's structure, not its weights: in a shared folder an updated model would
    # be driven with the weights of the old one (onnxruntime issue 6455).
    folder = _cache(execution) / hashlib.sha256(model).hexdigest()[:16]
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # an engine is code: nobody else writes here
    except OSError as error:
        raise BadInput(f"{folder}: no folder for TensorRT's engines: {error.strerror}") from None
    return {
        "device_id": "0",
        "trt_max_workspace_size": str(MAX_DEVICE_BYTES),
        "trt_fp16_enable": str(execution.precision == "fp16"),
        "trt_int8_enable": str(execution.precision == "int8"),  # scales are in the graph, no calibration
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": str(folder),
    }


_GPU_BUILD = "onnxruntime-gpu in its place (on a Jetson: NVIDIA's wheel for its JetPack)"

PROVIDERS: dict[Accelerator, Provider] = {
    "xnnpack": Provider(
        "XnnpackExecutionProvider", "one built with --use_xnnpack (PyPI has none)", "nothing", _xnnpack
    ),
    "cuda": Provider("CUDAExecutionProvider", _GPU_BUILD, "CUDA and cuDNN", _cuda),
    "tensorrt": Provider("TensorrtExecutionProvider", _GPU_BUILD, "CUDA, cuDNN and TensorRT", _tensorrt),
}


def available() -> list[Accelerator]:
    """The accelerators that this ONNX Runtime was built with; whether one can start is another matter."""
    built = onnxruntime.get_available_providers()
    return [accelerator for accelerator, provider in PROVIDERS.items() if provider.name in built]


def providers(execution: Execution, model: bytes) -> list[tuple[str, Options]]:
    """What a session for ``model`` is made with, the preferred provider first.

    Raises:
        BadInput: this ONNX Runtime was built without the provider, or there is no place for TensorRT's engines.
    """
    if execution.accelerator == "cpu":
        return [(CPU, {})]
    provider = PROVIDERS[execution.accelerator]
    if execution.accelerator not in available():
        raise BadInput(
            f"ONNX Runtime {onnxruntime.__version__} has no {provider.name}: install {provider.build}"
        )
    return [(provider.name, provider.options(execution, model)), (CPU, {})]


def _cache(execution: Execution) -> Path:
    if execution.engine_cache is not None:
        return Path(execution.engine_cache).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edge-wm" / "tensorrt"
