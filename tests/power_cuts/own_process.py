"""Call a function in a process of its own, which leaves nothing behind: no open file, no mount, no changed module."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from tests.power_cuts import private


class ProcessFailed(Exception):
    """The function raised, took too long, or its process died; ``str`` is one line.

    Attributes:
        traceback: where it raised; empty if it did not.
    """

    def __init__(self, what: str, traceback: str = "") -> None:
        super().__init__(what)
        self.traceback = traceback


def call_in_own_process(
    call: Callable[..., Any], *arguments: Any, timeout_s: float, method: Literal["spawn", "fork"] = "fork"
) -> Any:
    """What ``call(*arguments)`` returns.

    Args:
        call: if spawned, a function of a module.
        arguments: of the call.
        timeout_s: after which the process is killed.
        method: a fork has all that was imported and is there at once; only for processes of one thread.

    Raises:
        ProcessFailed: it did not return.
    """
    context = get_context(method)
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(theirs, call, arguments))
    with private.deaf_to_interrupts():
        process.start()
    theirs.close()
    try:
        if not ours.poll(timeout_s):
            raise ProcessFailed(f"no answer in {timeout_s:.0f} s")
        returned, result = ours.recv()
    except EOFError:
        process.join(1.0)
        raise ProcessFailed(f"its process died, exit code {process.exitcode}") from None
    finally:
        process.kill()
        process.join()
        ours.close()
    if not returned:
        raise ProcessFailed(*result)
    return result


def _answer(pipe: Connection, call: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    private.die_with_parent()
    try:
        pipe.send((True, call(*arguments)))
    except BaseException as error:
        at = traceback.extract_tb(error.__traceback__)[-1]
        told = f"{type(error).__name__}: {error} ({Path(at.filename).name}:{at.lineno})"
        pipe.send((False, (told.replace("\n", " "), traceback.format_exc())))
