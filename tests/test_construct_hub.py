"""Datasets of seeds and models by their names on a Hub on loopback, each in a process of its own as a user has it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import made_pipelines
from tests.hub_room import ROOT, environment
from tests.loopback_hub_writes import WritableHub
from tests.loopback_repos import Repo
from tests.test_construct_hub_seeds import TEXTS, encoded, parquet

pytestmark = pytest.mark.slow
SEEDS = """
import json, sys
from mis_dataset.construct.hub_seeds import hub_seeds, rows_of_hub
from mis_dataset.decoding import strict_pillow
with strict_pillow():
    for raw in rows_of_hub(hub_seeds(json.loads(sys.argv[1]))):
        print(json.dumps([raw.text, raw.source, raw.licence, raw.category, raw.picture[1:4].decode()]))
"""
CLIP = """
import json, sys
from mis_dataset.construct.clip import Clip
clip = Clip("OWNER/clip", sys.argv[1])
print(json.dumps([clip.name, len(clip.text("a lamp"))]))
"""


@pytest.fixture
def hub() -> Iterator[WritableHub]:
    with WritableHub().running() as running:
        yield running


def ran(hub: WritableHub, home: Path, code: str, word: str) -> list[Any]:
    ended = subprocess.run(
        [sys.executable, "-c", code, word],
        cwd=ROOT,
        env=environment(hub, home) | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    return [json.loads(line) for line in ended.stdout.splitlines()]


def put(hub: WritableHub, kind: str, name: str, files: dict[str, bytes]) -> Repo:
    repo = hub.repos[kind, name] = Repo(name, kind)
    for path, body in files.items():
        repo.put(path, body)
    return repo


def test_seeds_of_a_branch_are_written_down_by_commit_and_one_that_is_named_stays(
    hub: WritableHub, tmp_path: Path
) -> None:
    first = parquet(tmp_path / "a" / "made.parquet", instruction=TEXTS[:1], image=[encoded("red")], category=["Hate"])
    later = parquet(tmp_path / "b" / "made.parquet", instruction=TEXTS[1:2], image=[encoded("red")], category=["Hate"])
    path = "data/train-00000-of-00001.parquet"
    repo = put(hub, "datasets", "Foreshhh/vlsbench", {path: (first / "made.parquet").read_bytes()})
    commit = repo.head.oid
    told = [TEXTS[0], f"Foreshhh/vlsbench@{commit}:train:0", "unknown", "Hate", "PNG"]
    assert ran(hub, tmp_path / "home", SEEDS, json.dumps({"hub": "Foreshhh/vlsbench"})) == [told]
    repo.put(path, (later / "made.parquet").read_bytes())
    pinned = json.dumps({"hub": "Foreshhh/vlsbench", "revision": commit})
    assert ran(hub, tmp_path / "home", SEEDS, pinned) == [told]
    [moved] = ran(hub, tmp_path / "home", SEEDS, json.dumps({"hub": "Foreshhh/vlsbench", "revision": "main"}))
    assert moved[:2] == [TEXTS[1], f"Foreshhh/vlsbench@{repo.head.oid}:train:0"]


def test_files_of_a_known_dataset_are_found_in_its_repository(hub: WritableHub, tmp_path: Path) -> None:
    held = {}
    for name, text in (("Sex/SD_TYPO", TEXTS[0]), ("Fraud/SD_TYPO", TEXTS[1]), ("Fraud/SD", "Unread?")):
        folder = parquet(tmp_path / name / "made.parquet", question=[text], image=[encoded("red")])
        held[f"data/{name}.parquet"] = (folder / "made.parquet").read_bytes()
    put(hub, "datasets", "PKU-Alignment/MM-SafetyBench", held)
    found = ran(hub, tmp_path / "home", SEEDS, json.dumps({"hub": "PKU-Alignment/MM-SafetyBench"}))
    assert sorted(text for text, *_ in found) == sorted(TEXTS[:2])


def test_a_model_of_texts_and_images_is_fetched_without_weights_in_pickles(hub: WritableHub, tmp_path: Path) -> None:
    folder = made_pipelines.clip(tmp_path / "clip")
    held = {path.name: path.read_bytes() for path in folder.iterdir()} | {"pytorch_model.bin": b"unread"}
    repo = put(hub, "models", "OWNER/clip", held)
    assert ran(hub, tmp_path / "home", CLIP, "") == [[f"clip@{repo.head.oid[:12]}", 16]]
    assert not any("pytorch_model.bin" in line for line in hub.asked)
    assert ran(hub, tmp_path / "home", CLIP, repo.head.oid) == [[f"clip@{repo.head.oid[:12]}", 16]]
