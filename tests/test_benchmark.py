"""The verb `benchmark`: what it writes, and that generate, judge and score work on it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset

from mis_dataset.errors import DatasetError, UsageError
from mis_dataset.manifest import read_manifest, write_manifest
from mis_dataset.schema import COLUMNS
from mis_dataset.verify import verify
from tests.loopback_hub import LoopbackHub
from tests.test_benchmarks import ASKED, SHOWN, look_alike
from tests.test_other import ROOT
from tests.tiny import Tiny
from trainer import benchmark as verb
from trainer.__main__ import main
from trainer.artefacts import Response, read
from trainer.benchmarks import benchmark_of
from trainer.score import NOT_MEASURED
from trainer.training.rows import read_split


def test_it_writes_a_dataset_that_every_reader_of_ours_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = look_alike("siuo", tmp_path / "raw")
    words = ["benchmark", "siuo", str(tmp_path / "out"), "--path", str(root)]
    assert main(words) == 0
    told = capsys.readouterr()
    assert json.loads(told.out) == {
        "verb": "benchmark",
        "benchmark": "siuo",
        "out": str(tmp_path / "out"),
        "rows": 2,
        "rows_in_paper": 167,
        "harmful": True,
        "judge_in_paper": "GPT-4o",
        "written": True,
    }
    assert "benchmark: siuo: 2 rows, the paper has 167" in told.err
    assert not any(asked in told.err + told.out for asked in ASKED)
    assert verify(tmp_path / "out") == []
    rows = read_split(tmp_path / "out", "siuo")
    assert rows.column_names == list(COLUMNS)
    assert (rows["id"][:], rows["question"][:], rows["category"][:]) == (
        ["siuo/0", "siuo/1"],
        list(ASKED),
        ["Home"] * 2,
    )
    assert [len(images) for images in rows["images"]] == [1, 1]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_bytes_are_kept_and_a_second_run_writes_nothing(tmp_path: Path) -> None:
    root, out, siuo = look_alike("siuo", tmp_path / "raw"), tmp_path / "out", benchmark_of("siuo")
    with pytest.warns(UserWarning, match="the paper has 167"):
        assert verb.write(siuo, out, root)[1] is True
    file = out / "data" / "siuo-00000-of-00001.parquet"
    stored = load_dataset("parquet", data_files=str(file), split="train", streaming=True).decode(False)
    assert [row["images"][0]["bytes"] for row in stored] == list(SHOWN)
    before = file.stat().st_mtime_ns
    with pytest.warns(UserWarning, match="the paper has 167"):
        assert verb.write(siuo, out, root)[1] is False
    assert file.stat().st_mtime_ns == before
    _, written = verb.write(siuo, out, root, limit=1)
    assert (written, read_manifest(out).rows, read_manifest(out).limit) == (True, {"siuo": 1}, 1)


def test_what_is_read_on_the_hub_is_read_at_one_commit_that_the_manifest_names(tmp_path: Path) -> None:
    rows = [{"question": asked, "image": f"{n}.png", "category": "Home"} for n, asked in enumerate(ASKED)]
    files = {f"images/{n}.png": encoded for n, encoded in enumerate(SHOWN)}
    files |= {"siuo_gen.json": json.dumps(rows).encode(), "README.md": b"---\nlicense: mit\n---\n"}
    # Only the commit is served, and `main` no more than to be resolved: what is fetched from a branch is not found.
    hub = LoopbackHub({"sinwang/SIUO": files})
    hub.commits["sinwang/SIUO"], hub.branches = "1a2b" * 10, {"main"}
    with hub.running():
        settings = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "home")}
        settings |= {"HF_HUB_DISABLE_XET": "1", "HF_UPDATE_DOWNLOAD_COUNTS": "0"}
        words = [sys.executable, "-m", "trainer", "benchmark", "siuo", str(tmp_path / "out")]
        ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, env=os.environ | settings)
    assert (ended.returncode, json.loads(ended.stdout)["rows"]) == (0, 2)
    assert read_manifest(tmp_path / "out").source == {
        "repository": "sinwang/SIUO",
        "commit": "1a2b" * 10,
        "files": "siuo_gen.json, images/{image}",
    }
    assert sum("/revision/main" in line for line in hub.asked) == 1
    assert not [line for line in hub.asked if "/resolve/main/" in line or "/tree/main" in line]


@pytest.mark.filterwarnings("ignore:.*the paper has:UserWarning")
def test_a_folder_is_named_by_its_hash_and_a_given_question_by_its_words(tmp_path: Path) -> None:
    root, asked = look_alike("figstep", tmp_path / "raw"), replace(benchmark_of("figstep"), words="What is listed?")
    source = verb.write(asked, tmp_path / "out", root)[0].source
    assert source.keys() == {"folder_sha256", "files", "question"}
    assert (source["question"], len(source["folder_sha256"])) == ("What is listed?", 64)
    assert source["files"].startswith("data/question/safebench.csv, data/images/SafeBench/query_")
    shutil.copytree(root, tmp_path / "copy")
    assert verb.source_of(asked, tmp_path / "copy") == source
    (tmp_path / "copy" / "endless").symlink_to("/dev/zero")
    changed = verb.source_of(asked, tmp_path / "copy")["folder_sha256"]
    assert changed != source["folder_sha256"]
    (root / "data" / "question" / "safebench.csv").rename(root / "data" / "question" / "other.csv")
    assert verb.source_of(asked, root)["folder_sha256"] != source["folder_sha256"]


@pytest.mark.filterwarnings("ignore:.*the paper has:UserWarning")
def test_a_dataset_that_does_not_say_where_it_is_from_is_written_again(tmp_path: Path) -> None:
    root, out, siuo = look_alike("siuo", tmp_path / "raw"), tmp_path / "out", benchmark_of("siuo")
    made, _ = verb.write(siuo, out, root)
    write_manifest(out, replace(made, source={}))
    assert verb.write(siuo, out, root) == (made, True)
    (root / "notes.txt").write_text("of no row")
    # The rows are the same, so the dataset stays what it was and says what it said.
    assert verb.write(siuo, out, root) == (made, False)


@pytest.mark.filterwarnings("ignore:.*the paper has:UserWarning")
def test_rows_are_dealt_out_to_files_by_their_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verb, "_SHARD", 100)
    manifest, _ = verb.write(benchmark_of("siuo"), tmp_path / "out", look_alike("siuo", tmp_path / "raw"))
    assert list(manifest.files) == ["data/siuo-00000-of-00002.parquet", "data/siuo-00001-of-00002.parquet"]
    assert read_split(tmp_path / "out", "siuo")["id"][:] == ["siuo/0", "siuo/1"]


@pytest.mark.filterwarnings("ignore:.*the paper has:UserWarning")
def test_what_is_not_its_own_is_not_touched(tmp_path: Path) -> None:
    root, out = look_alike("siuo", tmp_path / "raw"), tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds something else"):
        verb.write(benchmark_of("siuo"), out, root)
    with pytest.raises(UsageError, match="lie inside one another"):
        verb.write(benchmark_of("siuo"), root / "out", root)
    (out / "mine.txt").unlink()
    verb.write(benchmark_of("siuo"), out, root)
    other = look_alike("mssbench_safe", tmp_path / "other")
    with pytest.raises(UsageError, match="holds siuo, not mssbench_safe"):
        verb.write(benchmark_of("mssbench_safe"), out, other)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"notes\.txt: was added"):
        verb.write(benchmark_of("siuo"), out, root)


@pytest.mark.filterwarnings("ignore:.*the paper has:UserWarning")
def test_a_picture_that_is_none_leaves_what_was_there(tmp_path: Path) -> None:
    root, out = look_alike("siuo", tmp_path / "raw"), tmp_path / "out"
    verb.write(benchmark_of("siuo"), out, root, limit=1)
    (root / "images" / "1.png").write_text("no picture")
    with pytest.raises(DatasetError, match=r"siuo/1: a picture .*; mend that row"):
        verb.write(benchmark_of("siuo"), out, root)
    (root / "siuo_gen.json").write_text("[]")
    with pytest.raises(DatasetError, match="siuo"):
        verb.write(benchmark_of("siuo"), out, root)
    assert (verify(out), read_manifest(out).rows) == ([], {"siuo": 1})
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(("name", "rate"), [("mssbench_safe", "over_refusal"), ("mm_safetybench", "asr")])
def test_generate_judge_and_score_work_on_it(
    name: str, rate: str, tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, responses, verdicts = tmp_path / "out", tmp_path / "responses.jsonl", tmp_path / "verdicts.jsonl"
    root = look_alike(name, tmp_path / "raw")
    assert _call("benchmark", name, out, "--path", root, "--limit", 2) == 0
    assert _call("generate", tiny.model, out, responses, "--splits", name, "--max-new-tokens", 4) == 0
    assert [one.id for one in read(responses, Response)] == [f"{name}/0", f"{name}/1"]
    assert _call("judge", responses, verdicts, "--judge", "keywords", "--dataset", out) == 0
    assert _call("score", verdicts, tmp_path / "score.json", "--dataset", out) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])["benchmarks"][name]
    assert told.keys() == {rate, "n", "unscored"}
    assert told["n"] + told["unscored"] == 2
    scores = json.loads((tmp_path / "score.json").read_text("utf-8"))["benchmarks"][name]
    assert scores["paper"] == {"judge": benchmark_of(name).judge, "n": benchmark_of(name).n}
    # The keywords say nothing of perception.
    four = [scores, *scores["categories"].values()] if rate == "asr" else []
    assert [one[name].get("reason") for one in four for name in ("hr", "rsr", "rr")] == [NOT_MEASURED] * 3 * len(four)
    assert list(scores["categories"]) == (["Illegal_Activitiy"] if rate == "asr" else [])


def test_a_split_that_is_no_benchmark_s_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        _call("generate", tiny.model, tmp_path, tmp_path / "responses.jsonl", "--splits", "xstest")
    assert _call("generate", tiny.model, tiny.dataset, tmp_path / "responses.jsonl", "--splits", "siuo") == 1


def _call(*words: Any) -> int:
    return main([str(word) for word in words])
