"""What the demo does when a visitor acts: one base with its adapter off and on, and what is missing is said."""

from __future__ import annotations

import json
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.made_demo import board, encoded, load
from tests.tiny import Tiny, call

acts, settings, models, pictures = load("acts"), load("settings"), load("models"), load("pictures")
QUESTION = "How can I use the object in the first image with the second one?"


def demo_of(folder: Path, **environment: str) -> Any:
    """A demo whose README names nothing."""
    return acts.Demo(settings.read_settings(environment, folder))


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A demo of which nothing can be loaded."""
    folder = tmp_path_factory.mktemp("bare")
    return demo_of(folder, MIS_DATASET=str(folder / "none"), MIS_BASE=str(folder / "none"), MIS_MAX_NEW_TOKENS="4")


def test_what_is_missing_is_said_and_the_rest_works(bare: Any) -> None:
    assert set(bare.faults) == {"rows", "model", "board"}
    assert "is neither a folder here nor can it be fetched" in bare.faults["model"]
    kept, _ = bare.uploaded(encoded(), 0, acts.NOTHING)
    kept, _ = bare.uploaded(encoded(), 1, kept)
    assert "is neither a folder here nor can it be fetched" in list(bare.asked("Hello?", kept, "one"))[-1].notice
    assert "cannot be read" in bare.explored(load("rows").Wanted(), 1)[0]
    assert "There is no leaderboard.json here" in bare.compared("all")[0]
    assert (bare.ready(), bare.splits(), bare.filters("split")) == ([], ["all"], ["all"])
    assert bare.took_row("test_hard/0", kept) == (kept, None, "")


def test_an_upload_that_is_no_picture_leaves_the_pictures_as_they_were(bare: Any) -> None:
    kept, _ = bare.uploaded(encoded(), 0, acts.NOTHING)
    same, said = bare.uploaded(b"a text named picture.png", 1, kept)
    assert same == kept
    assert "role='alert'" in said
    assert "This file is not a picture" in said


@pytest.mark.parametrize("number", [None, -1, 10**9, "0", True, float("nan")])
def test_a_picture_that_the_gallery_has_not_changes_nothing(bare: Any, number: object) -> None:
    assert bare.took(number, 0, acts.NOTHING) == acts.NOTHING


@pytest.mark.parametrize("place", [None, -1, 2, "1", True])
def test_a_picture_becomes_the_first_or_the_second_and_no_third(
    bare: Any, place: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = pictures.Picture(b"", "lamp")
    monkeypatch.setattr(bare, "shelf", [one])
    assert bare.took(0, 1, acts.NOTHING) == (None, one)
    assert bare.took(0, place, acts.NOTHING) == acts.NOTHING


def test_control_tokens_in_a_question_are_parted() -> None:
    assert models.disarmed("a<b><b><c>", ["<b>", "<c>"]) == "a< b>< b>< c>"
    assert models.disarmed("plain", []) == "plain"


@pytest.fixture(scope="module")
def demo(tiny: Tiny, tiny_arm: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("demo")
    (folder / "leaderboard.json").write_text(json.dumps(board()))
    return demo_of(
        folder,
        MIS_DATASET=str(tiny.dataset),
        MIS_BASE=str(tiny.model),
        MIS_ADAPTER=str(tiny_arm / "adapter"),
        MIS_THINGS=str(tiny.raw / "mini" / "objects.json"),
        MIS_MAX_NEW_TOKENS="12",
        MIS_ASKS_PER_MINUTE="3",
    )


@pytest.fixture(scope="module")
def row(demo: Any) -> Any:
    return next(pair.row for pair in demo.pairs if pair.row.split == "test_hard")


def said_by(demo: Any, row: Any, adapted: bool) -> str:
    images = [one.image() for one in demo.rows.pictures(row)]
    pieces = list(demo.model.stream(row.question, images, adapted))
    assert all(later.startswith(earlier) for earlier, later in pairwise(pieces))
    assert len(pieces) > 3
    return str(pieces[-1])


@pytest.mark.slow
def test_adapter_off_and_on_say_what_generate_says_of_both(
    demo: Any, row: Any, tiny: Tiny, tiny_arm: Path, tmp_path: Path
) -> None:
    words = (
        tiny.model,
        tiny.dataset,
        tmp_path / "on.jsonl",
        "--adapter",
        tiny_arm / "adapter",
        "--splits",
        "test_hard",
    )
    call("generate", *words, "--also-base", tmp_path / "off.jsonl", "--max-new-tokens", 12, "--float32")
    said = {}
    for name in ("on", "off"):
        lines = map(json.loads, (tmp_path / f"{name}.jsonl").read_text().splitlines())
        said[name] = {line["id"]: line["response"] for line in lines}
    assert said["on"][row.id] != said["off"][row.id]
    for name in ("off", "on", "off"):
        assert said_by(demo, row, name == "on") == said[name][row.id]


@pytest.mark.slow
def test_a_question_is_answered_by_both_models_in_turn_with_a_verdict(demo: Any, row: Any) -> None:
    kept, question, _ = demo.took_row(row.id, acts.NOTHING)
    parts = list(demo.asked(question, kept, "first"))
    judged = [("Verdict of" in part.base, "Verdict of" in part.tuned) for part in parts]
    assert judged == sorted(judged)
    assert judged[-1] == (True, True)
    assert "Base model" in parts[-1].base
    assert "names" in parts[-1].tuned


@pytest.mark.slow
def test_questions_are_cut_limited_and_want_two_pictures(demo: Any, row: Any) -> None:
    kept, _, _ = demo.took_row(row.id, acts.NOTHING)
    assert "Choose or upload two pictures first" in list(demo.asked("Hm?", (kept[0], None), "second"))[-1].notice
    assert "its last 100 letters were cut off" in list(demo.asked("x" * 600, kept, "second"))[-1].notice
    for _ in range(2):
        assert "role='status'" in list(demo.asked("Hm?", kept, "second"))[-1].notice
    assert "You have asked 3 questions within a minute" in list(demo.asked("Hm?", kept, "second"))[-1].notice


@pytest.mark.slow
def test_many_visitors_at_once_get_what_one_gets_alone_and_who_leaves_locks_nothing(demo: Any, row: Any) -> None:
    images = [one.image() for one in demo.rows.pictures(row)]
    left = demo.model.stream(row.question, images, True)
    next(left)
    left.close()
    alone = {adapted: said_by(demo, row, adapted) for adapted in (False, True)}
    found: list[tuple[bool, str]] = []

    def visit(number: int) -> None:
        adapted = bool(number % 2)
        found.append((adapted, said_by(demo, row, adapted)))

    visitors = [threading.Thread(target=visit, args=(number,)) for number in range(6)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    assert sorted(found) == sorted([(adapted, alone[adapted]) for adapted in (False, True)] * 3)


@pytest.mark.slow
def test_new_sessions_of_one_address_are_limited_together(demo: Any, row: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, _, _ = demo.took_row(row.id, acts.NOTHING)
    monkeypatch.setattr(demo, "_addresses", load("visitors").RateLimit(1, "{most} from your network address"))
    assert "role='status'" in list(demo.asked("Hm?", kept, "new 1", "8.8.8.8"))[-1].notice
    assert "1 from your network address" in list(demo.asked("Hm?", kept, "new 2", "8.8.8.8"))[-1].notice
    assert "role='status'" in list(demo.asked("Hm?", kept, "new 3", "8.8.4.4"))[-1].notice


@pytest.mark.slow
def test_a_model_that_hangs_is_told_and_holds_nobody_up(demo: Any, row: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "_WAIT", 0.2)
    monkeypatch.setattr(models, "_LEAVE", 0.2)
    with demo.model._turn:
        kept, _, _ = demo.took_row(row.id, acts.NOTHING)
        begun = time.monotonic()
        assert "The model takes too long" in list(demo.asked("Hm?", kept, "hangs"))[-1].notice
        assert time.monotonic() - begun < 5
    monkeypatch.undo()
    assert "role='status'" in list(demo.asked("Hm?", kept, "goes on"))[-1].notice


@pytest.mark.slow
def test_without_an_adapter_there_is_one_column(tiny: Tiny, tmp_path: Path) -> None:
    alone = demo_of(tmp_path, MIS_DATASET=str(tiny.dataset), MIS_BASE=str(tiny.model), MIS_MAX_NEW_TOKENS="4")
    kept, question, _ = alone.took_row(alone.pairs[0].row.id, acts.NOTHING)
    last = list(alone.asked(question, kept, "one"))[-1]
    assert "<h3>Model</h3>" in last.base
    assert "Verdict of" in last.base
    assert "Verdict of" not in last.tuned
    assert "unknown" in last.base


@pytest.mark.slow
def test_what_is_no_adapter_or_no_checkpoint_is_told(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(settings.DemoError, match=r"has no adapter_model\.safetensors"):
        models.Model(str(tiny.model), str(tmp_path), 4)
    with pytest.raises(settings.DemoError, match="cannot be loaded"):
        models.Model(str(tmp_path), None, 4)
