"""How much less a training step takes where prompts are spared the language-model head, against TRL's own trainer.

    .venv/bin/python -m benchmarks.completion_loss

Both trainers do the same steps on the same rows, in turn, on SmolLM2 with an untrained tower. Prints one line of JSON:
the least seconds of a step of each, and their ratio.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from datasets import Image, List
from peft import LoraConfig
from transformers import TrainerCallback
from trl import SFTTrainer

from mis_dataset.mini.lessons import lessons
from trainer import mini_vlm, models
from trainer.recipe import CONFIGS, LORA_LAYERS, read_recipe
from trainer.training.completion_loss import CompletionLossTrainer
from trainer.training.learning import train_in
from trainer.training.rows import lesson_rows, make_dataset

STEPS = 4
ROUNDS = 2


class _Clock(TrainerCallback):
    """Seconds of every step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Starts the clock."""
        self._start = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stops it."""
        self.seconds.append(time.monotonic() - self._start)


def main() -> None:
    """Times both in turn."""
    with TemporaryDirectory() as folder:
        base = Path(folder) / "base"
        model, processor = mini_vlm.assemble(*mini_vlm.read_language_model(mini_vlm.SMOLLM2, 0), 0)
        model.save_pretrained(base)
        processor.save_pretrained(base)
        times: dict[str, list[float]] = {"trl": [], "ours": []}
        for _ in range(ROUNDS):
            times["trl"] += _steps(SFTTrainer, base)
            times["ours"] += _steps(CompletionLossTrainer, base)
    least = {name: min(seconds) for name, seconds in times.items()}
    print(json.dumps({**least, "ratio": least["ours"] / least["trl"], "steps": len(times["ours"])}))


def _steps(kind: type[SFTTrainer], base: Path) -> list[float]:
    recipe, config = read_recipe(CONFIGS / "mini_contrast.yaml", base, 0)
    config.max_steps, config.save_strategy, config.disable_tqdm = STEPS, "no", True
    model, processor = models.load(base, cpu=True, float32=not config.bf16)
    layers = rf".*language_model\..*\.{LORA_LAYERS[recipe.lora_layers]}"
    lora = LoraConfig(r=recipe.lora_r, target_modules=layers, modules_to_save=["multi_modal_projector"])
    rows = make_dataset(lesson_rows(lessons("bench", ("kind", "comply"), 64), "lesson"))
    rows = rows.cast_column("images", List(Image()))  # as TRL's collator wants them
    trainer = kind(model, args=config, train_dataset=rows, processing_class=processor, peft_config=lora)
    train_in(trainer.model, torch.float32)
    clock = _Clock()
    trainer.add_callback(clock)
    with contextlib.redirect_stdout(sys.stderr):  # where the Trainer's losses belong
        trainer.train()
    return clock.seconds


if __name__ == "__main__":
    main()
