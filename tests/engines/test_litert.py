"""What only the LiteRT engine does: int8 behind float32, names from the signature, delegates."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pytest

from edge_wm.engines.engine import EngineError, TensorSpec
from edge_wm.engines.execution import Execution
from edge_wm.engines.litert import LiteRtEngine
from edge_wm.errors import BadInput
from tests.tiny_tflite import int8_sum, model, observe_graph, pack

OBSERVE = pack(model(observe_graph()))
TFLITE = Execution("tflite")


@pytest.fixture
def engine() -> LiteRtEngine:
    return LiteRtEngine(pack(model(int8_sum())), TFLITE, output_sets=2)


def values(*numbers: float) -> np.ndarray:
    return np.array(numbers, dtype=np.float32)


def test_an_int8_graph_is_float32_to_the_caller(engine: LiteRtEngine) -> None:
    assert engine.inputs == (TensorSpec("left", (4,), "float32"), TensorSpec("right", (4,), "float32"))
    total = engine.run({"left": values(1, 2, -3, 0), "right": values(1, 0.5, 0.25, 0)})["total"]
    assert total.dtype == np.float32
    np.testing.assert_allclose(total, [2, 2.5, -2.75, 0], atol=0.075 + 1e-5)
    assert engine.run({"left": values(9, 9, 9, 9), "right": values(0, 0, 0, 0)})["total"] is total


def test_values_beyond_the_scale_saturate(engine: LiteRtEngine) -> None:
    zero = values(0, 0, 0, 0)
    highest, lowest = (127 - 3) * 0.1, (-128 - 3) * 0.1
    total = engine.run({"left": values(1e30, -1e30, np.inf, -np.inf), "right": zero})["total"]
    np.testing.assert_allclose(total, [highest, lowest, highest, lowest], atol=0.075 + 1e-5)


def test_nan_is_refused_where_the_graph_has_integers(engine: LiteRtEngine) -> None:
    with pytest.raises(EngineError, match="left holds NaN"):
        engine.run({"left": values(0, np.nan, 0, 0), "right": values(0, 0, 0, 0)})


def no_signature(m):
    m.signatureDefs = None


def two_signatures(m):
    m.signatureDefs = [*model(int8_sum()).signatureDefs, *m.signatureDefs]
    m.signatureDefs[0].signatureKey = "other"


def an_unnamed_output(m):
    m.signatureDefs[0].outputs = []


def a_dynamic_shape(m):
    m.subgraphs[0].tensors[0].shapeSignature = [-1]


@pytest.mark.parametrize("change", [no_signature, two_signatures, an_unnamed_output, a_dynamic_shape])
def test_a_graph_whose_border_is_not_plain_is_refused(change: Callable[..., None]) -> None:
    m = model(int8_sum())
    LiteRtEngine(pack(m), TFLITE)  # the control
    change(m)
    with pytest.raises(EngineError) as refusal:
        LiteRtEngine(pack(m), TFLITE)
    assert "\n" not in str(refusal.value)


def test_a_delegate_that_cannot_be_loaded_is_one_line() -> None:
    with pytest.raises(EngineError, match=r"libnowhere\.so") as refusal:
        LiteRtEngine(OBSERVE, Execution("tflite", accelerator="delegate", delegate="libnowhere.so"))
    assert "\n" not in str(refusal.value)


def test_a_missing_library_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("ai_edge_litert", "tflite_runtime"):
        monkeypatch.setitem(sys.modules, package, None)
        monkeypatch.setitem(sys.modules, f"{package}.interpreter", None)
    with pytest.raises(BadInput, match=r"pip install 'edge-wm\[litert\]'"):
        LiteRtEngine(OBSERVE, TFLITE)
