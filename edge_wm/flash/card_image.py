"""An official image with what its first boot needs: made beside the image, and checked, before any card is touched."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edge_wm.board import Board, SerialPort
from edge_wm.errors import BadInput
from edge_wm.flash import first_boot
from edge_wm.flash.card import MARK
from edge_wm.flash.fat import Fat, check_mtools
from edge_wm.flash.first_boot import Answers
from edge_wm.flash.header_uart import header_uart
from edge_wm.flash.image import CHUNK, check_sha256, opened
from edge_wm.flash.partitions import TABLE_BYTES, Partition, PartitionTable, read_partition_table
from edge_wm.flash.payload import Payload, check_payload, write_archive
from edge_wm.flash.system import System, boot_folder, boot_partition, is_jetpack, recognise


@dataclass(frozen=True, slots=True)
class CardImage:
    """What a card is to hold: a changed beginning, and the rest as it is in the image.

    Attributes:
        image: file that the rest is read from.
        head: file with the beginning.
        head_size: bytes.
        system: that the image holds.
        size: of all; bytes.
        compared: whether the image's checksum was known.
        board: that boots it.
    """

    image: Path
    head: Path
    head_size: int
    system: System
    size: int
    compared: bool
    board: Board

    def chunks(self) -> Iterator[bytes]:
        """All of it, ``CHUNK`` bytes at a time.  Raises BadInput if the image is damaged or not all of it."""
        place = 0
        with opened(self.image) as stream, self.head.open("rb") as head:
            for chunk in stream.chunks():
                changed = head.read(min(len(chunk), max(0, self.head_size - place)))
                yield changed + chunk[len(changed) :]
                place += len(chunk)
        if place < self.size:
            raise BadInput(f"{self.image}: ends after {place} of {self.size} bytes: download it again")


@contextmanager
def card_image(
    image: Path, board: Board, payload: Payload, answers: Answers, sha256: str | None = None
) -> Iterator[CardImage]:
    """Make what ``board`` is to boot from, out of an official image.

    Args:
        image: raw, or compressed.
        board: that is to boot it.
        payload: the project, and what belongs to this robot.
        answers: user, network and names.
        sha256: of ``image``; None: what lies beside it, if anything does.

    Raises:
        BadInput: the image is damaged, not known or for another board, or the payload cannot be used; one line.
    """
    compared = check_sha256(image, sha256)
    with tempfile.TemporaryDirectory(prefix="edge-wm-flash-") as folder:
        head = Path(folder, "head")
        table, size = _read_head(image, head)
        boot = boot_partition(table)
        if not is_jetpack(table):
            check_mtools()
        system = recognise(head, table, board, image)
        if system.label:
            assert boot is not None
            if answers.wifi is not None and not system.wifi:
                raise BadInput(f"--wifi: the {system.name} image has none: connect a cable")
            check_payload(payload, board)
            uart = header_uart(payload.robot, board) if system.boots_pi_firmware else None
            _inject(head, boot, system, board, payload, answers, uart, Path(folder))
        elif payload != Payload() or answers != Answers():
            raise BadInput(
                f"{system.name} has no cloud-init, so nothing can be given to its first boot: name board, image and"
                " device only, and run boards/install/to-board.sh afterwards"
            )
        yield CardImage(image, head, head.stat().st_size, system, size, compared, board)


def _read_head(image: Path, head: Path) -> tuple[PartitionTable, int]:
    """Write the image's beginning, up to the end of its boot partition, to a file.

    Returns:
        The image's partitions, and how many bytes it has.
    """
    with opened(image) as stream:
        first = stream.read(TABLE_BYTES)
        if first.startswith(MARK):
            raise BadInput(f"{image}: was never finished: edge-wm flash was interrupted while it wrote this")
        try:
            table = read_partition_table(first)
        except ValueError as error:
            raise BadInput(f"{image}: is no image of a card: {error}") from error
        if stream.size is not None and stream.size < table.end:
            raise BadInput(f"{image}: ends after {stream.size} of {table.end} bytes: download it again")
        boot = boot_partition(table)
        wanted = max(TABLE_BYTES, boot.end if boot is not None and not is_jetpack(table) else 0)
        with head.open("wb") as file:
            file.write(first)
            while (place := file.tell()) < wanted and (chunk := stream.read(min(CHUNK, wanted - place))):
                if chunk == bytes(len(chunk)):
                    file.seek(len(chunk), 1)
                else:
                    file.write(chunk)
            if file.tell() < wanted:
                raise BadInput(f"{image}: ends before its boot partition does: download it again")
            file.truncate(wanted)
    return table, max(table.end, stream.size or 0)


def _inject(
    head: Path,
    boot: Partition,
    system: System,
    board: Board,
    payload: Payload,
    answers: Answers,
    uart: SerialPort | None,
    work: Path,
) -> None:
    """Put into the boot partition what the first boot reads."""
    fat = Fat(head, boot.start)
    instance = first_boot.new_instance()
    archive = work / "payload.tar.gz"
    digest = write_archive(payload, board, answers, archive)
    fat.make_folder("edge-wm")
    fat.copy_in(archive, "edge-wm/payload.tar.gz")
    fat.write("edge-wm/payload.sha256", f"{digest}  payload.tar.gz\n".encode())
    fat.copy_in(first_boot.SCRIPT, "edge-wm/first-boot.sh")
    fat.write("user-data", first_boot.user_data(answers, system))
    fat.write("meta-data", first_boot.meta_data(answers, instance))
    if answers.wifi is not None:
        fat.write("network-config", first_boot.network_config(answers.wifi))
    if system.boots_pi_firmware:
        country = answers.wifi.country if answers.wifi is not None else None
        line = f"{boot_folder(fat.names())}cmdline.txt"
        fat.write(line, first_boot.cmdline(fat.read(line), instance, country, serial_console=uart is None))
        settings = (uart.config_txt,) if uart is not None and uart.config_txt is not None else ()
        fat.write("config.txt", first_boot.config_txt(fat.read("config.txt"), *settings))
    else:
        fat.set_label(system.label)
