"""The learned world model: a bundle's graphs behind four calls.

Nothing here knows a particular model: names, shapes and sizes come from the manifest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_wm.bundle.load import Bundle
from edge_wm.bundle.manifest import Manifest, Role
from edge_wm.engines.engine import Engine, EngineError, load_engine
from edge_wm.engines.execution import Execution
from edge_wm.errors import BadInput
from edge_wm.sensors.observation import Observation

Array = npt.NDArray[Any]
Tensors = dict[str, Array]


class ObservationError(ValueError):
    """An observation the model must not see: a missing array, a wrong shape or dtype, NaN or infinity."""


class WorldModel:
    """Latent state in, latent state out; the model itself remembers nothing between calls.

    Arrays that ``observe``, ``imagine`` and ``decode`` return are views of buffers allocated once: see each call
    for how long they are valid.  Not safe for use from two threads at once.

    Args:
        bundle: a checked bundle.
        execution: which form of the graphs to run, and on what.

    Raises:
        BadInput: the bundle lacks a graph in this form, or the engine refuses one or cannot start the accelerator.
    """

    def __init__(self, bundle: Bundle, execution: Execution | None = None) -> None:
        self._bundle = bundle
        self._execution = execution or Execution()
        self._manifest = manifest = bundle.manifest.sized(self._execution.candidates)
        self._observation = tuple(
            (spec.name, spec.shape, np.dtype(spec.dtype)) for spec in manifest.observation
        )
        self._state_names = tuple(tensor.name for tensor in manifest.state)
        # Two sets of outputs: the state just returned must survive the next observe, which reads it.
        self._observe = self._load("observe", self._execution, output_sets=2)
        self._imagine = self._load("imagine", self._execution)
        self._decode: Engine | None = None
        self._current = 0

    @property
    def manifest(self) -> Manifest:
        """What the model says of itself, with as many candidates as its ``imagine`` takes."""
        return self._manifest

    @property
    def sha256(self) -> str:
        """The hash that identifies the model."""
        return self._bundle.sha256

    def initial_state(self) -> Tensors:
        """Return a new copy of the latent state before the first observation."""
        return self._bundle.initial_state()

    def observe(self, state: Mapping[str, Array], observation: Observation, applied: Array) -> Tensors:
        """Posterior step: take in one observation.

        Args:
            state: the latent state one tick ago.
            observation: the newest reading; arrays the model does not use are ignored.
            applied: float32[A], the action that was in force since ``state``.

        Returns:
            The latent state now, in one of two sets of buffers: valid until the next call but one.

        Raises:
            ObservationError: the observation is not what the manifest says, or the applied action is not finite.
            ValueError: the state or the applied action has another shape or dtype.
            EngineError: the engine failed, or the new latent state is not finite.
        """
        if not np.isfinite(applied).all():
            raise ObservationError(f"the applied action is not finite: {applied}")
        inputs = dict(state)
        for name, shape, dtype in self._observation:
            inputs[name] = _checked(observation.arrays.get(name), name, shape, dtype)
        inputs["applied_action"] = applied
        self._current = 1 - self._current
        outputs = self._observe.run(inputs, self._current)
        after = {name: outputs[f"next_{name}"] for name in self._state_names}
        for name, tensor in after.items():
            if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
                raise EngineError(f"the model's latent state is not finite after observe: {name}")
        return after

    def imagine(
        self, state: Mapping[str, Array], actions: Array, goal: Array | None = None
    ) -> Mapping[str, Array]:
        """Prior rollout: what happens under each of many action sequences.

        Args:
            state: the latent state now.
            actions: float32[N, H, A], the actions of each imagined step, in the units of the manifest.
            goal: float32 in the shape, frame and unit of the manifest's goal; None for a model that takes none.

        Returns:
            The imagine heads by name.  Valid until the next call.

        Raises:
            ValueError: an argument has another shape or dtype.
            EngineError: the engine failed.
        """
        inputs = {**state, "actions": actions}
        if goal is not None:
            inputs["goal"] = goal
        return self._imagine.run(inputs)

    def decode(self, state: Mapping[str, Array]) -> Mapping[str, Array]:
        """Pictures of a latent state, for people; never on the control path.

        The graph is loaded at the first call, and runs on the CPU.

        Returns:
            The decode heads by name.  Valid until the next call.

        Raises:
            BadInput: the bundle has no decode graph.
        """
        if self._decode is None:
            # Not to take the accelerator's time from the control path.
            self._decode = self._load("decode", self._execution.on_cpu())
        return self._decode.run(state)

    def _load(self, role: Role, execution: Execution, output_sets: int = 1) -> Engine:
        """Load one graph and run it once on zeros, so that the first tick is as fast as the next."""
        graph = self._bundle.graph(role, execution.precision, execution.format, execution.candidates)
        try:
            engine = load_engine(self._bundle.read(graph.file), execution, output_sets=output_sets)
            engine.run({spec.name: spec.empty() for spec in engine.inputs})
        except EngineError as error:
            raise BadInput(f"{self._bundle.directory / graph.file}: {error}") from None
        return engine


def _checked(array: Array | None, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return ``array`` if the model may see it, else raise ObservationError."""
    if array is None:
        raise ObservationError(f"observation lacks {name!r}")
    if array.shape != shape or array.dtype != dtype:
        raise ObservationError(
            f"observation {name!r} is {array.dtype.name}{list(array.shape)}, the model takes {dtype.name}{list(shape)}"
        )
    if dtype.kind == "f" and not np.isfinite(array).all():
        raise ObservationError(f"observation {name!r} holds NaN or infinity")
    return array
