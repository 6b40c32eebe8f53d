"""The same numbers for less: what an ONNX graph of a planner calculates more often, or more slowly, than it must.

- All candidates start in one latent state.  A layer over that state and the actions, ``Gemm(Concat(Expand(state),
  actions))``, becomes the product of the state, one row calculated once, plus the product of the actions.
- ONNX Runtime's CPU kernel of Softplus, and so of Mish, handles one number at a time.  Written with Exp, which it
  calculates many at a time, Mish takes a tenth of the time (262,144 numbers: 3.0 against 0.25 ms).
- Its kernel of Softmax handles one row at a time, and rows of eight are short.  After a LayerNorm, whose numbers are
  bounded, the sums can be one matrix product (SimNorm of 262,144 numbers: 0.9 against 0.2 ms).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

from export.onnx_graph import Shape, drop_unused, shapes_of, writers_of

IN_FLOAT = "/float"
"""How the names of nodes end whose numbers leave the range of half precision."""
SHORT_ROW = 16
GREATEST_EXPONENT = 80.0
"""Of e, so that neither a sum of exponentials overflows in float32 nor one vanishes."""

_FIRST_AXIS = "rewrite/first_axis"
_ONE = "rewrite/one"


def rewrite(model: onnx.ModelProto) -> None:
    """Rewrite ``model`` in place.

    Args:
        model: of static shapes, which are declared for the tensors between nodes.
    """
    _share_rows(model.graph)
    _spell_out(model.graph)
    _sum_short_rows(model.graph)
    drop_unused(model.graph)


# --- what all candidates share ---------------------------------------------------------------------------------------


def _share_rows(graph: onnx.GraphProto) -> None:
    """Take layers apart whose input is partly the same row for all candidates, and others with the same weights.

    Others too, so that the weights are stored once: without the repeated row it costs what it saves, a Concat.
    """
    shapes = shapes_of(graph)
    _shorten_stored(graph, shapes)
    writers = writers_of(graph)
    stored = {tensor.name: tensor for tensor in graph.initializer}
    layers: dict[tuple[str, Shape], list[tuple[NodeProto, list[str]]]] = defaultdict(list)
    for node in graph.node:
        if node.op_type == "Gemm" and _is_plain(node) and node.input[1] in stored:
            parts = list(_parts(node.input[0], writers))
            if all(len(shapes.get(part, ())) == 2 for part in parts):
                layers[node.input[1], tuple(shapes[part][1] for part in parts)].append((node, parts))
    for (weight, widths), alike in layers.items():
        if any(_row(part, writers, shapes) for _, parts in alike for part in parts):
            transposed = _attribute(alike[0][0], "transB", 0)
            split = np.cumsum(widths)[:-1]
            slices = np.split(numpy_helper.to_array(stored[weight]), split, axis=1 if transposed else 0)
            if all(tensor.name != _FIRST_AXIS for tensor in graph.initializer):
                graph.initializer.append(numpy_helper.from_array(np.array([0], np.int64), _FIRST_AXIS))
            names = [f"{weight}/part{number}" for number in range(len(slices))]
            for name, array in zip(names, slices, strict=True):
                graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
            for node, parts in alike:
                inputs = [_row(part, writers, shapes) or part for part in parts]
                _replace(graph, node, list(_sum_of_products(graph, node, inputs, names, shapes)))


def _sum_of_products(
    graph: onnx.GraphProto, node: NodeProto, inputs: list[str], weights: list[str], shapes: dict[str, Shape]
) -> Iterator[NodeProto]:
    """The nodes that give what the layer ``node`` gives: single rows, [1, K] or [K], are added up first."""
    (result,), bias = node.output, list(node.input[2:])
    rows = [1 if len(shapes[name]) == 1 else shapes[name][0] for name in inputs]
    order = sorted(range(len(inputs)), key=rows.__getitem__)
    whole = shapes[result]
    repeated = max(rows) < whole[0]
    total = ""
    for number, index in enumerate(order):
        is_last = number == len(order) - 1 and not repeated
        product = result if is_last and number == 0 else f"{result}/part{index}"
        factor = inputs[index]
        if len(shapes[factor]) == 1:
            factor = f"{result}/row{index}"
            yield helper.make_node("Unsqueeze", [inputs[index], _FIRST_AXIS], [factor], name=factor)
        given = [factor, weights[index], *(bias if number == 0 else [])]
        gemm = helper.make_node("Gemm", given, [product], name=f"{node.name}/part{index}")
        gemm.attribute.extend(node.attribute)
        yield gemm
        if number > 0:
            added = result if is_last else f"{result}/sum{number}"
            yield helper.make_node("Add", [total, product], [added], name=f"{node.name}/sum{number}")
            product = added
        total = product
    if repeated:
        size = f"{result}/size"
        graph.initializer.append(numpy_helper.from_array(np.array(whole, np.int64), size))
        yield helper.make_node("Expand", [total, size], [result], name=f"{node.name}/repeated")


def _shorten_stored(graph: onnx.GraphProto, shapes: dict[str, Shape]) -> None:
    """Store one row of a tensor that repeats it, such as a task's embedding, and let a node repeat it."""
    for tensor in list(graph.initializer):
        shapes[tensor.name] = tuple(tensor.dims)
        joined = any(node.op_type == "Concat" and tensor.name in node.input for node in graph.node)
        array = numpy_helper.to_array(tensor) if joined and len(tensor.dims) == 2 else np.empty((0, 0))
        if len(array) > 1 and (array == array[0]).all():
            row, size = f"{tensor.name}/row", f"{tensor.name}/size"
            graph.initializer.remove(tensor)
            graph.initializer.append(numpy_helper.from_array(array[:1].copy(), row))
            graph.initializer.append(numpy_helper.from_array(np.array(array.shape, np.int64), size))
            graph.node.insert(0, helper.make_node("Expand", [row, size], [tensor.name], name=f"{row}s"))
            shapes[row] = (1, array.shape[1])


