"""The explorer: rows beside their twins, filters, pages, and the shelf of pictures to choose from."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.made_demo import load
from tests.made_runs import give_pictures, write_dataset

rows, settings = load("rows"), load("settings")


def row(id_: str, twin_of: str | None = None, **facts: Any) -> Any:
    usual = {"question": "Can I?", "response": None, "category": None, "level": None, "changed_image": None}
    return rows.Row(id=id_, twin_of=twin_of, **(usual | facts))


ROWS = [
    row("train/0", response="Better not."),
    row("test_hard/0", category="Privacy", level="new_pairs", question="How do I point it?", things=("camera", "bed")),
    row("test_hard/1", category="Violent", level="new_pairs", things=("camera", "door")),
    row("test_benign/0", "test_hard/0", things=("camera", "kite")),
    row("test_benign/9", "test_hard/9"),
]


def ids(pairs: list[Any]) -> list[list[str | None]]:
    return [[one and one.id for one in pair] for pair in pairs]


def test_every_row_stands_beside_its_twin_tests_first() -> None:
    assert ids(rows.pairs_of(ROWS)) == [
        ["test_hard/0", "test_benign/0"],
        ["test_hard/1", None],
        ["train/0", None],
        ["test_benign/9", None],
    ]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, ["test_hard/0", "test_hard/1", "train/0", "test_benign/9"]),
        ({"split": "test_hard"}, ["test_hard/0", "test_hard/1"]),
        ({"category": "Privacy"}, ["test_hard/0"]),
        ({"category": "none"}, ["train/0", "test_benign/9"]),
        ({"level": "new_pairs", "category": "Violent"}, ["test_hard/1"]),
        ({"text": "POINT how"}, ["test_hard/0"]),
        ({"text": "kite"}, ["test_hard/0"]),
        ({"text": "better"}, ["train/0"]),
        ({"text": "hard/1"}, ["test_hard/1"]),
        ({"text": "nothing of this"}, []),
    ],
)
def test_filters_and_words_choose(wanted: dict[str, str], found: list[str]) -> None:
    chosen = rows.chosen(rows.pairs_of(ROWS), rows.Wanted(**wanted))
    assert [pair.row.id for pair in chosen] == found


def test_filters_offer_what_the_rows_have() -> None:
    pairs = rows.pairs_of(ROWS)
    assert rows.choices(pairs, "split") == ["all", "test_hard", "train", "test_benign"]
    assert rows.choices(pairs, "category") == ["all", "Privacy", "Violent", "none"]


def test_pages_end_where_the_rows_end() -> None:
    assert rows.page_of([1, 2, 3], 1, 2) == ([1, 2], 1, 2)
    assert rows.page_of([1, 2, 3], 9, 2) == ([3], 2, 2)
    assert rows.page_of([1, 2, 3], 0, 2) == ([1, 2], 1, 2)
    assert rows.page_of([], 1, 2) == ([], 1, 1)


def test_the_shelf_has_one_picture_of_every_thing_of_the_tests() -> None:
    pairs = rows.pairs_of(ROWS)[:2]
    assert [(one.id, place) for one, place in rows.shelf(pairs, 9)] == [
        ("test_hard/0", 0),
        ("test_hard/0", 1),
        ("test_benign/0", 1),
        ("test_hard/1", 1),
    ]
    assert len(rows.shelf(pairs, 2)) == 2


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with pictures and every column that the demo reads."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = tmp_path_factory.mktemp("demo") / "MIS"
    write_dataset(folder)
    give_pictures(folder)
    for path in (folder / "data").glob("*.parquet"):
        table = pq.read_table(path)
        pq.write_table(table.append_column("response", pa.nulls(len(table), pa.string())), path)
    return folder


def test_a_dataset_is_read_with_names_and_pictures(dataset: Path, tmp_path: Path) -> None:
    things = tmp_path / "things.json"
    things.write_text(json.dumps({"test_hard/3": ["candle", "log"]}))
    found = rows.read_rows(str(dataset), things, 4)
    assert len(found.rows) == 48
    third = next(one for one in found.rows if one.id == "test_hard/3")
    assert (third.things, third.split) == (("candle", "log"), "test_hard")
    first, second = found.pictures(third)
    assert (first.alt, second.alt, second.thing) == (
        "First picture of test_hard/3: candle",
        "Second picture of test_hard/3: log",
        "log",
    )
    assert Image.open(io.BytesIO(first.png)).format == "PNG"
    assert all(pair.twin and pair.twin.twin_of == pair.row.id for pair in rows.pairs_of(found.rows))


@pytest.mark.parametrize("images", [[], [0], [0, 0, 0], [0, None]], ids=["none", "one", "three", "no bytes"])
def test_a_row_without_two_pictures_is_told_and_the_others_are_shown(
    images: list[int | None], dataset: Path, tmp_path: Path
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    shutil.copytree(dataset, tmp_path / "MIS")
    path = next((tmp_path / "MIS" / "data").glob("test_hard-*.parquet"))
    table = pq.read_table(path)
    held = table["images"].to_pylist()
    held[0] = [held[0][0] if one == 0 else {"bytes": None, "path": None} for one in images]
    place, field = table.column_names.index("images"), table.schema.field("images")
    pq.write_table(table.set_column(place, field, pa.array(held, field.type)), path)
    found = rows.read_rows(str(tmp_path / "MIS"), None, 4)
    broken, whole = [one for one in found.rows if one.split == "test_hard"][:2]
    with pytest.raises(settings.DemoError, match=f"{broken.id} has not two pictures"):
        found.pictures(broken)
    assert len(found.pictures(whole)) == 2


def test_what_is_no_dataset_is_told(tmp_path: Path) -> None:
    with pytest.raises(settings.DemoError, match=r"cannot be read .*Set MIS_DATASET to a built MIS dataset"):
        rows.read_rows(str(tmp_path), None, 4)


NO_NAMES = ['{"a": ["b"]}', '{"a": "bc"}', '{"a": ["b", 1]}', '{"a": ["b", ""]}', "[" * 10**5, "[]"]


@pytest.mark.parametrize("text", NO_NAMES, ids=range(len(NO_NAMES)))
def test_names_that_are_none_are_told(text: str, tmp_path: Path) -> None:
    (tmp_path / "things.json").write_text(text)
    with pytest.raises(settings.DemoError, match=r"things\.json is not \{id: \[name, name\]\}"):
        rows.read_things(tmp_path / "things.json")


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("id", "test_easy/0", "row 0 of test_hard has an id of something else"),
        ("id", "0", "row 0 of test_hard has an id of something else"),
        ("id", None, "row 0 of test_hard has an id of something else"),
        ("id", "test_hard/1", "test_hard/1 stands there twice"),
        ("question", None, "has no question that could be one"),
        ("category", 3, "has no category that could be one"),
    ],
)
def test_a_row_that_is_none_of_mis_is_told(
    column: str, value: object, told: str, dataset: Path, tmp_path: Path
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    shutil.copytree(dataset, tmp_path / "MIS")
    for path in (tmp_path / "MIS" / "data").glob("*.parquet"):
        table = pq.read_table(path)
        held: list[object] = table[column].to_pylist()
        if isinstance(value, int):
            held = [value] * len(held)
        elif path.name.startswith("test_hard-"):
            held[0] = value
        pq.write_table(table.set_column(table.column_names.index(column), column, pa.array(held)), path)
    with pytest.raises(settings.DemoError, match=told):
        rows.read_rows(str(tmp_path / "MIS"), None, 4)
