"""RUN/stations.jsonl: what every station of a run took, a line an attempt.

Stations may run side by side, so a line says when its attempt started: the seconds of a run are those in which at
least one station ran, its memory is that of all that ran at once. A line::

    {"station": "base", "started": 1795645000.1, "seconds": 203.4, "peak_memory_bytes": 2400000000, "exit": 0}

An attempt is logged when it starts, with null for what is not known yet; one that was killed stays so. Visits to a
station that ended well once are not logged: they find its work done.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from threading import Lock

from mis_dataset.files import write_text
from trainer.files import ArtefactError, read_lines

CONTROL = "shuffled"
"""The arm that only runs over several seeds have."""
TRAINING = "contrast_training"
"""What their arms of other training seeds are called, before the seed."""
SPREAD = "seeds"
"""Their last station."""
_YEAR = 366 * 24 * 3600
"""Seconds; no attempt takes as long."""
_ROUNDING = 0.05
"""Seconds by which two times in a log may be off; what follows at once does not run at the same time."""


@dataclass(frozen=True)
class Attempt:
    """One attempt at a station.

    Attributes:
        station: Its name.
        started: Seconds since 1970.
        seconds: How long it took; None while it runs, and for good where it was killed.
        peak_memory_bytes: The most resident memory of its process.
        exit: Exit code of the verb; None as for `seconds`.
    """

    station: str
    started: float
    seconds: float | None = None
    peak_memory_bytes: int = 0
    exit: int | None = None


@dataclass
class Stopwatch:
    """What the station that is being timed hands over: exit code and peak memory in bytes."""

    exit: int = 1
    peak_memory_bytes: int = 0


@dataclass
class StationLog:
    """The log of one run, written by `reproduce`; safe to use from several threads of one process."""

    path: Path
    _lock: Lock = field(default_factory=Lock)

    @contextmanager
    def time(self, station: str) -> Iterator[Stopwatch]:
        """Logs an attempt, also a failed one; a visit to a station that has done its work leaves no line."""
        attempt = Attempt(station, round(time.time(), 2))
        start, watch = time.monotonic(), Stopwatch()
        known = self._add(attempt)
        try:
            yield watch
        finally:
            if not known:
                seconds = round(time.monotonic() - start, 2)
                self._change(attempt, replace(attempt, seconds=seconds, **asdict(watch)))

    def add(self, attempts: Sequence[Attempt]) -> None:
        """Adds lines that the log does not have."""
        with self._lock:
            known = read_attempts(self.path) if self.path.is_file() else []
            self._write([*known, *(one for one in attempts if one not in known)])

    def _add(self, attempt: Attempt) -> bool:
        """Adds a line, unless the station has one that ended well; returns whether it has."""
        with self._lock:
            attempts = read_attempts(self.path) if self.path.is_file() else []
            known = any(one.station == attempt.station and one.exit == 0 for one in attempts)
            if not known:
                self._write([*attempts, attempt])
            return known

    def _change(self, attempt: Attempt, ended: Attempt) -> None:
        with self._lock:
            self._write([ended if one == attempt else one for one in read_attempts(self.path)])

    def _write(self, attempts: Sequence[Attempt]) -> None:
        write_text(self.path, "".join(f"{json.dumps(asdict(one))}\n" for one in attempts))


def read_attempts(path: Path) -> list[Attempt]:
    """Read the log of a run.

    Raises:
        ArtefactError: No such file, or a line that is none of ours.
    """
    attempts = []
    for number, line in enumerate(read_lines(path), start=1):
        try:
            attempts.append(_attempt(json.loads(line)))
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            found = f"{path}: line {number} is none of a log of stations ({error!r})"
            raise ArtefactError(f"{found}; what the run took is not known, so start a new one") from error
    return attempts


def by_station(attempts: Sequence[Attempt]) -> dict[str, list[Attempt]]:
    """Station -> its attempts, both in order."""
    found: dict[str, list[Attempt]] = {}
    for one in attempts:
        found.setdefault(one.station, []).append(one)
    return found


def of_one_seed(attempts: Sequence[Attempt]) -> list[Attempt]:
    """Those at stations that a run of one seed has too; the control and other training seeds are walked after them.

    >>> [one.station for one in of_one_seed([Attempt("sft mirage", 0.0), Attempt("sft shuffled", 1.0)])]
    ['sft mirage']
    """

    def is_extra(word: str) -> bool:
        return word in (CONTROL, SPREAD) or word.startswith(TRAINING)

    return [one for one in attempts if not any(map(is_extra, one.station.split()))]


def total_seconds(attempts: Sequence[Attempt]) -> float:
    """Seconds by the clock in which at least one of `attempts` ran; those cut short are left out.

    >>> total_seconds([Attempt("a", 0.0, 10.0), Attempt("b", 5.0, 10.0), Attempt("c", 100.0, 1.0)])
    16.0
    """
    total, until = 0.0, float("-inf")
    for start, end in sorted((one.started, one.started + one.seconds) for one in attempts if one.seconds is not None):
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total


def peak_memory(attempts: Sequence[Attempt]) -> int:
    """Bytes: the largest sum of the peaks of attempts that ran at the same time, an upper bound of what was needed.

    >>> peak_memory([Attempt("a", 0.0, 10.0, 3), Attempt("b", 5.0, 10.0, 4), Attempt("c", 20.0, 1.0, 5)])
    7
    """
    timed = [(one, one.started + one.seconds) for one in attempts if one.seconds is not None]

    def beside(start: float, at: int) -> int:
        """Memory of what runs when the attempt at place `at` starts; the sum can only grow where one starts."""
        running = (
            two.peak_memory_bytes
            for place, (two, end) in enumerate(timed)
            if place == at or two.started <= start < end - _ROUNDING
        )
        return sum(running)

    return max((beside(one.started, at) for at, (one, _) in enumerate(timed)), default=0)


def _attempt(entry: dict[str, object]) -> Attempt:
    seconds, code = entry["seconds"], entry["exit"]
    attempt = Attempt(
        str(entry["station"]),
        float(str(entry["started"])),
        None if seconds is None else float(str(seconds)),
        int(str(entry["peak_memory_bytes"])),
        None if code is None else int(str(code)),
    )
    if not 0 <= (attempt.seconds or 0) < _YEAR or not 0 <= attempt.started < float("inf"):
        raise ValueError(f"seconds {attempt.seconds}, started {attempt.started}")
    if attempt.peak_memory_bytes < 0:
        raise ValueError(f"peak_memory_bytes {attempt.peak_memory_bytes}")
    return attempt
