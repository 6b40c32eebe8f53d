"""Take many mutated bundles through the stages, in several processes; go on later if it is stopped; take any one again by its number.

A folder holds the seeds and ``verdicts.jsonl``, a line for each bundle.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from edge_wm.engines.execution import Execution
from edge_wm.update.sandbox import SET_VARIABLES
from tests.model_files import seeds
from tests.model_files.controls import (
    CONTAINED,
    DEADLY,
    LATE,
    PLANTED,
    is_contained,
    kills_unguarded,
    passes_unguarded,
    planted,
)
from tests.model_files.crafted import CRAFTED, Crafted
from tests.model_files.mutations import Mutant, files, mutant
from tests.model_files.seeds import Seeds
from tests.model_files.stages import ENOUGH, Asked, Stages, Way, get_ready, is_undecided, real_proof, said
from tests.power_cuts import private

BATCH = 120
"""Bundles that a process is given at a time."""
REAL = 200
"""Of so many bundles one is proven in a fresh interpreter too: the fork must say the same."""
TAKE_OVER = 20
"""For one of so many bundles the driving process drives by another model before and after it."""
MEMORY = Path("/dev/shm")
GOOD = "good"
"""How the folders of bundles begin that drive before others and after them, one of each format."""


class Verdict(Struct, frozen=True, omit_defaults=True):
    """What came of one mutated bundle.

    Attributes:
        number: of it.
        format: of its graphs.
        mutated: how.
        seed: of what.
        way: how far it came.
        compared: whether a fresh interpreter proved it too and said the same; None if it was not asked.
    """

    number: int
    format: str
    mutated: str
    seed: str
    way: Way
    compared: bool | None = None


class Checked(Struct, frozen=True):
    """What came of a crafted bundle or of a control.

    Attributes:
        name: of it.
        end: the stage that it ended in, or what was to be seen.
        said: there.
        wrong: what should not be so; None if all is as it must be.
    """

    name: str
    end: str
    said: str
    wrong: str | None


class Campaign:
    """Verdicts in a folder; a context manager, which ends its processes."""

    def __init__(self, folder: Path, workers: int | None = None) -> None:
        self.folder = folder
        os.environ.update(SET_VARIABLES)  # of processes to come: before they import anything
        self._pool = ProcessPoolExecutor(
            workers or os.cpu_count(),
            mp_context=get_context("spawn"),
            initializer=_start,
            initargs=(folder,),
        )

    def __enter__(self) -> Campaign:
        return self

    def __exit__(self, *exception: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def verdicts(self) -> list[Verdict]:
        """All that are known, of this run and of those before it."""
        file = self.folder / "verdicts.jsonl"
        if not file.exists():
            return []
        whole, _, half = file.read_bytes().rpartition(b"\n")
        if half:  # a run was killed while it wrote
            os.truncate(file, len(whole) + 1 if whole else 0)
        return [msgspec.json.decode(line, type=Verdict) for line in whole.splitlines()]

    def run(self, numbers: Sequence[int]) -> Iterator[Verdict]:
        """Take the bundles of these numbers.  Yields each verdict as it comes, those of earlier runs first."""
        known = {verdict.number: verdict for verdict in self.verdicts()}
        yield from (known[number] for number in numbers if number in known)
        left = [number for number in numbers if number not in known]
        with (self.folder / "verdicts.jsonl").open("ab") as file:
            for verdict in self._taken(left):
                file.write(msgspec.json.encode(verdict) + b"\n")
                file.flush()
                yield verdict

    def crafted(self, compared: int) -> Iterator[Checked]:
        """Take every crafted bundle; one of so many is proven in a fresh interpreter too."""
        yield from self._all(partial(take_crafted, compared), range(len(CRAFTED)))

    def controls(self) -> Iterator[Checked]:
        """Try every control."""
        yield from self._all(unguarded, range(len(DEADLY)))
        yield from self._all(contained, range(len(CONTAINED)))
        yield from self._all(slips_through, range(len(LATE)))
        yield from self._all(try_planted, list(PLANTED))

    def _all(self, call: Callable[[Any], Checked], arguments: Iterable[Any]) -> Iterator[Checked]:
        with private.deaf_to_interrupts():  # the first one starts the processes
            results = [self._pool.submit(call, argument) for argument in arguments]
        try:
            for result in results:
                yield result.result()
        finally:
            for result in results:
                result.cancel()

    def _taken(self, numbers: list[int]) -> Iterator[Verdict]:
        batches = [numbers[at : at + BATCH] for at in range(0, len(numbers), BATCH)]
        with private.deaf_to_interrupts():  # the first one starts the processes
            results = [self._pool.submit(take, batch) for batch in batches]
        try:
            for result in as_completed(results):
                yield from result.result()
        finally:
            for result in results:
                result.cancel()


class Place(NamedTuple):
    """Where a process keeps the bundles that it changes, one of each template."""

    seeds: Seeds
    folder: Path

    def bundle(self, template: str) -> Path:
        """The bundle of a template."""
        return self.folder / template.replace(" ", "-")


_place: Place | None = None


def _start(folder: Path) -> None:
    """Make this process one that takes bundles."""
    global _place
    private.die_with_parent()
    _place = place(
        seeds.load(folder),
        Path(tempfile.mkdtemp(prefix="model-files-", dir=MEMORY if MEMORY.is_dir() else None)),
    )
    atexit.register(shutil.rmtree, _place.folder, ignore_errors=True)


def place(made: Seeds, folder: Path) -> Place:
    """Write one bundle of each template, and get ready to fork."""
    found = Place(made, folder)
    for name, template in made.templates.items():
        seeds.write(template, found.bundle(name))
    for format in seeds.FORMATS:
        seeds.write(made.templates[f"small {format}"], folder / f"{GOOD}-{format}")
    get_ready(
        [
            (found.bundle(name), made.templates[name].execution)
            for name in made.templates
            if "shipped" not in name
        ]
    )
    return found


def take(numbers: Sequence[int]) -> list[Verdict]:
    """Take bundles one after the other.  Within ``_start``."""
    assert _place is not None
    with Stages(_place.folder) as stages:
        return [take_one(mutant(number, _place.seeds), _place, stages) for number in numbers]


def take_one(made: Mutant, where: Place, stages: Stages) -> Verdict:
    """Take one mutated bundle through all stages."""
    template = where.seeds.templates[made.template]
    bundle = where.bundle(made.template)
    changed = files(template, made.file, made.data)
    is_graph = made.file.endswith((".onnx", ".tflite"))
    takes_over = made.number % TAKE_OVER == 0 and template.execution.precision == "int8"
    asked = Asked(str(bundle), template.execution, not is_graph, takes_over)
    compared = None
    try:
        for path, data in changed.items():
            (bundle / path).write_bytes(data)
        way = stages.take(asked)
        if made.number % REAL == 0 and way.end != "guard":
            compared, way = _compared(bundle, way, template.execution)
    finally:
        for path in changed:
            (bundle / path).write_bytes(template.files[path])
    return Verdict(made.number, made.format, made.way, made.seed, way, compared)


def _compared(bundle: Path, way: Way, execution: Execution) -> tuple[bool, Way]:
    """Whether a fresh interpreter says the same of a bundle, and the way, with a failure if it does not."""
    real = real_proof(bundle, execution)
    told = said(real).replace(f"{bundle}/", "").replace(str(bundle), "bundle")
    if is_undecided(real) or "too slow" in str(way.proof) or alike(told) == alike(str(way.proof)):
        return True, way
    failure = f"in series the proof says {way.proof!r}, in a fresh interpreter {told!r}"
    return False, msgspec.structs.replace(way, failure=way.failure or failure)


def take_crafted(compared: int, index: int) -> Checked:
    """Take one crafted bundle through all stages, and compare with what must come of it.  Within ``_start``."""
    assert _place is not None
    crafted = CRAFTED[index]
    with _bundle(crafted) as (bundle, execution), Stages(_place.folder) as stages:
        try:
            crafted.change(bundle)
        except PermissionError as error:
            return Checked(crafted.name, "", f"left out: {error.strerror}", None)
        way = stages.take(Asked(str(bundle), execution, whole=True, takes_over=True))
        if way.end != "guard" and index % compared == 0:
            _, way = _compared(bundle, way, execution)
    told = way.drive or way.proof or way.guard
    wrong = way.failure
    if wrong is None and way.end not in crafted.ends:
        wrong = f"ended in the {way.end}: {told}"
    if wrong is None and way.end != "drive" and not re.search(crafted.says, told):
        wrong = f"was refused for something else than {crafted.says!r}: {told}"
    return Checked(crafted.name, way.end, told, wrong)


def unguarded(index: int) -> Checked:
    """A deadly bundle, with no guard and no sandbox.  Within ``_start``."""
    crafted = DEADLY[index]
    with _bundle(crafted) as (bundle, execution):
        crafted.change(bundle)
        told = kills_unguarded(crafted, bundle, execution)
    seen = re.match(crafted.kills, told) is not None
    return Checked(f"without guard and sandbox: {crafted.name}", crafted.kills, told, None if seen else told)


def contained(index: int) -> Checked:
    """A deadly bundle in the sandbox, with no guard.  Within ``_start``."""
    assert _place is not None
    crafted = CONTAINED[index]
    good = _place.seeds.templates["small onnx"]
    with _bundle(crafted) as (bundle, execution):
        crafted.change(bundle)
        told = is_contained(bundle, execution, _place.folder / f"{GOOD}-onnx", good.execution)
    held = re.match(f"passed: ({crafted.kills}) in the sandbox, outside: fault: {ENOUGH}", told)
    return Checked(f"without guard: {crafted.name}", crafted.kills, told, None if held else told)


def slips_through(index: int) -> Checked:
    """A bundle that is deadly in the light, in the sandbox, with no guard: nothing but the guard keeps it out."""
    crafted = LATE[index]
    with _bundle(crafted) as (bundle, execution):
        crafted.change(bundle)
        told = passes_unguarded(bundle, execution)
    return Checked(
        f"proven without guard: {crafted.name}", "passed", told, None if told == "passed" else told
    )


def try_planted(what: str) -> Checked:
    """One planted mistake.  Within ``_start``."""
    assert _place is not None
    template = _place.seeds.templates["small onnx"]
    way = planted(what, _place.bundle("small onnx"), template.execution, _place.folder)
    (_place.bundle("small onnx") / "planted").unlink(missing_ok=True)
    told = way.failure or "nothing"
    seen = PLANTED[what][2] in told
    return Checked(f"planted: {what}", PLANTED[what][0], told, None if seen else told)


@contextmanager
def _bundle(crafted: Crafted) -> Iterator[tuple[Path, Execution]]:
    """The bundle that a crafted one is made of, and how it is run."""
    assert _place is not None
    template = _place.seeds.templates[f"blind {crafted.format}"]
    with tempfile.TemporaryDirectory(dir=_place.folder) as folder:
        yield seeds.write(template, Path(folder) / "crafted"), template.execution


def written(template: seeds.Template, made: Mutant, folder: Path) -> None:
    """Write the whole bundle of a mutant."""
    seeds.write(template, folder, files(template, made.file, made.data))


def alike(words: str) -> str:
    """What was said of a bundle without what depends on addresses and on the size of the process."""
    return re.sub(r"0x[0-9a-f]+|\d+", "N", words).partition("killed by a signal: ")[0][:120]
