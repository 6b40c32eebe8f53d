"""What a power cut may leave of a recording, and the disk of each such state.

A disk keeps what was flushed.  Of what was written after the last flush it may have kept anything: all, nothing, some
of the writes in any order, and of a write some of its sectors.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterator
from random import Random
from typing import Literal, get_args

from msgspec import Struct

from tests.power_cuts.block_log import Entry, Flush, Image, Mark, Recording, Write
from tests.power_cuts.file_systems import FILE_SYSTEMS
from tests.power_cuts.weakest import PAGE, WEAKEST, Tree

Loss = Literal["nothing", "everything", "newest", "oldest", "some", "sectors"]
"""What is lost of what was not flushed."""


class CrashState(Struct, frozen=True):
    """One power cut; with its recording, all that is needed to make it again.

    Attributes:
        cut: the power went after so many entries of the log.
        lost: of what was not flushed then.
        seed: of what chance decides.
    """

    cut: int
    lost: Loss
    seed: int = 0


def crash_states(recording: Recording, count: int, seed: int = 0) -> list[CrashState]:
    """So many different states, well spread, the same for the same seed; fewer if there are no more.

    First each promise with all lost that may be; then flushes and writes with nothing lost, each a quarter of all at most; the
    others at random, half of them spread over the log and half over its stretches between flushes, of which the short ones
    matter no less.
    """
    random = Random(f"{seed} {len(recording.log)}")
    identities = Identities(recording)
    seen: set[tuple[int, int]] = set()
    found: list[CrashState] = []
    for state in _candidates(recording.log, random, count):
        if len(found) == count:
            break
        identity = identities.of(state)
        if identity not in seen:
            seen.add(identity)
            found.append(state)
    return sorted(found, key=lambda state: (state.cut, state.lost, state.seed))


def _candidates(log: tuple[Entry, ...], random: Random, count: int) -> Iterator[CrashState]:
    if not log:
        return
    yield from (CrashState(at + 1, "everything") for at, entry in enumerate(log) if isinstance(entry, Mark))
    for kind in (Flush, Write):
        states = [CrashState(at + 1, "nothing") for at, entry in enumerate(log) if isinstance(entry, kind)]
        yield from random.sample(states, min(len(states), count // 4))
    ends = [0, *(at + 1 for at, entry in enumerate(log) if isinstance(entry, Flush)), len(log)]
    for _ in range(20 * count):
        low, high = 0, len(log)
        if random.random() < 0.5:
            stretch = random.randrange(len(ends) - 1)
            low, high = ends[stretch], ends[stretch + 1]
        if low < high:
            cut = random.randint(low + 1, high)
            yield CrashState(cut, random.choice(get_args(Loss)), random.randrange(1 << 30))


def crashed(recording: Recording, state: CrashState) -> Image:
    """The disk after the power cut."""
    durable, kept = _surviving(recording, state)
    return Image(recording.start.size, (*recording.start.content, *durable, *kept))


def _surviving(recording: Recording, state: CrashState) -> tuple[list[Write], list[Write]]:
    """What the flushes before the cut made last, and what was kept of the rest."""
    log = recording.log[: state.cut]
    flushed = {entry.object: at for at, entry in enumerate(log) if isinstance(entry, Flush)}
    durable, pending = [], []
    for at, entry in enumerate(log):
        if isinstance(entry, Write):
            (durable if at < flushed.get(entry.object, 0) else pending).append(entry)
    weakest = recording.file_system == WEAKEST
    return durable, _kept(pending, state, PAGE if weakest else FILE_SYSTEMS[recording.file_system].sector)


def _kept(pending: list[Write], state: CrashState, sector: int) -> list[Write]:
    random = Random(f"{state.cut} {state.lost} {state.seed}")
    if not pending or state.lost == "nothing":
        return pending
    if state.lost == "everything":
        return []
    if state.lost == "newest":
        return pending[: random.randrange(len(pending))]
    if state.lost == "oldest":
        return pending[random.randrange(len(pending)) :]
    share = random.choice((0.1, 0.5, 0.9))
    some = [write for write in pending if random.random() < share]
    if state.lost == "some":
        return some
    return [piece for write in some for piece in _torn(write, sector, random)]


def _torn(write: Write, sector: int, random: Random) -> Iterator[Write]:
    """Half of the writes whole, a quarter up to some sector, a quarter some sectors of."""
    if write.name:
        yield write
        return
    how = random.random()
    starts = range(0, len(write.data), sector)
    end = random.randrange(len(starts)) if 0.5 <= how < 0.75 else len(starts)
    for at in starts[:end]:
        if how < 0.75 or random.random() < 0.5:
            yield Write(write.offset + at, write.data[at : at + sector], write.object)


class Identities:
    """Tells states apart by what is on their disks and what was promised, whichever way it came there."""

    SECTOR = 512

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        if recording.file_system == WEAKEST:
            return
        # What each sector was from which entry on, and the sum of all sectors after each entry.
        self.history: dict[int, list[tuple[int, int]]] = {}
        self.sums = [0]
        for write in recording.start.content:
            self._write(0, write)
        for at, entry in enumerate(recording.log, start=1):
            self.sums.append(self.sums[-1])
            if isinstance(entry, Write):
                self._write(at, entry)

    def _write(self, at: int, write: Write) -> None:
        for sector, digest in self._digests(write):
            before = self.history.setdefault(sector, [(-1, 0)])
            self.sums[-1] ^= before[-1][1] ^ digest
            before.append((at, digest))

    def of(self, state: CrashState) -> tuple[int, int]:
        """Equal for states that nobody could tell apart."""
        log = self.recording.log
        promised = len(self.recording.marks(state.cut))
        if self.recording.file_system == WEAKEST:
            return hash(tuple(sorted(Tree(crashed(self.recording, state)).contents().items()))), promised
        flushed = next((at for at in range(state.cut, 0, -1) if isinstance(log[at - 1], Flush)), 0)
        now = self.sums[flushed]
        _, kept = _surviving(self.recording, state)
        for sector, digest in {s: d for write in kept for s, d in self._digests(write)}.items():
            history = self.history[sector]
            before = history[bisect_right(history, flushed, key=lambda change: change[0]) - 1]
            now ^= before[1] ^ digest
        return now, promised

    def _digests(self, write: Write) -> Iterator[tuple[int, int]]:
        for at in range(0, len(write.data), self.SECTOR):
            sector = (write.offset + at) // self.SECTOR
            data = write.data[at : at + self.SECTOR]
            digest = hashlib.blake2b(data, digest_size=16, salt=sector.to_bytes(16, "big")).digest()
            yield sector, int.from_bytes(digest, "big") if data.strip(b"\0") else 0
