"""What one training step takes, counted by torch itself while a model without weights is trained for one step.

Weights, and all that is computed with them, are shapes (`FakeTensorMode`): nothing is stored and nothing multiplied.
Token ids, grids, positions and pixels are real, as models decide by them. `MemTracker` counts the bytes of all storages
that live, `FlopCounterMode` the operations. The same step on a real model counts the same (tests/test_counted.py).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, get_args

import torch
from peft import get_peft_model
from PIL import Image
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageTextToText

from trainer.families import ModelError, Part, broken, family_of, part_of, training_limits
from trainer.files import read_json
from trainer.recipe import RecipeArguments
from trainer.training.learning import choose

PICTURES = 2
"""Of a row of MIS."""
_CROPS: dict[str, dict[str, Any]] = {"internvl": {"crop_to_patches": True}}
"""What the processor of a family tells its image processor. Source: transformers 5.23, ``InternVLProcessor``."""


def _attention(heads: Any, keys: Any, values: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(heads, keys, values))


def _attention_backward(gradient: Any, heads: Any, keys: Any, values: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_backward_flop_count(gradient, heads, keys, values))


ON_CPU = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}
"""Attention as it is called on a CPU -> torch's own count, which knows it under its names on a GPU alone.

All positions are counted, those too that a causal mask hides.
"""
_BY_INDEX = (torch.ops.aten.index.Tensor, torch.ops.aten.index_put.default, torch.ops.aten.index_put_.default)


class Shapes(FakeTensorMode):
    """What is made of floating point is a shape; whole numbers are real, so that a model can decide by them."""

    def __init__(self) -> None:
        super().__init__(allow_non_fake_inputs=True)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """One operation, real where nothing in it is a shape and nothing in it has to become one."""
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        if tensors:
            if not any(isinstance(tensor, FakeTensor) for tensor in tensors):
                return func(*args, **kwargs)
            if func in _BY_INDEX:
                args = (args[0], [place for index in args[1] for place in _places(index)], *args[2:])
            return super().__torch_dispatch__(func, types, args, kwargs)
        made = super().__torch_dispatch__(func, types, args, kwargs)
        if isinstance(made, torch.Tensor) and not made.is_floating_point():
            return func(*args, **kwargs)
        return made


def _places(index: torch.Tensor | None) -> list[torch.Tensor | None]:
    """A mask as the places that it picks: how many they are decides a shape, and only what is real knows it."""
    picks = index is not None and index.dtype == torch.bool and not isinstance(index, FakeTensor)
    return [*index.nonzero(as_tuple=True)] if index is not None and picks else [index]


class _Tracker(MemTracker):
    """torch's `MemTracker` without its statistics of single modules, which take most of its time.

    They would also wait for gradients of frozen weights.
    """

    def _pre_fw_hook(self, *_: Any) -> None: ...
    def _post_fw_hook(self, *_: Any) -> None: ...
    def _pre_bw_hook(self, *_: Any) -> None: ...
    def _post_bw_hook(self, *_: Any) -> None: ...


class Step(NamedTuple):
    """What one step of one process takes.

    Attributes:
        weights: bytes of all weights, the frozen ones too.
        gradients: bytes of the gradients of what is trained.
        optimizer: bytes of what AdamW keeps.
        activations: most bytes that live beside these three at any moment: what the backward pass needs, logits, casts.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int


class Batch(NamedTuple):
    """What a model is given for one step.

    Attributes:
        inputs: keyword arguments of its `forward`.
        tokens: of one row, pictures and text.
        picture: tokens of one picture.
        labels: tokens of one row that the loss is of, the last ones.
    """

    inputs: dict[str, Any]
    tokens: int
    picture: int
    labels: int


def build(folder: Path, dtype: torch.dtype) -> Any:
    """The model of ``folder/config.json`` without weights, on the device ``meta``.

    Raises:
        ModelError: The configuration cannot be read.
    """
    with broken(folder), torch.device("meta"):
        for part in ("text_config", "vision_config"):
            # Of a part that is null transformers makes one of default size, and the plan would be of that.
            if not isinstance(read_json(folder / "config.json").get(part, {}), dict):
                raise ModelError(f"{folder / 'config.json'}: {part} is no object; copy the file anew")
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        return AutoModelForImageTextToText.from_config(
            config, dtype=dtype, attn_implementation="sdpa", trust_remote_code=False
        )


def parameters_by_part(model: nn.Module, family: str) -> dict[str, int]:
    """Numbers of parameters of projector, vision tower and language model, which has embeddings and head."""
    counts = dict.fromkeys(get_args(Part), 0)
    for name, weight in model.named_parameters():
        counts[part_of(name, family)] += weight.numel()
    return counts


def choose_trained(model: Any, recipe: RecipeArguments) -> Any:
    """The model as a training makes it: frozen but for what learns, and PEFT's around it where there is LoRA."""
    lora = choose(model, model.config.model_type, recipe)
    if lora is None:
        return model
    with warnings.catch_warnings():  # PEFT asks transformers for it under its old name
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        return get_peft_model(model, lora, autocast_adapter_dtype=False)


def take_shape(model: nn.Module, dtype: torch.dtype) -> None:
    """Puts shapes in place of what lies on ``meta``, inside `Shapes`; what is shared stays shared.

    Args:
        model: as `choose_trained` gives it.
        dtype: number format of what is trained; all else keeps its own.
    """
    made: dict[torch.Tensor, nn.Parameter] = {}
    for module in model.modules():
        for name, weight in list(module.named_parameters(recurse=False, remove_duplicate=False)):
            if weight not in made:
                shape = torch.empty(weight.shape, dtype=dtype if weight.requires_grad else weight.dtype)
                made[weight] = nn.Parameter(shape, requires_grad=weight.requires_grad)
            setattr(module, name, made[weight])
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, torch.zeros(buffer.shape, dtype=buffer.dtype))


