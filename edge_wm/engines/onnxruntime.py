"""Runs ONNX graphs with ONNX Runtime, on the CPU or on an accelerator that it has a provider for."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime

from edge_wm.engines.engine import Array, EngineError, TensorSpec, check_inputs, told
from edge_wm.engines.execution import Execution
from edge_wm.engines.providers import PROVIDERS, providers

MAX_ARENA_BYTES = 512 << 20
"""Memory for the weights and the tensors between nodes of all graphs of this process together."""

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}
_SILENT = 4  # ONNX Runtime's log severity: what is worth telling comes as an exception


class OnnxRuntimeEngine:
    """One graph in one session, its inputs and outputs bound to numpy memory once.

    Args:
        model: the ONNX file's bytes.
        execution: threads and accelerator.
        output_sets: how many sets of output buffers to keep.

    Raises:
        EngineError: ONNX Runtime refuses the graph or cannot start the accelerator, or a shape is not static.
        BadInput: this ONNX Runtime does not have the accelerator.

    The tensors between nodes have no declared size, so a small file can ask for any amount of memory.  All of them
    come out of one arena of ``MAX_ARENA_BYTES``; ``run`` raises EngineError for a graph that needs more.
    """

    def __init__(self, model: bytes, execution: Execution, *, output_sets: int = 1) -> None:
        self._session = new_session(model, execution)
        self._inputs = tuple(_spec(node) for node in self._session.get_inputs())
        self._outputs = tuple(_spec(node) for node in self._session.get_outputs())
        # On the CPU an OrtValue made from an array shares the array's memory.
        self._input_arrays = {spec.name: spec.empty() for spec in self._inputs}
        self._input_values = {name: _shared(array) for name, array in self._input_arrays.items()}
        self._copied_when_bound = execution.accelerator in ("cuda", "tensorrt")
        self._output_arrays = [
            {spec.name: spec.empty() for spec in self._outputs} for _ in range(output_sets)
        ]
        self._bindings = []
        for arrays in self._output_arrays:
            binding = self._session.io_binding()
            for name, value in self._input_values.items():
                binding.bind_ortvalue_input(name, value)
            for name, array in arrays.items():
                binding.bind_ortvalue_output(name, _shared(array))
            self._bindings.append(binding)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What ``run`` takes, in the graph's order."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What ``run`` returns, in the graph's order."""
        return self._outputs

    def run(self, inputs: Mapping[str, Array], output_set: int = 0) -> Mapping[str, Array]:
        """Execute the graph; see :meth:`edge_wm.engines.engine.Engine.run`."""
        check_inputs(self._inputs, inputs)
        for name, buffer in self._input_arrays.items():
            np.copyto(buffer, inputs[name])
        binding = self._bindings[output_set]
        try:
            if (
                self._copied_when_bound
            ):  # to a device's own memory, which does not see what is written here later
                for name, value in self._input_values.items():
                    binding.bind_ortvalue_input(name, value)
                binding.synchronize_inputs()
            self._session.run_with_iobinding(binding)
        except Exception as error:
            raise EngineError(f"ONNX Runtime failed: {_told(error)}") from None
        return self._output_arrays[output_set]


def new_session(
    model: bytes, execution: Execution, *, profile: str | None = None
) -> onnxruntime.InferenceSession:
    """Make a session on the accelerator that is asked for, or none: ONNX Runtime itself would fall back and not say so.

    Args:
        model: the ONNX file's bytes.
        execution: threads and accelerator.
        profile: how the file begins that tells which provider ran which node; None: no such file.

    Raises:
        EngineError: ONNX Runtime refuses the graph, or cannot start the accelerator.
        BadInput: this ONNX Runtime does not have the accelerator.
    """
    _bound_memory()
    options = onnxruntime.SessionOptions()
    # XNNPACK has threads of its own.
    options.intra_op_num_threads = 1 if execution.accelerator == "xnnpack" else execution.threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = _SILENT
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if execution.spin else "0")
    # Between two runs the CPU belongs to the camera and the radio.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.add_session_config_entry("session.use_env_allocators", "1")
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = profile
    asked = providers(execution, model)
    try:
        session = onnxruntime.InferenceSession(
            model,
            options,
            providers=asked,
            enable_fallback=0,  # it prints to the terminal and tries the same provider again
            disabled_optimizers=["ConstantFolding"],  # it allocates outside of the arena; exporters fold
        )
    except Exception as error:  # its exceptions share no base class but this
        needs = PROVIDERS[execution.accelerator].libraries if execution.accelerator != "cpu" else ""
        on = needs and f" on {execution.accelerator}, which needs {needs}"
        raise EngineError(f"ONNX Runtime refuses the graph{on}: {_told(error)}") from None
    if asked[0][0] not in session.get_providers():
        provider = PROVIDERS[execution.accelerator]
        raise EngineError(
            f"{provider.name} did not start: install {provider.libraries}, in the versions that it printed"
        )
    return session


def _shared(array: Array) -> onnxruntime.OrtValue:
    return onnxruntime.OrtValue.ortvalue_from_numpy(array)


def _spec(node: Any) -> TensorSpec:
    """Translate ONNX Runtime's description of an input or output."""
    if node.type not in _DTYPES or not all(isinstance(size, int) and size > 0 for size in node.shape):
        raise EngineError(f"{node.name!r} is {node.type} of shape {node.shape}: not a tensor of static shape")
    return TensorSpec(node.name, tuple(node.shape), _DTYPES[node.type])


@functools.cache
def _bound_memory() -> None:
    """Make the arena that every session of this process allocates from."""
    onnxruntime.create_and_register_allocator(
        onnxruntime.OrtMemoryInfo(
            "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
        ),
        onnxruntime.OrtArenaCfg(MAX_ARENA_BYTES, -1, -1, -1),  # -1: its own default
    )


def _told(error: Exception) -> str:
    if "BFCArena" in str(error):
        return f"it needs more than {MAX_ARENA_BYTES >> 20} MiB for weights and tensors between nodes"
    return told(error)
