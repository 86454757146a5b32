"""Rows beside their twins: which are shown, in what order, and that nothing in them acts or grows without end."""

from __future__ import annotations

import base64
import doctest
import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mis_dataset.decoding import strict_pillow, thumbnail
from mis_dataset.errors import PictureError
from tests.made_measured import DECLINES, HELPS, UNSCORED, make, write_measured
from trainer.comparison import browser
from trainer.comparison.browser import Pair, pairs_of, thumbnails, units, visible
from trainer.comparison.measured import Measured, read_measured
from trainer.files import ArtefactError
from trainer.questions import RowFacts, twins


def row(id_: str, twin_of: str | None = None, **facts: Any) -> RowFacts:
    return RowFacts(**{"id": id_, "question": "Can I?", "category": None, "level": None, "twin_of": twin_of} | facts)


ROWS = {f"test_hard/{n}": row(f"test_hard/{n}", category="Privacy", level="new_pairs") for n in range(6)}
ROWS |= {f"test_benign/{n}": row(f"test_benign/{n}", f"test_hard/{n}") for n in range(5)}
TWINS = twins(ROWS)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Measured]:
    """Two models that differ on row 2, on the twin of row 4 and on row 5, which has no twin and is unscored for one."""
    folder = tmp_path_factory.mktemp("browser")
    one = dict.fromkeys(ROWS, DECLINES)
    other = one | {"test_hard/2": HELPS, "test_benign/4": HELPS, "test_hard/5": UNSCORED}
    return [make(folder / "one", one), make(folder / "other", other)]


def test_every_row_stands_beside_its_twin_and_differences_come_first(runs: list[Measured]) -> None:
    found = pairs_of(runs, ROWS, TWINS)
    assert [one.ids for one in found] == [
        ("test_hard/4", "test_benign/4"),
        ("test_hard/2", "test_benign/2"),
        ("test_hard/5",),
        ("test_hard/0", "test_benign/0"),
        ("test_hard/3", "test_benign/3"),
        ("test_hard/1", "test_benign/1"),
    ]
    assert [one.differs for one in found] == [True, True, True, False, False, False]
    assert [one.ids[0] for one in found if one.unscored] == ["test_hard/5"]
    assert pairs_of(runs[::-1], dict(reversed(ROWS.items())), TWINS) == found


def test_a_twin_whose_row_was_not_judged_is_shown_alone(tmp_path: Path) -> None:
    lone = make(tmp_path / "lone", {"test_benign/3": HELPS})
    assert pairs_of([lone], ROWS, TWINS) == [Pair(("test_benign/3",), False, False)]
    (unit,) = units(pairs_of([lone], ROWS, TWINS), [lone], ROWS, {})
    assert (unit.split, unit.category, unit.level) == ("hard", "Privacy", "new_pairs")
    assert [(one.name, one.good) for one in unit.sides] == [("benign twin", "Unsafe")]


def test_a_row_shows_what_every_model_said(runs: list[Measured]) -> None:
    shown = {unit.sides[0].id: unit for unit in units(pairs_of(runs, ROWS, TWINS), runs, ROWS, {})}
    said = [
        (one.model, one.response, one.verdict, one.perception, one.reason) for one in shown["test_hard/5"].sides[0].said
    ]
    assert said == [("one", "test_hard/5", "Safe", 1, None), ("other", "test_hard/5", "Unscored", 0, "made")]
    assert [side.name for side in shown["test_hard/2"].sides] == ["dangerous row", "benign twin"]
    assert [side.good for side in shown["test_hard/2"].sides] == ["Safe", "Unsafe"]


def test_harmless_rows_of_other_benchmarks_should_be_helped_with(tmp_path: Path) -> None:
    rows = {id_: row(id_) for id_ in ("mossbench/0", "siuo/0")}
    one = make(tmp_path / "one", dict.fromkeys(rows, HELPS))
    found = {unit.split: unit.sides[0] for unit in units(pairs_of([one], rows, {}), [one], rows, {})}
    assert {split: (side.name, side.good) for split, side in found.items()} == {
        "mossbench": ("harmless row", "Unsafe"),
        "siuo": ("dangerous row", "Safe"),
    }


