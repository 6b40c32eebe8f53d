"""Makes a bundle that installs edge-wm on a board without internet: wheels, models, scripts, and their checksums.

    make offline-bundle BOARD=rpi5

Needs `uv` and a network here.  What the board's system lacks of Debian packages is not in it: `install.sh` names them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from edge_wm.board import Board, board_files, load_board
from edge_wm.errors import BadInput
from edge_wm.update.config import PACKAGED_ROOT

TOP = Path(__file__).resolve().parents[1]
LOCK = TOP / "requirements" / "test.txt"
EXTRAS = ("serial", "i2c", "update", "fleet", "mavlink", "jpeg")
"""Whatever the robot's bridge and camera are: install.sh asks for them by the robot file."""
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
GLIBCS = (
    "manylinux_2_28",
    "manylinux_2_27",
    "manylinux_2_26",
    "manylinux_2_24",
    "manylinux_2_17",
    "manylinux2014",
)
"""Of wheels that every supported system can use: JetPack 6 has glibc 2.35, Bookworm 2.36."""
COPIED = ("boards", "requirements/test.txt", "LICENSE", "NOTICE")
OURS = {"wheels", "install.sh", "SHA256SUMS", PACKAGED_ROOT, *(name.partition("/")[0] for name in COPIED)}
"""All that lies in a bundle, also in one that was interrupted."""
START = '#!/bin/sh\nexec "$(dirname "$0")/boards/install/install.sh" "$@"\n'


def pythons_of(board: Board) -> tuple[str, ...]:
    """The versions that its board file speaks of; all of them if it speaks of none."""
    said = board.install.python if board.install is not None else ""
    if span := re.search(r"\b3\.(\d+) to 3\.(\d+)\b", said):
        first, last = map(int, span.groups())
        return tuple(version for version in PYTHONS if first <= int(version.partition(".")[2]) <= last)
    return tuple(version for version in PYTHONS if re.search(rf"\b{re.escape(version)}\b", said)) or PYTHONS


def check_place(folder: Path) -> None:
    """Raise BadInput if ``folder`` holds anything else than an older bundle, whose place a new one takes."""
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"--to: {folder} is no folder")
    others = sorted({path.name for path in folder.iterdir()} - OURS) if folder.exists() else []
    if others:
        raise BadInput(
            f"--to: {folder} holds {others[0]}, which is of no bundle: name a new folder, or an empty one"
        )


def root_metadata(path: Path) -> bytes:
    """The bytes of a fleet's trusted root.  Raises BadInput if it is none."""
    try:
        data = path.read_bytes()
        is_root = json.loads(data)["signed"]["_type"] == "root"
    except OSError as error:
        raise BadInput(f"--trusted-root: {path}: {error.strerror}") from error
    except (ValueError, LookupError, TypeError):
        is_root = False
    if not is_root:
        raise BadInput(
            f"--trusted-root: {path} is no root metadata: name the repository's metadata/1.root.json"
        )
    return data


def make(board: Board, pythons: Sequence[str], sim: bool, trusted_root: bytes | None, folder: Path) -> None:
    """Make the bundle in ``folder``, in the place of an older one."""
    architecture = board.recognised.architecture if board.recognised is not None else "x86_64"
    extras = {
        *EXTRAS,
        *(board.install.extras if board.install is not None else ()),
        *(("sim",) if sim else ()),
    }
    shutil.rmtree(folder, ignore_errors=True)
    wheels = folder / "wheels"
    wheels.mkdir(parents=True)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "wheel", "--no-deps", "--wheel-dir", str(wheels), str(TOP)])
    for python in pythons:
        print(f"wheels for Python {python} on {architecture}", flush=True)
        with tempfile.TemporaryDirectory() as scratch:
            wanted = Path(scratch) / "wanted.txt"
            wanted.write_text(_resolved(python, architecture, sorted(extras)), encoding="utf-8")
            tags = [word for glibc in GLIBCS for word in ("--platform", f"{glibc}_{architecture}")]
            abis = [
                word for abi in (f"cp{python.replace('.', '')}", "abi3", "none") for word in ("--abi", abi)
            ]
            download = [*pip, "download", "--no-deps", "--only-binary", ":all:", "--dest", str(wheels)]
            what = ["--implementation", "cp", "--python-version", python, "-r", str(wanted)]
            _run([*download, *tags, *abis, *what])
    for name in COPIED:
        source, target = TOP / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    if trusted_root is not None:
        (folder / PACKAGED_ROOT).write_bytes(trusted_root)
    start = folder / "install.sh"
    start.write_text(START, encoding="utf-8")
    start.chmod(0o755)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sums = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(folder)}\n" for file in files
    ]
    (folder / "SHA256SUMS").write_text("".join(sums), encoding="utf-8")


def _resolved(python: str, architecture: str, extras: Sequence[str]) -> str:
    """Names and versions for another machine: pip would ask this one's for the markers."""
    with tempfile.TemporaryDirectory() as scratch:
        locked = Path(scratch) / "resolved.txt"
        options = [word for extra in extras for word in ("--extra", extra)]
        where = ["--python-version", python, "--python-platform", f"{architecture}-unknown-linux-gnu"]
        uv = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate"]
        files = ["--constraint", str(LOCK), "--output-file", str(locked), str(TOP / "pyproject.toml")]
        _run([*uv, *where, *options, *files])
        return locked.read_text(encoding="utf-8")


def _run(command: Sequence[str]) -> None:
    if subprocess.run(command, check=False, cwd=TOP, stdin=subprocess.DEVNULL).returncode != 0:
        raise SystemExit(f"error: {' '.join(command[:6])} … failed: see above")


def main() -> int:
    """Exit code 0: it is there; 1: a step failed; 2: bad input."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--board", required=True, choices=sorted(board_files()))
    parser.add_argument("--python", action="append", choices=PYTHONS, help="default: as its board file says")
    parser.add_argument("--sim", action="store_true", help="with what the simulated robot needs")
    parser.add_argument(
        "--trusted-root", metavar="FILE", type=Path, help="metadata/1.root.json of your fleet's repository"
    )
    parser.add_argument("--to", type=Path, help="default: build/edge-wm-BOARD; an older bundle there goes")
    arguments = parser.parse_args()
    board = load_board(board_files()[arguments.board])
    folder: Path = arguments.to or TOP / "build" / f"edge-wm-{board.name}"
    try:
        check_place(folder)
        trusted_root = root_metadata(arguments.trusted_root) if arguments.trusted_root else None
    except BadInput as why:
        print(f"error: {why}", file=sys.stderr)
        return 2
    make(board, arguments.python or pythons_of(board), arguments.sim, trusted_root, folder)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder}: {size / 1e6:.0f} MB; copy it to the board and run there:  sudo ./install.sh")
    return 0


if __name__ == "__main__":
    sys.exit(main())
