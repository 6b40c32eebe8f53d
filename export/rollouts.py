"""What the graphs of a bundle meet while driving: inputs for calibration, golden vectors and error measurements."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from edge_wm.bundle import manifest as mf
from edge_wm.engines.engine import TensorSpec
from edge_wm.errors import BadInput
from edge_wm.planner.costs import POLICY
from edge_wm.sensors.observation import Array
from export.adapter import Adapter, Split, Step, own_fault
from export.declared import returned

KEEP_EVERY = 9
"""Neighbouring ticks are alike: so many are observed for each one that is recorded."""
WALK_STD = 1.5
"""Spread of the candidates at the end of the horizon, in the planner's initial standard deviations."""

Inputs = dict[str, Array]
T = TypeVar("T")


def rollouts(adapter: Adapter, split: Split) -> dict[mf.Role, list[Inputs]]:
    """Let the model observe the recordings of ``split`` and note the inputs of each graph, by role.

    Candidate actions are what a planner tries: sequences around the applied action and the policy head's proposal, if
    the model has one, with noise that is correlated over time, and full-scale ones.

    Raises:
        BadInput: there is nothing to observe, or a step or what the model returns is not what the adapter declares.
    """
    specs = [TensorSpec(f"next_{tensor.name}", tensor.shape, tensor.dtype) for tensor in adapter.state]
    recorded: dict[mf.Role, list[Inputs]] = {"observe": [], "imagine": [], "decode": []}
    for number, recording in enumerate(_each(lambda: adapter.recordings(split), f"recordings({split!r})")):
        rng = np.random.default_rng([number, 0xCA])
        state = adapter.initial_state()
        for tick, step in enumerate(_each(recording.__iter__, f"recordings({split!r})")):
            where = f"{adapter.name}: {split} recording {number}, tick {tick}"
            if not isinstance(step, Step):
                raise BadInput(f"{where}: is a {type(step).__name__}: give an export.adapter.Step")
            given = {**state, **_checked(adapter, step, where)}
            after = returned(adapter.name, "observe", specs, run(adapter.observe, given))
            state = dict(zip(state, after.values(), strict=True))
            if tick % KEEP_EVERY == 0:
                goal = {} if step.goal is None else {"goal": np.asarray(step.goal, dtype=np.float32)}
                middle = [step.applied, *_proposals(adapter, state, goal)]
                recorded["observe"].append(given)
                recorded["imagine"].append({**state, "actions": _candidates(adapter, middle, rng), **goal})
                recorded["decode"].append(state)
    if not recorded["observe"]:
        raise BadInput(f"{adapter.name}: recordings({split!r}) gives no step: record at least one episode")
    return recorded


def _each(make: Callable[[], Iterable[T]], where: str) -> Iterator[T]:
    """What code of the user's yields.  Raises BadInput for what it raises."""
    try:
        yield from make()
    except (MemoryError, BadInput):
        raise
    except Exception as error:
        raise own_fault(where, error) from error


def run(module: nn.Module, inputs: Mapping[str, Array]) -> tuple[Array, ...]:
    """Outputs of ``module`` for copies of inputs, in its order: it may write into what it is given.

    Raises:
        BadInput: it fails or returns anything but tensors.
    """
    try:
        with torch.no_grad(), _one_thread():
            outputs = module(*(torch.tensor(array) for array in inputs.values()))
    except Exception as error:
        if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
            raise
        raise own_fault(f"{type(module).__name__}({', '.join(inputs)})", error) from error
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    for output in outputs:
        if not isinstance(output, torch.Tensor):
            raise BadInput(
                f"{type(module).__name__} returns a {type(output).__name__}: return a tensor or a tuple of tensors"
            )
    return tuple(tensor.numpy() for tensor in outputs)


@contextmanager
def _one_thread() -> Iterator[None]:
    """A single tick is little work: threads that wait for each other, on a busy machine for long, save nothing."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _checked(adapter: Adapter, step: Step, where: str) -> Inputs:
    """The arrays of a step in the order of the observe graph's inputs."""
    inputs: Inputs = {}
    for spec in adapter.observation:
        array = step.observation.get(spec.name)
        if array is None:
            raise BadInput(f"{where}: has no {spec.name!r}")
        inputs[spec.name] = _fitting(array, spec.name, spec.shape, spec.dtype, where)
    width = len(adapter.action.names)
    inputs["applied_action"] = _fitting(step.applied, "applied", (width,), "float32", where)
    if (step.goal is None) != (adapter.goal is None):
        raise BadInput(f"{where}: a goal is given and none is declared, or the other way round")
    if adapter.goal is not None and step.goal is not None:
        _fitting(step.goal, "goal", adapter.goal.shape, "float32", where)
    return inputs


def _fitting(array: Array, name: str, shape: tuple[int, ...], dtype: str, where: str) -> Array:
    array = np.asarray(array)
    if array.shape != shape or array.dtype != dtype:
        raise BadInput(
            f"{where}: {name} is {array.dtype.name}{list(array.shape)}, declared is {dtype}{list(shape)}"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise BadInput(f"{where}: {name} holds NaN or infinity")
    return array


def _proposals(adapter: Adapter, state: Inputs, goal: Inputs) -> list[Array]:
    """The first action sequence that the policy proposes: a tensor of the state, or a head, if there is one."""
    size, width = adapter.imagine_size, len(adapter.action.names)
    if POLICY in state:
        return [state[POLICY].reshape(-1, size.horizon, width)[0]]
    heads = [head.name for head in adapter.heads if head.role == "imagine"]
    if POLICY not in heads:
        return []
    at_rest = np.zeros((size.candidates, size.horizon, width), dtype=np.float32)
    outcomes = dict(zip(heads, run(adapter.imagine, {**state, "actions": at_rest, **goal}), strict=True))
    return [outcomes[POLICY].reshape(-1, size.horizon, width)[0]]


def _candidates(adapter: Adapter, middle: list[Array], rng: np.random.Generator) -> Array:
    """float32[N, H, A] around the sequences or single actions ``middle``; every eighth is of constant random actions."""
    size, width = adapter.imagine_size, len(adapter.action.names)
    n, horizon = size.candidates, size.horizon
    low, high = (np.array(limit, dtype=np.float32) for limit in (adapter.action.low, adapter.action.high))
    walk = np.cumsum(rng.normal(0.0, 1.0, (n, horizon, width)), axis=1) / np.sqrt(horizon)
    around = np.stack([np.broadcast_to(action, (horizon, width)) for action in middle])
    actions = around[rng.integers(len(around), size=n)]
    spread = WALK_STD * np.array(adapter.planner.initial_std)
    actions = actions + walk * rng.uniform(0.0, 1.0, (n, 1, 1)) * spread
    actions[::8] = rng.uniform(low, high, (len(actions[::8]), 1, width))
    return np.clip(actions, low, high).astype(np.float32)
