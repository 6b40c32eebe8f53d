"""A plain Debian in a folder, as it is on a board before anything is installed; needs root, debootstrap and a mirror."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SUITE, MIRROR = "bookworm", "http://deb.debian.org/debian"
PACKAGES = "python3,python3-venv,ca-certificates,systemd,udev"
PRISTINE = REPOSITORY / "build" / "install-root" / SUITE
PARTS = (
    "boards",
    "edge_wm",
    "export",
    "firmware_bridge",
    "models",
    "requirements",
    "LICENSE",
    "NOTICE",
    "README.md",
    "pyproject.toml",
)
"""Of a clone, what an installation reads."""
CAME_AND_WENT = ("./proc", "./sys", "./dev", "./tmp", "./run", "./root/.cache")


def why_not() -> str | None:
    """Why none can be made here; None if one can."""
    if os.geteuid() != 0:
        return "a Debian tree is made by root"
    if shutil.which("debootstrap") is None:
        return "no debootstrap: run  apt install debootstrap"
    return None


def pristine() -> Path:
    """The tree that others are copied from; made in a minute or two, once."""
    if not (PRISTINE / "made").is_file():
        shutil.rmtree(PRISTINE, ignore_errors=True)
        PRISTINE.mkdir(parents=True)
        command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(PRISTINE), MIRROR]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        shutil.rmtree(PRISTINE / "var/cache/apt/archives")
        (PRISTINE / "made").touch()
    return PRISTINE


def copy_to(folder: Path) -> Path:
    """A new tree in ``folder``, with this machine's ways to the network."""
    subprocess.run(["cp", "-a", "--reflink=auto", str(pristine()), str(folder)], check=True)
    for file in ("/etc/resolv.conf", "/etc/hosts", "/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt"):
        if Path(file).is_file():
            shutil.copy(file, folder / file.lstrip("/"))
    return folder


def clone_to(folder: Path) -> Path:
    """The repository as it is, so that nobody changes it while it is installed."""
    folder.mkdir()
    for part in PARTS:
        source = REPOSITORY / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / part)
    return folder


def tree(root: Path) -> dict[str, tuple[object, ...]]:
    """Everything below ``root`` by path: mode, owner, size, time, and where a link leads."""
    found: dict[str, tuple[object, ...]] = {}
    for folder, folders, files in os.walk(root):
        here = "./" + os.path.relpath(folder, root)
        folders[:] = [name for name in folders if os.path.normpath(f"{here}/{name}") not in _left_out()]
        for name in (*folders, *files):
            path = Path(folder, name)
            facts = path.lstat()
            leads = str(path.readlink()) if path.is_symlink() else ""
            time = 0 if path.is_dir() and not path.is_symlink() else facts.st_mtime_ns
            found[str(path.relative_to(root))] = (
                facts.st_mode,
                facts.st_uid,
                facts.st_gid,
                0 if path.is_dir() else facts.st_size,
                time,
                leads,
            )
    return found


def _left_out() -> set[str]:
    return {os.path.normpath(name) for name in CAME_AND_WENT}
