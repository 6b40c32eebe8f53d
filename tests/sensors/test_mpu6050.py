"""The gyroscope: rad/s in the robot's axes, and never "not turning" from a chip that sleeps."""

from __future__ import annotations

import errno
import math

import numpy as np
import pytest

from edge_wm.clock import SimulatedClock
from edge_wm.errors import BadInput
from edge_wm.sensors import mpu6050
from edge_wm.sensors.mpu6050 import UPSIDE_DOWN, ImuSample, Mpu6050
from firmware_bridge.bridge import BridgeError
from firmware_bridge.i2c import I2cError
from tests.sensors.chips import Bus, FakeMpu6050

TICK_S = 0.1


class Bench:
    def __init__(self, **settings: object) -> None:
        self.clock = SimulatedClock(10.0)
        self.chip = FakeMpu6050()
        self.bus = Bus(self.clock, self.chip)
        self.imu = Mpu6050(self.bus, clock=self.clock, **settings)  # type: ignore[arg-type]

    def tick(self) -> ImuSample:
        self.clock.advance(TICK_S)
        return self.imu.read()


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    bench.imu.calibrate()
    return bench


def test_it_is_set_up_byte_for_byte(bench: Bench) -> None:
    assert bench.chip.writes == [
        (0x6B, 0x01),  # awake, clocked by the x gyro
        (0x6C, 0x00),  # all axes
        (0x19, 0x00),  # 1 kHz
        (0x1A, 0x06),  # 5 Hz
        (0x1B, 0x08),  # 500 °/s
        (0x1C, 0x08),  # 4 g
        (0x38, 0x01),  # data ready
    ]


def test_at_rest_it_does_not_turn_and_feels_gravity(bench: Bench) -> None:
    sample = bench.tick()
    assert sample.rates == pytest.approx((0.0, 0.0, 0.0), abs=0.005)
    assert sample.accelerations == pytest.approx((0.0, 0.0, 9.81), abs=0.1)
    assert sample.time == pytest.approx(bench.clock.now())
    assert not (sample.rates_saturated or sample.accelerations_saturated)


def test_counter_clockwise_is_positive(bench: Bench) -> None:
    bench.chip.rates_dps = (0.0, 0.0, 90.0)
    assert bench.tick().yaw_rate == pytest.approx(math.pi / 2, rel=0.005)


@pytest.mark.parametrize("gyro_dps", [250, 500, 1000, 2000])
@pytest.mark.parametrize("accel_g", [2, 4, 8, 16])
def test_every_range_gives_the_same_si_units(gyro_dps: int, accel_g: int) -> None:
    bench = Bench(gyro_dps=gyro_dps, accel_g=accel_g)
    bench.imu.calibrate()
    bench.chip.rates_dps, bench.chip.accelerations_g = (10.0, -20.0, 200.0), (0.5, -0.25, 1.0)
    sample = bench.tick()
    assert np.degrees(sample.rates) == pytest.approx((10.0, -20.0, 200.0), abs=0.4)
    assert sample.accelerations == pytest.approx((4.903, -2.452, 9.807), abs=0.1)


def test_upside_down_it_turns_the_other_way() -> None:
    bench = Bench(mounting=UPSIDE_DOWN)
    bench.chip.accelerations_g = (0.0, 0.0, -1.0)
    bench.imu.calibrate()
    bench.chip.rates_dps = (1.0, 2.0, -90.0)
    sample = bench.tick()
    assert np.degrees(sample.rates) == pytest.approx((1.0, -2.0, 90.0), abs=0.3)
    assert sample.accelerations[2] == pytest.approx(9.81, abs=0.1)


def test_turned_on_its_board_its_axes_are_the_robots() -> None:
    """The chip's x points left, its y backwards: the robot's x is its -y, the robot's y its x."""
    bench = Bench(mounting=("-y", "x", "z"))
    bench.imu.calibrate()
    bench.chip.accelerations_g = (0.1, 0.3, 1.0)
    assert np.array(bench.tick().accelerations) / 9.80665 == pytest.approx((-0.3, 0.1, 1.0), abs=0.02)


@pytest.mark.parametrize(
    "mounting",
    [
        ("x", "y"),
        ("x", "y", "z", "x"),
        ("x", "x", "z"),
        ("y", "x", "z"),
        ("x", "y", "-z"),
        ("a", "y", "z"),
        ("--x", "y", "z"),
    ],
)
def test_mountings_that_no_turn_of_the_chip_makes_are_refused(mounting: tuple[str, ...]) -> None:
    with pytest.raises(BadInput, match="mounting is"):
        Bench(mounting=mounting)


@pytest.mark.parametrize("setting", ["gyro_dps", "accel_g", "filter_hz"])
def test_settings_that_it_does_not_have_are_refused(setting: str) -> None:
    with pytest.raises(BadInput, match=f"{setting} is 3: it can be"):
        Bench(**{setting: 3})


@pytest.mark.parametrize("bias", [(0.0, 0.0), (0.0, float("nan"), 0.0)])
def test_a_bias_that_is_none_is_refused(bias: tuple[float, ...]) -> None:
    with pytest.raises(BadInput, match="it needs three finite numbers"):
        Bench(bias=bias)


@pytest.mark.parametrize(
    ("gyro", "accel"), [((0, 0, 600), (0, 0, 1)), ((0, 0, -600), (0, 0, 1)), ((0, 0, 0), (5, 0, 1))]
)
def test_a_reading_beyond_its_range_is_flagged(
    bench: Bench, gyro: tuple[float, ...], accel: tuple[float, ...]
) -> None:
    bench.chip.rates_dps, bench.chip.accelerations_g = gyro, accel  # type: ignore[assignment]
    sample = bench.tick()
    assert sample.rates_saturated is any(gyro)
    assert sample.accelerations_saturated is (accel != (0, 0, 1))


