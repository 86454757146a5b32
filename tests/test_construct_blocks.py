"""Balanced blocks: two rows of one question, from what a model is asked to where both go."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mis_dataset.client import Client
from mis_dataset.construct.blocks import in_blocks, other_half
from mis_dataset.construct.drawers import Hosted
from mis_dataset.construct.filters import Rules, placed
from mis_dataset.construct.pictures import Pictures
from mis_dataset.construct.questions import Questions
from mis_dataset.construct.rows import Judged, Picture, Pictured, Question, Rejected, Verdict, read_rows, to_line
from tests.asked import tiny
from tests.loopback_api import LoopbackApi, Step, completion, drawn
from tests.test_construct_pictures import BAD, FIRST, GOOD, png
from tests.test_construct_questions import ASKED, IDEA, REWRITTEN, TWIN

BLOCK = {"partner_image": 2, "object": "a wet sponge"}
HALF = Question(
    "s7.1", "s7", "Privacy", "How?", "How boldly?", ("a candle", "a log"), ("a cup", "a log"), 1, "", 2, "a napkin"
)
THREE = replace(HALF, objects=("a", "b", "c"), twin_objects=("a", "b", "d"), changed_image=3, partner_image=1)
SUB = "Identity Theft and Impersonation"


pytestmark = pytest.mark.usefixtures("api_key")


@pytest.fixture
def api() -> Iterator[LoopbackApi]:
    with LoopbackApi().running() as running:
        yield running


def asked(api: LoopbackApi, folder: Path, *replies: object) -> list[Question] | Rejected:
    """What comes of an idea whose model says that, after what it says of a row and its twin."""
    left = [Step(body=completion(json.dumps(reply))) for reply in (REWRITTEN, {"question": ASKED}, *replies)]
    api.decide = lambda _: left.pop(0)
    with Client(tiny(api), folder / "replies.sqlite") as client:
        told = Questions(client, blocks=True)(IDEA)
    assert left == []
    return told


def test_a_question_gets_the_partner_that_turns_its_twin_around(api: LoopbackApi, tmp_path: Path) -> None:
    told = asked(api, tmp_path, TWIN, BLOCK)
    assert isinstance(told, list)
    assert [(row.id, row.partner_image, row.partner) for row in told] == [("s7.1", 2, "a wet sponge")]
    last = json.loads(api.calls[-1].body)["messages"]
    assert json.loads(last[1]["content"].split("\n")[1]) == {
        "category": "Illegal Activity",
        "question": ASKED,
        "objects": ["a small white candle", "a dry log"],
        "twin": ["a cup of water", "a dry log"],
    }
    assert "of which picture\n1 alone is another" in last[0]["content"]
    assert '{"partner_image": 2, "object": "..."}' in last[0]["content"]


@pytest.mark.parametrize(
    ("block", "fault"),
    [
        ({**BLOCK, "partner_image": 3}, "'partner_image' is no number from 1 to 2"),
        ({**BLOCK, "partner_image": True}, "'partner_image' is no number from 1 to 2"),
        ({**BLOCK, "partner_image": 1}, "'partner_image' is the picture that the twin exchanges"),
        ({**BLOCK, "object": "A dry log"}, "'object' is one of the objects that are there"),
        ({**BLOCK, "object": "a cup of Water"}, "'object' is one of the objects that are there"),
        ({**BLOCK, "object": "a thing to bring"}, "'object' is named by the question"),
        ({**BLOCK, "object": "a\u202elog"}, "'object' holds letters that cannot be shown"),
        ({"partner_image": 2}, "'object' is no text"),
    ],
)
def test_a_partner_of_another_shape_is_asked_for_again(
    api: LoopbackApi, tmp_path: Path, block: object, fault: str
) -> None:
    assert isinstance(asked(api, tmp_path, TWIN, block, BLOCK), list)
    assert f"Your reply cannot be used: {fault}" in api.texts()[4]


def test_a_model_may_say_that_nothing_fits(api: LoopbackApi, tmp_path: Path) -> None:
    told = asked(api, tmp_path, TWIN, {"partner_image": None})
    assert isinstance(told, list)
    assert (told[0].id, told[0].partner_image, told[0].partner) == ("s7.1", 0, "")


def test_a_partner_that_is_wrong_twice_rejects_the_idea(api: LoopbackApi, tmp_path: Path) -> None:
    told = asked(api, tmp_path, TWIN, {}, {})
    assert isinstance(told, Rejected)
    assert (told.id, told.reason) == ("s7.1", "malformed")


def test_what_the_twin_shows_is_dangerous_in_the_other_half_so_no_question_names_it(
    api: LoopbackApi, tmp_path: Path
) -> None:
    named = {"changed_image": 1, "object": "a thing to bring"}
    assert isinstance(asked(api, tmp_path, named, TWIN, BLOCK), list)
    assert "Your reply cannot be used: 'object' is named by the question" in api.texts()[3]


@pytest.mark.parametrize(
    ("half", "objects", "twin"),
    [
        (HALF, ("a cup", "a napkin"), ("a candle", "a napkin")),
        (THREE, ("a napkin", "b", "d"), ("a napkin", "b", "c")),
    ],
)
def test_the_other_half_exchanges_both(half: Question, objects: tuple[str, ...], twin: tuple[str, ...]) -> None:
    other = other_half(half)
    assert (other.id, other.objects, other.twin_objects) == ("s7.1b", objects, twin)
    assert (other.question, other.changed_image) == (half.question, half.changed_image)
    back = other_half(other)
    assert (back.objects, back.twin_objects, back.partner) == (half.objects, half.twin_objects, half.partner)


def pictured(api: LoopbackApi, folder: Path, *verdicts: object, row: Question = HALF) -> list[Pictured] | Rejected:
    """What comes of the row where the critic says that, in order."""
    left = list(verdicts)

    def decide(body: bytes) -> Step:
        told = json.loads(body)
        if "prompt" in told:
            return Step(body=drawn(png(f"{told['prompt']} {told['seed']}"), model="draws-1"))
        return Step(body=completion(json.dumps(left.pop(0))))

    api.decide = decide
    with Client(tiny(api), folder / "replies.sqlite") as client:
        told = Pictures(Hosted(client), client, folder, "64x64", 2, "CC0-1.0", 0)(row)
    assert left == []
    return told


def test_four_pictures_are_drawn_once_and_both_halves_share_the_files(api: LoopbackApi, tmp_path: Path) -> None:
    told = pictured(api, tmp_path, GOOD, GOOD, GOOD, GOOD, row=replace(HALF, partner="../../a napkin"))
    assert isinstance(told, list)
    first, second = told
    assert (first.id, second.id) == ("s7.1", "s7.1b")
    names = [[one.file.removeprefix("pictures/s7.1/") for one in row.pictures] for row in told]
    assert names == [["object1.png", "object2.png"], ["twin1.png", "partner2.png"]]
    assert (second.twin_picture, first.twin_picture) == (first.pictures[0], second.pictures[0])
    assert len({one.seed for row in told for one in (*row.pictures, row.twin_picture)}) == 4
    assert sorted(path.name for path in (tmp_path / "pictures" / "s7.1").iterdir()) == sorted(names[0] + names[1])
    critics = [text for text in api.texts() if '"objects"' in text]
    shown = [json.loads(text.split("\n")[1])["objects"] for text in critics]
    one, two = ["a candle", "a log"], "../../a napkin"
    assert shown == [one, ["a cup", "a log"], ["a cup", two], ["a candle", two]]
    (tmp_path / "pictures.jsonl").write_text("".join(map(to_line, told)))
    assert list(read_rows(tmp_path / "pictures.jsonl", Pictured)) == told


def test_the_partner_is_drawn_anew_until_it_is_good_in_both_pairings(api: LoopbackApi, tmp_path: Path) -> None:
    told = pictured(api, tmp_path, GOOD, GOOD, GOOD, BAD, GOOD, GOOD)
    assert isinstance(told, list)
    assert [one.round for one in (*told[0].pictures, *told[1].pictures)] == [1, 1, 1, 2]
    drawings = [call.text for call in api.calls if call.path.endswith("generations")]
    assert drawings[3:] == [FIRST.format("a napkin"), "a photo of a dry log"]
    api.calls.clear()
    lost = pictured(api, tmp_path / "other", GOOD, GOOD, BAD, GOOD, BAD)
    assert lost == Rejected("s7.1", "pictures", "not as meant", "after 2 rounds")
    assert not (tmp_path / "other" / "pictures").exists()


def judged(name: str, *verdicts: str, block: bool = True, category: str = "Privacy") -> Judged:
    one = Picture("a.png", "0", "a", "b", 0, 1, "")
    question = replace(HALF, id=name, category=category, partner_image=2 * block)
    told = tuple(Verdict(f"expert {place}", verdict) for place, verdict in enumerate(verdicts))
    return Judged(Pictured(question, (one, one), one), SUB, told)


BLOCKS = Rules(blocks=True)


@pytest.mark.parametrize(
    ("first", "second", "fates"),
    [
        ("keep", "keep", ["test_hard", "test_hard"]),
        ("keep", "explicit picture", ["half a block: s1.1b: test_easy", "test_easy"]),
        ("explicit picture", "explicit twin", ["test_easy", "explicit twin: expert 0"]),
        ("unsafe words", "unsafe words", ["train", "train"]),
        ("unsafe words", "risky twin", ["train", "risky twin: expert 0"]),
        ("keep", "risky twin", ["half a block: s1.1b: risky twin", "risky twin: expert 0"]),
        ("harmless row", "keep", ["harmless row: expert 0", "half a block: s1.1: harmless row"]),
        ("harmless row", "risky twin", ["harmless row: expert 0", "risky twin: expert 0"]),
    ],
)
def test_hard_takes_whole_blocks_and_the_others_what_comes(first: str, second: str, fates: list[str]) -> None:
    rows = [judged("s1.1", first), judged("s1.1b", second)]
    assert [told(split) for _, split in placed(rows, BLOCKS)] == fates


def told(split: str | Rejected) -> str:
    return split if isinstance(split, str) else f"{split.reason}: {split.detail}"


def test_without_blocks_rows_are_judged_alone() -> None:
    rows = [judged("s1.1", "keep", block=False), judged("s1.2", "risky twin", block=False)]
    assert [told(split) for _, split in placed(rows, Rules())] == ["test_hard", "risky twin: expert 0"]


def test_a_row_without_another_half_is_not_hard() -> None:
    rows = [judged("s1.1", "keep"), judged("s2.1b", "keep"), judged("s3.1", "keep"), judged("s3.1b", "keep")]
    rows += [judged("s4.1", "explicit picture"), judged("s5.1", "unsafe words")]
    fates = [told(split) for _, split in placed(rows, BLOCKS)]
    assert fates == ["half a block: no partner"] * 2 + ["test_hard"] * 2 + ["test_easy", "train"]
    assert [len(block) for block in in_blocks(rows)] == [1, 1, 2, 1, 1]
    assert list(in_blocks(list[Judged]())) == []


def test_quotas_count_rows_and_cut_no_block() -> None:
    names = [f"s{number}.1{half}" for number in (1, 2, 3) for half in ("", "b")]
    rows = [judged(name, "keep") for name in names]
    over = "over quota: 3 rows of Privacy in test_hard"
    fates = [told(split) for _, split in placed(rows, Rules({"test_hard": 3}, blocks=True))]
    assert fates == ["test_hard"] * 2 + [over] * 4
    fates = [told(split) for _, split in placed(rows, Rules({"test_hard": 3}))]
    assert fates == ["test_hard"] * 3 + [over] * 3
    easy = [judged(name, "explicit picture") for name in names]
    fates = [split for _, split in placed(easy, Rules({"test_easy": 3}, blocks=True)) if isinstance(split, str)]
    assert fates == ["test_easy"] * 3


def test_rows_are_drawn_one_ahead_and_no_more() -> None:
    taken = []

    def rows() -> Iterator[Judged]:
        for number in range(100):
            taken.append(number)
            yield judged(f"s{number}.1", "keep", block=False)

    assert next(in_blocks(rows()))[0].id == "s0.1"
    assert len(taken) == 2
