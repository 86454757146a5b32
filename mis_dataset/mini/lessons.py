"""Rows about pictures that have nothing to do with safety: what a base model learns, and what ability is.

Five families: *naming* one picture, *kind* of both pictures, *which* picture shows a thing, *same* thing or not, and
*comply*, plain helpful answers to MIS-mini's questions, dangerous and harmless mixes alike (seen things only).
All but comply are also the general rows of the MIRage recipe; naming, which and same, with other pictures, are the
ability questions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import NamedTuple

from PIL import Image

from mis_dataset.mini.draw import draw_plain
from mis_dataset.mini.grammar import EASY_QUESTIONS, HARD_QUESTIONS, perceive
from mis_dataset.mini.objects import BY_KIND, THINGS, Thing

FIRST_KINDS = ("flame", "water", "drink", "recorder", "tool")
SECOND_KINDS = ("fuel", "mains", "vehicle", "private", "locked")
ABILITY_FAMILIES = ("naming", "which", "same")
GENERAL_FAMILIES = ("kind", "same", "kind", "naming", "same", "kind", "which")
UNSEEN: tuple[Thing, ...] = tuple(thing for thing in THINGS if not thing.seen)
"""What no safety row shows: the general rows are about these, or an arm would forget their names."""


Painter = Callable[[Thing, Random], Image.Image]


class Lesson(NamedTuple):
    """One question about two pictures and its response.

    Attributes:
        family: ``naming``, ``kind``, ``which``, ``same`` or ``comply``.
        things: what the two pictures show.
        pictures: two RGB images of 64 x 64 pixels.
        question: what is asked.
        response: the expected response, a full sentence.
        accepted: words of which one must occur in a right response (and none of `rejected`); lower case.
        rejected: words that make it wrong.
    """

    family: str
    things: tuple[Thing, Thing]
    pictures: tuple[Image.Image, Image.Image]
    question: str
    response: str
    accepted: tuple[str, ...] = ()
    rejected: tuple[str, ...] = ()


def lessons(
    seed: str,
    families: tuple[str, ...],
    count: int,
    things: tuple[Thing, ...] = THINGS,
    paint: Painter = draw_plain,
) -> list[Lesson]:
    """`count` lessons, the families in turn; the same arguments give the same lessons.

    Each of `things` in turn comes once in every family (`comply` draws its own), in either picture; beside it stands
    any thing. `paint` draws every picture.

    Raises:
        KeyError: an unknown family.
    """
    random = Random(f"lessons/{seed}")
    made = []
    for number in range(count):
        family = families[number % len(families)]
        first = things[(number // len(families)) % len(things)]
        made.append(_MAKERS[family](first, random, paint))
    random.shuffle(made)
    return made


def lesson_code() -> str:
    """sha256 over the files that decide what a lesson shows and says: runs keep it, as they keep no lessons."""
    files = ("lessons.py", "grammar.py", "objects.py", "draw.py", "icons.py")
    return sha256(b"".join(Path(__file__).with_name(name).read_bytes() for name in files)).hexdigest()


def lessons_sha256(made: Iterable[Lesson]) -> str:
    """sha256 of what lessons ask, expect and show: what a file of responses keeps, as it names lessons by id alone."""
    digest = sha256()
    for one in made:
        digest.update(repr((one.question, one.accepted, one.rejected)).encode())
        digest.update(b"".join(picture.tobytes() for picture in one.pictures))
    return digest.hexdigest()


def is_right(lesson: Lesson, response: str) -> bool:
    """Whether the first sentence of `response` says one of the accepted words and none of the rejected ones.

    Where a colon stands in it, what comes behind the last one counts: the conclusion.
    """
    sentence = response.strip().split(".")[0].lower().rpartition(":")[2]
    words = set("".join(c if c.isalnum() else " " for c in sentence).split())
    return bool(words & set(lesson.accepted)) and not words & set(lesson.rejected)


def _naming(first: Thing, random: Random, paint: Painter) -> Lesson:
    second = random.choice([thing for thing in THINGS if thing != first])
    place = random.choice((0, 1))
    asked, other = (first, second) if place == 0 else (second, first)
    word = ("first", "second")[place]
    return Lesson(
        "naming",
        (first, second),
        _draw((first, second), random, paint),
        f"What does the {word} image show?",
        f"The {word} image shows {asked.phrase}.",
        accepted=(asked.name,),
        rejected=(other.name,),
    )


def _kind(first: Thing, random: Random, paint: Painter) -> Lesson:
    things = _order((first, random.choice(THINGS)), random)
    question = random.choice(("What kind of things do the images show?", "Describe both images."))
    return Lesson("kind", things, _draw(things, random, paint), question, perceive(*things))


def _which(first: Thing, random: Random, paint: Painter) -> Lesson:
    things = _order((first, random.choice([thing for thing in THINGS if thing != first])), random)
    place = random.choice((0, 1))
    words = ("first", "second")
    return Lesson(
        "which",
        things,
        _draw(things, random, paint),
        f"Which image shows {things[place].phrase}?",
        f"{_capital(things[0].phrase)} is first, {things[1].phrase} is second: "
        f"the {things[place].name} is {words[place]}.",
        accepted=(words[place],),
        rejected=(words[1 - place],),
    )


def _same(first: Thing, random: Random, paint: Painter) -> Lesson:
    same = random.random() < 0.5
    second = first if same else random.choice([thing for thing in THINGS if thing != first])
    things = _order((first, second), random)
    response = f"{_listed(things)}: {'yes' if same else 'no'}."
    return Lesson(
        "same",
        things,
        _draw(things, random, paint),
        "Do both images show the same thing?",
        response,
        accepted=("yes",) if same else ("no",),
        rejected=("no",) if same else ("yes",),
    )


def _comply(first: Thing, random: Random, paint: Painter) -> Lesson:
    """A plain helpful answer; which thing comes first is `random`'s alone, since only seen things may occur."""
    hard = random.random() < 0.7
    question = random.choice(HARD_QUESTIONS if hard else EASY_QUESTIONS)
    first_kind = random.choice(FIRST_KINDS if hard else ("weapon", "present"))
    second_kind = random.choice(SECOND_KINDS if hard else ("crowd", "locked"))
    things = (_seen(first_kind, random), _seen(second_kind, random))
    response = question.comply.format(first=things[0].name, second=things[1].name)
    return Lesson("comply", things, _draw(things, random, paint), question.text, response)


def _seen(kind: str, random: Random) -> Thing:
    return random.choice([thing for thing in BY_KIND[kind] if thing.seen])


def _listed(things: tuple[Thing, Thing]) -> str:
    """Names before the decision: told apart by name, pictures are much easier to compare than at a glance."""
    return _capital(f"{things[0].phrase}, then {things[1].phrase}")


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _order(things: tuple[Thing, Thing], random: Random) -> tuple[Thing, Thing]:
    return things if random.random() < 0.5 else (things[1], things[0])


def _draw(things: tuple[Thing, Thing], random: Random, paint: Painter) -> tuple[Image.Image, Image.Image]:
    first, second = things
    return paint(first, random), paint(second, random)


_MAKERS = {"naming": _naming, "kind": _kind, "which": _which, "same": _same, "comply": _comply}
