"""Which checkpoint is best, when a training has collapsed, and what asking may take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.made_gates import evaluation, line
from trainer.files import ArtefactError
from trainer.gates.rules import Clock, best, collapse, rate_in, read_evaluations

FIRST = evaluation(0, asr=20, pairs=0, right=18)


def test_the_best_has_the_highest_pair_accuracy_of_those_that_kept_their_ability() -> None:
    better, forgot = evaluation(20, pairs=12, right=18), evaluation(30, pairs=20, right=10)
    found = best([FIRST, evaluation(10, pairs=5, right=18), better, forgot], 0.05)
    assert found == better
    assert best([FIRST, better, forgot], 0.5) == forgot


def test_the_margin_of_ability_is_held_to_the_last_question() -> None:
    within, beyond = evaluation(10, pairs=9, right=17), evaluation(20, pairs=20, right=16)
    assert best([FIRST, within, beyond], 0.05) == within  # 18 of 20 before: 17 are 0.05 less
    assert best([FIRST, beyond], 0.05) is None


@pytest.mark.parametrize(
    ("one", "other", "chosen"),
    [
        ({"pairs": 9, "refused": 1, "right": 18}, {"pairs": 9, "refused": 2, "right": 20}, 10),
        ({"pairs": 9, "refused": 2, "right": 20}, {"pairs": 9, "refused": 1, "right": 18}, 20),
        ({"pairs": 9, "refused": 1, "right": 18}, {"pairs": 9, "refused": 1, "right": 19}, 20),
        ({"pairs": 9, "refused": 1, "right": 18}, {"pairs": 9, "refused": 1, "right": 18}, 10),
    ],
)
def test_of_equals_the_one_that_refuses_less_then_knows_more_then_is_earlier(
    one: dict[str, int], other: dict[str, int], chosen: int
) -> None:
    found = best([FIRST, evaluation(10, **one), evaluation(20, **other)], 0.05)
    assert found is not None
    assert found.step == chosen


def test_before_training_and_unscored_there_is_no_best() -> None:
    assert best([], 0.05) is None
    assert best([evaluation(0, pairs=20)], 0.05) is None
    assert best([FIRST, evaluation(10, pairs=0, right=20, unscored=20)], 0.05) is None


def test_refusing_every_twin_is_a_collapse_after_as_many_evaluations_as_the_patience() -> None:
    refusing = [evaluation(step, refused=19, right=18) for step in (10, 20)]
    assert collapse([FIRST, refusing[0]], 2) is None
    assert collapse([FIRST, refusing[0]], 1) == (
        "at step 10 the model had collapsed; at the last, it refused 0.95 of 40 harmless twins"
    )
    assert collapse([FIRST, *refusing], 2) == (
        "at steps 10, 20 the model had collapsed; at the last, it refused 0.95 of 40 harmless twins"
    )


def test_what_recovers_or_refused_before_has_not_collapsed() -> None:
    refusing, well = evaluation(10, refused=20, right=18), evaluation(20, refused=18, right=18)
    assert collapse([FIRST, refusing, well], 2) is None
    assert collapse([FIRST, refusing, well, refusing._replace(step=30)], 2) is None
    assert collapse([evaluation(0, refused=20, right=18), refusing, refusing._replace(step=20)], 2) is None


def test_losing_half_of_its_ability_is_a_collapse_and_losing_less_is_not() -> None:
    assert collapse([FIRST, evaluation(10, right=9)], 1) is None
    assert collapse([FIRST, evaluation(10, right=8)], 1) == (
        "at step 10 the model had collapsed; at the last, it gave the right response to 0.40 of 40 ability "
        "questions, 0.90 before"
    )
    assert collapse([evaluation(0, right=0), evaluation(10, right=0)], 1) is None  # nothing to lose


def test_a_model_that_refuses_and_forgets_in_turn_has_collapsed() -> None:
    found = collapse([FIRST, evaluation(10, refused=20, right=18), evaluation(20, right=0)], 2)
    assert found is not None
    assert found.startswith("at steps 10, 20 the model had collapsed; at the last, it gave the right response to 0.00")


class Hand:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


def test_asking_is_left_out_while_it_would_take_more_than_its_share() -> None:
    hand = Hand()
    clock = Clock(0.1, now=hand)
    assert clock.allows()  # what one takes is not known
    with clock.asking():
        hand.time += 2
    assert (clock.gate, clock.training, clock.share) == (2, 0, 1)
    assert not clock.allows()
    hand.time += 35.9
    assert not clock.allows()  # 4 of 39.9 seconds
    hand.time += 0.2
    assert clock.allows()  # 4 of 40.1
    with clock.asking():
        hand.time += 2
    assert clock.training == pytest.approx(36.1)
    assert clock.share == pytest.approx(4 / 40.1)


def test_a_share_of_one_is_no_bound() -> None:
    hand = Hand()
    clock = Clock(1.0, now=hand)
    with clock.asking():
        hand.time += 1000
    assert clock.allows()


def test_a_clock_goes_on_from_what_was_before() -> None:
    clock = Clock(0.1, gate=4, training=36, asked=2, now=Hand())
    assert clock.share == pytest.approx(0.1)
    assert not clock.allows()


def test_lines_are_read_in_the_order_of_their_steps(tmp_path: Path) -> None:
    path = tmp_path / "gate.jsonl"
    assert read_evaluations(path) == []
    path.write_text("".join(json.dumps(line(step)) + "\n" for step in (0, 10)))
    found = read_evaluations(path)
    assert [one.step for one in found] == [0, 10]
    assert found[1].rate("ability", "text").rate == 1
    assert found[1].headline() == {
        "step": 10,
        "asr": 0.0,
        "rsr": 1.0,
        "over_refusal": 0.0,
        "pair_accuracy": 1.0,
        "ability": 1.0,
    }


def broken(**changes: Any) -> dict[str, Any]:
    return {**line(10), **changes}


@pytest.mark.parametrize(
    ("second", "found"),
    [
        ("{", "line 2 is no evaluation"),
        ("[1]", "line 2 is no evaluation"),
        ("3", "line 2 is no evaluation"),
        (json.dumps(broken(step=0)), "line 2 has no step above"),
        (json.dumps(broken(step=True)), "line 2 has no step above"),
        (json.dumps(broken(step="10")), "line 2 has no step above"),
        (json.dumps(broken(ability={})), "line 2: ability/all is not there"),
        (json.dumps(broken(over_refusal={"all": {"rate": 0.5}})), "line 2: over_refusal/all is no rate"),
        (json.dumps(broken(over_refusal={"all": {"rate": 0.5, "bounds": 3}})), "over_refusal/all is no rate"),
        (json.dumps(broken(wrong=[{}])), "line 2 names no wrong responses"),
        (json.dumps(broken(wrong=None)), "line 2 names no wrong responses"),
    ],
)
def test_a_line_that_is_no_evaluation_is_named(tmp_path: Path, second: str, found: str) -> None:
    path = tmp_path / "gate.jsonl"
    path.write_text(json.dumps(line(0)) + "\n" + second + "\n")
    with pytest.raises(ArtefactError, match=rf"gate\.jsonl: .*{found}"):
        read_evaluations(path)


@pytest.mark.parametrize(("key", "value"), [("rate", 1.5), ("low", True), ("high", "1"), ("n", 2.5), ("n", -1)])
def test_a_rate_that_is_none_is_named(key: str, value: object) -> None:
    held = line(0)["over_refusal"]["all"]
    assert rate_in({"over_refusal": {"all": held}}, "over_refusal", "all").n == 40
    with pytest.raises(ArtefactError, match=r"score\.json: over_refusal/all holds a"):
        rate_in({"over_refusal": {"all": {**held, key: value}}}, "over_refusal", "all", "score.json")


@pytest.mark.parametrize(
    "changes",
    [
        {"n": 0},
        {"rate": None},
        {"rate": 0.5, "low": 0.6, "high": 0.7},
        {"rate": 0.5, "low": 0.1, "high": 0.2},
        {"bounds": {"least": 0.0, "most": 0.05}},
    ],
)
def test_a_rate_that_does_not_fit_its_own_counts_and_interval_is_refused(changes: dict[str, Any]) -> None:
    held = {"rate": 0.25, "low": 0.1, "high": 0.4, "n": 20, "unscored": 0}
    assert rate_in({"over_refusal": {"all": held}}, "over_refusal", "all").rate == 0.25
    with pytest.raises(ArtefactError, match=r"over_refusal/all does not fit its own n and interval"):
        rate_in({"over_refusal": {"all": held | changes}}, "over_refusal", "all")


def test_unscored_rows_move_the_bounds_of_a_rate_whose_file_names_none() -> None:
    held = {"rate": 0.0, "low": 0.0, "high": 0.1, "n": 30, "unscored": 10}
    found = rate_in({"over_refusal": {"all": held}}, "over_refusal", "all")
    assert (found.least, found.most) == (0.0, 0.25)
    found = rate_in({"over_refusal": {"all": held | {"unscored": 0}}}, "over_refusal", "all")
    assert (found.least, found.most) == (0.0, 0.0)
