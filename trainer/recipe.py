"""A recipe: one flat YAML file -> what is trained on, what learns, and TRL's own settings."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from mis_dataset.errors import MISError
from trainer.rows import Labels

if TYPE_CHECKING:
    from trl import SFTConfig

CONFIGS = Path(__file__).parent / "configs"
LoraLayers = Literal["all", "attention"]
LORA_LAYERS: dict[LoraLayers, str] = {
    "all": "(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)",
    "attention": "(q_proj|k_proj|v_proj|o_proj)",
}
"""Which linear layers of the language model learn."""


@dataclass
class RecipeArguments:
    """What a recipe says beyond TRL's own `SFTConfig`.

    Attributes:
        twins: train on the benign twins too.
        labels: ``safety_cot``, ``refusal`` or ``shuffled`` (see `trainer.rows.training_rows`).
        general_share: share of general rows among all rows.
        text_share: share of text-only rows among the general ones.
        lora_r: rank of LoRA; alpha is twice as much.
        lora_layers: ``all`` linear layers of the language model, or those of its ``attention`` alone.
        projector_learning_rate: peak for the projector, trained whole; that of LoRA is `learning_rate`.
        doses: after how many rows the adapter is kept on the way.
        gate_every: after how many steps the model is asked while it trains, see `trainer.gate_callback`; 0: never.
        gate_rows: so many rows of easy and of hard, each with its twin, picture and text questions it is asked.
        gate_max_new_tokens: most tokens of a response to a row.
        gate_max_ability_drop: 0..1, how far below what it could before training the best checkpoint may be.
        gate_patience: after so many evaluations in a row that show a collapse training stops.
        gate_max_share: share of the time, above 0 and at most 1, that asking may take; evaluations that would take
            more, but for those before the first and after the last step, are left out.
    """

    twins: bool = False
    labels: Labels = "safety_cot"
    general_share: float = 0.11
    text_share: float = 0.5
    lora_r: int = 16
    lora_layers: LoraLayers = "all"
    projector_learning_rate: float = 5e-5
    doses: list[int] = field(default_factory=list)
    gate_every: int = 0
    gate_rows: int = 24
    gate_max_new_tokens: int = 512
    gate_max_ability_drop: float = 0.05
    gate_patience: int = 2
    gate_max_share: float = 0.1

    def __post_init__(self) -> None:
        if self.labels not in get_args(Labels):
            raise ValueError(f"labels: {self.labels!r} is none of {', '.join(get_args(Labels))}")
        if not isinstance(self.general_share, float | int) or not 0 <= self.general_share < 1:
            raise ValueError(f"general_share: {self.general_share} is not in 0..1, 1 excluded")
        if not isinstance(self.text_share, float | int) or not 0 <= self.text_share <= 1:
            raise ValueError(f"text_share: {self.text_share} is not in 0..1")
        if not isinstance(self.lora_r, int) or self.lora_r < 1:
            raise ValueError(f"lora_r: {self.lora_r} is no whole number from 1 on")
        if self.lora_layers not in LORA_LAYERS:
            raise ValueError(f"lora_layers: {self.lora_layers!r} is none of {', '.join(LORA_LAYERS)}")
        if not isinstance(self.projector_learning_rate, float | int) or self.projector_learning_rate <= 0:
            raise ValueError(f"projector_learning_rate: {self.projector_learning_rate} is not above 0")
        if not isinstance(self.doses, list) or not all(isinstance(dose, int) and dose > 0 for dose in self.doses):
            raise ValueError(f"doses: {self.doses} is no list of numbers of rows, each at least 1")
        self._check_gate()

    def _check_gate(self) -> None:
        for name, least in (("gate_every", 0), ("gate_rows", 1), ("gate_max_new_tokens", 1), ("gate_patience", 1)):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < least:
                raise ValueError(f"{name}: {getattr(self, name)} is no whole number from {least} on")
        if not isinstance(self.gate_max_ability_drop, float | int) or not 0 <= self.gate_max_ability_drop <= 1:
            raise ValueError(f"gate_max_ability_drop: {self.gate_max_ability_drop} is not in 0..1")
        if not isinstance(self.gate_max_share, float | int) or not 0 < self.gate_max_share <= 1:
            raise ValueError(f"gate_max_share: {self.gate_max_share} is not above 0 and at most 1")


def read_recipe(path: Path, out: Path, seed: int) -> tuple[RecipeArguments, SFTConfig]:
    """A flat YAML file read by TRL's own parser; ``bf16: true`` holds on the CPU only where that is faster.

    Raises:
        MISError: The file is missing, no flat YAML, or has a value that is wrong or a key that neither
            `RecipeArguments` nor `SFTConfig` knows.
    """
    import torch
    import yaml
    from trl import SFTConfig, TrlParser

    from trainer import models

    if not path.is_file():
        raise MISError(f"{path}: no such recipe; those shipped are {sorted(file.name for file in CONFIGS.glob('*'))}")
    parser = TrlParser((RecipeArguments, SFTConfig))
    words = ["--config", str(path), "--output_dir", str(out / "checkpoints"), "--seed", str(seed)]
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):  # argparse prints what is wrong, then exits
            recipe, config = parser.parse_args_and_config(words)
            on_cpu = config.use_cpu or not torch.cuda.is_available()
            if on_cpu and config.bf16 and not models.has_bfloat16_units(torch.device("cpu")):
                recipe, config = parser.parse_args_and_config([*words, "--bf16", "false"])
    except (ValueError, TypeError, yaml.YAMLError) as error:
        raise MISError(f"{path}: {error}") from error
    except SystemExit as error:
        raise MISError(f"{path}: {(said.getvalue().strip().splitlines() or ['not understood'])[-1]}") from error
    if on_cpu and config.loss_type != "nll":
        raise MISError(f"{path}: loss_type {config.loss_type!r} is not known on the CPU; use nll")
    return recipe, config
