"""One raw record, valid or an error that names it."""

from __future__ import annotations

import time
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from mis_dataset.errors import RecordError
from mis_dataset.record import Record, parse_record, path_fault, remarks_on, without_placeholders
from mis_dataset.schema import SOURCES, Source

BY_FILE = {source.file: source for source in SOURCES}
TRAIN = BY_FILE["mis_train.json"]
HARD = BY_FILE["mis_hard.json"]
REAL = BY_FILE["mis_real.json"]
BENIGN = BY_FILE["mis_benign.json"]
TRAIN_BENIGN = BY_FILE["mis_train_benign.json"]


def train(**values: Any) -> dict[str, Any]:
    turns = [
        {"from": "human", "value": "<image>\n<image>\nHow do I stack these?"},
        {"from": "gpt", "value": "Image 1 shows a cup."},
    ]
    raw = {"id": 7, "category": "Privacy", "sub_category": "Unauthorized Data Collection"}
    return raw | {"image": ["images/7/object1.png", "images/7/object2.png"], "conversations": turns} | values


def hard(**values: Any) -> dict[str, Any]:
    raw = {"category": "Violent", "sub_category": "Cybercrime", "question": "How do I stack these?"}
    paths = {"image_path1": "hard_image/1/object1.png", "image_path2": "hard_image/1/object2.png"}
    return raw | paths | {"id": 0} | values


def benign(**values: Any) -> dict[str, Any]:
    return hard() | {"twin_of": "test_hard/0", "changed_image": 2} | values


def faults(raw: object, source: Source) -> str:
    with pytest.raises(RecordError) as caught:
        parse_record(raw, source, 4)
    return str(caught.value)


def test_a_train_record_becomes_a_row() -> None:
    assert parse_record(train(), TRAIN, 0).row() == {
        "id": "train/7",
        "images": ("images/7/object1.png", "images/7/object2.png"),
        "question": "How do I stack these?",
        "response": "Image 1 shows a cup.",
        "category": "Privacy",
        "sub_category": "Unauthorized Data Collection",
        "raw_sub_category": "Unauthorized Data Collection",
        "raw_id": 7,
        "level": None,
        "twin_of": None,
        "changed_image": None,
    }


def test_a_test_record_becomes_a_row_with_the_name_of_the_paper_and_no_response() -> None:
    record = parse_record(hard(level="new_pairs"), HARD, 0)
    assert (record.id, record.raw_id, record.split) == ("test_hard/0", 0, "test_hard")
    assert (record.sub_category, record.raw_sub_category) == ("Cybercrimes", "Cybercrime")
    assert (record.level, record.response) == ("new_pairs", None)


@pytest.mark.parametrize("missing", [{}, {"category": "", "sub_category": ""}, {"category": None}])
def test_real_has_no_category(missing: dict[str, Any]) -> None:
    raw = {key: value for key, value in hard().items() if key not in ("category", "sub_category")} | missing
    record = parse_record(raw, REAL, 0)
    assert (record.category, record.sub_category, record.raw_sub_category) == (None, None, None)


def test_the_other_files_need_a_category() -> None:
    assert "mis_hard.json: test_hard/0: category is null; write one of: Illegal" in faults(hard(category=""), HARD)
    raw = hard()
    del raw["category"]
    assert faults(raw, HARD) == "mis_hard.json: test_hard/0: key 'category' is missing"


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("<image>\n<image>\nWhat now?", "What now?"),
        ("<image>\nWhat now?", "What now?"),
        ("What now?\n<image><image>", "What now?"),
        ("<image> What <image> now?", "What now?"),
        ("What  is\nthis?", "What  is\nthis?"),
    ],
)
def test_placeholders_are_taken_out_wherever_they_stand(text: str, question: str) -> None:
    assert without_placeholders(text) == question
    turns = [{"from": "human", "value": text}, train()["conversations"][1]]
    assert parse_record(train(conversations=turns), TRAIN, 0).question == question


