"""What is asked of an ONNX graph while it is rewritten: shapes, who writes a tensor, and what nothing reads."""

from __future__ import annotations

import onnx
from onnx import NodeProto

Shape = tuple[int, ...]


def shapes_of(graph: onnx.GraphProto) -> dict[str, Shape]:
    """Declared shapes of the tensors that are not stored, by name."""
    values = (*graph.input, *graph.output, *graph.value_info)
    return {value.name: tuple(d.dim_value for d in value.type.tensor_type.shape.dim) for value in values}


def writers_of(graph: onnx.GraphProto) -> dict[str, NodeProto]:
    """The node that writes each tensor, by its name."""
    return {output: node for node in graph.node for output in node.output}


def drop_unused(graph: onnx.GraphProto) -> None:
    """Drop nodes and stored tensors that nothing reads any more; nodes may be in any order."""
    writers = writers_of(graph)
    wanted, read = [value.name for value in graph.output], set()
    while wanted:
        name = wanted.pop()
        if name not in read:
            read.add(name)
            wanted.extend(writers[name].input if name in writers else ())
    kept = [node for node in graph.node if read & set(node.output)]
    stored = [tensor for tensor in graph.initializer if tensor.name in read]
    written = {output for node in kept for output in node.output}
    declared = [value for value in graph.value_info if value.name in written]
    for field, values in ((graph.node, kept), (graph.initializer, stored), (graph.value_info, declared)):
        del field[:]
        field.extend(values)
