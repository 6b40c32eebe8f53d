"""Check many states after power cuts, in several processes; go on later if it is stopped; keep what repeats a failure.

A folder holds a recording for each case and ``verdicts.jsonl``, a line for each state checked.  One state again:

    python -m tests.power_cuts.campaign FOLDER CASE CHECK CUT LOST SEED
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import lru_cache
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import get_args

import msgspec
from msgspec import Struct

from tests.power_cuts import private
from tests.power_cuts.block_log import Recording
from tests.power_cuts.crash_states import CrashState, Loss, crash_states, crashed
from tests.power_cuts.file_systems import restored
from tests.power_cuts.own_process import ProcessFailed, call_in_own_process

Check = Callable[[Path, tuple[str, ...]], None]
"""Looks at a mounted file system, given what was promised before the cut; raises if something does not hold."""

BATCH = 2
"""States that a process is given at a time; few, as a control is over with the first that fails."""
TIMEOUT_S = 60.0
"""For one state: more means that it hangs."""


class Case(Struct, frozen=True):
    """A recording and what must hold after it.

    Attributes:
        name: of its file.
        check: ``module:function``, a :data:`Check`, or ``module:function:argument``, which is given the argument first.
    """

    name: str
    check: str


class Verdict(Struct, frozen=True):
    """What came of one state; ``failure`` is None where all held."""

    case: str
    state: CrashState
    failure: str | None


class Campaign:
    """Recordings in a folder, and the verdicts on their states; a context manager, which ends its processes."""

    def __init__(self, folder: Path, workers: int | None = None) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._pool = ProcessPoolExecutor(
            workers or os.cpu_count(), mp_context=get_context("spawn"), initializer=private.enter
        )

    def __enter__(self) -> Campaign:
        return self

    def __exit__(self, *exception: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def recording(self, name: str, make: Callable[[], Recording]) -> Recording:
        """The recording of this name: made now unless it was before."""
        file = _file(self.folder, name)
        if not file.exists():
            unfinished = file.with_suffix(".unfinished")
            make().save(unfinished)
            unfinished.replace(file)
        return Recording.load(file)

    def verdicts(self) -> list[Verdict]:
        """All that are known, of this run and of those before it."""
        file = self.folder / "verdicts.jsonl"
        if not file.exists():
            return []
        whole, _, half = file.read_bytes().rpartition(b"\n")
        if half:  # a run was killed while it wrote
            os.truncate(file, len(whole) + 1 if whole else 0)
        return [msgspec.json.decode(line, type=Verdict) for line in whole.splitlines()]

    def run(self, case: Case, count: int, seed: int = 0) -> Iterator[Verdict]:
        """Check so many states of a case.  Yields each verdict as it comes, those of earlier runs first."""
        asked = crash_states(Recording.load(_file(self.folder, case.name)), count, seed)
        known = {verdict.state: verdict for verdict in self.verdicts() if verdict.case == case.name}
        yield from (known[state] for state in asked if state in known)
        left = [state for state in asked if state not in known]
        with (self.folder / "verdicts.jsonl").open("ab") as file:
            for verdict in self._checked(case, left):
                file.write(msgspec.json.encode(verdict) + b"\n")
                file.flush()
                yield verdict

    def _checked(self, case: Case, states: list[CrashState]) -> Iterator[Verdict]:
        batches = [states[at : at + BATCH] for at in range(0, len(states), BATCH)]
        with private.deaf_to_interrupts():  # the first one starts the processes
            results = [self._pool.submit(check_states, self.folder, case, batch) for batch in batches]
        try:
            for result in as_completed(results):
                yield from result.result()
        finally:
            for result in results:
                result.cancel()


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.recording"


@lru_cache(maxsize=1)
def _recording(file: Path) -> Recording:
    return Recording.load(file)


def check_states(folder: Path, case: Case, states: list[CrashState]) -> list[Verdict]:
    """Check states one after the other.  Within ``private.enter``."""
    recording = _recording(_file(folder, case.name))
    return [Verdict(case.name, state, check_state(recording, state, case.check)) for state in states]


def check_state(recording: Recording, state: CrashState, check: str) -> str | None:
    """Make the disk of a state, mount it, check it in a fresh process.  What did not hold; None if all did."""
    module, name, *arguments = check.split(":")
    call = getattr(import_module(module), name)
    try:
        with restored(recording.file_system, crashed(recording, state)) as where:
            call_in_own_process(call, *arguments, where, recording.marks(state.cut), timeout_s=TIMEOUT_S)
    except ProcessFailed as failure:
        return str(failure)
    except OSError as error:
        return f"the file system is lost: {error}"
    return None


def main() -> None:
    """Check one state again and say what did not hold; exit code 1 if something did not."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("case")
    parser.add_argument("check", help="module:function, or module:function:argument")
    parser.add_argument("cut", type=int)
    parser.add_argument("lost", choices=get_args(Loss))
    parser.add_argument("seed", type=int)
    asked = parser.parse_args()
    private.enter()
    recording = Recording.load(_file(asked.folder, asked.case))
    failure = check_state(recording, CrashState(asked.cut, asked.lost, asked.seed), asked.check)
    print(failure or "all held")
    sys.exit(failure is not None)


if __name__ == "__main__":
    main()
