"""The builder as users of `datasets` use it."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mis_dataset.builder import MISBuilder
from mis_dataset.errors import ReleaseError, UsageError
from tests.made_release import change, make_release


def test_the_builder_works_alone_whole_and_streamed(tmp_path: Path) -> None:
    builder = MISBuilder(cache_dir=str(tmp_path / "cache"), data_dir=str(make_release(tmp_path / "raw")))
    builder.download_and_prepare()
    assert builder.as_dataset("test_hard")["id"][:] == ["test_hard/0", "test_hard/1"]
    assert next(iter(builder.as_streaming_dataset("train")))["images"][1].size == (8, 8)


def test_the_builder_writes_parquet_with_the_pictures_inside(tmp_path: Path) -> None:
    raw = make_release(tmp_path / "raw", twins=False)
    builder = MISBuilder(cache_dir=str(tmp_path / "cache"), data_dir=str(raw))
    builder.download_and_prepare(str(tmp_path / "out"), file_format="parquet", num_proc=2)
    names = sorted(path.name for path in (tmp_path / "out").glob("*train*.parquet"))
    rows = [row for name in names for row in pq.read_table(tmp_path / "out" / name).to_pylist()]
    assert [row["id"] for row in rows] == ["train/1", "train/2", "train/3"]
    assert rows[2]["images"][1]["bytes"] == (raw / "images" / "3" / "object2.png").read_bytes()


def test_a_release_that_has_changed_is_not_loaded_from_the_cache(tmp_path: Path) -> None:
    raw = make_release(tmp_path / "raw", twins=False)

    def question() -> str:
        builder = MISBuilder(cache_dir=str(tmp_path / "cache"), data_dir=str(raw))
        builder.download_and_prepare()
        return str(builder.as_dataset("test_real")["question"][0])

    first = question()
    assert question() == first
    change(raw, "mis_real.json", 0, question="Which of the two is red?")
    assert question() == "Which of the two is red?" != first


def test_a_zip_entry_that_is_a_link_is_refused(tmp_path: Path) -> None:
    raw = make_release(tmp_path / "raw", twins=False)
    info = zipfile.ZipInfo("images/9/object1.png")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(raw / "images.zip", "w") as archive:
        archive.writestr(info, "/etc/hostname")
    with pytest.raises(ReleaseError, match=r"entry 'images/9/object1\.png' is a symlink"):
        MISBuilder(cache_dir=str(tmp_path / "cache"), data_dir=str(raw)).download_and_prepare()


def test_the_builder_without_a_release_is_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="MISBuilder needs data_dir=RAW"):
        MISBuilder(cache_dir=str(tmp_path)).download_and_prepare()
