"""A bundle with the tensors of the shipped one and no learning: it knows how the robot moves, and sees nothing.

observe:  next_pose = dead reckoning by wheels and gyro, or by what was sent; the frame's brightness stays in ``memory``
imagine:  imagined_pose = unicycle, value = straight metres from the last pose to the goal
decode:   local_map = memory everywhere, known = 1
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from msgspec.structs import replace
from onnx import helper

from edge_wm.bundle.manifest import (
    ActionSpec,
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
from tests.tiny_model import UINT8, constant, model, npz, value, with_fewer

N, H, STEP_S, TICK_S, CELLS = 32, 10, 0.2, 0.1, 40
STATE = [value("memory", [1]), value("pose", [3])]


def floats(name: str, *numbers: float) -> onnx.TensorProto:
    return constant(name, np.array(numbers, dtype=np.float32))


def ints(name: str, *numbers: int) -> onnx.TensorProto:
    return constant(name, np.array(numbers, dtype=np.int64))


def node(operator: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, inputs.split(), [output], **attributes)


def observe_graph(wheels: bool = True) -> onnx.ModelProto:
    if wheels:
        speed, turning, zero = [node("ReduceMean", "wheel", "v", keepdims=1)], "gyro", []
        inputs = [value("wheel", [2]), value("gyro", [1])]
    else:
        speed = [node("Slice", "applied_action zero one", "v"), node("Slice", "applied_action one two", "w")]
        turning, zero, inputs = "w", [ints("zero", 0)], []
    return model(
        [
            node("Cast", "camera", "light", to=1),
            node("ReduceMean", "light", "mean_light", keepdims=0),
            node("Mul", "mean_light range_weight", "brightness"),
            node("Reshape", "brightness one", "next_memory"),
            *speed,
            node("Mul", "v tick", "forward"),
            node("Mul", f"{turning} tick", "turn"),
            node("Slice", "pose two three", "yaw"),
            node("Cos", "yaw", "cos"),
            node("Sin", "yaw", "sin"),
            node("Mul", "forward cos", "dx"),
            node("Mul", "forward sin", "dy"),
            node("Concat", "dx dy turn", "motion", axis=0),
            node("Add", "pose motion", "next_pose"),
        ],
        [
            *STATE,
            value("camera", [48, 64, 3], UINT8),
            value("range", [8]),
            *inputs,
            value("applied_action", [2]),
        ],
        [value("next_memory", [1]), value("next_pose", [3])],
        [
            floats("tick", TICK_S),
            floats("range_weight", 1 / 255),
            ints("one", 1),
            ints("two", 2),
            ints("three", 3),
            *zero,
        ],
    )


def imagine_graph(candidates: int = N) -> onnx.ModelProto:
    return model(
        [
            node("Gather", "actions first", "v", axis=2),
            node("Gather", "actions second", "w", axis=2),
            node("Mul", "w step", "turn"),
            node("CumSum", "turn along", "turned"),
            node("Gather", "pose third", "yaw_now"),
            node("Add", "turned yaw_now", "yaw"),
            node("Mul", "v step", "forward"),
            node("Cos", "yaw", "cos"),
            node("Sin", "yaw", "sin"),
            node("Mul", "forward cos", "dx"),
            node("Mul", "forward sin", "dy"),
            node("CumSum", "dx along", "sum_x"),
            node("CumSum", "dy along", "sum_y"),
            node("Gather", "pose first", "x_now"),
            node("Gather", "pose second", "y_now"),
            node("Add", "sum_x x_now", "x"),
            node("Add", "sum_y y_now", "y"),
            node("Unsqueeze", "x last_axis", "x1"),
            node("Unsqueeze", "y last_axis", "y1"),
            node("Unsqueeze", "yaw last_axis", "yaw1"),
            node("Concat", "x1 y1 yaw1", "imagined_pose", axis=2),
            node("Gather", "x last", "x_end", axis=1),
            node("Gather", "y last", "y_end", axis=1),
            node("Gather", "goal first", "goal_x"),
            node("Gather", "goal second", "goal_y"),
            node("Sub", "x_end goal_x", "off_x"),
            node("Sub", "y_end goal_y", "off_y"),
            node("Mul", "off_x off_x", "square_x"),
            node("Mul", "off_y off_y", "square_y"),
            node("Add", "square_x square_y", "square"),
            node("Sqrt", "square", "value"),
        ],
        [*STATE, value("actions", [candidates, H, 2]), value("goal", [2])],
        [value("imagined_pose", [candidates, H, 3]), value("value", [candidates])],
        [
            floats("step", STEP_S),
            *(
                constant(name, np.array(number, dtype=np.int64))
                for name, number in {"first": 0, "second": 1, "third": 2, "along": 1, "last": H - 1}.items()
            ),
            ints("last_axis", 2),
        ],
    )


def decode_graph() -> onnx.ModelProto:
    return model(
        [node("Mul", "memory zeros", "local_map"), node("Add", "zeros certain", "known")],
        STATE,
        [value("local_map", [CELLS, CELLS]), value("known", [CELLS, CELLS])],
        [constant("zeros", np.zeros((CELLS, CELLS), dtype=np.float32)), floats("certain", 1.0)],
    )


GRAPHS = {"observe": observe_graph, "imagine": imagine_graph, "decode": decode_graph}


def manifest(precision: Precision) -> Manifest:
    roles: tuple[Role, ...] = ("observe", "imagine", "decode")
    return Manifest(
        name="blind",
        version="0.1.0",
        robot_kind="diff-drive-12cm",
        tick_s=TICK_S,
        imagine=Imagine(N, H, STEP_S),
        observation=(
            ObservationArray("camera", (48, 64, 3), "uint8", "RGB", 0, 255, 0.3),
            ObservationArray("range", (8,), "float32", "m", 0, 4, 0.3),
            ObservationArray("wheel", (2,), "float32", "m/s", -2, 2, 0.3),
            ObservationArray("gyro", (1,), "float32", "rad/s", -10, 10, 0.3),
        ),
        action=ActionSpec(("v", "w"), ("m/s", "rad/s"), (-0.15, -2.5), (0.5, 2.5)),
        state=(StateTensor("memory", (1,)), StateTensor("pose", (3,))),
        goal=GoalSpec((2,), "odometry", "m"),
        heads=(
            Head("imagined_pose", "imagine", ("N", "H", 3), "m, m, rad"),
            Head("value", "imagine", ("N",), "m"),
            Head("local_map", "decode", (CELLS, CELLS), "probability"),
            Head("known", "decode", (CELLS, CELLS), "1"),
        ),
        graphs=tuple(Graph(role, "onnx", precision, f"{role}.{precision}.onnx") for role in roles),
        planner=PlannerDefaults(
            3, 6, 0.3, 2.0, (0.2, 1.0), 0.1, {"value": 1.0, "progress": 0.5, "smoothness": 0.02}
        ),
        golden=GoldenVectors(
            "golden.npz", tuple(Tolerance(role, precision, "*", 1e-4, 1e-5) for role in roles)
        ),
        latency_budget_ms=30.0,
        model_card="MODEL_CARD.md",
        provenance=Provenance("2026-11-23", "0" * 40, 7),
    )


def observe_graph_with_memory(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    """The observe graph in which ``nodes`` make ``next_memory`` from ``brightness``, float32[] and 0 in the dark."""
    graph = observe_graph()
    others = [known for known in graph.graph.node if known.output[0] != "next_memory"]
    graph.graph.ClearField("node")
    graph.graph.node.extend([*others, *nodes])
    return graph


def write_blind(
    directory: Path,
    precision: Precision = "int8",
    observe: onnx.ModelProto | None = None,
    fewer: int | None = None,
    wheels: bool = True,
) -> Path:
    """Write the bundle, also for plans of ``fewer`` candidates; graphs are called ``precision`` whatever they are made of.

    Without ``wheels`` it is one for a robot that has no gyro either.
    """
    writer = BundleWriter(directory)
    for role, make in GRAPHS.items():
        graph = make()
        if role == "observe":
            graph = observe if observe is not None else observe_graph(wheels)
        writer.add(f"{role}.{precision}.onnx", graph.SerializeToString())
    writer.add("golden.npz", npz({}))
    writer.add("MODEL_CARD.md", b"# blind\n")
    whole = manifest(precision)
    if not wheels:
        whole = replace(whole, observation=whole.observation[:2])
    if fewer is not None:
        writer.add(f"imagine-{fewer}.{precision}.onnx", imagine_graph(fewer).SerializeToString())
        whole = with_fewer(whole, fewer)
    writer.finish(whole)
    return directory
