"""What the driving service's unit must let through to what it drives with.  Which systemd does what is in docs/install.md."""

from __future__ import annotations

import configparser

import pytest

from tests.install.debian import REPOSITORY

UNIT = REPOSITORY / "boards" / "install" / "edge-wm.service"
ARGUS = "/tmp/argus_socket"
"""Where NVIDIA's camera daemon listens, and nvarguscamerasrc asks."""


def keys(unit: str) -> dict[str, list[str]]:
    """Every key of a unit, with all words that it is given."""
    parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(unit)
    return {key: value.split() for section in parser.sections() for key, value in parser[section].items()}


def reaches_argus(unit: str) -> bool:
    """Whether a Jetson's camera daemon is seen, and nothing is missed where there is none."""
    told = keys(unit)
    if told.get("PrivateTmp") != ["yes"]:
        return True
    bound = told.get("BindPaths", [])
    return f"-{ARGUS}" in bound and ARGUS not in bound and "nvargus-daemon.service" in told["After"]


def test_the_camera_daemon_of_a_jetson_is_reached() -> None:
    assert reaches_argus(UNIT.read_text())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (f"BindPaths=-{ARGUS}\n", ""),
        (f"BindPaths=-{ARGUS}\n", f"BindPaths={ARGUS}\n"),  # which fails where there is none
        (" nvargus-daemon.service", ""),
    ],
)
def test_a_unit_that_would_not_reach_it_is_noticed(old: str, new: str) -> None:
    unit = UNIT.read_text()
    assert unit.count(old) == 1
    assert not reaches_argus(unit.replace(old, new))
