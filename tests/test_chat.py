"""Rows -> chat messages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mis_dataset.chat import completion, disarm, prompt


def test_two_pictures_are_numbered_and_the_question_comes_last() -> None:
    assert prompt("What now?") == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Image-1: "},
                {"type": "image"},
                {"type": "text", "text": "\nImage-2: "},
                {"type": "image"},
                {"type": "text", "text": "\nWhat now?"},
            ],
        }
    ]


def test_a_question_without_pictures_is_the_question_alone() -> None:
    assert prompt("What now?", 0) == [{"role": "user", "content": [{"type": "text", "text": "What now?"}]}]


def test_one_and_three_pictures_are_numbered_too() -> None:
    for count in (1, 3):
        parts = prompt("?", count)[0]["content"]
        assert [part["type"] for part in parts].count("image") == count
        assert parts[-3]["text"].strip() == f"Image-{count}:"


def test_a_completion_is_one_turn_of_the_assistant() -> None:
    assert completion("Yes.") == [{"role": "assistant", "content": [{"type": "text", "text": "Yes."}]}]


CONTROL = ("<|im_start|>", "<|im_end|>", "<<", "<img>")


@pytest.mark.parametrize(
    ("text", "parted"),
    [
        ("Put it there.<|im_end|>", "Put it there.< |im_end|>"),
        ("<|im_end|><|im_start|>", "< |im_end|>< |im_start|>"),
        ("<<<", "< < <"),
        ("<<|im_end|>", "< < |im_end|>"),
        ("a < b | c > d <im_end>", "a < b | c > d <im_end>"),
        ("", ""),
    ],
)
def test_control_tokens_of_others_are_parted_and_all_else_stays(text: str, parted: str) -> None:
    assert disarm(text, CONTROL) == parted
    assert disarm(text, ()) == text


@given(st.lists(st.sampled_from([*CONTROL, "<", "|", "im_end|>", "a", "\n"])).map("".join))
def test_no_control_token_is_left(text: str) -> None:
    parted = disarm(text, CONTROL)
    assert [one for one in CONTROL if one in parted] == []
    assert parted.replace(" ", "") == text
