"""Looks at an ONNX file from a stranger before any engine does: an engine is not a validator.

Nothing may depend on data but numbers: subgraphs (If, Loop, Scan) are refused, and so are shapes that are computed.
What runs once within the time of a tick and the memory of the robot then does so at every tick.  How much memory
the tensors between nodes take would need shape inference; the engine bounds it
(:data:`edge_wm.engines.onnxruntime.MAX_ARENA_BYTES`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from edge_wm.bundle import onnx_wire
from edge_wm.bundle.graph_summary import GraphSummary, check_border
from edge_wm.bundle.onnx_operators import ALLOWED, SHAPE_INPUTS, WHY_REFUSED, Node, misfit
from edge_wm.bundle.onnx_wire import Span, WireReader
from edge_wm.engines.engine import TensorSpec

MAX_NODES = 20_000
MAX_INITIALIZERS = 20_000
MAX_PARAMETERS = 1 << 26

# TensorProto.DataType: name, bits of one element.
_DTYPES = {
    1: ("float32", 32),
    2: ("uint8", 8),
    3: ("int8", 8),
    4: ("uint16", 16),
    5: ("int16", 16),
    6: ("int32", 32),
    7: ("int64", 64),
    9: ("bool", 8),
    10: ("float16", 16),
    11: ("float64", 64),
    12: ("uint32", 32),
    13: ("uint64", 64),
    16: ("bfloat16", 16),
    21: ("uint4", 4),
    22: ("int4", 4),
}
_FLOATS = frozenset({1, 10, 11, 16})
_ATTRIBUTES = {1: "f", 2: "i", 3: "s", 4: "t", 6: "floats", 7: "ints", 8: "strings"}
"""AttributeProto.AttributeType: the field that holds it."""
_TYPED_DATA = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data")


def check_graph(
    data: bytes, where: str, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> GraphSummary:
    """Check the structure of one ONNX file, and that it takes and gives what the manifest says.

    Args:
        data: the file.
        where: what to call it in messages.
        inputs: what the manifest says goes in; the order does not matter.
        outputs: what the manifest says comes out.

    Raises:
        BadInput: one line with the file and what is wrong.
    """
    return _Guard(data, where).check(inputs, outputs)


class _Guard:
    """One pass over one file, message by message."""

    def __init__(self, data: bytes, where: str) -> None:
        self._wire = WireReader(data, where)
        self._parameters = 0
        self._types: dict[str, int] = {}
        self._stored: set[str] = set()
        self._shape_inputs: list[tuple[str, str]] = []
        self._divisions: list[list[str]] = []
        self._raw: dict[str, Span] = {}
        self._operators: Counter[str] = Counter()

    def check(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> GraphSummary:
        have_inputs: dict[str, TensorSpec] = {}
        have_outputs: dict[str, TensorSpec] = {}
        for name, value in self._wire.fields(self._graph(), onnx_wire.GRAPH, "GraphProto"):
            if name == "node":
                self._node(value)
            elif name == "initializer":
                self._initializer(value)
                if len(self._stored) > MAX_INITIALIZERS:
                    raise self._wire.bad(f"has more than {MAX_INITIALIZERS} initialisers")
            elif name in ("input", "output"):
                spec = self._border(value, name)
                known = have_inputs if name == "input" else have_outputs
                if spec.name in known:
                    raise self._wire.bad(f"has two {name}s called {spec.name!r}")
                known[spec.name] = spec
            elif name == "value_info":
                self._value_info(value)
        shadowed = sorted(self._stored & have_inputs.keys())
        if shadowed:
            raise self._wire.bad(f"gives input {shadowed[0]!r} a default value")
        self._refuse_computed_shapes()
        self._refuse_integer_traps()
        check_border("input", have_inputs, inputs, self._wire.bad)
        check_border("output", have_outputs, outputs, self._wire.bad)
        operators = dict(self._operators.most_common())
        return GraphSummary(sum(operators.values()), self._parameters, operators)

    def _graph(self) -> Span:
        """Check everything around the graph; return where it is."""
        graph: Span | None = None
        for name, value in self._wire.fields(self._wire.whole, onnx_wire.MODEL, "ModelProto"):
            if name == "functions":
                raise self._wire.bad("defines its own functions, which a bundle may not")
            if name == "graph":
                graph = value
            elif name == "opset_import":
                # Imports of domains that no node uses are harmless and common; nodes are checked below.
                for _ in self._wire.fields(value, onnx_wire.OPSET, "OperatorSetIdProto"):
                    pass
        if graph is None:
            raise self._wire.bad("holds no graph: not an ONNX file?")
        return graph

    def _node(self, span: Span) -> None:
        operator = domain = ""
        inputs: list[str] = []
        outputs: list[str] = []
        attributes: dict[str, int | str] = {}
        for name, value in self._wire.fields(span, onnx_wire.NODE, "NodeProto"):
            if name == "op_type":
                operator = self._wire.text(value)
            elif name == "domain":
                domain = self._wire.text(value)
            elif name == "attribute":
                self._attribute(value, attributes)
            elif name == "input":
                inputs.append(self._wire.text(value))
            elif name == "output":
                outputs.append(self._wire.text(value))
            elif name == "name":
                self._wire.text(value)  # engines do not expect names that are not UTF-8
        if domain not in ("", "ai.onnx"):
            raise self._wire.bad(
                f"uses operator {operator!r} of domain {domain!r}; only ONNX's own are allowed (quantise in QDQ"
                " form, and leave optimising to the engine)"
            )
        if operator not in ALLOWED:
            reason = WHY_REFUSED.get(operator, "it is not on the list of allowed operators")
            raise self._wire.bad(f"uses operator {operator!r}: {reason}")
        wrong = misfit(Node(operator, inputs, outputs, attributes))
        if wrong is not None:
            raise self._wire.bad(wrong)
        if operator == "Constant":
            self._stored.update(outputs)
        self._shape_inputs += [
            (operator, inputs[index])
            for index in SHAPE_INPUTS.get(operator, ())
            if any(inputs[index : index + 1])
        ]
        if operator in ("Div", "Mod"):
            self._divisions.append(inputs)
        self._operators[operator] += 1
        if self._operators.total() > MAX_NODES:
            raise self._wire.bad(f"has more than {MAX_NODES} nodes")

    def _refuse_computed_shapes(self) -> None:
        for operator, label in self._shape_inputs:
            if label not in self._stored:
                raise self._wire.bad(
                    f"has a shape that depends on data: {operator} takes {label!r}, which is computed; export with"
                    " static shapes, and fold constants"
                )

    def _refuse_integer_traps(self) -> None:
        """An integer divided by 0, or the least one by -1, ends the process on many machines.

        Both operands have one type by the definition of the operators, and an engine refuses a graph that
        declares another type for a tensor than its node gives.
        """
        for operands in self._divisions:
            if len(operands) != 2:
                raise self._wire.bad("has a Div or Mod that does not have two inputs")
            are_floats = any(self._types.get(operand) in _FLOATS for operand in operands)
            if not are_floats and not self._is_harmless_divisor(operands[1]):
                raise self._wire.bad(
                    f"divides by {operands[1]!r}, which is neither declared a float (value_info: run onnx's"
                    " infer_shapes) nor a stored integer other than 0 and -1"
                )

    def _is_harmless_divisor(self, label: str) -> bool:
        """Whether this is a stored tensor of integers, none of them 0 or -1."""
        dtype, bits = _DTYPES.get(self._types.get(label, 0), ("", 0))
        if label not in self._raw or bits < 8:
            return False
        return not np.isin(np.frombuffer(self._wire.raw(self._raw[label]), dtype), (0, -1)).any()

    def _declare(self, label: str, data_type: int) -> None:
        """Note the type of a tensor.  Of two that differ, it would depend on the reader which one counts."""
        if data_type and self._types.setdefault(label, data_type) != data_type:
            raise self._wire.bad(f"declares {label!r} with two data types")

    def _attribute(self, span: Span, attributes: dict[str, int | str]) -> None:
        """Check one attribute; add it to those of its node, of which those that are one integer or one text are kept."""
        label, kind, content = "", 0, set[str]()
        kept: int | str = 0
        for name, value in self._wire.fields(span, onnx_wire.ATTRIBUTE, "AttributeProto"):
            if name == "name":
                label = self._wire.text(value)
            elif name == "type":
                kind = value
            elif name in ("g", "graphs"):
                raise self._wire.bad("has a node with a subgraph (If, Loop, Scan): unroll it when exporting")
            elif name != "doc_string":
                content.add(name)
            if name == "t":
                self._tensor(value)
            elif name in ("s", "i"):
                kept = value if name == "i" else self._wire.text(value)
        if label in attributes or not content <= {_ATTRIBUTES.get(kind)}:
            raise self._wire.bad(
                f"has a node whose attribute {label!r} is there twice, or is not what it says"
            )
        attributes[label] = kept

    def _initializer(self, span: Span) -> None:
        """Check one initialiser, and note what it is."""
        label, data_type, raw = self._tensor(span)
        self._declare(label, data_type)
        if raw is not None:
            self._raw[label] = raw
        if label in self._stored:
            raise self._wire.bad(f"stores {label!r} twice")
        self._stored.add(label)

    def _tensor(self, span: Span) -> tuple[str, int, Span | None]:
        """Check one stored tensor; return its name, its data type, and where its ``raw_data`` is."""
        label, data_type, stored = "", 0, 0
        dims: list[int] = []
        raw: Span | None = None
        for name, value in self._wire.fields(span, onnx_wire.TENSOR, "TensorProto"):
            if name == "name":
                label = self._wire.text(value)
            elif name == "data_type":
                data_type = value
            elif name == "dims":
                dims.extend(self._wire.integers(value))
            elif name in _TYPED_DATA:
                stored += self._wire.count_numbers(name, value)
            elif name == "raw_data":
                raw = value
            elif name == "external_data" or (name == "data_location" and value != 0):
                raise self._wire.bad(
                    f"keeps tensor {label!r} in another file (external data); save it in one file"
                )
        if data_type not in _DTYPES:
            raise self._wire.bad(f"tensor {label!r} has data type {data_type}, which is not a plain number")
        if len(dims) > 16 or any(not 0 <= size <= MAX_PARAMETERS for size in dims):
            raise self._wire.bad(f"tensor {label!r} has an impossible shape")
        elements = math.prod(dims)
        self._parameters += elements
        if self._parameters > MAX_PARAMETERS:
            raise self._wire.bad(f"stores more than {MAX_PARAMETERS} numbers")
        bits = _DTYPES[data_type][1]
        if raw is not None:
            fits = raw[1] - raw[0] == (elements * bits + 7) // 8 and stored == 0
        else:
            fits = stored == (elements if bits >= 8 else (elements + 1) // 2)
        if not fits:
            raise self._wire.bad(f"tensor {label!r}: its data does not have the size of its shape {dims}")
        return label, data_type, raw

    def _border(self, span: Span, kind: str) -> TensorSpec:
        """Read the declaration of a graph input or output: a tensor with a static shape."""
        label, element, shape_span = self._value_info(span)
        if shape_span is None:
            raise self._wire.bad(f"{kind} {label!r} has no shape; export with static shapes")
        dims = self._wire.fields(shape_span, onnx_wire.SHAPE, "TensorShapeProto")
        shape = tuple(self._dimension(dim, label) for _, dim in dims)
        if element not in _DTYPES:
            raise self._wire.bad(f"{kind} {label!r} has data type {element}, which is not a plain number")
        return TensorSpec(label, shape, _DTYPES[element][0])

    def _value_info(self, span: Span) -> tuple[str, int, Span | None]:
        """Note what one tensor is declared to be; return its name, its data type, and where its shape is."""
        label, element = "", 0
        shape: Span | None = None
        for name, value in self._wire.fields(span, onnx_wire.VALUE_INFO, "ValueInfoProto"):
            if name == "name":
                label = self._wire.text(value)
            elif name == "type":
                for _, tensor in self._wire.fields(value, onnx_wire.TYPE, "TypeProto"):
                    for part, inner in self._wire.fields(tensor, onnx_wire.TENSOR_TYPE, "TypeProto.Tensor"):
                        if part == "elem_type":
                            element = inner
                        else:
                            shape = inner
        self._declare(label, element)
        return label, element, shape

    def _dimension(self, span: Span, label: str) -> int:
        parts = dict(self._wire.fields(span, onnx_wire.DIMENSION, "TensorShapeProto.Dimension"))
        size = parts.get("dim_value", 0)
        if "dim_param" in parts or not 0 < size <= MAX_PARAMETERS:
            raise self._wire.bad(
                f"{label!r} has a dynamic or impossible dimension; export with static shapes"
            )
        return int(size)
