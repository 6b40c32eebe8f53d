"""Collect: drive generated worlds and record what the sensors saw, with what only simulation knows as labels.

Data is written in shards, each complete or absent, so that an interrupted collection goes on where it stopped.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from edge_wm.clock import SimulatedClock
from edge_wm.control.policy import Policy
from edge_wm.drive.pilot import planning_policy
from edge_wm.errors import BadInput
from edge_wm.policies.path_tracker import PathTracker
from edge_wm.robot import load_robot
from edge_wm.sensors.observation import Array, Observation
from edge_wm.sim.frames import to_odometry_frame
from edge_wm.sim.generator import VALIDATION_SEEDS, generate
from edge_wm.sim.simulation import Simulation
from edge_wm.sim.true_map import WALL_FACTOR, TrueMap
from edge_wm.worker_pool import worker_pool
from edge_wm.world_model import WorldModel
from export.config import CollectConfig
from firmware_bridge import NEUTRAL, Command

EPISODES_PER_SHARD = 20
TICK_S = 0.1
MAX_MOVERS = 2
GRID_CELLS = 224
"""Side of the stored true maps: they are padded to it."""
MODES = {"expert": 0.4, "noisy": 0.35, "wander": 0.25}
"""How often each way of driving is drawn for the next stretch of an episode."""


def collect(config: CollectConfig, folder: Path, jobs: int, model: Path | None = None) -> None:
    """Write ``config.episodes`` episodes into ``folder`` as shards; those that are there already are kept.

    Args:
        config: what to drive.
        folder: where the shards go.
        jobs: parallel processes.
        model: a bundle that drives (on-policy data), or None for the shaken expert.

    Raises:
        BadInput: the seeds of the configuration are not for training, or a shard cannot be written.
    """
    shards = range(-(-config.episodes // EPISODES_PER_SHARD))
    end_seed = config.first_seed + len(shards) * EPISODES_PER_SHARD
    if end_seed > VALIDATION_SEEDS:
        raise BadInput(
            f"first_seed {config.first_seed} and {config.episodes} episodes use seeds up to {end_seed - 1}: training must"
            f" not see those that tune or test, from {VALIDATION_SEEDS} on"
        )
    folder.mkdir(parents=True, exist_ok=True)
    todo = [(config, folder, shard, model) for shard in shards if not _shard_path(folder, shard).exists()]
    with worker_pool(jobs) as pool:
        for _ in track(pool.imap_unordered(_collect_shard, todo), "collect", total=len(todo)):
            pass


def _shard_path(folder: Path, shard: int) -> Path:
    return folder / f"shard_{shard:05d}.npz"


def _collect_shard(job: tuple[CollectConfig, Path, int, Path | None]) -> None:
    config, folder, shard, model = job
    first = config.first_seed + shard * EPISODES_PER_SHARD
    policy = None if model is None else _load_policy(model)
    episodes = [_episode(config, seed, policy) for seed in range(first, first + EPISODES_PER_SHARD)]
    stacked = {
        f"{number:02d}/{name}": array
        for number, arrays in enumerate(episodes)
        for name, array in arrays.items()
    }
    path = _shard_path(folder, shard)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            np.savez(file, **stacked)
        partial.replace(path)
    except OSError as error:
        raise BadInput(f"{path}: cannot be written: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)


def read_shard(path: Path) -> Iterator[dict[str, Array]]:
    """Yield the episodes of a shard as named arrays; see :func:`_episode`."""
    with np.load(path, allow_pickle=False) as shard:
        for number in range(EPISODES_PER_SHARD):
            prefix = f"{number:02d}/"
            yield {name[len(prefix) :]: shard[name] for name in shard.files if name.startswith(prefix)}


def _load_policy(model: Path) -> Policy:
    from edge_wm.bundle.load import load_bundle
    from edge_wm.engines.execution import Execution

    bundle = load_bundle(model, roles=("observe", "imagine"), precisions=("fp32",), golden=False)
    return planning_policy(
        WorldModel(bundle, Execution(precision="fp32")), load_robot().limits, SimulatedClock()
    )


def _episode(config: CollectConfig, seed: int, policy: Policy | None) -> dict[str, Array]:
    """Drive one episode; T ticks.

    Returns:
        camera uint8[T, 48, 64, 3], depth float16[T, 24, 32] m, range float32[T, 8], wheel float32[T, 2], gyro
        float32[T, 1], applied float32[T, 2] (in force during the tick that ends at the reading), expert float32[T, 2]
        (what the expert does next) and expert_valid bool[T], pose float32[T, 3] (true), movers float32[T, 2, 3]
        (x, y, radius; radius 0: none), goal float32[2], origin float32[2], clearance and cost_to_go
        float16[rows, columns] (infinity: unreachable).
    """
    rng = np.random.default_rng([seed, 0xC0])
    kind = str(rng.choice(list(config.kinds), p=np.array(list(config.kinds.values()))))
    movers = int(rng.integers(1, MAX_MOVERS + 1)) if rng.random() < config.movers else 0
    world = generate(kind, seed, movers=movers)
    simulation = Simulation(world.xml, world.start, seed)
    driver: _ShakenExpert | _OnPolicy = (
        _ShakenExpert(world.true_map, world.goal, rng)
        if policy is None
        else _OnPolicy(policy, world.true_map, world.start, world.goal)
    )
    rows: list[dict[str, Any]] = []
    command = NEUTRAL
    for _ in range(config.ticks):
        observation = simulation.observe()
        applied = command
        command, expert = driver.drive(simulation, observation, applied)
        discs = np.zeros((MAX_MOVERS, 3), dtype=np.float32)
        discs[: len(simulation.mover_discs)] = simulation.mover_discs
        rows.append(
            {
                **observation.arrays,
                "depth": simulation.depth()[::2, ::2].astype(np.float16),
                "applied": np.array([applied.v, applied.w], dtype=np.float32),
                "expert": np.array([expert.v, expert.w] if expert else [0, 0], dtype=np.float32),
                "expert_valid": np.array(expert is not None),
                "pose": np.array(simulation.pose, dtype=np.float32),
                "movers": discs,
            }
        )
        if driver.done:
            break
        simulation.step(command, TICK_S)
    simulation.close()
    episode = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    cost = world.true_map.cost_to_go(world.goal, WALL_FACTOR)
    return {
        **episode,
        "goal": np.array(world.goal, dtype=np.float32),
        "origin": world.true_map.origin.astype(np.float32),
        "clearance": world.true_map.clearance.astype(np.float16),
        "cost_to_go": cost.astype(np.float16),
    }


class _OnPolicy:
    """The model's own planner drives, and the expert says what it would have done there (Ross et al. 2011)."""

    def __init__(
        self, policy: Policy, true_map: TrueMap, start: tuple[float, float, float], goal: tuple[float, float]
    ) -> None:
        self._policy, self._goal = policy, goal
        self._tracker = PathTracker(true_map, goal)
        policy.reset(to_odometry_frame(start, goal))
        self.done = False

    def drive(
        self, simulation: Simulation, observation: Observation, applied: Command
    ) -> tuple[Command, Command | None]:
        """Return what the model does and what the expert would do."""
        here = simulation.pose
        self.done = simulation.contact or math.dist(here[:2], self._goal) < 0.1
        decision = self._policy.act(observation, applied, math.inf)
        return decision.command, self._tracker.command(here, simulation.mover_discs)


