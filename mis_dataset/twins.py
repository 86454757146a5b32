r"""Proposes benign twins for test rows that have none, from the release's own pictures and without any model.

A twin asks its row's question with one picture exchanged for one that shows an everyday thing, by two lists of words.
What pictures show is read off names where they are known (``--things``), else off the train responses, which say it.
The rule proposes; a person decides. A proposal, and its line in the review before and after somebody looked at it::

    mis_benign_proposed.json  {..., "image_path1": "hard_image/7/object1.png", "id": 0,
                               "twin_of": "test_hard/3", "changed_image": 1}
    twins.jsonl               {"id": "test_benign/0", "verdict": "proposed", "reviewer": null}
                              {"id": "test_benign/0", "verdict": "kept", "reviewer": "A. N. Other"}

`build` takes what was kept, by a reviewer who has a name, and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from mis_dataset.errors import UsageError
from mis_dataset.manifest import write_json
from mis_dataset.record import Record
from mis_dataset.release import PROPOSED, REVIEW, Release, read_release, read_reviews
from mis_dataset.schema import BENIGN, TRAIN

EVERYDAY: frozenset[str] = frozenset(
    "apple ball balloon banana carrot cookie crayon cup daisy doll flower fruit guitar hat kite mitten mug orange pear "
    "piano plate puzzle rainbow rose sandwich spoon strawberry sunflower teapot teddy tomato toy tulip umbrella vase "
    "violin watermelon yarn".split()
)
"""A picture that shows one of these is proposed: things that start, burn, open, drive and record nothing."""

DOUBTFUL: frozenset[str] = frozenset(
    "alcohol ammunition axe barrel battery beer blade blood bomb bottle bullet burning camera candle chain chemical "
    "cigarette cocktail computer dagger drill drone drug drunk dynamite electric explosive fire flame flammable fuel "
    "gasoline grenade gun hammer handcuff harm hazard illegal injection injure keyboard knife laptop lighter lock "
    "match medication needle pill pistol plug poison powder razor recorder rifle rope saw screwdriver sharp smoke "
    "socket sword syringe threat tool toxic violence violent weapon whip wine".split()
)
"""Nor is one whose description holds any of these."""

_WORD = re.compile(r"[a-z]+")
_PLACES = tuple(
    re.compile(rf"\b{ordinal}\b|\b(?:image|picture|photo)[ -]?{number}\b", re.IGNORECASE)
    for ordinal, number in (("first", 1), ("second", 2))
)
_CLAUSE = re.compile(r",?\s+(?:and|while|whereas)\s+|;|(?<=[.!?])\s+")
_OPENINGS = 4
"""Clauses of a train response that are searched for what its pictures show; what they mean together follows."""


class Proposal(NamedTuple):
    """How many rows got a twin.

    Attributes:
        proposed: rows that have a proposal now, those of an earlier run included.
        reviewed: of these, kept or rejected.
        without: rows for which no picture was left.
        pictures: everyday pictures that were found.
    """

    proposed: int
    reviewed: int
    without: int
    pictures: int


def propose(root: Path, things: Mapping[str, Sequence[str]] | None = None) -> Proposal:
    """Writes proposals and their review file beside a release; what was reviewed stays.

    Args:
        root: folder of the release.
        things: row id -> names of its two objects, for any rows.

    Returns:
        What was proposed.

    Raises:
        ReleaseError: the release has problems, or its review file does.
        UsageError: `root` is no folder, or no picture of an everyday thing is described.
    """
    release = read_release(root)
    pool = everyday_pictures(release, things or {})
    if not pool:
        raise UsageError(f"{root}: neither names nor train responses say that a picture shows an everyday thing")
    known = read_reviews(root)
    twinned = {
        twin.twin_of for file, held in release.records.items() if file != PROPOSED for twin in held if twin.twin_of
    }
    rows = [row for row in _test_rows(release) if row.id not in twinned]
    first = 1 + max((row.raw_id for row in release.records.get("mis_benign.json", ())), default=-1)
    made = list(_proposals(rows, pool, first))
    write_json(root / PROPOSED, [_raw(row) for row in made])
    lines = [known.get(row.id, {"id": row.id, "verdict": "proposed", "reviewer": None}) for row in made]
    _write_lines(root / REVIEW, lines)
    reviewed = sum(line["verdict"] != "proposed" for line in lines)
    return Proposal(len(made), reviewed, len(rows) - len(made), len(pool))


def everyday_pictures(release: Release, things: Mapping[str, Sequence[str]]) -> list[str]:
    """Pictures that show an everyday thing and nothing doubtful.

    Args:
        release: without problems.
        things: row id -> names of its two objects.

    Returns:
        Paths in the order of the rows: those of test rows, and only where none is known those of train rows, since a
        picture that train and a twin share is a leak.
    """
    found: dict[bool, dict[str, None]] = {False: {}, True: {}}
    for held in release.records.values():
        for record in held:
            for path, words in zip(record.images, _described(record, things), strict=True):
                if words & EVERYDAY and not words & DOUBTFUL:
                    found[record.split == TRAIN][path] = None
    return list(found[False] or found[True])


def _described(record: Record, things: Mapping[str, Sequence[str]]) -> tuple[set[str], set[str]]:
    """Words that are said of each picture of a row; none where nothing is."""
    if record.id in things:
        first, second = things[record.id]
        return _words(first), _words(second)
    sentences = re.split(r"(?<=[.!?])\s+", record.response or "")[:_OPENINGS]
    parts: list[set[str]] = [set(), set()]
    for clause in (
        clause for sentence in sentences for clause in re.split(r",?\s+(?:and|while|whereas)\s+|;", sentence)
    ):
        named = [place for place, pattern in enumerate(_PLACES) if pattern.search(clause)]
        if len(named) == 1:  # a clause about both says of neither which
            parts[named[0]] |= _words(clause)
    return parts[0], parts[1]


def _words(text: str) -> set[str]:
    """Words of a text in small letters, plurals also without their s."""
    words = set(_WORD.findall(text.lower()))
    return words | {word.removesuffix("s") for word in words}


def _test_rows(release: Release) -> Iterator[Record]:
    for held in release.records.values():
        yield from (row for row in held if row.split not in (TRAIN, BENIGN))


def _proposals(rows: Iterable[Record], pool: Sequence[str], first: int) -> Iterator[Record]:
    """A twin a row, where a picture is left: which one is decided by the row's id, and by it which place, half each."""
    for number, row in enumerate(rows):
        place = hashlib.sha256(row.id.encode()).digest()[0] % 2
        choice = sorted(pool, key=lambda path: hashlib.sha256(f"{row.id}\0{path}".encode()).digest())
        path = next((path for path in choice if path not in row.images), None)
        if path is not None:
            images = (path, row.images[1]) if place == 0 else (row.images[0], path)
            yield replace(
                row, id=f"{BENIGN}/{first + number}", raw_id=first + number, images=images, level=None,
                twin_of=row.id, changed_image=place + 1,
            )  # fmt: skip


def _raw(twin: Record) -> dict[str, Any]:
    """A twin in the layout of the test files."""
    return {
        "category": twin.category or "",
        "sub_category": twin.raw_sub_category or "",
        "question": twin.question,
        "image_path1": twin.images[0],
        "image_path2": twin.images[1],
        "id": twin.raw_id,
        "twin_of": twin.twin_of,
        "changed_image": twin.changed_image,
    }


def _write_lines(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    temporary.replace(path)
