"""`load_dataset("MIS")` in every form its users type, and the same files in other readers."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import datasets
import duckdb
import pandas as pd
import polars as pl
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from mis_dataset.build import build
from mis_dataset.schema import COLUMNS
from tests.made_published import make_published
from tests.made_release import make_release

HARD = "data/test_hard-00000-of-00001.parquet"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds `MIS`."""
    folder = tmp_path_factory.mktemp("load")
    build(make_release(folder / "raw"), folder / "MIS")
    return folder


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds a `MIS` whose train rows lie in shards of four."""
    folder = tmp_path_factory.mktemp("several")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "MAX_ROW_GROUP_SIZE", 1400)
        build(make_release(folder / "raw", rows=9), folder / "MIS")
    assert len(list((folder / "MIS" / "data").glob("train-*-of-00003.parquet"))) == 3
    return folder


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds a `MIS` of exactly the published counts."""
    folder = tmp_path_factory.mktemp("published")
    build(make_published(folder / "raw"), folder / "MIS")
    return folder


@pytest.fixture(autouse=True)
def inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def test_whole() -> None:
    loaded = datasets.load_dataset("MIS")
    assert set(loaded) == {"train", "test_easy", "test_hard", "test_real", "test_benign"}
    assert loaded["train"][0]["images"][0].getpixel((0, 0)) == (1, 90, 160)


def test_one_split() -> None:
    assert datasets.load_dataset("MIS", split="test_hard")["id"][:] == ["test_hard/0", "test_hard/1"]


def test_easy_and_hard_together_as_in_the_paper() -> None:
    ids = datasets.load_dataset("MIS", split="test_easy+test_hard")["id"][:]
    assert ids == ["test_easy/0", "test_easy/1", "test_hard/0", "test_hard/1"]


