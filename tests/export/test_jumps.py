"""A jump of the model is told from an error of its graph."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edge_wm.sensors.observation import Array
from export.jumps import without_jumps

FAR = 1e-4
ROWS = 100
"""One of them is about to tip."""


class Graph:
    """An engine that has loaded ``function``."""

    def __init__(self, function: Callable[[Array], Array]) -> None:
        self._function = function

    def run(self, inputs: dict[str, Array]) -> dict[str, Array]:
        return {"y": self._function(inputs["x"])}


def model(x: Array) -> Array:
    """1 where the first number of a row is the larger one."""
    return (x[:, 0] > x[:, 1]).astype(np.float32)


def case(tied: int = 1) -> Array:
    """Rows far from a tie, but for ``tied`` of them."""
    x = np.random.default_rng(0).normal(size=(ROWS, 2)).astype(np.float32)
    x[:, 1] = x[:, 0] + np.where(x[:, 1] > 0, 0.5, -0.5)
    x[:tied, 1] = x[:tied, 0]
    return x


def left(graph: Callable[[Array], Array], x: Array) -> float:
    """The largest error that is no jump."""
    expected, engine = {"y": model(x)}, Graph(graph)
    errors = {"y": np.abs(engine.run({"x": x})["y"].astype(np.float64) - expected["y"])}
    assert errors["y"].max() > FAR
    return float(without_jumps(engine, {"x": x}, expected, errors, FAR)["y"].max())


def rounds_otherwise(x: Array) -> Array:
    """The model in another order of additions."""
    return model(x + np.array([1e-7, 0.0], dtype=np.float32))


def test_a_choice_that_falls_otherwise_is_a_jump() -> None:
    assert left(rounds_otherwise, case()) == 0.0


@pytest.mark.parametrize(
    "wrong",
    [lambda x: model(x) + np.float32(1e-3), lambda x: model(x[:, ::-1]), lambda x: np.full(len(x), np.inf)],
)
def test_another_function_is_not(wrong: Callable[[Array], Array]) -> None:
    assert not left(wrong, case()) <= FAR


def test_a_graph_that_is_wrong_in_one_number_is_not_forgiven() -> None:
    def spoiled(x: Array) -> Array:
        y = model(x)
        y[7] += 0.01
        return y

    assert left(spoiled, case()) > FAR


def test_choices_that_tip_in_many_places_are_no_rounding() -> None:
    assert left(rounds_otherwise, case(tied=ROWS // 5)) > FAR
