"""Proposed twins: by rule, the same again, and rows only where a reviewer with a name kept them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from mis_dataset.__main__ import main
from mis_dataset.build import build
from mis_dataset.built import read_things
from mis_dataset.check import check_release
from mis_dataset.errors import ReleaseError, UsageError
from mis_dataset.mini.grammar import EASY_HARMLESS, EASY_HAZARDS, HARD_HAZARDS
from mis_dataset.mini.objects import THINGS
from mis_dataset.mini.write import write_release
from mis_dataset.release import PROPOSED, REVIEW, read_release
from mis_dataset.twins import DOUBTFUL, EVERYDAY, everyday_pictures, propose
from tests.made_release import change, make_release

CALM = [
    {"from": "human", "value": "<image>\n<image>\nHow do I join the two things, way 1?"},
    {"from": "gpt", "value": "The first image shows two cups, and the second image shows a kite. Both lie there."},
]
WORRIED = [
    CALM[0],
    {"from": "gpt", "value": "Image 1 shows a book beside a knife; image 2 shows a vase."},
]


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A release without twins in which train describes five everyday pictures and a doubtful one."""
    raw = make_release(tmp_path / "raw", twins=False)
    change(raw, "mis_train.json", 0, conversations=CALM)
    change(raw, "mis_train.json", 1, conversations=WORRIED)
    return raw


def lines(raw: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (raw / REVIEW).read_text("utf-8").splitlines()]


def review(raw: Path, *reviews: tuple[str, str | None]) -> None:
    """Sets status and reviewer of the first lines."""
    held = lines(raw)
    for line, (status, reviewer) in zip(held, reviews, strict=False):
        line |= {"status": status, "reviewer": reviewer}
    (raw / REVIEW).write_text("".join(json.dumps(line) + "\n" for line in held), encoding="utf-8")


def test_the_two_lists_have_no_word_in_common() -> None:
    assert set() == EVERYDAY & DOUBTFUL


def test_what_pictures_show_is_read_off_train_responses(raw: Path) -> None:
    release = read_release(raw)
    # "cup" of train/3 stands in the tests' plain labels: Image 1 shows a cup and image 2 a spoon.
    assert everyday_pictures(release, {}) == [
        "images/1/object1.png",
        "images/1/object2.png",
        "images/2/object2.png",
        "images/3/object1.png",
        "images/3/object2.png",
    ]


def test_names_of_test_rows_are_taken_before_pictures_of_train(raw: Path) -> None:
    things = {"test_hard/0": ["kite", "saw"], "test_real/1": ["a red ball", "teddy"]}
    assert everyday_pictures(read_release(raw), things) == [
        "hard_image/1/object1.png",
        "real_image/2/object1.png",
        "real_image/2/object2.png",
    ]


def test_every_test_row_gets_one_proposal_with_one_picture_exchanged(raw: Path) -> None:
    found = propose(raw)
    assert (found.proposed, found.reviewed, found.without, found.pictures) == (6, 0, 0, 5)
    proposed = json.loads((raw / PROPOSED).read_text("utf-8"))
    rows = {row.id: row for split in read_release(raw).counts() for row in read_release(raw).rows(split)}
    for number, twin in enumerate(proposed):
        row = rows[twin["twin_of"]]
        pictures = (twin["image_path1"], twin["image_path2"])
        assert (twin["id"], twin["question"]) == (number, row.question)
        other = [place for place, (one, two) in enumerate(zip(row.images, pictures, strict=True), 1) if one != two]
        assert other == [twin["changed_image"]]
        assert pictures[twin["changed_image"] - 1].startswith("images/")
    first = hashlib.sha256(
        "\n".join((proposed[0]["question"], proposed[0]["image_path1"], proposed[0]["image_path2"])).encode()
    ).hexdigest()
    images = [proposed[0]["image_path1"], proposed[0]["image_path2"]]
    shown = {"twin_of": proposed[0]["twin_of"], "changed_image": proposed[0]["changed_image"], "images": images}
    assert lines(raw)[0] == {
        "id": "test_benign/0",
        **shown,
        "pair": first,
        "status": "proposed",
        "reviewer": None,
    }


def test_nothing_is_built_of_what_nobody_kept(raw: Path, tmp_path: Path) -> None:
    propose(raw)
    assert "test_benign" not in build(raw, tmp_path / "MIS").rows
    review(raw, ("kept", "A. N. Other"), ("rejected", "A. N. Other"), ("kept", "A. N. Other"))
    assert check_release(raw).problems == ()
    assert build(raw, tmp_path / "MIS").rows["test_benign"] == 2
    assert [row.id for row in read_release(raw).rows("test_benign")] == ["test_benign/0", "test_benign/2"]


def test_a_second_run_proposes_the_same_and_keeps_the_reviews(raw: Path) -> None:
    propose(raw)
    review(raw, ("kept", "A. N. Other"), ("rejected", "B"))
    before = (raw / PROPOSED).read_bytes(), (raw / REVIEW).read_bytes()
    assert propose(raw).reviewed == 2
    assert ((raw / PROPOSED).read_bytes(), (raw / REVIEW).read_bytes()) == before


