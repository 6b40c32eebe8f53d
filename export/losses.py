"""What the world model is trained for: labels that only simulation knows, on observed and on imagined latents.

Every loss but the first acts on latents imagined over the planning horizon or on the map that they are read from.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from edge_wm.sim import robot_model as rm
from export.config import TrainConfig
from export.dataset import CLEARANCE_CAP_M, Batch
from export.geometry import cell_offsets, map_coordinates, origin_cell, scroll
from export.world_model import Imagined, Reading, State, WorldModel, advance, roll_out

TOUCH_M = rm.RADIUS_M + 0.005
FIRST_READ_TICK, READ_EVERY = 5, 6
"""Ticks of a sequence at which the latent is read out: the memory has to have seen something first."""
RANDOM_POINTS = 96
RANDOM_REACH_M = 2.4
VALUE_REACH_M = 2.6
RING_CAP_M = 2.5
RING_STEPS = (0, 2, 5, 11)


class Unrolled:
    """A batch observed tick by tick: every latent state that is read out, and the odometry on the way.

    The same as ``WorldModel.observe`` in a row, faster: odometry does not need the map, so it goes first; then what
    the sensors say of the cells is computed for all ticks at once; only memory itself is unrolled.
    """

    def __init__(self, model: WorldModel, batch: Batch) -> None:
        reading = batch.reading
        size, sequence = reading.range.shape[:2]
        self.read_ticks = list(range(FIRST_READ_TICK, sequence, READ_EVERY))
        start = model.initial_state(size)
        motion, pose = [start.motion], [start.pose]
        displacements = []
        for tick in range(sequence):
            now = Reading(*(values[:, tick] for values in reading))
            after, displacement = model.motion_model.observe(motion[-1], now)
            if tick == 0:  # the run starts here: nothing has moved yet
                displacement = torch.zeros_like(displacement)
            displacements.append(displacement)
            motion.append(after)
            # Odometry is learned from its own labels; the map must not bend it.
            pose.append(advance(pose[-1], displacement).detach())
        self.displacement = torch.stack(displacements, dim=1)  # [B, sequence, 3]
        camera = reading.camera if model.config.sees_depth else reading.camera[:, :, :3]
        fans = model.camera(camera.flatten(0, 1)).unflatten(0, (size, sequence)).unbind(dim=1)
        memory = start.map
        kept = []
        for tick, fan in enumerate(fans):
            memory = scroll(memory, origin_cell(pose[tick + 1]) - origin_cell(pose[tick]))
            memory = model.remember(memory, model.sense(pose[tick + 1], fan, reading.range[:, tick]))
            if tick in self.read_ticks:
                kept.append(memory)
        self.reads = len(kept)
        flat = torch.stack(kept, dim=1).flatten(0, 1)  # [B * R, C, G, G]
        read = [tick + 1 for tick in self.read_ticks]
        self.state = State(
            flat,
            model.bring_together(flat),
            *(torch.stack([values[i] for i in read], dim=1).flatten(0, 1) for values in (motion, pose)),
        )


def losses(model: WorldModel, batch: Batch, unrolled: Unrolled, rng: torch.Generator) -> dict[str, Tensor]:
    """All losses by name, each a mean over what it is defined on."""
    reads, state = unrolled.reads, unrolled.state
    ticks = torch.tensor(unrolled.read_ticks)
    here = batch.pose[:, ticks].flatten(0, 1)  # true pose at each read-out, [B R, 3]
    wide = _repeat(batch, reads)
    tick = ticks.repeat(batch.pose.shape[0])  # [B R]
    imagined, ahead = _imagine_applied(model, wide, state, tick)
    return {
        "motion": _odometry_loss(batch, unrolled)
        + _rollout_loss(wide, state, imagined.pose[:, 0], here, ahead),
        **_outcome_losses(model, wide, state, here, tick, imagined, ahead, rng),
        "local": _local_loss(model, wide, state, here, tick),
        "ring": _ring_loss(model, wide, state, imagined.pose[:, 0], ahead, tick),
        "latent": _latent_loss(state, imagined.latent[:, 0], ahead, tick, reads, model.config.ticks_per_step),
        "value": _value_loss(model, wide, state, here),
        "policy": _policy_loss(model, wide, state, here, tick),
    }


def distillation_loss(
    student: WorldModel, teacher: WorldModel, projection: torch.nn.Module, ours: Unrolled, theirs: Unrolled
) -> Tensor:
    """How far the student's latent map is from saying what the teacher's says, cell by cell.

    The collision logits are matched as probabilities and the contexts as features, after a linear map.
    """
    logit, _ = student.read_locally(ours.state.context)
    target_logit, _ = teacher.read_locally(theirs.state.context)
    near = (cell_offsets(ours.state.pose, student.config.cells) ** 2).sum(dim=1) < RANDOM_REACH_M**2
    said = F.binary_cross_entropy_with_logits(logit, torch.sigmoid(target_logit), reduction="none")
    features = F.mse_loss(projection(ours.state.context), theirs.state.context, reduction="none").mean(dim=1)
    spread = theirs.state.context.var(dim=(0, 2, 3)).mean().clamp(min=0.1)
    return ((said + 0.3 * features / spread) * near).sum() / near.sum()


def total(parts: dict[str, Tensor], config: TrainConfig) -> Tensor:
    """Weighted sum of the losses that the configuration gives a weight."""
    return torch.stack(
        [config.weights[name] * value for name, value in parts.items() if name in config.weights]
    ).sum()


class _Ahead:
    """The true future of each read-out: what the imagined steps are held against."""

    def __init__(self, batch: Batch, tick: Tensor, horizon: int, ticks_per_step: int) -> None:
        steps = torch.arange(1, horizon + 1) * ticks_per_step
        self.tick = (tick[:, None] + steps).clamp(max=batch.pose.shape[1] - 1)  # [K, H]
        wanted = tick[:, None] + steps < batch.pose.shape[1]
        self.inside = batch.inside.gather(1, self.tick) & wanted
        self.pose = batch.pose.gather(1, self.tick[..., None].expand(-1, -1, 3))


def _imagine_applied(model: WorldModel, batch: Batch, state: State, tick: Tensor) -> tuple[Imagined, _Ahead]:
    """Imagine the actions that were really applied after each read-out."""
    config = model.config
    ahead = _Ahead(batch, tick, config.horizon, config.ticks_per_step)
    # applied[t] was in force during the tick that ended at t: step k covers the ticks that end in (t_k-1, t_k].
    parts = [
        batch.applied.gather(1, (ahead.tick - back).clamp(min=0)[..., None].expand(-1, -1, 2))
        for back in range(config.ticks_per_step)
    ]
    actions = torch.stack(parts).mean(dim=0)
    return model.imagine(state, actions[:, None]), ahead


def _odometry_loss(batch: Batch, unrolled: Unrolled) -> Tensor:
    """Position along the sequence by odometry alone: an error that repeats costs more than one that does not."""
    sequence = unrolled.displacement.shape[1]
    start = torch.zeros_like(batch.pose[:, 0])
    guess = roll_out(start, unrolled.displacement[:, None, 1:])[:, 0, :, :2]
    truth = _relative(batch.pose[:, :1], batch.pose[:, 1:sequence])[..., :2]
    return F.smooth_l1_loss(guess / 0.02, truth / 0.02)


def _rollout_loss(batch: Batch, state: State, imagined: Tensor, here: Tensor, ahead: _Ahead) -> Tensor:
    guess = _relative(state.pose[:, None], imagined)
    truth = _relative(here[:, None], ahead.pose)
    scale = truth.new_tensor([0.1, 0.1, 0.2])
    error = F.smooth_l1_loss(guess / scale, truth / scale, reduction="none").mean(dim=-1)
    return _masked_mean(error, ahead.inside)


def _outcome_losses(
    model: WorldModel,
    batch: Batch,
    state: State,
    here: Tensor,
    tick: Tensor,
    imagined: Imagined,
    ahead: _Ahead,
    rng: torch.Generator,
) -> dict[str, Tensor]:
    """Collision and clearance along the imagined path, and at random places that the robot did not drive to.

    The robot seldom touches anything, so the places it did not drive to are where collisions are learned.
    """
    count, horizon = ahead.tick.shape
    step = torch.randint(1, horizon + 1, (count, RANDOM_POINTS), generator=rng)
    radius = RANDOM_REACH_M * torch.sqrt(torch.rand(count, RANDOM_POINTS, generator=rng))
    angle = torch.rand(count, RANDOM_POINTS, generator=rng) * (2 * torch.pi)
    offset = torch.stack([radius * torch.cos(angle), radius * torch.sin(angle)], dim=-1)
    latent = model.latent_at(state, _place(state.pose, offset))
    when = (tick[:, None] + step * model.config.ticks_per_step).clamp(max=batch.pose.shape[1] - 1)
    where = _place(here, offset)
    truth = batch.true_clearance(where, when)
    # A point is judged if it is inside the walls: reachable, or in something.
    known = batch.inside.gather(1, when) & (
        (batch.sample(batch.cost_to_go, where, "nearest") >= 0) | (truth < TOUCH_M)
    )
    logit, clearance, log_scale = model.read_outcome(latent, step)
    path_truth = batch.true_clearance(ahead.pose[..., :2], ahead.tick)
    logit = torch.cat([logit, imagined.collision[:, 0]], dim=1)
    clearance = torch.cat([clearance, imagined.clearance[:, 0]], dim=1)
    log_scale = torch.cat([log_scale, imagined.log_scale[:, 0]], dim=1)
    truth = torch.cat([truth, path_truth], dim=1)
    known = torch.cat([known, ahead.inside], dim=1)
    touch = F.binary_cross_entropy_with_logits(logit, (truth < TOUCH_M).float(), reduction="none")
    gap = (clearance.clamp(max=CLEARANCE_CAP_M) - truth.clamp(min=-0.1)).abs()
    return {
        "collision": _masked_mean(touch, known),
        # Laplace likelihood: the scale becomes the model's own estimate of its error.
        "clearance": _masked_mean(gap * torch.exp(-log_scale) + log_scale, known),
    }


def _local_loss(model: WorldModel, batch: Batch, state: State, here: Tensor, tick: Tensor) -> Tensor:
    """Every cell of the map: would a robot centred here touch something now?"""
    offsets = cell_offsets(state.pose, model.config.cells).flatten(2).transpose(1, 2)  # [K, G G, 2]
    where = _place(here, offsets)
    truth = batch.true_clearance(where, tick[:, None].expand(-1, offsets.shape[1]))
    known = (batch.sample(batch.cost_to_go, where, "nearest") >= 0) | (truth < TOUCH_M)
    logit, _ = model.read_locally(state.context)
    error = F.binary_cross_entropy_with_logits(logit.flatten(1), (truth < TOUCH_M).float(), reduction="none")
    nearness = torch.exp(-torch.linalg.vector_norm(offsets, dim=-1) / 2.0)
    return (error * nearness * known).sum() / (nearness * known).sum()


def _ring_loss(
    model: WorldModel, batch: Batch, state: State, imagined: Tensor, ahead: _Ahead, tick: Tensor
) -> Tensor:
    poses = torch.cat([state.pose[:, None], imagined[:, list(RING_STEPS[1:])].detach()], dim=1)
    ticks = torch.cat([tick[:, None], ahead.tick[:, list(RING_STEPS[1:])]], dim=1)
    inside = torch.cat(
        [torch.ones_like(ticks[:, :1], dtype=torch.bool), ahead.inside[:, list(RING_STEPS[1:])]], dim=1
    )
    truth = batch.ring.gather(1, ticks[..., None].expand(-1, -1, rm.RING_BEAMS))
    guess = model.predict_ring(state, poses)
    error = (guess.clamp(max=RING_CAP_M) - truth.clamp(max=RING_CAP_M)).abs()
    return _masked_mean(error, inside[..., None] & (truth > 0.01))


def _latent_loss(
    state: State, imagined: Tensor, ahead: _Ahead, tick: Tensor, reads: int, per_step: int
) -> Tensor:
    """The latent imagined at a later read-out must be the latent that will then be observed."""
    context = state.context.detach().unflatten(0, (-1, reads))
    observed_at = State(*(t.unflatten(0, (-1, reads)) for t in state)).pose.detach()
    spread = context.var(dim=(0, 1, 3, 4)).mean().clamp(min=0.1)
    imagined = imagined.unflatten(0, (-1, reads))
    inside = ahead.inside.unflatten(0, (-1, reads))
    terms = []
    for early in range(reads):
        for late in range(early + 1, reads):
            step = (late - early) * READ_EVERY // per_step
            if step > imagined.shape[2]:
                continue
            middle = _context_under_robot(context[:, late], observed_at[:, late])
            error = ((imagined[:, early, step - 1] - middle) ** 2).mean(dim=-1)
            terms.append(_masked_mean(error, inside[:, early, step - 1]) / spread)
    return torch.stack(terms).mean()


def _context_under_robot(context: Tensor, pose: Tensor) -> Tensor:
    where = map_coordinates(pose[:, None, None, :2], pose, context.shape[-1])
    return F.grid_sample(context, where, align_corners=False)[:, :, 0, 0]


def _value_loss(model: WorldModel, batch: Batch, state: State, here: Tensor) -> Tensor:
    """Cost-to-go relative to where the robot stands, of the cells around it."""
    goal = _place(state.pose, _relative_point(here, batch.goal)[:, None])[:, 0]
    field = model.cost_to_go(state, goal)
    offsets = cell_offsets(state.pose, model.config.cells)
    where = _place(here, offsets.flatten(2).transpose(1, 2))
    truth = batch.sample(batch.cost_to_go, where, "nearest")
    truth_here = batch.sample(batch.cost_to_go, here[:, None, :2], "nearest")
    guess_here = model.value_at(state, field, state.pose[:, None, :2])
    near = ((offsets**2).sum(dim=1) < VALUE_REACH_M**2).flatten(1)
    known = near & (truth >= 0) & (truth_here >= 0)
    error = F.smooth_l1_loss(field.flatten(1) - guess_here, truth - truth_here, reduction="none", beta=0.5)
    return _masked_mean(error.clamp(max=8.0), known)


def _policy_loss(model: WorldModel, batch: Batch, state: State, here: Tensor, tick: Tensor) -> Tensor:
    """Behaviour cloning of the expert's next actions."""
    config = model.config
    goal = _place(state.pose, _relative_point(here, batch.goal)[:, None])[:, 0]
    steps = torch.arange(config.horizon) * config.ticks_per_step
    ticks = (tick[:, None] + steps).clamp(max=batch.pose.shape[1] - 1)
    valid = batch.inside.gather(1, ticks) & batch.expert_valid.gather(1, ticks)
    valid = torch.cumprod(valid.int(), dim=1).bool()
    expert = batch.expert.gather(1, ticks[..., None].expand(-1, -1, 2)) / here.new_tensor([0.5, 2.5])
    detached = State(*(tensor.detach() for tensor in state))  # cloning reads the latent, it does not shape it
    error = F.smooth_l1_loss(model.propose(detached, goal), expert, reduction="none", beta=0.1).mean(dim=-1)
    return _masked_mean(error, valid)


