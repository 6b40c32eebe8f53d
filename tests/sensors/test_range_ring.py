"""The ring: what is missing is a drop-out, said once, and never an old distance; one sensor's trouble is no other's."""

from __future__ import annotations

import errno
import logging

import numpy as np
import pytest

from edge_wm.clock import SimulatedClock
from edge_wm.control.supervisor import Supervisor, SupervisorConfig
from edge_wm.errors import BadInput
from edge_wm.sensors import vl53l0x
from edge_wm.sensors.observation import NO_READING
from edge_wm.sensors.range_ring import RangeRing, RingReading
from firmware_bridge.bridge import NEUTRAL, Command
from firmware_bridge.i2c import I2cError
from tests.control.fakes import observe
from tests.sensors.chips import Bus, Chip, FakeVl53l0x, Tca9548a

TICK_S = 0.1
BUDGET_S = 0.04
DISTANCES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


class Bench:
    """Eight sensors behind a multiplexer, the first on channel 3 and then downwards, and ticks of a control loop."""

    channels = (3, 2, 1, 0, 7, 6, 5, 4)

    def __init__(self) -> None:
        self.clock = SimulatedClock(50.0)
        self.chips = [FakeVl53l0x(distance, seed) for seed, distance in enumerate(DISTANCES)]
        self.multiplexer = Tca9548a(dict(zip(self.channels, self.chips, strict=True)), self.clock)
        self.bus = Bus(self.clock, self.multiplexer)
        self.ring = RangeRing(self.bus, self.channels, 1.0, budget_s=BUDGET_S, clock=self.clock)
        self.took_s = 0.0

    def tick(self) -> RingReading:
        self.clock.advance(TICK_S)
        began = self.clock.now()
        try:
            return self.ring.read()
        finally:
            self.took_s = self.clock.now() - began


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    bench.ring.start()
    return bench


def test_beams_are_in_the_order_of_their_channels(bench: Bench) -> None:
    reading = bench.tick()
    assert reading.range_m.dtype == np.float32
    assert reading.range_m == pytest.approx(DISTANCES, abs=0.006)
    assert reading.missing == ()
    assert reading.time == pytest.approx(bench.clock.now() - bench.took_s)


def test_eight_sensors_are_read_within_the_budget(bench: Bench) -> None:
    for _ in range(50):
        assert bench.tick().missing == ()
        assert bench.took_s < 0.025


def test_afterwards_no_channel_is_on(bench: Bench) -> None:
    assert bench.multiplexer.control == 0
    bench.tick()
    assert bench.multiplexer.control == 0
    bench.chips[3].fault = errno.EREMOTEIO
    bench.tick()
    assert bench.multiplexer.control == 0


def test_nothing_in_sight_is_the_reach_and_what_is_further_too(bench: Bench) -> None:
    bench.chips[0].status, bench.chips[0].signal_mcps = 4, 0.1
    bench.chips[1].distance_m = 1.15
    assert bench.tick().range_m[:2] == pytest.approx([1.0, 1.0])


def test_a_measurement_that_is_not_valid_is_a_drop_out_though_its_sensor_is_there(bench: Bench) -> None:
    bench.chips[0].status, bench.chips[0].ambient_mcps = 4, 5.0  # the sun
    bench.chips[1].status = 10
    reading = bench.tick()
    assert reading.range_m[:3] == pytest.approx([NO_READING, NO_READING, 0.5], abs=0.006)
    assert reading.missing == ()


def test_what_touches_the_sensor_is_no_drop_out(bench: Bench) -> None:
    bench.chips[0].distance_m = 0.0
    assert bench.tick().range_m[0] == pytest.approx(0.02)


