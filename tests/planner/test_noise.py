from __future__ import annotations

import numpy as np
import pytest

from edge_wm.planner.noise import NoiseRing, spectral_basis


def ring(
    seed: int = 0, beta: float = 2.0, horizon: int = 32, blocks: int = 4, candidates: int = 64
) -> NoiseRing:
    return NoiseRing(blocks=blocks, candidates=candidates, horizon=horizon, actions=2, beta=beta, seed=seed)


@pytest.mark.parametrize("beta", [0.0, 1.0, 2.0, 3.0])
def test_power_falls_with_frequency_to_the_power_of_beta(beta):
    noise = ring(beta=beta, candidates=4000).take()
    power = (np.abs(np.fft.rfft(noise, axis=1)) ** 2).mean(axis=(0, 2))
    frequency = np.fft.rfftfreq(32)
    inner = slice(1, -1)
    slope = np.polyfit(np.log(frequency[inner]), np.log(power[inner]), 1)[0]
    assert slope == pytest.approx(-beta, abs=0.1)


@pytest.mark.parametrize("horizon", [1, 2, 7, 12])
def test_every_step_has_unit_variance_whatever_the_horizon(horizon):
    noise = ring(horizon=horizon, candidates=8000).take()
    assert noise.std(axis=(0, 2)) == pytest.approx(np.ones(horizon), abs=0.05)
    assert noise.mean() == pytest.approx(0.0, abs=0.05)


def test_white_noise_is_not_correlated_and_coloured_noise_is():
    for beta, low, high in ((0.0, -0.1, 0.1), (2.0, 0.7, 1.0)):
        noise = ring(beta=beta, candidates=2000).take()
        assert low < np.corrcoef(noise[:, 3, 0], noise[:, 4, 0])[0, 1] < high


def test_candidates_and_actions_are_independent():
    noise = ring(candidates=2000).take()
    assert abs(np.corrcoef(noise[:, 5, 0], noise[:, 5, 1])[0, 1]) < 0.1
    assert abs(np.corrcoef(noise[:-1, 5, 0], noise[1:, 5, 0])[0, 1]) < 0.1


def test_the_basis_is_orthogonal_for_white_noise():
    basis = spectral_basis(12, 0.0)
    assert np.allclose(basis @ basis.T, np.eye(12), atol=1e-6)


def test_the_sequence_depends_on_the_seed_and_not_on_when_it_is_drawn():
    lazy, eager, other = ring(5), ring(5), ring(6)
    for turn in range(10):
        a, b, c = lazy.take().copy(), eager.take().copy(), other.take().copy()
        if turn % 3 == 0:
            eager.draw_ahead()
        assert np.array_equal(a, b)
        assert not np.array_equal(a, c)


def test_no_array_is_handed_out_twice():
    noise = ring()
    taken = [noise.take().copy() for _ in range(12)]
    assert len({array.tobytes() for array in taken}) == 12


def test_restart_begins_anew():
    noise = ring(5)
    first = noise.take().copy()
    noise.take()
    noise.restart(5)
    assert np.array_equal(first, noise.take())
