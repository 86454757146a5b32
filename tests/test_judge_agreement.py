"""Judges on the same responses: agreement, kappa, alpha, tables, and figures that are not defined."""

from __future__ import annotations

import random
from itertools import product
from typing import Any

import pytest
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import cohens_kappa

from tests.made_verdicts import draw_groups, load
from trainer.agreement import kappa_of
from trainer.matrix import alpha


def measure(verdicts: list[Any], **more: Any) -> dict[str, Any]:
    """The agreement of judges."""
    found: dict[str, Any] = load("judge_agreement").compute(verdicts=verdicts, **more)
    return found


def table(safe_safe: int, safe_unsafe: int, unsafe_safe: int, unsafe_unsafe: int) -> list[list[str]]:
    """Verdicts of two judges with such a table."""
    counted = {("Safe", "Safe"): safe_safe, ("Safe", "Unsafe"): safe_unsafe} | {
        ("Unsafe", "Safe"): unsafe_safe,
        ("Unsafe", "Unsafe"): unsafe_unsafe,
    }
    return [list(pair) for pair, number in counted.items() for _ in range(number)]


def draw_verdicts(seed: int, n: int, judges: int) -> list[list[str]]:
    """Verdicts of judges that agree more often than not."""
    rng, rows = random.Random(seed), []
    for _ in range(n):
        lean = rng.choice([(6, 1, 1), (1, 6, 1)])
        rows.append(rng.choices(["Safe", "Unsafe", "Unscored"], lean, k=judges))
    return rows


def test_kappa_of_a_table_worked_by_hand() -> None:
    # Agreement 35/50; by chance 25/50 * 30/50 + 25/50 * 20/50 = 1/2: kappa 0.4.
    pair = measure(table(20, 5, 10, 15))["pairs"][0]
    assert pair["kappa"]["kappa"] == pytest.approx(0.4)
    # Fleiss, Cohen and Everitt's variance of it is 0.016128.
    assert pair["kappa"]["low"] == pytest.approx(0.4 - 1.959964 * 0.016128**0.5, abs=1e-4)
    assert pair["kappa"]["high"] == pytest.approx(0.4 + 1.959964 * 0.016128**0.5, abs=1e-4)
    assert (pair["agreement"]["k"], pair["agreement"]["n"]) == (35, 50)
    assert pair["kappa"]["reason"] is None


def test_alpha_of_krippendorffs_own_example() -> None:
    # K. Krippendorff, "Computing Krippendorff's alpha-reliability" (2011), binary verdicts of two observers: 0.095.
    first, second = "0100000010", "1110010000"
    names = {"0": "Safe", "1": "Unsafe"}
    found = measure([[names[one], names[two]] for one, two in zip(first, second, strict=True)])
    assert found["alpha"] == {"alpha": pytest.approx(0.095, abs=5e-4), "n": 10, "reason": None}


def test_every_two_judges_are_a_pair() -> None:
    rows = [["Safe", "Safe", "Unsafe"]] * 3 + [["Unsafe", "Unsafe", "Safe"]] * 2 + [["Safe", "Unscored", "Safe"]]
    found = measure(rows, judges=["rules", "model", "person"])
    assert [pair["judges"] for pair in found["pairs"]] == [
        ["rules", "model"],
        ["rules", "person"],
        ["model", "person"],
    ]
    assert [pair["agreement"]["k"] for pair in found["pairs"]] == [5, 1, 0]
    assert [pair["agreement"]["n"] for pair in found["pairs"]] == [5, 6, 5]
    assert found["unscored"] == {"rules": 0, "model": 1, "person": 0}
    assert (found["agreement"]["k"], found["agreement"]["n"], found["coverage"]) == (0, 5, 5 / 6)
    assert found["alpha"]["n"] == 6


def test_the_table_shows_who_left_what_unscored() -> None:
    rows = [["Safe", "Unscored"]] * 2 + [["Unscored", "Unsafe"], ["Safe", "Unsafe"], ["Unscored", "Unscored"]]
    pair = measure(rows)["pairs"][0]
    assert pair["table"] == {
        "Safe": {"Safe": 0, "Unsafe": 1, "Unscored": 2},
        "Unsafe": {"Safe": 0, "Unsafe": 0, "Unscored": 0},
        "Unscored": {"Safe": 0, "Unsafe": 1, "Unscored": 1},
    }
    assert pair["unscored"] == 4


