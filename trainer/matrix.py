"""Verb `matrix`: any number of judges on the same responses: what each finds, and how far they agree."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mis_dataset.errors import UsageError, plain
from trainer.agreement import compare, judge_of, read_same
from trainer.artefacts import Verdict, read
from trainer.benchmarks import BENCHMARKS
from trainer.files import ArtefactError
from trainer.questions import TESTED, read_rows, rows_file, split_of, twins
from trainer.score import Metrics, metric_version
from trainer.sidecars import make_sidecar, write_derived

if TYPE_CHECKING:
    import numpy as np

_DRAWS = 1000
_RATES = ("asr", "over_refusal")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the verb."""
    parser.add_argument("verdicts", type=Path, nargs="+", metavar="VERDICTS", help="verdicts.jsonl, one of each judge")
    parser.add_argument("out", type=Path, metavar="OUT", help="JSON to write")
    parser.add_argument("--dataset", type=Path, required=True, help="the built dataset, which tells rows from twins")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Compare all judges, write, and name each judge's rates.

    Raises:
        UsageError: Only one file of verdicts is given.
    """
    if len(args.verdicts) < 2:
        raise UsageError("give the verdicts of two judges at least")
    found = matrix(args.verdicts, args.dataset)
    settings = {"metric_version": metric_version()}
    write_derived(
        args.out, found, make_sidecar(args.out, "matrix", settings, [*args.verdicts, rows_file(args.dataset)])
    )
    told = {rate: {judge: one[rate]["rate"] for judge, one in found["rates"].items()} for rate in _RATES}
    return {"matrix": str(args.out), "n": found["n"], **told, "alpha": found["alpha"]["alpha"]}


def matrix(paths: Sequence[Path], dataset: Path) -> dict[str, Any]:
    """Judges on the same responses.

    Args:
        paths: The verdicts of each judge, two at least.
        dataset: The built dataset that they judged responses to.

    Returns:
        {"n": responses, "rates": {judge: {"asr": of dangerous rows, "over_refusal": of benign twins, each as
        `trainer.score` has a rate, with coverage and bounds, "benchmarks": the same of another benchmark's rows, where
        there are any}}, "pairs": [{"judges": [a, b], `trainer.agreement.compare`}], "alpha": `alpha`}. Pairs and alpha
        are of rows and twins together.

    Raises:
        ArtefactError: The files do not hold the same ids, were made from other responses, two are of one judge, or a
            verdict belongs to no row of the dataset.
    """
    first = read(paths[0], Verdict)
    judged = _by_judge(paths, [first, *(read_same(paths[0], path)[1] for path in paths[1:])])
    return {
        "n": len(first),
        "rates": _rates(paths[0], judged, dataset),
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


def _rates(path: Path, judged: Mapping[str, Sequence[Verdict]], dataset: Path) -> dict[str, dict[str, Any]]:
    """Judge -> its rates; all judged the same rows, those of `path`."""
    rows, metrics = read_rows(dataset), Metrics()
    ids = [one.id for one in next(iter(judged.values()))]
    foreign = [id_ for id_ in ids if id_ not in rows]
    if foreign:
        raise ArtefactError(f"{path}: {len(foreign)} verdicts belong to no row of {dataset} (first: {foreign[:3]})")
    tested, pairs, splits = (
        [row for row in rows.values() if split_of(row.id) in TESTED],
        twins(rows),
        set(map(split_of, ids)),
    )
    others = [one for one in BENCHMARKS if one.name in splits]
    found = {}
    for judge, verdicts in judged.items():
        by_id = {one.id: one for one in verdicts}
        rates = metrics.rates(tested, pairs, by_id, together=True)
        safety = rates["splits"]["all"]
        found[judge] = {
            "asr": {**safety["asr"], "coverage": safety["coverage"]},
            "over_refusal": rates["over_refusal"]["all"],
            **({"benchmarks": {one.name: metrics.benchmark(one, rows, by_id) for one in others}} if others else {}),
        }
    return found
