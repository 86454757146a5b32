"""Which measured models can be compared, and what a reader should know beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mis_dataset.errors import UsageError
from mis_dataset.files import write_json
from tests.made_measured import DECLINES, HELPS, USUAL, How, make
from trainer.artefacts import Verdict
from trainer.comparison.measured import differing, named_folder, read_measured, remarks, settings_of
from trainer.files import ArtefactError
from trainer.sidecars import read_sidecar, sidecar_path

IDS = ["test_hard/0", "test_hard/1", "test_benign/0"]
VERDICTS = dict.fromkeys(IDS, HELPS)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        (USUAL, None),
        (USUAL._replace(device="cuda/bfloat16"), None),
        (USUAL._replace(judge="minilm"), "another judge: minilm 1-a, that of first is mini_rules 1-a"),
        (USUAL._replace(version="2-a"), "another judge: mini_rules 2-a, that of first is mini_rules 1-a"),
        (USUAL._replace(edition="e2"), "judged with rules.py = 'e2', the first with 'e1'"),
        (USUAL._replace(max_new_tokens=9), "generated with max_new_tokens = 9, the first with 44"),
        (USUAL._replace(asked="2-a"), "generated with version = '2-a', the first with '1-a'"),
    ],
)
def test_a_model_measured_in_another_way_cannot_be_compared(tmp_path: Path, how: How, says: str | None) -> None:
    first, one = make(tmp_path / "first", VERDICTS), make(tmp_path / "one", VERDICTS, how)
    assert differing(one, first) == ([says] if says else [])


def test_other_rows_cannot_be_compared_and_other_verdicts_can(tmp_path: Path) -> None:
    first = make(tmp_path / "first", VERDICTS)
    assert differing(make(tmp_path / "same", dict.fromkeys(IDS, DECLINES)), first) == []
    rest = {"test_hard/1": HELPS, "test_hard/2": HELPS}
    assert differing(make(tmp_path / "rest", rest), first) == ["other rows: 1 that first lacks, 2 that it lacks"]


def test_verdicts_of_two_judges_are_no_measurement(tmp_path: Path) -> None:
    first, one = make(tmp_path / "first", VERDICTS), make(tmp_path / "one", VERDICTS)
    path = tmp_path / "one" / "verdicts.jsonl"
    lines = path.read_text("utf-8").splitlines(keepends=True)
    path.write_text("".join([lines[0].replace('"1-a"', '"1-b"'), *lines[1:]]), "utf-8")
    assert one.judged_by == [("mini_rules", "1-a", "")]
    mixed = read_measured("one", tmp_path / "one")
    assert differing(mixed, first)[0] == "the verdicts of one are of 2 judges"
    assert differing(mixed, mixed) == ["the verdicts of one are of 2 judges"]


def test_a_judge_that_was_not_asked_about_an_empty_response_is_no_second_judge(tmp_path: Path) -> None:
    first = make(tmp_path / "first", VERDICTS, USUAL._replace(judge="openai"))
    named = {id_: replace(one, model="a-model") for id_, one in first.verdicts.items()}
    empty = {"test_hard/0": Verdict("test_hard/0", "Unscored", 0, "openai", "empty", version="1-a")}
    one = first._replace(verdicts=named | empty)
    assert one.judged_by == [("openai", "1-a", "a-model")]
    assert differing(one, first._replace(verdicts=named)) == []
    two = first._replace(verdicts=named | {"test_hard/0": replace(named["test_hard/0"], model="b-model")})
    assert differing(two, two) == ["the verdicts of first are of 2 judges"]


def test_what_a_call_costs_and_where_a_model_lies_is_no_difference(tmp_path: Path) -> None:
    first, one = make(tmp_path / "first", VERDICTS), make(tmp_path / "one", VERDICTS)
    _change(tmp_path / "one" / "responses.jsonl", {"base_url": "http://127.0.0.1/v1", "prices": "[1, 2]"}, {})
    _change(tmp_path / "one" / "verdicts.jsonl", {"prices": "[1, 2]"}, {})
    assert differing(read_measured("one", one.folder), first) == []
    _change(tmp_path / "one" / "verdicts.jsonl", {"base_url": "http://127.0.0.1/v1"}, {})
    assert differing(read_measured("one", one.folder), first) == [
        "judged with base_url = 'http://127.0.0.1/v1', the first with None"
    ]


def test_a_checkpoint_and_a_model_behind_an_api_are_compared_where_both_speak_greedily(tmp_path: Path) -> None:
    first, one = make(tmp_path / "first", VERDICTS), make(tmp_path / "one", VERDICTS)
    asked = {"engine": "openai", "version": "1", "max_tokens": 44, "seed": 0, "temperature": 0.0}
    _change(one.folder / "responses.jsonl", asked, {})
    one = read_measured("one", one.folder)
    assert differing(one, first) == []
    assert remarks(one, first, tmp_path) == ["asked through 'openai', first through 'transformers'"]
    for change, says in (
        ({"temperature": 1.0}, "generated with temperature = 1.0, the first with 0.0"),
        ({"image_max_side": 256}, "generated with image_max_side = 256, the first with None"),
    ):
        _change(one.folder / "responses.jsonl", asked | change, {})
        assert says in differing(read_measured("one", one.folder), first)


def test_a_sidecar_that_does_not_say_how_rows_were_asked_is_refused(tmp_path: Path) -> None:
    one = make(tmp_path / "one", VERDICTS)
    path = one.folder / "responses.jsonl"
    told = read_sidecar(path)
    write_json(sidecar_path(path), vars(told) | {"settings": {**told.settings, "version": None}})
    read_measured("one", one.folder)  # it says something
    kept = {key: value for key, value in told.settings.items() if key != "version"}
    write_json(sidecar_path(path), vars(told) | {"settings": kept})
    with pytest.raises(ArtefactError, match="its sidecar does not say version, as `generate` does now"):
        read_measured("one", one.folder)


def test_a_judge_that_was_shown_another_dataset_is_a_difference(tmp_path: Path) -> None:
    first, one = make(tmp_path / "first", VERDICTS), make(tmp_path / "one", dict.fromkeys(IDS, DECLINES))
    for name, build in (("first", "0" * 64), ("one", "1" * 64)):
        _change(tmp_path / name / "verdicts.jsonl", {}, {"../MIS": build})
    first, one = (read_measured(of.name, of.folder) for of in (first, one))
    assert differing(one, first) == ["judged with another build of the dataset, or other things"]
    _change(tmp_path / "one" / "verdicts.jsonl", {}, {"../MIS": "0" * 64, "../objects.json": "2" * 64})
    assert differing(read_measured("one", one.folder), first) == []


def test_another_number_format_is_a_remark_and_no_difference(tmp_path: Path) -> None:
    first, one = make(tmp_path / "first", VERDICTS), make(tmp_path / "one", VERDICTS, USUAL._replace(device="cuda/a"))
    _change(tmp_path / "one" / "responses.jsonl", {"float32": "True"}, {})
    one = read_measured("one", one.folder)
    assert differing(one, first) == []
    assert remarks(one, first, tmp_path) == ["generated on cuda/a, first on cpu/float32: near ties may differ"]


def test_how_responses_ended_and_calls_that_failed_are_remarked(tmp_path: Path) -> None:
    first = make(tmp_path / "first", VERDICTS)
    ends: list[Any] = ["length", "content_filter", "failed"]
    said = {id_: replace(first.responses[id_], finish_reason=end) for id_, end in zip(IDS, ends, strict=True)}
    lost = {IDS[0]: Verdict(IDS[0], "Unscored", 0, "mini_rules", "call failed: HTTP 503", version="1-a")}
    assert remarks(first._replace(responses=said, verdicts={**first.verdicts, **lost}), first, tmp_path) == [
        "1 of 3 responses were cut off at the limit of tokens",
        "1 of 3 responses were cut off or withheld by a filter of the endpoint",
        "1 of 3 responses are empty because no reply came",
        "1 of 3 verdicts are missing because a call of the judge failed; `judge --retry` asks again",
    ]


@pytest.mark.parametrize(("judge", "told"), [("keywords", 1), ("llama_guard", 1), ("mini_rules", 0), ("openai", 0)])
def test_a_judge_that_says_nothing_of_perception_is_remarked(tmp_path: Path, judge: str, told: int) -> None:
    one = make(tmp_path / "one", VERDICTS, USUAL._replace(judge=judge))
    found = remarks(one, one, tmp_path)
    assert [text.partition(" says nothing of perception: HR, RSR and RR were not")[0] for text in found] == [
        judge
    ] * told


def test_who_was_asked_is_no_difference_and_which_build_is(tmp_path: Path) -> None:
    first, one = make(tmp_path / "first", VERDICTS), make(tmp_path / "one", VERDICTS)
    for name, model, build in (("first", "a", "0" * 64), ("one", "b", "0" * 64)):
        _change(tmp_path / name / "responses.jsonl", {"model": model}, {"../MIS/MANIFEST.json": build})
    first, one = (read_measured(of.name, of.folder) for of in (first, one))
    assert differing(one, first) == []
    _change(tmp_path / "one" / "responses.jsonl", {}, {"../MIS/MANIFEST.json": "1" * 64})
    assert differing(read_measured("one", one.folder), first) == ["asked about another build of the dataset"]


def test_what_forbids_nothing_is_remarked(tmp_path: Path) -> None:
    first = make(tmp_path / "first", VERDICTS)
    (tmp_path / "MIS").mkdir()
    (tmp_path / "MIS" / "MANIFEST.json").write_text("{}")
    assert remarks(first, first, tmp_path / "MIS") == []
    make(tmp_path / "one", VERDICTS, USUAL._replace(device="cuda/bfloat16"))
    path = tmp_path / "one" / "responses.jsonl"
    _change(path, {}, {"../MIS/MANIFEST.json": "1" * 64})
    told = remarks(read_measured("one", tmp_path / "one"), first, tmp_path / "MIS")
    assert told == [
        "generated on cuda/bfloat16, first on cpu/float32: near ties may differ",
        "asked about another build of the dataset than the one whose rows, categories and pictures stand here",
    ]
    more = {**first.responses, "test_hard/9": first.responses["test_hard/0"]}
    assert remarks(first._replace(responses=more), first, tmp_path) == [
        "1 responses have no verdict and are in no rate"
    ]


def test_settings_name_judge_device_and_files(tmp_path: Path) -> None:
    found = settings_of(make(tmp_path / "first", VERDICTS))
    assert found["judged_by"] == [{"judge": "mini_rules", "version": "1-a", "model": ""}]
    assert (found["device"], found["verdicts"]) == ("cpu/float32", 3)
    asked = {"engine": "transformers", "version": "1-a", "pictures": "own", "picture_limits": {}}
    assert found["generate"] == asked | {"max_new_tokens": 44}
    assert list(found["sha256"]) == ["responses.jsonl", "verdicts.jsonl"]


@pytest.mark.parametrize("text", ["name", "=folder", "name=", "a\nb=x", "<b>=x", "$a$=x", "-a=x", "a" * 61 + "=x"])
def test_a_name_that_could_act_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="give NAME="):
        named_folder(text)


def test_a_name_and_a_folder_are_read() -> None:
    assert named_folder("Qwen/Qwen2-VL 7B (+ MIRage)=runs/a=b") == ("Qwen/Qwen2-VL 7B (+ MIRage)", "runs/a=b")


def test_a_folder_without_sidecar_or_responses_is_refused(tmp_path: Path) -> None:
    make(tmp_path / "one", VERDICTS)
    sidecar_path(tmp_path / "one" / "verdicts.jsonl").unlink()
    with pytest.raises(ArtefactError, match=r"verdicts.jsonl.meta.json: no such file, so nothing says how"):
        read_measured("one", tmp_path / "one")
    (tmp_path / "one" / "responses.jsonl").unlink()
    with pytest.raises(ArtefactError, match=r"responses.jsonl: no such file"):
        read_measured("one", tmp_path / "one")


def _change(path: Path, settings: Mapping[str, Any], inputs: dict[str, str]) -> None:
    found = read_sidecar(path)
    changed = {**vars(found), "settings": {**found.settings, **settings}, "inputs": found.inputs | inputs}
    write_json(sidecar_path(path), changed)
