"""The numbers of a report: how sure a rate is, whether two policies differ, how straight the way was."""

from __future__ import annotations

import math
from collections.abc import Sequence

Z_95 = 1.959963984540054


def wilson_interval(successes: int, n: int, z: float = Z_95) -> tuple[float, float]:
    """Confidence interval of a rate (Wilson, "Probable inference", 1927); (0, 1) if ``n`` is 0."""
    if n == 0:
        return 0.0, 1.0
    rate = successes / n
    scale = 1.0 + z * z / n
    centre = (rate + z * z / (2 * n)) / scale
    half = z / scale * math.sqrt(rate * (1.0 - rate) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def mcnemar_p(only_first: int, only_second: int) -> float:
    """Two-sided p of the exact McNemar test: do two policies succeed equally often on the same episodes?

    Args:
        only_first: episodes in which the first succeeded and the second failed.
        only_second: the other way round.
    """
    discordant = only_first + only_second
    fewer = min(only_first, only_second)
    tail: float = sum(math.comb(discordant, k) for k in range(fewer + 1)) / 2**discordant
    return min(1.0, 2.0 * tail)


def paired_p(first: Sequence[bool], second: Sequence[bool]) -> float:
    """:func:`mcnemar_p` of two lists of successes, episode by episode."""
    pairs = list(zip(first, second, strict=True))
    return mcnemar_p(sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs))


def spl(success: bool, path_m: float, geodesic_m: float) -> float:
    """Success weighted by path length of one episode (Anderson et al., 2018): in [0, 1]."""
    return geodesic_m / max(path_m, geodesic_m) if success else 0.0


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean; 0 of nothing."""
    return sum(values) / len(values) if values else 0.0
