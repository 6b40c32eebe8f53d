"""Repeats a bundle's golden vectors on this machine's engine: is it still the model that was trained?"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from edge_wm.bundle.load import MAX_FILE_BYTES, Array, Bundle, array_from_npy
from edge_wm.bundle.manifest import Format, Graph, Precision, Role
from edge_wm.engines.engine import Engine, EngineError, TensorSpec, load_engine
from edge_wm.errors import BadInput

MAX_ARRAYS = 512


@dataclass(frozen=True, slots=True)
class GoldenCheck:
    """How far one output of one graph is from its golden values, over all cases, and how far it may be.

    The errors are in the unit of the output; they are infinite where the output is not finite.
    """

    role: Role
    format: Format
    precision: Precision
    output: str
    cases: int
    max_abs: float
    mean_abs: float
    allowed_max_abs: float
    allowed_mean_abs: float

    @property
    def passed(self) -> bool:
        """Whether both errors are within tolerance."""
        return self.max_abs <= self.allowed_max_abs and self.mean_abs <= self.allowed_mean_abs

    def facts(self) -> dict[str, object]:
        """The row for JSON, where an infinite error is None."""
        finite = {name: value if value != np.inf else None for name, value in asdict(self).items()}
        return {**finite, "passed": self.passed}


def verify_bundle(bundle: Bundle, *, threads: int = 1) -> list[GoldenCheck]:
    """Run every graph that the bundle keeps on its golden inputs and compare.

    Args:
        bundle: loaded with ``golden=True``.
        threads: how many threads the engine may use.

    Returns:
        One row for each output of each graph, in the manifest's order.

    Raises:
        BadInput: the golden vectors cannot be read or do not fit the manifest, or an engine refuses a graph.
    """
    manifest = bundle.manifest
    golden = read_npz(bundle.read(manifest.golden.file), manifest.golden.file)
    checks: list[GoldenCheck] = []
    for graph in manifest.graphs:
        if not bundle.keeps(graph.file):
            continue
        try:
            engine = load_engine(graph.format, bundle.read(graph.file), threads=threads)
            checks += _check_graph(bundle, graph, engine, golden)
        except EngineError as error:
            raise BadInput(f"{graph.file}: {error}") from None
    return checks


def _check_graph(
    bundle: Bundle, graph: Graph, engine: Engine, golden: Mapping[str, Array]
) -> list[GoldenCheck]:
    manifest = bundle.manifest
    inputs = _cases(golden, manifest.golden.file, f"{graph.role}/in", manifest.graph_inputs(graph.role))
    expected = _cases(golden, manifest.golden.file, f"{graph.role}/out", manifest.graph_outputs(graph.role))
    cases = {len(array) for array in (*inputs.values(), *expected.values())}
    if len(cases) != 1:
        raise BadInput(f"{manifest.golden.file}: {graph.role}: arrays have different numbers of cases")
    (count,) = cases
    errors: dict[str, list[Array]] = {name: [] for name in expected}
    for case in range(count):
        outputs = engine.run({name: array[case] for name, array in inputs.items()})
        for name, array in expected.items():
            with np.errstate(invalid="ignore"):
                errors[name].append(np.abs(outputs[name].astype(np.float64) - array[case].astype(np.float64)))
    checks = []
    for name, parts in errors.items():
        error = np.nan_to_num(np.stack(parts), nan=np.inf, posinf=np.inf)
        allowed = manifest.tolerance(graph, name)
        assert allowed is not None, "check_manifest refuses a graph output without tolerance"
        checks.append(
            GoldenCheck(
                graph.role,
                graph.format,
                graph.precision,
                name,
                count,
                float(error.max()),
                float(error.mean()),
                allowed.max_abs,
                allowed.mean_abs,
            )
        )
    return checks


def _cases(
    golden: Mapping[str, Array], where: str, group: str, specs: tuple[TensorSpec, ...]
) -> dict[str, Array]:
    """The arrays of one group, each ``[cases, *shape]`` as the manifest says."""
    found: dict[str, Array] = {}
    for spec in specs:
        array = golden.get(f"{group}/{spec.name}")
        if array is None:
            raise BadInput(f"{where}: lacks {group}/{spec.name}")
        if (
            array.shape[1:] != spec.shape
            or array.dtype.name != spec.dtype
            or len(array.shape) == len(spec.shape)
        ):
            raise BadInput(
                f"{where}: {group}/{spec.name} is {array.dtype.name}{list(array.shape)}, should be cases of {spec}"
            )
        found[spec.name] = array
    return found


def read_npz(data: bytes, where: str) -> dict[str, Array]:
    """Read an ``.npz`` file from untrusted bytes: no pickle, and no more memory than a bundle file may have.

    Raises BadInput.
    """
    arrays: dict[str, Array] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if len(members) > MAX_ARRAYS or sum(member.file_size for member in members) > MAX_FILE_BYTES:
                raise BadInput(
                    f"{where}: more than {MAX_ARRAYS} arrays or {MAX_FILE_BYTES >> 20} MiB unpacked"
                )
            if any(
                member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for member in members
            ):
                raise BadInput(f"{where}: packed with something else than deflate")
            for member in members:
                name = member.filename.removesuffix(".npy")
                with archive.open(member) as packed:  # no more than it says it holds, however much is in it
                    unpacked = packed.read(member.file_size)
                arrays[name] = array_from_npy(unpacked, f"{where}: {name!r}")
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError, KeyError) as error:
        raise BadInput(f"{where}: not a readable .npz file: {' '.join(str(error).split())}") from None
    return arrays
