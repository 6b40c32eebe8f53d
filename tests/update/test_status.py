"""What ``edge-wm update status`` says is what the next start would do."""

from __future__ import annotations

from pathlib import Path

from edge_wm.update.slots import Folders
from edge_wm.update.status import status_of
from edge_wm.update.store import LOOK_FAILED, State, Store
from tests.update.bundles import contents_of, installed, tiny_version


def robot(folder: Path) -> Folders:
    folders = Folders(folder / "robot", tiny_version(folder / "factory", "0.1.0"))
    folders.make()
    return folders


def said(folders: Folders) -> str:
    return "\n".join(status_of(folders).lines())


def test_a_new_robot_is_well_and_drives_by_the_factorys_model(tmp_path: Path) -> None:
    folders = robot(tmp_path)
    status = status_of(folders)
    assert (status.well, status.slot, status.active.version) == (True, "factory", "0.1.0")
    assert not folders.store.exists(), "looking changes nothing"


def test_every_step_is_told(tmp_path: Path) -> None:
    folders = robot(tmp_path)
    bundle = tiny_version(tmp_path / "one", "1.0.0")
    with Store(folders.store) as store:
        folders.fill(store.begin_fetch(installed(bundle, 7)), contents_of(bundle))
        assert "fetching" in said(folders)
        store.stage(installed(bundle, 7))
        assert "staged: tiny 1.0.0" in said(folders)
        store.begin_trial()
        assert "trial: tiny 1.0.0" in said(folders)
        store.commit()
        assert "drives    tiny 1.0.0" in said(folders)
        assert status_of(folders).active.sequence == 7


def test_a_look_that_failed_is_told_and_is_no_failure_of_a_model(tmp_path: Path) -> None:
    folders = robot(tmp_path)
    with Store(folders.store) as store:
        store.set(LOOK_FAILED, "2026-11-27 08:00:00+00:00: no network")
    assert "look      failed 2026-11-27 08:00:00+00:00: no network" in said(folders)
    assert status_of(folders).well


def test_a_failure_is_not_well_and_says_why(tmp_path: Path) -> None:
    folders = robot(tmp_path)
    bundle = tiny_version(tmp_path / "one", "1.0.0")
    with Store(folders.store) as store:
        store.fail(installed(bundle), "missed 12 of 100 deadlines", quarantine=True)
    status = status_of(folders)
    assert (status.well, status.state) == (False, State.ROLLED_BACK)
    assert said(folders).count("missed 12 of 100 deadlines") == 2


def test_what_drives_is_told_and_not_what_was_committed(tmp_path: Path) -> None:
    folders = robot(tmp_path)
    one, two = (tiny_version(tmp_path / version, version) for version in ("1.0.0", "2.0.0"))
    with Store(folders.store) as store:
        for sequence, bundle in enumerate((one, two), 1):
            folders.fill(store.begin_fetch(installed(bundle, sequence)), contents_of(bundle))
            store.stage(installed(bundle, sequence))
            store.begin_trial()
            store.trial_drives()
            assert status_of(folders).active.version == bundle.name
            store.commit()
        store.revoke({installed(two, 2).model}, "revoked by its publisher")
    assert status_of(folders).active.version == "1.0.0"


def test_a_damaged_store_is_a_problem_and_not_a_traceback(tmp_path: Path) -> None:
    folders = robot(tmp_path)
    folders.store.write_bytes(b"rubbish" * 99)
    status = status_of(folders)
    assert not status.well
    assert status.problem is not None
    assert "edge-wm update repair" in status.problem
