"""A bundle is written whole or not at all."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from edge_wm.bundle import write
from edge_wm.bundle.load import load_bundle
from edge_wm.bundle.write import BundleWriter
from edge_wm.errors import BadInput
from tests.tiny_model import files, manifest, write_tiny


def writer_of(directory: Path, content: dict[str, bytes]) -> BundleWriter:
    writer = BundleWriter(directory)
    for path, data in content.items():
        writer.add(path, data)
    return writer


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_what_is_written_loads_and_is_named_by_its_manifest(tmp_path: Path) -> None:
    sha256 = writer_of(tmp_path / "models" / "tiny", files()).finish(manifest())
    bundle = load_bundle(tmp_path / "models" / "tiny")
    assert bundle.sha256 == sha256
    assert sha256 == hashlib.sha256((tmp_path / "models" / "tiny" / "manifest.json").read_bytes()).hexdigest()
    assert {entry.path for entry in bundle.manifest.files} == set(files())
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["tiny"]


def test_writing_the_same_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    content = files()
    for name in ("a", "b"):
        writer_of(tmp_path / name, content).finish(manifest())
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_files_may_lie_in_folders(tmp_path: Path) -> None:
    content = {**files(), "pictures/rooms.png": b"png"}
    writer_of(tmp_path / "tiny", content).finish(manifest())
    load_bundle(tmp_path / "tiny")
    assert (tmp_path / "tiny" / "pictures" / "rooms.png").read_bytes() == b"png"


def test_an_existing_bundle_is_replaced(tmp_path: Path) -> None:
    write_tiny(tmp_path / "tiny")
    content = {**files(), "MODEL_CARD.md": b"# newer\n"}
    writer_of(tmp_path / "tiny", content).finish(manifest())
    assert (tmp_path / "tiny" / "MODEL_CARD.md").read_bytes() == b"# newer\n"
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_a_directory_that_is_no_bundle_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("years")
    with pytest.raises(BadInput, match="not a bundle"):
        writer_of(tmp_path / "precious", files()).finish(manifest())
    assert (tmp_path / "precious" / "thesis.txt").read_text() == "years"


@pytest.mark.parametrize("path", ["../escape", "manifest.json", "golden.npz"])
def test_an_unsafe_reserved_or_repeated_path_is_refused(path: str, tmp_path: Path) -> None:
    writer = writer_of(tmp_path / "tiny", files())
    with pytest.raises(BadInput):
        writer.add(path, b"")


@pytest.mark.parametrize("spoiled", ["observe.fp32.onnx", "initial_pose.npy"])
def test_what_the_loader_would_refuse_is_never_put_in_place(spoiled: str, tmp_path: Path) -> None:
    write_tiny(tmp_path / "tiny")
    before = contents(tmp_path / "tiny")
    with pytest.raises(BadInput, match=f"^{tmp_path}/tiny/{spoiled}: "):
        writer_of(tmp_path / "tiny", {**files(), spoiled: b"not what it should be"}).finish(manifest())
    assert contents(tmp_path / "tiny") == before
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


class PowerCut(BaseException):
    """Nothing catches this, as nothing catches a killed process; but ``finally`` still runs."""


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("after", range(12))
def test_an_interruption_at_any_sync_leaves_the_old_or_the_new_bundle(
    after: int, existing: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "tiny"
    if existing:
        write_tiny(target)
    old = contents(target) if existing else {}
    syncs = 0
    real = os.fsync

    def fsync(descriptor: int) -> None:
        nonlocal syncs
        if syncs == after:
            raise PowerCut
        syncs += 1
        real(descriptor)

    monkeypatch.setattr(write.os, "fsync", fsync)
    content = {**files(), "MODEL_CARD.md": b"# newer\n"}
    try:
        writer_of(target, content).finish(manifest())
    except PowerCut:
        pass
    else:
        assert syncs <= after
    monkeypatch.undo()
    if target.exists():
        load_bundle(target)
        assert contents(target) == old or (target / "MODEL_CARD.md").read_bytes() == b"# newer\n"
    else:
        assert not existing


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_swap_puts_the_old_bundle_back(
    failure: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = write_tiny(tmp_path / "tiny")
    before = contents(target)
    real = Path.rename

    def rename(self: Path, to: Path) -> Path:
        if self.name == "new":
            raise failure
        return real(self, to)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(type(failure)):
        writer_of(target, files()).finish(manifest())
    assert contents(target) == before
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]
