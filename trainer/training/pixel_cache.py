"""Processed pictures on the disk: what an image processor makes of the pictures of a row, for later epochs and arms.

`trainer.training.processed` names a file by the sha256 of the pictures and of all that decides what becomes of them, so
none is ever out of date. There is no pickle in them, and one that was cut short is made again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from trainer.families import ModelError
from trainer.files import replaced

_LISTS = "lists"


class PixelCache:
    """A folder of processed pictures. When it is full nothing is added and nothing removed.

    To make room for the latest by dropping the oldest would drop, epoch after epoch, what is wanted next.

    Args:
        folder: any number of processes and arms may share it; it is made when something is added.
        most_bytes: of all files in it, but for what other processes add in the same moment.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder = folder
        self._most_bytes = most_bytes

    def get(self, key: str) -> dict[str, Any] | None:
        """What was kept under `key`, a hexadecimal digest; None where nothing is, or no file of ours."""
        try:
            with safe_open(self._path(key), "pt") as file:
                lists: dict[str, Any] = json.loads((file.metadata() or {})[_LISTS])
                return lists | {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError, LookupError, ValueError, TypeError):
            return None

    def put(self, key: str, made: Mapping[str, Any]) -> None:
        """Keeps tensors, and lists of whole numbers, where there is room.

        Raises:
            ModelError: The folder cannot be written.
        """
        tensors = {name: value.contiguous() for name, value in made.items() if isinstance(value, torch.Tensor)}
        lists = {name: value for name, value in made.items() if name not in tensors}
        content = save(tensors, {_LISTS: json.dumps(lists)})
        try:
            if self._held() + len(content) <= self._most_bytes:
                replaced(self._path(key), content)
        except OSError as error:
            said = f"cannot be written ({error.strerror}); name another folder in pixel_cache, or make it smaller"
            raise ModelError(f"{self._folder}: {said}") from error

    def _held(self) -> int:
        if not self._folder.is_dir():
            return 0
        with os.scandir(self._folder) as entries:
            return sum(entry.stat().st_size for entry in entries if not entry.name.startswith("."))

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.safetensors"
