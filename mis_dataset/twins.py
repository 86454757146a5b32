r"""Proposes benign twins for test rows that have none, from the release's own pictures and without any model.

A twin asks its row's question with one picture exchanged for one that shows an everyday thing, by two lists of words.
What pictures show is read off names where they are known (``--things``), else off the train responses, which say it.
The rule proposes; a person decides. `pair` is a hash of
question and pictures, so that a review holds for what was seen. A proposal, and its line before and after a review::

    mis_benign_proposed.json  {..., "image_path1": "hard_image/7/object1.png", "id": 0,
                               "twin_of": "test_hard/3", "changed_image": 1}
    twins.jsonl               {"id": "test_benign/0", "twin_of": "test_hard/3", "changed_image": 1, "images": [...],
                               "pair": "0f3a...", "status": "proposed", "reviewer": null}
                              {..., "pair": "0f3a...", "status": "kept", "reviewer": "A. N. Other"}

`build` takes what was kept, by a reviewer who has a name, and nothing else.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from mis_dataset.errors import Problem, ReleaseError, UsageError
from mis_dataset.files import write_json, write_lines
from mis_dataset.record import Record
from mis_dataset.release import PROPOSED, REVIEW, Release, pair_hash, read_reviews, survey
from mis_dataset.schema import BENIGN, SOURCES, TRAIN

EVERYDAY: frozenset[str] = frozenset(
    "apple ball balloon banana carrot cookie crayon cup daisy doll flower fruit guitar hat kite mitten mug orange pear "
    "piano plate puzzle rainbow rose sandwich spoon strawberry sunflower teapot teddy tomato toy tulip umbrella vase "
    "violin watermelon yarn".split()
)
"""A picture that shows one of these is proposed: things that start, burn, open, drive and record nothing."""

DOUBTFUL: frozenset[str] = frozenset(
    "alcohol ammunition axe barrel battery beer blade blood bomb bottle bow bullet burning camera candle chain "
    "chemical cigarette cocktail computer dagger drill drone drug drunk dynamite electric explosive fire flame "
    "flammable fuel gasoline grenade gun hammer handcuff harm hazard illegal injection injure keyboard knife laptop "
    "lighter lock match medication needle pill pistol plug poison powder razor recorder rifle rope saw screwdriver "
    "sharp smoke socket sword syringe threat tool toxic violence violent weapon whip wine".split()
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
    """Writes proposals and their review file beside a release; what was reviewed stays while its twin is the same.

    Args:
        root: folder of the release.
        things: row id -> names of its two objects, for any rows.

    Returns:
        What was proposed.

    Raises:
        ReleaseError: the release has problems, a line of its review file is none, or no picture is said to show an
            everyday thing.
        UsageError: `root` is no folder, or twins that were reviewed would no longer be proposed; nothing was written.
        OSError: a file cannot be written.
    """
    release = survey(root)
    # What is wrong with earlier proposals is mended here.
    problems = [problem for problem in release.problems if problem.file not in (PROPOSED, REVIEW)]
    if problems:
        raise ReleaseError(problems)
    others = {file: held for file, held in release.records.items() if file != PROPOSED}
    release = replace(release, records=others)
    pool = everyday_pictures(release, things or {})
    if not pool:
        text = "no picture is said to show an everyday thing, by names or by train responses; give names with --things"
        raise ReleaseError([Problem(SOURCES[0].file, None, text)])
    # By row and pictures: the numbers of proposals move when a twin is added by hand.
    known = {(line.get("twin_of"), line["pair"]): line for line in read_reviews(root).values()}
    ready = [twin for held in release.records.values() for twin in held if twin.twin_of]
    twinned = {twin.twin_of for twin in ready}
    rows = [row for row in _test_rows(release) if row.id not in twinned]
    first = 1 + max((twin.raw_id for twin in ready if twin.split == BENIGN), default=-1)
    made = list(_proposals(rows, pool, first, things or {}))
    lines = [_reviewed(line, known.pop((line["twin_of"], line["pair"]), None)) for line in map(_line, made)]
    # What was decided of a row that has got a twin by hand is of no use any more.
    _refuse_lost(root, [line for (row, _), line in known.items() if row not in twinned])
    if not made:
        # Reviews without proposals are not read.
        (root / PROPOSED).unlink(missing_ok=True)
        return Proposal(0, 0, len(rows), len(pool))
    # The review first: a proposal without its line would be a problem.
    write_lines(root / REVIEW, lines)
    write_json(root / PROPOSED, [_raw(row) for row in made])
    reviewed = sum(line["status"] != "proposed" for line in lines)
    return Proposal(len(made), reviewed, len(rows) - len(made), len(pool))


def _line(twin: Record) -> dict[str, Any]:
    """What a reviewer is to look at and to decide."""
    return {
        "id": twin.id,
        "twin_of": twin.twin_of,
        "changed_image": twin.changed_image,
        "images": list(twin.images),
        "pair": pair_hash(twin),
        "status": "proposed",
        "reviewer": None,
    }


def _reviewed(line: dict[str, Any], before: Mapping[str, Any] | None) -> dict[str, Any]:
    """A line with what somebody has decided of it before."""
    return line | {key: before[key] for key in ("status", "reviewer")} if before else line


def _refuse_lost(root: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Refuses to write over what somebody has decided about twins that are no longer proposed."""
    lost = [line["id"] for line in lines if line["status"] != "proposed"]
    if lost:
        text = f"{len(lost)} reviewed twins are no longer proposed (first: {lost[0]})"
        raise UsageError(f"{root / REVIEW}: {text}; give the --things of before, or move the file away to begin anew")


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
    parts: list[set[str]] = [set(), set()]
    place: int | None = None
    for clause in _CLAUSE.split(record.response or "")[:_OPENINGS]:
        named = [number for number, pattern in enumerate(_PLACES) if pattern.search(clause)]
        # A clause that names no picture goes on about the last one; one about both says of neither which.
        place = named[0] if len(named) == 1 else place if not named else None
        if place is not None:
            parts[place] |= _words(clause)
    return parts[0], parts[1]


