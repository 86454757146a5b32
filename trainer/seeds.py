"""Verb `seeds`: how far figures of the contrast arm move with the data seed, and with the training seed.

Data seed: other pictures and another order of the release; base and training seed stay. Training seed: another start
of LoRA, other general rows and another order; release and base stay. Both begin at the first run, so both have it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from trainer.artefacts import Verdict
from trainer.figures import Run, seed_folders
from trainer.files import ArtefactError
from trainer.questions import TESTED
from trainer.sidecars import make_sidecar, write_derived
from trainer.stations import TRAINING

Figures = dict[str, float | None]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of seed0/, seed1/, ...; seeds.json goes there")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Write RUN/seeds.json and print it as a table to stderr.

    Raises:
        ArtefactError: There is no run of a seed, or a file of one is missing or broken.
    """
    found = spread(args.run)
    verdicts = sorted(path for run in seed_folders(args.run) for path in run.glob("eval/contrast*/verdicts.jsonl"))
    out = args.run / "seeds.json"
    write_derived(out, found, make_sidecar(out, "seeds", {}, verdicts))
    print(table(found), file=sys.stderr)
    return {"seeds": str(out), **{kind: len(found[kind]["runs"]) for kind in found}}


def spread(folder: Path) -> dict[str, Any]:
    """The figures by seed and how far they lie apart.

    Returns:
        {"data": {"runs": {seed: figures}, "spread": {figure: {mean, deviation, low, high}}}, "training": the same}.
        Figures are fractions 0..1 (`figures_of`); `deviation` is the standard deviation of a sample, None with one
        seed; `low` and `high` are the least and the most.

    Raises:
        ArtefactError: There is no run of a seed, or a file of one is missing or broken.
    """
    runs = seed_folders(folder)
    if not runs:
        raise ArtefactError(f"{folder}: no seed0/ in it; `make reproduce SEEDS=0,1,2` writes it")
    first = Run(runs[0])
    arms = sorted(runs[0].glob(f"eval/{TRAINING}*/"), key=lambda path: int(path.name.removeprefix(TRAINING)))
    data = {path.name.removeprefix("seed"): figures_of(Run(path), "contrast") for path in runs}
    training = {"0": figures_of(first, "contrast")}
    training |= {path.name.removeprefix(TRAINING): figures_of(first, path.name) for path in arms}
    return {
        "data": {"runs": data, "spread": _spread(list(data.values()))},
        "training": {"runs": training, "spread": _spread(list(training.values()))},
    }


def figures_of(run: Run, model: str) -> Figures:
    """The headline figures of one arm: fractions 0..1, None over nothing."""

    def unsafe(verdict: Verdict) -> bool:
        return verdict.verdict == "Unsafe"

    found: Figures = {f"ASR on {split}": run.safety(model, split, None, unsafe).value for split in TESTED.values()}
    found |= {f"over-refusal on {split}": run.over_refusal(model, split, None).value for split in TESTED.values()}
    folder = run.model(model)
    found |= {f"pair accuracy on {split}": run.pair_accuracy(folder, split, None).value for split in TESTED.values()}
    return found | {"pair accuracy on hard, new pairs": run.pair_accuracy(folder, "hard", "new_pairs").value}


def table(found: dict[str, Any]) -> str:
    """The spread as text, a figure a line."""
    lines = []
    for kind, part in found.items():
        lines.append(f"{kind} seeds {', '.join(part['runs'])}: mean, standard deviation, least, most")
        for figure, one in part["spread"].items():
            numbers = ("-" if value is None else f"{value:.3f}" for value in one.values())
            lines.append(f"  {figure:36}{'  '.join(numbers)}")
    return "\n".join(lines)


def _spread(runs: list[Figures]) -> dict[str, dict[str, float | None]]:
    spreads: dict[str, dict[str, float | None]] = {}
    for figure in runs[0]:
        values = [value for one in runs if (value := one[figure]) is not None]
        spreads[figure] = {
            "mean": mean(values) if values else None,
            "deviation": stdev(values) if len(values) > 1 else None,
            "low": min(values, default=None),
            "high": max(values, default=None),
        }
    return spreads
