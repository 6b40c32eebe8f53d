from __future__ import annotations

import os
import signal
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from msgspec.structs import replace

from edge_wm.control.loop import Tick
from edge_wm.control.policy import Decision
from edge_wm.control.supervisor import SupervisedCommand
from edge_wm.drive.pilot import observed
from edge_wm.robot import load_robot
from edge_wm.sensors.observation import Observation
from edge_wm.update.confined import Limits
from edge_wm.update.criteria import ShadowCriteria
from edge_wm.update.shadow import Shadow, ShadowVerdict
from edge_wm.update.shadowed import Report
from edge_wm.update.tick_ring import SLOTS, TickRing, shown
from firmware_bridge.bridge import Command
from tests import blind_model
from tests.blind_model import node
from tests.control.fakes import FORWARD, TICK_S, observe
from tests.tiny_model import replace_file
from tests.update.provable import slow, write_provable

ROBOT = load_robot()
LIMITS = Limits(cpu_s=60, stand_back=False)
TICKS = 20
GOAL = (3.0, 1.0)
TICK_BUDGET_S = 1e-4
"""CPU time that showing a tick may take of it."""


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_provable(tmp_path_factory.mktemp("bundles") / "good")


def shadow_of(bundle: Path, ticks: int = TICKS, **criteria: Any) -> Shadow:
    shadow = Shadow(bundle, ROBOT, criteria=ShadowCriteria(ticks=ticks, **criteria), limits=LIMITS)
    shadow.begin(GOAL)
    return shadow


def tick(index: int, observation: Observation | None = None, command: Command = FORWARD) -> Tick:
    shown = observation or observe(index * TICK_S, index)
    supervised = SupervisedCommand(command, None, ())
    return Tick(
        index, index * TICK_S, shown, Decision(command, None, 3.0), supervised, command, 0.01, 0.01, 0
    )


def drive(shadow: Shadow, ticks: Iterator[Tick] | None = None) -> ShadowVerdict:
    """Show ticks, each as soon as there is room for it, until there is a verdict."""
    taken = -1
    for index in range(100_000):
        if shadow.sent > taken:
            taken = shadow.sent
            following = next(ticks) if ticks is not None else tick(index)
        shadow.tick(following)
        verdict = shadow.verdict(timeout_s=0.0 if shadow.sent > taken else 0.01)
        if verdict is not None:
            return verdict
    raise AssertionError("no verdict")


# --- what it comes to ------------------------------------------------------------------------------------------------


def test_a_good_model_plans_in_every_tick_and_passes(good: Path) -> None:
    verdict = drive(shadow_of(good))
    done = verdict.report
    assert verdict.passed, str(verdict)
    assert (done.ticks, done.planned, done.compared, done.beyond_limits) == (TICKS, TICKS, TICKS, 0)
    assert 0.0 < done.p50_ms <= done.p99_ms
    assert str(verdict).startswith("the shadow planned in 20 of 20 ticks")


def test_it_tells_how_far_its_plans_are_from_what_was_driven(good: Path) -> None:
    aside = Command(-0.1, 2.0)
    like = drive(shadow_of(good)).report
    unlike = drive(shadow_of(good), (tick(index, command=aside) for index in range(1000))).report
    assert unlike.mean_dv > like.mean_dv + 0.1
    assert unlike.mean_dw > like.mean_dw + 0.5


def test_what_did_not_finish_plans_nothing_and_fails(tmp_path: Path) -> None:
    imagine = blind_model.imagine_graph()
    value = next(known for known in imagine.graph.node if known.output[0] == "value")
    value.output[0] = "value_now"
    imagine.graph.node.extend(
        [node("Sub", "value_now value_now", "zero"), node("Log", "zero", "minus_infinity")]
    )
    imagine.graph.node.append(node("Sub", "minus_infinity minus_infinity", "value"))
    verdict = drive(shadow_of(write_provable(tmp_path / "nan", imagine=imagine)))
    assert verdict.refusal == "as a shadow: planned in 0 of 20 ticks, fewer than 98%"
    assert not verdict.undecided


def bright_is_fatal() -> onnx.ModelProto:
    """An observe graph that is not finite once the picture is bright."""
    return blind_model.observe_graph_with_memory(
        node("Sub", "one_light brightness", "headroom"),
        node("Log", "headroom", "log"),
        node("Reshape", "log one", "next_memory"),
    )


