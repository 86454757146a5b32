"""Questions get pictures: drawn, judged, drawn anew, kept with where they come from."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from mis_dataset.client import Client
from mis_dataset.construct.drawers import Hosted
from mis_dataset.construct.pictures import Pictures
from mis_dataset.construct.rows import Pictured, Question, Rejected, read_rows, to_line
from tests.asked import tiny
from tests.loopback_api import LoopbackApi, Step, completion, drawn, error

ROW = Question("s7.1", "s7", "Privacy", "How?", "How boldly?", ("a candle", "a log"), ("a cup", "a log"), 1)
GOOD = {"good": True}
BAD = {"good": False, "prompts": ["a photo of a white candle", "a photo of a dry log"]}
FIRST = "a realistic photograph of {}, one object, no text"


pytestmark = pytest.mark.usefixtures("api_key")


@pytest.fixture
def api() -> Iterator[LoopbackApi]:
    with LoopbackApi().running() as running:
        yield running


def png(text: str) -> bytes:
    """A picture in a colour of its own for every text, which stands in the file as tools write it there."""
    shade = hashlib.sha256(text.encode()).digest()[:3]
    about = PngImagePlugin.PngInfo()
    about.add_text("parameters", text)
    Image.new("RGB", (8, 8), (shade[0], shade[1], shade[2])).save(stream := io.BytesIO(), "PNG", pnginfo=about)
    return stream.getvalue()


def pictured(
    api: LoopbackApi, folder: Path, *verdicts: object, rounds: int = 2, draw: Any = None, **changes: Any
) -> Pictured | Rejected:
    """What comes of the row where the critic says that, in order."""
    left = list(verdicts)

    def decide(body: bytes) -> Step:
        asked = json.loads(body)
        if "prompt" in asked:
            return draw(asked) if draw else Step(body=drawn(png(f"{asked['prompt']} {asked['seed']}"), model="draws-1"))
        return Step(body=completion(json.dumps(left.pop(0))))

    api.decide = decide
    with Client(tiny(api), folder / "replies.sqlite") as client:
        told = Pictures(Hosted(client), client, folder, "64x64", rounds, "CC0-1.0", **{"seed": 0} | changes)(ROW)
    assert isinstance(told, Rejected) or left == []
    return told if isinstance(told, Rejected) else told[0]


def prompts(api: LoopbackApi) -> list[str]:
    return [call.text for call in api.calls if call.path.endswith("generations")]


def test_each_object_is_drawn_and_kept_with_where_it_comes_from(api: LoopbackApi, tmp_path: Path) -> None:
    told = pictured(api, tmp_path, GOOD, GOOD)
    assert isinstance(told, Pictured)
    assert prompts(api) == [FIRST.format(thing) for thing in ("a candle", "a log", "a cup")]
    assert [one.file for one in (*told.pictures, told.twin_picture)] == [
        "pictures/s7.1/object1.png",
        "pictures/s7.1/object2.png",
        "pictures/s7.1/twin1.png",
    ]
    for one in (*told.pictures, told.twin_picture):
        kept = (tmp_path / one.file).read_bytes()
        assert hashlib.sha256(kept).hexdigest() == one.sha256
        assert b"parameters" not in kept  # pixels alone
        assert (one.model, one.round, one.licence) == ("draws-1", 1, "CC0-1.0")
    assert told.twin_pictures() == (told.twin_picture, told.pictures[1])
    assert len({one.seed for one in (*told.pictures, told.twin_picture)}) == 3


def test_the_critic_sees_the_pictures_and_never_the_first_wording(api: LoopbackApi, tmp_path: Path) -> None:
    pictured(api, tmp_path, GOOD, GOOD)
    critics = [json.loads(call.body)["messages"] for call in api.calls if call.path.endswith("completions")]
    assert [[part["type"] for part in turns[1]["content"]] for turns in critics] == [["text", *["image_url"] * 2]] * 2
    assert '"objects": ["a cup", "a log"]' in critics[1][1]["content"][0]["text"]
    assert "boldly" not in json.dumps(critics)


def test_what_is_not_as_meant_is_drawn_anew_by_the_words_of_the_critic(api: LoopbackApi, tmp_path: Path) -> None:
    told = pictured(api, tmp_path, BAD, GOOD, BAD, GOOD)
    assert isinstance(told, Pictured)
    assert [one.prompt for one in told.pictures] == BAD["prompts"]
    assert [one.round for one in (*told.pictures, told.twin_picture)] == [2, 2, 2]
    # Of the twin the exchanged picture alone is drawn anew.
    assert prompts(api)[4:] == [FIRST.format("a cup"), "a photo of a white candle"]


@pytest.mark.parametrize(("rounds", "verdicts"), [(1, [BAD]), (2, [BAD, BAD]), (2, [GOOD, BAD, BAD])])
def test_after_so_many_rounds_a_row_is_rejected_and_no_picture_kept(
    api: LoopbackApi, tmp_path: Path, rounds: int, verdicts: list[object]
) -> None:
    told = pictured(api, tmp_path, *verdicts, rounds=rounds)
    assert told == Rejected("s7.1", "pictures", "not as meant", f"after {rounds} rounds")
    assert not (tmp_path / "pictures").exists()


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (Step(400, error("content_policy_violation")), "refused"),
        (Step(400), "no reply"),
        (Step(body=drawn(b"<svg/>")), "no picture"),
        (Step(body=drawn(png("x")[:60])), "no picture"),
    ],
)
def test_what_is_no_picture_rejects_the_row(api: LoopbackApi, tmp_path: Path, step: Step, reason: str) -> None:
    told = pictured(api, tmp_path, draw=lambda _: step)
    assert isinstance(told, Rejected)
    assert (told.stage, told.reason) == ("pictures", reason)


@pytest.mark.parametrize("verdict", [{"good": "yes"}, {"good": False}, {"good": False, "prompts": ["a photo"]}, {}])
def test_a_verdict_of_another_shape_is_asked_for_again(api: LoopbackApi, tmp_path: Path, verdict: object) -> None:
    assert isinstance(pictured(api, tmp_path, verdict, GOOD, GOOD), Pictured)


def test_another_seed_draws_other_pictures_and_the_same_one_asks_nothing(api: LoopbackApi, tmp_path: Path) -> None:
    first = pictured(api, tmp_path, GOOD, GOOD)
    count = api.count
    assert pictured(api, tmp_path) == first
    assert api.count == count
    other = pictured(api, tmp_path, GOOD, GOOD, seed=1)
    assert isinstance(first, Pictured)
    assert isinstance(other, Pictured)
    assert first.pictures[0].sha256 != other.pictures[0].sha256


def test_a_row_with_pictures_is_written_and_read_back(api: LoopbackApi, tmp_path: Path) -> None:
    told = pictured(api, tmp_path, GOOD, GOOD)
    assert isinstance(told, Pictured)
    (tmp_path / "pictures.jsonl").write_text(to_line(told))
    assert list(read_rows(tmp_path / "pictures.jsonl", Pictured)) == [told]
    assert told.id == "s7.1"
