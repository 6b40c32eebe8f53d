"""The bridge, over a real terminal, to the real firmware: that of the host port."""

from __future__ import annotations

import fcntl
import math
import os
import pty
import re
import threading
import time
import tty
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from firmware_bridge import NEUTRAL, BridgeError, Command
from firmware_bridge.chassis import differences
from firmware_bridge.serial_bridge import SerialBridge
from firmware_bridge.simulator.avr_bench import CHASSIS
from firmware_bridge.wire import PROTOCOL, Reset
from tests.firmware_bridge.boards import Board

pytest.importorskip("serial", reason="pip install 'edge-wm[serial]'")


def at_rest(said: list[str]) -> bool:
    powers = [line for line in said if line.startswith("power")]
    return not powers or powers[-1].endswith(" 0 0\n")


def moving(said: list[str]) -> bool:
    return not at_rest(said)


@pytest.fixture
def board(host_program: Path) -> Iterator[Board]:
    board = Board(host_program)
    yield board
    board.close()


@pytest.fixture
def bridge(board: Board) -> Iterator[SerialBridge]:
    bridge = SerialBridge(board.device, CHASSIS)
    bridge.connect()
    yield bridge
    bridge.close()


def drive_for(bridge: SerialBridge, seconds: float, command: Command) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        bridge.apply(command)
        time.sleep(0.02)


def test_it_drives_and_tells_what_the_wheels_did(host_program: Path) -> None:
    board = Board(host_program, slowness=1)
    bridge = SerialBridge(board.device, CHASSIS)
    bridge.connect()
    before = bridge.telemetry()
    assert (before.armed, before.faults, before.battery_v) == (False, (), 7.4)
    bridge.arm()
    began = time.monotonic()
    drive_for(bridge, 1.0, Command(0.3, 0.5))
    after = bridge.telemetry()
    assert (after.armed, after.applied, after.faults) == (True, Command(0.3, 0.5), ())
    assert began < after.time <= time.monotonic()
    assert before.wheels_m is not None
    assert after.wheels_m is not None
    left, right = (now - then for now, then in zip(after.wheels_m, before.wheels_m, strict=True))
    assert 0.1 < left < right < 0.4
    assert moving(board.said)
    bridge.stop()
    assert not bridge.telemetry().armed
    board.wait_until(at_rest)
    bridge.close()
    board.close()


def test_what_it_returns_is_what_was_really_sent(bridge: SerialBridge) -> None:
    bridge.arm()
    assert bridge.apply(Command(0.2, -1.0)) == Command(0.2, -1.0)
    assert bridge.apply(Command(9.0, 0.0)) == Command(0.5, 0.0)
    assert bridge.apply(Command(-9.0, 0.0)) == Command(-0.15, 0.0)
    assert bridge.apply(NEUTRAL) == NEUTRAL
    arc = bridge.apply(Command(0.5, 2.5))
    assert arc.v < 0.5
    assert arc.w / arc.v == pytest.approx(5.0, rel=0.02)


@pytest.mark.parametrize("command", [Command(math.nan, 0.0), Command(0.0, math.inf)])
def test_a_velocity_that_is_not_finite_is_not_sent(
    bridge: SerialBridge, board: Board, command: Command
) -> None:
    bridge.arm()
    bridge.apply(Command(0.3, 0.0))
    board.wait_until(moving)
    fed = [line for line in board.said if line.startswith("fed")]
    with pytest.raises(BridgeError, match="not finite"):
        bridge.apply(command)
    board.wait_until(at_rest)
    assert fed == [line for line in board.said if line.startswith("fed")]


def test_a_computer_that_falls_silent_is_stopped_and_told_why(bridge: SerialBridge, board: Board) -> None:
    bridge.arm()
    drive_for(bridge, 0.2, Command(0.3, 0.0))
    board.wait_until(moving)
    board.wait_until(at_rest)
    with pytest.raises(BridgeError, match="latched: deadman"):
        bridge.apply(Command(0.3, 0.0))
    assert bridge.telemetry().faults == ("deadman",)
    with pytest.raises(BridgeError, match="latched: deadman"):
        bridge.arm()


def test_the_next_session_drives_again(bridge: SerialBridge, board: Board) -> None:
    bridge.arm()
    bridge.apply(Command(0.3, 0.0))
    board.wait_until(moving)
    board.wait_until(at_rest)
    bridge.close()
    bridge.connect()
    bridge.arm()
    assert bridge.apply(Command(0.3, 0.0)) == Command(0.3, 0.0)


