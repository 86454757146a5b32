"""What splits of a built dataset share with each other, and with another dataset.

Kinds, each a list of pairs of ids:

- `same_text`, `near_text`: questions, equal or nearly so (Jaccard similarity of their three-word runs);
- `same_image`, `near_image`: a picture of one row and one of the other, equal byte for byte, or alike to the eye
  (perceptual hash);
- `twin_image`: as `same_image`, where the second row is in ``test_benign``. Counted apart, as `twins` takes pictures
  from the release itself;
- `same_pair`: both pictures, in any order; `same_pair_other_question`: those of them that ask something else;
- `same_things`: the pair of objects, in any order. Only where the names of the objects are known (MIS-mini), and not
  for rows of the level ``trained_pairs``, whose objects are meant to be those of train.

A benign twin shares its row's question and one picture by design; what a row shares with its own twin is left out.
So is what both halves of a balanced block share (`construct.blocks`): two rows of one split and question, each with a
twin that shows what the other row shows in place of the exchanged picture.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import imagehash
import numpy as np
from datasketch import MinHash, MinHashLSH

from mis_dataset.built import files_of, rows_of
from mis_dataset.decoding import UNREADABLE, open_picture, strict_pillow
from mis_dataset.errors import DatasetError
from mis_dataset.schema import BENIGN, TRAIN

FORBIDDEN: dict[str, int] = {"same_image": 0, "twin_image": 0, "same_things": 0}
"""Kind -> how many test rows may share that with train rows, unless told otherwise. Of a dataset with twins that
`twins` proposed, which may show pictures of train, `twin_image` has no limit unless one is given."""
NEAR_TEXT = 0.8
"""Jaccard similarity of three-word runs from which on questions are near."""
NEAR_IMAGE = 6
"""Bits of 64 in which perceptual hashes of near pictures differ at most."""
AGAINST = "against "
"""Stands before the name of another dataset."""
KIND = "mis_dataset leaks"
KEPT = 20
"""Rows that are named at most beside a row that shares something of one kind with them; a template has thousands."""
_RUN = 3
_ROWS_AT_ONCE = 32
_SHOWN = 3
_COLUMNS = ("id", "images", "question", "level", "twin_of")


@dataclass(frozen=True)
class Row:
    """What is compared of one row.

    Attributes:
        id: of the row.
        text: its question, letter case and spaces evened out.
        images: sha256 of its pictures.
        looks: perceptual hashes of its pictures, 64 bits each.
        family: id of its dangerous row: a row and its twins are one family, and so are both halves of a block.
        things: names of its objects in order of the alphabet; empty where unknown.
        free: whether its objects are meant to be those of train rows.
    """

    id: str
    text: str
    images: tuple[str, ...]
    looks: tuple[int, ...]
    family: str
    things: tuple[str, ...] = ()
    free: bool = False

    @property
    def twin(self) -> bool:
        """Whether it is a benign twin of a test row."""
        return self.id.startswith(f"{BENIGN}/")


class Leaks(NamedTuple):
    """What two groups of rows share.

    Attributes:
        one: name of the first, a split or another dataset.
        two: name of the second.
        pairs: kind -> pairs of ids, in the order of the second group's rows, at most `KEPT` a row.
        near_share: share of the second group's pictures that have a near one in the first; None without pictures.
    """

    one: str
    two: str
    pairs: dict[str, list[tuple[str, str]]]
    near_share: float | None

    def rows(self) -> dict[str, int]:
        """Kind -> rows of the second group that share that with any of the first."""
        return {kind: len({two for _, two in pairs}) for kind, pairs in self.pairs.items()}


def read_rows(
    folder: Path, things: Mapping[str, Sequence[str]] | None = None, limit: int | None = None
) -> dict[str, list[Row]]:
    """Reads and hashes all rows; every picture is decoded once, in parallel.

    Args:
        folder: of the built dataset.
        things: row id -> names of its two objects, where they are known.
        limit: rows of each split that are read, for a trial; None: all.

    Returns:
        Split -> its rows.

    Raises:
        DatasetError: no dataset lies there, or a file or a picture of it cannot be read.
    """
    known = things or {}
    found: dict[str, list[Row]] = {}
    with ThreadPoolExecutor() as pool, strict_pillow():
        for split, paths in files_of(folder).items():
            rows, made = itertools.islice(rows_of(paths, _COLUMNS), limit), found.setdefault(split, [])
            while some := list(itertools.islice(rows, _ROWS_AT_ONCE)):
                made += pool.map(_row, some, [known.get(row["id"], ()) for row in some])
    halves = _halves([row for held in found.values() for row in held])
    return {
        split: [replace(row, family=halves.get(row.family, row.family)) for row in held]
        for split, held in found.items()
    }


def make_row(row_id: str, text: str, pictures: Sequence[bytes]) -> Row:
    """Hashes what is compared of one row.

    Args:
        row_id: its id.
        text: its question.
        pictures: their files' bytes.

    Returns:
        The row, of a family of its own.

    Raises:
        DatasetError: a picture cannot be decoded.
    """
    digests = tuple(hashlib.sha256(picture).hexdigest() for picture in pictures)
    try:
        looks = tuple(map(_look, pictures))
    except UNREADABLE as error:
        raise DatasetError(f"{row_id}: a picture cannot be decoded ({type(error).__name__})") from error
    return Row(row_id, " ".join(text.casefold().split()), digests, looks, row_id)


def compare(one: tuple[str, Sequence[Row]], two: tuple[str, Sequence[Row]]) -> Leaks:
    """Finds what two groups of rows share.

    Args:
        one: name and rows.
        two: name and rows; may be the same, then rows are compared with all others.

    Returns:
        All kinds, also those of which there is nothing; `same_things` only where names are known.
    """
    first, second = one[1], two[1]
    # `twins` takes pictures of the release, never of another dataset.
    apart = not one[0].startswith(AGAINST)
    near, share = _near_images(first, second)

    def pair(row: Row) -> list[Hashable]:
        return [tuple(sorted(row.images))] if row.images else []

    found = {
        "same_text": _same(first, second, lambda row: [row.text]),
        "near_text": _near_texts(first, second),
        "same_image": _same(first, second, lambda row: row.images, lambda one, two: not (apart and two.twin)),
        "twin_image": _same(first, second, lambda row: row.images, lambda one, two: apart and two.twin),
        "near_image": near,
        "same_pair": _same(first, second, pair),
        "same_pair_other_question": _same(first, second, pair, lambda one, two: one.text != two.text),
    }
    if any(row.things for row in (*first, *second)):  # without names nothing is known
        found["same_things"] = _same(first, second, lambda row: [] if row.free or not row.things else [row.things])
    return Leaks(one[0], two[0], found, share)


def find_leaks(rows: Mapping[str, Sequence[Row]], other: tuple[str, Sequence[Row]] | None = None) -> list[Leaks]:
    """Compares train with every test split, test splits with each other, and another dataset with every split.

    Args:
        rows: split -> rows.
        other: name and rows of another dataset.

    Returns:
        One entry for two groups.
    """
    found = [compare(one, two) for one, two in itertools.combinations(rows.items(), 2)]
    return found + [compare((f"{AGAINST}{other[0]}", other[1]), split) for split in rows.items() if other]


def too_many(found: Iterable[Leaks], limits: Mapping[str, int]) -> list[str]:
    """Says what is above its limit.

    Args:
        found: of `find_leaks`.
        limits: kind -> rows of all test splits together that may share that with train, or with another dataset.

    Returns:
        One text a kind; empty where all is within.
    """
    ids: dict[str, set[str]] = defaultdict(set)
    for leaks in (one for one in found if one.one == TRAIN or one.one.startswith(AGAINST)):
        for kind, pairs in leaks.pairs.items():
            ids[kind] |= {two for _, two in pairs if two.startswith("test_")}
    counted = Counter({kind: len(held) for kind, held in ids.items()})
    return [
        f"{kind}: {counted[kind]} test rows, more than {limit}"
        for kind, limit in limits.items()
        if counted[kind] > limit
    ]


def table(found: Iterable[Leaks]) -> str:
    """What was found as lines of text: two groups and a kind each, test rows, and the first ids."""
    lines = []
    for leaks in found:
        for kind, rows in leaks.rows().items():
            ids = ", ".join(f"{one} and {two}" for one, two in leaks.pairs[kind][:_SHOWN])
            lines += [f"{leaks.one:12} {leaks.two:12} {kind:25} {rows:6}  {ids}"] if rows else []
    return "\n".join(lines) or "nothing is shared"


def summary(found: Iterable[Leaks], rows: Mapping[str, Sequence[Row]], limit: int | None = None) -> dict[str, Any]:
    """All that was found, for a file.

    Args:
        found: of `find_leaks`.
        rows: what it was given.
        limit: see `read_rows`.

    Returns:
        ``{"limit": ..., "near_image_chance": ..., "compared": [...]}``, of two groups each
        ``{"one", "two", "rows": {kind: n}, "near_share", "pairs": {...}}``. The chance is the share of train pictures
        that have a near one in train, of another row and not its twin: what pictures made alike show without any leak;
        null without train rows.
    """
    train = rows.get("train", ())
    return {
        "limit": limit,
        "near_image_chance": _near_images(train, train)[1],
        "compared": [
            {
                "one": leaks.one,
                "two": leaks.two,
                "rows": leaks.rows(),
                "near_share": leaks.near_share,
                "pairs": {kind: [list(pair) for pair in pairs] for kind, pairs in leaks.pairs.items()},
            }
            for leaks in found
        ],
    }


def _row(row: dict[str, Any], things: Sequence[str]) -> Row:
    made = make_row(row["id"], row["question"], [picture["bytes"] for picture in row["images"]])
    free = row["level"] == "trained_pairs"
    return replace(made, family=row["twin_of"] or row["id"], things=tuple(sorted(things)), free=free)


def _halves(rows: Sequence[Row]) -> dict[str, str]:
    """One half of a block -> the other: what the twin of either shows in place of a picture, the other half shows."""
    by_id, firsts, found = {row.id: row for row in rows}, dict[tuple[str, ...], str](), dict[str, str]()
    for twin in rows:
        row = by_id.get(twin.family, twin)
        changed = [both for both in zip(row.images, twin.images, strict=False) if both[0] != both[1]]
        if len(changed) == 1:
            [(shown, instead)], about = changed, (row.id.split("/")[0], row.text)
            first = firsts.get((*about, instead, shown))
            if first is None:
                firsts[*about, shown, instead] = row.id
            else:
                found[row.id] = first
    return found


def _look(encoded: bytes) -> int:
    with open_picture(encoded) as picture:
        return int(str(imagehash.phash(picture.convert("RGB"))), 16)


def _same(
    first: Sequence[Row],
    second: Sequence[Row],
    keys: Callable[[Row], Iterable[Hashable]],
    also: Callable[[Row, Row], bool] = lambda one, two: True,
) -> list[tuple[str, str]]:
    """Pairs of ids of rows of two families that have a key in common, and for which `also` holds."""
    holders: dict[Hashable, list[Row]] = defaultdict(list)
    for row in first:
        for key in dict.fromkeys(keys(row)):
            holders[key].append(row)
    pairs = []
    for two in second:
        pairs += _partners(two, (one for key in keys(two) for one in holders.get(key, ()) if also(one, two)))
    return pairs


def _partners(two: Row, ones: Iterable[Row]) -> list[tuple[str, str]]:
    """Its pairs of ids with the first rows of other families, each once."""
    ids: dict[str, None] = {}
    for one in ones:
        if len(ids) == KEPT:
            break
        if one.family != two.family:
            ids[one.id] = None
    return [(one, two.id) for one in ids]


def _near_texts(first: Sequence[Row], second: Sequence[Row]) -> list[tuple[str, str]]:
    """Pairs of ids of rows of two families whose questions are near and not equal."""
    index = MinHashLSH(threshold=NEAR_TEXT - 0.1, num_perm=128)
    holders: dict[str, list[Row]] = defaultdict(list)
    for row in first:
        holders[row.text].append(row)
    runs = {text: _runs(text) for text in (*holders, *(row.text for row in second))}
    hashes = {text: _minhash(held) for text, held in runs.items()}
    for text in holders:
        index.insert(text, hashes[text])
    near = {
        text: sorted(
            other
            for other in index.query(hashes[text])
            if other != text and len(runs[text] & runs[other]) >= NEAR_TEXT * len(runs[text] | runs[other])
        )
        for text in dict.fromkeys(row.text for row in second)
    }
    return [
        pair for two in second for pair in _partners(two, (one for text in near[two.text] for one in holders[text]))
    ]


def _runs(text: str) -> frozenset[str]:
    words = text.split()
    return frozenset(" ".join(words[at : at + _RUN]) for at in range(max(1, len(words) - _RUN + 1)))


def _minhash(runs: Iterable[str]) -> MinHash:
    hashed = MinHash(num_perm=128)
    hashed.update_batch([run.encode() for run in sorted(runs)])
    return hashed


def _near_images(first: Sequence[Row], second: Sequence[Row]) -> tuple[list[tuple[str, str]], float | None]:
    """Pairs of ids of rows of two families with pictures that look alike, and the share of `second`'s that do."""
    ones = [(row, image, look) for row in first for image, look in zip(row.images, row.looks, strict=True)]
    twos = [(row, image, look) for row in second for image, look in zip(row.images, row.looks, strict=True)]
    if not ones or not twos:
        return [], None
    looks = np.array([look for _, _, look in ones], np.uint64)
    pairs, alike = [], 0
    for row, image, look in twos:
        near = np.flatnonzero(np.bitwise_count(looks ^ np.uint64(look)) <= NEAR_IMAGE)
        found = (ones[at][0] for at in near if ones[at][1] != image and ones[at][0].family != row.family)
        kept = list(itertools.islice(found, KEPT))
        alike += bool(kept)
        pairs += _partners(row, kept)
    return list(dict.fromkeys(pairs)), alike / len(twos)
