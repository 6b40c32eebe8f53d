"""Collection: what an episode holds, which seeds it may use, and that what is there already is kept."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edge_wm.errors import BadInput
from edge_wm.sim.generator import VALIDATION_SEEDS
from export import collect as module
from export.collect import collect, read_shard
from tests.export.tiny import DRIVE, EPISODES

SHORT = msgspec.structs.replace(DRIVE, episodes=2, ticks=2, movers=0.0, kinds={"rooms": 1.0})


class HerePool:
    """A pool of this process."""

    def __init__(self, _jobs: int) -> None: ...

    def __enter__(self) -> HerePool:
        return self

    def __exit__(self, *_: object) -> None: ...

    def imap_unordered(self, function: Any, jobs: Iterable[Any]) -> Iterator[Any]:
        return map(function, jobs)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Collect in this process, a shard an episode."""
    monkeypatch.setattr(module, "worker_pool", HerePool)
    monkeypatch.setattr(module, "EPISODES_PER_SHARD", 1)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_shard_holds_what_its_episodes_are_said_to_hold(shards: Path) -> None:
    episodes = list(read_shard(shards / "shard_00000.npz"))
    assert len(episodes) == EPISODES
    for episode in episodes:
        ticks = len(episode["pose"])
        assert 0 < ticks <= DRIVE.ticks
        rows, columns = episode["clearance"].shape
        assert {name: (str(a.dtype), a.shape) for name, a in episode.items()} == {
            "camera": ("uint8", (ticks, 48, 64, 3)),
            "depth": ("float16", (ticks, 24, 32)),
            "range": ("float32", (ticks, 8)),
            "wheel": ("float32", (ticks, 2)),
            "gyro": ("float32", (ticks, 1)),
            "applied": ("float32", (ticks, 2)),
            "expert": ("float32", (ticks, 2)),
            "expert_valid": ("bool", (ticks,)),
            "pose": ("float32", (ticks, 3)),
            "movers": ("float32", (ticks, 2, 3)),
            "goal": ("float32", (2,)),
            "origin": ("float32", (2,)),
            "clearance": ("float16", (rows, columns)),
            "cost_to_go": ("float16", (rows, columns)),
        }
        assert (episode["applied"][0] == 0).all()  # nothing was commanded before the first reading


@pytest.mark.usefixtures("here")
def test_training_never_uses_the_seeds_that_tune_or_test(tmp_path: Path) -> None:
    last = msgspec.structs.replace(SHORT, first_seed=VALIDATION_SEEDS - SHORT.episodes)
    collect(last, tmp_path / "last", 1)  # the control: the last seeds of training
    with pytest.raises(BadInput, match="training must not see"):
        collect(msgspec.structs.replace(last, first_seed=last.first_seed + 1), tmp_path / "beyond", 1)
    assert not (tmp_path / "beyond").exists()


@pytest.mark.usefixtures("here")
def test_a_full_disk_is_one_line_and_leaves_no_half_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: Any, **_: Any) -> None:
        file.write(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(BadInput, match=r"shard_00000\.npz: cannot be written: No space left on device"):
        collect(SHORT, tmp_path, 1)
    assert names(tmp_path) == []


def test_the_same_seed_drives_the_same_episode() -> None:
    first, again, other = (module._episode(SHORT, seed, None) for seed in (5, 5, 6))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["range"], other["range"])


@pytest.mark.usefixtures("here")
def test_shards_that_are_there_are_kept(tmp_path: Path) -> None:
    (tmp_path / "shard_00000.npz").write_bytes(b"collected before")
    collect(SHORT, tmp_path, 1)
    assert names(tmp_path) == ["shard_00000.npz", "shard_00001.npz"]
    assert (tmp_path / "shard_00000.npz").read_bytes() == b"collected before"
    (tmp_path / "shard_00000.npz").unlink()  # the control: what is missing is collected
    collect(SHORT, tmp_path, 1)
    assert len(next(read_shard(tmp_path / "shard_00000.npz"))["pose"]) == SHORT.ticks


@pytest.mark.usefixtures("here")
def test_an_interrupted_shard_is_not_a_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(file: Any, **_: Any) -> None:
        file.write(b"half of it")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(np, "savez", interrupted)
        collect(SHORT, tmp_path, 1)
    assert not list(tmp_path.glob("shard_*.npz"))
    collect(SHORT, tmp_path, 1)
    assert len(list(tmp_path.glob("shard_*.npz"))) == SHORT.episodes


def test_on_policy_the_model_drives_and_the_expert_says_what_it_would_do(bundle: Path) -> None:
    drive = msgspec.structs.replace(SHORT, ticks=5)
    episode = module._episode(drive, 3, module._load_policy(bundle))
    assert episode["expert_valid"].all()
    assert not np.allclose(episode["applied"][1:], episode["expert"][:-1], atol=1e-3)
    assert np.abs(episode["expert"]).max() > 0.1


def test_a_shard_can_be_moved(shards: Path, tmp_path: Path) -> None:
    copy = shutil.copy(shards / "shard_00000.npz", tmp_path / "elsewhere.npz")
    assert len(list(read_shard(Path(copy)))) == EPISODES
