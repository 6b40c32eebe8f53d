"""Bundles that the simulated robot can drive by, with golden vectors: the blind model, and what is wrong with some copies."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime

from edge_wm.bundle.manifest import Manifest, Role
from edge_wm.bundle.write import BundleWriter
from tests import blind_model
from tests.blind_model import node
from tests.tiny_model import constant, npz

CASES = 2
ROLES: tuple[Role, ...] = ("observe", "imagine", "decode")


def write_provable(
    directory: Path, *, imagine: onnx.ModelProto | None = None, off: float = 0.0, **changed: object
) -> Path:
    """Write a bundle.

    Args:
        directory: where.
        imagine: the graph that is in it; what is expected of it is what the blind model's computes.
        off: added to what is expected.
        changed: fields of the manifest.
    """
    right = {role: blind_model.GRAPHS[role]() for role in ROLES}
    manifest: Manifest = msgspec.structs.replace(blind_model.manifest("int8"), **changed)
    writer = BundleWriter(directory)
    for role, graph in right.items():
        used = imagine if role == "imagine" and imagine is not None else graph
        writer.add(f"{role}.int8.onnx", used.SerializeToString())
    writer.add("golden.npz", npz(golden(manifest, right, off)))
    writer.add("MODEL_CARD.md", b"# blind\n")
    writer.finish(manifest)
    return directory


def golden(manifest: Manifest, graphs: dict[Role, onnx.ModelProto], off: float) -> dict[str, np.ndarray]:
    random = np.random.default_rng(3)
    arrays: dict[str, np.ndarray] = {}
    for role, graph in graphs.items():
        session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        cases = []
        for _ in range(CASES):
            inputs = {
                spec.name: (random.normal(size=spec.shape) * (30 if spec.dtype == "uint8" else 1)).astype(
                    spec.dtype
                )
                for spec in manifest.graph_inputs(role)
            }
            cases.append((inputs, dict(zip(names, session.run(names, inputs), strict=True))))
        for name in cases[0][0]:
            arrays[f"{role}/in/{name}"] = np.stack([inputs[name] for inputs, _ in cases])
        for name in names:
            arrays[f"{role}/out/{name}"] = np.stack([outputs[name] for _, outputs in cases]) + np.float32(off)
    return arrays


def slow(products: int, size: int) -> onnx.ModelProto:
    """An imagine graph with the same results, that comes to its value through matrix products which change nothing."""
    graph = blind_model.imagine_graph()
    value = next(known for known in graph.graph.node if known.output[0] == "value")
    value.output[0] = "value_now"
    graph.graph.initializer.append(constant("identity", np.eye(size, dtype=np.float32)))
    graph.graph.initializer.append(
        constant("padding", np.array([0, 0, 0, size - blind_model.N], dtype=np.int64))
    )
    graph.graph.initializer.append(constant("tall", np.array([size, 1], dtype=np.int64)))
    graph.graph.initializer.append(constant("shape", np.array([1, blind_model.N], dtype=np.int64)))
    graph.graph.initializer.append(constant("first_row", np.array(0, dtype=np.int64)))
    graph.graph.initializer.append(constant("columns", np.arange(blind_model.N, dtype=np.int64)))
    graph.graph.node.extend(
        [
            node("Reshape", "value_now shape", "row"),
            node("Pad", "row padding", "wide"),
            node("Tile", "wide tall", "product0"),
            *(
                node("MatMul", f"product{number} identity", f"product{number + 1}")
                for number in range(products)
            ),
            node("Gather", f"product{products} first_row", "last_row", axis=0),
            node("Gather", "last_row columns", "value", axis=0),
        ]
    )
    return graph


def large(side: int) -> onnx.ModelProto:
    """An imagine graph with the same results, that needs ``side`` times ``side`` numbers between two nodes."""
    graph = blind_model.imagine_graph()
    value = next(known for known in graph.graph.node if known.output[0] == "value")
    value.output[0] = "value_now"
    graph.graph.initializer.append(constant("sides", np.array([side, side], dtype=np.int64)))
    graph.graph.initializer.append(constant("none", np.zeros((), dtype=np.float32)))
    graph.graph.node.extend(
        [
            node("ReduceSum", "value_now", "sum", keepdims=0),
            node("Expand", "sum sides", "many"),
            node("ReduceSum", "many", "sum_of_many", keepdims=0),
            node("Mul", "sum_of_many none", "nothing"),
            node("Add", "value_now nothing", "value"),
        ]
    )
    return graph
