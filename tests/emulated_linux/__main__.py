"""Drivers of chips on a real kernel's I2C buses, in an emulated machine: run it with ``make emulated-linux``.

The tests in ``tests/emulated_linux/inside`` run there, with this machine's Python and libraries: what is right on a bus of that kernel is
right on a board's as far as the kernel's own rules go; the chips are emulated, too.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

from tests.emulated_linux.machine import fetch, first_files, missing_on_host, qemu

INSIDE = Path("tests") / "emulated_linux" / "inside"
DEADLINE_S = 1200.0
"""Of everything in the machine, which takes a minute or two where nothing else runs."""


def run_tests(arguments: Sequence[str], keep: bool = False, deadline_s: float = DEADLINE_S) -> int:
    """Run pytest in the machine.

    Args:
        arguments: of pytest.
        keep: open a shell on its console behind the tests, and set no deadline.
        deadline_s: seconds after which the machine is switched off.

    Returns:
        0 if pytest says that everything passed, otherwise 1.
    """
    options = ["-p", "pytest_timeout", "-p", "no:cacheprovider", f"--confcutdir={INSIDE}"]
    options += [] if sys.stdout.isatty() else ["--color=no"]
    command = [sys.executable, "-m", "pytest", *options, *arguments]
    if not any(Path(argument.split("::")[0]).exists() for argument in arguments):
        command.append(str(INSIDE))
    with tempfile.TemporaryDirectory(prefix="emulated-linux-") as folder:
        initrd, exit_code = Path(folder) / "initrd", Path(folder) / "exit-code"
        initrd.write_bytes(first_files(command, keep))
        run_machine(qemu(initrd, exit_code), keep, deadline_s)
        said = exit_code.read_text().strip() if exit_code.is_file() else ""
    if not said.isdecimal():
        print("error: the machine stopped before the tests had ended: see above", file=sys.stderr)
        return 1
    return 0 if int(said) == 0 else 1


def run_machine(command: Sequence[str], keep: bool, deadline_s: float) -> None:
    """Run QEMU until the machine switches itself off, and pass on what is said on its console."""
    if keep:
        subprocess.run(command, check=False)
        return
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        timer = threading.Timer(deadline_s, process.kill)
        timer.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                print(line.decode(errors="replace").rstrip("\r\n").rpartition("\r")[2], flush=True)
        finally:
            timer.cancel()
            process.kill()


def main() -> int:
    """Exit code 0: everything passed; 1: something did not; 2: this machine lacks something."""
    parser = argparse.ArgumentParser(prog="make emulated-linux", description=__doc__)
    parser.add_argument(
        "--keep", action="store_true", help="leave the machine on, with a shell; exit switches it off"
    )
    parser.add_argument("pytest", nargs="*", help="arguments of pytest, behind --")
    asked = parser.parse_args()
    if (lacking := missing_on_host()) is not None:
        print(f"error: {lacking}", file=sys.stderr)
        return 2
    try:
        fetch()
    except subprocess.CalledProcessError:
        print("error: Debian's kernel could not be fetched: see above, then start again", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # QEMU must not outlive this
    try:
        return run_tests(asked.pytest, asked.keep)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