@pytest.mark.parametrize("how", ["nack", "hung", "brown-out", "stuck flag"])
def test_a_sensor_that_fails_is_its_beams_drop_out_and_no_others(
    bench: Bench, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    bench.tick()
    chip = bench.chips[5]
    with caplog.at_level(logging.INFO):
        match how:
            case "nack":
                chip.fault = errno.EREMOTEIO
            case "hung":
                chip.hung = True
            case "brown-out":
                chip.power_on()
            case "stuck flag":
                chip.keeps_flag = True
        chip.distance_m = 0.2
        others = pytest.approx(np.delete(DISTANCES, 5), abs=0.006)
        bench.tick()  # what it measured before may still be new
        for _ in range(2 if how == "brown-out" else 20):
            reading = bench.tick()
            assert reading.range_m[5] == NO_READING
            assert reading.missing == (5,)
            assert np.delete(reading.range_m, 5) == others
            assert bench.took_s < BUDGET_S + 0.01
        assert len(caplog.records) == 1
        assert "range ring, beam 5 (channel 6)" in caplog.text
        chip.fault, chip.hung, chip.keeps_flag = 0, False, False
        for _ in range(40):
            reading = bench.tick()
            assert reading.range_m[5] == NO_READING or reading.range_m[5] == pytest.approx(0.2, abs=0.006)
            assert np.delete(reading.range_m, 5) == others
            assert bench.took_s < BUDGET_S + 0.01
    assert reading.missing == ()
    assert len(caplog.records) == 2


def test_a_sensor_that_is_left_alone_costs_no_transfer(bench: Bench) -> None:
    bench.tick()
    before = bench.bus.transfers
    bench.tick()
    usual = bench.bus.transfers - before
    bench.chips[1].fault = errno.EREMOTEIO
    costs = []
    for _ in range(50):
        before = bench.bus.transfers
        bench.tick()
        costs.append(bench.bus.transfers - before)
    assert (min(costs), max(costs)) == (usual - 4, usual - 2)
    assert costs.count(usual - 4) > 35


def test_a_sensor_that_holds_the_clock_takes_no_more_than_its_time_out(bench: Bench) -> None:
    """And for one tick, those that there was no time for; the supervisor bridges that."""
    bench.tick()
    bench.chips[2].fault = errno.ETIMEDOUT
    lost = [len(bench.tick().missing) for _ in range(40)]
    assert lost[0] <= 3
    assert lost.count(1) > 30
    assert bench.took_s < 0.065


def test_no_beam_is_always_the_one_without_time() -> None:
    bench = Bench()
    ring = RangeRing(bench.bus, bench.channels, 1.0, budget_s=0.008, clock=bench.clock)
    ring.start()
    read = np.zeros(8, dtype=int)
    for _ in range(80):
        bench.clock.advance(TICK_S)
        began = bench.clock.now()
        read += ring.read().range_m != NO_READING
        assert bench.clock.now() - began < 0.008 + 0.003
    assert read.min() >= 30
    assert read.max() < 80


@pytest.mark.parametrize("fault", [errno.EREMOTEIO, errno.ETIMEDOUT, errno.EAGAIN])
def test_without_the_multiplexer_there_is_no_reading_at_all(bench: Bench, fault: int) -> None:
    bench.tick()
    bench.multiplexer.fault = fault
    with pytest.raises(I2cError, match="chip 0x70"):
        bench.tick()
    assert bench.took_s < BUDGET_S + 0.005
    bench.multiplexer.fault = 0
    assert bench.tick().missing == ()


def test_noise_on_the_multiplexers_transfer_costs_nothing(bench: Bench) -> None:
    bench.bus.noise = [errno.EAGAIN]
    assert bench.tick().missing == ()


def test_when_every_sensor_has_failed_there_is_no_reading_at_all(bench: Bench) -> None:
    bench.tick()
    for chip in bench.chips:
        chip.fault = errno.EREMOTEIO
    with pytest.raises(I2cError, match=r"no sensor gives anything; .*nothing answers there") as error:
        bench.tick()
    assert "\n" not in str(error.value)
    bench.chips[0].fault = 0
    assert bench.tick().missing == (1, 2, 3, 4, 5, 6, 7)


def test_a_multiplexer_that_reset_itself_is_no_mix_up(bench: Bench) -> None:
    bench.tick()
    bench.multiplexer.control = 0b1001  # by noise, say: two sensors answer at once
    assert bench.tick().range_m == pytest.approx(DISTANCES, abs=0.006)


def test_one_that_lost_power_with_all_its_sensors_comes_back(bench: Bench) -> None:
    bench.tick()
    for chip in bench.chips:
        chip.power_on()
    with pytest.raises(I2cError, match="no sensor gives anything"):
        for _ in range(3):
            bench.tick()
    for _ in range(60):
        try:
            reading = bench.tick()
        except I2cError:
            continue
    assert reading.range_m == pytest.approx(DISTANCES, abs=0.006)


def test_start_says_which_sensor_is_not_there() -> None:
    bench = Bench()
    bench.multiplexer.channels.pop(6)
    with pytest.raises(I2cError, match=r"range ring, beam 5 \(channel 6\): .*nothing answers there"):
        bench.ring.start()
    assert bench.multiplexer.control == 0


def test_start_refuses_a_sensor_before_the_multiplexer() -> None:
    """Both would answer, and the nearer of two distances is not what the bus makes of them."""
    bench = Bench()
    bench.bus.chips.append(FakeVl53l0x())
    bench.bus.chips[-1].clock = bench.clock
    with pytest.raises(I2cError, match="a chip before the multiplexer answers at 0x29"):
        bench.ring.start()


@pytest.mark.parametrize(
    ("channels", "reach_m", "said"),
    [
        ((), 1.0, "channels are"),
        ((0, 0), 1.0, "no two the same"),
        ((0, 8), 1.0, "from 0 to 7"),
        ((-1,), 1.0, "from 0 to 7"),
        ((0,), 0.01, "reach_m is"),
        ((0,), 1.3, r"sees no further than 1\.2"),
        ((0,), float("nan"), "reach_m is"),
    ],
)
def test_rings_that_cannot_be_are_refused(channels: tuple[int, ...], reach_m: float, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        RangeRing(Bus(SimulatedClock(), Chip(0x70)), channels, reach_m)


# -- with the supervisor above it ---------------------------------------------------------------------------------


def drive(bench: Bench, ticks: int) -> float:
    """m/s, after some ticks of wanting 0.5 m/s straight ahead."""
    supervisor, applied = Supervisor(SupervisorConfig(), TICK_S), NEUTRAL
    for sequence in range(ticks):
        reading = bench.tick()
        observation = observe(reading.time, sequence, range=reading.range_m)
        checked = supervisor.check(Command(0.5, 0.0), observation, now=bench.clock.now(), applied=applied)
        applied = checked.command
    return applied.v


def test_a_robot_whose_foremost_sensor_is_frozen_drives_no_faster_than_a_blind_one(bench: Bench) -> None:
    bench.chips[0].distance_m = 1.5
    bench.chips[0].hung = True
    assert 0.0 < drive(bench, 20) <= SupervisorConfig().blind_v


def test_it_would_if_old_distances_were_given(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control."""
    monkeypatch.setattr(vl53l0x, "LATE", 1e9)
    bench.chips[0].distance_m = 1.5
    bench.tick()
    bench.chips[0].hung = True
    assert drive(bench, 20) > 0.3
