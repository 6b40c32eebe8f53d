"""Package: a trained model becomes a bundle whose every graph is proven against PyTorch on held-out rollouts."""

from __future__ import annotations

import datetime
import io
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.console import Console
from rich.progress import Progress

from edge_wm.bundle import manifest as mf
from edge_wm.bundle.write import BundleWriter
from edge_wm.errors import BadInput
from edge_wm.sensors.observation import Array
from export.adapter import Adapter
from export.attempt import Attempt, attempt, table
from export.declared import check_manifest_to_be, check_splits, returned
from export.edge_tpu import edge_tpu_obstacles
from export.forms import Form, FormMaker
from export.model_card import model_card
from export.parity import Fidelity
from export.rollouts import Inputs, rollouts, run

ONNX_FORMS = (Form("onnx", "fp32"), Form("onnx", "int8"))
GOLDEN_CASES = 2
STATE_BITS = 6
"""Of the state that golden vectors begin with, below its largest value."""
GOLDEN_STEP = 2.0**-15
"""Of golden outputs.  Half of it is less than a sixth of the least tolerance, and what is finer is noise that every update
carries: no delta finds it in the model before."""


def package(
    adapter: Adapter,
    directory: Path,
    *,
    version: str,
    forms: Sequence[Form] = ONNX_FORMS,
    figures: Mapping[str, Any] | None = None,
    work: Path | None = None,
    candidates: Sequence[int] = (),
) -> list[Fidelity]:
    """Export, quantise, prove and write the bundle.

    Args:
        adapter: the model.
        directory: where the bundle goes; one that is there is replaced as a whole.
        version: the bundle's version.
        forms: every role is exported in each of them.
        figures: measured closed-loop results, for the model card.
        work: folder for finished graphs: an export that was interrupted goes on from them.
        candidates: sizes of plans that ``imagine`` is exported for, the largest being the bundle's own; the adapter's
            alone if none are named.

    Raises:
        BadInput: a graph cannot be exported or is not the same model; nothing is written.
    """
    console = Console(file=sys.stdout)  # this one, whatever stands in its place while a tool is kept quiet
    writer = BundleWriter(directory)
    adapter, fewer = _sized(adapter, candidates)
    manifest = _manifest(adapter, version, _graphs(adapter, fewer, forms), dict(figures or {}))
    check_manifest_to_be(manifest)
    console.print("observe the recordings for calibration and for the proof")
    calibration, held_out = rollouts(adapter, "calibration"), rollouts(adapter, "held-out")
    check_splits(adapter.name, calibration["observe"], held_out["observe"])
    held_out = {role: [*cases, *_golden_cases(adapter, cases)] for role, cases in held_out.items()}
    attempts: list[Attempt] = []
    obstacles: list[str] = []
    golden: dict[str, Array] = {}
    truths = {
        (role, size): _truths(adapter, manifest, role, size, _first(held_out[role], size))
        for role in adapter.modules
        for size in (None, *(fewer if role == "imagine" else ()))
    }
    with Progress(console=console) as progress:
        task = progress.add_task("", total=len(truths) * len(forms))
        for (role, size), truth in truths.items():
            part, cases = mf.part(role, size), _first(held_out[role], size)
            maker = FormMaker(
                role,
                adapter.modules[role],
                cases[0],
                tuple(truth[0]),
                _first(calibration[role], size),
                float_parts=adapter.float_parts,
                full_integer=adapter.full_integer,
                work=work,
            )
            for graph in (graph for graph in manifest.graphs if graph.part == part):
                form = Form(graph.format, graph.precision)
                progress.update(task, description=f"{part} {form.format} {form.precision}")
                attempts.append(attempt(graph, maker, cases, truth, manifest))
                if attempts[-1].trouble is None:
                    writer.add(graph.file, maker.make(form))
                    if form == ("tflite", "int8"):
                        obstacles += [f"{part}: {found}" for found in edge_tpu_obstacles(maker.make(form))]
                progress.advance(task)
            maker.forget(
                form for form, tried in zip(forms, attempts[-len(forms) :], strict=True) if tried.trouble
            )
            if size is None:  # the others take the first of the same candidates
                golden |= _golden(f"{part}/in", cases)
            golden |= {
                name: _rounded(array, GOLDEN_STEP) for name, array in _golden(f"{part}/out", truth).items()
            }
    console.print(table(attempts))
    for obstacle in obstacles:
        console.print(f"not for an Edge TPU: {obstacle}", soft_wrap=True)
    for tried in attempts:
        if tried.trouble is not None:
            graph = tried.graph
            raise BadInput(
                f"{adapter.name}: {graph.part} {graph.format} {graph.precision}: {tried.trouble}; nothing is written"
            )
    proofs = [tried.fidelity for tried in attempts if tried.fidelity is not None]
    buffer = io.BytesIO()
    np.savez(buffer, **golden)  # type: ignore[arg-type]  # an update finds what is in it twice, and is compressed itself
    writer.add("golden.npz", buffer.getvalue())
    for name, array in adapter.initial.items():
        writer.add(_initial_file(name), _npy(array))
    manifest = _proven(manifest, proofs)
    writer.add("MODEL_CARD.md", model_card(manifest, adapter.about, proofs).encode())
    writer.finish(manifest)
    return proofs


