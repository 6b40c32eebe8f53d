"""A profile is shown in 100 columns and as a page by itself."""

from __future__ import annotations

import io
import re
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest
from rich.console import Console

from edge_wm.engines.execution import Execution
from edge_wm.profile.accuracy import Accuracy, OutputError
from edge_wm.profile.compare import compare
from edge_wm.profile.machine_state import MachineState
from edge_wm.profile.page import write_page
from edge_wm.profile.profile_file import Profile, Row
from edge_wm.profile.tables import (
    WIDTH,
    accuracy_table,
    comparison_table,
    facts,
    stages_table,
    state_line,
    ways_table,
)
from tests.profile.samples import INT8, profile, row

WIDEST = Execution("tflite", "int8", 16, "delegate", delegate="/usr/lib/libedgetpu.so.1")


def printed(*tables: object) -> str:
    console = Console(file=io.StringIO(), width=WIDTH)
    for table in tables:
        console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def wide() -> Profile:
    slow = msgspec.structs.replace(row(WIDEST, 2345.67), accelerated=1.0)
    return profile(chosen=WIDEST, rows=(slow, Row(INT8, failure="is another model here")))


@pytest.mark.parametrize("shown", [profile(), wide()], ids=["usual", "wide"])
def test_tables_fit_their_width_and_nothing_is_cut_off(shown: Profile) -> None:
    chosen = shown.row(shown.chosen)
    assert chosen is not None
    text = printed(
        ways_table(shown, 1024),
        stages_table(chosen),
        accuracy_table(shown),
        comparison_table(compare(shown, shown), shown),
    )
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "…" not in text
    for heading in ("threads", "loaded", "missed", "MiB", "same elites", "ratio"):
        assert heading in text


def test_one_row_a_way_marks_the_choice_and_what_fails() -> None:
    lines = printed(ways_table(profile(), 64)).splitlines()
    of_ways = [line.split() for line in lines if "onnx" in line or "tflite" in line]
    assert [line[0] for line in of_ways] == ["*", "64", "x"]
    assert "0/200" in of_ways[0] and "4/200" in of_ways[0]


def test_the_stages_of_the_choice_are_shown_idle_and_loaded() -> None:
    chosen = profile().row(INT8)
    assert chosen is not None
    text = printed(stages_table(chosen))
    for stage in (
        "sensor",
        "observe",
        "iteration 1",
        "iteration 2",
        "supervise",
        "bridge",
        "tick",
        "camera to motor",
    ):
        assert stage in text
    assert "15.00" in text and "45.00" in text


def test_what_was_not_measured_is_not_shown_as_zero() -> None:
    quick = profile(quick=True, rows=(msgspec.structs.replace(row(INT8, 15.0), alone=None),))
    assert stages_table(quick.rows[0]) is None
    told = list(facts(quick))
    assert any("quick: only the plausible ways" in line for line in told)
    assert not any(
        " W" in line
        for line in facts(profile(before=MachineState(), after=MachineState()))
        if "before" in line
    )
    assert state_line(MachineState()) == "it does not tell"
    assert (
        state_line(MachineState(51.5, (1800, 2400), "schedutil"))
        == "51.5 °C, 1800, 2400 MHz, governor schedutil"
    )


def test_accuracy_is_of_the_output_that_is_nearest_to_its_tolerance() -> None:
    near = OutputError("observe", "next_state", 0.09, 0.001, 0.1)
    far = OutputError("imagine", "value", 0.5, 0.01, 100.0)
    form = Accuracy("onnx", "int8", None, (far, near), 0.99, 1.0, 0.0)
    assert form.worst == near
    beyond = OutputError("imagine", "value", None, None, 100.0)
    assert msgspec.structs.replace(form, outputs=(near, beyond)).worst == beyond
    exact = OutputError("observe", "next_step", 0.0, 0.0, 0.0)
    assert msgspec.structs.replace(form, outputs=(exact, far, near)).worst == near
    inexact = msgspec.structs.replace(exact, max_abs=1e-9)
    assert msgspec.structs.replace(form, outputs=(near, inexact)).worst == inexact
    text = printed(accuracy_table(profile(accuracy=(form,))))
    assert "next_state" in text and "0.09" in text and "0.99" in text and "value" not in text


def test_a_busy_machine_is_told() -> None:
    busy = profile(before=MachineState(load_average=2.5))
    assert any(line.startswith("warning: this machine was busy") for line in facts(busy))
    assert not any(line.startswith("warning") for line in facts(profile()))


def test_energy_is_told_where_there_is_a_sensor() -> None:
    assert any("2.50 W, 250 mJ a tick" in line for line in facts(profile()))


def test_a_page_has_everything_inside(tmp_path: Path) -> None:
    file = tmp_path / "profile.html"
    hostile = profile(note="<script>alert(1)</script>")
    write_page(file, hostile, 64, compare(profile(10.0), hostile))
    page = file.read_text()
    assert not re.findall(r"""(?:src|href)=|url\(|@import|<script""", page)
    for text in ("within the budget", "iteration 2", "Against an earlier profile", "Cortex-A76"):
        assert text in page
    svg = page[page.index("<svg") : page.index("</svg>") + 6]
    bars = [element for element in ElementTree.fromstring(svg).iter() if element.tag == "rect"]
    assert len(bars) == 2 * 7  # two ways were measured, a tick has seven parts


def test_a_page_without_any_usable_way_says_so(tmp_path: Path) -> None:
    file = tmp_path / "profile.html"
    write_page(file, profile(chosen=None, candidates=None, rows=(Row(INT8, failure="no"),)), 64, None)
    assert "No form of the model can be used" in file.read_text()
