"""Builds the dataset: a raw release -> Parquet that `load_dataset` reads by its folder's name.

The pictures' bytes are stored exactly as the release has them, unless smaller ones are asked for.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import datasets
from tqdm import tqdm

from mis_dataset.check import check_release
from mis_dataset.decoding import header_fault, strict_pillow
from mis_dataset.errors import BuildError, ManifestError, PictureError, Problem, ReleaseError, UsageError
from mis_dataset.files import sha256_of, write_text
from mis_dataset.manifest import (
    CARD,
    CROISSANT,
    KIND,
    NAME,
    Manifest,
    all_files,
    files_in,
    read_manifest,
    versions,
    write_manifest,
)
from mis_dataset.pictures import Pictures
from mis_dataset.processes import alone
from mis_dataset.record import shown
from mis_dataset.release import Release, survey
from mis_dataset.schema import DATA_VERSION, MADE
from mis_dataset.shards import Job, Shard, Written, begin_shards, plan_shards, write_here, write_shard
from mis_dataset.verify import verify

_DATASETS = 5
"""Major version of `datasets` from which on its Parquet writer chunks by content and writes a page index."""
_CARD = """\
---
configs:
- config_name: {config}
  data_files:
{splits}
---
Pictures made smaller, to at most {side} pixels a side: not the bytes of the release.
"""


class Built(NamedTuple):
    """What `build` did.

    Attributes:
        rows: split -> number of rows.
        written: False where the target held this very dataset already.
    """

    rows: dict[str, int]
    written: bool


class Options(NamedTuple):
    """How a build goes about it.

    Attributes:
        decode: whether to decode every picture first; without it only their beginnings are looked at.
        num_proc: processes that write; the bytes do not depend on it.
        max_side: pixels of the longer side that pictures are made smaller to, which loses detail; None: as they are.
        limit: records of each raw file that are built, for a trial; None: all.
        progress: whether to show a bar on stderr.
    """

    decode: bool = False
    num_proc: int = 1
    max_side: int | None = None
    limit: int | None = None
    progress: bool = False

    @property
    def config(self) -> str:
        """Name under which `load_dataset` knows what is built."""
        return f"max{self.max_side}" if self.max_side else "default"


def build(raw: Path, out: Path, options: Options | None = None) -> Built:
    """Builds the dataset into a folder of its own, which appears whole or not at all.

    A build that was stopped goes on after the last file that it had finished, to the same bytes.

    Args:
        raw: folder of the raw release.
        out: target: absent, empty, or an earlier build of the same config, which is replaced where the release has
            changed.
        options: see `Options`.

    Returns:
        The number of rows, and whether anything was written. The files are
        ``out/data/<split>-00000-of-00001.parquet`` (more numbers where a split is large) and
        ``out/MANIFEST.json``, of a construction also ``out/provenance``; a release without benign twins has no
        ``test_benign``. With `max_side` the folder is ``out/max<N>``, and a ``README.md`` names it as the config
        ``max<N>``.

    Raises:
        UsageError: `raw` is no folder, or `out` holds something else, or is being built; nothing was touched.
        ReleaseError: the release has problems; all are listed, nothing was written.
        BuildError: the disk is full, or the target cannot be written; it is as it was before.
    """
    raw, out, options = raw.resolve(), out.resolve(), options or Options()
    if int(datasets.__version__.split(".")[0]) < _DATASETS:
        raise UsageError(f"build needs datasets {_DATASETS} or newer, found {datasets.__version__}; update it")
    _refuse_foreign(raw, out, options)
    release = (
        check_release(raw, num_proc=options.num_proc, progress=options.progress) if options.decode else survey(raw)
    )
    if release.problems:
        raise ReleaseError(release.problems) if options.decode else _all_problems(release)
    release = release.first(options.limit) if options.limit else release
    written = not _is_current(out, release, options.config)
    if written:
        _write(release, out, options)
    else:
        _sweep(out)
    return Built(release.counts(), written)


def _refuse_foreign(raw: Path, out: Path, options: Options) -> None:
    """Refuses a target that `build` did not make, or that holds what it did not write."""
    if out.is_relative_to(raw) or raw.is_relative_to(out):
        raise UsageError(f"{out}: release and target lie inside one another; choose another target")
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: is a file; name a new folder")
    if os.path.ismount(out):
        raise UsageError(f"{out}: is a mount point, which cannot be replaced whole; name a folder in it")
    if not out.is_dir() or not any(out.iterdir()):
        return
    try:
        held = read_manifest(out)
    except ManifestError as error:
        raise UsageError(f"{out}: is not empty and not a built dataset; name a new folder") from error
    if held.config != options.config:
        raise UsageError(
            f"{out}: holds the config {held.config}, not {options.config}; name another folder, or remove it first"
        )
    if options.limit and held.limit is None:
        raise UsageError(f"{out}: holds all records, which a trial must not replace; name another folder")


def _is_current(out: Path, release: Release, config: str) -> bool:
    """Whether `out` was built of this very release and its files are as they were written."""
    if not out.is_dir() or not any(out.iterdir()):
        return False
    manifest = read_manifest(out)
    inputs = release.inputs | {"pictures": _scan(release)}
    made = (manifest.inputs, manifest.source, manifest.data_version, manifest.config, manifest.limit)
    # What was added beside the data does no harm; in its folder `load_dataset` would take it for data.
    inside = config if config != "default" else "data"
    unchanged = all(text.endswith(": was added") and not text.startswith(f"{inside}/") for text in verify(out))
    if made == (inputs, release.source, DATA_VERSION, config, release.limit) and unchanged:
        return True
    _refuse_added(out)
    return False


def _added(out: Path) -> list[str]:
    """Files of an earlier build's folder that neither `build` nor `croissant` wrote."""
    held = read_manifest(out)
    ours = {*held.files, NAME, CROISSANT}
    if (out / CARD).is_file() and (out / CARD).read_bytes() == _card(held.config, held.rows).encode():
        ours.add(CARD)
    return [name for name in all_files(out) if name not in ours]


