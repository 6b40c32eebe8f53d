"""An arm64 Debian tree with a Python and the project's libraries in it, to be run by QEMU's user-mode emulation.

Nothing is installed: apt downloads and verifies the packages, dpkg unpacks them, uv unpacks the wheels.  So it needs no
root, no chroot and no second stage, and a tree is there in a minute.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE = REPOSITORY / "build" / "arm64"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
MIRROR = "http://deb.debian.org/debian"
PACKAGES = ("python3", "libstdc++6", "libegl1", "libgl1")
"""With what they depend on: Mesa too, whose software renderer draws the simulated camera."""
QEMU = "qemu-aarch64-static"

APT_CONFIGURATION = """\
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Install-Recommends "false";
APT::Keep-Downloaded-Packages "true";
APT::Sandbox::User "";
Debug::NoLocking "true";
Dir::State "{apt}";
Dir::State::status "{apt}/status";
Dir::Cache "{apt}";
Dir::Etc::sourcelist "{apt}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
"""


@dataclass(frozen=True)
class Root:
    """One tree.

    Attributes:
        suite: of Debian.
        python: the version that the suite has, as 3.11.
        requirements: arguments of ``uv pip install``, relative to the repository.
        overrides: requirements that replace the pinned ones under emulation.
    """

    suite: str
    python: str
    requirements: tuple[str, ...]
    overrides: tuple[str, ...] = ()

    @property
    def directory(self) -> Path:
        """Where it is kept."""
        return CACHE / self.suite

    def command(self, core: str, *words: str | Path) -> list[str]:
        """The host's command that runs this tree's Python with ``words`` on an emulated ``core``."""
        tree = self.directory / "tree"
        return [QEMU, "-cpu", core, "-L", str(tree), str(tree / "usr/bin/python3"), *map(str, words)]

    def environment(self) -> dict[str, str]:
        """What it runs in: the repository as it is and the wheels, and no setting that is about the host's processor."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory),
            "LANG": "C.UTF-8",
            "PYTHONPATH": f"{REPOSITORY}:{self.directory / 'wheels'}",
            "MUJOCO_GL": "egl",
        }

    def make(self) -> None:
        """Build the tree unless it is there already, made from the same packages and requirements."""
        stamp, wanted = self.directory / "stamp", self._fingerprint()
        if stamp.is_file() and stamp.read_text() == wanted:
            return
        shutil.rmtree(self.directory, ignore_errors=True)
        self._unpack_packages()
        self._unpack_wheels()
        stamp.write_text(wanted)

    def _fingerprint(self) -> str:
        files = [REPOSITORY / word for word in self.requirements if (REPOSITORY / word).is_file()]
        content = b"".join(file.read_bytes() for file in files)
        return hashlib.sha256(repr((self, PACKAGES, MIRROR)).encode() + content).hexdigest()

    def _unpack_packages(self) -> None:
        apt, tree = self.directory / "apt", self.directory / "tree"
        for folder in (apt / "lists/partial", apt / "archives/partial", tree / "usr"):
            folder.mkdir(parents=True)
        environment = apt_of_its_own(apt, self.suite, "arm64")
        run(["apt-get", "--quiet=2", "--yes", "--download-only", "install", *PACKAGES], environment)
        for package in sorted((apt / "archives").glob("*.deb")):
            run(["dpkg-deb", "--extract", str(package), str(tree)])
        if not (
            tree / "lib"
        ).exists():  # from trixie on the packages leave this link, where the loader is, to base-files
            (tree / "lib").symlink_to("usr/lib")
        shutil.rmtree(apt)

    def _unpack_wheels(self) -> None:
        overrides = self.directory / "overrides.txt"
        overrides.write_text("".join(f"{line}\n" for line in self.overrides))
        target = ["--python-platform", "aarch64-unknown-linux-gnu", "--python-version", self.python]
        where = ["--target", str(self.directory / "wheels"), "--overrides", str(overrides)]
        uv = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--only-binary", ":all:"]
        run([*uv, *target, *where, *self.requirements])


def missing_on_host() -> str | None:
    """What this machine lacks, in one line that says how to get it; None if nothing."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        return "emulating arm64 needs apt-get and dpkg-deb: use a Debian or Ubuntu machine"
    packages = [] if shutil.which(QEMU) else ["qemu-user-static"]
    packages += [] if KEYRING.is_file() else ["debian-archive-keyring"]
    return f"emulating arm64 needs more: run  sudo apt install {' '.join(packages)}" if packages else None


def apt_of_its_own(folder: Path, suite: str, architecture: str) -> dict[str, str]:
    """Apt that knows of nothing that is installed, so that everything that a package depends on comes too.

    Args:
        folder: where it keeps what it knows; with its ``lists/partial`` and ``archives/partial``.
        suite: of Debian.
        architecture: of the packages.

    Returns:
        The environment in which apt's programs use it.  Raises CalledProcessError if the lists of packages cannot be had.
    """
    (folder / "status").touch()
    (folder / "sources.list").write_text(f"deb [signed-by={KEYRING}] {MIRROR} {suite} main\n")
    (folder / "apt.conf").write_text(APT_CONFIGURATION.format(apt=folder, architecture=architecture))
    environment = {**os.environ, "APT_CONFIG": str(folder / "apt.conf")}
    run(["apt-get", "--quiet=2", "update"], environment)
    return environment


def run(command: Sequence[str], environment: dict[str, str] | None = None) -> None:
    """Run one step of the build.  Raises CalledProcessError."""
    subprocess.run(command, check=True, cwd=REPOSITORY, env=environment, stdin=subprocess.DEVNULL)