def seen(folder: Path, rows: int, side: int, recipe: RecipeArguments) -> dict[str, torch.Tensor]:
    """What a model sees of rows of two square pictures, by the checkpoint's own image processor.

    Args:
        folder: with ``config.json`` and ``preprocessor_config.json``.
        rows: of the batch.
        side: pixels of a picture.
        recipe: its bounds of pictures; where it shows none, nothing is seen.

    Raises:
        ModelError: The folder has no image processor that can be read, or no such bound.
    """
    if recipe.pictures == "none":
        return {}
    crops = _CROPS.get(family_of(folder), {})
    limits = training_limits(folder, recipe.max_tiles, recipe.max_pixels)
    with broken(folder):
        processor = AutoImageProcessor.from_pretrained(folder, trust_remote_code=False)
        for name, value in limits.items():
            setattr(processor, name, value)
        pictures = [[Image.new("RGB", (side, side))] * PICTURES] * rows
        found = processor(images=pictures, return_tensors="pt", **crops)
        return {name: torch.as_tensor(found[name]) for name in processor.model_input_names if name in found}


def make_batch(model: Any, shown: dict[str, torch.Tensor], rows: int, text: int) -> Batch:
    """The rows of `seen`, with as many tokens for a picture as the model makes of one.

    Args:
        model: as `take_shape` leaves it.
        shown: as `seen` gives it.
        rows: of the batch.
        text: tokens of a row that are no picture, at least 4; a quarter is the prompt, the others have labels.
    """
    model = _base(model)
    each = _picture_tokens(model, shown, rows) if shown else 0
    ids = torch.zeros(rows, PICTURES * each + text, dtype=torch.long)
    for picture in range(PICTURES):  # a token of text before each: two grids side by side would be read as one
        start = 1 + picture * (each + 1)
        ids[:, start : start + each] = model.config.image_token_id
    inputs = shown | {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if hasattr(model.model, "get_rope_index"):  # of Qwen-VL's, whose positions have three dimensions
        inputs["mm_token_type_ids"] = (ids == model.config.image_token_id).int()
    return Batch(inputs, ids.shape[1], each, text - max(text // 4, PICTURES))


def _picture_tokens(model: Any, shown: dict[str, torch.Tensor], rows: int) -> int:
    """Tokens that the model makes of one picture."""
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        features = model.get_image_features(**shown).pooler_output
    features = features if isinstance(features, torch.Tensor) else torch.cat([*features])
    return int(features.numel() // features.shape[-1] // (rows * PICTURES))


def count_step(model: Any, batch: Batch, halved: bool, checkpointed: bool) -> Step:
    """Trains for one step with AdamW and counts bytes.

    Gradients and what AdamW keeps are there from the start, as in every step but the first of a training that
    accumulates gradients; one that does not needs a little less.

    Args:
        model: real, or as `take_shape` leaves it, inside `Shapes`.
        batch: of the same kind.
        halved: multiply in bfloat16 (autocast).
        checkpointed: keep a layer's input alone, and compute the rest again in the backward pass.
    """
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    if checkpointed:
        _base(model).activation_checkpointing_enable({"use_reentrant": False, "preserve_rng_state": False})
    model.train()
    optimizer = torch.optim.AdamW(trained)
    for weight in trained:
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    tracker = _Tracker()
    tracker.track_external(model, optimizer)
    before = _total(tracker, "current")
    tracker.track_external(*batch.inputs.values())
    with tracker:
        loss_of(model, batch, halved).backward()
    return Step(
        weights=_bytes(model.parameters()),
        gradients=_bytes(weight.grad for weight in trained),
        optimizer=_bytes(kept for state in optimizer.state.values() for kept in state.values()),
        activations=_total(tracker, "peak") - before,
    )


def count_flops(model: Any, batch: Batch, halved: bool) -> int:
    """Operations of forward and backward, with what activation checkpointing computes twice.

    Not in one pass with `count_step`: torch's counter keeps alive what checkpointing lets go.
    """
    with FlopCounterMode(display=False, custom_mapping=ON_CPU) as counter:
        loss_of(model, batch, halved).backward()
    return int(counter.get_total_flops())


def loss_of(model: Any, batch: Batch, halved: bool) -> torch.Tensor:
    """Mean loss of the labelled tokens; only they reach the head, as in `trainer.training.completion_loss`.

    On a GPU, TRL cuts their logits into tiles: it needs less memory than what is counted here, and a few more
    operations.
    """
    whole = _base(model)
    with torch.autocast("cpu", torch.bfloat16, enabled=halved):
        hidden = whole.base_model(**batch.inputs, use_cache=False).last_hidden_state
        logits = whole.get_output_embeddings()(hidden[:, -batch.labels - 1 : -1])
    targets = batch.inputs["input_ids"][:, -batch.labels :]
    return nn.functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


def _base(model: Any) -> Any:
    """The model inside PEFT's, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _bytes(tensors: Iterable[torch.Tensor]) -> int:
    """Bytes of their storages, each counted once."""
    storages = {tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values())


def _total(tracker: MemTracker, moment: str) -> int:
    return int(sum(found["Total"] for found in tracker.get_tracker_snapshot(moment).values()))
