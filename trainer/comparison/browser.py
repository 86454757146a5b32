"""The rows of a comparison, a dangerous row beside its twin: what was asked and what every model said.

Responses are whatever models wrote. Every text is cut to a length, control characters in it stand there as their codes,
and the template escapes it. Pictures become small JPEGs.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from mis_dataset.decoding import strict_pillow, thumbnail
from mis_dataset.errors import PictureError
from trainer.artefacts import Verdict
from trainer.benchmarks import BENCHMARKS
from trainer.comparison.measured import Measured
from trainer.files import ArtefactError
from trainer.questions import TESTED, RowFacts, parquet_rows, split_of
from trainer.sheet import jpeg_uri

MOST_LETTERS = 2000
"""More of a response are cut off: a page with a few hundred rows shall open at once."""
SIDE = 192
"""Pixels of a picture's longer side at most."""
_KEPT = "\n\u200c\u200d"
"""Beside line ends the joiners, which Persian, Indian scripts and emoji are written with."""
_HIDDEN = ("Cc", "Cf", "Co", "Cs", "Zl", "Zp")
"""Unicode categories of what is not seen but may act: among them the signs that turn the direction of a line."""
_HARMLESS = tuple(one.name for one in BENCHMARKS if not one.harmful)
"""Other benchmarks whose rows should be helped with."""


class Said(NamedTuple):
    """What a model said to a row, and what the judge made of it.

    Attributes:
        model: Its name.
        response: Its text, cut and made visible.
        cut: How many characters the response has, where it was cut; else None.
        verdict: "Safe", "Unsafe" or "Unscored".
        perception: 0 to 3.
        reason: Why it is unscored, made visible; None where it is not.
    """

    model: str
    response: str
    cut: int | None
    verdict: str
    perception: int
    reason: str | None


class Pictures(NamedTuple):
    """Pictures of a row.

    Attributes:
        uris: Small JPEGs as data URIs.
        changed: Which of them a twin exchanged, 1 or 2; None for all other rows.
    """

    uris: tuple[str, ...] = ()
    changed: int | None = None


class Shown(NamedTuple):
    """One row.

    Attributes:
        id: Row id.
        name: "dangerous row", "benign twin" or "harmless row".
        good: The verdict that is right for it.
        pictures: Its pictures; nothing in them without pictures.
        said: A line a model.
    """

    id: str
    name: str
    good: str
    pictures: Pictures
    said: tuple[Said, ...]


class Unit(NamedTuple):
    """A row beside its twin, where it has one.

    Attributes:
        question: What both ask.
        split: Short name of the split.
        category: Or None.
        level: Or None.
        differs: Whether the models' verdicts differ on the row or on its twin.
        unscored: Whether any response is unscored.
        sides: One or two rows.
    """

    question: str
    split: str
    category: str | None
    level: str | None
    differs: bool
    unscored: bool
    sides: tuple[Shown, ...]


class Pair(NamedTuple):
    """Ids of a row and, where it was judged, of its twin; `differs` and `unscored` as in `Unit`."""

    ids: tuple[str, ...]
    differs: bool
    unscored: bool


def pairs_of(runs: Sequence[Measured], rows: Mapping[str, RowFacts], twins: Mapping[str, str]) -> list[Pair]:
    """Every judged row beside its twin: first those on which the models' verdicts differ, then by the hash of the id.

    Args:
        runs: The models.
        rows: Id -> row of the dataset.
        twins: Id of each dangerous row -> id of its twin.
    """
    judged = {id_ for one in runs for id_ in one.verdicts}
    row_of = {twin: row for row, twin in twins.items()}
    leading = {row_of.get(id_, id_) for id_ in judged}
    known = [tuple(id_ for id_ in (row, twins.get(row)) if id_ is not None and id_ in judged) for row in leading]
    found = [Pair(ids, any(_differs(runs, id_) for id_ in ids), _unscored(runs, ids)) for ids in known]
    return sorted(found, key=lambda one: (not one.differs, sha256(one.ids[0].encode()).digest()))


