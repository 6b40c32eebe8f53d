"""The manifest of a bundle, format version 1: what a model needs, gives, and was measured to do.

A manifest is data, and it comes from strangers: unknown fields are refused, and every number has bounds.
``manifest_file.py`` reads and writes it, and checks that the fields fit each other.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, field

from edge_wm.engines.engine import TensorSpec

MANIFEST_NAME = "manifest.json"
MAX_DIMENSION = 1 << 24

Role = Literal["observe", "imagine", "decode"]
Format = Literal["onnx", "tflite"]
Precision = Literal["fp32", "fp16", "int8"]
DType = Literal["float32", "float64", "float16", "uint8", "int8", "int32", "int64", "bool"]

Identifier = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}\Z")]
ModelName = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}\Z")]
Version = Annotated[str, Meta(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+([.+-][A-Za-z0-9.+-]{1,32})?\Z")]
FilePath = Annotated[str, Meta(min_length=1, max_length=255)]
Text = Annotated[str, Meta(max_length=2000)]
Dimension = Annotated[int, Meta(ge=1, le=MAX_DIMENSION)]
Shape = Annotated[tuple[Dimension, ...], Meta(max_length=8)]
Symbol = Literal["N", "H", "A"]
SymbolicShape = Annotated[tuple[Dimension | Symbol, ...], Meta(max_length=8)]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Positive = Annotated[float, Meta(ge=1e-9, le=1e9)]  # neither it nor what it divides overflows
NotNegative = Annotated[float, Meta(ge=0.0, le=1e9)]
Fraction = Annotated[float, Meta(ge=0.0, le=1.0)]
Number = Annotated[float, Meta(ge=-1e30, le=1e30)]
Candidates = Annotated[int, Meta(ge=1, le=65536)]


class Imagine(Struct, frozen=True, forbid_unknown_fields=True):
    """Size of one call of the imagine graph: ``candidates`` (N) sequences of ``horizon`` (H) steps of ``step_s``."""

    candidates: Candidates
    horizon: Annotated[int, Meta(ge=1, le=1024)]
    step_s: Positive


class ObservationArray(Struct, frozen=True, forbid_unknown_fields=True):
    """One array of an observation; values lie in ``[low, high]``, no older than ``max_age_s`` when used."""

    name: Identifier
    shape: Shape
    dtype: DType
    unit: Text
    low: Number
    high: Number
    max_age_s: Positive
    description: Text = ""


class ActionSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """The A numbers of an action, in order, with the limits the model was trained within."""

    names: Annotated[tuple[Identifier, ...], Meta(min_length=1, max_length=64)]
    units: tuple[Text, ...]
    low: tuple[Number, ...]
    high: tuple[Number, ...]


class StateTensor(Struct, frozen=True, forbid_unknown_fields=True):
    """One tensor of the latent state.  ``initial`` is a fill value, or the path of a ``.npy`` file in the bundle."""

    name: Identifier
    shape: Shape
    dtype: DType = "float32"
    initial: Number | FilePath = 0.0
    description: Text = ""


class GoalSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """The goal that imagine takes: float32 of ``shape``, in ``frame``, in ``unit``.  A model of one task has none."""

    shape: Shape
    frame: Text
    unit: Text
    description: Text = ""


class Head(Struct, frozen=True, forbid_unknown_fields=True):
    """One output of the imagine or decode graph, float32; its shape may use the symbols N, H and A."""

    name: Identifier
    role: Literal["imagine", "decode"]
    shape: SymbolicShape
    unit: Text
    description: Text = ""


class Graph(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One executable form of one role.  All forms of a role have the same inputs and outputs.

    ``candidates`` is for graphs of ``imagine`` that take fewer than ``imagine.candidates``.
    """

    role: Role
    format: Format
    precision: Precision
    file: FilePath
    candidates: Candidates | None = None

    @property
    def part(self) -> str:
        """What of the model it is: its role, and its size if that is not the bundle's own, such as ``imagine-16``."""
        return part(self.role, self.candidates)


def part(role: Role, candidates: int | None = None) -> str:
    """See ``Graph.part``."""
    return role if candidates is None else f"{role}-{candidates}"


class PlannerDefaults(Struct, frozen=True, forbid_unknown_fields=True):
    """Planner settings the model was evaluated with (``edge_wm.planner.plan.PlannerConfig``), and each cost's weight."""

    iterations: Annotated[int, Meta(ge=1, le=1000)]
    elites: Annotated[int, Meta(ge=1, le=65536)]
    keep_fraction: Fraction
    noise_beta: Annotated[float, Meta(ge=0.0, le=10.0)]
    initial_std: tuple[Positive, ...]
    momentum: Annotated[float, Meta(ge=0.0, lt=1.0)]
    costs: dict[Identifier, NotNegative]
    std_floor: Fraction = 0.1
    policy_copies: Annotated[int, Meta(ge=0, le=65536)] = 6
    comfort_m: Positive = 0.25
    touch_m: NotNegative = 0.12
    touch_discount: Annotated[float, Meta(gt=0.0, le=1.0)] = 0.97
    reward_discount: Annotated[float, Meta(gt=0.0, le=1.0)] = 1.0
    temperature: NotNegative = 0.0
    method: Literal["icem", "mppi", "cem"] = "icem"


