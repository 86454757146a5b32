"""Checkpoints -> models and processors: what is loaded, what is refused, and that the order of pictures matters."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from mis_dataset.chat import prompt
from tests.tiny import Tiny
from trainer.families import ModelError
from trainer.mini_vlm import TOKENS_PER_IMAGE, read_language_model
from trainer.models import load

RED, BLUE = Image.new("RGB", (64, 64), (250, 20, 20)), Image.new("RGB", (64, 64), (20, 20, 250))


@pytest.fixture(scope="module")
def loaded(tiny: Tiny) -> tuple[Any, Any]:
    return load(tiny.model, float32=True)


def inputs_of(processor: Any, *pictures: Image.Image) -> Any:
    text = processor.apply_chat_template(prompt("Which is it?", len(pictures)), add_generation_prompt=True)
    return processor(text=[text], images=[list(pictures)], return_tensors="pt")


def logits_of(model: Any, inputs: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(**inputs).logits[0, -1]
    return found


def test_swapping_the_pictures_changes_what_the_model_gets_and_says(loaded: tuple[Any, Any]) -> None:
    model, processor = loaded
    one, other, again = (inputs_of(processor, *pair) for pair in ((RED, BLUE), (BLUE, RED), (RED, BLUE)))
    assert torch.equal(one["input_ids"], other["input_ids"])
    assert torch.equal(one["pixel_values"], other["pixel_values"].flip(0))
    assert not torch.equal(one["pixel_values"], other["pixel_values"])
    assert torch.equal(logits_of(model, one), logits_of(model, again))
    assert not torch.allclose(logits_of(model, one), logits_of(model, other), atol=1e-5)


def test_every_picture_becomes_as_many_tokens_as_the_model_makes_of_it(loaded: tuple[Any, Any]) -> None:
    model, processor = loaded
    ids = inputs_of(processor, RED, BLUE)["input_ids"]
    assert int((ids == model.config.image_token_id).sum()) == 2 * TOKENS_PER_IMAGE == 2
    assert model.config.vision_config.image_size == [64, 64]


def test_the_prompt_reads_as_chat_with_numbered_pictures(loaded: tuple[Any, Any]) -> None:
    _, processor = loaded
    text = processor.apply_chat_template(prompt("Which is it?"), add_generation_prompt=True)
    assert text == (
        "<|im_start|>user\nImage-1: <IMG_CONTEXT>\nImage-2: <IMG_CONTEXT>\nWhich is it?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_a_checkpoint_is_loaded_for_use(loaded: tuple[Any, Any]) -> None:
    model, processor = loaded
    assert not model.training
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert processor.tokenizer.padding_side == "left"


@pytest.mark.parametrize("family", ["gemma3", "bert"])
def test_another_family_is_refused_by_name(tmp_path: Path, family: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": family}))
    with pytest.raises(ModelError, match=f"{tmp_path}: model type '{family}' is not known; known are internvl"):
        load(tmp_path)


def test_a_folder_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=f"{tmp_path / 'none'}: no checkpoint lies there"):
        load(tmp_path / "none")


@pytest.mark.parametrize("config", ["{", "[]", "{}", '{"model_type": "nobody_knows_it"}'])
def test_a_broken_config_is_one_clear_error(tmp_path: Path, config: str) -> None:
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(ModelError, match=str(tmp_path)):
        load(tmp_path)


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("config.json", {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Config"}}),
        ("processor_config.json", {"auto_map": {"AutoProcessor": "evil.Processor"}, "processor_class": "Evil"}),
    ],
)
def test_code_in_a_model_folder_is_neither_run_nor_asked_about(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, changes: dict[str, Any]
) -> None:
    folder = Path(shutil.copytree(tiny.model, tmp_path / "model"))
    (folder / "evil.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Config: pass\nclass Processor: pass\n"
    )
    (folder / file).write_text(json.dumps(json.loads((folder / file).read_text()) | changes))
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked"))
    with pytest.raises(ModelError, match=str(folder)):
        load(folder)
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_without_its_weights_is_one_clear_error(tiny: Tiny, tmp_path: Path) -> None:
    shutil.copytree(tiny.model, tmp_path / "model", ignore=shutil.ignore_patterns("*.safetensors"))
    with pytest.raises((ModelError, OSError), match=str(tmp_path)):
        load(tmp_path / "model")


Weights = dict[str, torch.Tensor]


def one_of(weights: Weights, ending: str) -> str:
    return next(name for name in weights if name.endswith(ending))


def drop_one(weights: Weights) -> None:
    del weights[one_of(weights, "layers.0.self_attn.q_proj.weight")]


def only_another(weights: Weights) -> None:
    weights.clear()
    weights["x"] = torch.zeros(1)


def another_shape(weights: Weights) -> None:
    weights[one_of(weights, "layers.0.self_attn.q_proj.weight")] = torch.ones(3)


def not_finite(weights: Weights) -> None:
    weights[one_of(weights, "layers.0.self_attn.q_proj.weight")][0] = float("nan")


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (drop_one, "1 missing keys"),
        (only_another, "missing keys"),
        (another_shape, "cannot be read|mismatched keys"),
        (not_finite, "not finite"),
    ],
)
def test_a_checkpoint_whose_weights_are_not_its_own_is_refused(
    tiny: Tiny, tmp_path: Path, spoil: Callable[[Weights], None], found: str
) -> None:
    folder = Path(shutil.copytree(tiny.model, tmp_path / "model"))
    weights = load_file(folder / "model.safetensors")
    spoil(weights)
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(ModelError, match=f"{folder}: .*({found})"):
        load(folder, cpu=True)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("tokenizer.json", "{"),
        ("tokenizer.json", "{}"),
        ("chat_template.jinja", "{% if %}"),
        ("processor_config.json", "[]"),
        ("model.safetensors", "no safetensors"),
    ],
)
def test_a_broken_file_of_a_checkpoint_is_one_clear_error(tiny: Tiny, tmp_path: Path, file: str, content: str) -> None:
    folder = Path(shutil.copytree(tiny.model, tmp_path / "model"))
    assert (folder / file).is_file()
    (folder / file).write_text(content)
    with pytest.raises(ModelError, match=f"{folder}: cannot be read .*copy or make it anew"):
        load(folder, cpu=True)


def test_an_adapter_without_its_weights_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    adapter = Path(shutil.copytree(tiny.base / "adapter", tmp_path / "adapter"))
    weights = load_file(adapter / "adapter_model.safetensors")
    kept = {name: weight for name, weight in weights.items() if "lora" not in name}
    save_file(kept, adapter / "adapter_model.safetensors")
    with pytest.raises(ModelError, match=f"{adapter}: cannot be read .*missing adapter keys"):
        load(tiny.model, adapter, cpu=True)


def test_a_language_model_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ModelError, match="language model 'gpt' is not known"):
        read_language_model("gpt", 0)