def test_a_model_that_fails_in_the_middle_is_refused(tmp_path: Path) -> None:
    bundle = write_provable(tmp_path / "fatal")
    graph = bright_is_fatal()
    graph.graph.initializer.append(blind_model.floats("one_light", 0.5))
    replace_file(bundle, "observe.int8.onnx", graph.SerializeToString())
    ticks = (
        tick(index, observe(index * TICK_S, index, camera=np.full((48, 64, 3), 10 * index, np.uint8)))
        for index in range(26)
    )
    verdict = drive(shadow_of(bundle), ticks)
    assert verdict.refusal is not None and "not finite after observe: memory" in verdict.refusal
    assert 0 < verdict.report.planned < TICKS
    assert not verdict.undecided


def test_a_model_that_cannot_be_loaded_is_refused(tmp_path: Path) -> None:
    bundle = write_provable(tmp_path / "damaged")
    (bundle / "MODEL_CARD.md").write_bytes(b"another")
    verdict = drive(shadow_of(bundle))
    assert verdict.refusal is not None and str(bundle / "MODEL_CARD.md") in verdict.refusal


def test_ticks_without_an_observation_or_that_are_not_finite_ask_nothing(good: Path) -> None:
    broken = observe(0.0, 0, gyro=np.array([np.nan], np.float32))

    def ticks() -> Iterator[Tick]:
        for index in range(1000):
            yield tick(index, broken if index % 2 else None)

    shadow = shadow_of(good)
    without = replace_observation(tick(0), None)
    for _ in range(100):
        shadow.tick(without)
    assert shadow.sent == 0
    assert drive(shadow, ticks()).report.planned == TICKS


def replace_observation(of: Tick, observation: Observation | None) -> Tick:
    return Tick(of.index, of.time, observation, of.decision, of.supervised, of.applied, 0.0, 0.0, 0)


# --- the driving process ---------------------------------------------------------------------------------------------


def test_showing_a_tick_takes_less_than_a_tenth_of_a_millisecond(good: Path) -> None:
    shadow = shadow_of(good, ticks=100_000)
    taken = []
    try:
        for index in range(100_000):
            one = tick(index)
            began = time.thread_time()
            shadow.tick(one)
            taken.append(time.thread_time() - began)
            if shadow.sent >= 200:
                break
            assert shadow.verdict(timeout_s=0.01 if shadow._dropped_in_a_row else 0.0) is None
    finally:
        shadow.close()
    assert shadow.sent == 200
    assert np.median(taken) < TICK_BUDGET_S


def test_showing_ticks_lets_no_memory_grow(good: Path) -> None:
    shadow = shadow_of(good, ticks=100_000)
    ticks = [tick(index) for index in range(50)]
    try:
        for one in ticks:
            shadow.tick(one)
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(40):
            for one in ticks:
                shadow.tick(one)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
        shadow.close()
    assert grown < 4096


def test_a_shadow_that_hangs_costs_the_driver_nothing_and_is_given_up(good: Path) -> None:
    shadow = shadow_of(good, patience_s=10.0)
    os.kill(shadow._process._process.pid, signal.SIGSTOP)
    taken = []
    for index in range(SLOTS + 101):
        assert shadow.verdict() is None
        began = time.thread_time()
        shadow.tick(tick(index))
        taken.append(time.thread_time() - began)
    assert (shadow.sent, shadow.dropped) == (SLOTS, 101)
    assert np.median(taken) < TICK_BUDGET_S
    verdict = shadow.verdict()
    assert verdict is not None and verdict.undecided
    assert verdict.refusal == "as a shadow: took no tick while the robot drove for 10 s"
    assert shadow._process.wait().end.value == "killed by a signal"


def test_a_model_that_computes_for_ever_runs_out_of_cpu_time(tmp_path: Path) -> None:
    bundle = write_provable(tmp_path / "endless", imagine=slow(15_000, 512))
    limits = replace(LIMITS, cpu_s=3)
    shadow = Shadow(bundle, ROBOT, criteria=ShadowCriteria(ticks=TICKS), limits=limits)
    verdict = drive(shadow)
    assert verdict.refusal == "as a shadow: out of CPU time: still at work after 3 s of CPU time"
    assert not verdict.undecided


def test_a_shadow_that_crashes_costs_the_driver_nothing_and_fails(good: Path) -> None:
    shadow = shadow_of(good)
    os.kill(shadow._process._process.pid, signal.SIGSEGV)
    shadow._process.wait()
    for index in range(100):
        shadow.tick(tick(index))
    verdict = shadow.verdict()
    assert verdict is not None
    assert (verdict.refusal, verdict.undecided) == ("as a shadow: killed by a signal: SIGSEGV", False)


