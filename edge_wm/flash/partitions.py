"""Partition tables: MBR, and GPT as in UEFI 2.10, chapter 5."""

from __future__ import annotations

import struct
import uuid
import zlib
from typing import Literal, NamedTuple

SECTOR = 512
"""Bytes, in both tables: official images for cards have no other."""

TABLE_BYTES = 1 << 20
"""Of a disk: whatever the table is, it lies in here."""

GPT_HEADER = struct.Struct("<8s4xII4xQQQQ16sQIII")
"""Signature, size, CRC, this and the other header's sector, first and last usable sector, disk, then the entries: their
sector, number, size and CRC.  The revision and a reserved word are skipped."""

GPT_ENTRY = struct.Struct("<16s16sQQQ72s")
PROTECTIVE = 0xEE


class Partition(NamedTuple):
    """One partition.

    Attributes:
        number: from 1 on.
        start: byte.
        size: bytes.
        type: MBR: two hexadecimal digits; GPT: the type's GUID, in lower case.
        name: only GPT has them.
    """

    number: int
    start: int
    size: int
    type: str
    name: str = ""

    @property
    def end(self) -> int:
        """Byte behind it."""
        return self.start + self.size


class PartitionTable(NamedTuple):
    """What a disk begins with.

    Attributes:
        scheme: which kind of table.
        partitions: in the order of their numbers.
        end: bytes that a disk must have for all of it.
    """

    scheme: Literal["MBR", "GPT"]
    partitions: tuple[Partition, ...]
    end: int


def read_partition_table(head: bytes) -> PartitionTable:
    """The table of the disk that begins with ``head``, at least ``TABLE_BYTES`` of it.

    Raises:
        ValueError: there is none, or it is damaged; one line.
    """
    if len(head) < TABLE_BYTES:
        raise ValueError(f"it ends after {len(head)} bytes")
    if head[510:512] != b"\x55\xaa":
        raise ValueError("it does not begin with a partition table")
    primary = [struct.unpack_from("<B3xB3xII", head, 446 + 16 * number) for number in range(4)]
    if any(kind == PROTECTIVE for _, kind, _, _ in primary):
        return _gpt(head)
    partitions = tuple(
        Partition(number, start * SECTOR, sectors * SECTOR, f"{kind:02x}")
        for number, (_, kind, start, sectors) in enumerate(primary, start=1)
        if kind != 0 and sectors != 0
    )
    if not partitions:
        raise ValueError("its partition table is empty")
    if any(active & 0x7F for active, _, _, _ in primary):
        raise ValueError("its partition table is damaged")
    return PartitionTable("MBR", partitions, max(partition.end for partition in partitions))


def _gpt(head: bytes) -> PartitionTable:
    signature, size, crc, _, other, _, _, _, first, count, width, entries_crc = GPT_HEADER.unpack_from(
        head, SECTOR
    )
    header = head[SECTOR : SECTOR + min(size, SECTOR)]
    if signature != b"EFI PART" or zlib.crc32(header[:16] + bytes(4) + header[20:]) != crc:
        raise ValueError("its GPT is damaged")
    begin, end = first * SECTOR, first * SECTOR + count * width
    if width < GPT_ENTRY.size or end > TABLE_BYTES or zlib.crc32(head[begin:end]) != entries_crc:
        raise ValueError("its GPT is damaged")
    partitions = []
    for number in range(count):
        kind, _, start, last, _, name = GPT_ENTRY.unpack_from(head, begin + number * width)
        if kind != bytes(16):
            text = name.decode("utf-16-le", "replace").rstrip("\0")
            length = (last - start + 1) * SECTOR
            partitions.append(
                Partition(number + 1, start * SECTOR, length, str(uuid.UUID(bytes_le=kind)), text)
            )
    if not partitions:
        raise ValueError("its partition table is empty")
    # The second header is the disk's last sector.
    return PartitionTable(
        "GPT", tuple(partitions), max([(other + 1) * SECTOR, *(partition.end for partition in partitions)])
    )
