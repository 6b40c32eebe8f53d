"""Other people's models go through the adapter: same numbers in PyTorch and on board, and the plans of their planners."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

from edge_wm.bundle.load import load_bundle
from edge_wm.bundle.verify import verify_bundle
from edge_wm.engines.execution import Execution
from edge_wm.planner.icem import ICEM
from edge_wm.planner.noise import NoiseRing
from edge_wm.planner.plan import ActionLimits, PlannerConfig
from edge_wm.sensors.observation import Observation
from edge_wm.world_model import WorldModel
from export.adapter import Adapter, Step, load_adapter
from export.forms import Form
from export.package import package

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
MAX_ERROR = 1e-4
SEED = 3


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


td_mpc2, jepa = example("td_mpc2"), example("jepa")
for module in (td_mpc2, jepa):
    module.EPISODES, module.TICKS = 2, 36
SMALL_TD = td_mpc2.Size(encoder=32, width=32, latent=32, candidates=64, elites=16)
SMALL_JEPA = jepa.Size(embedding=24, heads=2, encoder_blocks=1, predictor_blocks=1, candidates=32, horizon=3)
ADAPTERS: dict[str, Callable[[], Adapter]] = {
    "td_mpc2": lambda: td_mpc2.adapter(None, SMALL_TD),
    "td_mpc2 pictures": lambda: td_mpc2.adapter(None, replace(SMALL_TD, latent=512, pictures=True)),
    "jepa": lambda: jepa.adapter(None, SMALL_JEPA),
}


def seen(step: Step) -> Observation:
    return Observation(time=0.0, sequence=0, arrays=step.observation)


@dataclass(frozen=True)
class Exported:
    name: str
    adapter: Adapter
    directory: Path

    @property
    def steps(self) -> list[Step]:
        """Of one recording."""
        return list(next(iter(self.adapter.recordings("held-out"))))

    def observed(self, model: WorldModel, ticks: int) -> dict[str, np.ndarray]:
        """The latent state after some ticks of a recording."""
        state = model.initial_state()
        for step in self.steps[:ticks]:
            state = model.observe(state, seen(step), step.applied)
        return {name: array.copy() for name, array in state.items()}


@pytest.fixture(scope="module", params=ADAPTERS)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    adapter = ADAPTERS[request.param]()
    directory = tmp_path_factory.mktemp("models") / adapter.name
    forms = [Form("onnx", "fp32"), Form("onnx", "int8")]
    package(adapter, directory, version="0.0.1", forms=forms[:1] if "pictures" in request.param else forms)
    return Exported(request.param, adapter, directory)


def test_a_bundle_of_another_model_verifies(exported: Exported) -> None:
    checks = verify_bundle(load_bundle(exported.directory))
    assert {check.role for check in checks} == {"observe", "imagine"}
    assert all(check.passed for check in checks)


def test_every_form_of_a_model_is_one_model_and_is_proven(tmp_path: Path) -> None:
    forms = [
        Form(format, precision) for format in ("onnx", "tflite") for precision in ("fp32", "fp16", "int8")
    ]
    directory = tmp_path / "all"
    wide = replace(SMALL_TD, width=64, latent=64)  # smaller layers stay in float in int8
    package(td_mpc2.adapter(None, wide), directory, version="0.0.1", forms=forms)
    bundle = load_bundle(directory)
    assert {(graph.format, graph.precision) for graph in bundle.manifest.graphs} == set(forms)
    checks = verify_bundle(bundle)
    assert {(check.format, check.precision) for check in checks} == set(forms)
    assert all(check.passed for check in checks)
    outcomes = {}
    for form in forms:
        model = WorldModel(bundle, Execution(*form))
        actions = np.full((64, 3, 6), 0.3, dtype=np.float32)
        outcomes[form] = model.imagine(model.initial_state(), actions)["reward"].copy()
    truth = outcomes["onnx", "fp32"]
    np.testing.assert_allclose(outcomes["tflite", "fp32"], truth, atol=MAX_ERROR)
    # The control: the forms are not one graph under six names.
    assert all(np.abs(outcomes[form] - truth).max() > 1e-6 for form in forms if form.precision != "fp32")


def test_the_runtime_gives_the_numbers_of_pytorch(
    exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both carry a latent state of their own over a recording and imagine from it."""
    model = WorldModel(load_bundle(exported.directory), Execution(precision="fp32"))
    state, truth = model.initial_state(), list(exported.adapter.initial_state().values())
    truth = [torch.from_numpy(array) for array in truth]
    size = model.manifest.imagine
    rng = np.random.default_rng(SEED)
    # The control: the same model with other weights.
    monkeypatch.setattr(td_mpc2, "SEED", 1)
    monkeypatch.setattr(jepa, "SEED", 1)
    other = ADAPTERS[exported.name]()
    for step in exported.steps[:6]:
        state = model.observe(state, seen(step), step.applied)
        observed = [torch.from_numpy(step.observation[spec.name]) for spec in exported.adapter.observation]
        actions = rng.uniform(-1, 1, (size.candidates, size.horizon, len(step.applied))).astype(np.float32)
        goal = [] if step.goal is None else [torch.from_numpy(step.goal)]
        with torch.no_grad():
            after = exported.adapter.observe(*truth, *observed, torch.from_numpy(step.applied))
            truth = list(after) if isinstance(after, tuple) else [after]
            given = (*truth, torch.from_numpy(actions), *goal)
            expected, different = exported.adapter.imagine(*given), other.imagine(*given)
        outcomes = model.imagine(state, actions, step.goal)
        for found, wanted in zip(state.values(), truth, strict=True):
            np.testing.assert_allclose(found, wanted.numpy(), atol=MAX_ERROR, rtol=0)
        expected = expected if isinstance(expected, tuple) else (expected,)
        different = different if isinstance(different, tuple) else (different,)
        for (name, found), wanted, wrong in zip(outcomes.items(), expected, different, strict=True):
            np.testing.assert_allclose(found, wanted.numpy(), atol=MAX_ERROR, rtol=0, err_msg=name)
            assert np.abs(found - wrong.numpy()).max() > 100 * MAX_ERROR


