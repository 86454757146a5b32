"""One stage of a construction: order, memory, what is written and when."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mis_dataset.construct.rows import Idea, Rejected, Seed, read_rows, to_line
from mis_dataset.construct.stage import Told, in_order, run_stage
from mis_dataset.errors import MISError

SEEDS = [Seed(f"s{number}", "a text", "a file") for number in range(100)]


def idea(seed: Seed, number: int = 1) -> Idea:
    return Idea(f"{seed.id}.{number}", seed.id, "Privacy", "How?", ("a lamp", "a bo\u0308x"))


def test_rows_come_in_their_order_however_long_each_takes() -> None:
    scatter = random.Random(0)
    waits = [scatter.uniform(0, 0.01) for _ in range(200)]

    def work(place: int) -> int:
        time.sleep(waits[place])
        return place

    assert list(in_order(range(200), work, 16)) == list(range(200))


def test_as_many_are_worked_on_at_once_as_asked_and_no_more() -> None:
    lock, busy, most = threading.Lock(), 0, 0

    def work(place: int) -> None:
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        time.sleep(0.002)
        with lock:
            busy -= 1

    list(in_order(range(100), work, 8))
    assert most == 8


def test_rows_are_drawn_as_there_is_room_for_them() -> None:
    drawn = itertools.count()
    made = in_order(drawn, lambda place: place, 4)
    assert [next(made) for _ in range(10)] == list(range(10))
    assert next(drawn) <= 10 + 3 * 4
    made.close()  # type: ignore[attr-defined]


def test_a_stage_writes_what_went_on_and_what_did_not(tmp_path: Path) -> None:
    def work(seed: Seed) -> list[Idea] | Rejected:
        number = int(seed.id[1:])
        return Rejected(seed.id, "elements", ("no risk", "refused")[number % 2]) if number % 10 else [idea(seed)] * 2

    assert run_stage(SEEDS, work, tmp_path / "elements", 4) == Told(100, 20, {"no risk": 40, "refused": 50})
    made = list(read_rows(tmp_path / "elements.jsonl", Idea))
    assert made == [idea(seed) for seed in SEEDS[::10] for _ in range(2)]
    rejected = list(read_rows(tmp_path / "elements.rejected.jsonl", Rejected))
    assert [row.id for row in rejected] == [f"s{number}" for number in range(100) if number % 10]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elements.jsonl", "elements.rejected.jsonl"]


def test_an_error_of_one_row_leaves_what_was_there_as_it_was(tmp_path: Path) -> None:
    run_stage(SEEDS[:1], lambda seed: [idea(seed)], tmp_path / "elements", 4)
    before = (tmp_path / "elements.jsonl").read_bytes()

    def work(seed: Seed) -> list[Idea]:
        if seed.id == "s50":
            raise MISError("the budget is used up")
        return [idea(seed)]

    with pytest.raises(MISError, match="the budget is used up"):
        run_stage(SEEDS, work, tmp_path / "elements", 4)
    assert (tmp_path / "elements.jsonl").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elements.jsonl", "elements.rejected.jsonl"]


def test_an_error_is_not_kept_waiting_by_rows_that_are_slow() -> None:
    hold = threading.Event()

    def work(place: int) -> None:
        if place:
            hold.wait(30)
        else:
            raise MISError("no further request is of use")

    began = time.monotonic()
    with pytest.raises(MISError):
        list(in_order(range(100), work, 4))
    assert time.monotonic() - began < 5
    hold.set()


@pytest.mark.parametrize("line", ["nonsense", "[]", "{}", "NaN", '{"id": "s1", "more": 1}', "[" * 10**5])
def test_a_line_that_a_stage_did_not_write_is_told(tmp_path: Path, line: str) -> None:
    (tmp_path / "seeds.jsonl").write_text(to_line(SEEDS[0]) + line + "\n")
    rows: Iterator[Seed] = read_rows(tmp_path / "seeds.jsonl", Seed)
    assert next(rows) == SEEDS[0]
    with pytest.raises(MISError, match=r"seeds\.jsonl: line 2 is no seed; remove the file"):
        next(rows)
