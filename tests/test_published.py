"""A release against the published counts, and the whole room on one that has exactly those."""

from __future__ import annotations

from pathlib import Path

import datasets
import mlcroissant as mlc
import pytest

from mis_dataset.build import Options, build
from mis_dataset.check import check_release
from mis_dataset.croissant import write as write_croissant
from mis_dataset.leaks import find_leaks, read_rows, too_many
from mis_dataset.published import CATEGORY_ROWS, ROWS, SUB_CATEGORY_ROWS, differences
from mis_dataset.release import survey
from mis_dataset.stats import measure
from mis_dataset.verify import verify
from tests.made_published import make_published
from tests.made_release import change, make_release


def test_the_published_numbers_are_one_table() -> None:
    assert sum(SUB_CATEGORY_ROWS.values()) == ROWS["mis_easy.json"] + ROWS["mis_hard.json"] == 2185
    assert {file: sum(counts.values()) for file, counts in CATEGORY_ROWS.items()} == {
        "mis_easy.json": 1675,
        "mis_hard.json": 510,
    }


def test_a_small_release_is_said_to_differ_and_mini_is_not_compared(tmp_path: Path) -> None:
    make_release(tmp_path, twins=False)
    texts = [str(one) for one in differences(survey(tmp_path))]
    assert texts[0] == "mis_train.json: records: 3 (published: 3927)"
    assert texts[4].startswith(
        "mis_easy.json: records by category (published): Illegal Activity 2 (678), Violent 0 (338)"
    )
    assert len(texts) == 7
    release = survey(tmp_path)
    (tmp_path / "provenance").mkdir()
    (tmp_path / "provenance" / "rows.jsonl").touch()
    assert differences(release) == []  # constructed
    (tmp_path / "provenance" / "rows.jsonl").unlink()
    assert len(differences(release)) == 7
    (tmp_path / "mini").mkdir()
    (tmp_path / "mini" / "objects.json").write_text("{}")
    assert differences(survey(tmp_path)) == []


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_published(tmp_path_factory.mktemp("published") / "raw")


@pytest.mark.slow
def test_the_whole_room_on_a_release_of_the_published_counts(published: Path, tmp_path: Path) -> None:
    release = check_release(published)
    assert (release.problems, release.warnings, differences(release)) == ((), (), [])
    build(published, tmp_path / "MIS", Options(num_proc=2))
    assert verify(tmp_path / "MIS") == []
    write_croissant(tmp_path / "MIS")
    assert len(list(mlc.Dataset(str(tmp_path / "MIS" / "croissant.json")).records("test_easy"))) == 1675
    loaded = datasets.load_dataset(str(tmp_path / "MIS"))
    assert {split: len(rows) for split, rows in loaded.items()} == {
        "train": 3927,
        "test_easy": 1675,
        "test_hard": 510,
        "test_real": 100,
    }
    assert len(datasets.load_dataset(str(tmp_path / "MIS"), split="test_easy+test_hard")) == 2185
    splits = measure(tmp_path / "MIS")["splits"]
    assert splits["test_hard"]["categories"] == dict(
        sorted(CATEGORY_ROWS["mis_hard.json"].items(), key=lambda one: -one[1])
    )
    assert len(set(loaded["train"]["raw_sub_category"])) == 15
    leaks = find_leaks(read_rows(tmp_path / "MIS"))
    assert too_many(leaks, {"same_image": 0}) == []
    shared = {(one.one, one.two): one.rows()["same_text"] for one in leaks}
    assert (shared["test_easy", "test_real"], shared["test_hard", "test_real"]) == (50, 50)


@pytest.mark.slow
def test_other_counts_are_said(tmp_path: Path) -> None:
    make_published(tmp_path / "raw", train_rows=20)
    change(tmp_path / "raw", "mis_hard.json", 0, category="Violent")
    assert [str(one) for one in differences(survey(tmp_path / "raw"))] == [
        "mis_train.json: records: 20 (published: 3927)",
        "mis_hard.json: records by category (published): Illegal Activity 337 (338), Violent 79 (78)",
    ]
