"""An image of Debian for arm64, from its packages, with the layout of Debian's own cloud images, as `edge-wm flash` takes it.

Nothing is installed here: apt downloads and verifies the packages, and dpkg unpacks them.  What they do when they are installed,
they do on the emulated board, which boots into that once.  So it needs neither root nor a chroot.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import shlex
import shutil
import stat
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.arm64.root import KEYRING, MIRROR, REPOSITORY, apt_of_its_own, run
from tests.emulated_linux.machine import Archive, in_order

CACHE = REPOSITORY / "build" / "emulated-board"
KERNEL, INITRD, SYSTEM = CACHE / "vmlinuz", CACHE / "initrd", CACHE / "system.img"
SUITE = "bookworm"
QEMU = "qemu-system-aarch64"
PROGRAMS = {
    QEMU: "qemu-system-arm",
    "mkfs.ext4": "e2fsprogs",
    "mkfs.vfat": "dosfstools",
    "mcopy": "mtools",
    "sfdisk": "fdisk",
}
"""Of this machine, and their packages."""

ESSENTIAL = ("?essential", "?priority(required)")
PACKAGES = (
    # what a board's image has
    "apt",
    "cloud-init",
    "dbus",
    "e2fsprogs",
    "iproute2",
    "kmod",
    "procps",
    "systemd-sysv",
    "systemd-timesyncd",
    "udev",
    "usr-is-merged",  # as everything here: without it usrmerge would come, and Perl with it
    # what install.sh asks for
    "python3",
    "python3-venv",
    # draws the simulated robot's camera, in software
    "libegl1",
    "libgl1",
    # runs what the tests ask for
    "qemu-guest-agent",
)
KERNEL_PACKAGE, BUSYBOX = "linux-image-arm64", "busybox-static"

MODULES = (
    # its disk
    "virtio_pci",
    "virtio_blk",
    "crc32c_generic",  # ext4 asks for it by what it does, and modinfo does not say so
    "ext4",
    # the tests' line to it, and its network
    "virtio_console",
    "virtio_net",
    # what a card is told by
    "vfat",
    "nls_cp437",
    "nls_ascii",
    # its hardware watchdog
    "i6300esb",
    # what systemd looks for
    "autofs4",
    "binfmt_misc",
    "fuse",
)
"""Of the kernel: all are loaded before the disk is mounted."""

SIZE_MB, BOOT_MB = 4096, 320
"""Of the disk, and of its boot partition, which holds what first boot installs; what is never written takes no room."""
LAYOUT = f"""\
label: gpt
start=1MiB, size={BOOT_MB}MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B
start={1 + BOOT_MB}MiB, size={SIZE_MB - BOOT_MB - 2}MiB, type=B921B045-1DF0-41C3-AF44-4C6F280D3FAE
"""

INIT = """\
#!/bin/busybox sh
busybox=/bin/busybox
$busybox mount -t devtmpfs dev /dev
$busybox mount -t proc proc /proc
{load}
until [ -b /dev/vda2 ]; do $busybox sleep 0.1; done
$busybox mount -t ext4 -o ro /dev/vda2 /root
next=/sbin/init
for word in $($busybox cat /proc/cmdline); do
  case "$word" in init=*) next=${{word#init=}} ;; esac
done
$busybox umount /proc
exec $busybox switch_root /root "$next"
"""

SECOND_STAGE = """\
#!/bin/sh
# Installs what lies unpacked on the disk.
PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true
export PATH LC_ALL DEBIAN_FRONTEND DEBCONF_NONINTERACTIVE_SEEN
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs run /run
mount -o remount,rw /
(
  set -ex
  find / -xdev \\( ! -uid 0 -o ! -gid 0 \\) -exec chown -h 0:0 {} +
  . /special
  for script in base-passwd $(cd /var/lib/dpkg/info && ls *.preinst | sed s/.preinst$//); do
    name=${script%%:*}
    export DPKG_MAINTSCRIPT_NAME=preinst DPKG_MAINTSCRIPT_PACKAGE=$name DPKG_MAINTSCRIPT_ARCH=arm64
    "/var/lib/dpkg/info/$script.preinst" install
  done
  dpkg="dpkg --force-unsafe-io --force-depends --force-configure-any --force-confold"
  $dpkg --configure base-passwd
  $dpkg --configure --pending
  dpkg --audit
)
failed=$?
rm -f /second-stage /special /usr/sbin/policy-rc.d
: > /etc/machine-id
for port in /dev/vport*p1; do echo "$failed" > "$port"; done
sync
echo u > /proc/sysrq-trigger # from here on the disk cannot be written to
sleep 2
echo o > /proc/sysrq-trigger
sleep 60
"""

FILES: Mapping[str, str] = {
    "etc/hostname": "board\n",
    "etc/hosts": "127.0.0.1 localhost board\n",
    "etc/fstab": "/dev/vda2 / ext4 errors=remount-ro 0 1\n",
    "etc/resolv.conf": "",
    # No route: it reaches the machine that emulates it, and no other.
    "etc/systemd/network/lan.network": "[Match]\nType=ether\n[Network]\nAddress=10.0.2.15/24\n",
    "etc/default/locale": "LANG=C.UTF-8\n",
    "usr/sbin/policy-rc.d": "#!/bin/sh\nexit 101\n",
    "second-stage": SECOND_STAGE,
}
ENABLED = {
    "multi-user.target.wants/systemd-networkd.service": "/lib/systemd/system/systemd-networkd.service",
}


def missing_on_host() -> str | None:
    """What this machine lacks, in one line that says how to get it; None if nothing."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        return "the emulated board needs apt-get and dpkg-deb: use a Debian or Ubuntu machine"
    packages = [package for program, package in PROGRAMS.items() if _which(program) is None]
    packages += [] if KEYRING.is_file() else ["debian-archive-keyring"]
    return f"the emulated board needs more: run  sudo apt install {' '.join(packages)}" if packages else None


def _which(program: str) -> str | None:
    """Where it is; some are where only root looks."""
    return shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")


def make_system() -> None:
    """Have the kernel, its first files and a disk with Debian on it in the cache.

    Raises:
        CalledProcessError: a package cannot be had, or its installation failed.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE.parent / "emulated-board.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run may be about to do the same
        stamp, wanted = CACHE / "system.stamp", _fingerprint()
        if stamp.is_file() and stamp.read_text() == wanted:
            return
        stamp.unlink(missing_ok=True)
        work = CACHE / "work"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        _unpack(_download(work), work / "tree")
        _make_first_files(work)
        _second_stage(work)
        shutil.rmtree(work)
        stamp.write_text(wanted)


def _fingerprint() -> str:
    said = (MIRROR, SUITE, ESSENTIAL, PACKAGES, KERNEL_PACKAGE, MODULES, INIT, sorted(FILES.items()), LAYOUT)
    return hashlib.sha256(repr(said).encode()).hexdigest()


def _download(work: Path) -> Path:
    """Debian's packages with apt's own checks: those of the system, and below ``kernel`` those of its kernel."""
    apt = work / "apt"
    for folder in (apt / "lists/partial", apt / "archives/partial", apt / "kernel"):
        folder.mkdir(parents=True)
    environment = apt_of_its_own(apt, SUITE, "arm64")
    run(["apt-get", "--quiet=2", "--yes", "--download-only", "install", *ESSENTIAL, *PACKAGES], environment)
    # The kernel without what it depends on, which would make first files of its own.
    find = f"apt-cache depends {KERNEL_PACKAGE} | sed -n 's/^ *Depends: //p'"
    kernel = shlex.quote(str(apt / "kernel"))
    run(
        ["sh", "-ec", f'cd {kernel}; apt-get --quiet=2 download "$({find})" {BUSYBOX}:arm64'],
        environment,
    )
    return apt


def _unpack(apt: Path, tree: Path) -> None:
    """Lay the packages out as files, and write down in dpkg's database that they are unpacked."""
    for name in ("bin", "lib", "sbin"):
        (tree / "usr" / name).mkdir(parents=True)
        (tree / name).symlink_to(f"usr/{name}")
    for name in ("dev", "proc", "sys", "run"):
        (tree / name).mkdir(parents=True, exist_ok=True)
    database = tree / "var/lib/dpkg"
    (database / "info").mkdir(parents=True)
    (database / "info" / "format").write_text("1\n")
    special: list[str] = []
    with (database / "status").open("w", encoding="utf-8") as status:
        for package in sorted((apt / "archives").glob("*.deb")):
            special += _extract(package, tree)
            status.write(_register(package, database / "info"))
    (tree / "special").write_text("\n".join(special) + "\n")
    for package in sorted((apt / "kernel").glob("*.deb")):
        _extract(package, apt / "kernel")
    for name, content in FILES.items():
        file = tree / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
        file.chmod(0o755 if content.startswith("#!") else 0o644)
    for name, target in ENABLED.items():
        link = tree / "etc/systemd/system" / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)


def _extract(package: Path, tree: Path) -> list[str]:
    """Like ``dpkg-deb --extract``, which would put a folder in place of the link ``/bin``.

    Returns:
        What a shell does to what is not simply root's.
    """
    tree.mkdir(parents=True, exist_ok=True)
    content = subprocess.run(
        ["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE, check=True
    ).stdout
    command = [
        "tar",
        "--extract",
        "--keep-directory-symlink",
        "--no-same-owner",
        "-p",
        "--directory",
        str(tree),
    ]
    subprocess.run(command, input=content, check=True)
    special = []
    with tarfile.open(fileobj=io.BytesIO(content)) as members:
        for member in members:
            if (member.uid, member.gid) != (0, 0) or member.mode & 0o7000:
                path = shlex.quote(member.name.removeprefix("."))
                special.append(f"chown {member.uid}:{member.gid} {path}; chmod {member.mode:o} {path}")
    return special


def _register(package: Path, info: Path) -> str:
    """Keep a package's scripts where dpkg looks for them; its entry in dpkg's ``status``, see deb-control(5)."""

    def said(*what: str) -> str:
        return subprocess.run(["dpkg-deb", *what], capture_output=True, text=True, check=True).stdout

    package_name, same = (
        said("--field", str(package), "Package").strip(),
        said("--field", str(package), "Multi-Arch"),
    )
    name = f"{package_name}:arm64" if same.strip() == "same" else package_name
    files = [
        line.split(maxsplit=5)[5].split(" -> ")[0] for line in said("--contents", str(package)).splitlines()
    ]
    paths = [file.removeprefix(".").rstrip("/") or "/." for file in files]
    (info / f"{name}.list").write_text("".join(f"{path}\n" for path in paths))
    with tempfile.TemporaryDirectory() as folder:
        run(["dpkg-deb", "--control", str(package), folder])
        for file in Path(folder).iterdir():
            if file.name != "control":
                shutil.copy(file, info / f"{name}.{file.name}")
        control = (Path(folder) / "control").read_text(encoding="utf-8")
    head, _, rest = control.partition("\n")
    return f"{head}\nStatus: install ok unpacked\n{rest.rstrip()}\n\n"


def _make_first_files(work: Path) -> None:
    """The kernel, and a first file system whose program loads its modules and mounts the disk."""
    unpacked = work / "apt" / "kernel"
    (kernel,) = unpacked.glob("boot/vmlinuz-*")
    shutil.copyfile(kernel, KERNEL)
    files = {file.stem.replace("-", "_"): file for file in unpacked.glob("lib/modules/*/kernel/**/*.ko")}
    order = in_order(MODULES, files)
    archive = Archive()
    for folder in ("bin", "dev", "proc", "root"):
        archive.add(folder, stat.S_IFDIR | 0o755)
    archive.add("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    archive.add("bin/busybox", stat.S_IFREG | 0o755, (unpacked / "bin" / "busybox").read_bytes())
    load = "\n".join(f"$busybox insmod /{name}.ko" for name in order)
    archive.add("init", stat.S_IFREG | 0o755, INIT.format(load=load).encode())
    for name in order:
        archive.add(f"{name}.ko", stat.S_IFREG | 0o644, files[name].read_bytes())
    archive.add("TRAILER!!!", 0)
    INITRD.write_bytes(bytes(archive.content))


def _partition(work: Path, disk: Path) -> None:
    """A disk with the tree on it, and a boot partition with the kernel, which is a program for UEFI."""
    with disk.open("wb") as file:
        os.truncate(file.fileno(), SIZE_MB << 20)
    _tool("sfdisk", "--quiet", str(disk), input=LAYOUT)
    boot = work / "boot.img"
    with boot.open("wb") as file:
        os.truncate(file.fileno(), BOOT_MB << 20)
    _tool("mkfs.vfat", "-F", "32", "-n", "EFI", str(boot))
    _tool("mmd", "-i", str(boot), "::EFI", "::EFI/BOOT")
    _tool("mcopy", "-i", str(boot), str(KERNEL), "::EFI/BOOT/BOOTAA64.EFI")
    _tool("dd", f"if={boot}", f"of={disk}", "bs=1M", "seek=1", "conv=notrunc,sparse", "status=none")
    boot.unlink()
    start, size = (1 + BOOT_MB) << 20, f"{SIZE_MB - BOOT_MB - 2}M"
    _tool(
        *("mkfs.ext4", "-q", "-F", "-L", "root", "-E", f"offset={start}"),
        *("-d", str(work / "tree"), str(disk), size),
    )


def _tool(program: str, *words: str, input: str | None = None) -> None:
    found = _which(program)
    assert found is not None, program
    subprocess.run([found, *words], check=True, input=input, text=True, stdout=subprocess.DEVNULL)


def _second_stage(work: Path) -> None:
    """Put the tree on a disk, and let the board install what is on it."""
    disk, exit_code = work / "disk.img", work / "exit-code"
    _partition(work, disk)
    command = [
        *(QEMU, "-M", "virt", "-cpu", "cortex-a72", "-smp", "2", "-m", "1024", "-accel", "tcg,thread=multi"),
        *("-nodefaults", "-display", "none", "-no-reboot", "-kernel", str(KERNEL), "-initrd", str(INITRD)),
        *("-append", "console=ttyAMA0 quiet loglevel=3 panic=-1 init=/second-stage"),
        *(
            "-drive",
            f"file={disk},format=raw,if=none,id=disk,cache=unsafe",
            "-device",
            "virtio-blk,drive=disk",
        ),
        *("-serial", f"file:{CACHE / 'second-stage.log'}"),
        *("-device", "virtio-serial", "-chardev", f"file,id=said,path={exit_code}"),
        *("-device", "virtserialport,chardev=said,name=said"),
    ]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    if not exit_code.is_file() or exit_code.read_text().strip() != "0":
        raise subprocess.CalledProcessError(1, ["second-stage", str(CACHE / "second-stage.log")])
    disk.rename(SYSTEM)
