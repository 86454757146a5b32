"""Several processes, one file: whole batches, the same bytes with any number of them, after kills too."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from torch import distributed

from mis_dataset.errors import UsageError
from tests.tiny import Tiny, attempt, call, hashes
from trainer.artefacts import Response, read
from trainer.files import ArtefactError
from trainer.shares import ALL, Share, Shared, launched, leave_group
from trainer.sidecars import read_sidecar

ROOT = Path(__file__).resolve().parents[1]
IDS = [f"test_easy/{number}" for number in range(6)]
ROWS = [Response(id_, f"Said to {id_}.\u2028", "stop") for id_ in IDS]
FEW = ("--limit", 4, "--max-new-tokens", 6, "--float32", "--batch-size", 2)


def shared(folder: Path, number: int, of: int, limit: int = 6) -> Shared:
    return Shared(folder / "responses.jsonl", {"limit": limit}, [], Share(number, of))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Which part is whose


def test_a_group_is_left_once_and_leaving_none_is_nothing(tmp_path: Path) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    known: list[Any] = [distributed.group.WORLD]
    known.append(known)  # as the parts of a training know each other
    del known
    leave_group()
    assert not distributed.is_initialized()
    assert not [path for path in Path("/proc/self/task").glob("*/comm") if "gloo" in path.read_text()]
    leave_group()


def test_every_place_is_of_one_process() -> None:
    shares = [Share(number, 3) for number in range(3)]
    assert [[share.has(place) for share in shares].count(True) for place in range(10)] == [1] * 10
    assert [place for place in range(7) if shares[1].has(place)] == [1, 4]
    assert all(ALL.has(place) for place in range(7))


def test_without_a_launcher_a_process_does_all(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert launched() == ALL


@pytest.mark.parametrize(("rank", "size"), [("2", "2"), ("-1", "2"), ("0", "0"), ("one", "2")])
def test_an_environment_that_no_launcher_sets_is_refused(monkeypatch: pytest.MonkeyPatch, rank: str, size: str) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", size)
    with pytest.raises(UsageError, match="not what a launcher sets"):
        launched()


# One file of all


def test_the_first_waits_for_nobody_when_all_is_there_and_leaves_one_file(tmp_path: Path) -> None:
    first, second = shared(tmp_path, 0, 2), shared(tmp_path, 1, 2)
    second.append(ROWS[3:], "cpu/float32")
    first.append(ROWS[:3], "cuda/bfloat16")
    assert not second.finish(IDS)
    assert first.finish(IDS)
    assert read(tmp_path / "responses.jsonl", Response) == ROWS
    assert names(tmp_path) == ["responses.jsonl", "responses.jsonl.meta.json"]
    assert read_sidecar(tmp_path / "responses.jsonl").device == "cpu/float32+cuda/bfloat16"


@pytest.mark.parametrize("of", [1, 2, 3])
def test_what_was_left_behind_is_known_to_any_number_of_processes(tmp_path: Path, of: int) -> None:
    shared(tmp_path, 0, 3).append(ROWS[:1], "cpu/float32")
    shared(tmp_path, 1, 3).append(ROWS[1:3], "cpu/float32")
    shared(tmp_path, 2, 3).append(ROWS[3:5], "cpu/float32")
    half = tmp_path / "responses.jsonl.share2.part"
    half.write_bytes(half.read_bytes()[:-9])
    again = [shared(tmp_path, number, of) for number in range(of)]
    assert [one.done() for one in again] == [set(IDS[:4])] * of
    again[-1].append(ROWS[4:], "cpu/float32")
    assert again[0].finish(IDS)
    assert read(tmp_path / "responses.jsonl", Response) == ROWS
    assert names(tmp_path) == ["responses.jsonl", "responses.jsonl.meta.json"]


def test_a_process_that_has_nothing_to_do_writes_nothing(tmp_path: Path) -> None:
    shared(tmp_path, 0, 1).append(ROWS, "cpu/float32")
    assert shared(tmp_path, 0, 1).finish(IDS)
    before = hashes(tmp_path)
    late = shared(tmp_path, 1, 2)
    assert late.done() == set(IDS)
    assert not late.finish(IDS)
    assert hashes(tmp_path) == before


def test_what_was_left_behind_under_other_settings_is_refused(tmp_path: Path) -> None:
    shared(tmp_path, 1, 2, limit=7).append(ROWS[3:], "cpu/float32")
    with pytest.raises(ArtefactError, match=r"share1\.part: was begun with other .* delete responses.jsonl.share1"):
        shared(tmp_path, 0, 2)
    with pytest.raises(ArtefactError, match="process 0 says which"):
        shared(tmp_path, 2, 3, limit=8).append(ROWS[:1], "cpu/float32")


def test_a_file_that_holds_no_responses_is_named(tmp_path: Path) -> None:
    shared(tmp_path, 1, 2).append(ROWS[3:], "cpu/float32")
    part = tmp_path / "responses.jsonl.share1.part"
    part.write_bytes(b'{"id": 1}\n')
    with pytest.raises(ArtefactError, match=r"share1\.part: holds no responses"):
        shared(tmp_path, 0, 1)


# The verb


def launch(processes: int, *words: object) -> subprocess.Popen[str]:
    """Starts a verb as a user with so many processors would."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--master-port", "0"]
    command += ["-m", "trainer", *map(str, words)]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.slow
