"""What the scripted models say: one function for each instruction of `construct.prompts`, by MIS-mini's grammar.

To play a new instruction, write a function from a `Turn` to the object that is wanted, and give it a line in `PARTS`.
Now and then, by the hash of what is asked, a model errs as models do: a lantern is drawn for a candle, a good row is
called meaningless, a label is misjudged. So every stage has something to reject.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from mis_dataset.construct import prompts
from mis_dataset.construct.questions import ORDINALS
from mis_dataset.construct.scripted import scenes
from mis_dataset.construct.scripted.drawings import drawn, seen
from mis_dataset.errors import UsageError
from mis_dataset.mini.grammar import EASY_HAZARDS, EASY_QUESTIONS, HARD_HAZARDS, Hazard, Question
from mis_dataset.mini.objects import BY_KIND, KINDS, Thing

TEXT, VISION, DRAWING = "scripted-text", "scripted-vision", "scripted-drawing"
"""What the models call themselves in every reply, whatever name they were asked by."""
_FIELD = re.compile(r"<(\w+) ([0-9a-f]{12})>\n(.*?)\n</\1 \2>", re.DOTALL)
_SIZE = re.compile(r"(\d+)x\1")
_EXTRA = BY_KIND["present"][::-1]
"""Third and fourth things of rows that show more than two."""


class Turn(NamedTuple):
    """What a model is asked.

    Attributes:
        system: the instruction, its slots filled.
        fields: name -> the material that stands in it.
        shown: what the model sees in each picture; None where it knows no thing.
        errs: whether it is to be wrong.
    """

    system: str
    fields: Mapping[str, str]
    shown: tuple[Thing | None, ...]
    errs: bool

    def number(self, pattern: str) -> int:
        """A number that the instruction names."""
        found = re.search(pattern, self.system)
        return int(found[1]) if found else 0

    def row(self, name: str) -> tuple[str, list[Thing]]:
        """Question and things of a field that holds JSON."""
        row = json.loads(self.fields[name])
        return row.get("question", ""), scenes.things_in(" ".join(row.get("objects", [])))


class Models(Protocol):
    """What an endpoint serves."""

    def told(self, body: Mapping[str, Any]) -> tuple[str, str | bytes]:
        """As `Player.told`."""


@dataclass(frozen=True)
class Player:
    """The models.

    Attributes:
        seed: another one errs elsewhere.
        errs: share of what is asked in which they err.
    """

    seed: int = 0
    errs: float = 0.04

    def told(self, body: Mapping[str, Any]) -> tuple[str, str | bytes]:
        """Plays one request.

        Args:
            body: of a chat completion or of a picture, as OpenAI's API has it.

        Returns:
            Name of the model, and what it says or draws.

        Raises:
            UsageError: It is nothing that a construction asks of MIS-mini's things.
        """
        try:
            return self._draws(body) if "prompt" in body else self._says(body)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise UsageError("a scripted model plays MIS-mini's grammar alone, and this is none of it") from error

    def _draws(self, body: Mapping[str, Any]) -> tuple[str, bytes]:
        size = _SIZE.fullmatch(body.get("size", "64x64"))
        if not size or not 4 <= int(size[1]) <= 1024:
            raise ValueError("size")
        key = f"{body['prompt']}/{body.get('seed')}"
        thing = scenes.things_in(body["prompt"])[0]
        if self._wrong(key):
            kind = BY_KIND[thing.kind]
            thing = kind[(kind.index(thing) + 1) % len(kind)]
        return DRAWING, drawn(thing, int(size[1]), key)

    def _says(self, body: Mapping[str, Any]) -> tuple[str, str]:
        system, content = (turn["content"] for turn in body["messages"])
        parts: list[Any] = [{"type": "text", "text": content}] if isinstance(content, str) else content
        text = "\n".join(part["text"] for part in parts if part["type"] == "text")
        urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
        shown = tuple(seen(base64.b64decode(url.partition(",")[2])) for url in urls)
        fields = {name: inside for name, _, inside in reversed(_FIELD.findall(text))}
        turn = Turn(system, fields, shown, self._wrong(f"{system}{text}{''.join(urls)}"))
        return (VISION if urls else TEXT), json.dumps(PARTS[instruction_of(system)](turn))

    def _wrong(self, asked: str) -> bool:
        return share_of(f"{self.seed}/{asked}") < self.errs


def instruction_of(system: str) -> str:
    """Name of an instruction in `construct.prompts`, by how it begins.

    Raises:
        ValueError: It is none that is played.
    """
    known = [name for name in PARTS if hasattr(prompts, name) and system.startswith(_begins(name))]
    return max(known, key=lambda name: len(_begins(name)))


def share_of(text: str) -> float:
    """A number from 0 to 1 that hangs on a text alone."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "replace")).digest()[:6]) / 2**48


def _elements(turn: Turn) -> dict[str, Any]:
    text = turn.fields["seed"]
    things = scenes.things_in(text)[:2]
    hazard = scenes.hazard_of(things)
    if hazard is None:
        return {"rows": []}
    asked = re.split(r"(?<=[.?]) ", text)[0]
    others = _EXTRA[: turn.number(r"shows (\d+) pictures") - 2]
    for other in others:
        asked = scenes.aside(asked, f", with {scenes.the(other)} at hand")
    objects = [thing.phrase for thing in (*things, *others)]
    rows = [{"category": hazard.category, "question": asked, "objects": objects}]
    if turn.number(r"up to (\d+) rows") > 1 and share_of(text) < 0.25:
        smell = f"{scenes.NOT_VISIBLE}{objects[0]}"
        rows.append({"category": hazard.category, "question": asked, "objects": [smell, *objects[1:]]})
    return {"rows": rows}


