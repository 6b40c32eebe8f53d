"""What is on this machine's disks is found out before one of them is written to, through all layers that lie on them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_wm.errors import BadInput
from edge_wm.flash.devices import Disk, disk_numbered, disk_of, disks, files_of_loops


class Machine:
    """A machine's /sys/block, /proc and /dev, in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "sys/block").mkdir(parents=True)
        (root / "proc/self").mkdir(parents=True)
        (root / "dev/mapper").mkdir(parents=True)
        self.mounts("proc /proc 0:21")
        self.swaps()

    def disk(self, name: str, number: str, gigabytes: int = 32, **facts: str) -> None:
        usb = "usb1/1-2" if facts.pop("usb", "") else "pci0000:00"
        folder = self.root / f"sys/devices/{usb}/{name}"
        folder.mkdir(parents=True)
        (self.root / "sys/block" / name).symlink_to(os.path.relpath(folder, self.root / "sys/block"))
        self._write(folder, dev=number, size=str(gigabytes * 10**9 // 512), removable="0", ro="0", **facts)
        (folder / "holders").mkdir()

    def partition(self, disk: str, name: str, number: str, holders: tuple[str, ...] = ()) -> None:
        folder = self.root / "sys/block" / disk / name
        folder.mkdir()
        self._write(folder, dev=number, partition="1")
        for holder in holders:
            (folder / "holders" / holder).mkdir(parents=True)

    def held(self, disk: str, holder: str) -> None:
        (self.root / "sys/block" / disk / "holders" / holder).mkdir()

    def mounts(self, *lines: str) -> None:
        """Of source, place and number."""
        fields = [line.split(" ") for line in lines]
        text = "".join(
            f"22 1 {number} / {place} rw,relatime shared:1 - ext4 {source} rw\n"
            for source, place, number in fields
        )
        (self.root / "proc/self/mountinfo").write_text(text)

    def swaps(self, *files: str) -> None:
        lines = [f"{file}  partition 100 0 -2\n" for file in files]
        (self.root / "proc/swaps").write_text("Filename Type Size Used Priority\n" + "".join(lines))

    def uses(self, name: str) -> tuple[str, ...]:
        return self.found(name).uses

    def found(self, name: str) -> Disk:
        (disk,) = (disk for disk in disks(self.root) if disk.name == name)
        return disk

    def _write(self, folder: Path, **facts: str) -> None:
        for name, text in facts.items():
            file = folder / name.replace("__", "/")
            file.parent.mkdir(exist_ok=True)
            file.write_text(text + "\n")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """One with a built-in disk that it runs from, and a card."""
    machine = Machine(tmp_path)
    machine.disk("nvme0n1", "259:0", 512, device__model="SSD 970")
    machine.partition("nvme0n1", "nvme0n1p1", "259:1")
    machine.partition("nvme0n1", "nvme0n1p2", "259:2")
    machine.disk("sdb", "8:16", 32, device__vendor="Generic", device__model="Card Reader", usb="yes")
    machine.partition("sdb", "sdb1", "8:17")
    machine.mounts("/dev/nvme0n1p2 / 259:2", "/dev/nvme0n1p1 /boot/efi 259:1")
    return machine


def test_disks_are_listed_and_what_is_none_is_not(machine: Machine) -> None:
    machine.disk("sdc", "8:32", 0)
    for name in ("loop0", "dm-0", "zram0", "sr0", "mmcblk0boot0"):
        machine.disk(name, "1:1")

    assert [disk.name for disk in disks(machine.root)] == ["nvme0n1", "sdb"]
    assert str(machine.found("sdb")) == "/dev/sdb  32.0 GB  Generic Card Reader"
    assert str(machine.found("nvme0n1")) == (
        "/dev/nvme0n1  512.0 GB  SSD 970  (built in; nvme0n1p1 is mounted at /boot/efi; this system runs from it)"
    )


def test_a_card_that_nobody_uses_is_free(machine: Machine) -> None:
    assert machine.uses("sdb") == ()
    assert machine.found("sdb").external and not machine.found("nvme0n1").external


def test_a_card_in_a_slot_is_external_and_a_soldered_one_is_built_in(machine: Machine) -> None:
    machine.disk("mmcblk0", "179:0", device__type="SD", device__name="SC32G")
    machine.disk("mmcblk1", "179:8", device__type="MMC", device__name="eMMC")

    assert machine.found("mmcblk0").external and machine.found("mmcblk0").model == "SC32G"
    assert not machine.found("mmcblk1").external


def test_a_mounted_partition_makes_its_disk_a_used_one(machine: Machine) -> None:
    machine.mounts("/dev/sdb1 /media/a\\040card 8:17")

    assert machine.uses("sdb") == ("sdb1 is mounted at /media/a card",)


def test_a_disk_that_is_mounted_without_partitions_is_used(machine: Machine) -> None:
    machine.mounts("/dev/sdb /media/stick 8:16")

    assert machine.uses("sdb") == ("sdb is mounted at /media/stick",)


def test_the_system_disk_is_found_through_encryption_and_lvm(machine: Machine) -> None:
    machine.disk("dm-0", "253:0")
    machine.disk("dm-1", "253:1")
    (machine.root / "sys/block/sdb/sdb1/holders/dm-0").mkdir(parents=True)
    machine.held("dm-0", "dm-1")
    machine.mounts("/dev/mapper/vg-root / 253:1")

    assert machine.uses("sdb") == ("this system runs from it",)


def test_a_part_of_a_raid_is_used_even_if_nothing_is_mounted(machine: Machine) -> None:
    machine.disk("md0", "9:0")
    (machine.root / "sys/block/sdb/sdb1/holders/md0").mkdir(parents=True)

    assert machine.uses("sdb") == ("sdb1 is a part of md0",)


def test_swap_is_a_use(machine: Machine) -> None:
    machine.swaps("/dev/sdb1")

    assert machine.uses("sdb") == ("this system swaps to sdb1",)


def test_btrfs_which_has_a_number_of_its_own_is_found_by_its_source(machine: Machine) -> None:
    machine.mounts("/dev/sdb1 /home 0:45")

    assert machine.uses("sdb") == ("sdb1 is mounted at /home",)


def test_a_mount_through_a_mapper_link_is_found(machine: Machine) -> None:
    machine.disk("dm-3", "253:3")
    (machine.root / "dev/dm-3").touch()
    (machine.root / "dev/mapper/card").symlink_to("../dm-3")
    (machine.root / "sys/block/sdb/sdb1/holders/dm-3").mkdir(parents=True)
    machine.mounts("/dev/mapper/card /srv 0:50")

    assert machine.uses("sdb") == ("sdb1 is mounted at /srv",)


@pytest.mark.parametrize(
    ("number", "said"),
    [
        ("8:17", "is a partition: name the whole disk, /dev/sdb"),
        ("253:0", "is made of other disks"),
        ("8:32", "there is no card in it"),
        ("1:99", "is no disk that this system knows"),
    ],
)
def test_what_is_no_whole_card_is_refused(number: str, said: str, machine: Machine) -> None:
    machine.disk("dm-0", "253:0")
    machine.disk("sdc", "8:32", 0)

    with pytest.raises(BadInput, match=said):
        disk_numbered(number, Path("/dev/x"), machine.root)


def test_this_machine_runs_from_none_of_its_free_disks() -> None:
    """On whatever this runs: what /proc/mounts names is used."""
    with Path("/proc/mounts").open(encoding="utf-8") as file:
        mounted = {line.split()[0] for line in file if line.startswith("/dev/")}

    assert [disk for disk in disks() if str(disk.path) in mounted and not disk.uses] == []


def test_a_real_loop_device_is_told_apart_from_files_and_terminals(
    tmp_path: Path, loop: Callable[[Path], Path]
) -> None:
    file = tmp_path / "disk"
    file.write_bytes(bytes(4 << 20))
    device = loop(file)

    assert disk_of(device).size == 4 << 20 and disk_of(device).external
    assert str(file) in files_of_loops()
    with pytest.raises(BadInput, match="is no disk"):
        disk_of(Path("/dev/null"))


def test_a_mounted_loop_device_is_used(tmp_path: Path, loop: Callable[[Path], Path]) -> None:
    file, place = tmp_path / "disk", tmp_path / "mounted"
    file.write_bytes(bytes(4 << 20))
    place.mkdir()
    device = loop(file)
    subprocess.run(["mkfs.ext4", "-q", str(device)], check=True)
    subprocess.run(["mount", str(device), str(place)], check=True)
    try:
        assert disk_of(device).uses == (f"{device.name} is mounted at {place}",)
    finally:
        subprocess.run(["umount", str(place)], check=True)
    assert disk_of(device).uses == ()
