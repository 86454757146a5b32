"""What experts that run here found out, in one SQLite file: nothing is looked at twice, and a rerun finds the same.

A score may differ in its last digits on another machine or with another number of threads. What is in the file once is
what counts, so that a run that was killed ends with the same bytes, and a copy of the file replays it.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from mis_dataset.errors import CacheError

_PATIENCE = 60.0
"""Seconds that one process waits for another's write."""
_TABLE = "CREATE TABLE IF NOT EXISTS found (by TEXT, key TEXT, what BLOB NOT NULL, PRIMARY KEY (by, key)) STRICT"


class Found:
    """What was found, by expert and by the sha256 of what it looked at; a context manager, for several threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._file: sqlite3.Connection | None = None
        self._closed = False

    def __enter__(self) -> Found:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:  # SQLite may crash where another thread is still reading
            self._closed = True
            if self._file is not None:
                self._file.close()

    def get(self, by: str, key: str) -> bytes | None:
        """What an expert found, or None.

        Args:
            by: name and version of the expert.
            key: sha256 of what it looked at.

        Raises:
            CacheError: The file cannot be read.
            CancelledError: The block ended meanwhile.
        """
        with self._opened() as file:
            row = file.execute("SELECT what FROM found WHERE by = ? AND key = ?", (by, key)).fetchone()
        return None if row is None else bytes(row[0])

    def put(self, by: str, key: str, what: bytes) -> bytes:
        """Keeps what an expert found.

        Returns:
            What is kept: what another process found, where that was quicker.

        Raises:
            CacheError: The file cannot be written.
            CancelledError: The block ended meanwhile.
        """
        with self._opened() as file:
            file.execute("INSERT INTO found VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (by, key, what))
        kept = self.get(by, key)
        assert kept is not None
        return kept

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """The file, made when somebody first asks; says of an error which file it is about and what to do."""
        with self._lock:
            if self._closed:
                raise CancelledError
            try:
                if self._file is None:
                    self.path.parent.mkdir(parents=True, exist_ok=True)
                    self._file = sqlite3.connect(
                        self.path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
                    )
                    # What a machine that loses its power forgets is found again.
                    self._file.execute("PRAGMA synchronous = OFF")
                    self._file.execute(_TABLE)
                yield self._file
            except (sqlite3.Error, OSError) as error:
                text = f"cannot be used: {error}; move it away, and all is looked at anew"
                raise CacheError(f"{self.path}: {text}") from error
