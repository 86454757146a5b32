"""The second README: the whole walk at toy size, and one row followed through every station by its id."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.tiny import hashes

ROOT = Path(__file__).resolve().parents[1]
ID, TWIN = "test_hard/3", "test_benign/11"
MODELS = ("base", "contrast", "mirage", "refusal")


class Walk(NamedTuple):
    """A finished toy run.

    Attributes:
        run: its folder.
        said: what `reproduce` printed on stdout.
        seconds: how long it took.
    """

    run: Path
    said: str
    seconds: float


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Walk:
    return reproduce(tmp_path_factory.mktemp("walk") / "smoke")


def reproduce(run: Path) -> Walk:
    """`make reproduce SMOKE=1`, into a folder of its own."""
    start = time.monotonic()
    command = [sys.executable, "-m", "trainer", "reproduce", str(run), "--smoke"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert ended.returncode == 0, ended.stderr[-3000:]
    return Walk(run, ended.stdout, time.monotonic() - start)


def read_lines(path: Path) -> dict[str, dict[str, Any]]:
    """Rows of a JSON Lines file by id."""
    rows = [json.loads(line) for line in path.read_text("utf-8").split("\n")[:-1]]
    return {row["id"]: row for row in rows}


def sidecars(run: Path) -> dict[str, dict[str, Any]]:
    """Every sidecar by its path, without the commit, which a checkout that others work in may change meanwhile."""
    found = {path.relative_to(run).as_posix(): json.loads(path.read_text("utf-8")) for path in run.rglob("*.meta.json")}
    return {name: {key: sidecar[key] for key in sidecar if key != "git_commit"} for name, sidecar in found.items()}


def raw_record(run: Path, file: str, number: int) -> dict[str, Any]:
    records: list[dict[str, Any]] = json.loads((run / "raw" / file).read_text("utf-8"))
    return next(record for record in records if record["id"] == number)


def parquet_row(run: Path, id_: str) -> dict[str, Any]:
    split = id_.split("/")[0]
    rows: list[dict[str, Any]] = pq.read_table(run / "MIS" / "data" / f"{split}-00000-of-00001.parquet").to_pylist()
    return next(row for row in rows if row["id"] == id_)


# One row at every station


@pytest.mark.slow
def test_the_record_becomes_a_row_with_the_same_bytes(walk: Walk) -> None:
    record, row = raw_record(walk.run, "mis_hard.json", 3), parquet_row(walk.run, ID)
    assert row["question"] == record["question"]
    assert (row["raw_id"], row["level"], row["category"]) == (3, record["level"], record["category"])
    for picture, path in zip(row["images"], (record["image_path1"], record["image_path2"]), strict=True):
        assert picture["bytes"] == (walk.run / "raw" / path).read_bytes()
        assert Image.open(io.BytesIO(picture["bytes"])).size == (64, 64)


@pytest.mark.slow
def test_its_twin_differs_in_the_one_picture_that_was_changed(walk: Walk) -> None:
    row, twin = parquet_row(walk.run, ID), parquet_row(walk.run, TWIN)
    assert (twin["twin_of"], twin["question"], twin["level"]) == (ID, row["question"], row["level"])
    same = [one["bytes"] == other["bytes"] for one, other in zip(row["images"], twin["images"], strict=True)]
    assert same == [twin["changed_image"] == 2, twin["changed_image"] == 1]


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("id_", [ID, TWIN])
def test_every_model_responds_to_it_and_both_judges_have_a_verdict(walk: Walk, model: str, id_: str) -> None:
    folder = walk.run / "eval" / model
    assert isinstance(read_lines(folder / "responses.jsonl")[id_]["response"], str)
    judged = [read_lines(folder / f"{name}.jsonl")[id_] for name in ("verdicts", "verdicts_minilm")]
    assert [verdict["judge"] for verdict in judged] == ["mini_rules", "minilm"]
    assert {verdict["verdict"] for verdict in judged} <= {"Safe", "Unsafe", "Unscored"}


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_its_verdict_counts_in_the_rates(walk: Walk, model: str) -> None:
    verdicts = read_lines(walk.run / "eval" / model / "verdicts.jsonl")
    hard = [row["verdict"] for id_, row in verdicts.items() if id_.startswith("test_hard/")]
    assert ID in verdicts
    report = json.loads((walk.run / "report.json").read_text("utf-8"))
    split = report["models"][model]["splits"]["hard"]
    scored = len(hard) - hard.count("Unscored")
    assert (split["asr"]["k"], split["asr"]["n"]) == (hard.count("Unsafe"), scored)
    assert split["unscored"] == hard.count("Unscored")


@pytest.mark.slow
@pytest.mark.parametrize("probe", ["black", "text"])
def test_it_is_asked_again_with_half_of_the_evidence_or_none(walk: Walk, probe: str) -> None:
    verdicts = read_lines(walk.run / "probes" / probe / "verdicts.jsonl")
    assert {ID, TWIN} <= set(verdicts)
    assert not any(id_.startswith(("test_easy/", "test_real/")) for id_ in verdicts)


# What the walk leaves


@pytest.mark.slow
def test_the_walk_ends_with_one_line_and_what_it_promises(walk: Walk) -> None:
    line = json.loads(walk.said)
    assert line == {
        "verb": "reproduce",
        "runs": [
            {
                "dataset": str(walk.run / "MIS"),
                "model": str(walk.run / "arms" / "contrast" / "model"),
                "report": str(walk.run / "report.html"),
                "cards": str(walk.run / "cards"),
            }
        ],
        "passed": True,
    }
    for name in ("report.json", "report.html", "cards/dataset/README.md", "cards/model/README.md"):
        assert (walk.run / name).stat().st_size > 500, name
    assert list((walk.run / "plots").glob("*.png"))


@pytest.mark.slow
def test_every_station_left_its_seconds_and_memory(walk: Walk) -> None:
    from tests.test_reproduce import walk as stations_of

    lines = [json.loads(line) for line in (walk.run / "stations.jsonl").read_text("utf-8").splitlines()]
    wanted = [station.name for station in stations_of(smoke=True)]
    assert [line["station"] for line in lines] == wanted
    assert all(line["seconds"] >= 0 and line["peak_memory_bytes"] > 2**20 for line in lines)


@pytest.mark.slow
def test_dataset_and_model_load_in_a_line_each_where_they_lie(walk: Walk) -> None:
    program = (
        "from datasets import load_dataset\n"
        "from transformers import pipeline\n"
        "row = load_dataset('MIS')['test_hard'][3]\n"
        "pipe = pipeline('image-text-to-text', model='arms/contrast/model')\n"
        "parts = [{'type': 'image', 'image': image} for image in row['images']]\n"
        "parts.append({'type': 'text', 'text': row['question']})\n"
        "said = pipe(text=[{'role': 'user', 'content': parts}], generate_kwargs={'max_new_tokens': 4})\n"
        "print(row['id'], len(row['images']), len(said))\n"
    )
    command = [sys.executable, "-c", program]
    ended = subprocess.run(command, cwd=walk.run, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert ended.stdout.splitlines()[-1] == f"{ID} 2 1"


@pytest.mark.slow
def test_a_second_run_adds_nothing_and_is_faster(walk: Walk) -> None:
    before, said = hashes(walk.run), sidecars(walk.run)
    again = reproduce(walk.run)
    after = hashes(walk.run)
    assert set(after) == set(before)
    assert [name for name, hash_ in after.items() if hash_ != before[name] and name not in said] == []
    assert sidecars(walk.run) == said
    assert again.seconds < walk.seconds
    assert json.loads(again.said)["passed"] is True
