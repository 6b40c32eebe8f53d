"""Moving obstacles: the bodies of a world whose name starts with ``moving_``, and what hangs on them."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np

from edge_wm.sensors.observation import Array
from edge_wm.sim.world_file import MOVING

SPEED_MPS = (0.1, 0.3)


def moving_bodies(model: Any) -> Array:
    """Which bodies of a compiled model move, bool[nbody]."""
    moving = np.zeros(model.nbody, dtype=bool)
    for body in range(1, model.nbody):  # a parent comes before its children
        moving[body] = moving[model.body_parentid[body]] or model.body(body).name.startswith(MOVING)
    return moving


class Movers:
    """Carries every limited slide joint of a moving body back and forth across its range.

    Joints that the world drives by an actuator of its own, and free joints, are left to the physics.
    """

    def __init__(self, model: Any, rng: np.random.Generator) -> None:
        moving, driven = moving_bodies(model), _driven_joints(model)
        self._joints = [
            j
            for j in range(model.njnt)
            if moving[model.jnt_bodyid[j]]
            and model.jnt_type[j] == mujoco.mjtJoint.mjJNT_SLIDE
            and model.jnt_limited[j]
            and j not in driven
        ]
        self._qpos = model.jnt_qposadr[self._joints].astype(int)
        self._dof = model.jnt_dofadr[self._joints].astype(int)
        self._low, self._high = model.jnt_range[self._joints].T.reshape(2, -1)
        self._speed = rng.uniform(*SPEED_MPS, len(self._joints))
        self._phase = rng.uniform(0.0, 2.0, len(self._joints))
        self._geoms = [g for g in range(model.ngeom) if moving[model.geom_bodyid[g]]]
        self._radius = np.array(
            [
                float(np.hypot(*model.geom_size[g][:2]))
                if model.geom_type[g] == mujoco.mjtGeom.mjGEOM_BOX
                else float(model.geom_size[g][0])
                for g in self._geoms
            ]
        )

    def advance(self, data: Any) -> None:
        """Set the joints to where they are at ``data.time``: a triangle wave at constant speed."""
        if not self._joints:
            return
        span = self._high - self._low
        phase = (self._phase + self._speed * data.time / span) % 2.0
        data.qpos[self._qpos] = self._low + span * (1.0 - np.abs(1.0 - phase))
        data.qvel[self._dof] = np.where(phase < 1.0, self._speed, -self._speed)

    def discs(self, data: Any) -> Array:
        """Bounding discs float64[M, 3] (x, y, radius) of the moving geoms."""
        centres: Array = data.geom_xpos[self._geoms][:, :2].reshape(-1, 2)
        return np.column_stack([centres, self._radius])


def _driven_joints(model: Any) -> set[int]:
    """Joints that actuators of the world drive, directly or by a tendon along joints."""
    driven: set[int] = set()
    for kind, target in zip(model.actuator_trntype, model.actuator_trnid[:, 0], strict=True):
        # Not with "in": MuJoCo's enums do not equal numpy's integers from their side.
        if kind == mujoco.mjtTrn.mjTRN_JOINT or kind == mujoco.mjtTrn.mjTRN_JOINTINPARENT:
            driven.add(int(target))
        elif kind == mujoco.mjtTrn.mjTRN_TENDON:
            first = model.tendon_adr[target]
            wraps = slice(first, first + model.tendon_num[target])
            along = model.wrap_type[wraps] == mujoco.mjtWrap.mjWRAP_JOINT
            driven.update(model.wrap_objid[wraps][along].tolist())
    return driven
