"""Datasets that construction reads, from the Hub or a local folder: at which commit, and that their rows lie in there.

    HubSet("OWNER/NAME", revision="main")  ->  its builder at today's commit, and "OWNER/NAME@<commit>" for provenance

No code of a dataset is run.
"""

from __future__ import annotations

import hashlib
import re
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mis_dataset.errors import DatasetError
from mis_dataset.files import sha256_of
from mis_dataset.record import shown

if TYPE_CHECKING:
    from datasets import DatasetBuilder

    from mis_dataset.other import Place

LOCAL = "local"
"""In place of a commit, of a folder."""
_COMMIT = re.compile(r"[0-9a-f]{40}")


class HubSet(NamedTuple):
    """A dataset as settings name it.

    Attributes:
        hub: repository on the Hub, or a local folder.
        config: one of its configs; empty for the default.
        files: of rows inside the repository, with wildcards; empty: as its card says.
        revision: branch, tag or commit.
    """

    hub: str
    config: str = ""
    files: str = ""
    revision: str = ""


class Pinned(NamedTuple):
    """A dataset that stays as it is.

    Attributes:
        builder: of `datasets`; nothing of its rows was read yet.
        name: ``OWNER/NAME@<commit>``, or ``<folder>@local``.
        commit: of the Hub, or `LOCAL`.
    """

    builder: DatasetBuilder
    name: str
    commit: str


def pinned(told: HubSet, place: Place) -> Pinned:
    """Finds out at which commit a dataset is read, and where its rows lie.

    Raises:
        DatasetError: Files of its rows lie outside of its folder.
        Exception: One of `other.LOAD_ERRORS`, which its caller tells as it tells those of reading.
    """
    import datasets

    commit = _commit(told, place)
    words: dict[str, Any] = {"revision": commit} if commit != LOCAL else {}
    if told.files:
        words["data_files"] = told.files
    builder = datasets.load_dataset_builder(place.path, told.config or None, **words)
    for file in chain.from_iterable((builder.config.data_files or {}).values()):
        _refuse_outside(str(file), told.hub, place)
    return Pinned(builder, f"{Path(told.hub).name if commit == LOCAL else told.hub}@{commit}", commit)


def digest_of_folder(folder: Path, leaving: Path) -> str:
    """sha256 over the names, sizes and sha256 of all files of a local dataset: a commit that it does not have.

    Args:
        folder: of the dataset.
        leaving: a folder inside that is none of it, such as OUT of a construction; nor is what is hidden.

    Raises:
        OSError: A file cannot be read.
    """
    digest, outside = hashlib.sha256(), leaving.resolve()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in name.parts)
        if path.is_file() and not hidden and not path.resolve().is_relative_to(outside):
            digest.update(f"{name.as_posix()}\0{path.stat().st_size}\0{sha256_of(path)}\n".encode())
    return digest.hexdigest()


def _commit(told: HubSet, place: Place) -> str:
    """What a revision is today; one that is a commit is not asked for."""
    if Path(place.path).is_absolute():
        return LOCAL
    if _COMMIT.fullmatch(told.revision):
        return told.revision
    from huggingface_hub import HfApi

    return str(HfApi().dataset_info(told.hub, revision=told.revision or None).sha)


def _refuse_outside(file: str, hub: str, place: Place) -> None:
    """Refuses a file of rows that lies elsewhere, where a card or a link may point."""
    inside = file.startswith(f"hf://datasets/{place.path}@")
    if not inside and ("://" in file or not Path(file).resolve().is_relative_to(place.folder)):
        raise DatasetError(f"{hub}: its rows {shown(file)} are in no file of its own folder; put them there")
