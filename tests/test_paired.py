"""The paired difference of two rates and its interval."""

from __future__ import annotations

import pytest

from trainer.paired import paired_difference


def four(a: int, b: int, c: int, d: int) -> tuple[list[bool], list[bool]]:
    """Both right, first only, second only, neither."""
    return [True] * (a + b) + [False] * (c + d), [True] * a + [False] * b + [True] * c + [False] * d


def test_the_paired_interval_is_newcombes() -> None:
    # Wilson limits of 32/50 and 22/50 and phi = (20 * 16 - 12 * 2 - 25) / sqrt(32 * 18 * 22 * 28), by hand.
    found = paired_difference(*four(20, 12, 2, 16))
    assert found == pytest.approx((0.2, 0.0562, 0.3292, 50), abs=1e-4)
    swapped = paired_difference(*reversed(four(20, 12, 2, 16)))
    assert swapped == pytest.approx((-0.2, -0.3292, -0.0562, 50), abs=1e-4)


def test_the_paired_interval_at_the_edges() -> None:
    same = paired_difference(*four(0, 0, 0, 20))
    assert same.difference == 0.0
    assert same.low is not None
    assert same.low < 0
    apart = paired_difference(*four(0, 30, 0, 0))
    assert apart.difference == 1.0
    assert apart.high == pytest.approx(1.0)
    assert paired_difference([], []) == (None, None, None, 0)
    with pytest.raises(ValueError, match="shorter"):
        paired_difference([True], [])
