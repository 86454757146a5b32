"""What probes show: which pictures are black, swapped or of another row; nothing is read before it is wanted."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from mis_dataset.build import build
from mis_dataset.errors import MISError
from tests.made_release import change, make_release, png
from tests.tiny import Tiny
from trainer.benchmark import write
from trainer.benchmarks import benchmark_of
from trainer.probes import PROBES, Picture, Probe, Shown, drawn
from trainer.prompts import read_prompts
from trainer.training.rows import read_split


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hard rows of four colours; the second has a twin whose second picture is its row's."""
    root = tmp_path_factory.mktemp("probes")
    build(make_release(root / "raw"), root / "MIS")
    return root / "MIS"


def pictures(dataset: Path, probe: Probe, split: str = "test_hard") -> list[list[bytes]]:
    return [[each.read() for each in one.pictures] for one in read_prompts(dataset, [split], probe)]


def is_black(encoded: bytes) -> bool:
    with Image.open(io.BytesIO(encoded)) as picture:
        return picture.getbbox() is None


@pytest.mark.parametrize(
    ("probe", "black"),
    [
        ("own", [False, False]),
        ("both_black", [True, True]),
        ("first_black", [True, False]),
        ("second_black", [False, True]),
    ],
)
def test_black_pictures_have_the_size_of_what_they_replace(made: Path, probe: Probe, black: list[bool]) -> None:
    for shown, own in zip(pictures(made, probe), pictures(made, "own"), strict=True):
        assert [is_black(one) for one in shown] == black
        assert [one == other for one, other in zip(shown, own, strict=True)] == [not place for place in black]
        assert [Image.open(io.BytesIO(one)).size for one in shown] == [(8, 8), (8, 8)]


def test_swapped_shows_the_second_picture_first(made: Path) -> None:
    own = pictures(made, "own")
    assert own[0][0] != own[0][1]
    assert pictures(made, "swapped") == [pair[::-1] for pair in own]


