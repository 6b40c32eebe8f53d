"""Every TFLite operator that a bundle may use, grafted into a model that the simulated robot can drive by; see ``onnx_seeds.py``."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edge_wm.bundle.manifest import Manifest
from edge_wm.bundle.tflite_guard import check_graph
from edge_wm.engines.engine import EngineError
from edge_wm.engines.execution import Execution
from edge_wm.engines.litert import LiteRtEngine
from edge_wm.errors import BadInput
from tests.blind_model import CELLS, STEP_S, TICK_S, H
from tests.model_files.tflite_operators import OPERATORS, TYPES, VERSIONS, Operator, Part, c
from tests.tiny_tflite import Graph, Node, integers, model, options, pack


def floats(*numbers: float) -> np.ndarray:
    return np.array(numbers, dtype=np.float32)


def observe_graph() -> Graph:
    one, scalar = ((1,), "float32"), ((), "float32")
    mean = options("Reducer", keepDims=False)
    return Graph(
        {
            "memory": one,
            "pose": ((3,), "float32"),
            "camera": ((48, 64, 3), "uint8"),
            "range": ((8,), "float32"),
            "wheel": ((2,), "float32"),
            "gyro": one,
            "applied_action": ((2,), "float32"),
            "light": ((48, 64, 3), "float32"),
            "mean_light": scalar,
            "brightness": scalar,
            "next_memory": one,
            **dict.fromkeys(("v", "forward", "turn", "yaw", "cos", "sin", "dx", "dy"), one),
            "motion": ((3,), "float32"),
            "next_pose": ((3,), "float32"),
        },
        [
            Node("CAST", ["camera"], ["light"]),
            Node("MEAN", ["light", "all"], ["mean_light"], mean),
            Node("MUL", ["mean_light", "white"], ["brightness"], options("Mul")),
            Node("RESHAPE", ["brightness", "flat"], ["next_memory"], options("Reshape", newShape=[1])),
            Node("MEAN", ["wheel", "first"], ["v"], options("Reducer", keepDims=True)),
            Node("MUL", ["v", "tick"], ["forward"], options("Mul")),
            Node("MUL", ["gyro", "tick"], ["turn"], options("Mul")),
            Node("SLICE", ["pose", "third", "flat"], ["yaw"], options("Slice")),
            Node("COS", ["yaw"], ["cos"], options("Cos")),
            Node("SIN", ["yaw"], ["sin"]),
            Node("MUL", ["forward", "cos"], ["dx"], options("Mul")),
            Node("MUL", ["forward", "sin"], ["dy"], options("Mul")),
            Node("CONCATENATION", ["dx", "dy", "turn"], ["motion"], options("Concatenation", axis=0)),
            Node("ADD", ["pose", "motion"], ["next_pose"], options("Add")),
        ],
        ["memory", "pose", "camera", "range", "wheel", "gyro", "applied_action"],
        ["next_memory", "next_pose"],
        {
            "white": np.array(1 / 255, dtype=np.float32),
            "all": integers(0, 1, 2),
            "flat": integers(1),
            "first": integers(0),
            "third": integers(2),
            "tick": floats(TICK_S),
        },
    )


def imagine_graph(n: int) -> Graph:
    plane, column = ((n, H), "float32"), ((n, H, 1), "float32")
    tensors: dict[str, tuple[tuple[int, ...], str]] = {
        "memory": ((1,), "float32"),
        "pose": ((3,), "float32"),
        "actions": ((n, H, 2), "float32"),
        "goal": ((2,), "float32"),
        "v1": column,
        "w1": column,
        **dict.fromkeys(
            ("v", "w", "turn", "turned", "yaw", "forward", "cos", "sin", "dx", "dy", "sum_x", "sum_y"), plane
        ),
        **dict.fromkeys(("x", "y", "off_x", "off_y", "square_x", "square_y", "square", "far"), plane),
        **dict.fromkeys(("yaw_now", "x_now", "y_now", "goal_x", "goal_y"), ((1,), "float32")),
        "imagined_pose": ((n, H, 3), "float32"),
        "last": ((n, 1), "float32"),
        "value": ((n,), "float32"),
    }
    slice_, mul, add, sub = options("Slice"), options("Mul"), options("Add"), options("Sub")
    nodes = [
        Node("SLICE", ["actions", "at_v", "a_column"], ["v1"], slice_),
        Node("SLICE", ["actions", "at_w", "a_column"], ["w1"], slice_),
        Node("RESHAPE", ["v1", "plane"], ["v"], options("Reshape", newShape=[n, H])),
        Node("RESHAPE", ["w1", "plane"], ["w"], options("Reshape", newShape=[n, H])),
        Node("MUL", ["w", "step"], ["turn"], mul),
        Node("CUMSUM", ["turn", "along"], ["turned"], options("Cumsum")),
        Node("SLICE", ["pose", "third", "one"], ["yaw_now"], slice_),
        Node("ADD", ["turned", "yaw_now"], ["yaw"], add),
        Node("MUL", ["v", "step"], ["forward"], mul),
        Node("COS", ["yaw"], ["cos"], options("Cos")),
        Node("SIN", ["yaw"], ["sin"]),
        Node("MUL", ["forward", "cos"], ["dx"], mul),
        Node("MUL", ["forward", "sin"], ["dy"], mul),
        Node("CUMSUM", ["dx", "along"], ["sum_x"], options("Cumsum")),
        Node("CUMSUM", ["dy", "along"], ["sum_y"], options("Cumsum")),
        Node("SLICE", ["pose", "zeroth", "one"], ["x_now"], slice_),
        Node("SLICE", ["pose", "one", "one"], ["y_now"], slice_),
        Node("ADD", ["sum_x", "x_now"], ["x"], add),
        Node("ADD", ["sum_y", "y_now"], ["y"], add),
        Node("PACK", ["x", "y", "yaw"], ["imagined_pose"], options("Pack", valuesCount=3, axis=2)),
        Node("SLICE", ["goal", "zeroth", "one"], ["goal_x"], slice_),
        Node("SLICE", ["goal", "one", "one"], ["goal_y"], slice_),
        Node("SUB", ["x", "goal_x"], ["off_x"], sub),
        Node("SUB", ["y", "goal_y"], ["off_y"], sub),
        Node("MUL", ["off_x", "off_x"], ["square_x"], mul),
        Node("MUL", ["off_y", "off_y"], ["square_y"], mul),
        Node("ADD", ["square_x", "square_y"], ["square"], add),
        Node("SQRT", ["square"], ["far"]),
        Node("SLICE", ["far", "at_end", "a_row"], ["last"], slice_),
        Node("RESHAPE", ["last", "each"], ["value"], options("Reshape", newShape=[n])),
    ]
    constants = {
        "step": floats(STEP_S),
        "at_v": integers(0, 0, 0),
        "at_w": integers(0, 0, 1),
        "a_column": integers(n, H, 1),
        "plane": integers(n, H),
        "along": np.array(1, dtype=np.int32),
        "zeroth": integers(0),
        "one": integers(1),
        "third": integers(2),
        "at_end": integers(0, H - 1),
        "a_row": integers(n, 1),
        "each": integers(n),
    }
    return Graph(tensors, nodes, ["memory", "pose", "actions", "goal"], ["imagined_pose", "value"], constants)


def short_imagine_graph(n: int) -> Graph:
    """Imagines nothing but that actions are worth their mean."""
    return Graph(
        {
            "memory": ((1,), "float32"),
            "pose": ((3,), "float32"),
            "actions": ((n, H, 2), "float32"),
            "goal": ((2,), "float32"),
            "value": ((n,), "float32"),
        },
        [Node("MEAN", ["actions", "axes"], ["value"], options("Reducer", keepDims=False))],
        ["memory", "pose", "actions", "goal"],
        ["value"],
        {"axes": integers(1, 2)},
    )


def decode_graph() -> Graph:
    picture = ((CELLS, CELLS), "float32")
    return Graph(
        {
            "memory": ((1,), "float32"),
            "pose": ((3,), "float32"),
            "local_map": picture,
            "known": picture,
        },
        [
            Node("MUL", ["memory", "zeros"], ["local_map"], options("Mul")),
            Node("ADD", ["local_map", "certain"], ["known"], options("Add")),
        ],
        ["memory", "pose"],
        ["local_map", "known"],
        {"zeros": np.zeros((CELLS, CELLS), dtype=np.float32), "certain": floats(1.0)},
    )


def tflite_operators(manifest: Manifest) -> Iterator[tuple[str, bytes]]:
    """Name and observe graph of every one that the guard accepts and that the engine runs in the dark."""
    border = manifest.graph_inputs("observe"), manifest.graph_outputs("observe")
    for number, operator in enumerate(OPERATORS):
        data = grafted(operator)
        try:
            check_graph(data, operator.name, *border)
            engine = LiteRtEngine(data, Execution("tflite"))
            engine.run({spec.name: spec.empty() for spec in engine.inputs})
        except (BadInput, EngineError):
            continue
        yield f"{operator.name} {number}", data


def grafted(operator: Operator) -> bytes:
    """The observe graph, whose memory is made by ``operator``."""
    graph = observe_graph()
    graph.nodes = [known for known in graph.nodes if known.outputs != ["next_memory"]]
    return pack(_Grafter(model(graph)).with_memory_of(operator))


class _Grafter:
    """Adds tensors and operators to a model."""

    def __init__(self, m: Any) -> None:
        self._m, self._graph = m, m.subgraphs[0]
        self._index = {
            tensor.name.removeprefix("t/"): index for index, tensor in enumerate(self._graph.tensors)
        }

    def with_memory_of(self, operator: Operator) -> Any:
        inputs = [-1 if part is None else self._given(part) for part in operator.inputs]
        outputs = [self._tensor(part) for part in operator.outputs]
        self._operator(operator.name, inputs, outputs, operator.options)
        total = self._index["brightness"]
        for part, index in zip(operator.outputs, outputs, strict=True):
            scalar = Part(())
            number = self._number(part, index)
            (added,) = self._apply("ADD", [total, number], [scalar], options("Add"))
            total = added
        (low,) = self._apply(
            "MINIMUM", [total, self._tensor(c(1.0, "float32"))], [Part(())], options("MaximumMinimum")
        )
        (both,) = self._apply(
            "MAXIMUM", [low, self._tensor(c(-1.0, "float32"))], [Part(())], options("MaximumMinimum")
        )
        leave = self._index["next_memory"]
        self._operator("RESHAPE", [both, self._index["flat"]], [leave], options("Reshape", newShape=[1]))
        return self._m

    def _given(self, part: Part) -> int:
        """A stored tensor as it is; another is made of the picture's brightness."""
        if part.content is not None:
            return self._tensor(part)
        base = (
            np.ones(part.shape, np.float32) if part.dtype == "float32" else np.zeros(part.shape, np.float32)
        )
        (lit,) = self._apply(
            "ADD",
            [self._tensor(Part(part.shape, content=base)), self._index["mean_light"]],
            [Part(part.shape)],
            options("Add"),
        )
        if part.dtype == "float32":
            return lit
        if part.scales:
            (made,) = self._apply("QUANTIZE", [lit], [part], options("Quantize"))
        else:
            kinds = {"inDataType": TYPES["float32"], "outDataType": TYPES[part.dtype]}
            (made,) = self._apply("CAST", [lit], [part], options("Cast", **kinds))
        return made

    def _number(self, part: Part, index: int) -> int:
        """The mean of a tensor, 0 if it is not a number."""
        if part.scales:
            (index,) = self._apply("DEQUANTIZE", [index], [Part(part.shape)], options("Dequantize"))
        elif part.dtype != "float32":
            kinds = {"inDataType": TYPES[part.dtype], "outDataType": TYPES["float32"]}
            (index,) = self._apply("CAST", [index], [Part(part.shape)], options("Cast", **kinds))
        axes = self._tensor(c(list(range(len(part.shape)))))
        (mean,) = self._apply("MEAN", [index, axes], [Part(())], options("Reducer", keepDims=False))
        (is_nan,) = self._apply("NOT_EQUAL", [mean, mean], [Part((), "bool")], options("NotEqual"))
        nothing = self._tensor(c(0.0, "float32"))
        (number,) = self._apply("SELECT_V2", [is_nan, nothing, mean], [Part(())], options("SelectV2"))
        return number

    def _apply(self, name: str, inputs: list[int], leaves: list[Part], made: Any) -> list[int]:
        outputs = [self._tensor(part) for part in leaves]
        self._operator(name, inputs, outputs, made)
        return outputs

    def _operator(self, name: str, inputs: list[int], outputs: list[int], made: Any) -> None:
        code, operator = schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode = getattr(schema.BuiltinOperator, name)
        code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), VERSIONS.get(name, 1)
        operator.opcodeIndex, operator.inputs, operator.outputs = len(self._m.operatorCodes), inputs, outputs
        self._m.operatorCodes.append(code)
        if made is not None:
            kind = type(made).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            operator.builtinOptions = copy.copy(made)
        self._graph.operators.append(operator)

    def _tensor(self, part: Part) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape = f"o/{len(self._graph.tensors)}", list(part.shape)
        tensor.type, tensor.buffer = TYPES[part.dtype], 0
        if part.scales:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = list(part.scales)
            tensor.quantization.zeroPoint = [part.zero] * len(part.scales)
            tensor.quantization.quantizedDimension = part.axis
        if part.content is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(part.content.tobytes(), dtype=np.uint8)
            tensor.buffer = len(self._m.buffers)
            self._m.buffers.append(buffer)
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1
