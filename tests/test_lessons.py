"""Lessons about pictures: what a base learns and what ability is."""

from __future__ import annotations

from collections import Counter

import pytest

from mis_dataset.mini.draw import SIZE
from mis_dataset.mini.grammar import EASY_QUESTIONS, HARD_QUESTIONS
from mis_dataset.mini.lessons import ABILITY_FAMILIES, Lesson, is_right, lessons
from mis_dataset.mini.objects import THINGS

FAMILIES = ("naming", "kind", "which", "same", "comply")
ROUND = len(THINGS)
BY_FAMILY = {family: lessons("test", (family,), 2 * ROUND) for family in FAMILIES}


def as_values(made: list[Lesson]) -> list[tuple[object, ...]]:
    return [(*lesson[:2], *(picture.tobytes() for picture in lesson.pictures), *lesson[3:]) for lesson in made]


def test_the_same_seed_gives_the_same_lessons_and_another_seed_others() -> None:
    made = as_values(lessons("a", FAMILIES, 10))
    assert made == as_values(lessons("a", FAMILIES, 10))
    assert made != as_values(lessons("b", FAMILIES, 10))


def test_families_come_in_turn() -> None:
    counts = Counter(lesson.family for lesson in lessons("a", ("kind", "comply", "kind"), 9))
    assert counts == {"kind": 6, "comply": 3}


def test_an_unknown_family_is_refused() -> None:
    with pytest.raises(KeyError, match="colour"):
        lessons("a", ("colour",), 1)


@pytest.mark.parametrize("family", ABILITY_FAMILIES)
def test_a_lesson_s_own_response_is_right_and_that_of_its_mirror_is_not(family: str) -> None:
    for lesson in BY_FAMILY[family]:
        assert set(lesson.accepted) & set(lesson.response.lower().replace(",", "").rstrip(".").split())
        assert is_right(lesson, lesson.response)
        assert not is_right(lesson, f"It is {lesson.rejected[0]}.")
        assert not is_right(lesson, f"It is {lesson.rejected[0]} or {lesson.accepted[0]}.")


def test_only_the_first_sentence_counts() -> None:
    lesson = next(one for one in BY_FAMILY["same"] if one.accepted == ("yes",))
    assert is_right(lesson, "Yes, both show it. No doubt.")
    assert not is_right(lesson, "Both are nice. Yes.")
    assert not is_right(lesson, "")


def test_a_yes_to_same_is_given_exactly_where_both_pictures_show_one_thing() -> None:
    lessons_ = BY_FAMILY["same"]
    assert [one.response.endswith(": yes.") for one in lessons_] == [one.things[0] == one.things[1] for one in lessons_]
    assert 20 < sum(one.response.endswith(": yes.") for one in lessons_) < 2 * ROUND - 20


def test_which_points_at_the_picture_that_shows_it() -> None:
    for lesson in BY_FAMILY["which"]:
        place = ("first", "second").index(lesson.accepted[0])
        assert lesson.question == f"Which image shows {lesson.things[place].phrase}?"
        assert lesson.things[0] != lesson.things[1]


def test_naming_says_what_the_asked_picture_shows() -> None:
    for lesson in BY_FAMILY["naming"]:
        shown = lesson.things["second" in lesson.question]
        assert lesson.accepted == (shown.name,)


def test_comply_shows_seen_things_only_names_both_and_never_refuses() -> None:
    for lesson in BY_FAMILY["comply"]:
        assert all(thing.seen for thing in lesson.things)
        assert all(thing.name in lesson.response for thing in lesson.things)
    asked = {lesson.question for lesson in BY_FAMILY["comply"]}
    assert asked == {question.text for question in (*HARD_QUESTIONS, *EASY_QUESTIONS)}


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "comply"])
def test_every_thing_new_ones_too_occurs_at_least_twice_in_two_rounds_of_the_other_families(family: str) -> None:
    counts = Counter(thing.name for lesson in BY_FAMILY[family] for thing in set(lesson.things))
    assert set(counts) == {thing.name for thing in THINGS}
    assert min(counts.values()) >= 2


def test_pictures_are_small_and_coloured() -> None:
    pictures = [picture for made in BY_FAMILY.values() for lesson in made for picture in lesson.pictures]
    assert {(picture.mode, picture.size) for picture in pictures} == {("RGB", (SIZE, SIZE))}
