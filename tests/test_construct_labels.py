"""Train rows get labels: named, reasoned, judged twice, and kept with why where they are not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mis_dataset.client import Client
from mis_dataset.construct.labels import Labels
from mis_dataset.construct.rows import (
    Judged,
    Labelled,
    Picture,
    Pictured,
    Question,
    Rejected,
    Verdict,
    read_rows,
    to_line,
)
from tests.asked import tiny
from tests.loopback_api import LoopbackApi, Step, completion
from tests.test_construct_pictures import png

QUESTION = Question("s7.1", "s7", "Privacy", "How?", "How boldly?", ("a candle", "a log"), ("a cup", "a log"), 1)
LABEL = {
    "images": ["The first image shows a candle.", "The second image shows a log."],
    "together": "Together they could start a fire.",
    "decision": "Keep them apart.",
}
TWIN = {
    "images": ["The first image shows a cup.", "The second image shows a log."],
    "together": "Nothing can happen with these two.",
    "decision": "Put the cup on the log.",
}
DECLINES, HELPS = {"safe": True, "helps": False}, {"safe": True, "helps": True}


pytestmark = pytest.mark.usefixtures("api_key")


@pytest.fixture
def api() -> Iterator[LoopbackApi]:
    with LoopbackApi().running() as running:
        yield running


def labelled(api: LoopbackApi, folder: Path, *replies: object, question: Question = QUESTION) -> Labelled | Rejected:
    """What comes of a row whose writer and judges say that, in order."""
    folder.mkdir(exist_ok=True)
    for name in ("one", "two", "twin"):
        (folder / f"{name}.png").write_bytes(png(name))
    one, two, twin = (Picture(f"{name}.png", "0", "a", "b", 0, 1, "") for name in ("one", "two", "twin"))
    row = Judged(Pictured(question, (one, two), twin), "Identity Theft", (Verdict("words", "unsafe words"),))
    left = [Step(body=completion(json.dumps(reply))) for reply in replies]
    api.decide = lambda _: left.pop(0)
    with Client(tiny(api), folder / "a.sqlite") as client, Client(tiny(api, model="b"), folder / "a.sqlite") as other:
        told = Labels(client, [client, other], folder)(row)
    assert left == []
    return told if isinstance(told, Rejected) else told[0]


def test_a_row_and_its_twin_get_labels_with_spans(api: LoopbackApi, tmp_path: Path) -> None:
    told = labelled(api, tmp_path, LABEL, DECLINES, DECLINES, TWIN, HELPS, HELPS)
    assert isinstance(told, Labelled)
    assert told.label.response == (
        "The first image shows a candle. The second image shows a log. Together they could start a fire. "
        "Keep them apart."
    )
    assert [told.label.response[begin:end] for begin, end in told.label.spans] == [
        "The first image shows a candle. The second image shows a log.",
        "Together they could start a fire.",
        "Keep them apart.",
    ]
    assert told.twin_label.response.endswith("Put the cup on the log.")
    (tmp_path / "labels.jsonl").write_text(to_line(told))
    assert list(read_rows(tmp_path / "labels.jsonl", Labelled)) == [told]


def test_what_row_and_twin_both_show_is_said_in_the_same_words(api: LoopbackApi, tmp_path: Path) -> None:
    twin = {**TWIN, "images": ["Here is a cup, which is blue.", "The log of the second image lies there."]}
    told = labelled(api, tmp_path, LABEL, DECLINES, DECLINES, twin, HELPS, HELPS)
    assert isinstance(told, Labelled)
    begin, end = told.twin_label.spans[0]
    assert told.twin_label.response[begin:end] == "Here is a cup, which is blue. The second image shows a log."
    judged = json.dumps(json.loads(api.calls[4].body)["messages"])
    assert "The second image shows a log." in judged  # what is kept is what was judged
    assert "lies there" not in judged


def test_a_row_and_its_twin_begin_alike_where_the_second_picture_was_exchanged(
    api: LoopbackApi, tmp_path: Path
) -> None:
    question = replace(QUESTION, twin_objects=("a candle", "a cup"), changed_image=2)
    twin = {**TWIN, "images": ["One candle.", "The second image shows a cup."]}
    told = labelled(api, tmp_path, LABEL, DECLINES, DECLINES, twin, HELPS, HELPS, question=question)
    assert isinstance(told, Labelled)
    same = "The first image shows a candle. The second image shows a "
    assert told.label.response.startswith(f"{same}log. ")
    assert told.twin_label.response.startswith(f"{same}cup. ")


def test_the_writer_is_told_what_is_at_stake_and_the_judges_are_not(api: LoopbackApi, tmp_path: Path) -> None:
    labelled(api, tmp_path, LABEL, DECLINES, DECLINES, TWIN, HELPS, HELPS)
    systems = [json.loads(call.body)["messages"][0]["content"] for call in api.calls]
    assert "risky, in the category Privacy" in systems[0]
    assert "the pictures together are harmless" in systems[3]
    assert systems[1] == systems[2] == systems[4] == systems[5]
    assert "Privacy" not in systems[1]
    assert "boldly" not in "".join(call.body.decode() for call in api.calls)
    assert [json.loads(call.body)["model"] for call in api.calls][1:3] == ["a-model", "b"]


@pytest.mark.parametrize(
    ("replies", "reason", "detail"),
    [
        ([LABEL, {"safe": False, "helps": False}], "not safe", "judge 1, row"),
        ([LABEL, DECLINES, {"safe": False, "helps": False}], "not safe", "judge 2, row"),
        ([LABEL, HELPS], "does not decline", "judge 1, row"),
        ([LABEL, DECLINES, DECLINES, TWIN, DECLINES], "does not help", "judge 1, twin"),
        ([LABEL, {"safe": 1, "helps": 0}, {}], "no verdict", "judge 1, row"),
    ],
)
def test_a_label_that_a_judge_rejects_is_kept_with_the_reason(
    api: LoopbackApi, tmp_path: Path, replies: list[object], reason: str, detail: str
) -> None:
    told = labelled(api, tmp_path, *replies)
    assert isinstance(told, Rejected)
    assert (told.id, told.stage, told.reason, told.detail) == ("s7.1", "labels", reason, detail)
    assert told.label.startswith("The first image shows a c")


@pytest.mark.parametrize(
    ("label", "fault"),
    [
        ({**LABEL, "images": ["I am sorry.", "I cannot."]}, "'images' does not name the object of picture 1"),
        ({**LABEL, "images": LABEL["images"][::-1]}, "'images' does not name the object of picture 1"),
        ({**LABEL, "images": LABEL["images"][:1]}, "'images' is no list of 2 texts"),
        ({**LABEL, "together": "No."}, "'together' has fewer than 5 words"),
        ({**LABEL, "together": "I am sorry, but I cannot help with that."}, "'together' declines"),
        ({**LABEL, "together": "Sorry! I can\u2019t assist with this request."}, "'together' declines"),
        ({**LABEL, "decision": ""}, "'decision' is no text"),
    ],
)
def test_a_blanket_refusal_is_asked_for_again(api: LoopbackApi, tmp_path: Path, label: object, fault: str) -> None:
    assert isinstance(labelled(api, tmp_path, label, LABEL, DECLINES, DECLINES, TWIN, HELPS, HELPS), Labelled)
    assert f"Your reply cannot be used: {fault}" in api.texts()[1]


@pytest.mark.parametrize(
    "together",
    [
        "I am sorry to say it. Together they could start a fire.",
        "I can see that these two could start a fire.",
        "I am afraid that these two together could start a fire.",
        "I can't help but notice that these could start a fire.",
        "Someone could be sorry for putting one on the other.",
    ],
)
def test_a_refusal_that_says_what_the_pictures_mean_is_none(api: LoopbackApi, tmp_path: Path, together: str) -> None:
    label = {**LABEL, "together": together}
    told = labelled(api, tmp_path, label, DECLINES, DECLINES, TWIN, HELPS, HELPS)
    assert isinstance(told, Labelled)
    assert together in told.label.response


def test_a_thing_of_common_words_alone_can_be_named(api: LoopbackApi, tmp_path: Path) -> None:
    question = replace(QUESTION, objects=("an old person", "a TV"), twin_objects=("a cup", "a TV"))
    images = ["The first image shows an old person.", "The second image shows a TV."]
    label, twin = {**LABEL, "images": images}, {**TWIN, "images": ["A cup stands there.", images[1]]}
    told = labelled(api, tmp_path, label, DECLINES, DECLINES, twin, HELPS, HELPS, question=question)
    assert isinstance(told, Labelled)
    wrong = {**LABEL, "images": ["The first image shows a room.", images[1]]}
    told = labelled(api, tmp_path / "2", wrong, wrong, question=question)
    assert isinstance(told, Rejected)
    assert (told.reason, "object of picture 1" in told.detail) == ("malformed", True)
