"""Coloured noise over the planning horizon, drawn ahead.

iCEM (Pinneri et al., "Sample-efficient Cross-Entropy Method for Real-time Planning", 2020, section 3.1)
samples action sequences whose power spectrum falls as ``1 / f ** beta``: neighbouring steps are alike, so a
sequence goes somewhere instead of trembling on the spot.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def spectral_basis(horizon: int, beta: float) -> Array:
    """The inverse real FFT with a ``1 / f ** beta`` power spectrum, as a matrix.

    Args:
        horizon: H, number of steps.
        beta: exponent; 0 is white noise, 2 is Brownian.

    Returns:
        float32[H, H]; ``basis @ white`` turns H independent normal numbers into one coloured sequence of unit
        variance at every step.  A matrix, because numpy's FFT cannot write into a given array before 2.0 and
        H is small.
    """
    frequency = np.fft.rfftfreq(horizon)
    # The constant component has no frequency of its own: it gets the power of the slowest one, as in iCEM.
    frequency[0] = frequency[1] if horizon > 1 else 1.0
    amplitude = frequency ** (-beta / 2.0)
    columns = []
    for index, scale in enumerate(amplitude):
        # A component that has only a real part carries the power of both parts.
        real_only = index == 0 or (horizon % 2 == 0 and index == len(amplitude) - 1)
        for part in (np.sqrt(2.0),) if real_only else (1.0, 1.0j):
            spectrum = np.zeros(len(amplitude), dtype=np.complex128)
            spectrum[index] = part * scale
            columns.append(np.fft.irfft(spectrum, n=horizon))
    basis = np.stack(columns, axis=1)
    basis /= np.linalg.norm(basis, axis=1, keepdims=True)
    return basis.astype(np.float32)


class NoiseRing:
    """A ring of noise arrays, each float32[N, H, A] with unit variance, allocated once.

    The sequence of arrays depends on the seed alone, not on when they are drawn: ``draw_ahead`` only moves
    work off the control path.
    """

    def __init__(
        self, *, blocks: int, candidates: int, horizon: int, actions: int, beta: float, seed: int
    ) -> None:
        self._basis = spectral_basis(horizon, beta)
        self._white = np.empty((candidates, horizon, actions), dtype=np.float32)
        self._ring = np.empty((blocks, candidates, horizon, actions), dtype=np.float32)
        self.restart(seed)

    def restart(self, seed: int) -> None:
        """Start the sequence of ``seed`` from its beginning."""
        self._generator = np.random.Generator(np.random.PCG64(seed))
        self._taken = self._drawn = 0
        self.draw_ahead()

    def take(self) -> Array:
        """The next float32[N, H, A]; it stays valid until ``draw_ahead`` or a full turn of the ring."""
        if self._taken == self._drawn:
            self._draw()
        block: Array = self._ring[self._taken % len(self._ring)]
        self._taken += 1
        return block

    def draw_ahead(self) -> None:
        """Draw anew every array that was taken.  Call it after the command of a tick has been sent."""
        while self._drawn - self._taken < len(self._ring):
            self._draw()

    def _draw(self) -> None:
        self._generator.standard_normal(out=self._white, dtype=np.float32)
        np.matmul(self._basis, self._white, out=self._ring[self._drawn % len(self._ring)])
        self._drawn += 1
