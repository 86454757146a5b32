"""Processed pictures on the disk: what an image processor makes of the pictures of a row, for later epochs and arms.

A file is named by the sha256 of the pictures and of all that decides what becomes of them, so none is ever out of date.
There is no pickle in them, and one that was cut short is made again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import datasets
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from transformers import BatchFeature

from mis_dataset.decoding import open_picture
from trainer.families import ModelError
from trainer.files import library_versions, replaced

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

_LISTS = "lists"
_ENCODED = "encoded"
_MADE_BY = ("pillow", "torch", "torchvision", "transformers")
"""Packages whose next version may make other pixels."""


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
        """What was kept under `key`, a hexadecimal digest; None where nothing is, or a file that was cut short."""
        try:
            with safe_open(self._path(key), "pt") as file:
                lists: dict[str, Any] = json.loads(file.metadata()[_LISTS])
                return lists | {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError):
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


class CachedPictures:
    """Stands before an image processor: the pictures of each row come from the cache, or go into it.

    A row of pictures is made by itself, then rows are joined as the processor joins them: one behind the other, padded
    with zeros in the second dimension where it counts a row's pictures (Idefics3, SmolVLM) or a picture's tiles
    (LLaVA-OneVision).

    Args:
        whole: the image processor.
        cache: where rows are kept.
    """

    def __init__(self, whole: Any, cache: PixelCache) -> None:
        self._whole = whole
        self._cache = cache
        # Bounds of pictures included, see `trainer.families.limit_pictures`.
        self._about = json.dumps([whole.to_dict(), library_versions(_MADE_BY)], default=str, sort_keys=True)
        self._left_out: dict[str, Any] | None = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_whole":  # not there yet where an object is copied
            raise AttributeError(name)
        return getattr(self._whole, name)

    def __call__(self, images: Sequence[Sequence[Picture]], **settings: Any) -> BatchFeature:
        """As that of the image processor.

        Args:
            images: of each row, as `open_lazily` gives them; of at least one row there are some.
            settings: of the call.
        """
        made = [self._row(row, settings) if row else None for row in images]
        joined = _joined([row for row in made if row is not None])
        if None in made:
            joined = _joined([self._none(joined, settings) if row is None else row for row in made])
        return BatchFeature(joined)

    def _row(self, pictures: Sequence[Picture], settings: Mapping[str, Any]) -> dict[str, Any]:
        encoded = [picture.info[_ENCODED] for picture in pictures]
        digests = [hashlib.sha256(one).hexdigest() for one in encoded]
        about = json.dumps([self._about, settings, digests], default=str, sort_keys=True)
        key = hashlib.sha256(about.encode()).hexdigest()
        found = self._cache.get(key)
        if found is None:
            found = dict(self._whole([[decode(one) for one in encoded]], **settings))
            self._cache.put(key, found)
        return found

    def _none(self, joined: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
        """What a row without pictures adds to a batch: seen once on blank ones, as it differs between families."""
        if self._left_out is None:
            blank = Image.new("RGB", (32, 32))
            alone, both = self._whole([[blank]], **settings), self._whole([[blank], []], **settings)
            self._left_out = {name: both[name][len(alone[name]) :] for name in alone}
        return {
            name: value.new_zeros(len(value), *joined[name].shape[1:]) if isinstance(value, torch.Tensor) else value
            for name, value in self._left_out.items()
        }


def _joined(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Rows one behind the other."""
    joined: dict[str, Any] = {}
    for name, first in rows[0].items():
        parts = [row[name] for row in rows]
        if isinstance(first, torch.Tensor):
            joined[name] = torch.cat([_widened(part, max(map(_width, parts))) for part in parts])
        else:
            joined[name] = [one for part in parts for one in part]
    return joined


def _width(tensor: torch.Tensor) -> int:
    return tensor.shape[1] if tensor.ndim > 1 else 0


def _widened(tensor: torch.Tensor, width: int) -> torch.Tensor:
    """Zeros behind what is there, in the second dimension."""
    missing = width - _width(tensor)
    if missing <= 0:
        return tensor
    return torch.cat([tensor, tensor.new_zeros(len(tensor), missing, *tensor.shape[2:])], dim=1)


def decode(encoded: bytes) -> Picture:
    """A picture as `datasets` decodes it: turned as its EXIF says.

    Raises:
        OSError: and others, see `mis_dataset.decoding.UNREADABLE`.
    """
    picture: Picture = datasets.Image().decode_example({"bytes": encoded, "path": None})
    return picture


def open_lazily(encoded: bytes) -> Picture:
    """A picture that is only decoded where `CachedPictures` has to.

    Raises:
        OSError: and others, see `mis_dataset.decoding.UNREADABLE`.
    """
    picture = open_picture(encoded)
    picture.info[_ENCODED] = encoded
    return picture