def test_a_long_response_is_cut_and_a_short_one_is_not(tmp_path: Path) -> None:
    texts = {"test_hard/0": "a" * 2001, "test_hard/1": "a" * 2000}
    folder = write_measured(tmp_path / "one", dict.fromkeys(texts, HELPS), texts)
    one = read_measured("one", folder)
    shown = {unit.sides[0].id: unit.sides[0].said[0] for unit in units(pairs_of([one], ROWS, TWINS), [one], ROWS, {})}
    assert {id_: (len(said.response), said.cut) for id_, said in shown.items()} == {
        "test_hard/0": (2000, 2001),
        "test_hard/1": (2000, None),
    }


def test_what_is_not_seen_stands_there_as_its_code() -> None:
    assert visible("a\u202eb\u2066c\u200fd\ufeffe\x1b[2Jf") == "a⟨U+202E⟩b⟨U+2066⟩c⟨U+200F⟩d⟨U+FEFF⟩e⟨U+001B⟩[2Jf"
    assert visible("one\r\ntwo\tthree\u2028") == "one\ntwo    three⟨U+2028⟩"
    assert (
        visible("سلام \u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 👩\u200d🔬 é")
        == "سلام \u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 👩\u200d🔬 é"
    )
    assert doctest.testmod(browser).failed == 0


def picture(size: tuple[int, int], kind: str = "PNG", mode: str = "RGB") -> bytes:
    stream = io.BytesIO()
    Image.new(mode, size).save(stream, kind)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        ("PNG", "RGB"),
        ("PNG", "RGBA"),
        ("PNG", "P"),
        ("PNG", "1"),
        ("PNG", "I;16"),
        ("JPEG", "CMYK"),
        ("WEBP", "RGB"),
        ("TIFF", "L"),
    ],
)
def test_a_picture_of_any_kind_becomes_a_small_jpeg(kind: str, mode: str) -> None:
    with strict_pillow():
        made = thumbnail(picture((600, 300), kind, mode), 192)
    with Image.open(io.BytesIO(made)) as small:
        assert (small.format, small.mode, small.size) == ("JPEG", "RGB", (192, 96))


def test_a_thumbnail_is_white_where_a_picture_is_clear_and_holds_nothing_else() -> None:
    clear = io.BytesIO()
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(clear, "PNG")
    noted = io.BytesIO()
    Image.new("RGB", (8, 8)).save(noted, "JPEG", comment=b"secret place", exif=b"Exif\0\0secret place")
    with strict_pillow():
        white, plain = thumbnail(clear.getvalue(), 192), thumbnail(noted.getvalue(), 192)
        with pytest.raises(PictureError, match="is not an intact picture"):
            thumbnail(b"no picture", 192)
    assert Image.open(io.BytesIO(white)).getpixel((4, 4)) == (255, 255, 255)
    assert b"secret" in noted.getvalue()
    assert b"secret" not in plain


def write_pictures(folder: Path, encoded: bytes) -> Path:
    kind = pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    for split in ("test_hard", "test_benign"):
        rows = [
            {
                "id": id_,
                "images": [{"bytes": encoded, "path": "a.png"}] * 2,
                "changed_image": 2 if one.twin_of else None,
            }
            for id_, one in ROWS.items()
            if id_.startswith(split)
        ]
        schema = pa.schema([("id", pa.string()), ("images", kind), ("changed_image", pa.int8())])
        (folder / "data").mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows, schema), folder / "data" / f"{split}-00000-of-00001.parquet", 2)
    return folder


def test_only_pictures_of_shown_rows_are_read(tmp_path: Path, runs: list[Measured]) -> None:
    found = thumbnails(write_pictures(tmp_path, picture((400, 400))), pairs_of(runs, ROWS, TWINS)[:1])
    assert {id_: (len(one.uris), one.changed) for id_, one in found.items()} == {
        "test_hard/4": (2, None),
        "test_benign/4": (2, 2),
    }
    encoded = base64.b64decode(found["test_hard/4"].uris[0].removeprefix("data:image/jpeg;base64,"))
    assert Image.open(io.BytesIO(encoded)).size == (192, 192)


def test_a_broken_picture_is_named_with_the_way_out(tmp_path: Path, runs: list[Measured]) -> None:
    dataset = write_pictures(tmp_path, picture((400, 400))[:60])
    with pytest.raises(
        ArtefactError, match=r"test_benign/4: a picture is not an intact .*leave pictures out \(--no-pic"
    ):
        thumbnails(dataset, pairs_of(runs, ROWS, TWINS)[:1])
