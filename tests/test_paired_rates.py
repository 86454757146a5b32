"""Two models on the same rows: difference, interval, test, non-inferiority, and what is left out."""

from __future__ import annotations

import importlib
import random
from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest, permutation_test
from statsmodels.stats.multitest import multipletests

from tests.made_verdicts import draw, draw_groups, load
from trainer.paired import paired_difference


def compare(first: list[Any], second: list[Any], **more: Any) -> dict[str, Any]:
    """The comparison of two models; Safe is a success where nothing else is said."""
    columns = {"predictions1": first, "predictions2": second, "success": "Safe", **more}
    found: dict[str, Any] = load("paired_rates").compute(**columns)
    return found


def four(both: int, only1: int, only2: int, neither: int) -> tuple[list[str], list[str]]:
    """Verdicts of two models with such a table."""
    first = ["Safe"] * (both + only1) + ["Unsafe"] * (only2 + neither)
    return first, ["Safe"] * both + ["Unsafe"] * only1 + ["Safe"] * only2 + ["Unsafe"] * neither


def test_a_comparison_is_newcombes_interval_and_mcnemars_test() -> None:
    # As in test_paired.py, by hand; 2 * P(at most 2 of 14 coins) = 2 * (1 + 14 + 91) / 2**14.
    found = compare(*four(20, 12, 2, 16))
    assert (found["difference"], found["low"], found["high"]) == pytest.approx((0.2, 0.0562, 0.3292), abs=1e-4)
    assert found["p"] == pytest.approx(212 / 2**14)
    assert found["table"] == {"both": 20, "only1": 12, "only2": 2, "neither": 16}
    assert (found["rate1"]["k"], found["rate2"]["k"], found["n"]) == (32, 22, 50)


@pytest.mark.parametrize("seed", range(6))
def test_a_comparison_is_that_of_the_report(seed: int) -> None:
    first, second = draw(seed, 70)[0], draw(seed + 50, 70)[0]
    scored = [
        (one == "Safe", two == "Safe") for one, two in zip(first, second, strict=True) if "Unscored" not in (one, two)
    ]
    wanted = paired_difference([one for one, _ in scored], [two for _, two in scored])
    found = compare(first, second)
    assert [found[key] for key in ("difference", "low", "high", "n")] == list(wanted)
    only1, only2 = found["table"]["only1"], found["table"]["only2"]
    assert found["p"] == pytest.approx(binomtest(only1, only1 + only2).pvalue)


@pytest.mark.parametrize("seed", range(3))
def test_a_comparison_is_that_of_the_report_to_the_digit_whatever_the_table(seed: int) -> None:
    rng = random.Random(seed)
    tables = [[rng.choice([0, 0, 1, 3, 20, 3000]) for _ in range(4)] for _ in range(30)]
    for cells in [*tables, [0, 30, 0, 0], [0, 0, 30, 0], [0, 0, 0, 9]]:
        first, second = four(*cells)
        if not first:
            continue
        wanted = paired_difference([one == "Safe" for one in first], [one == "Safe" for one in second])
        found = compare(first, second)
        assert tuple(found[key] for key in ("difference", "low", "high", "n")) == wanted
        assert wanted.low is not None
        assert wanted.high is not None
        assert -1 <= wanted.low <= wanted.high <= 1


@pytest.mark.parametrize("seed", range(4))
def test_swapping_the_models_turns_the_difference_round(seed: int) -> None:
    first, second = draw(seed, 60)[0], draw(seed + 50, 60)[0]
    clusters = random.Random(seed).choices("abcdefghijk", k=60)
    one, two = compare(first, second, clusters=clusters), compare(second, first, clusters=clusters)
    assert (one["rate1"], one["rate2"], one["p"]) == (two["rate2"], two["rate1"], two["p"])
    assert (one["difference"], one["low"], one["high"]) == pytest.approx(
        (-two["difference"], -two["high"], -two["low"])
    )
    assert one["difference"] != two["difference"]


