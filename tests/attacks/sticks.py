"""What a stick does that holds a repository."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from tests.attacks.attack import Attack, Deed
from tests.attacks.servers import SIGNED_BYTES, STICK
from tests.attacks.specification import MODEL, the_plain_file
from tests.attacks.world import KIND, World


def on_a_stick(world: World) -> None:
    """The repository is a folder."""
    stick = world.own_mirror()
    world.url = stick.as_uri()


def _link_out(part: str, to: str) -> Deed:
    def deed(world: World) -> None:
        """A file of the stick is a link out of it."""
        path = _stick_file(world, part)
        path.unlink()
        path.symlink_to(to)

    return deed


def _fifo(part: str) -> Deed:
    def deed(world: World) -> None:
        """A file of the stick is one that nobody ever writes to."""
        path = _stick_file(world, part)
        path.unlink()
        os.mkfifo(path)

    return deed


def _stick_file(world: World, part: str) -> Path:
    name = the_plain_file(world) if part == MODEL else part
    return next(world.mirror.rglob(f"*{name}"))


def _folder_for_a_file(world: World) -> None:
    path = _stick_file(world, "timestamp.json")
    path.unlink()
    path.mkdir()


def _linked_folder(world: World) -> None:
    """The folder of the models is a link to one that holds others."""
    folder = world.mirror / "targets" / KIND
    evil = world.folder / "evil"
    shutil.copytree(folder, evil)
    (evil / the_plain_file(world)).write_bytes(bytes(24_000))
    shutil.rmtree(folder)
    folder.symlink_to(evil)


def _unsigned_news(world: World) -> None:
    """Somebody has counted up the versions on the stick by hand."""
    metadata = world.mirror / "metadata"
    timestamp = (metadata / "timestamp.json").read_text()
    (metadata / "timestamp.json").write_text(re.sub(r'("version": ?)3', r"\g<1>9", timestamp))
    (metadata / "9.snapshot.json").write_bytes((metadata / "3.snapshot.json").read_bytes())


def _without(part: str) -> Deed:
    def deed(world: World) -> None:
        """The stick was pulled out too early when it was written."""
        for path in world.mirror.rglob(f"*{the_plain_file(world) if part == MODEL else part}"):
            path.unlink() if path.is_file() else shutil.rmtree(path)

    return deed


def _cut_file(world: World) -> None:
    file = _stick_file(world, MODEL)
    file.write_bytes(file.read_bytes()[:1000])


ATTACKS = (
    *(
        Attack(
            f"stick: {name} is a link to {to}",
            STICK,
            "links out of it are not followed",
            _link_out(part, to),
            says,
            setting=on_a_stick,
        )
        for name, part, to, says in (
            ("the timestamp", "timestamp.json", "/dev/zero", "is a link"),
            ("the model", MODEL, "/etc/passwd", "is a link"),
        )
    ),
    *(
        Attack(
            f"stick: {name} is a FIFO",
            STICK,
            "refused at once",
            _fifo(part),
            "no file of a repository",
            setting=on_a_stick,
        )
        for name, part in (("the timestamp", "timestamp.json"), ("the model", MODEL))
    ),
    Attack(
        "stick: a folder in the place of a file",
        STICK,
        "refused",
        _folder_for_a_file,
        "no file of a repository",
        setting=on_a_stick,
    ),
    Attack(
        "stick: the models' folder is a link to others",
        STICK,
        "hashes hold: refused",
        _linked_folder,
        SIGNED_BYTES,
        setting=on_a_stick,
    ),
    Attack(
        "stick: newer-looking data that nobody signed",
        STICK,
        "refused",
        _unsigned_news,
        "not signed by whom",
        setting=on_a_stick,
    ),
    *(
        Attack(
            f"stick: without {name}",
            STICK,
            "one line; the robot keeps its model",
            _without(part),
            "is not there",
            setting=on_a_stick,
        )
        for name, part in (
            ("the timestamp", "timestamp.json"),
            ("the snapshot", "3.snapshot.json"),
            ("the kind's role", f"3.{KIND}.json"),
            ("the models", f"targets/{KIND}"),
            ("one file of the model", MODEL),
        )
    ),
    Attack(
        "stick: a file that was cut off",
        STICK,
        "refused",
        _cut_file,
        "ended after 1000 of 24000",
        setting=on_a_stick,
    ),
)
