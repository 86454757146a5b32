"""What of a model learns, by which method, and in which number format: a checkpoint and a recipe -> a trainer.

The vision tower is frozen in every method. ``full``: each weight of the language model and of the projector learns.
``lora``: low-rank updates of linear layers of the language model, and the projector whole. ``qlora``: as LoRA, on a
language model that is held in 4 bits, which takes a GPU and bitsandbytes.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from peft import LoraConfig
from transformers import AutoConfig

from trainer import families, models
from trainer.completion_loss import END_TO_END, CompletionLossTrainer
from trainer.families import Family, ModelError
from trainer.source_losses import SourceLossTrainer
from trainer.turns import TurnCollator, splits_its_prompts

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel
    from trl import SFTConfig

    from trainer.recipe import RecipeArguments

LORA_LAYERS: dict[str, str] = {
    "all": "(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)",
    "attention": "(q_proj|k_proj|v_proj|o_proj)",
}
"""Which linear layers of the language model learn."""
_TILES = ("internvl",)
"""Families that cut a picture into a number of tiles which has a bound."""
_PIXELS = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
"""Families whose bound is a number of pixels."""


def make_trainer(base: Path, rows: Dataset, config: SFTConfig, recipe: RecipeArguments) -> SourceLossTrainer:
    """What trains the checkpoint in `base` by a recipe; nothing is trained yet.

    Args:
        base: checkpoint to start from.
        rows: as `trainer.rows.make_dataset` makes them.
        config: TRL's settings.
        recipe: method, what learns and in which number format, bounds of pictures, what is logged.

    Raises:
        ModelError: No checkpoint lies there, its family is not known or has no such bound, or the method is ``qlora``
            and bitsandbytes or a GPU is missing.
    """
    model, processor = _load(base, config, recipe)
    bound_pictures(processor.image_processor, base, recipe)
    if recipe.method == "full":
        freeze(model, base, recipe)
    lora = None if recipe.method == "full" else lora_config(base, recipe)
    # One process: what goes past the model's `forward` goes past the averaging of gradients over processes too.
    spare = model.device.type == "cpu" and families.family_of(base) in END_TO_END and config.world_size == 1
    kind = CompletionLossTrainer if spare else SourceLossTrainer
    trainer = kind(model, args=config, train_dataset=rows, processing_class=processor, peft_config=lora)
    if recipe.trained_in == "float32":
        train_in_float32(trainer.model)
    if recipe.projector_learning_rate is not None:
        _set_projector_rate(trainer, base, recipe.projector_learning_rate)
    if splits_its_prompts(processor):
        trainer.data_collator = TurnCollator(trainer.data_collator, processor)
    if recipe.source_losses:
        trainer.tell_sources()
    return trainer


def _load(base: Path, config: SFTConfig, recipe: RecipeArguments) -> tuple[PreTrainedModel, Any]:
    if recipe.method != "qlora":
        return models.load(base, cpu=config.use_cpu, float32=not config.bf16)
    if find_spec("bitsandbytes") is None:
        raise ModelError("method qlora needs the package bitsandbytes: pip install bitsandbytes, or take method lora")
    if config.use_cpu or not torch.cuda.is_available():
        raise ModelError("method qlora needs a GPU; take method lora on the CPU")
    return models.load_in_4_bits(base)


def bound_pictures(pictures: Any, base: Path, recipe: RecipeArguments) -> None:
    """Makes pictures no larger than the recipe wants them; a checkpoint's own lower bound stays.

    Args:
        pictures: image processor of the checkpoint.
        base: the checkpoint, or its ``config.json`` alone.
        recipe: its bounds.

    Raises:
        ModelError: The family has no such bound.
    """
    family = families.family_of(base)
    if recipe.max_tiles is not None:
        if family not in _TILES:
            raise ModelError(f"{base}: max_tiles: a {family} has no such bound, {', '.join(_TILES)} has; set it to null")
        pictures.max_patches = min(pictures.max_patches, recipe.max_tiles)
    if recipe.max_pixels is not None:
        if family not in _PIXELS:
            raise ModelError(f"{base}: max_pixels: a {family} has no such bound, {', '.join(_PIXELS)} have; set it to null")
        least, most = pictures.size["shortest_edge"], min(pictures.size["longest_edge"], recipe.max_pixels)
        pictures.size = {"shortest_edge": min(least, most), "longest_edge": most}


def freeze(model: PreTrainedModel, base: Path, recipe: RecipeArguments) -> None:
    """Leaves the language model to learn, and the projector where the recipe says so."""
    parts = families.parts_of(base)
    learns = ("language", "projector") if recipe.train_projector else ("language",)
    for name, weight in model.named_parameters():
        weight.requires_grad = part_of(name, parts) in learns


def part_of(name: str, parts: Family) -> str:
    """What a weight belongs to: ``projector``, ``tower`` or ``language``."""
    if any(name.startswith(f"{one}.") for one in parts.projector):
        return "projector"
    return "tower" if name.startswith(f"{parts.vision_tower}.") else "language"


def lora_config(base: Path, recipe: RecipeArguments) -> LoraConfig:
    """Which layers of the checkpoint in `base` get low-rank updates, and whether its projector is trained whole."""
    parts = families.parts_of(base)
    language = parts.language_model.replace(".", r"\.")
    return LoraConfig(
        r=recipe.lora_r,
        lora_alpha=2 * recipe.lora_r,
        target_modules=rf"{language}\..*\.{LORA_LAYERS[recipe.lora_layers]}",
        modules_to_save=[name.rsplit(".", 1)[-1] for name in parts.projector] if recipe.train_projector else None,
    )


def train_in_float32(model: Any) -> None:
    """Keeps what is trained in float32 where the checkpoint is bfloat16, which steps of 5e-5 would not move."""
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()


def _set_projector_rate(trainer: SourceLossTrainer, base: Path, rate: float) -> None:
    """Gives the projector's weights a rate of their own in the optimizer that `trainer` makes.

    LoRA's rate moves whole weights so far that pictures of unseen things and styles lose their names.
    """
    optimizer = trainer.create_optimizer()
    whole = {weight for name, weight in trainer.model.named_parameters() if "modules_to_save" in name}
    for group in list(optimizer.param_groups):
        own = [weight for weight in group["params"] if weight in whole]
        group["params"] = [weight for weight in group["params"] if weight not in whole]
        if own:
            optimizer.add_param_group(group | {"params": own, "lr": rate})


def trained_model(model: Any, base: Path, recipe: RecipeArguments, adapter: Path) -> PreTrainedModel:
    """A plain model of what was trained, in the number format of the base.

    Args:
        model: as the trainer leaves it; an adapter in it is merged.
        base: what was started from.
        recipe: its method.
        adapter: folder of the adapter, for ``qlora``: it is merged into the base as that was before it had 4 bits.
    """
    if recipe.method == "full":
        return model.to(AutoConfig.from_pretrained(base, trust_remote_code=False).dtype)
    if recipe.method == "qlora":
        model, _ = models.load(base, adapter, cpu=True)
    merged = model.merge_and_unload()
    return merged.to(merged.dtype)  # what was trained in float32 too
