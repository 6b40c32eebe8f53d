"""The bridge to a PCA9685: motors behind H bridges, or a steering servo and a speed controller.

The chip has no deadman: it keeps its last pulse for ever.  What stands in for one is a process of its own, the guard (``pca9685_guard.py``), and better
still the OE pin in its hands.  Nothing here retries its way out of a fault: one second try within the tick, and then everything is turned off, said
once, and left to ``connect`` and ``arm``.
"""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from firmware_bridge.bridge import NEUTRAL, BridgeError, Command, Telemetry
from firmware_bridge.chassis import LONGEST_DEADMAN_S, STARVED, Chassis
from firmware_bridge.i2c import I2cBus, I2cError, LinuxBus
from firmware_bridge.output_enable import GpioSwitch, OutputEnable, Switch
from firmware_bridge.pca9685 import STEPS, Changed, Pca9685, rate
from firmware_bridge.pca9685_guard_process import Guard, GuardError, GuardProcess
from firmware_bridge.pca9685_outputs import Outputs, Wiring
from firmware_bridge.ramp import ramped

DEADMAN_S = 0.2
MARGIN_S = 0.005
"""For the guard to wake up and to reach the chip."""
CLAIM_S = 1.0
"""The guard of the last drive lets go of the chip within this, unless it cannot turn it off."""
STOP_S = 0.5
"""The guard needs one PWM cycle, at most 50 ms, and a bus that works."""
TRIES = 2
"""Of what is sent in a tick, and to turn the outputs off when it failed.  On a stuck bus that takes 80 ms, or twice as long with an adapter that ends
no transfer in ``i2c.TIMEOUT_S``; the guard, told first, does not wait for it."""


