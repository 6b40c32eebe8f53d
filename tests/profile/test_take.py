"""A profile is of the board that the machine is, over as many ticks as the robot's rate makes of the time."""

from __future__ import annotations

import msgspec
import pytest

from edge_wm.board import Board, Recognised
from edge_wm.errors import BadInput
from edge_wm.profile import take
from edge_wm.profile.take import Effort, board_of
from edge_wm.recognise import Recognition
from edge_wm.robot import DEFAULT_ROBOT, load_robot

A_COMPUTER = Board("pi", "a computer", recognised=Recognised("aarch64"))


def recognised() -> Recognition:
    return Recognition(A_COMPUTER, DEFAULT_ROBOT, "it says so")


def unknown() -> Recognition:
    raise BadInput("no board file is for this machine")


def test_the_board_of_a_simulated_robot_is_the_computer_that_it_runs_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    simulated = load_robot()
    monkeypatch.setattr(take, "recognise", recognised)
    assert board_of(simulated) is A_COMPUTER
    monkeypatch.setattr(take, "recognise", unknown)
    assert board_of(simulated) is simulated.board


def test_the_board_of_a_real_robot_is_the_one_in_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = msgspec.structs.replace(A_COMPUTER, name="mine")
    robot = msgspec.structs.replace(load_robot(), board=mine)
    monkeypatch.setattr(take, "recognise", recognised)
    assert board_of(robot) is mine


def test_the_robots_rate_makes_ticks_of_the_time_but_never_too_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(take, "LEAST_TICKS", 20)
    effort = Effort(quick=True, seconds=10.0)
    assert [effort.ticks(tick_s) for tick_s in (0.02, 0.1, 0.3, 1.0)] == [500, 100, 33, 20]
