"""`MANIFEST.json`: what a build read and what it wrote, file by file and row by row."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mis_dataset import __version__
from mis_dataset.errors import ManifestError, UsageError
from mis_dataset.files import sha256_of, write_json

NAME = "MANIFEST.json"
CROISSANT = "croissant.json"
"""What `croissant` writes beside the dataset."""
CARD = "README.md"
ABOUT = (CROISSANT, CARD, "rows.png", "words.png", "eval.yaml", "LICENSE", "NOTICE", ".gitattributes")
"""Documents about a dataset that lie beside it on the Hub: not of it."""
_NOTES = (".git/", ".cache/huggingface/")
"""Where git and huggingface_hub note what they fetched into a folder."""
KIND = "mis_dataset build"
_LIBRARIES = ("datasets", "pyarrow", "pillow")


@dataclass(frozen=True)
class Manifest:
    """What is known of a built dataset.

    Attributes:
        kind: always `KIND`; tells our folders from others.
        data_version: `schema.DATA_VERSION` at the time.
        config: ``"default"``, or ``"max<N>"`` where pictures were made smaller.
        source: Hub repository -> commit that it was downloaded at; empty where `download` was not used. Of a benchmark
            what `trainer.benchmark.source_of` says.
        inputs: raw file name -> sha256; ``"pictures"`` -> sha256 over paths and bytes of all pictures in row
            order.
        limit: how many records of each raw file were built, as a trial; None: all.
        reviews: what became of proposed twins; see `release.Release`.
        rows: split -> number of rows.
        files: written file, POSIX path relative to the folder -> its sha256, hexadecimal.
        versions: library -> version that wrote the files.
        row_hashes: split -> row id -> `row_hash`, in the order of the rows.
    """

    kind: str
    data_version: str
    config: str
    source: dict[str, str]
    inputs: dict[str, str]
    limit: int | None
    reviews: dict[str, Any]
    rows: dict[str, int]
    files: dict[str, str]
    versions: dict[str, str]
    row_hashes: dict[str, dict[str, str]]


def picture_hashes(row: Mapping[str, Any]) -> list[str]:
    """sha256 of the bytes of a row's pictures, undecoded."""
    return [hashlib.sha256(picture["bytes"]).hexdigest() for picture in row["images"]]


def row_hash(row: Mapping[str, Any], digests: Sequence[str]) -> str:
    """Hashes one row, whatever file it lies in.

    Before: ``{"id": "test_hard/0", "images": [{"bytes": b"...", "path": "object1.png"}, ...], ...}``; hashed is its
    JSON with sorted keys, no spaces and non-ASCII letters as they are, in UTF-8, in which every picture is
    ``{"path": "object1.png", "sha256": "<of its bytes>"}``.

    Args:
        row: all columns.
        digests: its `picture_hashes`.

    Returns:
        sha256, 64 hexadecimal digits.
    """
    pairs = zip(row["images"], digests, strict=True)
    pictures = [{"path": picture["path"], "sha256": digest} for picture, digest in pairs]
    canonical = json.dumps({**row, "images": pictures}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def versions() -> dict[str, str]:
    """The libraries that bytes of a build depend on, and what made it."""
    found = {name: version(name) for name in _LIBRARIES}
    return found | {"mis_dataset": __version__, "python": platform.python_version()}


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes the manifest of a folder that was just built.

    Args:
        folder: of the built dataset.
        manifest: what was built.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    write_json(folder / NAME, asdict(manifest))


def write_about(folder: Path, path: Path, kind: str, found: Mapping[str, Any]) -> None:
    """Writes what a verb found in a built dataset, with what it was found in.

    Args:
        folder: of the built dataset.
        path: JSON file; absent, or written by the same verb before.
        kind: the verb's, e.g. ``"mis_dataset stats"``.
        found: what it found.

    Raises:
        UsageError: another file lies there.
        ManifestError: the folder has no manifest of ours.
        OSError: the disk is full, or the file cannot be written.
    """
    refuse_other(path, kind)
    read_manifest(folder)
    write_json(path, {"kind": kind, "manifest": sha256_of(folder / NAME), "versions": versions(), **found})


def refuse_other(path: Path, kind: str) -> None:
    """Refuses to write over a file that is not of that kind.

    Args:
        path: where `write_about` is going to write.
        kind: the verb's.

    Raises:
        UsageError: another file lies there.
    """
    if not os.path.lexists(path):
        return
    try:
        held = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        held = None
    if not isinstance(held, dict) or held.get("kind") != kind:
        raise UsageError(f"{path}: was not written by `{kind}`; name another file")


def read_manifest(folder: Path) -> Manifest:
    """Reads the manifest of a built dataset.

    Args:
        folder: of the built dataset.

    Returns:
        The manifest.

    Raises:
        UsageError: `folder` is none.
        ManifestError: there is no manifest, or it is not one of ours.
    """
    path = folder / NAME
    if not folder.is_dir():
        raise UsageError(f"{folder}: not a folder; name the one that `build` wrote")
    if path.exists() and not path.is_file():
        raise ManifestError(f"{path}: is no file; remove the folder and build again")
    try:
        held: Any = json.loads(path.read_bytes())
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{path}: is not JSON; remove the folder and build again") from error
    if not _is_ours(held):
        raise ManifestError(f"{path}: was not written by `build`; remove the folder and build again")
    return Manifest(**held)


def _is_ours(held: Any) -> bool:
    if not isinstance(held, dict) or held.keys() != Manifest.__annotations__.keys():
        return False
    tables = [held[name] for name in ("source", "inputs", "reviews", "rows", "files", "versions", "row_hashes")]
    tables += held["row_hashes"].values() if isinstance(held["row_hashes"], dict) else []
    texts = [held["data_version"], held["config"]]
    plain = all(isinstance(text, str) and text.isprintable() for text in texts)
    counted = held["limit"] is None or type(held["limit"]) is int
    return held["kind"] == KIND and plain and counted and all(isinstance(table, dict) for table in tables)


def files_in(folder: Path) -> list[str]:
    """The files of a dataset: all of a folder but its manifest and what is `ABOUT` it, as sorted POSIX paths."""
    return [name for name in all_files(folder) if name not in (NAME, *ABOUT) and not name.startswith(_NOTES)]


def all_files(folder: Path) -> list[str]:
    """Every file and link of a folder, as sorted POSIX paths."""
    paths = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return sorted(path.relative_to(folder).as_posix() for path in paths)
