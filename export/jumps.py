"""Where a model jumps: a choice between two that are alike falls otherwise in another order of additions.

A model that takes the mode of a category, as recurrent models with discrete latents do, gives another outcome where two
probabilities differ by less than the last digit.  Neither is wrong.  An error of a graph is such a jump if the same graph
gives PyTorch's number for inputs that differ by as little; a graph that calculates something else does not.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edge_wm.engines.engine import Engine
from edge_wm.sensors.observation import Array

NUDGE = 1e-6
"""How far inputs are moved, as a share of the largest value of each."""
NUDGES = 12
RARE = 0.1
"""Share of the values of an output up to which errors may be jumps."""


def without_jumps(
    engine: Engine,
    case: Mapping[str, Array],
    expected: Mapping[str, Array],
    errors: Mapping[str, Array],
    far: float,
) -> dict[str, Array]:
    """The errors of a case, where the graph jumps by what is left for inputs that are hardly other ones.

    Args:
        engine: has loaded the graph.
        case: its inputs.
        expected: PyTorch's outputs.
        errors: absolute differences between the engine's outputs and ``expected``.
        far: an error beyond this share of an output's largest value, or this number if that is below 1, may be a jump.
    """
    least = {name: np.array(error) for name, error in errors.items()}

    def is_far(name: str) -> Array:
        found: Array = ~(least[name] <= far * max(1.0, float(np.abs(expected[name]).max())))
        return found

    rng = np.random.default_rng(0)
    for _ in range(NUDGES):
        shares = [float(is_far(name).mean()) for name in least]
        if not any(shares) or max(shares) > RARE:
            break
        found = engine.run({name: _nudged(array, rng) for name, array in case.items()})
        for name, error in least.items():
            with np.errstate(invalid="ignore"):
                again = np.abs(found[name].astype(np.float64) - expected[name])
            np.copyto(error, again, where=is_far(name) & (again < error))
    return least


def _nudged(array: Array, rng: np.random.Generator) -> Array:
    if array.dtype.kind != "f":
        return array
    by = NUDGE * float(np.abs(array).max(initial=0.0)) * rng.standard_normal(array.shape)
    moved: Array = (array + by).astype(array.dtype)
    return moved
