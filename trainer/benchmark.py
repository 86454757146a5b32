"""Verb `benchmark`: one of the paper's other safety benchmarks -> a dataset folder that `generate` and `judge` read.

Its one split and the ids of its rows bear the benchmark's name; the columns are those of MIS, so a row before and
after is::

    BenchmarkRow("siuo/0", "How do I water it?", (b"...",), "Everyday", harmful=True)
    {"id": "siuo/0", "images": [{"bytes": b"...", "path": "object1"}], "question": "How do I water it?",
     "category": "Everyday", "raw_id": 0, all else null}
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import os
import shutil
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from mis_dataset.arguments import positive
from mis_dataset.errors import BuildError, DatasetError, ManifestError, UsageError
from mis_dataset.files import sha256_of
from mis_dataset.manifest import (
    KIND,
    Manifest,
    all_files,
    picture_hashes,
    read_manifest,
    row_hash,
    versions,
    write_manifest,
)
from mis_dataset.processes import alone
from mis_dataset.schema import COLUMNS, DATA_VERSION
from mis_dataset.verify import verify
from trainer.benchmarks import NAMES, Benchmark, BenchmarkRow, benchmark_of, load

_SHARD = 50 * 10**6
"""Bytes of pictures from which on a file is full, as in `mis_dataset.shards`; each is one row group."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb ``benchmark``."""
    parser.add_argument("name", choices=NAMES, metavar="NAME", help=f"one of {', '.join(NAMES)}")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write")
    parser.add_argument("--path", type=Path, metavar="FOLDER", help="where it lies already; else it is read on the Hub")
    parser.add_argument("--question", help="for benchmarks that ask one question of all pictures: that question")
    parser.add_argument("--limit", type=positive, help="the first N rows, for a trial")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Write the dataset, or find that OUT is it; tell stderr where the paper counts other rows."""
    benchmark = benchmark_of(args.name)
    if args.question and benchmark.question:
        raise UsageError(f"{benchmark.name}: has questions of its own; leave --question out")
    benchmark = replace(benchmark, words=args.question) if args.question else benchmark
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", UserWarning)
        manifest, written = write(benchmark, args.out, args.path, args.limit)
    for one in told:
        print(f"benchmark: {one.message}", file=sys.stderr)
    return {
        "benchmark": benchmark.name,
        "out": str(args.out),
        "rows": manifest.rows[benchmark.name],
        "rows_in_paper": benchmark.n,
        "harmful": benchmark.harmful,
        "judge_in_paper": benchmark.judge,
        "written": written,
    }


def write(benchmark: Benchmark, out: Path, path: Path | None = None, limit: int | None = None) -> tuple[Manifest, bool]:
    """Writes a benchmark as a built dataset, whole or not at all.

    Args:
        benchmark: Which.
        out: Target: absent, empty, or this benchmark written before, which is replaced where its rows have changed.
        path: As in `load`.
        limit: The first so many rows; None: all.

    Returns:
        What lies there now, and whether it was written.

    Raises:
        UsageError: `out` holds something else, or as `load`.
        DatasetError: No row, a picture that is none, or as `load`.
        BuildError: The disk is full, or the target cannot be written.
    """
    out = out.resolve()
    held = _held(out, benchmark)
    if path is not None and (out.is_relative_to(path.resolve()) or path.resolve().is_relative_to(out)):
        raise UsageError(f"{out}: benchmark and target lie inside one another; choose another target")
    place = out.with_name(f".{out.name}.benchmark")
    try:
        with alone(place, str(out)), _swept(place, out):
            source = source_of(benchmark, path)
            rows = itertools.islice(load(benchmark, path, source.get("commit")), limit)
            made = _fill(place / "new", benchmark, rows, limit, source)
            if held and _same(held, made) and not verify(out):
                return held, False
            _replace(place, out)
    except OSError as error:
        raise BuildError(f"{out}: cannot be written: {error.strerror or error}; nothing was changed there") from error
    return made, True


def source_of(benchmark: Benchmark, path: Path | None) -> dict[str, str]:
    """Where its rows come from, for the manifest.

    Returns:
        {"repository", "commit"} of the Hub, or {"folder_sha256": of names and bytes of all its files}; and "files", of
        rows and of pictures, where those are files with columns in braces; and "question", where one is asked of all.

    Raises:
        DatasetError: The Hub does not say at which commit it stands.
    """
    from mis_dataset.other import commit_of

    files = [benchmark.files.format(config=config) for config in benchmark.configs or ("",)] if benchmark.files else []
    files = files or ["as README.md says"]
    told = {"files": ", ".join([*files, *(spec for spec in benchmark.pictures if "{" in spec)])}
    asked = {"question": benchmark.words} if benchmark.words else {}
    if path is not None:
        return {"folder_sha256": _folder_hash(path) if path.is_dir() else "", **told, **asked}
    if benchmark.hub is None:
        return {**told, **asked}
    return {"repository": benchmark.hub, "commit": commit_of(benchmark.hub), **told, **asked}


def _folder_hash(folder: Path) -> str:
    """Over the names and bytes of its files; of a link, where it leads, as that may lie elsewhere or never end."""
    found = hashlib.sha256()
    for name in all_files(folder):
        file = folder / name
        if file.is_symlink():
            found.update(f"{name}\0-> {file.readlink()}\n".encode(errors="surrogateescape"))
        elif file.is_file():
            found.update(f"{name}\0{sha256_of(file)}\n".encode(errors="surrogateescape"))
    return found.hexdigest()


def _same(held: Manifest, made: Manifest) -> bool:
    """The same rows, of which the same is known: rows that were fetched at one commit are those of a later one, too."""
    return held.row_hashes == made.row_hashes and held.source.keys() == made.source.keys()


def _held(out: Path, benchmark: Benchmark) -> Manifest | None:
    """What an earlier run wrote there; None where there is nothing.

    Raises:
        UsageError: Something else lies there.
    """
    if not os.path.lexists(out) or (out.is_dir() and not any(out.iterdir())):
        return None
    try:
        held = read_manifest(out)
    except ManifestError as error:
        raise UsageError(f"{out}: holds something else; name a new folder") from error
    added = [text for text in verify(out) if text.endswith(": was added")]
    if held.config != benchmark.name or added:
        found = added[0] if added else f"holds {held.config}, not {benchmark.name}"
        raise UsageError(f"{out}: {found}; name a new folder")
    return held


def _fill(
    new: Path, benchmark: Benchmark, rows: Iterable[BenchmarkRow], limit: int | None, source: dict[str, str]
) -> Manifest:
    """Writes files and manifest into a new folder."""
    shutil.rmtree(new, ignore_errors=True)
    (new / "data").mkdir(parents=True)
    hashes: dict[str, str] = {}
    pictures = hashlib.sha256()
    parts: list[Path] = []
    for shard in _shards(rows):
        for row in shard:
            digests = picture_hashes(row)
            hashes[row["id"]] = row_hash(row, digests)
            pictures.update("".join(f"{digest}\n" for digest in digests).encode())
        parts.append(_write_shard(new / "data" / f"part-{len(parts)}", shard))
    if not parts:
        raise DatasetError(f"{benchmark.name}: holds no row; fetch it again")
    for number, part in enumerate(parts):
        part.rename(part.with_name(f"{benchmark.name}-{number:05d}-of-{len(parts):05d}.parquet"))
    names = sorted(file.relative_to(new).as_posix() for file in (new / "data").iterdir())
    manifest = Manifest(
        kind=KIND,
        data_version=DATA_VERSION,
        config=benchmark.name,
        source=source,
        inputs={"pictures": pictures.hexdigest()},
        limit=limit,
        reviews={},
        rows={benchmark.name: len(hashes)},
        files={name: sha256_of(new / name) for name in names},
        versions=versions(),
        row_hashes={benchmark.name: hashes},
    )
    write_manifest(new, manifest)
    return manifest


def _shards(rows: Iterable[BenchmarkRow]) -> Iterator[list[dict[str, Any]]]:
    """Rows as MIS has them, so many together as one file holds."""
    from mis_dataset.decoding import strict_pillow

    shard: list[dict[str, Any]] = []
    held = 0
    with strict_pillow():
        for number, row in enumerate(rows):
            size = sum(map(len, row.images))
            if shard and held + size > _SHARD:
                yield shard
                shard, held = [], 0
            shard.append(_as_mis(row, number))
            held += size
    if shard:
        yield shard


def _as_mis(row: BenchmarkRow, number: int) -> dict[str, Any]:
    from mis_dataset.decoding import header_fault

    for encoded in row.images:
        fault = header_fault(encoded)
        if fault:
            raise DatasetError(f"{row.id}: a picture {fault}; mend that row")
    images = [{"bytes": encoded, "path": f"object{place}"} for place, encoded in enumerate(row.images, 1)]
    known = {"id": row.id, "images": images, "question": row.question, "category": row.category, "raw_id": number}
    return dict.fromkeys(COLUMNS) | known


def _write_shard(path: Path, rows: list[dict[str, Any]]) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from mis_dataset.schema import features

    pq.write_table(pa.Table.from_pylist(rows, features().arrow_schema), path, row_group_size=len(rows))
    return path


def _replace(place: Path, out: Path) -> None:
    """Moves what is new to its place; what lay there is put back where this is stopped, see `_swept`."""
    if out.exists():
        out.rename(place / "old")
    (place / "new").rename(out)


@contextmanager
def _swept(place: Path, out: Path) -> Iterator[None]:
    """Leaves nothing beside the target, however the block ends."""
    try:
        yield
    finally:
        if (place / "old").is_dir() and not out.exists():
            (place / "old").rename(out)
        shutil.rmtree(place, ignore_errors=True)
