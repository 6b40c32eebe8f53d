"""A robot whose bridge is on the pins of a Raspberry Pi's header finds the port switched on, and nobody else on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_wm.errors import BadInput
from edge_wm.flash.first_boot import Answers
from edge_wm.flash.header_uart import header_uart
from edge_wm.flash.payload import Payload
from edge_wm.paths import shipped
from tests.flash import official
from tests.flash.card_file import make_card_file
from tests.flash.fat_reader import files_of

ROBOT = shipped("boards", "robots", "rpi-picamera2.toml")


def robot_on(device: str, folder: Path) -> Path:
    """A robot file whose microcontroller is on ``device``."""
    text = ROBOT.read_text()
    assert text.count('device = "/dev/ttyACM0"') == 1
    file = folder / "rover.toml"
    file.write_text(text.replace('device = "/dev/ttyACM0"', f'device = "{device}"'))
    return file


@pytest.mark.parametrize(
    ("board", "device", "line"),
    [
        ("rpi4", "/dev/serial0", "enable_uart=1"),
        ("rpi-zero-2w", "/dev/serial0", "enable_uart=1"),
        ("rpi5", "/dev/ttyAMA0", "dtparam=uart0=on"),
        ("rpi5-hailo", "/dev/ttyAMA0", "dtparam=uart0=on"),
        ("rpi-coral", "/dev/serial0", "enable_uart=1"),
        ("rpi-coral", "/dev/ttyAMA0", "dtparam=uart0=on"),
    ],
)
def test_a_board_s_file_says_what_switches_its_port_on(
    board: str, device: str, line: str, tmp_path: Path
) -> None:
    port = header_uart(robot_on(device, tmp_path), official.board(board))

    assert port is not None and (port.config_txt, port.tx, port.rx) == (line, 8, 10)


@pytest.mark.parametrize("device", ["/dev/ttyACM0", "/dev/ttyUSB0", "/dev/serial/by-id/usb-1a86-if00"])
def test_a_robot_on_usb_needs_nothing(device: str, tmp_path: Path) -> None:
    assert header_uart(robot_on(device, tmp_path), official.board("rpi5")) is None
    assert header_uart(None, official.board("rpi5")) is None


@pytest.mark.parametrize(
    ("board", "device", "known"),
    [
        ("rpi5", "/dev/serial0", "/dev/ttyAMA0"),  # the connector for debugging, and not the header
        ("rpi4", "/dev/ttyAMA0", "/dev/serial0"),  # Bluetooth
        ("rpi-coral", "/dev/ttyS0", "/dev/serial0 or /dev/ttyAMA0"),
    ],
)
def test_a_port_that_would_be_dead_is_refused_in_one_line(
    board: str, device: str, known: str, tmp_path: Path
) -> None:
    robot = robot_on(device, tmp_path)

    with pytest.raises(BadInput) as refused:
        header_uart(robot, official.board(board))

    said = f"{robot}: bridge.device: {device} cannot be switched on for {board}: on its header is {known}"
    assert str(refused.value) == said


@pytest.mark.parametrize(("device", "used"), [("/dev/ttyAMA0", True), ("/dev/ttyACM0", False)])
def test_a_card_has_the_port_on_and_the_console_off_it_only_if_the_robot_is_there(
    device: str, used: bool, images: Path, bundle: Path, tmp_path: Path
) -> None:
    payload = Payload(bundle=bundle, robot=robot_on(device, tmp_path))
    card = tmp_path / "card.img"

    make_card_file(images / "pi-os.img", card, official.board("rpi5"), payload, Answers())

    boot = card.read_bytes()[official.BOOT_START : official.BOOT_START + official.BOOT_SIZE]
    files = files_of(boot)
    assert (b"\ndtparam=uart0=on\n" in files["config.txt"]) == used
    assert (b"console=serial0" in files["cmdline.txt"]) == (not used)
    assert b"console=tty1" in files["cmdline.txt"]


def test_a_port_of_a_computer_that_is_no_raspberry_pi_is_left_alone(
    images: Path, bundle: Path, tmp_path: Path
) -> None:
    payload = Payload(bundle=bundle, robot=robot_on("/dev/ttyS0", tmp_path))
    board = official.board("generic-aarch64")

    make_card_file(images / "debian.img", tmp_path / "card.img", board, payload, Answers())
