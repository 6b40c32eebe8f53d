"""The graphs of ``tests/tiny_model.py`` in TFLite, and the parts to build others from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tests.tiny_model import TURN, H, N

TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "uint8": schema.TensorType.UINT8,
    "int8": schema.TensorType.INT8,
    "int32": schema.TensorType.INT32,
}


@dataclass
class Node:
    """One operator: its builtin name, the names of its tensors, its options."""

    operator: str
    inputs: list[str]
    outputs: list[str]
    options: Any = None


@dataclass
class Graph:
    """Tensors by name as (shape, dtype), constants by name, (scale, zero point) by name, and what joins them."""

    tensors: dict[str, tuple[tuple[int, ...], str]]
    nodes: list[Node]
    inputs: list[str]
    outputs: list[str]
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    scales: dict[str, tuple[float, int]] = field(default_factory=dict)


def model(graph: Graph) -> schema.ModelT:
    """The schema's objects, for tests that alter them before :func:`pack`."""
    tensors = {**graph.tensors, **{n: (a.shape, a.dtype.name) for n, a in graph.constants.items()}}
    index = {name: number for number, name in enumerate(tensors)}
    m = schema.ModelT()
    m.version, m.buffers = 3, [schema.BufferT()]
    m.operatorCodes, sub = [], schema.SubGraphT()
    m.subgraphs, sub.tensors, sub.operators = [sub], [], []
    for name, (shape, dtype) in tensors.items():
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = f"t/{name}", list(shape), TYPES[dtype], 0
        if name in graph.constants:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(graph.constants[name].tobytes(), dtype=np.uint8)
            tensor.buffer = len(m.buffers)
            m.buffers.append(buffer)
        if name in graph.scales:
            tensor.quantization = schema.QuantizationParametersT()
            scale, zero_point = graph.scales[name]
            tensor.quantization.scale, tensor.quantization.zeroPoint = [scale], [zero_point]
        sub.tensors.append(tensor)
    for node in graph.nodes:
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, node.operator)
        code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), 1
        operator = schema.OperatorT()
        operator.opcodeIndex = len(m.operatorCodes)
        m.operatorCodes.append(code)
        operator.inputs = [index[name] for name in node.inputs]
        operator.outputs = [index[name] for name in node.outputs]
        if node.options is not None:
            kind = type(node.options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            operator.builtinOptions = node.options
        sub.operators.append(operator)
    sub.inputs, sub.outputs = [index[n] for n in graph.inputs], [index[n] for n in graph.outputs]
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = "serving_default", 0
    signature.inputs = [_named(name, index[name]) for name in graph.inputs]
    signature.outputs = [_named(name, index[name]) for name in graph.outputs]
    m.signatureDefs = [signature]
    return m


def pack(m: schema.ModelT) -> bytes:
    builder = flatbuffers.Builder(1024)
    builder.Finish(m.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _named(name: str, index: int) -> schema.TensorMapT:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, index
    return entry


def options(kind: str, **values: Any) -> Any:
    made = getattr(schema, f"{kind}OptionsT")()
    for name, value in values.items():
        setattr(made, name, value)
    return made


def integers(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int32)


def observe_graph() -> Graph:
    mean = options("Reducer", keepDims=False)
    return Graph(
        {
            "memory": ((5,), "float32"),
            "pose": ((3,), "float32"),
            "camera": ((6, 8, 3), "uint8"),
            "range": ((4,), "float32"),
            "applied_action": ((2,), "float32"),
            "light": ((6, 8, 3), "float32"),
            "mean_light": ((), "float32"),
            "brightness": ((), "float32"),
            "mean_range": ((), "float32"),
            "brighter": ((5,), "float32"),
            "next_memory": ((5,), "float32"),
            "motion": ((1, 3), "float32"),
            "flat_motion": ((3,), "float32"),
            "next_pose": ((3,), "float32"),
        },
        [
            Node("CAST", ["camera"], ["light"]),
            Node("MEAN", ["light", "all"], ["mean_light"], mean),
            Node("DIV", ["mean_light", "white"], ["brightness"], options("Div")),
            Node("MEAN", ["range", "first"], ["mean_range"], mean),
            Node("ADD", ["memory", "brightness"], ["brighter"], options("Add")),
            Node("ADD", ["brighter", "mean_range"], ["next_memory"], options("Add")),
            Node("FULLY_CONNECTED", ["applied_action", "turn"], ["motion"], options("FullyConnected")),
            Node("RESHAPE", ["motion", "three"], ["flat_motion"], options("Reshape", newShape=[3])),
            Node("ADD", ["pose", "flat_motion"], ["next_pose"], options("Add")),
        ],
        ["memory", "pose", "camera", "range", "applied_action"],
        ["next_memory", "next_pose"],
        {
            "turn": np.ascontiguousarray(TURN.T),
            "white": np.array(255.0, dtype=np.float32),
            "all": integers(0, 1, 2),
            "first": integers(0),
            "three": integers(3),
        },
    )


def imagine_graph() -> Graph:
    return Graph(
        {
            "memory": ((5,), "float32"),
            "pose": ((3,), "float32"),
            "actions": ((N, H, 2), "float32"),
            "goal": ((2,), "float32"),
            "motion": ((N, H, 3), "float32"),
            "imagined_pose": ((N, H, 3), "float32"),
            "total": ((N,), "float32"),
            "goal_x": ((1,), "float32"),
            "value": ((N,), "float32"),
        },
        [
            Node(
                "FULLY_CONNECTED",
                ["actions", "turn"],
                ["motion"],
                options("FullyConnected", keepNumDims=True),
            ),
            Node("ADD", ["pose", "motion"], ["imagined_pose"], options("Add")),
            Node("SUM", ["imagined_pose", "axes"], ["total"], options("Reducer", keepDims=False)),
            Node("SLICE", ["goal", "begin", "one"], ["goal_x"], options("Slice")),
            Node("ADD", ["total", "goal_x"], ["value"], options("Add")),
        ],
        ["memory", "pose", "actions", "goal"],
        ["imagined_pose", "value"],
        {
            "turn": np.ascontiguousarray(TURN.T),
            "axes": integers(1, 2),
            "begin": integers(0),
            "one": integers(1),
        },
    )


def decode_graph() -> Graph:
    return Graph(
        {"memory": ((5,), "float32"), "pose": ((3,), "float32"), "brightness": ((5,), "float32")},
        [Node("MUL", ["memory", "two"], ["brightness"], options("Mul"))],
        ["memory", "pose"],
        ["brightness"],
        {"two": np.array(2.0, dtype=np.float32)},
    )


def int8_sum() -> Graph:
    """``total = left + right`` on int8 tensors, each with a scale and a zero point of its own."""
    return Graph(
        {"left": ((4,), "int8"), "right": ((4,), "int8"), "total": ((4,), "int8")},
        [Node("ADD", ["left", "right"], ["total"], options("Add"))],
        ["left", "right"],
        ["total"],
        scales={"left": (0.1, 3), "right": (0.05, -7), "total": (0.15, 10)},
    )


GRAPHS = {"observe": observe_graph, "imagine": imagine_graph, "decode": decode_graph}
