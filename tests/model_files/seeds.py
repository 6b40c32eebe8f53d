"""Sound bundles that the campaign starts from, all of which the simulated robot can drive by, in both formats.

Their tolerances are as wide as a manifest allows: whoever signs a model also signs its golden vectors, so another result must not be
what keeps a strange graph from the process that drives.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from msgspec import Struct

from edge_wm.bundle.golden import read_npz
from edge_wm.bundle.load import load_bundle
from edge_wm.bundle.manifest import (
    MANIFEST_NAME,
    Format,
    GoldenVectors,
    Graph,
    Imagine,
    Manifest,
    Precision,
    Role,
    StateTensor,
    Tolerance,
)
from edge_wm.bundle.write import BundleWriter
from edge_wm.engines.execution import Execution
from edge_wm.paths import shipped
from tests import blind_model, tiny_tflite
from tests.model_files import tflite_seeds
from tests.model_files.onnx_seeds import onnx_operators, short_imagine_graph
from tests.tiny_model import npy, npz

SHIPPED = "rooms-student"
FORMATS: tuple[Format, ...] = ("onnx", "tflite")
PRECISIONS: tuple[Precision, ...] = ("fp32", "int8")
ROLES: tuple[Role, ...] = ("observe", "imagine", "decode")
CANDIDATES, ELITES = 8, 4
WIDEST = 1e9
BUDGET_MS = 10_000.0
"""Of a tick: not what this is about."""
MEMORY, GOLDEN, CARD = "memory.npy", "golden.npz", "MODEL_CARD.md"

Family = Literal["onnx", "tflite", "blind", "shipped"]


class Template(Struct, frozen=True):
    """A whole bundle and how it is run: what is around the file of a seed."""

    execution: Execution
    files: dict[str, bytes]


class Seed(Struct, frozen=True):
    """A sound file.

    Attributes:
        name: of it, for people.
        family: what it is one of.
        template: the bundle that it belongs to.
        file: its path there.
        data: the file.
    """

    name: str
    family: Family
    template: str
    file: str
    data: bytes

    @property
    def format(self) -> Format:
        """Of the graph."""
        return "onnx" if self.file.endswith(".onnx") else "tflite"


class Seeds(Struct, frozen=True):
    """All that the mutated files begin as."""

    templates: dict[str, Template]
    seeds: list[Seed]

    def of(self, family: Family) -> list[Seed]:
        """Those of one family."""
        return [seed for seed in self.seeds if seed.family == family]


def save(folder: Path) -> None:
    """Make all seeds in a folder.  Runs engines: not for a process that forks afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "seeds").write_bytes(msgspec.msgpack.encode(make(folder)))


def load(folder: Path) -> Seeds:
    """What ``save`` has made."""
    return msgspec.msgpack.decode((folder / "seeds").read_bytes(), type=Seeds)


def make(folder: Path) -> Seeds:
    """All seeds; ``folder`` is for the bundles on the way."""
    templates = {f"blind {format}": blind(folder / f"blind-{format}", format) for format in FORMATS}
    for format in FORMATS:
        templates[f"small {format}"] = small(folder / f"small-{format}", format)
        for precision in PRECISIONS:
            name = f"shipped {format} {precision}"
            templates[name] = _shipped(folder / name.replace(" ", "-"), format, precision)
    seeds = []
    for name, template in templates.items():
        family: Family = "shipped" if name.startswith("shipped") else "blind"
        for file, data in template.files.items():
            if file.endswith((".onnx", ".tflite")):
                seeds.append(Seed(f"{name} {file}", family, name, file, data))
    for name, data in onnx_operators(manifest("onnx")):
        seeds.append(Seed(name, "onnx", "small onnx", "observe.int8.onnx", data))
    for name, data in tflite_seeds.tflite_operators(manifest("tflite")):
        seeds.append(Seed(name, "tflite", "small tflite", "observe.int8.tflite", data))
    return Seeds(templates, seeds)


def write(template: Template, folder: Path, changed: Mapping[str, bytes] | None = None) -> Path:
    """Write a bundle; the manifest is not corrected for ``changed`` files."""
    for path, data in {**template.files, **(changed or {})}.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return folder


def manifest(format: Format) -> Manifest:
    """Of the blind model in one format."""
    whole = blind_model.manifest("int8")
    return msgspec.structs.replace(
        whole,
        imagine=Imagine(CANDIDATES, blind_model.H, blind_model.STEP_S),
        state=(StateTensor("memory", (1,), initial=MEMORY), *whole.state[1:]),
        graphs=tuple(Graph(role, format, "int8", f"{role}.int8.{format}") for role in ROLES),
        planner=msgspec.structs.replace(whole.planner, iterations=1, elites=ELITES),
        golden=GoldenVectors(
            GOLDEN, tuple(Tolerance(role, "int8", "*", WIDEST, WIDEST, format) for role in ROLES)
        ),
        latency_budget_ms=BUDGET_MS,
    )


