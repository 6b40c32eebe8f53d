"""Partition tables that sfdisk writes are read, and damaged ones are not believed."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_wm.flash.partitions import TABLE_BYTES, read_partition_table
from tests.flash.official import BOOT_SIZE, BOOT_START, SIZE


def _head(image: Path) -> bytearray:
    with image.open("rb") as file:
        return bytearray(file.read(TABLE_BYTES))


def test_an_mbr_is_read(images: Path) -> None:
    table = read_partition_table(_head(images / "pi-os.img"))

    assert table.scheme == "MBR" and table.end == SIZE
    assert [(part.number, part.start, part.size, part.type) for part in table.partitions] == [
        (1, BOOT_START, BOOT_SIZE, "0c"),
        (2, BOOT_START + BOOT_SIZE, SIZE - BOOT_START - BOOT_SIZE, "83"),
    ]


def test_a_gpt_is_read_and_its_second_header_counts_as_a_part_of_the_disk(images: Path) -> None:
    table = read_partition_table(_head(images / "debian.img"))

    assert table.scheme == "GPT" and table.end == SIZE
    assert [(part.number, part.start) for part in table.partitions] == [
        (1, BOOT_START + BOOT_SIZE),
        (15, BOOT_START),
    ]
    assert [part.name for part in read_partition_table(_head(images / "jetpack.img")).partitions] == [
        "APP",
        "A_kernel",
        "B_kernel",
        "esp",
    ]


@pytest.mark.parametrize("place", [512 + 40, 512 + 60, 1024 + 5, 1024 + 40, 1024 + 127 * 128])
def test_a_gpt_with_any_bit_turned_over_is_not_believed(images: Path, place: int) -> None:
    head = _head(images / "debian.img")
    head[place] ^= 1

    with pytest.raises(ValueError, match="damaged"):
        read_partition_table(head)


def test_what_is_no_table_is_told_so(images: Path) -> None:
    for content, said in ((bytes(TABLE_BYTES), "does not begin"), (b"short", "ends after 5 bytes")):
        with pytest.raises(ValueError, match=said):
            read_partition_table(content)
    with pytest.raises(ValueError, match="empty"):
        read_partition_table(bytes(510) + b"\x55\xaa" + bytes(TABLE_BYTES))
