"""Families of models: what is known of each, which are refused, and within which limits they are asked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.test_models import inputs_of
from tests.tiny import Tiny
from trainer.families import FAMILIES, ModelError, family_of, limit_pictures, most_tokens, picture_limits
from trainer.models import load_processor


@pytest.mark.parametrize(
    ("family", "found"),
    [
        ("internvl_chat", "python -m trainer convert"),
        ("minicpmv", "MiniCPM-V 2.6 has no native counterpart"),
        ("gemma3", "known are internvl, qwen2_vl, qwen2_5_vl, qwen3_vl, llava_onevision, idefics3, smolvlm"),
    ],
)
def test_a_family_that_cannot_be_used_is_refused_by_name(tmp_path: Path, family: str, found: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": family, "auto_map": {"AutoConfig": "code.Config"}}))
    with pytest.raises(ModelError, match=f"{tmp_path}: model type '{family}' is not .*{found}"):
        family_of(tmp_path)


# Limits of pictures and prompts


def limited(tiny: Tiny, folder: Path, **own: Any) -> Path:
    """The tiny model's folder without weights, its image processor with other settings."""
    shutil.copytree(tiny.model, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    path = folder / "processor_config.json"
    config = json.loads(path.read_text("utf-8"))
    config["image_processor"] |= own
    path.write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(("tiles", "limits"), [(1, {}), (3, {}), (4, {}), (5, {"max_patches": 4})])
def test_a_limit_is_an_upper_bound_of_tiles(tiny: Tiny, tmp_path: Path, tiles: int, limits: dict[str, int]) -> None:
    assert picture_limits(limited(tiny, tmp_path / "model", max_patches=tiles)) == limits


def test_a_large_picture_has_no_more_tiles_than_the_limit_and_its_small_whole(tiny: Tiny, tmp_path: Path) -> None:
    folder = limited(tiny, tmp_path / "model", max_patches=12)
    processor = load_processor(folder)
    large = Image.new("RGB", (640, 640))
    assert len(inputs_of(processor, large)["pixel_values"]) == 10
    limit_pictures(processor, picture_limits(folder))
    assert len(inputs_of(processor, large)["pixel_values"]) == 5


@pytest.mark.parametrize(
    ("own", "limits"),
    [((3136, 12845056), (200704, 1003520)), ((200704, 1003520), None), ((3136, 100352), (100352, 100352))],
)
def test_a_family_with_limits_of_pixels_is_kept_within_them(
    tmp_path: Path, own: tuple[int, int], limits: tuple[int, int] | None
) -> None:
    size = dict(zip(("shortest_edge", "longest_edge"), own, strict=True))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2_vl"}))
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({"image_processor_type": "Qwen2VLImageProcessor", "size": size})
    )
    wanted = {} if limits is None else {"size": dict(zip(("shortest_edge", "longest_edge"), limits, strict=True))}
    assert picture_limits(tmp_path) == wanted


def test_limits_are_those_of_the_papers_evaluation(tiny: Tiny) -> None:
    assert {name: tuple(family.limits) for name, family in FAMILIES.items() if family.limits} == {
        "internvl": (8192, 4, None),
        "qwen2_vl": (4096, None, (200704, 1003520)),
    }
    assert most_tokens(tiny.model) == 2048  # the tiny model has no more positions
