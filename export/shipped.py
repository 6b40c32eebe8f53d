"""The model that ships, behind the same adapter as anyone's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from edge_wm.bundle import manifest as mf
from edge_wm.errors import BadInput
from edge_wm.policies.path_tracker import PathTracker
from edge_wm.sim import robot_model as rm
from edge_wm.sim.frames import to_odometry_frame
from edge_wm.sim.generator import VALIDATION_SEEDS, generate
from edge_wm.sim.simulation import Simulation
from export.adapter import Adapter, Recording, Split, Step
from export.geometry import CELL_M
from export.graphs import CANDIDATES, OBSERVATION, Decode, Imagine, Observe
from export.world_model import WorldModel
from firmware_bridge import NEUTRAL

KINDS = ("rooms", "rooms-hard", "corridors", "mazes")
TICKS = 90
EPISODES = 12
FIRST_SEEDS: dict[Split, int] = {"calibration": 900_000, "held-out": VALIDATION_SEEDS + 500_000}
"""Calibration drives data seeds that collection does not reach."""
PLANNER = mf.PlannerDefaults(
    iterations=2,
    elites=8,
    keep_fraction=0.3,
    noise_beta=2.0,
    initial_std=(0.2, 1.0),
    momentum=0.1,
    costs={
        "value": 1.0,
        "collision": 2.0,
        "clearance": 0.2,
        "progress": 0.1,
        "smoothness": 0.05,
        "reverse": 0.3,
        "revisit": 0.1,
    },
)
"""Chosen on validation seeds: the weights as in docs/training.md, the iterations as in docs/benchmarks.md."""
FLOAT_PARTS = ("motion_model", "GRUCell", "Sequential_displace", "Sequential_correct")
"""The motion model, by its names in ONNX and in TFLite, stays in float in int8 graphs: a displacement would be rounded
once and then added up twelve times."""


def adapter(model: WorldModel, candidates: int = CANDIDATES, horizon: int | None = None) -> Adapter:
    """Declare a trained model in evaluation mode.

    Args:
        model: the model.
        candidates: N, action sequences that are imagined at once.
        horizon: H, steps of each; as many as the model was trained for if None.

    Raises:
        BadInput: there are more steps than the model was trained for.
    """
    config = model.config
    horizon = config.horizon if horizon is None else horizon
    if not 1 <= horizon <= config.horizon:
        raise BadInput(f"a horizon of {horizon} steps: the model was trained for 1 to {config.horizon}")
    cells = (config.cells, config.cells)
    reach = rm.RING_REACH_M
    return Adapter(
        name="rooms-student",
        about=_about(model),
        robot_kind="diff-drive-12cm",
        tick_s=config.tick_s,
        imagine_size=mf.Imagine(candidates, horizon, config.step_s),
        observation=(
            mf.ObservationArray("camera", (48, 64, 3), "uint8", "RGB", 0, 255, 0.3, "forward camera"),
            mf.ObservationArray("range", (rm.RING_BEAMS,), "float32", "m", 0, reach, 0.3, "0 is a drop-out"),
            mf.ObservationArray("wheel", (2,), "float32", "m/s", -2, 2, 0.3, "left and right rim speed"),
            mf.ObservationArray("gyro", (1,), "float32", "rad/s", -10, 10, 0.3, "yaw rate"),
        ),
        action=mf.ActionSpec(("v", "w"), ("m/s", "rad/s"), (-0.15, -2.5), (0.5, 2.5)),
        state=(
            mf.StateTensor("map", (config.map_channels, *cells), description="spatial memory, odometry axes"),
            mf.StateTensor("context", (config.context_channels, *cells), description="what the heads read"),
            mf.StateTensor("motion", (config.motion,), description="memory of how the robot answers"),
            mf.StateTensor("pose", (3,), description="x, y (m), yaw (rad) in the odometry frame"),
        ),
        goal=mf.GoalSpec((2,), "odometry", "m", "x, y"),
        heads=(
            mf.Head(
                "imagined_pose", "imagine", ("N", "H", 3), "m, m, rad", "odometry frame, after each step"
            ),
            mf.Head("collision", "imagine", ("N", "H"), "probability", "of touching something at that step"),
            mf.Head("clearance", "imagine", ("N", "H"), "m", "from the robot's centre, at most 1"),
            mf.Head("uncertainty", "imagine", ("N", "H"), "m", "expected error of the clearance"),
            mf.Head("value", "imagine", ("N",), "m", "weighted cost-to-go from the last pose"),
            mf.Head("cost_to_go", "imagine", ("N", "H"), "m", "weighted cost-to-go from each pose"),
            mf.Head("policy", "imagine", ("H", "A"), "m/s, rad/s", "what the cloned expert would do"),
            mf.Head("local_map", "decode", cells, "probability", f"touching in each {CELL_M} m cell"),
            mf.Head("known", "decode", cells, "1", "1 where the model is sure of the clearance"),
            mf.Head("range_imagined", "decode", (rm.RING_BEAMS,), "m", "the ring as the latent has it"),
        ),
        planner=PLANNER,
        observe=Observe(model).eval(),
        imagine=Imagine(model).eval(),
        decode=Decode(model).eval(),
        recordings=lambda split: recordings(split, config.tick_s),
        latency_budget_ms=30.0,
        float_parts=FLOAT_PARTS,
    )


def recordings(split: Split, tick_s: float) -> Iterable[Recording]:
    """Episodes in generated worlds, driven by the expert."""
    for number in range(EPISODES):
        yield _episode(KINDS[number % len(KINDS)], FIRST_SEEDS[split] + number, tick_s)


def _episode(kind: str, seed: int, tick_s: float) -> Iterator[Step]:
    world = generate(kind, seed)
    simulation = Simulation(world.xml, world.start, seed)
    tracker = PathTracker(world.true_map, world.goal)
    goal = np.array(to_odometry_frame(world.start, world.goal), dtype=np.float32)
    command = NEUTRAL
    for _ in range(TICKS):
        arrays = simulation.observe().arrays
        applied = np.array([command.v, command.w], dtype=np.float32)
        yield Step({name: arrays[name].copy() for name in OBSERVATION}, applied, goal)
        command = tracker.command(simulation.pose, simulation.mover_discs)
        simulation.step(command, tick_s)
    simulation.close()


def _about(model: WorldModel) -> str:
    parameters = sum(parameter.numel() for parameter in model.parameters())
    cells = model.config.cells
    return f"""A latent world model for a small differential-drive robot that drives to a point in rooms it has not seen.
{parameters:,} parameters.

## What it carries

A map of {cells} x {cells} cells of {CELL_M} m around the robot, remembered and scrolled, a memory of how the robot
answers to commands, and the robot's pose in its odometry frame.

## How it was made

Simulation only: generated rooms, corridors and mazes with random textures, light and robot imperfections; a larger
teacher that also sees the depth picture; this student learned from the same labels (true map, true motion, geodesic
cost-to-go) and from the teacher.

## What it cannot do

It was never run on a real robot or a real camera. It knows flat floors, upright things and a robot of 0.12 m radius
with this camera and range ring. Moving obstacles were a small part of its data. Its map ends
{cells * CELL_M / 2:.1f} m from the robot. The supervisor, not this model, is what keeps a robot safe."""
