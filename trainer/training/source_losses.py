"""TRL's `SFTTrainer`, which knows its rows: by id where something goes wrong, by kind where it says how the loss goes.

A mean over all rows hides that a model forgets: the dangerous rows are learnt while the general ones get worse. The
loss that is trained on stays TRL's own, to the bit, and no forward pass is added. Lines of the log gain
``loss_dangerous``, ``loss_twin``, ``loss_general_picture`` and ``loss_general_text``, each the mean over the labelled
tokens of such rows since the line before; a kind that did not come up is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import is_peft_model
from datasets import Dataset
from torch import nn
from transformers.trainer_pt_utils import BatchRebalanceSampler
from trl import SFTTrainer

from trainer import models
from trainer.families import ModelError
from trainer.training.collating import IDS, KINDS, SOURCES, RowCollator, whole_ones
from trainer.training.pixel_cache import PixelCache


class SourceLossTrainer(SFTTrainer):
    """`SFTTrainer` for rows of `training.rows` once `read_rows` was called, by kind once `tell_sources` was too."""

    data_collator: Any
    _told: torch.Tensor | None = None
    _lengths: Dataset | None = None
    _operations: int | None = None

    def read_rows(self, cache: PixelCache | None = None, lengths: Sequence[int] | None = None) -> None:
        """From now on a batch says whose it is, see `trainer.training.collating`.

        Args:
            cache: of processed pictures; None: each is processed whenever it is wanted.
            lengths: tokens of every row, for a ``train_sampling_strategy`` that goes by them.
        """
        self.args.remove_unused_columns = False  # neither id nor source is a column of a model
        self.data_collator = RowCollator(self.data_collator, cache)
        if lengths is not None:
            self._lengths = Dataset.from_dict({self.args.length_column_name: lengths})

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """As `transformers.Trainer.floating_point_ops`, which counts all weights anew in every step."""
        if self._operations is None:
            self._operations = 6 * self.model.num_parameters(exclude_embeddings=True)
        shown = inputs.get(getattr(self.model, "main_input_name", "input_ids"))
        return 0 if shown is None else self._operations * shown.numel()

    def tell_sources(self) -> None:
        """From now on the log holds a loss for each of `SOURCES`."""
        self._told = torch.zeros(2, len(SOURCES), device=self.args.device)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        # A sampler only looks at lengths; a column of them beside the rows would copy all pictures.
        sampler = super()._get_train_sampler(train_dataset if self._lengths is None else self._lengths)
        if isinstance(sampler, BatchRebalanceSampler):
            sampler.seed = self.args.seed  # it has 42 for all
        return sampler

    def get_batch_samples(self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device) -> Any:
        """See `transformers.Trainer.get_batch_samples`.

        Raises:
            ModelError: A row cannot be shown to the model, as its picture is broken.
        """
        return super().get_batch_samples(whole_ones(epoch_iterator), num_batches, device)

    def training_step(self, model: nn.Module, inputs: dict[str, Any], *others: Any) -> torch.Tensor:
        """See `trl.SFTTrainer.training_step`.

        Raises:
            ModelError: The loss is no finite number: every weight that learns would be lost by the next step.
        """
        ids = inputs.get(IDS, [])
        try:
            loss: torch.Tensor = super().training_step(model, inputs, *others)
        except Exception as error:
            error.add_note(f"Rows of this batch: {', '.join(ids)}")
            raise
        if not loss.isfinite():
            raise ModelError(
                f"the loss of {', '.join(ids)} is {loss.item()} in step {self.state.global_step + 1}; "
                "look at these rows, or lower the learning rate"
            )
        return loss

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """See `trl.SFTTrainer.compute_loss`."""
        inputs.pop(IDS, None)
        sources = inputs.pop(KINDS, None)
        if sources is None or self._told is None:
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
        assert self._told is not None
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
