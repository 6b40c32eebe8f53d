"""Changes fields of an ONNX file, most of them so that a reader of protobuf still takes it."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from edge_wm.bundle.onnx_operators import ALLOWED

OPERATORS = sorted(ALLOWED)
INTEGERS = (0, 1, -1, 2, -2, 3, 5, 7, 15, 16, 64, 127, 128, 255, 4096, 1 << 16, (1 << 31) - 1, 1 << 31)
INTEGERS += (-(1 << 31), 1 << 32, (1 << 32) + 1, 1 << 40, 1 << 62, (1 << 63) - 1, -(1 << 63), -(1 << 62))
FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-45, 1e-38, 3.4e38, -3.4e38, math.inf, -math.inf, math.nan, 1e6, 2**31)
ATTRIBUTES = [
    "axis",
    "axes",
    "batch_dims",
    "perm",
    "keepdims",
    "to",
    "pads",
    "strides",
    "dilations",
    "kernel_shape",
    "group",
    "auto_pad",
    "ceil_mode",
    "block_size",
    "blocksize",
    "mode",
    "exclusive",
    "reverse",
    "noop_with_empty_axes",
    "allowzero",
    "largest",
    "sorted",
    "k",
    "size",
    "p",
    "alpha",
    "beta",
    "epsilon",
    "count_include_pad",
    "storage_order",
    "transA",
    "transB",
    "num_outputs",
    "equation",
    "hidden_size",
    "direction",
    "layout",
    "coordinate_transformation_mode",
    "nearest_mode",
    "align_corners",
    "padding_mode",
    "extrapolation_value",
    "cubic_coeff_a",
    "output_shape",
    "output_padding",
    "stash_type",
    "saturate",
    "value",
    "value_ints",
    "value_float",
    "fmod",
    "training_mode",
    "momentum",
    "upper",
    "num_groups",
    "q_num_heads",
    "kv_num_heads",
    "num_heads",
    "interleaved",
    "rotary_embedding_dim",
    "is_causal",
    "scale",
    "softcap",
    "qk_matmul_output_mode",
    "reduction",
    "time_axis",
    "batch_axis",
    "antialias",
    "keep_aspect_ratio_policy",
    "start",
    "end",
    "linear_before_reset",
    "detect_negative",
    "detect_positive",
    "bias",
    "lambd",
    "output_dtype",
    "block_size",
    "precision",
]
KINDS = [
    np.float32,
    np.float64,
    np.float16,
    np.int8,
    np.uint8,
    np.int16,
    np.int32,
    np.int64,
    np.uint64,
    np.bool_,
]


def mutated(chance: Random, data: bytes, other: bytes) -> bytes:
    """A file like ``data`` with a few fields changed, some of them to what stands in ``other``."""
    model = onnx.load_from_string(data)
    donor = onnx.load_from_string(other)
    for _ in range(chance.choice((1, 1, 1, 2, 2, 3, 5, 8))):
        change = chance.choices([change for change, _ in CHANGES], [share for _, share in CHANGES])[0]
        try:
            change(chance, model, donor)
        except Exception:  # not on this graph, or not after what was done to it already
            continue
    return model.SerializeToString()


def _node(chance: Random, model: onnx.ModelProto) -> onnx.NodeProto:
    return model.graph.node[chance.randrange(len(model.graph.node))]


def _names(model: onnx.ModelProto) -> list[str]:
    graph = model.graph
    made = [name for node in graph.node for name in node.output]
    return [*made, *(value.name for value in graph.input), *(tensor.name for tensor in graph.initializer)]


def _rewired(chance: Random, model: onnx.ModelProto, donor: onnx.ModelProto) -> None:
    node = _node(chance, model)
    node.input[chance.randrange(len(node.input))] = chance.choice([*_names(model), "", "nowhere"])


def _output_renamed(chance: Random, model: onnx.ModelProto, donor: onnx.ModelProto) -> None:
    node = _node(chance, model)
    node.output[chance.randrange(len(node.output))] = chance.choice([*_names(model), "", "fresh"])


def _inputs_changed(chance: Random, model: onnx.ModelProto, donor: onnx.ModelProto) -> None:
    node = _node(chance, model)
    if chance.random() < 0.5 and node.input:
        del node.input[chance.randrange(len(node.input))]
    else:
        node.input.extend(["", chance.choice(_names(model))][chance.randrange(2) :])


def _other_operator(chance: Random, model: onnx.ModelProto, donor: onnx.ModelProto) -> None:
    _node(chance, model).op_type = chance.choice(OPERATORS)


def _node_grafted(chance: Random, model: onnx.ModelProto, donor: onnx.ModelProto) -> None:
    """Put a node of the donor between two tensors, with its weights."""
    node = onnx.NodeProto()
    node.CopyFrom(_node(chance, donor))
    stored = {tensor.name: tensor for tensor in donor.graph.initializer}
    place = chance.randrange(len(model.graph.node) + 1)
    for index, name in enumerate(node.input):
        if name in stored:
            weight = model.graph.initializer.add()
            weight.CopyFrom(stored[name])
            weight.name = node.input[index] = f"grafted {len(model.graph.initializer)}"
        elif name:
            node.input[index] = chance.choice(_names(model))
    for index in range(len(node.output)):
        node.output[index] = f"grafted {len(model.graph.node)} {index}"
    following = model.graph.node[place] if place < len(model.graph.node) else None
    if following is not None and following.input:
        following.input[chance.randrange(len(following.input))] = node.output[0]
    model.graph.node.insert(place, node)


def _node_removed(chance: Random, model: onnx.ModelProto, donor: onnx.ModelProto) -> None:
    del model.graph.node[chance.randrange(len(model.graph.node))]


def _node_doubled(chance: Random, model: onnx.ModelProto, donor: onnx.ModelProto) -> None:
    model.graph.node.add().CopyFrom(_node(chance, model))


def _shuffled(chance: Random, model: onnx.ModelProto, donor: onnx.ModelProto) -> None:
    nodes = list(model.graph.node)
    chance.shuffle(nodes)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _attribute_changed(chance: Random, model: onnx.ModelProto, donor: onnx.ModelProto) -> None:
    having = [node for node in model.graph.node if node.attribute]
    attributes = chance.choice(having).attribute
    attribute = attributes[chance.randrange(len(attributes))]
    if attribute.type == onnx.AttributeProto.INT:
        attribute.i = _integer(chance, attribute.i)
    elif attribute.type == onnx.AttributeProto.FLOAT:
        attribute.f = chance.choice(FLOATS)
    elif attribute.type == onnx.AttributeProto.INTS:
        _list_changed(chance, attribute.ints, lambda old: _integer(chance, old))
    elif attribute.type == onnx.AttributeProto.FLOATS:
        _list_changed(chance, attribute.floats, lambda old: chance.choice(FLOATS))
    elif attribute.type == onnx.AttributeProto.STRING:
        attribute.s = chance.choice(
            (b"", b"reflect", b"wrap", b"edge", b"cubic", b"linear", b"nearest", b"\xff", b"x" * 999)
        )
    elif attribute.type == onnx.AttributeProto.TENSOR:
        _refilled(chance, attribute.t)


def _attribute_added(chance: Random, model: onnx.ModelProto, donor: onnx.ModelProto) -> None:
    attributes = _node(chance, model).attribute
    attribute = attributes.add()
    if chance.random() < 0.5:
        attribute.CopyFrom(chance.choice(list(_node(chance, donor).attribute)))
        return
    name = chance.choice(ATTRIBUTES)
    ints = [_integer(chance, 1) for _ in range(chance.randrange(5))]
    made: Any = chance.choice((_integer(chance, 1), ints, chance.choice(FLOATS), "x"))
    if made == []:
        attribute.name, attribute.type = name, onnx.AttributeProto.INTS
    else:
        attribute.CopyFrom(onnx.helper.make_attribute(name, made))


def _attribute_removed(chance: Random, model: onnx.ModelProto, donor: onnx.ModelProto) -> None:
    having = [node for node in model.graph.node if node.attribute]
    attributes = chance.choice(having).attribute
    del attributes[chance.randrange(len(attributes))]


def _weight_refilled(chance: Random, model: onnx.ModelProto, donor: onnx.ModelProto) -> None:
    _refilled(chance, model.graph.initializer[chance.randrange(len(model.graph.initializer))])


def _refilled(chance: Random, tensor: onnx.TensorProto) -> None:
    """Give a stored tensor other numbers, another shape or another type, with as much data as that needs."""
    array = numpy_helper.to_array(tensor)
    way = chance.randrange(4)
    if way == 0 or array.size == 0:
        array = array.copy()
        flat = array.reshape(-1)
        for _ in range(chance.choice((1, 1, 2, 8))):
            place = chance.randrange(max(1, flat.size))
            drawn = chance.choice(FLOATS) if array.dtype.kind == "f" else _integer(chance, int(flat[place]))
            with np.errstate(all="ignore"):
                flat[place] = np.array(drawn).astype(array.dtype)
    elif way == 1:
        shape = list(array.shape)
        place = chance.randrange(len(shape) + 1)
        if chance.random() < 0.5 or not shape:
            shape.insert(place, 1)
        else:
            chance.shuffle(shape)
        array = array.reshape(shape)
    elif way == 2:
        size = chance.choice((0, 1, 2, 3, 5, 17))
        array = np.resize(array, [size if n == 0 else d for n, d in enumerate(array.shape or (1,))])
    else:
        with np.errstate(all="ignore"):
            array = array.astype(chance.choice(KINDS))
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), tensor.name))


def _weight_lies(chance: Random, model: onnx.ModelProto, donor: onnx.ModelProto) -> None:
    """Give a stored tensor a shape, a type or data that do not fit each other."""
    tensor = model.graph.initializer[chance.randrange(len(model.graph.initializer))]
    way = chance.randrange(5)
    if way == 0:
        _list_changed(chance, tensor.dims, lambda old: _integer(chance, old))
    elif way == 1:
        tensor.data_type = chance.randrange(24)
    elif way == 2:
        tensor.raw_data = tensor.raw_data[: chance.randrange(len(tensor.raw_data) + 1)]
    elif way == 3:
        tensor.data_location = TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", chance.choice(("/etc/passwd", "../x", "weights.bin", ""))
    else:
        tensor.name = chance.choice(_names(model))


def _input_stored(chance: Random, model: onnx.ModelProto, donor: onnx.ModelProto) -> None:
    """Feed a node with something stored that is new to it."""
    node = _node(chance, model)
    tensor = model.graph.initializer.add()
    shape = [chance.choice((1, 1, 2, 3, 4, 0)) for _ in range(chance.randrange(4))]
    with np.errstate(all="ignore"):
        drawn = [
            chance.choice(INTEGERS[:12] if chance.random() < 0.7 else INTEGERS)
            for _ in range(math.prod(shape))
        ]
        array = np.array(drawn, np.int64).reshape(shape).astype(chance.choice(KINDS))
    tensor.CopyFrom(numpy_helper.from_array(array, f"stored {len(model.graph.initializer)}"))
    place = chance.randrange(len(node.input) + 1)
    if place == len(node.input):
        node.input.append(tensor.name)
    else:
        node.input[place] = tensor.name


def _declared(chance: Random, model: onnx.ModelProto, donor: onnx.ModelProto) -> None:
    """Declare a tensor between nodes to be something."""
    made = model.graph.value_info.add()
    shape = [
        chance.choice((*INTEGERS, "n")) if chance.random() < 0.3 else chance.randrange(5)
        for _ in range(chance.randrange(4))
    ]
    names = [name for node in model.graph.node for name in node.output]
    made.CopyFrom(
        onnx.helper.make_tensor_value_info(
            chance.choice(names), chance.choice((1, 1, 6, 7, 9, 10, 11)), shape
        )
    )


def _head_changed(chance: Random, model: onnx.ModelProto, donor: onnx.ModelProto) -> None:
    if chance.random() < 0.5:
        model.ir_version = _integer(chance, model.ir_version)
    else:
        model.opset_import[0].version = chance.choice((*INTEGERS, *range(1, 27)))


def _anything(chance: Random, model: onnx.ModelProto, donor: onnx.ModelProto) -> None:
    """Change, remove, double or add a field of any message, whatever it means."""
    message: Any = model
    while True:
        field, value = chance.choice(message.ListFields())
        if field.is_repeated:
            place = chance.randrange(len(value))
            way = chance.randrange(8)
            if way == 0:
                del value[place]
                return
            if way == 1:
                value.add().CopyFrom(value[place]) if field.message_type else value.append(value[place])
                return
            if not field.message_type:
                value[place] = _scalar(chance, value[place])
                return
            message = value[place]
        elif field.message_type:
            if chance.random() < 0.1:
                message.ClearField(field.name)
                return
            message = value
        else:
            if chance.random() < 0.2:
                message.ClearField(field.name)
            else:
                setattr(message, field.name, _scalar(chance, value))
            return


def _scalar(chance: Random, old: Any) -> Any:
    if isinstance(old, bool | int):
        return _integer(chance, int(old))
    if isinstance(old, float):
        return chance.choice(FLOATS)
    longer = old * chance.choice((0, 2, 400))
    return chance.choice((longer, old[:-1], old + old[:1]))


def _integer(chance: Random, old: int) -> int:
    return old + chance.choice((-1, 1, 2)) if chance.random() < 0.4 else chance.choice(INTEGERS)


def _list_changed(chance: Random, values: Any, drawn: Callable[[Any], Any]) -> None:
    way = chance.randrange(6)
    if way == 0 and values:
        del values[chance.randrange(len(values))]
    elif way == 1:
        values.append(drawn(1))
    else:
        place = chance.randrange(len(values))
        values[place] = drawn(values[place])


CHANGES: list[tuple[Callable[[Random, onnx.ModelProto, onnx.ModelProto], None], int]] = [
    (_attribute_changed, 16),
    (_weight_refilled, 16),
    (_rewired, 8),
    (_input_stored, 8),
    (_node_grafted, 8),
    (_inputs_changed, 6),
    (_attribute_added, 8),
    (_other_operator, 5),
    (_anything, 8),
    (_attribute_removed, 3),
    (_declared, 3),
    (_weight_lies, 4),
    (_head_changed, 3),
    (_shuffled, 2),
    (_node_removed, 1),
    (_node_doubled, 1),
    (_output_renamed, 2),
]
"""What may be changed, with how often it is."""
