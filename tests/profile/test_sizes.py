"""The largest plan that keeps the budget is chosen for this machine, and the drive has it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
import pytest

from edge_wm.bundle.load import Bundle, load_bundle
from edge_wm.cli import run
from edge_wm.clock import SimulatedClock
from edge_wm.commands.run_options import execution
from edge_wm.drive.pilot import Pilot
from edge_wm.engines.execution import Execution
from edge_wm.errors import BadInput
from edge_wm.profile import sizes, take
from edge_wm.profile.choice import remember, remembered
from edge_wm.profile.measure import Measured, ways
from edge_wm.profile.own_process import Measurement
from edge_wm.profile.sizes import HOPELESS, measure_sizes
from edge_wm.robot import load_board, load_robot
from firmware_bridge.bridge import NEUTRAL
from tests.blind_model import write_blind
from tests.control.fakes import observe
from tests.tiny_model import FEWER, manifest, with_fewer, write_tiny_with_fewer

BUDGET_MS = 30.0
Size = int | None
P99s = dict[tuple[Size, int], float]
"""Slowest tick in ms for each size and number of threads; what is not there fails."""


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_tiny_with_fewer(tmp_path / "tiny")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[[P99s], list[Execution]]:
    """A machine of these speeds; what is measured on it is noted in order."""

    def is_so_fast(p99s: P99s) -> list[Execution]:
        asked: list[Execution] = []

        def measured(
            _: Bundle, executions: Iterable[Execution], on_progress: Callable[[float], None]
        ) -> list[Measured]:
            rows = []
            for how in executions:
                asked.append(how)
                p99 = p99s.get((how.candidates, how.threads))
                half = None if p99 is None else p99 / 2
                rows.append(Measured(how, "no such engine" if p99 is None else None, half, p99))
            on_progress(1.0)
            return rows

        monkeypatch.setattr(sizes, "measure", measured)
        monkeypatch.setattr(take, "measure_alone", lambda *_: Measurement())
        return asked

    return is_so_fast


@pytest.mark.parametrize(
    ("p99s", "chosen", "tried"),
    [
        ({(None, 1): BUDGET_MS, (FEWER, 1): 1.0}, None, [None]),
        ({(None, 1): BUDGET_MS + 1, (FEWER, 1): BUDGET_MS}, FEWER, [None, FEWER]),
        ({(None, 1): 90.0, (FEWER, 1): 60.0}, FEWER, [None, FEWER]),
        ({(FEWER, 1): 60.0}, FEWER, [None, FEWER]),
        ({(None, 1): 90.0}, None, [None, FEWER]),
    ],
    ids=[
        "largest in time",
        "smaller in time",
        "none in time",
        "largest is another model",
        "smaller is another model",
    ],
)
def test_the_largest_size_that_keeps_the_budget_is_chosen_else_the_smallest(
    p99s: P99s, chosen: Size, tried: list[Size], bundle: Path, machine: Callable[[P99s], list[Execution]]
) -> None:
    asked = machine(p99s)
    shares: list[float] = []
    rows, best = measure_sizes(load_bundle(bundle), 1, Execution(), shares.append)
    assert best is not None and best.execution.candidates == chosen
    assert [how.candidates for how in asked] == tried == [row.execution.candidates for row in rows]
    assert shares == sorted(shares) and shares[-1] == 1.0


def test_no_size_is_chosen_where_nothing_can_be_used(
    bundle: Path, machine: Callable[[P99s], list[Execution]]
) -> None:
    machine({})
    assert measure_sizes(load_bundle(bundle), 1, Execution())[1] is None


def test_a_way_far_slower_than_the_fastest_is_not_tried_with_fewer_candidates(
    bundle: Path, machine: Callable[[P99s], list[Execution]]
) -> None:
    for slow_ms, again in ((90.0 * HOPELESS, True), (90.0 * HOPELESS + 1, False)):
        asked = machine({(None, 1): slow_ms, (None, 2): 90.0, (FEWER, 1): 5.0, (FEWER, 2): 9.0})
        _, best = measure_sizes(load_bundle(bundle), 2, Execution())
        assert (Execution("onnx", "fp32", 1, candidates=FEWER) in asked) is again
        assert best is not None and best.execution.threads == (1 if again else 2)


def test_only_forms_that_the_size_has_are_tried() -> None:
    both = with_fewer(manifest())
    extra = tuple(
        msgspec.structs.replace(graph, precision="int8", file=f"{graph.role}.int8.onnx")
        for graph in manifest().graphs
    )
    both = msgspec.structs.replace(both, graphs=(*both.graphs, *extra))
    assert [how.precision for how in ways(both, 1, Execution())] == ["fp32", "int8"]
    assert ways(both, 1, Execution(), FEWER) == [Execution("onnx", "fp32", candidates=FEWER)]


def test_the_command_shows_and_remembers_the_size(
    bundle: Path,
    tmp_path: Path,
    machine: Callable[[P99s], list[Execution]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    machine({(None, 1): 90.0, (FEWER, 1): 5.0})
    assert run(["profile", "--quick", "--model", str(bundle), "--json", str(tmp_path / "out.json")]) == 0
    facts = json.loads((tmp_path / "out.json").read_text())
    assert facts["candidates"] == facts["chosen"]["candidates"] == FEWER
    assert f"onnx fp32, 1 thread, {FEWER} candidates: p99 5.0 ms" in capsys.readouterr().out
    chosen = remembered(load_bundle(bundle).sha256)
    assert chosen is not None and chosen.candidates == FEWER


def test_the_smallest_size_over_the_budget_is_said_and_exit_code_1(
    bundle: Path, machine: Callable[[P99s], list[Execution]], capsys: pytest.CaptureFixture[str]
) -> None:
    machine({(None, 1): 90.0, (FEWER, 1): 60.0})
    assert run(["profile", "--quick", "--model", str(bundle)]) == 1
    assert "over the budget of 30 ms even with the fewest candidates" in capsys.readouterr().out


def test_both_sizes_are_really_measured_on_this_machine(bundle: Path) -> None:
    facts = json.loads((bundle / "manifest.json").read_text())
    facts["latency_budget_ms"] = 1e-3
    (bundle / "manifest.json").write_text(json.dumps(facts))
    rows, best = measure_sizes(load_bundle(bundle), 1, Execution())
    assert [(row.execution.candidates, row.failure) for row in rows] == [(None, None), (FEWER, None)]
    assert best is rows[1] and best.tick_p50_ms is not None


FEW, ALL = 8, 32
"""Sizes of the blind model."""


@pytest.fixture
def drivable(tmp_path: Path) -> Path:
    return write_blind(tmp_path / "blind", fewer=FEW)


def candidates_of(pilot: Pilot) -> int:
    """How many the pilot's plan really has."""
    pilot.policy.reset((2.0, 1.0))
    plan = pilot.policy.act(observe(0.0, 0), NEUTRAL, math.inf).plan
    assert plan is not None
    return len(plan.candidate_costs)


