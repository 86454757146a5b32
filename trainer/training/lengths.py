"""How many tokens each row of a training has: transformers' own samplers put rows of similar length together."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from PIL import Image
from trl.data_utils import apply_chat_template

from mis_dataset.decoding import UNREADABLE
from trainer.families import picture_tokens

if TYPE_CHECKING:
    from datasets import Dataset

GROUPED = ("group_by_length", "batch_rebalance")
"""Values of ``train_sampling_strategy`` that go by lengths."""
_BATCH = 64


def row_lengths(rows: Dataset, processor: Any) -> list[int]:
    """Tokens of prompt, pictures and completion, row by row.

    Of a picture only the beginning of its file is read, so that one turned by its EXIF may be a few tokens off, and one
    that cannot be read counts nothing: training says whose it is.

    Args:
        rows: as `trainer.training.rows.make_dataset` makes them.
        processor: of a family in `trainer.families.FAMILIES`, with the bounds of pictures in training.
    """

    @cache
    def shown(sizes: tuple[tuple[int, int], ...]) -> int:
        return sum(picture_tokens(processor, list(sizes))) if sizes else 0

    lengths = []
    for table in rows.with_format("arrow").iter(_BATCH):
        texts = [_rendered(row, processor) for row in table.select(["prompt", "completion"]).to_pylist()]
        ids = processor.tokenizer(texts, add_special_tokens=False)["input_ids"]
        for tokens, pictures in zip(ids, table.column("images"), strict=True):
            sizes = tuple(size for picture in pictures if (size := _size(picture)))
            lengths.append(len(tokens) - len(sizes) + shown(sizes))  # a place for a picture is one token
    return lengths


def _rendered(row: dict[str, Any], processor: Any) -> str:
    text = apply_chat_template(row, processor)
    return str(text["prompt"] + text["completion"])


def _size(picture: Any) -> tuple[int, int] | None:
    """Width and height; nothing of the file is copied."""
    try:
        with Image.open(pa.BufferReader(picture["bytes"].as_buffer())) as opened:
            return opened.size
    except UNREADABLE:
        return None
