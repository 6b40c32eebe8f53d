"""Whether the tests of the firmware would notice a mistake in its safety decisions: they are run against many versions with one mistake each.

Run it with ``make mutants``; ``QUICK=1`` tries every tenth, and records nothing.  Mistakes are made by universalmutator's rules for C.  One that
does not compile, or compiles to the same program, is none.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from rich.progress import track

from benchmarks.timing import record

HERE = Path(__file__).parents[1]
CORE = Path("firmware_bridge/firmware/core")
MUTATED = ("safety.c", "controller.c", "frame.c")
TESTS = ("test_safety.py", "test_motion.py", "test_framing.py")
RULES = ["universal.rules", "c_like.rules", "c.rules"]
LEAST = 0.95
"""Share of the mutants that must be killed."""


class Mutant(NamedTuple):
    """One mistake.

    Attributes:
        file: that it is in.
        line: number of the line, from 1.
        was: what the line says.
        now: what it says instead.
    """

    file: str
    line: int
    was: str
    now: str

    def source(self) -> str:
        """The file with the mistake."""
        lines = _lines(self.file)
        return "".join([*lines[: self.line - 1], self.now, *lines[self.line :]])


def main() -> None:
    """Make the mutants, test each, print the survivors, record.  Exit code 1 if too few were killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--quick", action="store_true", help="every tenth, recorded nowhere")
    options = parser.parse_args()
    if not _passes(MUTATED[0], "".join(_lines(MUTATED[0]))):
        sys.exit("error: the tests fail without a mistake: run  make test ARGS=tests/firmware_bridge")
    mutants = [mutant for file in MUTATED for mutant in different(file)][:: 10 if options.quick else 1]
    with ThreadPoolExecutor(options.jobs) as pool:
        tried = pool.map(lambda mutant: _passes(mutant.file, mutant.source()), mutants)
        passed = list(track(tried, description="mutants", total=len(mutants)))
    survivors = [mutant for mutant, lives in zip(mutants, passed, strict=True) if lives]
    for mutant in survivors:
        print(f"{mutant.file}:{mutant.line}: {mutant.was.strip()}  ->  {mutant.now.strip()}")
    killed = 1.0 - len(survivors) / len(mutants)
    if not options.quick:
        told = [mutant._asdict() for mutant in survivors]
        record("mutants", {"mutants": len(mutants), "killed": killed, "survivors": told})
    print(f"RESULT mutants={len(mutants)} killed={killed:.3f} survivors={len(survivors)}")
    sys.exit(killed < LEAST)


def different(file: str) -> Iterator[Mutant]:
    """Mutants of a file that compile, and to another program than the file and than each other."""
    lines = _lines(file)
    from universalmutator.mutator import mutants_regexp

    with contextlib.redirect_stdout(io.StringIO()):
        made = mutants_regexp(lines, ruleFiles=RULES, ignorePatterns=[])
    seen = {_compiled("".join(lines)), None}
    for number, text, *_ in made:
        mutant = Mutant(file, number, lines[number - 1], text)
        program = _compiled(mutant.source())
        if program not in seen:
            seen.add(program)
            yield mutant


def _lines(file: str) -> list[str]:
    return (HERE / CORE / file).read_text().splitlines(keepends=True)


def _compiled(source: str) -> bytes | None:
    """The object code; None if it does not compile."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "mutant.o"
        command = ["cc", "-std=c11", "-O2", "-w", f"-I{HERE / CORE}", "-x", "c", "-c", "-", "-o", str(output)]
        done = subprocess.run(command, input=source.encode(), capture_output=True, check=False)
        return output.read_bytes() if done.returncode == 0 else None


def _passes(file: str, source: str) -> bool:
    """Whether all tests pass with this in place of the file."""
    with tempfile.TemporaryDirectory() as folder:
        for part in ("firmware_bridge", "tests/firmware_bridge", "pyproject.toml"):
            original, copy = HERE / part, Path(folder) / part
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(original, copy) if original.is_dir() else shutil.copy(original, copy)
        (Path(folder) / CORE / file).write_text(source)
        tests = [f"tests/firmware_bridge/{name}" for name in TESTS]
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, timeout=300, check=False)
        except subprocess.TimeoutExpired:
            return False
    return done.returncode == 0


if __name__ == "__main__":
    main()