def graphs(format: Format) -> dict[Role, bytes]:
    """The blind model's, in one format."""
    if format == "tflite":
        made = {
            "observe": tflite_seeds.observe_graph(),
            "imagine": tflite_seeds.imagine_graph(CANDIDATES),
            "decode": tflite_seeds.decode_graph(),
        }
        return {role: tiny_tflite.pack(tiny_tflite.model(made[role])) for role in ROLES}
    models = {
        "observe": blind_model.observe_graph(),
        "imagine": blind_model.imagine_graph(CANDIDATES),
        "decode": blind_model.decode_graph(),
    }
    return {role: models[role].SerializeToString() for role in ROLES}


def blind(folder: Path, format: Format) -> Template:
    """The blind model as a bundle of one format."""
    return _written(folder, manifest(format), graphs(format))


def small(folder: Path, format: Format) -> Template:
    """The same without what takes time and is not looked at: it does not imagine where it comes to, and has no pictures."""
    whole = manifest(format)
    value = tuple(head for head in whole.heads if head.name == "value")
    made = graphs(format)
    if format == "tflite":
        imagine = tiny_tflite.pack(tiny_tflite.model(tflite_seeds.short_imagine_graph(CANDIDATES)))
    else:
        imagine = short_imagine_graph(CANDIDATES).SerializeToString()
    whole = msgspec.structs.replace(
        whole,
        heads=value,
        graphs=whole.graphs[:2],
        planner=msgspec.structs.replace(whole.planner, costs={"value": 1.0}),
    )
    return _written(folder, whole, {"observe": made["observe"], "imagine": imagine})


def _written(folder: Path, whole: Manifest, made: dict[Role, bytes]) -> Template:
    format = whole.graphs[0].format
    writer = BundleWriter(folder)
    for role, data in made.items():
        writer.add(f"{role}.int8.{format}", data)
    writer.add(GOLDEN, npz(golden(whole)))
    writer.add(MEMORY, npy(np.zeros(1, dtype=np.float32)))
    writer.add(CARD, b"# blind\n")
    writer.finish(whole)
    return _read(folder, Execution(format, "int8"))


def golden(whole: Manifest) -> dict[str, np.ndarray]:
    """Golden vectors in the dark: a proof sees no more than that."""
    return {
        f"{role}/{way}/{spec.name}": np.zeros((2, *spec.shape), spec.dtype)
        for role in (graph.role for graph in whole.graphs)
        for way, specs in (("in", whole.graph_inputs(role)), ("out", whole.graph_outputs(role)))
        for spec in specs
    }


def _shipped(folder: Path, format: Format, precision: Precision) -> Template:
    """The shipped model with the graphs of one form, one golden case, and short plans."""
    bundle = load_bundle(shipped("models", SHIPPED))
    whole = bundle.manifest
    kept = tuple(graph for graph in whole.graphs if (graph.format, graph.precision) == (format, precision))
    tolerances = tuple(Tolerance(role, precision, "*", WIDEST, WIDEST, format) for role in ROLES)
    arrays = read_npz(bundle.read(whole.golden.file), SHIPPED)
    writer = BundleWriter(folder)
    for graph in kept:
        writer.add(graph.file, bundle.read(graph.file))
    for tensor in whole.state:
        if isinstance(tensor.initial, str):
            writer.add(tensor.initial, bundle.read(tensor.initial))
    writer.add(GOLDEN, npz({name: array[:1] for name, array in arrays.items()}))
    writer.add(CARD, b"# shipped\n")
    writer.finish(
        msgspec.structs.replace(
            whole,
            graphs=kept,
            planner=msgspec.structs.replace(whole.planner, iterations=1),
            golden=GoldenVectors(GOLDEN, tolerances),
            model_card=CARD,
            latency_budget_ms=BUDGET_MS,
            files=(),
        )
    )
    return _read(folder, Execution(format, precision))


def _read(folder: Path, execution: Execution) -> Template:
    files = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    assert MANIFEST_NAME in files
    return Template(execution, files)


def facts(template: Template) -> dict[str, Any]:
    """Its manifest as JSON."""
    found: dict[str, Any] = msgspec.json.decode(template.files[MANIFEST_NAME])
    return found
