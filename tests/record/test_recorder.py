"""A whole recorded run, and its report."""

from __future__ import annotations

import dataclasses
import errno
import json
import re
from datetime import datetime, timezone
from html.parser import HTMLParser

import numpy as np
import pytest

from edge_wm.record import recorder as recorder_module
from edge_wm.record.observations import observations_file, read_observations
from edge_wm.record.recorder import RunRecorder
from edge_wm.record.tick_record import GoalResult
from firmware_bridge.bridge import Command

REACHED = GoalResult("reached", True, False, 1.2, travelled_m=4.7, geodesic_m=4.4, min_clearance_m=0.31)
HIT = GoalResult("collision", False, True, 0.9)
NOT_KNOWN = GoalResult("reached", True, None, 1.0)
OBSERVATIONS = {"observations-1.npz", "observations-2.npz"}
NUMBER = (int, float)
SUMMARY_SCHEMA = {
    "format_version": int,
    "edge_wm": str,
    "title": str,
    "started_utc": str,
    "tick_s": float,
    "goals": int,
    "reached": int,
    "collisions": int,
    "ticks": int,
    "misses": int,
    "tick_p50_ms": NUMBER,
    "tick_p99_ms": NUMBER,
    "tick_max_ms": NUMBER,
    "observe_p50_ms": NUMBER,
    "observe_p99_ms": NUMBER,
    "plan_p50_ms": NUMBER,
    "plan_p99_ms": NUMBER,
    "goal_results": list,
    "facts": dict,
    "problem": str,
}


