"""Turn the RP2040's program into the file that is dropped on its USB drive: ``python3 uf2.py rp2040.bin rp2040.uf2``.

Format: https://github.com/microsoft/uf2, 512 bytes for every 256 of the program::

    magic, magic, flags, address, bytes of payload, number of the block, of how many, family: 8 words, little-endian
    476 bytes, of which 256 are payload
    magic

The boot ROM of a Pico takes the file without a look at the program, and does not start one whose second stage of the boot loader has
another checksum than it says (datasheet 2.8.1.3.1): this does the look.
"""

import struct
import sys
from pathlib import Path

FLASH = 0x1000_0000
FAMILY_RP2040 = 0xE48B_FF56
MAGICS = (0x0A32_4655, 0x9E5D_5157, 0x0AB1_6F30)
FAMILY_IS_PRESENT = 0x2000
PAYLOAD = 256
BOOT2 = 252
"""Bytes of the second stage of the boot loader, before its checksum."""


def checksum(data: bytes) -> int:
    """CRC-32 as the boot ROM has it: polynomial 0x04C11DB7, from 0xFFFFFFFF on, most significant bit first, not inverted."""
    crc = 0xFFFF_FFFF
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = ((crc << 1) ^ (0x04C1_1DB7 if crc & 0x8000_0000 else 0)) & 0xFFFF_FFFF
    return crc


def uf2(program: bytes) -> bytes:
    """The file for a program that begins where the flash does."""
    count = -(-len(program) // PAYLOAD)
    blocks = []
    for number in range(count):
        payload = program[number * PAYLOAD : (number + 1) * PAYLOAD].ljust(476, b"\0")
        address = FLASH + number * PAYLOAD
        head = (*MAGICS[:2], FAMILY_IS_PRESENT, address, PAYLOAD, number, count, FAMILY_RP2040)
        blocks.append(struct.pack("<8I476sI", *head, payload, MAGICS[2]))
    return b"".join(blocks)


def main(source: str, target: str) -> int:
    """Returns the exit code: 1, and one line on standard error, if the boot ROM would not start the program."""
    program = Path(source).read_bytes()
    found, right = int.from_bytes(program[BOOT2 : BOOT2 + 4], "little"), checksum(program[:BOOT2])
    if found != right:
        print(
            f"error: {source}: the checksum of its boot loader is 0x{found:08X}: make it 0x{right:08X} in start.S",
            file=sys.stderr,
        )
        return 1
    Path(target).write_bytes(uf2(program))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
