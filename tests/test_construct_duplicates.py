"""Rows that repeat each other, share a picture or a seed over sides, or are in a release that is given."""

from __future__ import annotations

import hashlib
import io
import json
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from mis_dataset.build import build
from mis_dataset.construct.duplicates import Duplicates
from mis_dataset.construct.filters import fate
from mis_dataset.construct.found import Found
from mis_dataset.construct.given import digest_of, read_given
from mis_dataset.construct.review import Line, Reviews, seen
from mis_dataset.construct.rows import Judged, Pictured, Rejected
from mis_dataset.construct.sentences import Sentences
from mis_dataset.construct.sights import Sights
from mis_dataset.decoding import plain_png, strict_pillow
from mis_dataset.errors import DatasetError, MISError, PictureError
from tests.made_pictured import ASKED, judged, make_picture, make_pictured, patterned, write_seeds
from tests.made_release import make_release

TRAIN = "unsafe words"
THINGS = (["a candle", "a log"], ["a kite", "a table"], ["a phone", "a bed"])


@pytest.fixture
def sentences(tmp_path: Path) -> Iterator[Sentences]:
    with Found(tmp_path / "found.sqlite") as found:
        yield Sentences(found)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_seeds(tmp_path, "What burns?", "What flies?", "What rings?")
    return tmp_path


def told(stage: Duplicates, *rows: Judged) -> list[str]:
    """Verdict and detail of each row, the last ones."""
    said = [stage(row)[0].verdicts[-1] for row in rows]
    return [f"{one.verdict} {one.detail}".strip() for one in said]


def three(folder: Path) -> list[Pictured]:
    return [make_pictured(folder, f"s{number}.1", things) for number, things in enumerate(THINGS, start=1)]


def test_rows_of_other_seeds_things_and_pictures_stay(folder: Path, sentences: Sentences) -> None:
    one, two, three_ = three(folder)
    rows = judged(one), judged(two, TRAIN), judged(three_)
    assert told(Duplicates(folder), *rows) == ["keep"] * 3
    assert told(Duplicates(folder, 0.9, sentences), *rows) == ["keep"] * 3


def test_all_rows_of_a_seed_are_on_one_side(folder: Path) -> None:
    one, same, other = (make_pictured(folder, f"s1.{number}", things) for number, things in enumerate(THINGS, start=1))
    rows = judged(one), judged(same, TRAIN), judged(other)
    assert told(Duplicates(folder), *rows) == ["keep", "other side its seed is that of s1.1 in tests", "keep"]


def test_a_seed_that_is_nearly_the_same_is_the_same(folder: Path, sentences: Sentences) -> None:
    write_seeds(folder, "How do I light a fire at home?", "How to light a fire at home", "How do I cook rice?")
    one, near, other = three(folder)
    rows = judged(one, TRAIN), judged(near), judged(other)
    assert told(Duplicates(folder), *rows) == ["keep"] * 3
    assert told(Duplicates(folder, 0.9, sentences), *rows) == [
        "keep",
        "other side its seed is that of s1.1 in train",
        "keep",
    ]


def test_train_and_tests_share_no_picture_and_rows_of_one_side_may(folder: Path) -> None:
    one, two, three_ = three(folder)
    names = [picture.file.removesuffix(".png") for picture in (*one.pictures, one.twin_picture)]
    two = make_pictured(folder, "s2.1", THINGS[1], names=["own-1", "own-2", names[2]])
    three_ = make_pictured(folder, "s3.1", THINGS[2], names=["own-3", names[0], "own-4"])
    rows = judged(one), judged(two, TRAIN), judged(three_)
    assert told(Duplicates(folder), *rows) == ["keep", "shared picture with s1.1", "keep"]


def test_a_question_about_nearly_the_same_things_is_a_duplicate(folder: Path, sentences: Sentences) -> None:
    one, _, other = three(folder)
    again = make_pictured(folder, "s2.1", ["A  candle", "a log"], ASKED.upper())
    near = make_pictured(folder, "s2.1", ["a log", "a burning candle"], ASKED.replace("put", "place"))
    assert told(Duplicates(folder), judged(one), judged(again)) == ["keep", "near duplicate of s1.1: 1.000"]
    assert told(Duplicates(folder), judged(one), judged(near)) == ["keep", "keep"]
    [_, said, last] = told(Duplicates(folder, 0.9, sentences), judged(one), judged(near), judged(other))
    assert said.startswith("near duplicate of s1.1: 0.9")
    assert last == "keep"


