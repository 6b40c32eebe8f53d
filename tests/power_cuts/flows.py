"""Small flows whose promises are known, and the same with a step left out, to test the power cuts themselves."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

Promise = Callable[[str], None]

FILES = 4
ROWS = 6
CONTENT = b"what was promised " * 5_000


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(where: Path, promise: Promise, without: str = "") -> None:
    """Files replaced atomically, each promised once its folder is on disk.

    Args:
        where: the folder.
        promise: told what must hold.
        without: a step to leave out: ``file``: its fsync, ``rename``: write in place, ``folder``: the folder's fsync.
    """
    for number in range(FILES):
        target = where / "model"
        unfinished = target if without == "rename" else where / "model.unfinished"
        with unfinished.open("wb") as file:
            file.write(b"%d " % number + CONTENT)
            file.flush()
            if without != "file":
                os.fsync(file.fileno())
        if without != "rename":
            unfinished.replace(target)
        if without != "folder":
            sync_folder(where)
        promise(str(number))


def check_replaced_file(where: Path, promises: tuple[str, ...]) -> None:
    """The file is there and whole, and not older than promised."""
    target = where / "model"
    if not promises and not target.exists():
        return
    number, _, content = target.read_bytes().partition(b" ")
    assert content == CONTENT, "the file is not whole"
    assert int(number) >= len(promises) - 1, f"file {number.decode()}, promised {promises[-1]}"


def rows(where: Path, promise: Promise, synchronous: str = "EXTRA") -> None:
    """Rows of a database, each promised once its transaction is committed."""
    database = sqlite3.connect(where / "state.db", isolation_level=None)
    database.execute(f"PRAGMA synchronous = {synchronous}")
    database.execute("CREATE TABLE row (number INTEGER PRIMARY KEY, content BLOB)")
    for number in range(ROWS):
        database.execute("INSERT INTO row VALUES (?, ?)", (number, CONTENT[:6_000]))
        promise(str(number))
    database.close()


def check_rows(where: Path, promises: tuple[str, ...]) -> None:
    """The database is sound, and has the rows that were promised and at most the next."""
    database = sqlite3.connect(where / "state.db", isolation_level=None)
    try:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",), "the database is damaged"
        tables = database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        found = database.execute("SELECT count(*) FROM row").fetchone()[0] if tables else 0
    finally:
        database.close()
    assert found in (len(promises), len(promises) + 1), f"{found} rows, promised {len(promises)}"
