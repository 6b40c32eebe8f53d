"""Carries ticks from the driving process to a shadow, and can never delay the one that drives.

The ticks lie in memory that both processes share, in a few slots.  A slot belongs to one of them at a time: its number goes
through one pipe when it is filled and comes back through another when it was read.  Where no slot is free the tick is
dropped.  The driver only ever writes into the memory, and believes of the shadow nothing but which slots it returns; nobody
can make the memory smaller under it.
"""

from __future__ import annotations

import fcntl
import math
import mmap
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from edge_wm.engines.engine import TensorSpec
from edge_wm.sensors.observation import Array, Observation
from firmware_bridge.bridge import Command

SLOTS = 8
SPARE_SLOTS = 4
"""With fewer free ones it is asked which came back."""
HEAD = 9
"""Numbers before the arrays: run, time and number of the observation, goal x, y, applied v, w, driven v, w."""


class Ends(msgspec.Struct, frozen=True):
    """The shadow's open files: the memory, filled slots coming in, slots going back."""

    memory: int
    filled: int
    returned: int


@dataclass(frozen=True, slots=True)
class ShadowTick:
    """What a shadow is shown.

    Attributes:
        run: counts the runs; each begins at the origin of its odometry frame.
        observation: valid until the next tick is taken.
        goal: x, y in the odometry frame, metres.
        applied: what was sent in the tick before.
        driven: what the model that drives asked for; None if it had no plan.
    """

    run: int
    observation: Observation
    goal: tuple[float, float]
    applied: Command
    driven: Command | None


class TickRing:
    """The driver's end.

    Args:
        specs: the arrays of an observation.

    Attributes:
        ends: of the shadow.
        open: whether the shadow is still there, as far as is known.

    Raises:
        OSError: there is no memory for it.
    """

    def __init__(self, specs: Sequence[TensorSpec]) -> None:
        layout = _layout(specs)
        memory = os.memfd_create("edge-wm-shadow", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(memory, SLOTS * layout.itemsize)
        fcntl.fcntl(memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        self._slots = _slots(mmap.mmap(memory, SLOTS * layout.itemsize), layout)
        for head, arrays in self._slots:  # the kernel finds the memory now, not in a tick
            for room in (head, *arrays.values()):
                room.fill(0)
        filled, self._filled = os.pipe()
        self._returned, returned = os.pipe()
        os.set_blocking(self._returned, False)
        os.set_blocking(self._filled, False)
        self.ends = Ends(memory, filled, returned)
        self._free = list(range(SLOTS))
        self.open = True

    def close_ends(self) -> None:
        """Leave the shadow's open files to the shadow, once it has been started: when it ends, the driver's end knows."""
        for descriptor in msgspec.structs.astuple(self.ends):
            os.close(descriptor)

    def send(
        self,
        run: int,
        observation: Observation,
        goal: tuple[float, float],
        applied: Command,
        driven: Command | None,
    ) -> bool:
        """Hand on one tick.  Returns False where it was dropped: no slot is free, or it does not fit one."""
        if self.open and len(self._free) < SPARE_SLOTS:
            self._take_back()
        if not self.open or not self._free:
            return False
        head, arrays = self._slots[self._free[-1]]
        for name, room in arrays.items():
            array = observation.arrays.get(name)
            if array is None or array.shape != room.shape or array.dtype != room.dtype:
                return False
            np.copyto(room, array)
        v, w = (math.nan, math.nan) if driven is None else (driven.v, driven.w)
        head[:] = (run, observation.time, observation.sequence, *goal, applied.v, applied.w, v, w)
        try:
            # What was written above is there before this call returns on the other side.
            os.write(self._filled, bytes((self._free[-1],)))
        except OSError:  # the shadow is gone
            self.open = False
            return False
        self._free.pop()
        return True

    def _take_back(self) -> None:
        """Take back the slots that were read.  Whoever returns others than it has is not spoken to any more."""
        try:
            returned = os.read(self._returned, SLOTS)
        except BlockingIOError:
            return
        if not returned:
            self.open = False
        for slot in returned:
            if slot >= SLOTS or slot in self._free:
                self.open = False
                return
            self._free.append(slot)

    def close(self) -> None:
        """End the shadow's stream.  Safe to call twice."""
        for descriptor in (self._filled, self._returned):
            if descriptor >= 0:
                os.close(descriptor)
        self.open, self._filled, self._returned = False, -1, -1


def shown(ends: Ends, specs: Sequence[TensorSpec]) -> Iterator[ShadowTick]:
    """The shadow's end: waits for ticks, and ends when the driver has closed its own."""
    layout = _layout(specs)
    size = SLOTS * layout.itemsize
    slots = _slots(mmap.mmap(ends.memory, size, mmap.MAP_SHARED, mmap.PROT_READ), layout)
    while filled := os.read(ends.filled, 1):
        head, arrays = slots[filled[0]]
        run, time, sequence, goal_x, goal_y, applied_v, applied_w, driven_v, driven_w = head.tolist()
        yield ShadowTick(
            int(run),
            Observation(time, int(sequence), arrays),
            (goal_x, goal_y),
            Command(applied_v, applied_w),
            None if math.isnan(driven_v) else Command(driven_v, driven_w),
        )
        os.write(ends.returned, filled)


def _layout(specs: Sequence[TensorSpec]) -> np.dtype[np.void]:
    """One slot."""
    fields = [("head", "float64", (HEAD,)), *((spec.name, spec.dtype, spec.shape) for spec in specs)]
    return np.dtype(fields, align=True)


def _slots(memory: mmap.mmap, layout: np.dtype[np.void]) -> list[tuple[Array, Mapping[str, Array]]]:
    """Views of each slot: its head, and its arrays by name."""
    ring = np.frombuffer(memory, layout, SLOTS)
    names = [name for name in layout.names or () if name != "head"]
    return [(ring["head"][slot], {name: ring[name][slot] for name in names}) for slot in range(SLOTS)]
