"""Rows -> Parquet shards, one at a time, each whole or absent: a killed build goes on after the last whole one.

How rows are dealt out to shards depends on the release alone, never on how many processes write them.
"""

from __future__ import annotations

import hashlib
import json
import os
from array import array
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from datasets.utils.py_utils import convert_file_size_to_int

from mis_dataset.decoding import header_fault, shrink
from mis_dataset.errors import PictureError
from mis_dataset.files import sha256_of
from mis_dataset.manifest import picture_hashes, row_hash, versions
from mis_dataset.pictures import Pictures
from mis_dataset.processes import begin_process
from mis_dataset.record import Record, shown
from mis_dataset.release import Release
from mis_dataset.schema import DATA_VERSION, features


class Shard(NamedTuple):
    """A run of rows of one split that goes into one file.

    Attributes:
        split: its name.
        number: counted from 0.
        of: how many shards the split has.
        records: its rows in order.
        size: bytes of their pictures.
        key: sha256 over all that its bytes depend on, pictures by their stamps.
    """

    split: str
    number: int
    of: int
    records: tuple[Record, ...]
    size: int
    key: str

    @property
    def name(self) -> str:
        """File name by which `load_dataset` finds the split."""
        return f"{self.split}-{self.number:05d}-of-{self.of:05d}.parquet"


class Written(NamedTuple):
    """A shard that lies on the disk.

    Attributes:
        key: see `Shard`.
        sha256: of the file.
        rows: row id -> `manifest.row_hash`.
        pictures: path in the release and sha256 of every picture in row order.
    """

    key: str
    sha256: str
    rows: dict[str, str]
    pictures: list[list[str]]


class Job(NamedTuple):
    """What one process needs to write one shard.

    Attributes:
        shard: what to write.
        shards: folder of the files.
        notes: folder of what is known of the written ones.
        max_side: pixels of the longer side that pictures are made smaller to; None: as they are.
    """

    shard: Shard
    shards: Path
    notes: Path
    max_side: int | None


def plan_shards(release: Release, pictures: Pictures, max_side: int | None) -> list[Shard]:
    """Deals the rows out to files of one row group each, at most half as large as `datasets` makes one.

    The first row that is streamed waits for its whole row group. Whoever streams a file of more row groups and stops
    early has a process that never ends, with the pyarrow of today: https://github.com/apache/arrow/issues/45214.

    Args:
        release: without problems.
        pictures: of the release.
        max_side: see `Job`.

    Returns:
        The shards in the order of the rows.

    Raises:
        PictureError: a picture is missing or cannot be told unread.
    """
    limit = convert_file_size_to_int(datasets.config.MAX_ROW_GROUP_SIZE) // 2
    planned = []
    for split in release.counts():
        parts: list[list[tuple[Record, int, list[int]]]] = [[]]
        held = 0
        for record in release.rows(split):
            stamps = [pictures.stamp(path) for path in record.images]
            size = sum(stamp.size for stamp in stamps)
            if parts[-1] and held + size > limit:
                parts.append([])
                held = 0
            parts[-1].append((record, size, [part for stamp in stamps for part in stamp]))
            held += size
        planned += [_shard(split, number, len(parts), part, max_side) for number, part in enumerate(parts)]
    return planned


def write_shard(pictures: Pictures, job: Job) -> Written:
    """Writes one shard, or finds it written by a build that was stopped. Safe from several threads.

    Call it inside `strict_pillow`, or in a process begun by `begin_process`.

    Args:
        pictures: of the release.
        job: what to write, and where.

    Returns:
        What lies there now.

    Raises:
        PictureError: a picture cannot be had, or does not begin like one.
        OSError: the disk is full, or the target cannot be written.
    """
    found = _found(job)
    if found:
        return found
    # Named by process: what a process of a killed build still writes is never ours.
    temporary = job.shards / f".{job.shard.name}.{os.getpid()}.tmp"
    with temporary.open("wb") as file:
        written = _write(pictures, job, file)
        file.flush()
        os.fsync(file.fileno())
    note = temporary.with_suffix(".note")
    note.write_text(json.dumps(written._asdict()), encoding="utf-8")
    temporary.rename(job.shards / job.shard.name)
    note.rename(job.notes / f"{job.shard.name}.json")
    return written


_here: list[Pictures] = []
"""In a process of a pool: the release's pictures. To open a zip of thousands anew for every shard takes its time."""


def begin_shards(root: Path) -> None:
    """Begins a process of a pool that writes shards.

    Args:
        root: of the raw release.
    """
    begin_process()
    _here.append(Pictures(root))


def write_here(job: Job) -> Written:
    """As `write_shard`, in a process begun by `begin_shards`."""
    return write_shard(_here[0], job)


