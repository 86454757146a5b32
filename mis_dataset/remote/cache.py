"""Replies that were paid for, in one SQLite file, by the sha256 of what they hang on.

The file holds what models said, never what they were asked, and no key. A reply is in it before anybody sees it, so
that a killed run loses none but those under way. Several processes may share it, on one machine: its write-ahead log
needs shared memory. What one of them is about to ask is claimed, so that no other pays for it as well; claims end with
their process, or soon after it stopped renewing them.

Beside them stands why a request failed at last, for whoever replays a run: all others ask again.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from mis_dataset.errors import CacheError
from mis_dataset.processes import has_ended
from mis_dataset.remote.messages import Failure, Reply

_MARK = 0x4D495332
"""`application_id` of the file: "MIS" and the version of its table of replies."""
_PATIENCE = 60.0
"""Seconds that one process waits for another's write."""
LEASE = 10.0
"""Seconds for which a claim that is not renewed keeps others from asking."""
LOOK = 0.1
"""Seconds between two looks whether another process has the reply that both want."""
_TABLES = (
    "CREATE TABLE IF NOT EXISTS pictures (key TEXT PRIMARY KEY, picture BLOB NOT NULL) STRICT",
    """
CREATE TABLE IF NOT EXISTS replies (
    key TEXT PRIMARY KEY, text TEXT NOT NULL, finish TEXT NOT NULL, tokens_in INTEGER, tokens_out INTEGER,
    model TEXT NOT NULL, date TEXT NOT NULL
) STRICT, WITHOUT ROWID
""",
    """
CREATE TABLE IF NOT EXISTS failures (
    key TEXT PRIMARY KEY, reason TEXT NOT NULL, attempts INTEGER NOT NULL, again INTEGER NOT NULL
) STRICT, WITHOUT ROWID
""",
    """
CREATE TABLE IF NOT EXISTS claims (
    key TEXT PRIMARY KEY, owner TEXT NOT NULL, pid INTEGER NOT NULL, until REAL NOT NULL
) STRICT, WITHOUT ROWID
""",
)
_GET = """
SELECT text, finish, tokens_in, tokens_out, model, date, picture
FROM replies LEFT JOIN pictures USING (key) WHERE key = ?
"""
_PUT = "INSERT INTO replies VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
_FAIL = """
INSERT INTO failures VALUES (?, ?, ?, ?)
ON CONFLICT DO UPDATE SET reason = excluded.reason, attempts = excluded.attempts, again = excluded.again
"""
_CLAIM = "INSERT INTO claims VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
_TAKE = """
UPDATE claims SET owner = ?, pid = ?, until = ? WHERE key = ? AND owner = ? AND (until < ? OR ?)
"""


