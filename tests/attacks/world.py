"""The world of an attack: a publisher's repository, the server that shows it, and a robot that drives by model 1.0.0.

The repository has decided for 2.0.0.  Left alone, the robot takes it: that is the control of every attack.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from edge_wm.bundle.load import load_bundle
from edge_wm.errors import BadInput
from edge_wm.publish.publisher import open_publisher
from edge_wm.publish.releases import revoke
from edge_wm.update.boot import Started, start
from edge_wm.update.config import UpdateConfig
from edge_wm.update.fetcher import Limits, RobotFetcher
from edge_wm.update.release import Channel
from edge_wm.update.slots import Folders
from edge_wm.update.store import State, Store
from edge_wm.update.updater import Proven, Updater, open_updater
from tests.attacks.forger import Forger
from tests.attacks.hostile_server import HostileServer
from tests.publish.repositories import Keeper
from tests.tiny_model import write_tiny
from tests.update.bundles import noise
from tests.update.flows import prove, run_once

KIND, OTHER_KIND = "differential-drive", "ackermann"
CHANNEL, OTHER_CHANNEL = "stable", "beta"
FACTORY, OLD, NEW = "0.1.0", "1.0.0", "2.0.0"
DAY_S = 86400.0

LIMITS = Limits(connect_s=2.0, gap_s=0.4, total_s=1.0, min_bytes_per_s=2000.0, window_s=0.3)
"""Of a patient server's; an attack that holds up a download is over sooner."""


def make_bundle(
    directory: Path, version: str, kind: str = KIND, more: dict[str, bytes] | None = None
) -> Path:
    """A tiny model of this version: its card is noise that no other version has, so that it must be fetched whole."""
    files = {"MODEL_CARD.md": noise(version, 24_000), **(more or {})}
    return write_tiny(directory, other_files=files, version=version, robot_kind=kind)


