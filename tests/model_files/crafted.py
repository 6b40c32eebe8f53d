"""Bundles that somebody who can sign has made to hurt, and what each must end with."""

from __future__ import annotations

import io
import os
import pickle
import socket
import stat
import struct
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper

from edge_wm.bundle.manifest import MANIFEST_NAME, Format
from tests.blind_model import ints, node, observe_graph, observe_graph_with_memory
from tests.bundle import test_load, test_onnx_guard, test_tflite_guard
from tests.model_files import tflite_seeds
from tests.model_files.seeds import GOLDEN, MEMORY
from tests.model_files.tflite_operators import Operator, Part, c, f, i, w
from tests.tiny_model import constant, npy, npz, read_manifest, replace_file, value, write_manifest
from tests.tiny_tflite import Node, integers, options, pack
from tests.tiny_tflite import model as tflite_model

End = Literal["guard", "proof", "drive"]


class Crafted(NamedTuple):
    """A bundle, and what must come of it.

    Attributes:
        name: what is wrong with it.
        format: of the bundle that it is made of.
        change: what is done to that.
        ends: in which stages it may end; ``drive`` is harmless.
        says: words of the refusal, a regular expression.
        kills: the signal that ends a process which loads and runs it without the guard; empty if none does for sure.
        late: whether that is a process that drives in the light, and the proof in the dark sees nothing of it.
    """

    name: str
    format: Format
    change: Callable[[Path], None]
    ends: tuple[End, ...]
    says: str
    kills: str = ""
    late: bool = False


OBSERVE = {"onnx": "observe.int8.onnx", "tflite": "observe.int8.tflite"}


def _crafted() -> list[Crafted]:
    return [
        *_onnx_as_the_guards_tests_have_it(),
        *_tflite_as_the_guards_tests_have_it(),
        *_folders_as_the_loaders_tests_have_it(),
        *_onnx_files(),
        *_onnx_graphs(),
        *_onnx_operators(),
        *_tflite_files(),
        *_tflite_graphs(),
        *_tflite_operators(),
        *_late(),
        *_arrays(),
        *_manifests(),
        *_places(),
    ]


# --- what the tests of the guards refuse -----------------------------------------------------------------------------


def _onnx_as_the_guards_tests_have_it() -> list[Crafted]:
    """Each of their graphs in the place of observe: what they refuse by itself must not come further in a bundle."""
    found = []
    for name, (change, _) in test_onnx_guard.REFUSALS.items():
        graph = test_onnx_guard.plain()
        change(graph)
        found.append(_replaced(f"of the ONNX guard's tests: {name}", "onnx", graph.SerializeToString(), ""))
    return found


def _tflite_as_the_guards_tests_have_it() -> list[Crafted]:
    found = []
    for change in test_tflite_guard.REFUSALS:
        m = tflite_model(test_tflite_guard.observe_graph())
        change(m)
        name = change.__name__.replace("_", " ")
        found.append(_replaced(f"of the TFLite guard's tests: {name}", "tflite", pack(m), ""))
    return found


def _folders_as_the_loaders_tests_have_it() -> list[Crafted]:
    return [
        Crafted(
            f"of the loader's tests: {name}",
            "onnx",
            _as_tiny(change),
            ("guard",),
            said.replace("fp32", "int8"),
        )
        for name, (change, said) in test_load.DAMAGE.items()
        if name != "no directory"
    ]


def _as_tiny(change: Callable[[Path], None]) -> Callable[[Path], None]:
    """Their changes are for a bundle whose graphs are called fp32."""

    def damage(bundle: Path) -> None:
        tiny, own = bundle / "observe.fp32.onnx", bundle / OBSERVE["onnx"]
        own.rename(tiny)
        change(bundle)
        for named in bundle.glob("observe.fp32.onnx*"):
            named.rename(named.with_name(named.name.replace("fp32", "int8")))

    return damage


def _replaced(
    name: str, format: Format, data: bytes, says: str, ends: tuple[End, ...] = ("guard",), kills: str = ""
) -> Crafted:
    return Crafted(
        name, format, lambda bundle: replace_file(bundle, OBSERVE[format], data), ends, says, kills
    )


# --- ONNX: files -----------------------------------------------------------------------------------------------------


def _varint(number: int) -> bytes:
    found = bytearray()
    while number >= 0x80:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def _nested(depth: int) -> bytes:
    """An attribute of a node of a graph of an attribute …, as deep as nobody can follow by calling himself."""
    heads, size = [], 0
    for number in (7, *(1, 5, 6) * depth)[::-1]:  # Model.graph, then Graph.node, Node.attribute, Attribute.g
        heads.append(_varint(number << 3 | 2) + _varint(size))
        size += len(heads[-1])
    return b"".join(heads[::-1])


