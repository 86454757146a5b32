"""One process at a time where a file or a folder is read and then written anew."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Lets no second process of ours write beside `path` until the block ends; it waits, and a killed one holds nobody.

    Args:
        path: what is written; the folder that it lies in is kept, and made where it is missing.

    Raises:
        OSError: the folder cannot be made.
    """
    folder = path.absolute().parent
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
