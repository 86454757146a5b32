"""Verdicts made by code, and the evaluate modules under cards/ as any user reaches them: `evaluate.load(folder)`."""

from __future__ import annotations

import functools
import random
from pathlib import Path
from typing import Any

CARDS = Path(__file__).parents[1] / "cards"
RATES = ["attack_success_rate", "over_refusal", "pair_accuracy"]
KINDS = {**dict.fromkeys(RATES, "metric"), "paired_rates": "comparison", "judge_agreement": "measurement"}
"""Module -> its kind, as `evaluate.load` wants to know it."""
NAMES = {"attack_success_rate": ("asr", "rsr", "rr", "hr"), "over_refusal": ("over_refusal",)} | {
    "pair_accuracy": ("pair_accuracy",)
}
"""Module -> its rates."""


@functools.cache
def load(name: str) -> Any:
    """A module, loaded once."""
    import evaluate

    return evaluate.load(str(CARDS / name), module_type=KINDS[name], keep_in_memory=True)


def inputs(name: str, verdicts: list[Any], levels: list[Any], twins: list[Any]) -> dict[str, list[Any]]:
    """What one of `RATES` is asked with, of columns that fit all three."""
    extra = {"attack_success_rate": {"perceptions": levels}, "pair_accuracy": {"twins": twins}}
    return {"predictions": verdicts, **extra.get(name, {})}


def draw(seed: int, n: int) -> tuple[list[str], list[int]]:
    """Verdicts, a tenth of them unscored, and a level that fits each."""
    rng = random.Random(seed)
    verdicts = rng.choices(["Safe", "Unsafe", "Unscored"], [5, 4, 1], k=n)
    return verdicts, [0 if verdict == "Unscored" else rng.randint(1, 3) for verdict in verdicts]


def draw_groups(seed: int, n: int) -> list[str | None]:
    """A split for every row, or None."""
    return random.Random(seed).choices(["easy", "hard", "real", None], k=n)


def draw_inputs(name: str, seed: int, n: int) -> dict[str, list[Any]]:
    """What one of `RATES` is asked with."""
    verdicts, levels = draw(seed, n)
    return inputs(name, verdicts, levels, draw(seed + 1000, n)[0])
