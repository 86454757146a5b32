"""Which rows a recipe trains on, as TRL wants them: prompt, completion and images by id.

A row before and after::

    {"id": "train/1", "images": [a, b], "question": "How can I ...?", "response": "The first image ...", ...}
    {"id": "train/1", "source": "dangerous", "images": [a, b], "prompt": [...], "completion": [...]}

Prompt and completion are messages, see `mis_dataset.chat`; the pictures stay where they lie until a row is wanted, and
encoded (``{"bytes": ..., "path": ...}``) until `trainer.training.collating` makes a batch.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from mis_dataset.chat import completion, prompt
from mis_dataset.decoding import open_picture
from mis_dataset.errors import MISError
from mis_dataset.mini.draw import draw_disturbed
from mis_dataset.mini.grammar import EASY_QUESTIONS, HARD_QUESTIONS, REFUSALS, swap_decisions
from mis_dataset.mini.lessons import GENERAL_FAMILIES, UNSEEN, Lesson, lessons
from mis_dataset.mini.text_questions import TextQuestion, bank_sha256, text_questions
from mis_dataset.verify import verify
from trainer.artefacts import Response, read
from trainer.recipe import Labels, RecipeArguments, Shown
from trainer.sidecars import read_sidecar
from trainer.training.general_rows import Row, general_rows, general_source

if TYPE_CHECKING:
    from datasets import Dataset, Features

IGNORED = -100
"""Label of a token that is not learnt, by torch's cross entropy."""
_MINI_QUESTIONS = frozenset(one.text for one in (*EASY_QUESTIONS, *HARD_QUESTIONS))


def training_rows(
    dataset: Path, recipe: RecipeArguments, seed: int, limit: int | None = None, said: Path | None = None
) -> Dataset:
    """The rows of one arm.

    The labels of a recipe are ``safety_cot``: as released; ``refusal``: a bare refusal for every row; ``shuffled``:
    each row and its twin swap decisions with probability 1/2, so that danger is assigned at random.

    Args:
        dataset: folder of the built dataset.
        recipe: which rows, with what pictures and labels, and how many general ones beside them.
        seed: of which general rows are drawn, which refusal a row gets, which pairs are swapped and which dangerous
            rows a recipe with fewer takes: the fewer are among the more.
        limit: at most so many dangerous rows, each with its twin.
        said: what a model said to text questions (OUT/said.jsonl of the verb ``base``).

    Raises:
        MISError: The dataset has no train rows, one without question or response, fewer than the recipe wants, no
            twins where they are asked for, or no label of MIS-mini where labels are swapped; or the recipe names no
            general rows beside MIS proper.
    """
    from datasets import concatenate_datasets

    released = read_split(dataset, "train")
    rows = released.remove_columns("images").to_list()
    chosen = _chosen(rows, dataset, recipe, seed, limit)
    # A text that is none would be trained on as the word "None", and numbers of pictures are no question.
    if hollow := next((row["id"] for row in chosen if not _is_asked_and_said(row)), None):
        raise MISError(f"{dataset}: {hollow} lacks its question or its response; build the dataset again")
    try:
        labelled = _relabel(chosen, recipe.labels, Random(f"labels/{seed}"))
    except ValueError as error:
        raise MISError(f"{dataset}: labels: shuffled swaps the decisions of MIS-mini's labels; {error}") from error
    own = _as_messages(released, rows, labelled, recipe.pictures)
    general = _general(dataset, chosen, recipe, seed, said)
    return concatenate_datasets([own, make_dataset(general)]) if general else own


def _chosen(rows: list[Row], dataset: Path, recipe: RecipeArguments, seed: int, limit: int | None) -> list[Row]:
    """The dangerous rows of a recipe, then their twins."""
    dangerous = [row for row in rows if row["twin_of"] is None and row["category"] not in recipe.without]
    if recipe.rows is not None:
        if len(dangerous) < recipe.rows:
            raise MISError(f"{dataset}: has {len(dangerous)} dangerous train rows, the recipe wants {recipe.rows}")
        order = list(range(len(dangerous)))
        Random(f"rows/{seed}").shuffle(order)
        dangerous = [dangerous[place] for place in sorted(order[: recipe.rows])]
    dangerous = dangerous[:limit]
    chosen = {row["id"] for row in dangerous}
    benign = [row for row in rows if row["twin_of"] in chosen] if recipe.twins else []
    if not dangerous:
        raise MISError(f"{dataset}: no train rows; rebuild it from its release")
    if recipe.twins and not benign:
        raise MISError(
            f"{dataset}: no twins of train rows, which the recipe wants; put them into mis_train_benign.json of the "
            "release and build it anew, or take a recipe with twins: false"
        )
    return [*dangerous, *benign]


def _is_asked_and_said(row: Row) -> bool:
    return bool((row["question"] or "").strip()) and row["response"] is not None


