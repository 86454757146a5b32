"""Pushing to a Hub that fails, and after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.hub_room import ROOT, Ended, Room, environment, open_room
from tests.loopback_repos import Repo
from tests.loopback_routes import ME, Fault
from tests.made_folders import dataset_folder


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    with open_room(tmp_path_factory.mktemp("room")) as room:
        yield room
        assert room.leaks() == []


@pytest.fixture
def room(opened: Room) -> Room:
    """The room with an empty Hub."""
    opened.hub.repos.clear()
    opened.hub.objects.clear()
    opened.hub.faults.clear()
    opened.hub.asked.clear()
    return opened


@pytest.fixture
def mis(tmp_path: Path) -> Path:
    return dataset_folder(tmp_path / "dataset", shards=4)


def whole(room: Room, mis: Path) -> bool:
    """Whether all of a folder is there."""
    held = {path.relative_to(mis).as_posix(): path.read_bytes() for path in mis.rglob("*") if path.is_file()}
    return {**room.hub.dataset("me/MIS").bodies, **held} == room.hub.dataset("me/MIS").bodies


def test_somebody_elses_commit_is_kept_and_ours_goes_on_top(room: Room, mis: Path) -> None:
    room.hub.faults.append(Fault("POST", "/commit/", "moved"))
    ended = room("push", mis, "me/MIS", "--yes", "--commit-files", "4")
    assert "me/MIS: has another last commit now; looking again\n" in ended.stderr
    assert (ended.told["commits"], whole(room, mis)) == (2, True)
    assert room.hub.dataset("me/MIS").bodies["somebody.txt"] == b"1"


def others_meanwhile(room: Room, mis: Path, act: Callable[[Repo], None]) -> Ended:
    """A first push, during which somebody else does something: it waits behind the look at what was shown."""
    hub = room.hub
    hub.held.clear()
    hub.go.clear()
    hub.faults.append(Fault("PUT", "/settings", "hold"))
    with ThreadPoolExecutor(1) as pool:
        pushed = pool.submit(room, "push", mis, "me/MIS", "--yes")
        assert hub.held.wait(60)
        act(hub.dataset("me/MIS"))
        hub.go.set()
        return pushed.result(60)


def test_a_tag_that_somebody_made_meanwhile_of_other_files_is_an_error(room: Room, mis: Path) -> None:
    def act(repo: Repo) -> None:
        repo.put("NOTICE", b"of somebody")
        repo.tags["1-a"] = repo.head.oid

    ended = others_meanwhile(room, mis, act)
    assert (ended.code, ended.stdout) == (1, "")
    tagged = room.hub.dataset("me/MIS").tags["1-a"]
    assert f"me/MIS: version 1-a is a tag of commit {tagged[:7]} already, with other LICENSE, " in ended.stderr
    assert room.hub.dataset("me/MIS").private


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda repo: repo.put("data/train-9.parquet", b"x"), "me/MIS holds data/train-9.parquet, not in "),
        (lambda repo: setattr(repo, "private", False), "me/MIS is public; give --public, or make it private"),
    ],
    ids=["a stray shard", "made public"],
)
def test_what_is_refused_before_is_refused_too_where_it_came_about_meanwhile(
    act: Callable[[Repo], None], message: str, room: Room, mis: Path
) -> None:
    ended = others_meanwhile(room, mis, act)
    assert (ended.code, ended.stdout) == (1, "")
    assert ended.stderr.splitlines()[-1].startswith(f"cards push: {message}")
    assert "LICENSE" not in room.hub.dataset("me/MIS").bodies


def test_what_changes_nothing_of_it_meanwhile_holds_nothing_up(room: Room, mis: Path) -> None:
    assert others_meanwhile(room, mis, lambda repo: repo.put("thanks.txt", b"1")).told["passed"]
    assert whole(room, mis)


def test_a_tag_that_somebody_made_during_the_upload_is_not_taken_for_ours(room: Room, mis: Path) -> None:
    hub = room.hub
    hub.held.clear()
    hub.go.clear()
    hub.faults.append(Fault("POST", "/commit/", "hold"))
    with ThreadPoolExecutor(1) as pool:
        pushed = pool.submit(room, "push", mis, "me/MIS", "--yes")
        assert hub.held.wait(60)
        repo = hub.dataset("me/MIS")
        first = repo.tags["1-a"] = repo.head.oid
        hub.go.set()
        ended = pushed.result(60)
    assert (ended.code, ended.stdout, repo.tags) == (1, "", {"1-a": first})


def test_a_branch_that_moves_all_the_time_is_given_up(room: Room, mis: Path) -> None:
    room.hub.faults.append(Fault("POST", "/commit/", "moved", times=9))
    ended = room("push", mis, "me/MIS", "--yes", "--tries", "2")
    assert (ended.code, ended.stdout) == (1, "")
    assert ended.stderr.endswith("somebody else commits to it all the time; run the same command later, it goes on\n")
    assert len([line for line in room.hub.asked if "/commit/" in line]) == 2


@pytest.mark.parametrize("path", ["/api/repos/create", "/settings", "/commit/", "/tag/", "/validate-yaml"])
def test_a_status_that_may_pass_is_tried_again_as_long_as_the_hub_asks(path: str, room: Room, mis: Path) -> None:
    method = "PUT" if path == "/settings" else "POST"
    room.hub.faults.append(Fault(method, path, "429", headers={"Retry-After": "0"}))
    ended = room("push", mis, "me/MIS", "--yes")
    assert ended.told["passed"]
    assert "me/MIS: the Hub answers 429; trying again in 0 s (1 of 5)\n" in ended.stderr


def test_a_wait_that_is_too_long_is_told_instead(room: Room, mis: Path) -> None:
    room.hub.faults.append(Fault("POST", "/commit/", "429", headers={"Retry-After": "3600"}))
    ended = room("push", mis, "me/MIS", "--yes")
    assert ended.stderr.splitlines()[-1] == (
        "cards push: me/MIS: the Hub answers 429 time after time, and wants 3600 s of rest; the same command goes on "
        "where it stopped"
    )
    assert room("push", mis, "me/MIS", "--yes").told["passed"]


def test_a_status_that_does_not_pass_is_given_up_after_so_many_tries(room: Room, mis: Path) -> None:
    room.hub.faults.append(Fault("POST", "/commit/", "503", times=99, headers={"Retry-After": "0"}))
    ended = room("push", mis, "me/MIS", "--yes", "--tries", "3")
    assert ended.stderr.splitlines()[-1] == (
        "cards push: me/MIS: the Hub answers 503 time after time; the same command goes on where it stopped"
    )
    assert len([line for line in room.hub.asked if "/commit/" in line]) == 3


def test_a_plan_that_has_to_be_paid_is_told(room: Room, mis: Path) -> None:
    room.hub.faults.append(Fault("POST", "/api/repos/create", "402"))
    assert room("push", mis, "me/MIS", "--yes").stderr.splitlines()[-1] == (
        "cards push: me/MIS: the Hub wants a paid plan for this (402)"
    )


def test_a_commit_whose_answer_was_lost_is_not_made_twice(room: Room, mis: Path) -> None:
    room.hub.faults.append(Fault("POST", "/commit/", "lost"))
    ended = room("push", mis, "me/MIS", "--yes")
    assert ended.told["passed"]
    assert len(room.hub.dataset("me/MIS").commits) == 2
    assert whole(room, mis)


def test_an_upload_that_breaks_off_midway_is_sent_again(room: Room, mis: Path) -> None:
    room.hub.faults.append(Fault("PUT", "/lfs/", "drop"))
    assert room("push", mis, "me/MIS", "--yes").told["passed"]
    assert whole(room, mis)
    assert len([line for line in room.hub.asked if line.startswith("PUT /lfs/")]) == 5


def test_bytes_that_changed_on_the_way_are_found(room: Room, mis: Path) -> None:
    room.hub.faults.append(Fault("PUT", "/lfs/", "other bytes"))
    ended = room("push", mis, "me/MIS", "--yes")
    assert ended.code == 1
    line = ended.stderr.splitlines()[-1]
    assert "is not what " in line
    assert line.count(".parquet differs") == 1
    assert room.hub.dataset("me/MIS").tags == {}


def test_a_hub_that_is_not_there_is_one_line(room: Room, mis: Path, tmp_path: Path) -> None:
    settings = {**environment(room.hub, tmp_path / "home"), "HF_TOKEN": ME, "HF_ENDPOINT": "http://127.0.0.1:9"}
    command = [sys.executable, "-m", "cards", "push", str(mis), "me/MIS", "--tries", "1"]
    ended = subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True)
    assert ended.stderr == (
        "cards push: me/MIS: the Hub cannot be reached, or broke off (ConnectError); the same command goes on where it "
        "stopped\n"
    )


def test_a_process_that_may_not_ask_says_so_at_once(room: Room, mis: Path, tmp_path: Path) -> None:
    settings = {**environment(room.hub, tmp_path / "home"), "HF_TOKEN": ME, "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "cards", "push", str(mis), "me/MIS"]
    ended = subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True)
    assert ended.stderr == "cards push: me/MIS: the Hub may not be asked while HF_HUB_OFFLINE is set; unset it\n"
    assert room.hub.asked == []


def test_what_answers_and_is_no_hub_is_told(mis: Path, tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Greeting) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        quiet = {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path), "HF_TOKEN": ME}
        settings = {**os.environ, **quiet, "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}"}
        command = [sys.executable, "-m", "cards", "push", str(mis), "me/MIS", "--tries", "1"]
        ended = subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True)
        server.shutdown()
    assert ended.stderr == (
        "cards push: me/MIS: what answers is not the Hub (JSONDecodeError); look at HF_ENDPOINT and the proxy\n"
    )


class _Greeting(BaseHTTPRequestHandler):
    """A page of somebody else, such as one on which to log in to a network."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<p>Welcome</p>")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is logged."""


@pytest.mark.slow
@pytest.mark.parametrize("where", ["PUT /lfs/", "POST /commit/"])
def test_a_push_that_was_killed_goes_on_with_what_is_missing(where: str, room: Room, mis: Path, tmp_path: Path) -> None:
    method, path = where.split()
    hub = room.hub
    hub.held.clear()
    hub.go.clear()
    # Let some go well: two files a commit, so the third upload belongs to the second of them.
    hub.faults += [Fault(method, path, "", times=2), Fault(method, path, "hold")]
    command = [sys.executable, "-m", "cards", "push", str(mis), "me/MIS", "--yes", "--commit-files", "2"]
    settings = {**environment(hub, tmp_path / "home"), "HF_TOKEN": ME}
    process = subprocess.Popen(command, cwd=ROOT, env=settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert hub.held.wait(60)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    hub.faults.clear()
    hub.go.set()
    before = dict(hub.objects)
    assert not whole(room, mis)
    assert "README.md" not in hub.dataset("me/MIS").bodies
    hub.asked.clear()
    told = room("push", mis, "me/MIS", "--yes", "--commit-files", "2").told
    assert whole(room, mis)
    sent = {line.rsplit("/", 1)[1] for line in hub.asked if line.startswith("PUT /lfs/")}
    assert sent.isdisjoint(before)
    assert 0 < told["uploaded"] < 8
    assert hub.dataset("me/MIS").tags == {"1-a": hub.dataset("me/MIS").head.oid}
