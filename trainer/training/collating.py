"""Rows -> a batch, in worker processes where the recipe has some: TRL's own collator, which then can say whose it is.

A row and a batch of one::

    {"id": "train/1", "source": "dangerous", "images": [{"bytes": ...}, {"bytes": ...}], "prompt": [...], ...}
    {"ids": ["train/1"], "sources": [0], "input_ids": ..., "labels": ..., "attention_mask": ..., "pixel_values": ...}

The tensors that the model gets are TRL's to the bit. What is wrong with a row travels as a batch of its own, a fault:
torch would wrap an error that a worker raises in a page of traceback.
"""

from __future__ import annotations

import copy
from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from mis_dataset.decoding import UNREADABLE
from mis_dataset.decoding import decode as look_at
from mis_dataset.errors import MISError
from trainer.families import ModelError
from trainer.training.pixel_cache import PixelCache
from trainer.training.processed import Pictures, open_lazily

if TYPE_CHECKING:
    from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

SOURCES = ("dangerous", "twin", "general_picture", "general_text")
"""Kinds of rows, see `trainer.training.rows`."""
IDS, KINDS = "ids", "sources"
"""What a batch holds beside what the model gets: the id of each row, and its place in `SOURCES`."""
_FAULT = "fault"
Row = Mapping[str, Any]
Batch = dict[str, Any]


class RowCollator:
    """What `trainer.training.rows` makes -> batches; a class, so that worker processes can have it.

    Args:
        collate: TRL's collator.
        cache: of processed pictures; None: each is processed whenever it is wanted.
    """

    def __init__(self, collate: DataCollatorForVisionLanguageModeling, cache: PixelCache | None = None) -> None:
        processor = copy.copy(collate.processor)
        processor.image_processor = Pictures(processor.image_processor, cache)
        self._collate = replace(collate, processor=processor)

    def __call__(self, rows: list[Row]) -> Batch:
        """One batch, or the fault of one of its rows, see `whole_ones`."""
        try:
            made = self._make(rows)
        except MISError as error:
            return {_FAULT: str(error)}
        return made | {IDS: [row["id"] for row in rows], KINDS: torch.tensor([_kind(row) for row in rows])}

    def _make(self, rows: list[Row]) -> Batch:
        shown = [self._shown(row) for row in rows]
        try:
            return self._tensors(shown)
        except UNREADABLE:
            for row, alone in zip(rows, shown, strict=True):
                self._blame(row, alone)
            raise

    def _shown(self, row: Row) -> Row:
        pictures = []
        for number, picture in enumerate(row["images"], start=1):
            try:
                pictures.append(open_lazily(picture["bytes"]))
            except UNREADABLE as error:
                raise _broken(row["id"], number, picture["bytes"]) from error
        return {"prompt": row["prompt"], "completion": row["completion"], "images": pictures}

    def _tensors(self, shown: list[Row]) -> Batch:
        # TRL writes into the rows that it is given.
        return dict(self._collate([dict(row) for row in shown]))

    def _blame(self, row: Row, alone: Row) -> None:
        """Raises what is wrong with a row, where it is this one."""
        try:
            self._tensors([alone])
        except UNREADABLE as error:
            for number, picture in enumerate(row["images"], start=1):
                if look_at(picture["bytes"], "").fault:
                    raise _broken(row["id"], number, picture["bytes"]) from error
            # Its text may hold some of the row.
            raise ModelError(f"{row['id']}: cannot be rendered ({type(error).__name__})") from error


def whole_ones(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The batches as they come.

    Raises:
        ModelError: One is the fault of a row; its text names the row.
    """
    for batch in batches:
        if _FAULT in batch:
            if isinstance(batches, Generator):
                batches.close()  # ends worker processes now; left to the collection of garbage it takes 10 s
            raise ModelError(batch[_FAULT])
        yield batch


def _kind(row: Row) -> int:
    return SOURCES.index(row["source"])


def _broken(id_: str, number: int, encoded: bytes) -> ModelError:
    fault = look_at(encoded, "").fault or "cannot be decoded; put another there"
    return ModelError(f"{id_}: picture {number} {fault}")