@pytest.fixture(scope="module", params=[1, 2, 3, 4])
def many(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A benchmark of three rows, each with so many pictures, all different."""
    count = request.param
    folder = tmp_path_factory.mktemp("many")
    here = folder / "here"
    here.mkdir()
    rows = []
    for number in range(3):
        names = [f"{number}-{place}.png" for place in range(count)]
        for place, name in enumerate(names):
            (here / name).write_bytes(png(40 * number + place))
        rows.append({"question": f"How do I greet her, way {number}?", "image": names})
    (here / "rows.json").write_text(json.dumps(rows))
    write(replace(benchmark_of("mossbench"), configs=(), files="rows.json", n=3), folder / "B", here)
    return folder / "B", count


@pytest.mark.parametrize(
    ("probe", "black"), [("both_black", "1111"), ("first_black", "1000"), ("second_black", "0100")]
)
def test_black_is_what_it_says_of_one_to_four_pictures(many: tuple[Path, int], probe: Probe, black: str) -> None:
    dataset, count = many
    if count == 1 and probe == "second_black":
        with pytest.raises(MISError, match=r"B: mossbench/0 has one picture, so second_black would show it as it is"):
            pictures(dataset, probe, "mossbench")
        return
    for shown in pictures(dataset, probe, "mossbench"):
        assert [is_black(one) for one in shown] == [place == "1" for place in black[:count]]


def test_no_probe_shows_the_row_itself_whatever_number_of_pictures_it_has(many: tuple[Path, int]) -> None:
    dataset, count = many
    own = pictures(dataset, "own", "mossbench")
    assert [len(row) for row in own] == [count] * 3
    refused = set()
    for probe in PROBES[1:]:
        try:
            shown = pictures(dataset, probe, "mossbench")
        except MISError:
            refused.add(probe)
            continue
        assert all(one != other for one, other in zip(shown, own, strict=True))
    # None has a twin.
    assert refused == {"black"} | ({"second_black", "swapped"} if count == 1 else set())


def test_swapped_is_the_reverse_order_of_three_and_four_pictures(many: tuple[Path, int]) -> None:
    dataset, count = many
    if count == 1:
        with pytest.raises(
            MISError, match=r"mossbench/0 has one picture, so swapped .* take both_black, other or none"
        ):
            pictures(dataset, "swapped", "mossbench")
    else:
        own = pictures(dataset, "own", "mossbench")
        assert pictures(dataset, "swapped", "mossbench") == [row[::-1] for row in own]


def test_other_shows_both_pictures_of_another_row_in_their_order(made: Path) -> None:
    assert pictures(made, "other") == pictures(made, "own")[::-1]


def test_other_shows_no_picture_of_the_row_itself(tiny: Tiny) -> None:
    for split in ("test_hard", "test_benign"):
        for shown, own in zip(
            pictures(tiny.dataset, "other", split), pictures(tiny.dataset, "own", split), strict=True
        ):
            assert not set(shown) & set(own)


def test_a_split_without_other_pictures_cannot_show_any(tmp_path: Path) -> None:
    raw = make_release(tmp_path / "raw", twins=False)
    for number in (1, 2):
        first = raw / "hard_image" / "1" / f"object{number}.png"
        (raw / "hard_image" / "2" / f"object{number}.png").write_bytes(first.read_bytes())
    build(raw, tmp_path / "MIS")
    with pytest.raises(MISError, match=r"MIS: test_hard/0: no row of its split has other pictures"):
        pictures(tmp_path / "MIS", "other")


def test_black_without_a_twin_is_an_error_that_says_what_to_take(made: Path) -> None:
    with pytest.raises(MISError, match=r"MIS: test_hard/1 has no twin, .* take first_black or second_black"):
        pictures(made, "black")


@pytest.mark.parametrize("split", ["test_easy", "test_hard"])
def test_black_leaves_the_picture_that_tells_a_row_from_its_twin(tiny: Tiny, split: str) -> None:
    only = None if split == "test_easy" else "hard"
    own, black = (
        {one.id: one for one in read_prompts(tiny.dataset, [split, "test_benign"], probe, only=only)}
        for probe in ("own", "black")
    )
    assert own.keys() == black.keys()
    twins = [twin for twin in read_split(tiny.dataset, "test_benign").to_list() if twin["twin_of"].startswith(split)]
    assert {twin["changed_image"] for twin in twins} == ({1} if split == "test_easy" else {2})
    for twin in twins:
        for id_ in (twin["id"], twin["twin_of"]):
            kept = twin["changed_image"] - 1
            assert black[id_].pictures[kept].read() == own[id_].pictures[kept].read()
            assert not is_black(own[id_].pictures[1 - kept].read())
            assert is_black(black[id_].pictures[1 - kept].read())


def of_many(raw: Path, count: int, changed: int) -> Path:
    """The release, hard 0 and its twin with so many pictures, all but one shared."""
    change(raw, "mis_hard.json", 0, **_paths("hard_image/1", count))
    change(raw, "mis_benign.json", 1, **_paths("benign_image/2", count), changed_image=changed)
    for number in range(1, count + 1):
        for folder, colour in (("hard_image/1", 100), ("benign_image/2", 200 if number == changed else 100)):
            (raw / folder / f"object{number}.png").write_bytes(png(colour + number))
    return raw


def _paths(folder: str, count: int) -> dict[str, str]:
    return {f"image_path{number}": f"{folder}/object{number}.png" for number in range(1, count + 1)}


@pytest.mark.parametrize(("count", "changed"), [(2, 1), (3, 1), (3, 3), (4, 4)])
def test_black_hides_all_that_a_row_and_its_twin_share(tmp_path: Path, count: int, changed: int) -> None:
    build(of_many(make_release(tmp_path / "raw"), count, changed), tmp_path / "MIS")
    row = next(read_prompts(tmp_path / "MIS", ["test_hard"], limit=1))
    assert len(row.pictures) == count
    for split, number in (("test_hard", 0), ("test_benign", 1)):
        id_ = f"{split}/{number}"
        shown = Shown(tmp_path / "MIS", split, "black").of(number, id_)
        assert [is_black(one.read()) for one in shown] == [place != changed for place in range(1, count + 1)]


def test_text_only_takes_both_pictures_away(tiny: Tiny) -> None:
    own, none = (next(read_prompts(tiny.dataset, ["test_easy"], probe)) for probe in ("own", "none"))
    assert (none.id, none.pictures, none.question) == ("test_easy/0", (), own.question)


def test_no_picture_is_read_before_it_is_wanted(made: Path) -> None:
    def fail() -> bytes:
        raise AssertionError("was read")

    assert repr(Picture("MIS: test_hard/0", fail)) == "Picture(where='MIS: test_hard/0')"
    for probe in PROBES:
        if probe != "black":
            assert len(list(read_prompts(made, ["test_hard"], probe))) == 2


def test_equal_files_are_told_apart_from_others_alone(made: Path) -> None:
    first, second = read_prompts(made, ["test_hard"])
    assert first.pictures[0].sha256() == next(read_prompts(made, ["test_hard"])).pictures[0].sha256()
    assert first.pictures[0].sha256() != second.pictures[0].sha256()
    assert drawn(first.pictures[0].image(), "x/0").image().tobytes() == first.pictures[0].image().tobytes()


def test_a_picture_is_decoded_as_datasets_does(made: Path) -> None:
    rows = read_split(made, "test_hard")
    shown = list(read_prompts(made, ["test_hard"]))
    assert [[each.image().tobytes() for each in one.pictures] for one in shown] == [
        [each.tobytes() for each in row["images"]] for row in rows
    ]
