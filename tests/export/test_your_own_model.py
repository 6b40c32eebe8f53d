"""The page for people with a model of their own: its code is run as it stands."""

from __future__ import annotations

import copy
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edge_wm.bundle.load import load_bundle
from edge_wm.bundle.verify import verify_bundle
from edge_wm.errors import BadInput
from export.adapter import Adapter, load_adapter
from export.package import package
from export.rollouts import rollouts

PAGE = Path(__file__).parents[2] / "docs" / "your-own-model.md"
ADAPTER, CRITICS, RUNTIME = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)


@pytest.fixture
def cart(tmp_path: Path) -> Adapter:
    (tmp_path / "cart.py").write_text(ADAPTER)
    return load_adapter(tmp_path / "cart.py", None)


def test_the_page_leads_from_a_model_to_plans(cart: Adapter, tmp_path: Path) -> None:
    package(cart, tmp_path / "models" / "cart", version="0.1.0")
    assert all(check.passed for check in verify_bundle(load_bundle(tmp_path / "models" / "cart")))
    sent: list[np.ndarray] = []

    def send(action: np.ndarray) -> np.ndarray:
        sent.append(action)
        return action

    code = RUNTIME.replace('Path("models/cart")', f'Path("{tmp_path}/models/cart")')
    exec(code, {"read": lambda: np.array([0.1, 0.0], dtype=np.float32), "send": send})
    assert len(sent) == 20
    assert all(np.isfinite(action).all() and np.abs(action).max() <= 1.0 for action in sent)


def test_a_module_in_training_mode_is_refused(cart: Adapter) -> None:
    cart.imagine.network.prior.train()
    with pytest.raises(
        BadInput, match=r"cart: observe\.network\.prior is in training mode: call observe\.eval"
    ):
        replace(cart)
    cart.imagine.eval()
    replace(cart)


def test_a_module_that_returns_no_tensor_is_refused(cart: Adapter, tmp_path: Path) -> None:
    class Named(nn.Module):
        def forward(self, *inputs: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"goal_distance": cart.imagine(*inputs)}

    with pytest.raises(BadInput, match="Named returns a dict: return a tensor or a tuple of tensors"):
        package(replace(cart, imagine=Named().eval()), tmp_path / "cart", version="0.1.0")
    assert not (tmp_path / "cart").exists()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import nowhere_to_be_found", r"bad\.py:1: ModuleNotFoundError: .*: install what the model needs"),
        (
            "def adapter(checkpoint):\n    return checkpoint.size",
            r"adapter\(None\) failed: bad\.py:2: AttributeError",
        ),
        (
            "def adapter(checkpoint):\n    assert checkpoint",
            r"adapter\(None\) failed: bad\.py:2: AssertionError",
        ),
        ("size = 1 / 0", r"bad\.py:1: ZeroDivisionError: division by zero"),
    ],
)
def test_a_file_that_fails_is_one_line_with_the_place(tmp_path: Path, code: str, said: str) -> None:
    (tmp_path / "bad.py").write_text(code + "\n")
    with pytest.raises(BadInput, match=said) as found:
        load_adapter(tmp_path / "bad.py", None)
    assert "\n" not in str(found.value)


def test_a_module_that_takes_other_inputs_is_one_line_with_what_it_was_given(cart: Adapter) -> None:
    class Forgetful(nn.Module):
        def forward(self, latent: torch.Tensor, sensors: torch.Tensor) -> torch.Tensor:
            return latent

    said = r"^Forgetful\(latent, sensors, applied_action\): TypeError: .* takes 3 positional arguments but 4"
    with pytest.raises(BadInput, match=said):
        rollouts(replace(cart, observe=Forgetful().eval()), "held-out")


def test_critics_in_a_tensordict_become_modules_as_the_page_says() -> None:
    """The ensemble is built and called as TD-MPC2's; tensordict is no dependency of ours."""
    tensordict = pytest.importorskip("tensordict", reason="pip install tensordict")
    torch.manual_seed(0)
    members = [nn.Sequential(nn.Linear(3, 8), nn.LayerNorm(8), nn.Mish(), nn.Linear(8, 2)) for _ in range(4)]
    expected = [copy.deepcopy(member) for member in members]

    class Ensemble(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.params = tensordict.from_modules(*members, as_module=True)
            with self.params[0].data.to("meta").to_module(members[0]):
                self.module = copy.deepcopy(members[0])

        def __len__(self) -> int:
            return len(members)

    names = {"copy": copy, "nn": nn}
    exec(CRITICS, names)
    alone = names["critics"](Ensemble())
    assert len(list(alone.parameters())) == 4 * 6
    x = torch.randn(5, 3)
    for found, wanted in zip(alone, expected, strict=True):
        torch.testing.assert_close(found(x), wanted(x))
