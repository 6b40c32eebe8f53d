"""How long a model's graphs would take if nothing but arithmetic and memory took time: predicted, not measured.

``python -m export.cost MODEL [--profile FILE]`` counts the operations and the bytes of each ONNX graph of a bundle and divides
them by what a processor can do at most (S. Williams, A. Waterman, D. Patterson, "Roofline", CACM 52(4), 2009)::

    time = max(operations / peak operations a second, bytes / peak bytes a second)

It knows nothing of what a node costs beside its arithmetic, which is most of the time of small graphs, nor of caches, which
serve what memory cannot.  With the profile of a machine it says how far off it is there.  It is for choosing what to
measure, and is never shown as a measurement.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
import onnx
from onnx import NodeProto, numpy_helper

from edge_wm.board import Peak, board_files, load_board
from edge_wm.bundle.load import Bundle, load_bundle
from edge_wm.bundle.manifest import Precision
from edge_wm.errors import BadInput
from edge_wm.profile.profile_file import Profile, read_profile
from edge_wm.profile.stages import OBSERVE
from export.onnx_graph import Shape, shapes_of, writers_of

LABEL = "predicted, not measured"
FAR_OFF = 3.0
"""A prediction that is off by more than this many times is no use for a deadline."""

MULTIPLY_ADDS = ("Gemm", "MatMul", "Conv")
VIEWS = ("Reshape", "Unsqueeze", "Squeeze", "Flatten", "Identity", "Constant", "Shape")
"""They do not even move anything."""
MOVES = (
    *VIEWS,
    *("Transpose", "Concat", "Split", "Slice", "Gather", "GatherElements", "GatherND"),
    *("Expand", "Cast", "Tile", "Pad", "Where", "QuantizeLinear", "DequantizeLinear"),
)
"""They compute nothing."""


class Cost(NamedTuple):
    """What one graph asks for.

    Attributes:
        float_operations: of floating point; a multiplication and an addition are two.
        int8_operations: of quantised layers.
        bytes: read and written by all nodes, stored numbers included; fusing nodes would save some.
        nodes: how many there are.
    """

    float_operations: int
    int8_operations: int
    bytes: int
    nodes: int


ZEN_4 = Peak(
    of="AMD EPYC of the Zen 4 family, as in the x86-64 machine that was measured",
    hz=2.6e9,
    float_per_cycle=32,  # two 256-bit pipes, each 8 fused multiply-adds
    int8_per_cycle=128,  # VNNI: two pipes, each 32 multiply-adds
    bytes_per_s=460.8e9,
    sources="AMD Software Optimization Guide for Zen 4 (57647); clock from /proc/cpuinfo; 12 channels DDR5-4800 of a whole socket",
)
"""Not in a board file: `generic-x86-64` is whatever processor there is, and they have no peak in common."""


def peaks() -> dict[str, Peak]:
    """Those of the board files that have one, by the board's name, and ``zen4``.

    A board has none where no manual says how many operations its core begins in a cycle.

    Raises:
        BadInput: a board file is malformed.
    """
    boards = {name: load_board(file) for name, file in board_files().items()}
    return {name: board.peak for name, board in boards.items() if board.peak is not None} | {"zen4": ZEN_4}


def graph_cost(model: bytes) -> Cost:
    """Count what the nodes of an ONNX graph with static shapes ask for."""
    graph = onnx.shape_inference.infer_shapes(
        onnx.load_from_string(model), strict_mode=True, data_prop=True
    ).graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    shapes: dict[str, Shape] = {**shapes_of(graph), **{name: array.shape for name, array in stored.items()}}
    sizes = {name: _bytes(graph, name, shape) for name, shape in shapes.items()}
    sizes |= {name: array.nbytes for name, array in stored.items()}
    writers = writers_of(graph)
    floats = int8 = moved = 0
    for node in graph.node:
        operations = _operations(node, shapes)
        if node.op_type in MULTIPLY_ADDS and _is_quantised(node, writers):
            int8 += operations
        else:
            floats += operations
        if node.op_type not in VIEWS:
            moved += sum(sizes.get(name, 0) for name in (*node.input, *node.output))
    return Cost(floats, int8, moved, len(graph.node))


def predicted_ms(cost: Cost, peak: Peak, threads: int = 1) -> float:
    """What one inference takes on so many cores if it is bound by nothing but arithmetic and memory, milliseconds."""
    rate = peak.hz * threads
    computing_s = cost.float_operations / (rate * peak.float_per_cycle)
    computing_s += cost.int8_operations / (rate * peak.int8_per_cycle)
    return max(computing_s, cost.bytes / peak.bytes_per_s) * 1e3


class Prediction(NamedTuple):
    """A tick's inferences on one processor, and where there is a profile what they took there.

    Attributes:
        what: ``observe``, or all calls of ``imagine``.
        precision: of the graphs.
        ms: predicted.
        measured_ms: median at the robot's rate.
    """

    what: str
    precision: Precision
    ms: float
    measured_ms: float | None

    @property
    def ratio(self) -> float | None:
        """How many times longer than predicted it took."""
        return None if self.measured_ms is None else self.measured_ms / self.ms


def predictions(bundle: Bundle, peak: Peak, profile: Profile | None) -> Iterator[Prediction]:
    """Predict the inferences of a tick on one thread, for each precision of ONNX graphs."""
    iterations = bundle.manifest.planner.iterations
    own = [graph for graph in bundle.manifest.graphs if graph.format == "onnx" and graph.candidates is None]
    for precision in sorted({graph.precision for graph in own}):
        for what, role, calls in (
            (OBSERVE, "observe", 1),
            (f"imagine, {iterations} times", "imagine", iterations),
        ):
            file = next(graph.file for graph in own if (graph.role, graph.precision) == (role, precision))
            ms = calls * predicted_ms(graph_cost(bundle.read(file)), peak)
            yield Prediction(what, precision, ms, _measured_ms(profile, role, precision))


def _measured_ms(profile: Profile | None, role: str, precision: Precision) -> float | None:
    for row in profile.rows if profile is not None else ():
        how = row.execution
        idle = row.alone.idle if row.alone is not None else None
        on_one_thread = (how.format, how.accelerator, how.threads, how.candidates) == ("onnx", "cpu", 1, None)
        if idle is not None and on_one_thread and how.precision == precision:
            if role == "observe":
                return idle.stages[OBSERVE].p50
            return None if idle.imagine is None else idle.imagine.p50
    return None


def _operations(node: NodeProto, shapes: dict[str, Shape]) -> int:
    """Operations of one node: two for each multiplication with addition, one for each element that is computed."""
    if node.op_type in MOVES:
        return 0
    written = sum(math.prod(shapes.get(name, ())) for name in node.output if name)
    if node.op_type == "Conv":
        return 2 * written * math.prod(shapes[node.input[1]][1:])
    if node.op_type in ("Gemm", "MatMul"):
        transposed = any(item.name == "transA" and item.i for item in node.attribute)
        return 2 * written * shapes[node.input[0]][-2 if transposed else -1]
    if node.op_type in ("MaxPool", "AveragePool"):
        kernel = next(item.ints for item in node.attribute if item.name == "kernel_shape")
        return written * math.prod(kernel)
    if node.op_type.startswith("Reduce"):
        return math.prod(shapes[node.input[0]])
    return written


def _is_quantised(node: NodeProto, writers: dict[str, NodeProto]) -> bool:
    weights = writers.get(node.input[1])
    return weights is not None and weights.op_type == "DequantizeLinear"


def _bytes(graph: onnx.GraphProto, name: str, shape: Shape) -> int:
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.name == name:
            element = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
            return math.prod(shape) * int(element.itemsize)
    return 0


@click.command("cost")
@click.argument("directory", metavar="MODEL", type=click.Path(path_type=Path))
@click.option(
    "--profile",
    "file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="A profile of one of them: how far off is it?",
)
def command(directory: Path, file: Path | None) -> int:
    """Predict how long the inferences of a tick of MODEL take on one core of some processors."""
    try:
        bundle = load_bundle(directory, roles=("observe", "imagine"), golden=False)
        profile = None if file is None else read_profile(file)
        processors = peaks()
    except BadInput as error:
        click.echo(f"cost: {error}", err=True)
        return 2
    for name, peak in processors.items():
        click.echo(f"{peak.of}: {LABEL}; from {peak.sources}")
        of_it = profile if profile is not None and _is_of(profile, name) else None
        for each in predictions(bundle, peak, of_it):
            measured = ""
            if each.ratio is not None:
                useless = f", no use for a deadline: off by more than {FAR_OFF:g} times" * (
                    each.ratio > FAR_OFF
                )
                measured = f", measured {each.measured_ms:.2f} ms: {each.ratio:.1f} times as long{useless}"
            click.echo(f"  {each.precision} {each.what}: {each.ms:.3f} ms{measured}")
    return 0


def _is_of(profile: Profile, name: str) -> bool:
    return profile.board == name or (name == "zen4" and profile.machine.startswith("AMD EPYC"))


if __name__ == "__main__":
    raise SystemExit(command.main(standalone_mode=False))
