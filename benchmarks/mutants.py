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

from benchmarks.timing import machine, record

HERE = Path(__file__).parents[1]
CORE = Path("firmware_bridge/firmware/core")
MUTATED = (CORE / "safety.c", CORE / "controller.c", CORE / "frame.c")
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

    file: Path
    line: int
    was: str
    now: str

    def source(self) -> str:
        """The file with the mistake."""
        lines = (HERE / self.file).read_text().splitlines(keepends=True)
        return "".join([*lines[: self.line - 1], self.now, *lines[self.line :]])


def main() -> None:
    """Make the mutants, test each, print the survivors, record.  Exit code 1 if too few were killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--quick", action="store_true", help="every tenth, recorded nowhere")
    options = parser.parse_args()
    with ThreadPoolExecutor(options.jobs) as pool:
        if (
            _survives(
                Mutant(MUTATED[0], 1, *[(HERE / MUTATED[0]).read_text().splitlines(keepends=True)[0]] * 2)
            )
            is False
        ):
            sys.exit("error: the tests fail without a mistake: run  make test ARGS=tests/firmware_bridge")
        mutants = [mutant for file in MUTATED for mutant in different(file)]
        mutants = mutants[:: 10 if options.quick else 1]
        survived = list(track(pool.map(_survives, mutants), description="mutants", total=len(mutants)))
    survivors = [mutant for mutant, lives in zip(mutants, survived, strict=True) if lives]
    for mutant in survivors:
        print(f"{mutant.file.name}:{mutant.line}: {mutant.was.strip()}  ->  {mutant.now.strip()}")
    killed = 1.0 - len(survivors) / len(mutants)
    if not options.quick:
        told = [
            {
                "file": mutant.file.name,
                "line": mutant.line,
                "was": mutant.was.strip(),
                "now": mutant.now.strip(),
            }
            for mutant in survivors
        ]
        record(
            "mutants", {"machine": machine(), "mutants": len(mutants), "killed": killed, "survivors": told}
        )
    print(f"RESULT mutants={len(mutants)} killed={killed:.3f} survivors={len(survivors)}")
    sys.exit(killed < LEAST)


def different(file: Path) -> Iterator[Mutant]:
    """Mutants of a file that compile, and to another program than the file and than each other."""
    lines = (HERE / file).read_text().splitlines(keepends=True)
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


def _compiled(source: str) -> bytes | None:
    """The object code; None if it does not compile."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "mutant.o"
        command = ["cc", "-std=c11", "-O2", "-w", f"-I{HERE / CORE}", "-x", "c", "-c", "-", "-o", str(output)]
        done = subprocess.run(command, input=source.encode(), capture_output=True, check=False)
        return output.read_bytes() if done.returncode == 0 else None


def _survives(mutant: Mutant) -> bool:
    """Whether all tests pass with it."""
    with tempfile.TemporaryDirectory() as folder:
        for part in ("firmware_bridge", "tests/firmware_bridge", "pyproject.toml"):
            source, target = HERE / part, Path(folder) / part
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
        (Path(folder) / mutant.file).write_text(mutant.source())
        tests = [f"tests/firmware_bridge/{name}" for name in TESTS]
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, timeout=300, check=False)
        except subprocess.TimeoutExpired:
            return False
    return done.returncode == 0


if __name__ == "__main__":
    main()
