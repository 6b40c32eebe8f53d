"""One SQLite file in which every change is one transaction, on disk when it returns.

A journal that is deleted at the end of a transaction is only gone for certain when its folder is on disk too, which
``synchronous=EXTRA`` sees to: with ``FULL`` a power cut can undo a transaction that was reported as done.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from edge_wm.errors import BadInput, one_line

BUSY_S = 10.0

D = TypeVar("D", bound="Database")


class DamagedStore(BadInput):
    """The file is not a sound database: the robot drives by the factory's model."""

    def __init__(self, file: Path, what: str) -> None:
        super().__init__(
            f"{file}: damaged ({what}): the factory's model drives; edge-wm update repair starts it anew"
        )


class Database:
    """An open file; made if it is not there.

    Args:
        file: where it is; its folder exists.
        schema: statements that make a new one, with ``;`` between them.
        version: of the schema.

    Raises:
        BadInput: it is damaged, of a newer edge-wm, cannot be written, or somebody else holds it for long.
    """

    def __init__(self, file: Path, schema: str, version: int) -> None:
        self.file = file
        with self._refusing():
            self._db = sqlite3.connect(file, timeout=BUSY_S, isolation_level=None)
            try:
                self._prepare(schema, version)
            except BaseException:
                self._db.close()
                raise

    def _prepare(self, schema: str, version: int) -> None:
        self._db.execute("PRAGMA synchronous = EXTRA")
        if self._db.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
            raise sqlite3.DatabaseError("a page of it is damaged")
        if self._version() == 0:
            with self.transaction():
                if self._version() == 0:  # nobody was faster
                    for statement in filter(str.strip, schema.split(";")):
                        self._db.execute(statement)
                    self._db.execute(f"PRAGMA user_version = {version}")
        if self._version() != version:
            raise BadInput(
                f"{self.file}: of version {self._version()}, this edge-wm reads version {version}: install a newer edge-wm"
            )

    def _version(self) -> int:
        return int(self._one("PRAGMA user_version")[0])

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            if not isinstance(error, sqlite3.OperationalError) or _of_damage(str(error)):
                raise DamagedStore(self.file, one_line(str(error))) from error
            raise BadInput(f"{self.file}: {error}{_what_to_do(str(error))}") from error

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of the block or nothing of it; on disk when it returns.  Raises BadInput if that cannot be."""
        with self._refusing():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with self._refusing():
            return self._db.execute(query, values).fetchall()

    def _one(self, query: str) -> tuple[Any, ...]:
        rows = self._rows(query)
        if not rows:
            raise DamagedStore(self.file, "a row is missing")
        return rows[0]

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def __enter__(self: D) -> D:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _of_damage(said: str) -> bool:
    """Whether an error of SQLite's says that what was written once is not there any more."""
    return any(word in said for word in ("no such column", "no such table", "Could not decode"))


def _what_to_do(said: str) -> str:
    """What a person can do about an error of SQLite's that is no damage."""
    for word, advice in (
        ("readonly", "the disk cannot be written: is it failing?"),
        ("unable to open", "can its folder be written?"),
        ("disk I/O error", "is the disk failing?"),
        ("full", "make room"),
        ("locked", "another process holds it: try again"),
    ):
        if word in said:
            return f": {advice}"
    return ""
