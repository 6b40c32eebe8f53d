"""A training run can be interrupted, goes on as if it had not been, and stops when it has gone wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from torch import Tensor

from edge_wm.errors import BadInput
from export.dataset import Episodes
from export.train import CHECKPOINT, load_model, train
from tests.export.tiny import TINY, TRAINING

Weights = dict[str, Tensor]


def weights(folder: Path) -> Weights:
    return load_model(folder).state_dict()


def equal(a: Weights, b: Weights) -> bool:
    return all(torch.allclose(a[name], b[name], atol=1e-6) for name in a)


def interrupt_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the batch after so many steps is drawn."""
    draw = Episodes.batch
    left = iter(range(steps))

    def batch(self: Episodes, *arguments: Any) -> Any:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return draw(self, *arguments)

    monkeypatch.setattr(Episodes, "batch", batch)


@pytest.fixture
def interrupted(shards: Path, tmp_path: Path) -> Path:
    """A run of four steps that was interrupted after two."""
    folder = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt_after(2, patch)
        train(TINY, TRAINING, [shards], folder)
    return folder


def test_an_interrupted_run_ends_with_the_same_weights(
    interrupted: Path, run_folder: Path, shards: Path
) -> None:
    assert not equal(weights(interrupted), weights(run_folder))
    train(TINY, TRAINING, [shards], interrupted)
    assert equal(weights(interrupted), weights(run_folder))


def test_weights_alone_are_not_enough_to_go_on(interrupted: Path, run_folder: Path, shards: Path) -> None:
    saved = torch.load(interrupted / CHECKPOINT, weights_only=True)
    saved["optimiser"]["state"] = {}
    torch.save(saved, interrupted / CHECKPOINT)
    train(TINY, TRAINING, [shards], interrupted)
    assert not equal(weights(interrupted), weights(run_folder))


@pytest.mark.parametrize("changed", ["training", "model"])
def test_a_run_begun_with_another_configuration_is_refused_and_kept(
    changed: str, interrupted: Path, shards: Path
) -> None:
    before = weights(interrupted)
    longer = msgspec.structs.replace(TRAINING, steps=TRAINING.steps + (changed == "training"))
    other = msgspec.structs.replace(TINY, value_iterations=TINY.value_iterations + (changed == "model"))
    with pytest.raises(BadInput, match="begun with another configuration"):
        train(other, longer, [shards], interrupted)
    assert equal(before, weights(interrupted))


def test_a_finished_run_is_left_as_it_is(run_folder: Path, shards: Path) -> None:
    before = weights(run_folder)
    train(TINY, TRAINING, [shards], run_folder)
    assert all(torch.equal(before[name], value) for name, value in weights(run_folder).items())


def test_a_loss_that_is_no_number_stops_the_run_in_words(shards: Path, tmp_path: Path) -> None:
    spoiled = msgspec.structs.replace(TRAINING, weights={**TRAINING.weights, "local": float("nan")})
    with pytest.raises(BadInput, match="the loss became nan, its gradient nan, at step 0") as error:
        train(TINY, spoiled, [shards], tmp_path / "run")
    assert "\n" not in str(error.value)


def test_a_gradient_that_is_no_number_does_not_reach_the_weights(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import export.train as module

    # The square root has an infinite slope at zero: the loss is finite and its gradient is not.
    monkeypatch.setattr(module, "total", lambda parts, _: torch.sqrt(parts["local"] - parts["local"]))
    with pytest.raises(BadInput, match="at step 0"):
        train(TINY, TRAINING, [shards], tmp_path / "run")
    assert all(torch.isfinite(value).all() for value in weights(tmp_path / "run").values())


def test_distillation_starts_from_a_run_and_learns_from_a_teacher(
    run_folder: Path, shards: Path, tmp_path: Path
) -> None:
    teacher_config = msgspec.structs.replace(TINY, sees_depth=True)
    teacher = train(teacher_config, TRAINING, [shards], tmp_path / "teacher")
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    one = msgspec.structs.replace(TRAINING, steps=1, learning_rate=1e-9)
    student = train(TINY, one, [shards], tmp_path / "student", teacher=teacher, start_from=run_folder)
    assert equal(student.state_dict(), weights(run_folder))  # such a small step changes nothing
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())


def test_a_folder_without_a_checkpoint_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="train it first"):
        load_model(tmp_path)
