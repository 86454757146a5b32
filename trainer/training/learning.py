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
from transformers.integrations.deepspeed import unset_hf_deepspeed_config
from transformers.utils import is_flash_attn_2_available

from trainer import families, models
from trainer.families import ModelError
from trainer.recipe import LORA_LAYERS, RecipeArguments
from trainer.shares import sharded_by
from trainer.training import sharing
from trainer.training.completion_loss import END_TO_END, CompletionLossTrainer
from trainer.training.lengths import GROUPED, row_lengths
from trainer.training.pixel_cache import PixelCache
from trainer.training.source_losses import SourceLossTrainer

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel
    from trl import SFTConfig

_FORMATS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def make_trainer(base: Path, rows: Dataset, config: SFTConfig, recipe: RecipeArguments) -> SourceLossTrainer:
    """What trains the checkpoint in `base` by a recipe; nothing is trained yet.

    Args:
        base: checkpoint to start from.
        rows: as `trainer.training.rows.make_dataset` makes them.
        config: TRL's settings.
        recipe: method, what learns and in which number format, bounds of pictures, what is logged.

    Raises:
        ModelError: No checkpoint lies there, its family is not known or has no such bound of pictures, or the method
            is ``qlora`` and bitsandbytes or a GPU is missing, or the model would be sharded; or several GPUs are seen
            by this process alone; or TRL refuses the settings.
    """
    family = families.family_of(base)
    if config.n_gpu > 1:  # TRL would refuse its DataParallel once the checkpoint is read
        raise ModelError(
            f"one process sees {config.n_gpu} GPUs: put CUDA_VISIBLE_DEVICES=0 before the command, or start it by "
            "`accelerate launch --config_file trainer/configs/accelerate/...`"
        )
    model, processor = _load(base, config, recipe)
    families.limit_pictures(processor, families.training_limits(base, recipe.max_tiles, recipe.max_pixels))
    lora = choose(model, family, recipe)
    # One process: what goes past the model's `forward` goes past the averaging of gradients over processes too.
    spare = config.use_cpu and family in END_TO_END and config.world_size == 1
    kind = CompletionLossTrainer if spare else SourceLossTrainer
    try:
        trainer = kind(model, args=config, train_dataset=rows, processing_class=processor, peft_config=lora)
    except (ValueError, NotImplementedError, ImportError) as error:  # how TRL refuses settings
        said = " ".join(str(error).split())
        raise ModelError(f"{base}: cannot be trained with these settings of the recipe: {said}") from error
    # Qwen2.5-VL and Qwen3-VL say False, as their own loss cannot be told how many tokens a step has. TRL's can; without
    # this it would be a mean of means, and a row of a short micro-batch would count for more.
    trainer.model_accepts_loss_kwargs = True
    if not trainer.is_deepspeed_enabled:  # which keeps float32 beside weights in bfloat16 by itself
        train_in(trainer.model, _FORMATS[recipe.trained_in])
    grouped = config.train_sampling_strategy in GROUPED
    cache = PixelCache(Path(recipe.pixel_cache), round(recipe.pixel_cache_gb * 1e9)) if recipe.pixel_cache else None
    trainer.read_rows(cache, row_lengths(rows, processor) if grouped else None)
    if recipe.projector_learning_rate is not None:
        _set_projector_rate(trainer, family, recipe.projector_learning_rate)
    if recipe.source_losses:
        trainer.tell_sources()
    if config.world_size > 1 or sharing.is_sharded(trainer):
        sharing.share(trainer)
    return trainer


def choose(model: PreTrainedModel, family: str, recipe: RecipeArguments) -> LoraConfig | None:
    """Freezes what does not learn where the method is ``full``; else gives the LoRA that PEFT is to add.

    Args:
        model: of that family.
        family: of `trainer.families.FAMILIES`.
        recipe: method, and what learns.
    """
    if recipe.method == "full":
        learns = ("language_model", "projector") if recipe.train_projector else ("language_model",)
        for name, weight in model.named_parameters():
            weight.requires_grad = families.part_of(name, family) in learns
        return None
    return LoraConfig(
        r=recipe.lora_r,
        lora_alpha=2 * recipe.lora_r,
        target_modules=families.lora_targets(family, LORA_LAYERS[recipe.lora_layers]),
        modules_to_save=families.modules_to_save(model) if recipe.train_projector else None,
    )


def _load(base: Path, config: SFTConfig, recipe: RecipeArguments) -> tuple[PreTrainedModel, Any]:
    if recipe.method != "qlora":
        # All of a model that learns whole has one number format: SmolVLM looks at its first weight, FSDP at a layer's.
        whole = recipe.method == "full" and recipe.trained_in == "float32"
        float32 = whole or not config.bf16
        return models.load(base, cpu=config.use_cpu, float32=float32, place=False, attention=attention(config))
    if find_spec("bitsandbytes") is None:
        raise ModelError("method qlora needs the package bitsandbytes: pip install bitsandbytes, or take method lora")
    if config.use_cpu or not torch.cuda.is_available():
        raise ModelError("method qlora needs a GPU; take method lora on the CPU")
    if sharded_by():
        raise ModelError("method qlora does not share a model between processes; launch it with ddp.yaml or on one GPU")
    return models.load_in_4_bits(base)


def attention(config: SFTConfig) -> models.Attention:
    """How attention is computed: by FlashAttention where its package is there, on a GPU in bfloat16, else by torch.

    torch has kernels of its own, so without the package little is lost and nothing is said.

    Args:
        config: TRL's settings.
    """
    return "flash_attention_2" if config.bf16 and not config.use_cpu and is_flash_attn_2_available() else "sdpa"


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


def trained_model(
    model: Any, weights: dict[str, torch.Tensor] | None, base: Path, recipe: RecipeArguments, adapter: Path
) -> PreTrainedModel:
    """A plain model of what was trained, in the number format of the base.

    Args:
        model: as the trainer leaves it; an adapter in it is merged.
        weights: all of a model that was sharded, see `sharing.whole_weights`; None: `model` holds them.
        base: what was started from.
        recipe: its method.
        adapter: folder of the adapter, which is merged into the base as that was: before it had 4 bits with ``qlora``,
            and whole where it was sharded.
    """
    if weights is not None:
        unset_hf_deepspeed_config()  # which else would shard what is read
    if recipe.method == "full":
        plain = model if weights is None else _with_weights(base, weights)
    else:
        if recipe.method == "qlora" or weights is not None:
            float32 = weights is not None and model.dtype == torch.float32
            model, _ = models.load(base, adapter, cpu=True, float32=float32)
        plain = model.merge_and_unload()
    dtype = AutoConfig.from_pretrained(base, trust_remote_code=False).dtype if recipe.method == "full" else plain.dtype
    plain.config.use_cache = True  # which the Trainer turns off
    return plain.to(dtype)  # what was trained in float32 too


def _with_weights(base: Path, weights: dict[str, torch.Tensor]) -> PreTrainedModel:
    model, _ = models.load(base, cpu=True, float32=True)
    model.load_state_dict(weights)
    return model
