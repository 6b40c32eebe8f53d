"""The world model carries a latent state through a bundle's graphs and refuses observations it must not see."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from edge_wm.bundle.load import load_bundle
from edge_wm.engines.engine import EngineError
from edge_wm.engines.execution import Execution
from edge_wm.errors import BadInput
from edge_wm.sensors.observation import Observation
from edge_wm.world_model import ObservationError, WorldModel
from tests.tiny_model import (
    START,
    TURN,
    H,
    N,
    imagine_graph,
    read_manifest,
    replace_file,
    write_manifest,
    write_tiny,
)

FP32 = Execution(precision="fp32")
FORWARD = np.array([1.0, 0.0], dtype=np.float32)


def observation(**changes: object) -> Observation:
    arrays = {
        "camera": np.full((6, 8, 3), 51, dtype=np.uint8),
        "range": np.full(4, 2.0, dtype=np.float32),
        "gyro": np.full(1, np.nan, dtype=np.float32),  # this model has no gyro: it must not matter
    }
    return Observation(time=0.0, sequence=0, arrays={**arrays, **changes})  # type: ignore[dict-item]


@pytest.fixture
def bundle_dir(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "tiny")


@pytest.fixture
def model(bundle_dir: Path) -> WorldModel:
    return WorldModel(load_bundle(bundle_dir), FP32)


def test_it_starts_from_the_initial_state(model: WorldModel) -> None:
    state = model.initial_state()
    np.testing.assert_array_equal(state["memory"], np.full(5, 0.5))
    np.testing.assert_array_equal(state["pose"], START)
    state["pose"][:] = 0
    np.testing.assert_array_equal(model.initial_state()["pose"], START)


def test_observe_returns_the_next_state_and_leaves_the_old_one(model: WorldModel) -> None:
    state = model.initial_state()
    for tick in range(1, 6):
        before = {name: array.copy() for name, array in state.items()}
        after = model.observe(state, observation(), FORWARD)
        for name, array in before.items():
            np.testing.assert_array_equal(state[name], array)
        state = after
        np.testing.assert_allclose(state["pose"], START + tick * TURN[0], rtol=1e-5)
        np.testing.assert_allclose(state["memory"], 0.5 + tick * 2.2, rtol=1e-5)


def test_imagine_and_decode_leave_the_state_alone(model: WorldModel) -> None:
    state = model.observe(model.initial_state(), observation(), FORWARD)
    before = {name: array.copy() for name, array in state.items()}
    actions = np.ones((N, H, 2), dtype=np.float32)
    outcomes = model.imagine(state, actions, np.array([10.0, 0.0], dtype=np.float32))
    np.testing.assert_allclose(
        outcomes["imagined_pose"], np.broadcast_to(state["pose"] + TURN.sum(axis=0), (N, H, 3)), rtol=1e-5
    )
    np.testing.assert_allclose(
        outcomes["value"], outcomes["imagined_pose"].sum(axis=(1, 2)) + 10.0, rtol=1e-5
    )
    np.testing.assert_allclose(model.decode(state)["brightness"], 2 * state["memory"])
    for name, array in before.items():
        np.testing.assert_array_equal(state[name], array)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"range": np.array([1, np.nan, 1, 1], dtype=np.float32)}, "'range' holds NaN"),
        ({"range": np.array([1, np.inf, 1, 1], dtype=np.float32)}, "'range' holds NaN"),
        (
            {"camera": np.zeros((8, 6, 3), dtype=np.uint8)},
            "'camera' is uint8[8, 6, 3], the model takes uint8[6, 8, 3]",
        ),
        ({"camera": np.zeros((6, 8), dtype=np.uint8)}, "'camera' is uint8[6, 8]"),
        ({"camera": np.zeros((6, 8, 3), dtype=np.float32)}, "'camera' is float32"),
        ({"camera": None}, "lacks 'camera'"),
    ],
)
def test_an_observation_it_must_not_see_is_refused(
    changes: dict[str, object], named: str, model: WorldModel
) -> None:
    state = model.observe(model.initial_state(), observation(), FORWARD)
    with pytest.raises(ObservationError) as refusal:
        model.observe(state, observation(**changes), FORWARD)
    assert named in str(refusal.value)
    # It goes on from the last good state as if nothing had happened.
    np.testing.assert_allclose(
        model.observe(state, observation(), FORWARD)["pose"], START + 2 * TURN[0], rtol=1e-5
    )


@pytest.mark.parametrize("action", [(float("nan"), 0.0), (0.0, float("inf"))])
def test_an_applied_action_that_is_not_finite_is_refused(
    action: tuple[float, float], model: WorldModel
) -> None:
    with pytest.raises(ObservationError, match="applied action"):
        model.observe(model.initial_state(), observation(), np.array(action, dtype=np.float32))


def test_an_applied_action_of_another_length_is_refused(model: WorldModel) -> None:
    with pytest.raises(ValueError, match="applied_action"):
        model.observe(model.initial_state(), observation(), np.zeros(3, dtype=np.float32))


def test_a_latent_state_that_is_not_finite_is_reported(model: WorldModel) -> None:
    state = model.initial_state()
    state["memory"][2] = np.inf
    with pytest.raises(EngineError, match="memory"):
        model.observe(state, observation(), FORWARD)


@pytest.mark.parametrize(
    ("actions", "goal"),
    [
        (np.zeros((N + 1, H, 2), np.float32), np.zeros(2, np.float32)),
        (np.zeros((N, H, 2)), np.zeros(2, np.float32)),
        (np.zeros((N, H, 2), np.float32), np.zeros(3, np.float32)),
    ],
)
def test_imagine_refuses_other_shapes(actions: np.ndarray, goal: np.ndarray, model: WorldModel) -> None:
    with pytest.raises(ValueError, match=r"actions|goal"):
        model.imagine(model.initial_state(), actions, goal)


def test_a_precision_the_bundle_lacks_is_named(bundle_dir: Path) -> None:
    with pytest.raises(BadInput, match=r"no int8 onnx graph for observe .*has: fp32"):
        WorldModel(load_bundle(bundle_dir))


def test_a_graph_that_the_engine_refuses_is_bad_input(bundle_dir: Path) -> None:
    graph = imagine_graph()
    graph.graph.node[0].input[1] = "nowhere"
    replace_file(bundle_dir, "imagine.fp32.onnx", graph.SerializeToString())
    with pytest.raises(BadInput, match=r"/tiny/imagine\.fp32\.onnx: "):
        WorldModel(load_bundle(bundle_dir), FP32)


def test_a_bundle_without_decode_drives_all_the_same(bundle_dir: Path) -> None:
    facts = read_manifest(bundle_dir)
    facts["graphs"] = [graph for graph in facts["graphs"] if graph["role"] != "decode"]
    write_manifest(bundle_dir, facts)
    model = WorldModel(load_bundle(bundle_dir), FP32)
    state = model.observe(model.initial_state(), observation(), FORWARD)
    with pytest.raises(BadInput, match="decode"):
        model.decode(state)


def test_a_steady_tick_allocates_nothing_that_grows(model: WorldModel) -> None:
    seen = observation()
    actions, goal = np.zeros((N, H, 2), np.float32), np.zeros(2, np.float32)

    def ticks(state: dict[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
        for _ in range(count):
            state = model.observe(state, seen, FORWARD)
            model.imagine(state, actions, goal)
        return state

    state = ticks(model.initial_state(), 50)
    buffers = {id(model.observe(state, seen, FORWARD)["pose"]) for _ in range(10)}
    assert len(buffers) == 2
    tracemalloc.start()
    try:
        state = ticks(model.initial_state(), 50)
        before = tracemalloc.get_traced_memory()[0]
        ticks(state, 300)
        assert tracemalloc.get_traced_memory()[0] - before < 2_000
    finally:
        tracemalloc.stop()
