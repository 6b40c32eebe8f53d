"""``[bridge]`` and ``[drive]`` of the robot file: the link to the actuators, and what moves the robot at its other end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from msgspec import Meta, Struct
from msgspec.structs import asdict

from firmware_bridge.bridge import BridgeError
from firmware_bridge.chassis import Chassis
from firmware_bridge.drivetrain import Ackermann, Differential, Motor
from firmware_bridge.output_enable import OutputEnable
from firmware_bridge.pca9685 import OSCILLATOR_HZ
from firmware_bridge.pca9685_outputs import Car, Esc, HBridge, HBridges, Steering, Wiring
from firmware_bridge.robot_source import Build, robot_source
from firmware_bridge.serial_bridge import BAUD

if TYPE_CHECKING:
    from firmware_bridge.pca9685_bridge import Pca9685Bridge

Share = Annotated[float, Meta(ge=0.0, lt=1.0)]
Trim = Annotated[float, Meta(ge=0.5, le=2.0)]
Channel = Annotated[int, Meta(ge=0, le=15)]
Metres = Annotated[float, Meta(gt=0.0, le=10.0)]
SystemId = Annotated[int, Meta(ge=1, le=255)]
Text = Annotated[str, Meta(min_length=1)]
DeviceFile = Annotated[str, Meta(pattern=r"^/[^/]")]
"""Whole path of a file that the kernel has for a device, the same from whatever folder a program is started in."""


# --- [drive] ---------------------------------------------------------------------------------------------------------


class MotorTable(Struct, frozen=True, forbid_unknown_fields=True):
    """How a motor and the wheels on it answer to power: see :class:`firmware_bridge.drivetrain.Motor`."""

    full_speed: Annotated[float, Meta(gt=0.0, le=20.0)]
    dead_zone: Share = 0.0
    trim: Trim = 1.0
    reversed: bool = False

    def motor(self) -> Motor:
        """As the bridges take it."""
        return Motor(self.full_speed, self.dead_zone, self.trim, self.reversed)


class DifferentialTable(
    Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="differential"
):
    """Two driven wheels side by side."""

    left: MotorTable
    right: MotorTable

    def drivetrain(self, track_m: float) -> Differential:
        """As the bridges take it."""
        return Differential(track_m, self.left.motor(), self.right.motor())


class AckermannTable(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="ackermann"):
    """A car.  See :class:`firmware_bridge.drivetrain.Ackermann`."""

    wheelbase_m: Metres
    max_angle: Annotated[float, Meta(gt=0.0, lt=1.5)]
    motor: MotorTable

    def drivetrain(self) -> Ackermann:
        """As the bridges take it."""
        return Ackermann(self.wheelbase_m, self.max_angle, self.motor.motor())


DriveTable: TypeAlias = DifferentialTable | AckermannTable


# --- [bridge] --------------------------------------------------------------------------------------------------------


class Firmware(Struct, frozen=True, forbid_unknown_fields=True):
    """What a microcontroller's firmware is built with; ``edge-wm bridge flash`` does it.

    Attributes:
        processor: of the microcontroller.
        counts_per_turn: of an encoder, all four edges, for one turn of the wheel; 0 without encoders.
        reversed_encoders: which of them count backward.
        deadman_s: the motors are off so long after the last command.
        gain_p, gain_i: of the speed loop; share of full power for an error of 1 m/s, and for one of 1 m/s that lasted for 1 s.
    """

    processor: Literal["atmega328p", "rp2040"] = "atmega328p"
    counts_per_turn: Annotated[int, Meta(ge=0, lt=65536)] = 0
    reversed_encoders: tuple[Literal["left", "right"], ...] = ()
    deadman_s: Annotated[float, Meta(gt=0.01, le=0.5)] = Build.deadman_s
    gain_p: Annotated[float, Meta(ge=0.0, le=30.0)] = Build.gain_p
    gain_i: Annotated[float, Meta(ge=0.0, le=30.0)] = Build.gain_i

    def build(self) -> Build:
        """As ``robot.c`` is made of it."""
        left, right = ("left" in self.reversed_encoders, "right" in self.reversed_encoders)
        return Build(self.counts_per_turn, (left, right), self.deadman_s, self.gain_p, self.gain_i)


class SimTable(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="sim"):
    """The motors of the simulated robot."""


class SimavrTable(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="simavr"):
    """The real firmware, in a simulated processor between bridge and motors of the simulated robot.

    Attributes:
        folder: of the firmware and the simulated board, as ``make -C firmware_bridge/firmware bench`` makes it.
        firmware: what it is built with.
    """

    folder: Text
    firmware: Firmware


class SerialTable(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="serial"):
    """A microcontroller with our firmware: docs/firmware.md.

    Attributes:
        device: its port, e.g. ``/dev/ttyACM0``; none if it is named on the command line.
        baud: of the line.
        firmware: what it is built with.
    """

    device: DeviceFile | None = None
    baud: Annotated[int, Meta(ge=1200, le=4_000_000)] = BAUD
    firmware: Firmware = Firmware()


class MavlinkTable(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="mavlink"):
    """An autopilot with ArduPilot Rover or PX4: docs/mavlink.md.

    Attributes:
        device: its port or address, e.g. ``/dev/ttyACM0`` or ``udpin:0.0.0.0:14550``.
        baud: of a serial port.
        vehicle: system id of the rover, where others share the line; None for the only one that is heard.
        system: our own system id, which the rover's failsafe watches.
    """

    device: Text
    baud: Annotated[int, Meta(ge=1200, le=4_000_000)] = BAUD
    vehicle: SystemId | None = None
    system: SystemId = 255


class HBridgeTable(Struct, frozen=True, forbid_unknown_fields=True):
    """Channels of one motor: see :class:`firmware_bridge.pca9685_outputs.HBridge`."""

    forward: Channel
    backward: Channel
    pwm: Channel | None = None


class SteeringTable(Struct, frozen=True, forbid_unknown_fields=True):
    """A servo that steers: see :class:`firmware_bridge.pca9685_outputs.Steering`."""

    channel: Channel
    centre_us: float
    left_us: float
    right_us: float


class EscTable(Struct, frozen=True, forbid_unknown_fields=True):
    """A speed controller: see :class:`firmware_bridge.pca9685_outputs.Esc`."""

    channel: Channel
    neutral_us: float
    forward_us: float
    backward_us: float | None = None
    arming_s: float = Esc.arming_s


class OutputEnableTable(Struct, frozen=True, forbid_unknown_fields=True):
    """The GPIO line that the chip's OE pin is on."""

    chip: DeviceFile
    line: Annotated[int, Meta(ge=0, le=1023)]


