"""Photographs in a column of a dataset are found by what they show; what has no picture is left out and counted."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mis_dataset.construct.config import read_config
from mis_dataset.construct.drawers import Given, Nothing
from mis_dataset.construct.photo_sets import PhotoSet
from mis_dataset.construct.photographs import ABOUT, PhotographDrawer
from mis_dataset.decoding import strict_pillow
from mis_dataset.errors import DatasetError, MISError, UsageError
from tests.test_construct_config import WHOLE, written
from tests.test_construct_diffusion import DRAWING
from tests.test_construct_hub_seeds import encoded, parquet
from tests.test_construct_photographs import WANTED, Colours

RED, GREEN, BLUE = (encoded(shade, "PNG") for shade in ("#fa0a0a", "#0afa0a", "#0a0afa"))


@pytest.fixture(autouse=True)
def _strict() -> Iterator[None]:
    with strict_pillow():
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A dataset of four rows, the last of which shows what the first does."""
    return parquet(
        tmp_path / "photos" / "train-0.parquet",
        photo=[RED, GREEN, BLUE, RED],
        terms=["CC-BY-4.0", None, "CC0-1.0\x1b", "unread"],
        url=["https://photos.example/red", "", None, "unread"],
        caption=["secret words"] * 4,
    )


def drawer(folder: Path, embedder: Colours | None = None, **settings: str) -> PhotographDrawer:
    told = {"image": "photo"} | settings
    return PhotographDrawer(PhotoSet("colours", str(folder), **told), folder.parent / "out", embedder or Colours())


def bare(path: Path, *rows: Any) -> Path:
    """A dataset whose file does not say that its column is one of pictures."""
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    path.mkdir()
    pq.write_table(pa.table({"photo": pa.array(list(rows), kind)}), path / "train.parquet")
    return path


def test_rounds_go_from_the_nearest_on_and_say_row_and_licence(folder: Path) -> None:
    with drawer(folder, licence="MIT", licence_column="terms", source_column="url") as opened:
        red = opened.draw(WANTED)
        green, blue = (opened.draw(WANTED._replace(thing=thing)) for thing in ("green", "blue"))
        none = opened.draw(WANTED._replace(round=4))
    assert red == Given(RED, "a photo of red", "colours@1", "CC-BY-4.0", "https://photos.example/red", 1.0)
    assert green == Given(GREEN, "a photo of green", "colours@1", "MIT", "photos@local:train:1", 1.0)
    assert blue == Given(BLUE, "a photo of blue", "colours@1", "CC0-1.0\\x1b", "photos@local:train:2", 1.0)
    assert none == Nothing("no picture", "the dataset has 3, round 4 wants another")  # equal bytes are one photograph
    told = json.loads((folder.parent / "out" / ABOUT).read_text())
    assert told == {"commit": "local", "rows": 4, "pictures": 3, "left_out": 0}


def test_without_columns_a_licence_is_not_known_and_the_source_is_the_row(folder: Path) -> None:
    with drawer(folder) as opened:
        red = opened.draw(WANTED)
    assert isinstance(red, Given)
    assert (red.licence, red.source) == ("", "photos@local:train:0")


def test_a_picture_is_embedded_once_and_a_dataset_that_changed_is_another(folder: Path) -> None:
    with drawer(folder, first := Colours()) as opened:
        before = opened.identity
    with drawer(folder, again := Colours()) as opened:
        assert opened.identity == before
    with drawer(folder, licence="MIT") as opened:
        assert opened.identity != before
    parquet(folder / "train-1.parquet", photo=[encoded("black")], terms=[""], url=[""], caption=["secret words"])
    with drawer(folder, more := Colours()) as opened:
        assert opened.identity != before
    assert (first.seen, again.seen, more.seen) == (3, 0, 1)


def test_rows_without_a_readable_picture_are_left_out_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outside = tmp_path / "outside.png"
    outside.write_bytes(BLUE)
    cut, wrong = {"bytes": GREEN[:50], "path": None}, {"bytes": b"<html>", "path": "a.png"}
    ways_out = [{"bytes": None, "path": path} for path in (str(outside), "../outside.png", "/dev/zero")]
    rows = [None, {"bytes": RED, "path": None}, {"bytes": b"", "path": None}, cut, wrong, cut, *ways_out]
    folder = bare(tmp_path / "photos", *rows)
    for _ in range(2):  # the second time from the index
        with drawer(folder) as opened:
            assert isinstance(opened.draw(WANTED), Given)
            assert isinstance(opened.draw(WANTED._replace(round=2)), Nothing)
        assert capsys.readouterr().err.splitlines() == [
            f"{folder}: split 'train': 8 of 9 rows have no picture that can be read and are left out; "
            "the first: photos@local:train:0: has no picture"
        ]
    told = json.loads((tmp_path / "out" / ABOUT).read_text())
    assert told == {"commit": "local", "rows": 9, "pictures": 1, "left_out": 8}


