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
from trainer.families import ModelError
from trainer.lengths import GROUPED, row_lengths
from trainer.pixel_cache import PixelCache
from trainer.recipe import LORA_LAYERS, RecipeArguments
from trainer.source_losses import SourceLossTrainer

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel
    from trl import SFTConfig

_FORMATS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def make_trainer(base: Path, rows: Dataset, config: SFTConfig, recipe: RecipeArguments) -> SourceLossTrainer:
    """What trains the checkpoint in `base` by a recipe; nothing is trained yet.

    Args:
        base: checkpoint to start from.
        rows: as `trainer.rows.make_dataset` makes them.
        config: TRL's settings.
        recipe: method, what learns and in which number format, bounds of pictures, what is logged.

    Raises:
        ModelError: No checkpoint lies there, its family is not known or has no such bound of pictures, or the method
            is ``qlora`` and bitsandbytes or a GPU is missing.
    """
    family = families.family_of(base)
    model, processor = _load(base, config, recipe)
    families.limit_pictures(processor, families.training_limits(base, recipe.max_tiles, recipe.max_pixels))
    lora = None
    if recipe.method == "full":
        learns = ("language_model", "projector") if recipe.train_projector else ("language_model",)
        for name, weight in model.named_parameters():
            weight.requires_grad = families.part_of(name, family) in learns
    else:
        lora = LoraConfig(
            r=recipe.lora_r,
            lora_alpha=2 * recipe.lora_r,
            target_modules=families.lora_targets(family, LORA_LAYERS[recipe.lora_layers]),
            modules_to_save=families.modules_to_save(model) if recipe.train_projector else None,
        )
    # One process: what goes past the model's `forward` goes past the averaging of gradients over processes too.
    spare = model.device.type == "cpu" and family in END_TO_END and config.world_size == 1
    kind = CompletionLossTrainer if spare else SourceLossTrainer
    trainer = kind(model, args=config, train_dataset=rows, processing_class=processor, peft_config=lora)
    grouped = config.train_sampling_strategy in GROUPED
    cache = PixelCache(Path(recipe.pixel_cache), round(recipe.pixel_cache_gb * 1e9)) if recipe.pixel_cache else None
    trainer.read_rows(cache, row_lengths(rows, processor) if grouped else None)
    train_in(trainer.model, _FORMATS[recipe.trained_in])
    if recipe.projector_learning_rate is not None:
        _set_projector_rate(trainer, family, recipe.projector_learning_rate)
    if recipe.source_losses:
        trainer.tell_sources()
    return trainer


def _load(base: Path, config: SFTConfig, recipe: RecipeArguments) -> tuple[PreTrainedModel, Any]:
    if recipe.method != "qlora":
        # All of a model that learns whole has one number format: SmolVLM looks at its first weight, FSDP at a layer's.
        whole = recipe.method == "full" and recipe.trained_in == "float32"
        return models.load(base, cpu=config.use_cpu, float32=whole or not config.bf16)
    if find_spec("bitsandbytes") is None:
        raise ModelError("method qlora needs the package bitsandbytes: pip install bitsandbytes, or take method lora")
    if config.use_cpu or not torch.cuda.is_available():
        raise ModelError("method qlora needs a GPU; take method lora on the CPU")
    return models.load_in_4_bits(base)


def train_in(model: Any, dtype: torch.dtype) -> None:
    """Keeps what is trained in one number format, whatever that of the checkpoint is; steps of 5e-5 want float32."""
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data = weight.data.to(dtype)


def _set_projector_rate(trainer: SourceLossTrainer, family: str, rate: float) -> None:
    """Gives the projector's weights a rate of their own in the optimizer that `trainer` makes.

    LoRA's rate moves whole weights so far that pictures of unseen things and styles lose their names.
    """
    optimizer = trainer.create_optimizer()
    named = trainer.model.named_parameters()
    whole = {weight for name, weight in named if families.part_of(name, family) == "projector"}
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
    if recipe.method == "qlora":
        model, _ = models.load(base, adapter, cpu=True)
    plain = model if recipe.method == "full" else model.merge_and_unload()
    dtype = AutoConfig.from_pretrained(base, trust_remote_code=False).dtype if recipe.method == "full" else plain.dtype
    plain.config.use_cache = True  # which the Trainer turns off
    return plain.to(dtype)  # what was trained in float32 too