@pytest.mark.parametrize("seed", range(2))
def test_a_comparison_does_not_change_under_permutation(seed: int) -> None:
    rng = random.Random(seed)
    columns: dict[str, list[Any]] = {"first": draw(seed, 60)[0], "second": draw(seed + 50, 60)[0]}
    columns |= {"splits": draw_groups(seed, 60), "clusters": rng.choices([*"abcdefgh", None], k=60)}
    columns["success"] = rng.choices(["Safe", "Unsafe"], k=60)
    order = rng.sample(range(60), 60)
    shuffled = {key: [column[row] for row in order] for key, column in columns.items()}
    assert compare(**shuffled) == compare(**columns)
    for torn in columns:
        assert compare(**columns | {torn: shuffled[torn]}) != compare(**columns)


@pytest.mark.parametrize("seed", range(4))
def test_unscored_rows_are_left_out_and_counted(seed: int) -> None:
    first, second = draw(seed, 60)[0], draw(seed + 50, 60)[0]
    clusters = random.Random(seed).choices("abcdefgh", k=60)
    before = compare(first, second, clusters=clusters)
    more = compare(first + ["Unscored"] * 20, second + ["Safe"] * 20, clusters=clusters + ["a"] * 20)
    assert more["unscored"] == before["unscored"] + 20
    assert more["coverage"] == before["n"] / 80
    same = [key for key in before if key not in ("unscored", "coverage", "bounds")]
    assert [more[key] for key in same] == [before[key] for key in same]
    scored = compare(first + ["Unsafe"] * 20, second + ["Safe"] * 20, clusters=clusters + ["a"] * 20)
    assert scored["difference"] < before["difference"]


def test_success_is_said_for_every_row() -> None:
    # A row and its twin: the first model declines both, the second tells them apart.
    found = compare(["Safe", "Safe"], ["Safe", "Unsafe"], success=["Safe", "Unsafe"])
    assert (found["rate1"]["k"], found["rate2"]["k"]) == (1, 2)
    assert compare(["Safe", "Safe"], ["Safe", "Unsafe"])["rate1"]["k"] == 2
    assert compare(["Safe", "Safe"], ["Safe", "Unsafe"], success="Unsafe")["rate1"]["k"] == 0


def test_groups_are_adjusted_by_holm() -> None:
    # p by hand: 2 / 2**8, 2 / 2**6, 2 / 2**5; times 3, 2 and 1, and never below the one before.
    sizes = {"fire": 8, "water": 6, "tools": 5}
    first = [verdict for size in sizes.values() for verdict in ["Safe"] * size] + ["Unscored"]
    second = ["Unsafe"] * 19 + ["Safe"]
    categories = [name for name, size in sizes.items() for _ in range(size)] + ["masks"]
    groups = compare(first, second, categories=categories)["by_category"]
    assert {name: one["p"] for name, one in groups.items()} == pytest.approx(
        {"fire": 0.0078125, "masks": None, "tools": 0.0625, "water": 0.03125}
    )
    assert {name: one["p_holm"] for name, one in groups.items()} == pytest.approx(
        {"fire": 0.0234375, "masks": None, "tools": 0.0625, "water": 0.0625}
    )
    assert "p_holm" not in compare(first, second)


# ---- clusters


@pytest.mark.parametrize("seed", range(4))
def test_clusters_of_one_row_change_nothing(seed: int) -> None:
    first, second = draw(seed, 60)[0], draw(seed + 50, 60)[0]
    plain, alone = compare(first, second), compare(first, second, clusters=[None] * 60)
    assert alone.pop("n_effective") == alone["n"]
    assert alone.pop("p") == pytest.approx(plain.pop("p"))
    assert alone == plain


@pytest.mark.parametrize("seed", range(6))
def test_with_clusters_the_test_is_exact_over_exchanges_of_whole_clusters(seed: int) -> None:
    rng = random.Random(seed)
    first, second = (rng.choices(["Safe", "Unsafe"], [5, 3], k=40), rng.choices(["Safe", "Unsafe"], k=40))
    clusters = rng.choices("abcdefghij", k=40)
    sums = [
        [sum(one == "Safe" for one, of in zip(verdicts, clusters, strict=True) if of == name) for name in "abcdefghij"]
        for verdicts in (first, second)
    ]
    # All 2**10 exchanges, since that is fewer than asked for.
    wanted = permutation_test(
        tuple(sums), lambda one, two: np.sum(one) - np.sum(two), permutation_type="samples", n_resamples=2000
    )
    assert compare(first, second, clusters=clusters)["p"] == pytest.approx(wanted.pvalue)