def test_the_button_ends_the_drive(bridge: SerialBridge, board: Board) -> None:
    bridge.arm()
    drive_for(bridge, 0.2, Command(0.3, 0.0))
    board.tell("button 1")
    with pytest.raises(BridgeError, match="latched: emergency stop"):
        drive_for(bridge, 5.0, Command(0.3, 0.0))
    with pytest.raises(BridgeError, match="button is pressed"):
        bridge.arm()


def test_a_reset_while_it_drives_is_noticed(bridge: SerialBridge, board: Board) -> None:
    bridge.arm()
    drive_for(bridge, 0.2, Command(0.3, 0.0))
    board.tell(f"reset {int(Reset.BROWN_OUT)}")
    with pytest.raises(BridgeError, match="it is disarmed: it was reset"):
        drive_for(bridge, 5.0, Command(0.3, 0.0))
    board.wait_until(at_rest)
    bridge.close()
    bridge.connect()
    assert bridge.identity is not None
    assert bridge.identity.reset == Reset.BROWN_OUT


def test_a_board_that_goes_away_is_an_error_and_closing_none(bridge: SerialBridge, board: Board) -> None:
    bridge.arm()
    bridge.apply(Command(0.1, 0.0))
    board.close()
    with pytest.raises(BridgeError, match=r"no answer to Drive, sent 3 times|the line is gone"):
        bridge.apply(Command(0.1, 0.0))
    bridge.stop()
    bridge.close()
    bridge.close()


def test_closing_stops(bridge: SerialBridge, board: Board) -> None:
    bridge.arm()
    drive_for(bridge, 0.2, Command(0.3, 0.0))
    board.wait_until(moving)
    bridge.close()
    board.wait_until(at_rest, 0.7)  # sooner than the deadman, which is at 1 s on this clock
    with pytest.raises(BridgeError, match="not connected"):
        bridge.apply(NEUTRAL)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"track_m": 0.2}, r"built for a track of 0\.15 m, the robot has 0\.2 m: reflash"),
        (
            {"wheel_radius_m": 0.03},
            r"built for a left wheel radius of 0\.033 m, the robot has 0\.03 m: reflash",
        ),
        ({"trims": (1.0, 1.01)}, r"built for a right wheel radius of 0\.033 m, the robot has 0\.03333 m"),
        ({"deadman_s": 0.1}, r"built with deadman_s = 0\.2, the robot file says 0\.1: reflash it"),
        ({"counts_per_turn": 360}, r"built with counts_per_turn = 1440, the robot file says 360"),
        ({"max_v": 0.6}, r"max_v 0\.6 is beyond the firmware's own 0\.5"),
        ({"max_reverse_v": 0.2}, "max_reverse_v"),
        ({"max_w": 3.0}, "max_w"),
        ({"accel": 2.1}, r"accel 2\.1 is beyond"),
        ({"decel": 4.1}, "decel"),
        ({"angular_accel": 21.0}, "angular_accel"),
        ({"tick_s": 0.15}, r"deadman of 0\.2 s does not outlast 1\.5 ticks of 0\.15 s"),
    ],
)
def test_firmware_for_another_robot_is_refused(board: Board, change: dict[str, Any], said: str) -> None:
    bridge = SerialBridge(board.device, replace(CHASSIS, **change))
    with pytest.raises(BridgeError, match=said):
        bridge.connect()
    with pytest.raises(BridgeError, match="not connected"):
        bridge.apply(NEUTRAL)
    SerialBridge(board.device, CHASSIS).connect()  # the port was given back


def test_firmware_of_another_protocol_is_refused(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("firmware_bridge.serial_bridge.PROTOCOL", PROTOCOL ^ 1)
    with pytest.raises(BridgeError, match=rf"speaks protocol {PROTOCOL:08x}, this edge-wm .*: reflash"):
        SerialBridge(board.device, CHASSIS).connect()


def test_a_port_that_is_busy_is_refused(bridge: SerialBridge, board: Board) -> None:
    with pytest.raises(BridgeError, match="busy: another program"):
        SerialBridge(board.device, CHASSIS).connect()


def test_ports_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BridgeError, match="no such port"):
        SerialBridge(str(tmp_path / "ttyACM0"), CHASSIS).connect()
    (tmp_path / "notes").write_text("")
    with pytest.raises(BridgeError, match="not a serial port"):
        SerialBridge(str(tmp_path / "notes"), CHASSIS).connect()


