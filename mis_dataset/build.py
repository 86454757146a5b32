"""Builds the dataset: a raw release -> Parquet that `load_dataset` reads by its folder's name.

The pictures' bytes are stored exactly as the release has them.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import datasets
from datasets.exceptions import DatasetGenerationError

from mis_dataset.errors import (
    BuildError,
    ManifestError,
    MISError,
    PictureError,
    Problem,
    ReleaseError,
    UsageError,
)
from mis_dataset.manifest import files_in, read_manifest, verify, write_manifest
from mis_dataset.pictures import Pictures, header_fault, strict_pillow
from mis_dataset.record import Record, shown
from mis_dataset.release import Release, check_release, read_release, survey
from mis_dataset.schema import DATA_VERSION, SPLITS, features


class MISBuilder(datasets.GeneratorBasedBuilder):
    """MIS from a raw release.

    ``MISBuilder(data_dir=RAW)`` is used like any builder, for example as
    ``MISBuilder(data_dir=RAW).download_and_prepare(OUT, file_format="parquet")``.
    """

    VERSION = datasets.Version("1.0.0")

    def _info(self) -> datasets.DatasetInfo:
        """What does a row look like?"""
        return datasets.DatasetInfo(
            description="MIS: Multi-Image Safety. Pairs of pictures with a question about both.",
            features=features(),
            homepage="https://arxiv.org/abs/2501.18533",
            license="apache-2.0",
        )

    def _split_generators(self, dl_manager: datasets.DownloadManager) -> list[datasets.SplitGenerator]:
        """Which splits are there, and which records are theirs?"""
        if not self.config.data_dir:
            raise UsageError("MISBuilder needs data_dir=RAW, the folder of the raw release")
        release = read_release(Path(self.config.data_dir))
        return [
            # The records are a list, not a tuple: `datasets` deals lists out to its num_proc processes.
            datasets.SplitGenerator(split, {"root": str(release.root), "records": list(release.rows(split))})
            for split in release.counts()
        ]

    def _generate_examples(self, root: str, records: list[Record]) -> Iterator[tuple[str, dict[str, Any]]]:
        """What are the rows of one split, in order?"""
        with Pictures(Path(root)) as pictures:
            for record in records:
                yield record.id, record.row() | {"images": _pair(pictures, record)}


class Built(NamedTuple):
    """What `build` did.

    Attributes:
        rows: split -> number of rows.
        written: False where the target held this very dataset already.
    """

    rows: dict[str, int]
    written: bool


def build(raw: Path, out: Path, decode: bool = False) -> Built:
    """Builds the dataset into a folder of its own, which appears whole or not at all.

    Args:
        raw: folder of the raw release.
        out: target: absent, empty, or an earlier build, which is replaced where the release has changed.
        decode: whether to decode every picture first; without it only their beginnings are looked at.

    Returns:
        The number of rows, and whether anything was written. The files are
        ``out/data/<split>-00000-of-00001.parquet`` (more numbers where a split is large) and
        ``out/MANIFEST.json``; a release without benign twins has no ``test_benign``.

    Raises:
        UsageError: `raw` is no folder, or `out` holds something else; nothing was touched.
        ReleaseError: the release has problems; all are listed, nothing was written.
        BuildError: the disk is full, or the target cannot be written; it is as it was before.
    """
    raw, out = raw.resolve(), out.resolve()
    _refuse_foreign(raw, out)
    release = check_release(raw) if decode else survey(raw)
    if decode and release.problems:
        raise ReleaseError(release.problems)
    inputs = release.inputs | {"pictures": _scan(release)}
    written = not _is_current(out, inputs)
    if written:
        _write(raw, out, inputs, release.counts())
    return Built(release.counts(), written)


def _refuse_foreign(raw: Path, out: Path) -> None:
    """Refuses a target that `build` did not make, or that holds what it did not write."""
    if out.is_relative_to(raw) or raw.is_relative_to(out):
        raise UsageError(f"{out}: release and target lie inside one another; choose another target")
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: is a file; name a new folder")
    if not out.is_dir() or not any(out.iterdir()):
        return
    try:
        read_manifest(out)
    except ManifestError as error:
        raise UsageError(f"{out}: is not empty and not a built dataset; name a new folder") from error


def _scan(release: Release) -> str:
    """Looks at every picture's beginning, in row order, and hashes paths and bytes of all."""
    hashed = hashlib.sha256()
    with Pictures(release.root) as pictures, strict_pillow():
        problems = [*pictures.problems, *release.problems]
        for file, record in ((file, record) for file, held in release.records.items() for record in held):
            for path in record.images:
                try:
                    data = pictures.read(path)
                except PictureError as error:
                    problems.append(Problem(file, record.id, str(error)))
                    continue
                fault = header_fault(data)
                problems += [Problem(file, record.id, f"picture {shown(path)} {fault}")] if fault else []
                hashed.update(f"{path}\n{hashlib.sha256(data).hexdigest()}\n".encode())
    if problems:
        raise ReleaseError(problems)
    return hashed.hexdigest()


