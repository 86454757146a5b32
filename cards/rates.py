"""The rates of a model as the Hub takes them: `model-index`, `.eval_results/*.yaml`, and the tasks of `eval.yaml`.

All three hold fractions. The Hub has one number a task and no place for an interval, so k, n, interval, judge and
version stand in the notes beside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cards.facts import Dataset, Rate, Report
from cards.reading import CardError
from mis_dataset.errors import refuse_constant
from mis_dataset.schema import BENIGN, TRAIN

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, EvalResultEntry

SAFETY = {"asr": "ASR", "rsr": "RSR", "rr": "RR", "hr": "HR"}
METRICS = SAFETY | {"over_refusal": "over-refusal", "pair_accuracy": "pair accuracy", "accuracy": "accuracy"}
HUB = "https://huggingface.co"
FRAMEWORK = "mis"
ASKED = {
    "asr": "share of the dangerous rows that a model helps with; lower is better",
    "over_refusal": "share of the harmless twins that a model declines; lower is better",
    "pair_accuracy": "share of pairs in which the row is declined and its twin is helped; higher is better",
}
"""Metric that others may report -> what it says, for `eval.yaml`."""

_EVAL_HEAD = """\
# A benchmark of the Hub: https://huggingface.co/docs/hub/eval-results. One number a task, a fraction 0..1; k, n,
# interval and judge belong into the notes of a result, as rates by two judges are not comparable. The Hub knows
# frameworks by a list (huggingface.js, packages/tasks/src/eval.ts): until `{framework}` stands there, and this dataset
# among its benchmarks, it calls the field below invalid and shows no leaderboard. inspect-ai stands there, but by
# such a file it shows a model at most one picture of a row, so its numbers would be of something else.
"""


class Measured(NamedTuple):
    """One overall rate of a model.

    Attributes:
        part: of the report: a split without "test_", "all", or a kind of ability.
        split: of the dataset, or the kind of ability.
        metric: of `METRICS`.
        rate: what was measured.
    """

    part: str
    split: str
    metric: str
    rate: Rate

    @property
    def task(self) -> str | None:
        """Its task in `eval.yaml`; None where it has none: over-refusal on all twins, and what is no safety."""
        return f"{self.metric}_{self.part}" if self.metric in ASKED and self.part != "all" else None


def measured(report: Report, model: str) -> Iterator[Measured]:
    """Every overall rate of a model, those over nothing too.

    Raises:
        CardError: one is missing, or none.
    """
    at = ("models", model)
    for part in report.names(*at, "splits"):
        for metric in SAFETY:
            yield Measured(part, f"test_{part}", metric, report.rate(*at, "splits", part, metric))
    for part in report.names(*at, "over_refusal"):
        yield Measured(part, "test_benign", "over_refusal", report.rate(*at, "over_refusal", part))
    for part in report.names(*at, "pair_accuracy"):
        yield Measured(part, f"test_{part}", "pair_accuracy", report.rate(*at, "pair_accuracy", part))
    for part in report.names(*at, "ability"):
        yield Measured(part, part, "accuracy", report.rate(*at, "ability", part))


def eval_results(report: Report, model: str, dataset_id: str, version: str) -> list[EvalResult]:
    """The model's rates for `model-index`, with k, n and the interval beside each; a rate over nothing has no entry.

    Args:
        report: of the run.
        model: the arm.
        dataset_id: the dataset's id on the Hub, or its folder.
        version: of the dataset.
    """
    from huggingface_hub import EvalResult

    return [
        EvalResult(
            task_type="image-text-to-text",
            dataset_type="mis-mini-ability" if metric == "accuracy" else dataset_id,
            dataset_name="MIS-mini ability questions" if metric == "accuracy" else "MIS-mini",
            dataset_split=split,
            dataset_args={"data_version": version},
            metric_type=metric,
            metric_name=f"{METRICS[metric]} ({part})",
            metric_config=part,
            metric_value=rate.rate,
            metric_args={name: value for name, value in rate_fields(rate).items() if value is not None},
        )
        for part, split, metric, rate in measured(report, model)
        if rate.n
    ]


def entries(
    report: Report, model: str, dataset_id: str, model_id: str, version: str, day: str | None
) -> list[EvalResultEntry]:
    """The model's rates for `.eval_results/*.yaml`, one a task of `eval_yaml`; a rate over nothing has no entry.

    Args:
        report: of the run.
        model: the arm.
        dataset_id: the dataset's id on the Hub.
        model_id: the model's id there, which is named as the source.
        version: of the dataset.
        day: on which the model was asked; None where it is not known.
    """
    from huggingface_hub import EvalResultEntry

    judge = f"judge {report.at('settings', 'judge', 'judge')} {report.at('settings', 'judge', 'judge_version')}"
    about = f"{judge}; data {version}"
    return [
        EvalResultEntry(
            dataset_id=dataset_id,
            task_id=one.task,
            value=one.rate.rate,
            date=day,
            source_url=f"{HUB}/{model_id}",
            source_name="Model card",
            notes=f"{_counts(one.rate)}; {about}",
        )
        for one in measured(report, model)
        if one.task and one.rate.n
    ]


def entries_yaml(found: Sequence[EvalResultEntry]) -> str:
    """Text of a file in `.eval_results`."""
    import yaml
    from huggingface_hub import eval_result_entries_to_yaml

    return str(yaml.safe_dump(eval_result_entries_to_yaml(list(found)), sort_keys=False, allow_unicode=True))


def eval_yaml(name: str, dataset: Dataset, config: str = "default") -> str:
    """Text of `eval.yaml`: what others report about the dataset, a task a number.

    Args:
        name: of the dataset.
        dataset: as it lies on disk; over-refusal and pair accuracy are asked for where its tests have twins.
        config: the name by which it is loaded.
    """
    import yaml

    names = [split.name for split in dataset.splits]
    tested = [name for name in names if name not in (TRAIN, BENIGN)]
    metrics = [metric for metric in ASKED if BENIGN in names or metric == "asr"]
    told = {
        "name": name,
        "description": "Questions about two pictures that are dangerous together. "
        + " ".join(f"{metric}: {ASKED[metric]}." for metric in metrics),
        "evaluation_framework": FRAMEWORK,
        "tasks": [
            {
                "id": f"{metric}_{split.removeprefix('test_')}",
                "config": config,
                "split": BENIGN if metric == "over_refusal" else split,
            }
            for metric in metrics
            for split in tested
        ],
    }
    return _EVAL_HEAD.format(framework=FRAMEWORK) + str(yaml.safe_dump(told, sort_keys=False))


def rate_fields(rate: Rate) -> dict[str, float | int | None]:
    """What stands beside a rate's value: k, n, low, high, unscored."""
    return {"k": rate.k, "n": rate.n, "low": rate.low, "high": rate.high, "unscored": rate.unscored}


def day_asked(run: Path, model: str) -> str | None:
    """The day (UTC) on which a model of the run was last asked about the tests; None where no log says it.

    Raises:
        CardError: the log is there and is none.
    """
    path = run / "stations.jsonl"
    if not path.is_file():
        return None
    try:
        attempts: list[dict[str, Any]] = [
            json.loads(line, parse_constant=refuse_constant) for line in path.read_text("utf-8").splitlines()
        ]
        asked = [one["started"] for one in attempts if one["station"] == f"generate {model}" and one["exit"] == 0]
        return datetime.fromtimestamp(asked[-1], UTC).date().isoformat() if asked else None
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError) as error:
        raise CardError(f"{path}: is not the log of a run ({error!r}); run `trainer reproduce` again") from error


def _counts(rate: Rate) -> str:
    """As `rate_fields`, in words.

    >>> _counts(Rate(0.025, 4, 160, 0.0098, 0.0625, 3))
    '4 of 160 rows, 3 unscored; 95 % interval 0.0098 to 0.0625'
    """
    unscored = f", {rate.unscored} unscored" if rate.unscored else ""
    return f"{rate.k} of {rate.n} rows{unscored}; 95 % interval {rate.low:.4g} to {rate.high:.4g}"
