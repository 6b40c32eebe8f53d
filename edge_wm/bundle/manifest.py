"""The manifest of a bundle, format version 1: what a model needs, gives, and was measured to do.

A manifest is data, and it comes from strangers: unknown fields are refused, every number has bounds, and
:func:`decode_manifest` turns anything wrong into one line that names the field.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta, Struct, field

from edge_wm.engines.engine import TensorSpec
from edge_wm.errors import BadInput, one_line
from edge_wm.planner.costs import COSTS, OUTCOMES, POLICY
from edge_wm.planner.icem import RING_PLANS

FORMAT_VERSION = 1
MANIFEST_NAME = "manifest.json"
MAX_DIMENSION = 1 << 24
MAX_BORDER_BYTES = 256 << 20
"""All inputs and outputs of all roles together: buffers for them are allocated when a model is loaded."""
MAX_NOISE_NUMBERS = 1 << 26
"""Numbers that the planner draws ahead (256 MiB)."""

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


class Imagine(Struct, frozen=True, forbid_unknown_fields=True):
    """Size of one call of the imagine graph: ``candidates`` (N) sequences of ``horizon`` (H) steps of ``step_s``."""

    candidates: Annotated[int, Meta(ge=1, le=65536)]
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


class Graph(Struct, frozen=True, forbid_unknown_fields=True):
    """One executable form of one role.  All forms of a role have the same inputs and outputs."""

    role: Role
    format: Format
    precision: Precision
    file: FilePath


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


class Tolerance(Struct, frozen=True, forbid_unknown_fields=True):
    """How far one output may be from its golden value; ``output`` may be ``*`` for every output not named."""

    role: Role
    precision: Precision
    output: Annotated[str, Meta(pattern=r"^(\*|[A-Za-z_][A-Za-z0-9_]{0,63})\Z")]
    max_abs: NotNegative
    mean_abs: NotNegative
    format: Format = "onnx"


class PlanTolerance(Struct, frozen=True, forbid_unknown_fields=True):
    """How unlike the trained model a form of ``imagine`` may rank candidates: ``edge_wm.bundle.agreement``."""

    precision: Precision
    min_spearman: Annotated[float, Meta(ge=-1.0, le=1.0)]
    min_elite_overlap: Fraction
    max_regret: NotNegative
    format: Format = "onnx"


class GoldenVectors(Struct, frozen=True, forbid_unknown_fields=True):
    """Recorded inputs and the outputs of the trained model for them.

    ``file`` is an ``.npz`` with keys ``<role>/in/<input>`` and ``<role>/out/<output>``; every array has the
    cases stacked along a new first axis.
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
    graphs: Annotated[tuple[Graph, ...], Meta(min_length=1, max_length=18)]
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
                key = (tolerance.role, tolerance.precision, tolerance.format, tolerance.output)
                if key == (graph.role, graph.precision, graph.format, wanted):
                    return tolerance
        return None

    def plan_tolerance(self, graph: Graph) -> PlanTolerance | None:
        """How unlike the trained model ``graph`` may rank candidates; None if nothing is said, or it ranks none."""
        for tolerance in self.golden.plans:
            if (tolerance.precision, tolerance.format) == (graph.precision, graph.format):
                return tolerance if graph.role == "imagine" else None
        return None


class _FormatProbe(Struct):
    """Reads only the version, so that a manifest of another format is named as such."""

    format_version: int


def decode_manifest(data: bytes, where: str = MANIFEST_NAME) -> Manifest:
    """Parse and check a manifest.

    Args:
        data: the bytes of ``manifest.json``.
        where: what to call the file in messages.

    Raises:
        BadInput: not JSON, another format version, a wrong field, or fields that contradict each other.
    """
    try:
        version = msgspec.json.decode(data, type=_FormatProbe).format_version
        if version != FORMAT_VERSION:
            raise BadInput(
                f"{where}: bundle format version {version}, this edge-wm reads version {FORMAT_VERSION}:"
                " install a matching edge-wm or export the model again"
            )
        manifest = msgspec.json.decode(data, type=Manifest)
        json.loads(data, object_pairs_hook=_refuse_doubled, parse_int=float)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise BadInput(f"{where}: {one_line(str(error))}") from None
    check_manifest(manifest, where)
    return manifest


def _refuse_doubled(pairs: list[tuple[str, object]]) -> None:
    """No two readers may understand one manifest differently: which of two equal keys counts is up to the reader."""
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        raise ValueError(f"key {next(key for key in keys if keys.count(key) > 1)!r} occurs twice")