def _onnx_files() -> list[Crafted]:
    sound = observe_graph().SerializeToString()
    cut = [len(sound) * part // 4 for part in (1, 2, 3)] + [1, len(sound) - 1]
    deep = "unknown field|subgraph|ends beyond|cut off"
    return [
        *(
            _replaced(
                f"ONNX cut off after {size} bytes",
                "onnx",
                sound[:size],
                "cut off|no graph|no input|no output",
            )
            for size in cut
        ),
        _replaced("an empty ONNX file", "onnx", b"", "holds no graph"),
        _replaced("ONNX nested 100,000 deep", "onnx", _nested(100_000), deep),
        _replaced("groups nested without an end", "onnx", b"\x3b" * 100_000, "wire type"),
        _replaced("a length of 2^63", "onnx", b"\x3a" + _varint(1 << 63), "cut off"),
        _replaced(
            "a number of eleven bytes", "onnx", b"\x08" + b"\xff" * 10 + b"\x01", "longer than 64 bits"
        ),
        _replaced("a number that never ends", "onnx", b"\x08" + b"\xff" * 100_000, "longer than 64 bits"),
        _replaced("a megabyte of zeros", "onnx", bytes(1 << 20), "unknown field 0"),
        _replaced("two million fields", "onnx", b"\x72\x00" * 2_100_000, "more than 2000000 fields"),
        _replaced(
            "a TFLite file called ONNX", "onnx", pack(tflite_model(tflite_seeds.observe_graph())), "onnx"
        ),
        _replaced("ONNX of version 0", "onnx", _with_version(0), "", ("guard", "proof", "drive")),
        _replaced("ONNX of version 2^63 - 1", "onnx", _with_version((1 << 63) - 1), "", ("guard", "proof")),
        _replaced("an operator set from the future", "onnx", _with_opset(1 << 30), "", ("guard", "proof")),
        _replaced("a negative operator set", "onnx", _with_opset(-1), "", ("guard", "proof")),
        _replaced("no operator set", "onnx", _with_opset(None), "", ("guard", "proof")),
    ]


def _with_version(version: int) -> bytes:
    graph = observe_graph()
    graph.ir_version = version
    return graph.SerializeToString()


def _with_opset(version: int | None) -> bytes:
    graph = observe_graph()
    if version is None:
        graph.ClearField("opset_import")
    else:
        graph.opset_import[0].version = version
    return graph.SerializeToString()


# --- ONNX: graphs ----------------------------------------------------------------------------------------------------


def _changed(
    name: str, change: Callable[[onnx.ModelProto], None], says: str, *ends: End, kills: str = ""
) -> Crafted:
    """The blind model's observe graph, changed."""

    def replace(bundle: Path) -> None:
        graph = observe_graph()
        change(graph)
        replace_file(bundle, OBSERVE["onnx"], graph.SerializeToString())

    return Crafted(name, "onnx", replace, ends or ("guard",), says, kills)


def _external(**entries: str) -> Callable[[onnx.ModelProto], None]:
    def change(graph: onnx.ModelProto) -> None:
        tensor = graph.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, text in entries.items():
            entry = tensor.external_data.add()
            entry.key, entry.value = key, text

    return change


def _weight(
    *dims: int, kind: int = TensorProto.FLOAT, data: bytes = b""
) -> Callable[[onnx.ModelProto], None]:
    def change(graph: onnx.ModelProto) -> None:
        tensor = graph.graph.initializer.add()
        tensor.name, tensor.data_type, tensor.raw_data = "heavy", kind, data
        tensor.dims.extend(dims)

    return change


def _border(dimension: int) -> Callable[[onnx.ModelProto], None]:
    def change(graph: onnx.ModelProto) -> None:
        graph.graph.input[0].type.tensor_type.shape.dim[0].dim_value = dimension

    return change


def _declared(*dims: int) -> Callable[[onnx.ModelProto], None]:
    def change(graph: onnx.ModelProto) -> None:
        graph.graph.value_info.append(value("light", list(dims)))

    return change


def _a_cycle(graph: onnx.ModelProto) -> None:
    graph.graph.node[0].input[0] = "brightness"


def _itself(graph: onnx.ModelProto) -> None:
    graph.graph.node[2].input[0] = "brightness"


def _not_sorted(graph: onnx.ModelProto) -> None:
    nodes = list(graph.graph.node)[::-1]
    graph.graph.ClearField("node")
    graph.graph.node.extend(nodes)


def _without(initializer: str) -> Callable[[onnx.ModelProto], None]:
    def change(graph: onnx.ModelProto) -> None:
        kept = [known for known in graph.graph.initializer if known.name != initializer]
        graph.graph.ClearField("initializer")
        graph.graph.initializer.extend(kept)

    return change


def _written_twice(graph: onnx.ModelProto) -> None:
    graph.graph.node.append(node("Relu", "v", "mean_light"))


def _writes_an_input(graph: onnx.ModelProto) -> None:
    graph.graph.node.append(node("Relu", "v", "gyro"))


def _no_nodes(graph: onnx.ModelProto) -> None:
    graph.graph.ClearField("node")


def _nodes(count: int) -> Callable[[onnx.ModelProto], None]:
    def change(graph: onnx.ModelProto) -> None:
        graph.graph.node.extend(node("Neg", f"v{n}" if n else "v", f"v{n + 1}") for n in range(count))

    return change


def _named(graph: onnx.ModelProto) -> None:
    graph.graph.node.append(node("Relu", "v", "x" * 5000))


def _in_a_function(graph: onnx.ModelProto) -> None:
    graph.functions.append(
        helper.make_function("ai.onnx", "Relu", ["a"], ["b"], [node("Relu", "a", "b")], [])
    )


def _quantised_elsewhere(graph: onnx.ModelProto) -> None:
    note = graph.graph.quantization_annotation.add()
    note.tensor_name = "light"
    entry = note.quant_parameter_tensor_names.add()
    entry.key, entry.value = "SCALE_TENSOR", "nowhere"


def _onnx_graphs() -> list[Crafted]:
    invalid = "INVALID|invalid|refuses the graph|FAIL"
    impossible = "impossible shape|more than \\d+ numbers|size of its shape"
    return [
        _changed("weights in /etc/passwd", _external(location="/etc/passwd"), "external data"),
        _changed("weights in a file beside the bundle", _external(location="../../secrets"), "external data"),
        _changed(
            "weights in the bundle, elsewhere",
            _external(location="golden.npz", offset="0", length="4"),
            "external data",
        ),
        _changed(
            "weights in memory, at an address",
            _external(location="*/_ORT_MEM_ADDR_/*", offset="4096", length="4"),
            "external data",
        ),
        _changed("weights at an offset of -1", _external(location="x", offset="-1"), "external data"),
        _changed("a weight of 2^62 numbers", _weight(1 << 62), impossible),
        _changed("a weight of -1 numbers", _weight(-1), impossible),
        _changed("a weight whose size comes to 0 beyond 64 bits", _weight(1 << 32, 1 << 32), impossible),
        _changed(
            "a weight of 2^26 times 0 times 2^26 numbers",
            _weight(1 << 26, 0, 1 << 26),
            "",
            "guard",
            "proof",
            "drive",
        ),
        _changed("a weight of 17 dimensions", _weight(*[1] * 17, data=bytes(4)), "impossible shape"),
        _changed("a weight too short", _weight(1000, data=bytes(3999)), "size of its shape"),
        _changed("a weight of an unknown type", _weight(1, kind=99, data=bytes(4)), "data type 99"),
        _changed("a weight of no type", _weight(1, kind=0, data=bytes(4)), "data type 0"),
        _changed("an input of 2^63 - 1 numbers", _border((1 << 63) - 1), "impossible dimension"),
        _changed("an input of -1 numbers", _border(-1), "impossible dimension"),
        _changed("a tensor declared to have 2^62 numbers", _declared(1 << 62), "", "proof", "drive"),
        _changed("a tensor declared to have -5 numbers", _declared(-5), "", "proof", "drive"),
        _changed("a cycle", _a_cycle, invalid, "proof"),
        _changed("a node that reads what it writes", _itself, invalid, "proof"),
        _changed("nodes in the wrong order", _not_sorted, invalid, "proof", "drive"),
        _changed("a missing initialiser", _without("tick"), invalid, "proof"),
        _changed("a missing shape", _without("one"), "computed"),
        _changed("a tensor written twice", _written_twice, invalid, "proof"),
        _changed("an input that is written", _writes_an_input, invalid, "proof"),
        _changed("no nodes", _no_nodes, invalid, "proof"),
        _changed("20,001 nodes", _nodes(20_001), "more than 20000 nodes"),
        _changed("2,000 nodes in a row", _nodes(2_000), "", "drive"),
        _changed("a name of 5,000 bytes", _named, "longer than"),
        _changed("a function in the place of an operator", _in_a_function, "functions"),
        _changed("a scale that is nowhere", _quantised_elsewhere, "", "guard", "proof", "drive"),
    ]


# --- ONNX: operators -------------------------------------------------------------------------------------------------


def _computed(
    name: str,
    nodes: list[onnx.NodeProto],
    stored: list[onnx.TensorProto],
    says: str,
    *ends: End,
    kills: str = "",
    opset: int = 17,
) -> Crafted:
    """The memory is made by ``nodes``: of ``brightness`` (float32[1], 0 in the dark) they make ``made``."""

    def replace(bundle: Path) -> None:
        after = [
            node("Cast", "made", "made_float", to=TensorProto.FLOAT),
            node("ReduceMax", "made_float", "made_most", keepdims=0),
            node("Reshape", "made_most one", "next_memory"),
        ]
        graph = observe_graph_with_memory(*nodes, *after)
        graph.graph.initializer.extend(stored)
        graph.opset_import[0].version = opset
        replace_file(bundle, OBSERVE["onnx"], graph.SerializeToString())

    return Crafted(name, "onnx", replace, ends or ("guard",), says, kills)


def _floats(name: str, values: Any) -> onnx.TensorProto:
    return constant(name, np.array(values, np.float32))


def _integers(name: str, values: Any, kind: type = np.int64) -> onnx.TensorProto:
    return constant(name, np.array(values, kind))


def _onnx_operators() -> list[Crafted]:
    to_int = node("Cast", "brightness", "whole", to=TensorProto.INT32)
    error = "ONNX Runtime|finite|out of memory|needs more"
    contained = "ONNX Runtime|finite|out of memory|out of CPU time|needs more|killed"
    return [
        _computed(
            "an integer divided by 0",
            [to_int, node("Div", "whole zero", "made")],
            [_integers("zero", [0], np.int32)],
            "divides by 'zero'",
        ),
        _computed(
            "an integer divided by what is 0 in the dark",
            [to_int, node("Div", "three_ whole", "made")],
            [_integers("three_", [3], np.int32)],
            "divides by 'whole'",
        ),
        _computed(
            "the least integer divided by -1",
            [to_int, node("Add", "whole least", "low"), node("Div", "low back", "made")],
            [_integers("least", [-(1 << 31)], np.int32), _integers("back", [-1], np.int32)],
            "divides by 'back'",
            kills="SIGFPE",
        ),
        _computed(
            "an integer modulo 0",
            [to_int, node("Mod", "whole zero", "made")],
            [_integers("zero", [0], np.int32)],
            "divides by 'zero'",
        ),
        _computed(
            "a Reshape to 2^40 numbers",
            [node("Reshape", "brightness huge", "made")],
            [ints("huge", 1 << 40)],
            error,
            "proof",
        ),
        _computed(
            "a Reshape to -2 numbers",
            [node("Reshape", "brightness bad", "made")],
            [ints("bad", -2)],
            error,
            "proof",
        ),
        _computed(
            "a Resize by a million",
            [
                node("Unsqueeze", "brightness first_axis", "row"),
                helper.make_node("Resize", ["row", "", "by"], ["made"]),
            ],
            [ints("first_axis", 0), _floats("by", [1e6, 1e6])],
            contained,
            "proof",
        ),
        _computed(
            "a Resize by NaN",
            [
                node("Unsqueeze", "brightness first_axis", "row"),
                helper.make_node("Resize", ["row", "", "by"], ["made"]),
            ],
            [ints("first_axis", 0), _floats("by", [np.nan, 1.0])],
            contained,
            "proof",
            "drive",
        ),
        _computed(
            "a Resize by a negative scale",
            [
                node("Unsqueeze", "brightness first_axis", "row"),
                helper.make_node("Resize", ["row", "", "by"], ["made"]),
            ],
            [ints("first_axis", 0), _floats("by", [-1.0, 1.0])],
            contained,
            "proof",
        ),
        _computed(
            "a Tile of 2^40",
            [node("Tile", "brightness often", "made")],
            [ints("often", 1 << 40)],
            contained,
            "proof",
        ),
        _computed(
            "a Tile of -1",
            [node("Tile", "brightness often", "made")],
            [ints("often", -1)],
            contained,
            "proof",
        ),
        _computed(
            "a Tile of 2^61, whose bytes come to 0 beyond 64 bits",
            [node("Tile", "brightness often", "made")],
            [ints("often", 1 << 62)],
            contained,
            "proof",
        ),
        _computed(
            "an Expand to 2^40",
            [node("Expand", "brightness wide", "made")],
            [ints("wide", 1 << 40)],
            contained,
            "proof",
        ),
        _computed(
            "an Expand to 2^32 times 2^32",
            [node("Expand", "brightness wide", "made")],
            [ints("wide", 1 << 32, 1 << 32)],
            contained,
            "proof",
        ),
        _computed(
            "a ConstantOfShape of 2^40",
            [helper.make_node("ConstantOfShape", ["wide"], ["made"])],
            [ints("wide", 1 << 40)],
            contained,
            "proof",
        ),
        _computed(
            "a Range of 2^60",
            [helper.make_node("Range", ["from", "to", "by"], ["made"])],
            [_integers("from", 0), _integers("to", 1 << 60), _integers("by", 1)],
            contained,
            "proof",
        ),
        _computed(
            "a Range in steps of 0",
            [helper.make_node("Range", ["from", "to", "by"], ["made"])],
            [_integers("from", 0), _integers("to", 5), _integers("by", 0)],
            contained,
            "proof",
        ),
        _computed(
            "a Pad of -5", [node("Pad", "brightness by", "made")], [ints("by", -5, 0)], contained, "proof"
        ),
        _computed(
            "a Pad of 2^40",
            [node("Pad", "brightness by", "made")],
            [ints("by", 0, 1 << 40)],
            contained,
            "proof",
        ),
        _computed(
            "a Pad that reflects more than there is",
            [node("Pad", "brightness by", "made", mode="reflect")],
            [ints("by", 7, 7)],
            contained,
            "proof",
            "drive",
        ),
        _computed(
            "a Pad whose sum comes to 0 beyond 64 bits",
            [node("Pad", "brightness by", "made")],
            [ints("by", (1 << 63) - 1, (1 << 63) - 1)],
            contained,
            "proof",
        ),
        _computed(
            "a Gather out of range",
            [node("Gather", "brightness far", "made")],
            [ints("far", 1 << 40)],
            error,
            "proof",
        ),
        _computed(
            "a Gather out of range in the light",
            [node("Cast", "mean_light", "lit", to=7), node("Gather", "brightness lit", "made")],
            [],
            "",
            "drive",
        ),
        _computed(
            "a GatherND out of range",
            [node("GatherND", "brightness far", "made")],
            [_integers("far", [[1 << 40]])],
            error,
            "proof",
        ),
        _computed(
            "a GatherND with a batch of -1",
            [node("GatherND", "brightness far", "made", batch_dims=-1)],
            [_integers("far", [[0]])],
            "negative batch_dims",
        ),
        _computed(
            "a GatherElements out of range",
            [node("GatherElements", "brightness far", "made")],
            [ints("far", -(1 << 62))],
            error,
            "proof",
        ),
        _computed(
            "a ScatterND out of range",
            [helper.make_node("ScatterND", ["brightness", "far", "with"], ["made"])],
            [_integers("far", [[1 << 40]]), _floats("with", [1.0])],
            error,
            "proof",
        ),
        _computed(
            "a ScatterElements out of range",
            [helper.make_node("ScatterElements", ["brightness", "far", "with"], ["made"])],
            [ints("far", -77), _floats("with", [1.0])],
            error,
            "proof",
        ),
        _computed(
            "a OneHot of 2^40",
            [helper.make_node("OneHot", ["brightness", "depth", "values"], ["made"])],
            [_integers("depth", 1 << 40), _floats("values", [0.0, 1.0])],
            contained,
            "proof",
        ),
        _computed(
            "a OneHot of -1",
            [helper.make_node("OneHot", ["brightness", "depth", "values"], ["made"])],
            [_integers("depth", -1), _floats("values", [0.0, 1.0])],
            contained,
            "proof",
        ),
        _computed(
            "a TopK of 2^40",
            [helper.make_node("TopK", ["brightness", "most"], ["made", "where"])],
            [ints("most", 1 << 40)],
            error,
            "proof",
        ),
        _computed(
            "a TopK of -1",
            [helper.make_node("TopK", ["brightness", "most"], ["made", "where"])],
            [ints("most", -1)],
            error,
            "proof",
        ),
        _computed(
            "a Slice in steps of 0",
            [helper.make_node("Slice", ["brightness", "from", "to", "axis", "by"], ["made"])],
            [ints("from", 0), ints("to", 1), ints("axis", 0), ints("by", 0)],
            error,
            "proof",
        ),
        _computed(
            "a Slice in steps of -2^63",
            [helper.make_node("Slice", ["brightness", "from", "to", "axis", "by"], ["made"])],
            [ints("from", (1 << 63) - 1), ints("to", -(1 << 63)), ints("axis", 0), ints("by", -(1 << 63))],
            "",
            "proof",
            "drive",
        ),
        _computed(
            "an Einsum that is none",
            [helper.make_node("Einsum", ["brightness", "brightness"], ["made"], equation="i,j->->")],
            [],
            "equation is none",
        ),
        _computed(
            "an Einsum over letters that are nowhere",
            [helper.make_node("Einsum", ["brightness"], ["made"], equation="i->z")],
            [],
            error,
            "proof",
        ),
        _computed(
            "an Einsum of ten thousand letters",
            [helper.make_node("Einsum", ["brightness"], ["made"], equation="i" * 10_000 + "->i")],
            [],
            "name longer|equation|ONNX Runtime",
            "guard",
            "proof",
        ),
        _computed(
            "an Einsum of nothing",
            [helper.make_node("Einsum", ["brightness"], ["made"], equation="")],
            [],
            "",
            "guard",
            "proof",
            "drive",
        ),
        _computed(
            "a Split that miscounts",
            [helper.make_node("Split", ["brightness"], ["made", "rest"], num_outputs=3)],
            [],
            "says it has 3",
        ),
        _computed(
            "a Split of negative parts",
            [helper.make_node("Split", ["brightness", "parts"], ["made", "rest"])],
            [ints("parts", -1, 2)],
            error,
            "proof",
        ),
        _computed(
            "a Conv in groups of 0",
            [node("Unsqueeze", "brightness axes", "wide"), node("Conv", "wide kernel", "made", group=0)],
            [ints("axes", 0, 1), _floats("kernel", [[[1.0]]])],
            contained,
            "proof",
        ),
        _computed(
            "a Conv in strides of 0",
            [node("Unsqueeze", "brightness axes", "wide"), node("Conv", "wide kernel", "made", strides=[0])],
            [ints("axes", 0, 1), _floats("kernel", [[[1.0]]])],
            contained,
            "guard",
            "proof",
        ),
        _computed(
            "a Conv dilated by 2^62",
            [
                node("Unsqueeze", "brightness axes", "wide"),
                node("Conv", "wide kernel", "made", dilations=[1 << 62]),
            ],
            [ints("axes", 0, 1), _floats("kernel", [[[1.0, 1.0]]])],
            contained,
            "guard",
            "proof",
        ),
        _computed(
            "a MaxPool in strides of 0",
            [
                node("Unsqueeze", "brightness axes", "wide"),
                node("MaxPool", "wide", "made", kernel_shape=[1], strides=[0]),
            ],
            [ints("axes", 0, 1)],
            contained,
            "guard",
            "proof",
        ),
        _computed(
            "an AveragePool of 0",
            [
                node("Unsqueeze", "brightness axes", "wide"),
                node("AveragePool", "wide", "made", kernel_shape=[0]),
            ],
            [ints("axes", 0, 1)],
            contained,
            "guard",
            "proof",
            "drive",
        ),
        _computed(
            "a DepthToSpace by 0",
            [node("Unsqueeze", "brightness axes", "wide"), node("DepthToSpace", "wide", "made", blocksize=0)],
            [ints("axes", 0, 1, 2)],
            contained,
            "guard",
            "proof",
        ),
        _computed(
            "a SpaceToDepth by 0",
            [node("Unsqueeze", "brightness axes", "wide"), node("SpaceToDepth", "wide", "made", blocksize=0)],
            [ints("axes", 0, 1, 2)],
            contained,
            "guard",
            "proof",
        ),
        _computed(
            "a Transpose of the same axis twice",
            [node("Unsqueeze", "brightness axes", "wide"), node("Transpose", "wide", "made", perm=[0, 0, 2])],
            [ints("axes", 0, 1)],
            error,
            "proof",
        ),
        _computed(
            "a Concat along axis 2^40",
            [node("Concat", "brightness brightness", "made", axis=1 << 40)],
            [],
            error,
            "proof",
        ),
        _computed(
            "a scale of 0",
            [
                node("QuantizeLinear", "brightness nothing point", "small"),
                node("DequantizeLinear", "small nothing point", "made"),
            ],
            [_floats("nothing", 0.0), _integers("point", 0, np.uint8)],
            "",
            "proof",
            "drive",
        ),
        _computed(
            "a scale for each of 9 channels of 1",
            [
                node("QuantizeLinear", "brightness scales points", "small", axis=0),
                node("DequantizeLinear", "small scales points", "made", axis=0),
            ],
            [_floats("scales", [0.1] * 9), _integers("points", [0] * 9, np.uint8)],
            error,
            "proof",
        ),
        _computed(
            "weights of NaN",
            [node("Mul", "brightness nan", "made")],
            [_floats("nan", [np.nan])],
            "not finite",
            "proof",
        ),
        _computed(
            "weights of infinity, which only light makes NaN",
            [node("Mul", "brightness most", "made")],
            [_floats("most", [np.inf])],
            "",
            "proof",
            "drive",
        ),
        _computed(
            "a MatMul of what does not fit",
            [node("MatMul", "brightness matrix", "made")],
            [_floats("matrix", np.ones((7, 3)))],
            error,
            "proof",
        ),
        _computed(
            "a LayerNormalization without its scale",
            [helper.make_node("LayerNormalization", ["brightness", ""], ["made"])],
            [],
            "lacks input 1",
        ),
        _computed(
            "a random Dropout",
            [helper.make_node("Dropout", ["brightness", "", "training"], ["made"])],
            [_integers("training", True, np.bool_)],
            "training mode",
        ),
        _computed(
            "a GRU whose weights do not fit",
            [
                node("Unsqueeze", "brightness axes", "wide"),
                node("GRU", "wide weights recurrent", "all_ made", hidden_size=1 << 40),
            ],
            [
                ints("axes", 0, 1),
                _floats("weights", np.ones((1, 3, 1))),
                _floats("recurrent", np.ones((1, 3, 1))),
            ],
            error,
            "proof",
        ),
        _computed(
            "an LSTM of -1",
            [
                node("Unsqueeze", "brightness axes", "wide"),
                node("LSTM", "wide weights recurrent", "made", hidden_size=-1),
            ],
            [
                ints("axes", 0, 1),
                _floats("weights", np.ones((1, 4, 1))),
                _floats("recurrent", np.ones((1, 4, 1))),
            ],
            contained,
            "guard",
            "proof",
        ),
        _computed(
            "a CumSum along axis 2^40",
            [node("CumSum", "brightness axis", "made")],
            [_integers("axis", 1 << 40)],
            error,
            "proof",
        ),
        _computed(
            "a shift by 99 bits",
            [
                node("Cast", "brightness", "whole", to=TensorProto.UINT32),
                node("BitShift", "whole by", "made", direction="LEFT"),
            ],
            [_integers("by", [99], np.uint32)],
            "",
            "guard",
            "proof",
            "drive",
        ),
        _computed(
            "an EyeLike of 2^31 on its diagonal",
            [node("Unsqueeze", "brightness axes", "wide"), node("EyeLike", "wide", "made", k=-(1 << 63))],
            [ints("axes", 0)],
            "",
            "guard",
            "proof",
            "drive",
        ),
        _computed(
            "memory for 16 GB between nodes",
            [node("Expand", "brightness wide", "many"), node("ReduceSum", "many", "made")],
            [ints("wide", 1 << 16, 1 << 16)],
            contained,
            "proof",
        ),
        _computed(
            "an operator that computes for ever",
            [
                node("Expand", "brightness wide", "m0"),
                *(node("MatMul", f"m{n} m{n}", f"m{n + 1}") for n in range(400)),
                node("ReduceSum", "m400", "made"),
            ],
            [ints("wide", 1500, 1500)],
            "out of CPU time|too slow|needs more",
            "proof",
        ),
    ]


# --- TFLite ----------------------------------------------------------------------------------------------------------


def _sound_tflite() -> bytes:
    return pack(tflite_model(tflite_seeds.observe_graph()))


def _patched(place: int, code: str, number: int) -> bytes:
    data = bytearray(_sound_tflite())
    struct.pack_into(f"<{code}", data, place, number)
    return bytes(data)


def _tflite_files() -> list[Crafted]:
    sound = _sound_tflite()
    root = struct.unpack_from("<I", sound)[0]
    vtable = root - struct.unpack_from("<i", sound, root)[0]
    buffers = root + struct.unpack_from("<H", sound, vtable + 4 + 2 * 4)[0]
    vector = buffers + struct.unpack_from("<I", sound, buffers)[0]
    damaged = "damaged|cut off"
    return [
        *(
            _replaced(
                f"TFLite cut off after {size} bytes", "tflite", sound[:size], "cut off|damaged|no TFLite"
            )
            for size in (4, 8, 100, len(sound) // 2, len(sound) - 4)
        ),
        _replaced("an empty TFLite file", "tflite", b"", "no TFLite file"),
        _replaced("a root beyond the file", "tflite", _patched(0, "I", 1 << 31), damaged),
        _replaced("a root that is itself", "tflite", _patched(0, "I", 0), damaged),
        _replaced("a root that is not aligned", "tflite", _patched(0, "I", root + 1), damaged),
        _replaced("a vtable before the file", "tflite", _patched(root, "i", 1 << 30), damaged),
        _replaced("a vtable that is its table", "tflite", _patched(root, "i", 0), damaged),
        _replaced("a vtable of 65,534 bytes", "tflite", _patched(vtable, "H", 65_534), damaged),
        _replaced("a vtable of 0 bytes", "tflite", _patched(vtable, "H", 0), damaged),
        _replaced("a table of 3 bytes", "tflite", _patched(vtable + 2, "H", 3), damaged),
        _replaced("a field outside of its table", "tflite", _patched(vtable + 4, "H", 60_000), damaged),
        _replaced("buffers that are four billion", "tflite", _patched(vector, "I", (1 << 32) - 1), damaged),
        _replaced(
            "buffers that are a billion, and fit 32 bits four times",
            "tflite",
            _patched(vector, "I", (1 << 30) + 1),
            damaged,
        ),
        _replaced(
            "a buffer that is the vector of buffers",
            "tflite",
            _patched(vector + 4, "I", 4),
            damaged + "|may not have|buffer|outside",
        ),
        _replaced("an offset to itself", "tflite", _patched(vector + 4, "I", 0), damaged),
        _replaced("another identifier", "tflite", sound[:4] + b"TFL9" + sound[8:], "no TFLite file"),
        _replaced(
            "an ONNX file called TFLite", "tflite", observe_graph().SerializeToString(), "no TFLite file"
        ),
        _replaced("TFLite with a tail", "tflite", sound + bytes(999), "", ("guard", "proof", "drive")),
    ]


def _tflite(name: str, change: Callable[[Any], None], says: str, *ends: End, kills: str = "") -> Crafted:
    """The blind model's observe graph, changed as the schema's objects."""

    def replace(bundle: Path) -> None:
        m = tflite_model(tflite_seeds.observe_graph())
        change(m)
        replace_file(bundle, OBSERVE["tflite"], pack(m))

    return Crafted(name, "tflite", replace, ends or ("guard",), says, kills)


def _of(m: Any, name: str) -> Any:
    return test_tflite_guard.tensor(m, name)


def _quantised(name: str, scales: list[float], zeros: list[int], axis: int = 0) -> Callable[[Any], None]:
    def change(m: Any) -> None:
        test_tflite_guard.quantised(m, name, scales, zeros)
        _of(m, name).quantization.quantizedDimension = axis

    return change


def _shaped(name: str, *shape: int) -> Callable[[Any], None]:
    def change(m: Any) -> None:
        _of(m, name).shape = list(shape)

    return change


def _stored(name: str, array: np.ndarray) -> Callable[[Any], None]:
    def change(m: Any) -> None:
        m.buffers[_of(m, name).buffer].data = np.frombuffer(array.tobytes(), np.uint8)

    return change


def _all_in_one_buffer(m: Any) -> None:
    for tensor in m.subgraphs[0].tensors:
        tensor.buffer = 1


def _twenty_thousand(m: Any) -> None:
    graph = m.subgraphs[0]
    graph.operators = graph.operators + [graph.operators[-1]] * 20_001


def _reads_itself(m: Any) -> None:
    operator = m.subgraphs[0].operators[1]
    operator.inputs = list(operator.outputs) + list(operator.inputs)[1:]


def _an_operator_too_new(m: Any) -> None:
    for code in m.operatorCodes:
        code.version = 1000


def _tflite_graphs() -> list[Crafted]:
    refuses = "LiteRT|has no scale|fit it|SLICE takes"
    return [
        _tflite(
            "TFLite: a scale of 0",
            _quantised("light", [0.0], [0]),
            "impossible|has no scale",
            "guard",
            "proof",
            "drive",
        ),
        _tflite("TFLite: a scale of NaN", _quantised("camera", [float("nan")], [0]), "impossible"),
        _tflite("TFLite: a scale of infinity", _quantised("camera", [float("inf")], [0]), "impossible"),
        _tflite("TFLite: a zero point of 2^62", _quantised("camera", [0.1], [1 << 62]), "impossible"),
        _tflite(
            "TFLite: nine scales for three channels", _quantised("white", [0.1] * 9, [0] * 9), "9 scales"
        ),
        _tflite("TFLite: scales along axis -7", _quantised("all", [0.1] * 3, [0] * 3, axis=-7), "3 scales"),
        _tflite(
            "TFLite: scales along axis 2^31 - 1",
            _quantised("all", [0.1] * 3, [0] * 3, axis=(1 << 31) - 1),
            "3 scales",
        ),
        _tflite(
            "TFLite: a tensor whose size comes to 0 beyond 32 bits",
            _shaped("light", 1 << 16, 1 << 16),
            "impossible shape",
        ),
        _tflite(
            "TFLite: a tensor whose size comes to 0 beyond 64 bits",
            _shaped("light", *[1 << 30] * 3),
            "impossible shape",
        ),
        _tflite("TFLite: a tensor of 9 dimensions", _shaped("light", *[1] * 9), "impossible shape"),
        _tflite("TFLite: a tensor of 0 numbers", _shaped("light", 0, 64, 3), "", "guard", "proof", "drive"),
        _tflite("TFLite: every tensor in one buffer", _all_in_one_buffer, "size of its shape|twice"),
        _tflite("TFLite: 20,001 operators", _twenty_thousand, "more than 20000 nodes"),
        _tflite("TFLite: a cycle", _reads_itself, "before it is written"),
        _tflite("TFLite: operators from the future", _an_operator_too_new, refuses, "guard", "proof"),
        _tflite("TFLite: an axis of 99", _stored("all", integers(0, 1, 99)), refuses, "guard", "proof"),
        _tflite("TFLite: an axis of -99", _stored("all", integers(0, 1, -99)), refuses, "guard", "proof"),
        _tflite(
            "TFLite: the same axis twice", _stored("all", integers(0, 0, 0)), "", "guard", "proof", "drive"
        ),
        _tflite(
            "TFLite: a third slice that begins at -1",
            _stored("third", integers(-1)),
            refuses,
            "guard",
            "proof",
        ),
        _tflite("TFLite: a shape of -7", _stored("flat", integers(-7)), refuses, "guard", "proof"),
    ]


def _operated(name: str, operator: Operator, says: str = "", *ends: End, kills: str = "") -> Crafted:
    """The memory is made by this operator."""
    data = tflite_seeds.grafted(operator)
    return _replaced(f"TFLite: {name}", "tflite", data, says or REFUSES, ends or ("guard", "proof"), kills)


REFUSES = "LiteRT|killed|fit it|out of memory|needs more|out of CPU time|damaged|beyond|impossible|observe.int8.tflite"
ANYWHERE: tuple[End, ...] = ("guard", "proof", "drive")


def _tflite_operators() -> list[Crafted]:
    conv = {"padding": 0, "strideW": 1, "strideH": 1, "dilationWFactor": 1, "dilationHFactor": 1}
    image, kernel = f(1, 1, 1, 1), c(np.ones((1, 1, 1, 1)), "float32")
    most = (1 << 31) - 1
    small = Part((3,), "int8")

    def one(operator: str, *inputs: Part, gives: Part | None = None, **made: Any) -> Operator:
        """With one output, like the first input unless ``gives``; its options are of that name."""
        kind = made.pop("kind", "".join(word.capitalize() for word in operator.split("_")))
        return Operator(operator, inputs, [gives or inputs[0]], options(kind, **made) if kind else None)

    def pool(operator: str, width: int, stride: int) -> Operator:
        sizes = {"strideW": stride, "strideH": stride, "filterWidth": width, "filterHeight": width}
        return one(operator, image, kind="Pool2D", padding=0, **sizes)

    split, split_v = options("Split", numSplits=4), options("Split", numSplits=1)
    return [
        _operated(
            "a split that miscounts",
            Operator("SPLIT", [c(0), f(1)], [f(1)], split),
            "says that it has 4",
            "guard",
            kills="SIGSEGV",
        ),
        _operated(
            "a split along axis 7", Operator("SPLIT", [c(7), f(1)], [f(1)], split_v), "takes axis", "guard"
        ),
        _operated("an addition of one tensor", one("ADD", f(1)), "has 1 inputs", "guard"),
        _operated("a softmax of a scalar", one("SOFTMAX", f(), beta=1.0), "has no dimension", "guard"),
        _operated(
            "integers without a scale", one("ADD", small, small), "has no scale", "guard", kills="SIGABRT"
        ),
        _operated("an integer divided by 0", one("DIV", i(1), c([0])), "", *ANYWHERE),
        _operated("an integer divided by what is 0 in the dark", one("DIV", c([3]), i(1)), "", *ANYWHERE),
        _operated(
            "the least integer divided by -1",
            one("FLOOR_DIV", c([-(1 << 31)]), c([-1]), gives=i(1)),
            "",
            *ANYWHERE,
        ),
        _operated(
            "the least integer divided by -1, otherwise",
            one("DIV", c([-(1 << 31)]), c([-1]), gives=i(1)),
            "",
            *ANYWHERE,
        ),
        _operated("an integer modulo 0", one("FLOOR_MOD", i(1), c([0])), "", *ANYWHERE),
        _operated(
            "the least integer modulo -1",
            one("FLOOR_MOD", c([-(1 << 31)]), c([-1]), gives=i(1)),
            "FLOOR_MOD divides integers",
            "guard",
            kills="SIGFPE",
        ),
        _operated("a tile of 2^30", one("TILE", f(1), c([1 << 30]))),
        _operated("a tile of -1", one("TILE", f(1), c([-1]))),
        _operated("a tile of 2^16 squared", one("TILE", f(1, 1), c([1 << 16, 1 << 16]))),
        _operated("a pad of -5", one("PAD", f(1), c([[-5, 0]]))),
        _operated("a pad of 2^31 - 1 on both sides", one("PAD", f(1), c([[most, most]]))),
        _operated("a mirror of more than there is", one("MIRROR_PAD", f(1), c([[9, 9]]), mode=0)),
        _operated("a broadcast to 2^30", one("BROADCAST_TO", f(1), c([1 << 30]))),
        _operated("a broadcast to less", one("BROADCAST_TO", f(3), c([2]))),
        _operated("a fill of 2^31 - 1 squared", one("FILL", c([most, most]), c(1.0, "float32"), gives=f(1))),
        _operated("a fill of -1", one("FILL", c([-1]), c(1.0, "float32"), gives=f(1))),
        _operated("a gather out of range", one("GATHER", f(1), c([1 << 30]))),
        _operated("a gather out of range in the light", one("GATHER", f(1), i(1)), "", "drive"),
        _operated("a gather along axis 2^30", one("GATHER", f(1), c([0]), axis=1 << 30)),
        _operated("a gather with a batch of -9", one("GATHER", f(1), c([0]), batchDims=-9)),
        _operated("a gather with a batch of 2^30", one("GATHER", f(1), c([0]), batchDims=1 << 30)),
        _operated("a gather_nd out of range", one("GATHER_ND", f(1), c([[1 << 30]]))),
        _operated("a scatter_nd out of range", one("SCATTER_ND", c([[1 << 30]]), f(1), c([1]), gives=f(1))),
        _operated("a scatter_nd before the first", one("SCATTER_ND", c([[-7]]), f(1), c([1]), gives=f(1))),
        _operated(
            "a one_hot of 2^30",
            one("ONE_HOT", c([0]), c(1 << 30), c(1.0, "float32"), c(0.0, "float32"), gives=f(1, 1), axis=-1),
        ),
        _operated(
            "a one_hot of -1",
            one("ONE_HOT", c([0]), c(-1), c(1.0, "float32"), c(0.0, "float32"), gives=f(1, 1), axis=-1),
        ),
        _operated("a topk of 99", Operator("TOPK_V2", [f(1), c(99)], [f(1), i(1)], options("TopKV2"))),
        _operated("a topk of -1", Operator("TOPK_V2", [f(1), c(-1)], [f(1), i(1)], options("TopKV2"))),
        _operated("a transpose of axis 9", one("TRANSPOSE", f(1), c([9]))),
        _operated("a transpose of the same axis twice", one("TRANSPOSE", f(2, 3), c([0, 0]))),
        _operated("a slice that begins at 2^31 - 1", one("SLICE", f(3), c([most]), c([1]), gives=f(1))),
        _operated("a slice that begins at -1", one("SLICE", f(3), c([-1]), c([1]), gives=f(1))),
        _operated("a slice of 2^31 - 1", one("SLICE", f(3), c([1]), c([most]), gives=f(1))),
        _operated("a slice of -2", one("SLICE", f(3), c([1]), c([-2]), gives=f(1))),
        _operated("a strided slice in steps of 0", one("STRIDED_SLICE", f(1), c([0]), c([1]), c([0]))),
        _operated(
            "a strided slice in steps of -2^31",
            one("STRIDED_SLICE", f(3), c([2]), c([-9]), c([-(1 << 31)]), gives=f(1)),
            "",
            *ANYWHERE,
        ),
        _operated("a cumsum along axis 99", one("CUMSUM", f(1), c(99))),
        _operated("a concatenation along axis 99", one("CONCATENATION", f(1), f(1), axis=99)),
        _operated("a pack along axis -99", one("PACK", f(1), f(1), valuesCount=2, axis=-99)),
        _operated("an unpack along axis 99", one("UNPACK", f(1), num=1, axis=99)),
        _operated("a reverse of axis 99", one("REVERSE_V2", f(1), c([99]), kind="ReverseV2")),
        _operated("a squeeze of axis 99", one("SQUEEZE", f(1), squeezeDims=[99])),
        _operated("an expansion along axis 99", one("EXPAND_DIMS", f(1), c(99))),
        _operated(
            "an update out of range", one("DYNAMIC_UPDATE_SLICE", f(3), f(1), c([-(1 << 31)])), "", *ANYWHERE
        ),
        _operated("a reduction of axis 99", one("SUM", f(1), c([99]), kind="Reducer", keepDims=True)),
        _operated("a mean of axis -99", one("MEAN", f(1), c([-99]), kind="Reducer", keepDims=True)),
        _operated("the greatest along axis 99", one("ARG_MAX", f(2, 3), c(99), gives=i(2), outputType=2)),
        _operated(
            "a matrix product that does not fit",
            one("BATCH_MATMUL", f(2, 3), f(7, 5), gives=f(2, 5), kind="BatchMatMul"),
        ),
        _operated("a layer that does not fit", one("FULLY_CONNECTED", f(2, 3), w(4, 7), gives=f(2, 4))),
        _operated(
            "a convolution in strides of 0",
            one("CONV_2D", image, kernel, kind="Conv2D", **(conv | {"strideW": 0})),
        ),
        _operated(
            "a convolution in strides of -1",
            one("CONV_2D", image, kernel, kind="Conv2D", **(conv | {"strideH": -1})),
        ),
        _operated(
            "a convolution dilated by -1",
            one("CONV_2D", image, kernel, kind="Conv2D", **(conv | {"dilationHFactor": -1})),
        ),
        _operated(
            "a convolution dilated by 0",
            one("CONV_2D", image, kernel, kind="Conv2D", **(conv | {"dilationHFactor": 0})),
        ),
        _operated(
            "a convolution of too many channels",
            one("CONV_2D", image, c(np.ones((1, 1, 1, 7)), "float32"), kind="Conv2D", **conv),
        ),
        _operated(
            "a depthwise convolution that multiplies by 0",
            one("DEPTHWISE_CONV_2D", image, kernel, kind="DepthwiseConv2D", **conv, depthMultiplier=0),
            "has depth_multiplier 0",
            "guard",
            kills="SIGSEGV",
        ),
        _operated(
            "a depthwise convolution that multiplies by 2^30",
            one("DEPTHWISE_CONV_2D", image, kernel, kind="DepthwiseConv2D", **conv, depthMultiplier=1 << 30),
            "does not fit its filter",
            "guard",
            kills="SIGSEGV",
        ),
        _operated(
            "a transposed convolution to 2^30",
            one(
                "TRANSPOSE_CONV",
                c([1, 1 << 15, 1 << 15, 1]),
                kernel,
                image,
                gives=image,
                kind="TransposeConv",
                padding=0,
                strideW=1,
                strideH=1,
            ),
        ),
        _operated(
            "a transposed convolution in strides of 0",
            one(
                "TRANSPOSE_CONV",
                c([1, 1, 1, 1]),
                kernel,
                image,
                gives=image,
                kind="TransposeConv",
                padding=0,
                strideW=0,
                strideH=0,
            ),
        ),
        _operated("a pool in strides of 0", pool("MAX_POOL_2D", 1, 0)),
        _operated("a pool of 0 by 0", pool("AVERAGE_POOL_2D", 0, 1)),
        _operated("a pool of 2^31 - 1", pool("AVERAGE_POOL_2D", most, 1), "", *ANYWHERE),
        _operated("depth to space by 0", one("DEPTH_TO_SPACE", image, blockSize=0)),
        _operated("depth to space by -1", one("DEPTH_TO_SPACE", image, blockSize=-1)),
        _operated("space to depth by 0", one("SPACE_TO_DEPTH", image, blockSize=0)),
        _operated("a resize to 2^15 squared", one("RESIZE_BILINEAR", image, c([1 << 15, 1 << 15]))),
        _operated("a resize to -1", one("RESIZE_NEAREST_NEIGHBOR", image, c([-1, -1]))),
        _operated("a resize to 0", one("RESIZE_BILINEAR", image, c([0, 0])), "", *ANYWHERE),
        _operated(
            "batches to space by 0",
            one("BATCH_TO_SPACE_ND", image, c([0, 0]), c([[0, 0], [0, 0]]), kind="BatchToSpaceND"),
        ),
        _operated(
            "space to batches by 0",
            one("SPACE_TO_BATCH_ND", image, c([0, 0]), c([[0, 0], [0, 0]]), kind="SpaceToBatchND"),
        ),
        _operated(
            "space to batches, padded by -9",
            one("SPACE_TO_BATCH_ND", image, c([1, 1]), c([[-9, 0], [0, 0]]), kind="SpaceToBatchND"),
        ),
        _operated(
            "batches cropped by 99",
            one("BATCH_TO_SPACE_ND", image, c([1, 1]), c([[99, 99], [99, 99]]), kind="BatchToSpaceND"),
        ),
    ]


# --- both: sound in the dark -----------------------------------------------------------------------------------------


def _late() -> list[Crafted]:
    """The least integer is divided by -3 in the dark, and by -1 where a little light is seen."""
    graph = tflite_seeds.observe_graph()
    graph.nodes = [known for known in graph.nodes if known.outputs != ["next_memory"]]
    number, scalar = ((), "int32"), ((), "float32")
    graph.tensors.update(
        {"whole": number, "by": number, "rest": number, "rest_float": scalar, "little": scalar}
    )
    graph.constants.update(
        {
            "three": np.array(3, np.int32),
            "least": np.array(-(1 << 31), np.int32),
            "tiny": np.array(1e-12, np.float32),
        }
    )
    graph.nodes += [
        Node("CAST", ["mean_light"], ["whole"], options("Cast", inDataType=0, outDataType=2)),
        Node("SUB", ["whole", "three"], ["by"], options("Sub")),
        Node("FLOOR_MOD", ["least", "by"], ["rest"], options("FloorMod")),
        Node("CAST", ["rest"], ["rest_float"], options("Cast", inDataType=2, outDataType=0)),
        Node("MUL", ["rest_float", "tiny"], ["little"], options("Mul")),
        Node("RESHAPE", ["little", "flat"], ["next_memory"], options("Reshape", newShape=[1])),
    ]
    divided = _computed(
        "an integer that light makes -1 divides the least one",
        [
            node("Cast", "mean_light", "whole", to=TensorProto.INT32),
            node("Sub", "whole three_", "by"),
            node("Div", "least by", "made"),
        ],
        [_integers("three_", [3], np.int32), _integers("least", [-(1 << 31)], np.int32)],
        "divides by 'by'",
        kills="SIGFPE",
    )
    data = pack(tflite_model(graph))
    name = "TFLite: the least integer modulo one that light makes -1"
    return [
        divided._replace(late=True),
        _replaced(name, "tflite", data, "FLOOR_MOD divides integers", ("guard",), "SIGFPE")._replace(
            late=True
        ),
    ]


# --- arrays, manifests, places ---------------------------------------------------------------------------------------


def _file(name: str, path: str, data: bytes | Callable[[], bytes], says: str, *ends: End) -> Crafted:
    def change(bundle: Path) -> None:
        replace_file(bundle, path, data if isinstance(data, bytes) else data())

    return Crafted(name, "onnx", change, ends or ("guard",), says)


def _header(text: str, body: bytes = bytes(4)) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode("latin-1") + body


def _bomb(size: int) -> bytes:
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("observe/in/pose.npy", "w") as member,
    ):
        zeros = bytes(1 << 20)
        for _ in range(size >> 20):
            member.write(zeros)
    return buffer.getvalue()


def _liar() -> bytes:
    """An archive whose member says that it holds 10 bytes, and holds 64 MiB."""
    data = _bomb(64 << 20)
    true = struct.pack("<I", 64 << 20)
    return data.replace(true, struct.pack("<I", 10))


def _members(count: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(count):
            archive.writestr(f"{number}.npy", b"")
    return buffer.getvalue()


def _packed_with(method: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("observe/in/pose.npy", npy(np.zeros(3, np.float32)))
    return buffer.getvalue()


def _arrays() -> list[Crafted]:
    pickled = io.BytesIO()
    np.save(pickled, np.array([os.system], dtype=object), allow_pickle=True)
    plain = "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }"
    unreadable = "not a readable array"
    return [
        _file("initial values that are a pickle", MEMORY, pickle.dumps(os.system), unreadable),
        _file("initial values that are pickled objects", MEMORY, pickled.getvalue(), unreadable),
        _file(
            "initial values of 2^60 numbers",
            MEMORY,
            _header(plain.replace("(1,)", f"({1 << 60},)")),
            unreadable,
        ),
        _file("initial values of -1 numbers", MEMORY, _header(plain.replace("(1,)", "(-1,)")), unreadable),
        _file(
            "initial values whose size comes to 4 beyond 64 bits",
            MEMORY,
            _header(plain.replace("(1,)", f"({1 << 24},) * 3")),
            unreadable,
        ),
        _file(
            "initial values with code in their header",
            MEMORY,
            _header("__import__('os').abort()"),
            unreadable,
        ),
        _file("initial values whose header is nested 4,000 deep", MEMORY, _header("(" * 4000), unreadable),
        _file("initial values whose header is a long sum", MEMORY, _header("1+" * 2000 + "1"), unreadable),
        _file(
            "initial values whose header is 4,000 minus signs", MEMORY, _header("-" * 4000 + "1"), unreadable
        ),
        _file(
            "initial values whose header is a large power",
            MEMORY,
            _header(plain.replace("(1,)", "(9**9**9,)")),
            unreadable,
        ),
        _file(
            "initial values whose header is 60,000 bytes", MEMORY, _header(plain.ljust(60_000)), unreadable
        ),
        _file(
            "initial values of a list of types",
            MEMORY,
            _header(plain.replace("'<f4'", "[('a', '<f4')]")),
            unreadable,
        ),
        _file(
            "initial values of a type with a shape",
            MEMORY,
            _header(plain.replace("'<f4'", "'(4294967296,4294967296)f4'")),
            unreadable,
        ),
        _file("initial values of text", MEMORY, _header(plain.replace("<f4", "<U1")), unreadable),
        _file("initial values the other way round", MEMORY, _header(plain.replace("<f4", ">f4")), unreadable),
        _file("initial values that are NaN", MEMORY, npy(np.array([np.nan], np.float32)), "NaN or infinity"),
        _file("initial values without an end", MEMORY, b"\x93NUMPY\x01\x00\xff\xff", unreadable),
        _file("golden vectors that unpack to 300 MiB", GOLDEN, partial(_bomb, 300 << 20), "256 MiB unpacked"),
        _file("golden vectors that unpack to more than they say", GOLDEN, _liar, "golden.npz"),
        _file(
            "golden vectors that are 100,000 arrays",
            GOLDEN,
            partial(_members, 100_000),
            "more than 512 arrays",
        ),
        _file(
            "golden vectors that are no archive", GOLDEN, b"PK\x05\x06" + b"\xff" * 18, "not a readable .npz"
        ),
        _file(
            "golden vectors packed with LZMA",
            GOLDEN,
            _packed_with(zipfile.ZIP_LZMA),
            "something else than deflate",
        ),
        _file(
            "golden vectors packed with BZIP2",
            GOLDEN,
            _packed_with(zipfile.ZIP_BZIP2),
            "something else than deflate",
        ),
        _file("golden vectors that are a pickle", GOLDEN, pickle.dumps(os.system), "not a readable .npz"),
        _file("golden vectors with a pickle in them", GOLDEN, _with_pickle(pickled.getvalue()), unreadable),
        _file("golden vectors of nothing", GOLDEN, npz({}), "lacks"),
        _file("golden vectors with a password", GOLDEN, _encrypted(), "golden.npz"),
        _file("golden vectors named beyond the bundle", GOLDEN, npz({"../../x": np.zeros(3)}), "lacks"),
    ]


def _with_pickle(array: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("observe/in/pose.npy", array)
    return buffer.getvalue()


def _encrypted() -> bytes:
    data = bytearray(_packed_with(zipfile.ZIP_STORED))
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + flags] |= 1
    return bytes(data)


def _told(title: str, says: str, *ends: End, **facts: Any) -> Crafted:
    """Fields of the manifest are something else; ``__`` in a name leads into a field."""

    def change(bundle: Path) -> None:
        told = read_manifest(bundle)
        for path, new in facts.items():
            *into, last = path.split("__")
            holder = told
            for key in into:
                holder = holder[int(key) if key.isdigit() else key]
            holder[last] = new
        write_manifest(bundle, told)

    return Crafted(title, "onnx", change, ends or ("guard",), says)


def _raw(name: str, data: bytes, says: str) -> Crafted:
    return Crafted(
        name, "onnx", lambda bundle: (bundle / MANIFEST_NAME).write_bytes(data) and None, ("guard",), says
    )


def _listing(path: str) -> Callable[[Path], None]:
    def change(bundle: Path) -> None:
        told = read_manifest(bundle)
        told["files"].append({"path": path, "size": 0, "sha256": "0" * 64})
        write_manifest(bundle, told)

    return change


def _manifests() -> list[Crafted]:
    return [
        *(
            Crafted(
                f"a manifest that lists {path!r}",
                "onnx",
                _listing(path),
                ("guard",),
                "plain relative path|lists itself|must not list",
            )
            for path in ("../x", "/etc/passwd", "a/../../x", "x\0", "a\\..\\x", MANIFEST_NAME)
        ),
        _raw("a manifest nested 100,000 deep", b"[" * 100_000, "manifest.json"),
        _raw(
            "a manifest nested 100,000 deep in an unknown field",
            b'{"format_version": 1, "x": ' + b"[" * 100_000,
            "manifest.json",
        ),
        _raw(
            "a manifest with a number of 900,000 digits",
            b'{"format_version": ' + b"9" * 900_000 + b"}",
            "manifest.json",
        ),
        _raw("a manifest that is not UTF-8", b'{"format_version": 1, "name": "\xff"}', "manifest.json"),
        _raw("a manifest of version 2^70", b'{"format_version": 1180591620717411303424}', "manifest.json"),
        _told(
            "a plan of 65,536 candidates over 1,024 steps",
            "must not exceed|planner",
            imagine__candidates=65536,
            imagine__horizon=1024,
        ),
        _told(
            "a state of 2^24 to the eighth numbers",
            "add up to more than|impossible",
            state__1__shape=[1 << 24] * 8,
        ),
        _told("an observation of 256 MiB", "add up to more than", observation__1__shape=[1 << 24, 16]),
        _told("a tick of 1e-9 s", "", "proof", tick_s=1e-9, imagine__step_s=1e-9),
        _told("a tick of 1e9 s", "ticks every", "proof", tick_s=1e9, imagine__step_s=1e9),
        _told("a budget of 1e-9 ms", "too slow", "proof", latency_budget_ms=1e-9),
        _told("a deviation of 1e9", "", "proof", "drive", planner__initial_std=[1e9, 1e9]),
        _told("noise of exponent 10", "", "proof", "drive", planner__noise_beta=10.0),
        _told(
            "costs of 1e9",
            "",
            "proof",
            "drive",
            planner__costs={"value": 1e9, "progress": 1e9, "smoothness": 1e9},
        ),
        _told("a temperature of 1e9", "", "proof", "drive", planner__temperature=1e9),
        _told("a momentum just below 1", "", "proof", "drive", planner__momentum=0.9999999999999999),
        _told("a name that moves the cursor", "manifest.json", robot_kind="x\u001b[2J"),
        _told("1,000 iterations of a plan", "", "proof", "drive", planner__iterations=1000),
    ]


def _sparse(bundle: Path) -> None:
    """A graph of a terabyte that takes no room."""
    told = read_manifest(bundle)
    for entry in told["files"]:
        if entry["path"] == OBSERVE["onnx"]:
            entry["size"] = 1 << 40
    write_manifest(bundle, told)
    os.truncate(bundle / OBSERVE["onnx"], 1 << 40)


def _sparse_unsaid(bundle: Path) -> None:
    os.truncate(bundle / OBSERVE["onnx"], 1 << 40)


def _large(bundle: Path) -> None:
    """As large as a file may be, all of it one field that nobody looks at."""
    size = 250 << 20
    head = observe_graph().SerializeToString()
    replace_file(bundle, OBSERVE["onnx"], head + b"\x32" + _varint(size) + bytes(size))


def _linked_to(target: str) -> Callable[[Path], None]:
    def change(bundle: Path) -> None:
        (bundle / OBSERVE["onnx"]).unlink()
        (bundle / OBSERVE["onnx"]).symlink_to(target)

    return change


def _device(bundle: Path) -> None:
    """/dev/zero under the name of a graph; where devices cannot be made, a link to it."""
    (bundle / OBSERVE["onnx"]).unlink()
    try:
        os.mknod(bundle / OBSERVE["onnx"], 0o600 | stat.S_IFCHR, os.makedev(1, 5))
    except PermissionError:
        (bundle / OBSERVE["onnx"]).symlink_to("/dev/zero")


def _socket(bundle: Path) -> None:
    (bundle / OBSERVE["onnx"]).unlink()
    before = Path.cwd()
    os.chdir(bundle)  # the path of a socket has to be short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(OBSERVE["onnx"])
    finally:
        os.chdir(before)


def _fifo_manifest(bundle: Path) -> None:
    (bundle / MANIFEST_NAME).unlink()
    os.mkfifo(bundle / MANIFEST_NAME)


def _linked_manifest(bundle: Path) -> None:
    (bundle / MANIFEST_NAME).rename(bundle.parent / "manifest")
    (bundle / MANIFEST_NAME).symlink_to("../manifest")


def _places() -> list[Crafted]:
    return [
        Crafted("a graph of a terabyte", "onnx", _sparse, ("guard",), "add up to more than"),
        Crafted(
            "a graph that is a terabyte and says it is not", "onnx", _sparse_unsaid, ("guard",), "larger than"
        ),
        Crafted("a graph of 250 MiB", "onnx", _large, ("proof",), "memory|MiB|bad_alloc"),
        Crafted(
            "a graph that is a link to /dev/zero",
            "onnx",
            _linked_to("/dev/zero"),
            ("guard",),
            "symbolic link",
        ),
        Crafted(
            "a graph that is a link to itself",
            "onnx",
            _linked_to(OBSERVE["onnx"]),
            ("guard",),
            "symbolic link",
        ),
        Crafted("a graph that is a device", "onnx", _device, ("guard",), "not a regular file|symbolic link"),
        Crafted("a graph that is a socket", "onnx", _socket, ("guard",), "observe.int8.onnx"),
        Crafted("a manifest that is a FIFO", "onnx", _fifo_manifest, ("guard",), "not a regular file"),
        Crafted("a manifest that is a link", "onnx", _linked_manifest, ("guard",), "symbolic link"),
    ]


CRAFTED = _crafted()
