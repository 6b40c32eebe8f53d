"""Linear layers in ONNX: each becomes a Gemm by a weight that is stored once and has its name from PyTorch.

PyTorch's exporter writes a Gemm only for rows with a bias.  Other layers (tokens of a transformer, no bias before a
LayerNorm) become a MatMul by the transposed weight, which it calculates anew for each use, up to a certain size, and
calls ``val_7``.  A weight would be stored once a step of the horizon, int8 would miss the layer, and ``float_parts`` its
name.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from export.onnx_graph import Shape, drop_unused, shapes_of, writers_of
from export.refusals import origin

LINEAR = "aten.linear.default"


def write_as_gemm(model: onnx.ModelProto) -> None:
    """Rewrite the linear layers of ``model`` in place.

    Args:
        model: of static shapes, with the exporter's notes on its nodes.
    """
    _Layers(model.graph).rewrite()


class _Layers:
    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._shapes = shapes_of(graph)
        self._stored = {tensor.name: tensor for tensor in graph.initializer}
        self._writers = writers_of(graph)
        self._named: dict[tuple[Shape, bytes], str] = {}

    def rewrite(self) -> None:
        biases = {add.input[0]: add for add in self._graph.node if self._is_bias(add)}
        nodes: list[NodeProto] = []
        merged: set[str] = set()
        for node in self._graph.node:
            weight = self._weight(node)
            if weight is not None:
                bias = biases.get(node.output[0])
                if bias is not None:
                    merged.add(bias.output[0])
                nodes += self._gemm(node, *weight, bias)
            elif node.output[0] not in merged:
                nodes.append(node)
        del self._graph.node[:]
        self._graph.node.extend(nodes)
        drop_unused(self._graph)

    def _is_bias(self, add: NodeProto) -> bool:
        """Whether this adds the bias of a layer, and nothing else reads what the layer gives without it."""
        if add.op_type != "Add" or origin(add)[1] != LINEAR:
            return False
        product, bias = add.input
        readers = sum(product in node.input for node in self._graph.node)
        return readers == 1 and bias in self._stored and len(self._stored[bias].dims) == 1

    def _weight(self, node: NodeProto) -> tuple[str, bool] | None:
        """Name of the stored weight of a layer, and whether it is stored as in PyTorch, [outputs, inputs]."""
        if node.op_type != "MatMul" or origin(node)[1] != LINEAR or 0 in self._shape(node.input[0]):
            return None
        name = node.input[1]
        before = self._writers.get(name)
        if before is not None and before.op_type == "Transpose" and before.input[0] in self._stored:
            return before.input[0], True
        if name not in self._stored or len(self._stored[name].dims) != 2:
            return None
        return self._kept(self._stored[name], origin(node)[0]), False

    def _kept(self, weight: TensorProto, path: str) -> str:
        """Name of the one copy of ``weight`` that is kept."""
        array = numpy_helper.to_array(weight)
        key = (array.shape, array.tobytes())
        if key not in self._named:
            name = f"{path}.weight" if path else weight.name
            self._named[key] = f"{name}_transposed" if name in self._stored and path else name
            if self._named[key] not in self._stored:
                kept = numpy_helper.from_array(array, self._named[key])
                self._stored[kept.name] = kept
                self._graph.initializer.append(kept)
        return self._named[key]

    def _shape(self, name: str) -> Shape:
        """Of a tensor; (0,) if it is not known."""
        return self._shapes.get(name) or (0,)

    def _gemm(
        self, node: NodeProto, weight: str, is_transposed: bool, bias: NodeProto | None
    ) -> Iterator[NodeProto]:
        result = (node if bias is None else bias).output[0]
        rows, product = node.input[0], result
        *many, inputs = self._shape(rows)
        if len(many) != 1:
            rows, product = f"{result}/rows", f"{result}/product"
            yield self._reshape(node.input[0], rows, (math.prod(many), inputs))
        given = [rows, weight, *([] if bias is None else [bias.input[1]])]
        yield helper.make_node("Gemm", given, [product], name=f"{result}/gemm", transB=int(is_transposed))
        if len(many) != 1:
            outputs = self._stored[weight].dims[0 if is_transposed else 1]
            yield self._reshape(product, result, (*many, outputs))

    def _reshape(self, name: str, result: str, shape: Shape) -> NodeProto:
        size = f"{result}/size"
        self._graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), size))
        return helper.make_node("Reshape", [name, size], [result], name=f"{result}/reshape")
