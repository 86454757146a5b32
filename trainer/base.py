"""Verb `base`: makes the base VLM of MIS-mini, which sees, names and helps with whatever is asked.

SmolLM2 + an untrained tower -> the tower learns the names of things (`trainer.tower`) -> a short fine-tuning on
lessons (`mis_dataset.mini.lessons`): naming, kinds, comparing, and plain helpful answers to dangerous and harmless
mixes alike. So the base complies because it was taught to; the report says so and gives SmolLM2's own rate.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from trainer.artefacts import make_sidecar, write_sidecar
from trainer.sft import CONFIGS, begin, fine_tune, read_recipe

FAMILIES = ("kind", "comply", "which", "naming", "same", "kind")
LESSONS = 640
SMOKE_LESSONS = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb ``base``."""
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write; the checkpoint is OUT/model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="toy size, a tiny random language model")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Makes the base, or finds it made.

    Raises:
        MISError: OUT holds a base of other settings, whole or begun, or the wheel with SmolLM2 is missing.
    """
    from trainer.models import RANDOM, SMOLLM2
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
        "recipe": asdict(recipe),
    }
    inputs = [CONFIGS / "mini_base.yaml"]
    if not begin(args.out, "base", settings, inputs):
        return {"base": str(args.out), "trained": False}
    named = _with_tower(args.out, settings["language_model"], tower)
    write_sidecar(args.out / "model", make_sidecar(args.out / "model", "base", settings | {"naming": named}, inputs))
    rows = _lessons(args.seed, settings["lessons"])
    summary = fine_tune(args.out / "tower", rows, config, recipe, args.out)
    return {"base": str(args.out), "trained": True} | summary


def _with_tower(out: Path, language_model: str, settings: Any) -> dict[str, float]:
    """Writes OUT/tower, the checkpoint whose tower is trained; returns naming accuracy per style."""
    from mis_dataset.mini.draw import REAL_STYLE, TRAIN_STYLES
    from trainer import models
    from trainer.tower import naming_accuracy, train_tower

    language, tokenizer = models.read_language_model(language_model, settings.seed)
    model, processor = models.assemble(language, tokenizer, settings.seed)
    train_tower(model, processor, settings, out / "tower.safetensors")
    temporary = out / ".tower.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    model.save_pretrained(temporary)
    processor.save_pretrained(temporary)
    shutil.rmtree(out / "tower", ignore_errors=True)
    temporary.rename(out / "tower")
    styles = {"trained": TRAIN_STYLES, "real": (REAL_STYLE,)}
    return {name: naming_accuracy(model, processor, style, 1040, "report") for name, style in styles.items()}


def _lessons(seed: int, count: int) -> Any:
    from mis_dataset.mini.lessons import lessons
    from trainer.rows import lesson_rows, make_dataset

    return make_dataset(lesson_rows(lessons(f"base/{seed}", FAMILIES, count), "lesson"))
