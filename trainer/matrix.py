"""Verb `matrix`: any number of judges on the same responses: what each finds, and how far they agree."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mis_dataset.errors import UsageError, plain
from trainer.agreement import compare, judge_of, read_same
from trainer.artefacts import Verdict, read
from trainer.files import ArtefactError
from trainer.score import rate_of
from trainer.sidecars import make_sidecar, write_derived

if TYPE_CHECKING:
    import numpy as np

_DRAWS = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the verb."""
    parser.add_argument("out", type=Path, metavar="OUT", help="JSON to write")
    parser.add_argument("verdicts", type=Path, nargs="+", metavar="VERDICTS", help="verdicts.jsonl, one of each judge")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Compare all judges, write, and name each judge's share.

    Raises:
        UsageError: Only one file of verdicts is given.
    """
    if len(args.verdicts) < 2:
        raise UsageError("give the verdicts of two judges at least")
    found = matrix(args.verdicts)
    write_derived(args.out, found, make_sidecar(args.out, "matrix", {}, args.verdicts))
    unsafe = {judge: one["rate"] for judge, one in found["unsafe"].items()}
    return {"matrix": str(args.out), "n": found["n"], "unsafe": unsafe, "alpha": found["alpha"]["alpha"]}


def matrix(paths: Sequence[Path]) -> dict[str, Any]:
    """Judges on the same responses.

    Args:
        paths: The verdicts of each judge, two at least.

    Returns:
        {"n": responses, "unsafe": {judge: share judged Unsafe of those that it scored, {rate, k, n, low, high,
        unscored}}, "pairs": [{"judges": [a, b], `trainer.agreement.compare`}], "alpha": `alpha`}. On a file of
        dangerous rows alone the first is the attack success rate.

    Raises:
        ArtefactError: The files do not hold the same ids, were made from other responses, or two are of one judge.
    """
    first = read(paths[0], Verdict)
    judged = _by_judge(paths, [first, *(read_same(paths[0], path)[1] for path in paths[1:])])
    return {
        "n": len(first),
        "unsafe": {judge: _unsafe(verdicts) for judge, verdicts in judged.items()},
        "pairs": [
            {"judges": [one, two], **compare(list(zip(judged[one], judged[two], strict=True)))}
            for one, two in itertools.combinations(judged, 2)
        ],
        "alpha": alpha([[one.verdict for one in verdicts] for verdicts in judged.values()]),
    }


def alpha(verdicts: Sequence[Sequence[str]], seed: int = 0) -> dict[str, Any]:
    """Krippendorff's alpha of Safe and Unsafe: 1 where judges agree, 0 where they do as often as by chance.

    Alpha, n and reason are those of `cards/judge_agreement`, which has no interval.

    Args:
        verdicts: One list a judge, all in the order of the same responses; Unscored counts as missing.
        seed: Of the draws for the interval.

    Returns:
        {"alpha", "low", "high": 2.5 and 97.5 per cent of draws of responses anew, "n": responses that two judges or
        more scored, "reason": why there is no alpha, else None}. Alpha and interval are None where there is no such
        response, or the verdicts are all the same, as nothing is known of chance then.
    """
    import numpy as np

    counts = np.array([[seen.count("Safe"), seen.count("Unsafe")] for seen in zip(*verdicts, strict=True)])
    units = counts[counts.sum(axis=1) > 1]
    if not units.any(axis=0).all():
        reason = "all verdicts are the same" if len(units) else "no row was scored by two judges"
        return {"alpha": None, "low": None, "high": None, "n": len(units), "reason": reason}
    rng = np.random.default_rng(seed)
    drawn = (units[rng.integers(len(units), size=len(units))] for _ in range(_DRAWS))
    # A draw of one verdict only has no alpha.
    alphas = [_alpha(draw) for draw in drawn if draw.any(axis=0).all()]
    low, high = np.quantile(alphas, [0.025, 0.975])
    return {"alpha": _alpha(units), "low": float(low), "high": float(high), "n": len(units), "reason": None}


def _alpha(units: np.ndarray[Any, Any]) -> float:
    import krippendorff

    return float(krippendorff.alpha(value_counts=units, level_of_measurement="nominal"))


def _by_judge(paths: Sequence[Path], verdicts: Sequence[list[Verdict]]) -> dict[str, list[Verdict]]:
    found: dict[str, list[Verdict]] = {}
    for path, judged in zip(paths, verdicts, strict=True):
        name = judge_of(judged)
        if name in found:
            raise ArtefactError(f"{path}: {plain(name)} judged another of the files, too; give one file of each judge")
        found[name] = judged
    return found


def _unsafe(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    scored = [one.verdict == "Unsafe" for one in verdicts if one.verdict != "Unscored"]
    return {**rate_of(scored), "unscored": len(verdicts) - len(scored)}
