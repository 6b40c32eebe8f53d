"""One process each, also where the disk takes no file that could be locked."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from edge_wm.bundle.load import load_bundle
from edge_wm.clock import SimulatedClock
from edge_wm.drive.model_changes import TAKEN, ModelChanges, pilot_by_updates
from edge_wm.drive.pilot import Pilot
from edge_wm.errors import BadInput
from edge_wm.robot import load_robot
from edge_wm.update.criteria import ShadowCriteria, TrialCriteria
from edge_wm.update.locks import DRIVING, held
from edge_wm.update.slots import Folders
from tests.blind_model import write_blind


def mounted(folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=False)
    if done.returncode != 0:
        pytest.skip("nothing can be mounted here: needs root")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    yield from mounted(tmp_path / "disk", "ro,size=1m")


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    yield from mounted(tmp_path / "disk", "size=1m,nr_inodes=1")  # its own folder is the one


@pytest.mark.parametrize("disk", ["read_only", "full"])
def test_a_robot_drives_by_the_factorys_model_from_its_first_start_on_a_disk_that_takes_nothing(
    disk: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    write_blind(tmp_path / "factory")
    folders = Folders(request.getfixturevalue(disk) / "lib" / "edge-wm", tmp_path / "factory")
    said: list[str] = []

    def driving() -> AbstractContextManager[tuple[Pilot, ModelChanges]]:
        criteria = ShadowCriteria(), TrialCriteria()
        return pilot_by_updates(folders, load_robot(), SimulatedClock(50.0), *criteria, said.append)

    with driving() as (pilot, changes):
        assert pilot.model.sha256 == load_bundle(folders.factory).sha256
        assert "no update can be tried" in said[0]
        with pytest.raises(BadInput, match=TAKEN), driving():
            pass
        changes.rest()
    with driving():
        pass


def test_a_folder_that_is_not_there_and_could_be_is_bad_input_and_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=os.strerror(errno.ENOENT)), held(tmp_path / "typo" / "lock", DRIVING):
        pass
    assert list(tmp_path.iterdir()) == []
