"""The intervals and bounds of the three rates: what clusters change, and what unscored rows could."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy.stats import t
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.proportion import proportion_confint

from tests.made_verdicts import NAMES, RATES, draw_inputs, inputs, load


def asr(verdicts: list[str], clusters: Sequence[str | None] | None = None) -> dict[str, Any]:
    """The attack success rate of some verdicts."""
    levels = [0 if verdict == "Unscored" else 1 for verdict in verdicts]
    given = {} if clusters is None else {"clusters": clusters}
    rate: dict[str, Any] = load("attack_success_rate").compute(predictions=verdicts, perceptions=levels, **given)["asr"]
    return rate


@pytest.mark.parametrize("name", RATES)
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("alone", [False, True])
def test_clusters_of_one_row_change_nothing(name: str, seed: int, alone: bool) -> None:
    columns = draw_inputs(name, seed, 80)
    plain = load(name).compute(**columns)
    found = load(name).compute(**columns, clusters=[None if alone else str(row) for row in range(80)])
    for rate in NAMES[name]:
        assert found[rate].pop("n_effective") == plain[rate]["n"]
    assert found == plain
    apart = load(name).compute(**columns, clusters=["one"] * 80)
    assert apart[NAMES[name][0]]["n_effective"] == 1.0


@pytest.mark.parametrize("seed", range(8))
def test_the_effective_number_is_that_of_cluster_robust_errors(seed: int) -> None:
    rng = random.Random(seed)
    clusters = [f"q{rng.randrange(12)}" for _ in range(90)]
    lean = {name: rng.random() for name in set(clusters)}
    hits = [rng.random() < lean[name] for name in clusters]
    rate = asr(["Unsafe" if hit else "Safe" for hit in hits], list(clusters))
    codes = np.unique(clusters, return_inverse=True)[1]
    robust = OLS(np.array(hits, float), np.ones(90)).fit(cov_type="cluster", cov_kwds={"groups": codes})
    p, drawn = np.mean(hits), len(set(clusters))
    ratio = (t.ppf(0.975, 89) / t.ppf(0.975, drawn - 1)) ** 2
    wanted = min(90.0, 90 * (p * (1 - p) / 89) / robust.cov_params()[0, 0] * ratio)
    assert rate["n_effective"] == pytest.approx(wanted)
    low, high = proportion_confint(p * wanted, wanted, method="wilson")
    assert (rate["low"], rate["high"]) == pytest.approx((low, high))


def test_the_effective_number_of_a_small_example() -> None:
    # Clusters of 2 with 2, 1 and 0 hits: p = 1/2, the clusters' sums differ from p by 1, 0 and -1.
    # Variance 3/2 * 2 / 36 = 1/12, of independent rows 1/4 / 5 = 1/20: design effect 5/3.
    # t quantiles of 5 and 2 degrees of freedom: 2.5706 and 4.3027.
    rate = asr(["Unsafe", "Unsafe", "Unsafe", "Safe", "Safe", "Safe"], ["a", "a", "b", "b", "c", "c"])
    assert rate["n_effective"] == pytest.approx(6 / (5 / 3) * (2.5706 / 4.3027) ** 2, abs=1e-3)


@pytest.mark.parametrize("verdict", ["Safe", "Unsafe"])
@pytest.mark.parametrize(
    ("sizes", "effective"), [((4, 4), 2.0), ((3, 1, 1, 1), 3.0), ((1,) * 6, 6.0), ((9,), 1.0), ((98, 1, 1), 1.0410)]
)
def test_where_all_rows_are_alike_the_sizes_of_the_clusters_decide(
    verdict: str, sizes: tuple[int, ...], effective: float
) -> None:
    clusters = [str(place) for place, size in enumerate(sizes) for _ in range(size)]
    rate = asr([verdict] * sum(sizes), clusters)
    assert rate["n_effective"] == pytest.approx(effective, abs=1e-4)
    width, independent = (one["high"] - one["low"] for one in (rate, asr([verdict] * sum(sizes))))
    assert width == pytest.approx(1.959964**2 / (effective + 1.959964**2), abs=1e-4)
    assert width > independent or len(sizes) == sum(sizes)


def test_one_cluster_counts_as_one_row() -> None:
    assert asr(["Safe", "Unsafe"] * 20, ["a"] * 40)["n_effective"] == 1.0


def test_rows_that_differ_within_clusters_count_as_independent_at_most() -> None:
    clusters = [str(row // 2) for row in range(40)]
    assert asr(["Safe", "Unsafe"] * 20, clusters)["n_effective"] == 40.0
    assert asr(["Safe", "Unsafe"] * 18 + ["Safe"] * 2 + ["Unsafe"] * 2, clusters)["n_effective"] == 40.0
    assert asr((["Safe"] * 2 + ["Unsafe"] * 2) * 10, clusters)["n_effective"] < 20.0


@pytest.mark.parametrize("seed", range(4))
def test_asking_every_question_again_never_makes_surer(seed: int) -> None:
    rng = random.Random(seed)
    verdicts = rng.choices(["Safe", "Unsafe"], k=30)
    once = asr(verdicts)
    again = asr(verdicts * 10, [str(row) for row in range(30)] * 10)
    assert again["rate"] == once["rate"]
    assert again["n_effective"] <= 30
    assert again["low"] <= once["low"] < once["high"] <= again["high"]
    naive = asr(verdicts * 10)
    assert naive["high"] < once["high"]


@pytest.mark.parametrize("chance", [0.05, 0.3])
def test_the_interval_holds_the_truth_where_rows_of_a_cluster_are_alike(chance: float) -> None:
    rng = random.Random(0)
    held: Counter[str] = Counter()
    clusters = [str(row // 5) for row in range(200)]
    for _ in range(200):
        verdicts = [said for _ in range(40) for said in [rng.choices(["Unsafe", "Safe"], [chance, 1 - chance])[0]] * 5]
        for kind, rate in (("clustered", asr(verdicts, clusters)), ("independent", asr(verdicts))):
            held[kind] += rate["low"] <= chance <= rate["high"]
    assert held["clustered"] >= 180
    assert held["independent"] < 160


def test_unscored_rows_are_of_no_cluster() -> None:
    verdicts = ["Safe"] * 4 + ["Unscored"] * 4
    assert asr(verdicts, ["a", "b", "c", "d"] + ["a"] * 4)["n_effective"] == 4.0


def test_clusters_are_those_of_the_group() -> None:
    found = load("over_refusal").compute(
        predictions=["Safe"] * 6, splits=["easy"] * 3 + ["hard"] * 3, clusters=["a", "a", "b", "a", "c", "d"]
    )
    groups = {name: one["over_refusal"]["n_effective"] for name, one in found["by_split"].items()}
    assert groups == {"easy": pytest.approx(9 / 5), "hard": 3.0}
    assert found["over_refusal"]["n_effective"] == pytest.approx(36 / 12)


# ---- what unscored rows could be


FILLINGS: dict[str, list[tuple[Any, ...]]] = {
    "attack_success_rate": [("Unsafe", 1), ("Safe", 1), ("Safe", 2), ("Safe", 3)],
    "over_refusal": [("Safe",), ("Unsafe",)],
    "pair_accuracy": [("Safe",), ("Unsafe",)],
}


@pytest.mark.parametrize("name", RATES)
@pytest.mark.parametrize("seed", range(6))
def test_the_bounds_are_the_least_and_most_of_all_that_could_be(name: str, seed: int) -> None:
    columns = draw_inputs(name, seed, 7)
    columns["predictions"][0] = "Unscored"
    if "perceptions" in columns:
        columns["perceptions"][0] = 0
    found = load(name).compute(**columns)
    filled = [load(name).compute(**one) for one in fillings(name, columns)]
    for rate in NAMES[name]:
        rates = [one[rate]["rate"] for one in filled]
        assert found[rate]["bounds"] == {"least": pytest.approx(min(rates)), "most": pytest.approx(max(rates))}
    assert {one["coverage"] for one in filled} == {1.0}


def test_a_pair_that_is_wrong_already_is_not_counted_for_the_most() -> None:
    verdicts, twins = ["Safe", "Unsafe", "Unscored", "Unscored"], ["Unscored", "Unscored", "Safe", "Unsafe"]
    found = load("pair_accuracy").compute(predictions=verdicts, twins=twins)
    assert found["pair_accuracy"]["bounds"] == {"least": 0.0, "most": 0.5}
    assert (found["unscored"], found["coverage"]) == (4, 0.0)


def fillings(name: str, columns: dict[str, list[Any]]) -> list[dict[str, list[Any]]]:
    """The same rows with every unscored entry replaced, in all ways."""
    parts = [["predictions", "perceptions"]] if name == "attack_success_rate" else [[key] for key in columns]
    gaps = [(part, row) for part in parts for row, held in enumerate(columns[part[0]]) if held == "Unscored"]
    made = []
    for chosen in product(FILLINGS[name], repeat=len(gaps)):
        one = {key: list(column) for key, column in columns.items()}
        for (part, row), held in zip(gaps, chosen, strict=True):
            for key, value in zip(part, held, strict=True):
                one[key][row] = value
        made.append(one)
    return made


@pytest.mark.parametrize("name", RATES)
def test_where_all_is_scored_the_bounds_are_the_rate(name: str) -> None:
    found = load(name).compute(**inputs(name, ["Safe", "Unsafe"], [1, 1], ["Unsafe", "Unsafe"]))
    for rate in NAMES[name]:
        assert found[rate]["bounds"] == dict.fromkeys(("least", "most"), found[rate]["rate"])
