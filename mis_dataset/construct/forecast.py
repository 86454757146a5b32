"""What a larger construction would use, reckoned from what this one used for each row that it kept. Verb `forecast`.

    36 rows of 60 seeds, by 980 calls -> 100,000 rows of 166,667 seeds, by 2,722,223 calls

Everything is reckoned to grow with the rows. Of `duplicates` that is too little where its experts are set (`near`,
`against`), as each row is held against all before it: no call, but time. Time is that of the same endpoints, asked as
many times at once. Where it is reckoned from calls (`call_seconds`), no stage takes less than was measured, times as
many rows, as work without calls takes time too: drawing here, experts that run here. What a killed run used in the
stage that it was killed in is not known (see `ledger`), and what was replayed from the cache counts as time only.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from math import ceil
from pathlib import Path
from typing import Any

from mis_dataset.construct.funnel import Funnel
from mis_dataset.construct.ledger import Spent, read_spent, total
from mis_dataset.construct.plot import read_funnel
from mis_dataset.errors import UsageError


def forecast(folder: Path, rows: int, call_seconds: float | None = None, at_once: int = 64) -> dict[str, Any]:
    """Reckons.

    Args:
        folder: of a construction that has ended, such as a trial of some seeds.
        rows: dangerous rows that are wanted, each with its twin.
        call_seconds: that a model takes for a reply, for hours of no less than these calls; None: hours are those that
            this one took, times as many rows.
        at_once: calls under way, where `call_seconds` are given.

    Returns:
        "kept" and "seeds": rows that this one kept, and of how many seeds; "wanted": of the larger one "rows", "seeds",
        "gigabytes" of its folder, and "stages": name -> calls, tokens, cost and hours, their sum under "all"; "each":
        the same of one kept row, with seconds and kilobytes.

    Raises:
        UsageError: It has not ended, or kept no row.
        MISError: Its files were not written by this version.
        OSError: A file cannot be read.
    """
    funnel, spent = read_funnel(folder), read_spent(folder)
    kept, seeds = funnel.kept(), _seeds(funnel)
    if not kept:
        raise UsageError(f"{folder}: kept none of its {seeds} seeds; there is nothing to reckon from")
    size, paced = _bytes(folder), _paced(spent, 0.0 if call_seconds is None else call_seconds / at_once)
    return {
        "kept": kept,
        "seeds": seeds,
        "each": {
            "seeds": round(seeds / kept, 3),
            "kilobytes": round(size / kept / 1e3, 1),
            "stages": {name: _each(one, kept) for name, one in _with_sum(spent).items()},
        },
        "wanted": {
            "rows": rows,
            "seeds": ceil(rows * seeds / kept),
            "gigabytes": round(rows * size / kept / 1e9, 1),
            "stages": {name: _of_all(one, rows / kept) for name, one in _with_sum(paced).items()},
        },
    }


def table(told: Mapping[str, Any]) -> str:
    """For the terminal: what `forecast` told.

    >>> one = {"calls": 200, "tokens_in": 5000, "tokens_out": 700, "cost": 0.5, "hours": 0.1}
    >>> wanted = {"rows": 10, "seeds": 20, "gigabytes": 0.1, "stages": {"all": one}}
    >>> print(table({"kept": 2, "seeds": 4, "wanted": wanted}))
    10 rows of 20 seeds, as 2 were kept of 4; 0.1 GB
    stage              calls      tokens in     tokens out          cost    hours
    all                  200          5,000            700          0.50      0.1
    """
    wanted = told["wanted"]
    lines = [
        f"{wanted['rows']:,} rows of {wanted['seeds']:,} seeds, as {told['kept']:,} were kept of {told['seeds']:,}; "
        f"{wanted['gigabytes']:,} GB",
        f"{'stage':<12}{'calls':>12}{'tokens in':>15}{'tokens out':>15}{'cost':>14}{'hours':>9}",
    ]
    for name, one in wanted["stages"].items():
        counts = f"{one['calls']:>12,}{one['tokens_in']:>15,}{one['tokens_out']:>15,}"
        lines.append(f"{name:<12}{counts}{one['cost']:>14,.2f}{one['hours']:>9,.1f}")
    return "\n".join(lines)


def _seeds(funnel: Funnel) -> int:
    return sum(funnel.steps["seeds"].values())


def _each(one: Spent, kept: int) -> dict[str, float]:
    return {name: round(number / kept, 6) for name, number in one._asdict().items()}


def _with_sum(spent: Mapping[str, Spent]) -> dict[str, Spent]:
    return {**spent, "all": total(dict(spent))}


def _paced(spent: Mapping[str, Spent], pace: float) -> dict[str, Spent]:
    """With so many seconds from one call to the next, or those that were measured where they are more."""
    return {name: one._replace(seconds=max(one.seconds, one.calls * pace)) for name, one in spent.items()}


def _of_all(one: Spent, times: float) -> dict[str, float]:
    counts = {name: ceil(getattr(one, name) * times) for name in ("calls", "tokens_in", "tokens_out")}
    return {**counts, "cost": round(one.cost * times, 2), "hours": round(one.seconds * times / 3600, 2)}


def _bytes(folder: Path) -> int:
    """Of all files, one with several names once."""
    found: dict[tuple[int, int], int] = {}
    for place, _, names in os.walk(folder):
        for name in names:
            about = Path(place, name).lstat()
            found[about.st_dev, about.st_ino] = about.st_size
    return sum(found.values())
