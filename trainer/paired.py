"""The difference of two proportions that were measured on the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple


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
        Newcombe's hybrid score interval; it stays within -1..1 and does not shrink to a point where the two agree.

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
    right_1, right_2 = sum(one for one, _ in pairs), sum(two for _, two in pairs)
    p1, p2 = right_1 / n, right_2 / n
    low_1, high_1 = (float(end) for end in proportion_confint(right_1, n, method="wilson"))
    low_2, high_2 = (float(end) for end in proportion_confint(right_2, n, method="wilson"))
    phi = _phi(pairs)
    down = (p1 - low_1) ** 2 - 2 * phi * (p1 - low_1) * (high_2 - p2) + (high_2 - p2) ** 2
    up = (high_1 - p1) ** 2 - 2 * phi * (high_1 - p1) * (p2 - low_2) + (p2 - low_2) ** 2
    return PairedDifference(p1 - p2, p1 - p2 - sqrt(max(0.0, down)), p1 - p2 + sqrt(max(0.0, up)), n)


def _phi(pairs: Sequence[tuple[bool, bool]]) -> float:
    """Correlation of the two, with Newcombe's continuity correction where it is positive."""
    a, b = pairs.count((True, True)), pairs.count((True, False))
    c, d = pairs.count((False, True)), pairs.count((False, False))
    margins = (a + b) * (c + d) * (a + c) * (b + d)
    if margins == 0:
        return 0.0
    cross = a * d - b * c
    return (max(cross - len(pairs) / 2, 0.0) if cross > 0 else float(cross)) / sqrt(margins)
