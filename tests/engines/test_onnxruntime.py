"""The ONNX Runtime engine: buffers bound once, wrong inputs named."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import helper

from edge_wm.engines.engine import EngineError, TensorSpec, load_engine
from edge_wm.engines.onnxruntime import MAX_ARENA_BYTES, OnnxRuntimeEngine
from edge_wm.errors import BadInput
from tests.tiny_model import constant, imagine_graph, model, observe_graph, value


def inputs(**changes: object) -> dict[str, np.ndarray]:
    arrays = {
        "memory": np.arange(5, dtype=np.float32),
        "pose": np.array([1, 2, 3], dtype=np.float32),
        "camera": np.full((6, 8, 3), 51, dtype=np.uint8),
        "range": np.full(4, 2.0, dtype=np.float32),
        "applied_action": np.array([1.0, -1.0], dtype=np.float32),
    }
    return {**arrays, **changes}  # type: ignore[dict-item]


@pytest.fixture
def engine() -> OnnxRuntimeEngine:
    return OnnxRuntimeEngine(observe_graph().SerializeToString(), output_sets=2)


def test_it_says_what_goes_in_and_out(engine: OnnxRuntimeEngine) -> None:
    assert engine.inputs[2] == TensorSpec("camera", (6, 8, 3), "uint8")
    assert engine.outputs == (
        TensorSpec("next_memory", (5,), "float32"),
        TensorSpec("next_pose", (3,), "float32"),
    )


def test_it_computes_what_the_graph_says(engine: OnnxRuntimeEngine) -> None:
    outputs = engine.run(inputs())
    np.testing.assert_allclose(outputs["next_memory"], np.arange(5) + 0.2 + 2.0, rtol=1e-6)
    np.testing.assert_allclose(outputs["next_pose"], [1.1, 2.2, 2.5], rtol=1e-6)


def test_outputs_stay_in_the_same_memory(engine: OnnxRuntimeEngine) -> None:
    first = engine.run(inputs())["next_pose"]
    second = engine.run(inputs(pose=np.zeros(3, dtype=np.float32)))["next_pose"]
    assert first is second
    np.testing.assert_allclose(second, [0.1, 0.2, -0.5], rtol=1e-6)


def test_one_set_of_outputs_leaves_the_other_alone(engine: OnnxRuntimeEngine) -> None:
    first = engine.run(inputs(), 0)["next_pose"]
    kept = first.copy()
    second = engine.run(inputs(pose=first), 1)["next_pose"]
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_allclose(second - kept, [0.1, 0.2, -0.5], rtol=1e-6)


def test_inputs_need_not_be_contiguous(engine: OnnxRuntimeEngine) -> None:
    wide = np.zeros((6, 8, 6), dtype=np.uint8)
    wide[..., ::2] = 51
    np.testing.assert_allclose(
        engine.run(inputs(camera=wide[..., ::2]))["next_memory"], np.arange(5) + 2.2, rtol=1e-6
    )


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (inputs(camera=np.zeros((8, 6, 3), dtype=np.uint8)), r"camera uint8\[6,8,3\], got uint8\[8,6,3\]"),
        (inputs(camera=np.zeros((6, 8, 3), dtype=np.float32)), r"got float32\[6,8,3\]"),
        (inputs(pose=np.zeros(3)), r"pose float32\[3\], got float64\[3\]"),
        (inputs(extra=np.zeros(3)), "no input 'extra'"),
        (
            {name: array for name, array in inputs().items() if name != "range"},
            r"range float32\[4\] is missing",
        ),
        ({("rnage" if name == "range" else name): array for name, array in inputs().items()}, "range"),
    ],
)
def test_wrong_inputs_are_named(wrong: dict[str, np.ndarray], named: str, engine: OnnxRuntimeEngine) -> None:
    engine.run(inputs())  # the control
    with pytest.raises(ValueError, match=named):
        engine.run(wrong)


OBSERVE = observe_graph().SerializeToString()


@pytest.mark.parametrize("data", [b"", b"not onnx", OBSERVE[:50], OBSERVE.replace(b"Cast", b"\xc7ast")])
def test_a_graph_it_cannot_load_is_one_line(data: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(EngineError) as refusal:
        OnnxRuntimeEngine(data)
    assert "\n" not in str(refusal.value)
    assert capfd.readouterr() == ("", "")


def test_a_dynamic_shape_is_refused() -> None:
    graph = imagine_graph()
    graph.graph.input[2].CopyFrom(value("actions", ["N", 3, 2]))
    graph.graph.output[0].CopyFrom(value("imagined_pose", ["N", 3, 3]))
    graph.graph.output[1].CopyFrom(value("value", ["N"]))
    with pytest.raises(EngineError, match="static"):
        OnnxRuntimeEngine(graph.SerializeToString())


def test_a_format_without_an_engine_is_bad_input() -> None:
    assert load_engine("onnx", observe_graph().SerializeToString(), threads=2, spin=True).inputs
    with pytest.raises(BadInput, match="tflite"):
        load_engine("tflite", b"")


def grown(*nodes: onnx.NodeProto, **constants: object) -> bytes:
    """A graph with one number in, one out, and between them ``large``, which ``nodes`` make."""
    return model(
        [
            *nodes,
            helper.make_node("ReduceMax", ["large"], ["largest"], keepdims=0),
            helper.make_node("Add", ["small", "largest"], ["sum"]),
        ],
        [value("small", [1])],
        [value("sum", [1])],
        [constant(name, np.array(array)) for name, array in constants.items()],
    ).SerializeToString()


def filled(mebibytes: int) -> bytes:
    return grown(
        helper.make_node("ConstantOfShape", ["size"], ["large"]), size=np.array([mebibytes << 18], np.int64)
    )


def tiled(mebibytes: int) -> bytes:
    return grown(
        helper.make_node("Tile", ["small", "times"], ["large"]), times=np.array([mebibytes << 18], np.int64)
    )


def multiplied(mebibytes: int) -> bytes:
    return grown(
        helper.make_node("Tile", ["small", "times"], ["row"]),
        helper.make_node("Reshape", ["row", "tall"], ["column"]),
        helper.make_node("MatMul", ["column", "wide"], ["large"]),
        times=np.array([mebibytes], np.int64),
        tall=np.array([mebibytes, 1], np.int64),
        wide=np.ones((1, 1 << 18), np.float32),
    )


@pytest.mark.parametrize("graph", [filled, tiled, multiplied])
def test_tensors_between_nodes_cannot_take_more_memory_than_there_is_for_them(
    graph: Callable[[int], bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    small = {"small": np.zeros(1, dtype=np.float32)}
    OnnxRuntimeEngine(graph(4)).run(small)
    engine = OnnxRuntimeEngine(graph(1 + (MAX_ARENA_BYTES >> 20)))
    with pytest.raises(EngineError, match="more than 512 MiB"):
        engine.run(small)
    assert capfd.readouterr() == ("", "")


def test_names_in_a_graph_reach_the_terminal_without_control_characters() -> None:
    beyond = helper.make_node("Gather", ["small", "index"], ["large"], name="\x1b[31mred\x1b[2J")
    engine = OnnxRuntimeEngine(grown(beyond, index=np.int64(1 << 40)))
    with pytest.raises(EngineError, match=r"\[31mred \[2J") as refusal:
        engine.run({"small": np.zeros(1, dtype=np.float32)})
    assert str(refusal.value).isprintable()
