"""How rows are dealt out to shards, how a shard lies on the disk, and when it is written again."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import datasets
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mis_dataset.decoding import strict_pillow
from mis_dataset.errors import PictureError
from mis_dataset.files import sha256_of
from mis_dataset.manifest import picture_hashes, row_hash
from mis_dataset.pictures import Pictures
from mis_dataset.release import read_release
from mis_dataset.shards import Job, Shard, Written, plan_shards, write_shard
from tests.made_release import change, make_release, png, zip_images
from tests.made_release import write as write_json


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row groups of 1,000 bytes."""
    monkeypatch.setattr(datasets.config, "MAX_ROW_GROUP_SIZE", "2KB")


def planned(raw: Path, max_side: int | None = None) -> list[Shard]:
    with Pictures(raw) as pictures:
        return plan_shards(read_release(raw), pictures, max_side)


def train(shards: list[Shard]) -> list[list[int]]:
    """Raw ids of the train rows, shard by shard."""
    return [[record.raw_id for record in shard.records] for shard in shards if shard.split == "train"]


def sized(raw: Path, sizes: list[int]) -> Path:
    """A release whose train rows have pictures of so many bytes each row; a plan does not look into them."""
    make_release(raw, twins=False, rows=len(sizes))
    for number, size in enumerate(sizes, start=1):
        for side in (1, 2):
            (raw / "images" / str(number) / f"object{side}.png").write_bytes(b"x" * (size // 2))
    return raw


def job(raw: Path, out: Path, number: int = 0) -> Job:
    """For a shard of train."""
    for folder in (out / "data", out / "notes"):
        folder.mkdir(parents=True, exist_ok=True)
    return Job(planned(raw)[number], out / "data", out / "notes", None)


def write(job: Job) -> Written:
    """Of the release that lies beside the folders of the job."""
    with strict_pillow(), Pictures(job.shards.parent / "raw") as pictures:
        return write_shard(pictures, job)


# Plans


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("sizes", "dealt"),
    [
        ([500] * 5, [[1, 2], [3, 4], [5]]),  # to the byte
        ([502] * 3, [[1], [2], [3]]),
        ([500, 500, 5000, 500, 500], [[1, 2], [3], [4, 5]]),
        ([5000, 500, 500], [[1], [2, 3]]),
        ([200, 200, 5000], [[1, 2], [3]]),
    ],
)
def test_a_shard_takes_rows_in_order_up_to_the_limit_and_a_larger_row_alone(
    tmp_path: Path, sizes: list[int], dealt: list[list[int]]
) -> None:
    shards = planned(sized(tmp_path, sizes))
    assert train(shards) == dealt
    assert [shard.name for shard in shards if shard.split == "train"] == [
        f"train-{number:05d}-of-{len(dealt):05d}.parquet" for number in range(len(dealt))
    ]
    assert [shard.size for shard in shards[: len(dealt)]] == [sum(sizes[n - 1] for n in part) for part in dealt]
    assert [shard.split for shard in shards[len(dealt) :]] == ["test_easy", "test_hard", "test_real"]


@pytest.mark.usefixtures("small")
def test_rows_are_dealt_out_alike_from_a_zip(tmp_path: Path) -> None:
    raw = sized(tmp_path, [500] * 5)
    before = planned(raw)
    assert planned(raw) == before
    zip_images(raw)
    assert train(planned(raw)) == train(before) == [[1, 2], [3, 4], [5]]


def changed_record(raw: Path) -> None:
    change(raw, "mis_train.json", 2, sub_category="Public Violence and Rioting")


def changed_picture(raw: Path) -> None:
    (raw / "images" / "3" / "object1.png").write_bytes(b"y" * 250)  # as many bytes as before


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("changed", [changed_record, changed_picture])
def test_a_key_changes_with_its_own_rows_and_pictures_only(tmp_path: Path, changed: Callable[[Path], None]) -> None:
    raw = sized(tmp_path, [500] * 5)
    before = planned(raw)
    changed(raw)
    after = planned(raw)
    assert [one.name for one, two in zip(before, after, strict=True) if one.key != two.key] == [
        "train-00001-of-00003.parquet"
    ]


@pytest.mark.usefixtures("small")
def test_a_key_changes_with_the_size_asked_for_and_the_number_of_shards(tmp_path: Path) -> None:
    raw = sized(tmp_path, [500] * 5)
    records = json.loads((raw / "mis_train.json").read_text("utf-8"))
    write_json(raw, "mis_train.json", records[:4])
    keys = {shard.key for shard in planned(raw)}
    assert len(keys) == 2 + 3
    assert not keys & {shard.key for shard in planned(raw, 32)}
    write_json(raw, "mis_train.json", records)
    more = planned(raw)
    assert train(more) == [[1, 2], [3, 4], [5]]
    assert [shard.key in keys for shard in more] == [False, False, False, True, True, True]


def test_a_plan_of_a_picture_that_is_gone_is_an_error(tmp_path: Path) -> None:
    raw = make_release(tmp_path, twins=False)
    (raw / "images" / "2" / "object1.png").unlink()
    with pytest.raises(PictureError, match=r"picture 'images/2/object1\.png' is missing"):
        planned(raw)


# Files


@pytest.mark.usefixtures("small")
def test_every_shard_is_one_row_group_with_a_page_index(tmp_path: Path) -> None:
    raw = make_release(tmp_path / "raw", rows=30)
    shards = planned(raw)
    assert len(shards) > 6
    for number, shard in enumerate(shards):
        write(job(raw, tmp_path, number))
        held = pq.read_metadata(tmp_path / "data" / shard.name)
        assert (held.num_row_groups, held.num_rows) == (1, len(shard.records))
        columns = [held.row_group(0).column(place) for place in range(held.num_columns)]
        assert all(column.has_offset_index for column in columns)
        # Least and greatest of all but pictures, by which readers skip rows.
        bare = [column.path_in_schema for column in columns if not column.has_column_index]
        assert bare == ["images.list.element.bytes"]
        assert json.loads(held.metadata[b"content_defined_chunking"]) == datasets.config.DEFAULT_CDC_OPTIONS


def test_parquet_is_laid_out_as_datasets_does_it(tmp_path: Path) -> None:
    write(job(make_release(tmp_path / "raw"), tmp_path))
    made = tmp_path / "data" / "train-00000-of-00001.parquet"
    datasets.load_dataset("parquet", data_files=str(made), split="train").to_parquet(tmp_path / "theirs.parquet")
    ours, theirs = (pq.ParquetFile(path) for path in (made, tmp_path / "theirs.parquet"))
    assert b"content_defined_chunking" in ours.metadata.metadata
    assert ours.schema_arrow.remove_metadata() == theirs.schema_arrow.remove_metadata()
    for column in range(ours.metadata.num_columns):
        one, two = (file.metadata.row_group(0).column(column) for file in (ours, theirs))
        assert (one.path_in_schema, one.compression, one.encodings) == (
            two.path_in_schema,
            two.compression,
            two.encodings,
        )
        assert one.has_offset_index
        # Of pictures of more than 4096 bytes, as all real ones, `datasets` keeps neither the least nor the greatest.
        assert one.has_column_index == (two.has_column_index and not one.path_in_schema.endswith("bytes"))
    assert ours.metadata.metadata[b"content_defined_chunking"] == theirs.metadata.metadata[b"content_defined_chunking"]


def test_pages_end_where_datasets_ends_them(tmp_path: Path) -> None:
    raw, noise = make_release(tmp_path / "raw", twins=False, rows=12), random.Random(0)
    for path in (raw / "images").rglob("*.png"):
        Image.frombytes("RGB", (160, 160), noise.randbytes(160 * 160 * 3)).save(path)
    write(job(raw, tmp_path))
    ours = tmp_path / "data" / "train-00000-of-00001.parquet"
    datasets.load_dataset("parquet", data_files=str(ours), split="train").to_parquet(tmp_path / "theirs.parquet")
    pq.write_table(pq.read_table(ours), tmp_path / "plain.parquet", compression="none")

    def pictures(path: Path) -> tuple[int, bool]:
        column = pq.read_metadata(path).row_group(0).column(1)
        assert column.path_in_schema == "images.list.element.bytes"
        # Grows with every page by its header.
        return column.total_uncompressed_size, column.has_dictionary_page

    assert pictures(ours) == pictures(tmp_path / "theirs.parquet")
    assert pictures(ours)[0] > 1_800_000
    assert pictures(ours) != pictures(tmp_path / "plain.parquet")


def test_what_is_written_is_told_with_its_hashes(tmp_path: Path) -> None:
    raw = make_release(tmp_path / "raw")
    one = job(raw, tmp_path)
    written = write(one)
    assert written.key == one.shard.key
    assert written.sha256 == sha256_of(tmp_path / "data" / "train-00000-of-00001.parquet")
    with Pictures(raw) as pictures:
        rows = [pictures.row(record) for record in one.shard.records]
    assert written.rows == {row["id"]: row_hash(row, picture_hashes(row)) for row in rows}
    assert list(written.rows) == ["train/1", "train/2", "train/3", "train/4"]
    assert written.pictures[:2] == [
        [f"images/1/object{side}.png", sha256_of(raw / "images" / "1" / f"object{side}.png")] for side in (1, 2)
    ]
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["train-00000-of-00001.parquet"]
    assert [path.name for path in (tmp_path / "notes").iterdir()] == ["train-00000-of-00001.parquet.json"]


@pytest.mark.parametrize("side", [2, 64])
def test_a_picture_whose_size_changes_after_the_plan_is_stored_as_it_is_now(tmp_path: Path, side: int) -> None:
    raw = make_release(tmp_path / "raw", twins=False)
    one = job(raw, tmp_path)
    path = raw / "images" / "2" / "object1.png"
    before = path.stat().st_size
    path.write_bytes(png(9, side))
    assert path.stat().st_size != before
    write(one)
    rows = pq.read_table(tmp_path / "data" / one.shard.name).to_pylist()
    assert [[picture["bytes"] for picture in row["images"]] for row in rows] == [
        [(raw / path).read_bytes() for path in record.images] for record in one.shard.records
    ]


@pytest.mark.parametrize(("held", "said"), [(b"no picture", "is not an intact picture"), (None, "is missing")])
def test_a_picture_that_breaks_after_the_plan_is_an_error_with_its_id(
    tmp_path: Path, held: bytes | None, said: str
) -> None:
    raw = make_release(tmp_path / "raw", twins=False)
    one = job(raw, tmp_path)
    path = raw / "images" / "2" / "object1.png"
    path.unlink() if held is None else path.write_bytes(held)
    with pytest.raises(PictureError, match=rf"^train/2: picture 'images/2/object1\.png' {said}"):
        write(one)
    assert not (tmp_path / "data" / one.shard.name).exists()
    assert list((tmp_path / "notes").iterdir()) == []


# Written again or not


def spoil_key(file: Path, note: Path) -> None:
    note.write_text(json.dumps(json.loads(note.read_text("utf-8")) | {"key": "0" * 64}), "utf-8")


def spoil_file(file: Path, note: Path) -> None:
    held = bytearray(file.read_bytes())
    held[len(held) // 2] ^= 1
    file.write_bytes(held)


SPOILT: dict[str, Callable[[Path, Path], object]] = {
    "note of other rows": spoil_key,
    "note cut": lambda file, note: note.write_bytes(note.read_bytes()[:-9]),
    "note empty": lambda file, note: note.write_bytes(b""),
    "note no UTF-8": lambda file, note: note.write_bytes(b"\xff\xff"),
    "note a list": lambda file, note: note.write_text("[1]"),
    "note null": lambda file, note: note.write_text("null"),
    "note of too little": lambda file, note: note.write_text('{"key": "0"}'),
    "note of too much": lambda file, note: note.write_text(note.read_text()[:-1] + ', "more": 1}'),
    "note gone": lambda file, note: note.unlink(),
    "file changed": spoil_file,
    "file cut": lambda file, note: file.write_bytes(file.read_bytes()[:-9]),
    "file gone": lambda file, note: file.unlink(),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_a_shard_is_written_again_where_it_or_its_note_is_not_what_it_was(
    tmp_path: Path, spoil: Callable[[Path, Path], object]
) -> None:
    one = job(make_release(tmp_path / "raw"), tmp_path)
    file, note = tmp_path / "data" / one.shard.name, tmp_path / "notes" / f"{one.shard.name}.json"
    first, held = write(one), file.read_bytes()
    number = file.stat().st_ino
    assert write(one) == first
    assert file.stat().st_ino == number  # intact, it is left alone
    spoil(file, note)
    assert write(one) == first
    assert file.read_bytes() == held
    written = (file.stat().st_mtime_ns, note.stat().st_mtime_ns)
    assert write(one) == first
    assert (file.stat().st_mtime_ns, note.stat().st_mtime_ns) == written  # and from now on again
