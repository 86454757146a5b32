"""A built dataset -> `croissant.json` beside it: what it holds, in JSON-LD, with the sha256 of every file.

Records are read back through it with `mlcroissant`: record set ``<split>``, fields ``<split>/id`` ..., and
``<split>/images``, a list of ``{"<split>/images/bytes": picture, "<split>/images/path": "object1.png"}``.
"""

from __future__ import annotations

import datetime
import json
import os
import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import mlcroissant as mlc

from mis_dataset.built import files_of, rows_of
from mis_dataset.errors import DatasetError, UsageError
from mis_dataset.files import write_json
from mis_dataset.manifest import CROISSANT, Manifest, read_manifest
from mis_dataset.schema import COLUMNS, PROVENANCE
from mis_dataset.verify import verify

_NUMBERS = frozenset({"raw_id", "changed_image"})
_PARQUET = ["application/x-parquet"]
_PAPER = (
    "@inproceedings{ding2026rethinking, "
    "title={Rethinking Bottlenecks in Safety Fine-Tuning of Vision Language Models}, "
    "author={Ding, Yi and Li, Lijun and Cao, Bing and Shao, Jing}, booktitle={ICLR}, year={2026}}"
)
_WORDS = "croissant.toml"


def describe(folder: Path) -> dict[str, Any]:
    """Describes a built dataset.

    Args:
        folder: of the built dataset; its files are hashed anew.

    Returns:
        The JSON-LD, valid as `mlcroissant` sees it. It is the same for the same dataset.

    Raises:
        DatasetError: it is of a construction or was built as a trial, a file or row is not as it was built, or
            `mlcroissant` finds the description invalid.
        ManifestError: the folder has no manifest of ours.
    """
    manifest = read_manifest(folder)
    if manifest.limit is not None:
        raise DatasetError(f"{folder}: was built with --limit {manifest.limit}, as a trial; build it whole first")
    if (folder / PROVENANCE).is_file():
        raise DatasetError(
            f"{folder}: is of a construction, which its card describes; Croissant is of MIS and MIS-mini"
        )
    faults = verify(folder)
    if faults:
        raise DatasetError(f"{folder}: not as it was built, {faults[0]}; `python -m mis_dataset verify` lists all")
    found = files_of(folder)
    names = {split: [path.relative_to(folder).as_posix() for path in paths] for split, paths in found.items()}
    metadata = mlc.Metadata(
        **_words("mini" if _is_mini(folder) else "mis"),
        version=f"{manifest.data_version.split('-')[0]}.0.0",
        cite_as=_PAPER,
        in_language=["en"],
        distribution=_distribution(names, manifest),
        record_sets=[_record_set(split) for split in names],
    )
    if metadata.issues.errors:
        raise DatasetError(f"{folder}: mlcroissant finds it invalid: {'; '.join(map(str, metadata.issues.errors))}")
    made: dict[str, Any] = json.loads(json.dumps(metadata.to_json(), default=str))
    return made


def write(folder: Path) -> Path:
    """Writes ``croissant.json`` into the folder; `verify` takes it for a document about the dataset, not a part of it.

    Args:
        folder: of the built dataset.

    Returns:
        The file.

    Raises:
        DatasetError: as `describe`.
        ManifestError: as `describe`.
        UsageError: a file of another lies there.
    """
    path = folder / CROISSANT
    described = describe(folder)
    if os.path.lexists(path) and not _is_ours(path):
        raise UsageError(f"{path}: was not written by `croissant`; move it away")
    write_json(path, described)
    return path


def _is_ours(path: Path) -> bool:
    try:
        held = json.loads(path.read_bytes()) if path.is_file() else None
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(held, dict) and held.get("citeAs") == _PAPER


def _is_mini(folder: Path) -> bool:
    """MIS proper has no levels."""
    return any(row["level"] for paths in files_of(folder).values() for row in rows_of(paths, ["level"]))


def _words(which: str) -> dict[str, Any]:
    """Everything that is said in words, as arguments of `mlc.Metadata`."""
    words = dict(tomllib.loads(files("mis_dataset").joinpath(_WORDS).read_text("utf-8"))[which])
    words["creators"] = [mlc.Person(name=name) for name in words["creators"]]
    words["date_published"] = datetime.datetime.fromisoformat(words["date_published"])
    words["data_collection_timeframe"] = [datetime.datetime.fromisoformat(words["data_collection_timeframe"])]
    return words


def _distribution(names: Mapping[str, list[str]], manifest: Manifest) -> list[Any]:
    """Every file with its sha256, and a set of files for every split."""
    made: list[Any] = [
        mlc.FileObject(
            id=name, name=Path(name).name, content_url=name, encoding_formats=_PARQUET, sha256=manifest.files[name]
        )
        for held in names.values()
        for name in held
    ]
    for split, held in names.items():
        pattern = f"{Path(held[0]).parent.as_posix()}/{split}-*.parquet"
        made.append(mlc.FileSet(id=f"{split}-files", name=split, encoding_formats=_PARQUET, includes=[pattern]))
    return made


def _record_set(split: str) -> Any:
    fields = [_images(split) if column == "images" else _field(split, column, column) for column in COLUMNS]
    return mlc.RecordSet(id=split, name=split, description=f"The rows of the split {split}.", fields=fields)


def _images(split: str) -> Any:
    parts = [
        _field(split, "images/bytes", "images", mlc.DataType.IMAGE_OBJECT, "bytes"),
        _field(split, "images/path", "images", mlc.DataType.TEXT, "path"),
    ]
    name = f"{split}/images"
    return mlc.Field(id=name, name=name, description="Pictures of a row, in order.", repeated=True, sub_fields=parts)


def _field(split: str, name: str, column: str, kind: Any = None, part: str | None = None) -> Any:
    kind = kind or (mlc.DataType.INTEGER if column in _NUMBERS else mlc.DataType.TEXT)
    transforms = [mlc.Transform(json_path=part)] if part else []
    source = mlc.Source(file_set=f"{split}-files", extract=mlc.Extract(column=column), transforms=transforms)
    said = f"Column {column}." if part is None else f"The {part} of each picture."
    full = f"{split}/{name}"
    return mlc.Field(id=full, name=full, description=said, data_types=[kind], source=source, repeated=part is not None)