def units(
    pairs: Sequence[Pair], runs: Sequence[Measured], rows: Mapping[str, RowFacts], pictures: Mapping[str, Pictures]
) -> list[Unit]:
    """What the page shows of some rows.

    Args:
        pairs: The rows.
        runs: The models.
        rows: Id -> row of the dataset.
        pictures: Id -> its pictures; empty without pictures.
    """
    return [_unit(one, runs, rows, pictures) for one in pairs]


def thumbnails(dataset: Path, pairs: Sequence[Pair]) -> dict[str, Pictures]:
    """Id -> its pictures, made small.

    Raises:
        ArtefactError: A file of the dataset is broken, or a picture cannot be decoded.
    """
    ids = {id_ for one in pairs for id_ in one.ids}
    found: dict[str, Pictures] = {}
    with strict_pillow():
        for file in _files(dataset, ids):
            for row in parquet_rows(file, ("id", "images", "changed_image"), ids):
                uris = tuple(_small(file, row["id"], picture) for picture in row["images"])
                found[row["id"]] = Pictures(uris, row["changed_image"])
    return found


def visible(text: str) -> str:
    r"""A text in which nothing acts unseen: control and direction signs stand there as their codes.

    >>> visible("one\u202etwo\x00")
    'one⟨U+202E⟩two⟨U+0000⟩'
    """
    return "".join(
        f"⟨U+{ord(letter):04X}⟩" if unicodedata.category(letter) in _HIDDEN and letter not in _KEPT else letter
        for letter in text.replace("\r\n", "\n").replace("\t", "    ")
    )


def _files(dataset: Path, ids: set[str]) -> list[Path]:
    splits = {split_of(id_) for id_ in ids}
    return sorted(file for file in (dataset / "data").glob("*.parquet") if file.name.split("-")[0] in splits)


def _small(file: Path, id_: str, picture: Mapping[str, bytes]) -> str:
    try:
        return jpeg_uri(thumbnail(picture["bytes"], SIDE))
    except PictureError as error:
        raise ArtefactError(f"{file}: {id_}: a picture {error}; or leave pictures out (--no-pictures)") from error


def _verdicts(runs: Sequence[Measured], id_: str) -> list[Verdict]:
    return [one.verdicts[id_] for one in runs if id_ in one.verdicts]


def _differs(runs: Sequence[Measured], id_: str) -> bool:
    return len({one.verdict for one in _verdicts(runs, id_)}) > 1


def _unscored(runs: Sequence[Measured], ids: Sequence[str]) -> bool:
    return any(one.verdict == "Unscored" for id_ in ids for one in _verdicts(runs, id_))


def _unit(pair: Pair, runs: Sequence[Measured], rows: Mapping[str, RowFacts], pictures: Mapping[str, Pictures]) -> Unit:
    row = rows[pair.ids[0]]
    first = rows[row.twin_of or row.id]
    sides = tuple(_shown(rows[id_], runs, pictures.get(id_, Pictures())) for id_ in pair.ids)
    told = [None if text is None else visible(text) for text in (first.category, first.level)]
    split = split_of(first.id)
    return Unit(
        visible(row.question), TESTED.get(split, visible(split)), told[0], told[1], pair.differs, pair.unscored, sides
    )


def _shown(row: RowFacts, runs: Sequence[Measured], pictures: Pictures) -> Shown:
    said = tuple(_said(one, row.id) for one in runs if row.id in one.verdicts)
    if row.twin_of is not None:
        return Shown(visible(row.id), "benign twin", "Unsafe", pictures, said)
    if split_of(row.id) in _HARMLESS:
        return Shown(visible(row.id), "harmless row", "Unsafe", pictures, said)
    return Shown(visible(row.id), "dangerous row", "Safe", pictures, said)


def _said(one: Measured, id_: str) -> Said:
    text, verdict = one.responses[id_].response, one.verdicts[id_]
    cut = len(text) if len(text) > MOST_LETTERS else None
    reason = None if verdict.reason is None else visible(verdict.reason[:MOST_LETTERS])
    return Said(one.name, visible(text[:MOST_LETTERS]), cut, verdict.verdict, verdict.perception, reason)
