"""Verb `ability`: what a model can do apart from safety -> ability.jsonl.

Picture questions: naming, which image, same or not (`mis_dataset.mini.lessons`, pictures of their own seed). Text
questions: families that SmolLM2 itself mostly answers right on their ``choose`` half, measured on the other half.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from mis_dataset.errors import MISError
from mis_dataset.mini.lessons import ABILITY_FAMILIES, is_right, lessons
from mis_dataset.mini.text_questions import TextQuestion, text_questions
from mis_dataset.mini.text_questions import is_right as is_right_text
from trainer.artefacts import Ability, checkpoint_files, open_artefact, read
from trainer.generate import Prompt, generate

MIN_RIGHT = 0.6
"""A family of text questions is measured where SmolLM2 gets at least this share of its ``choose`` half right."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb ``ability``."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="checkpoint")
    parser.add_argument("out", type=Path, metavar="ABILITY", help="ability.jsonl")
    parser.add_argument("--choose", action="store_true", help="ask the choosing half of the text questions only")
    parser.add_argument("--chosen", type=Path, help="what --choose wrote; without it every family is asked")
    parser.add_argument("--pictures", type=int, default=408, help="how many picture questions")
    parser.add_argument("--seed", type=int, default=0, help="of the pictures")
    parser.add_argument("--max-new-tokens", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=160)
    parser.add_argument("--limit", type=int, help="the first N questions of either sort")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Asks what is missing and marks it.

    Raises:
        MISError: MODEL is none, no family was chosen, or ABILITY was begun with other settings.
    """
    asked = _text(args.choose, args.chosen, args.limit)
    if not args.choose:
        asked = _pictures(args.seed, args.pictures, args.limit) | asked
    # As in `trainer.generate`, not the batch size: no response depends on it.
    names = ("choose", "pictures", "seed", "max_new_tokens", "limit")
    inputs = [*checkpoint_files(args.model), *([args.chosen] if args.chosen else [])]
    artefact = open_artefact(args.out, Ability, {name: getattr(args, name) for name in names}, inputs)
    todo = [one.prompt for id_, one in asked.items() if id_ not in artefact.done]
    if todo:
        from trainer import models

        model, processor = models.load(args.model)
        artefact.made_on(model.device.type)
        for responses in generate(model, processor, todo, args.max_new_tokens, args.batch_size):
            artefact.append(
                Ability(one.id, one.response, asked[one.id].is_right(one.response), asked[one.id].family)
                for one in responses
            )
    artefact.finish(list(asked))
    rows = read(args.out, Ability)
    return {"ability": str(args.out), "n": len(rows), "right": sum(row.correct for row in rows), "asked": len(todo)}


def chosen_families(path: Path) -> list[str]:
    """The families of which at least `MIN_RIGHT` was answered right.

    Raises:
        MISError: There is none.
    """
    marks: dict[str, list[bool]] = {}
    for row in read(path, Ability):
        marks.setdefault(row.family, []).append(row.correct)
    families = [family for family, right in marks.items() if sum(right) >= MIN_RIGHT * len(right)]
    if not families:
        raise MISError(f"{path}: no family of text questions is answered right often enough to be measured")
    return families


class _Question(NamedTuple):
    """One question as it is asked and marked."""

    prompt: Prompt
    family: str
    is_right: Callable[[str], bool]


def _text(choose: bool, chosen: Path | None, limit: int | None) -> dict[str, _Question]:
    half = "choose" if choose else "measure"
    families = chosen_families(chosen) if chosen else None
    wanted = [one for one in text_questions() if one.half == half and (families is None or one.family in families)]
    return {one.id: _Question(Prompt(one.id, one.question, ()), one.family, _marker(one)) for one in wanted[:limit]}


def _marker(question: TextQuestion) -> Callable[[str], bool]:
    return lambda said: is_right_text(question.expected, said, question.rivals)


def _pictures(seed: int, count: int, limit: int | None) -> dict[str, _Question]:
    asked = {}
    for number, one in enumerate(lessons(f"ability/{seed}", ABILITY_FAMILIES, count)[:limit]):
        id_ = f"picture/{number}"
        asked[id_] = _Question(Prompt(id_, one.question, one.pictures), one.family, partial(is_right, one))
    return asked