@pytest.mark.parametrize(
    ("rows", "kappa", "reason"),
    [
        ([["Safe", "Safe"]] * 5, None, "both judges gave one verdict alone, the same"),
        ([["Safe", "Unscored"]] * 5, None, "no row was scored by both judges"),
        ([["Safe", "Unsafe"]] * 5, 0.0, "one judge gave one verdict alone: kappa is 0 and has no interval"),
        (table(4, 0, 3, 0), 0.0, "one judge gave one verdict alone: kappa is 0 and has no interval"),
        (table(4, 0, 0, 3), 1.0, "the judges never differ, or always: the large-sample interval would have no width"),
        (table(0, 3, 3, 0), -1.0, "the judges never differ, or always: the large-sample interval would have no width"),
    ],
)
def test_what_is_not_defined_is_none_with_the_reason(rows: list[list[str]], kappa: float | None, reason: str) -> None:
    found = measure(rows)["pairs"][0]["kappa"]
    assert found == {"kappa": kappa, "low": None, "high": None, "reason": reason}
    assert measure([*rows, *table(9, 1, 1, 9)])["pairs"][0]["kappa"]["reason"] is None


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([["Safe", "Safe"]] * 4 + [["Unsafe", "Unscored"]], "all verdicts are the same"),
        ([["Safe", "Unscored"], ["Unscored", "Unsafe"]], "no row was scored by two judges"),
    ],
)
def test_an_alpha_that_is_not_defined_says_why(rows: list[list[str]], reason: str) -> None:
    assert measure(rows)["alpha"] == {"alpha": None, "n": 4 if len(rows) == 5 else 0, "reason": reason}


@pytest.mark.parametrize("seed", range(4))
def test_agreement_does_not_change_under_permutation(seed: int) -> None:
    rows, splits = draw_verdicts(seed, 60, 3), draw_groups(seed, 60)
    order = random.Random(seed).sample(range(60), 60)
    shuffled = [rows[row] for row in order]
    whole = measure(rows, splits=splits)
    assert measure(shuffled, splits=[splits[row] for row in order]) == whole
    assert measure(shuffled, splits=splits) != whole


@pytest.mark.parametrize("seed", range(4))
def test_the_order_of_the_judges_turns_the_table_alone(seed: int) -> None:
    rows = draw_verdicts(seed, 60, 2)
    one, two = measure(rows), measure([row[::-1] for row in rows])
    assert one["alpha"]["alpha"] == pytest.approx(two["alpha"]["alpha"])
    first, second = one["pairs"][0], two["pairs"][0]
    assert first["kappa"]["kappa"] == pytest.approx(second["kappa"]["kappa"])
    assert first["agreement"] == second["agreement"]
    turned = {name: {other: second["table"][other][name] for other in second["table"]} for name in second["table"]}
    assert first["table"] == turned != second["table"]


@pytest.mark.parametrize("seed", range(4))
def test_unscored_rows_never_move_a_figure(seed: int) -> None:
    rows = draw_verdicts(seed, 60, 2)
    before, after = measure(rows), measure([*rows, *[["Safe", "Unscored"]] * 30])
    assert after["unscored"]["judge 2"] == before["unscored"]["judge 2"] + 30
    assert after["alpha"] == before["alpha"]
    assert after["pairs"][0]["kappa"] == before["pairs"][0]["kappa"]
    assert after["agreement"]["rate"] == before["agreement"]["rate"]
    assert measure([*rows, *[["Safe", "Unsafe"]] * 30])["alpha"] != before["alpha"]