def test_the_published_counts_load_in_every_form(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(published)
    loaded = datasets.load_dataset("MIS")
    assert {split: rows.num_rows for split, rows in loaded.items()} == {
        "train": 3927,
        "test_easy": 1675,
        "test_hard": 510,
        "test_real": 100,
    }
    assert loaded["train"]["id"][:] == [f"train/{number}" for number in range(1, 3928)]
    assert loaded["train"][3926]["images"][1].size == (2, 2)
    assert datasets.load_dataset("MIS", split="test_real")["category"][:] == [None] * 100
    ids = datasets.load_dataset("MIS", split="test_easy+test_hard")["id"][:]
    assert ids == [f"test_easy/{n}" for n in range(1675)] + [f"test_hard/{n}" for n in range(510)]
    assert len(ids) == 2185


@pytest.mark.parametrize("columns", [None, ["id", "category"]])
def test_the_published_counts_stream(
    published: Path, monkeypatch: pytest.MonkeyPatch, columns: list[str] | None
) -> None:
    monkeypatch.chdir(published)
    rows = list(datasets.load_dataset("MIS", split="test_hard", streaming=True, columns=columns))
    assert [row["id"] for row in rows] == [f"test_hard/{n}" for n in range(510)]
    assert Counter(row["category"] for row in rows).most_common(2) == [("Illegal Activity", 338), ("Violent", 78)]
    assert all(list(row) == (columns or list(COLUMNS)) for row in rows)


def test_slices() -> None:
    assert datasets.load_dataset("MIS", split="train[1:3]")["id"][:] == ["train/2", "train/3"]
    assert datasets.load_dataset("MIS", split="train[-50%:]")["id"][:] == ["train/3", "train/4"]


def test_streaming() -> None:
    rows = list(datasets.load_dataset("MIS", split="train", streaming=True))
    assert [row["id"] for row in rows] == ["train/1", "train/2", "train/3", "train/4"]
    assert rows[3]["images"][1].size == (8, 8)
    skipped = datasets.load_dataset("MIS", split="train", streaming=True).skip(2).take(1)
    assert [row["id"] for row in skipped] == ["train/3"]


def test_some_columns_without_touching_the_pictures(folder: Path, tmp_path: Path) -> None:
    data = (folder / "MIS" / HARD).read_bytes()
    (tmp_path / "data").mkdir()
    # The pictures' bytes lie in the file as they are: broken there, no reader may have decoded them.
    for place in (1, 2):
        picture = (folder / "raw" / "hard_image" / f"{place}" / "object1.png").read_bytes()
        assert picture in data
        data = data.replace(picture, b"x" * len(picture))
    (tmp_path / HARD).write_bytes(data)
    wanted = ["id", "question"]
    for streaming in (False, True):
        loaded = datasets.load_dataset(str(tmp_path), split="test_hard", columns=wanted, streaming=streaming)
        assert [list(row) for row in loaded] == [wanted, wanted]


def test_pictures_left_undecoded(folder: Path) -> None:
    loaded = datasets.load_dataset("MIS", split="test_hard")
    plain = loaded.cast_column("images", datasets.List(datasets.Image(decode=False)))
    assert plain[0]["images"][0] == {
        "bytes": (folder / "raw" / "hard_image" / "1" / "object1.png").read_bytes(),
        "path": "object1.png",
    }


def test_as_torch_tensors() -> None:
    row = datasets.load_dataset("MIS", split="train").with_format("torch")[0]
    assert [(image.shape, image.dtype) for image in row["images"]] == [((3, 8, 8), torch.uint8)] * 2
    assert row["raw_id"] == torch.tensor(1)


IDS = [f"train/{number}" for number in range(1, 11)]


def test_several_shards_are_one_split_in_raw_order(several: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(several)
    assert datasets.load_dataset("MIS", split="train")["id"][:] == IDS
    assert datasets.load_dataset("MIS", split="train[3:6]")["id"][:] == IDS[3:6]
    streamed = datasets.load_dataset("MIS", split="train", streaming=True)
    assert streamed.num_shards == 3
    assert [row["id"] for row in streamed] == IDS
    assert [row["id"] for row in streamed.skip(3).take(6)] == IDS[3:9]


def test_in_two_processes(several: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(several)
    loaded = datasets.load_dataset("MIS", split="train", num_proc=2, cache_dir=str(tmp_path))
    assert len(loaded.cache_files) == 2  # one of each
    assert loaded["id"][:] == IDS
    assert loaded[8]["images"][1].size == (8, 8)


@pytest.mark.parametrize(
    ("streaming", "workers", "order"),
    [
        (False, 1, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        (False, 2, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        (True, 1, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        (True, 2, [1, 5, 2, 6, 3, 7, 4, 8, 9, 10]),  # each has whole shards, and they take turns
    ],
)
def test_by_the_workers_of_a_data_loader(
    several: Path, monkeypatch: pytest.MonkeyPatch, streaming: bool, workers: int, order: list[int]
) -> None:
    monkeypatch.chdir(several)
    loaded = datasets.load_dataset("MIS", split="train", streaming=streaming, columns=["id", "images"])
    rows = list(DataLoader(loaded.with_format("torch"), batch_size=1, num_workers=workers))
    assert [row["id"] for row in rows] == [[f"train/{number}"] for number in order]
    assert {tuple(row["images"].shape) for row in rows} == {(1, 2, 3, 8, 8)}


def test_by_pandas() -> None:
    frame = pd.read_parquet("MIS/data", columns=["id", "category"])
    assert len(frame) == 12
    images = pd.read_parquet(f"MIS/{HARD}")["images"][0]
    assert Image.open(io.BytesIO(images[0]["bytes"])).size == (8, 8)


def test_by_polars() -> None:
    frame = pl.scan_parquet(f"MIS/{HARD}").select("id", "sub_category").collect()
    assert frame.rows() == [("test_hard/0", "Cybercrimes"), ("test_hard/1", "Cybercrimes")]
    assert pl.read_parquet(f"MIS/{HARD}").columns == list(COLUMNS)


def test_by_duckdb(folder: Path) -> None:
    counted = duckdb.execute("select split_part(id, '/', 1), count(*) from 'MIS/data/*.parquet' group by 1 order by 1")
    assert counted.fetchall() == [
        ("test_benign", 2),
        ("test_easy", 2),
        ("test_hard", 2),
        ("test_real", 2),
        ("train", 4),
    ]
    held = duckdb.execute(f"select images[1].bytes from 'MIS/{HARD}' where id = 'test_hard/0'").fetchall()
    assert held == [((folder / "raw" / "hard_image" / "1" / "object1.png").read_bytes(),)]
