"""Verb `general`: rates of general benchmarks as lmms-eval and VLMEvalKit wrote them, read and not measured again.

Q-Bench, MMStar, MMMU, MuirBench and MMT-Bench are the paper's; their questions are asked and marked by those two
frameworks, whose files this reads. A rate before and after::

    {"results": {"mmmu_val": {"alias": "mmmu_val", "mmmu_acc,none": 0.51, ...}, ...}, ...}    (..._results.json)
    "split","Overall",...  /  "none","0.5853",...                                             (MODEL_MMStar_acc.csv)
    {"mmmu": 0.51}, {"mmstar": 0.5853}
"""

from __future__ import annotations

import argparse
import csv
import math
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from mis_dataset.record import shown
from trainer.files import ArtefactError, read_json, refuse_endless


class Task(NamedTuple):
    """How the two frameworks name one benchmark.

    Attributes:
        name: ours.
        lmms_task: its task in lmms-eval, with the split that the paper measured.
        lmms_metric: the metric there, without its filter.
        lmms_whole: what that metric is when all is right: 1 or 100.
        kit_dataset: its dataset in VLMEvalKit.
        kit_split: row of VLMEvalKit's table where it has several.
    """

    name: str
    lmms_task: str
    lmms_metric: str
    lmms_whole: float
    kit_dataset: str
    kit_split: str


TASKS: tuple[Task, ...] = (
    Task("q_bench", "qbench_dev", "qbench_acc", 1, "Q-Bench1_VAL", "val"),
    Task("mmstar", "mmstar", "average", 1, "MMStar", "val"),
    Task("mmmu", "mmmu_val", "mmmu_acc", 1, "MMMU_DEV_VAL", "validation"),
    Task("muirbench", "muirbench", "muirbench_score_overall", 1, "MUIRBench", "test"),
    Task("mmt_bench", "mmt_mi_val", "accuracy", 100, "MMT-Bench_VAL_MI", "val"),
)
"""Source: task files of lmms-eval 0.7.3; `vlmeval/dataset` of open-compass/VLMEvalKit as third parties hold it, not
verified against a run of it. lmms-eval's MMStar is the mean over its categories, VLMEvalKit's over its questions."""


class ResultsError(ArtefactError):
    """A file of lmms-eval or VLMEvalKit cannot be read; the message names it and what was found."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb ``general``."""
    parser.add_argument("path", type=Path, metavar="RESULTS", help="file or folder of one model's results")
    parser.add_argument("--base", type=Path, metavar="RESULTS", help="those of the model before fine-tuning")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Reads the rates; the mean is plain, as in the paper, and None where one of the five is missing."""
    rates = read_results(args.path)
    told: dict[str, Any] = {"rates": rates, "mean": _mean(rates)}
    if args.base:
        base = read_results(args.base)
        told |= {"base": base, "base_mean": _mean(base)}
        told["change"] = {name: rates[name] - base[name] for name in rates if name in base}
    return told


def read_results(path: Path) -> dict[str, float]:
    """The rates of one model.

    Args:
        path: ``<date>_results.json`` of lmms-eval, ``<model>_<dataset>_acc.csv`` of VLMEvalKit, or a folder with any
            number of both, of one model.

    Returns:
        Name of a task in `TASKS` -> its rate, 0..1. Other tasks are left out.

    Raises:
        ResultsError: No such file, none in the folder, one of another layout, none of `TASKS` in any of them, a rate
            that is none, or two for a task.
    """
    files = [path]
    if path.is_dir():
        files = sorted([*path.glob("*_results.json"), *path.glob("*_acc.csv")])
        if not files:
            raise ResultsError(f"{path}: holds neither *_results.json nor *_acc.csv; name the folder of one model")
    found: dict[str, float] = {}
    for file in files:
        rates = _read_kit(file) if file.suffix == ".csv" else _read_lmms(file)
        twice = sorted(found.keys() & rates.keys())
        if twice:
            raise ResultsError(f"{file}: has {twice[0]} a second time; leave one file of it")
        found |= rates
    if not found:
        tasks = ", ".join(one.lmms_task for one in TASKS)
        tables = ", ".join(f"*_{one.kit_dataset}_acc.csv" for one in TASKS)
        raise ResultsError(
            f"{path}: holds none of the five benchmarks; read are {tasks} of *_results.json by lmms-eval and "
            f"{tables} by VLMEvalKit"
        )
    return found


def _mean(rates: dict[str, float]) -> float | None:
    return fmean(rates.values()) if len(rates) == len(TASKS) else None


def _read_lmms(file: Path) -> dict[str, float]:
    try:
        held = read_json(file).get("results")
    except ArtefactError as error:
        raise ResultsError(f"{file}: is no results file of lmms-eval, which is JSON; name another") from error
    if not isinstance(held, dict) or not all(isinstance(scores, dict) for scores in held.values()):
        raise ResultsError(f"{file}: has no table of results as lmms-eval writes it; name another file")
    return {one.name: _lmms_rate(file, one, held[one.lmms_task]) for one in TASKS if one.lmms_task in held}


def _lmms_rate(file: Path, task: Task, scores: dict[str, Any]) -> float:
    """The metric, whatever filter it went through."""
    named = [key for key in scores if key.split(",")[0] == task.lmms_metric]
    if len(named) != 1:
        raise ResultsError(f"{file}: {task.lmms_task} has {len(named)} of {task.lmms_metric}, not one; name another")
    return _rate(f"{file}: {task.lmms_task}", scores[named[0]], task.lmms_whole)


def _read_kit(file: Path) -> dict[str, float]:
    tasks = [one for one in TASKS if file.name.endswith(f"_{one.kit_dataset}_acc.csv")]
    if not tasks:
        return {}
    try:
        refuse_endless(file)
        with file.open(encoding="utf-8-sig", newline="") as stream:
            table = csv.DictReader(stream, strict=True)
            rows = list(table)
    except (OSError, ValueError, csv.Error) as error:
        raise ResultsError(f"{file}: cannot be read as CSV ({type(error).__name__}); name another file") from error
    if not rows or "Overall" not in (table.fieldnames or ()):
        raise ResultsError(f"{file}: has no column Overall, or no row, as VLMEvalKit writes them; name another file")
    (task,) = tasks
    wanted = rows if len(rows) == 1 else [row for row in rows if row.get("split") == task.kit_split]
    if len(wanted) != 1:
        raise ResultsError(
            f"{file}: has {len(wanted)} of {len(rows)} rows of split {task.kit_split}, not one; leave one"
        )
    return {task.name: _rate(str(file), wanted[0]["Overall"], 1)}


def _rate(where: str, printed: Any, whole: float) -> float:
    """A share of 1 from a number or its text.

    >>> _rate("a", "50.5", 100)
    0.505
    """
    try:
        number = math.nan if isinstance(printed, bool) else float(printed)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0 <= number <= whole:
        raise ResultsError(f"{where}: {shown(str(printed))} is no rate from 0 to {whole:g}; measure it again")
    return number / whole
