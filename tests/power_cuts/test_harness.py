"""Do power cuts find what is lost, and only that?  Small flows on real file systems, each also with a step left out."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pytest

from tests.power_cuts import flows
from tests.power_cuts.block_log import Mark, Recording, Write
from tests.power_cuts.campaign import Campaign, Case
from tests.power_cuts.crash_states import crash_states, crashed
from tests.power_cuts.file_systems import FILE_SYSTEMS, missing
from tests.power_cuts.own_process import ProcessFailed
from tests.power_cuts.recorder import Flow, Marker, prepare, record
from tests.power_cuts.weakest import WEAKEST
from tests.power_cuts.writeback import Writeback

REPLACED = "tests.power_cuts.flows:check_replaced_file"
ROWS = "tests.power_cuts.flows:check_rows"
STATES = 40


@pytest.fixture(params=[*FILE_SYSTEMS, WEAKEST])
def file_system(request: pytest.FixtureRequest) -> str:
    why = missing(request.param)
    if why:
        pytest.skip(why)
    return str(request.param)


@pytest.fixture
def ext4() -> str:
    why = missing("ext4")
    if why:
        pytest.skip(why)
    return "ext4"


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Campaign]:
    with Campaign(tmp_path_factory.mktemp("campaign")) as one:
        yield one


def failures(
    campaign: Campaign, file_system: str, flow: Flow, check: str, writeback: Writeback = "late"
) -> list[str]:
    name = f"{len(list(campaign.folder.iterdir()))}"
    campaign.recording(name, lambda: record(file_system, flow, writeback=writeback))
    verdicts = list(campaign.run(Case(name, check), STATES))
    assert verdicts
    return [verdict.failure for verdict in verdicts if verdict.failure]


@pytest.mark.parametrize("writeback", ["late", "names"])
def test_files_replaced_with_every_step_lose_nothing(
    campaign: Campaign, file_system: str, writeback: Writeback
) -> None:
    assert failures(campaign, file_system, flows.replace_file, REPLACED, writeback) == []


@pytest.mark.parametrize(
    ("without", "writeback", "lost"),
    [
        ("file", "late", "not whole"),
        ("folder", "late", "promised"),
        ("rename", "names", "not whole"),
    ],
)
def test_each_step_left_out_is_found(
    campaign: Campaign, file_system: str, without: str, writeback: Writeback, lost: str
) -> None:
    found = failures(campaign, file_system, partial(flows.replace_file, without=without), REPLACED, writeback)
    assert any(lost in failure for failure in found)


def new_file(where: Path, mark: Marker) -> None:
    with (where / "model").open("wb") as file:
        file.write(b"0 " + flows.CONTENT)
        file.flush()
        os.fsync(file.fileno())
    mark("0")


def test_the_name_of_a_new_file_needs_its_folder_on_the_weakest_only(
    campaign: Campaign, file_system: str
) -> None:
    """Which is why the weakest is among them."""
    assert bool(failures(campaign, file_system, new_file, REPLACED)) == (file_system == WEAKEST)


def test_a_database_that_syncs_its_folder_loses_no_commit(campaign: Campaign, file_system: str) -> None:
    assert failures(campaign, file_system, flows.rows, ROWS) == []


@pytest.mark.parametrize("synchronous", ["FULL", "OFF"])
def test_a_database_that_does_not_loses_commits(
    campaign: Campaign, file_system: str, synchronous: str
) -> None:
    """Even with FULL: the deleted journal may be there again, and takes the commit back."""
    found = failures(campaign, file_system, partial(flows.rows, synchronous=synchronous), ROWS)
    assert any("promised" in failure for failure in found)


def read_rows(where: Path, mark: Marker) -> None:
    """What a robot does when it starts again; SQLite takes back what was not committed."""
    with sqlite3.connect(where / "state.db") as database:
        database.execute("SELECT count(*) FROM sqlite_master")
    mark("recovered")


def check_rows_again(where: Path, promises: tuple[str, ...]) -> None:
    flows.check_rows(where, tuple(promise for promise in promises if promise != "recovered"))


def test_a_power_cut_during_recovery_loses_nothing_either(campaign: Campaign, ext4: str) -> None:
    first = record(ext4, flows.rows)
    cut = next(
        state
        for state in crash_states(first, STATES)
        if state.lost == "nothing" and len(first.marks(state.cut)) == 3
    )
    promised = first.marks(cut.cut)
    again = record(ext4, read_rows, crashed(first, cut), acknowledged=promised)
    assert again.marks(len(again.log)) == (*promised, "recovered")
    assert any(isinstance(entry, Write) for entry in again.log[: again.log.index(Mark("recovered"))])
    campaign.recording("again", lambda: again)
    verdicts = list(campaign.run(Case("again", "tests.power_cuts.test_harness:check_rows_again"), STATES))
    assert verdicts
    assert [verdict.failure for verdict in verdicts if verdict.failure] == []


def test_a_flow_goes_on_where_another_ended(ext4: str) -> None:
    before = prepare(ext4, flows.replace_file)
    recording = record(ext4, expects_the_file, start=before)
    assert recording.marks(len(recording.log)) == ("3 ",)


def expects_the_file(where: Path, mark: Marker) -> None:
    mark((where / "model").read_bytes()[:2].decode())


def test_a_flow_that_fails_is_no_recording(ext4: str) -> None:
    with pytest.raises(ProcessFailed, match="FileNotFoundError"):
        record(ext4, expects_the_file)


def test_a_flow_that_hangs_is_ended(ext4: str) -> None:
    with pytest.raises(ProcessFailed, match="no answer"):
        record(ext4, hangs, timeout_s=2.0)
    assert_nothing_left()


def hangs(where: Path, mark: Marker) -> None:
    with (where / "open").open("wb"):
        signal.pause()


def test_nothing_is_left_of_a_recording_that_was_killed(ext4: str, tmp_path: Path) -> None:
    started = tmp_path / "started"
    process = get_context("spawn").Process(target=record, args=(ext4, partial(tells_and_hangs, started)))
    process.start()
    until(started.exists)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert_nothing_left()


def tells_and_hangs(started: Path, where: Path, mark: Marker) -> None:
    (where / "file").write_bytes(flows.CONTENT)
    started.touch()
    signal.pause()


def assert_nothing_left() -> None:
    """No loop device stands on a disk of ours, and nothing of ours is mounted that others see."""

    def gone() -> bool:
        backing = [file.read_text() for file in Path("/sys/block").glob("loop*/loop/backing_file")]
        return not any("/logging/disk" in file or "/mnt/disk" in file for file in backing)

    until(gone)
    assert "power-cuts" not in Path("/proc/mounts").read_text()


def until(holds: Callable[[], bool], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_campaign_goes_on_where_it_was_stopped(ext4: str, tmp_path: Path) -> None:
    case = Case("rows", ROWS)
    with Campaign(tmp_path) as stopped:
        stopped.recording("rows", lambda: record(ext4, partial(flows.rows, synchronous="OFF")))
        with closing(stopped.run(case, STATES)) as verdicts:
            next(verdicts)
    with (tmp_path / "verdicts.jsonl").open("ab") as file:
        file.write(b'{"case": "rows", "sta')  # cut in the middle of a line
    known = stopped.verdicts()
    states = crash_states(Recording.load(tmp_path / "rows.recording"), STATES)
    assert 0 < len(known) < len(states)
    with Campaign(tmp_path) as resumed:
        verdicts_now = list(resumed.run(case, STATES))
        assert {verdict.state for verdict in verdicts_now} == set(states)
        assert len(resumed.verdicts()) == len(states)
    assert [verdict for verdict in verdicts_now if verdict in known] == known


def test_a_failure_is_found_again(ext4: str, tmp_path: Path) -> None:
    with Campaign(tmp_path) as campaign:
        campaign.recording("rows", lambda: record(ext4, partial(flows.rows, synchronous="OFF")))
        failed = next(verdict for verdict in campaign.run(Case("rows", ROWS), STATES) if verdict.failure)
    state = [str(failed.state.cut), failed.state.lost, str(failed.state.seed)]
    again = subprocess.run(
        [sys.executable, "-m", "tests.power_cuts.campaign", str(tmp_path), "rows", ROWS, *state],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=60.0,
    )
    assert again.stdout.strip() == failed.failure, again.stderr
    assert again.returncode == 1
