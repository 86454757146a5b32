"""What the cards print as code runs as it is printed, with a folder in the place of each id."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import duckdb
import pytest

from cards.pack import pack
from cards.released import released
from cards.rights import ROOT
from tests.made_built import KEPT, make_built
from tests.made_packs import make_packable, make_real
from tests.tiny import Tiny

pytestmark = pytest.mark.slow


def code(card: Path, language: str, places: dict[str, Path]) -> list[str]:
    """Fenced blocks of a card; ids become the folders that stand for them."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", card.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    for id_, folder in places.items():
        # The longest first: one id may begin as another.
        blocks = [
            block.replace(f"hf://datasets/{id_}/", f"{folder}/").replace(f'"{id_}"', f'"{folder}"') for block in blocks
        ]
    assert blocks
    assert not any("someone/" in block for block in blocks)
    return blocks


def run_all(card: Path, folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Runs the Python and the SQL of a dataset card; returns what the code named."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(cache))
    places = {"someone/MIS-mini": folder, "someone/MIS": folder}
    places |= {"someone/pair_accuracy": ROOT / "cards" / "pair_accuracy"}
    named: dict[str, Any] = {}
    for block in code(card, "python", places):
        exec(compile(block, "card", "exec"), named)
    [sql] = code(card, "sql", places)
    return named | {"sql": duckdb.connect().execute(sql).fetchall()}


def test_the_dataset_card_of_mis_mini_reads_its_dataset_in_every_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    pack(make_packable(tmp_path / "run"), tmp_path / "out", "someone")
    folder = tmp_path / "out" / "dataset"
    named = run_all(folder / "README.md", folder, tmp_path / "cache", monkeypatch)
    assert {split: rows.num_rows for split, rows in named["mis"].items()}["test_hard"] == 12
    assert named["texts"].column_names == ["id", "category", "twin_of"]
    assert named["sql"] == [("Illegal Activity", 6), ("Privacy", 6)]
    printed = capsys.readouterr().out
    assert "test_hard/0" in printed
    assert "PIL." in printed


@pytest.mark.parametrize("side", [None, "4"])
def test_the_card_of_mis_reads_its_dataset_in_every_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: str | None
) -> None:
    from mis_dataset.__main__ import main

    if side is None:
        folder = make_built(tmp_path, KEPT) / "MIS"
    else:
        make_built(tmp_path)
        folder = tmp_path / "small"
        assert main(["build", str(tmp_path / "raw"), str(folder), "--image-max-side", side]) == 0
    shutil.copy(released(folder, tmp_path / "card", "someone/MIS")["card"], folder / "README.md")
    named = run_all(folder / "README.md", folder, tmp_path / "cache", monkeypatch)
    assert named["mis"]["test_hard"].num_rows == 2
    assert named["sql"] == [("Illegal Activity", 2)]


@pytest.fixture(scope="module")
def release(tiny: Tiny, tiny_arm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release of a tiny base and an arm that can be asked."""
    folder = tmp_path_factory.mktemp("release")
    pack(make_real(folder / "run", tiny, tiny_arm), folder / "out", "someone")
    return folder / "out"


def ask(release: Path, card: str, empty: Path) -> str:
    """Runs the code of a model's card in an empty folder and a process of its own; returns what it printed."""
    places = {
        "someone/MIS-mini": release / "dataset",
        "someone/mis-mini-base": release / "base",
        "someone/mis-mini-contrast-adapter": release / "adapter",
        "someone/mis-mini-contrast": release / "model",
    }
    [block] = code(release / card / "README.md", "python", places)
    empty.mkdir()
    given = {**os.environ, "HF_HOME": str(empty.parent / "cache")}
    ended = subprocess.run([sys.executable, "-c", block], cwd=empty, env=given, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert list(empty.iterdir()) == []
    return ended.stdout


def test_the_quick_starts_run_as_printed_in_an_empty_folder(release: Path, tmp_path: Path) -> None:
    first = {}
    for card in ("base", "model", "adapter"):
        question, *said = ask(release, card, tmp_path / card).split("\n", 1)
        assert question.endswith("?")
        assert said != [""]
        first[card] = said
    # The adapter on its base is the merged model, and not the base.
    assert first["adapter"] == first["model"] != first["base"]


def test_a_release_without_its_weights_is_caught_by_its_quick_start(release: Path, tmp_path: Path) -> None:
    weights = release / "model" / "model.safetensors"
    weights.rename(tmp_path / "model.safetensors")
    with pytest.raises(AssertionError, match=r"model\.safetensors"):
        ask(release, "model", tmp_path / "empty")
    (tmp_path / "model.safetensors").rename(weights)