class _ShakenExpert:
    """The behaviour of data: stretches of the expert, of the expert shaken, and of wandering near to things."""

    def __init__(self, true_map: TrueMap, goal: tuple[float, float], rng: np.random.Generator) -> None:
        self._map, self._goal, self._rng = true_map, goal, rng
        self._tracker = PathTracker(true_map, goal)
        self._noise = np.zeros(2)
        self._cruise = np.zeros(2)
        self._left = 0
        self._mode = "expert"
        self.done = False

    def drive(
        self, simulation: Simulation, observation: Observation, applied: Command
    ) -> tuple[Command, Command | None]:
        """Return what to do now and, unless wandering, what the expert would do."""
        pose = simulation.pose
        here = np.array(pose[:2])
        self.done = bool(np.hypot(*(here - self._goal)) < 0.1)
        if self._left <= 0:
            self._mode = str(self._rng.choice(list(MODES), p=list(MODES.values())))
            self._left = int(self._rng.integers(10, 40))
            self._cruise = np.array([self._rng.uniform(-0.1, 0.5), self._rng.normal(0.0, 0.7)])
        self._left -= 1
        if self._mode == "wander" and self._map.clearance_at(here) < 0.135:
            self._mode, self._left = "expert", 12
        self._noise += -0.15 * self._noise + self._rng.normal(0.0, [0.07, 0.45])
        if self._mode == "wander":
            return _clip(self._cruise + self._noise), None
        expert = self._tracker.command(pose, simulation.mover_discs)
        if self._mode == "expert":
            return expert, expert
        return _clip(np.array([expert.v, expert.w]) + self._noise), expert


def _clip(action: Array) -> Command:
    return Command(float(np.clip(action[0], -0.15, 0.5)), float(np.clip(action[1], -2.5, 2.5)))
