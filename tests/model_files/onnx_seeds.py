"""ONNX's own tests of its operators, each grafted into a model that the simulated robot can drive by.

What the operator takes depends on how bright the picture is, and the latent state on what it gives: so an operator that has passed
its proof in the dark meets other numbers when the robot drives.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge_wm.bundle.manifest import Manifest
from edge_wm.bundle.onnx_guard import check_graph
from edge_wm.bundle.onnx_operators import ALLOWED, SHAPE_INPUTS
from edge_wm.engines.engine import EngineError
from edge_wm.engines.execution import Execution
from edge_wm.engines.onnxruntime import OnnxRuntimeEngine
from edge_wm.errors import BadInput
from tests import blind_model
from tests.blind_model import node
from tests.tiny_model import model

MAX_OPERATOR_BYTES = 1 << 15
"""Of a file with one operator; larger ones are slow and show nothing more."""
MAX_IR_VERSION = 11


def onnx_operators(manifest: Manifest) -> Iterator[tuple[str, bytes]]:
    """Name and observe graph of every one that the guard accepts and that the engine runs in the dark."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        cases = load_model_tests(kind="node")
    border = manifest.graph_inputs("observe"), manifest.graph_outputs("observe")
    for case in cases:
        operator = case.model
        if operator is None or not all(
            one.op_type in ALLOWED and not one.domain for one in operator.graph.node
        ):
            continue
        if operator.ByteSize() > MAX_OPERATOR_BYTES or not case.data_sets:
            continue
        try:
            data = grafted(operator, case.data_sets[0][0]).SerializeToString()
            check_graph(data, case.name, *border)
            engine = OnnxRuntimeEngine(data, Execution("onnx"))
            engine.run({spec.name: spec.empty() for spec in engine.inputs})
        except (BadInput, EngineError, ValueError, TypeError, KeyError):
            continue
        yield case.name.removeprefix("test_"), data


def grafted(operator: onnx.ModelProto, given: Sequence[object]) -> onnx.ModelProto:
    """The blind model's observe graph, whose memory is made by ``operator``.

    Args:
        operator: a model; inputs that decide a shape become stored ones.
        given: numpy arrays for its inputs, to which the picture's brightness is added.

    Raises:
        ValueError: an input or output is not a tensor of numbers.
    """
    graph = operator.graph
    prefixed(graph)
    shaping = {
        one.input[index]
        for one in graph.node
        for index in SHAPE_INPUTS.get(one.op_type, ())
        if index < len(one.input)
    }
    before: list[onnx.NodeProto] = []
    stored = list(graph.initializer)
    for value, array in zip(graph.input, given, strict=False):
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
            raise ValueError(value.name)
        if value.name in shaping:
            stored.append(numpy_helper.from_array(array, value.name))
            continue
        at_rest = f"{value.name}/dark"
        stored.append(numpy_helper.from_array(array.astype(np.float32), at_rest))
        before.append(node("Add", f"{at_rest} mean_light", f"{value.name}/lit"))
        before.append(node("Cast", f"{value.name}/lit", value.name, to=value.type.tensor_type.elem_type))
    after: list[onnx.NodeProto] = []
    means = []
    for value in graph.output:
        if not value.type.HasField("tensor_type") or value.type.tensor_type.elem_type == TensorProto.STRING:
            raise ValueError(value.name)
        means.append(f"{value.name}/number")
        after += [
            node("Cast", value.name, f"{value.name}/float", to=TensorProto.FLOAT),
            node("ReduceMean", f"{value.name}/float", f"{value.name}/mean", keepdims=0),
            node("IsNaN", f"{value.name}/mean", f"{value.name}/nan"),
            helper.make_node("Where", [f"{value.name}/nan", "nothing", f"{value.name}/mean"], [means[-1]]),
        ]
    after.append(helper.make_node("Sum", means, ["all"]))
    after.append(node("Clip", "all least most", "clipped"))
    after.append(node("Reshape", "clipped one", "next_memory"))
    made = blind_model.observe_graph_with_memory(*before, *graph.node, *after)
    for name, number in {"nothing": 0.0, "least": -1.0, "most": 1.0}.items():
        stored.append(numpy_helper.from_array(np.array(number, np.float32), name))
    made.graph.initializer.extend(stored)
    made.graph.value_info.extend(
        known for known in graph.value_info if known.type.tensor_type.HasField("shape")
    )
    version = next(known.version for known in operator.opset_import if known.domain in ("", "ai.onnx"))
    made.opset_import[0].version = max(version, 13)
    made.ir_version = min(max(operator.ir_version, 9), MAX_IR_VERSION)
    return made


def short_imagine_graph(candidates: int) -> onnx.ModelProto:
    """Imagines nothing but that actions are worth their mean."""
    whole = blind_model.imagine_graph(candidates).graph
    value = next(known for known in whole.output if known.name == "value")
    return model(
        [node("ReduceMean", "actions", "value", axes=[1, 2], keepdims=0)], list(whole.input), [value], []
    )


def prefixed(graph: onnx.GraphProto) -> None:
    """Give every tensor of the operator a name that the blind model does not have."""
    for one in graph.node:
        for names in (one.input, one.output):
            for place, name in enumerate(names):
                if name:
                    names[place] = f"o/{name}"
    for known in (*graph.initializer, *graph.input, *graph.output, *graph.value_info):
        known.name = f"o/{known.name}"