def test_a_drive_plans_with_the_size_that_was_chosen(drivable: Path) -> None:
    assert candidates_of(Pilot(load_robot(), drivable, SimulatedClock())) == ALL
    remember(load_bundle(drivable).sha256, Execution(candidates=FEW), [])
    assert candidates_of(Pilot(load_robot(), drivable, SimulatedClock())) == FEW


def test_a_size_that_is_asked_for_goes_before_the_choice(drivable: Path) -> None:
    remember(load_bundle(drivable).sha256, Execution(candidates=FEW), [])
    asked = execution(load_robot(), None, ALL)
    assert candidates_of(Pilot(load_robot(), drivable, SimulatedClock(), execution=asked)) == ALL
    assert execution(load_robot(), None, None) is None


def test_the_board_file_may_say_the_size(drivable: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(f'name = "mine"\ndescription = ""\n[engine]\ncandidates = {FEW}\n')
    robot = msgspec.structs.replace(load_robot(), board=load_board(file))
    assert candidates_of(Pilot(robot, drivable, SimulatedClock())) == FEW
    file.write_text(f'name = "mine"\ndescription = ""\n[engine]\ncandidates = {FEW + 1}\n')
    robot = msgspec.structs.replace(load_robot(), board=load_board(file))
    with pytest.raises(BadInput, match=rf"no graph for imagine of 9 candidates .*has: {ALL}, {FEW}"):
        Pilot(robot, drivable, SimulatedClock())


def test_an_accelerator_that_is_not_used_leaves_the_size_as_it_was() -> None:
    assert Execution(accelerator="xnnpack", candidates=FEW).on_cpu() == Execution(candidates=FEW)


def test_a_choice_of_a_size_that_the_bundle_no_longer_has_is_not_believed(drivable: Path) -> None:
    remember(load_bundle(drivable).sha256, Execution(candidates=FEW), [])
    write_blind(drivable)
    assert candidates_of(Pilot(load_robot(), drivable, SimulatedClock())) == ALL
