"""Compressed files and deltas that the right keys have signed."""

from __future__ import annotations

import bz2
import hashlib
import struct
from collections.abc import Callable

from edge_wm.update.release import Form
from tests.attacks.attack import Deed
from tests.attacks.releases import released, signed_attack
from tests.attacks.world import World


def _bsdiff(control: bytes, difference: bytes, extra: bytes, size: int) -> bytes:
    blocks = [bz2.compress(block) for block in (control, difference, extra)]
    return struct.pack("<8sqqq", b"BSDIFF40", len(blocks[0]), len(blocks[1]), size) + b"".join(blocks)


def delta(make: Callable[[int], bytes], base: Callable[[World], bytes]) -> Deed:
    """The model's card as a delta to a file."""

    def deed(world: World) -> None:
        content = base(world)
        digest = hashlib.sha256(content).hexdigest()

        def packed(path: str, wanted: bytes) -> tuple[Form, bytes] | None:
            if path != "MODEL_CARD.md":
                return None
            patch = make(len(wanted))
            return Form("bsdiff", len(patch), digest), patch

        released(packed=packed)(world)

    return deed


def the_robots_card(world: World) -> bytes:
    return (world.folders.slot("a") / "MODEL_CARD.md").read_bytes()


def _delta_bomb(size: int) -> bytes:
    """A block of 128 MiB of nothing."""
    return _bsdiff(struct.pack("<qqq", size, 0, 0), bytes(1 << 27), b"", size)


def _control_bomb(size: int) -> bytes:
    """Steps without an end, each of which does nothing."""
    return _bsdiff(bytes(24) * 5_000_000, b"", b"", size)


def _outside_base(size: int) -> bytes:
    """Reads far behind and before the base."""
    control = struct.pack("<qqqqqq", 10, 0, 1 << 40, size - 10, 0, 0)
    return _bsdiff(control, bytes(size), b"", size)


def _outside_base_negative(size: int) -> bytes:
    control = struct.pack("<qqqqqq", 10, 0, -(1 << 62), size - 10, 0, 0)
    return _bsdiff(control, bytes(size), b"", size)


def _negative_step(size: int) -> bytes:
    control = struct.pack("<qqqqqq", -5, size + 5, 0, 0, 0, 0)
    return _bsdiff(control, bytes(size), bytes(size), size)


def _huge_header(size: int) -> bytes:
    return struct.pack("<8sqqq", b"BSDIFF40", 1 << 62, 1 << 62, size)


def _right_size(size: int) -> bytes:
    """A fine delta, to another base than the robot's, so that another file comes out."""
    return _bsdiff(struct.pack("<qqq", size, 0, 0), bytes(size), b"", size)


ATTACKS = (
    *(
        signed_attack(f"a delta {name}", must, delta(make, the_robots_card), says)
        for name, must, make, says in (
            ("bomb", "not unpacked beyond the file's size", _delta_bomb, "cut off, or larger"),
            ("whose steps have no end", "refused", _control_bomb, "cut off, or larger"),
            ("that reads behind its base", "refused", _outside_base, "does not give|cannot be unpacked"),
            (
                "that reads before its base",
                "refused",
                _outside_base_negative,
                "does not give|cannot be unpacked",
            ),
            ("with steps back", "refused", _negative_step, "does not give|cannot be unpacked"),
            ("with a lying header", "refused", _huge_header, "cannot be unpacked"),
            (
                "that gives another file",
                "the hash of the result differs: refused",
                _right_size,
                "does not give",
            ),
        )
    ),
    signed_attack(
        "only deltas to a file that the robot does not have",
        "refused",
        delta(_right_size, lambda world: b"somewhere else"),
        "only deltas to files that this robot does not have",
    ),
)
