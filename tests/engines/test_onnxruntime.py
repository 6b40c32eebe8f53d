"""What only the ONNX Runtime engine does; the rest is in ``test_conformance.py``."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import helper

from edge_wm.engines.engine import EngineError
from edge_wm.engines.execution import Execution
from edge_wm.engines.onnxruntime import MAX_ARENA_BYTES, OnnxRuntimeEngine, new_session
from tests.tiny_model import constant, imagine_graph, model, observe_graph, value

OBSERVE = observe_graph().SerializeToString()
ONNX = Execution("onnx")


def test_an_operator_it_does_not_know_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(EngineError) as refusal:
        OnnxRuntimeEngine(OBSERVE.replace(b"Cast", b"\xc7ast"), ONNX)
    assert "\n" not in str(refusal.value)
    assert capfd.readouterr() == ("", "")


def test_a_dynamic_shape_is_refused() -> None:
    graph = imagine_graph()
    graph.graph.input[2].CopyFrom(value("actions", ["N", 3, 2]))
    graph.graph.output[0].CopyFrom(value("imagined_pose", ["N", 3, 3]))
    graph.graph.output[1].CopyFrom(value("value", ["N"]))
    with pytest.raises(EngineError, match="static"):
        OnnxRuntimeEngine(graph.SerializeToString(), ONNX)


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
    OnnxRuntimeEngine(graph(4), ONNX).run(small)
    engine = OnnxRuntimeEngine(graph(1 + (MAX_ARENA_BYTES >> 20)), ONNX)
    with pytest.raises(EngineError, match="more than 512 MiB"):
        engine.run(small)
    assert capfd.readouterr() == ("", "")


def test_names_in_a_graph_reach_the_terminal_without_control_characters() -> None:
    beyond = helper.make_node("Gather", ["small", "index"], ["large"], name="\x1b[31mred\x1b[2J")
    engine = OnnxRuntimeEngine(grown(beyond, index=np.int64(1 << 40)), ONNX)
    with pytest.raises(EngineError, match=r"\[31mred \[2J") as refusal:
        engine.run({"small": np.zeros(1, dtype=np.float32)})
    assert str(refusal.value).isprintable()


def test_threads_that_spin_give_the_same_numbers_and_only_where_they_are_asked_to() -> None:
    options = {
        execution: new_session(OBSERVE, execution).get_session_options()
        for execution in (ONNX, Execution("onnx", threads=2), Execution("onnx", threads=2, spin=True))
    }
    spinning = [made.get_session_config_entry("session.intra_op.allow_spinning") for made in options.values()]
    assert spinning == ["0", "0", "1"]
    engines = [OnnxRuntimeEngine(OBSERVE, execution) for execution in options]
    inputs = {spec.name: np.ones(spec.shape, spec.dtype) for spec in engines[0].inputs}
    alone, *others = [engine.run(inputs) for engine in engines]
    for name, array in alone.items():
        assert all(np.array_equal(array, other[name]) for other in others)
