"""The pin that lets a PWM chip's outputs through, and holds them off without its bus."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from firmware_bridge.bridge import BridgeError


@dataclass(frozen=True)
class OutputEnable:
    """Where the chip's OE is connected; low enables, high disables.

    Attributes:
        chip: of the GPIO line, such as ``/dev/gpiochip0``.
        line: its offset.
    """

    chip: str
    line: int


class Switch(Protocol):
    """An OE pin that is held.  Only ``enable`` and ``disable`` may raise BridgeError."""

    def enable(self) -> None:
        """Let the outputs through."""

    def disable(self) -> None:
        """Hold them off."""

    def close(self) -> None:
        """Give the line back: what holds the pin from then on is its pull-up."""


class GpioSwitch:
    """OE on a GPIO line of Linux.  The outputs are off from the first moment on.

    Args:
        pin: where it is.

    Raises:
        BridgeError: no such line, no permission, in use, or no gpiod.
    """

    def __init__(self, pin: OutputEnable) -> None:
        try:
            import gpiod
        except ImportError:
            raise BridgeError("no OE pin without gpiod: run  pip install 'edge-wm[i2c]'") from None
        self._pin, self._value = pin, gpiod.line.Value
        output = gpiod.LineSettings(
            direction=gpiod.line.Direction.OUTPUT, output_value=gpiod.line.Value.ACTIVE
        )
        self._request = self._tried(
            lambda: gpiod.request_lines(pin.chip, consumer="edge-wm OE", config={pin.line: output})
        )

    def enable(self) -> None:
        """See :class:`Switch`."""
        self._tried(lambda: self._request.set_value(self._pin.line, self._value.INACTIVE))

    def disable(self) -> None:
        """See :class:`Switch`."""
        self._tried(lambda: self._request.set_value(self._pin.line, self._value.ACTIVE))

    def close(self) -> None:
        """See :class:`Switch`."""
        self._request.release()

    def _tried(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except (OSError, ValueError) as error:
            number = error.errno if isinstance(error, OSError) else None
            raise BridgeError(
                f"OE, {self._pin.chip} line {self._pin.line}: {_WHY.get(number or 0, error)}"
            ) from error


_WHY = {
    errno.ENOENT: "no such GPIO chip: gpiodetect lists them",
    errno.EINVAL: "no such line: gpioinfo lists them",
    errno.EACCES: "no permission: run  sudo usermod -aG gpio $USER  and log in again",
    errno.EPERM: "no permission: run  sudo usermod -aG gpio $USER  and log in again",
    errno.EBUSY: "in use by another program: gpioinfo says by which",
}