class Pca9685Table(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="pca9685"):
    """A PWM chip on I2C: docs/pca9685.md.

    Attributes:
        bus: number of ``/dev/i2c-N``.
        pwm_hz: cycles a second of all outputs.
        address: of the chip.
        oscillator_hz: of this chip.
        deadman_s: seconds without a command after which the outputs are turned off.
        output_enable: its OE pin.
        left, right: motors of a differential drive.
        steering, esc: of a car.
    """

    bus: Annotated[int, Meta(ge=0, le=255)]
    pwm_hz: float
    address: int = Wiring.address
    oscillator_hz: float = OSCILLATOR_HZ
    deadman_s: float = Build.deadman_s
    output_enable: OutputEnableTable | None = None
    left: HBridgeTable | None = None
    right: HBridgeTable | None = None
    steering: SteeringTable | None = None
    esc: EscTable | None = None

    def bridge(self, drive: DriveTable | None, chassis: Chassis) -> Pca9685Bridge:
        """To this chip.  Raises BridgeError if its numbers and those of the drive do not fit together."""
        from firmware_bridge.pca9685_bridge import Pca9685Bridge

        enable = self.output_enable
        wiring = Wiring(
            self.bus,
            self.pwm_hz,
            self.address,
            self.oscillator_hz,
            None if enable is None else OutputEnable(enable.chip, enable.line),
        )
        return Pca9685Bridge(chassis, self._outputs(drive, chassis.track_m), wiring, self.deadman_s)

    def _outputs(self, drive: DriveTable | None, track_m: float) -> HBridges | Car:
        left, right, steering, esc = self.left, self.right, self.steering, self.esc
        if isinstance(drive, DifferentialTable) and left and right and not (steering or esc):
            bridges = (HBridge(motor.forward, motor.backward, motor.pwm) for motor in (left, right))
            return HBridges(drive.drivetrain(track_m), *bridges)
        if isinstance(drive, AckermannTable) and steering and esc and not (left or right):
            return Car(drive.drivetrain(), Steering(**asdict(steering)), Esc(**asdict(esc)))
        raise BridgeError(
            "a PCA9685 needs left and right with a [drive] of kind 'differential', or steering and esc with one of kind 'ackermann'"
        )


class RecordedTable(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="recorded"):
    """What another bridge was recorded to answer.

    Attributes:
        file: the recording.
        goal: of a run to several goals, the one whose drive is replayed, counted from 1; None for all, one after the other.
    """

    file: Text
    goal: Annotated[int, Meta(ge=1, le=100_000)] | None = None


BridgeTable: TypeAlias = SimTable | SimavrTable | SerialTable | Pca9685Table | MavlinkTable | RecordedTable


def why_not(bridge: BridgeTable, drive: DriveTable | None, chassis: Chassis) -> Iterator[tuple[str, str]]:
    """Yield (key, what is wrong) where bridge, drive and limits cannot hold together."""
    try:
        if isinstance(bridge, Pca9685Table):
            bridge.bridge(drive, chassis)
        elif isinstance(bridge, SimavrTable | SerialTable):
            if isinstance(drive, DifferentialTable):
                robot_source(chassis, drive.drivetrain(chassis.track_m), bridge.firmware.build())
            elif drive is not None:
                yield "drive.kind", "the firmware drives two wheels side by side: 'differential' is needed"
    except BridgeError as error:
        yield "bridge", str(error)
