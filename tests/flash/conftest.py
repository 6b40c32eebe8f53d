"""Images that many tests start from: made once, never changed."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.flash import official

CLOUD_INIT = Path(__file__).resolve().parents[2] / "build" / "cloud-init"
CLOUD_INIT_PACKAGES = (
    "cloud-init",
    *(
        f"python3-{name}"
        for name in (
            "attr",
            "certifi",
            "chardet",
            "charset-normalizer",
            "configobj",
            "idna",
            "jinja2",
            "json-pointer",
            "jsonpatch",
            "jsonschema",
            "markupsafe",
            "netifaces",
            "oauthlib",
            "pyrsistent",
            "requests",
            "serial",
            "six",
            "urllib3",
            "yaml",
        )
    ),
)


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``pi-os.img`` and others; skips where they cannot be made."""
    if (why := official.why_not()) is not None:
        pytest.skip(f"images of cards: {why}")
    folder = tmp_path_factory.mktemp("images")
    official.mbr_image(folder / "pi-os.img", "bootfs", official.PI_OS_TRIXIE)
    official.gpt_image(folder / "debian.img", "EFI", official.DEBIAN_CLOUD)
    official.jetpack_image(folder / "jetpack.img")
    return folder


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is looked at of an offline bundle."""
    folder = tmp_path_factory.mktemp("bundle")
    files = {
        "boards/install/install.sh": b"#!/bin/bash\n",
        "boards/rpi5.toml": b"",
        "boards/generic-aarch64.toml": b"",
        "wheels/mujoco-3.5.0-cp313-none-any.whl": b"a wheel",
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    sums = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files.items()]
    (folder / "SHA256SUMS").write_text("".join(sums))
    return folder


@pytest.fixture
def loop() -> Iterator[Callable[..., Path]]:
    """Makes disks of files; only root can."""
    if os.geteuid() != 0 or not Path("/dev/loop-control").exists():
        pytest.skip("loop devices are made by root")
    made: list[str] = []

    def attach(file: Path, *options: str) -> Path:
        done = subprocess.run(
            ["losetup", "--find", "--show", *options, str(file)], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            pytest.skip(f"no loop device: {done.stderr.strip()}")
        made.append(done.stdout.strip())
        return Path(made[-1])

    yield attach
    for device in made:
        subprocess.run(["losetup", "--detach", device], check=False)


@pytest.fixture(scope="session")
def cloud_init() -> Path:
    """A folder with Debian's own cloud-init, unpacked and not installed."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        pytest.skip("cloud-init comes from Debian's packages")
    if not (CLOUD_INIT / "complete").is_file():
        shutil.rmtree(CLOUD_INIT, ignore_errors=True)
        CLOUD_INIT.mkdir(parents=True)
        download = ["apt-get", "--quiet=2", "download", *CLOUD_INIT_PACKAGES]
        done = subprocess.run(download, cwd=CLOUD_INIT, capture_output=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"no cloud-init can be had: {done.stderr.decode(errors='replace').strip()[-200:]}")
        for package in CLOUD_INIT.glob("*.deb"):
            subprocess.run(["dpkg-deb", "--extract", str(package), str(CLOUD_INIT)], check=True)
        (CLOUD_INIT / "complete").touch()
    return CLOUD_INIT
