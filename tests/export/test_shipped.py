"""The shipped model can be exported for plans of other sizes, and imagines the same in all of them."""

from __future__ import annotations

import numpy as np
import pytest

from edge_wm.bundle.manifest import Role
from edge_wm.errors import BadInput
from export.graphs import IMAGINED
from export.rollouts import Inputs, run
from export.shipped import adapter
from export.world_model import WorldModel
from tests.export.tiny import TINY

CANDIDATES, STEPS = 16, TINY.horizon - 2


def test_a_smaller_plan_imagines_the_same(model: WorldModel, driven: dict[Role, list[Inputs]]) -> None:
    whole = driven["imagine"][-1]
    part = {**whole, "actions": whole["actions"][:CANDIDATES, :STEPS]}
    smaller = adapter(model, CANDIDATES, STEPS)
    assert (smaller.imagine_size.candidates, smaller.imagine_size.horizon) == (CANDIDATES, STEPS)
    expected = dict(zip(IMAGINED, run(adapter(model).imagine, whole), strict=True))
    found = dict(zip(IMAGINED, run(smaller.imagine, part), strict=True))
    assert found["policy"].shape == (STEPS, 2)
    np.testing.assert_allclose(found["policy"], expected["policy"][:STEPS], rtol=1e-5)
    for name in ("imagined_pose", "collision", "clearance", "uncertainty", "cost_to_go"):
        np.testing.assert_allclose(found[name], expected[name][:CANDIDATES, :STEPS], rtol=1e-4, atol=1e-5)
    # The value is that of the last pose, which is another one now.
    np.testing.assert_allclose(found["value"], expected["cost_to_go"][:CANDIDATES, STEPS - 1], rtol=1e-4)


def test_a_horizon_that_was_not_trained_for_is_refused(model: WorldModel) -> None:
    for steps in (0, TINY.horizon + 1):
        with pytest.raises(BadInput, match=f"horizon of {steps} steps"):
            adapter(model, horizon=steps)