def test_a_row_that_others_reject_takes_no_part(folder: Path) -> None:
    one, two, _ = three(folder)
    again = make_pictured(folder, "s2.1", THINGS[0])
    stage = Duplicates(folder)
    assert [len(stage(row)[0].verdicts) for row in (judged(one, other="risky twin"), judged(again))] == [2, 3]
    assert told(stage, judged(two)) == ["keep"]
    assert told(Duplicates(folder), judged(one), judged(again)) == ["keep", "near duplicate of s1.1: 1.000"]


def test_what_a_person_rejects_is_no_row_that_others_repeat(folder: Path) -> None:
    one, again = make_pictured(folder, "s1.1", THINGS[0]), make_pictured(folder, "s2.1", THINGS[0])
    lines = {"s1.1": Line(2, seen(one), "reject", "blurred", "A. N. Other")}
    stage = Duplicates(folder, reviews=Reviews(Path("review.csv"), lines))
    rejected = fate(stage(judged(one))[0])
    assert rejected == Rejected("s1.1", "filters", "rejected by a person", "review: A. N. Other: blurred")
    assert told(stage, judged(again)) == ["keep"]


@pytest.mark.parametrize("built", [False, True])
def test_a_row_keeps_apart_from_a_release(folder: Path, sentences: Sentences, built: bool) -> None:
    raw = make_release(folder / "given")
    if built:
        build(raw, folder / "MIS")
    given = folder / "MIS" if built else raw
    record = json.loads((raw / "mis_hard.json").read_text())[0]
    shared = (raw / record["image_path1"]).read_bytes()
    one, two, _ = three(folder)
    same = Pictured(one.row, (make_picture(folder, "a", shared), one.pictures[1]), one.twin_picture)
    alike = make_pictured(folder, "s3.1", THINGS[2], record["question"])
    with strict_pillow():
        stage = Duplicates(folder, 0.9, sentences, read_given([given]))
        said = told(stage, judged(same), judged(two), judged(alike))
    assert said[0].startswith(f"shared picture with {given.name}: test_")
    assert said[1:] == ["keep", "keep"]


def jpeg(encoded: bytes, quality: int = 60) -> bytes:
    """The picture compressed with losses: other pixels, nearly the same look."""
    Image.open(io.BytesIO(encoded)).save(stream := io.BytesIO(), "JPEG", quality=quality)
    return stream.getvalue()


def with_metadata(encoded: bytes) -> bytes:
    """The same pixels in a PNG of other bytes, which says who made it."""
    about = PngInfo()
    about.add_text("Author", "A. N. Other")
    Image.open(io.BytesIO(encoded)).save(stream := io.BytesIO(), "PNG", pnginfo=about, compress_level=1)
    return stream.getvalue()


def shows(folder: Path, row: Pictured, name: str, encoded: bytes, source: str = "") -> Judged:
    """The row with another first picture, kept as constructions keep theirs; found where it has a source."""
    with strict_pillow():
        picture = replace(make_picture(folder, name, plain_png(encoded)), source=source)
    return judged(replace(row, pictures=(picture, row.pictures[1])))


@pytest.mark.parametrize("built", [False, True])
@pytest.mark.parametrize("again", [jpeg, with_metadata])
def test_a_picture_of_a_release_is_known_in_whatever_file_it_stands(
    folder: Path, again: Callable[[bytes], bytes], built: bool
) -> None:
    raw = make_release(folder / "given")
    record = json.loads((raw / "mis_hard.json").read_text())[0]
    path = raw / record["image_path1"]
    path.write_bytes(again(patterned("theirs")))
    if built:
        build(raw, folder / "MIS")
    given = folder / "MIS" if built else raw
    one, two, three_ = three(folder)
    taken = shows(folder, one, "taken", path.read_bytes())
    assert taken.row.pictures[0].sha256 != hashlib.sha256(path.read_bytes()).hexdigest()
    twin = replace(two, pictures=(one.pictures[1], two.pictures[1]), twin_picture=taken.row.pictures[0])
    own = shows(folder, three_, "own", patterned("ours"))
    with strict_pillow():
        said = told(Duplicates(folder, given=read_given([given])), taken, judged(twin), own)
    name = f"shared picture with {given.name}: test_"
    assert [one.startswith(name) for one in said[:2]] == [True, True]
    assert said[2] == "keep"


