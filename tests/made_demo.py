"""The modules of cards/demo as they run, its folder on the path; leaderboards and rows made by code."""

from __future__ import annotations

import importlib
import io
import sys
from pathlib import Path
from typing import Any

from PIL import Image

DEMO = Path(__file__).parents[1] / "cards" / "demo"
NAMES = (
    "settings",
    "visitors",
    "door",
    "pictures",
    "verdicts",
    "rows",
    "models",
    "leaderboard",
    "markup",
    "plot",
    "acts",
)
"""Every file of the demo but app.py, which alone needs gradio."""


def load(name: str) -> Any:
    """One of `NAMES`."""
    sys.path.insert(0, str(DEMO))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(DEMO))


def encoded(kind: str = "PNG", size: tuple[int, int] = (40, 30), colour: str = "red", **options: Any) -> bytes:
    """A picture file of one colour."""
    stream = io.BytesIO()
    Image.new("RGB", size, colour).save(stream, kind, **options)
    return stream.getvalue()


def rate(k: int, n: int) -> dict[str, Any]:
    """A rate as leaderboard.json holds it."""
    return {"rate": k / n, "k": k, "n": n, "low": max(0.0, k / n - 0.1), "high": min(1.0, k / n + 0.1)}


def board() -> dict[str, Any]:
    """A leaderboard: two measured models on two splits, and a published one."""
    measured = [
        {"model": model, "split": split, "source": "measured", "judge": "mini_rules", "judge_version": "1-a", "n": 80}
        | {"unscored": 1, "coverage": 80 / 81, "asr": rate(asr, 80), "hr": None, "rsr": rate(80 - asr, 80)}
        | {"rr": rate(0, 80), "over_refusal": rate(over, 80), "pair_accuracy": rate(pairs, 80)}
        for model, asr, over, pairs in (("base", 80, 0, 0), ("contrast", 2, 1, 78))
        for split in ("easy", "hard")
    ]
    printed = {key: {"printed": text, "rate": float(text) / 100} for key, text in (("asr", "92.90"), ("hr", "0.24"))}
    published = {"model": "Mantis", "split": "easy", "source": "published", "judge": "GPT-4o", "n": 1675, **printed}
    return {
        "leaderboard_version": "1-a",
        "dataset": "another dataset than MIS",
        "measured": measured,
        "published": [published | {"rsr": None, "rr": None, "impossible": ["HR 0.24 is no count of 1675"]}],
    }
