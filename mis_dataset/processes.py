"""One process at a time in a folder, and processes that end with their parent."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from pathlib import Path

from mis_dataset.decoding import refuse_huge_pictures
from mis_dataset.errors import UsageError

_PATIENCE = 0.3
"""Seconds between two looks at who is still there."""


@contextmanager
def alone(folder: Path, what: str, patient: bool = False) -> Iterator[None]:
    """Keeps a folder for this process until the block ends; a killed process keeps nothing.

    Args:
        folder: made where it is missing.
        what: what is refused to a second process, e.g. ``"runs/MIS"``.
        patient: whether a second process waits instead.

    Raises:
        UsageError: another process works there.
        OSError: the folder cannot be made.
    """
    handle = _held(folder)
    while handle is None and patient:
        time.sleep(_PATIENCE)
        handle = _held(folder)
    if handle is None:
        raise UsageError(f"{what}: another process works there; wait for it or name another folder")
    try:
        yield
    finally:
        os.close(handle)


def _held(folder: Path) -> int | None:
    """A lock on a folder; None where another process has it."""
    while True:
        # Whoever held it before may remove it at any moment, and others would then lock a new one of its name.
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            if os.path.lexists(folder) and not folder.is_dir():
                raise
            continue
        try:
            handle = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        if _lies_at(folder, handle):
            return handle
        os.close(handle)


def _lies_at(folder: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), folder.stat())
    except FileNotFoundError:
        return False


def has_ended(pid: int) -> bool:
    """Whether no process has that number; where asking would end it, none is known to have."""
    if os.name != "posix" or not 0 < pid < 2**31:
        return False
    try:
        os.kill(pid, 0)
    except OSError as error:
        return isinstance(error, ProcessLookupError)
    return False


def begin_process() -> None:
    """For a process of a pool: leaves Ctrl-C to the parent, does not outlive it, and refuses huge pictures."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    refuse_huge_pictures()
    threading.Thread(target=end_with_parent, daemon=True).start()


def end_with_parent() -> None:
    """Waits for the end of the parent, then ends this process, which would else write beside a rerun."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def end_with_launcher() -> None:
    """Ends this process soon after the one that began it, which `multiprocessing` knows nothing of."""
    launcher = os.getppid()

    def watch() -> None:
        while os.getppid() == launcher:
            time.sleep(_PATIENCE)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
