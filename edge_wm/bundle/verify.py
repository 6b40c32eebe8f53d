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
from edge_wm.errors import BadInput, one_line
from edge_wm.planner.agreement import Agreement, PlanCosts

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

    def __str__(self) -> str:
        return (
            f"{self.role:8}{self.format:7}{self.precision:6}{self.output:22}"
            f" max {self.max_abs:<9.3g} (<= {self.allowed_max_abs:<8.3g})"
            f" mean {self.mean_abs:<9.3g} (<= {self.allowed_mean_abs:<8.3g}) over {self.cases} cases"
        )

    @property
    def passed(self) -> bool:
        """Whether both errors are within tolerance."""
        return self.max_abs <= self.allowed_max_abs and self.mean_abs <= self.allowed_mean_abs

    def facts(self) -> dict[str, object]:
        """The row for JSON, where an infinite error is None."""
        finite = {name: value if value != np.inf else None for name, value in asdict(self).items()}
        return {**finite, "passed": self.passed}


@dataclass(frozen=True, slots=True)
class PlanCheck:
    """How alike a form of ``imagine`` and the trained model rank candidates in the worst golden case, and the bounds."""

    role: Role
    format: Format
    precision: Precision
    cases: int
    spearman: float
    elite_overlap: float
    regret: float
    min_spearman: float
    min_elite_overlap: float
    max_regret: float

    def __str__(self) -> str:
        return (
            f"{self.role:8}{self.format:7}{self.precision:6}{'plans':22}"
            f" spearman {self.spearman:.4f} (>= {self.min_spearman:.4f})"
            f" elite overlap {self.elite_overlap:.3f} (>= {self.min_elite_overlap:.3f})"
            f" regret {self.regret:.3g} (<= {self.max_regret:.3g}) in the worst of {self.cases} cases"
        )

    @property
    def passed(self) -> bool:
        """Whether all three are within their bounds."""
        return (
            self.spearman >= self.min_spearman
            and self.elite_overlap >= self.min_elite_overlap
            and self.regret <= self.max_regret
        )

    def facts(self) -> dict[str, object]:
        """The row for JSON, where an infinite regret is None."""
        finite = {name: value if value != np.inf else None for name, value in asdict(self).items()}
        return {**finite, "passed": self.passed}


def verify_bundle(bundle: Bundle, *, threads: int = 1) -> list[GoldenCheck | PlanCheck]:
    """Run every graph that the bundle keeps on its golden inputs and compare: the numbers, and the plans they lead to.

    Args:
        bundle: loaded with ``golden=True``.
        threads: how many threads the engine may use.

    Returns:
        One row for each output of each graph, in the manifest's order, and one for the plans of each ``imagine``.

    Raises:
        BadInput: the golden vectors cannot be read or do not fit the manifest, or an engine refuses a graph.
    """
    manifest = bundle.manifest
    golden = read_npz(bundle.read(manifest.golden.file), str(bundle.directory / manifest.golden.file))
    checks: list[GoldenCheck | PlanCheck] = []
    for graph in manifest.graphs:
        if not bundle.keeps(graph.file):
            continue
        try:
            engine = load_engine(graph.format, bundle.read(graph.file), threads=threads)
            checks += _check_graph(bundle, graph, engine, golden)
        except EngineError as error:
            raise BadInput(f"{bundle.directory / graph.file}: {error}") from None
    return checks


def _check_graph(
    bundle: Bundle, graph: Graph, engine: Engine, golden: Mapping[str, Array]
) -> list[GoldenCheck | PlanCheck]:
    manifest = bundle.manifest
    where = str(bundle.directory / manifest.golden.file)
    inputs = _cases(golden, where, f"{graph.role}/in", manifest.graph_inputs(graph.role))
    expected = _cases(golden, where, f"{graph.role}/out", manifest.graph_outputs(graph.role))
    cases = {len(array) for array in (*inputs.values(), *expected.values())}
    if len(cases) != 1:
        raise BadInput(f"{where}: {graph.role}: arrays have different numbers of cases")
    (count,) = cases
    if count == 0:
        raise BadInput(f"{where}: {graph.role}: no case, so nothing is proven: record some")
    largest, means = dict.fromkeys(expected, 0.0), dict.fromkeys(expected, 0.0)
    agreements: list[Agreement] = []
    plans = manifest.plan_tolerance(graph)
    costs = PlanCosts(manifest) if plans is not None else None
    for case in range(count):
        given = {name: array[case] for name, array in inputs.items()}
        wanted = {name: array[case] for name, array in expected.items()}
        outputs = engine.run(given)
        for name, array in wanted.items():
            with np.errstate(invalid="ignore"):
                error = np.abs(outputs[name].astype(np.float64) - array.astype(np.float64))
            error = np.nan_to_num(error, nan=np.inf, posinf=np.inf)
            largest[name] = max(largest[name], float(error.max()))
            means[name] += float(error.mean()) / count
        if costs is not None:
            both = costs.of(given, wanted), costs.of(given, outputs)
            agreements.append(Agreement.between(*both, costs.elites))
    checks: list[GoldenCheck | PlanCheck] = []
    for name in expected:
        allowed = manifest.tolerance(graph, name)
        assert allowed is not None, "check_manifest refuses a graph output without tolerance"
        checks.append(
            GoldenCheck(
                graph.role,
                graph.format,
                graph.precision,
                name,
                count,
                largest[name],
                means[name],
                allowed.max_abs,
                allowed.mean_abs,
            )
        )
    if plans is not None:
        bounds = (plans.min_spearman, plans.min_elite_overlap, plans.max_regret)
        checks.append(
            PlanCheck(graph.role, graph.format, graph.precision, count, *Agreement.worst(agreements), *bounds)
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
    except MemoryError:
        raise BadInput(f"{where}: there is no memory to unpack it") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError, KeyError) as error:
        raise BadInput(f"{where}: not a readable .npz file: {one_line(str(error))}") from None
    return arrays
