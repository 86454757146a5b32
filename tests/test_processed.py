"""Pictures are decoded where they have to be, and what comes of them is what the image processor makes."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.made_rows import made_rows
from trainer import models
from trainer.training.pixel_cache import PixelCache
from trainer.training.processed import Pictures, open_lazily

pytestmark = pytest.mark.usefixtures("one_thread")


def test_pictures_that_are_kept_are_not_decoded_and_others_are(vlm: Callable[[str], Path], tmp_path: Path) -> None:
    whole = models.load_processor(vlm("internvl")).image_processor
    encoded = [picture["bytes"] for picture in made_rows()[0]["images"]]
    cached = Pictures(whole, PixelCache(tmp_path, 10**9))
    first = cached([[open_lazily(one) for one in encoded]], return_tensors="pt")
    again = [open_lazily(one) for one in encoded]
    assert torch.equal(cached([again], return_tensors="pt")["pixel_values"], first["pixel_values"])
    # Pillow has the bytes of one that was not decoded still before it.
    assert [vars(picture)["fp"] is not None for picture in again] == [True, True]
    plain = whole([[Image.open(io.BytesIO(one)) for one in encoded]], return_tensors="pt")
    assert torch.equal(plain["pixel_values"], first["pixel_values"])
    turned = cached([[open_lazily(one) for one in encoded[::-1]]], return_tensors="pt")
    assert not torch.equal(turned["pixel_values"], first["pixel_values"])
    assert len(list(tmp_path.iterdir())) == 2
