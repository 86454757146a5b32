"""Rows of three pictures: constructed, checked, built, loaded, asked about, judged and counted, by the verbs."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from datasets import load_dataset

from mis_dataset.__main__ import main
from tests.loopback_api import KEY, LoopbackApi
from tests.scripted_models import ScriptedModels
from tests.test_construct_faults import prepared
from tests.tiny import call


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A construction of rows of three pictures, and the dataset of it in ``MIS``."""
    folder = tmp_path_factory.mktemp("three")
    with LoopbackApi().running() as api, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", KEY)
        api.decide = ScriptedModels(3)
        config = prepared(api, folder, 12)
        config.write_text(config.read_text() + "\nobjects: 3\n")
        verb("construct", folder / "out", "--config", config)
    verb("check", folder / "out" / "raw")
    verb("build", folder / "out" / "raw", folder / "MIS")
    return folder


def verb(*words: object) -> None:
    with contextlib.redirect_stdout(io.StringIO()) as said:
        assert main([str(word) for word in words]) == 0, said.getvalue()


def test_they_are_loaded_as_any_others(built: Path) -> None:
    splits = load_dataset(str(built / "MIS"))
    assert {name: len(split) for name, split in splits.items()} == {
        "train": 8,
        "test_easy": 2,
        "test_hard": 6,
        "test_benign": 8,
    }
    for split in splits.values():
        for row in split:
            assert len(row["images"]) == 3
            assert "the third image" in row["question"]
    assert splits["test_benign"]["changed_image"] == [1] * 8


def test_they_are_counted_compared_and_described(built: Path) -> None:
    verb("verify", built / "MIS")
    verb("stats", built / "MIS", built / "stats")
    assert main(["croissant", str(built / "MIS")]) == 1  # its words are those of MIS, which this is not
    things = built / "out" / "raw" / "objects.json"
    assert all(len(names) == 3 for names in json.loads(things.read_text()).values())
    with contextlib.redirect_stdout(io.StringIO()) as said:
        code = main(["leaks", str(built / "MIS"), str(built / "leaks.json"), "--things", str(things)])
    shared = json.loads(said.getvalue())["rows"]
    assert code == 1  # the scripted models exchange every thing for the same one
    assert shared["train/test_benign"]["same_things"] == 8
    assert not any("same_image" in kinds or "twin_image" in kinds for kinds in shared.values())


def test_a_model_is_asked_about_all_three_and_its_responses_are_judged_and_counted(
    built: Path, vlm: Callable[[str], Path]
) -> None:
    responses, verdicts = built / "responses.jsonl", built / "verdicts.jsonl"
    told = call("generate", vlm("qwen2_vl"), built / "MIS", responses, "--max-new-tokens", 4, "--float32")
    assert told["n"] == 16
    call("judge", responses, verdicts, "--judge", "keywords", "--dataset", built / "MIS")
    call("score", verdicts, built / "score.json", "--dataset", built / "MIS")
    score = json.loads((built / "score.json").read_text())
    for rate in (score["splits"]["hard"]["asr"], score["pair_accuracy"]["hard"]):
        assert rate["n"] + rate["unscored"] == 6
