"""What of a built dataset was changed, is missing, was added or moved."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mis_dataset.build import Options, build
from mis_dataset.errors import ManifestError
from mis_dataset.verify import verify
from tests.made_release import make_release

TRAIN = "data/train-00000-of-00001.parquet"
Rows = list[dict[str, Any]]


@pytest.fixture
def built(tmp_path: Path) -> Path:
    build(make_release(tmp_path / "raw"), tmp_path / "MIS")
    return tmp_path / "MIS"


def rewrite(path: Path, change: Callable[[Rows], Rows]) -> None:
    table = pq.read_table(path)
    pq.write_table(pa.Table.from_pylist(change(table.to_pylist()), schema=table.schema), path)


def test_what_was_built_verifies(built: Path) -> None:
    assert verify(built) == []


def test_of_many_missing_rows_the_first_are_named(tmp_path: Path) -> None:
    build(make_release(tmp_path / "raw", rows=25, twins=False), tmp_path / "MIS")
    (tmp_path / "MIS" / TRAIN).unlink()
    texts = verify(tmp_path / "MIS")
    assert texts[:2] == [f"{TRAIN}: is missing", "train/1: the row is missing"]
    assert texts[20:] == ["train/20: the row is missing", "train: of 5 more the row is missing"]


def test_documents_about_it_are_not_of_it(built: Path) -> None:
    for name in ("README.md", "rows.png", "words.png", ".gitattributes", "croissant.json"):
        (built / name).write_text("about it")
    (built / ".cache" / "huggingface").mkdir(parents=True)
    (built / ".cache" / "huggingface" / "notes").write_text("about it")
    assert verify(built) == []
    (built / "data" / "README.md").write_text("in its folder")
    assert verify(built) == ["data/README.md: was added"]


def test_a_config_without_its_card_or_with_another_is_told(tmp_path: Path) -> None:
    build(make_release(tmp_path / "raw"), tmp_path / "MIS", Options(max_side=4))
    card = tmp_path / "MIS" / "README.md"
    text = card.read_text()
    assert verify(tmp_path / "MIS") == []
    said = ["README.md: does not name the files of max4, by which `load_dataset` finds them; build it anew"]
    for other in (
        text.replace("max4/train-*", "max4/test_hard-*"),
        text.replace("config_name: max4", "config_name: x"),
        "",
    ):
        card.write_text(other)
        assert verify(tmp_path / "MIS") == said
    card.unlink()
    assert verify(tmp_path / "MIS") == said


def test_pipes_and_devices_do_not_hang_it(built: Path) -> None:
    os.mkfifo(built / "data" / "train-x.parquet")
    (built / TRAIN).unlink()
    (built / TRAIN).symlink_to("/dev/zero")
    texts = verify(built)
    assert texts[0] == f"{TRAIN}: is a link to what is no file"
    assert "data/train-x.parquet: was added" in texts
    assert "train: its rows cannot be told" in texts


def test_a_link_that_leads_nowhere_is_told(built: Path) -> None:
    (built / TRAIN).unlink()
    (built / TRAIN).symlink_to("nowhere")
    assert verify(built)[0] == f"{TRAIN}: cannot be read: No such file or directory"


def test_changed_missing_and_added_files_are_named(built: Path) -> None:
    (built / "notes.md").write_text("mine")
    (built / "data" / "test_real-00000-of-00001.parquet").unlink()
    (built / "data" / "test_easy-00000-of-00001.parquet").write_bytes(b"PAR1 and no more")
    assert verify(built) == [
        "data/test_easy-00000-of-00001.parquet: was changed",
        "data/test_real-00000-of-00001.parquet: is missing",
        "notes.md: was added",
        "test_easy: its rows cannot be told",
        "test_real/0: the row is missing",
        "test_real/1: the row is missing",
    ]


def _swap_pictures(rows: Rows) -> Rows:
    rows[1]["images"].reverse()
    return rows


def _other_question(rows: Rows) -> Rows:
    rows[2]["question"] += "?"
    return rows


def _new_id(rows: Rows) -> Rows:
    rows[3]["id"] = "train/9"
    return rows


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (_swap_pictures, ["train/2: the row was changed"]),
        (_other_question, ["train/3: the row was changed"]),
        (_new_id, ["train/4: the row is missing", "train/9: the row was added"]),
        (lambda rows: rows[:1] + rows[2:], ["train/2: the row is missing"]),
        (lambda rows: rows + rows[:1], ["train/1: the row occurs twice"]),
        (
            lambda rows: [rows[0], rows[2], rows[1], rows[3]],
            ["train/3: the rows of train are in another order from here on"],
        ),
        (lambda rows: rows, []),
    ],
    ids=["pictures", "question", "id", "missing", "twice", "order", "none"],
)
def test_changed_missing_added_and_moved_rows_are_named(
    built: Path, change: Callable[[Rows], Rows], found: list[str]
) -> None:
    rewrite(built / TRAIN, change)
    assert verify(built) == [f"{TRAIN}: was changed", *found]


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"MANIFEST\.json: cannot be read: No such file"):
        verify(tmp_path)
