"""The guard accepts plain graphs that match the manifest and refuses everything else, whatever the bytes."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from edge_wm.bundle import onnx_guard, onnx_wire
from edge_wm.bundle.onnx_guard import check_graph
from edge_wm.engines.engine import EngineError, TensorSpec
from edge_wm.engines.execution import Execution
from edge_wm.engines.onnxruntime import OnnxRuntimeEngine
from edge_wm.errors import BadInput
from tests.tiny_model import FLOAT, GRAPHS, constant, manifest, model, observe_graph, value

INPUTS = (TensorSpec("x", (2, 3), "float32"),)
OUTPUTS = (TensorSpec("y", (2, 3), "float32"),)


def plain() -> onnx.ModelProto:
    return model(
        [helper.make_node("Add", ["x", "bias"], ["h"]), helper.make_node("Relu", ["h"], ["y"])],
        [value("x", [2, 3])],
        [value("y", [2, 3])],
        [constant("bias", np.ones(3, dtype=np.float32))],
    )


def check(data: bytes) -> onnx_guard.GraphSummary:
    return check_graph(data, "plain.onnx", INPUTS, OUTPUTS)


def refusal(data: bytes) -> str:
    with pytest.raises(BadInput) as caught:
        check(data)
    message = str(caught.value)
    assert message.startswith("plain.onnx: ") and "\n" not in message
    return message


def test_a_plain_graph_passes_and_is_counted() -> None:
    summary = check(plain().SerializeToString())
    assert (summary.nodes, summary.parameters) == (2, 3)
    assert summary.operators == {"Add": 1, "Relu": 1}


@pytest.mark.parametrize("role", GRAPHS)
def test_graphs_of_a_model_match_their_manifest(role: str) -> None:
    m = manifest()
    check_graph(GRAPHS[role]().SerializeToString(), role, m.graph_inputs(role), m.graph_outputs(role))


def external_data(m: onnx.ModelProto) -> None:
    tensor = m.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"


def external_location_only(m: onnx.ModelProto) -> None:
    m.graph.initializer[0].data_location = TensorProto.EXTERNAL


def external_constant(m: onnx.ModelProto) -> None:
    tensor = constant("c", np.ones(3, dtype=np.float32))
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    m.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))


def custom_domain(m: onnx.ModelProto) -> None:
    m.graph.node[0].domain = "com.evil"


def unknown_operator(m: onnx.ModelProto) -> None:
    m.graph.node[0].op_type = "RunShell"


def operator_of_an_engine(m: onnx.ModelProto) -> None:
    m.graph.node[1].op_type, m.graph.node[1].domain = "FusedGemm", "com.microsoft"


def weight_stored_twice(m: onnx.ModelProto) -> None:
    m.graph.initializer.append(constant("bias", np.zeros(3, dtype=np.float32)))


def negative_batch_dims(m: onnx.ModelProto) -> None:
    m.graph.initializer.append(constant("index", np.zeros((2, 1), dtype=np.int64)))
    m.graph.node.append(helper.make_node("GatherND", ["x", "index"], ["q"], batch_dims=-1))


def split_that_miscounts(m: onnx.ModelProto) -> None:
    m.graph.node.append(helper.make_node("Split", ["x"], ["q", "r"], num_outputs=3))


def einsum_without_an_equation(m: onnx.ModelProto) -> None:
    m.graph.node.append(helper.make_node("Einsum", ["x", "x"], ["q"], equation="i,j->->"))


def input_left_out(m: onnx.ModelProto) -> None:
    m.graph.node.append(helper.make_node("LayerNormalization", ["x", ""], ["q"]))


def attribute_twice(m: onnx.ModelProto) -> None:
    m.graph.node.append(helper.make_node("Softmax", ["x"], ["q"], axis=0))
    m.graph.node[-1].attribute.append(helper.make_attribute("axis", 1))


def attribute_of_another_type(m: onnx.ModelProto) -> None:
    m.graph.node.append(helper.make_node("Softmax", ["x"], ["q"], axis=0))
    m.graph.node[-1].attribute[0].type = onnx.AttributeProto.FLOAT


def own_function(m: onnx.ModelProto) -> None:
    m.functions.append(
        helper.make_function("com.evil", "F", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], [])
    )


def a_loop(m: onnx.ModelProto) -> None:
    body = helper.make_graph([], "body", [], [])
    m.graph.node.append(helper.make_node("Loop", ["n", "go", "x"], ["z"], body=body))


def subgraph_in_an_allowed_operator(m: onnx.ModelProto) -> None:
    m.graph.node[0].attribute.append(helper.make_attribute("body", helper.make_graph([], "body", [], [])))


def random_numbers(m: onnx.ModelProto) -> None:
    m.graph.node.append(helper.make_node("RandomNormal", [], ["z"], shape=[3]))


def dynamic_shape(m: onnx.ModelProto) -> None:
    m.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"


def missing_dimension(m: onnx.ModelProto) -> None:
    m.graph.input[0].type.tensor_type.shape.dim[0].Clear()


def missing_shape(m: onnx.ModelProto) -> None:
    m.graph.input[0].type.tensor_type.ClearField("shape")


def missing_type(m: onnx.ModelProto) -> None:
    m.graph.output[0].ClearField("type")


def negative_dimension(m: onnx.ModelProto) -> None:
    m.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1


def a_sequence(m: onnx.ModelProto) -> None:
    m.graph.input[0].CopyFrom(helper.make_tensor_sequence_value_info("x", FLOAT, [2, 3]))


def other_name(m: onnx.ModelProto) -> None:
    m.graph.input[0].name = "z"


def other_shape(m: onnx.ModelProto) -> None:
    m.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 7


def other_dtype(m: onnx.ModelProto) -> None:
    m.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE


def extra_input(m: onnx.ModelProto) -> None:
    m.graph.input.append(value("extra", [1]))


def extra_output(m: onnx.ModelProto) -> None:
    m.graph.output.append(value("h", [2, 3]))


def repeated_input(m: onnx.ModelProto) -> None:
    m.graph.input.append(value("x", [2, 3]))


def input_with_default(m: onnx.ModelProto) -> None:
    m.graph.initializer.append(constant("x", np.ones((2, 3), dtype=np.float32)))


def weight_larger_than_its_data(m: onnx.ModelProto) -> None:
    m.graph.initializer[0].dims[0] = 1_000_000


def weight_beyond_all_bounds(m: onnx.ModelProto) -> None:
    m.graph.initializer[0].dims[0] = 2**62


def weight_without_data(m: onnx.ModelProto) -> None:
    m.graph.initializer[0].ClearField("raw_data")


def weight_of_text(m: onnx.ModelProto) -> None:
    m.graph.initializer.append(helper.make_tensor("s", TensorProto.STRING, [1], [b"text"]))


def sparse_weight(m: onnx.ModelProto) -> None:
    m.graph.sparse_initializer.add().dims.append(3)


def no_graph(m: onnx.ModelProto) -> None:
    m.ClearField("graph")


def training_info(m: onnx.ModelProto) -> None:
    m.training_info.add()


def division_without_divisor(m: onnx.ModelProto) -> None:
    m.graph.node.append(helper.make_node("Div", ["x"], ["q"]))


def dropout_that_may_train(m: onnx.ModelProto) -> None:
    m.graph.node.append(helper.make_node("Dropout", ["x", "", "training"], ["q"]))


def two_types_for_one_tensor(m: onnx.ModelProto) -> None:
    m.graph.value_info.append(value("h", [2, 3]))
    m.graph.value_info.append(value("h", [2, 3], TensorProto.INT32))


def another_type_for_a_weight(m: onnx.ModelProto) -> None:
    m.graph.value_info.append(value("bias", [3], TensorProto.INT32))


REFUSALS: dict[str, tuple[Callable[[onnx.ModelProto], None], str]] = {
    "weights in another file": (external_data, "external data"),
    "a location in another file without a name": (external_location_only, "external data"),
    "a constant in another file": (external_constant, "external data"),
    "an operator of a custom domain": (custom_domain, "of domain 'com.evil'"),
    "an operator that is not on the list": (unknown_operator, "operator 'RunShell'"),
    "an operator that only one engine has": (operator_of_an_engine, "'FusedGemm' of domain 'com.microsoft'"),
    "a weight stored twice": (weight_stored_twice, "stores 'bias' twice"),
    "a batch that begins before the tensor": (negative_batch_dims, "negative batch_dims"),
    "a split that counts otherwise": (split_that_miscounts, "2 outputs that says it has 3"),
    "an equation that is none": (einsum_without_an_equation, "equation is none"),
    "an input that must be there": (input_left_out, "lacks input 1"),
    "an attribute twice": (attribute_twice, "'axis' is there twice"),
    "an attribute of another type": (attribute_of_another_type, "is not what it says"),
    "its own functions": (own_function, "functions"),
    "a loop": (a_loop, "subgraph"),
    "a subgraph under an allowed operator": (subgraph_in_an_allowed_operator, "subgraph"),
    "random numbers": (random_numbers, "golden vectors cannot hold it"),
    "a division that lacks its divisor": (division_without_divisor, "two inputs"),
    "a dropout that may be at random": (dropout_that_may_train, "training mode"),
    "a tensor declared twice": (two_types_for_one_tensor, "'h' with two data types"),
    "a weight declared as something else": (another_type_for_a_weight, "'bias' with two data types"),
    "a named dimension": (dynamic_shape, "dynamic"),
    "an empty dimension": (missing_dimension, "dynamic"),
    "a negative dimension": (negative_dimension, "dynamic"),
    "no shape": (missing_shape, "has no shape"),
    "no type": (missing_type, "has no shape"),
    "a sequence for an input": (a_sequence, "unknown field"),
    "an input of another name": (other_name, "has no input 'x'"),
    "an input of another shape": (other_shape, "input is x float32[7,3], the manifest says x float32[2,3]"),
    "an input of another dtype": (other_dtype, "input is x float64[2,3]"),
    "an input too many": (extra_input, "input 'extra'"),
    "an output too many": (extra_output, "output 'h'"),
    "an input twice": (repeated_input, "two inputs called 'x'"),
    "an input with a default": (input_with_default, "default value"),
    "a shape that its data does not fill": (weight_larger_than_its_data, "size of its shape"),
    "a shape beyond all bounds": (weight_beyond_all_bounds, "impossible shape"),
    "a weight without data": (weight_without_data, "size of its shape"),
    "text": (weight_of_text, "unknown field 6 in TensorProto"),
    "sparse weights": (sparse_weight, "unknown field 15 in GraphProto"),
    "no graph": (no_graph, "holds no graph"),
    "training information": (training_info, "unknown field 20 in ModelProto"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_it_refuses(case: str) -> None:
    graph = plain()
    check(graph.SerializeToString())  # the control
    change, named = REFUSALS[case]
    change(graph)
    assert named in refusal(graph.SerializeToString())


def test_two_graphs_that_protobuf_would_merge_are_refused() -> None:
    twice = plain().SerializeToString() + plain().SerializeToString()
    onnx.load_from_string(twice)  # protobuf takes it
    assert "occurs twice" in refusal(twice)


def test_imports_of_domains_that_no_node_uses_are_harmless() -> None:
    graph = plain()
    graph.opset_import.append(helper.make_opsetid("com.microsoft.nchwc", 1))
    graph.graph.node[0].domain = "ai.onnx"
    check(graph.SerializeToString())


@pytest.mark.parametrize(
    ("operator", "inputs", "shape_input"),
    [
        ("ConstantOfShape", [], "size"),
        ("Reshape", ["x"], "size"),
        ("Expand", ["x"], "size"),
        ("Tile", ["x"], "size"),
        ("Slice", ["x"], "size"),
        ("Slice", ["x", "one"], "size"),
        ("Pad", ["x"], "size"),
        ("Resize", ["x", "", ""], "size"),
        ("Resize", ["x"], "size"),
        ("Range", ["one"], "size"),
        ("TopK", ["x"], "size"),
        ("ReduceSum", ["x"], "size"),
    ],
)
def test_what_decides_a_shape_must_be_stored(operator: str, inputs: list[str], shape_input: str) -> None:
    """A graph could otherwise behave in every test, and ask for all memory when a robot sees something red."""
    graph = plain()
    graph.graph.initializer.append(constant("one", np.ones(1, dtype=np.int64)))
    graph.graph.node.append(helper.make_node(operator, [*inputs, shape_input], ["q"]))
    computed = graph.SerializeToString()
    assert f"depends on data: {operator} takes 'size'" in refusal(computed)
    stored = onnx.load_from_string(computed)
    stored.graph.initializer.append(constant("size", np.ones(2, dtype=np.int64)))
    check(stored.SerializeToString())
    a_constant = onnx.load_from_string(computed)
    made = helper.make_node("Constant", [], ["size"], value=constant("", np.ones(2, dtype=np.int64)))
    a_constant.graph.node.append(made)
    check(a_constant.SerializeToString())


def test_an_input_that_may_be_left_out_passes() -> None:
    graph = plain()
    graph.graph.node.append(helper.make_node("Clip", ["x", "", ""], ["q"]))
    check(graph.SerializeToString())


def test_a_gather_with_a_batch_passes() -> None:
    graph = plain()
    negative_batch_dims(graph)
    graph.graph.node[-1].attribute[0].i = 1
    check(graph.SerializeToString())


def divided(operator: str, divisor: np.ndarray | None, declared: int | None = None) -> bytes:
    """x as integers, divided by a stored tensor or by one computed from x; a type may be declared for the latter."""
    graph = plain()
    graph.graph.node.append(helper.make_node("Cast", ["x"], ["i"], to=TensorProto.INT32))
    graph.graph.node.append(helper.make_node(operator, ["i", "by"], ["q"]))
    if divisor is not None:
        graph.graph.initializer.append(constant("by", divisor))
    if declared is not None:
        graph.graph.value_info.append(value("by", [2, 3], declared))
    return graph.SerializeToString()


@pytest.mark.parametrize("operator", ["Div", "Mod"])
def test_integers_are_divided_by_stored_numbers_only(operator: str) -> None:
    for harmless in (2, -2, [1, 3, 2**31 - 1]):
        check(divided(operator, np.array(harmless, np.int32)))
    for deadly in (0, -1, [1, 0, 3]):
        assert "divides by 'by'" in refusal(divided(operator, np.array(deadly, np.int32)))
    check(divided(operator, None, TensorProto.FLOAT))
    assert "divides by 'by'" in refusal(divided(operator, None, TensorProto.INT32))
    assert "divides by 'by'" in refusal(divided(operator, None))


def test_an_engine_refuses_a_declared_type_that_is_not_the_true_one() -> None:
    """The guard relies on it for divisions."""

    def graph(declared: int) -> bytes:
        nodes = [
            helper.make_node("Cast", ["x"], ["i"], to=TensorProto.INT32),
            helper.make_node("Add", ["i", "i"], ["by"]),
            helper.make_node("Div", ["i", "by"], ["q"]),
            helper.make_node("Cast", ["q"], ["y"], to=FLOAT),
        ]
        made = model(nodes, [value("x", [2, 3])], [value("y", [2, 3])], [])
        made.graph.value_info.append(value("by", [2, 3], declared))
        return made.SerializeToString()

    check(graph(FLOAT))
    OnnxRuntimeEngine(graph(TensorProto.INT32), Execution("onnx"))
    with pytest.raises(EngineError, match="Type Error"):
        OnnxRuntimeEngine(graph(FLOAT), Execution("onnx"))


@pytest.mark.parametrize(
    "dtype", [np.float32, np.float64, np.float16, np.int8, np.uint8, np.int32, np.int64, np.bool_]
)
@pytest.mark.parametrize("raw", [True, False])
def test_weights_of_every_plain_type_pass(dtype: type, raw: bool) -> None:
    array = np.ones((2, 3), dtype=dtype)
    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    content = array.tobytes() if raw else array.flatten().tolist()
    graph = plain()
    graph.graph.initializer.append(helper.make_tensor("w", kind, array.shape, content, raw=raw))
    assert check(graph.SerializeToString()).parameters == 9


def test_scalars_and_empty_weights_pass() -> None:
    graph = plain()
    graph.graph.initializer.append(constant("roi", np.zeros((0,), dtype=np.float32)))
    graph.graph.initializer.append(constant("one", np.array(1.0, dtype=np.float32)))
    check(graph.SerializeToString())


@pytest.mark.parametrize(
    ("module", "bound", "has"),
    [
        (onnx_guard, "MAX_NODES", 2),
        (onnx_guard, "MAX_INITIALIZERS", 1),
        (onnx_guard, "MAX_PARAMETERS", 3),
        (onnx_wire, "MAX_NAME_BYTES", len("bias")),
        (onnx_wire, "MAX_FIELDS", 40),
    ],
)
def test_what_a_graph_holds_is_bounded(
    module: ModuleType, bound: str, has: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = plain().SerializeToString()
    monkeypatch.setattr(module, bound, has)
    check(data)
    monkeypatch.setattr(module, bound, has - 1)
    refusal(data)


@pytest.mark.parametrize(
    "data", [b"", b"\x00", b"\xff" * 100, b"not onnx at all", b"PK\x03\x04", b"\x3a\xff\xff\xff\xff\x0f"]
)
def test_what_is_no_onnx_is_refused(data: bytes) -> None:
    refusal(data)


def test_a_name_that_is_not_text_is_refused() -> None:
    data = plain().SerializeToString()
    for name, damaged in ((b"bias", b"\xc7ias"), (b"Relu", b"\xc7elu")):
        assert "not UTF-8" in refusal(data.replace(name, damaged))


def test_every_truncation_is_refused() -> None:
    data = plain().SerializeToString()
    end_of_graph = len(plain().SerializeToString()) - len(b"\x42\x04\x0a\x00\x10\x11")
    for cut in range(len(data)):
        if cut != end_of_graph:  # there only the opset is missing, which the engine refuses
            refusal(data[:cut])


def only_refuses(data: bytes) -> None:
    """Anything but a pass or a BadInput would escape from here."""
    specs = manifest().graph_inputs("observe"), manifest().graph_outputs("observe")
    try:
        check_graph(data, "fuzz.onnx", *specs)
    except BadInput as refused:
        assert "\n" not in str(refused)


@settings(max_examples=200)
@given(st.binary(max_size=400))
def test_random_bytes_do_nothing_but_get_refused(data: bytes) -> None:
    only_refuses(data)


OBSERVE = observe_graph().SerializeToString()


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, len(OBSERVE) - 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_flipped_bytes_do_nothing_but_get_refused(flips: list[tuple[int, int]]) -> None:
    data = bytearray(OBSERVE)
    for position, byte in flips:
        data[position] = byte
    only_refuses(bytes(data))


@settings(max_examples=100)
@given(st.integers(0, len(OBSERVE)), st.binary(max_size=40), st.integers(0, 40))
def test_spliced_bytes_do_nothing_but_get_refused(position: int, insert: bytes, removed: int) -> None:
    only_refuses(OBSERVE[:position] + insert + OBSERVE[position + removed :])