class Pca9685Bridge:
    """Commands to a PCA9685.  See :class:`firmware_bridge.bridge.Bridge` for the methods.

    Args:
        chassis: the robot.
        outputs: what hangs on the chip.
        wiring: where the chip is.
        deadman_s: seconds without a command after which the outputs are off.  The guard acts a PWM cycle and ``MARGIN_S`` earlier.
        opened: opens the bus, given its number.
        guarded: starts the guard, given wiring, its patience in seconds and the descriptor of the claim on the chip.
        switched: opens the OE pin, where the guard has died.
        clock: seconds; the guard that is a process has ``time.monotonic``.
        sleep: waits so many seconds.

    Raises:
        BridgeError: the numbers do not fit together.
    """

    def __init__(
        self,
        chassis: Chassis,
        outputs: Outputs,
        wiring: Wiring,
        deadman_s: float = DEADMAN_S,
        *,
        opened: Callable[[int], I2cBus] = LinuxBus,
        guarded: Callable[[Wiring, float, int], Guard] = GuardProcess,
        switched: Callable[[OutputEnable], Switch] = GpioSwitch,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        lowest, highest = outputs.hz
        if not lowest <= wiring.pwm_hz <= highest:
            raise BridgeError(
                f"pwm_hz is {wiring.pwm_hz:g}: for these outputs it must be {lowest:g} to {highest:g}"
            )
        self._rate = rate(wiring.pwm_hz, wiring.oscillator_hz)
        least_s = STARVED * chassis.tick_s + STEPS * self._rate.step_s + MARGIN_S
        if not least_s <= deadman_s <= LONGEST_DEADMAN_S:
            raise BridgeError(
                f"deadman_s is {deadman_s:g}: it must be {least_s:.3f}, which is {STARVED:g} ticks and a PWM cycle, to {LONGEST_DEADMAN_S:g}"
            )
        outputs.check(chassis)
        self._chassis, self._outputs, self._wiring = chassis, outputs, wiring
        self._patience_s = deadman_s - STEPS * self._rate.step_s - MARGIN_S
        self._opened, self._guarded, self._switched = opened, guarded, switched
        self._clock, self._sleep = clock, sleep
        self._name = f"PCA9685 {wiring.address:#04x} on I2C bus {wiring.bus}"
        self._bus: I2cBus | None = None
        self._chip: Pca9685 | None = None
        self._claim: socket.socket | None = None
        self._guard: Guard | None = None
        self._switch: Switch | None = None
        self._stops = self._stops_before = 0  # of what is being done
        self._armed = False
        self._applied = NEUTRAL
        self._ticked_at = 0.0
        self._sent_at: float | None = None  # of this drive
        self._faults: tuple[str, ...] = ()

    def connect(self) -> None:
        """Open the bus, see that the chip is one, and turn its outputs off before anything else.

        Raises:
            BridgeError: no bus, no chip, another device, or another program drives it.
        """
        if self._bus is not None:
            raise BridgeError(f"{self._name}: connected already")
        self._claim = self._claimed()
        try:
            self._bus = self._opened(self._wiring.bus)
            chip = self._chip = Pca9685(self._bus, self._wiring.address, self._sleep)
            self._tried(chip.recognise)
            self._tried(lambda: chip.set_up(self._rate.prescale))
        except BaseException:
            self._release()
            raise
        if self._switch is not None:
            self._switch.close()
        self._switch, self._faults = None, ()

    def arm(self) -> None:
        """Start the guard, and let commands reach the motors.  An ESC gets its neutral pulse for as long as it needs.

        Raises:
            BridgeError: the guard does not start, or the chip does not answer; connect again.
        """
        chip, claim = self._connected()
        if self._armed:
            return
        self._stops_before = self._stops
        try:
            guard = self._guard = self._guarded(self._wiring, self._patience_s, claim.fileno())
            self._tried(lambda: chip.set_up(self._rate.prescale))
            levels, _ = self._outputs.mix(NEUTRAL, self._rate.step_s)
            if self._outputs.arming_s:
                self._tried(lambda: chip.write(levels))
            guard.enable()
            self._sleep(self._outputs.arming_s)
        except BridgeError as error:
            self._fail("not armed", error)
        except BaseException:  # Ctrl-C while an ESC is armed
            self.stop()
            raise
        self._insist_on_no_stop()
        self._applied, self._armed = NEUTRAL, True
        self._ticked_at, self._sent_at = self._clock(), None

    def apply(self, command: Command) -> Command:
        """Send a velocity, within the robot's limits and along its ramps.

        Returns:
            The velocity that was sent: less if the ramps or the drive do not allow more.

        Raises:
            BridgeError: it is not finite (nothing is sent); or the bus, the chip or the guard failed, or it comes too late: the outputs have been
                turned off, as far as anything still obeys, and the bridge has to connect again.
        """
        if not (math.isfinite(command.v) and math.isfinite(command.w)):
            raise BridgeError(f"a velocity that is not finite: {command}")
        chip, _ = self._connected()
        guard, self._stops_before = self._guard, self._stops
        if not self._armed or guard is None:
            raise BridgeError(f"{self._name}: not armed")
        now = self._clock()
        self._insist(guard, now)
        if self._sent_at is None:  # the guard's time runs from before the first pulse on
            self._guarded_by(lambda: guard.feed(now))
            self._sent_at = now
        seconds = min(max(now - self._ticked_at, 0.0), STARVED * self._chassis.tick_s)
        wanted = command.within(self._chassis.max_v, self._chassis.max_reverse_v, self._chassis.max_w)
        _, reachable = self._outputs.mix(wanted, self._rate.step_s)
        levels, applied = self._outputs.mix(
            ramped(self._applied, reachable, self._chassis, seconds), self._rate.step_s
        )
        try:
            self._tried(lambda: self._send(chip, levels))
        except Changed as error:
            self._insist(guard, self._clock())  # or was it the guard that put it to sleep?
            self._fail("chip changed", error)
        except I2cError as error:
            self._fail("bus failed", error)
        sent_at = self._clock()
        self._insist_on_no_stop()
        self._insist(guard, sent_at)
        self._guarded_by(lambda: guard.feed(sent_at))
        self._ticked_at, self._sent_at, self._applied = now, sent_at, applied
        return applied

    def telemetry(self) -> Telemetry:
        """What was sent last; the chip measures nothing.  After a fault, which it was."""
        return Telemetry(
            time=self._clock(),
            armed=self._armed,
            applied=self._applied if self._armed else NEUTRAL,
            faults=self._faults,
        )

    def stop(self) -> None:
        """All outputs off, and the chip asleep.  If the bus fails, the guard goes on trying.  Never raises."""
        self._stops += 1
        self._armed, self._applied = False, NEUTRAL
        if self._guard is not None:
            self._guard.end(0.0)  # OE does not wait for a bus that is stuck
        if self._chip is not None:
            with suppress(BridgeError):
                self._tried(self._chip.off)
        if self._guard is not None and self._guard.end(STOP_S):
            self._guard = None

    def close(self) -> None:
        """Stop, and give the bus back.  Never raises."""
        self.stop()
        self._release()

    def _send(self, chip: Pca9685, levels: dict[int, int]) -> None:
        chip.check()
        chip.write(levels)

    def _tried(self, call: Callable[[], None]) -> None:
        """A transfer may be lost to noise or another master; twice in a row is a fault."""
        for _ in range(TRIES - 1):
            with suppress(I2cError, Changed):
                return call()
        return call()

    def _insist(self, guard: Guard, now: float) -> None:
        """Nothing is sent that the guard does not watch, nor when it may have given up waiting."""
        if self._sent_at is not None and now - self._sent_at >= self._patience_s:
            late = f"{self._name}: no command for {now - self._sent_at:.3f} s, and the deadman allows {self._patience_s:.3f}"
            self._fail("deadman", BridgeError(late))
        self._guarded_by(lambda: guard.check(now))

    def _insist_on_no_stop(self) -> None:
        """In a signal handler: what was on its way must not outlive it."""
        if self._stops != self._stops_before:
            self.stop()
            raise BridgeError(f"{self._name}: the motors were stopped meanwhile")

    def _guarded_by(self, call: Callable[[], None]) -> None:
        try:
            call()
        except GuardError as error:
            self._fail("guard", error)

    def _fail(self, fault: str, error: BridgeError) -> NoReturn:
        """Turn off what still obeys, let go of everything, and say it: once, since nothing is connected any more."""
        self._insist_on_no_stop()
        self._armed, self._applied, self._faults = False, NEUTRAL, (fault,)
        guard, pin = self._guard, self._wiring.output_enable
        guarded = guard is not None and not guard.end(0.0)
        if pin is not None and not guarded:  # it has died, and the pin is free
            with suppress(BridgeError):
                self._switch = self._switched(pin)
        remark = "connect again"
        try:
            if self._chip is not None:
                self._tried(self._chip.off)
        except BridgeError:
            if guarded:
                remark = "the guard goes on trying to turn the outputs off; then connect again"
            elif self._switch is None:
                remark = "the outputs may still be on and nobody can turn them off: cut the motors' power"
        self._guard = guard if guarded else None
        self._release()
        raise BridgeError(f"{error}: {remark}") from error

    def _connected(self) -> tuple[Pca9685, socket.socket]:
        if self._chip is None or self._claim is None:
            raise BridgeError(f"{self._name}: not connected")
        return self._chip, self._claim

    def _claimed(self) -> socket.socket:
        """One program drives a chip, and not before the guard of the last one has turned it off.  The claim ends with those who hold it."""
        if self._guard is not None:
            self._guard.end(CLAIM_S)
            self._guard = None  # if it has not ended, it has the claim
        until = self._clock() + CLAIM_S
        while True:
            claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                claim.bind(f"\0edge-wm/pca9685/{self._wiring.bus}/{self._wiring.address:#04x}")
                return claim
            except OSError as error:
                claim.close()
                if self._clock() >= until:
                    raise BridgeError(
                        f"{self._name}: another program drives it, or the guard of the last drive could not turn it off yet"
                    ) from error
            self._sleep(CLAIM_S / 20.0)

    def _release(self) -> None:
        if self._bus is not None:
            self._bus.close()
        if self._claim is not None:
            self._claim.close()
        self._bus = self._chip = self._claim = None
