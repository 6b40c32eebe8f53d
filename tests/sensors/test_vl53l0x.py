"""The distance sensor: set up as ST's API does it, and never an old distance for a new one."""

from __future__ import annotations

import errno

import pytest

from edge_wm.clock import SimulatedClock
from edge_wm.errors import BadInput
from edge_wm.sensors import vl53l0x
from edge_wm.sensors.vl53l0x import Measurement, Status, Vl53l0x, decode
from edge_wm.sensors.vl53l0x_setup import final_range_timeout, reference_spads
from firmware_bridge.i2c import I2cError
from tests.sensors.chips import Bus, FakeVl53l0x

TICK_S = 0.1

AS_ST_LEAVES_IT = {
    # register and value, where it is not 0, after DataInit, StaticInit, PerformRefCalibration, SetMeasurementTimingBudget(33000) and
    # StartMeasurement of ST's API 1.0.2, compiled and run against registers in memory; 89 is 01 with USE_I2C_2V8
    0: "0002 01e8 0a04 2401 25ff 3009 3104 3203 3403 3544 4083 4520 4625 4708 4828 5006 5296 5608 5730 66a0 7004 7102 728a 7821 7a0a 8901"
    " b1f0 b201 b6b4",
    1: "0001 0d01 0e06 201a 2232 2334 3020 3104 4040 4340 44ff 4526 4605 4714 49ff 4b09 4c05 4d04 4e2c 8e01 913c",
}


class Bench:
    """One sensor, and ticks of a control loop."""

    def __init__(self) -> None:
        self.clock = SimulatedClock(100.0)
        self.chip = FakeVl53l0x()
        self.bus = Bus(self.clock, self.chip)
        self.sensor = Vl53l0x(self.bus, clock=self.clock)

    def tick(self, until_s: float = 0.0) -> Measurement | None:
        self.clock.advance(TICK_S)
        return self.sensor.read(self.clock.now() + until_s)

    def ticks_until_it_measures(self, until_s: float = 0.0) -> int:
        for tick in range(100):
            try:
                if self.tick(until_s) is not None:
                    return tick
            except I2cError:
                pass
        raise AssertionError("it never measured again")


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    bench.sensor.start()
    return bench


def test_its_registers_are_as_sts_own_api_leaves_them(bench: Bench) -> None:
    written = {register for register, _ in bench.chip.writes}
    for page, recorded in AS_ST_LEAVES_IT.items():
        held = sorted((key[1], value) for key, value in bench.chip.pages.items() if key[0] == page and value)
        assert (
            " ".join(f"{register:02x}{value:02x}" for register, value in held if register in written)
            == recorded
        )


@pytest.mark.parametrize(
    ("measurement_us", "register"),
    [
        # of the same build of ST's API
        (20000, 0x00D5),
        (20500, 0x00E3),
        (27000, 0x01C6),
        (33000, 0x028A),
        (41000, 0x02BF),
        (50000, 0x02FA),
        (66000, 0x03B1),
        (100000, 0x0490),
        (200000, 0x059A),
    ],
)
def test_the_time_of_a_measurement_is_coded_as_sts_api_codes_it(measurement_us: int, register: int) -> None:
    assert final_range_timeout(measurement_us) == register


@pytest.mark.parametrize("measurement_s", [0.02, 0.033, 0.066, 0.1])
def test_it_measures_as_often_as_it_is_asked_to(measurement_s: float) -> None:
    bench = Bench()
    Vl53l0x(bench.bus, measurement_s=measurement_s, clock=bench.clock).start()
    assert bench.chip.period_s() == pytest.approx(measurement_s, rel=0.02)


@pytest.mark.parametrize("measurement_s", [0.019, 0.101, float("nan")])
def test_times_that_it_cannot_keep_are_refused(measurement_s: float) -> None:
    with pytest.raises(BadInput, match="measurement_s is"):
        Vl53l0x(Bench().bus, measurement_s=measurement_s)


def test_reference_diodes_are_the_first_good_ones() -> None:
    good = bytes((0xFE, 0xFF, 0b10101010, 0xFF, 0xFF, 0xFF))
    assert reference_spads(good, 3, aperture=False) == bytes((0b00001110, 0, 0, 0, 0, 0))
    assert reference_spads(good, 6, aperture=True) == bytes((0, 0xF0, 0b00001010, 0, 0, 0))
    assert reference_spads(good, 0, aperture=True) == bytes(6)