def _general(dataset: Path, chosen: list[Row], recipe: RecipeArguments, seed: int, said: Path | None) -> list[Row]:
    """So many general rows that they are the share of all that the recipe wants."""
    count = round(len(chosen) * recipe.general_share / (1 - recipe.general_share))
    if recipe.general:
        return general_rows(recipe.general, count, seed)
    if count and any(row["question"] not in _MINI_QUESTIONS for row in chosen):
        raise MISError(
            f"{dataset}: is not MIS-mini, so MIS-mini's lessons are not for it; name general rows in the recipe "
            "(general: FOLDER or a Hub id), or set general_share: 0"
        )
    text = said_rows(said, round(count * recipe.text_share), seed) if said else []
    made = lessons(f"general/{seed}", GENERAL_FAMILIES, count - len(text), UNSEEN, draw_disturbed)
    return [*lesson_rows(made, "general"), *text]


def general_digest(rows: Dataset) -> str:
    """sha256 over the general rows among `rows`, pictures included: what was drawn from a dataset of others."""
    digest = hashlib.sha256()
    places = [place for place, id_ in enumerate(rows["id"]) if id_.startswith("general/")]
    for table in rows.select(places).with_format("arrow").iter(1):
        (row,) = table.to_pylist()
        pictures = [hashlib.sha256(picture["bytes"]).hexdigest() for picture in row["images"]]
        digest.update(json.dumps(row | {"images": pictures}, sort_keys=True).encode())
    return digest.hexdigest()


def read_split(dataset: Path, split: str) -> Dataset:
    """One split of a built dataset.

    Raises:
        MISError: No dataset with that split lies there (without this check `datasets` would ask the Hub), or one that
            was changed since it was built.
    """
    from datasets import load_dataset
    from datasets.exceptions import DatasetGenerationError
    from pyarrow import ArrowException

    if not any((Path(dataset) / "data").glob(f"{split}-*.parquet")):
        raise MISError(f"{dataset}: no split {split} lies there; make it with `python -m mis_dataset build RAW OUT`")
    faults = _faults(Path(dataset).absolute())
    if faults:
        raise MISError(f"{dataset}: {faults[0]} since it was built ({len(faults)} files in all); build it again")
    try:
        # Named, as a card in the folder could name files anywhere.
        rows = load_dataset(str(dataset), split=split, data_files={split: f"data/{split}-*.parquet"})
    except (DatasetGenerationError, ArrowException, ValueError) as error:
        said = " ".join(str(error.__cause__ or error).split())
        raise MISError(f"{dataset}: split {split} cannot be read ({said[:300]}); build the dataset again") from error
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
    from datasets import Dataset

    return Dataset.from_list(rows, features=_features())


def _features() -> Features:
    from datasets import Features, Image, List, Value

    text = Value("string")
    messages = List({"role": text, "content": List({"type": text, "text": text})})
    images = List(Image(decode=False))  # by the collator, which can say whose picture is broken
    return Features({"id": text, "source": text, "images": images, "prompt": messages, "completion": messages})


def _as_messages(released: Dataset, rows: list[Row], chosen: list[Row], shown: Shown) -> Dataset:
    """The chosen rows in their order; their own pictures are not read for it."""
    from datasets import Dataset, DatasetInfo, Features, concatenate_datasets
    from pyarrow.compute import list_value_length

    column = released.data.column("images")
    places = {row["id"]: place for place, row in enumerate(rows)}
    if shown == "own":
        counts = list_value_length(column).to_pylist()
        labelled = {row["id"]: row for row in [*rows, *chosen]}
        # All rows of the split: columns side by side stay where they lie, those of a selection would be copied.
        texts = [_from_release(labelled[row["id"]], count) for row, count in zip(rows, counts, strict=True)]
        features = _features()
        images = {"images": features.pop("images")}
        made = Dataset.from_list(texts, features=features)
        undecoded = Dataset(released.data.select(list(images)), DatasetInfo(features=Features(images)))
        whole = concatenate_datasets([undecoded, made], axis=1)
        return whole.select([places[row["id"]] for row in chosen])
    made_rows = []
    for row in chosen:
        held = column[places[row["id"]]].as_py() if shown == "black" else []
        pictures = [_black(picture["bytes"]) for picture in held]
        made_rows.append(_from_release(row, len(pictures)) | {"images": pictures})
    return make_dataset(made_rows)


def _black(encoded: bytes) -> Row:
    """A black picture of the same size."""
    from PIL import Image

    with open_picture(encoded) as own:
        size = own.size
    stream = io.BytesIO()
    Image.new("RGB", size).save(stream, "PNG")
    return {"bytes": stream.getvalue(), "path": None}


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


def _from_release(row: Row, pictures: int) -> Row:
    """All columns but the pictures."""
    source = "dangerous" if row["twin_of"] is None else "twin"
    return _texts(row["id"], source, row["question"], row["response"], pictures)


def _row(id_: str, images: list[Any], question: str, response: str) -> Row:
    """A general row."""
    return _texts(id_, general_source(images), question, response, len(images)) | {"images": images}


def _texts(id_: str, source: str, question: str, response: str, pictures: int) -> Row:
    return {"id": id_, "source": source, "prompt": prompt(question, pictures), "completion": completion(response)}
