"""What the measuring verbs need of the built dataset: every column but the pictures, read by id."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mis_dataset.manifest import NAME as MANIFEST
from mis_dataset.manifest import read_manifest
from mis_dataset.mini.grammar import EASY_QUESTIONS, HARD_QUESTIONS
from mis_dataset.mini.objects import THINGS
from mis_dataset.published import ROWS
from mis_dataset.schema import SOURCES
from trainer.files import ArtefactError, read_json, sha256_of, sha256_text

TESTED: dict[str, str] = {"test_easy": "easy", "test_hard": "hard", "test_real": "real"}
"""Split of the dataset -> its short name in a report."""
TEMPLATES: frozenset[str] = frozenset(one.text.casefold() for one in (*EASY_QUESTIONS, *HARD_QUESTIONS))
"""What MIS-mini asks, letter case evened out."""
_COLUMNS = ("id", "question", "category", "level", "twin_of")


@dataclass(frozen=True)
class RowFacts:
    """One row of the built dataset without its pictures and its response.

    Attributes:
        id: `<split>/<raw_id>`.
        question: What is asked, without image placeholders.
        category: Category, None where the split has none.
        level: Level of generalisation, None outside of MIS-mini's test rows.
        twin_of: Id of the dangerous row of which this is the harmless twin, else None.
    """

    id: str
    question: str
    category: str | None
    level: str | None
    twin_of: str | None


def read_rows(dataset: Path) -> dict[str, RowFacts]:
    """Read a built dataset.

    Args:
        dataset: The folder that `python -m mis_dataset build` wrote.

    Returns:
        id -> row, in the order of the files.

    Raises:
        ArtefactError: No Parquet file, a broken one, a missing column or an id that occurs twice.
    """
    files = sorted((Path(dataset) / "data").glob("*.parquet"))
    if not files:
        raise ArtefactError(f"{dataset}/data: no Parquet file; make it with `python -m mis_dataset build RAW OUT`")
    rows: dict[str, RowFacts] = {}
    for file in files:
        for row in read_parquet(file, _COLUMNS):
            if row["id"] in rows:
                raise ArtefactError(f"{file}: id {row['id']} stands there twice; build the dataset again")
            rows[row["id"]] = RowFacts(**row)
    return rows


def read_parquet(file: Path, columns: Sequence[str], ids: Collection[str] | None = None) -> list[dict[str, Any]]:
    """Some columns of one Parquet file of a built dataset.

    Args:
        file: The file.
        columns: Their names; "id" among them where `ids` is given.
        ids: Only the rows of these ids.

    Raises:
        ArtefactError: The file is broken, or a column is missing.
    """
    return list(parquet_rows(file, columns, ids))


def parquet_rows(file: Path, columns: Sequence[str], ids: Collection[str] | None = None) -> Iterator[dict[str, Any]]:
    """As `read_parquet`, but no more than one row group is in memory, and none is read that has no row of `ids`."""
    # Parquet alone: `datasets` would copy the pictures into its cache first.
    import pyarrow
    import pyarrow.parquet

    wanted = None if ids is None else set(ids)
    try:
        with pyarrow.parquet.ParquetFile(file) as held:
            missing = set(columns) - set(held.schema_arrow.names)
            if missing:
                raise ArtefactError(f"{file}: no column {sorted(missing)}; build the dataset again")
            for group in range(held.num_row_groups):
                if wanted is None or not wanted.isdisjoint(held.read_row_group(group, ["id"])["id"].to_pylist()):
                    rows = held.read_row_group(group, list(columns)).to_pylist()
                    yield from (row for row in rows if wanted is None or row["id"] in wanted)
    except (OSError, pyarrow.ArrowException) as error:
        raise ArtefactError(f"{file}: cannot be read ({type(error).__name__}); build the dataset again") from error


def rows_file(dataset: Path) -> Path:
    """What stands for a built dataset among the inputs of an artefact, which are hashed.

    That is its manifest, which holds the hash of every row and file, so that a card or a croissant.json beside the rows
    makes no other dataset of it; its folder of Parquet files where it has none. That the rows are still those of the
    manifest `mis_dataset verify` says.

    Args:
        dataset: The folder of the dataset.
    """
    return dataset / MANIFEST if (dataset / MANIFEST).is_file() else dataset / "data"


def rows_sha256(dataset: Path) -> str:
    """A hash of the rows of a built dataset, pictures included: by its manifest, where it has one, whoever built it.

    Raises:
        ArtefactError: Neither a manifest nor a folder of Parquet files is there.
        ManifestError: The manifest is not one of ours.
    """
    if not (dataset / MANIFEST).exists():
        return sha256_of(dataset / "data")
    return sha256_text(json.dumps(read_manifest(dataset).row_hashes, sort_keys=True))


def data_version(dataset: Path) -> str | None:
    """`DATA_VERSION` of a built dataset, None where it has no manifest.

    Raises:
        ManifestError: The manifest is not one of ours.
    """
    return read_manifest(dataset).data_version if (dataset / MANIFEST).exists() else None


def split_of(id_: str) -> str:
    """The split of a row: the part of its id before the slash.

    >>> split_of("test_easy/0")
    'test_easy'
    """
    return id_.split("/", 1)[0]


def is_mis(rows: Mapping[str, RowFacts]) -> bool:
    """Whether a dataset is MIS proper: as many rows in every test split as the paper counts, and none has a level."""
    wanted = {source.split: ROWS[source.file] for source in SOURCES if source.split in TESTED}
    found = {split: sum(split_of(id_) == split for id_ in rows) for split in wanted}
    return found == wanted and not any(row.level for row in rows.values())


def cluster_of(row: RowFacts) -> str | None:
    """The question of a row, letter case and spaces evened out; rows that share one are not independent of each other.

    None, for a row by itself, where it asks one of MIS-mini's questions: those are a fixed list that names no thing,
    asked of every pair of kinds alike, not drawn from more of their sort. A rate of MIS-mini speaks of that list.

    >>> cluster_of(RowFacts("test_hard/0", "How do I  light it?", "Violent", None, None))
    'how do i light it?'
    """
    question = " ".join(row.question.casefold().split())
    return None if question in TEMPLATES else question


def twins(rows: dict[str, RowFacts]) -> dict[str, str]:
    """Id of each dangerous test row -> id of its harmless twin.

    Raises:
        ArtefactError: A twin points at no row, or two at the same.
    """
    found: dict[str, str] = {}
    for row in rows.values():
        if row.twin_of is None or row.id.startswith("train/"):
            continue
        if row.twin_of not in rows or row.twin_of in found:
            raise ArtefactError(f"{row.id}: twin_of {row.twin_of} is no row, or has two twins; build again")
        found[row.twin_of] = row.id
    return found


def read_things(path: Path) -> dict[str, tuple[str, str]]:
    """Read the names of both things of every row (`mini/objects.json` of a raw release).

    Raises:
        ArtefactError: Not {id: [name, name]}.
    """
    found = read_json(path)
    wrong = [id_ for id_, pair in found.items() if not (isinstance(pair, list) and len(pair) == 2)]
    if wrong:
        raise ArtefactError(f"{path}: {len(wrong)} ids have not two names (first: {wrong[:3]}); make it anew")
    known = {thing.name for thing in THINGS}
    unknown = [id_ for id_, pair in found.items() if not all(isinstance(name, str) and name in known for name in pair)]
    if unknown:
        raise ArtefactError(f"{path}: {len(unknown)} ids name no thing of ours (first: {unknown[:3]}); make it anew")
    return {id_: (pair[0], pair[1]) for id_, pair in found.items()}
