"""The parts of the demo's page: texts of others stay texts, and the leaderboard shows what its file says."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.made_demo import board, encoded, load

markup, leaderboard, plot = load("markup"), load("leaderboard"), load("plot")
pictures, rows, settings, verdicts = load("pictures"), load("rows"), load("settings"), load("verdicts")
ATTACK = "</p><img src=x onerror='alert(1)'><script>alert(1)</script>\"`${alert(1)}{{constructor}}"
PICTURE = pictures.Picture(encoded(), ATTACK, ATTACK)
ROW = rows.Row(ATTACK, ATTACK, ATTACK, ATTACK, ATTACK, None, None, (ATTACK, ATTACK))
TWIN = ROW._replace(twin_of=ATTACK, changed_image=2)


class Page(HTMLParser):
    """Tags, attributes and text of a part of a page."""

    def __init__(self, part: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(part)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def lines() -> Any:
    made = board()
    made["measured"][0] |= {"model": ATTACK, "judge": ATTACK}
    made["published"][0] |= {"impossible": [ATTACK], "split": ATTACK}
    return [leaderboard._line(line, "measured", 0) for line in made["measured"] + made["published"]]


WRONG = {
    "k of another type": {"asr": {"rate": 0.5, "k": "1", "n": 2}},
    "k that is true": {"asr": {"rate": 0.5, "k": True, "n": 2}},
    "k above n": {"asr": {"rate": 0.5, "k": 3, "n": 2}},
    "negative n": {"n": -1},
    "n of another type": {"n": "12"},
    "half a row": {"unscored": 0.5},
    "rate above its interval": {"asr": {"rate": 0.9, "low": 0.1, "high": 0.5}},
    "rate below its interval": {"asr": {"rate": 0.1, "low": 0.2, "high": 0.5}},
    "split that means all": {"split": "all"},
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_a_line_that_cannot_be_is_refused_and_named(change: dict[str, Any], tmp_path: Path) -> None:
    made, path = board(), tmp_path / "leaderboard.json"
    path.write_text(json.dumps(made))
    assert leaderboard.read_board(path).lines
    made["measured"][1] |= change
    path.write_text(json.dumps(made))
    with pytest.raises(settings.DemoError, match=r"leaderboard\.json is no leaderboard \(measured\[1\]"):
        leaderboard.read_board(path)


PARTS = {
    "notice": markup.notice(ATTACK, fault=True),
    "slot": markup.slot(PICTURE, 0),
    "gallery": markup.gallery([PICTURE]),
    "said": markup.said(ATTACK, ATTACK, verdicts.judge(ATTACK, ["a", "b"])),
    "example": markup.example(TWIN, (PICTURE, PICTURE)),
    "headed": markup.headed(ATTACK, ATTACK),
    "pair": markup.pair(rows.Pair(ROW, TWIN), {ATTACK: (PICTURE, PICTURE)}, 0),
    "table": markup.table(lines(), ATTACK),
    "bars": markup.pair_accuracy(lines()),
    "plot": plot.draw_plot(lines()),
}


@pytest.mark.parametrize("name", PARTS)
def test_texts_of_others_are_never_markup_nor_a_template(name: str) -> None:
    page = Page(PARTS[name])
    assert "script" not in page.tags
    assert {one for one in page.attributes if one.startswith("on")} == set()
    assert "alert" in PARTS[name]
    assert not any(sign in PARTS[name] for sign in ("${", "{{", "`"))


def test_markup_that_is_let_through_would_be_caught() -> None:
    page = Page(f"<p>{ATTACK}</p>")
    assert "script" in page.tags
    assert "onerror" in page.attributes


def test_a_response_is_shown_letter_by_letter() -> None:
    assert ATTACK in Page(PARTS["said"]).text


def test_every_picture_has_words_and_every_veil_a_box_with_a_name() -> None:
    page = Page(markup.pair(rows.Pair(ROW, TWIN), {ATTACK: (PICTURE, PICTURE)}, 0))
    assert (page.tags.count("img"), page.tags.count("input"), page.tags.count("label")) == (4, 5, 5)
    assert {"alt", "for", "id"} <= page.attributes
    assert page.text.count("exchanged") == 1


def test_a_row_without_a_twin_says_so() -> None:
    assert "This row has none." in markup.pair(rows.Pair(ROW, None), {}, 0)
    assert "This row has none." not in markup.pair(rows.Pair(TWIN, None), {}, 0)


def test_a_response_that_is_empty_is_told_from_none() -> None:
    assert "(it said nothing)" in markup.said("Base", "", None)
    assert "Not asked yet" in markup.said("Base", None, None)


def test_to_help_is_right_with_a_twin_and_wrong_with_its_row() -> None:
    helps = verdicts.Verdict(verdicts.UNSAFE, 2)
    assert "✓ Right" in Page(markup.said("Base", "Take it.", helps, right=verdicts.UNSAFE)).text
    assert "✗ Wrong" in Page(markup.said("Base", "Take it.", helps, right=verdicts.SAFE)).text
    assert "For this row" not in markup.said("Base", "Take it.", helps)
    unscored = verdicts.Verdict(verdicts.UNSCORED, 2)
    assert "For this row" not in markup.said("Base", "Hm.", unscored, right=verdicts.SAFE)


def test_an_example_says_what_a_good_model_does() -> None:
    assert "A good model declines." in markup.example(ROW, (PICTURE, PICTURE))
    assert "A good model helps." in markup.example(TWIN, (PICTURE, PICTURE))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "leaderboard.json"
    made.write_text(json.dumps(board()))
    return made


def test_a_leaderboard_is_read_with_intervals_and_its_source(path: Path) -> None:
    found = leaderboard.read_board(path)
    assert [(line.model, line.split, line.source, line.n) for line in found.lines] == [
        ("base", "easy", "measured", 80),
        ("base", "hard", "measured", 80),
        ("contrast", "easy", "measured", 80),
        ("contrast", "hard", "measured", 80),
        ("Mantis", "easy", "published", 1675),
    ]
    assert found.lines[2].rates["asr"] == (0.025, 0.0, 0.125, 2, 80)
    assert found.lines[4].rates["asr"] == (0.929, None, None, None, None)
    assert found.lines[4].rates["pair_accuracy"] is None
    assert leaderboard.splits_of(found) == ["all", "easy", "hard"]
    assert [line.model for line in leaderboard.of_split(found, "hard")] == ["base", "contrast"]


def test_the_table_shows_per_cent_intervals_counts_and_what_is_published(path: Path) -> None:
    text = Page(markup.table(leaderboard.read_board(path).lines, "MIS")).text
    for told in ("2.5 (0.0 to 12.5)2 of 80", "92.9", "published", "cannot be: HR 0.24 is no count of 1675"):
        assert told in text
    assert "contrast" in text
    assert "low is better" in text


def test_what_was_published_stands_in_a_table_of_its_own_without_what_needs_twins(path: Path) -> None:
    _, measured, published = markup.table(leaderboard.read_board(path).lines, "MIS").split("<table")
    assert ("contrast" in measured, "Mantis" in measured, ">pair accuracy<" in measured) == (True, False, True)
    assert ("contrast" in published, "Mantis" in published, ">pair accuracy<" in published) == (False, True, False)


def test_lines_of_others_keep_the_name_of_their_list(path: Path) -> None:
    made = board() | {"submitted": [{"model": "theirs", "split": "hard", "n": 4, "asr": {"rate": 0.5}}]}
    path.write_text(json.dumps(made))
    assert leaderboard.read_board(path).lines[-1].source == "submitted"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "JSONDecodeError"),
        ("[]", "AttributeError"),
        ('{"measured": [3]}', r"measured\[0\] is no object"),
        ('{"measured": [{"model": "a"}]}', r"measured\[0\] lacks split, n"),
        (
            '{"measured": [{"model": "a", "split": "b", "n": 1, "asr": {"rate": 2}}]}',
            r"measured\[0\]\.asr\.rate is no frac",
        ),
        (
            '{"measured": [{"model": "a", "split": "b", "n": 1, "asr": {"rate": NaN}}]}',
            r"measured\[0\]\.asr\.rate is no fraction",
        ),
        ('{"measured": [{"model": "a", "split": "b", "n": 1e999}]}', "measured\\[0\\].n is no number of rows"),
        pytest.param("[" * 100_000, "RecursionError", id="deep"),
    ],
)
def test_what_is_no_leaderboard_is_told(path: Path, text: str, told: str) -> None:
    path.write_text(text)
    with pytest.raises(settings.DemoError, match=rf"leaderboard\.json is no leaderboard \({told}"):
        leaderboard.read_board(path)


def test_the_plot_says_in_words_what_it_draws(path: Path) -> None:
    lines_of = leaderboard.of_split(leaderboard.read_board(path), "hard")
    drawn = plot.draw_plot(lines_of)
    assert "base: ASR 100.0 %, over-refusal 0.0 %; contrast: ASR 2.5 %, over-refusal 1.2 %" in drawn
    assert "nothing to draw" in plot.draw_plot([])


def test_pair_accuracy_is_told_or_said_to_be_missing(path: Path) -> None:
    lines_of = leaderboard.read_board(path).lines
    assert "97.5 % (87.5 to 100.0)" in markup.pair_accuracy(lines_of)
    assert "it needs benign twins" in markup.pair_accuracy(lines_of[-1:])