# -- the bias ------------------------------------------------------------------------------------------------------


def test_without_a_bias_nothing_is_given() -> None:
    bench = Bench()
    bench.imu.start()
    with pytest.raises(BridgeError, match=r"its bias was never measured: call calibrate\(\)"):
        bench.tick()


def test_a_bias_that_is_known_is_taken_off() -> None:
    bench = Bench(bias=tuple(np.radians((1.5, -2.0, 3.0))))
    bench.imu.start()
    assert bench.tick().yaw_rate == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize(
    ("moves", "said"),
    [
        (
            {"rates_dps": (0.0, 0.0, 60.0)},
            r"it turned 63 °/s while its bias was measured, at rest 40\.0 are the most",
        ),
        ({"shakes_dps": 2.0}, r"it shook by \d\.?\d* °/s"),
        ({"rates_dps": (0.0, 0.0, 900.0)}, "it turned"),
    ],
)
def test_a_robot_that_moves_is_not_calibrated(bench: Bench, moves: dict[str, object], said: str) -> None:
    before = bench.imu.bias
    for name, value in moves.items():
        setattr(bench.chip, name, value)
    with pytest.raises(BridgeError, match=said) as error:
        bench.imu.calibrate()
    assert "\n" not in str(error.value)
    assert bench.imu.bias is before


@pytest.mark.parametrize("felt", [(0.0, 0.0, -1.0), (1.0, 0.0, 0.0), (0.0, 0.0, 0.0)])
def test_a_mounting_that_gravity_contradicts_is_refused(felt: tuple[float, float, float]) -> None:
    bench = Bench()
    bench.chip.accelerations_g = felt
    with pytest.raises(BridgeError, match=r"and not \(0, 0, 1\): it is mounted in another way"):
        bench.imu.calibrate()
    assert bench.imu.bias is None


# -- a chip that is not what it was ----------------------------------------------------------------------------------


@pytest.mark.parametrize("identity", [0x70, 0x98, 0x00, 0xFF])
def test_another_chip_is_refused_and_not_written_to(identity: int) -> None:
    bench = Bench()
    bench.chip.who_am_i = identity
    with pytest.raises(
        I2cError, match=f"^MPU-6050 0x68: it is no MPU-6050: it says {identity:#04x} and not 0x68"
    ):
        bench.imu.start()
    assert bench.chip.writes == []


def test_a_chip_that_reset_itself_is_not_said_to_stand_still(bench: Bench) -> None:
    bench.chip.rates_dps = (0.0, 0.0, 90.0)
    bench.tick()
    bench.chip.power_on()
    with pytest.raises(I2cError, match="it has lost its settings: its supply may have dropped"):
        bench.tick()
    with pytest.raises(I2cError, match="lost its settings"):
        bench.tick()  # woken, and not settled
    for _ in range(5):
        try:
            sample = bench.tick()
        except I2cError:
            continue
    assert sample.yaw_rate == pytest.approx(math.pi / 2, rel=0.01)  # with the bias of before


@pytest.mark.parametrize(
    ("register", "value"), [(0x1A, 0x00), (0x1B, 0x00), (0x1C, 0x10), (0x6B, 0x41), (0x6C, 0x07)]
)
def test_a_setting_that_changed_is_noticed(bench: Bench, register: int, value: int) -> None:
    """A gyro whose range is another one turns half as fast, or twice."""
    bench.tick()
    bench.chip.memory[register] = value
    with pytest.raises(I2cError, match="lost its settings"):
        bench.tick()


def test_unnoticed_it_would_be_said_to_turn_half_as_fast(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control."""
    bench.chip.rates_dps = (0.0, 0.0, 90.0)
    bench.tick()
    bench.chip.memory[0x1B] = 0x10

    def blind(address: int, register: int, count: int, read=bench.bus.read) -> bytes:
        return bench.imu._settings if register == 0x19 else read(address, register, count)

    monkeypatch.setattr(bench.bus, "read", blind)
    assert bench.tick().yaw_rate == pytest.approx(math.pi / 4, rel=0.05)


def test_a_chip_that_hangs_is_noticed(bench: Bench) -> None:
    bench.tick()
    bench.chip.hung = True
    with pytest.raises(I2cError, match=r"it has given no new sample for 0\.\d+ s"):
        bench.tick()
    bench.chip.hung = False
    for _ in range(10):
        try:
            sample = bench.tick()
        except I2cError:
            continue
    assert sample.yaw_rate == pytest.approx(0.0, abs=0.01)


def test_unnoticed_it_would_go_on_turning_for_ever(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control."""
    monkeypatch.setattr(mpu6050, "STALE_S", 1e9)
    bench.chip.rates_dps = (0.0, 0.0, 90.0)
    bench.tick()
    bench.chip.hung, bench.chip.rates_dps = True, (0.0, 0.0, 0.0)
    assert bench.tick().yaw_rate == pytest.approx(math.pi / 2, rel=0.01)


def test_asked_twice_within_a_millisecond_it_gives_the_same_sample(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.sensors.chips.BIT_S", 1e-7)
    first = bench.tick()
    assert bench.imu.read() == first


def test_noise_on_one_transfer_costs_one_tick(bench: Bench) -> None:
    writes = len(bench.chip.writes)
    bench.bus.noise = [errno.EIO]
    with pytest.raises(I2cError, match="the transfer failed"):
        bench.tick()
    bench.tick()
    assert len(bench.chip.writes) == writes
