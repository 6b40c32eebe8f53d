"""Only what is not on the robot is fetched, in the form that costs least, and every file is checked again."""

from __future__ import annotations

import hashlib
from pathlib import Path

import bsdiff4
import msgspec
import pytest
import zstandard

from edge_wm.bundle.load import load_bundle
from edge_wm.errors import BadInput
from edge_wm.update.assemble import BrokenForm, Plan, contents, files_of, plan
from edge_wm.update.release import Form, Release, ReleasedFile
from tests.update.bundles import contents_of, release_of, tiny_version


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def one_file(content: bytes, *forms: Form) -> Release:
    file = ReleasedFile("manifest.json", len(content), sha256(content), forms)
    return Release(1, sha256(content), "tiny", "1.0.0", 1.0, "0.1.0", (file,))


def made(to_do: Plan, *answers: bytes) -> dict[str, bytes]:
    """The files of the bundle, given what was fetched."""
    fetched = dict(zip(to_do.to_fetch, answers, strict=True))
    return dict(contents(to_do, fetched.__getitem__))


def test_an_update_carries_only_the_files_that_changed(tmp_path: Path) -> None:
    one, two = (tiny_version(tmp_path / version, version) for version in ("1.0.0", "2.0.0"))
    to_do = plan(release_of(two), files_of(load_bundle(one)))
    assert {piece.file.path for piece in to_do.to_fetch} == {"manifest.json", "MODEL_CARD.md"}
    whole = plan(release_of(two), {})
    assert whole.bytes_to_fetch == whole.release.size > to_do.bytes_to_fetch
    answers = ((two / piece.file.path).read_bytes() for piece in to_do.to_fetch)
    assert made(to_do, *answers) == dict(contents_of(two))


def test_the_smallest_form_that_can_be_used_is_fetched(tmp_path: Path) -> None:
    old, new = b"old" * 999, b"old" * 999 + b"new"
    (tmp_path / "old").write_bytes(old)
    packed = {
        "plain": new,
        "zstd": zstandard.ZstdCompressor().compress(new),
        "bsdiff": bsdiff4.diff(old, new),
    }
    forms = [
        Form("plain", len(packed["plain"])),
        Form("zstd", len(packed["zstd"])),
        Form("bsdiff", 9, sha256(old)),
    ]
    for here, kind in (({}, "zstd"), ({sha256(old): tmp_path / "old"}, "bsdiff")):
        to_do = plan(one_file(new, *forms), here)
        assert [piece.form.kind for piece in to_do.to_fetch if piece.form] == [kind]
        assert made(to_do, packed[kind]) == {"manifest.json": new}


def test_the_same_content_is_fetched_once() -> None:
    release = one_file(b"same", Form("plain", 4))
    twice = msgspec.structs.replace(
        release, files=(*release.files, msgspec.structs.replace(release.files[0], path="b"))
    )
    assert plan(twice, {}).bytes_to_fetch == 4


def test_a_release_of_deltas_that_start_elsewhere_is_refused() -> None:
    with pytest.raises(BadInput, match="only deltas to files that this robot does not have"):
        plan(one_file(b"new", Form("bsdiff", 3, sha256(b"old"))), {})


def test_a_file_that_changes_while_it_is_copied_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "same").write_bytes(b"same")
    to_do = plan(one_file(b"same", Form("plain", 4)), {sha256(b"same"): tmp_path / "same"})
    assert to_do.bytes_to_fetch == 0
    (tmp_path / "same").write_bytes(b"SAME")
    with pytest.raises(BadInput, match="changed while it was copied"):
        made(to_do)


def test_a_base_that_changes_while_it_is_copied_is_no_fault_of_the_delta(tmp_path: Path) -> None:
    old, new = b"old" * 999, b"old" * 999 + b"new"
    (tmp_path / "old").write_bytes(old)
    to_do = plan(one_file(new, Form("bsdiff", 9, sha256(old))), {sha256(old): tmp_path / "old"})
    delta = bsdiff4.diff(old, new)
    assert made(to_do, delta) == {"manifest.json": new}
    (tmp_path / "old").write_bytes(b"OLD" * 999)
    with pytest.raises(BadInput, match="changed while it was copied") as refused:
        made(to_do, delta)
    assert not isinstance(refused.value, BrokenForm)


def test_a_file_that_is_not_the_releases_is_refused() -> None:
    to_do = plan(one_file(b"right", Form("plain", 5)), {})
    with pytest.raises(BrokenForm, match="does not give the file of the release"):
        made(to_do, b"wrong")
