"""Whether the tests of the firmware would notice a mistake in its safety decisions: they are run against many versions with one mistake each.

Run it with ``make mutants``; ``QUICK=1`` tries every tenth, ``--again`` only what lived the last time; both record nothing.  Mistakes are made
by universalmutator's rules for C.  What counts is every one that the firmware's own build accepts, warnings being errors, and that
compiles to another program than the firmware and than each other; none is left out because of what it does.  ``docs/mutants.md``
says of each that lives why it does, and which of those cannot be seen from outside.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec
from rich.progress import track

from benchmarks.timing import RESULTS, record

HERE = Path(__file__).parents[1]
CORE = Path("firmware_bridge/firmware/core")
EXPLAINED = HERE / "docs" / "mutants.md"
MUTATED = ("safety.c", "controller.c", "frame.c")
TESTS = ("test_safety.py", "test_motion.py", "test_framing.py")
RULES = ["universal.rules", "c_like.rules", "c.rules"]
WITH = ("firmware_bridge", "tests/conftest.py", "tests/firmware_bridge", "pyproject.toml")
"""What the tests need."""
STRICT = ("-std=c11", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wpedantic", "-Werror")
"""Of the firmware's Makefile: what it refuses would never be flashed."""
PLUGINS = ("-p", "_hypothesis_pytestplugin", "-p", "pytest_timeout")
"""Of pytest, all that these tests need: to load the others takes longer than to kill a mutant."""
MOST_CPU_S = 30
"""The tests take about 5."""
LEAST = 0.95
"""Share of the mutants that must be killed."""
UNSEEN = "Nothing that can be seen changes"
"""Heading in ``docs/mutants.md``."""

T = TypeVar("T")
R = TypeVar("R")


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

    def name(self) -> str:
        """As ``docs/mutants.md`` writes it: with the function, since numbers of lines move."""
        above = "".join(_lines(self.file)[: self.line])
        *_, function = re.findall(r"^\w.*?(\w+)\(", above, re.MULTILINE) or [""]
        return f"`{self.file}` `{function}`: `{_on_one_line(self.was)}` → `{_on_one_line(self.now)}`"


