"""How the machine is: temperature, clock, governor, throttling and power, from where the board file says they are.

What a machine does not tell stays empty.  It is never zero.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec

from edge_wm.board import Health

ZONES = "sys/class/thermal/thermal_zone*"
COMMAND_S = 2.0
_WATTS = {"power": 1e-6, "in_power": 1e-3}

Command = Callable[[str], str | None]
"""Runs a command line and gives what it prints; None if it cannot be run."""


class MachineState(msgspec.Struct, frozen=True, omit_defaults=True):
    """One look at the machine.

    Attributes:
        temperature_c: of the first thermal zone that the board file names; the hottest if it names none.
        clock_mhz: of each group of cores.
        governor: of the clock, where groups differ separated by commas.
        throttled: what the board's own source says, as it says it.
        load_average: processes that ran or wanted to run, mean of the last minute.
        power_w: electrical power of what the board file names.
    """

    temperature_c: float | None = None
    clock_mhz: tuple[int, ...] = ()
    governor: str | None = None
    throttled: str | None = None
    load_average: float | None = None
    power_w: float | None = None


def printed(command: str) -> str | None:
    """What a command prints; None if there is no such command, or it fails or hangs."""
    try:
        done = subprocess.run(shlex.split(command), capture_output=True, text=True, timeout=COMMAND_S)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def machine_state(health: Health, root: Path = Path("/"), command: Command = printed) -> MachineState:
    """Look at this machine.

    Args:
        health: of the board file.
        root: of the file system.
        command: runs a source that is no path.
    """
    clocks = [int(text) for text in _told(health.clock, root, command) if text.isdigit()]
    governors = dict.fromkeys(_told(health.governor, root, command))
    throttled = ", ".join(_told(health.throttled, root, command))
    return MachineState(
        temperature_c=_temperature_c(health.thermal_zones, root),
        clock_mhz=tuple(round(clock / 1000) for clock in clocks),
        governor=", ".join(governors) or None,
        throttled=throttled or None,
        load_average=_load_average(root),
        power_w=power_w(health, root, command),
    )


def power_w(health: Health, root: Path = Path("/"), command: Command = printed) -> float | None:
    """Watts now, the sum of the board file's power sources; None if it names none or one does not answer.

    A file is read by the units of the kernel's hwmon interface (Documentation/hwmon/sysfs-interface.rst): ``power*_input``
    in microwatts; ``in*_input`` in millivolts times the ``curr*_input`` of the same number in milliamperes.  Of the IIO
    interface (Documentation/ABI/testing/sysfs-bus-iio): ``in_power*_input`` in milliwatts.  Of a command, volts and amperes of the same rail are taken from lines like ``VDD_CORE_A current(7)=1.5A``.
    """
    watts = []
    for source in health.power:
        found = _file_watts(source, root) if source.startswith("/") else _rail_watts(command(source) or "")
        if found is None:
            return None
        watts += found
    return round(sum(watts), 3) if watts else None


def _temperature_c(zones: tuple[str, ...], root: Path) -> float | None:
    found: dict[str, float] = {}
    for folder in sorted(root.glob(ZONES)):
        kind, value = _read(folder / "type"), _read(folder / "temp")
        if kind is not None and value is not None and re.fullmatch(r"-?\d+", value):
            found.setdefault(kind, int(value) / 1000)
    named = [found[zone] for zone in zones if zone in found]
    if named:
        return named[0]
    return max(found.values(), default=None) if not zones else None


def _load_average(root: Path) -> float | None:
    text = _read(root / "proc" / "loadavg")
    return float(text.split()[0]) if text else None


def _told(source: str | None, root: Path, command: Command) -> list[str]:
    """What each file of a source holds, or its command prints."""
    if source is None:
        return []
    if not source.startswith("/"):
        text = command(source)
        return [" ".join(text.split())] if text else []
    texts = (_read(file) for file in _files(source, root))
    return [text for text in texts if text]


def _files(source: str, root: Path) -> list[Path]:
    return sorted(root.glob(source.lstrip("/")))


def _read(file: Path) -> str | None:
    # Some files of sysfs are there and cannot be read: a sensor that is asleep, or not ours.
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return file.read_text(encoding="utf-8").strip()
    return None


def _file_watts(source: str, root: Path) -> list[float] | None:
    """Watts of each file that tells some; None if there is no file, or one that does not tell."""
    files = _files(source, root)
    watts = [_watts(file) for file in files if _kind(file)[0] != "curr"]  # a current counts with its voltage
    return None if not files or None in watts else [value for value in watts if value is not None]


def _watts(file: Path) -> float | None:
    kind, number = _kind(file)
    value = _number(file)
    if kind in _WATTS:
        return None if value is None else value * _WATTS[kind]
    current = _number(file.with_name(f"curr{number}_input")) if kind == "in" else None
    return None if value is None or current is None else value * current * 1e-6


def _kind(file: Path) -> tuple[str, str]:
    found = re.fullmatch(r"(power|in_power|in|curr)(\d+)_(?:input|average)", file.name)
    return (found[1], found[2]) if found else ("", "")


def _number(file: Path) -> float | None:
    text = _read(file)
    return float(text) if text is not None and re.fullmatch(r"-?\d+", text) else None


def _rail_watts(text: str) -> list[float] | None:
    amperes = dict(re.findall(r"(\S+)_A current\(\d+\)=([\d.]+)A", text))
    volts = dict(re.findall(r"(\S+)_V volt\(\d+\)=([\d.]+)V", text))
    watts = [float(amperes[rail]) * float(volts[rail]) for rail in amperes.keys() & volts.keys()]
    return watts or None


def kernel() -> str:
    """Name and release of the kernel."""
    name = os.uname()
    return f"{name.sysname} {name.release}"
