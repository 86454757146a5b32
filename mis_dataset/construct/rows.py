"""The rows of a construction, from seed to label: one frozen class a stage, each with what the stages before it made.

An id is made once and only grows: seed ``s7`` -> ideas ``s7.1`` and ``s7.2``, one row of the release each. Ids are
ours: nothing that a seed or a model says is ever part of one, or of the name of a file. The second half of a block is
``s7.1b``, see `blocks`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from mis_dataset.errors import MISError, refuse_constant

SEEDS = "seeds.jsonl"
"""In the folder of a construction; its rows are of `Seed`."""
MOST_SEED = 4000
"""Letters of a seed. What is longer is no question that anybody asks, and would be paid for by the token."""


@dataclass(frozen=True)
class Seed:
    """What a row is made from.

    Attributes:
        id: ours, `s` and a number.
        text: a question or an instruction; untrusted.
        source: file or dataset, and which row of it.
        licence: of that dataset, as an SPDX id or in its own words; empty where it is not known.
        category: one of `schema.CATEGORIES` where the source says so, else None.
        picture: that the text is about, as a path below the folder of the construction; empty where there is none.
    """

    id: str
    text: str
    source: str
    licence: str = ""
    category: str | None = None
    picture: str = ""


@dataclass(frozen=True)
class Idea:
    """A question that is about two or more things, as a model found it in a seed.

    Attributes:
        id: ``<seed>.<number>``.
        seed: id of the seed.
        category: one of `schema.CATEGORIES`.
        question: names the things.
        objects: the things, in the order of the pictures.
        source: of the seed.
    """

    id: str
    seed: str
    category: str
    question: str
    objects: tuple[str, ...]
    source: str = ""


@dataclass(frozen=True)
class Question:
    """What is asked about pictures without naming what they show, and what its benign twin shows.

    Attributes:
        id: of the idea.
        seed: id of the seed.
        category: one of `schema.CATEGORIES`.
        question: speaks of "the first image" and so on; harmless in words.
        plain: the same before its wording was softened; never part of a release.
        objects: what the pictures show.
        twin_objects: what those of the benign twin show; all but one are the same.
        changed_image: number of the picture that the twin exchanges, from 1.
        source: of the seed.
        partner_image: number of the other picture that the other half of its block exchanges, 0 without a block.
        partner: what that one shows in the other half.
    """

    id: str
    seed: str
    category: str
    question: str
    plain: str
    objects: tuple[str, ...]
    twin_objects: tuple[str, ...]
    changed_image: int
    source: str = ""
    partner_image: int = 0
    partner: str = ""


@dataclass(frozen=True)
class Picture:
    """A picture and where it comes from.

    Attributes:
        file: path below the folder of the construction, by ids of ours.
        sha256: of the file.
        prompt: what it was drawn by.
        model: that drew it, as its endpoint names it.
        seed: that it was drawn with, or was to be.
        round: in which it was accepted, from 1.
        licence: of the picture, as whoever runs the construction says of that model; of one that was found, as its
            folder or dataset says, empty where that does not.
        source: where it was found; empty where it was drawn.
        score: how well it fits the prompt, where it was found.
    """

    file: str
    sha256: str
    prompt: str
    model: str
    seed: int
    round: int
    licence: str
    source: str = ""
    score: float | None = None

    @property
    def found(self) -> bool:
        """Whether it is a photograph that was found, not drawn."""
        return bool(self.source)


@dataclass(frozen=True)
class Pictured:
    """A question with its pictures.

    Attributes:
        row: the question.
        pictures: of `row.objects`, in order.
        twin_picture: that stands in the place of picture `row.changed_image` in the twin.
    """

    row: Question
    pictures: tuple[Picture, ...]
    twin_picture: Picture

    @property
    def id(self) -> str:
        """The row's."""
        return self.row.id

    def twin_pictures(self) -> tuple[Picture, ...]:
        """Those of the twin, in order."""
        changed = self.row.changed_image
        return tuple(self.twin_picture if place == changed else one for place, one in enumerate(self.pictures, start=1))


