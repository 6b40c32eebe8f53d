"""What the exporter must know of a world model: a few declarations, two or three modules and some recordings.

Our own model (``export/shipped.py``) and the examples in ``docs/examples`` go through this and nothing else.
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from torch import nn

from edge_wm.bundle import manifest as mf
from edge_wm.errors import BadInput, one_line
from edge_wm.sensors.observation import Array
from export.declared import check_float_parts, check_initial

Split = Literal["calibration", "held-out"]
"""What recordings are for: choosing the scales of int8, or proving every graph on something it has not met."""


class Step(NamedTuple):
    """One tick of a recording.

    Attributes:
        observation: every array that the adapter declares, by name, in its shape and dtype.
        applied: float32[A], the action that was in force until this observation.
        goal: float32 in the shape of the adapter's goal, or None if it has none.
    """

    observation: Mapping[str, Array]
    applied: Array
    goal: Array | None = None


Recording = Iterable[Step]
"""The ticks of one episode from its beginning."""


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """A PyTorch world model as the exporter sees it.

    The modules take and return tensors without a batch dimension, positionally, in the order declared here.

    Attributes:
        name: of the bundle, such as ``rooms-student``.
        about: Markdown for the model card: what it is for, how it was made, what it cannot do.
        tick_s: seconds from one observation to the next.
        imagine_size: candidates N, horizon H and seconds of one imagined step, fixed in the graph; N unless others are asked for.
        observation: arrays of one observation.
        action: the A numbers of an action.
        state: tensors of the latent state.
        goal: what ``imagine`` takes as goal, or None.
        heads: what ``imagine`` and ``decode`` return, in their order.
        planner: settings and cost weights of the planner.
        observe: ``forward(*state, *observation, applied_action[A]) -> next state tensors``.
        imagine: ``forward(*state, actions[N, H, A], goal) -> heads of role imagine``; no goal if the adapter has none.
            It takes N from ``actions``: a bundle may plan with several numbers of candidates.
        decode: ``forward(*state) -> heads of role decode``, or None.
        recordings: episodes for each split; they must differ.
        initial: arrays of state tensors that do not start as one number, by name.
        robot_kind: what the model drives.
        latency_budget_ms: of observe and one plan together.
        float_parts: parts of the names of what stays in float in int8 graphs: of weights in ONNX (``motion_model``), of
            layers in TFLite (``<class>_<attribute>``, such as ``GRUCell_predict``).
        full_integer: whether TFLite int8 graphs are int8 throughout, inputs and outputs included, as an Edge TPU wants
            them; else convolutions and linear layers only.
        data_seed: of the training data, for the record.

    Raises:
        BadInput: a module is in training mode, or a declaration fits nothing: ``export/declared.py``.
    """

    name: str
    about: str
    tick_s: float
    imagine_size: mf.Imagine
    observation: tuple[mf.ObservationArray, ...]
    action: mf.ActionSpec
    state: tuple[mf.StateTensor, ...]
    goal: mf.GoalSpec | None
    heads: tuple[mf.Head, ...]
    planner: mf.PlannerDefaults
    observe: nn.Module
    imagine: nn.Module
    recordings: Callable[[Split], Iterable[Recording]]
    decode: nn.Module | None = None
    initial: Mapping[str, Array] = field(default_factory=dict)
    robot_kind: str = "any"
    latency_budget_ms: float = 50.0
    float_parts: tuple[str, ...] = ()
    full_integer: bool = False
    data_seed: int = 0

    def __post_init__(self) -> None:
        for role, module in self.modules.items():
            training = next((path for path, part in module.named_modules() if part.training), None)
            if training is not None:
                where = f"{role}.{training}".rstrip(".")
                raise BadInput(
                    f"{self.name}: {where} is in training mode: call {role}.eval() before exporting"
                )
        check_initial(self)
        check_float_parts(self)

    @property
    def modules(self) -> dict[mf.Role, nn.Module]:
        """The modules by the role of their graph."""
        modules: dict[mf.Role, nn.Module] = {"observe": self.observe, "imagine": self.imagine}
        return modules if self.decode is None else {**modules, "decode": self.decode}

    def initial_state(self) -> dict[str, Array]:
        """The latent state before the first observation."""
        state = {}
        for tensor in self.state:
            given = self.initial.get(tensor.name)
            if given is None:
                assert not isinstance(tensor.initial, str), "a file of a bundle that is not written yet"
                state[tensor.name] = np.full(tensor.shape, tensor.initial, dtype=tensor.dtype)
            else:
                state[tensor.name] = np.array(given, dtype=tensor.dtype)
        return state


def load_adapter(file: Path, checkpoint: Path | None) -> Adapter:
    """Call ``adapter(checkpoint)`` of a Python file.

    Args:
        file: defines ``adapter``, a function of one argument that returns an :class:`Adapter`.
        checkpoint: handed to it.

    Raises:
        BadInput: there is no such file or function, it fails, or it returns something else.
    """
    name = f"adapter_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file) if file.is_file() else None
    if spec is None or spec.loader is None:
        raise BadInput(f"{file}: not a Python file: name the one that defines adapter(checkpoint)")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses of the file look their module up
    sys.path.insert(0, str(file.parent.resolve()))  # it may import what lies beside it
    try:
        spec.loader.exec_module(module)
    except MemoryError:
        raise
    except Exception as error:
        raise own_fault(f"{file}", error) from error
    make = getattr(module, "adapter", None)
    if not callable(make):
        raise BadInput(
            f"{file}: defines no function adapter(checkpoint) that returns an export.adapter.Adapter"
        )
    try:
        made = make(checkpoint)
    except MemoryError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.strerror:
            raise  # it names the file, such as a checkpoint that there is not
        raise own_fault(f"{file}: adapter({checkpoint}) failed", error) from error
    if not isinstance(made, Adapter):
        raise BadInput(f"{file}: adapter() returned {type(made).__name__}, not an export.adapter.Adapter")
    return made


def own_fault(what: str, error: Exception) -> BadInput:
    """One line for what code of the user's, or code that it calls, raised: with the last line of code that is not ours.

    Args:
        what: failed.
        error: what it raised; BadInput stays as it is.
    """
    if isinstance(error, BadInput):
        return error
    ours = str(Path(__file__).parent)
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((ours, "<")) and "site-packages" not in frame.filename
    ]
    where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}: " if frames else ""
    said = f"{where}{type(error).__name__}: {one_line(str(error))[:300]}".removesuffix(": ")
    if isinstance(error, ImportError):
        said += ": install what the model needs beside edge-wm"
    return BadInput(f"{what}: {said}")
