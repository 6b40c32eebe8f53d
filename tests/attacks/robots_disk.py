"""What befalls a robot's own files and its clock: a slot that changes behind a check, a store that is lost, a clock that is wrong."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from unittest.mock import patch

from edge_wm.errors import BadInput
from edge_wm.update.store import State, Store
from tests.attacks.attack import Attack, Deed
from tests.attacks.world import DAY_S, FACTORY, NEW, World
from tests.tiny_model import replace_file
from tests.update.flows import Proven

BUG = "a bug with the rights of the updater"


def slot_of(world: World) -> Path:
    """The folder of the newest update."""
    with Store(world.folders.store) as store:
        return world.folders.slot(str(store.attempt.slot))


def before_start(spoil: Callable[[Path], object]) -> Deed:
    """A staged bundle changes before it drives."""

    def deed(world: World) -> None:
        world.between = lambda world: spoil(slot_of(world))

    return deed


def behind_proof(spoil: Callable[[Path], object]) -> Deed:
    """A bundle changes when it has just been proven."""

    def deed(world: World) -> None:
        honest = world.prove

        def prove_and_spoil(bundle: Path) -> Proven:
            proven = honest(bundle)
            spoil(bundle)
            return Proven(proven.refusal)

        world.prove = prove_and_spoil

    return deed


def flip(path: str) -> Callable[[Path], None]:
    def spoil(bundle: Path) -> None:
        data = bytearray((bundle / path).read_bytes())
        data[len(data) // 2] ^= 1
        (bundle / path).write_bytes(data)

    return spoil


def other_model(bundle: Path) -> None:
    """A whole bundle, and another one: its manifest vouches for its files."""
    replace_file(bundle, "MODEL_CARD.md", b"evil")


def linked(bundle: Path) -> None:
    path = bundle / "golden.npz"
    path.unlink()
    path.symlink_to("/etc/passwd")


def emptied(bundle: Path) -> None:
    for path in bundle.iterdir():
        path.unlink()


def added(bundle: Path) -> None:
    (bundle / "evil.so").write_bytes(b"\x7fELF")


SPOILED = {
    "one bit of a graph": flip("imagine.fp32.onnx"),
    "one bit of the manifest": flip("manifest.json"),
    "another model, whole in itself": other_model,
    "a link in the place of a file": linked,
    "nothing any more": emptied,
    "a file more": added,
}


def _active_spoiled(world: World) -> None:
    """The model that drives is damaged, and the repository has nothing newer that is whole."""
    with Store(world.folders.store) as store:
        slot = world.folders.slot(store.active)
    flip("imagine.fp32.onnx")(slot)
    world.mirror = world.folder / "nowhere"


def _staged_by_hand(world: World) -> None:
    """Files lie in a slot that no row of the store speaks of."""
    slot = world.folders.slot("b")
    for path in (world.fleet.folder / NEW).iterdir():
        (slot / path.name).write_bytes(path.read_bytes())
    other_model(slot)
    world.mirror = world.folder / "nowhere"


def _link_for_the_slot(world: World) -> None:
    """A link out of the slot lies where a file will be written."""
    victim = world.folder / "victim"
    victim.write_bytes(b"precious")
    with Store(world.folders.store) as store:
        slot = world.folders.slot("b" if store.active == "a" else "a")
    (slot / "MODEL_CARD.md").symlink_to(victim)


def _disk_full(world: World) -> None:
    """There was room enough, and somebody else has taken it while the new model was written."""
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "MODEL_CARD.md")
    world.use(patch("edge_wm.update.slots.write_file", side_effect=full))


def _garbage_store(world: World) -> None:
    world.folders.store.write_bytes(b"no database" * 1000)


def _crashed_trial(world: World) -> None:
    """The new model takes the whole process with it when it drives."""
    world.fetch()
    with world.updater() as updater:
        updater.apply()
        updater.store.shadow_passed()
        updater.store.trial_drives()
    world.mirror = world.folder / "nowhere"


def _crashed_three_times(world: World) -> None:
    for _ in range(3):
        world.fetch()
        with world.updater() as updater:
            updater.apply()
            updater.store.shadow_passed()
        with Store(world.folders.store) as store:
            assert store.attempt.state is State.TRIAL
            store.trial_drives()
        world.start()


def clock(year: int) -> Deed:
    def deed(world: World) -> None:
        world.now = datetime(year, 1, 19, 3, 14, 8, tzinfo=timezone.utc).timestamp()

    return deed


def _clock_of(seconds: float) -> Deed:
    def deed(world: World) -> None:
        world.now = seconds

    return deed


def _ahead_and_back(world: World) -> None:
    """The clock was in 2038 when the robot looked, and is right again."""
    right = world.now
    clock(2038)(world)
    try:
        world.look()
    except BadInput:
        world.now = right
    else:
        raise AssertionError("believed in 2038")


def _set_back(world: World) -> None:
    """The clock goes back by two days behind a look."""
    world.now -= 2 * DAY_S


def seen_now(world: World) -> None:
    world.look()


ATTACKS = (
    *(
        Attack(
            f"behind the proof: {name}",
            BUG,
            "it is hashed again before it is staged: refused",
            behind_proof(spoil),
            "slots/|the bundle is",
        )
        for name, spoil in SPOILED.items()
    ),
    *(
        Attack(
            f"between staging and start: {name}",
            BUG,
            "it is hashed again before it drives: the old model drives",
            before_start(spoil),
            "is not used",
        )
        for name, spoil in SPOILED.items()
    ),
    Attack(
        "the model that drives is damaged",
        BUG,
        "the one before drives: the factory's",
        _active_spoiled,
        ".",
        drives=FACTORY,
    ),
    Attack(
        "files in a slot that nobody staged",
        BUG,
        "nothing without a row of the store drives",
        _staged_by_hand,
        ".",
    ),
    Attack(
        "a link out of the slot",
        BUG,
        "it is replaced and not followed",
        _link_for_the_slot,
        "is to come",
        drives=NEW,
    ),
    Attack(
        "the disk runs full in the middle",
        "another process",
        "one line; the robot keeps its model",
        _disk_full,
        "No space left",
    ),
    Attack(
        "a store of garbage",
        BUG,
        "the factory's model drives; one line says what to do",
        _garbage_store,
        "edge-wm update repair",
        drives=FACTORY,
    ),
    Attack(
        "a model that crashes the process that drives",
        "a bad model",
        "the old one drives at the next start",
        _crashed_trial,
        ".",
    ),
    Attack(
        "a model that crashes it three times",
        "a bad model",
        "quarantine",
        _crashed_three_times,
        "in quarantine",
    ),
    Attack(
        "the clock says 1970",
        "no clock without power",
        "updates wait; the robot drives",
        _clock_of(0.0),
        "updates wait until the clock is set",
    ),
    Attack(
        "the clock says 1901",
        "a broken clock",
        "updates wait; the robot drives",
        _clock_of(-(2.0**31)),
        "updates wait until the clock is set",
    ),
    Attack(
        "the clock says nothing",
        "a broken clock",
        "updates wait; the robot drives",
        _clock_of(float("nan")),
        "updates wait until the clock is set",
    ),
    Attack(
        "the clock says 2038", "NTP", "everything has expired: refused", clock(2038), "holds the news back"
    ),
    Attack(
        "the clock said 2038 and is right again",
        "NTP",
        "the robot updates again",
        _ahead_and_back,
        "is to come",
        drives=NEW,
    ),
    Attack(
        "the clock is set back by two days",
        "NTP",
        "updates wait",
        _set_back,
        "updates wait until the clock is set",
        setting=seen_now,
    ),
)
