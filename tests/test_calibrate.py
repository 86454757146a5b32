"""A judge against labelled responses: figures counted by hand, and no response in what is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.made_gold import NO, YES, gold_line, write_gold, write_wheel
from tests.made_runs import DECLINE, HELP, write_dataset
from tests.tiny import attempt, call
from trainer.agreement import read_labels
from trainer.calibrate import calibrate, measure
from trainer.files import ArtefactError, sha256_of
from trainer.judges.choice import Choice
from trainer.labelled import Gold, GoldResponse, read_gold
from trainer.sidecars import read_sidecar, sidecar_path

LINES = [
    gold_line(0, YES, "helps"),
    gold_line(1, YES, "helps"),
    gold_line(2, NO, "helps", "polite opening"),
    gold_line(3, NO, "declines", "refusal"),
    gold_line(4, "Keep the mug off the tray.", "declines", "warning"),
    gold_line(5, " ", "declines", "refusal"),
]


def rates(found: dict[str, Any]) -> dict[str, tuple[int, int]]:
    return {
        name: (found[name]["k"], found[name]["n"]) for name in ("sensitivity", "specificity", "accuracy", "coverage")
    }


def test_the_figures_are_those_counted_by_hand(tmp_path: Path) -> None:
    labelled = read_gold(write_gold(tmp_path / "gold.jsonl", LINES))
    found = calibrate(Choice("keywords"), Gold("gold.jsonl", None, "0"), {"gold": labelled}, "base")["sets"]["gold"]
    assert found["matrix"] == {
        "Unsafe": {"helps": 2, "declines": 1},
        "Safe": {"helps": 1, "declines": 1},
        "Unscored": {"helps": 0, "declines": 1},
    }
    assert rates(found) == {"sensitivity": (2, 3), "specificity": (1, 2), "accuracy": (3, 5), "coverage": (5, 6)}
    # Observed 3/5; by chance (3 * 3 + 2 * 2) / 25 = 13/25; kappa (15 - 13) / (25 - 13).
    assert found["kappa"]["kappa"] == pytest.approx(1 / 6)
    assert rates(found["kinds"]["refusal"]) == {
        "sensitivity": (0, 0),
        "specificity": (1, 1),
        "accuracy": (1, 1),
        "coverage": (1, 2),
    }
    assert list(found["kinds"]) == ["plain", "polite opening", "refusal", "warning"]


def test_a_judge_that_errs_always_has_kappa_minus_one() -> None:
    found = measure([("helps", "Safe")] * 4 + [("declines", "Unsafe")] * 4)
    assert (found["accuracy"]["rate"], found["kappa"]["kappa"]) == (0.0, pytest.approx(-1))


def test_a_judge_of_mini_judges_what_has_names_and_refuses_what_has_none(tmp_path: Path) -> None:
    lines = [gold_line(0, HELP, "helps"), gold_line(1, DECLINE, "declines")]
    gold = Gold("gold.jsonl", None, "0")
    named = read_gold(write_gold(tmp_path / "gold.jsonl", lines))
    assert calibrate(Choice("mini_rules"), gold, {"gold": named})["sets"]["gold"]["accuracy"]["rate"] == 1.0
    bare = read_gold(write_gold(tmp_path / "gold.jsonl", [lines[0], {**lines[1], "things": None}]))
    with pytest.raises(ArtefactError, match=r"which 1 responses have not; .* another judge \(minilm, keywords, "):
        calibrate(Choice("mini_rules"), gold, {"gold": bare})


def test_the_rule_judge_on_a_hundred_real_responses_is_as_agree_finds_it() -> None:
    labels = read_labels(Path(__file__).parent / "fixtures" / "reader_labels.jsonl")
    gold = [
        GoldResponse(
            f"{one.model}/{one.id}", one.question, one.things, one.response, one.label, one.model, one.perception
        )
        for one in labels
        if one.label != "unclear"
    ]
    found = calibrate(Choice("mini_rules"), Gold("reader_labels.jsonl", None, "0"), {"gold": gold})["sets"]["gold"]
    assert rates(found) == {
        "sensitivity": (77, 77),
        "specificity": (23, 23),
        "accuracy": (100, 100),
        "coverage": (100, 100),
    }
    assert list(found["kinds"]) == ["base", "contrast"]
    assert (found["perception"]["k"], found["perception"]["n"]) == (99, 100)


def test_the_verb_writes_figures_where_they_come_from_and_no_word_of_a_response(tmp_path: Path) -> None:
    gold, out = write_gold(tmp_path / "gold.jsonl", LINES), tmp_path / "out" / "calibration.json"
    code, line, error = attempt("calibrate", "keywords", gold, out, "--arm", "base")
    assert (code, error) == (0, "")
    assert json.loads(line)["sets"]["gold"]["specificity"] == 0.5
    written = json.loads(out.read_text())
    assert (written["judge"], written["judge_version"], written["arm"]) == ("keywords", "1-a", "base")
    assert written["gold"] == {"name": "gold.jsonl", "version": None, "sha256": sha256_of(gold)}
    assert read_sidecar(out).inputs == {"../gold.jsonl": sha256_of(gold)}
    said = out.read_text() + sidecar_path(out).read_text() + line
    assert [word for word in ("tray", "mug", "sorry") if word in said] == []


def test_the_verb_reads_a_wheel_and_writes_every_set(tmp_path: Path) -> None:
    wheel, out = write_wheel(tmp_path / "pyrit-1.1.0-py3-none-any.whl"), tmp_path / "calibration.json"
    code, line, error = attempt("calibrate", "keywords", "--pyrit", wheel, out)
    assert (code, error) == (0, "")
    found = json.loads(out.read_text())
    assert found["gold"]["version"] == "1.1.0"
    assert rates(found["sets"]["refusal"])["specificity"] == (2, 3)
    assert rates(found["sets"]["mini_refusal"])["coverage"] == (1, 2)
    assert rates(found["sets"]["objective"])["sensitivity"] == (14, 28)
    assert rates(found["sets"]["objective"]["kinds"]["cyber"])["sensitivity"] == (1, 2)
    assert found["published"]["refusal"] == {"judges": 2, "least": 0.6, "most": 0.8}
    assert [word for word in ("tray", "mug", "sorry") if word in out.read_text() + line] == []


def test_verdicts_are_kept_as_they_come_and_a_stopped_calibration_goes_on_to_the_same_figures(tmp_path: Path) -> None:
    gold, out = write_gold(tmp_path / "gold.jsonl", LINES), tmp_path / "c.json"
    kept = tmp_path / "c.json.verdicts.jsonl"
    call("calibrate", "keywords", gold, out)
    whole, figures = kept.read_bytes(), out.read_bytes()
    assert len(whole.splitlines()) == len(LINES)
    assert [word for word in ("tray", "mug", "sorry") if word.encode() in whole] == []
    planted = b"".join(whole.splitlines(keepends=True)[:4]).replace(b'"Safe"', b'"Unsafe"')
    kept.with_name(kept.name + ".part").write_bytes(planted + whole[:20])
    kept.unlink()
    out.unlink()
    call("calibrate", "keywords", gold, out)
    assert kept.read_bytes() == planted + b"".join(whole.splitlines(keepends=True)[4:])  # not judged again
    assert out.read_bytes() != figures
    gold.write_text(gold.read_text().replace("Keep the mug", "Take the mug"))
    code, _, error = attempt("calibrate", "keywords", gold, out)
    assert (code, "c.json.verdicts.jsonl was made with another input: gold.jsonl" in error) == (1, True)


def test_a_trial_takes_the_first_responses_of_every_set(tmp_path: Path) -> None:
    wheel, out = write_wheel(tmp_path / "pyrit-1.1.0-py3-none-any.whl"), tmp_path / "calibration.json"
    call("calibrate", "keywords", "--pyrit", wheel, out, "--limit", 2)
    assert {one["n"] for one in json.loads(out.read_text())["sets"].values()} == {2}
    assert read_sidecar(out).settings["limit"] == 2


def test_neither_or_both_kinds_of_gold_are_wrong_use(tmp_path: Path) -> None:
    gold = write_gold(tmp_path / "gold.jsonl", LINES)
    for words in ([tmp_path / "out.json"], [gold, tmp_path / "out.json", "--pyrit", gold]):
        code, line, error = attempt("calibrate", "keywords", *words)
        assert (code, line, error) == (2, "", "calibrate: give either GOLD or --pyrit WHEEL\n")
    assert not (tmp_path / "out.json").exists()


def test_responses_to_rows_and_to_twins_are_told_apart_where_the_dataset_is_given(tmp_path: Path) -> None:
    write_dataset(tmp_path / "MIS", {"test_hard": 3})
    ids = ["test_hard/0", "test_hard/2", "test_benign/0", "test_benign/1", "test_benign/2"]
    said = [(YES, "helps"), (NO, "helps"), (YES, "helps"), (NO, "declines"), (YES, "declines")]
    lines = [gold_line(0, *one) | {"id": id_} for id_, one in zip(ids, said, strict=True)]
    gold, out = write_gold(tmp_path / "gold.jsonl", lines), tmp_path / "c.json"
    call("calibrate", "keywords", gold, out, "--dataset", tmp_path / "MIS")
    found = json.loads(out.read_text("utf-8"))["sets"]["gold"]
    assert rates(found) == {"sensitivity": (2, 3), "specificity": (1, 2), "accuracy": (3, 5), "coverage": (5, 5)}
    sides = {side: rates(one) for side, one in found["sides"].items()}
    assert sides["rows"] == {"sensitivity": (1, 2), "specificity": (0, 0), "accuracy": (1, 2), "coverage": (2, 2)}
    assert sides["twins"] == {"sensitivity": (1, 1), "specificity": (1, 2), "accuracy": (2, 3), "coverage": (3, 3)}
    bare = tmp_path / "bare.json"
    call("calibrate", "keywords", gold, bare)
    assert "sides" not in json.loads(bare.read_text("utf-8"))["sets"]["gold"]
