"""Checkpoints that construction uses here: where one lies, which it is, and that it brings no code."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from mis_dataset.errors import MISError, UsageError
from mis_dataset.files import sha256_of

_COMMIT = re.compile(r"[0-9a-f]{40}")
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_READ = (".safetensors", ".json", ".txt", ".model", ".jinja")
"""Endings of what is read of a checkpoint."""


def local_or_hub(model: str) -> Path | None:
    """The folder of a checkpoint; None where it is the name of a repository on the Hub.

    Raises:
        UsageError: it is neither.
    """
    folder = Path(model)
    if folder.is_dir():
        return folder.resolve()
    if folder.exists() or not _REPOSITORY.fullmatch(model):
        raise UsageError(f"{model}: is neither a folder nor OWNER/NAME of a model on the Hub")
    return None


def refuse_code(folder: Path) -> None:
    """Refuses a checkpoint that brings code of its own, whether or not it would be run.

    Raises:
        MISError: there is a Python file, or a pipeline that names a class of its own.
    """
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.py"))
    if found:
        raise MISError(f"{folder.name}: holds {found[0]}, code of its own, which is not run; use a checkpoint without")
    index = folder / "model_index.json"
    try:
        told = json.loads(index.read_bytes()) if index.is_file() else {"_class_name": ""}
    except (ValueError, RecursionError) as error:
        raise MISError(f"{folder.name}: model_index.json is no JSON; fetch it again") from error
    if not isinstance(told, dict) or not isinstance(told.get("_class_name"), str):
        raise MISError(f"{folder.name}: model_index.json names no class of diffusers; code of its own is not run")


def identity_of(folder: Path) -> str:
    """40 hexadecimal digits: the commit of a folder in the Hub's cache, else a digest of what is read of it."""
    if folder.parent.name == "snapshots" and _COMMIT.fullmatch(folder.name):
        return folder.name
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix in _READ):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{sha256_of(path)}\n".encode())
    return digest.hexdigest()[:40]


def device_of_torch() -> str:
    """Where torch computes here: a GPU where one is there."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
