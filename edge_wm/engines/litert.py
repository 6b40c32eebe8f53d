"""Runs TFLite graphs with LiteRT, or with the older tflite-runtime where that is what a board has.

TFLite renames tensors; the names that a graph was exported with are kept in its signature, and those are used
here.  A full-integer graph has int8 inputs and outputs with a scale and a zero point: they are float32 to the
caller, and converted on the way in and out.
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from edge_wm.engines.engine import Array, EngineError, TensorSpec, check_inputs, told
from edge_wm.engines.execution import Execution
from edge_wm.errors import MissingExtra

LIBRARIES = ("ai_edge_litert.interpreter", "tflite_runtime.interpreter")
"""Modules with the same ``Interpreter``, the preferred one first."""

_NUMBERS = {"float32", "float64", "float16", "uint8", "int8", "int16", "int32", "int64", "bool"}


class LiteRtEngine:
    """One graph in one interpreter, with the XNNPACK delegate on the CPU for what no other delegate takes.

    Args:
        model: the TFLite file's bytes.
        execution: threads, and the shared library of a delegate that takes operators off the CPU.
        output_sets: how many sets of output buffers to keep.
        xnnpack: off, whatever is delegated was taken by the delegate of ``execution``.

    Raises:
        EngineError: LiteRT refuses the graph, a shape is not static, there is not exactly one signature, or a
            delegate cannot be loaded.
        MissingExtra: neither LiteRT nor tflite-runtime is installed.
    """

    def __init__(
        self, model: bytes, execution: Execution, *, output_sets: int = 1, xnnpack: bool = True
    ) -> None:
        library = _library()
        resolvers = library.OpResolverType
        try:
            self._interpreter = library.Interpreter(
                model_content=model,
                num_threads=execution.threads,
                experimental_delegates=[_delegate(library, execution.delegate)] if execution.delegate else [],
                experimental_op_resolver_type=(
                    resolvers.AUTO if xnnpack else resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES
                ),
            )
            self._interpreter.allocate_tensors()
            signature = self._interpreter.get_signature_runner()
            named = signature.get_input_details(), signature.get_output_details()
            inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        except (ValueError, RuntimeError, OSError) as error:
            raise EngineError(f"LiteRT refuses the graph: {told(error)}") from None
        self._ins = [_Tensor(self._interpreter, details, named[0]) for details in inputs]
        self._outs = [_Tensor(self._interpreter, details, named[1]) for details in outputs]
        self._inputs = tuple(tensor.spec for tensor in self._ins)
        self._outputs = tuple(tensor.spec for tensor in self._outs)
        self._output_arrays = [
            {spec.name: spec.empty() for spec in self._outputs} for _ in range(output_sets)
        ]

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
        try:
            for tensor in self._ins:
                tensor.write(inputs[tensor.spec.name])
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise EngineError(f"LiteRT failed: {told(error)}") from None
        arrays = self._output_arrays[output_set]
        for tensor in self._outs:
            tensor.read(arrays[tensor.spec.name])
        return arrays

    def operators(self) -> list[dict[str, Any]]:
        """Every operator of the graph, and one more called ``DELEGATE`` for each group that a delegate took.

        Raises:
            EngineError: this library cannot tell.
        """
        try:
            found: list[dict[str, Any]] = self._interpreter._get_ops_details()
        except AttributeError:
            raise EngineError("this LiteRT cannot tell which operators a delegate took") from None
        return found


class _Tensor:
    """One input or output in the interpreter's memory.

    The interpreter refuses to run while a view of its memory is alive, so views are made anew at each call; that
    allocates a few bytes, not the tensor.
    """

    def __init__(self, interpreter: Any, details: dict[str, Any], named: dict[str, dict[str, Any]]) -> None:
        names = [name for name, one in named.items() if one["index"] == details["index"]]
        shape = tuple(int(size) for size in details["shape"])
        dtype = np.dtype(details["dtype"])
        if len(names) != 1:
            raise EngineError(f"LiteRT: the signature does not name tensor {details['name']!r} once")
        if not all(size > 0 for size in (*shape, *details["shape_signature"])) or dtype.name not in _NUMBERS:
            raise EngineError(
                f"LiteRT: {names[0]!r} is {dtype.name}{list(shape)}: not a tensor of static shape"
            )
        self._view = interpreter.tensor(details["index"])
        self._stored = dtype
        scales = details["quantization_parameters"]["scales"]
        self._quantised = len(scales) > 0 and dtype.kind in "iu"
        if self._quantised:
            self._scale = np.float32(scales[0])
            self._zero_point = np.float32(details["quantization_parameters"]["zero_points"][0])
            self._scaled = np.empty(shape, dtype=np.float32)
            dtype = self._scaled.dtype
        self.spec = TensorSpec(names[0], shape, dtype.name)

    def write(self, array: Array) -> None:
        """Copy an input in, rounding it to the graph's integers if it has them."""
        if self._quantised:
            limits = np.iinfo(self._stored)
            np.divide(array, self._scale, out=self._scaled)
            np.add(self._scaled, self._zero_point, out=self._scaled)
            np.rint(self._scaled, out=self._scaled)
            np.clip(self._scaled, limits.min, limits.max, out=self._scaled)
            array = self._scaled
            if np.isnan(array.max()):  # a NaN has no integer; any that were chosen would look like a reading
                raise EngineError(f"input {self.spec.name} holds NaN, which an int8 graph cannot take")
        np.copyto(self._view(), array, casting="unsafe")

    def read(self, array: Array) -> None:
        """Copy an output out, in the unit of the manifest."""
        if self._quantised:
            np.subtract(self._view(), self._zero_point, out=array)
            np.multiply(array, self._scale, out=array)
        else:
            np.copyto(array, self._view())


def _delegate(library: Any, path: str) -> Any:
    ctypes.CDLL(path)  # raises OSError; load_delegate would leave a half-made object that prints a traceback
    return library.load_delegate(path)


def _library() -> Any:
    for name in LIBRARIES:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise MissingExtra("LiteRT (ai-edge-litert)", "litert")
