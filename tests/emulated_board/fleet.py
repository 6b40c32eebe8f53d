"""A publisher on this machine whose repository the emulated board can reach, and models to publish: a good one and a bad one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from edge_wm.bundle.manifest import PlannerDefaults
from edge_wm.cli import run
from tests import blind_model
from tests.emulated_board.web import WebServer
from tests.update.provable import write_provable

KIND, CHANNEL = "diff-drive-12cm", "stable"
BUDGET_MS = 20_000.0
"""For a tick, on a processor that is emulated."""

WORLD = 1
"""Of the kind ``rooms``: its goal can be reached blind."""
STANDSTILL = {"value": 1e-6, "progress": 0.0, "smoothness": 50.0}
"""What a plan costs."""

CONFIG = """\
url = "{url}"
trusted_root = "root.json"
robot_kind = "{kind}"
robot_id = "emulated"

[network]
connect_s = 120.0
gap_s = 120.0
metered = "no"

# One goal decides: an emulated processor has no time for more.
[shadow]
ticks = 20
patience_s = 3600.0

[trial]
min_driven_s = 4.0
min_ticks = 40
min_goals = 1
"""


class Fleet:
    """A repository that a web server serves.

    Args:
        folder: of the repository, its keys and the bundles.
        server: of the folder.
    """

    def __init__(self, folder: Path, server: WebServer) -> None:
        self.server = server
        self._folder = folder
        self._repository = folder / "fleet"
        self._command("init-repo", self._repository, "--robot-kind", KIND)

    @classmethod
    @contextmanager
    def in_a_folder(cls) -> Iterator[Fleet]:
        """One that leaves nothing behind."""
        with tempfile.TemporaryDirectory(prefix="fleet-") as folder, WebServer(Path(folder)) as server:
            yield cls(Path(folder), server)

    @property
    def config(self) -> str:
        """The board's ``update.toml``."""
        return CONFIG.format(url=f"{self.server.url}{self._repository.name}/", kind=KIND)

    @property
    def root(self) -> str:
        """Its ``root.json``."""
        return (self._repository / "metadata" / "1.root.json").read_text()

    def publish_good(self, version: str) -> None:
        """A model that drives to the goal of ``WORLD``, though it sees nothing.

        The shipped one would be too much for the CPU time that a proof may take: an emulated processor is slow.
        """
        self._publish(version, blind_model.manifest("int8").planner)

    def publish_broken(self, version: str) -> None:
        """One that does not compute what its golden vectors say: no robot may stage it."""
        self._publish(version, blind_model.manifest("int8").planner, off=1.0)

    def publish_bad(self, version: str) -> None:
        """One that would rather stand still: every check before the trial lets it through."""
        planner = blind_model.manifest("int8").planner
        self._publish(version, msgspec.structs.replace(planner, costs=STANDSTILL))

    def _publish(self, version: str, planner: PlannerDefaults, off: float = 0.0) -> None:
        bundle = self._folder / version
        write_provable(bundle, off=off, version=version, latency_budget_ms=BUDGET_MS, planner=planner)
        self._command("publish", self._repository, bundle, "--channel", CHANNEL)

    def _command(self, *words: object) -> None:
        if (code := run(["update", *map(str, words)])) != 0:
            raise AssertionError(f"edge-wm update {words[0]}: exit code {code}")
