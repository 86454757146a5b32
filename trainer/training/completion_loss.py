"""TRL's `SFTTrainer` with a loss that costs less on a CPU.

Off the GPU, TRL 1.16 multiplies every position with the language-model head and masks the prompt's afterwards
(``_fused_forward`` in ``trl/trainer/utils.py``), and it pads the rows of a batch of pictures to the longest. Here only
positions that have a label reach the head, and rows are laid end to end: the same loss and the same gradients for less
time (``benchmarks/completion_loss.py``).
"""

from __future__ import annotations

from typing import Any

import torch
from accelerate.utils import is_peft_model
from torch import nn

from trainer.training.collating import IDS, KINDS
from trainer.training.rows import IGNORED
from trainer.training.source_losses import SourceLossTrainer

END_TO_END = ("internvl", "llava_onevision", "idefics3", "smolvlm")
"""Families whose rows can be laid end to end, by `config.model_type`: positions count tokens, and a picture's features
go wherever its tokens stand. Those of Qwen count rows and columns of pictures too, from the padded batch."""


class CompletionLossTrainer(SourceLossTrainer):
    """`SFTTrainer` for a model of `END_TO_END` in one process on the CPU, ``loss_type="nll"``."""

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Mean negative log-likelihood of the labelled tokens; see `transformers.Trainer.compute_loss`."""
        inputs.pop(IDS, None)
        sources = inputs.pop(KINDS, None)
        whole: Any = self.accelerator.unwrap_model(model)
        whole = whole.get_base_model() if is_peft_model(whole) else whole
        packed, labels = pack(inputs)
        kept = labels[1:] != IGNORED
        with self.accelerator.autocast():  # Trainer's own is around the model's `forward`, which is not called here
            outputs = whole.base_model(**packed, use_cache=False)
            logits = whole.get_output_embeddings()(outputs.last_hidden_state[0, :-1][kept])
        loss = nn.functional.cross_entropy(logits.float(), labels[1:][kept], reduction="sum")
        loss = loss / (kept.sum() if num_items_in_batch is None else num_items_in_batch)
        if sources is not None and self._told is not None:
            with torch.no_grad():
                each = nn.functional.cross_entropy(logits.float(), labels[1:][kept], reduction="none")
            rows = inputs["attention_mask"].nonzero()[1:, 0]  # of each token but the first
            self.count(sources[rows[kept]], each)
        return (loss, outputs) if return_outputs else loss


def pack(inputs: dict[str, Any]) -> tuple[dict[str, Any], torch.Tensor]:
    """Lays the rows of a padded batch end to end, without padding.

    Args:
        inputs: `input_ids`, `attention_mask` and `labels` of shape (rows, length), and what else the model takes.

    Returns:
        The model's inputs with `input_ids` and `position_ids` of shape (1, tokens) and no mask: where positions begin
        anew, transformers lets nothing look back. And the labels (tokens), none on the first token of a row.
    """
    real = inputs["attention_mask"].bool()
    positions = (real.cumsum(dim=1) - 1)[real]
    labels = inputs["labels"][real].masked_fill(positions == 0, IGNORED)
    others = {name: tensor for name, tensor in inputs.items() if name not in ("attention_mask", "labels")}
    return others | {"input_ids": inputs["input_ids"][real][None], "position_ids": positions[None]}, labels
