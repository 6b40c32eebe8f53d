"""What executes a graph: load it from bytes, say what goes in and out, run it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edge_wm.engines.execution import Execution
from edge_wm.errors import one_line

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, static shape and numpy dtype name of one input or output of a graph."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    def __str__(self) -> str:
        return f"{self.name} {self.dtype}[{','.join(map(str, self.shape))}]"

    def empty(self) -> Array:
        """Return a new zeroed array of this shape and dtype."""
        return np.zeros(self.shape, dtype=self.dtype)


class EngineError(RuntimeError):
    """An engine could not load or run a graph; the message is one line."""


class Engine(Protocol):
    """One loaded graph with its input and output buffers.

    Buffers are allocated once, at load.  ``run`` copies the inputs into the engine's own input buffers and
    leaves the results in one of its sets of output buffers, so a steady call allocates no tensor.
    """

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What ``run`` takes, in the graph's order."""

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What ``run`` returns, in the graph's order."""

    def run(self, inputs: Mapping[str, Array], output_set: int = 0) -> Mapping[str, Array]:
        """Execute the graph.

        Args:
            inputs: one array per input, by name; exactly the names, shapes and dtypes of ``inputs``.
            output_set: which set of output buffers to write; an engine has as many as it was loaded with.

        Returns:
            The output buffers of that set by name: valid until the next run into the same set.

        Raises:
            ValueError: an input is missing, unknown, or of the wrong shape or dtype.
            EngineError: the engine failed.
        """


def load_engine(model: bytes, execution: Execution, *, output_sets: int = 1) -> Engine:
    """Load a graph into the engine for its format.

    Args:
        model: the graph's bytes, already checked.
        execution: format of the graph, threads and accelerator.
        output_sets: how many sets of output buffers to keep.

    Raises:
        EngineError: the engine refuses the graph, or cannot start the accelerator.
        BadInput: the engine for this format is not installed, or does not have the accelerator.
    """
    if execution.format == "tflite":
        from edge_wm.engines.litert import LiteRtEngine

        return LiteRtEngine(model, execution, output_sets=output_sets)
    from edge_wm.engines.onnxruntime import OnnxRuntimeEngine

    return OnnxRuntimeEngine(model, execution, output_sets=output_sets)


def check_inputs(specs: Sequence[TensorSpec], inputs: Mapping[str, Array]) -> None:
    """Check what an engine was given to run.  Raises ValueError that names the wrong input."""
    if len(inputs) != len(specs):
        unknown = sorted(inputs.keys() - {spec.name for spec in specs})
        if unknown:
            raise ValueError(f"the graph has no input {unknown[0]!r}")
    for spec in specs:
        array = inputs.get(spec.name)
        if array is None:
            raise ValueError(f"input {spec} is missing")
        if array.shape != spec.shape or array.dtype != spec.dtype:
            raise ValueError(f"input is {spec}, got {array.dtype.name}[{','.join(map(str, array.shape))}]")


def told(error: Exception) -> str:
    """What an engine's library said, short enough for one line."""
    return one_line(str(error))[:300]
