"""The Gymnasium environment."""

from __future__ import annotations

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from edge_wm.errors import BadInput
from edge_wm.policies.path_tracker import PathTracker
from edge_wm.sim.environment import ID, Navigate
from firmware_bridge import NEUTRAL

pytestmark = pytest.mark.sim

SI_ACTIONS = "symmetric and normalized space"
"""Actions are in SI units with the robot's real limits; the advice to normalise them is left to wrappers."""


def test_gymnasium_finds_no_fault_with_it() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        env = gymnasium.make(ID, render_mode="rgb_array")
        check_env(env.unwrapped)
        env.close()
    faults = [
        str(w.message) for w in caught if SI_ACTIONS not in str(w.message) and "gymnasium" in w.filename
    ]
    assert faults == []


def episode(seed: int) -> list[np.ndarray]:
    env = Navigate()
    observation, _ = env.reset(seed=seed)
    seen = [observation]
    env.action_space.seed(0)
    for _ in range(5):
        seen.append(env.step(env.action_space.sample())[0])
    env.close()
    return [step[name] for step in seen for name in sorted(step)]


def test_the_same_seed_gives_the_same_episode_and_another_seed_another() -> None:
    first, again, other = episode(5), episode(5), episode(6)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_reaching_the_goal_ends_the_episode_with_its_reward() -> None:
    env = Navigate()
    _, info = env.reset(seed=1, options={"kind": "rooms", "world_seed": 1_000_003})
    assert info["seed"] == 1_000_003
    tracker = PathTracker(env._world.true_map, env._world.goal)
    geodesic, total, done = info["geodesic_m"], 0.0, False
    for _ in range(600):
        command = tracker.command(info["pose"])
        _, reward, terminated, truncated, info = env.step(np.array([command.v, command.w], dtype=np.float32))
        total += reward
        done = terminated or truncated
        if done:
            break
    env.close()
    assert done
    assert info["success"]
    assert total == pytest.approx(10.0 + geodesic - info["geodesic_m"], abs=0.01)
    assert 0.0 < info["geodesic_m"] < 0.45


def test_touching_something_ends_the_episode_with_a_penalty() -> None:
    env = Navigate()
    env.reset(seed=2)
    for _ in range(600):
        _, reward, terminated, truncated, info = env.step(np.array([0.5, 0.0], dtype=np.float32))
        if terminated or truncated:
            break
    env.close()
    assert terminated
    assert info["contact"]
    assert reward < -9.0


def test_standing_still_is_truncated_after_a_minute() -> None:
    env = Navigate()
    env.reset(seed=2)
    simulation = env._running()
    simulation.step(NEUTRAL, 59.85)
    outcomes = [env.step(np.zeros(2, dtype=np.float32))[2:4] for _ in range(2)]
    env.close()
    assert outcomes == [(False, False), (False, True)]


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(BadInput, match="choose from rooms"):
        Navigate(kinds=("castles",))
