"""Which rows a model is asked about, and with what pictures: a dataset -> prompts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mis_dataset.errors import MISError
from mis_dataset.mini.objects import THINGS
from mis_dataset.schema import BENIGN, SPLITS
from trainer.probes import Picture, Probe, Shown
from trainer.questions import read_things, split_of


@dataclass(frozen=True)
class Prompt:
    """One question and its pictures (none for text only).

    Attributes:
        id: of the row.
        question: without image placeholders.
        pictures: in order, as they are shown.
    """

    id: str
    question: str
    pictures: tuple[Picture, ...]

    def content(self) -> tuple[str, ...]:
        """What tells two prompts apart: question and pictures, not ids."""
        return self.question, *(one.sha256() for one in self.pictures)


def read_prompts(
    dataset: Path,
    splits: list[str],
    probe: Probe = "own",
    limit: int | None = None,
    only: str | None = None,
    level: str | None = None,
) -> Iterator[Prompt]:
    """The test rows to ask about.

    Args:
        dataset: folder of the built dataset.
        splits: names of test splits; one that the dataset lacks is an error.
        probe: what pictures are shown.
        limit: the first so many rows of every split and the first so many twins of its rows; twins alone, of all.
        only: ``hard``: rows of this test split and the twins of its rows.
        level: rows of this level only.

    Raises:
        MISError: A split is missing, no row is left, or a row cannot be shown in that way.
    """
    chosen = Counter[tuple[str, str]]()
    paired = {*splits} - {BENIGN} or {*SPLITS}
    for split in splits:
        shown = Shown(dataset, split, probe)
        for number, row in enumerate(shown.rows.select_columns(["id", "question", "twin_of", "level"])):
            of = _pair_split(row)
            if _is_wanted(row, only, level) and (limit is None or (of in paired and chosen[split, of] < limit)):
                chosen[split, of] += 1
                yield Prompt(row["id"], row["question"], shown.of(number, row["id"]))
    if not chosen:
        raise MISError(f"{dataset}: no row in {splits} is left (only={only}, level={level})")


def pictures_of(dataset: Path, ids: Iterable[str], probe: Probe = "own") -> dict[str, tuple[Picture, ...]]:
    """Id -> the pictures of its row, not read yet; of all rows of the splits in which the ids lie.

    Args:
        dataset: folder of the built dataset.
        ids: of rows.
        probe: what pictures are shown.

    Raises:
        MISError: A split is missing, or a row cannot be shown in that way.
    """
    splits = list(dict.fromkeys(map(split_of, ids)))
    return {one.id: one.pictures for one in read_prompts(dataset, splits, probe)}


def named(prompts: Iterable[Prompt], things: Path) -> list[Prompt]:
    """Says in words what the pictures would show: how a language model without eyes is asked about MIS-mini.

    Args:
        prompts: without pictures.
        things: RAW/mini/objects.json.

    Raises:
        MISError: A row is not in it.
    """
    asked, names = list(prompts), read_things(things)
    missing = [one.id for one in asked if one.id not in names]
    if missing:
        raise MISError(f"{things}: lacks {len(missing)} rows (first: {missing[0]}); it belongs to another release")
    phrases = {thing.name: thing.phrase for thing in THINGS}
    lead = "The first image shows {}. The second image shows {}.\n{}"
    return [
        replace(one, question=lead.format(*(phrases[name] for name in names[one.id]), one.question)) for one in asked
    ]


def _is_wanted(row: dict[str, Any], only: str | None, level: str | None) -> bool:
    return (only is None or _pair_split(row) == f"test_{only}") and level in (None, row["level"])


def _pair_split(row: dict[str, Any]) -> str:
    """Split of the row itself; of a twin, that of its row."""
    return split_of(row["twin_of"] or row["id"])
