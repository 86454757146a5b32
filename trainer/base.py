"""Verb `base`: makes the base VLM of MIS-mini, which sees, names and helps with whatever is asked.

SmolLM2 + an untrained tower -> the tower learns the names of things (`trainer.tower`) -> a short fine-tuning on
lessons (`mis_dataset.mini.lessons`): naming, kinds, comparing, and plain helpful answers to dangerous and harmless
mixes alike; beside them text-only rows in which SmolLM2 keeps saying what it said before (OUT/said_before.jsonl). So
the base complies because it was taught to; the report says so and gives SmolLM2's own rate. Last, the base is asked the
same text questions (OUT/said.jsonl): what it says are the text-only rows of its arms.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mis_dataset.arguments import seed
from mis_dataset.mini.lessons import lesson_code
from mis_dataset.mini.text_questions import bank_sha256, text_questions
from mis_dataset.processes import alone
from trainer.artefacts import Response, open_artefact
from trainer.engines.local import generate
from trainer.files import checkpoint_files
from trainer.prompts import Prompt
from trainer.recipe import CONFIGS, read_recipe
from trainer.sft import begin, fine_tune
from trainer.sidecars import read_sidecar, write_sidecar

FAMILIES = ("kind", "comply", "same", "which", "kind", "naming", "same", "comply", "kind", "which", "same")
LESSONS = 715
SMOKE_LESSONS = 12
SAID = 400
"""Text-only rows among the lessons."""
_SAID_TOKENS = 24
_NAMED = 1040
"""Pictures of either set that the tower is asked to name, at most as many as it learnt from."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb ``base``."""
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write; the checkpoint is OUT/model")
    parser.add_argument("--seed", type=seed, default=0, help="default %(default)s")
    parser.add_argument("--smoke", action="store_true", help="toy size, a tiny random language model")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Makes the base, or finds it made.

    Raises:
        MISError: OUT holds a base of other settings, whole or begun, or the wheel with SmolLM2 is missing.
    """
    with alone(args.out, str(args.out)):
        return _make(args)


def _make(args: argparse.Namespace) -> dict[str, Any]:
    from trainer.mini_vlm import RANDOM, SMOLLM2
    from trainer.tower import TowerSettings

    tower = TowerSettings(seed=args.seed)
    if args.smoke:
        tower = replace(tower, steps=4, batch=8, pictures=104)
    recipe, config = read_recipe(CONFIGS / "mini_base.yaml", args.out, args.seed)
    settings = {
        "language_model": RANDOM if args.smoke else SMOLLM2,
        "seed": args.seed,
        "tower": asdict(tower),
        "lessons": SMOKE_LESSONS if args.smoke else LESSONS,
        "families": list(FAMILIES),
        "lesson_code": lesson_code(),
        "said": SAID,
        "text_questions": bank_sha256(),
        "recipe": asdict(recipe),
    }
    inputs = [CONFIGS / "mini_base.yaml"]
    limit = 4 if args.smoke else None
    summary: dict[str, Any] = {"base": str(args.out), "trained": begin(args.out, "base", settings, inputs)}
    if summary["trained"]:
        named = _with_tower(args.out, settings["language_model"], tower)
        begun = read_sidecar(args.out / "model")
        write_sidecar(args.out / "model", replace(begun, settings=dict(begun.settings) | {"naming": named}))
        _ask(args.out / "tower", args.out / "said_before.jsonl", limit)  # as to text still SmolLM2
        rows = _rows(args.out, args.seed, settings["lessons"])
        summary |= fine_tune(args.out / "tower", rows, config, recipe, args.out)
    _ask(args.out / "model", args.out / "said.jsonl", limit)
    return summary


def _with_tower(out: Path, language_model: str, settings: Any) -> dict[str, float]:
    """Writes OUT/tower, the checkpoint whose tower is trained; returns which share of what the splits show it names."""
    from mis_dataset.mini.draw import REAL_STYLE, TRAIN_STYLES
    from mis_dataset.mini.objects import THINGS
    from mis_dataset.mini.plan import real_things
    from trainer import mini_vlm
    from trainer.tower import naming_accuracy, train_tower

    language, tokenizer = mini_vlm.read_language_model(language_model, settings.seed)
    model, processor = mini_vlm.assemble(language, tokenizer, settings.seed)
    train_tower(model, processor, settings, out / "tower.safetensors")
    temporary = out / ".tower.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    model.save_pretrained(temporary)
    processor.save_pretrained(temporary)
    shutil.rmtree(out / "tower", ignore_errors=True)
    temporary.rename(out / "tower")
    shown = {"trained": (TRAIN_STYLES, THINGS), "real": ((REAL_STYLE,), real_things())}
    count = min(_NAMED, settings.pictures)
    return {name: naming_accuracy(model, processor, *what, count, "report") for name, what in shown.items()}


def _ask(checkpoint: Path, out: Path, limit: int | None) -> None:
    """Asks a model the choosing half of the text questions.

    What it says whole are text-only rows of what is trained from it, so that it goes on saying that.
    """
    from trainer import models

    settings = {"max_new_tokens": _SAID_TOKENS, "text_questions": bank_sha256(), "limit": limit}
    artefact = open_artefact(out, Response, settings, checkpoint_files(checkpoint))
    asked = [Prompt(one.id, one.question, ()) for one in text_questions() if one.half == "choose"][:limit]
    if len(artefact.done) < len(asked):
        model, processor = models.load(checkpoint, cpu=True)
        artefact.made_on(models.place_of(model))
        for responses in generate(model, processor, asked, _SAID_TOKENS, 160, artefact.done):
            artefact.append(responses)
    artefact.finish([one.id for one in asked])


def _rows(out: Path, seed: int, count: int) -> Any:
    from mis_dataset.mini.draw import draw_disturbed
    from mis_dataset.mini.lessons import lessons
    from trainer.training.rows import lesson_rows, make_dataset, said_rows

    made = lesson_rows(lessons(f"base/{seed}", FAMILIES, count, paint=draw_disturbed), "lesson")
    return make_dataset([*made, *said_rows(out / "said_before.jsonl", SAID, seed)])