class Requests(HTMLParser):
    """Collects everything in a page that would make a browser fetch something."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found = [url for url in re.findall(r"url\(\s*['\"]?([^)'\"]*)", page) if not url.startswith("#")]
        self.found += re.findall(r"@import[^;]*", page)
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            fetches = name in ("src", "href", "xlink:href", "data", "poster", "srcset", "action")
            if fetches and not (value or "").startswith(("data:", "#")):
                self.found.append(f"{tag} {name}={value}")


def record_run(folder, drives, start, results=(REACHED, HIT), title="test run", facts=None, **options):
    recorder = RunRecorder(
        folder,
        tick_s=0.1,
        title=title,
        now=lambda: datetime(2026, 3, 4, 5, 6, 7, tzinfo=timezone.utc),
        **options,
    )
    for number, (records, result) in enumerate(zip(drives, results, strict=True), start=1):
        recorder.goal_started(dataclasses.replace(start, number=number))
        for record in records:
            recorder.tick(record)
        recorder.goal_done(result)
        recorder.draw_goal()
    return recorder, recorder.finish(facts or {"seed": 7})


@pytest.fixture(scope="module")
def with_pictures():
    for library in ("PIL", "imageio_ffmpeg", "matplotlib"):
        pytest.importorskip(library)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, make_drive, start, with_pictures):
    """What a complete run of two goals leaves behind."""
    folder = tmp_path_factory.mktemp("run")
    recorder, _ = record_run(folder, (make_drive(10, 1), make_drive(6, 2)), start)
    assert recorder.problem == ""
    return folder


@pytest.fixture(scope="module")
def page(run_folder):
    return (run_folder / "report.html").read_text()


def test_a_run_leaves_summary_ticks_video_picture_and_report(run_folder):
    left = {path.name for path in run_folder.iterdir() if path.stat().st_size > 0}
    pictures = {"drive.mp4", "picture.png", "report.html"}
    assert left == {"summary.json", "ticks.jsonl", *OBSERVATIONS, *pictures}


def test_the_summary_holds_what_happened(tmp_path, make_drive, start):
    drives = (make_drive(30, 1), make_drive(20, 2))
    record_run(tmp_path, drives, start, facts={"model": "rooms", "seed": 7}, pictures=False)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert list(summary) == list(SUMMARY_SCHEMA)
    for name, kind in SUMMARY_SCHEMA.items():
        assert isinstance(summary[name], kind), name
    assert (summary["goals"], summary["reached"], summary["collisions"]) == (2, 1, 1)
    assert (summary["ticks"], summary["misses"]) == (50, 2)
    tick_ms = [record.tick_ms for drive in drives for record in drive]
    assert summary["tick_p99_ms"] == pytest.approx(np.percentile(tick_ms, 99), abs=0.006)
    assert summary["started_utc"] == "2026-03-04T05:06:07Z"
    assert summary["facts"] == {"model": "rooms", "seed": 7}
    first, second = summary["goal_results"]
    assert (first["outcome"], first["ticks"], first["misses"], first["geodesic_m"]) == ("reached", 30, 1, 4.4)
    assert (second["outcome"], second["collision"], second["geodesic_m"]) == ("collision", True, None)
    assert len((tmp_path / "ticks.jsonl").read_text().splitlines()) == 50


@pytest.mark.parametrize(
    ("results", "collisions", "tile"),
    [
        ((NOT_KNOWN, NOT_KNOWN), None, '<div class="tile"><b>-</b><span>collisions</span>'),
        ((NOT_KNOWN, HIT), 1, '<div class="tile bad"><b>1</b><span>collisions</span>'),
        ((REACHED, NOT_KNOWN), 0, '<div class="tile good"><b>0</b><span>collisions</span>'),
    ],
)
def test_a_collision_that_nobody_could_see_is_not_counted_as_none(
    tmp_path, make_drive, start, with_pictures, results, collisions, tile
):
    record_run(tmp_path, (make_drive(3, 1), make_drive(3, 2)), start, results)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["collisions"] == collisions
    assert [goal["collision"] for goal in summary["goal_results"]] == [result.collision for result in results]
    assert tile in (tmp_path / "report.html").read_text()


def test_the_observations_of_each_goal_are_kept_in_a_file_of_its_own(tmp_path, make_drive, start):
    drives = (make_drive(5, 1), make_drive(4, 2))
    record_run(tmp_path, drives, start)
    for number, records in enumerate(drives, 1):
        recorded = read_observations(observations_file(tmp_path, number))
        assert len(recorded) == len(records)
        assert recorded.tick_s == 0.1
        for row, record in enumerate(records):
            assert (recorded.arrays["camera"][row] == record.observation.arrays["camera"]).all()
            assert (recorded.arrays["range"][row] == record.observation.arrays["range"]).all()


def test_what_was_applied_is_written_as_it_was(tmp_path, make_drive, start):
    """A replay tells a model what was applied: were it rounded, the same model would imagine something else."""
    records = make_drive(6)
    record_run(tmp_path, (records,), start, (REACHED,), pictures=False)
    rows = [json.loads(line) for line in (tmp_path / "ticks.jsonl").read_text().splitlines()]
    assert [Command(*row["applied"]) for row in rows] == [record.applied for record in records]
    assert [Command(*row["command"]) for row in rows] == [record.command for record in records]
    assert any(row["applied"][0] != round(row["applied"][0], 3) for row in rows)  # the control


def test_sensors_that_change_their_arrays_cost_the_observations_and_are_told(
    tmp_path, make_drive, start, with_pictures
):
    records = make_drive(4)
    smaller = dataclasses.replace(records[2].observation, arrays={"camera": np.zeros((4, 4, 3), np.uint8)})
    records[2] = dataclasses.replace(records[2], observation=smaller)
    _, summary = record_run(tmp_path, (records, make_drive(4, 2)), start)
    assert summary["problem"].startswith("observations of goal 1 not kept: ")
    left = {path.name for path in tmp_path.iterdir()}
    assert OBSERVATIONS & left == {"observations-2.npz"}
    assert "drive.mp4" in left


def test_nothing_is_written_while_the_robot_drives(tmp_path, make_drive, start):
    recorder = RunRecorder(tmp_path, tick_s=0.1, title="test run", pictures=False)
    recorder.goal_started(start)
    for record in make_drive(50):
        recorder.tick(record)
    assert list(tmp_path.iterdir()) == []
    recorder.goal_done(REACHED)
    assert [path.name for path in tmp_path.iterdir()] == ["ticks.jsonl"]


def test_a_long_drive_keeps_bounded_memory_and_its_newest_pictures(tmp_path, make_drive, start, monkeypatch):
    monkeypatch.setattr(recorder_module, "KEPT_PICTURES", 10)
    monkeypatch.setattr(recorder_module, "KEPT_ROWS", 20)
    recorder = RunRecorder(tmp_path, tick_s=0.1, title="test run", pictures=False)
    recorder.goal_started(start)
    for record in make_drive(60):
        recorder.tick(record)
    assert [record.tick for record in recorder._records] == list(range(50, 60))
    recorder.goal_done(REACHED)
    ticks = [json.loads(line)["tick"] for line in (tmp_path / "ticks.jsonl").read_text().splitlines()]
    assert ticks == list(range(40, 60))
    assert recorder.finish({})["ticks"] == 60


def test_an_interrupted_run_is_still_told(tmp_path, make_drive, start):
    recorder = RunRecorder(tmp_path, tick_s=0.1, title="test run", pictures=False)
    recorder.goal_started(start)
    for record in make_drive(11):
        recorder.tick(record)
    summary = recorder.finish({})
    assert summary is recorder.finish({"called": "twice"})
    (result,) = json.loads((tmp_path / "summary.json").read_text())["goal_results"]
    assert result["collision"] is None
    assert (result["outcome"], result["reached"], result["time_s"]) == (
        "interrupted",
        False,
        pytest.approx(1.0),
    )


def test_a_run_that_never_started_is_still_told(tmp_path, with_pictures):
    recorder = RunRecorder(tmp_path, tick_s=0.1, title="test run")
    summary = recorder.finish({})
    assert (summary["goals"], summary["tick_p50_ms"], recorder.problem) == (0, None, "")
    assert {path.name for path in tmp_path.iterdir()} == {"summary.json", "report.html"}


class Interruptions:
    """Ctrl-C at the given calls of what it stands in for, counted from 1; the others do what they should."""

    def __init__(self, *at: int, real=lambda *_: None) -> None:
        self.at, self.real, self.calls = at, real, 0

    def __call__(self, *arguments):
        self.calls += 1
        if self.calls in self.at:
            raise KeyboardInterrupt
        return self.real(*arguments)


def driven(folder, make_drive, start) -> RunRecorder:
    """A recorder whose goal is done and not drawn yet."""
    recorder = RunRecorder(folder, tick_s=0.1, title="test run")
    recorder.goal_started(start)
    for record in make_drive(3):
        recorder.tick(record)
    recorder.goal_done(REACHED)
    return recorder


@pytest.mark.parametrize("place", ["_add_pictures", "_write_report"])
def test_ctrl_c_while_pictures_are_made_costs_only_them(
    tmp_path, make_drive, start, monkeypatch, with_pictures, place
):
    interrupted = Interruptions(1)
    monkeypatch.setattr(RunRecorder, place, lambda *_: interrupted())
    recorder = driven(tmp_path, make_drive, start)
    with pytest.raises(KeyboardInterrupt):
        recorder.finish({"seed": 7})
    written = json.loads((tmp_path / "summary.json").read_text())
    assert (written["reached"], written["facts"]) == (1, {"seed": 7})
    assert recorder.finish({"seed": 7})["reached"] == 1
    assert interrupted.calls == 1, "the second time without pictures"
    assert not (tmp_path / "report.html").exists()
    if place == "_add_pictures":
        assert not (tmp_path / "drive.mp4").exists()


def test_ctrl_c_while_the_summary_is_written_leaves_it_to_the_second_call(
    tmp_path, make_drive, start, monkeypatch, with_pictures
):
    writing = Interruptions(1, real=recorder_module.write_summary)
    monkeypatch.setattr(recorder_module, "write_summary", writing)
    recorder = driven(tmp_path, make_drive, start)
    with pytest.raises(KeyboardInterrupt):
        recorder.finish({})
    assert recorder.finish({})["reached"] == 1
    assert {path.name for path in tmp_path.iterdir()} == {
        "summary.json",
        "ticks.jsonl",
        "observations-1.npz",
    }


@pytest.mark.parametrize("place", ["_add_pictures", "_write_report"])
def test_a_picture_that_fails_costs_only_the_pictures_and_is_told(
    tmp_path, make_drive, start, monkeypatch, with_pictures, place
):
    def half_imported(*_):
        raise AttributeError("partially initialized module 'matplotlib' has no attribute 'x'\n(most likely)")

    monkeypatch.setattr(RunRecorder, place, half_imported)
    recorder = driven(tmp_path, make_drive, start)
    recorder.draw_goal()
    recorder.goal_started(start)  # the control: the run goes on
    recorder.goal_done(HIT)
    summary = recorder.finish({})
    told = "no more pictures: AttributeError: partially initialized module 'matplotlib' has no attribute 'x'"
    assert summary["problem"] == told
    written = json.loads((tmp_path / "summary.json").read_text())
    assert (written["goals"], written["problem"]) == (2, told)


def test_a_disk_that_fills_up_is_told_in_one_line_and_does_not_end_the_drive(
    tmp_path, make_drive, start, monkeypatch
):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(recorder_module, "append_ticks", full)
    recorder, summary = record_run(tmp_path, (make_drive(5), make_drive(5, 2)), start)
    assert "No space left on device" in recorder.problem
    assert "\n" not in recorder.problem
    assert summary["goals"] == 2
    assert json.loads((tmp_path / "summary.json").read_text())["problem"] == recorder.problem


def test_without_the_picture_libraries_the_figures_are_kept(tmp_path, make_drive, start, monkeypatch):
    monkeypatch.setattr(recorder_module, "find_spec", lambda module: None if module == "PIL" else object())
    recorder, summary = record_run(tmp_path, (make_drive(5), make_drive(5, 2)), start)
    assert recorder.problem == "no video and no report: run  pip install 'edge-wm[sim]'  (Pillow is missing)"
    assert summary["reached"] == 1
    assert {path.name for path in tmp_path.iterdir()} == {"summary.json", "ticks.jsonl", *OBSERVATIONS}


def test_the_report_asks_the_network_for_nothing(page):
    assert Requests(page).found == []
    assert page.count("<svg") == 6
    assert page.count("data:video/mp4;base64,") == 1
    assert page.count("data:image/png;base64,") == 2


@pytest.mark.parametrize(
    "fetching",
    [
        '<script src="https://cdn.example/plot.js"></script>',
        '<link href="style.css">',
        "<style>body { background: url(https://example.org/a.png) }</style>",
        "<style>@import 'other.css';</style>",
    ],
)
def test_a_page_that_does_ask_the_network_would_be_caught(fetching):
    assert Requests(fetching).found


def test_names_from_outside_cannot_write_html_into_the_report(tmp_path, make_drive, start, with_pictures):
    evil = "<script>alert(1)</script>$title"
    drive = [dataclasses.replace(record, supervisor=evil) for record in make_drive(4)]
    named = dataclasses.replace(start, name=evil)
    result = dataclasses.replace(HIT, outcome=evil)
    record_run(tmp_path, (drive,), named, (result,), title=evil, facts={evil: evil})
    page = (tmp_path / "report.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;$title" in page


def test_each_report_plot_has_ids_of_its_own(page):
    """Inline drawings share one page: a clip path of one must not be taken for another's."""
    clips = re.findall(r'<clipPath id="([^"]+)"', page)
    assert clips
    assert len(clips) == len(set(clips))
