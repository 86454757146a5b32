"""What is read is a file, and holds nothing that cannot be written again; messages hold none of its texts."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from mis_dataset.errors import UsageError
from mis_dataset.files import write_text
from trainer.agreement import agree, read_labels
from trainer.artefacts import Response, Verdict, open_artefact, read
from trainer.files import ArtefactError, parse_json, read_json, read_lines
from trainer.matrix import matrix
from trainer.sidecars import make_sidecar, read_sidecar, sidecar_path, write_sidecar

GOOD = {"id": "train/1", "verdict": "Safe", "perception": 1, "judge": "keywords", "reason": None}
SECRET = "plum-4d1f"


def sidecar_beside(path: Path) -> object:
    return read_sidecar(path.with_name(path.name.removesuffix(".meta.json")))


def artefact_at(path: Path) -> object:
    return open_artefact(path, Response, {}, [])


@pytest.mark.parametrize("reads", [read_lines, read_json, read_labels, sidecar_beside, artefact_at])
def test_a_pipe_and_a_device_are_refused_and_not_waited_for(tmp_path: Path, reads: Callable[[Path], object]) -> None:
    path = tmp_path / "some.meta.json"
    os.mkfifo(path)
    with pytest.raises(ArtefactError, match="a pipe or a device"):
        reads(path)
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(ArtefactError, match="a pipe or a device"):
        reads(path)


def test_a_link_to_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a lamp\n")
    (tmp_path / "link").symlink_to("file")
    assert read_lines(tmp_path / "link") == ["a lamp"]


def test_a_pipe_stays_where_a_file_is_to_be_written(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileExistsError, match="is a pipe or a device; name a file"):
        write_text(tmp_path / "pipe", "a lamp\n")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


@pytest.mark.parametrize("text", ["NaN", "-Infinity", "1e999", '"\\ud800"', '{"\\uD83d": 1}'])
def test_what_cannot_be_written_again_is_no_json(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a number|surrogates not allowed"):
        parse_json(text)


def test_what_can_be_written_again_is_json() -> None:
    assert parse_json('["\\ud83d\\ude00", 1e308, -0.5, "ud"]') == ["\N{GRINNING FACE}", 1e308, -0.5, "ud"]


@pytest.mark.parametrize("cost", ["NaN", "1e999", "-Infinity"])
def test_a_cost_that_is_no_number_is_refused(tmp_path: Path, cost: str) -> None:
    path = tmp_path / "verdicts.jsonl"
    path.write_text(json.dumps(GOOD | {"cost": "?"}).replace('"?"', cost) + "\n")
    with pytest.raises(ArtefactError, match="line 1 is no JSON"):
        read(path, Verdict)


@pytest.mark.parametrize("end", ["9" * 10**6, "1\n\x1b[2J", "\u202e1"])
def test_an_id_that_would_act_or_flood_is_refused_in_a_short_message(tmp_path: Path, end: str) -> None:
    path = tmp_path / "verdicts.jsonl"
    path.write_text(json.dumps(GOOD | {"id": f"train/{end}"}) + "\n")
    with pytest.raises(ArtefactError, match="is not of the form") as error:
        read(path, Verdict)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < len(str(path)) + 200


def test_a_key_that_is_not_ours_is_counted_and_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "responses.jsonl"
    path.write_text(json.dumps({"id": "train/1", "finish_reason": "stop", SECRET: "x"}) + "\n")
    with pytest.raises(ArtefactError, match=r"found \['id', 'finish_reason'\] and 1 others") as error:
        read(path, Response)
    with pytest.raises(ArtefactError, match="keys are missing or others") as label:
        read_labels(path)
    assert SECRET not in str(error.value) + str(label.value)


@pytest.mark.parametrize("changes", [{"inputs": {"a": [1]}}, {"settings": {"a": float("nan")}}, {"device": "\ud800"}])
def test_a_sidecar_that_cannot_be_copied_is_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    path = tmp_path / "responses.jsonl"
    write_sidecar(path, make_sidecar(path, "response", {}, []))
    assert read_sidecar(path).inputs == {}
    found = json.loads(sidecar_path(path).read_text("utf-8"))
    sidecar_path(path).write_text(json.dumps(found | changes))
    with pytest.raises(ArtefactError, match="is not a sidecar"):
        read_sidecar(path)


def test_the_name_of_a_judge_does_not_act_in_a_message(tmp_path: Path) -> None:
    paths = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    for path in paths:
        path.write_text(json.dumps(GOOD | {"judge": "\x1b[2J"}) + "\n")
        write_sidecar(path, make_sidecar(path, "verdict", {}, []))
    with pytest.raises(ArtefactError, match=r"\\x1b\[2J judged another"):
        matrix(paths, tmp_path)
    with pytest.raises(UsageError, match=r"\\x1b\[2J and \\x1b\[2J are not both asked anew"):
        agree(paths[0], paths[1], paths[0])
