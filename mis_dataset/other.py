"""Another dataset, from a folder or the Hub, as rows that `leaks` can compare: VLGuard, MM-SafetyBench, SIUO, ..."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import datasets

from mis_dataset.errors import DatasetError, UsageError
from mis_dataset.leaks import Row, make_row

_TEXT_NAMES = ("question", "instruction", "prompt", "query", "text")


def read_other(name: str, text: str | None = None, image: str | None = None) -> list[Row]:
    """Reads all splits of a dataset that has a column of texts and one of pictures.

    Args:
        name: folder, or repository on the Hub.
        text: column of the texts; None: the first of the usual names, else the first column of strings.
        image: column of the pictures, one or a list of them a row; None: the first of that kind.

    Returns:
        Its rows; ids are ``<name>/<split>/<number>``, counted from 0.

    Raises:
        UsageError: it has no such columns.
        DatasetError: it cannot be loaded.
    """
    try:
        loaded = datasets.load_dataset(name)
    except (OSError, ValueError, RuntimeError) as error:  # how `datasets` says that it has no loader for it
        raise DatasetError(f"{name}: cannot be loaded: {type(error).__name__}: {str(error).splitlines()[0]}") from error
    rows = []
    for split, table in loaded.items():
        text_column, image_column = text or _text_column(table.features), image or _image_column(table.features)
        for column in (text_column, image_column):
            if column not in table.features:
                raise UsageError(f"{name}: split {split} has no column {column!r}; it has {', '.join(table.features)}")
        plain = table.select_columns([text_column, image_column]).cast_column(
            image_column, _undecoded(table, image_column)
        )
        for number, row in enumerate(plain):
            pictures = row[image_column] if isinstance(row[image_column], list) else [row[image_column]]
            row_id = f"{name}/{split}/{number}"
            rows.append(make_row(row_id, str(row[text_column]), _bytes_of(row_id, pictures)))
    return rows


def _text_column(features: datasets.Features) -> str:
    strings = [name for name, feature in features.items() if getattr(feature, "dtype", None) == "string"]
    return next((name for name in _TEXT_NAMES if name in strings), strings[0] if strings else "question")


def _image_column(features: datasets.Features) -> str:
    found = (
        name for name, feature in features.items() if isinstance(getattr(feature, "feature", feature), datasets.Image)
    )
    return next(found, "image")


def _undecoded(table: datasets.Dataset, column: str) -> Any:
    plain = datasets.Image(decode=False)
    return plain if isinstance(table.features[column], datasets.Image) else datasets.List(plain)


def _bytes_of(row_id: str, pictures: Iterable[dict[str, Any] | None]) -> list[bytes]:
    held = []
    for picture in pictures:
        if picture is None:
            continue
        try:
            held.append(picture["bytes"] or Path(picture["path"]).read_bytes())
        except OSError as error:
            raise DatasetError(f"{row_id}: its picture cannot be read: {error.strerror}") from error
    return held
