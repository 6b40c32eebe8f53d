"""Batches: what mirroring keeps, and what the labels say."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from edge_wm.errors import BadInput
from export import dataset
from export.dataset import CLEARANCE_CAP_M, Batch, Episodes
from tests.export.tiny import FUTURE, SEQUENCE

MIRROR = torch.tensor([1.0, -1.0])
BEAMS = 8


@pytest.fixture
def drawn(episodes: Episodes, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Batch]:
    """The same eight sequences, all of them mirrored a number of times."""
    once = dataset._mirror

    def draw(times: int) -> Batch:
        def mirror(arrays: dict[str, Any], world: dict[str, Any], which: Any) -> None:
            for _ in range(times):
                once(arrays, world, np.ones_like(which))

        monkeypatch.setattr(dataset, "_mirror", mirror)
        return episodes.batch(8, SEQUENCE, FUTURE, np.random.default_rng(4))

    return draw


def tensors(batch: Batch) -> dict[str, Tensor]:
    named = batch._asdict()
    return {**named.pop("reading")._asdict(), **named}


def around(batch: Batch) -> tuple[Tensor, Tensor]:
    """Random points [B, 200, 2] of the world within 2 m of the robots, and ticks for them."""
    rng = torch.Generator().manual_seed(9)
    size = len(batch.pose)
    points = batch.pose[:, :1, :2] + 4.0 * torch.rand(size, 200, 2, generator=rng) - 2.0
    return points, torch.randint(0, SEQUENCE, (size, 200), generator=rng)


def beam_ends(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Where the beams end [B, T * 8, 2], at which ticks, and which of them hit something near."""
    size, sequence, _ = batch.reading.range.shape
    bearing = torch.arange(BEAMS) * (math.tau / BEAMS)
    angle = batch.pose[:, :sequence, 2:] + bearing
    reach = batch.reading.range[..., None] * torch.stack([torch.cos(angle), torch.sin(angle)], dim=-1)
    ends = batch.pose[:, :sequence, None, :2] + reach
    ticks = torch.arange(sequence)[:, None].expand(size, sequence, BEAMS)
    hit = (batch.reading.range > 0.05) & (batch.reading.range < 1.5)
    return ends.reshape(size, -1, 2), ticks.reshape(size, -1), hit.reshape(size, -1)


def test_mirrored_points_have_the_same_labels(drawn: Callable[[int], Batch]) -> None:
    plain, mirrored = drawn(0), drawn(1)
    points, ticks = around(plain)
    clearance = plain.true_clearance(points, ticks)
    assert torch.allclose(mirrored.true_clearance(points * MIRROR, ticks), clearance, atol=1e-3)
    cost = plain.sample(plain.cost_to_go, points)
    assert torch.allclose(mirrored.sample(mirrored.cost_to_go, points * MIRROR), cost, atol=1e-2)
    # The control: points that were not mirrored lie somewhere else.
    assert (mirrored.true_clearance(points, ticks) - clearance).abs().mean() > 0.05


def test_mirrored_twice_is_the_original(drawn: Callable[[int], Batch]) -> None:
    once, twice = tensors(drawn(1)), tensors(drawn(2))
    changed = set()
    for name, value in tensors(drawn(0)).items():
        assert torch.allclose(twice[name].float(), value.float(), atol=1e-4), name
        if not torch.equal(once[name], value):
            changed.add(name)
    kept = {"expert_valid", "inside"}
    assert changed == once.keys() - kept


@pytest.mark.parametrize("times", [0, 1], ids=["plain", "mirrored"])
def test_beams_end_at_things(drawn: Callable[[int], Batch], times: int) -> None:
    batch = drawn(times)
    ends, ticks, hit = beam_ends(batch)
    assert batch.true_clearance(ends, ticks)[hit].abs().median() < 0.06
    # The control: the ring the wrong way round.
    reading = batch.reading._replace(range=batch.reading.range[..., (-np.arange(BEAMS)) % BEAMS])
    ends, ticks, hit = beam_ends(batch._replace(reading=reading))
    assert batch.true_clearance(ends, ticks)[hit].abs().median() > 0.1


@pytest.mark.parametrize("times", [0, 1], ids=["plain", "mirrored"])
def test_the_sensors_turn_the_way_the_pose_does(drawn: Callable[[int], Batch], times: int) -> None:
    batch = drawn(times)
    turned = torch.diff(batch.pose[:, :SEQUENCE, 2], dim=1)
    turned = torch.atan2(torch.sin(turned), torch.cos(turned)).flatten()
    gyro = batch.reading.gyro[:, 1:, 0].flatten()
    wheels = (batch.reading.wheel[..., 1] - batch.reading.wheel[..., 0])[:, 1:].flatten()
    applied = batch.reading.applied[:, 1:, 1].flatten()
    assert torch.corrcoef(torch.stack([turned, gyro, wheels, applied]))[0].min() > 0.7


def test_half_of_the_sequences_are_mirrored(episodes: Episodes, monkeypatch: pytest.MonkeyPatch) -> None:
    shares = []
    monkeypatch.setattr(dataset, "_mirror", lambda arrays, world, which: shares.append(which.mean()))
    for seed in range(20):
        episodes.batch(8, SEQUENCE, 0, np.random.default_rng(seed))
    assert 0.35 < np.mean(shares) < 0.65


def test_clearance_counts_things_that_move_where_they_were(drawn: Callable[[int], Batch]) -> None:
    empty = drawn(0)
    movers = torch.zeros_like(empty.movers)
    movers[:, 3, 0] = torch.tensor([0.5, 0.0, 0.1])  # x, y, radius; at tick 3 only
    batch = empty._replace(clearance=torch.full_like(empty.clearance, 5.0), movers=movers)
    points = torch.tensor([[0.0, 0.0], [0.5, 0.05], [3.0, 0.0]]).expand(len(movers), -1, -1)

    def clearance(tick: int) -> Tensor:
        return batch.true_clearance(points, torch.full(points.shape[:2], tick))[0]

    assert torch.allclose(clearance(3), torch.tensor([0.4, -0.05, CLEARANCE_CAP_M]))
    assert torch.allclose(clearance(2), torch.full((3,), CLEARANCE_CAP_M))


def test_ticks_after_the_end_of_an_episode_are_outside(episodes: Episodes) -> None:
    batch = episodes.batch(8, SEQUENCE, 500, np.random.default_rng(0))
    assert batch.inside[:, :SEQUENCE].all()
    assert not batch.inside[:, -1].any()


def test_a_folder_without_shards_is_refused_in_words(tmp_path: Any) -> None:
    with pytest.raises(BadInput, match="no shards here; run the collect command first"):
        Episodes([tmp_path])


def test_episodes_shorter_than_a_sequence_are_refused_in_words(episodes: Episodes) -> None:
    with pytest.raises(BadInput, match="no episode has 999 ticks"):
        episodes.batch(2, 999, FUTURE, np.random.default_rng(0))
