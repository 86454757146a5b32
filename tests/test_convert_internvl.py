"""A converted InternVL2.5 computes what the original does, on the same tiles, and goes back byte for byte.

The oracle in tests/fixtures/internvl25 was computed by the published code.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from PIL import Image
from safetensors.torch import load_file

from mis_dataset.errors import UsageError
from tests.made_internvl_chat import SIDE, SIZES, Weights, features, make_config, make_weights, read, write
from trainer.convert_internvl import convert, restore, tile_grid
from trainer.internvl.layout import ConvertError
from trainer.sidecars import read_sidecar

ORACLE = Path(__file__).parent / "fixtures" / "internvl25"
IMAGE = 300
TOKENS = 320


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("oracle") / "native"
    convert(ORACLE / "checkpoint", out, image_token=IMAGE)
    return out


def loaded(folder: Path) -> Any:
    model, found = hf.AutoModelForImageTextToText.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True, trust_remote_code=False
    )
    assert {fault: keys for fault, keys in found.items() if keys} == {}
    return model.eval()


def far(one: torch.Tensor, other: torch.Tensor) -> float:
    """Largest difference, relative to the largest number."""
    return float((one - other).abs().max() / other.abs().max())


# What it computes


def test_logits_are_those_of_the_published_code(converted: Path) -> None:
    expected = load_file(ORACLE / "expected.safetensors")
    with torch.inference_mode():
        logits = loaded(converted)(input_ids=expected["input_ids"], pixel_values=expected["pixel_values"]).logits
    assert far(logits, expected["logits"]) < 1e-4


def test_logits_differ_where_queries_keys_and_values_are_not_told_apart_by_groups(
    converted: Path, tmp_path: Path
) -> None:
    weights = read(converted)
    names = [f"language_model.model.layers.0.self_attn.{one}_proj.weight" for one in "qkv"]
    weights |= zip(names, torch.cat([weights[name] for name in names]).split([64, 16, 16]), strict=True)
    weights[names[0]] = weights[names[0]].roll(8, 0)  # every head in the place of the next
    folder = write(tmp_path, json.loads((converted / "config.json").read_text()), weights)
    expected = load_file(ORACLE / "expected.safetensors")
    with torch.inference_mode():
        logits = loaded(folder)(input_ids=expected["input_ids"], pixel_values=expected["pixel_values"]).logits
    assert far(logits, expected["logits"]) > 1e-2


@pytest.mark.parametrize("size", SIZES)
def test_every_size_converts_loads_and_sees_what_the_published_code_sees(size: str, tmp_path: Path) -> None:
    config = make_config(SIZES[size], TOKENS)
    weights = make_weights(config, torch.float32)
    out = tmp_path / "native"
    convert(write(tmp_path / "original", config, weights, shards=3), out, image_token=IMAGE)
    model = loaded(out)
    pixels = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        seen = model.get_image_features(pixels).pooler_output
        logits = model(**prompt_of(pixels)).logits
    assert far(seen, features(weights, config, pixels)) < 1e-5
    assert logits.shape == (1, 12, TOKENS)
    assert bool(logits.isfinite().all())


def prompt_of(pixels: torch.Tensor) -> dict[str, torch.Tensor]:
    """Two tiles of four tokens each between four tokens of text."""
    return {"input_ids": torch.tensor([[5, 6, *[IMAGE] * 8, 7, 8]]), "pixel_values": pixels}


@pytest.mark.parametrize("size", ["1B", "38B"])
def test_a_qwen2_says_what_transformers_own_qwen2_says_to_the_same_tokens_and_tiles(size: str, tmp_path: Path) -> None:
    config = make_config(SIZES[size], TOKENS)
    weights = make_weights(config, torch.float32)
    convert(write(tmp_path / "original", config, weights), tmp_path / "native", image_token=IMAGE)
    text = {name: value for name, value in config["llm_config"].items() if name not in ("architectures", "torch_dtype")}
    alone = hf.Qwen2ForCausalLM(hf.Qwen2Config(**text, attn_implementation="eager")).eval()
    alone.load_state_dict({n.removeprefix("language_model."): w for n, w in weights.items() if "language_model" in n})
    asked = prompt_of(torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)))
    with torch.inference_mode():
        embedded = alone.get_input_embeddings()(asked["input_ids"])
        seen = features(weights, config, asked["pixel_values"]).flatten(0, 1)
        embedded[0, 2:10] = seen
        expected = alone(inputs_embeds=embedded).logits
        assert far(loaded(tmp_path / "native")(**asked).logits, expected) < 1e-5


def test_positions_far_beyond_those_trained_turn_as_dynamic_scaling_says(converted: Path) -> None:
    text = hf.AutoConfig.from_pretrained(converted).text_config
    assert text.rope_parameters == {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e6}
    assert (text.model_type, text.max_position_embeddings, text.head_dim) == ("llama", 512, 8)


# What is written


def test_what_is_written_says_what_it_is_and_where_it_comes_from(converted: Path) -> None:
    config = json.loads((converted / "config.json").read_text())
    assert config["architectures"] == ["InternVLForConditionalGeneration"]
    assert (config["dtype"], config["image_token_id"], config["image_seq_length"]) == ("float32", 300, 4)
    assert config["tie_word_embeddings"] is False
    assert json.loads((converted / "generation_config.json").read_text())["eos_token_id"] == 2
    sidecar = read_sidecar(converted)
    assert (sidecar.kind, sidecar.settings["to"], sidecar.settings["image_token_id"]) == ("convert", "native", 300)
    assert {Path(name).name for name in sidecar.inputs} == {"config.json", "model.safetensors"}
    assert [path.name for path in converted.parent.iterdir() if path.name.startswith(".")] == []


def same(one: Weights, other: Weights) -> bool:
    """Whether names, number formats and bytes are the same."""
    raw = [
        {name: (w.dtype, w.shape, w.view(torch.uint8).numpy().tobytes()) for name, w in e.items()} for e in (one, other)
    ]
    return raw[0] == raw[1]


@pytest.mark.parametrize("most", [None, 20_000], ids=["its own shards", "smaller shards"])
@pytest.mark.parametrize("size", ["2B", "26B", "38B"])
def test_there_and_back_gives_identical_tensors_and_settings(size: str, most: int | None, tmp_path: Path) -> None:
    config = make_config(SIZES[size], TOKENS)
    original = write(tmp_path / "original", config, make_weights(config), shards=3)
    there = convert(original, tmp_path / "native", image_token=IMAGE, most=most)
    back = restore(tmp_path / "native", tmp_path / "back", most=most)
    assert same(read(tmp_path / "back"), read(original))
    assert (tmp_path / "back" / "config.json").read_bytes() == (original / "config.json").read_bytes()
    assert (there["shards"] == 3) if most is None else (there["shards"] > 5)
    assert (back["shards"], back["config"], back["bytes"]) == (there["shards"], True, there["bytes"])
    sizes = [file.stat().st_size for file in (tmp_path / "native").glob("*.safetensors")]
    assert most is None or max(sizes) < 30_000


def test_the_way_back_of_the_oracle_is_byte_for_byte(converted: Path, tmp_path: Path) -> None:
    restore(converted, tmp_path / "back")
    assert same(read(tmp_path / "back"), read(ORACLE / "checkpoint"))
    assert not same(read(converted), read(ORACLE / "checkpoint"))


def test_a_checkpoint_that_transformers_saved_again_goes_back_as_well(converted: Path, tmp_path: Path) -> None:
    loaded(converted).save_pretrained(tmp_path / "saved")
    assert restore(tmp_path / "saved", tmp_path / "back")["config"] is False
    assert same(read(tmp_path / "back"), read(ORACLE / "checkpoint"))


def test_a_head_that_is_the_embedding_stays_so(tmp_path: Path) -> None:
    config = make_config(SIZES["1B"], TOKENS)
    config["llm_config"]["tie_word_embeddings"] = True
    weights = make_weights(config)
    del weights["language_model.lm_head.weight"]
    convert(write(tmp_path / "original", config, weights), tmp_path / "native", image_token=IMAGE)
    model = loaded(tmp_path / "native")
    assert model.lm_head.weight is model.get_input_embeddings().weight
    restore(tmp_path / "native", tmp_path / "back")
    assert same(read(tmp_path / "back"), weights)


def test_a_second_run_writes_nothing_and_another_one_not_over_it(tmp_path: Path) -> None:
    out = tmp_path / "native"
    assert convert(ORACLE / "checkpoint", out, image_token=IMAGE)["written"]
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert not convert(ORACLE / "checkpoint", out, image_token=IMAGE)["written"]
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == times
    with pytest.raises(UsageError, match="holds something else"):
        convert(ORACLE / "checkpoint", out, image_token=IMAGE + 1)


def test_settings_that_were_kept_of_another_model_are_not_given_back(converted: Path, tmp_path: Path) -> None:
    loaded(converted).save_pretrained(tmp_path / "saved")
    other = make_config(SIZES["2B"], TOKENS)
    (tmp_path / "saved" / "original").mkdir()
    (tmp_path / "saved" / "original" / "config.json").write_text(json.dumps(other))
    with pytest.raises(ConvertError, match="of another shape"):
        restore(tmp_path / "saved", tmp_path / "back")


# Tiles


@pytest.mark.parametrize("case", json.loads((ORACLE / "tiles.json").read_text()), ids=lambda case: str(case["width"]))
def test_the_grid_is_the_originals_also_of_transformers_own_processor(case: dict[str, int]) -> None:
    from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import get_optimal_tiled_canvas

    grid = (case["columns"], case["rows"])
    width, height, most = case["width"], case["height"], case["max_tiles"]
    assert tile_grid(width, height, most) == grid
    assert get_optimal_tiled_canvas((height, width), (448, 448), 1, most) == grid
    assert case["tiles_with_thumbnail"] == grid[0] * grid[1] + (grid != (1, 1))


def test_transformers_own_processor_chooses_our_grid_for_any_picture() -> None:
    from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import get_optimal_tiled_canvas

    sides = (1, 28, 100, 224, 317, 447, 448, 449, 633, 634, 640, 896, 1000, 1344, 2000, 5000)
    for width in sides:
        for height in sides:
            for most in (1, 2, 4, 6, 12):
                theirs = get_optimal_tiled_canvas((height, width), (448, 448), 1, most)
                assert tile_grid(width, height, most) == theirs, (width, height, most)


def test_a_picture_that_is_none_has_no_grid() -> None:
    with pytest.raises(ValueError, match="0 x 5 px"):
        tile_grid(0, 5, 4)


PICTURES = load_file(ORACLE / "tiles.safetensors")
CUT = sorted(name for name in PICTURES if name.startswith("tiles_"))


def tiles_of(name: str, backend: str) -> np.ndarray[Any, Any]:
    """What an image processor with a converted checkpoint's settings makes of a picture of the oracle, at 56 px."""
    _, size, most = name.split("_")
    processor = {"pil": hf.GotOcr2ImageProcessorPil, "torchvision": hf.GotOcr2ImageProcessor}[backend](
        size={"height": 56, "width": 56},
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
        crop_to_patches=True,
        max_patches=int(most.removeprefix("max")),
    )
    made = processor(Image.fromarray(PICTURES[f"image_{size}"].numpy()), return_tensors="np")["pixel_values"]
    return np.asarray(made)


@pytest.mark.parametrize("name", CUT)
def test_tiles_are_the_originals_where_pillow_resizes(name: str) -> None:
    assert np.abs(tiles_of(name, "pil") - PICTURES[name].numpy()).max() < 1e-5


def test_tiles_are_others_where_torchvision_resizes() -> None:
    differences = [float(np.abs(tiles_of(name, "torchvision") - PICTURES[name].numpy()).max()) for name in CUT]
    assert 1e-3 < max(differences) < 0.02  # one of 255 levels
