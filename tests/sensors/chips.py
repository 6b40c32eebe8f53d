"""Chips on an I2C bus, as their datasheets describe them, byte for byte.

A transfer on the wire, as ``I2cBus`` makes it (S start, Sr repeated start, P stop, every byte is acknowledged by who receives it)::

    read    S  address W  register  Sr  address R  byte ... byte  P
    write   S  address W  register  byte ... byte                 P
    send    S  address W  byte                                    P

A chip sees ``receive(bytes)`` for what follows ``address W`` and ``transmit(count)`` for what follows ``address R``.  Time passes on the bus's
clock: nine bits a byte at 100 kHz, and 50 µs for the computer.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

import numpy as np

from edge_wm.clock import SimulatedClock
from firmware_bridge.i2c import I2cError, in_words

BIT_S = 1.0 / 100_000
COMPUTER_S = 50e-6
STUCK_S = 0.02
"""A transfer on a stuck bus is given up after this."""


class Chip:
    """Registers of one byte, whose number increases from byte to byte, as most chips have them."""

    def __init__(self, address: int) -> None:
        self.address = address
        self.fault = 0
        """errno of every transfer with it; 0: it is well."""
        self.clock = SimulatedClock()  # the bus gives it its own
        self.writes: list[tuple[int, int]] = []
        self.pointer = 0
        self.memory: dict[int, int] = {}

    def receive(self, data: bytes) -> None:
        self.pointer = data[0]
        for byte in data[1:]:
            self.writes.append((self.pointer, byte))
            self.written(self.pointer, byte)
            self.pointer = (self.pointer + 1) & 0xFF

    def transmit(self, count: int) -> bytes:
        data = bytearray()
        for _ in range(count):
            data.append(self.shown(self.pointer))
            self.pointer = (self.pointer + 1) & 0xFF
        return bytes(data)

    def written(self, register: int, value: int) -> None:
        self.memory[register] = value

    def shown(self, register: int) -> int:
        return self.memory.get(register, 0)


class Bus:
    """Wires, and chips on them.

    Attributes:
        fault: errno of every transfer; 0: the wires are well.
        noise: errno of transfers to come, 0 for those that go well.
        transfers: how many were tried.
    """

    def __init__(self, clock: SimulatedClock, *chips: Chip) -> None:
        self.clock, self.chips = clock, list(chips)
        self.fault = 0
        self.noise: list[int] = []
        self.transfers = 0
        for chip in chips:
            chip.clock = clock

    def read(self, address: int, register: int, count: int) -> bytes:
        answers = []
        for chip in self._addressed(address, 3 + count):
            chip.receive(bytes((register,)))
            answers.append(chip.transmit(count))
        return bytes(np.bitwise_and.reduce([list(answer) for answer in answers]).tolist())  # a low wire wins

    def write(self, address: int, register: int, data: bytes) -> None:
        for chip in self._addressed(address, 2 + len(data)):
            chip.receive(bytes((register, *data)))

    def send(self, address: int, byte: int) -> None:
        for chip in self._addressed(address, 2):
            chip.receive(bytes((byte,)))

    def close(self) -> None:
        pass

    def _addressed(self, address: int, count: int) -> list[Chip]:
        """The chips that hear a transfer of ``count`` bytes; it fails if there are none."""
        self.transfers += 1
        heard = [chip for chip in self._connected() if chip.address == address]
        fault = self.noise.pop(0) if self.noise else 0
        fault = fault or self.fault or next((chip.fault for chip in heard), 0 if heard else errno.EREMOTEIO)
        if fault == errno.ETIMEDOUT:
            self.clock.advance(STUCK_S)
        else:
            self.clock.advance(COMPUTER_S + 9 * (1 if fault else count) * BIT_S)
        if fault:
            raise I2cError(f"/dev/i2c-1, chip {address:#04x}: {in_words(OSError(fault, ''))}")
        return heard

    def _connected(self) -> Iterator[Chip]:
        for chip in tuple(self.chips):
            yield chip
            if isinstance(chip, Tca9548a):
                yield from chip.behind()


class Tca9548a(Chip):
    """A multiplexer.  Its only register has no number: the last byte that it receives (SCPS207, 8.5.4)::

    7   6   5   4   3   2   1   0
    channel 7 ... channel 0, 1: on the bus from the stop on
    """

    def __init__(self, channels: dict[int, Chip], clock: SimulatedClock, address: int = 0x70) -> None:
        super().__init__(address)
        self.control = 0
        self.channels = channels
        for chip in channels.values():
            chip.clock = clock

    def receive(self, data: bytes) -> None:
        self.control = data[-1]

    def transmit(self, count: int) -> bytes:
        return bytes((self.control,)) * count

    def behind(self) -> Iterator[Chip]:
        for channel, chip in self.channels.items():
            if self.control >> channel & 1:
                yield chip


class FakeVl53l0x(Chip):
    """A distance sensor.  What is known of it is ST's API; register 0xFF chooses one of eight pages of registers::

    page 0  00 SYSRANGE_START         1 once, 41 once with VHV, 2 for ever, 0 stop
            01 SEQUENCE_CONFIG        1 only VHV, 2 only phase, E8 measuring
            0A INTERRUPT_CONFIG       4: say when a sample is new
            0B INTERRUPT_CLEAR        1: the sample was fetched
            13 INTERRUPT_STATUS       . . . e e n n n   n: new sample (4), e: error
            14 RANGE_STATUS           . s s s s . . .   s: B valid, 4 weak, 6 phase ...
            16 effective diodes       8.8
            1A signal                 9.7 MCPS
            1C ambient                9.7 MCPS
            1E distance               mm
            71 FINAL_RANGE_TIMEOUT    exponent, mantissa
            BF SOFT_RESET             0: in reset, all registers show 0; 1: runs
            C0 MODEL_ID               EE AA 10
    page 1  91 stop variable          of this chip; measuring needs it back
    page 7  83 strobe of the factory's data; 94: which; 92: aperture, count of reference diodes
    """

    STOP_VARIABLE = 0x3C
    SPAD_INFO = 0x80 | 5  # five behind the aperture
    GOOD_SPADS = bytes((0xFF, 0xF7, 0x5F, 0xFF, 0xFF, 0xFF))

    def __init__(self, distance_m: float = 0.5, seed: int = 0) -> None:
        super().__init__(0x29)
        self.distance_m = distance_m
        self.status = 0x0B
        self.signal_mcps, self.ambient_mcps = 8.0, 0.02
        self.identity = bytes((0xEE, 0xAA, 0x10))
        self.hung = False
        """It goes on answering, and measures no more."""
        self.keeps_flag = False
        """What it measured last is new for ever."""
        self.repeats = False
        """It says that it measures, and gives the same again."""
        self.laser_dead = False
        self._random = np.random.default_rng(seed)
        self.power_on()

    def power_on(self) -> None:
        """As after a brown-out: all that was written into it is lost."""
        self.pages: dict[tuple[int, int], int] = {
            (1, 0x91): self.STOP_VARIABLE,
            **{(0, 0xB0 + index): spads for index, spads in enumerate(self.GOOD_SPADS)},
            (0, 0x84): 0x10,
            (0, 0x51): 0x00,
            (0, 0x52): 0x96,
        }
        self.page = 0
        self.in_reset = False
        self.measuring_since: float | None = None
        self.ends: list[float] = []
        self.calibrated: set[int] = set()
        self.strobed_at: float | None = None
        self.flags = 0
        self.measurements = 0

    def period_s(self) -> float:
        """Time for one measurement, from the registers: VL53L0X_get_measurement_timing_budget_micro_seconds."""
        macro_us = {pclks: 2304 * pclks * 1.655e-3 for pclks in (14, 10)}
        final = self._page0(0x72) << self._page0(0x71)
        pre, msrc = self._page0(0x52) << self._page0(0x51), self._page0(0x46)
        overheads = 1910 + 960 + 2 * 690 + 660 + 550
        total = (
            overheads
            + 2 * (msrc + 1) * macro_us[14]
            + (pre + 1) * macro_us[14]
            + (final - pre) * macro_us[10]
        )
        return total * 1e-6

    def written(self, register: int, value: int) -> None:
        if register == 0xFF:
            self.page = value
        elif (self.page, register) == (0, 0xBF):
            if value == 0:
                self.power_on()
            self.in_reset = value == 0
        elif (self.page, register) == (0, 0x0B):
            if value & 1 and not self.keeps_flag:
                self._catch_up()
                self.flags &= ~0x07
        else:
            self.pages[self.page, register] = value
            if (self.page, register) == (0, 0x00):
                self._range(value)
            elif (self.page, register, value) == (7, 0x83, 0x00) and self.pages.get((7, 0x94)) == 0x6B:
                self.strobed_at = self.clock.now() + 0.001

    def shown(self, register: int) -> int:
        if self.in_reset:
            return 0
        self._catch_up()
        if register == 0xFF:
            return self.page
        if self.page == 0 and 0xC0 <= register < 0xC3:
            return self.identity[register - 0xC0]
        if (self.page, register) == (0, 0x13):
            return self.flags
        if (self.page, register) == (7, 0x83) and self.strobed_at is not None:
            return 0x10 if self.clock.now() >= self.strobed_at else 0
        if (self.page, register) == (7, 0x92):
            return self.SPAD_INFO
        return self.pages.get((self.page, register), 0)

    def _range(self, mode: int) -> None:
        self._catch_up()
        now, sequence = self.clock.now(), self._page0(0x01)
        if mode & 0x01 and self.page == 0:  # once: the two calibrations take 5 ms here
            if (sequence == 0x01 and mode & 0x40) or sequence == 0x02:
                self.ends.append(now + 0.005)
                self.calibrated.add(sequence)
        elif mode == 0x02:
            ready = self.calibrated == {1, 2} and sequence == 0xE8 and self._page0(0x0A) == 0x04
            if ready and self.pages.get((1, 0x91)) == self.STOP_VARIABLE:
                self.measuring_since = now

    def _catch_up(self) -> None:
        """What has been measured up to now."""
        now = self.clock.now()
        while self.ends and self.ends[0] <= now:
            self.ends.pop(0)
            self.flags |= 0x04
        if self.measuring_since is None or self.hung:
            return
        count = int((now - self.measuring_since) / self.period_s())
        if count > self.measurements:
            self.measurements = count
            self.flags |= 0x04
            if not self.repeats:
                self._measure()

    def _measure(self) -> None:
        noise = self._random.normal(0.0, 1.0, 3)
        valid = self.status == 0x0B
        status = 0x02 if self.laser_dead else self.status
        values = {
            0x14: bytes((status << 3 | 0x01, 0)),
            0x16: (40 * 256).to_bytes(2, "big"),
            0x1A: max(0, round((self.signal_mcps + 0.1 * noise[0] * valid) * 128)).to_bytes(2, "big"),
            0x1C: max(0, round(self.ambient_mcps * 128)).to_bytes(2, "big"),
            0x1E: (max(0, round(self.distance_m * 1000 + noise[1])) if valid else 8190).to_bytes(2, "big"),
        }
        for register, data in values.items():
            for index, byte in enumerate(data):
                self.pages[0, register + index] = byte

    def _page0(self, register: int) -> int:
        return self.pages.get((0, register), 0)


class FakeMpu6050(Chip):
    """A gyroscope and accelerometer (RM-MPU-6000A-00)::

    19  SMPLRT_DIV
    1A  CONFIG         . . . . . DLPF_CFG
    1B  GYRO_CONFIG    . . . FS_SEL . . .
    1C  ACCEL_CONFIG   . . . AFS_SEL . . .
    38  INT_ENABLE     . . . . . . . DATA_RDY_EN
    3A  INT_STATUS     . . . . . . . DATA_RDY, 0 after it was read
    3B  acceleration x, y, z, temperature, rate x, y, z: 16 bits each, high byte first
    6B  PWR_MGMT_1     DEVICE_RESET SLEEP CYCLE . TEMP_DIS CLKSEL; 40 after a reset
    75  WHO_AM_I       68
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__(0x68)
        self.rates_dps = (0.0, 0.0, 0.0)
        """About its own axes."""
        self.bias_dps = (1.5, -2.0, 3.0)
        self.accelerations_g = (0.0, 0.0, 1.0)
        self.shakes_dps = 0.05
        self.who_am_i = 0x68
        self.hung = False
        self._random = np.random.default_rng(seed)
        self.power_on()

    def power_on(self) -> None:
        self.memory = {0x6B: 0x40}
        self._read_at = -1.0

    def shown(self, register: int) -> int:
        if register == 0x75:
            return self.who_am_i
        if register == 0x3A:
            return self._new_sample()
        return self.memory.get(register, 0)

    def _new_sample(self) -> int:
        """A kilohertz of samples, unless it sleeps."""
        now = self.clock.now()
        awake = not self.memory.get(0x6B, 0) & 0x40
        if self.hung or not awake or now - self._read_at < 0.001:
            return 0
        self._read_at = now
        gyro = 131.0 / 2 ** (self.memory.get(0x1B, 0) >> 3 & 3)
        accel = 16384.0 / 2 ** (self.memory.get(0x1C, 0) >> 3 & 3)
        shake = self._random.normal(0.0, 1.0, 6)
        counts = [
            *((np.array(self.accelerations_g) + 0.002 * shake[:3]) * accel),
            0.0,
            *((np.array(self.rates_dps) + self.bias_dps + self.shakes_dps * shake[3:]) * gyro),
        ]
        data = np.clip(np.round(counts), -32768, 32767).astype(">i2").tobytes()
        self.memory.update({0x3B + index: byte for index, byte in enumerate(data)})
        return self.memory.get(0x38, 0) & 0x01


