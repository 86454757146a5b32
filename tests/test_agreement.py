"""Judges against each other and against people: figures counted by hand."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.made_runs import DECLINE, HELP, QUESTION, THINGS, write_responses, write_verdicts
from trainer import agreement
from trainer.agreement import against_labels, agree, kappa_of, read_labels
from trainer.files import ArtefactError
from trainer.sidecars import sidecar_path

ONE_VERDICT = "one judge gave one verdict alone: kappa is 0 and has no interval"


def two_judges(folder: Path, cells: dict[tuple[str, str], int]) -> tuple[Path, Path]:
    """Verdict files with so many rows of each pair of verdicts."""
    pairs = [pair for pair, count in cells.items() for _ in range(count)]
    level = {"Safe": 1, "Unsafe": 1, "Unscored": 0}
    one = {f"test_hard/{n}": (a, level[a]) for n, (a, _) in enumerate(pairs)}
    two = {f"test_hard/{n}": (b, level[b]) for n, (_, b) in enumerate(pairs)}
    return write_verdicts(folder / "a.jsonl", one), write_verdicts(folder / "b.jsonl", two, "minilm")


def test_kappa_is_that_of_the_textbook(tmp_path: Path) -> None:
    # 20 both Safe, 15 both Unsafe, 5 and 10 apart: observed 0.7, by chance 0.5, kappa 0.4.
    cells = {("Safe", "Safe"): 20, ("Safe", "Unsafe"): 5, ("Unsafe", "Safe"): 10, ("Unsafe", "Unsafe"): 15}
    found = agree(*two_judges(tmp_path, {**cells, ("Unscored", "Safe"): 3}))
    assert found["judges"] == ["mini_rules", "minilm"]
    assert found["all"]["kappa"]["kappa"] == pytest.approx(0.4)
    assert found["all"]["kappa"]["low"] < 0.4 < found["all"]["kappa"]["high"]
    assert (found["all"]["agreement"]["k"], found["all"]["agreement"]["n"]) == (35, 50)
    assert found["all"]["unscored"] == 3
    assert found["splits"]["test_hard"]["table"] == {
        "Safe": {"Safe": 20, "Unsafe": 5},
        "Unsafe": {"Safe": 10, "Unsafe": 15},
    }
    assert found["labels"] is None


def test_opposite_judges_have_negative_kappa_and_equal_ones_kappa_one(tmp_path: Path) -> None:
    opposite = agree(*two_judges(tmp_path / "o", {("Safe", "Unsafe"): 5, ("Unsafe", "Safe"): 5}))
    equal = agree(*two_judges(tmp_path / "e", {("Safe", "Safe"): 5, ("Unsafe", "Unsafe"): 5}))
    assert opposite["all"]["kappa"]["kappa"] == pytest.approx(-1)
    assert equal["all"]["kappa"]["kappa"] == pytest.approx(1)


def test_a_judge_of_one_verdict_has_a_kappa_without_an_interval(tmp_path: Path) -> None:
    found = agree(*two_judges(tmp_path, {("Safe", "Safe"): 159, ("Unsafe", "Safe"): 1}))
    assert found["all"]["kappa"] == {"kappa": 0.0, "low": None, "high": None, "reason": ONE_VERDICT}
    found = agree(*two_judges(tmp_path / "o", {("Safe", "Safe"): 700, ("Safe", "Unsafe"): 100}))
    assert found["all"]["kappa"] == {"kappa": 0.0, "low": None, "high": None, "reason": ONE_VERDICT}


def test_an_interval_of_kappa_ends_at_one(tmp_path: Path) -> None:
    found = kappa_of([[20, 0], [1, 20]])
    assert (found["kappa"], found["high"], found["reason"]) == (pytest.approx(0.951, abs=1e-3), 1.0, None)
    # Most of 41 rows apart.
    assert kappa_of([[0, 20], [20, 1]])["low"] == -1.0
    # Full agreement is no certainty: the large-sample interval has no width there.
    full = kappa_of([[20, 0], [0, 20]])
    assert (full["kappa"], full["low"], full["high"]) == (1.0, None, None)


def test_kappa_over_one_verdict_only_is_none(tmp_path: Path) -> None:
    found = agree(*two_judges(tmp_path, {("Safe", "Safe"): 5}))
    reason = "both judges gave one verdict alone, the same"
    assert found["all"]["kappa"] == {"kappa": None, "low": None, "high": None, "reason": reason}
    assert found["all"]["agreement"]["rate"] == 1.0


def test_files_with_other_ids_are_refused(tmp_path: Path) -> None:
    one = write_verdicts(tmp_path / "a.jsonl", {"test_hard/0": ("Safe", 1), "test_hard/1": ("Safe", 1)})
    two = write_verdicts(tmp_path / "b.jsonl", {"test_hard/0": ("Safe", 1)})
    with pytest.raises(ArtefactError, match=r"1 ids stand in one only \(first: \['test_hard/1'\]\)"):
        agree(one, two)


def line(number: int, response: str, label: str, perception: int = 1, model: str = "base") -> dict[str, Any]:
    return {
        "id": f"test_hard/{number}",
        "model": model,
        "question": QUESTION,
        "things": list(THINGS),
        "response": response,
        "label": label,
        "perception": perception,
    }


def write_labels(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in lines))
    return path


LINES = [
    line(0, HELP, "helps"),
    line(1, HELP, "helps", 2),
    line(2, DECLINE, "helps"),
    line(3, DECLINE, "declines"),
    line(4, "The candle is red.", "declines"),
    line(5, HELP, "unclear"),
    line(0, DECLINE, "declines", model="contrast"),
]


def test_sensitivity_and_specificity_are_those_counted_by_hand(tmp_path: Path) -> None:
    found = against_labels("mini_rules", read_labels(write_labels(tmp_path / "labels.jsonl", LINES)))
    assert (found["sensitivity"]["k"], found["sensitivity"]["n"]) == (2, 3)
    assert (found["specificity"]["k"], found["specificity"]["n"]) == (2, 2)
    assert (found["perception"]["k"], found["perception"]["n"]) == (4, 5)
    assert (found["unscored"], found["unclear"]) == (1, 1)
    assert found["models"]["contrast"]["sensitivity"]["rate"] is None
    assert found["models"]["contrast"]["specificity"]["n"] == 1
    # Wilson interval of 2 of 3.
    assert round(found["sensitivity"]["low"], 3) == 0.208


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ({"label": "maybe"}, "label is helps"),
        ({"perception": 0}, "perception 1, 2 or 3"),
        ({"extra": 1}, "keys are"),
        ({"things": ["candle"]}, "not enough values"),
    ],
)
def test_a_broken_label_is_named(tmp_path: Path, broken: dict[str, Any], says: str) -> None:
    path = write_labels(tmp_path / "labels.jsonl", [LINES[0], {**LINES[1], **broken}])
    with pytest.raises(ArtefactError, match="line 2 is no label") as error:
        read_labels(path)
    assert says in str(error.value)


def test_a_last_label_without_an_end_is_read_and_half_of_one_refused(tmp_path: Path) -> None:
    path = write_labels(tmp_path / "labels.jsonl", LINES)
    path.write_text(path.read_text().rstrip("\n"))
    assert len(read_labels(path)) == len(LINES)
    path.write_text(path.read_text()[:-5])
    with pytest.raises(ArtefactError, match=f"line {len(LINES)} is no label"):
        read_labels(path)


def test_a_response_is_labelled_once(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="test_hard/0 of base stands there twice"):
        read_labels(write_labels(tmp_path / "labels.jsonl", [LINES[0], LINES[0]]))


def test_the_verb_writes_both_judges_against_labels(tmp_path: Path) -> None:
    one, two = two_judges(tmp_path, {("Safe", "Safe"): 3, ("Unsafe", "Unsafe"): 2, ("Safe", "Unsafe"): 1})
    labels = write_labels(tmp_path / "labels.jsonl", LINES)
    parser = argparse.ArgumentParser()
    agreement.add_arguments(parser)
    out = tmp_path / "agreement.json"
    found = agreement.run(parser.parse_args([str(one), str(two), str(out), "--labels", str(labels)]))
    assert found["kappa"] == pytest.approx(2 / 3)
    written = json.loads(out.read_text())
    assert set(written["labels"]) == {"mini_rules", "minilm"}
    assert written["labels"]["minilm"]["unclear"] == 1
    before = {file: file.stat().st_mtime_ns for file in (out, sidecar_path(out))}
    agreement.run(parser.parse_args([str(one), str(two), str(out), "--labels", str(labels)]))
    assert {file: file.stat().st_mtime_ns for file in before} == before


def test_the_judges_on_a_hundred_real_responses_that_a_reader_labelled() -> None:
    labels = read_labels(Path(__file__).parent / "fixtures" / "reader_labels.jsonl")
    assert Counter(label.model for label in labels) == {"base": 50, "contrast": 50}
    rules, minilm = (against_labels(judge, labels) for judge in ("mini_rules", "minilm"))
    assert [(rules[rate]["k"], rules[rate]["n"]) for rate in ("sensitivity", "specificity")] == [(77, 77), (23, 23)]
    assert (rules["perception"]["k"], rules["unscored"], rules["unclear"]) == (99, 0, 0)
    assert minilm["specificity"]["k"] == minilm["specificity"]["n"] == 23
    assert (minilm["sensitivity"]["k"], minilm["sensitivity"]["n"], minilm["sensitivity"]["unscored"]) == (76, 76, 1)


def test_verdicts_of_other_responses_are_refused(tmp_path: Path) -> None:
    paths = []
    for name, text in (("a", HELP), ("b", DECLINE)):
        write_responses(tmp_path / name / "responses.jsonl", {"test_hard/0": text})
        paths.append(write_verdicts(tmp_path / name / "verdicts.jsonl", {"test_hard/0": ("Safe", 1)}))
    with pytest.raises(ArtefactError, match="were made from other responses, things or rows"):
        agree(*paths)
