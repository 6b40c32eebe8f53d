"""A PC with I2C buses, a camera and a watchdog, emulated: Debian's kernel on QEMU, and this machine's files, read-only, as its disk.

Nothing is installed: apt downloads and verifies the packages, dpkg unpacks them.  QEMU emulates the processor too, so neither root nor
KVM is needed.
"""

from __future__ import annotations

import fcntl
import hashlib
import platform
import re
import shlex
import shutil
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tests.arm64.root import KEYRING, MIRROR, REPOSITORY, apt_of_its_own, run

CACHE = REPOSITORY / "build" / "emulated-linux"
QEMU = "qemu-system-x86_64"
SUITE = "bookworm"
PACKAGE = "linux-image-amd64"
"""Depends on the newest kernel of the suite."""
BUSYBOX = "busybox-static"

MODULES: Mapping[str, str] = {
    # its disk: this machine's files
    "virtio_pci": "",
    "9pnet_virtio": "",
    "9p": "",
    # its I2C buses; tests/emulated_linux/inside/conftest.py says what each is for
    "i2c-dev": "",
    "i2c-stub": "chip_addr=0x29,0x30,0x31,0x40,0x41,0x50,0x60,0x68,0x69,0x70",
    "i2c-i801": "",
    "parport_pc": "",
    "i2c-parport": "type=3",
    "uhid": "",
    "hid-cp2112": "",
    # a driver that takes an address for itself
    "at24": "",
    # a webcam, /dev/video0, that a program of the kernel's is; of other nodes it has none
    "vivid": "n_devs=1 node_types=0x1 num_inputs=1 input_types=0x0 multiplanar=1 no_error_inj=0",
    # a watchdog, which says in the kernel's log when it would reset the machine, and does not
    "softdog": "soft_noboot=1",
}
"""Modules of the kernel, and their parameters."""

ENVIRONMENT = {
    "EDGE_WM_EMULATED_LINUX": "1",
    "HOME": "/run",
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "TMPDIR": "/run/tmp",
}
"""What programs in the machine find; only ``/run`` can be written to."""

INIT = """\
#!/bin/busybox sh
busybox=/bin/busybox
$busybox mount -t devtmpfs dev /dev
$busybox mount -t proc proc /proc
{load}
$busybox mount -t 9p -o ro,trans=virtio,version=9p2000.L,cache=loose,msize=500000 disk /disk
$busybox mount -t devtmpfs dev /disk/dev
$busybox mount -t proc proc /disk/proc
$busybox mount -t sysfs sys /disk/sys
$busybox mount -t tmpfs run /disk/run
$busybox mkdir -m 1777 /disk/run/tmp
$busybox chroot /disk /usr/bin/env -i {environment} /bin/sh -c {command}
echo $? > /dev/ttyS1
{afterwards}
$busybox poweroff -f
"""
SHELL = (
    "$busybox setsid $busybox cttyhack $busybox chroot /disk /usr/bin/env -i TERM=linux {environment} /bin/sh"
)


def missing_on_host() -> str | None:
    """What this machine lacks, in one line that says how to get it; None if nothing."""
    if platform.machine() != "x86_64":
        return "the emulated machine runs this machine's programs, and they must be for x86-64"
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        return "the emulated machine needs apt-get and dpkg-deb: use a Debian or Ubuntu machine"
    packages = [] if shutil.which(QEMU) else ["qemu-system-x86"]
    packages += [] if KEYRING.is_file() else ["debian-archive-keyring"]
    return (
        f"the emulated machine needs more: run  sudo apt install {' '.join(packages)}" if packages else None
    )


