"""The planners that are compared: ours, others', and our planner on other engines.

Each is a function of the size and the folder of bundles that returns a function that plans once: the same network, the
same candidates, steps and iterations, one thread.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from benchmarks.latent_mlp import (
    ACTIONS,
    DISCOUNT,
    ELITES,
    INITIAL_STD,
    ITERATIONS,
    LIMIT,
    TEMPERATURE,
    Imagine,
    LatentMLP,
    Size,
    latent_of,
    network,
)
from edge_wm.bundle.load import load_bundle
from edge_wm.bundle.manifest import Precision
from edge_wm.engines.execution import Execution
from edge_wm.planner.icem import ICEM
from edge_wm.planner.plan import ActionLimits, PlannerConfig
from edge_wm.world_model import WorldModel
from export.onnx_export import to_onnx

Plan = Callable[[], object]
MakePlan = Callable[[Size, Path], Plan]


def world_model(size: Size, bundles: Path, precision: Precision) -> WorldModel:
    """The bundle of that size, loaded."""
    return WorldModel(load_bundle(bundles / str(size)), Execution(precision=precision))


def our_planner(model: Any, manifest: Any) -> ICEM:
    """The planner that the manifest asks for, on ``model``."""
    limits = ActionLimits(manifest.action.low, manifest.action.high)
    return ICEM(model, PlannerConfig.from_manifest(manifest), limits)


def ours(precision: Precision) -> MakePlan:
    """This project.  Drawing the noise counts, although a robot does it after the command is sent."""

    def make(size: Size, bundles: Path) -> Plan:
        model = world_model(size, bundles, precision)
        planner = our_planner(model, model.manifest)
        state = {"latent": latent_of(size)}

        def plan() -> None:
            planner.plan(state, None)
            planner.draw_ahead()

        return plan

    return make


def pytorch_mppi(size: Size, bundles: Path) -> Plan:
    """``pytorch_mppi.MPPI``: one ``command`` an iteration; the value is part of the last step's cost.

    Its ``terminal_state_cost`` would say the same and make it store all states.
    """
    from pytorch_mppi import MPPI

    mlp, last = network(size), size.horizon - 1

    def cost(latent: Tensor, action: Tensor, step: int) -> Tensor:
        reward = mlp.reward(latent)
        return -(reward + mlp.value(latent) if step == last else reward)

    controller = MPPI(
        lambda latent, action, step: mlp.step(latent, action),
        cost,
        size.latent,
        torch.eye(ACTIONS) * INITIAL_STD**2,
        num_samples=size.candidates,
        horizon=size.horizon,
        lambda_=1.0 / TEMPERATURE,
        u_min=torch.full((ACTIONS,), -LIMIT),
        u_max=torch.full((ACTIONS,), LIMIT),
        step_dependent_dynamics=True,
    )
    latent = torch.from_numpy(latent_of(size))

    @torch.inference_mode()
    def plan() -> None:
        for iteration in range(ITERATIONS):
            controller.command(latent, shift_nominal_trajectory=iteration == 0)

    return plan


def torchrl_cem(size: Size, bundles: Path) -> Plan:
    """``torchrl.modules.CEMPlanner``; it has no place for the value."""
    from torchrl.modules import CEMPlanner

    environment = _torchrl_environment(network(size))
    return _torchrl_plan(CEMPlanner(environment, size.horizon, ITERATIONS, size.candidates, ELITES), size)


def torchrl_mppi(size: Size, bundles: Path) -> Plan:
    """``torchrl.modules.MPPIPlanner`` with a TD(lambda) advantage, as in its documentation."""
    from torchrl.modules import MPPIPlanner, ValueOperator
    from torchrl.objectives.value import TDLambdaEstimator

    mlp = network(size)
    advantage = TDLambdaEstimator(
        gamma=DISCOUNT, lmbda=0.95, value_network=ValueOperator(mlp.value, in_keys=["latent"])
    )
    planner = MPPIPlanner(
        _torchrl_environment(mlp),
        advantage,
        temperature=TEMPERATURE,
        planning_horizon=size.horizon,
        optim_steps=ITERATIONS,
        num_candidates=size.candidates,
        top_k=ELITES,
    )
    return _torchrl_plan(planner, size)


def _torchrl_environment(mlp: LatentMLP) -> Any:
    from tensordict.nn import TensorDictModule
    from torchrl.data import Bounded, Composite, Unbounded
    from torchrl.envs.model_based import ModelBasedEnvBase
    from torchrl.modules import WorldModelWrapper

    class Environment(ModelBasedEnvBase):  # type: ignore[misc]
        def __init__(self) -> None:
            step = TensorDictModule(Step(mlp), in_keys=["latent", "action"], out_keys=["latent"])
            reward = TensorDictModule(mlp.reward, in_keys=["latent"], out_keys=["reward"])
            super().__init__(WorldModelWrapper(step, reward), device="cpu", batch_size=torch.Size([]))
            self.state_spec = Composite(latent=Unbounded((mlp.value.in_features,)))
            self.observation_spec = self.state_spec.clone()
            self.action_spec = Bounded(-LIMIT, LIMIT, (ACTIONS,))
            self.reward_spec = Unbounded((1,))

        def _reset(self, tensordict: Any) -> Any:
            raise NotImplementedError("planned from, never reset")

    return Environment()


def _torchrl_plan(planner: Any, size: Size) -> Plan:
    from tensordict import TensorDict

    latent = torch.from_numpy(latent_of(size))

    @torch.inference_mode()
    def plan() -> None:
        planner(TensorDict({"latent": latent}, batch_size=[]))

    return plan


class Step(nn.Module):
    """One step of the network as a module: latent state, action -> latent state."""

    def __init__(self, mlp: LatentMLP) -> None:
        super().__init__()
        self.mlp = mlp

    def forward(self, latent: Tensor, action: Tensor) -> Tensor:
        return self.mlp.step(latent, action)


class StepAndRead(Step):
    """One step, its reward and its value: what a graph of one step must give."""

    def forward(self, latent: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        after = self.mlp.step(latent, action)
        return after, self.mlp.reward(after), self.mlp.value(after)


Outcomes = Mapping[str, np.ndarray]


def on_another_engine(
    make_imagine: Callable[[Size], Callable[[np.ndarray, np.ndarray], Outcomes]],
) -> MakePlan:
    """Our planner, with something else to imagine with: what the engine and the form of the graph are worth."""

    def make(size: Size, bundles: Path) -> Plan:
        manifest = load_bundle(bundles / str(size)).manifest
        imagine = make_imagine(size)
        model = SimpleNamespace(
            manifest=manifest, imagine=lambda state, actions, goal: imagine(state["latent"], actions)
        )
        planner = our_planner(model, manifest)
        state = {"latent": latent_of(size)}

        def plan() -> None:
            planner.plan(state, None)
            planner.draw_ahead()

        return plan

    return make


def torch_eager(size: Size) -> Callable[[np.ndarray, np.ndarray], Outcomes]:
    """PyTorch as it is."""
    return _in_torch(Imagine(network(size)))


def torch_compiled(size: Size) -> Callable[[np.ndarray, np.ndarray], Outcomes]:
    """PyTorch through ``torch.compile``; needs a C++ compiler."""
    return _in_torch(torch.compile(Imagine(network(size)), fullgraph=True, dynamic=False))


def _in_torch(imagine: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> Any:
    @torch.inference_mode()
    def outcomes(latent: np.ndarray, actions: np.ndarray) -> Outcomes:
        reward, value = imagine(torch.from_numpy(latent), torch.from_numpy(actions))
        return {"reward": reward.numpy(), "terminal_value": value.numpy()}

    return outcomes


def onnx_step_by_step(size: Size) -> Callable[[np.ndarray, np.ndarray], Outcomes]:
    """ONNX Runtime's ``session.run`` on a graph of one step, with a loop over time in Python."""
    example = {
        "latent": torch.zeros(size.candidates, size.latent),
        "action": torch.zeros(size.candidates, ACTIONS),
    }
    graph = to_onnx(StepAndRead(network(size)), example, ("next_latent", "reward", "value"))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def outcomes(latent: np.ndarray, actions: np.ndarray) -> Outcomes:
        latents, rewards, value = np.tile(latent, (size.candidates, 1)), [], None
        for step in range(size.horizon):
            latents, reward, value = session.run(None, {"latent": latents, "action": actions[:, step]})
            rewards.append(reward)
        return {"reward": np.concatenate(rewards, axis=1), "terminal_value": value[:, 0]}

    return outcomes


OURS: Mapping[str, MakePlan] = {"edge-wm fp32": ours("fp32"), "edge-wm int8": ours("int8")}
PEERS: Mapping[str, MakePlan] = {
    "pytorch-mppi": pytorch_mppi,
    "TorchRL CEM": torchrl_cem,
    "TorchRL MPPI": torchrl_mppi,
    "our planner on PyTorch": on_another_engine(torch_eager),
    "our planner on torch.compile": on_another_engine(torch_compiled),
    "our planner on ONNX Runtime, step by step": on_another_engine(onnx_step_by_step),
}


def versions() -> dict[str, str]:
    """Of everything that is compared."""
    names = ("numpy", "onnxruntime", "torch", "pytorch-mppi", "torchrl", "tensordict")
    return {name: importlib.metadata.version(name) for name in names}
