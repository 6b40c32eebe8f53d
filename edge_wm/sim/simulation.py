"""The simulated robot in a world: MuJoCo physics, its sensors, and nothing of the model or the planner."""

from __future__ import annotations

import math
from collections import deque
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from edge_wm.errors import BadInput
from edge_wm.sensors.observation import NO_READING, Array, Observation
from edge_wm.sim import robot_model as rm
from edge_wm.sim.camera import CameraEffects, WorldCamera
from edge_wm.sim.movers import Movers
from edge_wm.sim.world_file import read_world, refusals, world_name
from firmware_bridge import Command

TIMESTEP_S = 0.004
CONTACT_CHECK_S = 0.02
"""How often contacts are looked at within a tick; a touch lasts longer than this at our speeds."""
NEAR_PLANE_M = 0.02
"""Nothing comes nearer to the lens: it lies inside of the chassis's edge."""
STAND_M = 0.02
STAND_RAD = math.radians(3.0)
STAND_MPS = 0.01
"""A robot that is further above or below z = 0 than this at its start, more tilted or still sinking, does not stand."""
UNSTABLE = tuple(int(getattr(mujoco.mjtWarning, f"mjWARN_BADQ{name}")) for name in ("POS", "VEL", "ACC"))


class Simulation:
    """One robot in one world, from its start pose until it is closed.

    The same world, start, seed and commands give the same observations.

    Args:
        world: MJCF text, or the path of an MJCF file, without a robot in it.
        start: pose (x, y, yaw) in the world frame, metres and radians.
        seed: seeds the robot's imperfections, the sensor noise and the moving obstacles.
        imperfections: this robot's deviations; drawn from the seed when left out.
        render: whether observations carry camera frames; without, ``camera`` is left out.

    Raises:
        BadInput: MuJoCo refuses the world, or the robot cannot stand at the start.
    """

    def __init__(
        self,
        world: str | Path,
        start: tuple[float, float, float],
        seed: int = 0,
        *,
        imperfections: rm.Imperfections | None = None,
        render: bool = True,
    ) -> None:
        self.rng = np.random.default_rng([seed, 0x51])
        self.imperfections = imperfections or rm.draw_imperfections(np.random.default_rng([seed, 0x52]))
        self._world_name = world_name(world)
        self.model = _compile(world, start, self.imperfections)
        self.data = mujoco.MjData(self.model)
        self._base = self.model.body(rm.BODY_NAME).id
        self._chassis = self.model.geom(rm.CHASSIS_GEOM).id
        self._wheel_qpos = [
            int(self.model.joint(f"{rm.PREFIX}{s}_wheel").qposadr[0]) for s in ("left", "right")
        ]
        self._motor = [self.model.actuator(f"{rm.PREFIX}{s}_motor").id for s in ("left", "right")]
        self._movers = Movers(self.model, np.random.default_rng([seed, 0x53]))
        self._camera = WorldCamera(self.model) if render else None
        self._effects = CameraEffects(np.random.default_rng([seed, 0x54]))
        cone = math.radians(rm.RING_CONE_DEG) / 2
        self._ring_bearings = (
            np.arange(rm.RING_BEAMS)[:, None] * (2 * math.pi / rm.RING_BEAMS) + np.array([-cone, 0.0, cone])
        ).ravel()
        self._ring_distance = np.empty(self._ring_bearings.size)
        self._ring_geom = np.empty(self._ring_bearings.size, dtype=np.int32)
        self._ring_group = np.ones(mujoco.mjNGROUP, dtype=np.uint8)
        self._ring_group[rm.UNSEEN_GROUP] = 0
        self._pending: deque[tuple[float, Command]] = deque()
        self._sequence = 0
        self.contact = False
        """Whether the chassis has touched anything since the start."""
        self.travelled_m = 0.0
        mujoco.mj_forward(self.model, self.data)
        self._settle()
        self._began = self._motion()
        """Wheel angles and pose at the beginning of the tick."""
        self._wheel_mean, self._gyro_mean = np.zeros(2), 0.0

    def _settle(self) -> None:
        """Let the robot sink onto its wheels before time starts."""
        self._note_contact()  # before whatever it overlaps pushes it out
        mujoco.mj_step(self.model, self.data, nstep=50)
        self.data.time = 0.0
        self._check_stability()
        self._note_contact()
        self._check_stance()

    def _check_stance(self) -> None:
        x, y, z = self.data.xpos[self._base]
        tilt = math.acos(min(1.0, self.data.xmat[self._base][8]))
        sinking = abs(self.data.cvel[self._base][5])
        place = f"{self._world_name}: the robot cannot stand at its start ({x:.2f}, {y:.2f})"
        if abs(z) > STAND_M or tilt > STAND_RAD or sinking > STAND_MPS:
            raise BadInput(f"{place}: there is no hard, level floor at z = 0 under it")
        if self.contact:
            raise BadInput(f"{place}: it touches something there")

    @property
    def time(self) -> float:
        """Simulated seconds since the start."""
        return float(self.data.time)

    @property
    def pose(self) -> tuple[float, float, float]:
        """True pose (x, y, yaw) of the robot in the world frame."""
        x, y, _ = self.data.xpos[self._base]
        forward = self.data.xmat[self._base]
        return float(x), float(y), math.atan2(forward[3], forward[0])

    def step(self, command: Command, seconds: float) -> None:
        """Advance the world while ``command`` is in force (after the robot's action delay), and end the tick.

        Raises:
            BadInput: the physics of the world diverges.
        """
        self._pending.append((self.time + self.imperfections.action_delay_s, command))
        self._began = self._motion()  # observing has brought positions up to date since
        for _ in range(max(1, round(seconds / CONTACT_CHECK_S))):
            while self._pending and self._pending[0][0] <= self.time + 1e-9:
                due = self._pending.popleft()[1]
                turn = due.w * rm.TRACK_M / 2
                self._turn(due.v - turn, due.v + turn)
            self._advance(round(CONTACT_CHECK_S / TIMESTEP_S))
        self.end_tick(seconds)

    def turn_wheels(self, left_mps: float, right_mps: float) -> None:
        """Advance the world by one step of ``TIMESTEP_S`` while motors give the wheels these rim speeds.

        For a motor controller in the loop, which sees the wheels between ticks; :meth:`end_tick` ends the tick.

        Raises:
            BadInput: the physics of the world diverges.
        """
        self._turn(left_mps, right_mps)
        self._advance(1)

    def end_tick(self, seconds: float) -> None:
        """Take in the motion of the tick that ends, which lasted so long: wheel and gyro readings are means over it."""
        mujoco.mj_kinematics(self.model, self.data)  # a step leaves positions as they were at its beginning
        wheel_before, pose_before = self._began
        wheel, pose = self._began = self._motion()
        self._wheel_mean = (wheel - wheel_before) * rm.WHEEL_RADIUS_M / seconds
        self._gyro_mean = math.remainder(pose[2] - pose_before[2], math.tau) / seconds
        self.travelled_m += math.hypot(pose[0] - pose_before[0], pose[1] - pose_before[1])

    @property
    def wheel_angles(self) -> tuple[float, float]:
        """Radians that the left and the right wheel have turned forward since the start."""
        left, right = self.data.qpos[self._wheel_qpos]
        return float(left), float(right)

    def observe(self) -> Observation:
        """Read all sensors, with their noise."""
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_camlight(self.model, self.data)
        flaws = self.imperfections
        arrays: dict[str, Array] = {
            "range": self._read_ring(),
            "wheel": (
                self._wheel_mean * flaws.encoder_gain
                + self.rng.normal(0.0, 0.004, 2) * (self._wheel_mean != 0)
            ).astype(np.float32),
            "gyro": np.array(
                [self._gyro_mean + flaws.gyro_bias_radps + self.rng.normal(0.0, flaws.gyro_noise_radps)],
                dtype=np.float32,
            ),
        }
        if self._camera is not None:
            arrays["camera"] = self._effects.apply(self._camera.frame(self.data))
        self._sequence += 1
        return Observation(self.time, self._sequence, arrays)

    def depth(self) -> Array:
        """Depth picture of the last camera frame, float32[48, 64] in metres, which only simulation knows."""
        if self._camera is None:
            raise RuntimeError("this simulation was made with render=False")
        return self._camera.depth()

    @property
    def mover_discs(self) -> Array:
        """Moving obstacles as discs, float64[M, 3]: x, y and radius in the world frame."""
        return self._movers.discs(self.data)

    def close(self) -> None:
        """Free the graphics memory.  Safe to call twice."""
        if self._camera is not None:
            self._camera.close()
            self._camera = None

    def _turn(self, left_mps: float, right_mps: float) -> None:
        for motor, rim, gain in zip(
            self._motor, (left_mps, right_mps), self.imperfections.wheel_gain, strict=True
        ):
            moving = abs(rim) > self.imperfections.dead_zone_mps
            self.data.ctrl[motor] = rim * gain / rm.WHEEL_RADIUS_M if moving else 0.0

    def _advance(self, steps: int) -> None:
        self._movers.advance(self.data)
        mujoco.mj_step(self.model, self.data, nstep=steps)
        self._check_stability()
        self._note_contact()

    def _check_stability(self) -> None:
        if any(self.data.warning[kind].number for kind in UNSTABLE):
            raise BadInput(
                f"{self._world_name}: the physics of the world diverges: look for masses, springs and forces that"
                f" are too extreme for steps of {TIMESTEP_S} s"
            )

    def _note_contact(self) -> None:
        if self.data.ncon and (self.data.contact.geom == self._chassis).any():
            self.contact = True

    def _motion(self) -> tuple[Array, tuple[float, float, float]]:
        return self.data.qpos[self._wheel_qpos].copy(), self.pose

    def _read_ring(self) -> Array:
        x, y, yaw = self.pose
        bearings = self._ring_bearings + yaw
        rays = np.stack([np.cos(bearings), np.sin(bearings), np.zeros_like(bearings)], axis=1)
        mujoco.mj_multiRay(
            self.model,
            self.data,
            np.array([x, y, rm.RING_HEIGHT_M]),
            rays.ravel(),
            self._ring_group,
            1,
            self._base,
            self._ring_geom,
            self._ring_distance,
            None,
            self._ring_bearings.size,
            rm.RING_REACH_M + 1.0,
        )
        seen = (
            np.where(self._ring_distance < 0, np.inf, self._ring_distance)
            .reshape(rm.RING_BEAMS, -1)
            .min(axis=1)
        )
        noise = self.rng.normal(0.0, self.imperfections.range_noise_m, rm.RING_BEAMS)
        reading = np.minimum(seen, rm.RING_REACH_M)
        reading = np.where(seen < rm.RING_REACH_M, reading + noise * np.maximum(reading, 0.3), reading)
        dropped = self.rng.random(rm.RING_BEAMS) < self.imperfections.range_dropout
        return np.where(dropped, NO_READING, np.clip(reading, 0.02, rm.RING_REACH_M)).astype(np.float32)


