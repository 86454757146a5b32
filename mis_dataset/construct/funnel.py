"""Counts what a construction made and what it rejected, with one look at each row -> OUT/funnel.json.

    seeds -> ideas -> questions -> pictured -> judged -> train, test_easy, test_hard

Every step is counted by category. What was rejected is counted by reason, with the ids of a few and our own details:
never with a text.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from mis_dataset.construct import duplicates, elements, filters, labels, pictures, questions
from mis_dataset.construct.filters import Rules, placed
from mis_dataset.construct.rows import SEEDS, Idea, Judged, Labelled, Pictured, Question, Rejected, Seed, read_rows
from mis_dataset.files import to_json, write_text
from mis_dataset.schema import CATEGORIES, TRAIN

NAME = "funnel.json"
UNKNOWN = "not known"
"""Category of a seed whose source names none."""
STEPS = ("seeds", "ideas", "questions", "pictured", "judged")
SPLITS = (TRAIN, filters.EASY, filters.HARD, filters.REAL)
_FIRST = 3
"""Rejected rows of each kind that are named."""
_SHOWN = 2
"""Kept rows of each split that a page shows."""
_LINE = re.compile(r":[0-9]+$")

_MADE: dict[str, tuple[str, type[Any]]] = {
    elements.NAME: ("ideas", Idea),
    questions.NAME: ("questions", Question),
    pictures.NAME: ("pictured", Pictured),
    filters.NAME: ("judged", Judged),
}
"""Stage -> the step that it makes, and the kind of its rows."""


@dataclass
class Rejects:
    """What one stage rejected for one reason.

    Attributes:
        stage: its name.
        reason: one of a few words.
        rows: how many.
        first: id and detail of the first ones.
    """

    stage: str
    reason: str
    rows: int = 0
    first: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Funnel:
    """All counts of a construction.

    Attributes:
        steps: name -> category -> rows, of the steps that are there.
        to_label: judged rows that are to be train rows, once they have labels.
        splits: split -> category -> dangerous rows of the release; each has a benign twin beside it.
        rejected: by stage and reason.
        verdicts: expert -> verdict -> rows.
        sources: source and licence of seeds -> seeds.
    """

    steps: dict[str, dict[str, int]] = field(default_factory=dict)
    to_label: int = 0
    splits: dict[str, dict[str, int]] = field(default_factory=dict)
    rejected: list[Rejects] = field(default_factory=list)
    verdicts: dict[str, dict[str, int]] = field(default_factory=dict)
    sources: list[tuple[str, str, int]] = field(default_factory=list)

    def kept(self) -> int:
        """Rows of all splits, twins not counted."""
        return sum(sum(found.values()) for found in self.splits.values())

    def lost(self, stage: str) -> int:
        """Rows that a stage rejected."""
        return sum(one.rows for one in self.rejected if one.stage == stage)


class Shown(NamedTuple):
    """A kept row that a page shows.

    Attributes:
        split: of the release.
        row: with its pictures and verdicts.
        labels: responses of row and twin; empty outside of train.
    """

    split: str
    row: Judged
    labels: tuple[str, ...]


def count(folder: Path, stages: Sequence[str], rules: Rules) -> tuple[Funnel, list[Shown]]:
    """Counts a construction.

    Args:
        folder: of it.
        stages: that are whole, in order; files of others may be of an earlier run and are not read.
        rules: by which rows were placed.

    Returns:
        The counts, and a few kept rows of each split: those whose ids have the least hash, so that nobody chose them.

    Raises:
        MISError: a file was not written by this version.
        OSError: a file cannot be read.
    """
    funnel = Funnel()
    funnel.steps["seeds"] = _by_category(_seeds(folder, funnel))
    shown: list[Shown] = []
    for stage in stages:
        _count_rejected(funnel, read_rows(folder / f"{stage}.rejected.jsonl", Rejected))
        if stage in _MADE:
            step, kind = _MADE[stage]
            funnel.steps[step] = _by_category(_category(row) for row in read_rows(folder / f"{stage}.jsonl", kind))
        if stage == duplicates.NAME:
            _count_judged(funnel, folder / f"{stage}.jsonl", rules, shown)
        if stage == labels.NAME:
            _count_labelled(funnel, folder / f"{stage}.jsonl", shown)
    funnel.splits = {split: funnel.splits[split] for split in SPLITS if split in funnel.splits}
    return funnel, sorted(shown, key=lambda one: (SPLITS.index(one.split), _chance(one.row.id)))


def write_funnel(folder: Path, funnel: Funnel) -> None:
    """Writes OUT/funnel.json.

    Raises:
        OSError: it cannot be written.
    """
    write_text(folder / NAME, to_json(asdict(funnel)))


def in_order(categories: Iterable[str]) -> list[str]:
    """Each category once: those of the paper in its order, then others, and last what is not known.

    >>> in_order(["not known", "Privacy", "Violent", "Privacy"])
    ['Violent', 'Privacy', 'not known']
    """
    found = set(categories)
    others = sorted(found - {*CATEGORIES, UNKNOWN})
    return [name for name in (*CATEGORIES, *others, UNKNOWN) if name in found]


def _seeds(folder: Path, funnel: Funnel) -> Iterator[str]:
    sources: Counter[tuple[str, str]] = Counter()
    for seed in read_rows(folder / SEEDS, Seed):
        sources[_LINE.sub("", seed.source), seed.licence] += 1
        yield seed.category or UNKNOWN
    funnel.sources = [(*source, number) for source, number in sorted(sources.items())]


def _category(row: Any) -> str:
    """Of an idea or whatever was made of one."""
    while not isinstance(row, Idea | Question):
        row = row.row
    return row.category


def _by_category(categories: Iterator[str]) -> dict[str, int]:
    counts = Counter(categories)
    return {name: counts[name] for name in in_order(counts)}


def _count_rejected(funnel: Funnel, rows: Iterator[Rejected]) -> None:
    kinds = {(one.stage, one.reason): one for one in funnel.rejected}
    for row in rows:
        kind = kinds.setdefault((row.stage, row.reason), Rejects(row.stage, row.reason))
        kind.rows += 1
        if len(kind.first) < _FIRST:
            kind.first.append((row.id, row.detail))
    order = {stage: place for place, stage in enumerate(dict.fromkeys(stage for stage, _ in kinds))}
    funnel.rejected = sorted(kinds.values(), key=lambda one: (order[one.stage], -one.rows, one.reason))


def _count_judged(funnel: Funnel, path: Path, rules: Rules, shown: list[Shown]) -> None:
    """Verdicts, and what follows from them; train rows are counted when they have labels."""
    splits: dict[str, Counter[str]] = {filters.EASY: Counter(), filters.HARD: Counter()}
    verdicts: dict[str, Counter[str]] = {}

    def fates() -> Iterator[Rejected]:
        for row, split in placed(read_rows(path, Judged), rules):
            for one in row.verdicts:
                verdicts.setdefault(one.expert, Counter())[one.verdict] += 1
            if isinstance(split, Rejected):
                yield split
            elif split == TRAIN:
                funnel.to_label += 1
            else:
                splits.setdefault(split, Counter())[_category(row)] += 1
                _show(shown, Shown(split, row, ()))

    _count_rejected(funnel, fates())
    funnel.verdicts = {expert: dict(sorted(found.items())) for expert, found in verdicts.items()}
    funnel.splits |= {split: _by_category(found.elements()) for split, found in splits.items()}


def _count_labelled(funnel: Funnel, path: Path, shown: list[Shown]) -> None:
    def rows() -> Iterator[str]:
        for one in read_rows(path, Labelled):
            _show(shown, Shown(TRAIN, one.row, (one.label.response, one.twin_label.response)))
            yield _category(one)

    funnel.splits[TRAIN] = _by_category(rows())


def _show(shown: list[Shown], one: Shown) -> None:
    """Keeps a row where its hash is among the least of its split."""
    there = [other for other in shown if other.split == one.split]
    if len(there) == _SHOWN:
        most = max(there, key=lambda other: _chance(other.row.id))
        if _chance(most.row.id) <= _chance(one.row.id):
            return
        shown.remove(most)
    shown.append(one)


def _chance(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
