"""A robot of a large fleet: the real updater, store, start and status; a tiny model, and a trial of some ticks.

The model that is bad is one that nobody finds on a bench: its golden vectors are right, and in bright light its latent state is
no number.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import helper

from edge_wm.bundle.load import load_bundle
from edge_wm.bundle.verify import verify_bundle
from edge_wm.engines.engine import EngineError
from edge_wm.engines.execution import Execution
from edge_wm.errors import BadInput
from edge_wm.fleet.config import BrokerConfig
from edge_wm.fleet.publisher import StatusPublisher
from edge_wm.fleet.status import robot_status
from edge_wm.sensors.observation import Observation
from edge_wm.update.boot import start
from edge_wm.update.config import UpdateConfig
from edge_wm.update.fetcher import Limits, RobotFetcher
from edge_wm.update.service import look
from edge_wm.update.slots import Folders
from edge_wm.update.status import status_of
from edge_wm.update.store import State, Store
from edge_wm.update.updater import open_updater
from edge_wm.world_model import WorldModel
from tests import tiny_model
from tests.tiny_model import constant
from tests.update.bundles import noise
from tests.update.flows import KIND, Proven

TRIAL_TICKS = 20
LIMITS = Limits(connect_s=5.0, gap_s=10.0, total_s=60.0)
DELIVERY_S = 20.0


def make_bundle(directory: Path, version: str, *, bad: bool = False) -> Path:
    """A tiny model of this version, with weights of its own; a bad one cannot bear light."""
    files = {"MODEL_CARD.md": noise(version, 24_000)}
    if bad:
        graph = tiny_model.observe_graph()
        (total,) = (node for node in graph.graph.node if node.op_type == "Sum")
        total.input.append("glare")
        before = list(graph.graph.node)
        at = before.index(total)
        before[at:at] = [
            helper.make_node("Sub", ["limit", "brightness"], ["shade"]),
            helper.make_node("Log", ["shade"], ["dazzled"]),
            helper.make_node("Mul", ["dazzled", "nothing"], ["glare"]),
        ]
        graph.graph.ClearField("node")
        graph.graph.node.extend(before)
        graph.graph.initializer.append(constant("limit", np.array(0.9, dtype=np.float32)))
        graph.graph.initializer.append(constant("nothing", np.array(0.0, dtype=np.float32)))
        files["observe.fp32.onnx"] = graph.SerializeToString()
    return tiny_model.write_tiny(directory, other_files=files, version=version)


def prove(bundle: Path) -> Proven:
    """Loads it and repeats its golden vectors, in this process: a sandbox for each of a thousand robots takes a board for each."""
    try:
        wrong = [check for check in verify_bundle(load_bundle(bundle)) if not check.passed]
    except (BadInput, EngineError) as why:
        return Proven(str(why))
    return Proven(str(wrong[0]) if wrong else None)


@dataclass(frozen=True)
class Step:
    """What came of one look of one robot: bytes fetched, seconds of the processor, and what went wrong."""

    robot: int
    fetched: int
    cpu_s: float
    problem: str | None


class SimulatedRobot:
    """One of many.

    Args:
        fleet: folder of all robots; ``root.json`` and ``factory`` are in it.
        number: of this one.
        url: of the repository.
        broker: port of the broker on this machine; None for none.
    """

    def __init__(self, fleet: Path, number: int, url: str, broker: int | None) -> None:
        self.number, self._fleet = number, fleet
        self.folders = Folders(fleet / f"robot-{number:04d}", fleet / "factory")
        self.config = UpdateConfig(
            url=url,
            trusted_root="root.json",
            robot_kind=KIND,
            robot_id=f"robot-{number:04d}",
            root=str(self.folders.root),
            mqtt=BrokerConfig(f"mqtt://127.0.0.1:{broker}") if broker is not None else None,
        )

    def step(self, *, drives: bool = True) -> Step:
        """Look once, drive for a while unless it rests, and tell the fleet."""
        began, problem = time.thread_time(), None
        fetcher = RobotFetcher(LIMITS)
        trusted_root = (self._fleet / "root.json").read_bytes()
        try:
            with open_updater(self.config, self.folders, trusted_root, prove, fetcher) as updater:
                look(updater, lambda line: None)
        except BadInput as why:
            problem = str(why)
        if drives:
            self._drive()
        cpu_s = time.thread_time() - began
        self._tell(problem)
        return Step(self.number, fetcher.received, cpu_s, problem)

    def _drive(self) -> None:
        """Some ticks in bright light, by the model that should drive."""
        with Store(self.folders.store) as store:
            if store.attempt.state is State.TRIAL:
                store.shadow_passed()
        started = start(
            self.folders, lambda bundle: WorldModel(load_bundle(bundle), Execution(precision="fp32"))
        )
        try:
            self._tick(started.model)
        except EngineError as error:
            if started.on_trial and started.installed is not None:
                with Store(self.folders.store) as store:
                    store.fail(started.installed, str(error))
        else:
            if started.on_trial:
                with Store(self.folders.store) as store:
                    store.commit(f"{TRIAL_TICKS} ticks")

    def _tick(self, model: WorldModel) -> None:
        state = model.initial_state()
        still = np.zeros(2, dtype=np.float32)
        arrays = {
            "camera": np.full((6, 8, 3), 250, dtype=np.uint8),
            "range": np.zeros(4, dtype=np.float32),
        }
        for number in range(TRIAL_TICKS):
            state = model.observe(state, Observation(0.1 * number, number, arrays), still)

    def _tell(self, problem: str | None) -> None:
        if self.config.mqtt is None:
            return
        with Store(self.folders.store) as store:
            history = store.history()
        status = robot_status(self.config, status_of(self.folders), history, time_trusted=True, error=problem)
        publisher = StatusPublisher(self.config.mqtt, self._fleet, KIND, self.config.robot_id)
        publisher.publish(status)
        publisher.start()
        if not publisher.wait_delivered(DELIVERY_S):
            raise RuntimeError(publisher.problem or "the broker has not heard of it")
        publisher.close()

    def events(self, model: str) -> list[str]:
        """What happened here to this model."""
        if not self.folders.store.exists():
            return []
        with Store(self.folders.store) as store:
            return [event.event for event in store.history() if event.model == model]

    def drives(self) -> str:
        """Hash of the model that drives."""
        return status_of(self.folders).active.model
