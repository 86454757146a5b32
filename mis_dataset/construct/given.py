"""Releases from which a construction keeps apart: built datasets or raw ones, every picture decoded once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mis_dataset.built import files_of, read_things, rows_of
from mis_dataset.construct.near import folded
from mis_dataset.construct.sights import Sights
from mis_dataset.construct.stage import in_order
from mis_dataset.errors import DatasetError, PictureError, ReleaseError, UsageError
from mis_dataset.files import sha256_of
from mis_dataset.pictures import Pictures
from mis_dataset.release import read_release
from mis_dataset.schema import SPLITS

if TYPE_CHECKING:
    from mis_dataset.leaks import Row

_COMPARED = "files, pixels, looks of photographs"
"""Part of every digest: rows that were held against less are held against a release again."""
_THINGS = ("objects.json", "mini/objects.json")
"""Where a raw release of ours says what its pictures show."""


class Given(NamedTuple):
    """A row of a release.

    Attributes:
        name: folder of the release and id of the row.
        row: what is compared of it; `things` are empty where nobody says what its pictures show.
        pixels: of its pictures, as `Sight` has them; empty where nobody looked.
    """

    name: str
    row: Row
    pixels: tuple[bytes, ...] = ()


class _Read(NamedTuple):
    """A row as it stands in a release."""

    id: str
    question: str
    pictures: list[bytes]
    things: tuple[str, ...] = ()


def read_given(folders: Sequence[Path], sights: Sights | None = None) -> Iterator[Given]:
    """Reads and hashes all rows of some releases, a few at once. Call it inside `decoding.strict_pillow`.

    Args:
        folders: of the releases.
        sights: who looks at their pictures; None: one that keeps nothing.

    Raises:
        MISError: A folder is neither a built dataset nor a raw release, or has problems.
        OSError: A file cannot be read.
    """
    looks_at = sights or Sights()
    for folder in folders:
        release, rows = folder.resolve().name, _built(folder) if _is_built(folder) else _raw(folder)
        yield from in_order(rows, partial(_given, release, looks_at), os.cpu_count() or 1)


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
        found.append(hashlib.sha256("\n".join([_COMPARED, *parts]).encode()).hexdigest())
    return found


def _is_built(folder: Path) -> bool:
    try:
        return bool(files_of(folder))
    except DatasetError:
        if any(folder.glob("*/*.parquet")):
            raise
        return False


def _built(folder: Path) -> Iterator[_Read]:
    for paths in files_of(folder).values():
        for row in rows_of(paths, ("id", "images", "question")):
            yield _Read(row["id"], row["question"], [picture["bytes"] for picture in row["images"]])


def _raw(folder: Path) -> Iterator[_Read]:
    release = read_release(folder)
    named = next((folder / name for name in _THINGS if (folder / name).is_file()), None)
    things = read_things(named) if named else {}
    with Pictures(folder) as pictures:
        for split in SPLITS:
            for record in release.rows(split):
                shown = [pictures.read(path) for path in record.images]
                yield _Read(record.id, record.question, shown, tuple(things.get(record.id, ())))


def _given(release: str, sights: Sights, row: _Read) -> Given:
    from mis_dataset.leaks import Row

    try:
        seen = [sights(picture) for picture in row.pictures]
    except PictureError as error:
        raise DatasetError(f"{release}: {row.id}: a picture {error}") from error
    images, looks = tuple(hashlib.sha256(one).hexdigest() for one in row.pictures), tuple(one.look for one in seen)
    made = Row(row.id, folded(row.question), images, looks, row.id, row.things)
    return Given(f"{release}: {row.id}", made, tuple(one.pixels for one in seen))
