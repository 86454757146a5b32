"""Files as every room writes and hashes them: whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_TICK = 2.0
"""Seconds; that of FAT, the coarsest."""
_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
_HASHED: dict[tuple[int, int, int, int], str] = {}


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Gives a temporary name beside a file; what was written there gets its name when the block ends well.

    Args:
        path: the file; its folder is made where it is missing.

    Yields:
        The temporary name.

    Raises:
        OSError: the disk is full, the folder cannot be written, or a device is there, which stays.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise FileExistsError(errno.EEXIST, "is a pipe or a device; name a file", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        if error.errno in _FULL and error.filename is None:  # a write does not say where it was going
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, content: str) -> None:
    """Writes a text file in UTF-8 and brings it to the disk.

    Args:
        path: the file; its folder is made where it is missing.
        content: what to write.

    Raises:
        OSError: as `replace_file`.
    """
    with replace_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_json(path: Path, content: object) -> None:
    """Writes a JSON file; see `to_json`.

    Args:
        path: the file; its folder is made where it is missing.
        content: what to write.

    Raises:
        ValueError: a number is none.
        OSError: as `replace_file`.
    """
    write_text(path, to_json(content))


def write_lines(path: Path, contents: Iterable[Mapping[str, object]]) -> None:
    """Writes JSON Lines.

    Args:
        path: the file; its folder is made where it is missing.
        contents: one object a line.

    Raises:
        OSError: as `replace_file`.
    """
    write_text(path, "".join(json.dumps(content, ensure_ascii=False) + "\n" for content in contents))


def to_json(content: object) -> str:
    r"""JSON as every room writes it: indented, keys in their order, NaN refused.

    >>> to_json({"rows": 2})
    '{\n  "rows": 2\n}\n'

    Raises:
        ValueError: a number is none.
    """
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def sha256_of(path: Path) -> str:
    """sha256 of a file in constant memory, 64 hexadecimal digits.

    A file that this process has hashed is not read again while the system says that it was not changed: a verb that
    checks a dataset and names it in a sidecar would else read all of its gigabytes twice.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        found = os.fstat(file.fileno())
        # The time of its last change is the system's own, which nobody can set back.
        about = (found.st_dev, found.st_ino, found.st_size, found.st_ctime_ns)
        if about in _HASHED:
            return _HASHED[about]
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    # One that was just written may be written again within the same tick of the clock of its disk.
    if time.time() - found.st_ctime > _TICK:
        _HASHED[about] = digest
    return digest