def _is_plain(gemm: NodeProto) -> bool:
    """Whether it is ``A @ B + C`` or ``A @ B.T + C``."""
    return (
        _attribute(gemm, "transA", 0) == 0
        and _attribute(gemm, "alpha", 1.0) == 1.0
        and _attribute(gemm, "beta", 1.0) == 1.0
    )


def _parts(name: str, writers: dict[str, NodeProto]) -> Iterator[str]:
    """What ``name`` is put together from, along its last axis."""
    node = writers.get(name)
    if node is not None and node.op_type == "Concat" and _attribute(node, "axis", 0) in (1, -1):
        for part in node.input:
            yield from _parts(part, writers)
    else:
        yield name


def _row(name: str, writers: dict[str, NodeProto], shapes: dict[str, Shape]) -> str | None:
    """The one row that ``name`` repeats; None if it does not repeat one."""
    node = writers.get(name)
    if node is None or node.op_type not in ("Expand", "Tile") or shapes[name][0] == 1:
        return None
    before = shapes.get(node.input[0])
    return node.input[0] if before in (shapes[name][1:], (1, *shapes[name][1:])) else None


# --- operators that are slow -----------------------------------------------------------------------------------------


def _spell_out(graph: onnx.GraphProto) -> None:
    """Write Mish and Softplus with operators that the engine calculates many numbers at a time with."""
    spelled = {"Mish": _mish, "Softplus": _softplus}
    found = [node for node in graph.node if node.op_type in spelled]
    if found:
        graph.initializer.append(numpy_helper.from_array(np.array(1.0, np.float32), _ONE))
    for node in found:
        _replace(graph, node, list(spelled[node.op_type](node.input[0], node.output[0])))


def _mish(x: str, y: str) -> Iterator[NodeProto]:
    """``x * tanh(log(1 + e**x)) = x - x / mean((1 + e**x)**2, 1)``, which an infinite ``e**x`` makes x."""
    return _chain(
        y,
        ("Exp", x),
        ("Add", "", _ONE),
        ("Mul", "", ""),
        ("Mean", "", _ONE),
        ("Div", x, ""),
        ("Sub", x, ""),
    )


