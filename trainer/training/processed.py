"""Rows of pictures -> what the model's image processor makes of them, in less time, or from the cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import datasets
import numpy as np
import torch
from PIL import Image
from transformers import BatchFeature

from mis_dataset.decoding import open_picture
from trainer.files import library_versions
from trainer.training.pixel_cache import PixelCache

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

_ENCODED = "encoded"
_FEATURE = datasets.Image()
_MADE_BY = ("pillow", "torch", "torchvision", "transformers")
"""Packages whose next version may make other pixels."""


class Pictures:
    """Stands before an image processor and makes what it makes, to the bit.

    With a cache the pictures of each row come from there, or go into it. A row is made by itself then, and rows are
    joined as the processor joins them: one behind the other, padded with zeros in the second dimension where it counts
    a row's pictures (Idefics3, SmolVLM) or a picture's tiles (LLaVA-OneVision).

    Args:
        whole: the image processor.
        cache: where rows are kept; None: they are not.
    """

    def __init__(self, whole: Any, cache: PixelCache | None = None) -> None:
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
        if self._cache is None:
            return self._process(images, settings)
        made = [self._row(row, settings) if row else None for row in images]
        joined = _joined([row for row in made if row is not None])
        if not all(images):
            joined = _joined([self._none(joined, settings) if row is None else row for row in made])
        return BatchFeature(joined)

    def _row(self, pictures: Sequence[Picture], settings: Mapping[str, Any]) -> dict[str, Any]:
        assert self._cache is not None
        digests = [hashlib.sha256(picture.info[_ENCODED]).hexdigest() for picture in pictures]
        about = json.dumps([self._about, settings, digests], default=str, sort_keys=True)
        key = hashlib.sha256(about.encode()).hexdigest()
        found = self._cache.get(key)
        if found is None:
            found = dict(self._process([pictures], settings))
            self._cache.put(key, found)
        return found

    def _process(self, images: Sequence[Sequence[Picture]], settings: Mapping[str, Any]) -> BatchFeature:
        arranged = self._whole.backend == "torchvision"
        shown = [[_decoded(picture, arranged) for picture in row] for row in images]
        made: BatchFeature = self._whole(shown, **settings)
        return made

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


def open_lazily(encoded: bytes) -> Picture:
    """A picture that `Pictures` decodes where it has to.

    Raises:
        OSError: and others, see `mis_dataset.decoding.UNREADABLE`.
    """
    picture = open_picture(encoded)
    picture.info[_ENCODED] = encoded
    return picture


def _decoded(picture: Picture, arranged: bool) -> Picture | torch.Tensor:
    """A picture as `datasets` decodes it, turned as its EXIF says.

    Args:
        picture: of `open_lazily`.
        arranged: one in plain RGB comes colour by colour, as torchvision wants it: torch takes three times as long.
    """
    whole: Picture = _FEATURE.decode_example({"bytes": picture.info[_ENCODED], "path": None})
    if not arranged or whole.mode != "RGB" or "transparency" in whole.info:
        return whole
    return torch.from_numpy(np.stack([np.asarray(band) for band in whole.split()]))
