"""One process at a time in a folder, and processes of a pool that end with their parent."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from pathlib import Path

from PIL.Image import DecompressionBombWarning

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


def begin_process() -> None:
    """For a process of a pool: leaves Ctrl-C to the parent, does not outlive it, and refuses huge pictures."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # As `strict_pillow` does it, for good.
    warnings.simplefilter("error", DecompressionBombWarning)
    threading.Thread(target=end_with_parent, daemon=True).start()


def end_with_parent() -> None:
    """Waits for the end of the parent, then ends this process, which would else write beside a rerun."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
