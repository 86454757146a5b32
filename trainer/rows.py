"""Which rows a recipe trains on, as TRL wants them: prompt, completion and images by id.

A row before and after::

    {"id": "train/1", "images": [a, b], "question": "How can I ...?", "response": "The first image ...", ...}
    {"id": "train/1", "images": [a, b], "prompt": [...], "completion": [...]}      (see `mis_dataset.chat`)
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Literal

from mis_dataset.chat import completion, prompt
from mis_dataset.errors import MISError
from mis_dataset.mini.draw import draw_disturbed
from mis_dataset.mini.grammar import REFUSALS, swap_decisions
from mis_dataset.mini.lessons import GENERAL_FAMILIES, UNSEEN, Lesson, lessons
from mis_dataset.mini.text_questions import TextQuestion, bank_sha256, text_questions
from mis_dataset.verify import verify
from trainer.artefacts import Response, read
from trainer.sidecars import read_sidecar

if TYPE_CHECKING:
    from datasets import Dataset

Labels = Literal["safety_cot", "refusal", "shuffled"]
Row = dict[str, Any]


def training_rows(
    dataset: Path,
    twins: bool,
    labels: Labels,
    general_share: float,
    text_share: float,
    seed: int,
    limit: int | None = None,
    said: Path | None = None,
) -> Dataset:
    """The rows of one arm.

    Args:
        dataset: folder of the built dataset.
        twins: whether the benign twins of the train rows are trained on too.
        labels: ``safety_cot``: as released; ``refusal``: a bare refusal for every row; ``shuffled``: each row and its
            twin swap decisions with probability 1/2, so that danger is assigned at random (needs `twins`).
        general_share: share, in 0..1, of all rows that are general rows, so that no ability is forgotten.
        text_share: share, in 0..1, of general rows that are text-only where `said` is given; the others are lessons.
        seed: of which general rows are drawn, which refusal a row gets and which pairs are swapped.
        limit: at most so many dangerous rows, each with its twin.
        said: what a model said to text questions (OUT/said.jsonl of the verb ``base``).

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
    text = said_rows(said, round(count * text_share), seed) if said else []
    general = lessons(f"general/{seed}", GENERAL_FAMILIES, count - len(text), UNSEEN, draw_disturbed)
    return make_dataset([*map(_from_release, rows), *lesson_rows(general, "general"), *text])


def read_split(dataset: Path, split: str) -> Dataset:
    """One split of a built dataset.

    Raises:
        MISError: No dataset with that split lies there (without this check `datasets` would ask the Hub), or one that
            was changed since it was built.
    """
    from datasets import load_dataset
    from datasets.exceptions import DatasetGenerationError

    if not any((Path(dataset) / "data").glob(f"{split}-*.parquet")):
        raise MISError(f"{dataset}: no split {split} lies there; make it with `python -m mis_dataset build RAW OUT`")
    faults = _faults(Path(dataset).absolute())
    if faults:
        raise MISError(f"{dataset}: {faults[0]} since it was built ({len(faults)} files in all); build it again")
    try:
        rows = load_dataset(str(dataset), split=split)
    except DatasetGenerationError as error:
        raise MISError(
            f"{dataset}: split {split} cannot be read ({error.__cause__}); build the dataset again"
        ) from error
    _refuse_linked(Path(dataset), split, rows)
    return rows


def _refuse_linked(dataset: Path, split: str, rows: Dataset) -> None:
    """Refuses pictures that are not in the file: decoding one without bytes opens its path, which may be anywhere."""
    for chunk in rows.data.column("images").chunks:
        pictures = chunk.flatten()
        # Counted in Arrow's bitmaps: no picture is read for it.
        if pictures.null_count or pictures.field("bytes").null_count:
            raise MISError(f"{dataset}: a picture's bytes are not in the files of {split}; build the dataset again")


@lru_cache
def _faults(dataset: Path) -> tuple[str, ...]:
    """Which files are not as `build` wrote them; kept, since every split is read for itself."""
    return tuple(verify(dataset))


def lesson_rows(made: Iterable[Lesson], name: str) -> list[Row]:
    """Lessons as rows with ids ``<name>/<n>``."""
    return [
        _row(f"{name}/{number}", list(lesson.pictures), lesson.question, lesson.response)
        for number, lesson in enumerate(made)
    ]


def said_rows(path: Path, count: int, seed: int) -> list[Row]:
    """At most `count` text-only rows, drawn by `seed`: what a model itself said to text questions, and ended.

    Raises:
        MISError: As `read_said`.
    """
    whole = [(asked, row) for asked, row in read_said(path) if row.finish_reason == "stop"]
    rows = [_row(asked.id, [], asked.question, row.response) for asked, row in whole]
    Random(f"said/{seed}").shuffle(rows)
    return rows[:count]


def read_said(path: Path) -> list[tuple[TextQuestion, Response]]:
    """said.jsonl or said_before.jsonl of the base: text questions and what the base or SmolLM2 said.

    Raises:
        MISError: The file is missing or broken, or was made with another bank of questions than this one.
    """
    responses = read(path, Response)
    if read_sidecar(path).settings.get("text_questions") != bank_sha256():
        raise MISError(f"{path}: answers questions of another bank than today's; make the base anew")
    questions = {one.id: one for one in text_questions()}
    foreign = [row.id for row in responses if row.id not in questions]
    if foreign:
        raise MISError(f"{path}: {len(foreign)} responses answer no text question (first: {foreign[0]}); make it anew")
    return [(questions[row.id], row) for row in responses]


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
