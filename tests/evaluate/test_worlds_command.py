"""`edge-wm worlds`."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_wm.cli import EXIT_BAD_INPUT, run
from edge_wm.sim.tasks import check_task, load_tasks
from edge_wm.sim.true_map import TrueMap

pytestmark = pytest.mark.sim


def generate(folder: Path, *words: str) -> int:
    return run(
        ["worlds", "generate", "--kind", "rooms", "--seed", "1000900", "--count", "2", str(folder), *words]
    )


def test_generated_worlds_can_be_loaded_and_solved(tmp_path: Path) -> None:
    assert generate(tmp_path / "w") == 0
    tasks = load_tasks(tmp_path / "w")
    assert [task.world.name for task in tasks] == ["rooms_000.xml", "rooms_001.xml"]
    for task in tasks:
        check_task(task, TrueMap.from_world(task.world), "task")


def test_movers_are_in_the_file(tmp_path: Path) -> None:
    assert generate(tmp_path / "still") == generate(tmp_path / "moving", "--movers", "1") == 0
    assert "moving_0" in (tmp_path / "moving" / "rooms_000.xml").read_text()
    assert "moving_0" not in (tmp_path / "still" / "rooms_000.xml").read_text()


def test_a_folder_that_holds_worlds_is_not_written_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate(tmp_path / "w") == 0
    assert generate(tmp_path / "w") == EXIT_BAD_INPUT
    assert "holds worlds already" in capsys.readouterr().err


def test_a_task_is_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate(tmp_path / "w") == 0
    assert run(["worlds", "show", str(tmp_path / "w"), "1", "--png", str(tmp_path / "w.png")]) == 0
    with Image.open(tmp_path / "w.png") as picture:
        assert picture.size == (512, 512)
        assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 10
    assert (
        run(["worlds", "show", str(tmp_path / "w"), "2", "--png", str(tmp_path / "w.png")]) == EXIT_BAD_INPUT
    )
    assert "has tasks 0 to 1" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["picture", "picture.bogus"])
def test_the_picture_is_a_png_whatever_its_name(tmp_path: Path, name: str) -> None:
    assert generate(tmp_path / "w") == 0
    assert run(["worlds", "show", str(tmp_path / "w"), "0", "--png", str(tmp_path / name)]) == 0
    with Image.open(tmp_path / name) as picture:
        assert picture.format == "PNG"
    assert run(["worlds", "show", str(tmp_path / "w"), "0", "--png", "/dev/null"]) == EXIT_BAD_INPUT


def test_a_full_disk_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    assert generate(tmp_path / "w") == EXIT_BAD_INPUT
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert errors == [f"error: {tmp_path / 'w'}: the worlds cannot be written: No space left on device"]
