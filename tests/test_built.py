"""Rows of a built dataset as our own verbs read them, and the names of what pictures show."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mis_dataset.build import Options, build
from mis_dataset.built import files_of, read_things, rows_of
from mis_dataset.errors import DatasetError
from mis_dataset.schema import COLUMNS
from tests.made_release import make_release

TRAIN = "train-00000-of-00001.parquet"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds `raw` and the `MIS` built of it."""
    folder = tmp_path_factory.mktemp("built")
    build(make_release(folder / "raw"), folder / "MIS")
    return folder


# Files


def test_files_are_found_by_split_in_the_order_of_the_splits(folder: Path) -> None:
    found = files_of(folder / "MIS")
    assert list(found) == ["train", "test_easy", "test_hard", "test_real", "test_benign"]
    assert found["train"] == [folder / "MIS" / "data" / TRAIN]


def test_a_split_that_is_not_there_is_left_out_and_other_files_are_not_taken(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in (TRAIN, "general-00000-of-00001.parquet", "train.json", "pretrain-00000-of-00001.parquet"):
        (tmp_path / "data" / name).write_bytes((folder / "MIS" / "data" / TRAIN).read_bytes())
    (tmp_path / TRAIN).write_bytes(b"")  # of no config
    assert files_of(tmp_path) == {"train": [tmp_path / "data" / TRAIN]}


def test_smaller_pictures_are_found_in_the_folder_of_their_config(folder: Path, tmp_path: Path) -> None:
    build(folder / "raw", tmp_path / "MIS", Options(max_side=4))
    assert files_of(tmp_path / "MIS")["train"] == [tmp_path / "MIS" / "max4" / TRAIN]


@pytest.mark.parametrize("name", ["empty", "nowhere"])
def test_a_folder_without_our_files_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r": no Parquet file of ours; make it with `python -m mis_dataset build"):
        files_of(tmp_path / name)


# Rows


def test_rows_come_with_all_columns_and_bytes_as_in_the_release(folder: Path) -> None:
    rows = list(rows_of(files_of(folder / "MIS")["train"]))
    assert [row["id"] for row in rows] == ["train/1", "train/2", "train/3", "train/4"]
    assert all(tuple(row) == COLUMNS for row in rows)
    assert rows[1]["images"] == [
        {"bytes": (folder / "raw" / "images" / "2" / name).read_bytes(), "path": name}
        for name in ("object1.png", "object2.png")
    ]


def test_what_a_row_has_not_is_none(folder: Path) -> None:
    row = next(rows_of(files_of(folder / "MIS")["test_real"]))
    assert [column for column in COLUMNS if row[column] is None] == [
        "response",
        "category",
        "sub_category",
        "raw_sub_category",
        "level",
        "twin_of",
        "changed_image",
    ]


def test_some_columns_leave_the_bytes_of_pictures_untouched(folder: Path, tmp_path: Path) -> None:
    held = (folder / "MIS" / "data" / TRAIN).read_bytes()
    picture = (folder / "raw" / "images" / "2" / "object1.png").read_bytes()
    assert held.count(picture) == 1
    at = held.index(picture)
    # The length before the bytes, too: whoever reads the column fails.
    (tmp_path / TRAIN).write_bytes(held[: at - 4] + b"\xff" * (len(picture) + 4) + held[at + len(picture) :])
    assert list(rows_of([tmp_path / TRAIN], ("raw_id", "id"))) == [
        {"id": f"train/{number}", "raw_id": number} for number in (1, 2, 3, 4)
    ]
    with pytest.raises(DatasetError):
        list(rows_of([tmp_path / TRAIN]))


def test_rows_of_several_files_keep_the_order_of_the_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "MAX_ROW_GROUP_SIZE", "4KB")
    build(make_release(tmp_path / "raw", twins=False, rows=250), tmp_path / "MIS")
    paths = files_of(tmp_path / "MIS")["train"]
    assert len(paths) > 10  # of two digits, which sort as texts do
    assert pq.read_metadata(paths[0]).num_rows > 4  # more than are in memory at a time
    assert [row["raw_id"] for row in rows_of(paths, ("raw_id",))] == list(range(1, 251))


def test_rows_that_are_not_asked_for_are_not_read(folder: Path, tmp_path: Path) -> None:
    rows = rows_of([folder / "MIS" / "data" / TRAIN, tmp_path / "nowhere.parquet"], ("id",))
    assert [next(rows)["id"] for _ in range(4)] == ["train/1", "train/2", "train/3", "train/4"]
    with pytest.raises(DatasetError, match=r"nowhere\.parquet: cannot be read as Parquet; build the dataset again"):
        next(rows)


def test_a_column_that_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    table = pq.read_table(folder / "MIS" / "data" / TRAIN)
    pq.write_table(table.drop_columns(["level", "twin_of"]), tmp_path / TRAIN)
    with pytest.raises(DatasetError, match=r"00001\.parquet: has no column level of our type; build the dataset again"):
        next(rows_of([tmp_path / TRAIN]))
    assert len(list(rows_of([tmp_path / TRAIN], ("id", "question")))) == 4