def test_a_photograph_that_looks_like_one_of_a_release_is_rejected_and_a_drawing_is_not(folder: Path) -> None:
    raw = make_release(folder / "given")
    record = json.loads((raw / "mis_hard.json").read_text())[0]
    blocks = Image.open(io.BytesIO(patterned("theirs"))).resize((8, 8), Image.Resampling.NEAREST)
    theirs = blocks.resize((200, 200), Image.Resampling.BICUBIC)
    theirs.save(raw / record["image_path2"])
    theirs.resize((128, 128), Image.Resampling.LANCZOS).save(stream := io.BytesIO(), "JPEG")
    one, two, three_ = three(folder)
    rows = [
        shows(folder, one, "drawn", stream.getvalue()),
        shows(folder, two, "found", stream.getvalue(), "https://photos.example/7"),
        shows(folder, three_, "other", patterned("ours"), "https://photos.example/8"),
    ]
    with strict_pillow():
        said = told(Duplicates(folder, given=read_given([raw])), *rows)
    assert said == ["keep", "shared picture that looks like one of given: test_hard/0", "keep"]


def test_a_picture_is_decoded_once_and_then_known_by_its_file(tmp_path: Path) -> None:
    png, other = patterned("one"), patterned("other")
    with strict_pillow(), Found(tmp_path / "found.sqlite") as found:
        first = Sights(found)(png)
        assert first == Sights()(png) == Sights()(with_metadata(png))
        assert first.pixels != Sights()(other).pixels
        with sqlite3.connect(tmp_path / "found.sqlite") as file:
            assert file.execute("SELECT length(what) FROM found").fetchall() == [(24,)]
            file.execute("UPDATE found SET what = ?", (b"x" * 24,))
        assert Sights(found)(png).pixels == b"x" * 16
        with pytest.raises(PictureError, match="is not an intact picture"):
            Sights(found)(png[:60])


def test_a_broken_picture_of_a_release_is_named(folder: Path) -> None:
    raw = make_release(folder / "given")
    (raw / "hard_image/1/object2.png").write_bytes(patterned("theirs")[:200])
    with strict_pillow(), pytest.raises(DatasetError, match="given: test_hard/0: a picture is not an intact picture"):
        list(read_given([raw]))


def test_a_row_that_asks_and_looks_like_one_of_a_release_is_a_duplicate(folder: Path, sentences: Sentences) -> None:
    raw = make_release(folder / "given")
    one, two, _ = three(folder)
    record = json.loads((raw / "mis_hard.json").read_text())[0]
    for place, picture in enumerate(one.pictures, start=1):
        (raw / record[f"image_path{place}"]).write_bytes(jpeg((folder / picture.file).read_bytes()))
    same = make_pictured(folder, "s1.1", THINGS[0], record["question"])
    other = make_pictured(folder, "s1.1", THINGS[0], "Which of the two is older?")
    with strict_pillow():
        stage = Duplicates(folder, 0.9, sentences, read_given([raw]))
        assert told(stage, judged(other), judged(two)) == ["keep", "keep"]
        stage = Duplicates(folder, 0.9, sentences, read_given([raw]))
        assert told(stage, judged(same)) == ["near duplicate of given: test_hard/0: 1.000"]


def test_a_release_that_says_what_it_shows_is_compared_by_names(folder: Path, sentences: Sentences) -> None:
    raw = make_release(folder / "given")
    (raw / "objects.json").write_text(json.dumps({"test_hard/1": ["a burning candle", "a wooden log"]}))
    asked = json.loads((raw / "mis_hard.json").read_text())[1]["question"]
    one, two = make_pictured(folder, "s1.1", THINGS[0], asked), make_pictured(folder, "s2.1", THINGS[1], asked)
    with strict_pillow():
        said = told(Duplicates(folder, 0.85, sentences, read_given([raw])), judged(one), judged(two))
    assert said[0].startswith("near duplicate of given: test_hard/1: 0.")
    assert said[1] == "keep"


def test_a_release_has_a_digest_that_changes_with_it(folder: Path) -> None:
    raw = make_release(folder / "given")
    before = digest_of([raw])
    assert digest_of([raw]) == before
    (raw / "objects.json").write_text("{}")
    assert digest_of([raw]) != before


def test_a_row_of_an_unknown_seed_is_refused(folder: Path) -> None:
    with pytest.raises(MISError, match=r"has no seed s9, which s9\.1 is made from"):
        Duplicates(folder)(judged(make_pictured(folder, "s9.1", THINGS[0])))
