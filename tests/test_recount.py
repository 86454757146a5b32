"""What the counts of a report decide is counted anew; what cannot be is named."""

from __future__ import annotations

import doctest
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from cards import recount
from cards.recount import is_trusted, problems, wilson
from tests.made_reports import changed, group, make_comparison, make_leaderboard, make_report, model, rate, silenced

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


def test_examples_in_docstrings_hold() -> None:
    assert doctest.testmod(recount) == (0, 1)


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n), st.floats(0.5, n))))
def test_the_interval_is_the_one_that_the_metrics_give(counts: tuple[int, int, float]) -> None:
    k, n, effective = counts
    low, high = proportion_confint(k * effective / n, effective, method="wilson")
    assert wilson(k, n, effective) == pytest.approx((low if k else 0.0, high if k < n else 1.0), abs=1e-9)


def test_what_holds_has_no_problems() -> None:
    whole = [make_report(), make_leaderboard(), make_comparison(), json.loads((BENCHMARKS / "report.json").read_text())]
    assert [problems(one) for one in whole] == [[]] * 4
    assert problems(rate(0, 0)) == problems(rate(0, 0, 3) | {"bounds": {"least": 0.0, "most": 1.0}}) == []


HARD = ("splits", "hard")


@pytest.mark.parametrize(
    ("value", "keys", "message"),
    [
        (0.2, (*HARD, "asr", "rate"), "splits.hard.asr.rate: found 0.2, expected 1 of 40, 0.025000"),
        (41, (*HARD, "asr", "k"), "splits.hard.asr.k: found 41, expected at most n, 40"),
        (None, (*HARD, "asr", "low"), "splits.hard.asr: found [0.025, None,"),
        (0.01, (*HARD, "asr", "low"), "splits.hard.asr.low, high: found 0.010000 to"),
        (
            41.0,
            (*HARD, "asr", "n_effective"),
            "splits.hard.asr.n_effective: found 41.0, expected above 0 and at most n, 40",
        ),
        (0, (*HARD, "asr", "n_effective"), "splits.hard.asr.n_effective: found 0, expected above 0"),
        (20.0, (*HARD, "asr", "n_effective"), "the 95 % Wilson interval of 1 of 40, on 20 rows"),
        (0.5, (*HARD, "asr", "bounds", "most"), "splits.hard.asr.bounds.most: found 0.5, expected 1 of 40, 0.025000"),
        (0.0, (*HARD, "asr", "bounds", "least"), "splits.hard.asr.bounds.least: found 0.0, expected 1 of 40"),
        (0.5, (*HARD, "coverage"), "splits.hard.coverage: found 0.5, expected 40 of 40, 1.000000"),
        (1, (*HARD, "unscored"), "splits.hard.asr.unscored: found 0, expected 1, as beside it"),
        (rate(2, 40), (*HARD, "hr"), "splits.hard: ASR + HR + RSR + RR: found 42 of 40 rows, expected all 40"),
        (rate(0, 39, 1), (*HARD, "hr"), "splits.hard.hr.n: found 39, expected 40, as the others have"),
        (
            rate(40, 40),
            ("pair_accuracy", "hard"),
            "pair_accuracy.hard.k: found 40, expected at most 39, the rows that are",
        ),
        (
            rate(39, 40),
            ("pair_accuracy", "hard"),
            "pair_accuracy.hard.k: found 39, expected at most 38, the twins that",
        ),
        (
            rate(17, 41),
            ("pair_accuracy", "hard"),
            "pair_accuracy.hard.n: found 41, expected at most 40, the rows and twins",
        ),
        (0.9, ("pair_accuracy", "hard", "bounds", "most"), "bounds.most: found 0.9, expected at most 17 of 40"),
        (rate(1, 1) | {"n": 0, "k": 0}, ("over_refusal", "hard"), "expected null for rate, low and high"),
    ],
)
def test_what_cannot_be_is_named(value: object, keys: tuple[str, ...], message: str) -> None:
    rates = group(1, 2, 17)
    assert problems(rates) == []
    told = problems(changed(rates, value, *keys))
    assert any(message in one for one in told), told


SILENT = rate(0, 0) | {"reason": "the judge says nothing of perception"}
OF_JUDGE = ("settings", "judge", "judge")


def by(judge: str, **models: Any) -> dict[str, Any]:
    """A report by such a judge, without the sections that hold no four rates."""
    return {**changed(make_report(), judge, *OF_JUDGE), "models": models}