class Tolerance(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How far one output may be from its golden value; ``output`` may be ``*`` for every output not named.

    ``candidates`` is that of the graph.
    """

    role: Role
    precision: Precision
    output: Annotated[str, Meta(pattern=r"^(\*|[A-Za-z_][A-Za-z0-9_]{0,63})\Z")]
    max_abs: NotNegative
    mean_abs: NotNegative
    format: Format = "onnx"
    candidates: Candidates | None = None


class PlanTolerance(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How unlike the trained model a form of ``imagine`` may rank candidates: ``edge_wm.bundle.agreement``.

    ``candidates`` is that of the graph.
    """

    precision: Precision
    min_spearman: Annotated[float, Meta(ge=-1.0, le=1.0)]
    min_elite_overlap: Fraction
    max_regret: NotNegative
    format: Format = "onnx"
    candidates: Candidates | None = None


class GoldenVectors(Struct, frozen=True, forbid_unknown_fields=True):
    """Recorded inputs and the outputs of the trained model for them.

    ``file`` is an ``.npz`` with keys ``<role>/in/<input>`` and ``<role>/out/<output>``; every array has the
    cases stacked along a new first axis.  Graphs for fewer candidates have outputs of their own,
    ``imagine-<candidates>/out/<output>``, for the first of the same actions.
    """

    file: FilePath
    tolerances: Annotated[tuple[Tolerance, ...], Meta(max_length=512)]
    plans: Annotated[tuple[PlanTolerance, ...], Meta(max_length=64)] = ()


class Provenance(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the model comes from, and the figures measured on it."""

    created: Text
    commit: Text
    data_seed: int
    figures: dict[str, Any] = field(default_factory=dict)


class FileEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """One file of the bundle, path relative to its directory."""

    path: FilePath
    size: Annotated[int, Meta(ge=0)]
    sha256: Sha256


class Manifest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole manifest.  ``files`` lists every file of the bundle but the manifest itself."""

    format_version: Literal[1] = 1
    name: ModelName
    version: Version
    robot_kind: ModelName
    tick_s: Positive
    imagine: Imagine
    observation: Annotated[tuple[ObservationArray, ...], Meta(min_length=1, max_length=64)]
    action: ActionSpec
    state: Annotated[tuple[StateTensor, ...], Meta(min_length=1, max_length=64)]
    goal: GoalSpec | None
    heads: Annotated[tuple[Head, ...], Meta(max_length=64)]
    graphs: Annotated[tuple[Graph, ...], Meta(min_length=1, max_length=64)]
    planner: PlannerDefaults
    golden: GoldenVectors
    latency_budget_ms: Positive
    model_card: FilePath
    provenance: Provenance
    files: Annotated[tuple[FileEntry, ...], Meta(max_length=128)] = ()

    @property
    def ticks_per_step(self) -> int:
        """How many control ticks one imagined step lasts."""
        return round(self.imagine.step_s / self.tick_s)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of candidates that there are ``imagine`` graphs for, the bundle's own first, then ever fewer."""
        found = {
            graph.candidates or self.imagine.candidates for graph in self.graphs if graph.role == "imagine"
        }
        return tuple(sorted(found, reverse=True))

    def sized(self, candidates: int | None) -> Manifest:
        """The manifest of the same model for plans of so many candidates; None are the bundle's own."""
        if candidates is None:
            return self
        return msgspec.structs.replace(
            self, imagine=msgspec.structs.replace(self.imagine, candidates=candidates)
        )

    def graph_inputs(self, role: Role) -> tuple[TensorSpec, ...]:
        """The inputs that every graph of ``role`` has."""
        state = tuple(TensorSpec(tensor.name, tensor.shape, tensor.dtype) for tensor in self.state)
        width = len(self.action.names)
        if role == "observe":
            arrays = (TensorSpec(array.name, array.shape, array.dtype) for array in self.observation)
            return (*state, *arrays, TensorSpec("applied_action", (width,), "float32"))
        if role == "imagine":
            actions = TensorSpec("actions", (self.imagine.candidates, self.imagine.horizon, width), "float32")
            goal = () if self.goal is None else (TensorSpec("goal", self.goal.shape, "float32"),)
            return (*state, actions, *goal)
        return state

    def graph_outputs(self, role: Role) -> tuple[TensorSpec, ...]:
        """The outputs that every graph of ``role`` has."""
        if role == "observe":
            return tuple(
                TensorSpec(f"next_{tensor.name}", tensor.shape, tensor.dtype) for tensor in self.state
            )
        sizes = {"N": self.imagine.candidates, "H": self.imagine.horizon, "A": len(self.action.names)}
        return tuple(
            TensorSpec(head.name, tuple(sizes[d] if isinstance(d, str) else d for d in head.shape), "float32")
            for head in self.heads
            if head.role == role
        )

    def tolerance(self, graph: Graph, output: str) -> Tolerance | None:
        """The tolerance of one output of ``graph``: its own, else the one for ``*``, else None."""
        for wanted in (output, "*"):
            for tolerance in self.golden.tolerances:
                key = (tolerance.role, tolerance.precision, tolerance.format, tolerance.candidates)
                own = (graph.role, graph.precision, graph.format, graph.candidates)
                if key == own and tolerance.output == wanted:
                    return tolerance
        return None

    def plan_tolerance(self, graph: Graph) -> PlanTolerance | None:
        """How unlike the trained model ``graph`` may rank candidates; None if nothing is said, or it ranks none."""
        for tolerance in self.golden.plans:
            key = (tolerance.precision, tolerance.format, tolerance.candidates)
            if key == (graph.precision, graph.format, graph.candidates):
                return tolerance if graph.role == "imagine" else None
        return None