def _sized(adapter: Adapter, candidates: Sequence[int]) -> tuple[Adapter, list[int]]:
    """The adapter with the largest of the sizes asked for, and the smaller ones."""
    sizes = sorted(set(candidates or [adapter.imagine_size.candidates]), reverse=True)
    size = msgspec.structs.replace(adapter.imagine_size, candidates=sizes[0])
    return replace(adapter, imagine_size=size), sizes[1:]


def _graphs(adapter: Adapter, fewer: Sequence[int], forms: Sequence[Form]) -> tuple[mf.Graph, ...]:
    """Every graph of the bundle to be."""
    return tuple(
        mf.Graph(role, *form, f"{mf.part(role, size)}.{form.precision}.{form.format}", size)
        for role in adapter.modules
        for size in (None, *(fewer if role == "imagine" else ()))
        for form in forms
    )


def _first(cases: list[Inputs], candidates: int | None) -> list[Inputs]:
    """The cases for so many candidates: the first of those that there are."""
    if candidates is None:
        return cases
    return [{**case, "actions": case["actions"][:candidates]} for case in cases]


def _truths(
    adapter: Adapter, manifest: mf.Manifest, role: mf.Role, candidates: int | None, cases: list[Inputs]
) -> list[Inputs]:
    """What PyTorch makes of each case."""
    module, specs = adapter.modules[role], manifest.sized(candidates).graph_outputs(role)
    try:
        return [returned(adapter.name, role, specs, run(module, case)) for case in cases]
    except BadInput as error:
        if candidates is None:
            raise
        raise BadInput(f"{error}: for {candidates} candidates, imagine must take N from actions") from error


def _golden_cases(adapter: Adapter, cases: list[Inputs]) -> list[Inputs]:
    """The first tick, before which there is nothing to remember, and the last one, where memory is fullest; with a coarse state."""
    state = {tensor.name for tensor in adapter.state}
    return [
        {name: _coarse(array) if name in state else array for name, array in case.items()}
        for case in (cases[0], cases[-1])
    ]


def _coarse(array: Array) -> Array:
    largest = float(np.abs(array).max(initial=0.0))
    return _rounded(array, 2.0 ** (np.ceil(np.log2(largest)) - STATE_BITS)) if largest > 0.0 else array


def _rounded(array: Array, step: float) -> Array:
    """To multiples of ``step``, if these are fractions."""
    if not np.issubdtype(array.dtype, np.floating):
        return array
    return (np.round(array.astype(np.float64) / step) * step).astype(array.dtype)


def _golden(group: str, cases: list[Inputs]) -> dict[str, Array]:
    """Arrays of the golden cases, which are the last ones."""
    return {f"{group}/{name}": np.stack([case[name] for case in cases[-GOLDEN_CASES:]]) for name in cases[0]}


def _manifest(
    adapter: Adapter, version: str, graphs: tuple[mf.Graph, ...], figures: dict[str, Any]
) -> mf.Manifest:
    """The manifest without what comes of the export: tolerances."""
    return mf.Manifest(
        name=adapter.name,
        version=version,
        robot_kind=adapter.robot_kind,
        tick_s=adapter.tick_s,
        imagine=adapter.imagine_size,
        observation=adapter.observation,
        action=adapter.action,
        state=tuple(
            msgspec.structs.replace(tensor, initial=_initial_file(tensor.name))
            if tensor.name in adapter.initial
            else tensor
            for tensor in adapter.state
        ),
        goal=adapter.goal,
        heads=adapter.heads,
        graphs=graphs,
        planner=adapter.planner,
        golden=mf.GoldenVectors("golden.npz", ()),
        latency_budget_ms=adapter.latency_budget_ms,
        model_card="MODEL_CARD.md",
        provenance=mf.Provenance(
            created=datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
            commit=_commit(),
            data_seed=adapter.data_seed,
            figures=figures,
        ),
    )


def _proven(manifest: mf.Manifest, proofs: list[Fidelity]) -> mf.Manifest:
    plans = [proof.plan_tolerance() for proof in proofs]
    return msgspec.structs.replace(
        manifest,
        golden=mf.GoldenVectors(
            manifest.golden.file,
            tuple(tolerance for proof in proofs for tolerance in proof.tolerances()),
            tuple(plan for plan in plans if plan is not None),
        ),
    )


def _initial_file(name: str) -> str:
    return f"initial/{name}.npy"


def _npy(array: Array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _commit() -> str:
    """Of the working tree; "unknown" outside of one, or where there is no git."""
    try:
        found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "unknown"
    return found.stdout.strip() or "unknown"
