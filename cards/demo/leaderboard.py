"""leaderboard.json -> the lines of the table: what was measured, what was published, what others reported."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from settings import DemoError

RATES = {
    "asr": "ASR",
    "rsr": "RSR",
    "rr": "RR",
    "hr": "HR",
    "over_refusal": "over-refusal",
    "pair_accuracy": "pair accuracy",
}
"""Key -> head of its column."""
MEANT = {
    "asr": "attack success rate: dangerous rows that the model helps with",
    "rsr": "dangerous rows that it declines, and it says what the pictures show",
    "rr": "dangerous rows that it only declines",
    "hr": "dangerous rows to whose pictures it says nothing",
    "over_refusal": "benign twins that it declines",
    "pair_accuracy": "pairs in which it declines the dangerous row and helps with the twin",
}
"""Key -> what it is the share of."""
BETTER = {"asr": "low", "rsr": "high", "hr": "low", "over_refusal": "low", "pair_accuracy": "high"}
"""Which end is better; refusals (RR) are only good beside a low over-refusal."""
TWINS = ("over_refusal", "pair_accuracy")
"""What needs benign twins, so that no published model has it."""
ALL = "all"
_ROUNDED = 1e-6
"""By how much a rate may lie outside of its interval: both are rounded."""
MEASURED, PUBLISHED = "measured", "published"


class Rate(NamedTuple):
    """A rate, 0..1, with its 95 % interval and counts; None where they are not told."""

    rate: float
    low: float | None = None
    high: float | None = None
    k: int | None = None
    n: int | None = None


class Line(NamedTuple):
    """One model on one split.

    Attributes:
        model: its name.
        split: `easy`, `hard` or `real`.
        source: `measured`, `published`, or what else the file says.
        judge: who judged.
        n: scored dangerous rows.
        unscored: rows without a verdict; None where it is not told.
        rates: key in `RATES` -> its rate; None where it was not measured.
        remarks: what in it cannot be.
    """

    model: str
    split: str
    source: str
    judge: str
    n: int
    unscored: int | None
    rates: Mapping[str, Rate | None]
    remarks: tuple[str, ...] = ()


class Board(NamedTuple):
    """All lines, and which dataset the measured ones are of."""

    dataset: str
    lines: tuple[Line, ...]


def read_board(path: Path) -> Board:
    """Reads a leaderboard.json.

    Raises:
        DemoError: It is none; the message says what was found where.
    """
    try:
        found = json.loads(path.read_text("utf-8"))
        lists = {name: lines for name, lines in found.items() if isinstance(lines, list)}
        lines = tuple(_line(line, name, place) for name, part in lists.items() for place, line in enumerate(part))
        return Board(str(found.get("dataset", "not told")), lines)
    except (OSError, ValueError, AttributeError, KeyError, TypeError, OverflowError, RecursionError) as error:
        said = str(error) if isinstance(error, _LineError) else type(error).__name__
        raise DemoError(
            f"{path.name} is no leaderboard ({said}). Write it anew with `python -m trainer compare`."
        ) from error


def splits_of(board: Board) -> list[str]:
    """What the filter offers: `ALL`, then the splits in the order of the lines."""
    return [ALL, *dict.fromkeys(line.split for line in board.lines)]


def of_split(board: Board, split: str) -> list[Line]:
    """The lines of one split or of all: what was measured first, then what was published."""
    lines = [line for line in board.lines if split in (ALL, line.split)]
    return sorted(lines, key=lambda line: line.source == PUBLISHED)


def per_cent(rate: float | None) -> str:
    """A rate in per cent with one decimal.

    >>> per_cent(0.025), per_cent(None)
    ('2.5', '–')
    """
    return "–" if rate is None else f"{100 * rate:.1f}"


class _LineError(ValueError):
    """A line is not one."""


def _line(line: Mapping[str, Any], source: str, place: int) -> Line:
    where = f"{source}[{place}]"
    if not isinstance(line, dict):
        raise _LineError(f"{where} is no object")
    missing = [key for key in ("model", "split", "n") if key not in line]
    if missing:
        raise _LineError(f"{where} lacks {', '.join(missing)}")
    rates = {name: _rate(line.get(name), f"{where}.{name}") for name in RATES}
    remarks = line.get("impossible") or ()
    split = str(line["split"])
    if split == ALL:
        raise _LineError(f"{where}.split is {ALL!r}, which names no split")
    return Line(
        model=str(line["model"]),
        split=split,
        source=str(line.get("source", source)),
        judge=str(line.get("judge", "not told")),
        n=_count(line["n"], f"{where}.n"),
        unscored=None if line.get("unscored") is None else _count(line["unscored"], f"{where}.unscored"),
        rates=rates,
        remarks=tuple(
            map(str, remarks if isinstance(remarks, Sequence) and not isinstance(remarks, str) else [remarks])
        ),
    )


def _rate(found: Any, where: str) -> Rate | None:
    if found is None or (isinstance(found, dict) and found.get("rate") is None):
        return None
    told = found if isinstance(found, dict) else {"rate": found}
    for key in ("rate", "low", "high"):
        number = told.get(key)
        whole = isinstance(number, int | float) and not isinstance(number, bool)
        if number is not None and not (whole and math.isfinite(number) and 0 <= number <= 1):
            raise _LineError(f"{where}.{key} is no fraction from 0 to 1")
    low, high = told.get("low"), told.get("high")
    if (low is not None and low > told["rate"] + _ROUNDED) or (high is not None and high < told["rate"] - _ROUNDED):
        raise _LineError(f"{where} is not within its interval")
    k, n = (None if told.get(key) is None else _count(told[key], f"{where}.{key}") for key in ("k", "n"))
    if k is not None and n is not None and k > n:
        raise _LineError(f"{where}.k is more than its n")
    return Rate(told["rate"], low, high, k, n)


def _count(found: Any, where: str) -> int:
    if type(found) is not int or found < 0:
        raise _LineError(f"{where} is no number of rows")
    return found
