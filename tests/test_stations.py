"""The log of a run's stations, and lanes of stations that walk side by side."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from mis_dataset.errors import MISError
from trainer import reproduce
from trainer.files import ArtefactError
from trainer.reproduce import Station
from trainer.stations import Attempt, StationLog, by_station, peak_memory, read_attempts, total_seconds


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


def test_an_attempt_that_raises_is_logged_as_failed(tmp_path: Path) -> None:
    log = StationLog(tmp_path / "stations.jsonl")
    with pytest.raises(MISError), log.time("base"):
        raise MISError("no room")
    assert [one.exit for one in read_attempts(log.path)] == [1]


def test_seconds_in_which_two_ran_count_once_and_their_memory_together() -> None:
    side_by_side = [Attempt("a", 0.0, 10.0, 3), Attempt("b", 4.0, 10.0, 4), Attempt("c", 100.0, 2.5, 5)]
    assert total_seconds(side_by_side) == 16.5
    assert peak_memory(side_by_side) == 7
    after_each_other = [Attempt("a", 0.0, 10.0, 3), Attempt("b", 10.0, 10.0, 4)]
    assert (total_seconds(after_each_other), peak_memory(after_each_other)) == (20.0, 4)
    assert total_seconds([Attempt("a", 0.0, 10.0), Attempt("b", 2.0, 3.0)]) == 10.0  # one within the other
    assert (total_seconds([Attempt("a", 0.0)]), peak_memory([])) == (0.0, 0)


@pytest.mark.parametrize("line", ["{", '{"station": "base"}', "[]", '{"station": "a", "started": "x", "seconds": 1}'])
def test_a_line_that_is_none_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "stations.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(ArtefactError, match=r"stations\.jsonl: line 1 is none of a log of stations"):
        read_attempts(path)


def lane(*names: str) -> list[Station]:
    return [Station(name, "trainer", ["bars", name]) for name in names]


def test_two_lanes_walk_at_once_each_in_its_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = threading.Barrier(2, timeout=30)
    visited: list[str] = []

    def fork(station: Station, share: int, stop: threading.Event) -> tuple[int, int]:
        both.wait()  # passes only where another lane is at a station too
        visited.append(station.name)
        assert share == reproduce.SIDE_BY_SIDE
        return 0, 5

    monkeypatch.setattr(reproduce, "_fork", fork)
    reproduce._walk([lane("a1", "a2"), lane("b1", "b2")], tmp_path, in_process=False)
    assert set(visited[:2]) == {"a1", "b1"}
    assert set(visited[2:]) == {"a2", "b2"}
    assert {one.exit for one in read_attempts(tmp_path / "stations.jsonl")} == {0}
    assert len(by_station(read_attempts(tmp_path / "stations.jsonl"))) == 4


def test_a_station_that_fails_ends_the_one_beside_it_and_is_the_one_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fork(station: Station, share: int, stop: threading.Event) -> tuple[int, int]:
        if station.name == "good":
            assert stop.wait(30)
            return -15, 0
        return 3, 0

    monkeypatch.setattr(reproduce, "_fork", fork)
    with pytest.raises(MISError, match=r"station 'bad' failed with exit code 3; .* python -m trainer bars bad"):
        reproduce._walk([lane("good", "after"), lane("bad", "after too")], tmp_path, in_process=False)
    ended = {one.station: one.exit for one in read_attempts(tmp_path / "stations.jsonl")}
    assert ended == {"good": -15, "bad": 3}


def test_a_station_runs_in_a_process_of_its_own_and_says_what_it_took(tmp_path: Path) -> None:
    code, peak = reproduce._fork(Station("bars", "trainer", ["bars", str(tmp_path)]), 2, threading.Event())
    assert code == 1
    assert peak > 2**20


def test_a_stop_ends_a_station_early(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    station = Station("base", "trainer", ["base", str(tmp_path / "base")])
    code, _ = reproduce._fork(station, 1, stop)
    assert code == -15
