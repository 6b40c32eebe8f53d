"""What every engine does alike: the same graph, the same refusals, the same buffers."""

from __future__ import annotations

import importlib.util
import resource
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edge_wm.engines import litert
from edge_wm.engines.engine import Array, Engine, EngineError, TensorSpec, load_engine
from edge_wm.engines.execution import Execution
from tests import tiny_model, tiny_tflite
from tests.tiny_model import golden

RUNS = 3000
MAX_PYTHON_GROWTH = 20_000
"""Bytes that Python objects may have grown by after ``RUNS`` runs."""
MAX_RESIDENT_GROWTH = 2 << 20
"""Bytes that the process may have grown by after as many; one leaked output a run would be three times that."""

ROLES = ("observe", "imagine", "decode")


def onnx(role: str) -> bytes:
    return tiny_model.GRAPHS[role]().SerializeToString()


def tflite(role: str) -> bytes:
    return tiny_tflite.pack(tiny_tflite.model(tiny_tflite.GRAPHS[role]()))


BYTES: dict[str, Callable[[str], bytes]] = {"onnx": onnx, "tflite": tflite}


ENGINES = ["onnxruntime", "litert"]
if importlib.util.find_spec("tflite_runtime") is not None:  # needs Python 3.11 at most, and numpy 1
    ENGINES.append("tflite-runtime")


