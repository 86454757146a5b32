"""Families of models: their parts, what a picture becomes, what is trained and asked, and within which limits."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import AutoProcessor

from mis_dataset.chat import completion, prompt
from tests.test_models import BLUE, RED, inputs_of, logits_of
from trainer.engines.local import encode, generate
from trainer.families import (
    FAMILIES,
    ModelError,
    family_of,
    limit_pictures,
    lora_targets,
    modules_to_save,
    most_tokens,
    part_of,
    picture_limits,
    picture_tokens,
    training_limits,
)
from trainer.models import control_tokens, load, load_processor
from trainer.probes import drawn
from trainer.prompts import Prompt
from trainer.recipe import LORA_LAYERS

pytestmark = pytest.mark.usefixtures("one_thread")
every = pytest.mark.parametrize("family", FAMILIES)
Loaded = Callable[[str], tuple[Any, Any]]
SMALL = [(64, 64), (64, 64)]


@pytest.fixture(scope="module")
def loaded(vlm: Callable[[str], Path]) -> Loaded:
    """Gives model and processor of a family; tests leave them as they were."""
    return cache(lambda family: load(vlm(family), cpu=True, float32=True))


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


def test_a_configuration_of_wrong_types_is_one_clear_error(vlm: Callable[[str], Path], tmp_path: Path) -> None:
    config = json.loads((vlm("internvl") / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"downsample_ratio": 0}))
    with pytest.raises(ModelError, match=f"{tmp_path}: config.json names no model that transformers knows"):
        family_of(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert family_of(tmp_path) == "internvl"


# Parts


@every
def test_every_weight_is_in_one_part(loaded: Loaded, family: str) -> None:
    model, _ = loaded(family)
    weights = dict(model.named_parameters(remove_duplicate=False))
    language = {id(weight) for weight in (*model.get_decoder().parameters(), *model.lm_head.parameters())}
    found = {name: part_of(name, family) for name in weights}
    assert {name for name in found if found[name] == "language_model"} == {
        name for name, weight in weights.items() if id(weight) in language
    }
    tower = {weight.ndim for name, weight in weights.items() if found[name] == "vision_tower"}
    assert tower >= {1, 2, 4} or tower >= {1, 2, 5}  # norms, linear layers and the convolution over patches


LINEAR = {f"linear_{n}.{w}" for n in "12" for w in ("weight", "bias")}
MLP = {f"mlp.{n}.{w}" for n in "02" for w in ("weight", "bias")}
MERGER = {f"{layer}.{w}" for layer in ("norm", "linear_fc1", "linear_fc2") for w in ("weight", "bias")}
PROJECTORS = {
    "internvl": {"layer_norm.weight", "layer_norm.bias"} | LINEAR,
    "qwen2_vl": {"ln_q.weight", "ln_q.bias"} | MLP,
    "qwen2_5_vl": {"ln_q.weight"} | MLP,
    "qwen3_vl": {f"{place}{name}" for place in ("", "0.", "1.") for name in MERGER},
    "llava_onevision": {"image_newline"} | LINEAR,
    "idefics3": {"modality_projection.proj.weight"},
    "smolvlm": {"modality_projection.proj.weight"},
}
"""Weights of a projector, without the name of the module that they are in."""


@every
def test_the_projector_is_what_lies_between_tower_and_language_model(loaded: Loaded, family: str) -> None:
    model, _ = loaded(family)
    names = [name for name, _ in model.named_parameters() if part_of(name, family) == "projector"]
    for place in ("multi_modal_projector", "visual.merger", "visual.deepstack_merger_list", "connector"):
        names = [name.removeprefix(f"model.{place}.") for name in names]
    assert {name.removeprefix("model.") for name in names} == PROJECTORS[family]


@pytest.mark.parametrize("name", ["model.audio_tower.weight", "model.visual_2.weight", "lm_head_2.weight", "model"])
def test_a_weight_of_no_part_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match=f"{name}: is in no part of qwen3_vl"):
        part_of(name, "qwen3_vl")


@every
def test_what_peft_trains_is_the_language_model_and_the_projector(loaded: Loaded, family: str) -> None:
    from peft import LoraConfig, get_peft_model

    model = deepcopy(loaded(family)[0])
    linear = {
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and part_of(f"{name}.weight", family) == "language_model"
    }
    whole = {name for name, _ in model.named_parameters() if part_of(name, family) == "projector"}
    targets = lora_targets(family, LORA_LAYERS["all"])
    learns = get_peft_model(model, LoraConfig(r=2, target_modules=targets, modules_to_save=modules_to_save(model)))
    trained = [name.removeprefix("base_model.model.") for name, one in learns.named_parameters() if one.requires_grad]
    assert {part_of(f"base_model.model.{name}", family) for name in trained} == {"language_model", "projector"}
    assert {name.split(".lora_")[0] for name in trained if ".lora_" in name} == linear - {"lm_head"}
    assert len(linear) == 7 * model.config.get_text_config().num_hidden_layers + 1
    kept = {name.replace(".modules_to_save.default", "") for name in trained if ".lora_" not in name}
    assert kept == whole - {"model.image_newline"}


def test_attention_alone_is_four_linear_layers_a_layer(loaded: Loaded) -> None:
    model, _ = loaded("idefics3")
    targets = lora_targets("idefics3", LORA_LAYERS["attention"])
    names = [name for name, _ in model.named_modules() if re.fullmatch(targets, name)]
    assert len(names) == 2 * 4
    # By their last names alone, as PEFT is mostly told, layers of the tower would be hit too.
    assert any(name.endswith("q_proj") and "vision_model" in name for name, _ in model.named_modules())


def test_peft_refuses_a_list_of_modules(loaded: Loaded) -> None:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(target_modules=lora_targets("qwen3_vl", "q_proj"), modules_to_save=["deepstack_merger_list"])
    with pytest.raises(TypeError, match="ModuleList"):
        get_peft_model(deepcopy(loaded("qwen3_vl")[0]), config)


# What a picture becomes

TOKENS: dict[str, tuple[list[int], list[int], list[int]]] = {
    "internvl": ([7, 7], [7, 6], [7]),
    "qwen2_vl": ([4, 4], [4, 3], [4]),
    "qwen2_5_vl": ([4, 4], [4, 3], [4]),
    "qwen3_vl": ([4, 4], [4, 3], [4]),
    "llava_onevision": ([5, 5], [5, 5], [24]),
    "idefics3": ([19, 19], [12, 13], [19]),
    "smolvlm": ([19, 19], [12, 13], [19]),
}
"""Of two pictures of 64 px, of a wide and a high one, and of one alone."""
SIZES = (SMALL, [(200, 50), (64, 200)], SMALL[:1])


@every
def test_tokens_of_pictures_are_those_of_the_prompt(loaded: Loaded, family: str) -> None:
    _, processor = loaded(family)
    for sizes, tokens in zip(SIZES, TOKENS[family], strict=True):
        found = picture_tokens(processor, sizes)
        whole = inputs_of(processor, *(Image.new("RGB", size) for size in sizes))["input_ids"].shape[1]
        text = processor.apply_chat_template(prompt("Which is it?", len(sizes)), add_generation_prompt=True)
        bare = processor.tokenizer(text.replace(processor.image_token, ""))["input_ids"]
        assert (found, whole) == (tokens, len(bare) + sum(tokens))


@every
def test_two_pictures_have_two_places_in_their_order(loaded: Loaded, family: str) -> None:
    model, processor = loaded(family)
    text = processor.apply_chat_template(prompt("Which is it?"), add_generation_prompt=True)
    first, second, question = (text.index(part) for part in ("Image-1: ", "\nImage-2: ", "\nWhich is it?"))
    places = [place for place in range(len(text)) if text.startswith(processor.image_token, place)]
    assert len(places) == 2
    assert first < places[0] < second < places[1] < question
    one, other = inputs_of(processor, RED, BLUE), inputs_of(processor, BLUE, RED)
    assert torch.equal(one["input_ids"], other["input_ids"])
    assert torch.equal(logits_of(model, one), logits_of(model, inputs_of(processor, RED, BLUE)))
    assert (logits_of(model, one) - logits_of(model, other)).abs().max() > 1e-2


# What is trained and what is asked


@every
def test_trained_is_the_completion_and_the_end_of_the_turn(loaded: Loaded, family: str) -> None:
    from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

    model, processor = loaded(family)
    asked, said = prompt("Which is it?"), completion("The red one.")
    collate = DataCollatorForVisionLanguageModeling(processor, max_length=None, completion_only_loss=True)
    batch = collate([{"images": [RED, BLUE], "prompt": asked, "completion": said}])
    labels = batch["labels"][0]
    trained = labels[labels != -100]
    end = model.generation_config.eos_token_id
    assert processor.tokenizer.decode(trained, skip_special_tokens=True).strip() == "The red one."
    assert trained.tolist().count(end) == 1
    assert not processor.tokenizer.decode(trained[trained.tolist().index(end) + 1 :]).strip()
    begun = encode(processor, [(asked, [RED, BLUE])])["input_ids"][0]
    assert torch.equal(batch["input_ids"][0, : len(begun)], begun)
    assert (labels != -100).tolist() == [place >= len(begun) for place in range(len(labels))]


def test_the_own_template_of_llava_onevision_would_train_what_is_not_asked(
    vlm: Callable[[str], Path], loaded: Loaded
) -> None:
    own = (vlm("llava_onevision") / "chat_template.jinja").read_text("utf-8")
    _, processor = loaded("llava_onevision")
    asked = prompt("Which is it?")
    begun = processor.apply_chat_template(asked, add_generation_prompt=True, chat_template=own)
    whole = processor.apply_chat_template(asked + completion("It is."), chat_template=own)
    assert (begun[-10:], whole[len(begun) - 10 :]) == ("assistant\n", "assistant \nIt is.<|im_end|>")
    assert "<image><image>\nImage-1: \n" in begun


@every
def test_a_batch_says_what_its_rows_say_one_by_one(loaded: Loaded, family: str) -> None:
    model, processor = loaded(family)
    red, blue = drawn(RED, "red"), drawn(BLUE.resize((90, 40)), "blue")
    prompts = [
        Prompt("a", "Which is it, and why is it so and not otherwise?", (red, blue)),
        Prompt("b", "Which?", (blue, red)),
        Prompt("c", "Is it?", (blue,)),
        Prompt("d", "What is larger, one or two?", ()),
        Prompt("e", "Who?", ()),
    ]
    said = [{row.id: row for rows in generate(model, processor, prompts, 8, size) for row in rows} for size in (3, 1)]
    assert said[0] == said[1]
    assert len({row.response for row in said[0].values()}) == 5  # random weights, but they do not say the same of all


@pytest.mark.parametrize(
    ("family", "tokens"),
    [
        ("internvl", {"<|im_end|>", "<IMG_CONTEXT>", "</img>"}),
        ("qwen3_vl", {"<|im_end|>", "<|image_pad|>", "<|vision_end|>"}),
        ("llava_onevision", {"<|im_end|>", "<image>", "<video>"}),
        ("idefics3", {"<end_of_utterance>", "<image>", "<row_6_col_6>", "<global-img>", "<fake_token_around_image>"}),
    ],
)
def test_what_ends_a_turn_or_is_a_picture_s_place_must_not_stand_in_a_text(
    loaded: Loaded, family: str, tokens: set[str]
) -> None:
    assert tokens <= set(control_tokens(loaded(family)[1]))


# Limits of pictures and prompts


@pytest.mark.parametrize(
    ("family", "bound", "limits", "tokens"),
    [
        ("internvl", {"max_tiles": 2}, {"max_patches": 2}, 3),
        ("internvl", {"max_tiles": 9}, {}, 7),
        ("qwen2_vl", {"max_pixels": 300}, {"size": {"shortest_edge": 256, "longest_edge": 300}}, 1),
        ("qwen2_5_vl", {"max_pixels": 5000}, {}, 4),
        ("qwen3_vl", {"max_pixels": 1024}, {"size": {"shortest_edge": 1024, "longest_edge": 1024}}, 1),
        ("idefics3", {"max_tiles": 3}, {"size": {"longest_edge": 28}}, 4),
        ("smolvlm", {"max_tiles": 4}, {}, 19),
        ("llava_onevision", {}, {}, 5),
    ],
)
def test_training_is_bounded_by_what_the_family_knows(
    vlm: Callable[[str], Path], family: str, bound: dict[str, int], limits: dict[str, Any], tokens: int
) -> None:
    assert training_limits(vlm(family), **bound) == limits
    processor = load_processor(vlm(family))
    limit_pictures(processor, limits)
    assert picture_tokens(processor, SMALL) == [tokens] * 2


@pytest.mark.parametrize(
    ("family", "bound", "found"),
    [
        ("internvl", {"max_pixels": 9}, "max_pixels does not bound the pictures of internvl; use max_tiles"),
        ("qwen2_vl", {"max_tiles": 9}, "max_tiles does not bound the pictures of qwen2_vl; use max_pixels"),
        ("llava_onevision", {"max_tiles": 9}, "does not bound the pictures of llava_onevision; each of two"),
    ],
)
def test_another_bound_is_refused(vlm: Callable[[str], Path], family: str, bound: dict[str, int], found: str) -> None:
    with pytest.raises(ModelError, match=found):
        training_limits(vlm(family), **bound)


def limited(model: Path, folder: Path, **own: Any) -> Path:
    """A model's folder without weights, its image processor with other settings."""
    shutil.copytree(model, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    path = folder / "processor_config.json"
    config = json.loads(path.read_text("utf-8"))
    config["image_processor"] |= own
    path.write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(("tiles", "limits"), [(1, {}), (3, {}), (4, {}), (5, {"max_patches": 4})])
def test_a_limit_is_an_upper_bound_of_tiles(
    vlm: Callable[[str], Path], tmp_path: Path, tiles: int, limits: dict[str, int]
) -> None:
    assert picture_limits(limited(vlm("internvl"), tmp_path / "model", max_patches=tiles)) == limits


def test_pictures_of_one_tile_are_resized_as_before_and_those_of_more_by_pillow(
    vlm: Callable[[str], Path], tmp_path: Path
) -> None:
    shown = Image.effect_noise((100, 80), 90).convert("RGB")
    for tiles, same in ((1, True), (2, False)):
        folder = limited(vlm("internvl"), tmp_path / str(tiles), max_patches=tiles)
        own, theirs = load_processor(folder), AutoProcessor.from_pretrained(folder)
        one, other = (inputs_of(each, shown)["pixel_values"] for each in (own, theirs))
        assert torch.equal(one, other) is same
        assert (own.image_processor.backend == "pil") is not same


def test_a_large_picture_has_no_more_tiles_than_the_limit_and_its_small_whole(
    vlm: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = limited(vlm("internvl"), tmp_path / "model", max_patches=12)
    processor = load_processor(folder)
    large = Image.new("RGB", (280, 280))
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


def test_limits_are_those_of_the_papers_evaluation(vlm: Callable[[str], Path]) -> None:
    assert {name: tuple(family.limits) for name, family in FAMILIES.items() if family.limits} == {
        "internvl": (8192, 4, None),
        "qwen2_vl": (4096, None, (200704, 1003520)),
    }
    assert most_tokens(vlm("internvl")) == 2048  # the tiny model has no more positions
