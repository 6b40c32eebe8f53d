"""What the graphs of a bundle meet while driving: inputs for calibration, golden vectors and error measurements."""

from __future__ import annotations

import numpy as np
import torch

from edge_wm.policies.path_tracker import PathTracker
from edge_wm.sensors.observation import Array
from edge_wm.sim.frames import to_odometry_frame
from edge_wm.sim.generator import generate
from edge_wm.sim.simulation import Simulation
from export.graphs import CANDIDATES, OBSERVATION, STATE
from export.world_model import V_SCALE, W_SCALE, Reading, State, WorldModel
from firmware_bridge import NEUTRAL

KINDS = ("rooms", "rooms-hard", "corridors", "mazes")
TICKS = 90
KEEP_EVERY = 9
LOW, HIGH = np.array([-0.15, -2.5], dtype=np.float32), np.array([0.5, 2.5], dtype=np.float32)

Inputs = dict[str, Array]


def rollouts(model: WorldModel, first_seed: int, episodes: int) -> dict[str, list[Inputs]]:
    """Drive generated worlds with the expert and record the inputs of each graph, by role.

    Candidate actions are what a planner tries: sequences around the expert's command and the policy head's
    proposal, with noise that is correlated over time, and full-scale ones.
    """
    recorded: dict[str, list[Inputs]] = {"observe": [], "imagine": [], "decode": []}
    for number in range(episodes):
        seed = first_seed + number
        rng = np.random.default_rng([seed, 0xCA])
        world = generate(KINDS[number % len(KINDS)], seed)
        simulation = Simulation(world.xml, world.start, seed)
        tracker = PathTracker(world.true_map, world.goal)
        goal = np.array(to_odometry_frame(world.start, world.goal), dtype=np.float32)
        state, command = model.initial_state(1), NEUTRAL
        for tick in range(TICKS):
            arrays = dict(simulation.observe().arrays)
            applied = np.array([command.v, command.w], dtype=np.float32)
            before = {name: tensor[0].numpy() for name, tensor in zip(STATE, state, strict=True)}
            state = _observe(model, state, arrays, applied)
            if tick % KEEP_EVERY == 0:
                after = {name: tensor[0].numpy() for name, tensor in zip(STATE, state, strict=True)}
                seen = {name: arrays[name] for name in OBSERVATION}
                recorded["observe"].append({**before, **seen, "applied_action": applied})
                with torch.no_grad():
                    policy = model.propose(state, torch.from_numpy(goal)[None])[0].numpy() * (
                        V_SCALE,
                        W_SCALE,
                    )
                actions = _candidates(np.array([command.v, command.w]), policy, rng)
                recorded["imagine"].append({**after, "actions": actions, "goal": goal})
                recorded["decode"].append(after)
            command = tracker.command(simulation.pose, simulation.mover_discs)
            simulation.step(command, model.config.tick_s)
        simulation.close()
    return recorded


def _observe(model: WorldModel, state: State, arrays: Inputs, applied: Array) -> State:
    tensors = {name: torch.from_numpy(array)[None] for name, array in arrays.items()}
    camera = tensors["camera"].permute(0, 3, 1, 2).float() / 255.0
    reading = Reading(
        camera, tensors["range"], tensors["wheel"], tensors["gyro"], torch.from_numpy(applied)[None]
    )
    with torch.no_grad():
        return model.observe(state, reading)


def _candidates(command: Array, policy: Array, rng: np.random.Generator) -> Array:
    horizon = len(policy)
    walk = np.cumsum(rng.normal(0.0, 1.0, (CANDIDATES, horizon, 2)), axis=1) / np.sqrt(horizon)
    middle = np.where(rng.random((CANDIDATES, 1, 1)) < 0.5, command, policy)
    actions = middle + walk * rng.uniform(0.0, 1.0, (CANDIDATES, 1, 1)) * np.array([0.3, 1.5])
    actions[::8] = rng.uniform(LOW, HIGH, (len(actions[::8]), 1, 2))
    return np.clip(actions, LOW, HIGH).astype(np.float32)
