"""Which image is for which board."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from edge_wm.errors import BadInput
from edge_wm.flash.card import MARK
from edge_wm.flash.card_image import card_image
from edge_wm.flash.first_boot import Answers
from edge_wm.flash.payload import Payload
from tests.flash import official
from tests.flash.fat_reader import files_of


def _system(image: Path, board: str, bundle: Path) -> str:
    robot = None
    with card_image(image, official.board(board), Payload(bundle, robot), Answers()) as made:
        return made.system.name


def test_the_command_line_of_ubuntu_with_two_sets_is_completed_where_it_lies(
    bundle: Path, images: Path, tmp_path: Path
) -> None:
    image = official.mbr_image(tmp_path / "questing.img", "system-boot", official.UBUNTU_PI_2510)
    with card_image(image, official.board("rpi5"), Payload(bundle), Answers()) as made:
        boot = made.head.read_bytes()[official.BOOT_START :]

    assert b"ds=nocloud;i=edge-wm-" in files_of(boot)["current/cmdline.txt"]
    assert "cmdline.txt" not in files_of(boot)


def _refused(image: Path, board: str) -> str:
    with (
        pytest.raises(BadInput) as refused,
        card_image(image, official.board(board), Payload(), Answers()),
    ):
        pass
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_images_are_known_by_what_they_boot_from(images: Path, bundle: Path, tmp_path: Path) -> None:
    ubuntu = official.mbr_image(tmp_path / "ubuntu.img", "system-boot", official.UBUNTU_PI)

    two_sets = official.mbr_image(tmp_path / "questing.img", "system-boot", official.UBUNTU_PI_2510)

    assert _system(images / "pi-os.img", "rpi5", bundle) == "Raspberry Pi OS"
    assert _system(ubuntu, "rpi5", bundle) == "Ubuntu for Raspberry Pi"
    assert _system(two_sets, "rpi5", bundle) == "Ubuntu for Raspberry Pi"
    assert _system(images / "debian.img", "generic-aarch64", bundle) == "generic UEFI"
    with card_image(images / "jetpack.img", official.board("jetson-orin-nano"), Payload(), Answers()) as made:
        assert made.system.name == "JetPack"


@pytest.mark.parametrize(
    ("label", "files", "board", "said"),
    [
        ("bootfs", official.PI_OS_BOOKWORM, "rpi5", "has no cloud-init"),
        ("bootfs", official.PI_OS_ARMHF, "rpi5", "is 32-bit"),
        ("system-boot", {**official.UBUNTU_PI, "vmlinuz": official.ARM_KERNEL}, "rpi5", "is 32-bit"),
        ("system-boot", {**official.UBUNTU_PI, "vmlinuz": b"\x1f\x8bbroken"}, "rpi5", "is 32-bit"),
        ("bootfs", official.PI_OS_TRIXIE, "rpi-zero-2w", "does not know the board rpi-zero-2w"),
        ("bootfs", official.PI_OS_TRIXIE, "jetson-orin-nano", "is no SD card image of JetPack"),
        ("bootfs", official.PI_OS_TRIXIE, "generic-x86-64", "is for another processor"),
        ("system-boot", official.UBUNTU_PI, "generic-x86-64", "is for another processor"),
        ("RECOVERY", official.PI_OS_TRIXIE, "rpi5", "has the label 'RECOVERY'"),
        ("DATA", {"photo.jpg": b"a photo"}, "rpi5", "has no boot partition that is known"),
    ],
)
def test_an_image_that_would_not_do_is_refused(
    label: str, files: Mapping[str, bytes], board: str, said: str, images: Path, tmp_path: Path
) -> None:
    assert said in _refused(official.mbr_image(tmp_path / "image.img", label, files), board)


def test_an_image_for_other_computers_is_refused(images: Path, tmp_path: Path) -> None:
    x86 = official.gpt_image(tmp_path / "x86.img", "EFI", official.DEBIAN_CLOUD_X86)
    clouds = official.gpt_image(tmp_path / "ubuntu.img", "UEFI", official.DEBIAN_CLOUD)

    assert "is an image for a Jetson" in _refused(images / "jetpack.img", "rpi5")
    assert "is for computers with UEFI" in _refused(images / "debian.img", "rpi5")
    assert "is for another processor" in _refused(x86, "generic-aarch64")
    assert "is for another processor" in _refused(images / "debian.img", "generic-x86-64")
    assert "Ubuntu for clouds" in _refused(clouds, "generic-aarch64")
    assert "is no computer" in _refused(images / "pi-os.img", "sim")


def test_what_is_no_whole_image_is_refused(images: Path, tmp_path: Path) -> None:
    cut, empty, unfinished = tmp_path / "cut.img", tmp_path / "empty.img", tmp_path / "unfinished.img"
    with (images / "pi-os.img").open("rb") as image:
        cut.write_bytes(image.read(official.SIZE - 512))
    empty.write_bytes(b"")
    unfinished.write_bytes(MARK.ljust(1 << 20, b"\0"))

    assert f"ends after {official.SIZE - 512} of {official.SIZE} bytes" in _refused(cut, "rpi5")
    assert "is no image of a card: it ends after 0 bytes" in _refused(empty, "rpi5")
    assert "was never finished" in _refused(unfinished, "rpi5")
    assert "No such file" in _refused(tmp_path / "missing.img", "rpi5")
