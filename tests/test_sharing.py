"""What a model in shards needs: names of its layers in every family, and a picture in every batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.utils import FullyShardedDataParallelPlugin
from accelerate.utils.dataclasses import get_module_class_from_name

from tests.tiny import Tiny, write_recipe
from trainer import models
from trainer.families import FAMILIES, part_of
from trainer.recipe import read_recipe
from trainer.shares import sharded_by
from trainer.training import sharing
from trainer.training.learning import make_trainer
from trainer.training.rows import make_dataset

pytestmark = pytest.mark.usefixtures("one_thread")

LAYERS = {
    "internvl": ["InternVLVisionLayer", "Qwen2DecoderLayer"],
    "qwen2_vl": ["Qwen2VLDecoderLayer", "Qwen2VLVisionBlock"],
    "qwen2_5_vl": ["Qwen2_5_VLDecoderLayer", "Qwen2_5_VLVisionBlock"],
    "qwen3_vl": ["Qwen3VLTextDecoderLayer", "Qwen3VLVisionBlock"],
    "llava_onevision": ["Qwen2DecoderLayer", "SiglipEncoderLayer"],
    "idefics3": ["Idefics3EncoderLayer", "LlamaDecoderLayer"],
    "smolvlm": ["LlamaDecoderLayer", "SmolVLMEncoderLayer"],
}


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_of_language_model_and_tower_are_named_and_accelerate_finds_them(
    vlm: Callable[[str], Path], family: str
) -> None:
    model, _ = models.load(vlm(family), cpu=True, float32=True)
    assert sharing.layers(model) == LAYERS[family]
    kinds = tuple(get_module_class_from_name(model, name) for name in LAYERS[family])
    inside = [name for name, module in model.named_modules() if isinstance(module, kinds)]
    assert {part_of(f"{name}.weight", family) for name in inside} == {"language_model", "vision_tower"}
    config = model.config.get_text_config()
    assert sum(part_of(name, family) == "language_model" for name in inside) == config.num_hidden_layers


def test_the_names_that_transformers_gives_would_be_refused(vlm: Callable[[str], Path]) -> None:
    model, _ = models.load(vlm("llava_onevision"), cpu=True, float32=True)
    plugin = FullyShardedDataParallelPlugin(fsdp_version=2, auto_wrap_policy="transformer_based_wrap")
    with pytest.raises(ValueError, match="Could not find the transformer layer class Siglip"):
        plugin.set_auto_wrap_policy(model)


@pytest.mark.parametrize(
    ("variable", "found"), [("ACCELERATE_USE_FSDP", "fsdp"), ("ACCELERATE_USE_DEEPSPEED", "deepspeed"), ("OTHER", None)]
)
def test_what_shards_is_read_off_the_environment(
    monkeypatch: pytest.MonkeyPatch, variable: str, found: str | None
) -> None:
    monkeypatch.setenv(variable, "true")
    assert sharded_by() == found


def gradients(tiny: Tiny, base: Path, out: Path, blank: bool) -> tuple[float, dict[str, torch.Tensor | None], Any]:
    """Loss, gradients of the projector, and the batch of two rows without pictures."""
    path = write_recipe(out / "recipe.yaml", method="full", doses=[], projector_learning_rate=None, source_losses=True)
    recipe, config = read_recipe(path, out, 0)
    turns = {"prompt": [{"role": "user", "content": [{"type": "text", "text": "Two and two?"}]}]}
    turns |= {"completion": [{"role": "assistant", "content": [{"type": "text", "text": "Four."}]}]}
    rows = make_dataset([{"id": f"t/{n}", "source": "general_text", "images": [], **turns} for n in range(2)])
    trainer = make_trainer(base, rows, config, recipe)
    collate = sharing.BlankRows(trainer.data_collator) if blank else trainer.data_collator
    batch = collate(list(rows))
    trainer.model.zero_grad()
    loss = trainer.compute_loss(trainer.model, dict(batch))
    loss.backward()
    family = trainer.model.config.model_type
    named = trainer.model.named_parameters()
    return loss.item(), {name: one.grad for name, one in named if part_of(name, family) == "projector"}, batch


@pytest.mark.parametrize("family", ["internvl", "qwen2_5_vl", "smolvlm"])
def test_a_batch_without_pictures_gets_a_blank_row_that_changes_no_loss_and_runs_the_tower(
    tiny: Tiny, vlm: Callable[[str], Path], tmp_path: Path, family: str
) -> None:
    bare, none, batch = gradients(tiny, vlm(family), tmp_path, blank=False)
    assert set(none.values()) == {None}
    loss, zeros, blank = gradients(tiny, vlm(family), tmp_path, blank=True)
    assert "pixel_values" in blank
    assert "pixel_values" not in batch
    assert len(blank["labels"]) == len(batch["labels"]) + 1
    assert set(blank["labels"][-1].tolist()) == {-100}
    assert loss == pytest.approx(bare, rel=1e-5)
    assert all(one is not None and not one.any() for one in zeros.values())


def test_a_batch_with_a_picture_stays_as_it_is() -> None:
    rows: list[dict[str, Any]] = [{"images": []}, {"images": ["a picture"]}]
    assert sharing.BlankRows(list)(rows) == rows
