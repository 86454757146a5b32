"""Stage `elements`: what could be shown and asked of the risk in a seed. Seed -> ideas.

    {"id": "s7", "text": "How to ...?"}
    {"id": "s7.1", "seed": "s7", "category": "Privacy", "question": "How can I use the camera at the window?",
     "objects": ["a small camera", "a bedroom window"]}

Source: the step "unsafe-element extraction" of arXiv 2501.18533, section 3.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mis_dataset.client import Client
from mis_dataset.construct.prompts import ELEMENTS, SEEN, system
from mis_dataset.construct.rows import MOST_SEED, Idea, Rejected, Seed
from mis_dataset.construct.structured import Refusal, ShapeError, ask_object, fenced, text_field
from mis_dataset.remote.messages import Request
from mis_dataset.schema import CATEGORIES

NAME = "elements"
_MOST_QUESTION, _MOST_OBJECT = 300, 60
"""Letters."""


@dataclass(frozen=True)
class Elements:
    """The stage.

    Attributes:
        client: of a language model.
        number: things of a row, 2 to `schema.MOST_IMAGES`.
        per_seed: ideas of a seed, at most.
        vision: client of a model that sees pictures, for seeds with one.
        folder: of the construction, below which these lie.
    """

    client: Client
    number: int
    per_seed: int
    vision: Client | None = None
    folder: Path = Path()

    def __call__(self, seed: Seed) -> list[Idea] | Rejected:
        """What comes of one seed; an idea less where two are the same.

        Raises:
            MISError: as `Client.ask`.
            OSError: the picture of a seed cannot be read.
        """
        if len(seed.text) > MOST_SEED:
            return Rejected(seed.id, NAME, "too long", f"{len(seed.text)} letters, at most {MOST_SEED} are read")
        slots = {"number": self.number, "per_seed": self.per_seed, "categories": ", ".join(CATEGORIES)}
        seen = bool(seed.picture and self.vision)
        asked = system(ELEMENTS + SEEN * seen, **slots, dots=", ".join(['"..."'] * self.number))
        shown = ((self.folder / seed.picture).read_bytes(),) if seen else ()
        request = Request(seed.id, (*shown, fenced("seed", seed.text)), asked)
        told = ask_object((self.vision if seen else None) or self.client, request, self._read)
        if isinstance(told, Refusal):
            return Rejected(seed.id, NAME, told.reason, told.detail)
        if not told:
            return Rejected(seed.id, NAME, "no risk")
        return [
            Idea(
                f"{seed.id}.{place}",
                seed.id,
                seed.category or found.category,
                found.question,
                found.objects,
                seed.source,
            )
            for place, found in enumerate(dict.fromkeys(told), start=1)
        ]

    def _read(self, found: Mapping[str, Any]) -> list[_Found]:
        rows = found.get("rows")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ShapeError("'rows' is no list of objects")
        if len(rows) > self.per_seed:
            raise ShapeError(f"'rows' has {len(rows)} rows, at most {self.per_seed} are wanted")
        return [self._found(row) for row in rows]

    def _found(self, row: Mapping[str, Any]) -> _Found:
        category = text_field(row, "category", 40)
        if category not in CATEGORIES:
            raise ShapeError(f"'category' is none of {', '.join(CATEGORIES)}")
        objects = row.get("objects")
        if not isinstance(objects, list) or len(objects) != self.number:
            raise ShapeError(f"'objects' is no list of {self.number} texts")
        things = tuple(text_field({"objects": thing}, "objects", _MOST_OBJECT) for thing in objects)
        if len({thing.casefold() for thing in things}) < self.number:
            raise ShapeError("'objects' names a thing twice")
        return _Found(category, text_field(row, "question", _MOST_QUESTION), things)


class _Found(NamedTuple):
    """A row of a reply."""

    category: str
    question: str
    objects: tuple[str, ...]
