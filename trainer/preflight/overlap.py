"""Rows of a training that stand in a test split too, or share with it what they should not."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mis_dataset.built import files_of, rows_of
from mis_dataset.errors import UsageError
from mis_dataset.leaks import FORBIDDEN, KIND, Row, compare
from mis_dataset.manifest import NAME as MANIFEST
from mis_dataset.manifest import read_manifest
from mis_dataset.schema import TRAIN
from trainer.files import read_json, sha256_of
from trainer.preflight.diagnosis import Fault
from trainer.questions import TEMPLATES

_TEXT_KINDS = ("same_text", "near_text")


class Trained(NamedTuple):
    """What is compared of a row of the training.

    Attributes:
        id: of the row.
        family: id of its dangerous row; its own where it has none.
        question: its prompt's text, letter case and spaces evened out, without the numbers of pictures.
        pictures: sha256 of its pictures' bytes.
    """

    id: str
    family: str
    question: str
    pictures: tuple[str, ...]


def rows_of_tests(rows: Sequence[Trained], dataset: Path) -> Iterator[Fault]:
    """Rows that ask what a test row asks, about the same pictures in any order.

    Pictures are read of splits only that ask something that is asked in training.
    """
    asked: dict[str, list[Trained]] = defaultdict(list)
    for row in rows:
        asked[row.question].append(row)
    for paths in _tested(dataset).values():
        if not any(even(row["question"]) in asked for row in rows_of(paths, ("id", "question"))):
            continue
        for test in rows_of(paths, ("id", "question", "images")):
            alike = asked.get(even(test["question"]), [])
            shown = sorted(picture_hashes(test)) if alike else []
            for row in alike:
                if sorted(row.pictures) == shown:
                    yield Fault("test_row", row.id, f"is {test['id']} with its pictures and its question")


def text_leaks(rows: Sequence[Trained], dataset: Path) -> Iterator[Fault]:
    """Rows whose question is that of a test row or near it; MIS-mini's templates, asked of every row, are left out."""
    ours = [_compared(row.id, row.family, row.question) for row in rows if row.question not in TEMPLATES]
    for split, paths in _tested(dataset).items():
        tests = [
            _compared(row["id"], row["twin_of"] or row["id"], even(row["question"]))
            for row in rows_of(paths, ("id", "question", "twin_of"))
        ]
        theirs = [row for row in tests if row.text not in TEMPLATES]
        pairs = compare((TRAIN, ours), (split, theirs)).pairs
        yield from (_near(kind, one, two) for kind in _TEXT_KINDS for one, two in pairs[kind])


def known_leaks(rows: Sequence[Trained], dataset: Path, leaks: Path) -> Iterator[Fault]:
    """What ``python -m mis_dataset leaks`` found, of the rows of this training.

    Raises:
        MISError: `leaks` is not its file, is of another dataset, or covers only a part of it.
    """
    found = read_json(leaks)
    if found.get("kind") != KIND or found.get("manifest") != sha256_of(dataset / MANIFEST):
        raise UsageError(f"{leaks}: was not written by `{KIND}` for {dataset}; run it on this dataset")
    if found.get("limit") is not None:
        raise UsageError(f"{leaks}: was written with --limit, so it covers some rows only; run `{KIND}` without")
    # Of a dataset whose twins `twins` proposed, they may show pictures of train; see mis_dataset.leaks.
    proposed = bool(read_manifest(dataset).reviews.get("kept"))
    questions = {row.id: row.question for row in rows}
    for kind, one, two in _shared(found, leaks):
        question = questions.get(one)
        if question is None:  # not in this training
            continue
        if kind in FORBIDDEN and not (kind == "twin_image" and proposed):
            yield Fault("leak", one, f"shares {kind} with {two}")
        elif kind in _TEXT_KINDS and question not in TEMPLATES:
            yield _near(kind, one, two)


def even(question: str) -> str:
    """A question with letter case and spaces evened out."""
    return " ".join(question.casefold().split())


def picture_hashes(row: Mapping[str, Any]) -> tuple[str, ...]:
    """sha256 of the bytes of a row's pictures, of nothing for one that is missing."""
    return tuple(hashlib.sha256((one or {}).get("bytes") or b"").hexdigest() for one in row["images"] or [])


def _shared(found: Mapping[str, Any], leaks: Path) -> list[tuple[str, str, str]]:
    """Kind, train row and test row of all that train shares with a test split."""
    try:
        held = [one["pairs"] for one in found["compared"] if one["one"] == TRAIN]
        return [(kind, one, two) for pairs in held for kind in pairs for one, two in pairs[kind]]
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{leaks}: is broken; run `{KIND}` again") from error


def _near(kind: str, one: str, two: str) -> Fault:
    return Fault("near_test", one, f"shares {kind} with {two}")


def _tested(dataset: Path) -> dict[str, list[Path]]:
    return {split: paths for split, paths in files_of(dataset).items() if split != TRAIN}


def _compared(id_: str, family: str, text: str) -> Row:
    return Row(id_, text, (), (), family)
