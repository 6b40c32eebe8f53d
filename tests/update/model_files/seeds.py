"""Sound model files that the campaign starts from: the shipped graphs, the tests' tiny ones, and one for each operator."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import onnx
from onnx import numpy_helper

from edge_wm.bundle import load, onnx_guard, tflite_guard
from edge_wm.bundle.load import load_bundle
from edge_wm.bundle.manifest import DType, Format
from edge_wm.bundle.onnx_operators import ALLOWED, SHAPE_INPUTS
from edge_wm.engines.engine import TensorSpec
from edge_wm.errors import BadInput
from edge_wm.paths import shipped
from tests import tiny_model, tiny_tflite
from tests.update.model_files import tflite_operators

SHIPPED = "rooms-student"
MAX_OPERATOR_BYTES = 1 << 16
"""Of a file with one operator; larger ones are slow and show nothing more."""


@dataclass(frozen=True)
class Seed:
    """A model file, and what a manifest says of it.

    Attributes:
        name: of it, for people.
        format: of it.
        data: the file.
        inputs, outputs: as in the manifest.
    """

    name: str
    format: Format
    data: bytes
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


GUARDS = {"onnx": onnx_guard.check_graph, "tflite": tflite_guard.check_graph}


@functools.cache
def seeds() -> dict[str, tuple[Seed, ...]]:
    """All seeds by family.  Takes some seconds."""
    return {
        "shipped": tuple(_shipped()),
        "tiny": tuple(_tiny()),
        "onnx": tuple(_accepted(_onnx_operators())),
        "tflite": tuple(_accepted(_tflite_operators())),
    }


def _shipped() -> Iterator[Seed]:
    bundle = load_bundle(shipped("models", SHIPPED), golden=False)
    for graph in bundle.manifest.graphs:
        sized = bundle.manifest.sized(graph.candidates)
        yield Seed(
            graph.file,
            graph.format,
            bundle.read(graph.file),
            sized.graph_inputs(graph.role),
            sized.graph_outputs(graph.role),
        )


def _tiny() -> Iterator[Seed]:
    manifest = tiny_model.manifest()
    for role, make in tiny_model.GRAPHS.items():
        border = manifest.graph_inputs(role), manifest.graph_outputs(role)
        yield Seed(f"tiny {role}.onnx", "onnx", make().SerializeToString(), *border)
        yield Seed(
            f"tiny {role}.tflite",
            "tflite",
            tiny_tflite.pack(tiny_tflite.model(tiny_tflite.GRAPHS[role]())),
            *border,
        )


def _tflite_operators() -> Iterator[Seed]:
    """One file for each operator."""
    for number, operator in enumerate(tflite_operators.OPERATORS):
        inputs, outputs = (
            tuple(
                TensorSpec(f"{letter}{place}", part.shape, "float32" if part.scales else part.dtype)
                for place, part in enumerate(one for one in parts if one is not None and one.content is None)
            )
            for letter, parts in (("x", operator.inputs), ("y", operator.outputs))
        )
        data = tflite_operators.file(operator)
        yield Seed(f"{operator.name} {number}", "tflite", data, inputs, outputs)


def _accepted(found: Iterator[Seed]) -> Iterator[Seed]:
    """Those that the guard accepts."""
    for seed in found:
        try:
            GUARDS[seed.format](seed.data, seed.name, seed.inputs, seed.outputs)
        except BadInput:
            continue
        yield seed


def _onnx_operators() -> Iterator[Seed]:
    """ONNX's own tests of its operators, with what decides a shape stored."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        cases = load_model_tests(kind="node")
    for case in cases:
        model = case.model
        if model is None or not all(node.op_type in ALLOWED and not node.domain for node in model.graph.node):
            continue
        if model.ByteSize() > MAX_OPERATOR_BYTES or not case.data_sets:
            continue
        _store_shapes(model, case.data_sets[0][0])
        try:
            border = _specs(model.graph.input), _specs(model.graph.output)
        except (KeyError, ValueError):
            continue
        if border[1]:
            yield Seed(case.name, "onnx", model.SerializeToString(), *border)


def _store_shapes(model: onnx.ModelProto, data: Sequence[object]) -> None:
    graph = model.graph
    given = dict(zip((value.name for value in graph.input), data, strict=False))
    wanted = {
        node.input[index]
        for node in graph.node
        for index in SHAPE_INPUTS.get(node.op_type, ())
        if index < len(node.input)
    }
    for name in wanted & given.keys():
        array = given[name]
        if isinstance(array, np.ndarray):
            graph.initializer.append(numpy_helper.from_array(array, name))
            graph.input.remove(next(value for value in graph.input if value.name == name))


def _specs(values: Sequence[onnx.ValueInfoProto]) -> tuple[TensorSpec, ...]:
    found = []
    for value in values:
        tensor = value.type.tensor_type
        shape = tuple(dim.dim_value for dim in tensor.shape.dim)
        if not value.type.HasField("tensor_type") or not all(shape):
            raise ValueError(value.name)
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
        if dtype not in get_args(DType):
            raise ValueError(value.name)
        found.append(TensorSpec(value.name, shape, dtype))
    return tuple(found)