def test_a_driver_that_ends_early_leaves_no_verdict_and_no_process(good: Path) -> None:
    shadow = shadow_of(good)
    pid = shadow._process._process.pid
    shadow.close()
    shadow.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, None),
        ({"planned": 294}, None),
        ({"planned": 293}, "planned in 293 of 300 ticks"),
        ({"beyond_limits": 1}, "1 plans beyond the robot's limits"),
        ({"ticks": 299, "planned": 299}, "ended after 299 of 300 ticks"),
        ({"refusal": "nan\n\x1b[2J"}, "as a shadow: nan [2J"),
    ],
)
def test_the_verdict_follows_the_criteria(good: Path, fields: dict[str, Any], says: str | None) -> None:
    shadow = shadow_of(good, ticks=300)
    shadow.close()
    done = replace(Report(ticks=300, planned=300, compared=300), **fields)
    verdict = shadow._judged(msgspec.json.encode(done))
    assert verdict.passed == (says is None)
    assert says is None or says in str(verdict.refusal)


@pytest.mark.parametrize("result", [b"", b"[]", b'{"ticks": "300"}', b'{"ticks": 300, "planned": null}'])
def test_an_answer_of_another_form_fails(good: Path, result: bytes) -> None:
    shadow = shadow_of(good)
    shadow.close()
    verdict = shadow._judged(result)
    assert (verdict.refusal, verdict.undecided) == ("as a shadow: gave no answer that can be read", False)


# --- the ring --------------------------------------------------------------------------------------------------------


@pytest.fixture
def ring() -> Iterator[TickRing]:
    made = TickRing(observed(ROBOT))
    yield made
    made.close()


def send(ring: TickRing, index: int, observation: Observation | None = None) -> bool:
    seen = observation or observe(index * TICK_S, index)
    driven = None if index % 2 else Command(0.25, -1.0)
    return ring.send(1, seen, GOAL, Command(0.125, 0.5), driven)


def test_what_is_shown_is_what_was_sent(ring: TickRing) -> None:
    sent = [observe(index * TICK_S, index, wheel=np.full(2, index, np.float32)) for index in range(SLOTS)]
    assert all(send(ring, index, seen) for index, seen in enumerate(sent))
    ticks = shown(ring.ends, observed(ROBOT))
    for index, seen in enumerate(sent):
        got = next(ticks)
        assert (got.run, got.goal, got.applied) == (1, GOAL, Command(0.125, 0.5))
        assert got.driven == (None if index % 2 else Command(0.25, -1.0))
        assert (got.observation.time, got.observation.sequence) == (seen.time, seen.sequence)
        for name, array in seen.arrays.items():
            assert (got.observation.arrays[name] == array).all()


def test_ticks_are_dropped_while_no_slot_is_free_and_taken_again_afterwards(ring: TickRing) -> None:
    assert [send(ring, index) for index in range(SLOTS + 3)] == [True] * SLOTS + [False] * 3
    ticks = shown(ring.ends, observed(ROBOT))
    assert [next(ticks).observation.sequence for _ in range(3)] == [
        0,
        1,
        2,
    ]  # two are back, one is being read
    assert [send(ring, index) for index in range(20, 23)] == [True, True, False]
    assert [next(ticks).observation.sequence for _ in range(7)] == [3, 4, 5, 6, 7, 20, 21]


@pytest.mark.parametrize(
    "arrays",
    [
        {"camera": np.zeros((48, 64), np.uint8)},
        {"range": np.zeros(8)},
        {"wheel": np.zeros(3, np.float32)},
        {"gyro": np.zeros((), np.float32)},
    ],
)
def test_an_observation_of_another_form_is_dropped(ring: TickRing, arrays: dict[str, np.ndarray]) -> None:
    assert not send(ring, 0, observe(0.0, 0, **arrays))
    assert not send(ring, 0, Observation(0.0, 0, {}))
    assert send(ring, 0)


@pytest.mark.parametrize("returned", [(SLOTS,), (255,), (0,), (7, 7), (7, 6, 5, 4, 3, 2)])
def test_a_shadow_that_returns_what_it_does_not_have_is_not_spoken_to_any_more(
    ring: TickRing, returned: tuple[int, ...]
) -> None:
    for index in range(5):
        assert send(ring, index)
    assert sorted(ring._free) == [0, 1, 2]
    os.write(ring.ends.returned, bytes(returned))
    assert not send(ring, 5)
    assert not ring.open


def test_nobody_can_make_the_memory_smaller(ring: TickRing) -> None:
    with pytest.raises(PermissionError):
        os.ftruncate(ring.ends.memory, 0)
    assert send(ring, 0)


def test_a_ring_whose_shadow_is_gone_drops_everything(ring: TickRing) -> None:
    ring.close_ends()
    assert not send(ring, 0)
    assert not ring.open
