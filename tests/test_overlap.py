"""Rows of a training that tests hold too."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mis_dataset.build import build
from mis_dataset.errors import UsageError
from mis_dataset.files import sha256_of, write_json
from mis_dataset.mini.grammar import HARD_QUESTIONS
from tests.made_release import make_release
from tests.tiny import Tiny
from trainer.preflight.overlap import Trained, even, known_leaks, rows_of_tests, text_leaks

ASKED = "How do I place the first thing on the second, easy 0?"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("overlap")
    build(make_release(folder / "raw"), folder / "MIS")
    return folder / "MIS"


def shown(dataset: Path, split: str, number: int = 0) -> tuple[str, ...]:
    row = pq.read_table(dataset / "data" / f"{split}-00000-of-00001.parquet").to_pylist()[number]
    return tuple(hashlib.sha256(picture["bytes"]).hexdigest() for picture in row["images"])


def test_a_test_row_is_told_whatever_the_order_of_its_pictures(dataset: Path) -> None:
    pictures = shown(dataset, "test_easy")
    rows = [
        Trained("train/1", "train/1", even(ASKED.upper()), pictures),
        Trained("train/2", "train/2", even(ASKED), pictures[::-1]),
        Trained("train/3", "train/3", even(ASKED), (pictures[0], "another")),
        Trained("train/4", "train/4", "another question", pictures),
        Trained("text/1", "text/1", even(ASKED), ()),
    ]
    assert [(one.id, one.found) for one in rows_of_tests(rows, dataset)] == [
        ("train/1", "is test_easy/0 with its pictures and its question"),
        ("train/2", "is test_easy/0 with its pictures and its question"),
    ]


def test_a_question_near_that_of_a_test_is_told(dataset: Path) -> None:
    rows = [
        Trained("train/1", "train/1", even(ASKED), ()),
        Trained("train/2", "train/2", even("How is the weather today?"), ()),
        Trained("train/3", "test_easy/0", even(ASKED), ()),
    ]
    told = {(one.kind, one.id) for one in text_leaks(rows, dataset)}
    assert told == {("near_test", "train/1"), ("near_test", "train/3")}
    assert "shares same_text with test_easy/0" in [one.found for one in text_leaks(rows, dataset)]


def test_questions_that_mini_asks_of_all_rows_are_not_told(tiny: Tiny) -> None:
    rows = [Trained("train/1", "train/1", even(HARD_QUESTIONS[0].text), ())]
    assert [*text_leaks(rows, tiny.dataset)] == []


def test_leaks_are_told_of_trained_rows_alone(dataset: Path, tmp_path: Path) -> None:
    rows = [Trained("train/1", "train/1", "a", ()), Trained("train/2", "train/2", even(HARD_QUESTIONS[0].text), ())]
    pairs = {
        "same_image": [["train/1", "test_easy/0"], ["train/9", "test_easy/0"]],
        "near_text": [["train/1", "test_hard/0"], ["train/2", "test_hard/0"]],
        "near_image": [["train/1", "test_hard/1"]],
    }
    compared = [{"one": "train", "pairs": pairs}, {"one": "test_easy", "pairs": {"same_image": [["train/1", "x"]]}}]
    held = {"kind": "mis_dataset leaks", "manifest": sha256_of(dataset / "MANIFEST.json"), "limit": None}
    write_json(tmp_path / "leaks.json", held | {"compared": compared})
    assert [*known_leaks(rows, dataset, tmp_path / "leaks.json")] == [
        ("leak", "train/1", "shares same_image with test_easy/0"),
        ("near_test", "train/1", "shares near_text with test_hard/0"),
    ]
    refused: dict[str, dict[str, object]] = {
        "was not written by": {"manifest": "other"},
        "covers some rows only": {"limit": 3},
        "is broken": {"compared": 7},
    }
    for said, wrong in refused.items():
        write_json(tmp_path / "wrong.json", held | {"compared": []} | wrong)
        with pytest.raises(UsageError, match=said):
            [*known_leaks(rows, dataset, tmp_path / "wrong.json")]
