"""What the doctor finds of the models over the air."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_wm.doctor.finding import Level
from edge_wm.doctor.updates import updates
from edge_wm.update.slots import Folders
from edge_wm.update.status import driving_bundle
from edge_wm.update.store import LOOK_FAILED, Store
from tests.update.bundles import contents_of, installed, tiny_version


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    found = Folders(tmp_path / "robot", tiny_version(tmp_path / "factory", "0.1.0"))
    found.make()
    return found


def test_a_robot_that_never_had_an_update_is_well(folders: Folders) -> None:
    (finding,) = updates(folders)
    assert finding.level is Level.OK
    assert "0.1.0" in finding.said
    assert driving_bundle(folders) == folders.factory


def test_the_model_that_was_committed_is_the_one_to_look_at(folders: Folders, tmp_path: Path) -> None:
    bundle = tiny_version(tmp_path / "one", "1.0.0")
    with Store(folders.store) as store:
        slot = store.begin_fetch(installed(bundle, 1))
        folders.fill(slot, contents_of(bundle))
        store.stage(installed(bundle, 1))
        store.begin_trial()
        store.commit()
    (finding,) = updates(folders)
    assert (finding.level, driving_bundle(folders)) == (Level.OK, folders.slot(slot))


def test_a_model_in_quarantine_is_named_with_its_reason(folders: Folders, tmp_path: Path) -> None:
    with Store(folders.store) as store:
        store.fail(installed(tiny_version(tmp_path / "one", "1.0.0"), 1), "too slow", quarantine=True)
    (finding,) = updates(folders)
    assert finding.level is Level.WARNING
    assert "too slow" in finding.said
    assert "update history" in finding.remedy


def test_a_look_that_failed_is_told(folders: Folders) -> None:
    with Store(folders.store) as store:
        store.set(LOOK_FAILED, "2026-11-27 08:00:00+00:00: no network")
    failed, drives = updates(folders)
    assert (failed.level, drives.level) == (Level.WARNING, Level.OK)
    assert failed.said == "the last look failed 2026-11-27 08:00:00+00:00: no network"


def test_a_damaged_store_is_found(folders: Folders) -> None:
    folders.store.write_bytes(b"rubbish" * 99)
    (finding,) = updates(folders)
    assert finding.level is Level.ERROR
    assert finding.remedy == "edge-wm update repair"
    assert driving_bundle(folders) == folders.factory


def test_without_a_factory_model_there_is_nothing_to_drive_by(folders: Folders) -> None:
    (folders.factory / "manifest.json").unlink()
    (finding,) = updates(folders)
    assert finding.level is Level.ERROR