def _compile(world: str | Path, start: tuple[float, float, float], flaws: rm.Imperfections) -> Any:
    """Attach the robot to the world at ``start`` and compile the two into one MuJoCo model."""
    spec = read_world(world)
    x, y, yaw = start
    with refusals(world):
        frame = spec.worldbody.add_frame(pos=[x, y, 0.0], quat=[math.cos(yaw / 2), 0, 0, math.sin(yaw / 2)])
        spec.attach(mujoco.MjSpec.from_string(rm.robot_mjcf(flaws)), frame=frame, prefix=rm.PREFIX)
        model = spec.compile()
    # MuJoCo's near plane is a share of the world's size: in a large room the camera would look through what is close.
    model.vis.map.znear = NEAR_PLANE_M / model.stat.extent
    model.opt.timestep = TIMESTEP_S
    model.opt.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    model.opt.disableflags = (
        mujoco.mjtDisableBit.mjDSBL_AUTORESET
    )  # physics that diverges must not begin anew
    model.geom_margin[:] = model.geom_gap[:] = 0.0  # to touch is to touch
    _show_the_ring_what_can_be_touched(model)
    return model


def _show_the_ring_what_can_be_touched(model: Any) -> None:
    """Sort the geoms so that the range ring sees those that collide, and no other."""
    solid = (model.geom_contype != 0) | (model.geom_conaffinity != 0)
    model.geom_group[:] = np.where(solid, model.geom_group % rm.UNSEEN_GROUP, rm.UNSEEN_GROUP)
    for colours in (model.geom_rgba, model.mat_rgba):  # MuJoCo's rays pass through what is wholly transparent
        colours[:, 3] = np.maximum(colours[:, 3], 1e-3)
