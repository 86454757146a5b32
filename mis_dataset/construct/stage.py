"""Runs one stage: rows in, rows out, in their order, many at once, in memory that does not grow with them."""

from __future__ import annotations

import json
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

from mis_dataset.construct.rows import AnyRow, Rejected, to_line
from mis_dataset.errors import refuse_constant
from mis_dataset.files import replace_file

Read = TypeVar("Read")
Made = TypeVar("Made")
REJECTED = ".rejected.jsonl"
"""End of the name of a file with what did not go on."""
_AHEAD = 2
"""Rows that are begun, for each that is worked on at once: they wait for a slow one before them."""


class Told(NamedTuple):
    """What a stage did.

    Attributes:
        read: rows that came in.
        made: rows that went on.
        rejected: reason -> rows that did not.
    """

    read: int
    made: int
    rejected: dict[str, int]


def run_stage(
    rows: Iterable[Read], work: Callable[[Read], Sequence[AnyRow] | Rejected], out: Path, at_once: int
) -> Told:
    """Works on all rows and writes ``<out>.jsonl`` and ``<out>.rejected.jsonl``, both whole or not at all.

    Args:
        rows: to work on, drawn as there is room for them.
        work: what comes of one; called by several threads.
        out: path without its ending.
        at_once: threads.

    Raises:
        MISError: as `work`; nothing is written then, and what was paid for is in the cache.
        OSError: a file cannot be written.
    """
    read, went_on, counts = 0, 0, Counter[str]()
    made_path, rejected_path = (out.with_name(out.name + end) for end in (".jsonl", REJECTED))
    with _new(made_path) as made, _new(rejected_path) as rejected:
        for told in in_order(rows, work, at_once):
            read += 1
            if isinstance(told, Rejected):
                rejected.write(to_line(told))
                counts[told.reason] += 1
            else:
                made.writelines(map(to_line, told))
                went_on += len(told)
    return Told(read, went_on, dict(sorted(counts.items())))


def read_before(meta: Path) -> dict[str, Any]:
    """What was written down of an earlier run; nothing where that is missing or broken, and all is made anew.

    Raises:
        OSError: The file cannot be read.
    """
    if not meta.is_file():
        return {}
    try:
        found = json.loads(meta.read_bytes(), parse_constant=refuse_constant)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def in_order(rows: Iterable[Read], work: Callable[[Read], Made], at_once: int) -> Iterator[Made]:
    """What comes of every row, in the order of the rows.

    Whoever stops drawing, or an error of one row, gives up those that were not begun; those under way are not waited
    for, as who closes their client ends them.
    """
    waiting: deque[Future[Made]] = deque()
    threads = ThreadPoolExecutor(at_once, thread_name_prefix="rows")
    try:
        for row in rows:
            waiting.append(threads.submit(work, row))
            while len(waiting) > _AHEAD * at_once:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


@contextmanager
def _new(path: Path) -> Iterator[IO[str]]:
    """A text file that gets its name when the block ends well."""
    with replace_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
