"""Rows of a built dataset, a few in memory at a time, pictures undecoded; and the names of what they show."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mis_dataset.errors import DatasetError
from mis_dataset.schema import COLUMNS, MOST_IMAGES, SPLITS, features

_ROWS_AT_ONCE = 4
_ID = re.compile(r"[a-z0-9_]+/[0-9]+")


def files_of(folder: Path) -> dict[str, list[Path]]:
    """The Parquet files of every split that a folder holds, in order.

    Args:
        folder: of the built dataset.

    Returns:
        Split -> its files.

    Raises:
        DatasetError: there are none, or those of several configs.
    """
    found = {split: sorted(folder.glob(f"*/{split}-*.parquet")) for split in SPLITS}
    found = {split: paths for split, paths in found.items() if paths}
    places = sorted({path.parent.name for paths in found.values() for path in paths})
    if len(places) > 1:
        raise DatasetError(f"{folder}: holds several configs ({', '.join(places)}); name a folder with one")
    if not found:
        raise DatasetError(f"{folder}: no Parquet file of ours; make it with `python -m mis_dataset build RAW OUT`")
    return found


def rows_of(paths: Sequence[Path], columns: Sequence[str] = COLUMNS) -> Iterator[dict[str, Any]]:
    """The rows of some files, one after the other.

    Args:
        paths: Parquet files.
        columns: what to read; without ``images`` their bytes are not touched.

    Yields:
        Rows; `images` as ``[{"bytes": b"...", "path": "object1.png"}, ...]``.

    Raises:
        DatasetError: a file is no Parquet file with these columns of our types, a row has no id of ours or no question,
            or a picture's bytes are not in it.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {field.name: field.type for field in features().arrow_schema}
    for path in paths:
        if path.exists() and not path.is_file():
            raise DatasetError(f"{path}: is no file; build the dataset again")
        try:
            with pq.ParquetFile(path) as file:
                held = {field.name: field.type for field in file.schema_arrow}
                other = [column for column in columns if held.get(column) != types[column]]
                if other:
                    raise DatasetError(f"{path}: has no column {other[0]} of our type; build the dataset again")
                for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE, columns=list(columns)):
                    rows = batch.to_pylist()
                    for row in rows:
                        _refuse_hollow(path, row)
                    yield from rows
        except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: a text that is no UTF-8
            raise DatasetError(f"{path}: cannot be read as Parquet; build the dataset again") from error


def _refuse_hollow(path: Path, row: dict[str, Any]) -> None:
    """Refuses a row of which something is null, or that names itself in another way than ours do."""
    if "id" in row and not _ID.fullmatch(row["id"] or ""):
        raise DatasetError(f"{path}: a row has no id of ours; build the dataset again")
    if row.get("question", "") is None:
        raise DatasetError(f"{path}: {row.get('id')}: has no question; build the dataset again")
    if "images" in row and not all(picture and picture["bytes"] for picture in row["images"] or [None]):
        raise DatasetError(f"{path}: {row.get('id')}: a picture's bytes are not in the file; build it again")


def read_things(path: Path) -> dict[str, list[str]]:
    """Reads the names of what pictures show.

    Args:
        path: JSON, such as ``RAW/mini/objects.json``: row id -> names of its two objects.

    Returns:
        Row id -> the names of its two objects.

    Raises:
        DatasetError: it is not that file.
    """
    try:
        held = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: cannot be read as JSON; correct it") from error
    if not isinstance(held, dict) or not all(
        isinstance(names, list) and 2 <= len(names) <= MOST_IMAGES and all(isinstance(name, str) for name in names)
        for names in held.values()
    ):
        raise DatasetError(f"{path}: is no object of row ids, each with the names of its objects; correct it")
    return held
