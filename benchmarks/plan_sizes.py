"""The shipped model for plans of other sizes: a bundle for each number of candidates, steps and iterations."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import NamedTuple

import msgspec

from edge_wm.bundle.load import load_bundle
from edge_wm.bundle.manifest import MANIFEST_NAME, Precision
from edge_wm.bundle.manifest_file import encode_manifest


class Size(NamedTuple):
    """What is computed for one plan."""

    candidates: int
    steps: int
    iterations: int
    precision: Precision = "int8"

    def __str__(self) -> str:
        return f"{self.candidates}x{self.steps}x{self.iterations}-{self.precision}"

    @property
    def imagined_steps(self) -> int:
        """Imagined steps of a plan."""
        return self.candidates * self.steps * self.iterations


class Bundles:
    """Bundles of one trained model, one for each size of a plan; exported when they are first asked for."""

    def __init__(self, checkpoint: Path, config: Path, work: Path) -> None:
        from export.config import load_config
        from export.train import CHECKPOINT, load_model

        trained, self._config = load_model(checkpoint), load_config(config)
        self._model = trained.with_map(self._config.shipped_cells, self._config.shipped_value_iterations)
        digest = hashlib.sha256((checkpoint / CHECKPOINT).read_bytes()).hexdigest()
        self._folder, self._graphs = work / "bundles" / digest[:12], work / "graphs"

    def of(self, size: Size) -> Path:
        """The bundle of that size, in both precisions; graphs know nothing of iterations."""
        exported = self._folder / f"{size.candidates}x{size.steps}"
        if not exported.exists():
            self._export(size, exported)
        directory = self._folder / f"{size.candidates}x{size.steps}x{size.iterations}"
        copy_bundle(exported, directory, size.iterations)
        return directory

    def _export(self, size: Size, directory: Path) -> None:
        from export.package import package
        from export.shipped import adapter

        declared = adapter(self._model, size.candidates, size.steps)
        package(declared, directory, version=self._config.version, work=self._graphs)


def copy_bundle(source: Path, directory: Path, iterations: int) -> None:
    """Write a copy that plans with so many iterations; one that is there already is written over."""
    manifest = load_bundle(source, roles=(), golden=False).manifest
    planner = msgspec.structs.replace(manifest.planner, iterations=iterations)
    shutil.copytree(source, directory, dirs_exist_ok=True)
    changed = encode_manifest(msgspec.structs.replace(manifest, planner=planner))
    (directory / MANIFEST_NAME).write_bytes(changed)