def test_it_gives_metres_and_when_they_were_read(bench: Bench) -> None:
    measurement = bench.tick()
    assert measurement is not None
    assert measurement.distance_m == pytest.approx(0.5, abs=0.005)
    assert measurement.status is Status.VALID
    assert measurement.time == pytest.approx(bench.clock.now(), abs=0.002)
    assert measurement.signal_mcps == pytest.approx(8.0, abs=0.5)
    assert measurement.ambient_kcps == pytest.approx(0.02 / 40 * 1000, abs=0.1)


def test_every_byte_of_a_measurement_is_where_st_has_it() -> None:
    result = bytes.fromhex("5a00 2800 0000 0480 0280 04d2")
    assert decode(result, 7.0) == Measurement(7.0, 1.234, Status.VALID, 9.0, 5.0 * 1000 / 40)


def test_it_never_waits_for_a_measurement(bench: Bench) -> None:
    first = bench.tick()
    before = bench.clock.now()
    again = bench.sensor.read()
    assert again == first  # with the time of the first
    assert bench.clock.now() - before < 0.003


@pytest.mark.parametrize(
    ("code", "status", "signal", "ambient", "nothing"),
    [
        (4, Status.WEAK, 0.2, 0.02, True),
        (6, Status.PHASE, 0.5, 0.02, True),
        (9, Status.PHASE, 0.5, 0.02, True),
        (4, Status.WEAK, 0.2, 4.0, False),  # bright: it might not see a thing that is there
        (6, Status.PHASE, 9.0, 0.02, False),  # so much light comes from something near
        (8, Status.TOO_NEAR, 0.2, 0.02, False),
        (10, Status.TOO_NEAR, 0.2, 0.02, False),
        (0, Status.UNKNOWN, 0.2, 0.02, False),
        (5, Status.UNKNOWN, 0.2, 0.02, False),
        (12, Status.UNKNOWN, 0.2, 0.02, False),
    ],
)
def test_nothing_in_reach_is_told_from_not_knowing(
    bench: Bench, code: int, status: Status, signal: float, ambient: float, nothing: bool
) -> None:
    bench.chip.status, bench.chip.signal_mcps, bench.chip.ambient_mcps = code, signal, ambient
    measurement = bench.tick()
    assert measurement is not None
    assert (measurement.distance_m, measurement.status) == (None, status)
    assert measurement.nothing_in_reach is nothing


def test_a_distance_that_is_none_is_not_believed() -> None:
    assert decode(bytes.fromhex("5a00 2800 0000 0480 0002 1ffe"), 0.0).distance_m is None
    assert decode(bytes.fromhex("5a00 2800 0000 0480 0002 1fff"), 0.0).distance_m is None
    assert decode(bytes.fromhex("5a00 2800 0000 0480 0002 1ffd"), 0.0).distance_m == 8.189


def test_another_chip_is_refused_and_not_written_to() -> None:
    bench = Bench()
    bench.chip.identity = bytes((0xEA, 0xCC, 0x10))  # a VL53L1X has other registers
    with pytest.raises(
        I2cError, match=r"chip 0x29 is no VL53L0X: it says ea cc 10 and not ee aa 10"
    ) as refusal:
        bench.sensor.start()
    assert "\n" not in str(refusal.value)
    assert bench.chip.writes == [(0xFF, 0)]


def test_setting_it_up_survives_a_page_that_was_left_open() -> None:
    bench = Bench()
    bench.chip.page = 1
    bench.sensor.start()
    assert bench.tick() is not None


def test_setting_it_up_gives_the_control_loop_its_turn() -> None:
    """Without ``start``: eight transfers or so with each call, and 0.1 s in all."""
    bench = Bench()
    longest, calls = 0.0, 0
    while not bench.sensor.running:
        bench.clock.advance(0.001)
        before = bench.clock.now()
        bench.sensor.read()
        longest, calls = max(longest, bench.clock.now() - before), calls + 1
    assert longest < 0.008
    assert calls > 20
    assert bench.tick() is not None


def test_setting_it_up_goes_on_while_there_is_time() -> None:
    bench = Bench()
    assert bench.ticks_until_it_measures(until_s=0.02) < 8


def test_a_sensor_that_never_finishes_is_given_up() -> None:
    bench = Bench()
    bench.chip.written = lambda register, value: None  # type: ignore[method-assign]  # nothing that is written arrives
    with pytest.raises(I2cError, match=r"did not reset in 0.5 s: is its supply sound"):
        bench.sensor.start()
    assert not bench.sensor.running


