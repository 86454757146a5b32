"""One process at a time in a folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mis_dataset.errors import UsageError


@contextmanager
def alone(folder: Path, what: str) -> Iterator[None]:
    """Keeps a folder for this process until the block ends; a killed process keeps nothing.

    Args:
        folder: made where it is missing.
        what: what is refused to a second process, e.g. ``"runs/MIS"``.

    Raises:
        UsageError: another process works there.
        OSError: the folder cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise UsageError(f"{what}: another process works there; wait for it or name another folder") from error
    try:
        yield
    finally:
        os.close(handle)
