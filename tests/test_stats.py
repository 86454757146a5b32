"""Counts and sizes of a built dataset."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from mis_dataset.__main__ import main
from mis_dataset.build import build
from mis_dataset.errors import DatasetError
from mis_dataset.files import sha256_of
from mis_dataset.manifest import versions
from mis_dataset.stats import measure, write
from tests.made_release import change, make_release, png


def test_every_split_is_counted_and_measured(tmp_path: Path) -> None:
    raw = make_release(tmp_path / "raw")
    (raw / "images" / "2" / "object1.png").write_bytes(png(7, 16))
    change(raw, "mis_easy.json", 1, question="How do I place the first thing on the second, easy 0?")
    build(raw, tmp_path / "MIS")
    splits = measure(tmp_path / "MIS")["splits"]
    assert {split: told["rows"] for split, told in splits.items()} == {
        "train": 4,
        "test_easy": 2,
        "test_hard": 2,
        "test_real": 2,
        "test_benign": 2,
    }
    train = splits["train"]
    assert (train["twins"], train["categories"], train["levels"]) == (1, {"Violent": 4}, {"none": 4})
    assert train["sub_categories"] == {"Weapon-Related Violence": 4}
    assert splits["test_real"]["categories"] == {"none": 2}
    assert train["question_words"] == {"least": 9, "median": 9, "most": 9}
    assert splits["test_hard"]["response_words"] is None
    assert train["images"]["formats"] == {"PNG": 8}
    assert train["images"]["sizes"] == {"8 x 8": 7, "16 x 16": 1}
    assert train["images"]["bytes"]["total"] == 7 * len(png(1)) + len(png(7, 16))
    # The twin of train/1 has its question and its first picture.
    assert train["duplicates"] == {"questions": 2, "images": 2, "pairs": 0}
    assert splits["test_easy"]["duplicates"]["questions"] == 2


def test_the_verb_writes_json_and_plots_and_the_same_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build(make_release(tmp_path / "raw"), tmp_path / "MIS")
    assert main(["stats", str(tmp_path / "MIS"), str(tmp_path / "out")]) == 0
    assert json.loads(capsys.readouterr().out)["rows"]["train"] == 4
    held = json.loads((tmp_path / "out" / "stats.json").read_text())
    assert held.pop("kind") == "mis_dataset stats"
    assert held.pop("manifest") == sha256_of(tmp_path / "MIS" / "MANIFEST.json")
    assert held.pop("versions") == versions()
    assert held.pop("plots") == {name: sha256_of(tmp_path / "out" / name) for name in ("rows.png", "words.png")}
    assert held == measure(tmp_path / "MIS")
    first = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert set(first) == {"stats.json", "rows.png", "words.png"}
    with Image.open(tmp_path / "out" / "rows.png") as plot:
        assert plot.width > 500
    write(tmp_path / "MIS", tmp_path / "out")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == first


def test_a_trial_measures_the_first_rows_and_a_file_of_others_is_left_alone(tmp_path: Path) -> None:
    build(make_release(tmp_path / "raw"), tmp_path / "MIS")
    words = ["stats", str(tmp_path / "MIS"), str(tmp_path / "out")]
    assert main([*words, "--limit", "1"]) == 0
    held = json.loads((tmp_path / "out" / "stats.json").read_text())
    assert (held["limit"], held["splits"]["train"]["rows"]) == (1, 1)
    (tmp_path / "out" / "stats.json").write_text("[]")
    (tmp_path / "out" / "rows.png").unlink()
    assert main(words) == 2
    assert (tmp_path / "out" / "stats.json").read_text() == "[]"
    assert not (tmp_path / "out" / "rows.png").exists()


def test_a_plot_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    build(make_release(tmp_path / "raw"), tmp_path / "MIS")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "rows.png").write_bytes(b"mine")
    assert main(["stats", str(tmp_path / "MIS"), str(tmp_path / "out")]) == 2
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["rows.png"]
    assert (tmp_path / "out" / "rows.png").read_bytes() == b"mine"


def test_what_is_no_dataset_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no Parquet file of ours"):
        measure(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train-00000-of-00001.parquet").write_bytes(b"no")
    with pytest.raises(DatasetError, match="cannot be read as Parquet"):
        measure(tmp_path)