def test_after_start_failed_it_is_set_up_by_reading() -> None:
    bench = Bench()
    bench.chip.fault = errno.EREMOTEIO
    with pytest.raises(I2cError, match="nothing answers there"):
        bench.sensor.start()
    bench.chip.fault = 0
    bench.sensor.read()
    assert not bench.sensor.running
    assert bench.ticks_until_it_measures(until_s=0.02) < 8


# -- an old distance is never a new one --------------------------------------------------------------------------


def freeze(bench: Bench, how: str) -> None:
    if how == "brown-out":
        bench.chip.power_on()
    else:
        setattr(bench.chip, how, True)


def thaw(bench: Bench) -> None:
    bench.chip.hung = bench.chip.keeps_flag = bench.chip.repeats = bench.chip.laser_dead = False


FREEZES = [
    # what happens, what is said, after how many ticks
    ("hung", r"no new measurement for 0\.\d+ s", 1),
    ("brown-out", r"no new measurement for 0\.\d+ s", 1),
    ("keeps_flag", "the same measurement is new for ever", 1),
    ("repeats", "gave the same measurement 10 times", 10),
    ("laser_dead", "its laser or its supply has failed", 1),
]


@pytest.mark.parametrize(("how", "said", "ticks"), FREEZES)
def test_a_sensor_that_freezes_gives_no_old_distance_and_is_set_up_again(
    bench: Bench, how: str, said: str, ticks: int
) -> None:
    bench.tick()
    freeze(bench, how)
    with pytest.raises(I2cError, match=said) as error:
        for _ in range(ticks):
            bench.tick()
    assert "\n" not in str(error.value)
    thaw(bench)
    bench.chip.distance_m = 0.3
    assert bench.ticks_until_it_measures(until_s=0.02) < 10
    measurement = bench.tick()
    assert measurement is not None
    assert measurement.distance_m == pytest.approx(0.3, abs=0.005)


def test_without_that_check_an_old_distance_would_be_given(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control: the test above would see it."""
    monkeypatch.setattr(vl53l0x, "LATE", 1e9)
    monkeypatch.setattr(vl53l0x, "REPEATED", 10**9)
    bench.tick()
    freeze(bench, "hung")
    bench.chip.distance_m = 0.1
    for _ in range(20):
        measurement = bench.tick()
        assert measurement is not None
        assert measurement.distance_m == pytest.approx(0.5, abs=0.005)


def test_a_healthy_sensor_is_never_taken_for_a_frozen_one(bench: Bench) -> None:
    for tick in range(300):
        bench.clock.advance((0.005, 0.05, 0.4, 10.0)[tick % 4])
        bench.sensor.read()
        assert bench.sensor.outage.why is None


def test_darkness_without_anything_in_sight_is_no_frozen_sensor(bench: Bench) -> None:
    """It gives the same bytes for ever, with good reason."""
    bench.chip.status, bench.chip.signal_mcps, bench.chip.ambient_mcps = 4, 0.0, 0.0
    for _ in range(50):
        measurement = bench.tick()
        assert measurement is not None
        assert measurement.nothing_in_reach


def test_an_error_bit_is_an_error(bench: Bench) -> None:
    bench.tick()
    bench.chip.flags = 0x08
    bench.chip.hung = True
    with pytest.raises(I2cError, match="its status says that measuring failed"):
        bench.tick()


def test_a_sensor_that_was_long_gone_is_set_up_as_soon_as_it_is_tried(bench: Bench) -> None:
    bench.tick()
    bench.chip.fault = errno.EREMOTEIO
    for _ in range(30):
        with pytest.raises(I2cError):
            bench.tick()
    bench.chip.fault = 0
    bench.chip.power_on()
    assert bench.ticks_until_it_measures(until_s=0.02) < 16 + 8  # the longest pause, and setting it up


def test_noise_on_one_transfer_costs_one_tick_and_no_new_set_up(bench: Bench) -> None:
    bench.tick()
    writes = len(bench.chip.writes)
    bench.bus.noise = [errno.EAGAIN]
    with pytest.raises(I2cError, match="arbitration was lost"):
        bench.tick()
    assert bench.tick() is not None
    assert len(bench.chip.writes) == writes + 1  # the flag was cleared, and nothing else
