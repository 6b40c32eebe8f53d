"""What a service manager hears."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_wm.drive.systemd import ServiceManager


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[tuple[str, Callable[[], list[str]]]]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "notify"))
        heard.setblocking(False)

        def hear() -> list[str]:
            messages = []
            while True:
                try:
                    messages.append(heard.recv(4096).decode())
                except BlockingIOError:
                    return messages

        yield str(tmp_path / "notify"), hear


def test_signs_of_life_come_four_times_a_period_however_often_it_is_called(listening) -> None:
    address, hear = listening
    now = [0.0]
    manager = ServiceManager({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "4000000"}, lambda: now[0])
    manager.ready()
    assert hear() == ["READY=1"]
    for tick in range(100):
        now[0] = tick * 0.1
        manager.alive()
    assert hear() == ["WATCHDOG=1"] * 10
    manager.busy(60.0)
    assert hear() == ["EXTEND_TIMEOUT_USEC=60000000"]
    manager.alive()  # at once: the long period is over
    assert hear() == ["WATCHDOG=1"]
    manager.status("rests")
    manager.status("rests")
    assert hear() == ["STATUS=rests"]
    manager.close()
    manager.stopping()
    assert hear() == []


@pytest.mark.parametrize(
    "environment",
    [{}, {"WATCHDOG_USEC": "4000000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "nonsense"}],
)
def test_a_watchdog_of_nobody_or_of_another_process_is_not_fed(listening, environment) -> None:
    address, hear = listening
    manager = ServiceManager({"NOTIFY_SOCKET": address, **environment})
    manager.alive()
    assert hear() == []
    mine = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "4000000", "WATCHDOG_PID": str(os.getpid())}
    ServiceManager(mine).alive()  # the control
    assert hear() == ["WATCHDOG=1"]


def test_children_do_not_speak_for_the_service(listening) -> None:
    address, _ = listening
    environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "HOME": "/"}
    ServiceManager(environment)
    assert environment == {"HOME": "/"}


def test_a_manager_that_does_not_listen_stops_nobody(tmp_path: Path) -> None:
    for address in (str(tmp_path / "nobody"), "@nobody", ""):
        ServiceManager({"NOTIFY_SOCKET": address}).ready()
    full = tmp_path / "full"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(str(full))
        manager = ServiceManager({"NOTIFY_SOCKET": str(full)})
        for number in range(1000):
            manager.status(f"line {number}")  # nobody reads them
