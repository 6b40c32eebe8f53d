"""Each way is measured in a process of its own, whose memory is its own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from onnx import helper

from edge_wm.board import Health
from edge_wm.clock import Clock
from edge_wm.drive.real import Hardware
from edge_wm.engines.execution import Execution
from edge_wm.profile.at_rate import StandInBridge, StandInSensors
from edge_wm.profile.own_process import Measurement, Request, measure_alone, measure_here
from edge_wm.profile.stages import TICK
from edge_wm.robot import Robot, load_robot
from edge_wm.sensors.observation import Observation
from firmware_bridge.bridge import NEUTRAL, Command
from tests.tiny_model import constant, observe_graph, write_tiny

MANY_MB = 50
TICKS = 3


def measured(bundle: Path, execution: Execution | None = None, health: Health | None = None) -> Measurement:
    shares: list[float] = []
    request = Request(str(bundle), execution or Execution("onnx", "fp32"), load_robot(), TICKS, burners=1)
    found = measure_alone(request, health or Health(), shares.append)
    assert shares == sorted(shares)
    return found


def greedy_observe(megabytes: int) -> bytes:
    """The tiny model's, which also spreads a zero over so many megabytes and takes their mean."""
    made = observe_graph()
    graph = made.graph
    numbers = np.array([megabytes * 1_000_000 // 4], dtype=np.int64)
    graph.initializer.extend([constant("many", numbers), constant("nothing", np.zeros(1, np.float32))])
    extra = [
        helper.make_node("Mul", ["mean_range", "nothing"], ["zero"]),
        helper.make_node("Expand", ["zero", "many"], ["zeros"]),
        helper.make_node("Exp", ["zeros"], ["ones"]),
        helper.make_node("Log", ["ones"], ["logs"]),
        helper.make_node("ReduceMean", ["logs"], ["mean_zero"], keepdims=0),
    ]
    place = next(number for number, node in enumerate(graph.node) if node.op_type == "Sum")
    graph.node[place].input.append("mean_zero")
    nodes = [*graph.node[:place], *extra, *graph.node[place:]]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(made)
    return made.SerializeToString()


def test_a_way_is_measured_idle_and_loaded(tmp_path: Path) -> None:
    found = measured(write_tiny(tmp_path / "tiny"))
    assert found.failure is None and found.idle is not None and found.loaded is not None
    assert found.idle.ticks == found.loaded.ticks == TICKS
    assert found.idle.stages[TICK].p50 > 0.0
    assert found.load_ms is not None and found.start_ms is not None
    assert found.idle.began == 0.0
    assert 0.0 < found.idle.ended < found.loaded.began < found.loaded.ended < 60.0


def test_memory_of_a_greedy_way_shows_and_of_the_next_does_not(tmp_path: Path) -> None:
    greedy = write_tiny(tmp_path / "greedy", other_files={"observe.fp32.onnx": greedy_observe(MANY_MB)})
    peak = measured(greedy).peak_bytes
    modest = measured(write_tiny(tmp_path / "tiny"))
    assert peak is not None and modest.peak_bytes is not None and modest.before_model_bytes is not None
    assert peak - modest.peak_bytes > MANY_MB * 1_000_000
    assert modest.before_model_bytes < modest.peak_bytes


def test_a_way_that_cannot_be_run_says_why(tmp_path: Path) -> None:
    found = measured(write_tiny(tmp_path / "tiny"), Execution("onnx", "int8"))
    assert found.failure is not None and "no int8 onnx graph" in found.failure
    assert found.idle is None and found.loaded is None


def test_a_process_that_is_killed_is_a_failure_and_not_a_wait_for_ever(tmp_path: Path) -> None:
    def kill(share: float) -> None:
        for child in multiprocessing.active_children():
            child.kill()

    request = Request(str(write_tiny(tmp_path / "tiny")), Execution("onnx", "fp32"), load_robot(), TICKS, 1)
    found = measure_alone(request, Health(), kill)
    assert found.failure is not None and "ended with signal 9" in found.failure
    assert found.idle is None


def test_power_is_the_mean_of_what_the_board_says_and_empty_where_it_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_wm.profile.own_process.POWER_EVERY_S", 0.05)
    sensor = tmp_path / "power1_input"
    sensor.write_text("2500000\n")
    bundle = write_tiny(tmp_path / "tiny")
    found = measured(bundle, health=Health(power=(str(sensor),)))
    assert found.idle_w == found.loaded_w == 2.5
    assert measured(bundle).idle_w is None


def test_on_a_robot_its_own_sensors_are_read_and_its_motors_only_asked_for_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Command] = []
    log: list[str] = []

    class Sensors(StandInSensors):
        def read(self) -> Observation:
            log.append("read")
            return super().read()

    class Motors(StandInBridge):
        def apply(self, command: Command) -> Command:
            asked.append(command)
            return super().apply(command)

    @contextmanager
    def hardware(of: Robot, file: Path, on: Clock) -> Iterator[tuple[Sensors, Motors]]:
        log.append(f"connected {file.name}")
        yield Hardware(Sensors(of, on), Motors(on))  # type: ignore[arg-type]
        log.append("closed")

    monkeypatch.setattr("edge_wm.drive.real.hardware", hardware)
    way = Execution("onnx", "fp32")
    request = Request(
        str(write_tiny(tmp_path / "tiny")), way, load_robot(), TICKS, 1, "/somewhere/rover.toml"
    )
    found = msgspec.json.decode(measure_here(msgspec.json.encode(request)), type=Measurement)
    assert found.failure is None and found.loaded is not None
    assert log[0] == "connected rover.toml" and log[-1] == "closed"
    assert log.count("read") >= 2 * TICKS and set(asked) == {NEUTRAL}
