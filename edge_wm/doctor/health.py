"""Heat, clocks and supply: what makes a board slower than it was measured to be."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

from edge_wm.board import Board
from edge_wm.doctor.finding import Finding, error, note, ok, warning
from edge_wm.doctor.remedy import join_group
from edge_wm.profile.machine_state import machine_state

NEAR_C = 10.0
"""So near to the temperature at which it throttles a board is warm."""
STEADY = "performance"
FOLLOWS_LOAD = {"ondemand", "schedutil", "conservative"}
CHOOSES_ITSELF = {"intel_pstate", "amd-pstate-epp"}
"""Drivers whose "powersave" follows the load too; with all others it keeps the clock at its lowest."""
PACKAGES = {"vcgencmd": "raspi-utils"}
"""Debian packages that programs of the board files are in."""
MAILBOX = "dev/vcio"
"""Through which ``vcgencmd`` asks a Raspberry Pi's firmware."""
COOL = "a heat sink or a fan; less load"
SUPPLY = "a stronger power supply, a shorter and thicker cable"

_FIRMWARE_BITS = {
    0: "the supply voltage is too low",
    1: "the clock is capped",
    2: "throttled",
    3: "the soft temperature limit is reached",
}
"""Of the Raspberry Pi firmware's get_throttled (documentation of ``vcgencmd``); since boot they are 16 higher."""


def health(board: Board, root: Path) -> Iterator[Finding]:
    """Yield what is found of what the board says of itself; nothing of what it does not say."""
    state = machine_state(board.health, root)
    yield from _temperature(state.temperature_c, board.health.throttles_at_c)
    if board.health.throttled is not None:
        yield _throttling(state.throttled, board.health.throttled, board.health.throttled_gives, root)
    if state.governor is not None:
        yield _governor(set(state.governor.split(", ")), str(board.health.governor), root)


def _temperature(celsius: float | None, limit: float | None) -> Iterator[Finding]:
    if celsius is None:
        return
    said = f"{celsius:.0f} °C" + (f", throttles at {limit:g} °C" if limit is not None else "")
    if limit is not None and celsius >= limit:
        yield error("temperature", said, COOL)
    elif limit is not None and celsius > limit - NEAR_C:
        yield warning("temperature", said, COOL)
    else:
        yield ok("temperature", said)


def _throttling(said: str | None, source: str, gives: str | None, root: Path) -> Finding:
    """Bits of a Raspberry Pi's firmware, else counts of the events that ``gives`` tells of."""
    of_firmware = "get_throttled" in source
    told = re.search(r"(?:^|0x)([0-9a-f]+)$" if of_firmware else r"\d", said or "")
    if said is None or told is None:
        return warning("throttling", f"unknown: {source} says {said or 'nothing'}", _why_silent(source, root))
    if not of_firmware:
        return _events(said, gives or "how often since boot")
    bits = int(told[1], 16)
    now = [words for bit, words in _FIRMWARE_BITS.items() if bits >> bit & 1]
    since_boot = [words for bit, words in _FIRMWARE_BITS.items() if bits >> bit + 16 & 1]
    remedy = SUPPLY if any("voltage" in words for words in (*now, *since_boot)) else COOL
    if now:
        return error("throttling", f"now: {', '.join(now)}", remedy)
    if since_boot:
        return warning("throttling", f"since boot: {', '.join(since_boot)}", remedy)
    return ok("throttling", "none since boot")


def _events(counts: str, of_what: str) -> Finding:
    if not any(map(int, re.findall(r"\d+", counts))):
        return ok("throttling", "none since boot")
    return warning("throttling", f"{counts}: {of_what}", SUPPLY if "voltage" in of_what else COOL)


def _why_silent(source: str, root: Path) -> str:
    """What makes a source answer: a command is installed, and its user in the group of what it asks."""
    if source.startswith("/"):
        return f"ls -l {source}"
    program = shlex.split(source)[0]
    if shutil.which(program) is None:
        return f"sudo apt install {PACKAGES.get(program, program)}"
    if os.access(root / MAILBOX, os.R_OK | os.W_OK, effective_ids=True):
        return f"{source}: what does it complain of?"
    return join_group("video")


def _governor(names: set[str], source: str, root: Path) -> Finding:
    """What the clock does where there is little to do.  Whether a tick is in time with it, ``speed`` has measured."""
    said, remedy = ", ".join(sorted(names)), f"echo {STEADY} | sudo tee {source}"
    if names == {STEADY}:
        return ok("governor", said)
    drivers = {
        driver.read_text().strip()
        for file in root.glob(source.lstrip("/"))
        if (driver := file.with_name("scaling_driver")).exists()
    }
    following = FOLLOWS_LOAD | ({"powersave"} if drivers and drivers <= CHOOSES_ITSELF else set())
    if names <= following | {STEADY}:
        return note("governor", f"{said}: the clock follows the load, a tick late", remedy)
    return warning("governor", f"{said}: the clock may stay low", remedy)
