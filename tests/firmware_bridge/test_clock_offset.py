"""The microcontroller's times are turned into the computer's, and how wrong they may be is said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.clock_offset import DRIFT, WRAP_US, ClockOffset

delays = st.tuples(st.floats(0.0005, 0.03), st.floats(0.0005, 0.03))


class Pair:
    """Two clocks: the computer's, and one that runs a little fast or slow beside it."""

    def __init__(self, drift: float, apart_s: float, now: float = 1000.0) -> None:
        self.now, self._began, self._drift, self._apart = now, now, drift, apart_s

    def remote_us(self) -> int:
        return int(((self.now - self._began) * (1.0 + self._drift) + self._apart) * 1e6)

    def exchange(self, clock: ClockOffset, there_s: float, back_s: float, jumped_s: float = 0.0) -> None:
        sent = self.now + jumped_s
        self.now += there_s
        remote = self.remote_us() % WRAP_US
        self.now += back_s
        clock.observe(sent, self.now + jumped_s, remote)


@given(
    drift=st.floats(-DRIFT, DRIFT),
    apart_s=st.floats(0.0, 5000.0),
    times=st.lists(delays, min_size=1, max_size=100),
)
def test_no_time_is_more_wrong_than_it_says(
    drift: float, apart_s: float, times: list[tuple[float, float]]
) -> None:
    pair, clock = Pair(drift, apart_s), ClockOffset()
    for there_s, back_s in times:
        pair.exchange(clock, there_s, back_s)
        remote, now = pair.remote_us(), pair.now
        host, error = clock.to_host(remote % WRAP_US)
        assert (
            abs(host - now) <= error + DRIFT * 0.07 + 2e-6
        )  # since the last exchange, and whole microseconds
        pair.now += 0.05


def test_a_narrow_exchange_counts_for_more_than_a_newer_wide_one() -> None:
    pair, clock = Pair(0.0, 5.0), ClockOffset()
    pair.exchange(clock, 0.001, 0.001)
    pair.exchange(clock, 0.02, 0.001)
    host, error = clock.to_host(pair.remote_us())
    assert host == pytest.approx(pair.now, abs=1e-5)
    assert error < 0.002


def test_and_the_less_the_older_it_is() -> None:
    pair, clock = Pair(0.0, 5.0), ClockOffset()
    pair.exchange(clock, 0.001, 0.001)
    pair.now += 60.0
    pair.exchange(clock, 0.01, 0.01)
    _, error = clock.to_host(pair.remote_us())
    assert error == pytest.approx(0.01, abs=1e-4)


@pytest.mark.parametrize("jumped_s", [3600.0, -3600.0, 1.0])
def test_what_was_so_before_a_clock_jumped_counts_no_more(jumped_s: float) -> None:
    pair, clock = Pair(0.0, 5.0), ClockOffset()
    for _ in range(64):
        pair.exchange(clock, 0.001, 0.001)
    pair.exchange(clock, 0.01, 0.01, jumped_s)
    host, _ = clock.to_host(pair.remote_us())
    assert host == pytest.approx(pair.now + jumped_s, abs=0.011)


def test_its_clock_may_wrap_between_two_exchanges() -> None:
    pair, clock = Pair(0.0, WRAP_US * 1e-6 - 0.01), ClockOffset()
    pair.exchange(clock, 0.001, 0.001)
    pair.now += 0.05
    pair.exchange(clock, 0.001, 0.001)
    host, _ = clock.to_host(pair.remote_us() % WRAP_US)
    assert host == pytest.approx(pair.now, abs=1e-4)


def test_before_the_first_exchange_there_is_no_time() -> None:
    with pytest.raises(ValueError, match="no exchange"):
        ClockOffset().to_host(0)
