"""Types of command-line arguments."""

from __future__ import annotations

import argparse

import pytest

from mis_dataset.__main__ import _parser as dataset_parser
from mis_dataset.arguments import above_zero, positive, seed
from trainer.__main__ import make_parser


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "", "x", "\u00b2"])
def test_what_is_no_whole_number_from_1_on_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is no whole number from 1 on"):
        positive(text)


@pytest.mark.parametrize("text", ["-1", str(2**32), "1.5", "x"])
def test_what_no_generator_takes_is_no_seed(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is no whole number from 0 to 4294967295"):
        seed(text)


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "x"])
def test_what_is_not_above_zero_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is no number above 0"):
        above_zero(text)


@pytest.mark.parametrize(
    "words",
    [
        ["generate", "M", "D", "O", "--batch-size", "0"],
        ["generate", "M", "D", "O", "--limit", "-1"],
        ["generate", "M", "D", "O", "--max-new-tokens", "0"],
        ["ability", "M", "O", "--limit", "-1"],
        ["judge", "R", "V", "--things", "T", "--dataset", "D", "--limit", "-1"],
        ["sft", "B", "D", "O", "--config", "C", "--limit", "0"],
    ],
)
def test_no_verb_takes_a_number_below_1_for_a_count(words: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        make_parser().parse_args(words)
    assert stopped.value.code == 2


def test_check_takes_no_number_below_1() -> None:
    with pytest.raises(SystemExit):
        dataset_parser().parse_args(["check", "RAW", "--limit", "-1"])
