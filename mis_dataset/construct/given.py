"""Releases from which a construction keeps apart: built datasets or raw ones, hashed as `leaks` does it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mis_dataset.built import files_of, read_things
from mis_dataset.errors import DatasetError, ReleaseError, UsageError
from mis_dataset.files import sha256_of
from mis_dataset.pictures import Pictures
from mis_dataset.release import read_release
from mis_dataset.schema import SPLITS

if TYPE_CHECKING:
    from mis_dataset.leaks import Row

_THINGS = ("objects.json", "mini/objects.json")
"""Where a raw release of ours says what its pictures show."""


class Given(NamedTuple):
    """A row of a release.

    Attributes:
        name: folder of the release and id of the row.
        row: what is compared of it; `things` are empty where nobody says what its pictures show.
    """

    name: str
    row: Row


def read_given(folders: Sequence[Path]) -> Iterator[Given]:
    """Reads and hashes all rows of some releases. Call it inside `decoding.strict_pillow`.

    Raises:
        MISError: A folder is neither a built dataset nor a raw release, or has problems.
        OSError: A file cannot be read.
    """
    for folder in folders:
        rows = _built(folder) if _is_built(folder) else _raw(folder)
        yield from (Given(f"{folder.resolve().name}: {row.id}", row) for row in rows)


def digest_of(folders: Sequence[Path]) -> list[str]:
    """sha256 of each release: over its Parquet files, or over the JSON files of a raw one.

    Raises:
        MISError: as `read_given`.
        OSError: A file cannot be read.
    """
    found = []
    for folder in folders:
        if _is_built(folder):
            parts = [sha256_of(path) for paths in files_of(folder).values() for path in paths]
        else:
            try:
                parts = sorted(read_release(folder).inputs.values())
            except ReleaseError as error:  # which names the files of a release, not the release
                raise UsageError(f"{folder}: is neither a built dataset nor a raw release:\n{error}") from error
            parts += [sha256_of(folder / name) for name in _THINGS if (folder / name).is_file()]
        found.append(hashlib.sha256("\n".join(parts).encode()).hexdigest())
    return found


def _is_built(folder: Path) -> bool:
    try:
        return bool(files_of(folder))
    except DatasetError:
        if any(folder.glob("*/*.parquet")):
            raise
        return False


def _built(folder: Path) -> Iterator[Row]:
    from mis_dataset.leaks import read_rows

    for rows in read_rows(folder).values():
        yield from rows


def _raw(folder: Path) -> Iterator[Row]:
    from mis_dataset.leaks import make_row

    release = read_release(folder)
    named = next((folder / name for name in _THINGS if (folder / name).is_file()), None)
    things = read_things(named) if named else {}
    with Pictures(folder) as pictures:
        for split in SPLITS:
            for record in release.rows(split):
                row = make_row(record.id, record.question, [pictures.read(path) for path in record.images])
                yield replace(row, things=tuple(things.get(record.id, ())))