def test_two_processes_write_what_one_writes_and_one_of_them_says_so(
    tiny: Tiny, tiny_arm: Path, tmp_path: Path
) -> None:
    words = ("generate", tiny_arm / "model", tiny.dataset, tmp_path / "one" / "r.jsonl", *FEW)
    one = call(*words)
    beside = (*words[:3], tmp_path / "two" / "r.jsonl", *FEW)
    said, errors = launch(2, *beside).communicate(timeout=300)
    assert said.count("\n") == 1, errors
    assert f'"n": {one["n"]}' in said
    assert hashes(tmp_path / "one")["r.jsonl"] == hashes(tmp_path / "two")["r.jsonl"]
    assert names(tmp_path / "two") == ["r.jsonl", "r.jsonl.meta.json"]
    settings = [read_sidecar(tmp_path / folder / "r.jsonl").settings for folder in ("one", "two")]
    assert settings[0] == settings[1]


@pytest.mark.slow
@pytest.mark.parametrize(("killed", "of"), [("launcher", 3), ("process", 1)])
def test_killed_processes_are_gone_on_with_by_another_number(
    tiny: Tiny, tiny_arm: Path, tmp_path: Path, killed: str, of: int
) -> None:
    few = ("--limit", 8, "--max-new-tokens", 64, "--float32", "--batch-size", 1)
    whole, out = tmp_path / "whole" / "r.jsonl", tmp_path / "killed" / "r.jsonl"
    call("generate", tiny_arm / "model", tiny.dataset, whole, *few)
    words = ("generate", tiny_arm / "model", tiny.dataset, out, *few)
    process = launch(2, *words)
    second = out.with_name("r.jsonl.share1.part")
    while process.poll() is None and not (second.exists() and second.stat().st_size):
        time.sleep(0.05)
    victims = {"launcher": process, "process": psutil.Process(process.pid).children()[-1]}
    victims[killed].kill()
    process.communicate()
    time.sleep(1)  # those that are left end by themselves
    written = hashes(out.parent)
    time.sleep(1)
    assert hashes(out.parent) == written
    assert not out.exists()
    if of == 1:
        assert call(*words)["generated"] < len(read(whole, Response))
    else:
        said, errors = launch(of, *words).communicate(timeout=300)
        assert said.count("\n") == 1, errors
    assert out.read_bytes() == whole.read_bytes()
    assert names(out.parent) == ["r.jsonl", "r.jsonl.meta.json"]


def test_other_engines_are_started_once(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    words = ("generate", "a-model", tiny.dataset, tmp_path / "r.jsonl", "--engine", "openai")
    code, _, error = attempt(*words)
    assert (code, error) == (2, "generate: --engine openai is started once: it keeps a machine busy by itself\n")