def _refuse_added(out: Path) -> None:
    """Refuses to replace a folder that holds what would be lost with it."""
    added = _added(out) if out.is_dir() and any(out.iterdir()) else []
    if added:
        raise UsageError(f"{out}: must be built anew but holds other files, move them away: {', '.join(added)}")


def _scan(release: Release) -> str:
    """Looks at every picture's beginning, in row order, and hashes paths and bytes of all."""
    digests: list[list[str]] = []
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
                digests.append([path, hashlib.sha256(data).hexdigest()])
    if problems:
        raise ReleaseError(problems)
    return _pictures_hash(digests)


def _pictures_hash(digests: list[list[str]]) -> str:
    """sha256 over path and sha256 of every picture in row order."""
    lines = (f"{path}\n{digest}\n" for path, digest in digests)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _all_problems(release: Release, first: PictureError | None = None) -> Exception:
    """The error that lists all that is wrong with a release of which something is."""
    try:
        _scan(release)
    except ReleaseError as error:
        return error
    return first or ReleaseError(release.problems)


def _write(release: Release, out: Path, options: Options) -> None:
    """Builds beside the target, then puts the result in its place."""
    # Of one name, so that a build goes on with what a stopped one has left behind.
    place = out.with_name(f".{out.name}.building")
    with ExitStack() as stack:
        try:
            stack.enter_context(alone(place, str(out)))
            _put_back(out, place / "old")
            # Where both are there, a build was killed while it cleared up.
            shutil.rmtree(place / "old", ignore_errors=True)
            _fill(release, place, options)
            _refuse_added(out)  # since it was looked at, hours may have gone by
            _replace(out, place / "new", place / "old")
            _forget(place / "old")
        except KeyboardInterrupt:
            _put_back(out, place / "old")
            raise
        except PictureError as error:
            _clear(out, place)
            raise _all_problems(release, error) from error
        except OSError as error:
            _clear(out, place)
            raise _unwritten(out, error) from error
        except BrokenProcessPool as error:
            raise BuildError(f"{out}: a process was killed (out of memory?); run it again to go on") from error
        _clear(out, place)


def _unwritten(out: Path, error: OSError) -> BuildError:
    return BuildError(f"{out}: cannot be written: {error.strerror or error}; nothing was changed there")


