"""A file is hashed once a process, unless it was changed."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from pathlib import Path

import pytest

from mis_dataset.files import replace_file, sha256_of

SIZE = 2**20


def read_by(path: Path) -> int:
    """Bytes that this process reads to hash a file."""
    before = _read()
    sha256_of(path)
    return _read() - before


def _read() -> int:
    counts = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(counts["rchar"])


@pytest.mark.slow  # the file has to grow old
def test_an_old_file_is_read_once_and_anew_when_it_was_changed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a" * SIZE)
    times = path.stat()
    time.sleep(2.1)
    assert read_by(path) >= SIZE
    assert read_by(path) < SIZE
    path.write_bytes(b"b" * SIZE)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # as a copy that keeps times does
    assert sha256_of(path) == hashlib.sha256(b"b" * SIZE).hexdigest()


def test_a_file_that_was_just_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for letter in (b"a", b"b", b"c"):
        path.write_bytes(letter * SIZE)
        assert sha256_of(path) == hashlib.sha256(letter * SIZE).hexdigest()
        assert read_by(path) >= SIZE


def fail_in(path: Path, number: int) -> None:
    with replace_file(path) as temporary:
        temporary.write_text("half")
        raise OSError(number, "by plan")


def test_a_full_disk_is_told_with_the_file_that_did_not_fit(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="by plan") as full:
        fail_in(tmp_path / "a.jsonl", errno.ENOSPC)
    with pytest.raises(OSError, match="by plan") as other:
        fail_in(tmp_path / "a.jsonl", errno.EIO)
    assert (full.value.filename, other.value.filename) == (str(tmp_path / "a.jsonl"), None)
    assert list(tmp_path.iterdir()) == []
