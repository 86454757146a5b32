"""`MANIFEST.json`: what a build read, what it wrote, and whether that is still so."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mis_dataset import __version__
from mis_dataset.errors import ManifestError
from mis_dataset.schema import DATA_VERSION

NAME = "MANIFEST.json"
KIND = "mis_dataset build"
_LIBRARIES = ("datasets", "pyarrow", "pillow")


@dataclass(frozen=True)
class Manifest:
    """What is known of a built dataset.

    Attributes:
        kind: always `KIND`; tells our folders from others.
        data_version: `schema.DATA_VERSION` at the time.
        inputs: raw file name -> sha256; ``"pictures"`` -> sha256 over paths and bytes of all pictures in row
            order.
        rows: split -> number of rows.
        files: written file, POSIX path relative to the folder -> its sha256, hexadecimal.
        versions: library -> version that wrote the files.
    """

    kind: str
    data_version: str
    inputs: dict[str, str]
    rows: dict[str, int]
    files: dict[str, str]
    versions: dict[str, str]


def write_manifest(folder: Path, inputs: dict[str, str], rows: dict[str, int]) -> Manifest:
    """Hashes all files of a folder that was just built and writes its manifest.

    Args:
        folder: of the built dataset; every file in it is synced to disk.
        inputs: see `Manifest`.
        rows: see `Manifest`.

    Returns:
        What was written.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    files = {name: sha256_of(folder / name, sync=True) for name in files_in(folder)}
    versions = {name: version(name) for name in _LIBRARIES}
    versions |= {"mis_dataset": __version__, "python": platform.python_version()}
    manifest = Manifest(KIND, DATA_VERSION, inputs, rows, files, versions)
    temporary = folder / f"{NAME}.tmp"
    temporary.write_text(json.dumps(asdict(manifest), indent=2) + "\n", encoding="utf-8")
    sha256_of(temporary, sync=True)
    temporary.replace(folder / NAME)
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """Reads the manifest of a built dataset.

    Args:
        folder: of the built dataset.

    Returns:
        The manifest.

    Raises:
        ManifestError: there is none, or it is not one of ours.
    """
    path = folder / NAME
    try:
        held: Any = json.loads(path.read_bytes())
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{path}: is not JSON; remove the folder and build again") from error
    if not _is_ours(held):
        raise ManifestError(f"{path}: was not written by `build`; remove the folder and build again")
    return Manifest(**held)


def verify(folder: Path) -> list[str]:
    """Compares a built dataset with its manifest.

    Args:
        folder: of the built dataset.

    Returns:
        One text for each file that was changed, is missing or was added; empty where all is as written.

    Raises:
        ManifestError: the folder has no manifest of ours.
    """
    expected = read_manifest(folder).files
    found = files_in(folder)
    texts = []
    for name in sorted({*expected, *found}):
        if name not in found:
            texts.append(f"{name}: is missing")
        elif name not in expected:
            texts.append(f"{name}: was added")
        elif sha256_of(folder / name) != expected[name]:
            texts.append(f"{name}: was changed")
    return texts


def _is_ours(held: Any) -> bool:
    if not isinstance(held, dict) or held.keys() != Manifest.__annotations__.keys():
        return False
    tables = (held["inputs"], held["rows"], held["files"], held["versions"])
    return held["kind"] == KIND and all(isinstance(table, dict) for table in tables)


def files_in(folder: Path) -> list[str]:
    """All files of a folder but its manifest, as sorted POSIX paths relative to it."""
    paths = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return sorted(name for path in paths if (name := path.relative_to(folder).as_posix()) != NAME)


def sha256_of(path: Path, sync: bool = False) -> str:
    """Hashes a file in constant memory.

    Args:
        path: the file.
        sync: whether to wait until its bytes are on the disk.

    Returns:
        64 hexadecimal digits.
    """
    with path.open("rb") as file:
        if sync:
            os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()
