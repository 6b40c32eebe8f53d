"""Run a flow on a file system and keep what its disk was told."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import msgspec

from tests.power_cuts import private
from tests.power_cuts.block_log import Entry, Image, Recording
from tests.power_cuts.file_systems import mounted, new_image, read_image, write_image
from tests.power_cuts.logging_disk import serve
from tests.power_cuts.own_process import call_in_own_process
from tests.power_cuts.private import SCRATCH
from tests.power_cuts.weakest import WEAKEST, Tree, read_tree
from tests.power_cuts.writeback import Writeback, write_back


class Marker(NamedTuple):
    """Calling it puts a text into the log: what it says must hold from now on."""

    file: Path

    def __call__(self, text: str) -> None:
        descriptor = os.open(self.file, os.O_WRONLY)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)


Flow = Callable[[Path, Marker], None]
"""What is done on a file system, with the folder where it is mounted.  A function of a module, or a partial of one."""


def record(
    file_system: str,
    flow: Flow,
    start: Image | None = None,
    acknowledged: tuple[str, ...] = (),
    writeback: Writeback = "late",
    timeout_s: float = 120.0,
) -> Recording:
    """Run a flow in a process of its own on a disk that remembers.

    After the flow all of the file system is written out, still on record: a power cut some seconds later.

    Args:
        file_system: one of ``FILE_SYSTEMS``, or ``WEAKEST``.
        flow: to record.
        start: the disk before it; a new file system without.
        acknowledged: marks from before.
        writeback: what the kernel writes meanwhile that nobody asked for.
        timeout_s: for all of it.

    Raises:
        ProcessFailed: it raised, or took too long.
    """
    recording: Recording = call_in_own_process(
        _record,
        file_system,
        flow,
        start,
        acknowledged,
        writeback,
        timeout_s,
        timeout_s=timeout_s,
        method="spawn",
    )
    return recording


def prepare(file_system: str, flow: Flow, start: Image | None = None, timeout_s: float = 120.0) -> Image:
    """The disk after a flow and an orderly unmount, to start others from.  As :func:`record`."""
    image: Image = call_in_own_process(
        _prepare, file_system, flow, start, timeout_s, timeout_s=timeout_s, method="spawn"
    )
    return image


def _record(
    file_system: str,
    flow: Flow,
    start: Image | None,
    acknowledged: tuple[str, ...],
    writeback: Writeback,
    timeout_s: float,
) -> Recording:
    private.enter()
    start = start or new_image(file_system)
    log = SCRATCH / "log"
    with _logging(file_system, start) as logging, _mounted(file_system, logging) as where:
        mark = Marker(logging / "mark")
        call_in_own_process(_flow, file_system, flow, where, mark, writeback, timeout_s=timeout_s)
        private.run("sync", "--file-system", str(where))
        Marker(logging / "save")(str(log))
    told = msgspec.msgpack.decode(log.read_bytes(), type=tuple[Entry, ...])
    return Recording(file_system, start, told, acknowledged)


def _flow(file_system: str, flow: Flow, where: Path, mark: Marker, writeback: Writeback) -> None:
    write_back(where, file_system, writeback)
    flow(where, mark)


def _prepare(file_system: str, flow: Flow, start: Image | None, timeout_s: float) -> Image:
    private.enter()
    where: Path
    if file_system == WEAKEST:
        where = SCRATCH / "files"
        where.mkdir()
        Tree(start or new_image(file_system)).write(where)
        call_in_own_process(flow, where, Marker(Path(os.devnull)), timeout_s=timeout_s)
        return read_tree(where)
    disk = SCRATCH / "start"
    write_image(start or new_image(file_system), disk)
    with mounted(file_system, disk) as where:
        call_in_own_process(flow, where, Marker(Path(os.devnull)), timeout_s=timeout_s)
    return read_image(disk)


@contextmanager
def _mounted(file_system: str, logging: Path) -> Iterator[Path]:
    if file_system == WEAKEST:
        yield logging / "files"
    else:
        with mounted(file_system, logging / "disk") as where:
            yield where


@contextmanager
def _logging(file_system: str, start: Image) -> Iterator[Path]:
    """Start the server that remembers, see ``logging_disk.py``."""
    where = SCRATCH / "logging"
    where.mkdir()
    server = get_context("fork").Process(target=serve, args=(file_system, start, where))
    server.start()
    try:
        deadline = time.monotonic() + 30.0
        while not (where / "mark").exists():
            if not server.is_alive() or time.monotonic() > deadline:
                raise OSError("the FUSE disk did not start")
            time.sleep(0.01)
        private.part()
        yield where
    finally:
        server.kill()
        server.join()