def test_a_dataset_without_any_picture_is_an_error_that_shows_the_first_fault(tmp_path: Path) -> None:
    (tmp_path / "outside.png").write_bytes(RED)
    for name, row, fault in (
        ("out", {"bytes": None, "path": "../outside.png"}, r"picture '\.\./outside\.png' is no file in the"),
        ("cut", {"bytes": RED[:50], "path": None}, r"cut@local:train:0: picture is not an intact picture"),
        ("null", None, r"null@local:train:0: has no picture"),
    ):
        with pytest.raises(DatasetError, match=rf"none of its 1 rows has a picture that can be read; .*{fault}"):
            drawer(bare(tmp_path / name, row)).__enter__()
    with pytest.raises(DatasetError, match="corresponds to no data"):
        drawer(tmp_path / "null", split="train[:0]").__enter__()


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"image": "picture"}, r"split 'train' has no column 'picture'; it has photo, terms, url, caption"),
        ({"licence_column": "licence"}, r"split 'train' has no column 'licence'"),
        ({"source_column": "source"}, r"split 'train' has no column 'source'"),
        ({"image": "caption"}, r"column 'caption' is .*, not of pictures; name another"),
        ({"source_column": "photo"}, r"column 'photo' is .*, not of texts; name another"),
        ({"split": "test"}, r"photos: cannot be read: ValueError"),
        ({"config": "large"}, r"photos: cannot be read: ValueError"),
        ({"files": "*.csv"}, r"photos: cannot be read: "),
    ],
)
def test_what_is_not_there_is_one_clear_error(folder: Path, changes: dict[str, str], fault: str) -> None:
    with pytest.raises(MISError, match=fault) as refused:
        drawer(folder, None, **changes).__enter__()
    assert "secret words" not in str(refused.value)


def test_a_dataset_that_is_nowhere_or_whose_rows_lie_elsewhere_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing: is neither a folder nor OWNER/NAME of a dataset"):
        drawer(Path("nothing")).__enter__()
    (tmp_path / "card").mkdir()
    card = "---\nconfigs:\n- config_name: default\n  data_files: ../photos/train-0.parquet\n---\n"
    (tmp_path / "card" / "README.md").write_text(card)
    with pytest.raises(DatasetError, match="are in no file of its own folder"):
        drawer(tmp_path / "card").__enter__()


def test_files_that_stand_in_a_folder_are_read_when_wanted_and_a_change_ends_the_run(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, picture in (("red.png", RED), ("blue.png", BLUE)):
        (folder / name).write_bytes(picture)
    lines = [{"file_name": "red.png", "licence": "CC0-1.0"}, {"file_name": "blue.png", "licence": None}]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with drawer(folder, image="image", licence_column="licence") as opened:
        red = opened.draw(WANTED)
        assert isinstance(red, Given)
        assert (red.picture, red.licence) == (RED, "CC0-1.0")
        (folder / "red.png").write_bytes(BLUE)
        with pytest.raises(MISError, match=r"photos@local:train:\d: was changed during the run; run it again"):
            opened.draw(WANTED)
        (folder / "red.png").unlink()
        with pytest.raises(MISError, match=r"photos@local:train:\d: picture .* is no file"):
            opened.draw(WANTED)


def test_pictures_of_several_files_and_splits_are_named_by_their_row(folder: Path) -> None:
    parquet(folder / "more" / "test-0.parquet", photo=[RED])
    shutil.move(folder / "more" / "test-0.parquet", folder / "test-0.parquet")
    (folder / "train-0.parquet").unlink()
    parquet(folder / "train-0.parquet", photo=[GREEN, RED])
    with drawer(folder, split="test") as opened:
        one = opened.draw(WANTED)
    with drawer(folder, files="train-*.parquet") as opened:
        other = opened.draw(WANTED)
    assert isinstance(one, Given)
    assert isinstance(other, Given)
    assert (one.source, other.source) == ("photos@local:test:0", "photos@local:train:1")


def test_the_settings_of_a_dataset_are_read_and_folders_stand_beside_them(tmp_path: Path) -> None:
    for name in ("clip", "photos"):
        (tmp_path / name).mkdir()
    own = "{engine: dataset, model: clip, hub: photos, image: photo, licence: MIT, hub_revision: main}"
    read = read_config(written(tmp_path, WHOLE.replace(DRAWING, own))).drawing
    clip, photos = str(tmp_path / "clip"), str(tmp_path / "photos")
    assert read == PhotoSet(clip, photos, "photo", licence="MIT", hub_revision="main")
    own = "{engine: dataset, model: OWNER/clip, hub: OWNER/NAME}"
    read = read_config(written(tmp_path, WHOLE.replace(DRAWING, own))).drawing
    assert read == PhotoSet("OWNER/clip", "OWNER/NAME", "image", "train")


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ("{engine: dataset, model: a/b}", "drawing: .*missing 1 required positional argument: 'hub'"),
        ("{engine: dataset, model: a/b, hub: ''}", "drawing: hub is empty"),
        ("{engine: dataset, model: a/b, hub: c/d, split: ''}", "drawing: split is empty"),
        ("{engine: dataset, model: a/b, hub: c/d, image: 7}", "drawing: image is no text"),
        ("{engine: dataset, model: a/b, hub: c/d, files: ../x}", "drawing: files: path .* leaves the release"),
        ("{engine: dataset, model: a/b, hub: c/d, folder: x}", "drawing: folder is no setting of the engine dataset"),
    ],
)
def test_a_setting_that_cannot_be_is_named(tmp_path: Path, settings: str, fault: str) -> None:
    with pytest.raises(MISError, match=fault):
        read_config(written(tmp_path, WHOLE.replace(DRAWING, settings)))


def test_the_name_of_a_picture_is_that_of_its_bytes(folder: Path) -> None:
    with PhotoSet("colours", str(folder), "photo").shelf() as shelf:
        listed = shelf.listed()
        assert [one.sha256 for one in listed] == [hashlib.sha256(one).hexdigest() for one in (RED, GREEN, BLUE)]
        assert [shelf.read(one.name) for one in listed] == [RED, GREEN, BLUE]
