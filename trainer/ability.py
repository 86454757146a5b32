"""Verb `ability`: what a model can do apart from safety -> ability.jsonl.

Picture questions: naming, which image, same or not (`mis_dataset.mini.lessons`, pictures of their own seed). Text
questions: families that SmolLM2 itself mostly answers right on their ``choose`` half, measured on the other half.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from mis_dataset.arguments import positive
from mis_dataset.errors import MISError
from mis_dataset.mini.lessons import ABILITY_FAMILIES, Lesson, is_right, lessons, lessons_sha256
from mis_dataset.mini.text_questions import TextQuestion, bank_sha256, text_questions
from mis_dataset.mini.text_questions import is_right as is_right_text
from trainer.artefacts import Ability, open_artefact, read
from trainer.engines.local import VERSION, generate
from trainer.files import adapter_files, checkpoint_files
from trainer.probes import drawn
from trainer.prompts import Prompt
from trainer.shares import refuse_several
from trainer.training.rows import read_said

MIN_RIGHT = 0.6
"""A family of text questions is measured where SmolLM2 gets at least this share of its ``choose`` half right."""
MAX_NEW_TOKENS = 16
"""Of a response to such a question."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb ``ability``."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="checkpoint")
    parser.add_argument("out", type=Path, metavar="ABILITY", help="ability.jsonl")
    parser.add_argument("--adapter", type=Path, help="PEFT adapter on top of MODEL")
    parser.add_argument(
        "--said", type=Path, help="said_before.jsonl of the base: ask only families that SmolLM2 gets right"
    )
    parser.add_argument("--pictures", type=positive, default=408, help="picture questions (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the pictures (default %(default)s)")
    parser.add_argument("--max-new-tokens", type=positive, default=MAX_NEW_TOKENS, help="default %(default)s")
    parser.add_argument("--batch-size", type=positive, default=160, help="asked together (default %(default)s)")
    parser.add_argument("--limit", type=positive, help="the first N questions of either sort")
    parser.add_argument("--float32", action="store_true", help="also where the device has units for bfloat16")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Asks what is missing and marks it.

    Raises:
        MISError: MODEL is none, no family was chosen, or ABILITY was begun with other settings.
    """
    refuse_several("ability")
    shown = lessons(f"ability/{args.seed}", ABILITY_FAMILIES, args.pictures)
    asked = picture_questions(shown[: args.limit]) | text_to_measure(args.said, args.limit)
    names = ("pictures", "seed", "max_new_tokens", "limit", "float32")  # not the batch size, as in `trainer.generate`
    inputs = [*checkpoint_files(args.model), *([args.said] if args.said else [])]
    inputs += adapter_files(args.adapter) if args.adapter else []
    settings = {name: getattr(args, name) for name in names}
    settings |= {"version": VERSION, "picture_questions": lessons_sha256(shown), "text_questions": bank_sha256()}
    artefact = open_artefact(args.out, Ability, settings, inputs)
    missing = len(asked.keys() - artefact.done)
    if missing:
        from trainer import models

        model, processor = models.load(args.model, args.adapter, float32=args.float32)
        artefact.made_on(models.place_of(model))
        prompts = [one.prompt for one in asked.values()]
        for responses in generate(model, processor, prompts, args.max_new_tokens, args.batch_size, artefact.done):
            artefact.append(
                Ability(one.id, one.response, asked[one.id].is_right(one.response), asked[one.id].family)
                for one in responses
            )
    artefact.finish(list(asked))
    rows = read(args.out, Ability)
    return {"ability": str(args.out), "n": len(rows), "right": sum(row.correct for row in rows), "asked": missing}


def chosen_families(path: Path) -> list[str]:
    """The families of which SmolLM2 said at least `MIN_RIGHT` of the choosing half right.

    Args:
        path: said_before.jsonl of the base.

    Raises:
        MISError: There is none, or as `trainer.training.rows.read_said`.
    """
    marks: dict[str, list[bool]] = {}
    for asked, row in read_said(path):
        marks.setdefault(asked.family, []).append(is_right_text(asked.expected, row.response, asked.rivals))
    families = [family for family, right in marks.items() if sum(right) >= MIN_RIGHT * len(right)]
    if not families:
        raise MISError(f"{path}: no family of text questions is answered right often enough to be measured")
    return families


class Question(NamedTuple):
    """One question as it is asked and marked.

    Attributes:
        prompt: with its id, `picture/<n>` or `text/<n>`.
        family: the kind of question, such as "naming".
        is_right: whether a response is right.
    """

    prompt: Prompt
    family: str
    is_right: Callable[[str], bool]


def text_to_measure(said: Path | None, limit: int | None) -> dict[str, Question]:
    """Text questions of the measuring half by id, at most `limit`; with `said`, of `chosen_families` alone."""
    families = chosen_families(said) if said else None
    wanted = [one for one in text_questions() if one.half == "measure" and (families is None or one.family in families)]
    return {one.id: Question(Prompt(one.id, one.question, ()), one.family, _marker(one)) for one in wanted[:limit]}


def _marker(question: TextQuestion) -> Callable[[str], bool]:
    return lambda said: is_right_text(question.expected, said, question.rivals)


def picture_questions(shown: Sequence[Lesson]) -> dict[str, Question]:
    """Lessons as questions, `picture/<n>` by their order."""
    asked = {}
    for number, one in enumerate(shown):
        id_ = f"picture/{number}"
        pictures = tuple(drawn(each, id_) for each in one.pictures)
        asked[id_] = Question(Prompt(id_, one.question, pictures), one.family, partial(is_right, one))
    return asked
