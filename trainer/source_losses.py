"""TRL's `SFTTrainer`, which also says how the loss of each kind of row goes, and goes on from whole models.

A mean over all rows hides that a model forgets: the dangerous rows are learnt while the general ones get worse. The
loss that is trained on stays TRL's own, to the bit, and no forward pass is added. Lines of the log gain
``loss_dangerous``, ``loss_twin``, ``loss_general_picture`` and ``loss_general_text``, each the mean over the labelled
tokens of such rows since the line before; a kind that did not come up is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import is_peft_model
from torch import nn
from trl import SFTTrainer

from trainer import models

SOURCES = ("dangerous", "twin", "general_picture", "general_text")
"""Kinds of rows, see `trainer.rows`."""
_KEY = "sources"


class SourceLossTrainer(SFTTrainer):
    """`SFTTrainer` that logs a loss for each of `SOURCES` once `tell_sources` was called."""

    data_collator: Any
    _told: torch.Tensor | None = None

    def tell_sources(self) -> None:
        """From now on, every batch says which kind of row each of its rows is."""
        self.args.remove_unused_columns = False  # `source` is no column of a model
        self.data_collator = _Collator(self.data_collator)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """See `trl.SFTTrainer.compute_loss`."""
        sources = inputs.pop(_KEY, None)
        if sources is None:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        seen: list[Any] = []

        def ask(*args: Any, **words: Any) -> Any:
            seen.append(model(*args, **words))
            return seen[-1]

        # The super class only calls the model; what it gets back holds the loss of every token.
        loss = super().compute_loss(ask, inputs, return_outputs, num_items_in_batch)
        rows = sources[:, None].expand_as(seen[0].label_mask)[seen[0].label_mask]
        self.count(rows, -seen[0].log_probs[seen[0].label_mask])
        return loss

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """Goes on from the weights of a checkpoint.

        transformers 5.23 saves a whole model under the names of released checkpoints, reads it under those of the
        model, and only warns that none fits: the training would go on from the base. So it is read as any checkpoint.
        """
        if is_peft_model(self.model) or self.is_fsdp_enabled or self.is_deepspeed_enabled:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        saved, _ = models.load(Path(resume_from_checkpoint), float32=True, place=False)
        self.model.load_state_dict(saved.state_dict())

    def count(self, sources: torch.Tensor, losses: torch.Tensor) -> None:
        """Adds labelled tokens to what the next line of the log says.

        Args:
            sources: place in `SOURCES` of the row of each token, shape (tokens).
            losses: negative log-likelihood of each token, shape (tokens).
        """
        if self._told is None:
            self._told = torch.zeros(2, len(SOURCES), device=losses.device)
        # On the device, without waiting for it.
        self._told[0].index_add_(0, sources, losses.detach().float())
        self._told[1].index_add_(0, sources, torch.ones_like(sources, dtype=torch.float32))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """See `transformers.Trainer.log`."""
        if self._told is not None and "loss" in logs:
            totals, tokens = self.accelerator.reduce(self._told, "sum").tolist()
            means = zip(SOURCES, totals, tokens, strict=True)
            logs |= {f"loss_{name}": total / count for name, total, count in means if count}
            self._told.zero_()
        super().log(logs, start_time)


class _Collator:
    """A collator whose batches say which kind of row each row is; a class, so that worker processes can have it."""

    def __init__(self, collate: Callable[[list[dict[str, Any]]], Any]) -> None:
        self._collate = collate

    def __call__(self, rows: list[dict[str, Any]]) -> Any:
        sources = [SOURCES.index(row["source"]) for row in rows]
        batch = self._collate(rows)
        batch[_KEY] = torch.tensor(sources)
        return batch
