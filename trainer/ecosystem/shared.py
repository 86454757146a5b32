"""What MIS is to every framework: its rows in an order, and its rates as plain numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from mis_dataset.errors import UsageError
from trainer.artefacts import Verdict
from trainer.judges.base import JUDGE_VERSION, Case, Judgement
from trainer.questions import TESTED, RowFacts, split_of
from trainer.score import Metrics

if TYPE_CHECKING:
    from datasets import Dataset

TEST_FILES = "data/test_*.parquet"
"""Files of a built dataset that hold the rows of all tests, as `load_dataset` takes them: train stays where it is."""
_OUTCOMES = ("asr", "hr", "rsr", "rr")
_OF_TWINS = ("over_refusal", "pair_accuracy")
_ENDS = ("low", "high")
FIGURES: tuple[str, ...] = (
    *_OUTCOMES,
    *(f"asr_{end}" for end in _ENDS),
    *(name for rate in _OF_TWINS for name in (rate, *(f"{rate}_{end}" for end in _ENDS))),
    "scored",
    "unscored",
    "coverage",
)
"""What a framework shows of a split: rates 0..1 and ends of 95 % intervals, how many rows and twins were scored and how
many not, and the share that was. NaN, never 0, where a rate is over nothing."""


def read_test(dataset: str, split: str) -> Dataset:
    """Reads the rows of a test split, each followed by its benign twin where it has one.

    Args:
        dataset: a built dataset: its folder, or its id on the Hub.
        split: one of `TESTED`.

    Returns:
        Rows; `images` are ``[{"bytes": b"...", "path": ...}, ...]``, as released.

    Raises:
        UsageError: There is no such split.
    """
    from datasets import Image, Sequence, load_dataset

    rows = load_dataset(dataset, data_files={"test": TEST_FILES}, split="test")
    return choose(rows.cast_column("images", Sequence(Image(decode=False))), split)


def choose(rows: Dataset, split: str) -> Dataset:
    """Takes one split and its twins from the rows of all tests.

    A limit to the first 2 N of them keeps N whole pairs, so that pair accuracy means the same.

    Args:
        rows: with the columns ``id`` and ``twin_of``.
        split: one of `TESTED`.

    Raises:
        UsageError: There is no such split.
    """
    places = {id_: place for place, id_ in enumerate(rows["id"])}
    twins = {twin_of: place for place, twin_of in enumerate(rows["twin_of"]) if twin_of}
    own = [id_ for id_ in places if split_of(id_) == split]
    if split not in TESTED or not own:
        raise UsageError(f"the dataset has no rows of {split!r}; test splits are {', '.join(TESTED)}")
    return rows.select([place for id_ in own for place in (places[id_], twins.get(id_)) if place is not None])


def facts_of(row: Mapping[str, Any]) -> RowFacts:
    """What the rates need of a row."""
    return RowFacts(row["id"], row["question"], row["category"], row["level"], row["twin_of"])


def case_of(row: Mapping[str, Any], response: str, things: Mapping[str, tuple[str, str]] | None = None) -> Case:
    """What a judge is given of a row whose pictures are bytes."""
    images = tuple(picture["bytes"] for picture in row["images"])
    return Case(row["id"], row["question"], response, things[row["id"]] if things else None, images)


def figures_of(rows: Iterable[RowFacts], found: Mapping[str, Judgement]) -> dict[str, float]:
    """`FIGURES` of one test split, by the metric modules of cards/.

    Args:
        rows: the rows of the split and their twins; those that were not judged are left out.
        found: id -> what the judge decided.
    """
    judged = {row.id: row for row in rows if row.id in found}
    tested = [row for row in judged.values() if row.twin_of is None]
    pairs = {row.twin_of: row.id for row in judged.values() if row.twin_of}
    rates = _metrics().rates(tested, pairs, {id_: _verdict(id_, found[id_]) for id_ in judged})
    # Of a run without dangerous rows every split is empty, and any of them says so.
    split = TESTED[split_of(tested[0].id)] if tested else "hard"
    safety, of_twins = rates["splits"][split], {rate: rates[rate][split] for rate in _OF_TWINS}
    scored = sum(found[id_].verdict != "Unscored" for id_ in judged)
    told = {rate: safety[rate]["rate"] for rate in _OUTCOMES}
    told |= {f"asr_{end}": safety["asr"][end] for end in _ENDS}
    told |= {rate: of_twins[rate]["rate"] for rate in _OF_TWINS}
    told |= {f"{rate}_{end}": of_twins[rate][end] for rate in _OF_TWINS for end in _ENDS}
    told |= {"scored": scored, "unscored": len(judged) - scored, "coverage": scored / len(judged) if judged else None}
    return {name: math.nan if told[name] is None else float(told[name]) for name in FIGURES}


@cache
def _metrics() -> Metrics:
    return Metrics()


def _verdict(id_: str, found: Judgement) -> Verdict:
    return Verdict(id_, found.verdict, found.perception, "", found.reason, version=JUDGE_VERSION)
