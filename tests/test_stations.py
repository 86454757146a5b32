"""The log of a run's stations, and lanes of stations that walk side by side."""

from __future__ import annotations

import doctest
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from mis_dataset.errors import MISError
from tests.made_runs import HELP, write_dataset, write_responses, write_things
from trainer import reproduce, stations
from trainer.files import ArtefactError
from trainer.reproduce import Station
from trainer.stations import Attempt, StationLog, peak_memory, read_attempts, total_seconds


def test_an_attempt_is_logged_when_it_starts_and_again_when_it_ends(tmp_path: Path) -> None:
    log = StationLog(tmp_path / "stations.jsonl")
    with log.time("base") as watch:
        (begun,) = read_attempts(log.path)
        assert (begun.station, begun.seconds, begun.exit) == ("base", None, None)
        watch.exit, watch.peak_memory_bytes = 0, 7
    (ended,) = read_attempts(log.path)
    assert (ended.started, ended.exit, ended.peak_memory_bytes) == (begun.started, 0, 7)
    assert ended.seconds is not None
    assert ended.seconds >= 0


def test_a_station_that_has_done_its_work_leaves_no_second_line_and_a_failed_one_does(tmp_path: Path) -> None:
    log = StationLog(tmp_path / "stations.jsonl")
    for code in (1, 0, 0):
        with log.time("base") as watch:
            watch.exit = code
    assert [one.exit for one in read_attempts(log.path)] == [1, 0]


def test_lines_of_another_log_are_added_once(tmp_path: Path) -> None:
    log = StationLog(tmp_path / "stations.jsonl")
    with log.time("mini") as watch:
        watch.exit = 0
    shared = [Attempt("base", 5.0, 7.0, 3, 0)]
    log.add(shared)
    log.add(shared)
    assert [one.station for one in read_attempts(log.path)] == ["mini", "base"]


def test_an_attempt_that_raises_is_logged_as_failed(tmp_path: Path) -> None:
    log = StationLog(tmp_path / "stations.jsonl")
    with pytest.raises(MISError), log.time("base"):
        raise MISError("no room")
    assert [one.exit for one in read_attempts(log.path)] == [1]


def test_seconds_in_which_two_ran_count_once_and_their_memory_together() -> None:
    side_by_side = [Attempt("a", 0.0, 10.0, 3), Attempt("b", 4.0, 10.0, 4), Attempt("c", 100.0, 2.5, 5)]
    assert total_seconds(side_by_side) == 16.5
    assert peak_memory(side_by_side) == 7
    after_each_other = [Attempt("a", 0.0, 10.0, 3), Attempt("b", 9.99, 10.0, 4)]  # as rounding may log it
    assert total_seconds(after_each_other) == pytest.approx(19.99)
    assert peak_memory(after_each_other) == 4
    assert total_seconds([Attempt("a", 0.0, 10.0), Attempt("b", 2.0, 3.0)]) == 10.0  # one within the other
    assert (total_seconds([Attempt("a", 0.0)]), peak_memory([])) == (0.0, 0)


WHOLE = {"station": "a", "started": 1.0, "seconds": 1.0, "peak_memory_bytes": 1, "exit": 0}


@pytest.mark.parametrize(
    "line",
    [
        *("{", '{"station": "base"}', "[]", "[" * 100_000),
        *(json.dumps(WHOLE | wrong) for wrong in ({"started": "x"}, {"seconds": -5}, {"peak_memory_bytes": -4})),
        json.dumps(WHOLE | {"seconds": float("nan")}),
    ],
    ids=lambda line: line[:60],
)
def test_a_line_that_is_none_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "stations.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(ArtefactError, match=r"stations\.jsonl: line 1 is none of a log of stations"):
        read_attempts(path)


def judging(folder: Path, name: str) -> Station:
    """A station of a second: the rule judge on one response."""
    rows = write_dataset(folder / name / "MIS")
    things = write_things(folder / name / "objects.json", rows)
    said = write_responses(folder / name / "responses.jsonl", dict.fromkeys(rows, HELP))
    words = [said, folder / name / "verdicts.jsonl", "--things", things, "--dataset", folder / name / "MIS"]
    return Station(name, "trainer", ["judge", *map(str, words)])


@pytest.mark.slow
def test_two_lanes_walk_at_once_each_in_its_order(tmp_path: Path) -> None:
    lanes = [[judging(tmp_path, name + number) for number in "12"] for name in "ab"]
    reproduce._walk(lanes, tmp_path, in_process=False)
    walked = {one.station: one for one in read_attempts(tmp_path / "stations.jsonl")}
    assert {name: one.exit for name, one in walked.items()} == {"a1": 0, "a2": 0, "b1": 0, "b2": 0}
    ends = {name: one.started + (one.seconds or 0) for name, one in walked.items()}
    assert max(walked["a1"].started, walked["b1"].started) < min(ends["a1"], ends["b1"])
    assert walked["a2"].started >= walked["a1"].started
    assert walked["b2"].started >= walked["b1"].started
    assert all((tmp_path / name / "verdicts.jsonl").is_file() for name in walked)


@pytest.mark.slow
def test_a_station_that_fails_ends_the_one_beside_it_and_is_the_one_named(tmp_path: Path) -> None:
    long = Station("long", "trainer", ["base", str(tmp_path / "base")])
    bad = Station("bad", "trainer", ["bars", str(tmp_path / "none")])
    with pytest.raises(MISError, match=r"station 'bad' failed with exit code 1; .* python -m trainer bars"):
        reproduce._walk([[long, judging(tmp_path, "after")], [bad]], tmp_path, in_process=False)
    ended = {one.station: one.exit for one in read_attempts(tmp_path / "stations.jsonl")}
    assert ended == {"long": -15, "bad": 1}
    assert not (tmp_path / "after" / "verdicts.jsonl").exists()


@pytest.mark.slow
def test_a_station_runs_in_a_process_of_its_own_and_says_what_it_took(tmp_path: Path) -> None:
    code, peak = reproduce._fork(Station("bars", "trainer", ["bars", str(tmp_path)]), 2, threading.Event())
    assert code == 1
    assert peak > 2**20


@pytest.mark.slow
def test_a_stop_ends_a_station_early(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    station = Station("base", "trainer", ["base", str(tmp_path / "base")])
    code, _ = reproduce._fork(station, 1, stop)
    assert code == -15


@pytest.mark.slow
def test_a_killed_walk_leaves_no_station_at_work(tmp_path: Path) -> None:
    words = ["base", str(tmp_path / "base")]
    code = (
        "import threading; from trainer.reproduce import Station, _fork; "
        f"_fork(Station('base', 'trainer', {words!r}), 1, threading.Event())"
    )
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL) as walk:
        try:
            _wait_until(lambda: (tmp_path / "base" / "model.meta.json").is_file())
            at_work = psutil.Process(walk.pid).children(recursive=True)
        finally:
            walk.kill()
    assert len(at_work) >= 2  # the server that forks, and the station
    _wait_until(lambda: not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in at_work))


def test_the_examples_run() -> None:
    ran = doctest.testmod(stations)
    assert (ran.failed, ran.attempted > 2) == (0, True)


def _wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)
