"""A model that several processes train: what its training needs, and how it is gathered where each holds a shard.

With FSDP2 and ZeRO-3 processes meet in every layer, with DDP in every weight that learns, so each has to run all of the
model in every step. A batch without pictures would run no vision tower and no projector, and the others would wait for
it; it gets a blank row, which has a picture and no label::

    rows   [{"id": "general/7", "images": [], ...}]
    batch  {"labels": [[-100, 12, 7]]}                          before
    batch  {"labels": [[-100, 12, 7], [-100, -100, -100]]}      after, the second row with a black picture

Which classes are layers is read off the model. accelerate would take `_no_split_modules`, where transformers 5.23 names
modules that LLaVA-OneVision's tower does not have, and a part of a layer for Idefics3 and SmolVLM.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import torch
from PIL import Image
from torch import nn
from torch.distributed.fsdp import FSDPModule
from transformers import TrainerCallback
from transformers.modeling_layers import GradientCheckpointingLayer

from mis_dataset.chat import completion, prompt
from trainer.training.rows import IGNORED

_SIDE = 28
"""Pixels of the blank picture; processors make it larger where they want that."""


def is_sharded(trainer: Any) -> bool:
    """Whether processes hold parts of the model each; with DDP each holds all of it."""
    return bool(trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled)


def share(trainer: Any) -> None:
    """Prepares a trainer of one of several processes, before it trains.

    Args:
        trainer: a `transformers.Trainer`.
    """
    trainer.data_collator = BlankRows(trainer.data_collator)
    if trainer.is_fsdp_enabled:
        trainer.accelerator.state.fsdp_plugin.transformer_cls_names_to_wrap = layers(trainer.model)
        # torch saves settings of the optimizer weight by weight, and a group without weights comes back without them.
        groups = trainer.create_optimizer().param_groups
        groups[:] = [group for group in groups if group["params"]]
        trainer.add_callback(GatherHead())


def layers(model: nn.Module) -> list[str]:
    """Names of the classes of a model's layers, those of the tower among them: what transformers can recompute."""
    return sorted({type(one).__name__ for one in model.modules() if isinstance(one, GradientCheckpointingLayer)})


def whole_weights(trainer: Any) -> dict[str, torch.Tensor] | None:
    """The weights of a model in shards, gathered; every process has to ask, and only the first is told.

    Returns:
        Name -> weight on the CPU, empty in all processes but the first; None where nothing is sharded.
    """
    if not is_sharded(trainer):
        return None
    weights: dict[str, torch.Tensor] | None = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    return weights or {}


class GatherHead(TrainerCallback):
    """Gathers the language-model head before each forward pass, so that its gradient is that of all processes' rows.

    TRL 1.16 multiplies with the head's weight without calling the head, so FSDP2 does not notice. It gathers the weight
    by itself (`full_tensor` in ``_fused_forward`` of ``trl/trainer/utils.py``), and then the gradient of each part
    comes from the rows of one process alone.
    """

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """See `transformers.TrainerCallback.on_train_begin`."""
        model = kwargs["model"]
        head = model.get_output_embeddings()
        # A head that shares its weight with the embedding is gathered with that.
        if isinstance(head, FSDPModule):
            model.register_forward_pre_hook(lambda *_: head.unshard())


class BlankRows:
    """A collator whose batches have at least one picture; a class, so that worker processes can have it.

    Args:
        collate: the collator that makes batches.
    """

    def __init__(self, collate: Callable[[list[dict[str, Any]]], Any]) -> None:
        self._collate = collate

    def __call__(self, rows: list[dict[str, Any]]) -> Any:
        """A batch of rows as `trainer.training.rows` makes them, and of a blank one where none has a picture."""
        if any(row["images"] for row in rows):
            return self._collate(rows)
        blank = {"id": "blank", "images": [_picture()], "prompt": prompt("", 1), "completion": completion("")}
        batch = self._collate([*rows, rows[0] | blank])
        if "labels" in batch:  # else it tells of a row that cannot be shown
            batch["labels"][-1] = IGNORED
        return batch


def _picture() -> dict[str, bytes]:
    """A blank picture, as rows hold theirs."""
    encoded = BytesIO()
    Image.new("RGB", (_SIDE, _SIDE)).save(encoded, "PNG")
    return {"bytes": encoded.getvalue()}