class Fleet:
    """What all worlds begin with, made once; nothing here is ever changed.

    Attributes:
        old: the repository when 1.0.0 was the newest model.
        new: after 2.0.0 was published; its keys are in ``new.keys``.
        robot: that has committed 1.0.0 from the old one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.old, self.new, self.robot = folder / "old", folder / "new", folder / "robot"
        self.factory = make_bundle(folder / FACTORY, FACTORY)
        keeper = Keeper(self.new)
        keeper.init(KIND, OTHER_KIND)
        for version in (OLD, NEW):
            keeper.publish(make_bundle(folder / version, version), CHANNEL)
            if version == OLD:
                shutil.copytree(self.new, self.old)
        world = World(self, folder / "first", fresh=True)
        with world:
            world.mirror = self.old
            world.install()
        shutil.copytree(world.folders.root, self.robot)


@dataclass(frozen=True)
class Attempt:
    """What came of a whole update attempt.

    Attributes:
        said: the line of the robot, whatever it says.
        refused: whether it refused, and did not just see nothing to do.
        broke: what it died of, if not by refusing in one line.
        drives: version of the model that drives now.
        wall_s: how long it took.
        grew_bytes: how much more memory it had in use than before, at most.
        asked: paths that it asked its server for.
    """

    said: str
    refused: bool
    broke: str | None
    drives: str
    wall_s: float
    grew_bytes: int
    asked: tuple[str, ...]


class World:
    """One robot and one repository of their own.

    Attributes:
        repository: the publisher's folder; the publisher can still work on it.
        mirror: the folder that the robot is shown.
        server: shows it.
        url: where the robot looks; None for the server.
        now: the robot's clock, seconds since 1970.
        time_source: who set it; None for nobody.
        limits: how long a server may take.
        prove: how the robot proves a bundle: that it loads, or all of it in the sandbox.
        load: how it makes a model ready to drive.
        environment: variables while the robot is at work.
        channel: that the robot is on.
        between: is called when a model is staged, before it drives.
        choose: of the updater, if a rollout server has a word in it.
    """

    def __init__(self, fleet: Fleet, folder: Path, *, fresh: bool = False) -> None:
        self.fleet, self.folder = fleet, folder
        folder.mkdir(parents=True)
        self.repository = folder / "repository"
        for source, to in ((fleet.new, self.repository), (f"{fleet.new}.keys", f"{self.repository}.keys")):
            shutil.copytree(source, to)
        self.folders = Folders(folder / "robot" / "edge-wm", fleet.factory)
        if not fresh:
            shutil.copytree(fleet.robot, self.folders.root)
        self.trusted_root = (fleet.new / "metadata" / "1.root.json").read_bytes()
        self.mirror = self.repository
        self.url: str | None = None
        self.now = time.time()
        self.time_source: str | None = "follows a time server"
        self.limits = LIMITS
        self.prove: Callable[[Path], Proven] = prove
        self.load: Callable[[Path], str] = run_once
        self.environment: dict[str, str] = {}
        self.channel, self.kind = CHANNEL, KIND
        self.between: Callable[[World], object] = lambda world: None
        self.choose: Callable[[Updater], Callable[[Channel], object]] | None = None
        self._stack = ExitStack()

    def __enter__(self) -> World:
        self.server = self._stack.enter_context(HostileServer(lambda: self.mirror))
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    # --- the attacker and the publisher ------------------------------------------------------------------------------

    @property
    def keeper(self) -> Keeper:
        """The publisher, at the robot's time."""
        return Keeper(self.repository, days=(self.now - time.time()) / DAY_S)

    def revoke(self, model: str) -> None:
        """The publisher takes a model back."""
        with open_publisher(self.keeper.access) as publisher:
            revoke(publisher, model, kind=KIND)

    def own_mirror(self, of: Path | None = None) -> Path:
        """A copy that the attacker shows instead of the repository."""
        self.mirror = self.folder / f"mirror-{len(list(self.folder.iterdir()))}"
        shutil.copytree(of or self.repository, self.mirror, symlinks=True)
        return self.mirror

    def forger(self, of: Path | None = None) -> Forger:
        """Who changes the attacker's mirror, with the keys that he stole."""
        return Forger(self.own_mirror(of), Path(f"{self.repository}.keys"))

    def use(self, context):  # type: ignore[no-untyped-def]
        """Something that lasts as long as this world."""
        return self._stack.enter_context(context)

    # --- the robot ---------------------------------------------------------------------------------------------------

    @contextmanager
    def updater(self) -> Iterator[Updater]:
        config = UpdateConfig(
            url=self.url or self.server.url,
            robot_kind=self.kind,
            robot_id="rover",
            channel=self.channel,
            root=str(self.folders.root),
        )
        fetcher = RobotFetcher(self.limits)
        with (
            patch("edge_wm.update.time_trust.time_source", lambda **how: self.time_source),
            open_updater(
                config, self.folders, self.trusted_root, self._prove, fetcher, lambda: self.now
            ) as updater,
        ):
            if self.choose is not None:
                updater.choose = self.choose(updater)  # type: ignore[assignment]
            yield updater

    def _prove(self, bundle: Path) -> Proven:
        return self.prove(bundle)

    def look(self) -> str:
        """The robot only asks; returns what it says.  Raises BadInput."""
        with patch.dict(os.environ, self.environment), self.updater() as updater:
            return updater.check().why

    def fetch(self) -> str:
        """The robot asks, and fetches what it should have.  Raises BadInput."""
        with patch.dict(os.environ, self.environment), self.updater() as updater:
            decision = updater.check()
            if decision.release is not None:
                updater.fetch(decision.release)
            return decision.why

    def install(self) -> str:
        """A whole update: what is staged is put on trial, drives, and is kept.  Raises BadInput."""
        said = self.fetch()
        self.between(self)
        with Store(self.folders.store) as store:
            staged = store.attempt.state is State.STAGED
        if staged:
            with self.updater() as updater:
                updater.apply()
                updater.store.shadow_passed()
            started = self.start()
            if not started.on_trial:
                raise BadInput("; ".join(started.notes))
            with Store(self.folders.store) as store:
                store.commit()
        return said

    def start(self) -> Started[str]:
        """The robot starts: the model that drives, and that it does."""
        return start(self.folders, self.load)

    def version(self) -> str:
        """Of the model that drives at the next start.  Raises if none does."""
        return load_bundle(self.folders.slot(self.start().slot)).manifest.version

    def attempt(self) -> Attempt:
        """Let the robot do a whole update, whatever comes of it."""
        before, began = len(self.server.asked), time.monotonic()
        memory = _memory_in_use()
        said, refused, broke = "", False, None
        try:
            said = self.install()
        except BadInput as why:
            said, refused = str(why), True
            if not said or "\n" in said:
                broke = "it says more or less than one line"
        except Exception as why:
            said = broke = f"{type(why).__name__}: {why}"
        wall_s, grew = time.monotonic() - began, _most_memory() - memory
        try:
            drives = self.version()
        except Exception as why:
            drives, broke = "nothing", f"{broke or ''} it lost its model: {why}".strip()
        return Attempt(said, refused, broke, drives, wall_s, grew, tuple(self.server.asked[before:]))


def _memory_in_use() -> int:
    """Bytes in use now; from here on ``_most_memory`` counts."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _most_memory() -> int:
    return _status("VmHWM")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) << 10
