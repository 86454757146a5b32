"""Types of command-line arguments."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Iterator
from importlib import import_module

import pytest

from cards.__main__ import make_parser as cards_parser
from mis_dataset.__main__ import _parser as dataset_parser
from mis_dataset.arguments import Paragraphs, above_zero, fraction, inner_fraction, positive, seed
from trainer.__main__ import make_parser

ROOMS = {"mis_dataset": dataset_parser, "trainer": make_parser, "cards": cards_parser}


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


def verbs(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


def untold(parser: argparse.ArgumentParser) -> list[str]:
    """Flags that do not say what they are, or what they are where they are left out."""
    flags = [one for one in parser._actions if one.option_strings and not isinstance(one, argparse._HelpAction)]
    named = [one for one in flags if one.default not in (None, False, [], ()) and str(one.default) != "."]
    told = [f"{one.option_strings[0]}: no help" for one in flags if not one.help]
    for one in named:
        words = str(one.help)
        if "default" not in words and f"({one.default})" not in words:
            told.append(f"{one.option_strings[0]}: no default")
    return told


@pytest.mark.parametrize("room", ROOMS)
def test_every_flag_says_what_it_is_and_what_it_is_by_default(room: str) -> None:
    assert [(verb, told) for verb, parser in verbs(ROOMS[room]()) if (told := untold(parser))] == []


def test_a_flag_that_says_neither_is_found() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bare")
    parser.add_argument("--rows", default=3, help="how many")
    parser.add_argument("--good", default=3, help="how many (default %(default)s)")
    assert untold(parser) == ["--bare: no help", "--rows: no default"]


@pytest.mark.parametrize("room", ROOMS)
def test_blocks_of_a_description_are_shown_as_they_stand(room: str) -> None:
    shown = 0
    for _, parser in verbs(ROOMS[room]()):
        page, about = parser.format_help(), parser.description or ""
        assert "::\n" not in page
        assert "`ENGINES`" not in page
        blocks = [line for line in about.splitlines() if line.startswith("    ")]
        assert [line for line in blocks if line not in page] == []
        shown += len(blocks)
    assert shown or room != "trainer"


def test_a_block_is_mush_without_the_formatter() -> None:
    about = inspect.getdoc(import_module("trainer.general")) or ""
    line = next(one for one in about.splitlines() if one.startswith("    "))
    assert line in argparse.ArgumentParser(description=about, formatter_class=Paragraphs).format_help()
    assert line not in argparse.ArgumentParser(description=about).format_help()


@pytest.mark.parametrize(("kind", "ends"), [(fraction, [0.0, 1.0]), (inner_fraction, [])])
def test_a_fraction_is_told_from_what_is_none(kind: object, ends: list[float]) -> None:
    assert callable(kind)
    assert kind("0.5") == 0.5
    found = []
    for text in ("0", "1", "x", "-0.1", "1.1", "nan"):
        try:
            found.append(kind(text))
        except argparse.ArgumentTypeError:
            continue
    assert found == ends


@pytest.mark.parametrize("verb", ["canary A B OUT", "compare OUT --dataset D --run a=b"])
def test_a_margin_that_is_no_number_is_said_in_words(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        make_parser().parse_args([*verb.split(), "--margin", "x"])
    assert "argument --margin: 'x' is no number from 0 to 1" in capsys.readouterr().err
