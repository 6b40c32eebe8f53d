"""``manifest.json``: read, written, and checked for fields that contradict each other.

:func:`decode_manifest` turns anything wrong into one line that names the field.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable

import msgspec
import numpy as np

from edge_wm.bundle.manifest import MANIFEST_NAME, Manifest
from edge_wm.errors import BadInput, one_line
from edge_wm.planner.costs import COSTS, OUTCOMES, POLICY
from edge_wm.planner.icem import RING_PLANS

FORMAT_VERSION = 1
MAX_BORDER_BYTES = 256 << 20
"""All inputs and outputs of all roles together: buffers for them are allocated when a model is loaded."""
MAX_NOISE_NUMBERS = 1 << 26
"""Numbers that the planner draws ahead (256 MiB)."""


class _FormatProbe(msgspec.Struct):
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
    yield (
        m.planner.elites <= m.imagine.candidates,
        f"planner.elites {m.planner.elites} must not exceed imagine.candidates {m.imagine.candidates}",
    )
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

    for candidates in sorted({m.imagine.candidates, *m.sizes}, reverse=True):
        sizes = {"N": candidates, "H": m.imagine.horizon, "A": width}
        for spec in m.sized(candidates).graph_outputs("imagine"):
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

    for graph in m.graphs:
        if graph.candidates is None:
            continue
        what = f"graphs: {graph.part} {graph.format} {graph.precision}: candidates {graph.candidates}"
        yield graph.role == "imagine", f"{what}: only imagine takes candidates"
        yield (
            graph.candidates < m.imagine.candidates,
            f"{what} must be below imagine.candidates {m.imagine.candidates}, which is meant where none are said",
        )
        yield (
            graph.candidates >= m.planner.elites,
            f"{what} are fewer than the planner's {m.planner.elites} elites",
        )
    keys = [(graph.part, graph.format, graph.precision) for graph in m.graphs]
    for key in keys:
        yield keys.count(key) == 1, f"graphs: {' '.join(key)} is listed twice"
    graph_files = [graph.file for graph in m.graphs]
    for path in graph_files:
        yield graph_files.count(path) == 1, f"graphs: {path!r} is named by two graphs"
    for role in ("observe", "imagine"):
        there = any((g.role, g.candidates) == (role, None) for g in m.graphs)
        yield there, f"graphs: there is no {role} graph"
    for graph in m.graphs:
        outputs = m.graph_outputs(graph.role)
        yield bool(outputs), f"heads: none for role {graph.role}, but there is a {graph.role} graph"
        for spec in outputs:
            found = m.tolerance(graph, spec.name) is not None
            yield found, f"golden.tolerances: none for {graph.part} {graph.precision} output {spec.name}"

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
