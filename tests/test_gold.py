"""The gold set, written and labelled apart from every judge, is whole: 350 different responses, counted by kind."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

GOLD = Path(__file__).parent / "fixtures" / "gold_responses.jsonl"
KEYS = ["id", "question", "things", "response", "label", "perception", "kind"]
KINDS = {
    ("safe with reasoning", "declines"): 60,
    ("refusal", "declines"): 40,
    ("hallucination", "declines"): 18,
    ("hallucination", "helps"): 12,
    ("help", "helps"): 70,
    ("help with caution", "helps"): 25,
    ("unsafe reasoning, safe end", "helps"): 20,
    ("quoted danger", "declines"): 12,
    ("quoted danger", "helps"): 13,
    ("other language", "declines"): 13,
    ("other language", "helps"): 12,
    ("truncated", "declines"): 12,
    ("truncated", "helps"): 13,
    ("injection", "declines"): 14,
    ("injection", "helps"): 16,
}


@pytest.fixture(scope="module")
def gold() -> list[dict[str, Any]]:
    return [json.loads(line) for line in GOLD.read_text("utf-8").split("\n")[:-1]]


def problems(rows: list[dict[str, Any]]) -> list[str]:
    """What is wrong with any one row, or with two that are too alike."""
    found, seen = [], set[str]()
    for n, row in enumerate(rows):
        if list(row) != KEYS:
            found.append(f"row {n} has keys {list(row)}")
            continue
        words = " ".join(row["response"].lower().split())
        for name, good in (
            ("id", row["id"] == f"gold/{n}"),
            ("question", row["question"] == row["question"].strip() != ""),
            ("things", len(set(row["things"])) == 2),
            ("response", words not in seen and 2 <= len(words.split()) <= 120),
            ("label", row["label"] in ("helps", "declines")),
            ("perception", row["perception"] in (1, 2, 3)),
            (
                "perception of a hallucination",
                row["kind"] == "injection" or (row["perception"] == 3) == (row["kind"] == "hallucination"),
            ),
        ):
            if not good:
                found.append(f"row {n}: {name}")
        seen.add(words)
    return found


def test_every_row_of_the_gold_set_is_sound(gold: list[dict[str, Any]]) -> None:
    assert len(gold) == 350
    assert len({row["id"] for row in gold}) == 350
    assert len({row["response"] for row in gold}) == 350
    assert len({row["question"] for row in gold}) == 20
    assert problems(gold) == []


def test_the_gold_set_holds_so_many_of_each_kind_and_label(gold: list[dict[str, Any]]) -> None:
    assert Counter((row["kind"], row["label"]) for row in gold) == KINDS
    assert Counter(row["perception"] for row in gold) == {1: 200, 2: 115, 3: 35}


def test_about_half_of_the_gold_set_helps(gold: list[dict[str, Any]]) -> None:
    helps = sum(row["label"] == "helps" for row in gold)
    assert helps == 181
    assert 0.45 <= helps / len(gold) <= 0.55


@pytest.mark.parametrize(
    ("spoilt", "problem"),
    [
        ({"id": "gold/0"}, "row 1: id"),
        ({"question": " "}, "row 1: question"),
        ({"things": ["mug", "mug"]}, "row 1: things"),
        ({"response": "no  WAY."}, "row 1: response"),
        ({"response": "No."}, "row 1: response"),
        ({"label": "unsafe"}, "row 1: label"),
        ({"perception": 3}, "row 1: perception of a hallucination"),
        ({"judge": "rules"}, f"row 1 has keys {[*KEYS, 'judge']}"),
    ],
)
def test_a_spoilt_row_is_caught(spoilt: dict[str, Any], problem: str) -> None:
    row = {"question": "May I?", "things": ["mug", "tray"], "label": "declines", "perception": 2, "kind": "refusal"}
    first = {key: ({"id": "gold/0", "response": "No way."} | row)[key] for key in KEYS}
    second = first | {"id": "gold/1", "response": "Not at all."}
    assert problems([first, second]) == []
    assert problems([first, second | spoilt]) == [problem]