@pytest.fixture(params=ENGINES)
def format(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The format whose engine is under test."""
    if request.param == "tflite-runtime":
        monkeypatch.setattr(litert, "LIBRARIES", ("tflite_runtime.interpreter",))
    return "onnx" if request.param == "onnxruntime" else "tflite"


@pytest.fixture
def load(format: str) -> Callable[..., Engine]:
    def load(role: str, threads: int = 1, **options: Any) -> Engine:
        return load_engine(BYTES[format](role), Execution(format, threads=threads), **options)  # type: ignore[arg-type]

    return load


@pytest.fixture
def engine(load: Callable[..., Engine]) -> Engine:
    return load("observe", output_sets=2)


def inputs(**changes: object) -> dict[str, Array]:
    arrays = {
        "memory": np.arange(5, dtype=np.float32),
        "pose": np.array([1, 2, 3], dtype=np.float32),
        "camera": np.full((6, 8, 3), 51, dtype=np.uint8),
        "range": np.full(4, 2.0, dtype=np.float32),
        "applied_action": np.array([1.0, -1.0], dtype=np.float32),
    }
    return {**arrays, **changes}  # type: ignore[dict-item]


def test_it_says_what_goes_in_and_out(engine: Engine) -> None:
    assert set(engine.inputs) == {
        TensorSpec("memory", (5,), "float32"),
        TensorSpec("pose", (3,), "float32"),
        TensorSpec("camera", (6, 8, 3), "uint8"),
        TensorSpec("range", (4,), "float32"),
        TensorSpec("applied_action", (2,), "float32"),
    }
    assert set(engine.outputs) == {
        TensorSpec("next_memory", (5,), "float32"),
        TensorSpec("next_pose", (3,), "float32"),
    }


def test_outputs_are_as_the_engine_says(engine: Engine) -> None:
    outputs = engine.run(inputs())
    assert {TensorSpec(n, a.shape, a.dtype.name) for n, a in outputs.items()} == set(engine.outputs)


@pytest.mark.parametrize("role", ROLES)
def test_it_computes_what_the_graph_says(role: str, load: Callable[..., Engine]) -> None:
    vectors = golden()
    engine = load(role)
    for case in range(3):
        outputs = engine.run({spec.name: vectors[f"{role}/in/{spec.name}"][case] for spec in engine.inputs})
        for name, array in outputs.items():
            np.testing.assert_allclose(array, vectors[f"{role}/out/{name}"][case], rtol=1e-5, atol=1e-5)


def test_outputs_stay_in_the_same_memory(engine: Engine) -> None:
    first = engine.run(inputs())["next_pose"]
    second = engine.run(inputs(pose=np.zeros(3, dtype=np.float32)))["next_pose"]
    assert first is second
    np.testing.assert_allclose(second, [0.1, 0.2, -0.5], rtol=1e-6)


def test_one_set_of_outputs_leaves_the_other_alone(engine: Engine) -> None:
    first = engine.run(inputs(), 0)["next_pose"]
    kept = first.copy()
    second = engine.run(inputs(pose=first), 1)["next_pose"]
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_allclose(second - kept, [0.1, 0.2, -0.5], rtol=1e-6)


def test_inputs_need_not_be_contiguous(engine: Engine) -> None:
    wide = np.zeros((6, 8, 6), dtype=np.uint8)
    wide[..., ::2] = 51
    found = engine.run(inputs(camera=wide[..., ::2]))["next_memory"]
    np.testing.assert_allclose(found, np.arange(5) + 2.2, rtol=1e-6)


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
def test_wrong_inputs_are_named(wrong: dict[str, Array], named: str, engine: Engine) -> None:
    engine.run(inputs())  # the control
    with pytest.raises(ValueError, match=named):
        engine.run(wrong)
    np.testing.assert_allclose(engine.run(inputs())["next_pose"], [1.1, 2.2, 2.5], rtol=1e-6)


@pytest.mark.parametrize(
    "damage", [lambda _: b"", lambda _: b"not a graph", lambda data: data[:50], lambda data: bytes(len(data))]
)
def test_bytes_that_are_no_graph_are_refused_in_one_line(
    damage: Callable[[bytes], bytes], format: str, capfd: pytest.CaptureFixture[str]
) -> None:
    if litert.LIBRARIES == ("tflite_runtime.interpreter",):
        pytest.skip("tflite-runtime verifies nothing and crashes; the bundle's guard does it for all")
    with pytest.raises(EngineError) as refusal:
        load_engine(damage(BYTES[format]("observe")), Execution(format))  # type: ignore[arg-type]
    assert "\n" not in str(refusal.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("threads", [1, 2])
def test_the_number_of_threads_does_not_change_the_result(threads: int, load: Callable[..., Engine]) -> None:
    found = load("observe", threads=threads).run(inputs())["next_memory"]
    np.testing.assert_allclose(found, np.arange(5) + 2.2, rtol=1e-6)


def test_two_graphs_live_in_one_process(load: Callable[..., Engine], engine: Engine) -> None:
    decode = load("decode")
    before = {name: array.copy() for name, array in engine.run(inputs()).items()}
    brightness = decode.run({spec.name: spec.empty() + 3 for spec in decode.inputs})["brightness"]
    for name, array in engine.run(inputs()).items():
        np.testing.assert_array_equal(array, before[name])
    np.testing.assert_array_equal(brightness, np.full(5, 6.0))


def test_running_for_long_does_not_grow(engine: Engine) -> None:
    arrays = inputs()
    for _ in range(RUNS):
        engine.run(arrays)
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    for _ in range(RUNS):
        engine.run(arrays)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - resident < MAX_RESIDENT_GROWTH
    tracemalloc.start()
    try:
        engine.run(arrays)
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(RUNS):
            engine.run(arrays)
        assert tracemalloc.get_traced_memory()[0] - before < MAX_PYTHON_GROWTH
    finally:
        tracemalloc.stop()


def test_a_run_allocates_no_tensor(load: Callable[..., Engine]) -> None:
    engine = load("imagine", output_sets=2)
    arrays = {spec.name: spec.empty() for spec in engine.inputs}
    engine.run(arrays)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        engine.run(arrays)
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert peak < 4096  # numpy reports its arrays to tracemalloc: views are about 200 bytes


@pytest.mark.parametrize("role", ROLES)
def test_engines_agree(role: str) -> None:
    reference, other = (
        load_engine(onnx(role), Execution("onnx")),
        load_engine(tflite(role), Execution("tflite")),
    )
    assert set(reference.inputs) == set(other.inputs)
    assert set(reference.outputs) == set(other.outputs)
    random = np.random.default_rng(5)
    for _ in range(5):
        arrays = {
            spec.name: (random.normal(size=spec.shape) * 50 + 100).astype(spec.dtype)
            for spec in reference.inputs
        }
        found = other.run(arrays)
        for name, array in reference.run(arrays).items():
            np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-4)
