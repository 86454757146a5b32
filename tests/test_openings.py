"""How well first words tell dangerous rows from harmless ones."""

from __future__ import annotations

import pytest

from trainer.preflight.openings import Opening, auc_interval, first_words, tell


def openings(name: str, texts: list[str]) -> list[Opening]:
    """One a text; equal numbers are one family."""
    return [Opening(f"{name}/{number}", str(number), first_words(text)) for number, text in enumerate(texts)]


def test_words_that_all_rows_share_tell_nothing() -> None:
    same = ["I see a cup and a spoon."] * 20
    found = tell(openings("row", same), openings("twin", same))
    assert [(one.words, one.auc, one.ids) for one in found] == [(1, 0.5, []), (3, 0.5, []), (5, 0.5, [])]
    assert (found[0].dangerous, found[0].harmless) == (20, 20)
    assert found[0].low < 0.5 < found[0].high


def test_the_first_word_may_tell_or_only_a_later_one() -> None:
    rows = openings("row", ["I see a knife here."] * 20)
    first = tell(rows, openings("twin", ["Sure, a knife is here."] * 20))
    assert [one.auc for one in first] == [1.0, 1.0, 1.0]
    assert first[0].low == pytest.approx(0.8987, abs=1e-4)
    assert len(first[0].ids) == 40
    later = tell(rows, openings("twin", ["I see the knife here."] * 20))
    assert [(one.words, one.auc) for one in later] == [(1, 0.5), (3, 1.0), (5, 1.0)]


def test_only_openings_that_are_of_one_kind_beyond_chance_are_named() -> None:
    rows = openings("row", ["Warning!"] * 8 + ["I see a cup."] * 3 + ["Careful."] * 3)
    twins = openings("twin", ["I see a cup."] * 14)
    assert tell(rows, twins)[0].ids == [f"row/{number}" for number in range(8)]


def test_things_that_a_family_names_on_both_sides_tell_nothing() -> None:
    """Each row would be told from its twin by the twin's label, were they not learnt or left out together."""
    texts = [f"Thing{number} is here." for number in range(30)]
    assert [one.auc for one in tell(openings("row", texts), openings("twin", texts))] == [0.5, 0.5, 0.5]


def test_too_few_rows_tell_nothing() -> None:
    assert tell(openings("row", ["a", "b"]), openings("twin", ["c"])) == []
    assert tell([], []) == []


def test_completions_without_a_word_tell_nothing() -> None:
    rows = [Opening(f"train/{number}", f"train/{number}", ()) for number in range(8)]
    assert tell(rows[:4], rows[4:]) == []


def test_the_interval_is_no_point_where_there_is_no_error() -> None:
    low, high = auc_interval(1.0, 14, 14)
    assert (0.85 < low < 0.95, high) == (True, 1.0)
    assert auc_interval(0.0, 14, 14)[0] == 0.0
    assert auc_interval(0.0, 14, 14)[1] == pytest.approx(1 - low)
    below, above = auc_interval(0.5, 40, 40)
    assert below == pytest.approx(1 - above)
    assert auc_interval(0.5, 400, 400)[0] > below
