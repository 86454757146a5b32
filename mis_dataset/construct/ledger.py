"""What a construction has used, run by run and stage by stage -> OUT/used.jsonl, a line a stage that was run.

    {"stage": "questions", "whole": false, "calls": 20, "tokens_in": 4100, "tokens_out": 60, "cost": 0.1, "seconds": 2}

A stage that its budget stopped has its line too, so that the sum over all lines is what was paid for all in all; only
what a killed run had used in the stage that it was killed in is not there.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

from mis_dataset.errors import MISError, refuse_constant
from mis_dataset.remote.budget import Meter, Used

NAME = "used.jsonl"
Read = TypeVar("Read")
Made = TypeVar("Made")


class Spent(NamedTuple):
    """What a stage has used, in all runs so far; `cost` at the prices of the settings, 0 of a model without prices."""

    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0
    seconds: float = 0.0

    def plus(self, more: Spent) -> Spent:
        """The sum.

        >>> Spent(1, 20, 3, 0.5, 2.0).plus(Spent(1, 5, 0, 0.25, 1.0))
        Spent(calls=2, tokens_in=25, tokens_out=3, cost=0.75, seconds=3.0)
        """
        counts = Used(*self[:3]).plus(Used(*more[:3]))
        return Spent(*counts, round(self.cost + more.cost, 6), round(self.seconds + more.seconds, 1))


class Ledger:
    """Writes down what one run uses.

    Attributes:
        meter: that all its clients share.
        done: names of the stages that are whole, in order.
        stage: that is under way; empty where none is.
        worked: rows of it that are done.
    """

    def __init__(self, folder: Path, meter: Meter) -> None:
        self.done: list[str] = []
        self.stage, self.worked = "", 0
        self.meter, self._folder = meter, folder
        self._before = (Used(), 0.0, 0.0)
        self._lock = threading.Lock()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Around all stages, and around the clients, whose calls under way count only when they are closed."""
        try:
            yield
        finally:
            if self.stage:
                self._write(whole=False)

    def begin(self, stage: str) -> None:
        """Begins a stage."""
        self.stage, self.worked = stage, 0
        self._before = (self.meter.used, self.meter.spent, time.monotonic())

    def end(self, stage: str) -> None:
        """Ends a stage that is whole, whether it was run now or before."""
        if self.stage:
            self._write(whole=True)
        self.stage = ""
        self.done.append(stage)

    def counted(self, work: Callable[[Read], Made]) -> Callable[[Read], Made]:
        """The same work, whose rows are counted as they are done."""

        def worked(row: Read) -> Made:
            told = work(row)
            with self._lock:
                self.worked += 1
            return told

        return worked

    def _write(self, whole: bool) -> None:
        used, spent, began = self._before
        about = {
            "stage": self.stage,
            "whole": whole,
            **self.meter.used.plus(used, -1)._asdict(),
            "cost": round(self.meter.spent - spent, 6),
            "seconds": round(time.monotonic() - began, 1),
        }
        with (self._folder / NAME).open("ab") as file:  # of one write, as several processes may share a construction
            file.write((json.dumps(about) + "\n").encode())
            file.flush()
            os.fsync(file.fileno())


def read_spent(folder: Path) -> dict[str, Spent]:
    """What each stage has used, in all runs of a construction.

    Args:
        folder: of the construction.

    Returns:
        Stage -> its sum, in the order in which they were run first; empty where nothing was run.

    Raises:
        MISError: a line is none.
        OSError: the file cannot be read.
    """
    path, found = folder / NAME, dict[str, Spent]()
    if not path.is_file():
        return found
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            stage, spent = _parsed(line, f"{path}: line {number}")
            found[stage] = found.get(stage, Spent()).plus(spent)
    return found


def costs(spent: dict[str, Spent]) -> str:
    """A table for the terminal, the sum below.

    >>> print(costs({"elements": Spent(7, 2100, 350, 0.012, 1.5)}))
    stage         calls  tokens in  tokens out        cost  seconds
    elements          7       2100         350      0.0120      1.5
    all               7       2100         350      0.0120      1.5
    """
    lines = [f"{'stage':<12}{'calls':>7}{'tokens in':>11}{'tokens out':>12}{'cost':>12}{'seconds':>9}"]
    for stage, (calls, tokens_in, tokens_out, cost, seconds) in {**spent, "all": total(spent)}.items():
        lines.append(f"{stage:<12}{calls:>7}{tokens_in:>11}{tokens_out:>12}{cost:>12.4f}{seconds:>9.1f}")
    return "\n".join(lines)


def total(spent: dict[str, Spent]) -> Spent:
    """The sum over all stages."""
    found = Spent()
    for one in spent.values():
        found = found.plus(one)
    return found


def _parsed(line: bytes, where: str) -> tuple[str, Spent]:
    try:
        found = json.loads(line, parse_constant=refuse_constant)
        spent = Spent(**{name: found[name] for name in Spent._fields})
        if not isinstance(found["stage"], str) or any(type(one) not in (int, float) or one < 0 for one in spent):
            raise ValueError("no numbers")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise MISError(
            f"{where} is none of a construction; take that line out, and its calls are not counted"
        ) from error
    return found["stage"], spent
