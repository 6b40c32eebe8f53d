"""Files in a FAT file system that is not mounted, through mtools: no root and no loop device is needed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from edge_wm.errors import BadInput

ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "MTOOLSRC": os.devnull, "MTOOLS_SKIP_CHECK": "1"}
"""Nobody's settings; a check of the disk's geometry, which cards have none of, is left out."""


def check_mtools() -> None:
    """Raise BadInput if mtools is not installed."""
    if shutil.which("mcopy") is None:
        raise BadInput("mtools is needed to write into an image: run  sudo apt install mtools")


class Fat:
    """The FAT file system that begins at byte ``start`` of a file.  Names are like ``folder/name``.

    Every method raises BadInput with the complaint of mtools.
    """

    def __init__(self, file: Path, start: int) -> None:
        self.file = file
        self.where = f"{file}@@{start}"

    def names(self, folder: str = "") -> list[str]:
        """Of the files and folders in ``folder``; none if there is no such folder."""
        done = self._run("mdir", "-b", f"::{folder}")
        if done.returncode != 0:
            return []
        lines = done.stdout.decode("utf-8", "replace").splitlines()
        return [line.rstrip("/").rpartition("/")[2] for line in lines if line.startswith("::")]

    def read(self, name: str) -> bytes:
        """All of a file."""
        return self._done("mcopy", "-n", f"::{name}", "-")

    def write(self, name: str, content: bytes) -> None:
        """Write a file, in the place of an older one."""
        self._done("mcopy", "-D", "o", "-", f"::{name}", content=content)

    def copy_in(self, source: Path, name: str) -> None:
        """Write a file with the content of another, in the place of an older one."""
        self._done("mcopy", "-D", "o", str(source), f"::{name}")

    def make_folder(self, name: str) -> None:
        """Make a folder, if there is none of that name."""
        if name not in self.names():
            self._done("mmd", f"::{name}")

    def set_label(self, label: str) -> None:
        """Give it another label."""
        self._done("mlabel", f"::{label}")

    def _done(self, program: str, *words: str, content: bytes = b"") -> bytes:
        done = self._run(program, *words, content=content)
        if done.returncode != 0:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()
            if "Disk full" in said:
                raise BadInput("the image's boot partition has too little room for what first boot needs")
            raise BadInput(
                f"the image's boot partition: {program}: {said[-1] if said else f'exit code {done.returncode}'}"
            )
        return done.stdout

    def _run(self, program: str, *words: str, content: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        path = shutil.which(program)
        if path is None:
            raise BadInput(f"{program} is not there: run  sudo apt install mtools")
        command = [path, "-i", self.where, *words]
        return subprocess.run(command, input=content, capture_output=True, env=ENVIRONMENT, check=False)


def fat_label(sector: bytes) -> str | None:
    """The label in a FAT file system's first sector; None if it is none."""
    if len(sector) < 512 or sector[510:512] != b"\x55\xaa":
        return None
    # FAT32 has 16 fields more in front of the same three: the name of the type tells which it is.
    if sector[82:87] == b"FAT32":
        label = sector[71:82]
    elif sector[54:59] in (b"FAT12", b"FAT16"):
        label = sector[43:54]
    else:
        return None
    text = label.decode("ascii", "replace").rstrip()
    return "" if text == "NO NAME" else text
