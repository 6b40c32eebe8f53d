"""The size that is proposed is the quickest of those that are as good as the best, on the same episodes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks import sweep
from benchmarks.plan_sizes import Size, copy_bundle
from benchmarks.sweep import as_markdown, best_of, compare, near_the_best, smallest
from benchmarks.timing import Spread
from edge_wm.bundle.load import load_bundle
from edge_wm.evaluate.episode import Episode
from tests.tiny_model import write_tiny

LARGE, MIDDLE, SMALL = Size(64, 12, 3), Size(32, 12, 2), Size(16, 12, 1)
PLAN_MS = {LARGE: Spread(9.0, 8.0, 10.0), MIDDLE: Spread(5.0, 4.0, 6.0), SMALL: Spread(2.0, 1.0, 3.0)}


def episodes(successes: int, count: int = 200, seed: int = 0) -> list[Episode]:
    """``count`` episodes of which the first ``successes`` succeed and the others run out of time."""
    return [
        Episode(
            index=index,
            world="a.xml",
            task=index,
            seed=seed + index,
            verdict="success" if index < successes else "timeout",
            success=index < successes,
            collision=False,
            spl=float(index < successes),
            time_s=10.0,
            path_m=4.0,
            geodesic_m=4.0,
            min_clearance_m=0.2,
            goal_distance_m=0.0,
            supervisor_stops=0,
        )
        for index in range(count)
    ]


def test_the_quickest_plan_within_a_point_of_the_best_is_the_smallest() -> None:
    found = compare({LARGE: episodes(190), MIDDLE: episodes(188), SMALL: episodes(187)}, PLAN_MS)
    assert (best_of(found), smallest(found)) == (LARGE, MIDDLE)
    assert found[SMALL]["won"] == 0
    assert found[SMALL]["lost"] == 3
    # The control: one success more, and the smallest one is good enough.
    found = compare({LARGE: episodes(190), MIDDLE: episodes(188), SMALL: episodes(188)}, PLAN_MS)
    assert smallest(found) == SMALL


def test_of_equals_the_quickest_is_the_best() -> None:
    found = compare({size: episodes(190) for size in PLAN_MS}, PLAN_MS)
    assert best_of(found) == smallest(found) == SMALL


def test_what_drove_fewer_worlds_is_reported_and_not_chosen() -> None:
    found = compare({LARGE: episodes(190), MIDDLE: episodes(189), SMALL: episodes(100, count=100)}, PLAN_MS)
    assert (best_of(found), smallest(found)) == (LARGE, MIDDLE)
    assert found[SMALL]["n"] == 100
    assert str(SMALL) in as_markdown(found)


def test_only_the_same_episodes_are_compared() -> None:
    with pytest.raises(AssertionError):
        compare({LARGE: episodes(190), SMALL: episodes(190, seed=1)}, PLAN_MS)


def test_what_is_near_the_best_goes_on() -> None:
    driven = {
        LARGE: episodes(95, count=100),
        MIDDLE: episodes(92, count=100),
        SMALL: episodes(91, count=100),
    }
    assert near_the_best(driven) == [LARGE, MIDDLE]


def test_iterations_are_changed_in_the_copy_of_a_bundle_alone(tmp_path: Path) -> None:
    source = write_tiny(tmp_path / "source")
    before = load_bundle(source)
    for iterations in (before.manifest.planner.iterations + 1, 1):  # the second one over the first
        copy_bundle(source, tmp_path / "copy", iterations)
        copy = load_bundle(tmp_path / "copy")
        assert copy.manifest.planner.iterations == iterations
        assert copy.manifest.files == before.manifest.files
        assert copy.sha256 != before.sha256
    assert load_bundle(source).sha256 == before.sha256


@pytest.mark.parametrize("seed", [0, 1_999_900, 2_000_000])
def test_worlds_that_are_not_for_tuning_are_refused(
    seed: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["sweep", "--first-seed", str(seed)])
    with pytest.raises(SystemExit) as ended:
        sweep.main()
    assert ended.value.code == 2
    assert f"--first-seed {seed}: choosing a size is tuning" in capsys.readouterr().err


def test_nothing_to_report_is_said_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sweep, "Bundles", lambda *_: None)  # would need a trained model and PyTorch
    monkeypatch.setattr(sys, "argv", ["sweep", "--finished", "--work", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        sweep.main()
    assert ended.value.code == 2
    assert f"{tmp_path}: nothing has been driven yet" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