def main() -> None:
    """Make the mutants, test each, print the survivors, record.  Exit code 1 if too few were killed, or one is not explained."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--quick", action="store_true", help="every tenth, recorded nowhere")
    parser.add_argument("--again", action="store_true", help="the recorded survivors, recorded nowhere")
    options = parser.parse_args()
    if not _passes(MUTATED[0], "".join(_lines(MUTATED[0]))):
        sys.exit("error: the tests fail without a mistake: run  make test ARGS=tests/firmware_bridge")
    with ThreadPoolExecutor(options.jobs) as pool:

        def each(call: Callable[[T], R], of: list[T], what: str) -> list[R]:
            return list(track(pool.map(call, of), description=what, total=len(of)))

        fate: dict[str, int] = {}
        if options.again:
            mutants = list(_recorded())
        else:
            made = [mutant for file in MUTATED for mutant in mistakes(file)][:: 10 if options.quick else 1]
            mutants, fate = sifted(made, each(lambda mutant: compiled(mutant.source()), made, "compiling"))
        lives = each(lambda mutant: _passes(mutant.file, mutant.source()), mutants, "testing")
    survivors = [mutant for mutant, passed in zip(mutants, lives, strict=True) if passed]
    told = explained(EXPLAINED.read_text())
    unseen = sum(told.get(mutant.name(), ("", ""))[0] == UNSEEN for mutant in survivors)
    killed = 1.0 - len(survivors) / len(mutants)
    of_seen = 1.0 - (len(survivors) - unseen) / (len(mutants) - unseen)
    unexplained = [mutant for mutant in survivors if mutant.name() not in told]
    for mutant in unexplained:
        print(f"lives, and is not explained: - {mutant.name()}")
    if not (options.quick or options.again):
        for name in told.keys() - {mutant.name() for mutant in survivors}:
            print(f"explained, and does not live: - {name}")
        facts = {
            **fate,
            "mutants": len(mutants),
            "by_file": _by_file(mutants, survivors),
            "killed": killed,
            "unseen": unseen,
            "killed_of_seen": of_seen,
            "survivors": [
                {"name": mutant.name(), "line": mutant.line, "why": told.get(mutant.name(), ("", ""))[1]}
                for mutant in survivors
            ],
        }
        record("mutants", facts)
    print(
        f"RESULT mutants={len(mutants)} killed={killed:.3f} survivors={len(survivors)} unseen={unseen} "
        f"killed_of_seen={of_seen:.3f} unexplained={len(unexplained)}"
    )
    sys.exit(not options.again and (killed < LEAST or bool(unexplained)))


def mistakes(file: str) -> Iterator[Mutant]:
    """All that the rules make of a file."""
    from universalmutator.mutator import mutants_regexp

    lines = _lines(file)
    with contextlib.redirect_stdout(io.StringIO()):
        made = mutants_regexp(lines, ruleFiles=RULES, ignorePatterns=[])
    for number, text, *_ in made:
        yield Mutant(file, number, lines[number - 1], text)


def sifted(made: Iterable[Mutant], programs: Iterable[bytes | None]) -> tuple[list[Mutant], dict[str, int]]:
    """Those that count, and how many were made and are not counted, and why."""
    seen = {file: {compiled("".join(_lines(file)))} for file in MUTATED}
    firmware = {file: set(programs) for file, programs in seen.items()}
    mutants, fate = (
        [],
        Counter({"made": 0, "refused_by_compiler": 0, "same_program": 0, "same_as_another": 0}),
    )
    for mutant, program in zip(made, programs, strict=True):
        fate["made"] += 1
        if program is None:
            fate["refused_by_compiler"] += 1
        elif program in firmware[mutant.file]:
            fate["same_program"] += 1
        elif program in seen[mutant.file]:
            fate["same_as_another"] += 1
        else:
            seen[mutant.file].add(program)
            mutants.append(mutant)
    return mutants, dict(fate)


def explained(document: str) -> dict[str, tuple[str, str]]:
    """Heading and reason of each mutant, by its name, in the text of ``docs/mutants.md``."""
    found, heading = {}, ""
    for line in document.splitlines():
        if line.startswith("## "):
            heading = line[3:]
        elif match := re.fullmatch(r"- (`\S+` `\w+`: `[^`]+` → `[^`]*`): (.+)", line):
            found[match[1]] = (heading, match[2])
    return found


def _recorded() -> Iterator[Mutant]:
    """The survivors in ``mutants.json`` that can still be made."""
    recorded = msgspec.json.decode((RESULTS / "mutants.json").read_bytes())
    lived = {one["name"] for one in recorded["survivors"]}
    return (mutant for file in MUTATED for mutant in mistakes(file) if mutant.name() in lived)


def _by_file(mutants: list[Mutant], survivors: list[Mutant]) -> dict[str, Any]:
    of, lived = Counter(mutant.file for mutant in mutants), Counter(mutant.file for mutant in survivors)
    return {file: {"mutants": of[file], "survivors": lived[file]} for file in MUTATED}


def _on_one_line(code: str) -> str:
    return " ".join(code.split())


def _lines(file: str) -> list[str]:
    return (HERE / CORE / file).read_text().splitlines(keepends=True)


def compiled(source: str) -> bytes | None:
    """The object code; None if the firmware's build would refuse it."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "mutant.o"
        command = ["cc", *STRICT, "-O2", f"-I{HERE / CORE}", "-x", "c", "-c", "-", "-o", str(output)]
        done = subprocess.run(command, input=source.encode(), capture_output=True, check=False)
        return output.read_bytes() if done.returncode == 0 else None


def _passes(file: str, source: str) -> bool:
    """Whether all tests pass with this in place of the file."""
    with tempfile.TemporaryDirectory() as folder:
        for part in WITH:
            original, copy = HERE / part, Path(folder) / part
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(original, copy) if original.is_dir() else shutil.copy(original, copy)
        (Path(folder) / CORE / file).write_text(source)
        # A mistake that loops for ever is stopped by processor time, since a busy machine must kill no mutant.
        limited = ["sh", "-c", f'ulimit -t {MOST_CPU_S}; exec "$@"', "sh", sys.executable, "-m", "pytest"]
        options = ["-x", "-q", "-p", "no:cacheprovider", *PLUGINS, "-o", "timeout=0"]
        command = [*limited, *options, *(f"tests/firmware_bridge/{name}" for name in TESTS)]
        environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)
    return done.returncode == 0


if __name__ == "__main__":
    main()
