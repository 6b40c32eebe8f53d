from __future__ import annotations

import errno
import json
from datetime import datetime, timezone
from pathlib import Path

import pytest

from edge_wm import output_file
from edge_wm.errors import BadInput
from edge_wm.output_file import write_atomically
from edge_wm.record.run_folder import append_ticks, create_run_folder, write_summary

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=timezone.utc)


def assert_one_line(error: pytest.ExceptionInfo[BadInput], *said: str) -> None:
    message = str(error.value)
    assert "\n" not in message
    for words in said:
        assert words in message


def test_the_folder_is_named_by_utc_time_and_empty(tmp_path):
    folder = create_run_folder(tmp_path / "runs", NOW)
    assert folder == tmp_path / "runs" / "2026-03-04T05-06-07Z"
    assert list(folder.iterdir()) == []


def test_two_runs_in_one_second_get_two_folders(tmp_path):
    assert create_run_folder(tmp_path, NOW) != create_run_folder(tmp_path, NOW)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "runs").write_text("not a folder")
    with pytest.raises(BadInput) as error:
        create_run_folder(tmp_path / "runs", NOW)
    assert_one_line(error, "runs is a file")


def test_a_read_only_folder_is_refused(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(BadInput) as error:
        create_run_folder(tmp_path / "runs", NOW)
    assert_one_line(error, "Permission denied", str(tmp_path))


def test_a_full_disk_is_found_by_writing_and_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(output_file.os, "fsync", full)
    with pytest.raises(BadInput) as error:
        create_run_folder(tmp_path, NOW)
    assert_one_line(error, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_a_nearly_full_disk_is_refused(tmp_path):
    with pytest.raises(BadInput) as error:
        create_run_folder(tmp_path, NOW, min_free_bytes=2**62)
    assert_one_line(error, "MB free")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_write_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "summary.json"
    write_atomically(path, b"old")

    def cut(*_):
        raise OSError(errno.EIO, "power cut")

    monkeypatch.setattr(output_file.os, "fsync", cut)
    with pytest.raises(OSError, match="power cut"):
        write_atomically(path, b"new and longer")
    assert path.read_bytes() == b"old"


def test_not_a_number_becomes_null_in_the_summary(tmp_path):
    path = write_summary(tmp_path, {"cost": float("nan"), "ticks": 3})
    assert json.loads(path.read_text()) == {"cost": None, "ticks": 3}


def test_ticks_are_json_lines_and_appended(tmp_path, make_drive):
    records = make_drive(5)
    for part in (records[:2], records[2:]):
        path = append_ticks(tmp_path, (record.row(start_s=100.0) for record in part))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["tick"] for row in rows] == [0, 1, 2, 3, 4]
    assert rows[3]["time_s"] == pytest.approx(0.3)
    assert max(len(line) for line in path.read_text().splitlines()) < 600