# --- the published planners, in PyTorch ------------------------------------------------------------------------------


def mppi(
    model: torch.nn.Module,
    z: Tensor,
    mean: Tensor,
    noise: Callable[[], Tensor],
    policy: Tensor,
    draw: Callable[[Tensor], int],
    temperature: float,
) -> tuple[Tensor, Tensor]:
    """One plan of TD-MPC2 (Hansen et al. 2024, section 3.2).  Returns the last mean and the chosen candidate [H, A]."""
    size = model.size
    std = torch.full_like(mean, 2.0)
    for _ in range(6):
        actions = (mean + std * noise()).clamp(-1.0, 1.0)
        actions[: len(policy)] = policy
        value, latent = torch.zeros(len(actions)), z.expand(len(actions), -1)
        for step in range(size.horizon):
            value += size.discount**step * model.reward(latent, actions[:, step])
            latent = model.next(latent, actions[:, step])
        value += size.discount**size.horizon * model.value(latent, model.policy(latent))
        elite = value.topk(size.elites).indices
        score = (temperature * (value[elite] - value.max())).exp()
        score = (score / score.sum())[:, None, None]
        mean = (score * actions[elite]).sum(dim=0)
        std = (score * (actions[elite] - mean) ** 2).sum(dim=0).sqrt().clamp(0.05, 2.0)
    return mean, actions[elite[draw(score[:, 0, 0])]]


def cem(
    loss: Callable[[Tensor], Tensor], mean: Tensor, noise: Callable[[], Tensor], elites: int, iterations: int
) -> Tensor:
    """One plan of DINO-WM (Zhou et al. 2024), within limits: the last mean [H, A]."""
    std = torch.ones_like(mean)
    for _ in range(iterations):
        actions = mean + std * noise()
        actions[0] = mean
        actions = actions.clamp(-1.0, 1.0)
        elite = actions[loss(actions).argsort()[:elites]]
        mean, std = elite.mean(dim=0), elite.std(dim=0)
    return mean


def runtime(exported: Exported) -> tuple[WorldModel, ICEM, Callable[[], Tensor]]:
    """Model and planner on board, and the noise that this planner is about to draw."""
    model = WorldModel(load_bundle(exported.directory), Execution(precision="fp32"))
    manifest = model.manifest
    config = PlannerConfig.from_manifest(manifest)
    planner = ICEM(model, config, ActionLimits(manifest.action.low, manifest.action.high), seed=SEED)
    ring = NoiseRing(
        blocks=1,
        candidates=manifest.imagine.candidates,
        horizon=manifest.imagine.horizon,
        actions=len(manifest.action.names),
        beta=0.0,
        seed=SEED,
    )
    return model, planner, lambda: torch.from_numpy(ring.take().copy())


def shifted(sequence: Tensor) -> Tensor:
    """One step later, then rest."""
    return torch.cat([sequence[1:], torch.zeros_like(sequence[-1:])])