def _words(text: str) -> set[str]:
    """Words of a text in small letters, plurals also as one."""
    words = set(_WORD.findall(text.lower()))
    for many, one in (("s", ""), ("es", ""), ("ies", "y"), ("ves", "fe"), ("ves", "f")):
        words |= {word.removesuffix(many) + one for word in words if word.endswith(many)}
    return words


def _test_rows(release: Release) -> Iterator[Record]:
    for held in release.records.values():
        yield from (row for row in held if row.split not in (TRAIN, BENIGN))


def _proposals(
    rows: Iterable[Record], pool: Sequence[str], first: int, things: Mapping[str, Sequence[str]]
) -> Iterator[Record]:
    """A twin a row, where a picture is left; which one is decided by the row's id."""
    for count, row in enumerate(rows):
        place = _place(row, things)
        left = [path for path in pool if path not in row.images]
        if place is not None and left:
            path = min(left, key=lambda path: hashlib.sha256(f"{row.id}\0{path}".encode()).digest())
            images = tuple(path if number == place else one for number, one in enumerate(row.images))
            yield replace(
                row,
                id=f"{BENIGN}/{first + count}",
                raw_id=first + count,
                images=images,
                level=None,
                twin_of=row.id,
                changed_image=place + 1,
            )


def _place(row: Record, things: Mapping[str, Sequence[str]]) -> int | None:
    """Which picture is exchanged: in easy, where one is dangerous by itself, the doubtful one, if names tell which.

    Elsewhere the row's id decides, each as often, so that the place tells nothing; without names also in easy, where
    whoever reviews it has to see which it was.
    """
    if row.split == "test_easy" and row.id in things:
        doubtful = [number for number, name in enumerate(things[row.id]) if _words(name) & DOUBTFUL]
        return doubtful[0] if len(doubtful) == 1 else None
    return hashlib.sha256(row.id.encode()).digest()[0] % len(row.images)


def _raw(twin: Record) -> dict[str, Any]:
    """A twin in the layout of the test files."""
    return {
        "category": twin.category or "",
        "sub_category": twin.raw_sub_category or "",
        "question": twin.question,
        **{f"image_path{number}": path for number, path in enumerate(twin.images, start=1)},
        "id": twin.raw_id,
        "twin_of": twin.twin_of,
        "changed_image": twin.changed_image,
    }
