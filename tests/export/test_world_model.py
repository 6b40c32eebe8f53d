"""The model's parts agree with each other: rollouts with steps, many candidates with one, a large map with a small."""

from __future__ import annotations

import torch

from export.rollouts import Inputs
from export.world_model import Reading, State, WorldModel, advance, roll_out
from tests.export.tiny import TINY


def state_of(case: Inputs) -> State:
    return State(*(torch.from_numpy(case[name])[None] for name in State._fields))


def reading_of(case: Inputs) -> Reading:
    arrays = {name: torch.from_numpy(array)[None] for name, array in case.items()}
    camera = arrays["camera"].permute(0, 3, 1, 2).float() / 255.0
    return Reading(camera, arrays["range"], arrays["wheel"], arrays["gyro"], arrays["applied_action"])


def test_rolling_out_displacements_is_advancing_one_by_one() -> None:
    torch.manual_seed(1)
    pose, moves = torch.randn(3, 3), 0.2 * torch.randn(3, 5, 12, 3)
    paths = roll_out(pose, moves)
    for candidate in range(5):
        here = pose
        for step in range(12):
            here = advance(here, moves[:, candidate, step])
            assert torch.allclose(paths[:, candidate, step], here, atol=1e-5)
    # The control: the order of the displacements matters.
    assert not torch.allclose(roll_out(pose, moves.flip(2))[:, :, -1], paths[:, :, -1], atol=1e-2)


def test_an_arc_that_turns_half_round_ends_beside_the_start() -> None:
    steps = 60
    moves = torch.tensor([torch.pi / steps, 0.0, torch.pi / steps]).expand(1, 1, steps, 3)
    end = roll_out(torch.zeros(1, 3), moves)[0, 0, -1]
    assert torch.allclose(end, torch.tensor([0.0, 2.0, torch.pi]), atol=1e-3)


def test_imagining_many_candidates_is_imagining_each(
    model: WorldModel, driven: dict[str, list[Inputs]]
) -> None:
    case = driven["imagine"][7]
    state, actions = state_of(case), torch.from_numpy(case["actions"])[None, :9]
    together = model.imagine(state, actions)
    for candidate in range(9):
        alone = model.imagine(state, actions[:, candidate : candidate + 1])
        for name, many, one in zip(together._fields, together, alone, strict=True):
            assert torch.allclose(many[:, candidate], one[:, 0], atol=1e-5), name
    # The control: candidates differ.
    assert not torch.allclose(together.pose[:, 0], together.pose[:, 8], atol=1e-3)


def test_a_larger_map_remembers_the_same_and_farther(
    model: WorldModel, driven: dict[str, list[Inputs]]
) -> None:
    large = model.with_map(52, 12)
    small_state, large_state = model.initial_state(1), large.initial_state(1)
    for case in driven["observe"][:5]:
        small_state = model.observe(small_state, reading_of(case))
        large_state = large.observe(large_state, reading_of(case))
    # The outermost cells have just scrolled in on the small map; on the large one they are older.
    small_map, large_map = small_state.map[..., 3:37, 3:37], large_state.map
    assert torch.allclose(small_map, large_map[..., 9:43, 9:43], atol=1e-5)
    assert not torch.allclose(small_map, large_map[..., 3:37, 3:37], atol=1e-2)


def test_what_lies_outside_of_the_map_reads_as_zeros(
    model: WorldModel, driven: dict[str, list[Inputs]]
) -> None:
    state = state_of(driven["imagine"][7])
    far = state.pose[:, None, :2] + torch.tensor([[[9.0, 0.0], [0.0, 0.0]]])
    outside, inside = model.latent_at(state, far)[0]
    assert (outside == 0).all()
    assert (inside != 0).any()


def test_the_proposal_is_within_the_limits_and_turns_with_the_goal(
    model: WorldModel, driven: dict[str, list[Inputs]]
) -> None:
    state = state_of(driven["imagine"][7])
    ahead = model.propose(state, state.pose[:, :2] + 1.0)
    back = model.propose(state, state.pose[:, :2] - 1.0)
    assert ahead.shape == (1, TINY.horizon, 2)
    assert ahead.abs().max() <= 1.0
    assert not torch.allclose(ahead, back, atol=1e-3)
