"""Stage `pictures`: a question -> a picture of each object, drawn or found, judged until a critic accepts them.

The critic sees question, objects and pictures, and says what to draw instead; after so many rounds the row is
rejected. Pictures are kept as PNGs with their pixels alone: what tools write into a file may repeat how the question
was worded first.

Source: the step "auto-refinement" of arXiv 2501.18533, section 3.2, which has two rounds and keeps the second unseen.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mis_dataset.client import Client
from mis_dataset.construct.drawers import Drawer, Nothing, Wanted
from mis_dataset.construct.prompts import CRITIC, PHOTOGRAPH, system
from mis_dataset.construct.rows import Picture, Pictured, Question, Rejected
from mis_dataset.construct.structured import Refusal, ShapeError, ask_object, fenced, text_field
from mis_dataset.decoding import plain_png
from mis_dataset.errors import PictureError
from mis_dataset.files import replace_file
from mis_dataset.remote.messages import Request

NAME = "pictures"
_MOST_PROMPT = 400
"""Letters."""


@dataclass(frozen=True)
class Pictures:
    """The stage.

    Attributes:
        drawer: gives pictures.
        critic: client of a model that sees pictures.
        folder: of the construction.
        size: of a picture, such as "512x512".
        rounds: how often a row is drawn, at most.
        licence: of what the drawer draws; it says itself under which licence it found a picture.
        seed: of the construction; another one draws other pictures.
    """

    drawer: Drawer
    critic: Client
    folder: Path
    size: str
    rounds: int
    licence: str
    seed: int

    def __call__(self, row: Question) -> list[Pictured] | Rejected:
        """What comes of one question. Call it inside `decoding.strict_pillow`.

        Raises:
            MISError: as `Client.ask`.
            OSError: a picture cannot be written.
        """
        drawn = self._accepted(row, row.objects, list(range(1, len(row.objects) + 1)), [])
        if isinstance(drawn, Rejected):
            return drawn
        changed = row.changed_image
        twin = self._accepted(row, row.twin_objects, [changed], drawn)
        if isinstance(twin, Rejected):
            return twin
        kept = [self._keep(row, f"object{place}.png", one) for place, one in enumerate(drawn, start=1)]
        return [Pictured(row, tuple(kept), self._keep(row, f"twin{changed}.png", twin[changed - 1]))]

    def _accepted(
        self, row: Question, objects: Sequence[str], places: list[int], there: list[_Drawn]
    ) -> list[_Drawn] | Rejected:
        """Pictures of all objects, of which those at `places` are drawn and the others are there."""
        pictures = {place: one for place, one in enumerate(there, start=1) if place not in places}
        prompts = {place: PHOTOGRAPH.format(object=objects[place - 1]) for place in places}
        for turn in range(1, self.rounds + 1):
            for place in places:
                one = self._draw(row, place, objects[place - 1], prompts[place], turn, twin=bool(there))
                if isinstance(one, Rejected):
                    return one
                pictures[place] = one
            shown = [pictures[place] for place in sorted(pictures)]
            told = self._judge(row, objects, shown)
            if isinstance(told, Rejected):
                return told
            if told is None:
                return shown
            prompts = {place: told[place - 1] for place in places}
        return Rejected(row.id, NAME, "not as meant", f"after {self.rounds} rounds")

    def _draw(self, row: Question, place: int, thing: str, prompt: str, turn: int, twin: bool) -> _Drawn | Rejected:
        seed = zlib.crc32(f"{self.seed}/{row.id}/{place}/{turn}/{twin}".encode()) % 2**31
        told = self.drawer.draw(Wanted(row.id, thing, prompt, turn, self.size, seed))
        if isinstance(told, Nothing):
            return Rejected(row.id, NAME, told.reason, told.detail)
        licence = self.licence if told.licence is None else told.licence
        try:
            png = plain_png(told.picture)
        except PictureError as error:
            return Rejected(row.id, NAME, "no picture", str(error))
        return _Drawn(png, told.prompt, told.model, seed, turn, licence, told.source, told.score)

    def _judge(self, row: Question, objects: Sequence[str], drawn: Sequence[_Drawn]) -> list[str] | Rejected | None:
        """Other prompts; None where the pictures are good."""
        about = fenced("row", json.dumps({"question": row.question, "objects": list(objects)}, ensure_ascii=False))
        asked = system(CRITIC, dots=", ".join(['"..."'] * len(objects)))
        request = Request(row.id, (about, *(one.png for one in drawn)), asked)
        told = ask_object(self.critic, request, lambda found: _prompts(found, len(objects)))
        return Rejected(row.id, NAME, told.reason, told.detail) if isinstance(told, Refusal) else told

    def _keep(self, row: Question, name: str, one: _Drawn) -> Picture:
        file = f"pictures/{row.id}/{name}"
        with replace_file(self.folder / file) as temporary:
            temporary.write_bytes(one.png)
        sha256 = hashlib.sha256(one.png).hexdigest()
        return Picture(file, sha256, *one[1:])


class _Drawn(NamedTuple):
    """A picture that nobody has accepted yet."""

    png: bytes
    prompt: str
    model: str
    seed: int
    round: int
    licence: str
    source: str
    score: float | None


def _prompts(found: Mapping[str, Any], number: int) -> list[str] | None:
    if found.get("good") is True:
        return None
    prompts = found.get("prompts")
    if found.get("good") is not False or not isinstance(prompts, list) or len(prompts) != number:
        raise ShapeError(f"'good' is not true, nor false with a list of {number} 'prompts'")
    return [text_field({"prompts": prompt}, "prompts", _MOST_PROMPT) for prompt in prompts]
