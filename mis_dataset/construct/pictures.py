"""Stage `pictures`: a question -> a picture of each object, drawn or found, judged until a critic accepts them.

The critic sees question, objects and pictures, and says what to draw instead; after so many rounds the row is
rejected. A block has one picture more, the critic sees all four pairings, and the halves share the files. Pictures are
kept as PNGs with their pixels alone: what tools write into a file may repeat how the question was worded first.

Source: the step "auto-refinement" of arXiv 2501.18533, section 3.2, which has two rounds and keeps the second unseen.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mis_dataset.client import Client
from mis_dataset.construct.blocks import other_half
from mis_dataset.construct.drawers import Drawer, Nothing, Wanted
from mis_dataset.construct.prompts import CRITIC, PHOTOGRAPH, system
from mis_dataset.construct.rows import Picture, Pictured, Question, Rejected, read_rows
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
        """What comes of one question, of one with a block both halves. Call it inside `decoding.strict_pillow`.

        Raises:
            MISError: as `Client.ask`.
            OSError: a picture cannot be written.
        """
        drawn = self._accepted(row, False, range(1, len(row.objects) + 1), _Pairing(row.objects, {}))
        if isinstance(drawn, Rejected):
            return drawn
        twin = self._accepted(row, True, [row.changed_image], _Pairing(row.twin_objects, drawn))
        if isinstance(twin, Rejected):
            return twin
        if not row.partner_image:
            return self._rows(row, drawn, twin, {})
        half, pairings = other_half(row), (drawn | twin, drawn)
        told = zip((half.objects, half.twin_objects), pairings, strict=True)
        partner = self._accepted(row, "partner", [row.partner_image], *(_Pairing(*one) for one in told))
        return partner if isinstance(partner, Rejected) else self._rows(row, drawn, twin, partner)

    def lost(self, made: Path) -> bool:
        """Whether a picture of rows that the stage made is not there, and the stage is to make it again.

        Args:
            made: file of the rows.

        Raises:
            MISError: as `read_rows`.
            OSError: the file cannot be read.
        """
        pictures = (one for row in read_rows(made, Pictured) for one in (*row.pictures, row.twin_picture))
        return not all((self.folder / one.file).is_file() for one in pictures)

    def _rows(
        self, row: Question, drawn: Mapping[int, _Drawn], twin: Mapping[int, _Drawn], partner: Mapping[int, _Drawn]
    ) -> list[Pictured]:
        """Writes every picture once; one row, or both halves of a block."""
        kept, [(changed, twins)] = self._kept(row, "object", drawn), self._kept(row, "twin", twin).items()
        rows = [Pictured(row, tuple(kept.values()), twins)]
        if partner:
            half = kept | {changed: twins} | self._kept(row, "partner", partner)
            rows.append(Pictured(other_half(row), tuple(half.values()), kept[changed]))
        return rows

    def _accepted(
        self, row: Question, kind: object, places: Iterable[int], *pairings: _Pairing
    ) -> dict[int, _Drawn] | Rejected:
        """Pictures of some places, drawn until they are good in each of the pairings, whose others are there."""
        objects, places = pairings[0].objects, list(places)
        prompts = {place: PHOTOGRAPH.format(object=objects[place - 1]) for place in places}
        for turn in range(1, self.rounds + 1):
            pictures: dict[int, _Drawn] = {}
            for place in places:
                one = self._draw(row, place, objects[place - 1], prompts[place], turn, kind)
                if isinstance(one, Rejected):
                    return one
                pictures[place] = one
            told = self._faults(row, pairings, pictures)
            if isinstance(told, Rejected):
                return told
            if told is None:
                return pictures
            prompts = {place: told[place - 1] for place in places}
        return Rejected(row.id, NAME, "not as meant", f"after {self.rounds} rounds")

    def _faults(
        self, row: Question, pairings: Sequence[_Pairing], pictures: dict[int, _Drawn]
    ) -> list[str] | Rejected | None:
        """What `_judge` says of the first pairing that is not good."""
        for objects, there in pairings:
            shown = {**there, **pictures}
            told = self._judge(row, objects, [shown[place] for place in sorted(shown)])
            if told is not None:
                return told
        return None

    def _draw(self, row: Question, place: int, thing: str, prompt: str, turn: int, kind: object) -> _Drawn | Rejected:
        seed = zlib.crc32(f"{self.seed}/{row.id}/{place}/{turn}/{kind}".encode()) % 2**31
        told = self.drawer.draw(Wanted(row.id, thing, prompt, turn, self.size, seed))
        if isinstance(told, Nothing):
            return Rejected(row.id, NAME, told.reason, told.detail)
        licence = self.licence if told.licence is None else told.licence
        try:
            png = plain_png(told.picture)
        except PictureError as error:
            # What a model or a folder gave has no original to put back.
            return Rejected(row.id, NAME, "no picture", str(error).partition(";")[0])
        return _Drawn(png, told.prompt, told.model, seed, turn, licence, told.source, told.score)

    def _judge(self, row: Question, objects: Sequence[str], drawn: Sequence[_Drawn]) -> list[str] | Rejected | None:
        """Other prompts; None where the pictures are good."""
        about = fenced("row", json.dumps({"question": row.question, "objects": list(objects)}, ensure_ascii=False))
        asked = system(CRITIC, dots=", ".join(['"..."'] * len(objects)))
        request = Request(row.id, (about, *(one.png for one in drawn)), asked)
        told = ask_object(self.critic, request, lambda found: _prompts(found, len(objects)))
        return Rejected(row.id, NAME, told.reason, told.detail) if isinstance(told, Refusal) else told

    def _kept(self, row: Question, name: str, drawn: Mapping[int, _Drawn]) -> dict[int, Picture]:
        return {place: self._keep(row, f"{name}{place}.png", one) for place, one in drawn.items()}

    def _keep(self, row: Question, name: str, one: _Drawn) -> Picture:
        file = f"pictures/{row.id}/{name}"
        path = self.folder / file
        if not path.is_file() or path.read_bytes() != one.png:  # finding it is far quicker than writing it again
            with replace_file(path) as temporary:
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


class _Pairing(NamedTuple):
    """What a row or a twin is to show, and the pictures of it that are there, by place."""

    objects: tuple[str, ...]
    there: Mapping[int, _Drawn]


def _prompts(found: Mapping[str, Any], number: int) -> list[str] | None:
    if found.get("good") is True:
        return None
    prompts = found.get("prompts")
    if found.get("good") is not False or not isinstance(prompts, list) or len(prompts) != number:
        raise ShapeError(f"'good' is not true, nor false with a list of {number} 'prompts'")
    return [text_field({"prompts": prompt}, "prompts", _MOST_PROMPT) for prompt in prompts]