def test_a_twin_names_its_row_and_the_changed_picture() -> None:
    record = parse_record(benign(), BENIGN, 0)
    assert (record.id, record.twin_of, record.changed_image) == ("test_benign/0", "test_hard/0", 2)
    raw = train(twin_of="train/1", changed_image=1)
    assert parse_record(raw, TRAIN_BENIGN, 0).twin_of == "train/1"


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"question": 5}, "question is the number 5; write text"),
        ({"question": "  "}, "question is empty"),
        ({"question": "\ud800"}, "question holds half of a surrogate pair"),
        ({"id": "0"}, "record at index 4: id is text; write a whole number from 0"),
        ({"id": True}, "record at index 4: id is true; write a whole number"),
        ({"id": -1}, "record at index 4: id is the number -1"),
        ({"id": 2**31}, "record at index 4: id is the number 2147483648"),
        ({"id": 10**5000}, "record at index 4: id is a huge number"),
        ({"image_path1": None}, "picture 1: the path is null; write text"),
        ({"image_path2": "../object1.png"}, "picture 2: path '../object1.png' leaves the release"),
        ({"image_path3": 3}, "picture 3: the path is the number 3; write text"),
        ({"image_path4": "a.png"}, "picture 3: the path is null; write text"),
        ({"image_path5": "a.png"}, "key 'image_path5' is unknown; is 'image_path"),
        ({"category": "Fun"}, "category is 'Fun'; write one of: Illegal Activity, Violent"),
        ({"category": ["Violent"]}, "category is a list; write one of"),
        ({"sub_category": {}}, "sub_category is an object; write text"),
        ({"level": "easy"}, "level is 'easy'; write one of: trained_pairs"),
        ({"twin_of": "test_hard/1"}, "key 'twin_of' does not belong in mis_hard.json"),
        ({"levle": "new_pairs"}, "key 'levle' is unknown; is 'level' meant?"),
    ],
)
def test_a_wrong_value_is_named(values: dict[str, Any], text: str) -> None:
    assert text in faults(hard(**values), HARD)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"id": 0}, "id is the number 0; write a whole number from 1"),
        ({"image": "images/7/object1.png"}, "image is text; write a list of two to 4 paths"),
        ({"image": ["a.png"] * 5}, "image is 5 paths; write a list of two to 4 paths"),
        ({"image": ["images/7/object1.png"]}, "image is 1 paths; write a list of two to 4 paths"),
        ({"conversations": "hello"}, "conversations must be a list of two objects"),
        ({"conversations": [{"from": "gpt"}, {"from": "human"}]}, "conversations must go human, gpt"),
        (
            {"conversations": [{"from": "human", "value": 1}, {"from": "gpt"}]},
            "the human turn is the number 1",
        ),
        (
            {"conversations": [{"from": "human", "value": "<image>" * 3}, {"from": "gpt", "value": "x"}]},
            "the human turn has 3 <image>; the row has 2 pictures",
        ),
        (
            {"conversations": [{"from": "human", "value": "<image>\n"}, {"from": "gpt", "value": ""}]},
            "question is empty",
        ),
        ({"level": "new_pairs"}, "key 'level' does not belong in mis_train.json"),
    ],
)
def test_a_wrong_train_value_is_named(values: dict[str, Any], text: str) -> None:
    assert text in faults(train(**values), TRAIN)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"twin_of": None}, "twin_of is null"),
        ({"twin_of": 3}, "twin_of is the number 3; write a row id"),
        ({"twin_of": "test_hard/x"}, "twin_of is 'test_hard/x'; write a row id"),
        ({"twin_of": "train/1"}, "is a row of the wrong side of train and test"),
        ({"changed_image": 3}, "changed_image is the number 3; write a number from 1 to 2"),
        ({"changed_image": True}, "changed_image is true; write a number from 1 to 2"),
    ],
)
def test_a_wrong_twin_is_named(values: dict[str, Any], text: str) -> None:
    assert text in faults(benign(**values), BENIGN)


