"""A profile that may be shown to everybody: nothing in it tells whose robot it was, or where its files are."""

from __future__ import annotations

import datetime
import re
import socket
from pathlib import Path

import msgspec

from edge_wm.board import board_files, load_board
from edge_wm.engines.execution import Execution
from edge_wm.errors import BadInput
from edge_wm.output_file import write_json
from edge_wm.profile.own_process import Measurement
from edge_wm.profile.profile_file import Profile, Row

PATH = re.compile(r"(?:~|\.{0,2}/|[\w.-]+/)[^\s:,;'\"()]*")


def contribute(profile: Profile, folder: Path) -> Path:
    """Write a profile to ``folder`` as ``BOARD-MODEL-DATE.json`` without what is private; return the file.

    Raises:
        BadInput: see :func:`check_contribution`; or nothing was chosen.
    """
    day = datetime.datetime.fromisoformat(profile.measured_at).date()
    file = check_contribution(profile.board, profile.model, day, folder)
    if profile.chosen is None:
        raise BadInput(f"{folder}: nothing to contribute: no form of the model can be used on this machine")
    write_json(file, anonymous(profile))
    return file


def check_contribution(board: str, model: str, day: datetime.date, folder: Path) -> Path:
    """The file that a profile of this day (UTC) is written to.

    Raises:
        BadInput: there is no such folder; the board is no computer that has a file in `boards/`; or another profile is there
            under this name.
    """
    if not folder.is_dir():
        raise BadInput(
            f"{folder}: there is no such folder: profiles are contributed to boards/profiles of a checkout"
        )
    known = board_files().get(board)
    if known is None or load_board(known).recognised is None:
        raise BadInput(
            f"{folder}: no file in boards/ is for the computer {board!r}: contribute that first, see docs/profiles.md"
        )
    file = folder / f"{board}-{model}-{day.isoformat()}.json"
    if file.exists():
        raise BadInput(
            f"{file}: is there, and may be somebody else's: give it another name, or contribute to another folder"
        )
    return file


def anonymous(profile: Profile) -> Profile:
    """The same without the robot's name, the name of this machine, and paths; of files their names stay."""
    return msgspec.structs.replace(
        profile,
        robot=None,
        kernel=_without(profile.kernel),
        chosen=None if profile.chosen is None else _bare(profile.chosen),
        rows=tuple(_anonymous_row(row) for row in profile.rows),
        accuracy=tuple(
            msgspec.structs.replace(form, failure=_without(form.failure)) for form in profile.accuracy
        ),
    )


def _anonymous_row(row: Row) -> Row:
    alone = row.alone
    return msgspec.structs.replace(
        row,
        execution=_bare(row.execution),
        failure=_without(row.failure),
        alone=None if alone is None else _anonymous_measurement(alone),
    )


def _anonymous_measurement(alone: Measurement) -> Measurement:
    runs = {
        name: run and msgspec.structs.replace(run, ended_early=_without(run.ended_early))
        for name, run in (("idle", alone.idle), ("loaded", alone.loaded))
    }
    return msgspec.structs.replace(alone, failure=_without(alone.failure), **runs)


def _bare(execution: Execution) -> Execution:
    delegate = execution.delegate and Path(execution.delegate).name
    return msgspec.structs.replace(execution, delegate=delegate, engine_cache=None)


def _without(text: str | None) -> str | None:
    """A line without paths and this machine's name."""
    if text is None:
        return None
    text = PATH.sub(lambda path: path[0].rstrip("/").rpartition("/")[2], text)
    return re.sub(rf"\b{re.escape(socket.gethostname())}\b", "this machine", text)
