"""The real binary on a terminal, at the pace of the wall, and what real processes that drive it go through."""

from __future__ import annotations

import os
import random
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from firmware_bridge import BridgeError, Command
from firmware_bridge.framing import FrameReader, encode
from firmware_bridge.serial_bridge import SerialBridge
from firmware_bridge.simulator.avr_bench import CHASSIS, FIRMWARE
from firmware_bridge.simulator.avr_pty import CATCH_UP_US, AvrOnPty
from firmware_bridge.simulator.host_drills import (
    ALLOWED_US,
    HOST_FAULTS,
    HostFault,
    host_drill,
)
from firmware_bridge.wire import PROTOCOL, Arm, Drive, Hello, Identity, Message, Poll, Reset, Result, Status
from tests.firmware_bridge.boards import Program

pytest.importorskip("serial", reason="pip install 'edge-wm[serial]'")

PROGRAM = [sys.executable, "-m", "firmware_bridge.simulator.avr_pty"]


# --- the board, under a clock that the test turns --------------------------------------------------------------------


class Wall:
    """The clock of a board that stands still until it is turned, and a computer at the board's terminal."""

    def __init__(self, folder: Path, slowness: float = 1.0) -> None:
        self.now = 1000.0
        self.board = AvrOnPty(folder, slowness, lambda: self.now)
        self.computer = os.open(self.board.device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        self.sequence = 7
        self._answers = FrameReader()
        self.turn(0.1)

    def turn(self, seconds: float, step_s: float = 0.001) -> None:
        for _ in range(round(seconds / step_s)):
            self.now += step_s
            self.board.step()

    def ask(self, request: Message, sequence: int | None = None) -> Message:
        self.sequence += 1
        self.write(encode(request, self.sequence if sequence is None else sequence))
        self.turn(0.02)
        give_up = time.monotonic() + 5.0
        answers: list[tuple[int, Message]] = []
        while not answers:  # the kernel may hand over the first half of a frame, either way
            assert time.monotonic() < give_up, f"no answer to {request}"
            if select.select([self.computer], [], [], 0.05)[0]:
                answers = list(self._answers.feed(os.read(self.computer, 4096)))
            else:
                self.turn(0.001)
        ((_, answer),) = answers
        return answer

    def write(self, data: bytes) -> None:
        """Into the terminal, and wait until it is there: the kernel takes its time."""
        os.write(self.computer, data)
        assert select.select([self.board._line], [], [], 5.0)[0]

    def drive(self) -> None:
        identity = self.ask(Hello(PROTOCOL))
        assert isinstance(identity, Identity)
        for request in (Arm(identity.session), Drive(120, 0)):
            status = self.ask(request)
            assert isinstance(status, Status)
            assert status.result == Result.OK

    def close(self) -> None:
        os.close(self.computer)
        self.board.close()


@pytest.fixture
def wall(folder: Path) -> Iterator[Wall]:
    wall = Wall(folder)
    yield wall
    wall.close()


@pytest.mark.parametrize("slowness", [1.0, 4.0])
def test_the_processor_is_as_late_as_the_wall(folder: Path, slowness: float) -> None:
    wall = Wall(folder, slowness)
    for seconds in (0.5, 0.25):
        wall.turn(seconds)
        passed_us = (wall.now - 1000.0) * 1e6 / slowness
        assert wall.board.bench.state().now_us == pytest.approx(passed_us, abs=50)
    assert wall.board.worst_lag_us == pytest.approx(1000 / slowness, abs=50)
    assert wall.board.lost_us == 0.0
    wall.board.slow_down()
    before_us = wall.board.bench.state().now_us
    wall.turn(0.5)
    assert wall.board.bench.state().now_us - before_us == pytest.approx(0.25e6 / slowness, abs=50)
    wall.close()


def test_time_that_a_busy_machine_took_is_lost_and_told(wall: Wall) -> None:
    before_us = wall.board.bench.state().now_us
    wall.turn(1.0, step_s=1.0)
    assert wall.board.bench.state().now_us - before_us == pytest.approx(CATCH_UP_US, abs=50)
    assert wall.board.lost_us == pytest.approx(1e6 - CATCH_UP_US, abs=50)
    assert wall.board.worst_lag_us == pytest.approx(1e6, abs=50)
    before_us = wall.board.bench.state().now_us
    wall.turn(0.5)
    assert wall.board.bench.state().now_us - before_us == pytest.approx(0.5e6, abs=50)


def test_a_frame_is_heard_after_it_came_at_the_speed_of_the_line(wall: Wall) -> None:
    wall.drive()
    accepted, before_us = wall.board.accepted, wall.board.bench.state().now_us
    frame = encode(Drive(130, 0), wall.sequence + 1)
    wall.write(frame)
    wall.turn(0.02)
    assert wall.board.accepted == accepted + 1
    assert wall.board.accepted_us is not None
    took_us = wall.board.accepted_us - before_us
    assert len(frame) * 86 <= took_us <= 1000 + len(frame) * 130


def test_what_is_refused_is_not_taken_for_accepted(wall: Wall) -> None:
    wall.drive()
    accepted_us = wall.board.accepted_us
    wall.ask(Drive(120, 0), sequence=wall.sequence)  # an old number
    wall.ask(Drive(5000, 0))
    wall.ask(Poll())
    assert (wall.board.accepted, wall.board.refused) == (1, 2)
    assert wall.board.accepted_us == accepted_us


def test_of_two_drives_in_one_piece_the_second_counts(wall: Wall) -> None:
    wall.drive()
    before_us = wall.board.bench.state().now_us
    two = [encode(Drive(120, 0), wall.sequence + ahead) for ahead in (1, 2)]
    wall.write(b"".join(two))
    wall.turn(0.03)
    assert wall.board.accepted == 3
    assert wall.board.accepted_us is not None
    assert wall.board.accepted_us - before_us >= len(b"".join(two)) * 86


def test_a_plug_that_is_pulled_ends_the_terminal_and_the_next_one_works(wall: Wall) -> None:
    wall.drive()
    wall.board.pull()
    with pytest.raises(OSError, match="Input/output error"):
        os.write(wall.computer, b"\0")
    wall.turn(0.3)
    assert wall.board.bench.state().power == (0, 0)
    os.close(wall.computer)
    wall.board.plug()
    wall.computer = os.open(wall.board.device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    wall.drive()


def test_wires_that_are_cut_carry_nothing_either_way(wall: Wall) -> None:
    wall.drive()
    wall.board.wired = False
    wall.write(encode(Drive(120, 0), wall.sequence + 1))
    wall.turn(0.3)
    assert wall.board.accepted == 1
    assert wall.board.bench.state().power == (0, 0)
    with pytest.raises(BlockingIOError):
        os.read(wall.computer, 1)


def test_answers_that_nobody_reads_do_not_hold_up_the_board(wall: Wall) -> None:
    for number in range(300):
        wall.write(encode(Poll(), number))
        wall.turn(0.005)
    assert len(os.read(wall.computer, 1 << 16)) < 300 * len(encode(Status(*[0] * 12), 1))
    before_us = wall.board.bench.state().now_us
    wall.turn(0.1)
    assert wall.board.bench.state().now_us - before_us == pytest.approx(0.1e6, abs=50)


def test_who_writes_faster_than_the_line_carries_has_to_wait(wall: Wall) -> None:
    sent = 0
    for _ in range(400):
        if select.select([], [wall.computer], [], 0)[1]:
            sent += os.write(wall.computer, bytes(1000))
        wall.turn(0.001)
    assert sent < 150_000  # what the kernel keeps, what the board does, and 5,000 that the line carries
    assert len(wall.board._pending) < 10_000


# --- the program -----------------------------------------------------------------------------------------------------


class Board(Program):
    """The ATmega328P's."""

    def __init__(self, folder: Path, slowness: float = 2.0) -> None:
        super().__init__([*PROGRAM, str(folder), "--slowness", str(slowness)], stderr=subprocess.PIPE)

    def wait_until(self, says: Callable[[list[str]], bool], seconds: float = 20.0) -> None:
        super().wait_until(says, seconds)

    def end(self) -> str:
        """Ends its input; returns what it says at last."""
        assert self.process.stdin is not None
        assert self.process.stderr is not None
        self.process.stdin.close()
        last = self.process.stderr.read()
        self.process.wait()
        self._listener.join()
        return last


@pytest.fixture
def program(folder: Path) -> Iterator[Board]:
    board = Board(folder)
    yield board
    board.close()


@pytest.fixture
def bridge(program: Board) -> Iterator[SerialBridge]:
    bridge = SerialBridge(program.device, CHASSIS, clock=lambda: time.monotonic() / 2.0)
    bridge.connect()
    yield bridge
    bridge.close()


def drive_for(bridge: SerialBridge, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        bridge.apply(Command(0.12, 0.0))
        time.sleep(0.02)


def powers(said: list[str]) -> list[list[str]]:
    return [line.split()[2:] for line in said if line.startswith("power")]


def test_a_bridge_drives_the_real_binary(program: Board, bridge: SerialBridge) -> None:
    before = bridge.telemetry()
    assert (before.armed, before.faults) == (False, ())
    assert before.battery_v == pytest.approx(7.4, abs=0.05)
    bridge.arm()
    drive_for(bridge, 1.0)
    after = bridge.telemetry()
    assert before.wheels_m is not None
    assert after.wheels_m is not None
    assert all(0.02 < now - then < 0.08 for now, then in zip(after.wheels_m, before.wheels_m, strict=True))
    bridge.stop()
    program.wait_until(lambda said: powers(said)[-1:] == [["0", "0"]])
    bridge.close()
    assert sum(line.startswith("fed") for line in program.said) > 10
    assert "s of the processor in" in program.end()


def test_any_program_may_ask_who_is_there(program: Board) -> None:
    said = subprocess.run(
        [
            sys.executable,
            "-c",
            "from edge_wm.entry import main; main()",
            "bridge",
            "info",
            "--device",
            program.device,
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert f"{PROTOCOL:08x}" in said
    assert "POWER_ON" in said


def test_its_input_presses_the_button_and_resets_it(program: Board, bridge: SerialBridge) -> None:
    bridge.arm()
    drive_for(bridge, 0.2)
    program.tell("button 1")
    with pytest.raises(BridgeError, match="latched: emergency stop"):
        drive_for(bridge, 20.0)
    bridge.close()
    program.tell("button 0")
    program.tell("nonsense")
    program.tell(f"reset {int(Reset.BROWN_OUT)}")
    program.wait_until(lambda said: powers(said)[-1:] == [["0", "0"]])
    time.sleep(0.2)  # it starts
    bridge.connect()
    assert bridge.identity is not None
    assert bridge.identity.reset == Reset.BROWN_OUT
    bridge.arm()
    bridge.close()
    assert "not understood: nonsense\n" in program.end()


def test_without_firmware_it_says_so_in_one_line(tmp_path: Path, folder: Path) -> None:
    shutil.copy(folder / "avr_bench.so", tmp_path)
    for missing in (tmp_path, tmp_path / "nowhere"):
        found = subprocess.run([*PROGRAM, str(missing)], capture_output=True, text=True, check=False)
        assert found.returncode == 2
        assert found.stdout == ""
        assert found.stderr.startswith(f"error: {missing}: no simulated board: run  make -C ")
        assert found.stderr.count("\n") == 1


# --- the drills ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def board(folder: Path) -> Iterator[AvrOnPty]:
    board = AvrOnPty(folder)
    yield board
    board.close()


def spoiled(folder: Path, right: str, wrong: str) -> Path:
    """The firmware with a mistake in its safety decisions."""
    output = folder / "out"
    shutil.copytree(FIRMWARE, folder / "firmware")
    source = folder / "firmware" / "core" / "safety.c"
    text = source.read_text()
    assert right in text
    source.write_text(text.replace(right, wrong))
    output.mkdir()
    subprocess.run(
        ["make", "-s", "-C", folder / "firmware", f"OUT={output}", output / "atmega328p.elf"], check=True
    )
    return output


@pytest.mark.parametrize("fault", HOST_FAULTS)
def test_whatever_happens_to_a_process_the_motors_are_off_in_time(board: AvrOnPty, fault: str) -> None:
    """One of the hundreds that `make hil` does."""
    found = host_drill(board, fault, random.Random(fault))
    assert not found.drill.again
    assert found.drill.neutral_us is not None
    assert found.drill.neutral_us <= ALLOWED_US
    assert found.wrong == ""


def test_a_process_that_goes_on_is_no_fault(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control of the drill; slow, so that a busy machine is not taken for a fault."""
    monkeypatch.setitem(HOST_FAULTS, "none", HostFault(lambda host: ""))
    board = AvrOnPty(folder, slowness=4.0)
    found = host_drill(board, "none", random.Random(2)).drill
    board.close()
    assert found.neutral_us is None or found.neutral_us > ALLOWED_US


def test_a_process_that_does_not_give_up_is_noticed(board: AvrOnPty, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control of what a process must say at its end: it is killed here, and says nothing."""
    monkeypatch.setitem(HOST_FAULTS, "mute", HOST_FAULTS["SIGKILL"]._replace(says="the line is gone"))
    assert host_drill(board, "mute", random.Random(3)).wrong == "it ended with -9 and said ''"


def test_a_deadman_that_takes_a_minute_fails_every_drill(folder: Path, tmp_path: Path) -> None:
    """It says of itself that it takes 200 ms: that is not what is measured."""
    output = spoiled(tmp_path, "((uint32_t)robot->deadman_ms * US_PER_MS)", "(60000UL * US_PER_MS)")
    shutil.copy(folder / "avr_bench.so", output)
    board = AvrOnPty(output)
    for fault in HOST_FAULTS:
        assert host_drill(board, fault, random.Random(fault)).drill.neutral_us is None
    board.close()


def test_a_deadman_that_forgets_fails_the_process_that_was_stopped(folder: Path, tmp_path: Path) -> None:
    """It stops the motors in time, and the next command turns them again."""
    output = spoiled(
        tmp_path,
        "result = RESULT_FAULT_LATCHED;",
        "safety->faults = 0U; safety->state = STATE_ARMED; safety->fed_us = now_us;",
    )
    shutil.copy(folder / "avr_bench.so", output)
    board = AvrOnPty(output)
    assert host_drill(board, "SIGKILL", random.Random(4)).drill.again is False
    found = host_drill(board, "SIGSTOP, later SIGCONT", random.Random(4))
    assert found.drill.again
    assert found.wrong == "it was woken and not refused"
    board.close()