def encode_manifest(manifest: Manifest) -> bytes:
    """The bytes of ``manifest.json``: indented, stable, ending in a newline."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def check_manifest(manifest: Manifest, where: str = MANIFEST_NAME) -> None:
    """Check what a schema cannot say: that the fields fit each other.  Raises BadInput with the first misfit."""
    for fits, misfit in _statements(manifest):
        if not fits:
            raise BadInput(f"{where}: {misfit}")


def _statements(m: Manifest) -> Iterable[tuple[bool, str]]:
    """Every statement that must hold, with what to say when it does not."""
    width = len(m.action.names)
    for name in ("units", "low", "high"):
        yield (
            len(getattr(m.action, name)) == width,
            f"action.{name} must have {width} entries, one for each name",
        )
    for label, low, high in zip(m.action.names, m.action.low, m.action.high, strict=False):
        yield low < high, f"action {label}: low {low:g} must be below high {high:g}"
    for array in m.observation:
        yield (
            array.low <= array.high,
            f"observation {array.name}: low {array.low:g} is above high {array.high:g}",
        )
    ratio = m.imagine.step_s / m.tick_s
    whole = ratio >= 0.5 and abs(ratio - round(ratio)) < 1e-6 * ratio
    yield whole, f"imagine.step_s {m.imagine.step_s:g} must be a whole multiple of tick_s {m.tick_s:g}"
    yield m.planner.elites <= m.imagine.candidates, "planner.elites must not exceed imagine.candidates"
    yield (
        len(m.planner.initial_std) == width,
        f"planner.initial_std must have {width} entries, one for each action",
    )
    yield (
        m.planner.touch_m < m.planner.comfort_m,
        f"planner.touch_m {m.planner.touch_m:g} must be below comfort_m {m.planner.comfort_m:g}",
    )
    noise = RING_PLANS * m.planner.iterations * m.imagine.candidates * m.imagine.horizon * width
    yield (
        noise <= MAX_NOISE_NUMBERS,
        f"planner.iterations x imagine.candidates x imagine.horizon x actions must not exceed {MAX_NOISE_NUMBERS // RING_PLANS}",
    )
    strange = sorted(m.planner.costs.keys() - COSTS.keys())
    yield not strange, f"planner.costs: no cost is called {' or '.join(strange)}: use {', '.join(COSTS)}"

    yield (
        m.goal is not None or not m.planner.costs.get("terminal"),
        "planner.costs: terminal is the distance to a goal, and the model takes none: leave it out",
    )

    sizes = {"N": m.imagine.candidates, "H": m.imagine.horizon, "A": width}
    for spec in m.graph_outputs("imagine"):
        read = tuple(sizes.get(str(size), size) for size in OUTCOMES.get(spec.name, spec.shape))
        yield spec.shape == read, f"heads: imagine gives {spec}; the planner reads it as {list(read)}"

    for tensor in m.state:
        fits = tensor.shape[-2:] == (m.imagine.horizon, width) and len(tensor.shape) in (2, 3)
        yield (
            tensor.name != POLICY or (fits and tensor.dtype == "float32"),
            f"state {POLICY}: the planner tries it, so it must be float32, [H, A] or [P, H, A]",
        )

    border_bytes = 0
    for role in ("observe", "imagine", "decode"):
        specs = (*m.graph_inputs(role), *m.graph_outputs(role))
        names = [spec.name for spec in specs]
        twice = sorted({name for name in names if names.count(name) > 1})
        yield not twice, f"{role}: tensor name used twice: {', '.join(twice)}"
        border_bytes += sum(math.prod(spec.shape) * np.dtype(spec.dtype).itemsize for spec in specs)
    yield (
        border_bytes <= MAX_BORDER_BYTES,
        f"inputs and outputs of the graphs add up to more than {MAX_BORDER_BYTES >> 20} MiB",
    )

    keys = [(graph.role, graph.format, graph.precision) for graph in m.graphs]
    for key in keys:
        yield keys.count(key) == 1, f"graphs: {' '.join(key)} is listed twice"
    graph_files = [graph.file for graph in m.graphs]
    for path in graph_files:
        yield graph_files.count(path) == 1, f"graphs: {path!r} is named by two graphs"
    for role in ("observe", "imagine"):
        yield any(g.role == role for g in m.graphs), f"graphs: there is no {role} graph"
    for graph in m.graphs:
        outputs = m.graph_outputs(graph.role)
        yield bool(outputs), f"heads: none for role {graph.role}, but there is a {graph.role} graph"
        for spec in outputs:
            found = m.tolerance(graph, spec.name) is not None
            yield found, f"golden.tolerances: none for {graph.role} {graph.precision} output {spec.name}"

    listed = [entry.path for entry in m.files]
    for path in listed:
        yield listed.count(path) == 1, f"files: {path!r} is listed twice"
        yield path != MANIFEST_NAME, f"files: {MANIFEST_NAME} must not list itself"
    named = {graph.file: "graphs" for graph in m.graphs} | {
        m.golden.file: "golden.file",
        m.model_card: "model_card",
    }
    named |= {tensor.initial: f"state {tensor.name}" for tensor in m.state if isinstance(tensor.initial, str)}
    for path, who in named.items():
        yield path in listed, f"{who} names {path!r}, which files does not list"
