"""The stages let a sound bundle drive, and see every way in which a process can end that it should not."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from edge_wm.errors import BadInput
from tests.model_files.campaign import Checked, Verdict, place, take_one
from tests.model_files.controls import DEADLY, PLANTED, kills_unguarded, planted
from tests.model_files.crafted import CRAFTED
from tests.model_files.few_seeds import few_seeds, save_few
from tests.model_files.forked import Bounds, Series, in_child
from tests.model_files.mutations import mutant
from tests.model_files.seeds import FORMATS, write
from tests.model_files.stages import Asked, Stages, forked_proof, said
from tests.power_cuts.own_process import call_in_own_process

BOUNDS = Bounds(cpu_s=1, wall_s=3.0, memory_bytes=512 << 20)


def _refuse() -> str:
    raise BadInput("no")


def _raise() -> str:
    raise KeyError("what")


def _loop() -> str:
    while True:
        pass


def _sleep() -> str:
    time.sleep(60.0)
    return ""


def _allocate() -> str:
    return str(len(bytearray(1 << 30)))


def _write(where: Path) -> str:
    where.write_bytes(b"more than nothing")
    return ""


def test_a_child_says_what_it_did_or_how_it_ended(tmp_path: Path) -> None:
    assert in_child(lambda: "done", BOUNDS) == ("passed", "done")
    assert in_child(_refuse, BOUNDS) == ("refused", "no")
    assert in_child(_raise, BOUNDS).said.startswith("KeyError: 'what' (test_stages.py:")
    assert in_child(os.abort, BOUNDS).end == "SIGABRT"
    assert in_child(lambda: os._exit(7), BOUNDS).end == "exit code 7"
    assert in_child(_loop, BOUNDS).end == "hung"
    assert in_child(_sleep, BOUNDS._replace(wall_s=0.5)).end == "hung"
    assert "MemoryError" in in_child(_allocate, BOUNDS).said
    assert in_child(lambda: _write(tmp_path / "x"), BOUNDS).end == "raised"


def test_a_series_goes_on_after_one_that_ends_its_process() -> None:
    deeds = {
        b"abort": lambda: os.abort(),
        b"segfault": lambda: os.kill(os.getpid(), signal.SIGSEGV),
        b"loop": _loop,
        b"raise": _raise,
        b"refuse": _refuse,
        b"pid": lambda: str(os.getpid()),
    }
    series = Series(lambda about: str(deeds[about]()), BOUNDS, length=3)
    try:
        first = series.ask(b"pid")
        assert series.ask(b"pid") == first and series.ask(b"refuse").end == "refused"
        assert series.ask(b"pid") != first, "it has seen enough"
        for about, end in {
            b"abort": "SIGABRT",
            b"segfault": "SIGSEGV",
            b"loop": "hung",
            b"raise": "raised",
        }.items():
            assert series.ask(about).end == end
            assert series.ask(b"pid").end == "passed"
    finally:
        series.close()


def _sound(folder: Path) -> list[str]:
    """What becomes of sound bundles, alone and between drives by another model."""
    found = []
    where = place(few_seeds(folder / "seeds"), folder / "bundles")
    with Stages(where.folder) as stages:
        for name, template in where.seeds.templates.items():
            for takes_over in (False, True):
                asked = Asked(str(where.bundle(name)), template.execution, True, takes_over)
                found.append(repr(stages.take(asked)))
            found.append(said(forked_proof(where.bundle(name), template.execution)))
    return found


def test_sound_bundles_of_both_formats_drive(tmp_path: Path) -> None:
    drove = "Way(guard='passed', proof='passed', drive='passed: fault: the campaign has seen enough', failure=None)"
    ends = call_in_own_process(_sound, tmp_path, timeout_s=120.0, method="spawn")
    assert ends == [drove, drove, "passed"] * 2 * len(FORMATS)


def _planted(folder: Path) -> list[Checked]:
    where = place(few_seeds(folder / "seeds"), folder / "bundles")
    bundle, execution = where.bundle("small onnx"), where.seeds.templates["small onnx"].execution
    found = []
    for what in PLANTED:
        if "waits" not in what:  # it takes its time
            way = planted(what, bundle, execution, where.folder)
            found.append(Checked(what, way.end, way.failure or "nothing", None))
            (bundle / "planted").unlink(missing_ok=True)
    return found


def test_every_planted_mistake_is_a_failure(tmp_path: Path) -> None:
    found = call_in_own_process(_planted, tmp_path, timeout_s=120.0, method="spawn")
    assert len(found) >= 8
    for checked in found:
        assert PLANTED[checked.name][2] in checked.said


def _unguarded(folder: Path) -> dict[str, tuple[str, str]]:
    """With the guard and without it."""
    where = place(few_seeds(folder / "seeds"), folder / "bundles")
    found = {}
    with Stages(where.folder) as stages:
        for number, crafted in enumerate(DEADLY):
            template = where.seeds.templates[f"blind {crafted.format}"]
            bundle = write(template, folder / str(number))
            crafted.change(bundle)
            way = stages.take(Asked(str(bundle), template.execution))
            found[crafted.name] = way.end, kills_unguarded(crafted, bundle, template.execution)
    return found


def test_what_the_guard_keeps_out_ends_a_process_that_has_none(tmp_path: Path) -> None:
    found = call_in_own_process(_unguarded, tmp_path, timeout_s=120.0, method="spawn")
    assert found == {crafted.name: ("guard", crafted.kills) for crafted in DEADLY}
    assert {kills for _, kills in found.values()} == {"SIGABRT", "SIGFPE", "SIGSEGV"}


def _mutated(folder: Path) -> list[Verdict]:
    where = place(save_few(folder), folder / "bundles")
    before = {file: file.read_bytes() for file in where.folder.rglob("*") if file.is_file()}
    with Stages(where.folder) as stages:
        verdicts = [take_one(mutant(number, where.seeds), where, stages) for number in range(1, 40)]
    assert before == {file: file.read_bytes() for file in where.folder.rglob("*") if file.is_file()}
    return verdicts


def test_mutated_bundles_end_in_different_stages_and_leave_the_template_as_it_was(tmp_path: Path) -> None:
    verdicts = call_in_own_process(_mutated, tmp_path, timeout_s=120.0, method="spawn")
    assert not [verdict for verdict in verdicts if verdict.way.failure]
    assert {verdict.way.end for verdict in verdicts} == {"guard", "proof", "drive"}


def test_every_crafted_bundle_has_a_name_of_its_own() -> None:
    assert len({crafted.name for crafted in CRAFTED}) == len(CRAFTED) >= 40
