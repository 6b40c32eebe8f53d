"""A plain Debian in a folder, as it is on a board before anything is installed; needs root, debootstrap and a mirror.

Debian 12, or what ``EDGE_WM_SUITE`` names: ``EDGE_WM_SUITE=trixie pytest tests/install/test_install.py``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Suite:
    """A release of a system.

    Attributes:
        name: by which its mirror has it.
        python: that it has.
        mirror, components: where its packages are.
        keyring: that they are signed by, and the Debian package that has it.
    """

    name: str
    python: str
    mirror: str = "http://deb.debian.org/debian"
    components: str = "main"
    keyring: tuple[Path, str] = (
        Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
        "debian-archive-keyring",
    )


SUITES = (
    Suite("bookworm", "3.11"),
    Suite("trixie", "3.13"),
    Suite(
        "jammy",  # of which JetPack 6 is made
        "3.10",
        mirror="http://archive.ubuntu.com/ubuntu",
        components="main,universe",
        keyring=(Path("/usr/share/keyrings/ubuntu-archive-keyring.gpg"), "ubuntu-keyring"),
    ),
)
SUITE = next(suite for suite in SUITES if suite.name == os.environ.get("EDGE_WM_SUITE", "bookworm"))
REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = "python3,python3-venv,ca-certificates,systemd,udev"
PRISTINE = REPOSITORY / "build" / "install-root" / SUITE.name
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
    keyring, package = SUITE.keyring
    if not keyring.is_file():
        return f"no keys of {SUITE.name}: run  apt install {package}"
    return None


def pristine() -> Path:
    """The tree that others are copied from; made in a minute or two, once."""
    if not (PRISTINE / "made").is_file():
        shutil.rmtree(PRISTINE, ignore_errors=True)
        PRISTINE.mkdir(parents=True)
        words = [f"--include={PACKAGES}", f"--components={SUITE.components}", f"--keyring={SUITE.keyring[0]}"]
        where = [SUITE.name, str(PRISTINE), SUITE.mirror]
        subprocess.run(
            ["debootstrap", "--variant=minbase", *words, *where], check=True, stdout=subprocess.DEVNULL
        )
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
