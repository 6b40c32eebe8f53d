"""``edge-wm model``: is this bundle sound, and what is in it?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from edge_wm.bundle.load import Bundle, load_bundle
from edge_wm.bundle.manifest import Graph
from edge_wm.commands.output_option import json_option
from edge_wm.errors import one_line
from edge_wm.output_file import write_json


@click.group("model")
def command() -> None:
    """Verify or inspect a bundle."""


_directory = click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))


@command.command()
@_directory
@json_option
@click.option(
    "--threads", type=click.IntRange(1, 64), default=1, show_default=True, help="Threads of the engine."
)
def verify(directory: Path, json_file: Path | None, threads: int) -> int:
    """Check the bundle in DIR and repeat its golden vectors on this machine.

    Exit code 0: every output is within its tolerance; 1: one is not; 2: the bundle cannot be used.
    """
    from edge_wm.bundle.verify import verify_bundle

    bundle = load_bundle(directory)
    checks = verify_bundle(bundle, threads=threads)
    for check in checks:
        click.echo(f"{'ok  ' if check.passed else 'FAIL'} {check}")
    failed = sum(not check.passed for check in checks)
    manifest = bundle.manifest
    click.echo(
        f"{manifest.name} {manifest.version}: "
        + (
            f"{failed} of {len(checks)} checks are out of tolerance"
            if failed
            else f"all {len(checks)} checks agree"
        )
    )
    if json_file is not None:
        facts = {
            "name": manifest.name,
            "version": manifest.version,
            "model_sha256": bundle.sha256,
            "passed": not failed,
            "checks": [check.facts() for check in checks],
        }
        write_json(json_file, facts)
    return 1 if failed else 0


@command.command()
@_directory
@json_option
def inspect(directory: Path, json_file: Path | None) -> int:
    """Show what the bundle in DIR takes, gives and is made of."""
    bundle = load_bundle(directory)
    for line in _description(bundle):
        click.echo(line)
    if json_file is not None:
        write_json(json_file, _facts(bundle))
    return 0


def _description(bundle: Bundle) -> list[str]:
    m = bundle.manifest
    fewer = ", ".join(map(str, m.sizes[1:]))
    lines = [
        f"{m.name} {m.version} for {m.robot_kind}",
        f"  sha256       {bundle.sha256}",
        f"  tick         {m.tick_s:g} s, budget {m.latency_budget_ms:g} ms",
        f"  imagine      {m.imagine.candidates} candidates x {m.imagine.horizon} steps of {m.imagine.step_s:g} s"
        + (f", or {fewer} candidates" if fewer else ""),
        "observation",
    ]
    lines += [
        f"  {a.name:13}{_tensor(a.dtype, a.shape):22}{a.low:g} to {a.high:g} {one_line(a.unit)}"
        for a in m.observation
    ]
    lines.append("action")
    for name, unit, low, high in zip(
        m.action.names, m.action.units, m.action.low, m.action.high, strict=True
    ):
        lines.append(f"  {name:13}{low:g} to {high:g} {one_line(unit)}")
    lines.append("latent state")
    lines += [f"  {t.name:13}{_tensor(t.dtype, t.shape):22}starts as {t.initial}" for t in m.state]
    if m.goal is not None:
        lines += [
            "goal",
            f"  {_tensor('float32', m.goal.shape):35}{one_line(m.goal.unit)}, {one_line(m.goal.frame)} frame",
        ]
    lines.append("heads")
    lines += [
        f"  {h.name:22}{h.role:9}[{','.join(map(str, h.shape))}]  {one_line(h.unit)}  {one_line(h.description)}".rstrip()
        for h in m.heads
    ]
    lines.append("graphs")
    for graph in m.graphs:
        lines.append(
            f"  {graph.part:14}{graph.precision:6}{graph.format:7}{_size(bundle, graph) / 1024:8.1f} KiB"
        )
        summary = bundle.graphs.get(graph.file)
        if summary is not None:
            operators = ", ".join(f"{name} {count}" for name, count in summary.operators.items())
            lines += [f"    {summary.nodes} nodes, {summary.parameters} parameters", f"    {operators}"]
    costs = ", ".join(f"{name} {weight:g}" for name, weight in m.planner.costs.items())
    lines += [
        "planner",
        f"  {m.planner.iterations} iterations, {m.planner.elites} elites",
        f"  costs: {costs}",
    ]
    origin = m.provenance
    lines += [
        "provenance",
        f"  created {one_line(origin.created)}, commit {one_line(origin.commit)}, data seed {origin.data_seed}",
    ]
    lines += [
        f"  {one_line(name)}: {one_line(json.dumps(figure))}" for name, figure in origin.figures.items()
    ]
    return lines


def _facts(bundle: Bundle) -> dict[str, Any]:
    import msgspec

    return {
        "model_sha256": bundle.sha256,
        "manifest": msgspec.to_builtins(bundle.manifest),
        "graphs": [
            {
                **msgspec.to_builtins(graph),
                "size": _size(bundle, graph),
                **(
                    {
                        "nodes": summary.nodes,
                        "parameters": summary.parameters,
                        "operators": dict(summary.operators),
                    }
                    if (summary := bundle.graphs.get(graph.file)) is not None
                    else {}
                ),
            }
            for graph in bundle.manifest.graphs
        ],
    }


def _size(bundle: Bundle, graph: Graph) -> int:
    return next(entry.size for entry in bundle.manifest.files if entry.path == graph.file)


def _tensor(dtype: str, shape: tuple[int, ...]) -> str:
    return f"{dtype}[{','.join(map(str, shape))}]"
