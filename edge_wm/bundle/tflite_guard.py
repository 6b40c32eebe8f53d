"""Looks at a TFLite file from a stranger before any engine does, as ``onnx_guard.py`` does for ONNX.

An engine follows indices without looking: a tensor that nothing has written, an axis without a scale.  Met with
some of these LiteRT ends the process, and tflite-runtime, which verifies nothing, with most.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from edge_wm.bundle import tflite_wire as wire
from edge_wm.bundle.graph_summary import GraphSummary, check_border
from edge_wm.bundle.tflite_operator_guard import GEOMETRY, misfit
from edge_wm.bundle.tflite_operators import (
    ALLOWED,
    ARITIES,
    AXIS_INPUTS,
    COUNTS,
    NEEDS_A_DIMENSION,
    OTHER_TYPE,
    SHAPE_INPUTS,
    UNSCALED,
    WHY_REFUSED,
)
from edge_wm.engines.engine import TensorSpec

MAX_NODES = 20_000
MAX_TENSORS = 100_000
MAX_PARAMETERS = 1 << 26
MAX_ELEMENTS = 1 << 24
"""Of one tensor between operators."""

# TensorType: name, bits of one element.
_DTYPES = {
    0: ("float32", 32),
    1: ("float16", 16),
    2: ("int32", 32),
    3: ("uint8", 8),
    4: ("int64", 64),
    6: ("bool", 8),
    7: ("int16", 16),
    9: ("int8", 8),
    10: ("float64", 64),
    15: ("uint32", 32),
    17: ("int4", 4),
}
_SHAPE_OPTIONS = {17, 30}
"""BuiltinOptions of RESHAPE and SQUEEZE, which hold a vector."""
_OPTIONAL_INPUT = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"}
"""Operators that do without a bias, written as tensor -1."""


_SMALL = {"int4", "int8", "uint8", "int16"}
"""Integers that stand for other numbers, by a scale."""
_SCALED = {*_SMALL, "int32", "int64"}
_MAX_RANK = 8


@dataclass(frozen=True, slots=True)
class _Tensor:
    spec: TensorSpec
    stored: wire.Span | None
    scaled: bool


def check_graph(
    data: bytes, where: str, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> GraphSummary:
    """Check the structure of one TFLite file, and that it takes and gives what the manifest says.

    An int8 input or output with a scale counts as float32, which is what the engine makes of it.

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
    """One pass over one file, table by table."""

    def __init__(self, data: bytes, where: str) -> None:
        self._file = wire.FlatReader(data, where)
        self._bad = self._file.bad
        self._tensors: list[_Tensor] = []
        self._parameters = 0
        self._operators: Counter[str] = Counter()

    def check(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> GraphSummary:
        model = self._file.table(self._file.root(), wire.MODEL, "Model")
        if model.get("version") != 3:
            raise self._bad(f"has schema version {model.get('version')}, not 3")
        codes = [self._operator_code(at) for at in model.get("operator_codes", [])]
        buffers = [self._buffer(at) for at in model.get("buffers", [])]
        for number in self._file.integers(model.get("metadata_buffer")):
            self._index(number, len(buffers), "buffer")
        for at in model.get("metadata", []):
            entry = self._file.table(at, wire.METADATA, "Metadata")
            self._index(entry.get("buffer", 0), len(buffers), "buffer")
        graph = self._file.table(self._only(model, "subgraphs"), wire.SUBGRAPH, "SubGraph")
        places = graph.get("tensors", [])
        if len(places) > MAX_TENSORS:
            raise self._bad(f"has more than {MAX_TENSORS} tensors")
        self._tensors = [self._tensor(at, buffers) for at in places]
        enter = self._indices(graph.get("inputs"))
        leave = self._indices(graph.get("outputs"))
        self._follow(graph.get("operators", []), codes, enter, leave)
        signature = self._file.table(self._only(model, "signature_defs"), wire.SIGNATURE, "SignatureDef")
        if signature.get("subgraph_index", 0) != 0:
            raise self._bad("has a signature of another subgraph")
        for kind, indices, wanted in (("input", enter, inputs), ("output", leave, outputs)):
            check_border(kind, self._border(kind, signature, indices), wanted, self._bad)
        return GraphSummary(self._operators.total(), self._parameters, dict(self._operators.most_common()))

    def _only(self, model: dict[str, Any], name: str) -> int:
        places: list[int] = model.get(name, [])
        if len(places) != 1:
            what = "signature, which names its inputs and outputs" if name == "signature_defs" else "subgraph"
            raise self._bad(f"has {len(places)} {name}; a bundle's graph has one {what}")
        return places[0]

    def _index(self, index: int, count: int, what: str) -> int:
        if not 0 <= index < count:
            raise self._bad(f"is damaged: there is no {what} {index}")
        return index

    def _indices(self, span: wire.Span | None) -> list[int]:
        return [self._index(index, len(self._tensors), "tensor") for index in self._file.integers(span)]

    def _operator_code(self, position: int) -> str:
        code = self._file.table(position, wire.OPERATOR_CODE, "OperatorCode")
        # Codes above 127 did not fit the first field.
        number = max(code.get("builtin_code", 0), code.get("deprecated_builtin_code", 0))
        if number not in ALLOWED or "custom_code" in code:
            name, reason = WHY_REFUSED.get(
                number, (f"code {number}", "it is not on the list of allowed operators")
            )
            custom = f" {code['custom_code']!r}" if "custom_code" in code else ""
            raise self._bad(f"uses operator {name}{custom}: {reason}")
        return ALLOWED[number]

    def _buffer(self, position: int) -> wire.Span:
        """Check one buffer; return where its bytes are."""
        buffer = self._file.table(position, wire.BUFFER, "Buffer")
        if buffer.get("offset", 0) or buffer.get("size", 0):
            raise self._bad("keeps a buffer outside of the flatbuffer")
        data: wire.Span = buffer.get("data", (0, 0))
        return data

    def _tensor(self, position: int, buffers: list[wire.Span]) -> _Tensor:
        tensor = self._file.table(position, wire.TENSOR, "Tensor")
        label = tensor.get("name", "")
        shape = self._file.integers(tensor.get("shape"))
        signature = self._file.integers(tensor.get("shape_signature"))
        if len(shape) > _MAX_RANK or any(size < 0 for size in shape) or math.prod(shape) > MAX_ELEMENTS:
            raise self._bad(f"tensor {label!r} has an impossible shape")
        if any(size < 0 for size in signature):
            raise self._bad(f"tensor {label!r} has a dynamic dimension; export with static shapes")
        if tensor.get("type", 0) not in _DTYPES:
            raise self._bad(f"tensor {label!r} has data type {tensor['type']}, which is not a plain number")
        if tensor.get("is_variable") or tensor.get("variant_tensors"):
            raise self._bad(f"tensor {label!r} remembers between calls; make it part of the latent state")
        dtype, bits = _DTYPES[tensor.get("type", 0)]
        stored = buffers[self._index(tensor.get("buffer", 0), len(buffers), "buffer")]
        if stored[1]:
            self._parameters += math.prod(shape)
            if stored[1] != (math.prod(shape) * bits + 7) // 8:
                raise self._bad(f"tensor {label!r}: its data does not have the size of its shape {shape}")
            if self._parameters > MAX_PARAMETERS:
                raise self._bad(f"stores more than {MAX_PARAMETERS} numbers")
        scaled = self._scales(tensor, TensorSpec(label, tuple(shape), dtype), constant=stored[1] > 0)
        return _Tensor(TensorSpec(label, tuple(shape), dtype), stored if stored[1] else None, scaled)

    def _scales(self, tensor: dict[str, Any], spec: TensorSpec, *, constant: bool) -> bool:
        """Check the quantisation of a tensor; return whether its integers stand for other numbers."""
        if "quantization" not in tensor:
            return False
        fields = self._file.table(tensor["quantization"], wire.QUANTIZATION, "QuantizationParameters")
        scales = self._file.numbers("f", fields.get("scale"))
        zeros = self._file.numbers("q", fields.get("zero_point"))
        axis = fields.get("quantized_dimension", 0)
        per_channel = constant and 0 <= axis < len(spec.shape) and len(scales) == spec.shape[axis]
        if len(zeros) != len(scales) or not (len(scales) in (0, 1) or per_channel):
            raise self._bad(f"tensor {spec.name!r} has {len(scales)} scales, which do not fit it")
        if spec.dtype not in _SCALED or not scales:
            return False
        limits = np.iinfo(spec.dtype if spec.dtype != "int4" else "int8")
        if (
            not all(0.0 < scale < math.inf for scale in scales)
            or not limits.min <= min(zeros) <= max(zeros) <= limits.max
        ):
            raise self._bad(f"tensor {spec.name!r} has a scale or a zero point that is impossible")
        return True

    def _follow(self, places: list[int], codes: list[str], enter: list[int], leave: list[int]) -> None:
        """Follow the operators: each reads only what is there, and writes what nobody else has."""
        if len(places) > MAX_NODES:
            raise self._bad(f"has more than {MAX_NODES} nodes")
        ready = {index for index, tensor in enumerate(self._tensors) if tensor.stored}
        for index in enter:
            self._write(index, ready)
        for at in places:
            operator = self._file.table(at, wire.OPERATOR, "Operator")
            name = codes[self._index(operator.get("opcode_index", 0), len(codes), "operator code")]
            sources, leaves = (
                self._file.integers(operator.get("inputs")),
                self._indices(operator.get("outputs")),
            )
            if name in _OPTIONAL_INPUT and len(sources) > 2:
                sources = [*sources[:2], *(index for index in sources[2:] if index != -1)]
            for index in sources:
                if self._index(index, len(self._tensors), "tensor") not in ready:
                    raise self._bad(f"{name} reads {self._tensors[index].spec.name!r} before it is written")
            for index in leaves:
                self._write(index, ready)
            arity = ARITIES[name]
            if len(sources) not in arity.inputs or len(leaves) not in arity.outputs:
                raise self._bad(
                    f"{name} has {len(sources)} inputs and {len(leaves)} outputs, which do not fit it"
                )
            self._options(operator, name, {"inputs": len(sources), "outputs": len(leaves)})
            read = [self._tensors[index] for index in sources]
            self._shapes(name, read)
            self._types(name, read, [self._tensors[index] for index in leaves])
            wrong = misfit(
                name,
                [tensor.spec for tensor in read],
                partial(self._integers, read),
                self._geometry(operator, name),
            )
            if wrong is not None:
                raise self._bad(wrong)
            self._operators[name] += 1
        for index in leave:
            if index not in ready:
                raise self._bad(f"output {self._tensors[index].spec.name!r} is never written")

    def _shapes(self, name: str, sources: list[_Tensor]) -> None:
        """Whatever decides the shape of a result must be stored, and sensible."""
        for place in SHAPE_INPUTS.get(name, ()):
            tensor = sources[place] if place < len(sources) else None
            if tensor is None:
                continue
            if tensor.stored is None:
                raise self._bad(
                    f"has a shape that depends on data: {name} takes {tensor.spec.name!r}, which is computed; export"
                    " with static shapes"
                )
            if name != "SPLIT_V" and max(tensor.spec.shape, default=1) > _MAX_RANK:
                raise self._bad(f"{name} takes a shape of more than {_MAX_RANK} dimensions")
        if name in AXIS_INPUTS:
            which, whose = (sources[place] for place in AXIS_INPUTS[name])
            rank, axis = len(whose.spec.shape), self._stored(which)
            if not all(-rank <= number < rank for number in axis):
                raise self._bad(f"{name} takes axis {axis} of {whose.spec}")
        if name in NEEDS_A_DIMENSION and not sources[0].spec.shape:
            raise self._bad(f"{name} takes {sources[0].spec}, which has no dimension")

    def _stored(self, tensor: _Tensor) -> list[int]:
        """The integers of a stored tensor."""
        assert tensor.stored is not None
        if tensor.spec.dtype not in ("int32", "int64"):
            raise self._bad(f"{tensor.spec} should hold int32")
        return self._integers([tensor], 0) or []

    def _integers(self, tensors: list[_Tensor], place: int) -> list[int] | None:
        """The integers of one of these tensors, if they are stored ones."""
        tensor = tensors[place]
        if tensor.stored is None or tensor.spec.dtype not in ("int8", "uint8", "int16", "int32", "int64"):
            return None
        return [int(number) for number in np.frombuffer(self._file.raw(tensor.stored), tensor.spec.dtype)]

    def _geometry(self, operator: dict[str, Any], name: str) -> dict[str, int]:
        """The options of an operator that has strides, blocks or a filter; an engine reads those of any other kind as 0."""
        kind, fields = GEOMETRY.get(name, (0, ()))
        if not fields or operator.get("options_type", 0) != kind or "options" not in operator:
            return {}
        return self._file.table(operator["options"], fields, f"{name}'s options")

    def _types(self, name: str, sources: list[_Tensor], leaves: list[_Tensor]) -> None:
        """Integers that stand for other numbers must say for which, and not become others on the way."""
        if name in UNSCALED:
            return
        inner = [tensor for place, tensor in enumerate(sources) if place not in SHAPE_INPUTS.get(name, ())]
        for tensor in (*inner, *leaves):
            if tensor.spec.dtype in _SMALL and not tensor.scaled:
                raise self._bad(f"{name} takes or gives {tensor.spec}, which has no scale")
        if (
            inner
            and inner[0].spec.dtype in _SMALL
            and name not in OTHER_TYPE
            and leaves[0].spec.dtype != inner[0].spec.dtype
        ):
            raise self._bad(f"{name} makes {leaves[0].spec} of {inner[0].spec}")

    def _write(self, index: int, ready: set[int]) -> None:
        if index in ready:
            raise self._bad(f"writes {self._tensors[index].spec.name!r} twice")
        ready.add(index)

    def _options(self, operator: dict[str, Any], name: str, counts: dict[str, int]) -> None:
        strange = ("custom_options", "intermediates", "mutating_variable_inputs")
        if any(operator.get(field, (0, 0))[1] for field in strange) or any(
            operator.get(f"large_custom_options_{part}", 0) for part in ("offset", "size")
        ):
            raise self._bad(f"{name} has options that TFLite's own operators do not have")
        kind, counted = COUNTS.get(name, (0, ""))
        if counted:
            told = 0
            if operator.get("options_type", 0) == kind and "options" in operator:
                told = self._file.table(operator["options"], wire.COUNTED, f"{name}'s options").get(
                    "count", 0
                )
            if told != counts[counted]:
                raise self._bad(f"{name} has {counts[counted]} {counted} and says that it has {told}")
        if "options" not in operator:
            return
        if operator.get("options_type", 0) in _SHAPE_OPTIONS:
            self._file.table(operator["options"], wire.NEW_SHAPE, "ReshapeOptions")
        else:
            self._file.numbers_only(operator["options"])

    def _border(self, kind: str, signature: dict[str, Any], indices: list[int]) -> dict[str, TensorSpec]:
        """The inputs or outputs by the name that the signature gives them."""
        named: dict[str, TensorSpec] = {}
        left = list(indices)
        for at in signature.get(f"{kind}s", []):
            entry = self._file.table(at, wire.TENSOR_MAP, "TensorMap")
            name, index = entry.get("name", ""), entry.get("tensor_index", 0)
            if name in named or index not in left:
                raise self._bad(f"its signature names {kind} {name!r} twice, or names what is none")
            left.remove(index)
            tensor = self._tensors[index]
            dtype = "float32" if tensor.scaled else tensor.spec.dtype
            if not tensor.spec.shape:
                raise self._bad(
                    f"{kind} {name!r} has no dimension, which engines for TFLite do not hand over: make it [1]"
                )
            named[name] = TensorSpec(name, tensor.spec.shape, dtype)
        if left:
            raise self._bad(f"its signature has no name for {kind} {self._tensors[left[0]].spec.name!r}")
        return named
