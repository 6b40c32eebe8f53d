"""What executes a graph: load it from bytes, say what goes in and out, run it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from edge_wm.errors import BadInput

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


def load_engine(
    format: Literal["onnx", "tflite"],
    model: bytes,
    *,
    threads: int = 1,
    spin: bool = False,
    output_sets: int = 1,
) -> Engine:
    """Load a graph into the engine for its format.

    Args:
        format: of the graph.
        model: the graph's bytes, already checked.
        threads: how many threads one operator may use.
        spin: whether idle threads burn CPU to wake up faster.
        output_sets: how many sets of output buffers to keep.

    Raises:
        EngineError: the engine refuses the graph.
        BadInput: there is no engine for this format.
    """
    if format == "onnx":
        from edge_wm.engines.onnxruntime import OnnxRuntimeEngine

        return OnnxRuntimeEngine(model, threads=threads, spin=spin, output_sets=output_sets)
    raise BadInput(f"no engine for {format} graphs in this version of edge-wm: use the model's onnx graphs")
