"""A bundle small enough to understand: real ONNX graphs whose outputs a line of numpy repeats.

observe:  next_memory = memory + mean(camera) / 255 + mean(range);  next_pose = pose + applied_action @ TURN
imagine:  imagined_pose = pose + actions @ TURN;  value = sum over H and xyz of imagined_pose, plus goal x
decode:   brightness = 2 * memory
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge_wm.bundle.manifest import (
    ActionSpec,
    Format,
    GoalSpec,
    GoldenVectors,
    Graph,
    Head,
    Imagine,
    Manifest,
    ObservationArray,
    PlannerDefaults,
    Precision,
    Provenance,
    Role,
    StateTensor,
    Tolerance,
)
from edge_wm.bundle.write import BundleWriter

N, H = 4, 3
TURN = np.array([[0.1, 0.2, 0.0], [0.0, 0.0, 0.5]], dtype=np.float32)
START = np.array([1.0, 2.0, 3.0], dtype=np.float32)

FLOAT, UINT8 = TensorProto.FLOAT, TensorProto.UINT8


def value(name: str, shape: list[Any] | None, element: int = FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, element, shape)


def constant(name: str, array: np.ndarray) -> onnx.TensorProto:
    return numpy_helper.from_array(array, name)


def model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    constants: list[onnx.TensorProto],
) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, constants)
    return helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 17)])


def observe_graph() -> onnx.ModelProto:
    return model(
        [
            helper.make_node("Cast", ["camera"], ["light"], to=FLOAT),
            helper.make_node("ReduceMean", ["light"], ["mean_light"], keepdims=0),
            helper.make_node("Div", ["mean_light", "white"], ["brightness"]),
            helper.make_node("ReduceMean", ["range"], ["mean_range"], keepdims=0),
            helper.make_node("Sum", ["memory", "brightness", "mean_range"], ["next_memory"]),
            helper.make_node("MatMul", ["applied_action", "turn"], ["motion"]),
            helper.make_node("Add", ["pose", "motion"], ["next_pose"]),
        ],
        [
            value("memory", [5]),
            value("pose", [3]),
            value("camera", [6, 8, 3], UINT8),
            value("range", [4]),
            value("applied_action", [2]),
        ],
        [value("next_memory", [5]), value("next_pose", [3])],
        [constant("turn", TURN), constant("white", np.array(255.0, dtype=np.float32))],
    )


def imagine_graph(candidates: int = N) -> onnx.ModelProto:
    return model(
        [
            helper.make_node("MatMul", ["actions", "turn"], ["motion"]),
            helper.make_node("Add", ["pose", "motion"], ["imagined_pose"]),
            helper.make_node("ReduceSum", ["imagined_pose", "axes"], ["total"], keepdims=0),
            helper.make_node("Gather", ["goal", "first"], ["goal_x"]),
            helper.make_node("Add", ["total", "goal_x"], ["value"]),
        ],
        [value("memory", [5]), value("pose", [3]), value("actions", [candidates, H, 2]), value("goal", [2])],
        [value("imagined_pose", [candidates, H, 3]), value("value", [candidates])],
        [
            constant("turn", TURN),
            constant("axes", np.array([1, 2], dtype=np.int64)),
            constant("first", np.array(0, dtype=np.int64)),
        ],
    )


def decode_graph() -> onnx.ModelProto:
    return model(
        [helper.make_node("Mul", ["memory", "two"], ["brightness"])],
        [value("memory", [5]), value("pose", [3])],
        [value("brightness", [5])],
        [constant("two", np.array(2.0, dtype=np.float32))],
    )


GRAPHS = {"observe": observe_graph, "imagine": imagine_graph, "decode": decode_graph}


def golden(cases: int = 3) -> dict[str, np.ndarray]:
    random = np.random.default_rng(7)

    def normal(*shape: int) -> np.ndarray:
        return random.normal(size=(cases, *shape)).astype(np.float32)

    memory, pose, action = normal(5), normal(3), normal(2)
    camera = random.integers(0, 256, size=(cases, 6, 8, 3), dtype=np.uint8)
    ring, actions, goal = normal(4), normal(N, H, 2), normal(2)
    imagined = pose[:, None, None] + actions @ TURN
    return {
        "observe/in/memory": memory,
        "observe/in/pose": pose,
        "observe/in/camera": camera,
        "observe/in/range": ring,
        "observe/in/applied_action": action,
        "observe/out/next_memory": memory
        + (camera.mean(axis=(1, 2, 3), dtype=np.float32) / 255 + ring.mean(axis=1))[:, None],
        "observe/out/next_pose": pose + action @ TURN,
        "imagine/in/memory": memory,
        "imagine/in/pose": pose,
        "imagine/in/actions": actions,
        "imagine/in/goal": goal,
        "imagine/out/imagined_pose": imagined,
        "imagine/out/value": imagined.sum(axis=(2, 3)) + goal[:, :1],
        "decode/in/memory": memory,
        "decode/in/pose": pose,
        "decode/out/brightness": 2 * memory,
    }


FEWER = 2
"""Candidates of the smaller size of a bundle that has two."""


def golden_with_fewer(cases: int = 3) -> dict[str, np.ndarray]:
    arrays = golden(cases)
    own = {name: arrays[f"imagine/out/{name}"][:, :FEWER] for name in ("imagined_pose", "value")}
    return {**arrays, **{f"imagine-{FEWER}/out/{name}": array for name, array in own.items()}}


def with_fewer(whole: Manifest, candidates: int = FEWER) -> Manifest:
    """The manifest of a bundle that also plans with so many ``candidates``."""
    of_imagine = [graph for graph in whole.graphs if graph.role == "imagine"]
    graphs = [
        msgspec.structs.replace(
            graph, candidates=candidates, file=f"imagine-{candidates}.{graph.precision}.onnx"
        )
        for graph in of_imagine
    ]
    tolerances = [
        msgspec.structs.replace(tolerance, candidates=candidates)
        for tolerance in whole.golden.tolerances
        if tolerance.role == "imagine"
    ]
    vectors = msgspec.structs.replace(whole.golden, tolerances=(*whole.golden.tolerances, *tolerances))
    return msgspec.structs.replace(whole, graphs=(*whole.graphs, *graphs), golden=vectors)


def write_tiny_with_fewer(directory: Path, precision: Precision = "fp32") -> Path:
    """A bundle of two sizes: plans of ``N`` and of ``FEWER`` candidates."""
    writer = BundleWriter(directory)
    graph = imagine_graph(FEWER).SerializeToString()
    sized = {f"imagine-{FEWER}.{precision}.onnx": graph, "golden.npz": npz(golden_with_fewer())}
    for path, data in {**files(precision), **sized}.items():
        writer.add(path, data)
    writer.finish(with_fewer(manifest(precision)))
    return directory


def npz(arrays: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def manifest(precision: Precision = "fp32") -> Manifest:
    roles: tuple[Role, ...] = ("observe", "imagine", "decode")
    onnx_format: Format = "onnx"
    return Manifest(
        name="tiny",
        version="0.1.0",
        robot_kind="differential-drive",
        tick_s=0.1,
        imagine=Imagine(candidates=N, horizon=H, step_s=0.2),
        observation=(
            ObservationArray("camera", (6, 8, 3), "uint8", "RGB", 0, 255, 0.3),
            ObservationArray("range", (4,), "float32", "m", 0.0, 4.0, 0.3),
        ),
        action=ActionSpec(("v", "w"), ("m/s", "rad/s"), (-0.1, -2.0), (0.4, 2.0)),
        state=(
            StateTensor("memory", (5,), initial=0.5),
            StateTensor("pose", (3,), initial="initial_pose.npy"),
        ),
        goal=GoalSpec((2,), "odometry", "m"),
        heads=(
            Head("imagined_pose", "imagine", ("N", "H", 3), "m, m, rad"),
            Head("value", "imagine", ("N",), "m"),
            Head("brightness", "decode", (5,), "1"),
        ),
        graphs=tuple(Graph(role, onnx_format, precision, f"{role}.{precision}.onnx") for role in roles),
        planner=PlannerDefaults(3, 2, 0.3, 2.0, (0.2, 1.0), 0.1, {"value": 1.0}),
        golden=GoldenVectors(
            "golden.npz", tuple(Tolerance(role, precision, "*", 1e-4, 1e-5) for role in roles)
        ),
        latency_budget_ms=30.0,
        model_card="MODEL_CARD.md",
        provenance=Provenance("2026-11-23", "0" * 40, 7, {"success_rate": 0.5}),
    )


def files(precision: Precision = "fp32") -> dict[str, bytes]:
    return {
        **{f"{role}.{precision}.onnx": make().SerializeToString() for role, make in GRAPHS.items()},
        "golden.npz": npz(golden()),
        "initial_pose.npy": npy(START),
        "MODEL_CARD.md": b"# tiny\n",
    }


def write_tiny(
    directory: Path,
    precision: Precision = "fp32",
    other_files: Mapping[str, bytes] | None = None,
    **facts: Any,
) -> Path:
    """Write the bundle; with ``other_files`` in place of its own or beside them, and other ``facts`` in its manifest."""
    writer = BundleWriter(directory)
    for path, data in {**files(precision), **(other_files or {})}.items():
        writer.add(path, data)
    writer.finish(msgspec.structs.replace(manifest(precision), **facts))
    return directory


def replace_file(directory: Path, path: str, data: bytes) -> None:
    """Put other bytes into a bundle with a manifest that vouches for them."""
    facts = read_manifest(directory)
    (directory / path).write_bytes(data)
    entry = {"path": path, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    facts["files"] = [entry if file["path"] == path else file for file in facts["files"]]
    write_manifest(directory, facts)


def read_manifest(directory: Path) -> dict[str, Any]:
    return json.loads((directory / "manifest.json").read_text())


def write_manifest(directory: Path, facts: dict[str, Any]) -> None:
    (directory / "manifest.json").write_bytes(msgspec.json.encode(facts))
