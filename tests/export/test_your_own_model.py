"""The page for people with a model of their own: its code is run as it stands."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

from edge_wm.bundle import manifest as mf
from edge_wm.bundle import onnx_guard
from edge_wm.bundle.load import load_bundle
from edge_wm.bundle.verify import verify_bundle
from edge_wm.errors import BadInput
from export.adapter import Adapter, Step, load_adapter
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
        (
            "def adapter(checkpoint):\n    raise FileNotFoundError('weights.pt')",
            r"adapter\(None\) failed: bad\.py:2: FileNotFoundError: weights\.pt",
        ),
    ],
)
def test_a_file_that_fails_is_one_line_with_the_place(tmp_path: Path, code: str, said: str) -> None:
    (tmp_path / "bad.py").write_text(code + "\n")
    with pytest.raises(BadInput, match=said) as found:
        load_adapter(tmp_path / "bad.py", None)
    assert "\n" not in str(found.value)


def _gives_a_tuple(split: str) -> list[list[object]]:
    return [[({"sensors": np.zeros(2, np.float32)}, np.zeros(1, np.float32))]]


def _looks_for_a_file(split: str) -> Iterator[list[Step]]:
    yield [][1]


@pytest.mark.parametrize(
    ("recordings", "said"),
    [
        (_gives_a_tuple, r"held-out recording 0, tick 0: is a tuple: give an export\.adapter\.Step"),
        (_looks_for_a_file, r"recordings\('held-out'\): test_your_own_model\.py:\d+: IndexError"),
        (lambda split: 1 // 0, r"recordings\('held-out'\): test_your_own_model\.py:\d+: ZeroDivisionError"),
        (lambda split: None, r"recordings\('held-out'\): TypeError: 'NoneType' object is not iterable"),
    ],
)
def test_recordings_that_fail_are_one_line(cart: Adapter, recordings: Callable[..., Any], said: str) -> None:
    with pytest.raises(BadInput, match=said) as found:
        rollouts(replace(cart, recordings=recordings), "held-out")
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


class Counting(nn.Module):
    """Takes the cart's state and a counter, and gives back ``order`` of the two."""

    def __init__(self, observe: nn.Module, order: tuple[int, ...]) -> None:
        super().__init__()
        self.observe, self.order = observe, order

    def forward(
        self, latent: torch.Tensor, count: torch.Tensor, *seen: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        after = (self.observe(latent, *seen), count + 1)
        return tuple(after[index] for index in self.order)


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ((0,), "observe returns 1 tensors, declared are 2: next_latent, next_count"),
        ((1, 0), r"observe returns float32\[1\] where next_latent .* is declared"),
    ],
)
def test_a_state_that_is_not_given_back_in_order_is_refused(
    cart: Adapter, tmp_path: Path, order: tuple[int, ...], said: str
) -> None:
    state = (*cart.state, mf.StateTensor("count", (1,)))
    wrong = replace(cart, state=state, observe=Counting(cart.observe, order).eval())
    with pytest.raises(BadInput, match=f"cart: {said}"):
        package(wrong, tmp_path / "cart", version="0.1.0")
    assert not (tmp_path / "cart").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"initial": {"laten": np.zeros(32)}}, "initial has 'laten', state has latent"),
        ({"initial": {"latent": np.zeros(31)}}, r"initial latent has shape \[31\], declared is \[32\]"),
        (
            {"float_parts": ("plaec",)},
            "float_parts: no layer has 'plaec' in its name; names are such as network",
        ),
    ],
)
def test_a_declaration_that_fits_nothing_is_refused(
    cart: Adapter, change: dict[str, object], said: str
) -> None:
    with pytest.raises(BadInput, match=said):
        replace(cart, **change)
    replace(cart, initial={"latent": np.zeros(32)}, float_parts=("network.place", "GRUCell_prior"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda cart: {"name": "My Cart"}, r"My Cart: .*regex.*\$\.name"),
        (
            lambda cart: {"action": mf.ActionSpec(("a", "b"), ("N", "N"), (-1.0, -1.0), (1.0, 1.0))},
            "cart: planner.initial_std must have 2 entries",
        ),
        (
            lambda cart: {"planner": msgspec.structs.replace(cart.planner, elites=1000)},
            "cart: planner.elites 1000 must not exceed imagine.candidates 64",
        ),
        (
            lambda cart: {"planner": msgspec.structs.replace(cart.planner, costs={"speed": 1.0})},
            "cart: planner.costs: no cost is called speed",
        ),
        (lambda cart: {"tick_s": np.float32(0.1)}, "cart: a declaration is not plain data: .*float32"),
        (
            lambda cart: {"state": (*cart.state, mf.StateTensor("sensors", (2,)))},
            "cart: observe: tensor name used twice: sensors",
        ),
    ],
)
def test_what_a_bundle_cannot_say_is_refused_before_anything_is_observed(
    cart: Adapter, tmp_path: Path, change: Callable[[Adapter], dict[str, Any]], said: str
) -> None:
    def never(split: str) -> list[list[Step]]:
        raise AssertionError("observed")

    with pytest.raises(BadInput, match=said) as found:
        package(replace(cart, recordings=never, **change(cart)), tmp_path / "cart", version="0.1.0")
    assert "\n" not in str(found.value)
    assert not (tmp_path / "cart").exists()
    with pytest.raises(BadInput, match="AssertionError: observed"):
        package(replace(cart, recordings=never), tmp_path / "cart", version="0.1.0")


def test_a_place_that_is_taken_is_refused_before_anything_is_observed(cart: Adapter, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    with pytest.raises(BadInput, match="thesis: exists and is not a bundle"):
        package(replace(cart, recordings=lambda split: 1 // 0), tmp_path / "thesis", version="0.1.0")


def test_a_graph_that_the_loader_would_refuse_is_told_apart(
    cart: Adapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_guard, "MAX_PARAMETERS", 100)
    said = r"cart: observe onnx fp32: failed to export: observe\.fp32\.onnx: stores more than 100 numbers"
    with pytest.raises(BadInput, match=said):
        package(cart, tmp_path / "cart", version="0.1.0")
    assert not (tmp_path / "cart").exists()


def test_recordings_that_prove_nothing_are_refused(cart: Adapter, tmp_path: Path) -> None:
    alike = replace(cart, recordings=lambda split: cart.recordings("calibration"))
    with pytest.raises(BadInput, match=r"'held-out'.* are those of 'calibration': give other episodes"):
        package(alike, tmp_path / "cart", version="0.1.0")
    assert not (tmp_path / "cart").exists()


def test_a_model_that_gives_no_number_in_pytorch_is_told_from_a_wrong_graph(
    cart: Adapter, tmp_path: Path
) -> None:
    class Rooted(nn.Module):
        def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
            return (cart.imagine(*inputs) - 100.0).sqrt()

    with pytest.raises(BadInput, match="imagine gives NaN or infinity as goal_distance, in PyTorch"):
        package(replace(cart, imagine=Rooted().eval()), tmp_path / "cart", version="0.1.0")


def test_a_module_may_write_into_its_inputs(cart: Adapter) -> None:
    class InPlace(nn.Module):
        def forward(self, latent: torch.Tensor, *seen: torch.Tensor) -> torch.Tensor:
            latent *= 0.5
            after: torch.Tensor = cart.observe(latent, *seen)
            return after

    first, second = rollouts(replace(cart, observe=InPlace().eval()), "held-out")["observe"][:2]
    assert not first["latent"].any()
    assert second["latent"].any()