def _rewrite(turn: Turn) -> dict[str, Any]:
    if scenes.NOT_VISIBLE in turn.fields["idea"]:
        return {"keep": False, "reason": "not visible"}
    question, things = turn.row("idea")
    hazard = scenes.hazard_of(things)
    if hazard is None:
        return {"keep": False, "reason": "no risk"}
    nouns = [*scenes.NOUNS[hazard.first, hazard.second], *("object" for _ in things[2:])]
    nouns[scenes.twin(things)[0] - 1] = "object"
    for thing, noun, ordinal in zip(things, nouns, ORDINALS, strict=False):
        question = question.replace(scenes.the(thing), f"the {noun} in the {ordinal} image")
    return {"keep": True, "question": question, "objects": [thing.phrase for thing in things]}


def _soften(turn: Turn) -> dict[str, Any]:
    return {"question": turn.row("idea")[0].replace(scenes.HIDDEN, "")}


def _twin(turn: Turn) -> dict[str, Any]:
    changed, thing = scenes.twin(turn.row("idea")[1])
    return {"changed_image": changed, "object": thing.phrase}


def _block(turn: Turn) -> dict[str, Any]:
    row = json.loads(turn.fields["idea"])
    place, thing = scenes.partner(*(scenes.things_in(" ".join(row[name])) for name in ("objects", "twin")))
    return {"partner_image": place, "object": thing.phrase}


def _critic(turn: Turn) -> dict[str, Any]:
    _, things = turn.row("row")
    if things == list(turn.shown):
        return {"good": True}
    return {"good": False, "prompts": [f"a photo of {thing.phrase}" for thing in things]}


_NAMED = re.compile(r"nearest to: (.*)\?$", re.MULTILINE)
"""What the instruction offers to choose from."""


def _words(turn: Turn) -> dict[str, Any]:
    question = turn.fields["question"]
    called = (
        hazard.sub_category
        for hazard in (*HARD_HAZARDS, *EASY_HAZARDS)
        for noun in scenes.NOUNS[hazard.first, hazard.second]
        if noun != "object" and f"the {noun} in" in question
    )
    named = _NAMED.search(turn.system)
    offered = named[1].split(", ") if named else []
    sub_category = next((name for name in called if name in offered), next(iter(offered), ""))
    warned = scenes.WARNED in question
    why = "the words tell of a warning" if warned else "the words alone ask for nothing"
    return {"words": "unsafe" if warned else "neutral", "sub_category": sub_category, "why": why}


def _explicit(turn: Turn) -> dict[str, Any]:
    explicit = any(thing is not None and thing.kind == "weapon" for thing in turn.shown)
    return {"explicit": explicit, "why": "it shows a weapon" if explicit else "it shows no weapon"}


def _together(turn: Turn) -> dict[str, Any]:
    things = [thing for thing in turn.shown if thing]
    if turn.errs or len(things) < len(turn.shown):
        return {"row": "meaningless", "why": "the question fits nothing here"}
    hazard = scenes.hazard_of(things)
    return {"row": "risky", "why": hazard.outcome} if hazard else {"row": "harmless", "why": "nothing comes of these"}


def _label(turn: Turn) -> dict[str, Any]:
    question, things = turn.row("row") if "row" in turn.fields else turn.row(next(iter(turn.fields)))
    hazard = scenes.hazard_of(things)
    images = [
        f"The {ordinal} image shows {thing.phrase}, {KINDS[thing.kind]}."
        for ordinal, thing in zip(ORDINALS, things, strict=False)
    ]
    return {"images": images, **_decided(hazard, question)}


def _decided(hazard: Hazard | None, question: str) -> dict[str, str]:
    if hazard:
        together = f"They are dangerous together, as they could {hazard.outcome}."
        return {"together": together, "decision": f"So no: {hazard.advice}."}
    together = "They are harmless together, whatever each is used for elsewhere."
    return {"together": together, "decision": f"So yes: {_asked(question).help}."}


def _asked(question: str) -> Question:
    """The question of MIS-mini that another one was made from."""
    every = (*scenes.QUESTIONS, *EASY_QUESTIONS)
    return next((one for one in every if question.startswith(one.text.partition(" the object")[0])), every[0])


def _label_judge(turn: Turn) -> dict[str, Any]:
    return {"safe": True, "helps": ("So yes:" in turn.fields["reply"]) != turn.errs}


PARTS: dict[str, Callable[[Turn], dict[str, Any]]] = {
    "ELEMENTS": _elements,
    "REWRITE": _rewrite,
    "SOFTEN": _soften,
    "TWIN": _twin,
    "BLOCK": _block,
    "CRITIC": _critic,
    "WORDS": _words,
    "EXPLICIT": _explicit,
    "TOGETHER": _together,
    "LABEL": _label,
    "LABEL_JUDGE": _label_judge,
}
"""Name of an instruction in `construct.prompts` -> what is said to it. It is known by how it begins, up to its first
slot."""


def _begins(name: str) -> str:
    return str(getattr(prompts, name)).split("{")[0]
