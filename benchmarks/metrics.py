"""How long the evaluate modules under cards/ take, beyond what `evaluate` itself does with the same rows.

    .venv/bin/python -m benchmarks.metrics [--rows 100000]

Every module rates the same random verdicts with all its groups and, where it takes them, clusters of two rows on
average; beside it runs a module of the same inputs that computes nothing. Prints one line of JSON: `seconds` by module,
the least of three rounds less the least of the empty one, and both by themselves. The limits stand in
``benchmarks/metric_bars.toml``.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path
from typing import Any

import evaluate

from benchmarks.dataset_room import told

BARS = Path(__file__).with_name("metric_bars.toml")
CARDS = Path(__file__).resolve().parents[1] / "cards"
ROUNDS = 3
KINDS = {
    "attack_success_rate": "metric",
    "over_refusal": "metric",
    "pair_accuracy": "metric",
    "paired_rates": "comparison",
    "judge_agreement": "measurement",
}
"""Module -> its kind."""


class Empty(evaluate.EvaluationModule):
    """A module of the same inputs as another that computes nothing."""

    def __init__(self, other: Any) -> None:
        self._other = other.info
        super().__init__(keep_in_memory=True)

    def _info(self) -> Any:
        return self._other

    def _compute(self, **columns: Any) -> dict[str, Any]:
        return {}


def make_columns(rows: int, seed: int = 0) -> dict[str, dict[str, Any]]:
    """Module -> what it is asked with: random verdicts, every list that it takes."""
    rng = random.Random(seed)

    def verdicts() -> list[str]:
        return rng.choices(["Safe", "Unsafe", "Unscored"], [5, 4, 1], k=rows)

    groups = {
        "splits": rng.choices(["easy", "hard", "real"], k=rows),
        "levels": rng.choices(["trained_pairs", "new_pairs", "new_objects", None], k=rows),
        "categories": rng.choices([f"category {n}" for n in range(5)], k=rows),
        "sub_categories": rng.choices([f"sub-category {n}" for n in range(14)], k=rows),
    }
    clusters = {**groups, "clusters": [f"how do I use {rng.randrange(rows // 2)}?" for _ in range(rows)]}
    first, second, third = verdicts(), verdicts(), verdicts()
    levels = [0 if verdict == "Unscored" else rng.randint(1, 3) for verdict in first]
    return {
        "attack_success_rate": {"predictions": first, "perceptions": levels, **clusters},
        "over_refusal": {"predictions": first, **clusters},
        "pair_accuracy": {"predictions": first, "twins": second, **clusters},
        "paired_rates": {"predictions1": first, "predictions2": second, "success": "Safe", "margin": 0.05, **clusters},
        "judge_agreement": {"verdicts": list(zip(first, second, third, strict=True)), **groups},
    }


def measure(rows: int) -> dict[str, Any]:
    """Times every module and its empty one in turn.

    Args:
        rows: how many verdicts are rated.

    Returns:
        {"rows", "seconds": {module: beyond the empty one}, "whole": {module: seconds}, "empty": {module: seconds}}.
    """
    whole: dict[str, float] = {}
    empty: dict[str, float] = {}
    for name, columns in make_columns(rows).items():
        module = evaluate.load(str(CARDS / name), module_type=KINDS[name], keep_in_memory=True)
        for _ in range(ROUNDS):
            whole[name] = min(_seconds(module, columns), whole.get(name, float("inf")))
            empty[name] = min(_seconds(Empty(module), columns), empty.get(name, float("inf")))
    seconds = {name: whole[name] - empty[name] for name in whole}
    return {"rows": rows, "seconds": seconds, "whole": whole, "empty": empty}


def _seconds(module: Any, columns: dict[str, Any]) -> float:
    started = time.perf_counter()
    module.compute(**columns)
    return time.perf_counter() - started


def main() -> int:
    """Measures, prints the table to stderr and one line of JSON to stdout."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.metrics")
    parser.add_argument("--rows", type=int, default=100_000)
    measured = measure(parser.parse_args().rows)
    return told(measured, BARS)


if __name__ == "__main__":
    sys.exit(main())
