"""TRL's `SFTTrainer` with a loss that costs less on a CPU.

Off the GPU, TRL 1.16 multiplies every position with the language-model head and masks the prompt's afterwards
(``_fused_forward`` in ``trl/trainer/utils.py``). Here only positions that have a label reach the head: the same loss
and the same gradients for about a fifth less time, as a prompt of two pictures is longer than its completion.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from trl import SFTTrainer

_IGNORED = -100


class CompletionLossTrainer(SFTTrainer):
    """`SFTTrainer` for a PEFT model on the CPU, ``loss_type="nll"``."""

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Mean negative log-likelihood of the labelled tokens; see `transformers.Trainer.compute_loss`."""
        whole = self.accelerator.unwrap_model(model).get_base_model()
        seen = {name: tensor for name, tensor in inputs.items() if name != "labels"}
        outputs = whole.base_model(**seen, use_cache=False)
        labels = inputs["labels"][:, 1:]
        kept = labels != _IGNORED
        logits = whole.get_output_embeddings()(outputs.last_hidden_state[:, :-1][kept])
        loss = nn.functional.cross_entropy(logits, labels[kept], reduction="sum")
        loss = loss / (kept.sum() if num_items_in_batch is None else num_items_in_batch)
        return (loss, outputs) if return_outputs else loss
