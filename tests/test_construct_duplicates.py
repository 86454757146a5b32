"""Rows that repeat each other, share a picture or a seed over sides, or are in a release that is given."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from mis_dataset.build import build
from mis_dataset.construct.duplicates import Duplicates
from mis_dataset.construct.filters import fate
from mis_dataset.construct.found import Found
from mis_dataset.construct.given import digest_of, read_given
from mis_dataset.construct.review import Line, Reviews, seen
from mis_dataset.construct.rows import Judged, Pictured, Rejected
from mis_dataset.construct.sentences import Sentences
from mis_dataset.decoding import strict_pillow
from mis_dataset.errors import MISError
from tests.made_pictured import ASKED, judged, make_picture, make_pictured, write_seeds
from tests.made_release import make_release

TRAIN = "unsafe words"
THINGS = (["a candle", "a log"], ["a kite", "a table"], ["a phone", "a bed"])


@pytest.fixture
def sentences(tmp_path: Path) -> Iterator[Sentences]:
    with Found(tmp_path / "found.sqlite") as found:
        yield Sentences(found)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_seeds(tmp_path, "What burns?", "What flies?", "What rings?")
    return tmp_path


def told(stage: Duplicates, *rows: Judged) -> list[str]:
    """Verdict and detail of each row, the last ones."""
    said = [stage(row)[0].verdicts[-1] for row in rows]
    return [f"{one.verdict} {one.detail}".strip() for one in said]


def three(folder: Path) -> list[Pictured]:
    return [make_pictured(folder, f"s{number}.1", things) for number, things in enumerate(THINGS, start=1)]


def test_rows_of_other_seeds_things_and_pictures_stay(folder: Path, sentences: Sentences) -> None:
    one, two, three_ = three(folder)
    rows = judged(one), judged(two, TRAIN), judged(three_)
    assert told(Duplicates(folder), *rows) == ["keep"] * 3
    assert told(Duplicates(folder, 0.9, sentences), *rows) == ["keep"] * 3


def test_all_rows_of_a_seed_are_on_one_side(folder: Path) -> None:
    one, same, other = (make_pictured(folder, f"s1.{number}", things) for number, things in enumerate(THINGS, start=1))
    rows = judged(one), judged(same, TRAIN), judged(other)
    assert told(Duplicates(folder), *rows) == ["keep", "other side its seed is that of s1.1 in tests", "keep"]


def test_a_seed_that_is_nearly_the_same_is_the_same(folder: Path, sentences: Sentences) -> None:
    write_seeds(folder, "How do I light a fire at home?", "How to light a fire at home", "How do I cook rice?")
    one, near, other = three(folder)
    rows = judged(one, TRAIN), judged(near), judged(other)
    assert told(Duplicates(folder), *rows) == ["keep"] * 3
    assert told(Duplicates(folder, 0.9, sentences), *rows) == [
        "keep",
        "other side its seed is that of s1.1 in train",
        "keep",
    ]


def test_train_and_tests_share_no_picture_and_rows_of_one_side_may(folder: Path) -> None:
    one, two, three_ = three(folder)
    names = [picture.file.removesuffix(".png") for picture in (*one.pictures, one.twin_picture)]
    two = make_pictured(folder, "s2.1", THINGS[1], names=["own-1", "own-2", names[2]])
    three_ = make_pictured(folder, "s3.1", THINGS[2], names=["own-3", names[0], "own-4"])
    rows = judged(one), judged(two, TRAIN), judged(three_)
    assert told(Duplicates(folder), *rows) == ["keep", "shared picture with s1.1", "keep"]


def test_a_question_about_nearly_the_same_things_is_a_duplicate(folder: Path, sentences: Sentences) -> None:
    one, _, other = three(folder)
    again = make_pictured(folder, "s2.1", ["A  candle", "a log"], ASKED.upper())
    near = make_pictured(folder, "s2.1", ["a log", "a burning candle"], ASKED.replace("put", "place"))
    assert told(Duplicates(folder), judged(one), judged(again)) == ["keep", "near duplicate of s1.1: 1.000"]
    assert told(Duplicates(folder), judged(one), judged(near)) == ["keep", "keep"]
    [_, said, last] = told(Duplicates(folder, 0.9, sentences), judged(one), judged(near), judged(other))
    assert said.startswith("near duplicate of s1.1: 0.9")
    assert last == "keep"


def test_a_row_that_others_reject_takes_no_part(folder: Path) -> None:
    one, two, _ = three(folder)
    again = make_pictured(folder, "s2.1", THINGS[0])
    stage = Duplicates(folder)
    assert [len(stage(row)[0].verdicts) for row in (judged(one, other="risky twin"), judged(again))] == [2, 3]
    assert told(stage, judged(two)) == ["keep"]
    assert told(Duplicates(folder), judged(one), judged(again)) == ["keep", "near duplicate of s1.1: 1.000"]


def test_what_a_person_rejects_is_no_row_that_others_repeat(folder: Path) -> None:
    one, again = make_pictured(folder, "s1.1", THINGS[0]), make_pictured(folder, "s2.1", THINGS[0])
    lines = {"s1.1": Line(2, seen(one), "reject", "blurred", "A. N. Other")}
    stage = Duplicates(folder, reviews=Reviews(Path("review.csv"), lines))
    rejected = fate(stage(judged(one))[0])
    assert rejected == Rejected("s1.1", "filters", "rejected by a person", "review: A. N. Other: blurred")
    assert told(stage, judged(again)) == ["keep"]


@pytest.mark.parametrize("built", [False, True])
def test_a_row_keeps_apart_from_a_release(folder: Path, sentences: Sentences, built: bool) -> None:
    raw = make_release(folder / "given")
    if built:
        build(raw, folder / "MIS")
    given = folder / "MIS" if built else raw
    record = json.loads((raw / "mis_hard.json").read_text())[0]
    shared = (raw / record["image_path1"]).read_bytes()
    one, two, _ = three(folder)
    same = Pictured(one.row, (make_picture(folder, "a", shared), one.pictures[1]), one.twin_picture)
    alike = make_pictured(folder, "s3.1", THINGS[2], record["question"])
    with strict_pillow():
        stage = Duplicates(folder, 0.9, sentences, read_given([given]))
        said = told(stage, judged(same), judged(two), judged(alike))
    assert said[0].startswith(f"shared picture with {given.name}: test_")
    assert said[1:] == ["keep", "keep"]


def test_a_row_that_asks_and_looks_like_one_of_a_release_is_a_duplicate(folder: Path, sentences: Sentences) -> None:
    raw = make_release(folder / "given")
    one, two, _ = three(folder)
    record = json.loads((raw / "mis_hard.json").read_text())[0]
    for place, picture in enumerate(one.pictures, start=1):
        (raw / record[f"image_path{place}"]).write_bytes((folder / picture.file).read_bytes() + b"\0")
    same = make_pictured(folder, "s1.1", THINGS[0], record["question"])
    other = make_pictured(folder, "s1.1", THINGS[0], "Which of the two is older?")
    with strict_pillow():
        stage = Duplicates(folder, 0.9, sentences, read_given([raw]))
        assert told(stage, judged(other), judged(two)) == ["keep", "keep"]
        stage = Duplicates(folder, 0.9, sentences, read_given([raw]))
        assert told(stage, judged(same)) == ["near duplicate of given: test_hard/0: 1.000"]


def test_a_release_that_says_what_it_shows_is_compared_by_names(folder: Path, sentences: Sentences) -> None:
    raw = make_release(folder / "given")
    (raw / "objects.json").write_text(json.dumps({"test_hard/1": ["a burning candle", "a wooden log"]}))
    asked = json.loads((raw / "mis_hard.json").read_text())[1]["question"]
    one, two = make_pictured(folder, "s1.1", THINGS[0], asked), make_pictured(folder, "s2.1", THINGS[1], asked)
    with strict_pillow():
        said = told(Duplicates(folder, 0.85, sentences, read_given([raw])), judged(one), judged(two))
    assert said[0].startswith("near duplicate of given: test_hard/1: 0.")
    assert said[1] == "keep"


def test_a_release_has_a_digest_that_changes_with_it(folder: Path) -> None:
    raw = make_release(folder / "given")
    before = digest_of([raw])
    assert digest_of([raw]) == before
    (raw / "objects.json").write_text("{}")
    assert digest_of([raw]) != before


def test_a_row_of_an_unknown_seed_is_refused(folder: Path) -> None:
    with pytest.raises(MISError, match=r"has no seed s9, which s9\.1 is made from"):
        Duplicates(folder)(judged(make_pictured(folder, "s9.1", THINGS[0])))
