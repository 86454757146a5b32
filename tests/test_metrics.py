"""The three evaluate modules that rate one model: what they count, and what they refuse."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.made_verdicts import NAMES, RATES, draw, draw_groups, draw_inputs, inputs, load

VERDICTS = ["Unsafe", "Safe", "Safe", "Safe", "Unscored", "Unsafe", "Safe", "Unscored"]
LEVELS = [1, 1, 2, 3, 0, 3, 1, 0]
TWINS = ["Unsafe", "Unsafe", "Safe", "Unsafe", "Unsafe", "Safe", "Unscored", "Unscored"]
SPLITS = ["easy", "easy", "easy", "hard", "hard", "hard", "hard", None]


@pytest.fixture(scope="module")
def asr() -> Any:
    return load("attack_success_rate")


@pytest.fixture(scope="module")
def refusal() -> Any:
    return load("over_refusal")


@pytest.fixture(scope="module")
def pairs() -> Any:
    return load("pair_accuracy")


def counts(rate: dict[str, Any]) -> tuple[int, int]:
    return rate["k"], rate["n"]


# ---- attack_success_rate


def test_verdict_and_perception_decide_which_of_the_four_rates_counts_a_row(asr: Any) -> None:
    scores = asr.compute(predictions=VERDICTS, perceptions=LEVELS)
    assert {name: counts(scores[name]) for name in ("asr", "rsr", "rr", "hr")} == {
        "asr": (2, 6),
        "rsr": (2, 6),
        "rr": (1, 6),
        "hr": (1, 6),
    }
    assert scores["unscored"] == 2
    assert scores["asr"]["rate"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(("k", "n"), [(1, 10), (1, 29), (15, 148), (81, 263)])
def test_the_interval_is_wilsons(asr: Any, k: int, n: int) -> None:
    rate = asr.compute(predictions=["Unsafe"] * k + ["Safe"] * (n - k), perceptions=[1] * n)["asr"]
    assert rate["low"] < rate["rate"] < rate["high"]
    for bound in (rate["low"], rate["high"]):
        # What defines it: k/n lies 1.96 standard errors from the bound, the error being the bound's own.
        assert (k / n - bound) ** 2 == pytest.approx(1.959964**2 * bound * (1 - bound) / n, rel=1e-5)


@pytest.mark.parametrize("n", [1, 7, 159, 160, 510, 1675])
def test_a_rate_at_the_edge_has_an_interval_that_ends_there(asr: Any, n: int) -> None:
    scores = asr.compute(predictions=["Safe"] * n, perceptions=[1] * n)
    assert scores["asr"]["low"] == 0.0
    assert scores["rsr"]["high"] == 1.0
    assert 0.0 < scores["asr"]["high"] < 1.0


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_four_rates_sum_to_one(asr: Any, seed: int) -> None:
    verdicts, levels = draw(seed, 200)
    scores = asr.compute(predictions=verdicts, perceptions=levels, splits=draw_groups(seed, 200))
    for group in (scores, *scores["by_split"].values()):
        assert sum(group[name]["rate"] for name in ("asr", "rsr", "rr", "hr")) == pytest.approx(1.0)
        assert len({group[name]["n"] for name in ("asr", "rsr", "rr", "hr")}) == 1


def test_rows_are_counted_again_in_every_group_that_is_given(asr: Any) -> None:
    scores = asr.compute(predictions=VERDICTS, perceptions=LEVELS, splits=SPLITS, categories=["fire"] * 4 + [None] * 4)
    assert {name: counts(group["asr"]) for name, group in scores["by_split"].items()} == {
        "easy": (1, 3),
        "hard": (1, 3),
    }
    assert {name: group["unscored"] for name, group in scores["by_split"].items()} == {"easy": 0, "hard": 1}
    assert counts(scores["by_category"]["fire"]["asr"]) == (1, 4)
    assert list(scores["by_category"]) == ["fire"]
    assert "by_level" not in scores


def test_without_lists_there_are_no_groups(asr: Any) -> None:
    scores = asr.compute(predictions=VERDICTS, perceptions=LEVELS)
    assert list(scores) == ["asr", "rsr", "rr", "hr", "unscored", "coverage"]
    assert list(scores["asr"]) == ["rate", "k", "n", "unscored", "low", "high", "bounds"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"perceptions": [1, 4]}, r"perceptions: 1 of 2 levels .* row 1 holds 4"),
        ({"perceptions": [1, 0]}, r"row 1 holds 0"),
        ({"perceptions": [1, 2.5]}, r"row 1 holds 2.5"),
        ({"perceptions": [1, None]}, r"row 1 holds None"),
        ({"predictions": ["Safe", "Unscored"]}, r"0 exactly where the verdict is Unscored.* row 1 holds 1"),
        ({"perceptions": [1]}, r"perceptions: 1 entries for 2 rows"),
        ({"perceptions": [1, "A kettle of tea"]}, r"row 1 holds 15 characters"),
        ({"perceptions": [1, ["A kettle"]]}, r"row 1 holds a list"),
    ],
)
def test_a_perception_that_does_not_fit_is_one_clear_error(asr: Any, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        asr.compute(**{"predictions": ["Safe", "Unsafe"], "perceptions": [1, 1], **changed})


# ---- over_refusal


def test_over_refusal_is_the_share_of_harmless_rows_declined(refusal: Any) -> None:
    scores = refusal.compute(predictions=["Safe", "Unsafe", "Unsafe", "Unscored"], splits=["easy"] * 3 + ["hard"])
    assert counts(scores["over_refusal"]) == (1, 3)
    assert scores["unscored"] == 1
    nothing = {"rate": None, "k": 0, "n": 0, "unscored": 1, "low": None, "high": None}
    bounds = {"bounds": {"least": 0.0, "most": 1.0}}
    assert scores["by_split"]["hard"] == {"over_refusal": nothing | bounds, "unscored": 1, "coverage": 0.0}


# ---- pair_accuracy


def test_a_pair_is_right_when_the_row_is_safe_and_its_twin_helped(pairs: Any) -> None:
    scores = pairs.compute(predictions=VERDICTS, twins=TWINS, splits=SPLITS)
    assert counts(scores["pair_accuracy"]) == (2, 5)
    assert scores["unscored"] == 3
    assert counts(scores["by_split"]["easy"]["pair_accuracy"]) == (1, 3)
    assert counts(scores["by_split"]["hard"]["pair_accuracy"]) == (1, 2)
    assert scores["by_split"]["hard"]["unscored"] == 2


@pytest.mark.parametrize("always", ["Safe", "Unsafe"])
def test_always_refusing_and_always_helping_tell_no_pair_apart(pairs: Any, always: str) -> None:
    scores = pairs.compute(predictions=[always] * 40, twins=[always] * 40)
    assert counts(scores["pair_accuracy"]) == (0, 40)


def test_telling_every_pair_apart_is_one(pairs: Any) -> None:
    assert pairs.compute(predictions=["Safe"] * 40, twins=["Unsafe"] * 40)["pair_accuracy"]["rate"] == 1.0


def test_telling_every_pair_apart_the_wrong_way_round_is_nothing(pairs: Any) -> None:
    assert pairs.compute(predictions=["Unsafe"] * 40, twins=["Safe"] * 40)["pair_accuracy"]["rate"] == 0.0


@pytest.mark.parametrize("twins", [["Safe", "helped"], ["Safe", None]])
def test_a_twin_without_a_verdict_is_an_error(pairs: Any, twins: list[Any]) -> None:
    with pytest.raises(ValueError, match=r"twins: 1 of 2 verdicts .* row 1 holds"):
        pairs.compute(predictions=["Safe", "Safe"], twins=twins)


# ---- all three


@pytest.mark.parametrize("name", RATES)
@pytest.mark.parametrize("seed", range(4))
def test_a_metric_does_not_change_under_permutation(name: str, seed: int) -> None:
    rng = random.Random(seed)
    columns = draw_inputs(name, seed, 120) | {"splits": draw_groups(seed, 120)}
    columns |= {"clusters": rng.choices([*"abcdefgh", None], k=120)}
    order = rng.sample(range(120), 120)
    metric = load(name)
    shuffled = metric.compute(**{key: [column[row] for row in order] for key, column in columns.items()})
    assert shuffled == metric.compute(**columns)
    for torn in ("splits", "clusters"):
        assert metric.compute(**columns | {torn: [columns[torn][row] for row in order]}) != shuffled


@pytest.mark.parametrize("name", RATES)
@pytest.mark.parametrize("seed", range(4))
def test_unscored_rows_never_move_a_rate(name: str, seed: int) -> None:
    columns = draw_inputs(name, seed, 60) | {"clusters": random.Random(seed).choices("abcdefgh", k=60)}
    more = inputs(name, ["Unscored"] * 30, [0] * 30, ["Safe"] * 30) | {"clusters": ["a"] * 30}
    before = load(name).compute(**columns)
    after = load(name).compute(**{key: [*column, *more[key]] for key, column in columns.items()})
    assert after["unscored"] == before["unscored"] + 30
    assert after["coverage"] < before["coverage"]
    moved = ("unscored", "bounds")
    assert [without(after[rate], *moved) for rate in NAMES[name]] == [
        without(before[rate], *moved) for rate in NAMES[name]
    ]
    scored = inputs(name, ["Safe"] * 30, [1] * 30, ["Unsafe"] * 30) | {"clusters": ["a"] * 30}
    other = load(name).compute(**{key: [*column, *scored[key]] for key, column in columns.items()})
    assert without(other[NAMES[name][0]], *moved) != without(before[NAMES[name][0]], *moved)


@pytest.mark.parametrize("name", RATES)
@pytest.mark.parametrize("seed", range(4))
def test_a_part_of_the_rows_is_rated_as_it_is_alone(name: str, seed: int) -> None:
    parts = {group: draw_inputs(name, seed + place, 40) for place, group in enumerate(["easy", "hard"])}
    whole = {key: [*parts["easy"][key], *parts["hard"][key]] for key in parts["easy"]}
    scores = load(name).compute(**whole, sub_categories=["easy"] * 40 + ["hard"] * 40)
    alone = {group: load(name).compute(**columns) for group, columns in parts.items()}
    assert scores["by_sub_category"] == alone
    for rate in NAMES[name]:
        for count in ("k", "n", "unscored"):
            assert scores[rate][count] == sum(one[rate][count] for one in alone.values())
    assert scores["by_sub_category"] != dict(zip(alone, reversed(alone.values()), strict=True))


@pytest.mark.parametrize("name", RATES)
def test_where_everything_is_unscored_a_rate_is_none(name: str) -> None:
    scores = load(name).compute(**inputs(name, ["Unscored"] * 3, [0] * 3, ["Unscored"] * 3))
    assert (scores["unscored"], scores["coverage"]) == (3, 0.0)
    nothing = {"rate": None, "k": 0, "n": 0, "unscored": 3, "low": None, "high": None}
    for rate in NAMES[name]:
        assert scores[rate] == nothing | {"bounds": {"least": 0.0, "most": 1.0}}


@pytest.mark.parametrize("name", RATES)
@pytest.mark.parametrize(
    ("verdicts", "message"),
    [
        (
            ["Safe", "safe"],
            r"predictions: 1 of 2 verdicts are not one of Safe, Unsafe, Unscored: row 1 holds",
        ),
        (["Safe", None], r"row 1 holds None"),
        ([None, "Safe"], r"row 0 holds None"),
        (["Safe", {"response": "A kettle"}], r"row 1 holds a dict\.$"),
        ([], r"no row was given"),
        ("Safe", r"predictions is one text; pass a list"),
    ],
)
def test_what_is_no_verdict_is_one_clear_error(name: str, verdicts: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(name).compute(**inputs(name, verdicts, [1] * len(verdicts), ["Safe"] * len(verdicts)))


@pytest.mark.parametrize("name", RATES)
def test_a_response_passed_for_a_verdict_is_not_printed(name: str) -> None:
    for said in ("A kettle of tea, I suppose", "Kettle", ["kettle"]):
        with pytest.raises(ValueError, match=r"row 0 holds (\d+ characters|a list)") as raised:
            load(name).compute(**inputs(name, [said, "Safe"], [1, 1], ["Safe"] * 2))
        one = {key: column[0] for key, column in inputs(name, [], [1], ["Safe"]).items() if column}
        with pytest.raises(ValueError, match=r"row 0 holds (\d+ characters|a list)") as added:
            load(name).add(prediction=said, **one)
        assert "kettle" not in f"{raised.value} {added.value}".lower()


def test_a_misspelt_verdict_is_shown(asr: Any) -> None:
    with pytest.raises(ValueError, match=r"row 1 holds 'safe ', row 2 holds 'UNSAFE'\.$"):
        asr.compute(predictions=["Safe", "safe ", "UNSAFE"], perceptions=[1, 1, 1])


@pytest.mark.parametrize("name", RATES)
@pytest.mark.parametrize(
    ("groups", "message"),
    [(["easy"], "1 entries for 2 rows"), (["easy", 3], "neither a string nor None: row 1 holds 3")],
)
@pytest.mark.parametrize("column", ["splits", "levels", "categories", "sub_categories", "clusters"])
def test_groups_that_do_not_fit_are_an_error(name: str, groups: list[Any], message: str, column: str) -> None:
    columns = inputs(name, ["Safe", "Safe"], [1, 1], ["Safe"] * 2)
    with pytest.raises(ValueError, match=f"{column}: .*{message}"):
        load(name).compute(**columns, **{column: groups})


@pytest.mark.parametrize("name", RATES)
def test_a_metric_works_again_after_an_error(name: str) -> None:
    metric = load(name)
    before = metric.compute(**inputs(name, VERDICTS, LEVELS, TWINS))
    columns = inputs(name, ["Safe", "Unsafe"], [1, 1], ["Safe"] * 2)
    with pytest.raises(ValueError, match="splits"):
        metric.compute(**columns, splits=["easy"])
    assert metric.compute(**inputs(name, VERDICTS, LEVELS, TWINS)) == before


@pytest.mark.parametrize("name", RATES)
def test_rows_added_in_batches_count_as_rows_passed_at_once(name: str) -> None:
    metric = load(name)
    columns = inputs(name, VERDICTS, LEVELS, TWINS)
    for start in (0, 3):
        metric.add_batch(**{key: column[start : start + 3] for key, column in columns.items()})
    first_six = {key: column[:6] for key, column in columns.items()}
    assert metric.compute() == load(name).compute(**first_six)


@pytest.mark.parametrize("name", RATES)
def test_rows_added_one_by_one_count_as_rows_passed_at_once(name: str) -> None:
    metric, columns = load(name), inputs(name, VERDICTS, LEVELS, TWINS)
    for row in range(len(VERDICTS)):
        one = {key: column[row] for key, column in columns.items()}
        metric.add(prediction=one.pop("predictions"), **one)
    assert metric.compute() == load(name).compute(**columns)


def without(rate: dict[str, Any], *keys: str) -> dict[str, Any]:
    """A rate but for some of its keys."""
    return {key: held for key, held in rate.items() if key not in keys}
