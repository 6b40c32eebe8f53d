"""Reads FAT32, from Microsoft's specification of 2000 and nothing of mtools: what a kernel would find there."""

from __future__ import annotations

import struct


def files_of(disk: bytes) -> dict[str, bytes]:
    """All files of the file system that ``disk`` is, by path."""
    sector, per_cluster, reserved, fats = struct.unpack_from("<HBHB", disk, 11)
    (fat_sectors,) = struct.unpack_from("<I", disk, 36)
    (root,) = struct.unpack_from("<I", disk, 44)
    table = disk[reserved * sector : (reserved + fat_sectors) * sector]
    assert disk[(reserved + fat_sectors) * sector :][: len(table)] == table, "its two tables differ"
    data = (reserved + fats * fat_sectors) * sector
    size = per_cluster * sector

    def content(cluster: int) -> bytes:
        parts = []
        while 2 <= cluster < 0x0FFFFFF8:
            start = data + (cluster - 2) * size
            parts.append(disk[start : start + size])
            cluster = struct.unpack_from("<I", table, 4 * cluster)[0] & 0x0FFFFFFF
        return b"".join(parts)

    found: dict[str, bytes] = {}

    def walk(cluster: int, folder: str) -> None:
        entries, long_name = content(cluster), ""
        for place in range(0, len(entries), 32):
            entry = entries[place : place + 32]
            if entry[0] == 0:
                return
            if entry[0] == 0xE5:
                long_name = ""
            elif entry[11] == 0x0F:
                long_name = (entry[1:11] + entry[14:26] + entry[28:32]).decode("utf-16-le") + long_name
            elif not entry[11] & 0x08:
                base, end = entry[:8].decode("latin-1").rstrip(), entry[8:11].decode("latin-1").rstrip()
                lower_base, lower_end = entry[12] & 0x08, entry[12] & 0x10
                base, end = base.lower() if lower_base else base, end.lower() if lower_end else end
                name = long_name.split("\0")[0] or (f"{base}.{end}" if end else base)
                high, low, length = struct.unpack("<H4xHI", entry[20:32])
                first = high << 16 | low
                if entry[11] & 0x10:
                    if not name.startswith("."):
                        walk(first, f"{folder}{name}/")
                else:
                    found[folder + name] = content(first)[:length] if length else b""
                long_name = ""

    walk(root, "")
    return found