def _fill(release: Release, place: Path, options: Options) -> None:
    """Writes all shards and the manifest of a build into ``place/new``."""
    new, folder = place / "new", options.config if options.max_side else "data"
    for made in (new / folder, place / "notes"):
        made.mkdir(parents=True, exist_ok=True)
    with Pictures(release.root) as pictures:
        if pictures.problems:
            raise PictureError(str(pictures.problems[0]))
        shards = plan_shards(release, pictures, options.max_side)
        written = _write_all(pictures, shards, place, options)
    for name in (name for name in MADE if name in release.inputs):
        (new / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(release.root / name, new / name)
    if options.max_side:
        write_text(new / CARD, _card(options.config, release.counts()))
    write_manifest(new, _manifest(release, new, options, shards, written))


def _write_all(pictures: Pictures, shards: list[Shard], place: Path, options: Options) -> list[Written]:
    new, folder = place / "new", options.config if options.max_side else "data"
    names = {f"{folder}/{shard.name}" for shard in shards}
    for name in all_files(new):
        if name not in names:  # of another plan, or half-written
            (new / name).unlink()
    for left in new.iterdir():
        if left.name != folder:  # of another config
            shutil.rmtree(left)
    return _run(pictures, [Job(shard, new / folder, place / "notes", options.max_side) for shard in shards], options)


def _card(config: str, splits: Iterable[str]) -> str:
    """What tells `load_dataset` of a config that is not the default one."""
    named = "\n".join(f"  - split: {split}\n    path: {config}/{split}-*" for split in splits)
    return _CARD.format(config=config, splits=named, side=config.removeprefix("max"))


def _run(pictures: Pictures, jobs: list[Job], options: Options) -> list[Written]:
    """Writes all shards, in order or side by side."""
    total = sum(job.shard.size for job in jobs)
    bar = tqdm(total=total, desc="build", unit="B", unit_scale=True, disable=None if options.progress else True)
    written = []
    with bar, _mapped(pictures, jobs, options.num_proc) as results:
        for job, result in zip(jobs, results, strict=True):
            written.append(result)
            bar.update(job.shard.size)
    return written


@contextmanager
def _mapped(pictures: Pictures, jobs: list[Job], num_proc: int) -> Iterator[Iterator[Written]]:
    pool: Executor
    write: Callable[[Job], Written] = write_here
    if num_proc == 1:
        # Two at a time, as reading, hashing and writing let go of Python's lock.
        pool, write = ThreadPoolExecutor(2), partial(write_shard, pictures)
    else:
        # Not forked: pyarrow and `datasets` have threads.
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(min(num_proc, len(jobs)), context, begin_shards, (pictures.root,))
    try:
        with strict_pillow():
            yield pool.map(write, jobs)
    finally:
        pool.shutdown(cancel_futures=True)


def _manifest(release: Release, new: Path, options: Options, shards: list[Shard], written: list[Written]) -> Manifest:
    sums = {f"{shard.name}": done.sha256 for shard, done in zip(shards, written, strict=True)}
    hashes: dict[str, dict[str, str]] = {}
    for shard, done in zip(shards, written, strict=True):
        hashes.setdefault(shard.split, {}).update(done.rows)
    pictures = _pictures_hash([picture for done in written for picture in done.pictures])
    return Manifest(
        kind=KIND,
        data_version=DATA_VERSION,
        config=options.config,
        source=release.source,
        inputs=release.inputs | {"pictures": pictures},
        limit=release.limit,
        reviews=release.reviews,
        rows=release.counts(),
        files={name: sums.get(Path(name).name) or sha256_of(new / name) for name in files_in(new)},
        versions=versions(),
        row_hashes=hashes,
    )


def _replace(out: Path, new: Path, old: Path) -> None:
    """Moves `new` to `out`; what lay there goes to `old`, and stays there where this is stopped: see `_put_back`."""
    if out.exists():
        out.rename(old)
    new.rename(out)


def _put_back(out: Path, old: Path) -> None:
    """What a build that was killed, interrupted or refused between the two renames of `_replace` has moved away."""
    if old.is_dir() and not out.exists():
        old.rename(out)


def _forget(old: Path) -> None:
    """Gives what was replaced another name: half deleted, it must not be put back."""
    if old.is_dir():
        old.rename(old.with_name("trash"))


def _sweep(out: Path) -> None:
    """Removes what a stopped build left beside a target that is up to date by now."""
    place = out.with_name(f".{out.name}.building")
    if place.is_dir():
        with alone(place, str(out)):
            _clear(out, place)


def _clear(out: Path, place: Path) -> None:
    _put_back(out, place / "old")
    shutil.rmtree(place, ignore_errors=True)
