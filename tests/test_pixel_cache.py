"""Processed pictures on the disk: kept whole, within a bound, for these pictures and settings alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from trainer.families import ModelError
from trainer.training.pixel_cache import PixelCache

MADE = {"pixel_values": torch.arange(12.0).reshape(3, 4)[:, ::2], "num_patches": torch.tensor([3]), "rows": [[2, 0]]}
KEY, OTHER = "0a", "0b"


def same(found: dict[str, Any] | None) -> bool:
    return found is not None and all(
        torch.equal(found[name], value) if isinstance(value, torch.Tensor) else found[name] == value
        for name, value in MADE.items()
    )


def test_what_was_kept_comes_back_to_the_bit_and_nothing_else_does(tmp_path: Path) -> None:
    cache = PixelCache(tmp_path / "pixels", 10**6)
    assert cache.get(KEY) is None
    cache.put(KEY, MADE)
    assert same(PixelCache(tmp_path / "pixels", 1).get(KEY))
    assert cache.get(OTHER) is None
    assert [path.name for path in (tmp_path / "pixels").iterdir()] == ["0a.safetensors"]
    with safe_open(tmp_path / "pixels" / "0a.safetensors", "pt") as file:
        assert sorted(file.keys()) == ["num_patches", "pixel_values"]


@pytest.mark.parametrize("left", [0, 7, 100, -1])
def test_a_file_that_was_cut_short_is_none_and_is_made_again(tmp_path: Path, left: int) -> None:
    cache, file = PixelCache(tmp_path, 10**6), tmp_path / "0a.safetensors"
    cache.put(KEY, MADE)
    file.write_bytes(file.read_bytes()[:left])
    assert cache.get(KEY) is None
    cache.put(KEY, MADE)
    assert same(cache.get(KEY))


@pytest.mark.parametrize("said", [None, {"else": "1"}, {"lists": "{"}, {"lists": "5"}])
def test_a_file_of_somebody_else_is_none_and_is_made_again(tmp_path: Path, said: dict[str, str] | None) -> None:
    cache = PixelCache(tmp_path, 10**6)
    save_file({"pixel_values": torch.zeros(2)}, tmp_path / "0a.safetensors", said)
    assert cache.get(KEY) is None
    cache.put(KEY, MADE)
    assert same(cache.get(KEY))


def test_a_full_folder_takes_no_more_and_keeps_what_it_has(tmp_path: Path) -> None:
    PixelCache(tmp_path / "one", 10**6).put(KEY, MADE)
    size = (tmp_path / "one" / "0a.safetensors").stat().st_size
    cache = PixelCache(tmp_path / "two", 2 * size - 1)
    cache.put(KEY, MADE)
    cache.put(OTHER, MADE)
    assert same(cache.get(KEY))
    assert cache.get(OTHER) is None
    PixelCache(tmp_path / "two", 2 * size).put(OTHER, MADE)
    assert same(cache.get(OTHER))


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match=r"pixels: cannot be written .*; name another folder in pixel_cache"):
        PixelCache(tmp_path / "file" / "pixels", 10**6).put(KEY, MADE)