@pytest.fixture
def other_device() -> Iterator[tuple[int, str]]:
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    yield ours, os.ttyname(theirs)
    os.close(ours)
    os.close(theirs)


def test_a_device_that_says_nothing_is_refused(
    other_device: tuple[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("firmware_bridge.serial_bridge.GREETINGS", 2)
    with pytest.raises(BridgeError, match="no answer to Hello, sent 2 times: is this the board"):
        SerialBridge(other_device[1], CHASSIS).connect()


def test_a_device_that_speaks_of_other_things_is_refused(
    other_device: tuple[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("firmware_bridge.serial_bridge.GREETINGS", 2)
    going = True

    def speak() -> None:
        while going:
            os.write(other_device[0], b"$GPGGA,123519,4807.038,N\r\n")
            time.sleep(0.01)

    speaker = threading.Thread(target=speak)
    speaker.start()
    with pytest.raises(BridgeError, match="bytes came and no answer among them: another device"):
        SerialBridge(other_device[1], CHASSIS).connect()
    going = False
    speaker.join()


class NoisyLine:
    """Stands between the bridge and the firmware, and spoils every third frame either way."""

    def __init__(self, device: str) -> None:
        self.spoiled = 0
        self._board = os.open(device, os.O_RDWR | os.O_NOCTTY)
        self._ours, theirs = pty.openpty()
        tty.setraw(theirs)
        self.device = os.ttyname(theirs)
        self._theirs = theirs
        self._going = True
        for end in (self._board, self._ours):
            fcntl.fcntl(end, fcntl.F_SETFL, os.O_NONBLOCK)
        self._thread = threading.Thread(target=self._pass_on, daemon=True)
        self._thread.start()

    def _pass_on(self) -> None:
        ends = 0
        while self._going:
            for source, sink in ((self._ours, self._board), (self._board, self._ours)):
                try:
                    data = bytearray(os.read(source, 256))
                except BlockingIOError:
                    continue
                if re.search(rb"[^\0]\0", data):
                    ends += 1
                    if ends % 3 == 0:
                        data[len(data) // 2] ^= 0x10
                        self.spoiled += 1
                os.write(sink, data)
            time.sleep(0.0005)

    def close(self) -> None:
        self._going = False
        self._thread.join()
        for end in (self._board, self._ours, self._theirs):
            os.close(end)


def test_a_velocity_too_large_for_any_number_is_clamped(bridge: SerialBridge) -> None:
    bridge.arm()
    assert bridge.apply(Command(1e306, 0.0)) == Command(0.5, 0.0)


def test_stopping_in_the_middle_of_another_request_ends_that(bridge: SerialBridge) -> None:
    """As a signal handler does: what was asked is not asked again, and so does not arm what was stopped."""
    link = bridge._link
    assert link is not None
    line = link._line

    class Interrupted:
        """Calls ``stop`` while the answer to the first request is waited for."""

        in_waiting = 0
        done = False

        def write(self, data: bytes) -> int | None:
            return line.write(data)

        def read(self, size: int = 1) -> bytes:
            if not self.done:
                self.done = True
                bridge.stop()
            return line.read(size)

    link._line = Interrupted()  # type: ignore[assignment]
    with pytest.raises(BridgeError, match="Arm was abandoned: the motors were stopped meanwhile"):
        bridge.arm()
    link._line = line
    assert not bridge.telemetry().armed


def test_calls_before_connecting_are_refused(board: Board) -> None:
    bridge = SerialBridge(board.device, CHASSIS)
    for call in (bridge.arm, bridge.telemetry, lambda: bridge.apply(NEUTRAL)):
        with pytest.raises(BridgeError, match="not connected"):
            call()
    bridge.stop()
    bridge.close()


def test_a_deadman_that_takes_too_long_is_refused(bridge: SerialBridge) -> None:
    assert bridge.identity is not None
    patient = bridge.identity._replace(deadman_ms=501)
    assert list(differences(CHASSIS, patient)) == ["its deadman of 0.501 s is longer than 0.5 s: reflash it"]
    assert not differences(CHASSIS, bridge.identity)


def test_a_noisy_line_costs_repetitions_and_nothing_else(board: Board) -> None:
    line = NoisyLine(board.device)
    bridge = SerialBridge(line.device, CHASSIS)
    bridge.connect()
    bridge.arm()
    for number in range(30):
        command = Command((100 + number) / 1000, 0.0)
        assert bridge.apply(command) == command
    assert line.spoiled > 5
    bridge.close()
    line.close()
