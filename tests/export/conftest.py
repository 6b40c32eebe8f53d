"""One collected shard, one model that has seen it, and one bundle of that model, for all tests of ``export``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from edge_wm.bundle.manifest import Role
from export import collect, package, rollouts, shipped
from export.dataset import Episodes
from export.rollouts import Inputs
from export.train import train
from export.world_model import WorldModel
from tests.export.tiny import DRIVE, EPISODES, TINY, TRAINING, drive_with


@pytest.fixture(autouse=True, scope="session")
def small_and_steady() -> Iterator[None]:
    """Short rollouts and small shards; one thread, so that sums are added in one order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collect, "EPISODES_PER_SHARD", EPISODES)
        patch.setattr(shipped, "TICKS", 36)
        patch.setattr(shipped, "EPISODES", 2)
        patch.setattr(rollouts, "KEEP_EVERY", 4)
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one shard of driven episodes."""
    folder = tmp_path_factory.mktemp("data")
    collect._collect_shard((DRIVE, folder, 0, None))
    return folder


@pytest.fixture(scope="session")
def episodes(shards: Path) -> Episodes:
    return Episodes([shards])


@pytest.fixture(scope="session")
def run_folder(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished training run of ``TRAINING``, never interrupted."""
    folder = tmp_path_factory.mktemp("run")
    train(TINY, TRAINING, [shards], folder)
    return folder


@pytest.fixture(scope="session")
def model() -> WorldModel:
    """Fresh weights, larger than training starts with: heads that say nothing cannot be told from wrong ones."""
    torch.manual_seed(0)
    model = WorldModel(TINY).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.mul_(1.5)
    return model


@pytest.fixture(scope="session")
def driven(model: WorldModel) -> dict[Role, list[Inputs]]:
    """Inputs of every graph on rollouts, by role."""
    return rollouts.rollouts(shipped.adapter(model), "held-out")


@pytest.fixture(scope="session")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where finished graphs of the model are kept, for bundles of it that have some of them too."""
    return tmp_path_factory.mktemp("graphs")


@pytest.fixture(scope="session")
def bundle(
    model: WorldModel,
    driven: dict[Role, list[Inputs]],
    graphs: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The model, packaged."""
    directory = tmp_path_factory.mktemp("models") / "tiny"
    with pytest.MonkeyPatch.context() as patch:
        drive_with(driven, patch)
        package.package(
            shipped.adapter(model),
            directory,
            version="0.0.1",
            figures={"SPL on nothing": 0.5},
            work=graphs,
        )
    return directory