class FakeIna219(Chip):
    """A battery monitor (SBOS448G): registers of 16 bits, high byte first; the pointer stays where it is::

    00  configuration   RST . BRNG PG PG BADC BADC BADC BADC SADC SADC SADC SADC MODE MODE MODE; 399F after a reset
    01  shunt voltage   signed, 10 µV
    02  bus voltage     13 bits of 4 mV, ., CNVR, OVF
    03  power           reading it clears CNVR
    04  current         signed: shunt voltage * calibration / 4096
    05  calibration     bit 0 is always 0; 0 after a reset
    """

    def __init__(self, address: int = 0x41, shunt_ohm: float = 0.1) -> None:
        super().__init__(address)
        self.shunt_ohm = shunt_ohm
        self.volts, self.amperes = 7.4, 1.0
        self.hung = False
        self.power_on()

    def power_on(self) -> None:
        self.words = {0x00: 0x399F, 0x05: 0}
        self._converting_since = self.clock.now()

    def receive(self, data: bytes) -> None:
        self.pointer = data[0]
        if len(data) >= 3:
            value = int.from_bytes(data[1:3], "big")
            self.writes.append((self.pointer, value))
            if self.pointer == 0x00 and (value ^ self.words[0x00]) & 0x07:  # a new mode
                self._converting_since = self.clock.now()
            self.words[self.pointer] = value & ~1 if self.pointer == 0x05 else value

    def transmit(self, count: int) -> bytes:
        return (self._word(self.pointer) & 0xFFFF).to_bytes(2, "big") * (count // 2) + b"\xff" * (count % 2)

    def _word(self, register: int) -> int:
        full_scale = 4000 << (self.words[0x00] >> 11 & 3)
        shunt = int(np.clip(round(self.amperes * self.shunt_ohm / 10e-6), -full_scale, full_scale))
        current = int(shunt * self.words[0x05] / 4096)
        overflow = abs(current) > 32767
        if register == 0x01:
            return shunt
        if register == 0x02:
            ready = not self.hung and self.clock.now() - self._converting_since >= 0.017
            return round(self.volts / 0.004) << 3 | ready << 1 | overflow
        if register == 0x03:
            self._converting_since = self.clock.now()
            return 0
        if register == 0x04:
            return 0x7FFF if overflow else current
        return self.words.get(register, 0)
