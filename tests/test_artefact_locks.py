"""An artefact has one writer at a time, says by whom it was made, and is not written again for nothing."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mis_dataset.errors import UsageError
from tests.made_runs import HELP, write_dataset, write_responses
from tests.tiny import attempt
from trainer.artefacts import Ability, Lock, Response, open_artefact
from trainer.files import ArtefactError, library_versions
from trainer.shares import refuse_several
from trainer.sidecars import read_sidecar, write_sidecar

ROW = Response("test_hard/0", "Yes.", "stop")
HOLDS = """
import sys, time
from pathlib import Path
from trainer.artefacts import Lock
held = Lock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "out" / "responses.jsonl"
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ArtefactError, match=r"responses.jsonl: another process writes it; wait for it, or name"):
            open_artefact(path, Response, {}, [])
        assert not path.with_name("responses.jsonl.meta.json").exists()
        other.kill()  # what it held is free, though its file lies there
    assert path.with_name("responses.jsonl.lock").exists()
    artefact = open_artefact(path, Response, {}, [])
    artefact.append([ROW])
    artefact.finish(["test_hard/0"])
    assert sorted(one.name for one in path.parent.iterdir()) == ["responses.jsonl", "responses.jsonl.meta.json"]


def test_a_lock_leaves_nothing_where_nothing_was_written(tmp_path: Path) -> None:
    held = Lock(tmp_path / "a.jsonl")
    assert [one.name for one in tmp_path.iterdir()] == ["a.jsonl.lock"]
    held.release()
    held.release()
    assert list(tmp_path.iterdir()) == []


def test_one_of_several_processes_does_not_all_of_it_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_several("judge")
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match="judge is started once, without a launcher"):
        refuse_several("judge")


def test_rows_of_two_versions_say_both(tmp_path: Path) -> None:
    path = tmp_path / "ability.jsonl"
    artefact = open_artefact(path, Ability, {}, [])
    artefact.made_on("cpu")
    artefact.append([Ability("text/0", "Paris", True, "facts")])
    found = read_sidecar(path)
    write_sidecar(path, replace(found, versions={**found.versions, "torch": "1.0", "gone": "2"}, git_commit="abc"))
    again = open_artefact(path, Ability, {}, [])
    again.made_on("cpu")
    told = read_sidecar(path)
    assert told.versions["torch"] == f"1.0, {library_versions()['torch']}"
    assert (told.versions["gone"], told.versions["peft"]) == ("2", library_versions()["peft"])
    assert told.git_commit is not None
    assert told.git_commit.startswith("abc")
    again.made_on("cpu")
    open_artefact(path, Ability, {}, []).made_on("cpu")
    assert read_sidecar(path) == told


def test_rows_of_another_process_say_by_what_that_made_them(tmp_path: Path) -> None:
    path = tmp_path / "ability.jsonl"
    artefact = open_artefact(path, Ability, {}, [])
    other = replace(read_sidecar(path), versions={"torch": "1.0"}, git_commit="abc", device="cuda/bfloat16")
    artefact.made_as(other)
    assert read_sidecar(path) == other
    artefact.append([Ability("text/0", "Paris", True, "facts")])
    artefact.made_on("cpu/float32")
    told = read_sidecar(path)
    assert (told.device, told.versions["torch"]) == (
        "cpu/float32+cuda/bfloat16",
        f"1.0, {library_versions()['torch']}",
    )
    artefact.made_as(replace(other, git_commit="def"))
    assert (read_sidecar(path).git_commit or "").endswith(", def")


def test_what_is_finished_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "responses.jsonl"
    artefact = open_artefact(path, Response, {}, [])
    artefact.append([ROW])
    artefact.finish(["test_hard/0"])
    before = path.stat()
    open_artefact(path, Response, {}, []).finish(["test_hard/0"])
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_card_beside_the_rows_makes_no_other_dataset_of_them(tmp_path: Path) -> None:
    ids = write_dataset(tmp_path / "MIS", {"test_hard": 2})
    responses = write_responses(tmp_path / "responses.jsonl", dict.fromkeys(ids, HELP))
    words = ("judge", responses, tmp_path / "verdicts.jsonl", "--judge", "keywords", "--dataset", tmp_path / "MIS")
    assert attempt(*words)[0] == 0
    (tmp_path / "MIS" / "README.md").write_text("# A card")
    assert attempt(*words)[0] == 0
    # Without a manifest the rows themselves are what is read.
    (tmp_path / "MIS" / "data" / "more.parquet").write_bytes(b"")
    code, _, error = attempt(*words)
    assert (code, "was made with another input: MIS/data" in error) == (1, True)