@dataclass(frozen=True)
class Verdict:
    """What one expert says of a row.

    Attributes:
        expert: its name.
        verdict: "keep", or why not; or what decides where the row goes, see `filters.fate`.
        detail: what it hangs on, such as a score; in our words.
        why: its reason in the words of a model, where one was asked; untrusted.
    """

    expert: str
    verdict: str
    detail: str = ""
    why: str = ""


@dataclass(frozen=True)
class Judged:
    """A row with pictures and what all experts say of it.

    Attributes:
        row: with its pictures.
        sub_category: a key of `schema.SUB_CATEGORIES`.
        verdicts: one an expert, in the order in which they were asked.
    """

    row: Pictured
    sub_category: str
    verdicts: tuple[Verdict, ...]

    @property
    def id(self) -> str:
        """The row's."""
        return self.row.id


@dataclass(frozen=True)
class Label:
    """A safety chain of thought.

    Attributes:
        response: the whole text.
        spans: where its parts begin and end in it, in letters: what the images show, what they mean together, the
            decision.
    """

    response: str
    spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Labelled:
    """A train row with its label and that of its twin.

    Attributes:
        row: with its verdicts.
        label: declines.
        twin_label: helps.
    """

    row: Judged
    label: Label
    twin_label: Label

    @property
    def id(self) -> str:
        """The row's."""
        return self.row.id


@dataclass(frozen=True)
class Rejected:
    """What did not go on, and why.

    Attributes:
        id: of the row or the seed.
        stage: that rejected it.
        reason: one of a few words, to be counted.
        detail: in our words; may be empty.
        label: that was rejected, where it was one; untrusted.
    """

    id: str
    stage: str
    reason: str
    detail: str = ""
    label: str = ""


AnyRow = Seed | Idea | Question | Pictured | Judged | Labelled | Rejected
Row = TypeVar("Row", bound=AnyRow | Picture | Verdict | Label)


def to_line(row: AnyRow) -> str:
    """A row as a line of JSONL."""
    return json.dumps(vars(row), default=vars, ensure_ascii=False, allow_nan=False) + "\n"


def read_rows(path: Path, kind: type[Row], places: Iterable[int] | None = None) -> Iterator[Row]:
    """Reads a file that a stage wrote, one row at a time.

    Args:
        path: of the file.
        kind: of its rows.
        places: of the rows to read, as `placed_rows` gives them; None: all, in order.

    Raises:
        MISError: A line is not of that kind; the file was not written by this version.
        OSError: The file cannot be read.
    """
    if places is None:
        yield from (row for _, row in placed_rows(path, kind))
        return
    with path.open("rb") as file:
        for place in places:
            file.seek(place)
            yield _parsed(file.readline(), kind, f"{path}: the line at byte {place}")


def placed_rows(path: Path, kind: type[Row]) -> Iterator[tuple[int, Row]]:
    """As `read_rows`, each row with its place in the file."""
    place = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            yield place, _parsed(line, kind, f"{path}: line {number}")
            place += len(line)


def _parsed(line: bytes, kind: type[Row], where: str) -> Row:
    try:
        found = _DECODER.decode(line.decode())
        if type(found) is not kind:
            raise ValueError("another kind")
    except (ValueError, TypeError, RecursionError) as error:
        raise MISError(
            f"{where} is no {kind.__name__.lower()}; remove the file, and the stage writes it anew"
        ) from error
    return found


def _row(found: dict[str, Any]) -> Any:
    """A row, or what stands inside of one, told by the names of its fields."""
    kind = _KINDS.get(tuple(found))
    if kind is None:
        raise ValueError("other names")
    return kind(**{name: _tuple(value) if type(value) is list else value for name, value in found.items()})


def _tuple(values: list[Any]) -> tuple[Any, ...]:
    return tuple(_tuple(value) if type(value) is list else value for value in values)


_DECODER = json.JSONDecoder(object_hook=_row, parse_constant=refuse_constant)
_KINDS: dict[tuple[str, ...], type[Any]] = {
    tuple(kind.__dataclass_fields__): kind
    for kind in (Seed, Idea, Question, Picture, Pictured, Verdict, Judged, Label, Labelled, Rejected)
}
"""Names of fields, in their order -> the kind that has them."""
