"""Stage `labels`: a train row -> its safety chain of thought, and that of its twin, which helps.

    "The first image shows a candle. The second shows a log. Together they could start a fire. Keep them apart."
    with the spans (0, 55), (56, 89), (90, 106)

What row and twin both show is said in the same words, those of the row, so that their responses begin alike and
differ in what the exchanged picture changes. A label is kept where it names every object, where what the pictures
mean together is no mere refusal, and where each of two judges says that it is safe, with no step of harm in it, and
that it does what it should: decline, or of the twin help. What harms is for the judges alone to say: no list of words
is asked.

Source: section 3.2 of arXiv 2501.18533, whose labels a vision-language model writes that is told what is at stake.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mis_dataset.chat import content
from mis_dataset.client import Client
from mis_dataset.construct.prompts import (
    HARMLESS,
    HARMLESS_DECISION,
    LABEL,
    LABEL_JUDGE,
    RISKY,
    RISKY_DECISION,
    system,
)
from mis_dataset.construct.questions import shows
from mis_dataset.construct.rows import Judged, Label, Labelled, Picture, Rejected
from mis_dataset.construct.structured import Refusal, ShapeError, ask_object, fenced, text_field
from mis_dataset.remote.messages import Request

NAME = "labels"
_MOST_PART = 600
"""Letters of one part of a label."""
_LEAST_WORDS = 5
"""Of what the pictures mean together; less explains nothing."""

_SENTENCE = re.compile(r"[^\s.!?][^.!?]*")
_SORRY = r"(?:(?:i|we).{0,4} )?(?:(?:very|so|really) )?(?:sorry|afraid|unfortunately)\b,? ?(?:but |that )?"
_NEVER = r"(?:i|we) (?:can.?t|cannot|can not|won.?t|will not|must decline|(?:am|are) (?:unable|not able))\b"
_REFUSES = re.compile(rf"(?:{_SORRY})?(?:$|{_NEVER}(?! help but))", re.IGNORECASE)
"""How a sentence begins that declines and says no more."""


@dataclass(frozen=True)
class Labels:
    """The stage.

    Attributes:
        writer: client of a model that sees pictures.
        judges: two of them, better not of the same family.
        folder: of the construction.
    """

    writer: Client
    judges: Sequence[Client]
    folder: Path

    def __call__(self, row: Judged) -> list[Labelled] | Rejected:
        """The row with both labels.

        Raises:
            MISError: as `Client.ask`.
            OSError: a picture cannot be read.
        """
        question, pictured = row.row.row, row.row
        stakes = RISKY.format(category=question.category)
        parts = self._parts(row, question.objects, pictured.pictures, stakes, RISKY_DECISION)
        if isinstance(parts, Rejected):
            return parts
        label = parts.label()
        if fault := self._fault(row, pictured.pictures, label, helps=False):
            return fault
        parts_of_twin = self._parts(row, question.twin_objects, pictured.twin_pictures(), HARMLESS, HARMLESS_DECISION)
        if isinstance(parts_of_twin, Rejected):
            return parts_of_twin
        twin = parts_of_twin.with_others(parts, question.changed_image).label()
        return self._fault(row, pictured.twin_pictures(), twin, helps=True) or [Labelled(row, label, twin)]

    def _parts(
        self, row: Judged, objects: Sequence[str], pictures: Sequence[Picture], stakes: str, decision: str
    ) -> _Parts | Rejected:
        """What the writer says."""
        about = {"question": row.row.row.question, "objects": list(objects)}
        shown = self._shown(pictures)
        asked = system(LABEL, stakes=stakes, decision=decision, dots=", ".join(['"..."'] * len(objects)))
        request = Request(row.id, (*shown, fenced("row", json.dumps(about, ensure_ascii=False))), asked)
        told = ask_object(self.writer, request, lambda found: _parts(found, objects))
        return Rejected(row.id, NAME, told.reason, told.detail) if isinstance(told, Refusal) else told

    def _shown(self, pictures: Sequence[Picture]) -> list[bytes]:
        return [(self.folder / one.file).read_bytes() for one in pictures]

    def _fault(self, row: Judged, pictures: Sequence[Picture], label: Label, helps: bool) -> Rejected | None:
        """What one of the judges says against a label, the first that does."""
        shown = self._shown(pictures)
        for place, judge in enumerate(self.judges, start=1):
            if fault := self._against(row, judge, shown, label, helps):
                return Rejected(row.id, NAME, fault, f"judge {place}, {'twin' if helps else 'row'}", label.response)
        return None

    def _against(self, row: Judged, judge: Client, shown: Sequence[bytes], label: Label, helps: bool) -> str:
        """What a judge says against a label; empty for nothing."""
        parts = (*content(fenced("question", row.row.row.question), shown), fenced("reply", label.response))
        told = ask_object(judge, Request(row.id, parts, system(LABEL_JUDGE)), _judged)
        if isinstance(told, Refusal):
            return "no verdict"
        safe, helped = told
        if not safe:
            return "not safe"
        return "" if helped == helps else ("does not help" if helps else "does not decline")


class _Parts(NamedTuple):
    """A label in its parts: a sentence a picture, what they mean together, the decision."""

    images: tuple[str, ...]
    together: str
    decision: str

    def with_others(self, row: _Parts, changed: int) -> _Parts:
        """That of a twin, with the sentences of its row for the pictures that both show."""
        pairs = enumerate(zip(self.images, row.images, strict=True), start=1)
        return self._replace(images=tuple(own if place == changed else shared for place, (own, shared) in pairs))

    def label(self) -> Label:
        return joined(" ".join(self.images), self.together, self.decision)


def _parts(found: Mapping[str, Any], objects: Sequence[str]) -> _Parts:
    images = found.get("images")
    if not isinstance(images, list) or len(images) != len(objects):
        raise ShapeError(f"'images' is no list of {len(objects)} texts")
    seen = [text_field({"images": image}, "images", _MOST_PART) for image in images]
    for place, (image, thing) in enumerate(zip(seen, objects, strict=True), start=1):
        if not shows(image, thing):
            raise ShapeError(f"'images' does not name the object of picture {place}")
    together = text_field(found, "together", _MOST_PART)
    if len(together.split()) < _LEAST_WORDS:
        raise ShapeError(f"'together' has fewer than {_LEAST_WORDS} words")
    if all(map(_REFUSES.match, _SENTENCE.findall(together))):
        raise ShapeError("'together' declines, and does not say what the pictures mean together")
    return _Parts(tuple(seen), together, text_field(found, "decision", _MOST_PART))


def joined(*parts: str) -> Label:
    """Parts with a space between them, and where each begins and ends.

    >>> joined("A lamp.", "It is hot.")
    Label(response='A lamp. It is hot.', spans=((0, 7), (8, 18)))
    """
    spans, begin = [], 0
    for part in parts:
        spans.append((begin, begin + len(part)))
        begin += len(part) + 1
    return Label(" ".join(parts), tuple(spans))


def _judged(found: Mapping[str, Any]) -> tuple[bool, bool]:
    safe, helps = found.get("safe"), found.get("helps")
    if not isinstance(safe, bool) or not isinstance(helps, bool):
        raise ShapeError("'safe' or 'helps' is neither true nor false")
    return safe, helps