@pytest.mark.parametrize("unscored", [0, 2])
def test_three_rates_that_a_judge_does_not_say_may_be_missing(unscored: int) -> None:
    rates = silenced(model(1, 2, 17, unscored))
    assert problems(rates) == problems(silenced(group(1, 2, 17, unscored))) == []
    for judge in ("keywords", "llama_guard"):
        assert problems(by(judge, base=rates)) == []
    comparison = {**make_comparison(), "models": {"another": rates}}
    comparison["settings"]["another"]["judged_by"].append({"judge": "keywords", "version": "1-a", "model": ""})
    del comparison["leaderboard"]
    assert problems(comparison) == []


@pytest.mark.parametrize(
    ("value", "keys", "message"),
    [
        (rate(39, 40), (*HARD, "rsr"), "splits.hard: found hr, rr not measured, expected all of hr, rsr and rr"),
        (SILENT, (*HARD, "asr"), "splits.hard.asr.reason: found 'the judge says nothing of perception', expected none"),
        (..., (*HARD, "asr"), "splits.hard: found hr, rsr, rr not measured, expected all of hr, rsr and rr, and asr"),
        (..., (*HARD, "hr", "reason"), "splits.hard: found rsr, rr not measured, expected all of hr, rsr and rr"),
        ("no time", (*HARD, "hr", "reason"), "splits.hard.hr.reason: found 'no time', expected none, or of hr, rsr"),
        (0.0, (*HARD, "rr", "rate"), "expected null for rate, low and high, as nothing was scored"),
        (
            rate(0, 40) | {"reason": SILENT["reason"]},
            (*HARD, "rr"),
            "splits.hard.rr.n: found 40, expected 0, as it was",
        ),
        (3, (*HARD, "hr", "unscored"), "splits.hard.hr.unscored: found 3, expected 0, as beside it"),
        (SILENT, ("over_refusal", "hard"), "over_refusal.hard.reason: found"),
    ],
)
def test_nothing_else_may_be_missing(value: object, keys: tuple[str, ...], message: str) -> None:
    told = problems(changed(silenced(group(1, 2, 17)), value, *keys))
    assert any(message in one for one in told), told


def test_a_judge_that_speaks_of_perception_has_measured_all_four() -> None:
    rates = silenced(model(1, 2, 17))
    found = "found HR, RSR and RR that were not measured, expected them by"
    assert problems(by("mini_rules", base=model(1, 2, 17), contrast=rates)) == [f"models.contrast: {found} mini_rules"]
    before = {**by("mini_rules", base=model(1, 2, 17)), "before": rates, "probes": {"text": rates}}
    assert problems(before) == [f"probes.text: {found} mini_rules", f"before: {found} mini_rules"]
    comparison = {**make_comparison(), "models": {"another": rates}}
    assert problems(comparison)[0] == f"models.another: {found} openai"


def test_a_line_of_a_board_is_held_to_the_same() -> None:
    board = make_leaderboard()
    assert problems(changed(board, rate(39, 40), "measured", 1, "pair_accuracy")) == [
        "measured[1].pair_accuracy.k: found 39, expected at most 38, the twins that are helped"
    ]
    assert (
        problems(changed(board, 39, "measured", 1, "n"))[0] == "measured[1].n: found 39, expected 40, as the rates have"
    )


def test_an_interval_of_unknown_clusters_is_only_bounded_and_never_narrower() -> None:
    plain = {key: rate(10, 40)[key] for key in ("rate", "k", "n", "low", "high")}
    wide, narrow = plain | {"low": plain["low"] - 0.05}, plain | {"low": plain["low"] + 0.05}
    assert (problems(wide), is_trusted(plain), is_trusted(wide)) == ([], False, True)
    assert "or a wider one" in problems(narrow)[0]
    assert (is_trusted(rate(10, 40)), is_trusted(rate(10, 40, effective=12.5)), is_trusted(rate(0, 0))) == (
        False,
        True,
        False,
    )
    assert problems(rate(10, 40, effective=12.5)) == []


@pytest.mark.parametrize("value", [None, "1", True, [], {}, -1, 0.5, pytest.param(10**400, id="huge")])
def test_a_field_of_another_kind_is_left_to_the_schema(value: Any) -> None:
    for field in ("k", "n", "rate", "low", "unscored", "bounds", "n_effective"):
        broken = group(1, 2, 17)
        broken["splits"]["hard"]["asr"][field] = value
        assert isinstance(problems(broken), list)
