"""The TFLite guard accepts plain graphs that match the manifest and refuses everything else, whatever the bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_wm.bundle import tflite_guard, tflite_wire
from edge_wm.bundle.load import load_bundle
from edge_wm.bundle.tflite_guard import check_graph
from edge_wm.bundle.verify import verify_bundle
from edge_wm.engines.engine import EngineError, TensorSpec
from edge_wm.engines.execution import Execution
from edge_wm.engines.litert import LiteRtEngine
from edge_wm.errors import BadInput
from tests.tiny_model import manifest, read_manifest, replace_file, write_manifest, write_tiny
from tests.tiny_tflite import GRAPHS, Node, int8_sum, model, observe_graph, options, pack

M = manifest()
INPUTS, OUTPUTS = M.graph_inputs("observe"), M.graph_outputs("observe")
OBSERVE = pack(model(observe_graph()))


def check(data: bytes) -> tflite_guard.GraphSummary:
    return check_graph(data, "observe.tflite", INPUTS, OUTPUTS)


def refusal(data: bytes) -> str:
    with pytest.raises(BadInput) as caught:
        check(data)
    message = str(caught.value)
    assert message.startswith("observe.tflite: ") and "\n" not in message
    return message


@pytest.mark.parametrize("role", GRAPHS)
def test_graphs_of_a_model_match_their_manifest(role: str) -> None:
    data = pack(model(GRAPHS[role]()))
    check_graph(data, role, M.graph_inputs(role), M.graph_outputs(role))


def test_a_plain_graph_is_counted() -> None:
    summary = check(OBSERVE)
    assert (summary.nodes, summary.parameters) == (9, 12)
    assert summary.operators["ADD"] == 3


def test_int8_at_the_border_counts_as_float32() -> None:
    four = [TensorSpec(name, (4,), "float32") for name in ("left", "right", "total")]
    check_graph(pack(model(int8_sum())), "sum.tflite", four[:2], four[2:])


def tensor(m: schema.ModelT, name: str) -> Any:
    return next(one for one in m.subgraphs[0].tensors if one.name == f"t/{name}")


def number(m: schema.ModelT, name: str) -> int:
    return m.subgraphs[0].tensors.index(tensor(m, name))


def custom(m):
    m.operatorCodes[0].builtinCode = m.operatorCodes[0].deprecatedBuiltinCode = 32
    m.operatorCodes[0].customCode = "FlexErf"


def a_name_on_a_builtin(m):
    m.operatorCodes[0].customCode = "Evil"


def a_loop(m):
    m.operatorCodes[0].builtinCode = m.operatorCodes[0].deprecatedBuiltinCode = 119


def unknown_operator(m):
    m.operatorCodes[0].builtinCode = 4000


def stablehlo_options(m):
    operator = m.subgraphs[0].operators[0]
    operator.builtinOptions2Type = schema.BuiltinOptions2.StablehloCustomCallOptions
    operator.builtinOptions2 = schema.StablehloCustomCallOptionsT()


def custom_options(m):
    m.subgraphs[0].operators[0].customOptions = [1, 2, 3]


def large_custom_options(m):
    m.subgraphs[0].operators[0].largeCustomOptionsOffset = 100


def outside_buffer(m):
    m.buffers[1].data, m.buffers[1].offset, m.buffers[1].size = None, 64, 24


def wrong_buffer(m):
    tensor(m, "turn").buffer = 99


def short_constant(m):
    m.buffers[tensor(m, "turn").buffer].data = np.zeros(8, dtype=np.uint8)


def another_version(m):
    m.version = 2


def two_subgraphs(m):
    m.subgraphs.append(model(observe_graph()).subgraphs[0])


def no_signature(m):
    m.signatureDefs = []


def a_signature_of_another_subgraph(m):
    m.signatureDefs[0].subgraphIndex = 1


def a_name_twice(m):
    m.signatureDefs[0].inputs[1].name = "memory"


def a_signature_of_an_inner_tensor(m):
    m.signatureDefs[0].inputs[1].tensorIndex = number(m, "light")


def an_input_without_a_name(m):
    m.signatureDefs[0].inputs.pop()


def another_name(m):
    m.signatureDefs[0].inputs[0].name = "recall"


def another_shape(m):
    tensor(m, "memory").shape = [7]


def another_type(m):
    tensor(m, "pose").type = schema.TensorType.FLOAT16


def a_dynamic_shape(m):
    tensor(m, "memory").shapeSignature = [-1]


def a_negative_shape(m):
    tensor(m, "light").shape = [-5]


def a_huge_tensor(m):
    tensor(m, "light").shape = [1 << 12, 1 << 13]


def text(m):
    tensor(m, "light").type = schema.TensorType.STRING


def a_variable(m):
    tensor(m, "light").isVariable = True


def sparse(m):
    tensor(m, "light").sparsity = schema.SparsityParametersT()


def quantised(m, name: str, scales: list[float], zero_points: list[int]) -> None:
    tensor(m, name).quantization = schema.QuantizationParametersT()
    tensor(m, name).quantization.scale, tensor(m, name).quantization.zeroPoint = scales, zero_points


def scales_for_each_channel(m):
    quantised(m, "light", [0.1] * 6, [0] * 6)


def scales_without_zero_points(m):
    quantised(m, "light", [0.1], [])


def reads_what_comes_later(m):
    m.subgraphs[0].operators.reverse()


def reads_what_is_nowhere(m):
    m.subgraphs[0].operators[0].inputs = [1000]


def reads_a_missing_input(m):
    m.subgraphs[0].operators[0].inputs = [-1]


def writes_an_input(m):
    m.subgraphs[0].operators[0].outputs = [number(m, "pose")]


def writes_a_weight(m):
    m.subgraphs[0].operators[0].outputs = [number(m, "white")]


def an_output_that_nobody_writes(m):
    m.subgraphs[0].operators.pop()


def another_operator_code(m):
    m.subgraphs[0].operators[0].opcodeIndex = 77


def metadata_of_no_buffer(m):
    entry = schema.MetadataT()
    entry.name, entry.buffer = "x", 1234
    m.metadata = [entry]


REFUSALS: dict[Callable[..., None], str] = {
    custom: "uses operator CUSTOM 'FlexErf'",
    a_name_on_a_builtin: "'Evil'",
    a_loop: "uses operator WHILE: its running time",
    unknown_operator: "uses operator code 4000",
    stablehlo_options: "field 12 of Operator",
    custom_options: "own operators do not have",
    large_custom_options: "own operators do not have",
    outside_buffer: "outside of the flatbuffer",
    wrong_buffer: "no buffer 99",
    short_constant: "size of its shape",
    another_version: "schema version 2",
    two_subgraphs: "has 2 subgraphs",
    no_signature: "has 0 signature_defs",
    a_signature_of_another_subgraph: "another subgraph",
    a_name_twice: "input 'memory' twice",
    a_signature_of_an_inner_tensor: "names what is none",
    an_input_without_a_name: "no name for input 't/applied_action'",
    another_name: "has no input 'memory'",
    another_shape: "input is memory float32[7], the manifest says memory float32[5]",
    another_type: "input is pose float16[3]",
    a_dynamic_shape: "dynamic",
    a_negative_shape: "impossible shape",
    a_huge_tensor: "impossible shape",
    text: "data type 5",
    a_variable: "remembers between calls",
    sparse: "field 6 of Tensor",
    scales_for_each_channel: "6 scales",
    scales_without_zero_points: "1 scales",
    reads_what_comes_later: "before it is written",
    reads_what_is_nowhere: "no tensor 1000",
    reads_a_missing_input: "no tensor -1",
    writes_an_input: "writes 't/pose' twice",
    writes_a_weight: "writes 't/white' twice",
    an_output_that_nobody_writes: "output 't/next_pose' is never written",
    another_operator_code: "no operator code 77",
    metadata_of_no_buffer: "no buffer 1234",
}


@pytest.mark.parametrize("change", REFUSALS, ids=lambda change: change.__name__)
def test_it_refuses(change: Callable[..., None]) -> None:
    m = model(observe_graph())
    check(pack(m))  # the control
    change(m)
    assert REFUSALS[change] in refusal(pack(m))


def test_a_missing_bias_passes() -> None:
    graph = observe_graph()
    m = model(graph)
    layer = next(
        one
        for one, node in zip(m.subgraphs[0].operators, graph.nodes, strict=True)
        if node.operator == "FULLY_CONNECTED"
    )
    layer.inputs = [*layer.inputs, -1]
    check(pack(m))


def test_the_number_of_nodes_tensors_weights_and_objects_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, bound, few in (
        (tflite_guard, "MAX_NODES", 2),
        (tflite_guard, "MAX_TENSORS", 2),
        (tflite_guard, "MAX_PARAMETERS", 2),
        (tflite_guard, "MAX_ELEMENTS", 100),
        (tflite_wire, "MAX_OBJECTS", 20),
        (tflite_wire, "MAX_NAME_BYTES", 3),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(module, bound, few)
            refusal(OBSERVE)
        check(OBSERVE)


@pytest.mark.parametrize(
    "data", [b"", b"TFL3", bytes(100), b"\xff\xff\xff\xffTFL3", b"\x08\0\0\0TFL3", b"PK\x03\x04"]
)
def test_what_is_no_tflite_is_refused(data: bytes) -> None:
    refusal(data)


def test_every_truncation_is_refused() -> None:
    for cut in range(len(OBSERVE)):
        refusal(OBSERVE[:cut])


def only_refuses(data: bytes) -> None:
    """Anything but a pass or a BadInput would escape from here; what passes must not end the process."""
    try:
        check(data)
    except BadInput as refused:
        assert "\n" not in str(refused)
        return
    try:
        engine = LiteRtEngine(data, Execution("tflite"))
        engine.run({spec.name: spec.empty() for spec in engine.inputs})
    except EngineError as refused:
        assert "\n" not in str(refused)


@settings(max_examples=200)
@given(st.binary(max_size=400))
def test_random_bytes_do_nothing_but_get_refused(data: bytes) -> None:
    only_refuses(b"\x10\0\0\0TFL3" + data)


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(0, len(OBSERVE) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_flipped_bytes_do_nothing_but_get_refused(flips: list[tuple[int, int]]) -> None:
    data = bytearray(OBSERVE)
    for position, byte in flips:
        data[position] = byte
    only_refuses(bytes(data))


@pytest.fixture
def both(tmp_path: Path) -> Path:
    """A bundle whose observe graph comes in both formats."""
    directory = write_tiny(tmp_path / "tiny")
    facts = read_manifest(directory)
    facts["graphs"].append(
        {"role": "observe", "format": "tflite", "precision": "fp32", "file": "observe.tflite"}
    )
    facts["files"].append({"path": "observe.tflite", "size": 0, "sha256": "0" * 64})
    tolerance = {"role": "observe", "precision": "fp32", "format": "tflite", "output": "*"}
    facts["golden"]["tolerances"].append({**tolerance, "max_abs": 1e-3, "mean_abs": 1e-3})
    write_manifest(directory, facts)
    replace_file(directory, "observe.tflite", OBSERVE)
    return directory


def test_a_bundle_of_both_formats_is_verified_in_both(both: Path) -> None:
    bundle = load_bundle(both)
    assert bundle.graphs["observe.tflite"].nodes == 9
    checks = [check for check in verify_bundle(bundle) if check.role == "observe"]
    assert [(check.format, check.allowed_max_abs) for check in checks] == [
        *[("onnx", 1e-4)] * 2,
        *[("tflite", 1e-3)] * 2,
    ]
    assert all(check.passed for check in checks)


def test_a_bundle_with_another_tflite_graph_fails_its_golden_vectors(both: Path) -> None:
    graph = observe_graph()
    graph.constants["turn"] = graph.constants["turn"] + np.float32(0.1)
    replace_file(both, "observe.tflite", pack(model(graph)))
    failed = [check for check in verify_bundle(load_bundle(both)) if not check.passed]
    assert [(check.format, check.output) for check in failed] == [("tflite", "next_pose")]


def test_a_bundle_with_a_bad_tflite_graph_is_refused_before_the_engine(both: Path) -> None:
    graph = observe_graph()
    graph.nodes.append(Node("RANDOM_UNIFORM", ["three"], ["noise"], options("Random")))
    graph.tensors["noise"] = ((3,), "float32")
    replace_file(both, "observe.tflite", pack(model(graph)))
    with pytest.raises(BadInput, match=r"observe\.tflite: uses operator RANDOM_UNIFORM: it is random"):
        load_bundle(both)


# --- what engines do not look at before they use it ------------------------------------------------------------------


def with_node(added: Node, tensors: dict[str, tuple[tuple[int, ...], str]], **constants: np.ndarray) -> bytes:
    """The observe graph with one more operator, whose results nobody uses."""
    graph = observe_graph()
    graph.tensors.update(tensors)
    graph.constants.update(constants)
    graph.nodes.append(added)
    return pack(model(graph))


def split(axis: float, says: int) -> bytes:
    node = Node("SPLIT", ["axis", "pose"], ["p", "q", "r"], options("Split", numSplits=says))
    return with_node(
        node,
        dict.fromkeys("pqr", ((1,), "float32")),
        axis=np.array(axis, dtype=np.int32 if isinstance(axis, int) else np.float32),
    )


def test_a_split_that_counts_right_passes() -> None:
    check(split(0, 3))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (split(0, 4), "SPLIT"),
        (split(7, 3), "takes axis"),
        (split(-2, 3), "takes axis"),
        (
            with_node(Node("ADD", ["pose"], ["q"], options("Add")), {"q": ((3,), "float32")}),
            "ADD has 1 inputs and 1 outputs, which do not fit it",
        ),
        (
            with_node(
                Node("SOFTMAX", ["mean_light"], ["q"], options("Softmax", beta=1.0)), {"q": ((), "float32")}
            ),
            "has no dimension",
        ),
        (
            with_node(
                Node("ADD", ["small", "small"], ["q"], options("Add")),
                {"q": ((3,), "int8")},
                small=np.zeros(3, dtype=np.int8),
            ),
            "has no scale",
        ),
        (split(0.0, 3), "should hold int32"),
    ],
    ids=[
        "count",
        "axis beyond",
        "axis before",
        "an input too few",
        "no dimension",
        "no scale",
        "no integers",
    ],
)
def test_what_an_engine_would_read_beyond_is_refused(data: bytes, says: str) -> None:
    assert says in refusal(data)
