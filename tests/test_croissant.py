"""The Croissant file of a built dataset: valid, complete, and its records read back through it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import datasets
import mlcroissant as mlc
import pytest

from mis_dataset.__main__ import main
from mis_dataset.build import Options, build
from mis_dataset.croissant import describe
from mis_dataset.errors import DatasetError, ManifestError
from mis_dataset.verify import verify
from tests.made_release import change, make_release

RAI = {name for name in mlc.Metadata.__annotations__ if name.startswith(("data_", "annotat", "machine_", "personal_"))}
"""All that a Croissant file can say of how responsibly a dataset was made."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("croissant")
    build(make_release(folder / "raw"), folder / "MIS")
    assert main(["croissant", str(folder / "MIS")]) == 0
    return folder / "MIS"


@pytest.fixture(scope="module")
def read(built: Path) -> mlc.Dataset:
    return mlc.Dataset(str(built / "croissant.json"))


def test_it_is_valid_and_no_part_of_what_verify_holds(built: Path, read: mlc.Dataset) -> None:
    assert not read.metadata.issues.errors
    assert not read.metadata.issues.warnings
    assert verify(built) == []


def test_every_file_stands_there_with_its_real_sha256(built: Path, read: mlc.Dataset) -> None:
    held = {one.content_url: one.sha256 for one in read.metadata.distribution if isinstance(one, mlc.FileObject)}
    assert held == {
        path.relative_to(built).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (built / "data").iterdir()
    }


@pytest.mark.parametrize("split", ["train", "test_easy", "test_hard", "test_real", "test_benign"])
def test_records_read_through_it_are_the_rows(built: Path, read: mlc.Dataset, split: str) -> None:
    rows = list(datasets.load_dataset(str(built), split=split))
    records = list(read.records(split))
    assert len(records) == len(rows) > 1
    for record, row in zip(records, rows, strict=True):
        pictures = record.pop(f"{split}/images")
        plain = {
            name.split("/")[1]: value.decode() if isinstance(value, bytes) else value for name, value in record.items()
        }
        assert plain == {name: value for name, value in row.items() if name != "images"}
        assert [one[f"{split}/images/path"] for one in pictures] == [b"object1.png", b"object2.png"]
        for one, image in zip(pictures, row["images"], strict=True):
            assert one[f"{split}/images/bytes"].tobytes() == image.tobytes()


def test_all_that_is_to_be_said_of_how_it_was_made_is_said_of_mis_and_of_mini(built: Path, tmp_path: Path) -> None:
    raw = make_release(tmp_path / "raw", twins=False)
    for index in (0, 1):
        change(raw, "mis_hard.json", index, level="new_pairs")
    build(raw, tmp_path / "MIS")
    for folder, name in ((built, "MIS"), (tmp_path / "MIS", "MIS-mini")):
        made = describe(folder)
        assert made["name"] == name
        said = [key for key, value in made.items() if key.startswith("rai:") and value]
        assert len(said) == len(RAI) == 20


def test_the_same_dataset_is_described_by_the_same_text(built: Path) -> None:
    assert json.loads((built / "croissant.json").read_text("utf-8")) == describe(built)


def test_a_trial_is_not_described(tmp_path: Path) -> None:
    build(make_release(tmp_path / "raw"), tmp_path / "MIS", Options(limit=1))
    with pytest.raises(DatasetError, match="was built with --limit 1, as a trial; build it whole first"):
        describe(tmp_path / "MIS")


def test_what_has_no_manifest_or_is_not_in_it_is_refused(tmp_path: Path) -> None:
    build(make_release(tmp_path / "raw"), tmp_path / "MIS")
    assert main(["croissant", str(tmp_path / "MIS")]) == 0
    with pytest.raises(ManifestError):
        describe(tmp_path)
    (tmp_path / "MIS" / "data" / "train-00001-of-00002.parquet").write_bytes(b"new")
    with pytest.raises(DatasetError, match=r"not as it was built, data/train-00001-of-00002\.parquet: was added"):
        describe(tmp_path / "MIS")
