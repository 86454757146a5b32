"""The cache of replies: what it survives and what it refuses."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mis_dataset.errors import CacheError
from mis_dataset.remote.cache import LEASE, Cache
from mis_dataset.remote.messages import Reply

ROOT = Path(__file__).resolve().parents[1]
REPLY = Reply("Yes.\0\N{GRINNING FACE}", "length", 10, None, "loopback-1")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "replies.sqlite"


def test_what_was_put_is_had_back(path: Path) -> None:
    with Cache(path) as cache:
        assert cache.get("a") is None
        assert cache.put("a", REPLY) == REPLY
    with Cache(path) as cache:
        assert cache.get("a") == Reply("Yes.\0\N{GRINNING FACE}", "length", 10, None, "loopback-1", cached=True)
        assert cache.get("b") is None


def test_a_reply_keeps_the_day_on_which_it_was_given(path: Path) -> None:
    with Cache(path) as cache:
        assert cache.put("a", Reply("Yes.", "stop", date="2020-02-29")).date == "2020-02-29"
        assert cache.put("a", Reply("Yes.", "stop", date="2020-03-01")).date == "2020-02-29"
    with Cache(path) as cache:
        kept = cache.get("a")
    assert kept is not None
    assert kept.date == "2020-02-29"


def test_the_first_reply_stays(path: Path) -> None:
    with Cache(path) as one, Cache(path) as two:
        one.put("a", REPLY)
        kept = two.put("a", Reply("No.", "stop"))
        assert (kept.text, kept.cached) == (REPLY.text, True)


def test_what_one_claimed_no_other_asks_until_it_gives_up(path: Path) -> None:
    with Cache(path) as one, Cache(path) as two:
        assert one.claim("a")
        assert not one.claim("a")
        assert not two.claim("a")
        assert two.claim("b")
        two.give_up("a")  # not its own
        assert not two.claim("a")
        one.give_up("a")
        assert two.claim("a")


def test_a_claim_ends_where_it_is_not_renewed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Cache(path) as one, Cache(path) as two:
        now = time.time()
        assert one.claim("a")
        monkeypatch.setattr(time, "time", lambda: now + LEASE - 1)
        assert not two.claim("a")
        one.renew()
        monkeypatch.setattr(time, "time", lambda: now + 2 * LEASE - 2)
        assert not two.claim("a")
        monkeypatch.setattr(time, "time", lambda: now + 2 * LEASE)
        assert two.claim("a")
        assert not one.claim("a")


def test_claims_are_renewed_for_as_long_as_it_takes(path: Path) -> None:
    with Cache(path, lease=1) as one, Cache(path, lease=1) as two, Cache(path) as other:
        with one.renewing():
            assert one.claim("a")
            assert two.claim("b")
            time.sleep(1.5)
            assert not other.claim("a")
            assert other.claim("b")
        assert "claims" not in [thread.name for thread in threading.enumerate()]


def test_claims_end_with_their_process(path: Path) -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from mis_dataset.remote.cache import Cache\n"
        "assert Cache(Path(sys.argv[1])).claim('a')\n"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], cwd=ROOT, check=True)
    with Cache(path) as cache:
        assert cache.claim("a")


@pytest.mark.parametrize("pid", [0, -1, 2**40, 1])
def test_who_has_no_number_of_a_process_or_lives_keeps_the_claim(path: Path, pid: int) -> None:
    with Cache(path) as cache:
        assert cache.claim("a")
    with sqlite3.connect(path) as file:
        file.execute("UPDATE claims SET pid = ?", (pid,))
    with Cache(path) as cache:
        assert not cache.claim("a")


def test_what_was_put_survives_a_process_that_is_killed_at_once(path: Path) -> None:
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from mis_dataset.remote.cache import Cache\n"
        "from mis_dataset.remote.messages import Reply\n"
        "cache = Cache(Path(sys.argv[1]))\n"
        "[cache.put(str(n), Reply(str(n), 'stop')) for n in range(500)]\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", script, str(path)], cwd=ROOT, check=False).returncode == -9
    with Cache(path) as cache:
        assert [cache.get(str(n)) for n in range(500)] == [Reply(str(n), "stop", cached=True) for n in range(500)]


def test_many_that_begin_and_write_at_once_lose_nothing(path: Path) -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from mis_dataset.remote.cache import Cache\n"
        "from mis_dataset.remote.messages import Reply\n"
        "with Cache(Path(sys.argv[1])) as cache:\n"
        "    [cache.put(f'{sys.argv[2]}/{n}', Reply('x', 'stop')) for n in range(100)]\n"
    )
    started = [subprocess.Popen([sys.executable, "-c", script, str(path), str(n)], cwd=ROOT) for n in range(8)]
    assert [process.wait() for process in started] == [0] * 8
    with Cache(path) as cache:
        assert all(cache.get(f"{process}/{n}") for process in range(8) for n in range(100))


def test_one_that_opens_the_file_while_another_makes_it_waits(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path, isolation_level=None, check_same_thread=False) as other:
        other.execute("BEGIN IMMEDIATE")
        timer = threading.Timer(0.3, other.execute, ["COMMIT"])
        timer.start()
        with Cache(path) as cache:
            cache.put("a", REPLY)
        timer.join()
    other.close()


def test_threads_share_one_cache(path: Path) -> None:
    with Cache(path) as cache:

        def put(number: int) -> None:
            for place in range(50):
                cache.put(f"{number}/{place}", REPLY)
                assert cache.get(f"{number}/{place}") is not None

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(put, range(8)))
        assert all(cache.get(f"{number}/{place}") for number in range(8) for place in range(50))


@pytest.mark.parametrize("content", [b"not a database" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_database_is_refused_untouched(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(CacheError) as caught:
        Cache(path)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == content


def test_a_database_of_somebody_else_is_refused_untouched(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as file:
        file.execute("CREATE TABLE bookmarks (url TEXT)")
    file.close()
    before = path.read_bytes()
    with pytest.raises(CacheError) as caught:
        Cache(path)
    assert str(caught.value) == f"{path}: is no cache of replies of this version; name another file"
    assert path.read_bytes() == before


def test_a_cache_of_another_version_is_refused_untouched(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as file:
        file.execute("CREATE TABLE replies (key TEXT)")
        file.execute(f"PRAGMA application_id = {0x4D495331}")
    file.close()
    with pytest.raises(CacheError, match="is no cache of replies of this version"):
        Cache(path)


def test_pages_that_were_overwritten_are_found_when_it_is_opened(path: Path) -> None:
    with Cache(path) as cache:
        for number in range(2000):
            cache.put(f"{number:04}", Reply("x" * 200, "stop"))
    with path.open("r+b") as file:
        file.seek(40 * 4096)
        file.write(b"\xff" * 4096 * 4)
    with pytest.raises(CacheError) as caught:
        Cache(path)
    assert str(path) in str(caught.value)


def test_an_empty_file_is_a_new_cache(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    with Cache(path) as cache:
        cache.put("a", REPLY)
        assert cache.get("a") is not None


def test_a_process_that_never_lets_go_is_told(path: Path) -> None:
    with Cache(path), sqlite3.connect(path, isolation_level=None) as other, Cache(path, patience=0.1) as cache:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(CacheError) as caught:
            cache.put("a", REPLY)
        other.execute("ROLLBACK")
        cache.put("a", REPLY)
    other.close()
    assert str(caught.value) == f"{path}: cannot be used: database is locked; is it locked, is the disk full?"


def test_a_place_where_no_file_can_be_is_told(path: Path) -> None:
    path.parent.touch()
    with pytest.raises(CacheError, match="cannot be made"):
        Cache(path)
    with pytest.raises(CacheError, match="unable to open database file"):
        Cache(path.parent.parent)


def test_a_full_disk_is_told_and_what_was_there_stays(path: Path) -> None:
    script = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from mis_dataset.errors import CacheError\n"
        "from mis_dataset.remote.cache import Cache\n"
        "from mis_dataset.remote.messages import Reply\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "with Cache(Path(sys.argv[1])) as cache:\n"
        "    cache.put('first', Reply('x', 'stop'))\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (2**18, 2**18))\n"
        "    try:\n"
        "        for n in range(10000): cache.put(str(n), Reply('x' * 1000, 'stop'))\n"
        "    except CacheError as error:\n"
        "        print(error)\n"
    )
    command = [sys.executable, "-c", script, str(path)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ})
    assert ended.stdout.startswith(f"{path}: cannot be used: ")
    assert "is the disk full?" in ended.stdout
    with Cache(path) as cache:
        assert cache.get("first") is not None
        assert cache.get("0") is not None
