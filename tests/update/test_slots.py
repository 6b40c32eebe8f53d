"""A slot holds exactly the files that it was given."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_wm.bundle.load import load_bundle
from edge_wm.errors import BadInput
from edge_wm.update.slots import Folders
from tests.update.bundles import contents_of, tiny_version


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    made = Folders(tmp_path / "robot")
    made.make()
    return made


def test_a_filled_slot_is_the_bundle(folders: Folders, tmp_path: Path) -> None:
    bundle = tiny_version(tmp_path / "one", "1.0.0")
    folders.fill("a", contents_of(bundle))
    assert load_bundle(folders.slot("a")).sha256 == load_bundle(bundle).sha256


def test_nothing_of_what_was_there_before_stays(folders: Folders, tmp_path: Path) -> None:
    slot = folders.slot("a")
    (slot / "deep" / "er").mkdir(parents=True)
    (slot / "deep" / "er" / "file").touch()
    (slot / "old.onnx").touch()
    (slot / "link").symlink_to(tmp_path)
    (slot / "deep" / "out").symlink_to(tmp_path)
    (tmp_path / "kept").touch()
    folders.fill("a", [("deep/new.onnx", b"new")])
    assert [path.relative_to(slot).as_posix() for path in sorted(slot.rglob("*"))] == [
        "deep",
        "deep/new.onnx",
    ]
    assert (tmp_path / "kept").exists()


def test_the_slots_share_no_file(folders: Folders, tmp_path: Path) -> None:
    bundle = tiny_version(tmp_path / "one", "1.0.0")
    for slot in ("a", "b"):
        folders.fill(slot, contents_of(bundle))
    (folders.slot("a") / "observe.fp32.onnx").write_bytes(b"damaged")
    assert load_bundle(folders.slot("b")).sha256 == load_bundle(bundle).sha256


def test_all_of_it_is_synced_before_it_counts(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    folders.fill("b", [("x.onnx", b"x"), ("deep/y.onnx", b"y")])
    slot = folders.slot("b")
    assert set(synced) == {str(path) for path in (slot / "x.onnx", slot / "deep/y.onnx", slot, slot / "deep")}


def test_root_makes_nothing_in_the_folder_of_another_user(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders.make()
    if os.geteuid() == 0:
        os.chown(folders.root, 54321, -1)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    folders.driving_lock.unlink()
    with pytest.raises(BadInput, match=r"sudo -u .* edge-wm"):
        folders.make()
    assert not folders.driving_lock.exists()