def _is_current(out: Path, inputs: dict[str, str]) -> bool:
    """Whether `out` was built of these very inputs and its files are as they were written."""
    if not out.is_dir() or not any(out.iterdir()):
        return False
    manifest = read_manifest(out)
    texts = verify(out)
    added = [text for text in texts if text.endswith("was added")]
    if manifest.inputs == inputs and manifest.data_version == DATA_VERSION and texts == added:
        return True
    if added:
        # Replacing the folder would delete them.
        held = "; ".join(added)
        raise UsageError(f"{out}: must be built anew but holds other files, move them away: {held}")
    return False


def _write(raw: Path, out: Path, inputs: dict[str, str], counts: dict[str, int]) -> None:
    """Builds beside the target, then puts the result in its place."""
    # Of one name, so that what a killed build has left behind is removed by the next.
    temporary = out.with_name(f".{out.name}.building")
    try:
        _put_back(out, temporary / "old")
        shutil.rmtree(temporary, ignore_errors=True)
        (temporary / "new").mkdir(parents=True)
        builder = MISBuilder(cache_dir=str(temporary / "cache"), data_dir=str(raw))
        builder.download_and_prepare(str(temporary / "parquet"), file_format="parquet")
        _arrange(temporary / "parquet", f"{builder.dataset_name}-", temporary / "new" / "data")
        write_manifest(temporary / "new", inputs, counts)
        _replace(out, temporary / "new", temporary / "old")
    except DatasetGenerationError as error:
        raise _reason(error, out) from error
    except OSError as error:
        raise _reason(error, out) from error
    finally:
        _put_back(out, temporary / "old")
        shutil.rmtree(temporary, ignore_errors=True)


def _replace(out: Path, new: Path, old: Path) -> None:
    """Moves `new` to `out`; what lay there goes to `old`, and stays there where this is stopped: see `_put_back`."""
    if out.exists():
        out.rename(old)
    new.rename(out)


def _put_back(out: Path, old: Path) -> None:
    """What a build that was killed, interrupted or refused between the two renames of `_replace` has moved away."""
    if old.is_dir() and not out.exists():
        old.rename(out)


def _arrange(parquet: Path, prefix: str, folder: Path) -> None:
    """Names the shards so that `load_dataset` finds the splits without a script."""
    folder.mkdir()
    for name in files_in(parquet):
        stem = name.removeprefix(prefix).removesuffix(".parquet")
        if name.endswith(".parquet"):
            # `datasets` numbers shards only where a split has more than one.
            target = f"{stem}-00000-of-00001" if stem in SPLITS else stem
            (parquet / name).rename(folder / f"{target}.parquet")


def _reason(error: BaseException, out: Path) -> BaseException:
    """What lies behind an error of `datasets`, which wraps whatever happens while it writes."""
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    for cause in chain:
        if isinstance(cause, MISError | KeyboardInterrupt):
            return cause
    for cause in chain:
        if isinstance(cause, OSError):
            text = cause.strerror or str(cause)
            return BuildError(f"{out}: cannot be written: {text}; nothing was changed there")
    return error


def _pair(pictures: Pictures, record: Record) -> list[dict[str, Any]]:
    """Both pictures as `datasets` stores them: the bytes as shipped, and the bare file name."""
    try:
        return [{"bytes": pictures.read(path), "path": PurePosixPath(path).name} for path in record.images]
    except PictureError as error:
        raise ReleaseError([Problem("", record.id, str(error))]) from error
