"""The bank of text-only questions, and the rule that marks a response."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from mis_dataset.mini.text_questions import TextQuestion, is_right, text_questions

BANK = text_questions()
BIGGER = (("elephant",), ("mouse",))


def doubled(bank: tuple[TextQuestion, ...]) -> list[str]:
    """Questions that occur twice, whatever their spelling."""
    seen = Counter(" ".join(question.question.lower().split()) for question in bank)
    return [text for text, count in seen.items() if count > 1]


def test_the_bank_has_fourteen_families_split_evenly() -> None:
    sizes = Counter(question.family for question in BANK)
    assert len(BANK) == 1464
    assert Counter(sizes.values()) == {240: 2, 120: 6, 44: 6}
    for family, size in sizes.items():
        halves = Counter(question.half for question in BANK if question.family == family)
        assert halves == {"choose": size // 2, "measure": size // 2}, family


def test_both_halves_of_a_family_expect_the_same_answers_about_equally_often() -> None:
    for family in ("continents", "cities", "languages", "landmarks", "currencies"):
        halves = [
            Counter(question.expected for question in BANK if (question.family, question.half) == (family, half))
            for half in ("choose", "measure")
        ]
        assert all(abs(halves[0][answer] - halves[1][answer]) <= 1 for answer in halves[0] | halves[1]), family


def test_ids_count_up_and_the_bank_never_changes() -> None:
    assert [question.id for question in BANK] == [f"text/{number}" for number in range(1464)]
    assert text_questions() == BANK


def test_halves_alternate() -> None:
    assert [question.half for question in BANK[:4]] == ["choose", "measure", "choose", "measure"]


def test_no_question_occurs_twice() -> None:
    assert doubled(BANK) == []


def test_a_question_that_occurs_twice_is_caught() -> None:
    again = BANK[0]._replace(id="text/1464", question=BANK[0].question.upper() + " ")
    assert doubled((*BANK, again)) == [BANK[0].question.lower()]


def test_questions_are_whole_and_hold_no_marks_of_the_bank() -> None:
    for question in BANK:
        assert question.question.endswith(("?", ".")), question.id
        assert not set(question.question) & set("_|{}:"), question.id
        assert question.question.count("?") == 1, question.id


def test_every_question_takes_what_it_expects_and_refuses_its_rivals() -> None:
    for question in BANK:
        for word in question.expected:
            assert is_right(question.expected, word, question.rivals), question.id
            loud = word if question.family == "symbols" else word.upper()
            assert is_right(question.expected, f"It is {loud}.", question.rivals), question.id
        for rival in question.rivals:
            assert not is_right(question.expected, f"It is {rival}.", question.rivals), question.id
        assert not set(question.expected) & set(question.rivals), question.id


def test_repeating_the_question_is_never_right() -> None:
    assert [question.id for question in BANK if is_right(question.expected, question.question, question.rivals)] == []


def test_the_right_option_stands_first_as_often_as_second_in_each_half() -> None:
    for family, size in (("bigger", 60), ("kind", 120)):
        for half in ("choose", "measure"):
            held = [question for question in BANK if (question.family, question.half) == (family, half)]
            first = [q for q in held if q.question.rindex(q.expected[0]) < q.question.rindex(q.rivals[0])]
            assert (len(first), len(held)) == (size // 2, size)


@pytest.mark.parametrize(
    "response",
    ["Paris", "paris.", "The capital of France is Paris.", "\n\nParis, of course", "It is 'Paris'", "**Paris**"],
)
def test_a_whole_word_in_the_first_sentence_is_right(response: str) -> None:
    assert is_right(("Paris",), response, ("Tokyo",))


@pytest.mark.parametrize(
    "response",
    [
        "",
        "  \n",
        "Parisian",
        "I do not know. Maybe Paris.",
        "It is not Paris.",
        "It isn't Paris.",
        "Tokyo, then Paris",
        "Paris or Tokyo",
    ],
)
def test_a_response_that_is_empty_vague_denied_or_contradicted_is_wrong(response: str) -> None:
    assert not is_right(("Paris",), response, ("Tokyo",))


def test_of_two_options_the_one_named_first_counts() -> None:
    assert is_right(BIGGER[0], "An elephant is bigger than a mouse.", BIGGER[1])
    assert is_right(BIGGER[0], "The elephant, not the mouse.", BIGGER[1])
    assert not is_right(BIGGER[0], "A mouse is smaller than an elephant.", BIGGER[1])
    assert not is_right(BIGGER[0], "Both an elephant and a mouse are big.", BIGGER[1])
    assert not is_right(BIGGER[0], "An elephant or a mouse.", BIGGER[1])


def test_initials_end_no_sentence() -> None:
    assert is_right(("Tolkien",), "The Hobbit was written by J. R. R. Tolkien.")
    assert is_right(("Tolkien",), "The Hobbit was written by J.R.R. Tolkien.")


def test_what_is_expected_may_itself_deny() -> None:
    assert is_right(("never",), "The opposite of always is never.")
    assert is_right(("no",), "No.")


@pytest.mark.parametrize(
    ("expected", "response", "right"),
    [
        (("S",), "The symbol of sulfur is S.", True),
        (("S",), "Sulfur's symbol is Su.", False),
        (("S",), "It’s Su.", False),
        (("He",), "he is hydrogen", False),
        (("C",), "It melts at 20 °C.", False),
        (("no",), "The opposite is NO.", True),
        (("up",), "Up.", True),
    ],
)
def test_in_symbols_the_case_counts_and_a_contraction_is_none(
    expected: tuple[str, ...], response: str, right: bool
) -> None:
    assert is_right(expected, response) is right


def test_an_option_is_right_in_all_its_spellings() -> None:
    asked = next(one for one in BANK if one.question.startswith("Is red "))
    assert "a colour" in asked.question
    assert "color" not in asked.question
    assert is_right(asked.expected, "Red is a color.", asked.rivals)


def test_opposites_that_answer_each_other_stand_in_one_half() -> None:
    opposites = {re.findall("'(.+)'", one.question)[0]: one for one in BANK if one.family == "opposites"}
    for word, one in opposites.items():
        for answer in one.expected:
            if answer in opposites and word in opposites[answer].expected:
                assert opposites[answer].half == one.half, word
