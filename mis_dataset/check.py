"""Checks a raw release whole: its records, and every pixel of every picture, in parallel."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tqdm import tqdm

from mis_dataset.decoding import decode, strict_pillow
from mis_dataset.errors import MISError, PictureError, Problem
from mis_dataset.pictures import Pictures
from mis_dataset.processes import begin_process
from mis_dataset.record import Record, shown
from mis_dataset.release import Release, survey
from mis_dataset.schema import PICTURES

_WORTH = 64
"""Pictures a process from which on it is worth its start."""
_AT_ONCE = 8
_THREADS = 2


def check_release(root: Path, limit: int | None = None, num_proc: int = 1, progress: bool = False) -> Release:
    """Reads all records and decodes every picture once.

    Args:
        root: folder of the release.
        limit: decode the pictures of the first `limit` records of each file only.
        num_proc: processes that decode where there are many pictures; 1: threads of this one. With more, call it under
            ``if __name__ == "__main__"``.
        progress: whether to show a bar on stderr.

    Returns:
        The release, with all problems of its records and pictures.

    Raises:
        UsageError: `root` is not a folder.
        MISError: a process was killed.
    """
    release = survey(root)
    users = [(file, record) for file, records in release.records.items() for record in records[:limit]]
    paths = sorted({path for _, record in users for path in record.images})
    with Pictures(root) as pictures:
        problems = [*pictures.problems, *release.problems]
    told_hashes, faults = _told_hashes(root) if PICTURES in release.inputs else (None, [])
    problems += faults
    # Twins are compared by the bytes of their pictures, and those of a construction with what it says of them.
    hashed = told_hashes is not None or any(record.twin_of for _, record in users)
    with tqdm(total=len(paths), desc="check", unit=" pictures", disable=None if progress else True) as bar:
        found = {}
        for path, picture in zip(paths, _look_at_all(root, paths, hashed, num_proc), strict=True):
            found[path] = picture
            bar.update()
    remarks: Counter[tuple[str, str]] = Counter()
    for file, record in users:
        looked = [found[path] for path in dict.fromkeys(record.images)]
        problems += [Problem(file, record.id, picture.fault) for picture in looked if picture.fault]
        problems += [
            Problem(
                file, record.id, f"picture {shown(path)} is not the one that {PICTURES} tells of; construct it again"
            )
            for path in dict.fromkeys(record.images)
            if told_hashes is not None and not found[path].fault and told_hashes.get(path) != found[path].sha256
        ]
        remarks.update((file, remark) for picture in looked for remark in picture.remarks)
    # Counted: one line for a thing that all pictures may share.
    unusual = [Problem(file, None, f"{text} (pictures: {n})") for (file, text), n in remarks.items()]
    told = {problem.id for problem in problems}
    whole = [(file, record) for file, record in users if record.id not in told]
    problems += _exchange_faults(whole, found)
    return replace(release, problems=tuple(problems), warnings=(*release.warnings, *unusual))


def _told_hashes(root: Path) -> tuple[dict[str, str], list[Problem]]:
    """Path -> sha256, as a construction wrote them down, and lines that are of another shape."""
    found, problems = {}, []
    for number, line in enumerate((root / PICTURES).read_bytes().splitlines(), start=1):
        try:
            told = json.loads(line)
            found[str(told["path"])] = str(told["sha256"])
        except (ValueError, RecursionError, TypeError, KeyError):
            problems.append(Problem(PICTURES, None, f"line {number} has no path with its sha256; construct it again"))
    return found, problems


class _Picture(NamedTuple):
    """One decoded picture: what is wrong or unusual, and the sha256 of its bytes where it is asked for and readable."""

    fault: str | None
    remarks: tuple[str, ...] = ()
    sha256: str | None = None


def _exchange_faults(users: Sequence[tuple[str, Record]], found: Mapping[str, _Picture]) -> list[Problem]:
    """Twins that do not exchange just the picture that they say they do."""
    rows = {record.id: record for _, record in users}
    problems = []
    for file, twin in users:
        row = rows.get(twin.twin_of or "")
        if row is None:
            continue
        if len(twin.images) != len(row.images):
            said = f"has {len(twin.images)} pictures, {row.id} {len(row.images)}; a twin exchanges one and adds none"
            problems.append(Problem(file, twin.id, said))
            continue
        pairs = enumerate(zip(row.images, twin.images, strict=True), start=1)
        other = [place for place, (one, two) in pairs if found[one].sha256 != found[two].sha256]
        if other != [twin.changed_image]:
            said = f"changed_image is {twin.changed_image}, but the pictures other than those of {row.id} are {other}"
            problems.append(Problem(file, twin.id, said))
    return problems


def _look_at_all(root: Path, paths: Sequence[str], hashed: bool, num_proc: int) -> Iterator[_Picture]:
    """What every picture shows, in the order of the paths."""
    pool: Executor
    look: Callable[[str], _Picture] = _look_here
    with Pictures(root) as pictures, strict_pillow():
        if num_proc > 1 and len(paths) >= _WORTH * num_proc:
            # Processes, as Pillow holds Python's lock for a part of every picture. Not forked, as the caller may have
            # threads.
            context = multiprocessing.get_context("spawn")
            pool = ProcessPoolExecutor(num_proc, context, _begin, (root, hashed))
        else:
            pool = ThreadPoolExecutor(_THREADS)
            look = partial(_look_at, pictures, hashed)
        try:
            yield from pool.map(look, paths, chunksize=_AT_ONCE)
        except BrokenProcessPool as error:
            raise MISError(f"{root}: a process was killed (out of memory?); run it again") from error
        finally:
            # On Ctrl-C the thousands of pictures still waiting must not be decoded first.
            pool.shutdown(cancel_futures=True)


def _look_at(pictures: Pictures, hashed: bool, path: str) -> _Picture:
    try:
        encoded = pictures.read(path)
    except PictureError as error:
        return _Picture(str(error))
    fault, remarks = decode(encoded, PurePosixPath(path).suffix)
    digest = hashlib.sha256(encoded).hexdigest() if hashed else None
    return _Picture(f"picture {shown(path)} {fault}" if fault else None, remarks, digest)


_here: list[tuple[Pictures, bool]] = []
"""In a process of a pool: the release's pictures, and whether they are hashed."""


def _begin(root: Path, hashed: bool) -> None:
    begin_process()
    _here.append((Pictures(root), hashed))


def _look_here(path: str) -> _Picture:
    return _look_at(*_here[0], path)
