"""Heat, clocks and supply: what makes a board slower than it was measured to be."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from edge_wm.board import Board
from edge_wm.doctor.finding import Finding, error, ok, warning
from edge_wm.profile.machine_state import machine_state

NEAR_C = 10.0
"""So near to the temperature at which it throttles a board is warm."""
STEADY = "performance"
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
    yield from _throttling(state.throttled, board.health.throttled)
    if state.governor is not None and state.governor != STEADY:
        said = f"{state.governor}: the clock follows the load, a tick late"
        yield warning("governor", said, f"echo {STEADY} | sudo tee {board.health.governor}")
    elif state.governor is not None:
        yield ok("governor", STEADY)


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


def _throttling(said: str | None, source: str | None) -> Iterator[Finding]:
    """Bits of a Raspberry Pi's firmware, else counts of events since boot."""
    if said is None:
        return
    now, since_boot = [], []
    if "get_throttled" in str(source):
        found = re.search(r"[0-9a-f]+$", said)
        bits = int(found[0], 16) if found else 0
        now = [words for bit, words in _FIRMWARE_BITS.items() if bits >> bit & 1]
        since_boot = [words for bit, words in _FIRMWARE_BITS.items() if bits >> bit + 16 & 1]
    elif events := sum(map(int, re.findall(r"\d+", said))):
        since_boot = [f"{events} times"]
    remedy = SUPPLY if any("voltage" in words for words in (*now, *since_boot)) else COOL
    if now:
        yield error("throttling", f"now: {', '.join(now)}", remedy)
    elif since_boot:
        yield warning("throttling", f"since boot: {', '.join(since_boot)}", remedy)
    else:
        yield ok("throttling", "none since boot")
