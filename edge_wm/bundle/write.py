"""Writes a bundle to disk whole, or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

import msgspec

from edge_wm.bundle.load import check_path, load_bundle
from edge_wm.bundle.manifest import MANIFEST_NAME, FileEntry, Manifest
from edge_wm.bundle.manifest_file import encode_manifest
from edge_wm.durable import sync_folder, write_file
from edge_wm.errors import BadInput


class BundleWriter:
    """Collects the files of one bundle, then puts them at ``directory`` in one rename.

    Until then the files lie in a hidden directory beside it, so an interrupted export leaves the old bundle as
    it was.  (Only a power cut between the last two renames can leave the old one there, whole.)  What was written
    is read back by the loader first: a bundle that would be refused is never put in place.

    Raises:
        BadInput: ``directory`` holds something that is not a bundle.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = Path(directory).absolute()
        self._files: dict[str, bytes] = {}
        self._refuse_other_things()

    def add(self, path: str, data: bytes) -> None:
        """Add one file by its path relative to the bundle.  Raises BadInput for an unsafe or repeated path."""
        check_path(path, str(self._directory))
        if path in self._files or path == MANIFEST_NAME:
            raise BadInput(f"{path}: added to the bundle twice, or reserved")
        self._files[path] = data

    def finish(self, manifest: Manifest) -> str:
        """Write everything and put it in place; an existing bundle at ``directory`` is replaced.

        Args:
            manifest: complete but for ``files``, which is filled in here.

        Returns:
            The SHA-256 of the manifest, which identifies the model.

        Raises:
            BadInput: the manifest and the files do not make a loadable bundle, or ``directory`` holds
                something that is not a bundle.
        """
        self._refuse_other_things()
        entries = tuple(
            FileEntry(path, len(data), hashlib.sha256(data).hexdigest())
            for path, data in sorted(self._files.items())
        )
        content = {
            **self._files,
            MANIFEST_NAME: encode_manifest(msgspec.structs.replace(manifest, files=entries)),
        }
        parent = self._directory.parent
        parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{self._directory.name}.", dir=parent))
        try:
            fresh = scratch / "new"
            fresh.mkdir()
            for path, data in content.items():
                (fresh / path).parent.mkdir(parents=True, exist_ok=True)
                write_file(fresh / path, data)
            for directory, _, _ in os.walk(fresh):
                sync_folder(Path(directory))
            sha256 = self._load_back(fresh)
            self._put_in_place(fresh, scratch / "old")
            sync_folder(parent)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return sha256

    def _refuse_other_things(self) -> None:
        if self._directory.exists() and not (self._directory / MANIFEST_NAME).is_file():
            raise BadInput(
                f"{self._directory}: exists and is not a bundle: remove it or choose another place"
            )

    def _load_back(self, fresh: Path) -> str:
        """Load what was written; return its hash.  A refusal names the place where it would have been."""
        try:
            return load_bundle(fresh).sha256
        except BadInput as error:
            raise BadInput(str(error).replace(str(fresh), str(self._directory))) from None

    def _put_in_place(self, fresh: Path, old: Path) -> None:
        """Swap the bundles.  A directory cannot be renamed onto a full one: the old one steps aside first."""
        try:
            if self._directory.exists():
                self._directory.rename(old)
            fresh.rename(self._directory)
        except BaseException:  # Ctrl-C too: the caller is about to delete what lies beside the target
            if old.exists() and not self._directory.exists():
                old.rename(self._directory)
            raise
