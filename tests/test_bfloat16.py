"""Where weights are bfloat16: on GPUs, and on CPUs that multiply it in hardware; every machine can play either."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from mis_dataset.chat import prompt
from tests.test_completion_loss import loss_and_gradients
from tests.tiny import Tiny, call, write_recipe
from trainer import models
from trainer.engines.local import generate
from trainer.prompts import Prompt
from trainer.recipe import CONFIGS, read_recipe
from trainer.sidecars import read_sidecar
from trainer.training.completion_loss import CompletionLossTrainer
from trainer.training.learning import train_in


@pytest.fixture(params=[True, False], ids=["units", "no units"])
def units(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether this CPU says that it multiplies bfloat16 in hardware."""
    found: bool = request.param
    known = {"amx_bf16": found, "avx512_bf16": False}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known)
    return found


def test_a_checkpoint_is_read_in_bfloat16_where_that_is_faster(tiny: Tiny, units: bool) -> None:
    assert models.place_of(models.load(tiny.model, cpu=True)[0]) == ("cpu/bfloat16" if units else "cpu/float32")
    assert models.place_of(models.load(tiny.model, cpu=True, float32=True)[0]) == "cpu/float32"


@pytest.mark.parametrize("name", ["mini_base", "mini_contrast"])
def test_a_recipe_asks_for_bfloat16_and_gets_it_where_that_is_faster(name: str, units: bool, tmp_path: Path) -> None:
    recipe, config = read_recipe(CONFIGS / f"{name}.yaml", tmp_path, 0)
    assert (config.bf16, config.seed, recipe.lora_r) == (units, 0, 16)


@pytest.mark.slow
def test_an_arm_is_trained_where_the_recipe_says_and_the_sidecar_says_where(
    tiny: Tiny, units: bool, tmp_path: Path
) -> None:
    path = write_recipe(tmp_path / "recipe.yaml", bf16=True)
    call("sft", tiny.model, tiny.dataset, tmp_path / "arm", "--config", path)
    assert read_sidecar(tmp_path / "arm" / "model").device == ("cpu/bfloat16" if units else "cpu/float32")
    lines = [json.loads(line) for line in (tmp_path / "arm" / "log.jsonl").read_text("utf-8").splitlines()]
    assert lines[-1]["loss"] < lines[0]["loss"]
    pairs = ((tmp_path / "arm" / "model", None), (tiny.model, tmp_path / "arm" / "adapter"), (tiny.model, None))
    merged, adapted, before = (logits(*models.load(folder, adapter)) for folder, adapter in pairs)
    assert (merged - adapted).abs().max() < 0.1 * (merged - before).abs().max()


def logits(model: Any, processor: Any) -> torch.Tensor:
    """Of the first token that is said to a question without pictures."""
    text = processor.apply_chat_template(prompt("What is a spoon?", 0), add_generation_prompt=True)
    with torch.inference_mode():
        found: torch.Tensor = model(**processor(text=[text], return_tensors="pt")).logits[0, -1]
    return found.float()


def test_the_loss_in_bfloat16_is_nearly_that_of_float32(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    wanted, _ = loss_and_gradients(CompletionLossTrainer, tiny, tmp_path, counted=True)
    found, gradients = loss_and_gradients(CompletionLossTrainer, tiny, tmp_path, counted=True, bf16=True)
    assert found == pytest.approx(wanted, rel=0.02)
    assert found != wanted
    assert {gradient.dtype for gradient in gradients.values()} == {torch.float32}


def test_who_goes_on_after_an_interruption_asks_in_the_same_batches(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, processor = models.load(tiny.model)
    asked: list[int] = []
    speak = model.generate

    def count(**inputs: Any) -> Any:
        asked.append(len(inputs["input_ids"]))
        return speak(**inputs)

    monkeypatch.setattr(model, "generate", count)
    prompts = [Prompt(f"text/{number}", f"What is {number}?", ()) for number in range(10)]
    whole = [row for batch in generate(model, processor, prompts, 4, 4) for row in batch]
    assert asked == [4, 4, 2]
    done = {row.id for row in whole[:6]}
    rest = [row for batch in generate(model, processor, prompts, 4, 4, done) for row in batch]
    assert rest == whole[6:]
    assert asked == [4, 4, 2, 4, 2]


def test_what_is_trained_is_float32_where_the_checkpoint_is_bfloat16_and_so_small_steps_count(tiny: Tiny) -> None:
    whole = models.load(tiny.model, cpu=True, float32=True)[0].to(torch.bfloat16)
    lora = LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["multi_modal_projector"])
    model = get_peft_model(whole, lora)
    train_in(model, torch.float32)
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    assert {weight.dtype for weight in trained.values()} == {torch.float32}
    assert model.get_input_embeddings().weight.dtype == torch.bfloat16
    name, weight = next(one for one in trained.items() if one[1].ndim == 2 and "modules_to_save" in one[0])
    before = weight.detach().clone()
    pixels = torch.rand(1, 3, 64, 64)
    with torch.autocast("cpu", torch.bfloat16):
        loss = whole.model.get_image_features(pixel_values=pixels).pooler_output.float().square().mean()
    loss.backward()
    torch.optim.SGD([weight], lr=1e-7 / float(weight.grad.abs().max())).step()
    assert not torch.equal(weight, before)
    kept = (weight.bfloat16() == before.bfloat16()).float().mean()
    assert kept > 0.99, name  # in bfloat16 most of the step would have been lost


@pytest.mark.gpu
def test_an_arm_is_trained_on_a_gpu(tiny: Tiny, tmp_path: Path) -> None:
    path = write_recipe(tmp_path / "gpu.yaml", use_cpu=False, bf16=True)
    call("sft", tiny.model, tiny.dataset, tmp_path / "arm", "--config", path)
    assert read_sidecar(tmp_path / "arm" / "model").device == "cuda/bfloat16"
    lines = [json.loads(line) for line in (tmp_path / "arm" / "log.jsonl").read_text("utf-8").splitlines()]
    assert lines[-1]["loss"] < lines[0]["loss"]
