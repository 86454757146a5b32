"""What experts say of a row, and what follows for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mis_dataset.client import Client
from mis_dataset.construct.experts import Explicit, Together, Words
from mis_dataset.construct.filters import Filters, Rules, fate, placed
from mis_dataset.construct.rows import Judged, Picture, Pictured, Question, Rejected, Verdict, read_rows, to_line
from tests.asked import tiny
from tests.loopback_api import LoopbackApi, Step, completion
from tests.test_construct_pictures import png

QUESTION = Question("s7.1", "s7", "Privacy", "How?", "How boldly?", ("a candle", "a log"), ("a cup", "a log"), 1)
SUB = "Identity Theft and Impersonation"


pytestmark = pytest.mark.usefixtures("api_key")


@pytest.fixture
def api() -> Iterator[LoopbackApi]:
    with LoopbackApi().running() as running:
        yield running


@pytest.fixture
def row(tmp_path: Path) -> Pictured:
    for name in ("one", "two", "twin"):
        (tmp_path / f"{name}.png").write_bytes(png(name))
    one, two, twin = (Picture(f"{name}.png", "0", "a", "b", 0, 1, "") for name in ("one", "two", "twin"))
    return Pictured(QUESTION, (one, two), twin)


@pytest.fixture
def client(api: LoopbackApi, tmp_path: Path) -> Iterator[Client]:
    with Client(tiny(api), tmp_path / "replies.sqlite") as opened:
        yield opened


def says(api: LoopbackApi, *replies: object) -> None:
    left = [Step(body=completion(json.dumps(reply))) for reply in replies]
    api.decide = lambda _: left.pop(0)


def asked(api: LoopbackApi) -> list[list[str]]:
    """What kinds of parts each call showed, and its texts."""
    turns = [json.loads(call.body)["messages"][1]["content"] for call in api.calls]
    return [["text"] if isinstance(turn, str) else [part["type"] for part in turn] for turn in turns]


@pytest.mark.parametrize(("words", "verdict"), [("neutral", "keep"), ("unsafe", "unsafe words")])
def test_words_are_judged_without_pictures(
    api: LoopbackApi, client: Client, row: Pictured, words: str, verdict: str
) -> None:
    says(api, {"words": words, "sub_category": SUB})
    assert Words(client)(row) == (Verdict("words", verdict), SUB)
    assert asked(api) == [["text"]]
    assert "boldly" not in api.texts()[0]


def test_a_sub_category_of_another_category_is_none(api: LoopbackApi, client: Client, row: Pictured) -> None:
    says(api, *[{"words": "neutral", "sub_category": "Property Crimes"}] * 2)
    told = Words(client)(row)
    fault = "malformed: 'sub_category' is none of those that were named"
    assert (told.sub_category, told.verdict.verdict) == ("", "no verdict")
    assert told.verdict.detail.startswith(fault)
    assert "Cybercrime" not in json.loads(api.calls[0].body)["messages"][0]["content"]


@pytest.mark.parametrize(
    ("replies", "verdict"),
    [
        ([False, False, False], Verdict("explicit", "keep")),
        ([False, False, True], Verdict("explicit", "explicit picture", "picture 2")),
        ([False, True], Verdict("explicit", "explicit picture", "picture 1")),
        ([True], Verdict("explicit", "explicit twin", "picture 1")),
    ],
)
def test_each_picture_is_judged_alone_and_that_of_the_twin_must_be_harmless(
    api: LoopbackApi, client: Client, row: Pictured, tmp_path: Path, replies: list[bool], verdict: Verdict
) -> None:
    says(api, *({"explicit": reply} for reply in replies))
    assert Explicit(client, tmp_path)(row) == verdict
    assert asked(api) == [["image_url"]] * len(replies)


@pytest.mark.parametrize(
    ("replies", "verdict"),
    [
        (["risky", "harmless"], "keep"),
        (["harmless"], "harmless row"),
        (["meaningless"], "meaningless row"),
        (["risky", "risky"], "risky twin"),
        (["risky", "meaningless"], "meaningless twin"),
    ],
)
def test_a_row_must_be_risky_and_its_twin_harmless(
    api: LoopbackApi, client: Client, row: Pictured, tmp_path: Path, replies: list[str], verdict: str
) -> None:
    says(api, *({"row": reply} for reply in replies))
    assert Together(client, tmp_path)(row) == Verdict("together", verdict)
    assert asked(api) == [["image_url", "image_url", "text"]] * len(replies)


@pytest.mark.parametrize("reply", [{}, {"words": "bad", "sub_category": SUB}, {"explicit": 0}, {"row": "fine"}])
def test_an_expert_without_a_verdict_is_unsure(
    api: LoopbackApi, client: Client, row: Pictured, tmp_path: Path, reply: object
) -> None:
    says(api, *[reply] * 6)
    told = Filters(Words(client), [Explicit(client, tmp_path), Together(client, tmp_path)])(row)
    assert [one.verdict for one in told[0].verdicts] == ["no verdict"] * 3
    assert all(one.detail.startswith("malformed: ") for one in told[0].verdicts)
    rejected = fate(told[0])
    assert isinstance(rejected, Rejected)
    assert (rejected.reason, rejected.detail[:18]) == ("no verdict", "words: malformed: ")


def test_all_experts_are_asked_and_the_row_can_be_read_back(
    api: LoopbackApi, client: Client, row: Pictured, tmp_path: Path
) -> None:
    says(api, {"words": "unsafe", "sub_category": SUB}, *[{"explicit": False}] * 3, {"row": "harmless"})
    [told] = Filters(Words(client), [Explicit(client, tmp_path), Together(client, tmp_path)])(row)
    assert [one.verdict for one in told.verdicts] == ["unsafe words", "keep", "harmless row"]
    (tmp_path / "filters.jsonl").write_text(to_line(told))
    assert list(read_rows(tmp_path / "filters.jsonl", Judged)) == [told]


def test_a_verdict_has_the_reason_of_its_model_cut_and_without_signs_that_act(
    api: LoopbackApi, client: Client, row: Pictured, tmp_path: Path
) -> None:
    says(
        api,
        {"words": "neutral", "sub_category": SUB, "why": "nothing\n in\u001b[2J them"},
        *[{"explicit": False, "why": why} for why in ("a lamp", 7, "a" * 999)],
        *[{"row": "risky", "why": "both"}, {"row": "harmless", "why": "neither"}],
    )
    [told] = Filters(Words(client), [Explicit(client, tmp_path), Together(client, tmp_path, "second")])(row)
    assert [(one.expert, one.verdict, one.why) for one in told.verdicts] == [
        ("words", "keep", "nothing in\\x1b[2J them"),
        ("explicit", "keep", f"a lamp; {'a' * 300}"),
        ("second", "keep", "both; neither"),
    ]


def judged(row: Pictured, *verdicts: str) -> Judged:
    return Judged(row, SUB, tuple(Verdict(f"expert {place}", one) for place, one in enumerate(verdicts)))


@pytest.mark.parametrize(
    ("verdicts", "split"),
    [
        (("keep", "keep"), "test_hard"),
        (("keep", "explicit picture"), "test_easy"),
        (("unsafe words", "keep"), "train"),
        (("unsafe words", "explicit picture"), "train"),
    ],
)
def test_verdicts_alone_decide_where_a_row_goes(row: Pictured, verdicts: tuple[str, ...], split: str) -> None:
    assert fate(judged(row, *verdicts)) == split


def test_one_expert_is_enough_to_reject_a_row(row: Pictured) -> None:
    told = fate(judged(row, "unsafe words", "keep", "risky twin"))
    assert told == Rejected("s7.1", "filters", "risky twin", "expert 2")


def test_of_a_category_no_more_rows_go_to_a_split_than_its_quota(row: Pictured) -> None:
    other = replace(row, row=replace(QUESTION, id="s8.1", category="Violent"))
    rows = [judged(one, "keep") for one in (row, row, other, row)] + [judged(row, "risky twin")]
    told = [split if isinstance(split, str) else split.reason for _, split in placed(rows, Rules({"test_hard": 2}))]
    assert told == ["test_hard", "test_hard", "test_hard", "over quota", "risky twin"]
    assert [split for _, split in placed(rows[:4], Rules({"train": 0}))] == ["test_hard"] * 4
