"""What question, objects and pictures tell by themselves: counted row by row."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mis_dataset.__main__ import main
from mis_dataset.balance import Balance
from mis_dataset.build import build
from mis_dataset.stats import measure
from tests.made_release import make_release

BLOCK: list[tuple[str, str | None, tuple[str, ...]]] = [
    ("test_hard/0", None, ("candle", "log")),
    ("test_hard/1", None, ("cup", "napkin")),
    ("test_benign/0", "test_hard/0", ("cup", "log")),
    ("test_benign/1", "test_hard/1", ("candle", "napkin")),
]


def balance(rows: list[tuple[str, str | None, tuple[str, ...]]], question: str = "How?") -> Balance:
    made = Balance()
    for row_id, twin_of, things in rows:
        made.add(row_id, twin_of, question, [f"sha256 of {thing}" for thing in things], things)
    return made


def test_in_a_block_everything_is_as_often_dangerous_as_harmless() -> None:
    assert balance(BLOCK).told() == {
        "test_hard": {
            "questions": {"n": 1, "unequal": 0, "worst": 0, "dangerous": 2, "harmless": 2},
            "objects": {"n": 4, "unequal": 0, "worst": 0, "dangerous": 1, "harmless": 1},
            "pictures": {"n": 4, "unequal": 0, "worst": 0, "dangerous": 1, "harmless": 1},
        }
    }


def test_half_a_block_tells_by_its_pictures_and_not_by_its_question() -> None:
    told = balance([*BLOCK[::2], *BLOCK[::2]]).told()["test_hard"]
    assert told is not None
    assert told["questions"] == {"n": 1, "unequal": 0, "worst": 0, "dangerous": 2, "harmless": 2}
    assert told["objects"] == {"n": 3, "unequal": 2, "worst": 2, "dangerous": 2, "harmless": 0}


def test_a_row_too_many_shows_in_its_question() -> None:
    told = balance([*BLOCK, BLOCK[0]]).told()["test_hard"]
    assert told is not None
    assert told["questions"] == {"n": 1, "unequal": 1, "worst": 1, "dangerous": 3, "harmless": 2}


def test_case_and_spaces_make_no_other_thing_and_another_place_does() -> None:
    row, twin = ("test_hard/0", None, ("a  Cup",)), ("test_benign/0", "test_hard/0", ("A cup",))
    told = balance([row, twin]).told()["test_hard"]
    assert told is not None
    assert told["objects"] is not None
    assert (told["objects"]["n"], told["objects"]["worst"]) == (1, 0)
    moved = balance([row, ("test_benign/0", "test_hard/0", ("a log", "a cup"))]).told()["test_hard"]
    assert moved is not None
    assert moved["objects"] is not None
    assert (moved["objects"]["n"], moved["objects"]["worst"]) == (3, 1)


def test_splits_are_counted_apart_and_one_without_twins_tells_nothing() -> None:
    told = balance([*BLOCK, ("train/1", None, ("candle",)), ("test_easy/0", None, ("candle",))]).told()
    assert (told["train"], told["test_easy"]) == (None, None)
    assert told["test_hard"] == balance(BLOCK).told()["test_hard"]


def test_stats_counts_a_built_dataset_by_names_only_where_they_are_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build(make_release(tmp_path / "raw"), tmp_path / "MIS")
    told = measure(tmp_path / "MIS")["balance"]
    assert told["test_real"] is None  # it has no twins
    assert told["train"] is not None
    assert told["train"]["objects"] is None  # nobody says what its pictures show
    things = {"test_hard/0": ["a cup", "a log"]}
    (tmp_path / "things.json").write_text(json.dumps(things))
    words = ["stats", str(tmp_path / "MIS"), str(tmp_path / "out"), "--things", str(tmp_path / "things.json")]
    assert main(words) == 0
    said = json.loads(capsys.readouterr().out)["balance"]
    assert said == measure(tmp_path / "MIS", things=things)["balance"]
    assert said == json.loads((tmp_path / "out" / "stats.json").read_text())["balance"]