def fetch() -> None:
    """Have the kernel, its modules and busybox in the cache.

    Raises:
        CalledProcessError: a package cannot be had.
    """
    CACHE.parent.mkdir(exist_ok=True)
    with (CACHE.parent / "emulated-linux.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run may be about to do the same
        _fetch()


def _fetch() -> None:
    stamp = CACHE / "stamp"
    wanted = hashlib.sha256(repr((MIRROR, SUITE, PACKAGE, BUSYBOX, sorted(MODULES))).encode()).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    shutil.rmtree(CACHE, ignore_errors=True)
    apt, tree, modules = CACHE / "apt", CACHE / "tree", CACHE / "modules"
    for folder in (apt / "lists/partial", apt / "archives/partial", tree, modules):
        folder.mkdir(parents=True)
    _download(apt)
    for package in sorted(apt.glob("*.deb")):
        run(["dpkg-deb", "--extract", str(package), str(tree)])
    (kernel,) = tree.glob("boot/vmlinuz-*")
    kernel.rename(CACHE / "vmlinuz")
    (tree / "bin" / "busybox").rename(CACHE / "busybox")
    files = {file.stem.replace("-", "_"): file for file in tree.glob("lib/modules/*/kernel/**/*.ko")}
    for number, name in enumerate(in_order(MODULES, files)):
        files[name].rename(modules / f"{number:02d}-{name}.ko")
    shutil.rmtree(apt)
    shutil.rmtree(tree)
    stamp.write_text(wanted)


def _download(apt: Path) -> None:
    """Debian's packages into a folder, with apt's own checks."""
    environment = apt_of_its_own(apt, SUITE, "amd64")
    # The kernel without what it depends on, all of which is for an installed system.
    find = f"apt-cache depends {PACKAGE} | sed -n 's/^ *Depends: //p'"
    run(
        ["sh", "-ec", f'cd {shlex.quote(str(apt))}; apt-get --quiet=2 download "$({find})" {BUSYBOX}'],
        environment,
    )


def in_order(wanted: Iterable[str], files: Mapping[str, Path]) -> list[str]:
    """The modules that are wanted and those they need, each behind what it needs; what is no file is in the kernel itself.

    Args:
        wanted: names, with hyphens or underscores.
        files: of all modules there are, by their names with underscores.
    """
    order: list[str] = []
    for name in (name.replace("-", "_") for name in wanted):
        if name in files and name not in order:
            # what modinfo prints: text of the form "depends=a,b" between zeros
            found = re.search(rb"\0depends=([^\0]*)", files[name].read_bytes())
            needs = found[1].decode().split(",") if found else []
            order += [need for need in in_order(needs, files) if need not in order]
            order.append(name)
    return order


def first_files(command: Sequence[str], keep: bool) -> bytes:
    """The machine's first file system: a program that loads the modules, mounts the disk and runs ``command``.

    Args:
        command: what to run, found on this machine's disk.
        keep: open a shell on the console behind it.

    Returns:
        A cpio archive as the kernel takes it (Documentation/driver-api/early-userspace/buffer-format.rst).
    """
    modules = sorted((CACHE / "modules").glob("*.ko"))
    parameters = {name.replace("-", "_"): value for name, value in MODULES.items()}
    load = [
        f"$busybox insmod /{file.name} {parameters.get(file.stem.split('-', 1)[1], '')}" for file in modules
    ]
    environment = shlex.join(f"{name}={value}" for name, value in ENVIRONMENT.items())
    line = f"cd {shlex.quote(str(REPOSITORY))} && exec {shlex.join(command)} < /dev/null"
    init = INIT.format(
        load="\n".join(load),
        environment=environment,
        command=shlex.quote(line),
        afterwards=SHELL.format(environment=environment) if keep else "",
    )
    archive = Archive()
    for folder in ("bin", "dev", "proc", "disk"):
        archive.add(folder, stat.S_IFDIR | 0o755)
    archive.add("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    archive.add("bin/busybox", stat.S_IFREG | 0o755, (CACHE / "busybox").read_bytes())
    archive.add("init", stat.S_IFREG | 0o755, init.encode())
    for file in modules:
        archive.add(file.name, stat.S_IFREG | 0o644, file.read_bytes())
    archive.add("TRAILER!!!", 0)
    return bytes(archive.content)


class Archive:
    """A cpio archive in its "new" format."""

    def __init__(self) -> None:
        self.content = bytearray()
        self._files = 0

    def add(self, name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        """One more file or folder of root's."""
        self._files += 1
        fields = (self._files, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name) + 1, 0)
        for part in (b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0", data):
            self.content += part + bytes(-(len(self.content) + len(part)) % 4)


def qemu(initrd: Path, exit_code: Path) -> list[str]:
    """The command that runs the machine.

    Args:
        initrd: a file that holds its :func:`first_files`.
        exit_code: a file for the exit code of what it runs.
    """
    # With -icount a second in the machine is so many instructions: a host that is busy makes no transfer late.
    processor = ["-accel", "tcg", "-cpu", "max", "-smp", "1", "-icount", "shift=1", "-m", "1024"]
    kernel = ["-kernel", str(CACHE / "vmlinuz"), "-initrd", str(initrd), "-no-reboot"]
    # A parallel port with nothing plugged in: its inputs stay as they are, whatever its outputs do.
    devices = ["-M", "q35", "-nodefaults", "-display", "none", "-parallel", "null"]
    lines = ["-serial", "stdio", "-serial", f"file:{exit_code}"]
    disk = "local,path=/,mount_tag=disk,security_model=none,readonly=on,multidevs=remap"
    arguments = ["-append", "console=ttyS0 quiet loglevel=3 panic=-1", "-virtfs", disk]
    return [QEMU, *processor, *kernel, *devices, *lines, *arguments]
