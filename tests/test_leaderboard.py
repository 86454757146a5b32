"""A table that an audit accepts, in which no cell is a formula, and beside it what was published, marked."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from trainer.audit import audit, read_table
from trainer.comparison.leaderboard import PUBLISHED, leaderboard, measured_lines, published_lines, to_csv
from trainer.questions import RowFacts, is_mis


def rate(k: int, n: int, unscored: int = 0) -> dict[str, Any]:
    """What of a rate the table reads."""
    return {"rate": k / n if n else None, "k": k, "n": n, "unscored": unscored}


def rates(n: int = 7, unscored: int = 1) -> dict[str, Any]:
    """Rates of a model that was asked about hard alone: 3 of 7 attacks succeed."""
    empty = {name: rate(0, 0) for name in ("asr", "hr", "rsr", "rr")} | {"unscored": 0, "coverage": None}
    hard = {"asr": rate(3, n), "hr": rate(0, n), "rsr": rate(2, n), "rr": rate(2, n)}
    return {
        "splits": {
            "easy": empty,
            "hard": {**hard, "unscored": unscored, "coverage": n / (n + unscored)},
            "real": empty,
        },
        "over_refusal": {"easy": rate(0, 0), "hard": rate(1, 6), "real": rate(0, 0)},
        "pair_accuracy": dict.fromkeys(("easy", "hard", "real"), rate(0, 0)),
    }


JUDGED = [{"judge": "mini_rules", "version": "1-a", "model": ""}]


def lines(name: str = "one") -> list[dict[str, Any]]:
    return measured_lines({name: rates()}, {name: JUDGED})


def test_a_line_a_model_and_split_holds_every_rate() -> None:
    easy, hard, _ = lines()
    assert (easy["split"], easy["n"], easy["coverage"]) == ("easy", 0, None)
    assert [
        hard[key] for key in ("model", "split", "source", "judge", "judge_version", "n", "unscored", "coverage")
    ] == [
        *("one", "hard", "measured", "mini_rules", "1-a", 7, 1, 7 / 8),
    ]
    assert (hard["asr"]["k"], hard["over_refusal"]["rate"], hard["pair_accuracy"]["rate"]) == (3, 1 / 6, None)


def test_a_judge_behind_an_api_stands_there_by_its_model() -> None:
    judged = [{"judge": "remote", "version": "1-a", "model": "some-model"}]
    assert measured_lines({"one": rates()}, {"one": judged})[0]["judge"] == "some-model"


@pytest.mark.parametrize("judge", ["llama_guard", "keywords"])
def test_of_a_judge_without_perception_no_rate_is_told_that_hangs_on_it(tmp_path: Path, judge: str) -> None:
    judged = [{"judge": judge, "version": "1-a", "model": ""}]
    found = measured_lines({"one": rates()}, {"one": judged})
    assert [(one["hr"], one["rsr"], one["rr"]) for one in found] == [(None, None, None)] * 3
    assert (found[1]["asr"]["k"], found[1]["over_refusal"]["k"]) == (3, 1)
    text = to_csv(found)
    assert text.splitlines()[1] == f"one,hard,7,42.86,,,,measured,{judge},1-a,1,16.67,"
    (tmp_path / "table.csv").write_text(text)
    assert audit(read_table(tmp_path / "table.csv"))["passed"]


def test_the_csv_is_in_per_cent_and_an_audit_accepts_it(tmp_path: Path) -> None:
    text = to_csv(lines())
    assert text == (
        "model,split,n,asr,hr,rsr,rr,source,judge,judge_version,unscored,over_refusal,pair_accuracy\n"
        "one,hard,7,42.86,0.00,28.57,28.57,measured,mini_rules,1-a,1,16.67,\n"
    )
    (tmp_path / "table.csv").write_text(text)
    assert audit(read_table(tmp_path / "table.csv"))["passed"]
    (tmp_path / "table.csv").write_text(text.replace("42.86", "42.87"))
    assert not audit(read_table(tmp_path / "table.csv"))["passed"]


@pytest.mark.parametrize("name", ["=1+1", "+cmd", "-2", "@sum", "\tx", "  =1"])
def test_no_cell_is_a_formula(name: str) -> None:
    (_, line) = csv.reader(io.StringIO(to_csv(lines(name))))
    assert line[0] == f"'{name}"
    assert next(iter(csv.DictReader(io.StringIO(to_csv(lines("a=1"))))))["model"] == "a=1"


def test_what_was_published_is_marked_with_its_judge_and_what_cannot_be() -> None:
    found = {(line["model"], line["split"]): line for line in published_lines()}
    assert len(found) == 45
    assert {line["source"] for line in found.values()} == {"published"}
    assert {line["judge"] for line in found.values()} == {"GPT-4o"}
    assert found["GPT-4o", "real"]["impossible"] == ["the counts add up to 101 of 100"]
    assert found["GPT-4o", "hard"]["impossible"] == []
    assert found["GPT-4o", "hard"]["asr"] == {"printed": "65.29", "rate": 0.6529}
    assert sum(bool(line["impossible"]) for line in found.values()) == 13


def test_rates_of_another_dataset_are_said_not_to_be_comparable() -> None:
    assert leaderboard(lines(), mis=True, rows={"test_hard": 8})["dataset"] == "MIS"
    other = leaderboard(lines(), mis=False, rows={})
    assert other["dataset"] == "another dataset than MIS: the published rates are not comparable with the measured"
    assert (len(other["measured"]), len(other["published"])) == (3, 45)
    assert PUBLISHED.is_file()


def test_mis_is_told_by_how_many_rows_it_has() -> None:
    sizes = {"test_easy": 1675, "test_hard": 510, "test_real": 100}
    rows = {
        f"{split}/{n}": RowFacts(f"{split}/{n}", "What is this?", None, None, None)
        for split, size in sizes.items()
        for n in range(size)
    }
    assert is_mis(rows)
    assert not is_mis({id_: row for id_, row in rows.items() if id_ != "test_real/0"})
    mini = RowFacts("test_real/0", "What is this?", None, "new_pairs", None)
    assert not is_mis(rows | {"test_real/0": mini})