def _softplus(x: str, y: str) -> Iterator[NodeProto]:
    """``log(1 + e**x) = max(x, 0) + log(1 + e**-|x|)``."""
    above = f"{y}/above"
    yield helper.make_node("Relu", [x], [above], name=above)
    yield from _chain(
        y, ("Abs", x), ("Neg", ""), ("Exp", ""), ("Add", "", _ONE), ("Log", ""), ("Add", above, "")
    )


def _sum_short_rows(graph: onnx.GraphProto) -> None:
    """Write Softmax over a few numbers, out of a LayerNorm, as ``e**x / (e**x @ ones)``: no exponent is too large."""
    shapes, writers = shapes_of(graph), writers_of(graph)
    stored = {tensor.name: tensor for tensor in graph.initializer}
    for node in [node for node in graph.node if node.op_type == "Softmax"]:
        shape, axis = shapes.get(node.output[0], (0,)), _attribute(node, "axis", -1)
        before = writers.get(node.input[0])
        if before is not None and before.op_type == "Reshape":
            before = writers.get(before.input[0])
        if before is None or axis not in (-1, len(shape) - 1) or not 2 <= shape[-1] <= SHORT_ROW:
            continue
        if before.op_type == "LayerNormalization" and _greatest(before, stored) <= GREATEST_EXPONENT:
            result, ones = node.output[0], f"rewrite/ones{shape[-1]}"
            exponentials, sums = f"{result}/exp{IN_FLOAT}", f"{result}/sum{IN_FLOAT}"
            if ones not in stored:
                stored[ones] = numpy_helper.from_array(np.ones((shape[-1], shape[-1]), np.float32), ones)
                graph.initializer.append(stored[ones])
            others = [
                helper.make_node("Exp", [node.input[0]], [exponentials], name=exponentials),
                helper.make_node("MatMul", [exponentials, ones], [sums], name=sums),
                helper.make_node("Div", [exponentials, sums], [result], name=f"{result}/div{IN_FLOAT}"),
            ]
            _replace(graph, node, others)


def _greatest(norm: NodeProto, stored: dict[str, onnx.TensorProto]) -> float:
    """Bound of the absolute value of what a LayerNorm over the last axis gives; infinite if it is not known."""
    if _attribute(norm, "axis", -1) != -1 or any(name not in stored for name in norm.input[1:]):
        return np.inf
    scale, *bias = (np.abs(numpy_helper.to_array(stored[name])) for name in norm.input[1:])
    # Of n numbers with mean 0 and variance 1, none is beyond sqrt(n).
    return float(scale.max() * np.sqrt(scale.size) + sum(array.max() for array in bias))


def _chain(result: str, *steps: tuple[str, ...]) -> Iterator[NodeProto]:
    """Operators one after the other, each with its inputs; the empty name is what the one before gave."""
    last = ""
    for number, (operator, *inputs) in enumerate(steps):
        output = result if number == len(steps) - 1 else f"{result}/{number}"
        name = f"{result}/{operator}{number}"
        yield helper.make_node(operator, [given or last for given in inputs], [output], name=name)
        last = output


# --- graphs ----------------------------------------------------------------------------------------------------------


def _attribute(node: NodeProto, name: str, default: float) -> float:
    for attribute in node.attribute:
        if attribute.name == name:
            value: float = helper.get_attribute_value(attribute)
            return value
    return default


def _replace(graph: onnx.GraphProto, node: NodeProto, others: list[NodeProto]) -> None:
    """Put ``others`` in the place of ``node``: nodes stay in an order in which they can be executed."""
    place = next(index for index, other in enumerate(graph.node) if other.output == node.output)
    before, after = list(graph.node[:place]), list(graph.node[place + 1 :])
    del graph.node[:]
    graph.node.extend([*before, *others, *after])