class Cache:
    """Replies by key; a context manager. Safe to use from several threads.

    Args:
        path: of the file; made where it is missing.
        patience: seconds that it waits for another's write.
        lease: seconds that a claim lasts.
    """

    def __init__(self, path: Path, patience: float = _PATIENCE, lease: float = LEASE) -> None:
        self.path = path
        self._lease = lease
        self._owner = secrets.token_hex(8)
        self._lock = threading.Lock()
        with self._told():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = sqlite3.connect(path, timeout=patience, isolation_level=None, check_same_thread=False)
        try:
            self._begin(patience)
        except CacheError:
            self._file.close()
            raise

    def __enter__(self) -> Cache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:  # SQLite may crash where another thread is still reading
            self._file.close()

    def get(self, key: str) -> Reply | None:
        """The reply that is kept under a key.

        Args:
            key: sha256, hexadecimal.

        Returns:
            It, without a cost; None where there is none.

        Raises:
            CacheError: The file cannot be read, or is broken.
        """
        with self._told(), self._lock:
            row = self._file.execute(_GET, (key,)).fetchone()
        if row is None:
            return None
        text, finish, tokens_in, tokens_out, model, date, picture = row
        return Reply(text, finish, tokens_in, tokens_out, model, cached=True, date=date, picture=picture or b"")

    def put(self, key: str, reply: Reply) -> Reply:
        """Keeps a reply; when this returns, it survives the end of the process, however that comes.

        Args:
            key: sha256, hexadecimal.
            reply: what was said.

        Returns:
            What is kept: the reply of another process where that was quicker.

        Raises:
            CacheError: The file cannot be written, is broken, or another process holds it for too long.
        """
        row = (key, reply.text, reply.finish, reply.tokens_in, reply.tokens_out, reply.model, reply.date)
        with self._told(), self._lock:
            if reply.picture:  # before its reply: of a killed process it may stay alone, and the next reply has it
                self._file.execute("INSERT INTO pictures VALUES (?, ?) ON CONFLICT DO NOTHING", (key, reply.picture))
            written = self._file.execute(_PUT, row).rowcount
        if written and not reply.picture:
            return reply
        kept = self.get(key) or reply
        return replace(reply, picture=kept.picture) if written else kept

    def failure(self, key: str) -> Failure | None:
        """Why the last try of a request failed, or None where none did.

        Raises:
            CacheError: as `get`.
        """
        with self._told(), self._lock:
            row = self._file.execute("SELECT reason, attempts, again FROM failures WHERE key = ?", (key,)).fetchone()
        return None if row is None else Failure(row[0], row[1], bool(row[2]))

    def put_failure(self, key: str, failure: Failure) -> None:
        """Keeps why a request failed, in place of an earlier reason.

        Raises:
            CacheError: as `put`.
        """
        with self._told(), self._lock:
            self._file.execute(_FAIL, (key, failure.reason, failure.attempts, failure.again))

    def claim(self, key: str) -> bool:
        """Whether the caller may ask for a reply: nobody else who is alive is about to.

        Args:
            key: sha256, hexadecimal.

        Raises:
            CacheError: as `put`.
        """
        now, pid = time.time(), os.getpid()
        with self._told(), self._lock:
            if self._file.execute(_CLAIM, (key, self._owner, pid, now + self._lease)).rowcount:
                return True
            row = self._file.execute("SELECT owner, pid FROM claims WHERE key = ?", (key,)).fetchone()
            if row is None:
                return False  # given up this moment
            ours = (self._owner, pid, now + self._lease, key, row[0], now, has_ended(row[1]))
            return bool(self._file.execute(_TAKE, ours).rowcount)

    def renew(self) -> None:
        """Keeps all claims of this cache for as long as a new one would last.

        Raises:
            CacheError: as `put`.
        """
        with self._told(), self._lock:
            self._file.execute("UPDATE claims SET until = ? WHERE owner = ?", (time.time() + self._lease, self._owner))

    @contextmanager
    def renewing(self) -> Iterator[None]:
        """Keeps all claims of this cache while the block lasts, by a thread of its own."""
        ended = threading.Event()

        def renew() -> None:
            with suppress(CacheError):  # keeping the replies then tells why
                while not ended.wait(self._lease / 4):
                    self.renew()

        thread = threading.Thread(target=renew, name="claims", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def give_up(self, key: str) -> None:
        """Ends a claim; that of another stays.

        Raises:
            CacheError: as `put`.
        """
        with self._told(), self._lock:
            self._file.execute("DELETE FROM claims WHERE key = ? AND owner = ?", (key, self._owner))

    def _begin(self, patience: float) -> None:
        """Makes the tables in a new file; refuses, untouched, a file of something else, and one that is broken."""
        with self._told():
            if self._mark() not in (None, _MARK):
                raise CacheError(f"{self.path}: is no cache of replies of this version; name another file")
            self._write_ahead(patience)
            # A killed process loses nothing so; a machine that loses its power may lose the last replies.
            self._file.execute("PRAGMA synchronous = NORMAL")
            self._file.execute("BEGIN IMMEDIATE")
            for table in _TABLES:
                self._file.execute(table)
            self._file.execute(f"PRAGMA application_id = {_MARK}")
            self._file.execute("COMMIT")
            if self._file.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                raise CacheError(f"{self.path}: is broken; move it away, or restore it from a copy")

    def _write_ahead(self, patience: float) -> None:
        """Switches to a write-ahead log; SQLite itself does not wait here where others do the same."""
        until = time.monotonic() + patience
        while True:
            try:
                self._file.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise
                time.sleep(0.01)

    def _mark(self) -> int | None:
        """What the file is marked as; None where it is new."""
        empty = self._file.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
        mark: int = self._file.execute("PRAGMA application_id").fetchone()[0]
        return None if empty and not mark else mark

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Says which file it is about and what to do."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise CacheError(f"{self.path}: cannot be used: {error}; is it locked, is the disk full?") from error
        except sqlite3.DatabaseError as error:
            raise CacheError(f"{self.path}: is no cache of replies, or broken ({error}); move it away") from error
        except OSError as error:
            raise CacheError(f"{self.path}: cannot be made: {error.strerror}; name another file") from error