def _shard(split: str, number: int, of: int, part: list[tuple[Record, int, list[int]]], max_side: int | None) -> Shard:
    held = [[asdict(record), *stamps] for record, _, stamps in part]
    key = hashlib.sha256(json.dumps([DATA_VERSION, versions(), number, of, max_side, held]).encode()).hexdigest()
    return Shard(split, number, of, tuple(record for record, _, _ in part), sum(size for _, size, _ in part), key)


def _found(job: Job) -> Written | None:
    """The shard as a stopped build has left it; None where there is none of these very rows."""
    note = job.notes / f"{job.shard.name}.json"
    try:
        written = Written(**json.loads(note.read_bytes()))
        if written.key == job.shard.key and sha256_of(job.shards / job.shard.name) == written.sha256:
            return written
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return None


def _write(pictures: Pictures, job: Job, file: BinaryIO) -> Written:
    shard, made = job.shard, features()
    held = _Pictures(shard.size)
    rows: list[dict[str, Any]] = []
    hashes: dict[str, str] = {}
    hashed: list[list[str]] = []
    for record in shard.records:
        row = pictures.row(record)
        _refuse_broken(record, row)
        digests = picture_hashes(row)
        hashed += [[path, digest] for path, digest in zip(record.images, digests, strict=True)]
        if job.max_side:
            row["images"] = [
                {**one, "bytes": _shrunk(record, path, one["bytes"], job.max_side)}
                for path, one in zip(record.images, row["images"], strict=True)
            ]
            digests = picture_hashes(row)
        hashes[record.id] = row_hash(row, digests)
        held.add(row.pop("images"))
        rows.append(row)
    stream = _Hashing(file)
    with _writer(stream, made) as writer:
        writer.write_table(_table(rows, held, made.arrow_schema), row_group_size=len(rows))
    return Written(shard.key, stream.hexdigest(), hashes, hashed)


def _writer(stream: _Hashing, made: datasets.Features) -> pq.ParquetWriter:
    """Writes as `datasets` does, but for the least and the greatest of all pictures, which nobody asks for.

    Finding them takes as long as all else, and what is found is too long to be kept.
    """
    from datasets.arrow_writer import (
        get_parquet_column_options,  # not in version 3, with which `build` says what it needs
    )

    schema, chunking = made.arrow_schema, datasets.config.DEFAULT_CDC_OPTIONS
    columns = get_parquet_column_options(made, schema)
    writer = pq.ParquetWriter(
        stream,
        schema,
        use_content_defined_chunking=chunking,
        write_page_index=True,
        write_statistics=[column for column in columns["compression"] if not column.endswith(".bytes")],
        **columns,
    )
    writer.add_key_value_metadata({"content_defined_chunking": json.dumps(chunking)})
    return writer


class _Pictures:
    """Bytes and names of the pictures of some rows, end to end in one block, which Arrow then takes without a copy."""

    def __init__(self, size: int) -> None:
        self._block = bytearray(size)
        self._ends = [0]
        self._names: list[str] = []
        self._rows = [0]

    def add(self, pictures: Sequence[dict[str, Any]]) -> None:
        """Appends the pictures of one row."""
        for picture in pictures:
            end = self._ends[-1] + len(picture["bytes"])
            self._block[self._ends[-1] : end] = picture["bytes"]
            self._ends.append(end)
            self._names.append(picture["path"])
        self._rows.append(len(self._names))

    def array(self) -> pa.Array:
        """One list of ``{"bytes", "path"}`` a row."""
        ends = pa.py_buffer(array("i", self._ends))
        encoded = pa.Array.from_buffers(pa.binary(), len(self._names), [None, ends, pa.py_buffer(self._block)])
        names = pa.array(self._names, pa.string())
        return pa.ListArray.from_arrays(self._rows, pa.StructArray.from_arrays([encoded, names], ["bytes", "path"]))


def _table(rows: list[dict[str, Any]], pictures: _Pictures, schema: pa.Schema) -> pa.Table:
    columns = [
        pictures.array().cast(field.type)
        if field.name == "images"
        else pa.array([row[field.name] for row in rows], field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _refuse_broken(record: Record, row: dict[str, Any]) -> None:
    for path, picture in zip(record.images, row["images"], strict=True):
        fault = header_fault(picture["bytes"])
        if fault:
            raise PictureError(f"{record.id}: picture {shown(path)} {fault}")


def _shrunk(record: Record, path: str, encoded: bytes, max_side: int) -> bytes:
    try:
        return shrink(encoded, max_side)
    except PictureError as error:
        raise PictureError(f"{record.id}: picture {shown(path)} {error}") from error


class _Hashing:
    """A file that is hashed while it is written: what was just written need not be read again."""

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()

    def write(self, chunk: bytes) -> int:
        self._hash.update(chunk)
        return self._file.write(chunk)

    def tell(self) -> int:
        return self._file.tell()

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        """Left to whoever opened the file."""

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def hexdigest(self) -> str:
        return self._hash.hexdigest()
