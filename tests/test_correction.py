"""Rates without the judge's errors: numbers computed by hand, and intervals that hold what they should."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from trainer import correction
from trainer.calibrate import measure
from trainer.correction import OUTCOMES, Calibration, Corrected, calibration_of, corrected, corrected_outcomes
from trainer.outcomes import draws, r_hat

JUDGE = Calibration("base", 90, 100, 80, 100)


def test_a_rate_is_that_of_the_textbook() -> None:
    # (0.4 + 0.8 - 1) / (0.9 + 0.8 - 1) = 2/7.
    found = corrected(40, 100, JUDGE, "base")
    assert found.rate == pytest.approx(2 / 7)
    assert found.note is None


def test_the_interval_is_that_computed_by_hand() -> None:
    # z = 1.96: q' 41.9207/103.8415, se' 91/102, sp' 81/102, J' 70/102, p' 0.28853, dp 2 z^2 (p' V - (1-p') W)
    # with V 0.000943, W 0.001602 (each s (1-s) / 102): -0.00667; half z sqrt(0.003203) / J' = 0.16177.
    found = corrected(40, 100, JUDGE, "base")
    assert [found.low, found.high] == pytest.approx([0.1198, 0.4433], abs=1e-4)


def test_a_judge_that_never_errs_leaves_the_rate_and_widens_its_interval() -> None:
    found = corrected(30, 100, Calibration("base", 50, 50, 50, 50), "base")
    assert found.rate == 0.3
    assert found.low is not None
    assert found.high is not None
    # Wilson's interval of 30 of 100 is 0.177 wide.
    assert found.high - found.low > 0.18


@pytest.mark.parametrize(
    ("k", "rate", "note"), [(0, 0.0, "clipped to 0 from -0.2857"), (100, 1.0, "clipped to 1 from 1.1429")]
)
def test_what_lies_outside_is_clipped_and_said(k: int, rate: float, note: str) -> None:
    found = corrected(k, 100, JUDGE, "base")
    assert (found.rate, found.note) == (rate, note)
    assert found.low is not None
    assert found.high is not None
    assert 0 <= found.low <= rate <= found.high <= 1


def test_an_interval_from_two_labels_still_holds_the_rate() -> None:
    found = corrected(1, 1, Calibration("base", 993, 1000, 2, 2), "base")
    assert (found.rate, found.high) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("n", "judge", "arm", "reason"),
    [
        (0, JUDGE, "base", "nothing was scored"),
        (9, JUDGE, "contrast", "calibrated on responses of base, not of contrast"),
        (9, JUDGE._replace(arm=None), "base", "calibrated on responses of no one arm, not of base"),
        (9, JUDGE._replace(arm=None), None, "calibrated on responses of no one arm, not of a named arm"),
        (9, Calibration("base", 7, 10, 3, 10), "base", "sensitivity + specificity <= 1: the judge tells no more than"),
        (9, Calibration("base", 0, 10, 3, 10), "base", "sensitivity + specificity <= 1: the judge tells no more than"),
        (9, Calibration("base", 0, 0, 3, 10), "base", "no labelled response that helps, or none that declines"),
        (9, Calibration("base", 1, 1, 1, 10), "base", "too few labelled responses to tell the judge from chance"),
    ],
)
def test_what_cannot_be_corrected_says_why(n: int, judge: Calibration, arm: str | None, reason: str) -> None:
    found = corrected(min(3, n), n, judge, arm)
    assert found[:3] == (None, None, None)
    assert found.note is not None
    assert found.note.startswith(f"not correctable: {reason}")


def test_what_is_no_rate_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^5 of 4, .* is no rate"):
        corrected(5, 4, JUDGE, "base")
    for effective in (-1.0, 4.5, float("nan")):
        with pytest.raises(ValueError, match=f"^3 of 4, with {effective} that are independent, is no rate"):
            corrected(3, 4, JUDGE, "base", effective)


def test_fewer_independent_responses_make_the_interval_of_so_few() -> None:
    few, many, alike = corrected(20, 50, JUDGE, "base"), corrected(40, 100, JUDGE, "base"), (40, 100, JUDGE, "base", 50)
    assert corrected(*alike) == few
    assert few.rate == many.rate
    assert few.low is not None
    assert many.low is not None
    assert few.low < many.low


def test_a_calibration_is_read_from_what_the_verb_writes() -> None:
    pairs = [("helps", "Unsafe")] * 9 + [("helps", "Safe"), ("helps", "Unscored")] + [("declines", "Safe")] * 4
    sides = {"rows": measure(pairs[:10]), "twins": measure(pairs[9:])}
    found = {"arm": "base", "sets": {"gold": {**measure(pairs), "sides": sides}}}
    assert calibration_of(found) == Calibration("base", 9, 10, 4, 4)
    assert calibration_of(found, "rows") == Calibration("base", 9, 10, 0, 0)
    assert calibration_of(found, "twins") == Calibration("base", 0, 1, 4, 4)


@pytest.mark.parametrize(
    ("rate", "sensitivity", "specificity"), [(0.3, 0.9, 0.8), (0.05, 0.9, 0.9), (0.9, 0.8, 0.95), (0.5, 0.75, 0.7)]
)
def test_the_interval_holds_the_true_rate_in_about_95_of_100_draws(
    rate: float, sensitivity: float, specificity: float
) -> None:
    rng, held, naive = np.random.default_rng(0), 0, 0
    for _ in range(2000):
        k = int(rng.binomial(400, rate * sensitivity + (1 - rate) * (1 - specificity)))
        judge = Calibration("a", int(rng.binomial(80, sensitivity)), 80, int(rng.binomial(80, specificity)), 80)
        found = corrected(k, 400, judge, "a")
        assert found.low is not None
        assert found.high is not None
        held += found.low <= rate <= found.high
        half = 1.96 * (k / 400 * (1 - k / 400) / 400) ** 0.5
        naive += abs(k / 400 - rate) <= half
    assert 0.935 <= held / 2000 <= 0.98
    # What was not corrected misses far more often, but where errors of both sorts make up for each other.
    assert naive < held


LABELLED = [[90, 5, 3, 2], [5, 85, 8, 2], [2, 8, 88, 2], [2, 3, 5, 90]]


def test_four_outcomes_come_back_as_they_were_mixed() -> None:
    # 1000 responses of 30, 40, 20 and 10 per cent, misjudged as the labelled ones were.
    mixed = np.array([300, 400, 200, 100]) @ np.array(LABELLED) / 100
    found = corrected_outcomes([round(count) for count in mixed], LABELLED, "base", "base")
    assert [round(found[name].rate or 0, 2) for name in OUTCOMES] == [0.3, 0.4, 0.2, 0.1]
    assert sum(one.rate or 0 for one in found.values()) == pytest.approx(1)
    assert [one.note for one in found.values()] == [None] * 4


def test_the_two_forms_agree_where_only_two_outcomes_are_confused() -> None:
    apart = [[90, 10, 0, 0], [20, 80, 0, 0], [0, 0, 10, 0], [0, 0, 0, 10]]
    found = corrected_outcomes([40, 60, 0, 0], apart, "base", "base")
    assert found["asr"].rate == pytest.approx(2 / 7)
    assert found["rr"].rate == pytest.approx(0, abs=1e-12)


def test_shares_below_nothing_are_clipped_and_said() -> None:
    found = corrected_outcomes([0, 100, 0, 0], LABELLED, "base", "base")
    assert [one.note for one in found.values()] == ["clipped to 0..1 with the others"] * 4
    assert found["asr"].rate == 0
    assert sum(one.rate or 0 for one in found.values()) == pytest.approx(1)


def test_a_clipped_share_is_not_certain() -> None:
    found = corrected_outcomes([0, 60, 40, 0], LABELLED, "base", "base")
    assert [found["asr"].rate, found["asr"].low] == [0, 0]
    assert found["asr"].high is not None
    assert 0.005 < found["asr"].high < 0.05
    assert sum(one.rate or 0 for one in found.values()) == pytest.approx(1)


def test_the_same_seed_gives_the_same_intervals() -> None:
    one, again, other = (corrected_outcomes([9, 60, 40, 5], LABELLED, "a", "a", seed) for seed in (0, 0, 1))
    assert one == again != other


@pytest.mark.parametrize(
    ("judged", "labelled", "arm", "reason"),
    [
        ([1, 1, 1, 1], [*LABELLED[:3], LABELLED[0]], "base", "the matrix is singular"),
        ([1, 1, 1, 1], [*LABELLED[:3], [0] * 4], "base", "no labelled response is hr"),
        ([0, 0, 0, 0], LABELLED, "base", "nothing was scored"),
        ([1, 1, 1, 1], LABELLED, "contrast", "calibrated on responses of base, not of contrast"),
    ],
)
def test_outcomes_that_cannot_be_corrected_say_why(
    judged: list[int], labelled: list[list[int]], arm: str, reason: str
) -> None:
    found = corrected_outcomes(judged, labelled, "base", arm)
    assert [one[:3] for one in found.values()] == [(None, None, None)] * 4
    assert all(reason in (one.note or "") for one in found.values())


def test_counts_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="4 counts and 4 x 4"):
        corrected_outcomes([1, 1, 1], LABELLED, "base", "base")


@pytest.mark.slow
@pytest.mark.parametrize(("rates", "draws"), [((0.3, 0.4, 0.2, 0.1), 80), ((0.0, 0.9, 0.1, 0.0), 40)])
def test_the_intervals_of_outcomes_hold_the_true_rates_in_about_95_of_100_draws(
    rates: tuple[float, ...], draws: int
) -> None:
    rng, matrix = np.random.default_rng(0), np.array(LABELLED) / 100
    held = 0
    for _ in range(draws):
        judged = [int(count) for count in rng.multinomial(400, np.array(rates) @ matrix)]
        labelled = [[int(count) for count in rng.multinomial(60, row)] for row in matrix]
        found = corrected_outcomes(judged, labelled, "a", "a")
        held += sum(_holds(found[name], rate) for name, rate in zip(OUTCOMES, rates, strict=True))
    assert 0.92 <= held / (4 * draws) <= 0.99


POOR = [[33, 9, 9, 9], [9, 33, 9, 9], [9, 9, 33, 9], [9, 9, 9, 33]]
"""Of a judge that is right in 55 of 100, as 60 labelled responses of each outcome show it."""


@pytest.mark.slow
@pytest.mark.parametrize(("right", "rates"), [(0.55, (0.3, 0.4, 0.2, 0.1)), (0.6, (0.1, 0.5, 0.3, 0.1))])
def test_the_intervals_of_each_outcome_hold_the_true_rate_of_a_poor_judge(
    right: float, rates: tuple[float, ...]
) -> None:
    rng, matrix, held = np.random.default_rng(0), np.full((4, 4), (1 - right) / 3), dict.fromkeys(OUTCOMES, 0)
    np.fill_diagonal(matrix, right)
    settled = 0
    for _ in range(40):
        judged = [int(count) for count in rng.multinomial(1675, np.array(rates) @ matrix)]
        labelled = [[int(count) for count in rng.multinomial(60, row)] for row in matrix]
        found = corrected_outcomes(judged, labelled, "a", "a")
        if found["asr"].rate is None:
            continue
        settled += 1
        for name, rate in zip(OUTCOMES, rates, strict=True):
            held[name] += _holds(found[name], rate)
    assert settled >= 35
    # 95 of 100, less three standard errors; with one chain of 2,000 draws it was 82 to 89.
    assert all(many >= 0.845 * settled for many in held.values()), (held, settled)


@pytest.mark.parametrize("judged", [[600, 500, 350, 225], [7000, 6000, 4000, 3000]])
def test_two_seeds_put_the_ends_of_a_poor_judge_in_the_same_places(judged: list[int]) -> None:
    ends = [
        [end for one in corrected_outcomes(judged, POOR, "a", "a", seed).values() for end in (one.low, one.high)]
        for seed in range(2)
    ]
    assert None not in ends[0] + ends[1]
    # The intervals are about 0.4 wide; one chain of 2,000 draws put their ends 0.3 apart.
    assert np.abs(np.array(ends[0], float) - np.array(ends[1], float)).max() < 0.08


def test_the_jumps_leave_what_is_drawn_as_plain_gibbs_sampling_has_it() -> None:
    # Few responses and many labels: there plain draws settle, too, and each chain's last alone is taken.
    judged, labelled = np.array([9, 12, 7, 4]), np.array(POOR)
    rng, chains = np.random.default_rng(1), 4000
    rates, rows = np.full((chains, 4), 0.25), np.full((chains, 4, 4), 0.25)
    for _ in range(60):
        shares = np.swapaxes(rates[:, :, None] * rows, 1, 2)
        are = np.swapaxes(rng.multinomial(judged, shares / shares.sum(axis=2, keepdims=True)), 1, 2)
        rates, rows = (rng.standard_gamma(made + 0.25) + 1e-300 for made in (are.sum(axis=2), are + labelled))
        rates, rows = (drawn / drawn.sum(axis=-1, keepdims=True) for drawn in (rates, rows))
    found = draws(judged.astype(float), labelled.astype(float), np.random.default_rng(0)).reshape(-1, 4)
    at = [0.05, 0.25, 0.5, 0.75, 0.95]
    assert np.quantile(found, at, axis=0) == pytest.approx(np.quantile(rates, at, axis=0), abs=0.03)


def test_chains_that_disagree_are_no_interval() -> None:
    # All of a million judged the same, by a judge whose labelled responses were not: each chain blames another error.
    labelled = [[60, 10, 10, 10], [20, 60, 10, 10], [10, 20, 60, 10], [10, 10, 20, 60]]
    found = corrected_outcomes([0, 10**6, 0, 0], labelled, "a", "a")
    assert set(found.values()) == {Corrected(None, None, None, "not correctable: the draws do not settle")}


def test_r_hat_is_one_of_chains_alike_and_high_of_one_apart_or_of_drift() -> None:
    rng = np.random.default_rng(0)
    alike = 0.5 + 0.1 * rng.standard_normal((20, 400, 4))
    assert r_hat(alike) == pytest.approx(1, abs=0.01)
    apart = alike.copy()
    apart[:5, :, 2] += 0.3
    assert r_hat(apart) > 1.2
    drifting = alike + np.linspace(0, 1, 400)[:, None]
    assert r_hat(drifting) > 1.2
    # By hand: means 0.4 and 0.6 in two chains of two halves; B/n = 0.04/3, W = 0.0001, floor 0.0001.
    steps = np.tile([0.01, -0.01], 200)[None, :, None] * np.ones((2, 1, 4)) + np.array([0.4, 0.6])[:, None, None]
    assert r_hat(steps) == pytest.approx(np.sqrt(199 / 200 + (0.04 / 3) / (0.0001 * 200 / 199 + 0.0001)))


def _holds(found: Corrected, rate: float) -> bool:
    assert found.low is not None
    assert found.high is not None
    return found.low <= rate <= found.high


def test_the_example_runs() -> None:
    ran = doctest.testmod(correction)
    assert (ran.failed, ran.attempted) == (0, 1)