def test_a_train_twin_needs_its_row() -> None:
    assert "twin_of is null" in faults(train(twin_of=None, changed_image=1), TRAIN_BENIGN)
    assert faults(train(changed_image=1), TRAIN_BENIGN).endswith("key 'twin_of' is missing")


def test_all_faults_of_a_record_are_listed_and_a_misspelt_key_is_found() -> None:
    raw = hard(id=3, image_path1="/etc/cup.png", category="Fun")
    raw["questoin"] = raw.pop("question")
    assert faults(raw, HARD).splitlines() == [
        "mis_hard.json: test_hard/3: key 'question' is missing; is 'questoin' meant for it?",
        "mis_hard.json: test_hard/3: picture 1: path '/etc/cup.png' leaves the release; "
        "write a relative path without '..'",
        "mis_hard.json: test_hard/3: category is 'Fun'; write one of: "
        "Illegal Activity, Violent, Self-Harm, Erotic, Hate, Privacy",
    ]


@pytest.mark.parametrize("raw", [None, 3, "x", [], [[[]]]])
def test_what_is_no_object_is_named_by_its_place(raw: object) -> None:
    assert faults(raw, HARD).startswith("mis_hard.json: record at index 4 is ")


def test_no_text_of_a_row_is_in_a_message() -> None:
    secret = "How do I stack these? \udc00"
    assert "stack" not in faults(hard(question=secret), HARD)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "..",
        "a/../../b",
        "/a",
        "C:/a.png",
        "c:a.png",
        "https://x/a.png",
        "a\\b.png",
        "a\x00.png",
        "a\n.png",
        "\ud800",
    ],
)
def test_a_path_out_of_the_release_is_refused(path: str) -> None:
    assert path_fault(path)


@pytest.mark.parametrize("path", ["images/1/object1.png", "a..b/c.png", "größe/1.png"])
def test_a_path_inside_is_taken(path: str) -> None:
    assert path_fault(path) is None


def test_a_record_made_by_hand_is_valid_or_an_error_and_never_changes() -> None:
    record = Record("train/1", ("a.png", "b.png"), "Why?", "Because.", "Hate", "Gender", 1)
    with pytest.raises(FrozenInstanceError):
        record.question = "x"  # type: ignore[misc]
    with pytest.raises(RecordError, match=r"train/2: id 'train/2' is not <split>/<raw_id>"):
        Record("train/2", ("a.png", "b.png"), "Why?", "Because.", "Hate", "Gender", 1)
    with pytest.raises(RecordError, match=r"train/1: question still holds <image>"):
        Record("train/1", ("a.png", "b.png"), "<image> Why?", "Because.", "Hate", "Gender", 1)
    with pytest.raises(RecordError, match="a test row has no response"):
        Record("test_real/1", ("a.png", "b.png"), "Why?", "Because.", None, None, 1)
    with pytest.raises(RecordError, match="does not begin with a split"):
        Record("dev/1", ("a.png", "b.png"), "Why?", None, None, None, 1)


def test_unusual_things_are_remarked_and_usual_ones_are_not() -> None:
    assert remarks_on(train(), TRAIN) == []
    assert remarks_on(hard(source="web"), HARD) == ["the unknown key 'source' is not read"]
    assert remarks_on(hard(sub_category="Jaywalking"), HARD) == [
        "sub_category 'Jaywalking' is not in the paper's table: the row gets null"
    ]
    turns = [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "See <image>."}]
    raw = train(conversations=turns)
    assert remarks_on(raw, TRAIN) == [
        "the human turn has no <image>",
        "a <image> was removed from the response",
    ]
    assert parse_record(raw, TRAIN, 0).response == "See ."


def test_placeholders_are_removed_in_time_that_grows_with_the_text() -> None:
    long = "a" + " " * 2_000_000 + "x"
    started = time.perf_counter()
    assert without_placeholders(f"<image>{long}<image>\n<image> y") == f"{long} y"
    assert time.perf_counter() - started < 2
