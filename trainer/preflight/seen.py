"""Rows of a training, each rendered by one of several processes, a few in memory at a time."""

from __future__ import annotations

import hashlib
import multiprocessing
from collections import deque
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from tqdm import tqdm

from mis_dataset.decoding import strict_pillow
from mis_dataset.errors import MISError
from mis_dataset.processes import begin_process
from trainer.preflight.openings import Opening, first_words
from trainer.preflight.overlap import Trained, even, picture_hashes
from trainer.preflight.rendered import Rendered, Renderer, Settings, pieces_of, text_of

if TYPE_CHECKING:
    from datasets import Dataset

Kind = Literal["dangerous", "twin", "general"]
Row = Mapping[str, Any]
_Portion = list[tuple[Row, bool]]
"""Rows, each with whether it is rendered whole in any case."""
_Looked = tuple[_Portion, list[Rendered]]
_Looking = Generator[_Looked, None, None]

_AT_ONCE = 4
"""Rows that a process gets at a time, pictures and all."""
_AHEAD = 3
"""Such portions that wait for each process; more would fill the memory with pictures."""
_WORTH = 128
"""Rows a process from which on it is worth its start, which takes seconds."""


class Seen(NamedTuple):
    """What is kept of every row, no picture.

    Attributes:
        kind: ``dangerous`` and ``twin`` are rows of MIS, all others are ``general``.
        rendered: how the model would see it.
        trained: what is compared with the tests.
        opening: how its completion begins.
        completion: sha256 of its completion.
    """

    kind: Kind
    rendered: Rendered
    trained: Trained
    opening: Opening
    completion: str


def see(
    rows: Dataset, twin_of: Mapping[str, str | None], renderer: Renderer, whole: int, num_proc: int
) -> Iterator[Seen]:
    """Renders every row.

    Args:
        rows: as `trainer.training.rows.training_rows` gives them.
        twin_of: id of every train row of MIS -> that of the row whose harmless twin it is.
        renderer: of this process; others make their own.
        whole: how many rows, evenly spread, are given to TRL's collator in any case.
        num_proc: processes, where there are rows enough for them.

    Raises:
        MISError: A process was killed.
    """
    stride = max(1, len(rows) // whole)
    # As Arrow: nothing is decoded here.
    portions = (table.to_pylist() for table in rows.with_format("arrow").iter(_AT_ONCE))
    marked = _marked(portions, stride)
    number = min(num_proc, len(rows) // _WORTH)
    looked = _by_processes(marked, renderer.settings, number) if number > 1 else _here(marked, renderer)
    with tqdm(total=len(rows), desc="doctor", unit=" rows", disable=None) as bar, closing(looked):
        for portion, found in looked:
            for (row, _), rendered in zip(portion, found, strict=True):
                bar.update()
                yield _seen(row, rendered, twin_of)


def _marked(portions: Iterator[list[Row]], stride: int) -> Iterator[list[tuple[Row, bool]]]:
    """Each row with whether it is rendered whole in any case."""
    number = 0
    for portion in portions:
        yield [(row, (number + place) % stride == 0) for place, row in enumerate(portion)]
        number += len(portion)


_renderers: list[Renderer] = []
"""In a process of a pool: its own."""


def _here(portions: Iterator[_Portion], renderer: Renderer) -> _Looking:
    with strict_pillow():
        for portion in portions:
            yield portion, [renderer.render(row, whole) for row, whole in portion]


def _by_processes(portions: Iterator[_Portion], settings: Settings, number: int) -> _Looking:
    pool = ProcessPoolExecutor(number, multiprocessing.get_context("spawn"), _begin, (settings,))
    waiting: deque[tuple[_Portion, Future[list[Rendered]]]] = deque()
    try:
        # Not `pool.map`, which would read all rows first.
        for portion in portions:
            waiting.append((portion, pool.submit(_render, portion)))
            if len(waiting) > _AHEAD * number:
                yield _first_of(waiting)
        while waiting:
            yield _first_of(waiting)
    except BrokenProcessPool as error:
        raise MISError("a process was killed (out of memory?); run it again with a smaller --num-proc") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _first_of(waiting: deque[tuple[_Portion, Future[list[Rendered]]]]) -> _Looked:
    portion, future = waiting.popleft()
    return portion, future.result()


def _begin(settings: Settings) -> None:
    begin_process()
    torch.set_num_threads(1)
    _renderers.append(Renderer(settings))


def _render(portion: _Portion) -> list[Rendered]:
    return [_renderers[0].render(row, whole) for row, whole in portion]


def _seen(row: Row, rendered: Rendered, twin_of: Mapping[str, str | None]) -> Seen:
    id_: str = row["id"]
    family = twin_of.get(id_) or id_
    kind: Kind = "general" if id_ not in twin_of else "dangerous" if family == id_ else "twin"
    # The last part is the question; those before it number the pictures.
    asked = [part["text"] for part in pieces_of(row["prompt"]) if part["type"] == "text"]
    said = text_of(row["completion"])
    return Seen(
        kind,
        rendered,
        Trained(id_, family, even(asked[-1] if asked else ""), picture_hashes(row)),
        Opening(id_, family, first_words(said)),
        hashlib.sha256(said.encode()).hexdigest(),
    )
