"""Changes fields of a TFLite file, so that a reader of flatbuffers still takes it."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edge_wm.bundle.tflite_operators import ALLOWED

CODES = sorted(ALLOWED)
INTEGERS = (
    0,
    1,
    -1,
    2,
    -2,
    3,
    4,
    5,
    7,
    8,
    16,
    64,
    127,
    128,
    255,
    1000,
    4096,
    1 << 16,
    1 << 20,
    1 << 24,
    1 << 30,
)
INTEGERS += ((1 << 31) - 1, -(1 << 31))
FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-45, 1e-38, 3.4e38, -3.4e38, math.inf, -math.inf, math.nan, 1e6)
KINDS = {
    0: np.float32,
    1: np.float16,
    2: np.int32,
    3: np.uint8,
    4: np.int64,
    6: np.bool_,
    7: np.int16,
    9: np.int8,
}
"""TensorType: what numpy calls it."""


def mutated(chance: Random, data: bytes, other: bytes) -> bytes:
    """A file like ``data`` with a few fields changed, some of them to what stands in ``other``."""
    model = _read(data)
    donor = _read(other)
    for _ in range(chance.choice((1, 1, 1, 2, 2, 3, 5, 8))):
        change = chance.choices([change for change, _ in CHANGES], [share for _, share in CHANGES])[0]
        try:
            change(chance, model, donor)
        except Exception:  # not on this graph, or not after what was done to it already
            continue
    try:
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())
    except Exception:  # the writer does not take everything that a reader might be given
        return data


def _read(data: bytes) -> Any:
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(data))


def _operator(chance: Random, model: Any) -> Any:
    return chance.choice(model.subgraphs[0].operators)


def _tensor(chance: Random, model: Any) -> Any:
    return chance.choice(model.subgraphs[0].tensors)


def _option_changed(chance: Random, model: Any, donor: Any) -> None:
    options = _operator(chance, model).builtinOptions
    name = chance.choice(sorted(vars(options)))
    old = getattr(options, name)
    if isinstance(old, bool):
        setattr(options, name, not old)
    elif isinstance(old, int):
        setattr(options, name, _integer(chance, old))
    elif isinstance(old, float):
        setattr(options, name, chance.choice(FLOATS))
    elif old is not None:
        setattr(options, name, _listed(chance, [int(one) for one in old]))


def _options_of_another(chance: Random, model: Any, donor: Any) -> None:
    into, out_of = _operator(chance, model), _operator(chance, donor)
    into.builtinOptionsType, into.builtinOptions = out_of.builtinOptionsType, out_of.builtinOptions


def _options_removed(chance: Random, model: Any, donor: Any) -> None:
    operator = _operator(chance, model)
    operator.builtinOptionsType, operator.builtinOptions = 0, None


def _rewired(chance: Random, model: Any, donor: Any) -> None:
    operator = _operator(chance, model)
    which = chance.choice(("inputs", "inputs", "inputs", "outputs"))
    values = [int(one) for one in getattr(operator, which)]
    count = len(model.subgraphs[0].tensors)
    way = chance.randrange(8)
    if way == 0:
        values.append(chance.randrange(-1, count))
    elif way == 1:
        del values[chance.randrange(len(values))]
    else:
        values[chance.randrange(len(values))] = chance.choice(
            (-1, count, chance.randrange(count), chance.randrange(count))
        )
    setattr(operator, which, values)


def _other_code(chance: Random, model: Any, donor: Any) -> None:
    code = chance.choice(model.operatorCodes)
    code.builtinCode = chance.choice(CODES)
    code.deprecatedBuiltinCode = min(127, code.builtinCode)
    if chance.random() < 0.5:
        code.version = chance.choice((1, 1, 2, 3, 4, 5, 6, 7, 0, -1, 100))


def _version_changed(chance: Random, model: Any, donor: Any) -> None:
    chance.choice(model.operatorCodes).version = chance.choice(
        (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, -1, 100)
    )


def _operator_doubled(chance: Random, model: Any, donor: Any) -> None:
    """Run an operator once more, into tensors of its own."""
    graph, old = model.subgraphs[0], _operator(chance, model)
    made = schema.OperatorT()
    made.opcodeIndex, made.builtinOptionsType, made.builtinOptions = (
        old.opcodeIndex,
        old.builtinOptionsType,
        old.builtinOptions,
    )
    made.inputs = [
        chance.randrange(len(graph.tensors)) if chance.random() < 0.3 else int(one) for one in old.inputs
    ]
    made.outputs = []
    for index in old.outputs:
        made.outputs.append(len(graph.tensors))
        graph.tensors.append(_copy(graph.tensors[index]))
    graph.operators.insert(chance.randrange(len(graph.operators) + 1), made)


def _operators_shuffled(chance: Random, model: Any, donor: Any) -> None:
    chance.shuffle(model.subgraphs[0].operators)


def _grafted(chance: Random, model: Any, donor: Any) -> None:
    """Put an operator of the donor before another, with its weights, and feed that one with what it gives."""
    graph, code, made = model.subgraphs[0], schema.OperatorCodeT(), schema.OperatorT()
    old = _operator(chance, donor)
    code.__dict__.update(vars(donor.operatorCodes[old.opcodeIndex]))
    made.opcodeIndex, made.builtinOptionsType, made.builtinOptions = (
        len(model.operatorCodes),
        old.builtinOptionsType,
        old.builtinOptions,
    )
    model.operatorCodes.append(code)
    made.inputs, made.outputs = [], []
    for index in old.inputs:
        tensor = donor.subgraphs[0].tensors[index]
        stored = donor.buffers[tensor.buffer].data
        if index < 0:
            made.inputs.append(-1)
        elif stored is None or not len(stored):
            made.inputs.append(chance.randrange(len(graph.tensors)))
        else:
            made.inputs.append(len(graph.tensors))
            graph.tensors.append(_copy(tensor))
            graph.tensors[-1].buffer = len(model.buffers)
            model.buffers.append(donor.buffers[tensor.buffer])
    for index in old.outputs:
        made.outputs.append(len(graph.tensors))
        graph.tensors.append(_copy(donor.subgraphs[0].tensors[index]))
    place = chance.randrange(len(graph.operators) + 1)
    if place < len(graph.operators) and made.outputs:
        inputs = [int(one) for one in graph.operators[place].inputs]
        inputs[chance.randrange(len(inputs))] = made.outputs[0]
        graph.operators[place].inputs = inputs
    graph.operators.insert(place, made)


def _copy(tensor: Any) -> Any:
    made = schema.TensorT()
    made.__dict__.update(vars(tensor))
    return made


def _weight_refilled(chance: Random, model: Any, donor: Any) -> None:
    """Give a stored tensor other numbers, another shape or another type, with as much data as that needs."""
    stored = [tensor for tensor in model.subgraphs[0].tensors if _data(model, tensor) is not None]
    tensor = chance.choice(stored)
    kind = KINDS[tensor.type]
    array = np.frombuffer(bytes(_data(model, tensor)), kind).copy()
    shape = [] if tensor.shape is None else [int(size) for size in tensor.shape]
    way = chance.randrange(5)
    if way <= 1:
        for _ in range(chance.choice((1, 1, 2, 8))):
            place = chance.randrange(len(array))
            drawn = chance.choice(FLOATS) if array.dtype.kind == "f" else _integer(chance, int(array[place]))
            with np.errstate(all="ignore"):
                array[place] = np.array(drawn).astype(kind)
    elif way == 2:
        if chance.random() < 0.5 or not shape:
            shape.insert(chance.randrange(len(shape) + 1), 1)
        else:
            chance.shuffle(shape)
    elif way == 3:
        shape = [
            chance.choice((0, 1, 2, 3, 5, 17)) if n == 0 else size for n, size in enumerate(shape or [1])
        ]
        array = np.resize(array, math.prod(shape))
    else:
        tensor.type = chance.choice(sorted(KINDS))
        with np.errstate(all="ignore"):
            array = array.astype(KINDS[tensor.type])
    tensor.shape = shape
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(array.tobytes(), np.uint8)
    tensor.buffer = len(model.buffers)
    model.buffers.append(buffer)


def _data(model: Any, tensor: Any) -> Any:
    data = model.buffers[tensor.buffer].data if tensor.buffer < len(model.buffers) else None
    return data if data is not None and len(data) else None


def _stored_instead(chance: Random, model: Any, donor: Any) -> None:
    """Feed an operator with something stored that is new to it."""
    graph, operator = model.subgraphs[0], _operator(chance, model)
    tensor, buffer = schema.TensorT(), schema.BufferT()
    shape = [chance.choice((1, 1, 2, 3, 4)) for _ in range(chance.randrange(4))]
    tensor.type = chance.choice((2, 2, 2, *sorted(KINDS)))
    numbers = INTEGERS[:12] if chance.random() < 0.7 else INTEGERS
    with np.errstate(all="ignore"):
        array = np.array([chance.choice(numbers) for _ in range(math.prod(shape))]).astype(KINDS[tensor.type])
    buffer.data = np.frombuffer(array.tobytes(), np.uint8)
    tensor.name, tensor.shape, tensor.buffer = "stored", shape, len(model.buffers)
    model.buffers.append(buffer)
    inputs = [int(one) for one in operator.inputs]
    place = chance.randrange(len(inputs) + 1)
    inputs[place : place + 1] = [len(graph.tensors)]
    operator.inputs = inputs
    graph.tensors.append(tensor)


def _declared(chance: Random, model: Any, donor: Any) -> None:
    """Say that a tensor has another shape, another type, or no data."""
    tensor = _tensor(chance, model)
    way = chance.randrange(6)
    if way <= 1:
        tensor.shape = _listed(chance, [] if tensor.shape is None else [int(size) for size in tensor.shape])
    elif way == 2:
        tensor.type = chance.randrange(20)
    elif way == 3:
        tensor.buffer = chance.choice((0, 1, len(model.buffers), chance.randrange(len(model.buffers))))
    elif way == 4:
        tensor.isVariable = not tensor.isVariable
    else:
        tensor.shapeSignature = _listed(
            chance, [] if tensor.shape is None else [int(size) for size in tensor.shape]
        )


def _quantised(chance: Random, model: Any, donor: Any) -> None:
    tensor = _tensor(chance, model)
    had = tensor.quantization or schema.QuantizationParametersT()
    made = schema.QuantizationParametersT()
    made.__dict__.update(vars(had))
    scales = [] if had.scale is None else [float(one) for one in had.scale]
    zeros = [] if had.zeroPoint is None else [int(one) for one in had.zeroPoint]
    way = chance.randrange(6)
    if way == 0:
        scales, zeros = [chance.choice((0.1, *FLOATS))], [chance.choice((0, 1, -128, 127, *INTEGERS))]
    elif way == 1 and scales:
        scales[chance.randrange(len(scales))] = chance.choice(FLOATS)
    elif way == 2 and zeros:
        zeros[chance.randrange(len(zeros))] = chance.choice((*INTEGERS, 1 << 40, -(1 << 63), (1 << 63) - 1))
    elif way == 3:
        made.quantizedDimension = chance.choice((*INTEGERS[:8], 1 << 30, -(1 << 31)))
    elif way == 4:
        scales, zeros = [], []
    else:
        size = chance.choice((2, 3, *([] if tensor.shape is None else [int(one) for one in tensor.shape])))
        scales, zeros = [0.1] * size, [0] * size
    made.scale, made.zeroPoint = scales, zeros
    tensor.quantization = made


def _anything(chance: Random, model: Any, donor: Any) -> None:
    """Change, remove or double a field of any table, whatever it means."""
    table = model
    while True:
        name = chance.choice(sorted(vars(table)))
        value = getattr(table, name)
        if isinstance(value, list) and value and hasattr(value[0], "Pack"):
            way = chance.randrange(10)
            if way == 0:
                value.remove(chance.choice(value))
                return
            if way == 1:
                value.append(chance.choice(value))
                return
            table = chance.choice(value)
        elif hasattr(value, "Pack"):
            table = value
        elif isinstance(value, bool):
            setattr(table, name, not value)
            return
        elif isinstance(value, int):
            setattr(table, name, _integer(chance, value))
            return
        elif isinstance(value, float):
            setattr(table, name, chance.choice(FLOATS))
            return
        elif isinstance(value, str | bytes):
            setattr(table, name, value * chance.choice((0, 2, 999)))
            return
        elif value is not None and len(value) < 64:
            setattr(table, name, _listed(chance, [int(one) for one in value]))
            return
        else:
            return


def _integer(chance: Random, old: int) -> int:
    return old + chance.choice((-1, 1, 2)) if chance.random() < 0.4 else chance.choice(INTEGERS)


def _listed(chance: Random, values: list[int]) -> list[int]:
    way = chance.randrange(6)
    if way == 0 and values:
        del values[chance.randrange(len(values))]
    elif way == 1 or not values:
        values.append(_integer(chance, 1))
    elif way == 2:
        chance.shuffle(values)
    else:
        place = chance.randrange(len(values))
        values[place] = _integer(chance, values[place])
    return values


CHANGES: list[tuple[Callable[[Random, Any, Any], None], int]] = [
    (_option_changed, 14),
    (_weight_refilled, 18),
    (_rewired, 8),
    (_stored_instead, 10),
    (_grafted, 12),
    (_quantised, 8),
    (_declared, 8),
    (_other_code, 6),
    (_anything, 6),
    (_options_of_another, 3),
    (_options_removed, 2),
    (_version_changed, 3),
    (_operator_doubled, 3),
    (_operators_shuffled, 1),
]
"""What may be changed, with how often it is."""