def test_a_question_asked_ten_times_is_one_coin() -> None:
    first, second = four(0, 60, 0, 0)
    clusters = [str(row // 10) for row in range(60)]
    found = compare(first, second, clusters=clusters)
    assert found["p"] == pytest.approx(2 / 2**6)
    assert (found["n"], found["n_effective"]) == (60, 6.0)
    plain = compare(first, second)
    assert plain["p"] < 1e-17
    assert found["low"] < plain["low"] < 1.0


def test_two_models_that_never_differ_leave_an_interval() -> None:
    found = compare(*four(10, 0, 0, 10))
    assert (found["difference"], found["p"]) == (0.0, 1.0)
    assert -0.3 < found["low"] < 0.0 < found["high"] < 0.3
    clustered = compare(*four(10, 0, 0, 10), clusters=[str(row // 5) for row in range(20)])
    assert clustered["low"] < found["low"]
    assert clustered["p"] == 1.0


# ---- many groups


@pytest.mark.parametrize("seed", range(4))
def test_p_of_groups_is_adjusted_as_statsmodels_does(seed: int) -> None:
    rng = random.Random(seed)
    first: list[str] = []
    second: list[str] = []
    groups: list[str] = []
    for group in range(rng.randint(1, 9)):
        both, only1, only2 = rng.choices([0, 1, 3, 8, 20], k=3)
        one, two = four(both, only1, only2, 1)
        first, second, groups = first + one, second + two, groups + [f"group {group}"] * len(one)
    found = compare(first, second, categories=groups)["by_category"]
    wanted = multipletests([one["p"] for one in found.values()], method="holm")[1]
    assert [one["p_holm"] for one in found.values()] == pytest.approx(list(wanted), rel=1e-12)


def test_any_p_is_adjusted_as_statsmodels_does() -> None:
    rng = np.random.default_rng(0)
    module = importlib.import_module(type(load("paired_rates")).__module__)
    # statsmodels collects garbage at every call: few sets, some of them large.
    for _ in range(8):
        # Powers, so that some are tiny; a few are equal, a few 1.
        p = np.round(rng.random(rng.integers(1, 60)) ** rng.choice([0.1, 1, 8]), 2 if rng.random() < 0.5 else 12)
        found = module._holm({str(place): float(one) for place, one in enumerate(p)})
        wanted = multipletests(p, method="holm")[1]
        assert [found[str(place)] for place in range(len(p))] == pytest.approx(list(wanted), rel=1e-12)


# ---- non-inferiority


@pytest.mark.parametrize(
    ("table", "found"),
    [((90, 5, 5, 0), "non-inferior"), ((40, 3, 5, 2), "not decided"), ((10, 0, 80, 10), "inferior")],
)
def test_the_interval_decides_whether_a_model_is_non_inferior(table: tuple[int, ...], found: str) -> None:
    one = compare(*four(*table), margin=0.1)
    reason = "the interval holds the margin" if found == "not decided" else None
    assert one["non_inferiority"] == {"margin": 0.1, "found": found, "reason": reason}
    assert (one["low"] > -0.1, one["high"] < -0.1) == (found == "non-inferior", found == "inferior")
    assert "non_inferiority" not in compare(*four(*table))


def test_a_margin_on_the_bound_itself_is_not_enough() -> None:
    low = -compare(*four(40, 3, 5, 2))["low"]
    assert compare(*four(40, 3, 5, 2), margin=low)["non_inferiority"]["found"] == "not decided"
    assert compare(*four(40, 3, 5, 2), margin=low + 1e-9)["non_inferiority"]["found"] == "non-inferior"


def test_what_is_unscored_never_decides() -> None:
    few = compare(["Safe"] * 60 + ["Unscored"] * 940, ["Safe"] * 1000, margin=0.1)
    assert (few["low"] > -0.1, few["coverage"], few["bounds"]) == (True, 0.06, {"least": -0.94, "most": 0.0})
    undone = "{} on the rows scored for both, but unscored rows could undo that"
    assert few["non_inferiority"]["found"] == "not decided"
    assert few["non_inferiority"]["reason"] == undone.format("non-inferior")
    worse = compare(["Unsafe"] * 60 + ["Unscored"] * 940, ["Safe"] * 60 + ["Unsafe"] * 940, margin=0.1)
    assert worse["high"] < -0.1
    assert worse["non_inferiority"]["found"] == "not decided"
    assert worse["non_inferiority"]["reason"] == undone.format("inferior")
    # A few that are missing undo nothing.
    assert compare(["Safe"] * 95 + ["Unscored"] * 5, ["Safe"] * 100, margin=0.1)["non_inferiority"]["reason"] is None
    assert (
        compare(["Unsafe"] * 60 + ["Unscored"] * 9, ["Safe"] * 69, margin=0.1)["non_inferiority"]["found"] == "inferior"
    )


@pytest.mark.parametrize("margin", [0, 1, -0.1, 5, "0.1", float("nan")])
def test_a_margin_that_is_no_fraction_is_refused(margin: Any) -> None:
    with pytest.raises(ValueError, match=r"margin: found .*; pass a fraction between 0 and 1"):
        compare(["Safe"], ["Safe"], margin=margin)


# ---- what is missing


@pytest.mark.parametrize("seed", range(4))
def test_the_bounds_are_the_least_and_most_of_all_that_could_be(seed: int) -> None:
    first, second = draw(seed, 6)[0], draw(seed + 50, 6)[0]
    first[0] = second[1] = "Unscored"
    gaps = [(column, row) for column in (first, second) for row, held in enumerate(column) if held == "Unscored"]
    bounds, differences = compare(first, second)["bounds"], []
    for filled in product(["Safe", "Unsafe"], repeat=len(gaps)):
        for (column, row), held in zip(gaps, filled, strict=True):
            column[row] = held
        differences.append(compare(first, second)["difference"])
    assert bounds == {"least": pytest.approx(min(differences)), "most": pytest.approx(max(differences))}


def test_over_nothing_there_is_no_figure() -> None:
    found = compare(["Unscored", "Safe"], ["Safe", "Unscored"], margin=0.1, splits=["easy", "hard"])
    assert (found["n"], found["unscored"], found["coverage"]) == (0, 2, 0.0)
    nothing = [found[key] for key in ("difference", "low", "high", "p")]
    assert nothing == [None] * 4
    assert found["rate1"] == {"rate": None, "k": 0, "n": 0, "low": None, "high": None}
    assert found["non_inferiority"] == {"margin": 0.1, "found": None, "reason": "no row was scored for both"}
    assert found["by_split"]["easy"]["p_holm"] is None


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"success": None}, r"success is missing"),
        ({"success": "good"}, r"success: 2 of 2 entries are neither Safe nor Unsafe"),
        ({"success": ["Safe"]}, r"success: 1 entries for 2 rows"),
        ({"success": ["Safe", "Unscored"]}, r"success: 1 of 2 .* row 1 holds 'Unscored'"),
        ({"second": ["Safe"]}, r"predictions2: 1 entries for 2 rows"),
        ({"second": ["Safe", None]}, r"predictions2: 1 of 2 verdicts .* row 1 holds None"),
        ({"first": ["Safe", "A kettle of tea"]}, r"predictions1: 1 of 2 verdicts .* row 1 holds 15 characters"),
        ({"first": [], "second": []}, r"no row was given"),
        ({"clusters": ["a"]}, r"clusters: 1 entries for 2 rows"),
        ({"categories": ["a", 5]}, r"categories: 1 entries are neither a string nor None: row 1 holds 5"),
    ],
)
def test_what_does_not_fit_is_one_clear_error(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        compare(**{"first": ["Safe", "Safe"], "second": ["Safe", "Unsafe"], **changed})
    assert "kettle" not in str(raised.value)


def test_rows_added_one_by_one_count_as_rows_passed_at_once() -> None:
    first, second = four(2, 1, 1, 1)
    for one, two in zip(first, second, strict=True):
        load("paired_rates").add(predictions1=one, predictions2=two)
    assert load("paired_rates").compute(success="Safe") == compare(first, second)