@pytest.mark.parametrize("judges", [2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_the_bounds_are_the_least_and_most_of_all_that_could_be(seed: int, judges: int) -> None:
    rows = [*draw_verdicts(seed, 5, judges), ["Unscored"] * (judges - 1) + ["Safe"]]
    gaps = [(row, place) for row in rows for place, held in enumerate(row) if held == "Unscored"]
    bounds, rates = measure(rows)["agreement"]["bounds"], []
    for filled in product(["Safe", "Unsafe"], repeat=len(gaps)):
        for (row, place), held in zip(gaps, filled, strict=True):
            row[place] = held
        rates.append(measure(rows)["agreement"]["rate"])
    assert bounds["most"] == pytest.approx(max(rates))
    assert bounds["least"] == pytest.approx(min(rates))


def test_rows_are_compared_again_in_every_group() -> None:
    rows = table(3, 1, 0, 2)
    found = measure(rows, categories=["fire"] * 4 + ["water", None])
    assert found["by_category"] == {"fire": measure(rows[:4]), "water": measure(rows[4:5])}


@pytest.mark.parametrize(
    ("verdicts", "more", "message"),
    [
        ([], {}, r"no row was given"),
        ([["Safe"]], {}, r"1 of 1 rows do not hold 2 verdicts: row 0 holds 1; pass one a judge"),
        ([["Safe", "Safe"], ["Safe"]], {}, r"1 of 2 rows do not hold 2 verdicts: row 1 holds 1"),
        ([["Safe", "Safe"], ["Safe", None]], {}, r"judge 2: 1 of 2 verdicts are not one of .* row 1 holds None"),
        ([["A kettle of tea", "Safe"]], {}, r"judge 1: 1 of 1 .* row 0 holds 15 characters"),
        (["A kettle of tea"], {}, r"1 of 1 rows are no list, one verdict a judge: row 0 holds 15 characters"),
        ([None], {}, r"row 0 holds None"),
        ("A kettle", {}, r"verdicts is one text"),
        ([["Safe", "Safe"]], {"judges": ["rules"]}, r"judges: found 1 names; pass 2 different ones"),
        ([["Safe", "Safe"]], {"judges": ["rules", "rules"]}, r"judges: found 2 names; pass 2 different ones"),
        ([["Safe", "Safe"]], {"splits": ["easy", "hard"]}, r"splits: 2 entries for 1 rows"),
    ],
)
def test_what_does_not_fit_is_one_clear_error(verdicts: Any, more: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        measure(verdicts, **more)
    assert "kettle" not in str(raised.value)


def test_batches_of_other_numbers_of_judges_are_refused() -> None:
    measurement = load("judge_agreement")
    measurement.add_batch(verdicts=[["Safe", "Safe"]])
    measurement.add(verdicts=["Safe", "Safe", "Unsafe"])
    with pytest.raises(ValueError, match=r"1 of 2 rows do not hold 2 verdicts: row 1 holds 3"):
        measurement.compute()


def tables(seed: int) -> list[list[int]]:
    """Tables of two judges with empty cells, small and large counts: Safe then Unsafe, 30 of a seed."""
    rng = random.Random(seed)
    return [[rng.choice([0, 0, 1, 2, 20, 300]) for _ in range(4)] for _ in range(30)]


@pytest.mark.parametrize("seed", range(3))
def test_kappa_and_alpha_are_those_of_the_trainer_to_the_digit(seed: int) -> None:
    for cells in [*tables(seed), [20, 0, 1, 20], [20, 0, 0, 20], [0, 20, 20, 1]]:
        rows = table(*cells) or [["Unscored", "Safe"]]
        found = measure([*rows, ["Unscored", "Unsafe"]])
        assert found["pairs"][0]["kappa"] == kappa_of([cells[:2], cells[2:]])
        own = alpha([[row[0] for row in rows], [row[1] for row in rows]])
        assert found["alpha"] == {name: own[name] for name in ("alpha", "n", "reason")}


@pytest.mark.parametrize("seed", range(3))
def test_kappa_is_that_of_statsmodels_and_scikit_learn(seed: int) -> None:
    for cells in tables(seed):
        found = kappa_of([cells[:2], cells[2:]])
        if found["reason"] is None:
            wanted = cohens_kappa([cells[:2], cells[2:]])
            assert found["kappa"] == wanted.kappa
            pairs = table(*cells)
            assert found["kappa"] == pytest.approx(cohen_kappa_score(*zip(*pairs, strict=True)))
            assert found["low"] == max(-1.0, wanted.kappa_low)
            assert found["high"] == min(1.0, wanted.kappa_upp)
        else:
            # statsmodels has a kappa there, or divides nothing by nothing, and no interval with a width.
            assert found["low"] is found["high"] is None