@pytest.mark.parametrize("cut", [0, 3, 100, -1, -200])
def test_a_file_that_is_cut_is_named(folder: Path, tmp_path: Path, cut: int) -> None:
    (tmp_path / TRAIN).write_bytes((folder / "MIS" / "data" / TRAIN).read_bytes()[:cut])
    with pytest.raises(DatasetError, match=r"00001\.parquet: cannot be read as Parquet; build the dataset again"):
        list(rows_of([tmp_path / TRAIN]))


@pytest.mark.parametrize(
    ("column", "held", "said"),
    [
        ("question", pa.array([1, 2]), "has no column question of our type"),
        ("category", pa.array([["a"], ["b"]]), "has no column category of our type"),
        ("images", pa.array(["a", "b"]), "has no column images of our type"),
        ("id", pa.array([None, "test_hard/1"], pa.string()), "a row has no id of ours"),
        ("id", pa.array(["How do I?\x1b[2J", "test_hard/1"]), "a row has no id of ours"),
        ("question", pa.array(["a", None], pa.string()), "test_hard/1: has no question"),
    ],
)
def test_what_is_not_of_our_types_or_null_is_one_error(tmp_path: Path, column: str, held: pa.Array, said: str) -> None:
    build(make_release(tmp_path / "raw"), tmp_path / "MIS")
    path = files_of(tmp_path / "MIS")["test_hard"][0]
    table = pq.read_table(path)
    pq.write_table(table.set_column(table.schema.get_field_index(column), column, held), path)
    with pytest.raises(DatasetError, match=said):
        list(rows_of([path]))


@pytest.mark.parametrize("images", [None, [], [None, None], [{"bytes": None, "path": "x.png"}] * 2])
def test_pictures_that_are_not_in_the_file_are_told_with_their_row(tmp_path: Path, images: object) -> None:
    build(make_release(tmp_path / "raw"), tmp_path / "MIS")
    path = files_of(tmp_path / "MIS")["test_hard"][0]
    table = pq.read_table(path)
    rows = table.to_pylist()
    rows[1]["images"] = images
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    with pytest.raises(DatasetError, match=r"test_hard/1: a picture's bytes are not in the file; build it"):
        list(rows_of([path]))
    assert len(list(rows_of([path], ["id"]))) == 2


def test_a_folder_of_two_configs_is_refused(tmp_path: Path) -> None:
    raw = make_release(tmp_path / "raw")
    build(raw, tmp_path / "MIS")
    build(raw, tmp_path / "small", Options(max_side=4))
    (tmp_path / "small" / "max4").rename(tmp_path / "MIS" / "max4")
    with pytest.raises(DatasetError, match=r"MIS: holds several configs \(data, max4\); name a folder with one"):
        files_of(tmp_path / "MIS")


def test_a_text_that_is_no_utf8_is_a_broken_file(folder: Path, tmp_path: Path) -> None:
    table = pq.read_table(folder / "MIS" / "data" / TRAIN)
    broken = pa.array([b"a", b"\xff", b"c", b"d"], pa.binary()).view(pa.string())
    pq.write_table(table.set_column(COLUMNS.index("question"), "question", broken), tmp_path / TRAIN)
    with pytest.raises(DatasetError, match=r"00001\.parquet: cannot be read as Parquet; build the dataset again"):
        list(rows_of([tmp_path / TRAIN]))


# Names of what pictures show


def test_names_of_things_are_read_by_row(tmp_path: Path) -> None:
    (tmp_path / "objects.json").write_text('{"train/1": ["cup", "spoon"], "test_hard/0": ["saw", "b\\u00fcs"]}')
    assert read_things(tmp_path / "objects.json") == {"train/1": ["cup", "spoon"], "test_hard/0": ["saw", "büs"]}


@pytest.mark.parametrize("held", [None, b"", b"{", b"\xff\xff", b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}"])
def test_names_of_things_that_are_no_json_are_an_error(tmp_path: Path, held: bytes | None) -> None:
    if held is not None:
        (tmp_path / "objects.json").write_bytes(held)
    with pytest.raises(DatasetError, match=r"objects\.json: cannot be read as JSON; correct it$"):
        read_things(tmp_path / "objects.json")


@pytest.mark.parametrize(
    "held",
    [
        [],
        None,
        "cup",
        ["cup", "spoon"],
        {"train/1": "cup"},
        {"train/1": ["cup"]},
        {"train/1": ["cup", "spoon", "saw", "log", "box"]},
        {"train/1": ["cup", None]},
        {"train/1": ["cup", 2]},
        {"train/1": {"cup": 1, "spoon": 2}},
        {"train/1": ["cup", "spoon"], "train/2": []},
    ],
)
def test_what_does_not_name_the_things_of_a_row_is_an_error(tmp_path: Path, held: object) -> None:
    (tmp_path / "objects.json").write_text(json.dumps(held))
    with pytest.raises(DatasetError, match=r"objects\.json: is no object of row ids, each with the names of its"):
        read_things(tmp_path / "objects.json")
