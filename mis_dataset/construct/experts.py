"""Experts that are remote models: each says one thing about a row, and its reason is on file.

Each is shown no more than its verdict may hang on: who judges words sees no picture, who judges a picture sees no
question and no other picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mis_dataset.client import Client
from mis_dataset.construct.prompts import EXPLICIT, TOGETHER, WORDS, system
from mis_dataset.construct.rows import Pictured, Verdict
from mis_dataset.construct.structured import Refusal, ShapeError, ask_object, fenced
from mis_dataset.errors import plain
from mis_dataset.remote.messages import Request
from mis_dataset.schema import SUB_CATEGORIES_OF

KEEP = "keep"
UNSAFE_WORDS, EXPLICIT_PICTURE = "unsafe words", "explicit picture"
"""Verdicts that decide where a row goes and reject none; see `filters.fate`."""
_MOST_WHY = 300
"""Letters of a reason."""
UNSURE = "no verdict"
"""Of an expert that gave none: such a row is not kept."""


class Sorted(NamedTuple):
    """What an expert of words says."""

    verdict: Verdict
    sub_category: str


@dataclass(frozen=True)
class Words:
    """Are the words of the question unsafe by themselves, and what are they about?

    Attributes:
        client: of a language model.
    """

    client: Client

    def __call__(self, row: Pictured) -> Sorted:
        """Its verdict, and a sub-category of the row's category; empty where it gave none."""
        names = SUB_CATEGORIES_OF[row.row.category]
        asked = system(WORDS, sub_categories=", ".join(names))
        request = Request(row.id, (fenced("question", row.row.question),), asked)
        told = ask_object(self.client, request, lambda found: _sorted(found, names))
        if isinstance(told, Refusal):
            return Sorted(_unsure("words", told), "")
        words, sub_category, why = told
        return Sorted(Verdict("words", UNSAFE_WORDS if words == "unsafe" else KEEP, why=why), sub_category)


@dataclass(frozen=True)
class Explicit:
    """Is a picture openly harmful by itself?

    Attributes:
        client: of a model that sees pictures.
        folder: of the construction.
    """

    client: Client
    folder: Path

    def __call__(self, row: Pictured) -> Verdict:
        """Its verdict over all pictures of the dangerous row; that of the twin must not be."""
        whys = []
        for place, one in enumerate((row.twin_picture, *row.pictures)):
            parts = ((self.folder / one.file).read_bytes(),)
            told = ask_object(self.client, Request(row.id, parts, system(EXPLICIT)), _explicit)
            if isinstance(told, Refusal):
                return _unsure("explicit", told)
            explicit, why = told
            if explicit:
                found = EXPLICIT_PICTURE if place else "explicit twin"
                return Verdict("explicit", found, f"picture {place or row.row.changed_image}", why)
            whys.append(why)
        return Verdict("explicit", KEEP, why=_joined(whys))


@dataclass(frozen=True)
class Together:
    """Is the row risky by all pictures together, and its twin harmless?

    Attributes:
        client: of a model that sees pictures.
        folder: of the construction.
        name: of the expert: "together", or "second" of another model.
    """

    client: Client
    folder: Path
    name: str = "together"

    def __call__(self, row: Pictured) -> Verdict:
        """Its verdict over row and twin."""
        question, whys = fenced("question", row.row.question), []
        for pictures, wanted, what in ((row.pictures, "risky", "row"), (row.twin_pictures(), "harmless", "twin")):
            shown = tuple((self.folder / one.file).read_bytes() for one in pictures)
            told = ask_object(self.client, Request(row.id, (*shown, question), system(TOGETHER)), _together)
            if isinstance(told, Refusal):
                return _unsure(self.name, told)
            found, why = told
            if found != wanted:
                return Verdict(self.name, f"{found} {what}", why=why)
            whys.append(why)
        return Verdict(self.name, KEEP, why=_joined(whys))


def _unsure(expert: str, refusal: Refusal) -> Verdict:
    return Verdict(expert, UNSURE, f"{refusal.reason}: {refusal.detail}")


def _why(found: Mapping[str, Any]) -> str:
    """A reason, cut; empty where there is none, as the verdict does not hang on it."""
    why = found.get("why")
    return plain(" ".join(why.split()))[:_MOST_WHY] if isinstance(why, str) else ""


def _joined(whys: Iterable[str]) -> str:
    return "; ".join(why for why in whys if why)


def _sorted(found: Mapping[str, Any], names: Sequence[str]) -> tuple[str, str, str]:
    words, sub_category = found.get("words"), found.get("sub_category")
    if words not in ("unsafe", "neutral"):
        raise ShapeError("'words' is neither 'unsafe' nor 'neutral'")
    if sub_category not in names:
        raise ShapeError("'sub_category' is none of those that were named")
    return str(words), str(sub_category), _why(found)


def _explicit(found: Mapping[str, Any]) -> tuple[bool, str]:
    if not isinstance(found.get("explicit"), bool):
        raise ShapeError("'explicit' is neither true nor false")
    return bool(found["explicit"]), _why(found)


def _together(found: Mapping[str, Any]) -> tuple[str, str]:
    if found.get("row") not in ("risky", "harmless", "meaningless"):
        raise ShapeError("'row' is none of 'risky', 'harmless' and 'meaningless'")
    return str(found["row"]), _why(found)
