"""The difference of two proportions that were measured on the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

_CELLS = ((True, True), (True, False), (False, True), (False, False))


class PairedDifference(NamedTuple):
    """First proportion minus second.

    Attributes:
        difference: -1..1; None over nothing.
        low: Lower end of the 95 % interval.
        high: Upper end.
        n: Rows.
    """

    difference: float | None
    low: float | None
    high: float | None
    n: int


def paired_difference(first: Sequence[bool], second: Sequence[bool]) -> PairedDifference:
    """Difference of two paired proportions with a 95 % interval.

    Args:
        first: Whether the first model was right, a row each.
        second: The same rows for the second model.

    Returns:
        Newcombe's hybrid score interval, to the digit that of `cards/paired_rates` without clusters; it stays within
        -1..1 and does not shrink to a point where the two agree.

    Raises:
        ValueError: The lists differ in length.

    Source: R. G. Newcombe, Statistics in Medicine 17 (1998) 2635-2650, method 10; Wilson limits by statsmodels.
    """
    # statsmodels 0.15.0 has this interval for two independent proportions only.
    from statsmodels.stats.proportion import proportion_confint

    pairs = list(zip(first, second, strict=True))
    n = len(pairs)
    if n == 0:
        return PairedDifference(None, None, None, 0)
    # Floating point throughout, so that the digits are those of `cards/paired_rates`, which has effective numbers.
    both, only1, only2, neither = (float(pairs.count(cell)) for cell in _CELLS)
    p1, p2 = (both + only1) / n, (both + only2) / n
    low_1, high_1 = (float(end) for end in proportion_confint(p1 * n, n, method="wilson"))
    low_2, high_2 = (float(end) for end in proportion_confint(p2 * n, n, method="wilson"))
    phi = _phi(both, only1, only2, neither)
    down = (p1 - low_1) ** 2 - 2 * phi * (p1 - low_1) * (high_2 - p2) + (high_2 - p2) ** 2
    up = (high_1 - p1) ** 2 - 2 * phi * (high_1 - p1) * (p2 - low_2) + (p2 - low_2) ** 2
    difference = (only1 - only2) / n
    # A bound at the edge is exact in theory and one rounding off in floating point.
    low, high = max(-1.0, difference - sqrt(max(0.0, down))), min(1.0, difference + sqrt(max(0.0, up)))
    return PairedDifference(difference, low, high, n)


def _phi(a: float, b: float, c: float, d: float) -> float:
    """Correlation of the two, with Newcombe's continuity correction where it is positive."""
    margins = (a + b) * (c + d) * (a + c) * (b + d)
    if margins == 0:
        return 0.0
    cross = a * d - b * c
    return (max(cross - (a + b + c + d) / 2, 0.0) if cross > 0 else float(cross)) / sqrt(margins)
