"""Downloading the release from a Hub on loopback, as a user does: in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mis_dataset.build import build
from mis_dataset.manifest import read_manifest
from tests.loopback_hub import COMMITS, LoopbackHub
from tests.made_release import make_release, zip_images

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LoopbackHub]:
    """A Hub with both repositories of the authors' layout, READMEs included."""
    raw = make_release(tmp_path / "source", twins=False)
    zip_images(raw)
    held = {path.relative_to(raw).as_posix(): path.read_bytes() for path in raw.rglob("*") if path.is_file()}
    train = {name: data for name, data in held.items() if name in ("mis_train.json", "images.zip")}
    test = {name: data for name, data in held.items() if name not in train}
    files = {"Tuwhy/MIS_Train": train | {"README.md": b"a"}, "Tuwhy/MIS_Test": test | {"README.md": b"b"}}
    with LoopbackHub(files).running() as running:
        yield running


def download(hub: LoopbackHub, out: Path, *words: str) -> subprocess.CompletedProcess[str]:
    settings = {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    environment = {**os.environ, **settings, "HF_HOME": str(out.parent / "home"), "HF_HUB_OFFLINE": "0"}
    command = [sys.executable, "-m", "mis_dataset", "download", str(out), *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)


def test_both_repositories_land_in_one_folder_that_builds_and_names_its_commits(
    hub: LoopbackHub, tmp_path: Path
) -> None:
    out = tmp_path / "raw"
    ended = download(hub, out)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert json.loads(ended.stdout)["commits"] == COMMITS
    assert not (out / "README.md").exists()
    assert build(out, tmp_path / "MIS").rows["train"] == 3
    assert read_manifest(tmp_path / "MIS").source == COMMITS
    hub.asked.clear()
    assert download(hub, out).returncode == 0
    assert [line for line in hub.asked if line.startswith("GET") and "/resolve/" in line] == []


def test_what_was_cut_off_goes_on(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.broken.add("mis_hard.json")
    ended = download(hub, tmp_path / "raw")
    assert ended.returncode == 1
    assert ended.stderr.startswith("Tuwhy/MIS_Test at c147ae2: the Hub ")
    assert ended.stderr.endswith("run it again\n")
    assert not (tmp_path / "raw" / "SOURCE.json").exists()
    assert (tmp_path / "raw" / "mis_train.json").exists()
    hub.broken.clear()
    hub.asked.clear()
    assert download(hub, tmp_path / "raw").returncode == 0
    fetched = [line for line in hub.asked if line.startswith("GET") and "/resolve/" in line]
    assert not any("images.zip" in line for line in fetched)
    assert any("mis_hard.json" in line for line in fetched)


@pytest.mark.parametrize("words", [("--train-revision", "abcdef0")], ids=["revision"])
def test_an_unknown_revision_is_one_error(hub: LoopbackHub, tmp_path: Path, words: tuple[str, ...]) -> None:
    ended = download(hub, tmp_path / "raw", *words)
    assert ended.returncode == 1
    assert ended.stderr == (
        "Tuwhy/MIS_Train at abcdef0: the Hub answers 404: no such repository or revision, or it wants a login "
        "(`hf auth login`)\n"
    )


def test_a_file_that_the_revision_lacks_is_named(hub: LoopbackHub, tmp_path: Path) -> None:
    del hub.files["Tuwhy/MIS_Test"]["mis_easy.json"]
    ended = download(hub, tmp_path / "raw")
    assert ended.returncode == 1
    assert ended.stderr.startswith("mis_easy.json: not in Tuwhy/MIS_Train at 66e984f1")
    assert ended.stderr.endswith("name another revision\n")
