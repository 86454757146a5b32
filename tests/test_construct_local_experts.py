"""Experts that run here: what they are set to, what they say of measures, and that nothing is measured twice."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mis_dataset.construct.config import read_config
from mis_dataset.construct.filters import fate
from mis_dataset.construct.found import Found
from mis_dataset.construct.local_experts import Gauge, Local, gauges
from mis_dataset.construct.rows import Judged, Pictured, Rejected, Verdict
from mis_dataset.errors import MISError, PictureError, UsageError
from tests.made_pictured import SUB, make_pictured
from tests.test_construct_config import WHOLE, written


@pytest.fixture
def found(tmp_path: Path) -> Iterator[Found]:
    with Found(tmp_path / "found.sqlite") as opened:
        yield opened


@pytest.fixture
def row(tmp_path: Path) -> Pictured:
    return make_pictured(tmp_path, "s1.1", ["a candle", "a log"])


class Scale:
    """Measures the pictures of a row as it is told, and counts."""

    def __init__(self, folder: Path, **measures: float) -> None:
        self.count = 0
        self._known = {(folder / f"s1.1-{name[1:]}.png").read_bytes(): one for name, one in measures.items()}

    def __call__(self, encoded: bytes) -> float:
        self.count += 1
        return self._known[encoded]


@pytest.mark.parametrize(
    ("measures", "verdict"),
    [
        ((0.1, 0.8, 0.2), Verdict("nsfw", "keep", "picture 2: 0.8")),
        ((0.91234, 0.1, 0.2), Verdict("nsfw", "erotic picture", "picture 1: 0.9123")),
        ((0.1, 0.1, 0.81), Verdict("nsfw", "erotic picture", "twin: 0.81")),
    ],
)
def test_the_picture_that_has_most_decides_and_the_twin_counts(
    tmp_path: Path, found: Found, row: Pictured, measures: tuple[float, ...], verdict: Verdict
) -> None:
    scale = Scale(tmp_path, **{f"p{place}": one for place, one in enumerate(measures)})
    told = Gauge("nsfw", "erotic picture", 0.8, "made 1", scale, tmp_path, found)(row)
    assert told == verdict
    where = fate(Judged(row, SUB, (told,)))
    assert where == "test_hard" if told.verdict == "keep" else isinstance(where, Rejected)


def test_a_picture_is_measured_once_for_a_version(tmp_path: Path, found: Found, row: Pictured) -> None:
    scale = Scale(tmp_path, p0=1, p1=2, p2=3)
    gauge = Gauge("letters", "text on a picture", 3, "made 1", scale, tmp_path, found)
    assert [gauge(row), replace(gauge, most=2)(row)] == [
        Verdict("letters", "keep", "twin: 3"),
        Verdict("letters", "text on a picture", "twin: 3"),
    ]
    assert scale.count == 3
    replace(gauge, by="made 2")(row)
    assert scale.count == 6


def test_a_picture_that_cannot_be_decoded_is_named(tmp_path: Path, found: Found, row: Pictured) -> None:
    def broken(_: bytes) -> float:
        raise OSError("truncated")

    with pytest.raises(PictureError, match=r"s1\.1-0\.png: cannot be decoded"):
        Gauge("nsfw", "erotic picture", 0.8, "made 1", broken, tmp_path, found)(row)


def test_what_was_found_first_counts_for_all(tmp_path: Path) -> None:
    with Found(tmp_path / "found.sqlite") as one, Found(tmp_path / "found.sqlite") as two:
        kept: list[bytes] = []
        put = [threading.Thread(target=lambda: kept.append(one.put("made 1", "a", b"1")))]
        put += [threading.Thread(target=lambda: kept.append(two.put("made 1", "a", b"2")))]
        for thread in put:
            thread.start()
        for thread in put:
            thread.join()
        assert kept[0] == kept[1] == one.get("made 1", "a")
        assert two.get("made 2", "a") is None


def test_settings_of_experts_are_read(tmp_path: Path) -> None:
    (tmp_path / "MIS").mkdir()
    more = "experts: {nsfw: 0.8, letters: 3, near: 1, against: [MIS]}\nreview: people/review.csv"
    config = read_config(written(tmp_path, f"{WHOLE}\n{more}\n"))
    assert config.experts == Local(0.8, 3, 1, (tmp_path / "MIS",))
    assert config.review == tmp_path / "people" / "review.csv"
    assert read_config(written(tmp_path, WHOLE)).experts == Local()


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ("experts: [nsfw]", "experts is no table"),
        ("experts: {nfsw: 0.8}", "experts: nfsw is none of nsfw, letters, near, against"),
        ("experts: {nsfw: 80}", "experts: nsfw is no number above 0 and up to 1"),
        ("experts: {near: true}", "experts: near is no number above 0 and up to 1"),
        ("experts: {letters: 0.5}", "experts: letters is no whole number from 0 on"),
        ("experts: {against: MIS}", "experts: against is no list of folders"),
        ("experts: {against: [nowhere]}", "experts: against: nowhere is no folder"),
        ("review: 7", "review is no text"),
    ],
)
def test_a_setting_that_cannot_be_is_named(tmp_path: Path, more: str, fault: str) -> None:
    with pytest.raises(MISError, match=fault):
        read_config(written(tmp_path, f"{WHOLE}\n{more}\n"))


@pytest.mark.parametrize(("local", "name"), [(Local(nsfw=0.8), "nsfw"), (Local(letters=3), "letters")])
def test_a_package_that_is_missing_is_named(tmp_path: Path, found: Found, local: Local, name: str) -> None:
    with pytest.raises(UsageError, match=rf"experts: {name} needs .*onnx.*; pip install 'mis-dataset\[construct\]'"):
        gauges(local, tmp_path, found)
    assert gauges(Local(), tmp_path, found) == []