def _repeat(batch: Batch, reads: int) -> Batch:
    """The batch with each sequence repeated once for each of its read-outs."""
    return Batch(
        batch.reading,
        *(values.repeat_interleave(reads, dim=0) for values in batch[1:]),
    )


def _relative(origin: Tensor, pose: Tensor) -> Tensor:
    """``pose[..., 3]`` seen from ``origin[..., 3]``; yaw in (-pi, pi]."""
    gap = pose[..., :2] - origin[..., :2]
    cos, sin = torch.cos(origin[..., 2]), torch.sin(origin[..., 2])
    turn = pose[..., 2] - origin[..., 2]
    turn = torch.atan2(torch.sin(turn), torch.cos(turn))
    return torch.stack(
        [cos * gap[..., 0] + sin * gap[..., 1], cos * gap[..., 1] - sin * gap[..., 0], turn], dim=-1
    )


def _relative_point(origin: Tensor, point: Tensor) -> Tensor:
    """``point[K, 2]`` in the axes of the robot at ``origin[K, 3]``."""
    gap = point - origin[:, :2]
    cos, sin = torch.cos(origin[:, 2]), torch.sin(origin[:, 2])
    return torch.stack([cos * gap[:, 0] + sin * gap[:, 1], cos * gap[:, 1] - sin * gap[:, 0]], dim=-1)


def _place(pose: Tensor, offset: Tensor) -> Tensor:
    """Points [K, P, 2] at ``offset[K, P, 2]`` in the axes of the robots at ``pose[K, 3]``."""
    cos, sin = torch.cos(pose[:, 2])[:, None], torch.sin(pose[:, 2])[:, None]
    x = pose[:, None, 0] + cos * offset[..., 0] - sin * offset[..., 1]
    y = pose[:, None, 1] + sin * offset[..., 0] + cos * offset[..., 1]
    return torch.stack([x, y], dim=-1)


def _masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum() / mask.expand_as(values).sum().clamp(min=1)
