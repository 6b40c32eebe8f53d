"""A profile on disk is read as it was written, compared with care, and given away without what is private."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import msgspec
import pytest

from edge_wm.engines.execution import Execution
from edge_wm.errors import BadInput
from edge_wm.output_file import write_json
from edge_wm.profile.compare import WORSE_MS, WORSE_RATIO, compare
from edge_wm.profile.contribute import anonymous, contribute
from edge_wm.profile.machine_state import MachineState
from edge_wm.profile.profile_file import FORMAT_VERSION, read_profile
from tests.profile.samples import FP32, INT8, profile, row


def test_a_profile_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "profile.json"
    write_json(file, profile())
    assert read_profile(file) == profile()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("not JSON", "is no profile"),
        ("{}", "is no profile: object missing required field `format_version`"),
        (
            json.dumps({"format_version": FORMAT_VERSION + 1}),
            f"format_version: {FORMAT_VERSION + 1}, this edge-wm reads {FORMAT_VERSION}: measure it again",
        ),
        (json.dumps({"format_version": FORMAT_VERSION}), "is no profile: object missing required field"),
    ],
)
def test_another_file_is_refused_in_one_line(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "old.json"
    file.write_text(content)
    with pytest.raises(BadInput) as refused:
        read_profile(file)
    assert str(refused.value).startswith(f"{file}: {said}") and "\n" not in str(refused.value)
    with pytest.raises(BadInput, match="cannot read the profile"):
        read_profile(tmp_path / "missing.json")


def test_the_budget_is_kept_only_if_it_is_kept_at_the_robots_rate_too() -> None:
    assert profile(30.0).keeps_budget
    assert not profile(30.1).keeps_budget
    one_after_another = msgspec.structs.replace(row(INT8, 15.0), tick_p99_ms=30.1)
    assert not profile(rows=(one_after_another,)).keeps_budget
    assert not profile(chosen=None).keeps_budget


def test_every_stage_of_every_way_is_compared() -> None:
    ratios = compare(profile(15.0), profile(18.0)).ratios
    assert {each.execution for each in ratios} == {INT8, FP32}
    tick = next(each for each in ratios if (each.execution, each.stage) == (INT8, "tick"))
    assert (tick.old_p99, tick.new_p99) == (15.0, 18.0)
    assert {"observe", "iteration 2", "camera to motor"} < {each.stage for each in ratios}


def test_it_is_worse_only_beyond_both_bounds() -> None:
    assert compare(profile(10.0), profile(10.0 * WORSE_RATIO)).worse is None
    assert "it was 10.0 ms" in (compare(profile(10.0), profile(10.1 * WORSE_RATIO)).worse or "")
    assert compare(profile(1.0), profile(1.0 + WORSE_MS)).worse is None
    assert compare(profile(10.0), profile(5.0)).worse is None
    assert compare(profile(10.0), profile(chosen=None)).worse is not None


def test_of_another_machine_nothing_is_called_worse_and_that_is_said() -> None:
    other = profile(90.0, machine="Cortex-A72, 4 cores", model_sha256="b" * 64)
    comparison = compare(profile(10.0), other)
    assert comparison.worse is None
    assert [note.partition(":")[0] for note in comparison.notes] == ["machine", "model"]
    assert compare(profile(), profile()).notes == []


def test_a_contribution_tells_nothing_of_its_owner(tmp_path: Path) -> None:
    host = socket.gethostname()
    private = Execution("tflite", "int8", 1, "delegate", delegate="/home/jane/lib/libedgetpu.so.1")
    cached = Execution("onnx", "fp16", 1, "tensorrt", engine_cache="/home/jane/engines")
    failing = msgspec.structs.replace(
        row(cached, 1.0), failure=f"/home/jane/models/mine/observe.onnx: no such engine on {host}"
    )
    relative = msgspec.structs.replace(row(FP32, 1.0), failure="../jane/mine/observe.onnx: is another model")
    alone = row(private, 1.0).alone
    assert alone is not None and alone.idle is not None
    early = msgspec.structs.replace(alone.idle, ended_early="OSError: ~/jane/video: gone")
    row_of_delegate = msgspec.structs.replace(
        row(private, 1.0), alone=msgspec.structs.replace(alone, idle=early, failure=f"{host}: no")
    )
    whole = profile(
        rows=(row_of_delegate, failing, relative),
        chosen=private,
        robot="janes-rover",
        kernel=f"Linux 6.12-{host}",
    )
    file = contribute(whole, tmp_path)
    assert file.name == "rpi5-rooms-student-2026-11-26.json"
    text = file.read_text()
    for secret in ("jane", "/home", host):
        assert secret in msgspec.json.encode(whole).decode()
        assert secret not in text
    kept = read_profile(file)
    assert kept.chosen is not None and kept.chosen.delegate == "libedgetpu.so.1"
    assert kept.row(kept.chosen) is not None
    assert kept.rows[1].failure == "observe.onnx: no such engine on this machine"


def test_what_is_measured_is_contributed_as_it_is() -> None:
    assert anonymous(profile()) == profile(robot=None)


def test_a_contribution_takes_the_place_of_no_other(tmp_path: Path) -> None:
    first = contribute(profile(note="a whole one"), tmp_path)
    with pytest.raises(BadInput, match=f"{first}: is there"):
        contribute(profile(note="a quick one"), tmp_path)
    assert read_profile(first).note == "a whole one"
    first.rename(tmp_path / "another-name.json")
    assert contribute(profile(), tmp_path) == first


def test_a_contribution_needs_a_folder_a_known_board_and_a_choice(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="there is no such folder"):
        contribute(profile(), tmp_path / "missing")
    for board in ("janes-board", "sim"):
        with pytest.raises(BadInput, match=f"no file in boards/ is for the computer '{board}'"):
            contribute(profile(board=board), tmp_path)
    with pytest.raises(BadInput, match="nothing to contribute"):
        contribute(profile(chosen=None), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_a_machine_does_not_tell_is_not_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "profile.json"
    write_json(file, profile(before=MachineState(), after=MachineState(load_average=0.5)))
    facts = json.loads(file.read_text())
    assert facts["before"] == {} and facts["after"] == {"load_average": 0.5}
