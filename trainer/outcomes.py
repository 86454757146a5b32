"""Rates of the four outcomes as they could stand behind what a judge counted, drawn by many chains at once.

One chain of Gibbs draws creeps where far more responses were judged than labelled: what each response is, and how often
the judge errs, then hold each other fast. So each step also makes two jumps that leave the judged shares as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

_CHAINS = 80
_DRAWS = 800
"""Kept of each chain."""
_DROPPED = 200
"""First draws, which still hang on where they began."""
_PRIOR = 0.25
"""Added to each of four counts before a draw, so that an error that was never seen is not impossible."""
_LEAST_SPREAD = 0.01
"""Chains that lie closer agree, however steady each is."""
_TINY = 1e-300
"""A draw may be too small for a float; as nothing at all it could never grow again."""
MOST_R_HAT = 1.2
"""How far chains may lie apart, as a ratio of spreads, and still count as settled; ours."""
MOST_APART = 0.1
"""How far ends of intervals may lie apart between two halves of the chains; ours."""


def draws(counts: Array, matrix: Array, rng: np.random.Generator) -> Array:
    """Rates that could stand behind the counts.

    In turn: what the judged responses are, given rates and errors; rates and errors, given what they are; errors and
    judged shares a step on, the rates following; rates a step on, one outcome's errors following.

    Args:
        counts: (4,), responses of each outcome, as judged.
        matrix: (4, 4), labelled responses: what they are down, what they were judged across.
        rng: What draws.

    Returns:
        (chains, draws, 4); the last axis sums to 1. Chains begin at rates and errors drawn far and wide.
        Source: R-hat and dispersed starts: Gelman & Rubin 1992; the rest of a Dirichlet draw is kept as Lewis 1983 do.
    """
    import numpy as np

    judged, prior = counts.astype(int), matrix + _PRIOR
    rates, rows = _dirichlet(rng, np.ones((_CHAINS, 4))), _dirichlet(rng, np.tile(prior, (_CHAINS, 1, 1)))
    found = np.empty((_CHAINS, _DRAWS, 4))
    for step in range(-_DROPPED, _DRAWS):
        shares = np.swapaxes(rates[:, :, None] * rows, 1, 2)
        # Of the responses judged j, how many are what.
        are = np.swapaxes(rng.multinomial(judged, shares / shares.sum(axis=2, keepdims=True)), 1, 2)
        rates, rows = _dirichlet(rng, are.sum(axis=2) + _PRIOR), _dirichlet(rng, are + prior)
        rates, rows = _jump_of_errors(rng, rates, rows, counts + 1, prior)
        rates, rows = _jump_of_rates(rng, rates, rows, prior)
        if step >= 0:
            found[:, step] = rates
    return found


def r_hat(drawn: Array) -> float:
    """How much wider all chains are than each by itself; 1 where they agree, the most of the four rates.

    Args:
        drawn: (chains, draws, 4); every chain is cut into halves, so that one that drifts disagrees with itself.
    """
    import numpy as np

    half = drawn.shape[1] // 2
    parts = np.concatenate([drawn[:, :half], drawn[:, half : 2 * half]])
    within, between = parts.var(axis=1, ddof=1).mean(axis=0), parts.mean(axis=1).var(axis=0, ddof=1)
    return float(np.sqrt((half - 1) / half + between / (within + _LEAST_SPREAD**2)).max())


def _dirichlet(rng: np.random.Generator, counts: Array) -> Array:
    drawn = rng.standard_gamma(counts) + _TINY
    return _shared(drawn)


def _shared(parts: Array) -> Array:
    shares: Array = parts / parts.sum(axis=-1, keepdims=True)
    return shares


def _stepped(rng: np.random.Generator, shares: Array, counts: Array) -> Array:
    """A Dirichlet draw near another, by 1 to 100 % of it drawn anew; as likely there and back."""
    import numpy as np

    counts = np.broadcast_to(counts, shares.shape)
    anew = 10.0 ** (-2 * rng.random((len(shares), *[1] * (shares.ndim - 1))))
    kept, gone = (rng.standard_gamma(counts * part) + _TINY for part in (1 - anew, anew))
    old = shares * rng.standard_gamma(counts.sum(axis=-1, keepdims=True))
    return _shared(old * (kept / (kept + gone)) + rng.standard_gamma(counts * anew) + _TINY)


def _jump_of_errors(
    rng: np.random.Generator, rates: Array, rows: Array, judged: Array, prior: Array
) -> tuple[Array, Array]:
    """Errors and judged shares a step on; the rates are what then must stand behind them, where they can."""
    import numpy as np

    there = _stepped(rng, rows, prior)
    shares = _stepped(rng, (rates[:, :, None] * rows).sum(axis=1), judged)
    # Of a singular matrix nothing is taken; the unit matrix stands in for it.
    regular = np.abs(np.linalg.det(there)) > _TINY
    solvable = np.where(regular[:, None, None], there, np.eye(4))
    behind = np.linalg.solve(np.swapaxes(solvable, 1, 2), shares[..., None])[..., 0]
    inside = regular & (behind > 0).all(axis=1)
    behind = np.where(inside[:, None], behind, 0.25)
    weights = [
        (_PRIOR - 1) * np.log(of).sum(axis=1) - np.log(np.abs(np.linalg.det(errors)) + _TINY)
        for of, errors in ((rates, rows), (behind, solvable))
    ]
    taken = inside & (np.log(rng.random(len(rates))) < weights[1] - weights[0])
    return np.where(taken[:, None], behind, rates), np.where(taken[:, None, None], there, rows)


def _jump_of_rates(rng: np.random.Generator, rates: Array, rows: Array, prior: Array) -> tuple[Array, Array]:
    """Rates a step on; the errors of one outcome are what then must be, for the judged shares to stay."""
    import numpy as np

    chains, one = np.arange(len(rates)), rng.integers(4, size=len(rates))
    there, own = _stepped(rng, rates, np.full(4, _PRIOR)), rows[np.arange(len(rates)), one]
    follows = ((rates - there)[:, :, None] * rows).sum(axis=1) / there[chains, one][:, None] + own
    inside = (follows > 0).all(axis=1)
    follows = _shared(np.where(inside[:, None], follows, 0.25))
    weights = [
        ((prior[one] - 1) * np.log(errors)).sum(axis=1) - 3 * np.log(of[chains, one])
        for of, errors in ((rates, own), (there, follows))
    ]
    taken = inside & (np.log(rng.random(len(rates))) < weights[1] - weights[0])
    moved = rows.copy()
    moved[chains, one] = np.where(taken[:, None], follows, own)
    return np.where(taken[:, None], there, rates), moved