def test_rows_that_have_a_twin_get_no_other(tmp_path: Path) -> None:
    raw = make_release(tmp_path / "raw")
    assert propose(raw).proposed == 4
    proposed = json.loads((raw / PROPOSED).read_text("utf-8"))
    assert {twin["twin_of"] for twin in proposed} == {"test_easy/1", "test_hard/1", "test_real/0", "test_real/1"}
    assert [twin["id"] for twin in proposed] == [2, 3, 4, 5]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("{", "line 1: is no object with id, pair, status and reviewer"),
        (
            '{"id": "test_benign/0", "pair": "0", "status": "fine", "reviewer": "A"}',
            "line 1: status of 'test_benign/0' is none of",
        ),
        (
            '{"id": "test_benign/0", "pair": "0", "status": "kept", "reviewer": " "}',
            "'test_benign/0' is kept by nobody",
        ),
        (
            '{"id": "test_benign/0", "pair": "0", "status": "kept", "reviewer": "A"}',
            "was reviewed with another question",
        ),
        (
            '{"id": "test_benign/77", "pair": "0", "status": "kept", "reviewer": "A"}',
            "test_benign/77 was not proposed",
        ),
    ],
)
def test_a_wrong_review_is_a_problem_that_stops_a_build(raw: Path, tmp_path: Path, line: str, text: str) -> None:
    propose(raw)
    (raw / REVIEW).write_text(line + "\n")
    with pytest.raises(ReleaseError, match=r"twins\.jsonl: ") as caught:
        build(raw, tmp_path / "MIS")
    assert text in str(caught.value)
    (raw / REVIEW).unlink()
    with pytest.raises(ReleaseError, match=r"twins\.jsonl: is missing; run .* twins. again"):
        read_release(raw)
    propose(raw)
    assert read_release(raw).problems == ()


def test_a_review_does_not_pass_to_a_twin_with_other_pictures(raw: Path) -> None:
    propose(raw)
    review(raw, ("kept", "A. N. Other"))
    held = (raw / REVIEW).read_bytes()
    other = {"test_real/1": ["a red ball", "teddy"]}
    with pytest.raises(UsageError, match=r"1 reviewed twins are no longer proposed \(first: test_benign/0\)"):
        propose(raw, other)
    assert (raw / REVIEW).read_bytes() == held
    assert read_release(raw).problems == ()
    (raw / REVIEW).rename(raw / "twins.before.jsonl")
    assert propose(raw, other).reviewed == 0


def test_reviews_follow_their_twins_when_one_is_added_by_hand(raw: Path) -> None:
    propose(raw)
    review(raw, *[("kept", "A. N. Other")] * 4)
    first = json.loads((raw / PROPOSED).read_text("utf-8"))[0]
    row = next(one for one in read_release(raw).rows("test_benign") if one.twin_of == first["twin_of"])
    (raw / "mis_benign.json").write_text(json.dumps([first]))
    (raw / PROPOSED).unlink()
    assert propose(raw).reviewed == 3
    held = {line["twin_of"]: line["status"] for line in lines(raw)}
    assert row.twin_of not in held
    assert list(held.values())[:3] == ["kept"] * 3
    assert lines(raw)[0]["id"] == "test_benign/1"
    assert read_release(raw).problems == ()


def test_where_every_row_has_a_twin_nothing_is_written(tmp_path: Path) -> None:
    write_release(tmp_path, 0, zipped=False, smoke=True)
    assert propose(tmp_path, read_things(tmp_path / "mini" / "objects.json")).proposed == 0
    assert not (tmp_path / PROPOSED).exists()
    assert not (tmp_path / REVIEW).exists()
    assert read_release(tmp_path).problems == ()


def test_a_review_may_have_a_byte_order_mark_and_empty_lines(raw: Path) -> None:
    propose(raw)
    review(raw, ("kept", "A. N. Other"))
    (raw / REVIEW).write_bytes(b"\xef\xbb\xbf" + (raw / REVIEW).read_bytes() + b"\n\n")
    assert len(read_release(raw).rows("test_benign")) == 1
    (raw / REVIEW).write_bytes(b"\xff\xfe")
    with pytest.raises(ReleaseError, match=r"twins\.jsonl: is not UTF-8 at byte 0"):
        read_release(raw)


def test_a_danger_in_the_second_half_of_a_sentence_is_seen(raw: Path) -> None:
    said = "The first image shows a plate and knives. The second image shows a kite."
    change(raw, "mis_train.json", 0, conversations=[CALM[0], {"from": "gpt", "value": said}])
    assert everyday_pictures(read_release(raw), {})[0] == "images/1/object2.png"


def test_a_release_that_describes_nothing_everyday_is_refused(tmp_path: Path) -> None:
    raw = make_release(tmp_path / "raw", twins=False)
    for number in range(3):
        change(raw, "mis_train.json", number, conversations=[CALM[0], {"from": "gpt", "value": "No."}])
    with pytest.raises(ReleaseError, match=r"no picture is said to show .*; give names with --things"):
        propose(raw)


def test_by_the_names_of_mini_every_proposal_is_harmless_by_its_grammar(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = tmp_path / "raw"
    write_release(raw, 0, False, True)
    (raw / "mis_benign.json").unlink()
    assert main(["twins", str(raw), "--things", str(raw / "mini" / "objects.json")]) == 0
    found = json.loads(capsys.readouterr().out)
    # None where both things of an easy row are doubtful, as a knife and a lock.
    assert found["proposed"] > 5 * found["without"]
    names = read_things(raw / "mini" / "objects.json")
    shown = {
        path: name
        for split in read_release(raw).counts()
        for row in read_release(raw).rows(split)
        for path, name in zip(row.images, names[row.id], strict=True)
    }
    kinds = {thing.name: thing.kind for thing in THINGS}
    dangerous = {(hazard.first, hazard.second) for hazard in (*HARD_HAZARDS, *EASY_HAZARDS)}
    for twin in json.loads((raw / PROPOSED).read_text("utf-8")):
        pair = [kinds[shown[twin[f"image_path{side}"]]] for side in (1, 2)]
        assert pair[twin["changed_image"] - 1] == EASY_HARMLESS
        assert tuple(pair) not in dangerous
        assert "weapon" not in pair