@torch.no_grad()
def td_mpc2_plans(exported: Exported, temperature: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Actions that the runtime plans, and those of the published planner, over some ticks."""
    model, planner, noise = runtime(exported)
    network, policy_noise = exported.adapter.imagine.model, exported.adapter.observe.noise
    draws = np.random.default_rng([SEED, 1])

    def draw(score: Tensor) -> int:
        """By Gumbel's trick, as published."""
        gumbel = -np.log(draws.exponential(size=len(score)))
        return int((score.log() + torch.from_numpy(gumbel)).argmax())

    mean = torch.zeros(network.size.horizon, network.size.action)
    for ticks in range(1, 4):
        state = exported.observed(model, ticks)
        z = torch.from_numpy(state["latent"])[None]
        policy, latent = [], z.expand(td_mpc2.POLICY_SEQUENCES, -1)
        for drawn in policy_noise:
            policy.append(network.policy(latent, drawn))
            latent = network.next(latent, policy[-1])
        mean, chosen = mppi(network, z, mean, noise, torch.stack(policy, dim=1), draw, temperature)
        yield planner.plan(state, None).actions, chosen.numpy()
        mean = shifted(mean)


@torch.no_grad()
def jepa_plans(exported: Exported, elites: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Actions that the runtime plans towards a goal picture, and those of the published planner, over some ticks."""
    model, planner, noise = runtime(exported)
    last = exported.steps[-1]
    there = model.observe(model.initial_state(), seen(last), last.applied)
    goal = there["embeddings"][-1].copy()
    mean = torch.zeros(SMALL_JEPA.horizon, len(jepa.ACTION))
    for ticks in range(1, 4):
        state = exported.observed(model, ticks)
        inputs = [torch.from_numpy(array) for array in state.values()]

        def loss(actions: Tensor, inputs: list[Tensor] = inputs) -> Tensor:
            return exported.adapter.imagine(*inputs, actions, torch.from_numpy(goal))

        mean = cem(loss, mean, noise, elites, SMALL_JEPA.iterations)
        yield planner.plan(state, goal).actions, mean.numpy()
        mean = shifted(mean)


@pytest.mark.parametrize("exported", ["td_mpc2", "td_mpc2 pictures"], indirect=True)
def test_the_runtime_plans_as_td_mpc2_does(exported: Exported) -> None:
    for found, expected in td_mpc2_plans(exported, temperature=0.5):
        np.testing.assert_allclose(found, expected, atol=MAX_ERROR, rtol=0)
    # The control: with another temperature it would be another planner.
    others = td_mpc2_plans(exported, temperature=50.0)
    assert max(np.abs(found - expected).max() for found, expected in others) > 100 * MAX_ERROR


@pytest.mark.parametrize("exported", ["jepa"], indirect=True)
def test_the_runtime_plans_to_a_goal_picture_as_dino_wm_does(exported: Exported) -> None:
    for found, expected in jepa_plans(exported, elites=SMALL_JEPA.elites):
        np.testing.assert_allclose(found, expected, atol=MAX_ERROR, rtol=0)
    others = jepa_plans(exported, elites=SMALL_JEPA.elites + 1)
    assert max(np.abs(found - expected).max() for found, expected in others) > 100 * MAX_ERROR


# --- sizes and checkpoints -------------------------------------------------------------------------------------------


def test_td_mpc2_has_its_published_size() -> None:
    model = td_mpc2.TDMPC2(td_mpc2.Size())
    assert sum(weight.numel() for weight in model.parameters()) == pytest.approx(5e6, rel=0.01)


def test_a_checkpoint_in_the_layout_of_the_published_code_is_read(tmp_path: Path) -> None:
    torch.manual_seed(SEED)
    trained = td_mpc2.TDMPC2(SMALL_TD).state_dict()
    stored = {name: weight for name, weight in trained.items() if not name.startswith("_Qs.")}
    for part in {name.partition(".")[2].partition(".")[2] for name in trained if name.startswith("_Qs.")}:
        stacked = torch.stack([trained[f"_Qs.{critic}.{part}"] for critic in range(SMALL_TD.critics)])
        stored |= {f"_Qs.params.{part}": stacked, f"_target_Qs_params.{part}": stacked}
    stored |= {"log_std_min": torch.tensor(-10.0), "_Qs.params.__batch_size": torch.Size([5])}
    torch.save({"model": stored}, tmp_path / "walker.pt")
    read = td_mpc2.load(tmp_path / "walker.pt", SMALL_TD).state_dict()
    assert all(torch.equal(read[name], weight) for name, weight in trained.items())


def test_an_adapter_may_import_what_lies_beside_it() -> None:
    adapter = load_adapter(EXAMPLES / "td_mpc2_pixels.py", None)
    assert [spec.name for spec in adapter.state] == ["latent", "policy", "frames"]
