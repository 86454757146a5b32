"""Which rows a recipe trains on, as TRL wants them: prompt, completion and images by id.

A row before and after::

    {"id": "train/1", "images": [a, b], "question": "How can I ...?", "response": "The first image ...", ...}
    {"id": "train/1", "images": [a, b], "prompt": [...], "completion": [...]}      (see `mis_dataset.chat`)
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Literal

from mis_dataset.chat import completion, prompt
from mis_dataset.errors import MISError
from mis_dataset.mini.draw import TOWER_STYLES
from mis_dataset.mini.grammar import REFUSALS, swap_decisions
from mis_dataset.mini.lessons import GENERAL_FAMILIES, UNSEEN, Lesson, lessons

if TYPE_CHECKING:
    from datasets import Dataset

Labels = Literal["safety_cot", "refusal", "shuffled"]
Row = dict[str, Any]


def training_rows(
    dataset: Path,
    twins: bool,
    labels: Labels,
    general_share: float,
    seed: int,
    limit: int | None = None,
    chat: Path | None = None,
) -> Dataset:
    """The rows of one arm.

    Args:
        dataset: folder of the built dataset.
        twins: whether the benign twins of the train rows are trained on too.
        labels: ``safety_cot``: as released; ``refusal``: a bare refusal for every row; ``shuffled``: each row and its
            twin swap decisions with probability 1/2, so that danger is assigned at random (needs `twins`).
        general_share: share, in 0..1, of all rows that are general rows: lessons and, where `chat` is given, as many
            text-only ones, so that neither ability is forgotten.
        seed: of which general rows are drawn, which refusal a row gets and which pairs are swapped.
        limit: at most so many dangerous rows, each with its twin.
        chat: text-only rows of the base (OUT/chat.jsonl of the verb ``base``).

    Raises:
        MISError: The dataset has no train rows, or no twins where they are asked for or needed.
    """
    if labels == "shuffled" and not twins:
        raise MISError("labels: shuffled swaps the decisions of a row and its twin, so it needs twins: true")
    released = read_split(dataset, "train").to_list()
    dangerous = [row for row in released if row["twin_of"] is None][:limit]
    chosen = {row["id"] for row in dangerous}
    benign = [row for row in released if row["twin_of"] in chosen] if twins else []
    if not dangerous or (twins and not benign):
        raise MISError(f"{dataset}: no {'twins of ' if dangerous else ''}train rows; rebuild it from its release")
    rows = _relabel([*dangerous, *benign], labels, Random(f"labels/{seed}"))
    count = round(len(rows) * general_share / (1 - general_share))
    text = chat_rows(chat, count // 2, seed) if chat else []
    general = lessons(f"general/{seed}", GENERAL_FAMILIES, count - len(text), UNSEEN, TOWER_STYLES)
    return make_dataset([*map(_from_release, rows), *lesson_rows(general, "general"), *text])


def read_split(dataset: Path, split: str) -> Dataset:
    """One split of a built dataset.

    Raises:
        MISError: No dataset with that split lies there. (Without this check `datasets` would ask the Hub.)
    """
    from datasets import load_dataset

    if not any((Path(dataset) / "data").glob(f"{split}-*.parquet")):
        raise MISError(f"{dataset}: no split {split} lies there; make it with `python -m mis_dataset build RAW OUT`")
    return load_dataset(str(dataset), split=split)


def lesson_rows(made: Iterable[Lesson], name: str) -> list[Row]:
    """Lessons as rows with ids ``<name>/<n>``."""
    return [
        _row(f"{name}/{number}", list(lesson.pictures), lesson.question, lesson.response)
        for number, lesson in enumerate(made)
    ]


def chat_rows(path: Path, count: int, seed: int) -> list[Row]:
    """At most `count` text-only rows, drawn by `seed`, in which the base keeps saying what it said before.

    Raises:
        MISError: The file is missing or a line is no such row.
    """
    try:
        lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        rows = [_row(line["id"], [], line["question"], line["response"]) for line in lines]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MISError(f"{path}: no text-only rows ({error!r}); `python -m trainer base` writes them") from error
    Random(f"chat/{seed}").shuffle(rows)
    return rows[:count]


def make_dataset(rows: list[Row]) -> Dataset:
    """Rows as a `datasets.Dataset` held in memory, the pictures encoded."""
    from datasets import Dataset, Image, List

    made = Dataset.from_list(rows)
    return made.cast_column("images", List(Image()))


def _relabel(rows: list[Row], labels: Labels, random: Random) -> list[Row]:
    if labels == "refusal":
        return [row | {"response": random.choice(REFUSALS)} for row in rows]
    if labels == "safety_cot":
        return rows
    changed = {row["id"]: row for row in rows}
    for twin in rows:
        if twin["twin_of"] is not None and random.random() < 0.5:
            row = changed[twin["twin_of"]]
            first, second = swap_decisions(row["response"], twin["response"])
            changed |= {row["id"]: row | {"response": first}, twin["id"]: twin | {"response": second}}
    return list(changed.values())


def _from_release(row: Row) -> Row:
    return _row(row["id"], row["images"], row["question"], row["response"])


def _row(id_: str, images: list[Any], question: str, response: str) -> Row:
    return {
        "id": id_,
        "images": images,
        "prompt": prompt(question, len(images)),
        "completion": completion(response),
    }
