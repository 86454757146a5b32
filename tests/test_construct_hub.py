"""Datasets and models by their names on a Hub on loopback, each in a process of its own as a user has it."""

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
from tests.test_construct_photo_sets import bare

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
PHOTOS = """
import json, sys
from pathlib import Path
from mis_dataset.construct.photo_sets import PhotoSet
from mis_dataset.construct.photographs import ABOUT, PhotographDrawer
from mis_dataset.decoding import strict_pillow
from tests.test_construct_photographs import WANTED, Colours
told, out = json.loads(sys.argv[1])
with strict_pillow(), PhotographDrawer(PhotoSet("colours", **told), Path(out), embedder := Colours()) as drawer:
    given = drawer.draw(WANTED)
    print(json.dumps([given.source, given.licence, len(given.picture), drawer.identity, embedder.seen]))
    print((Path(out) / ABOUT).read_text().replace("\\n", ""))
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


def test_photographs_of_a_branch_are_those_of_its_commit_and_a_picture_is_embedded_once(
    hub: WritableHub, tmp_path: Path
) -> None:
    red, other, blue = (encoded(shade, "PNG") for shade in ("#fa0a0a", "#fa0a0b", "blue"))
    first = parquet(tmp_path / "a" / "made.parquet", photo=[blue, red], terms=["MIT", "CC0-1.0"])
    later = parquet(tmp_path / "b" / "made.parquet", photo=[red, other, blue], terms=["CC0-1.0", "MIT", ""])
    path = "data/train-00000-of-00001.parquet"
    repo = put(hub, "datasets", "OWNER/photos", {path: (first / "made.parquet").read_bytes()})
    commit = repo.head.oid
    told = {"hub": "OWNER/photos", "image": "photo", "licence_column": "terms"}

    def found(**more: str) -> list[Any]:
        return ran(hub, tmp_path / "home", PHOTOS, json.dumps([told | more, str(tmp_path / "out")]))

    [one, about] = found()
    assert one[:3] + one[4:] == [f"OWNER/photos@{commit}:train:1", "CC0-1.0", len(red), 2]
    assert about == {"commit": commit, "rows": 2, "pictures": 2, "left_out": 0}
    assert found()[0] == [*one[:4], 0]
    repo.put(path, (later / "made.parquet").read_bytes())
    [moved, about] = found(hub_revision="main")
    assert moved[:3] + moved[4:] == [f"OWNER/photos@{repo.head.oid}:train:0", "CC0-1.0", len(red), 1]
    assert moved[3] != one[3]
    assert about["commit"] == repo.head.oid
    assert found(hub_revision=commit)[0] == [*one[:4], 0]


def test_files_of_pictures_are_read_from_the_cache_of_their_repository_only(hub: WritableHub, tmp_path: Path) -> None:
    red = encoded("#fa0a0a", "PNG")
    lines = json.dumps({"file_name": "red.png", "licence": "CC0-1.0"}).encode()
    put(hub, "datasets", "OWNER/files", {"red.png": red, "metadata.jsonl": lines})
    told = {"hub": "OWNER/files", "licence_column": "licence"}
    [one, _] = ran(hub, tmp_path / "home", PHOTOS, json.dumps([told, str(tmp_path / "out")]))
    assert one[1:3] == ["CC0-1.0", len(red)]
    (tmp_path / "home" / "secret.png").write_bytes(red)
    ways_out = [str(tmp_path / "home" / "secret.png"), "../datasets--OWNER--files/refs/main", "/etc/hostname"]
    rows = [{"bytes": None, "path": path} for path in ways_out] + [{"bytes": red, "path": None}]
    put(
        hub, "datasets", "OWNER/out", {"train.parquet": (bare(tmp_path / "bare", *rows) / "train.parquet").read_bytes()}
    )
    told = {"hub": "OWNER/out", "image": "photo"}
    [one, about] = ran(hub, tmp_path / "home", PHOTOS, json.dumps([told, str(tmp_path / "out")]))
    assert one[0].endswith(":train:3")
    assert (about["pictures"], about["left_out"]) == (1, 3)
