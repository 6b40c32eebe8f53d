"""Which losses shape the latent map, and which only read it."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch

from export.dataset import Batch, Episodes
from export.losses import Unrolled, distillation_loss, losses
from export.world_model import Reading, WorldModel
from tests.export.tiny import FUTURE, SEQUENCE, TINY

ENCODER = ("camera", "from_camera", "from_ring", "from_memory", "fuse", "gate", "candidate", "bring_together")
"""Modules that write the map."""


@pytest.fixture(scope="module")
def batch(episodes: Episodes) -> Batch:
    return episodes.batch(2, SEQUENCE, FUTURE, np.random.default_rng(1))


REACHING = msgspec.structs.replace(TINY, value_iterations=TINY.cells // 2)
"""Value iteration gets from the border to the robot: before that, no cost is learned."""


def trained_by(loss: str, batch: Batch) -> set[str]:
    """Names of the model's modules that get a gradient from one loss alone."""
    torch.manual_seed(0)
    model = WorldModel(REACHING)
    parts = losses(model, batch, Unrolled(model, batch), torch.Generator().manual_seed(0))
    parts[loss].backward()
    return {
        name.split(".")[0]
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and parameter.grad.abs().max() > 0
    }


def test_the_policy_head_does_not_change_the_map(batch: Batch) -> None:
    assert trained_by("policy", batch) == {"policy"}


@pytest.mark.parametrize("loss", ["local", "clearance", "collision", "value", "ring"])
def test_what_the_planner_reads_does_change_the_map(loss: str, batch: Batch) -> None:
    assert trained_by(loss, batch) >= set(ENCODER)


def test_odometry_is_learned_from_motion_alone(batch: Batch) -> None:
    assert trained_by("motion", batch) == {"motion_model"}
    assert all("motion_model" not in trained_by(loss, batch) for loss in ("local", "clearance", "value"))


def test_a_student_that_says_what_the_teacher_says_has_less_to_learn(batch: Batch) -> None:
    torch.manual_seed(0)
    teacher, other = WorldModel(TINY), WorldModel(TINY)
    same = torch.nn.Identity()
    theirs = Unrolled(teacher, batch)
    agreeing = distillation_loss(teacher, teacher, same, theirs, theirs)
    differing = distillation_loss(other, teacher, same, Unrolled(other, batch), theirs)
    assert agreeing < differing - 1e-3


def test_depth_is_for_the_teacher_only(batch: Batch) -> None:
    blind = batch._replace(reading=batch.reading._replace(camera=batch.reading.camera.clone()))
    blind.reading.camera[:, :, 3] = 0.0
    torch.manual_seed(0)
    student = WorldModel(TINY)
    assert torch.equal(Unrolled(student, batch).state.map, Unrolled(student, blind).state.map)
    teacher = WorldModel(msgspec.structs.replace(TINY, sees_depth=True))
    assert not torch.equal(Unrolled(teacher, batch).state.map, Unrolled(teacher, blind).state.map)


def test_unrolling_a_sequence_is_observing_tick_by_tick(batch: Batch) -> None:
    torch.manual_seed(0)
    model = WorldModel(TINY)
    unrolled = Unrolled(model, batch)
    start = model.initial_state(len(batch.pose))
    state, seen = start, []
    for tick in range(SEQUENCE):
        now = Reading(*(values[:, tick] for values in batch.reading))
        now = now._replace(camera=now.camera[:, :3])
        if tick == 0:  # nothing has moved yet: what is seen is seen from the origin
            fan = model.camera(now.camera)
            memory = model.remember(start.map, model.sense(start.pose, fan, now.range))
            state = start._replace(map=memory, motion=model.motion_model.observe(start.motion, now)[0])
        else:
            state = model.observe(state, now)
        if tick in unrolled.read_ticks:
            seen.append(state)
    for name, together in unrolled.state._asdict().items():
        one_by_one = torch.stack([getattr(one, name) for one in seen], dim=1).flatten(0, 1)
        assert torch.allclose(together, one_by_one, atol=1e-5), name
    # The control: later states differ from earlier ones.
    assert not torch.allclose(seen[0].map, seen[-1].map, atol=1e-3)
