"""A recipe: flat YAML files -> what is trained on, what learns, and TRL's own settings.

Files that are given after the first lie over it, key by key::

    internvl2_5_8b_mirage.yaml   {"general_share": 0.1129, "labels": "safety_cot", ...}
    overrides/no_general.yaml    {"general_share": 0.0}
    read                         {"general_share": 0.0,    "labels": "safety_cot", ...}
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import sys
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_type_hints

from mis_dataset.errors import MISError
from mis_dataset.flat_yaml import read_flat_yaml
from mis_dataset.schema import CATEGORIES

if TYPE_CHECKING:
    from trl import SFTConfig

CONFIGS = Path(__file__).parent / "configs"
Method = Literal["lora", "qlora", "full"]
Labels = Literal["safety_cot", "refusal", "shuffled"]
Shown = Literal["own", "none", "black"]
TrainedIn = Literal["float32", "bfloat16"]
LoraLayers = Literal["all", "attention"]
LORA_LAYERS: dict[LoraLayers, str] = {
    "all": "(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)",
    "attention": "(q_proj|k_proj|v_proj|o_proj)",
}
"""Which linear layers of the language model learn."""
_CHOICES: dict[str, tuple[str, ...]] = {
    "method": get_args(Method),
    "labels": get_args(Labels),
    "pictures": get_args(Shown),
    "trained_in": get_args(TrainedIn),
    "lora_layers": get_args(LoraLayers),
}
"""Settings that are one of a few words."""


_KINDS: dict[type, tuple[str, ...]] = {
    bool: ("train_projector", "twins", "source_losses"),
    str: ("base", "general", "pixel_cache"),
}
_KIND_WORDS = {bool: "true or false", str: "text"}
_PATIENCE = "86400"
"""Seconds that processes wait for one that asks a gate's questions."""
_REFUSED = ("save_only_model", "push_to_hub", "load_best_model_at_end")
"""Settings of TRL's that `sft` has no use for: it goes on from whole checkpoints, and publishes nothing."""
_ELSEWHERE = {
    "output_dir": "it is OUT of the command line",
    "seed": "it is --seed of the command line",
    "resume_from_checkpoint": "`sft` goes on from OUT's own",
    "hub_token": "a secret stands in no file; put it into HF_TOKEN",
}
"""What a recipe cannot say -> where it is said."""
_ABOVE_ZERO = ("learning_rate", "num_train_epochs", "save_steps", "logging_steps")
_FROM_ONE = ("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps")
_FROM_ZERO = ("weight_decay", "max_grad_norm", "dataloader_num_workers", "save_total_limit", "adam_beta1", "adam_beta2")
_MOST = 10**12
_MOST_RANK = 2**16
_BELOW_ONE = ("adam_beta1", "adam_beta2")


@dataclass
class RecipeArguments:
    """What a recipe says beyond TRL's own `SFTConfig`.

    Attributes:
        base: Hub id of the checkpoint that the recipe is made for; what is trained is BASE of the command line.
        method: ``lora``; ``qlora``, LoRA on a base in 4 bits; ``full``, every weight of the language model. The vision
            tower learns in none.
        train_projector: whether the projector learns too, whole.
        projector_learning_rate: peak for the projector; None: `learning_rate`, as for the rest.
        trained_in: number format of the weights that learn. In ``bfloat16`` they take half of the memory, and steps
            below 1/256 of a weight are lost.
        max_tiles: most tiles of a picture in training, its small whole not counted; None: as the checkpoint has it.
        max_pixels: most pixels of a picture in training; None: as the checkpoint has it.
        twins: train on the benign twins too.
        labels: ``safety_cot``, ``refusal`` or ``shuffled`` (see `trainer.training.rows.training_rows`).
        pictures: what rows of MIS show: their ``own``, ``none``, or ``black`` ones of the same size.
        without: categories that are held out of training.
        rows: train on so many dangerous rows, drawn by the seed, and their twins; None: all.
        general: general rows: a folder or a dataset on the Hub (see `trainer.training.general_rows`). Empty: lessons of
            MIS-mini, which only its own rows are mixed with.
        general_share: share of general rows among all rows.
        text_share: share of text-only rows among the general ones, where those are MIS-mini's.
        source_losses: write to the log the loss of each kind of row (see `trainer.training.source_losses`).
        lora_r: rank of LoRA; alpha is twice as much.
        lora_layers: ``all`` linear layers of the language model, or those of its ``attention`` alone.
        doses: after how many rows the adapter is kept on the way.
        gate_every: after how many steps the model is asked while it trains, see `trainer.gates.callback`; 0: never.
        gate_rows: so many rows of easy and of hard, each with its twin, picture and text questions it is asked.
        gate_max_new_tokens: most tokens of a response to a row.
        gate_max_ability_drop: 0..1, how far below what it could before training the best checkpoint may be.
        gate_patience: after so many evaluations in a row that show a collapse training stops.
        gate_max_share: share of the time, above 0 and at most 1, that asking may take; evaluations that would take
            more, but for those before the first and after the last step, are left out.
        pixel_cache: folder in which processed pictures are kept for later epochs and arms, see
            `trainer.training.pixel_cache`; empty: none are. What is trained is the same.
        pixel_cache_gb: most that it may hold, in GB (10^9 bytes).
    """

    base: str = ""
    method: Method = "lora"
    train_projector: bool = True
    projector_learning_rate: float | None = None
    trained_in: TrainedIn = "float32"
    max_tiles: int | None = None
    max_pixels: int | None = None
    twins: bool = False
    labels: Labels = "safety_cot"
    pictures: Shown = "own"
    without: list[str] = field(default_factory=list)
    rows: int | None = None
    general: str = ""
    general_share: float = 0.11
    text_share: float = 0.5
    source_losses: bool = False
    lora_r: int = 16
    lora_layers: LoraLayers = "all"
    doses: list[int] = field(default_factory=list)
    gate_every: int = 0
    gate_rows: int = 24
    gate_max_new_tokens: int = 512
    gate_max_ability_drop: float = 0.05
    gate_patience: int = 2
    gate_max_share: float = 0.1
    pixel_cache: str = ""
    pixel_cache_gb: float = 100.0

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}: {getattr(self, name)!r} is none of {', '.join(choices)}")
        if not isinstance(self.general_share, float | int) or not 0 <= self.general_share < 1:
            raise ValueError(f"general_share: {self.general_share} is not in 0..1, 1 excluded")
        if not isinstance(self.text_share, float | int) or not 0 <= self.text_share <= 1:
            raise ValueError(f"text_share: {self.text_share} is not in 0..1")
        for kind, names in _KINDS.items():
            for name in names:
                if type(getattr(self, name)) is not kind:
                    raise ValueError(f"{name}: {getattr(self, name)!r} is no {_KIND_WORDS[kind]}")
        for name in ("lora_r", "rows", "max_tiles", "max_pixels"):
            value = getattr(self, name)
            if not _is_count(value) and (name == "lora_r" or value is not None):
                raise ValueError(f"{name}: {value} is no whole number from 1 on")
        if self.lora_r > _MOST_RANK:
            raise ValueError(f"lora_r: {self.lora_r} is above {_MOST_RANK}, where no layer has so many columns")
        for name in ("projector_learning_rate", "pixel_cache_gb"):
            value = getattr(self, name)
            if not _is_above_zero(value) and (name == "pixel_cache_gb" or value is not None):
                raise ValueError(f"{name}: {value} is not above 0")
        if not isinstance(self.doses, list) or not all(map(_is_count, self.doses)):
            raise ValueError(f"doses: {self.doses} is no list of numbers of rows, each at least 1")
        if self.doses and self.method == "full":
            raise ValueError("doses: adapters are kept on the way, and method full has none; leave it out")
        if not isinstance(self.without, list) or not set(self.without) <= set(CATEGORIES):
            raise ValueError(f"without: {self.without} is no list of categories, which are {', '.join(CATEGORIES)}")
        if self.labels == "shuffled" and not self.twins:
            raise ValueError("labels: shuffled swaps the decisions of a row and its twin, so it needs twins: true")
        self._check_gate()

    def _check_gate(self) -> None:
        for name, least in (("gate_every", 0), ("gate_rows", 1), ("gate_max_new_tokens", 1), ("gate_patience", 1)):
            if type(getattr(self, name)) is not int or getattr(self, name) < least:
                raise ValueError(f"{name}: {getattr(self, name)} is no whole number from {least} on")
        if not isinstance(self.gate_max_ability_drop, float | int) or not 0 <= self.gate_max_ability_drop <= 1:
            raise ValueError(f"gate_max_ability_drop: {self.gate_max_ability_drop} is not in 0..1")
        if not isinstance(self.gate_max_share, float | int) or not 0 < self.gate_max_share <= 1:
            raise ValueError(f"gate_max_share: {self.gate_max_share} is not above 0 and at most 1")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= sys.maxsize


def _is_above_zero(value: Any) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool) and 0 < value < math.inf


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags that name a recipe, alike in every verb that reads one."""
    parser.add_argument("--config", type=Path, required=True, help="recipe, a flat YAML file")
    parser.add_argument(
        "--override",
        type=Path,
        action="append",
        default=[],
        help="flat YAML file whose settings replace those of the recipe; may be given several times, the last wins",
    )


def read_recipe(path: Path, out: Path, seed: int, overrides: Sequence[Path] = ()) -> tuple[RecipeArguments, SFTConfig]:
    """Flat YAML files read by TRL's own parser.

    What only makes training faster holds only where it can: ``bf16: true`` on a CPU that multiplies it in hardware, and
    ``use_liger_kernel: true`` on a GPU, where the package liger-kernel is there.

    Args:
        path: the recipe.
        out: folder of the arm; checkpoints go to ``out / "checkpoints"``.
        seed: of the training.
        overrides: files of the same keys, each of which lies over those before.

    Raises:
        MISError: A file is missing, no flat YAML, or has a value that is wrong or a key that neither
            `RecipeArguments` nor `SFTConfig` knows.
    """
    import torch
    from trl import SFTConfig, TrlParser

    from trainer import models

    files = [path, *overrides]
    named = " + ".join(map(str, files))
    parser = TrlParser((RecipeArguments, SFTConfig))
    for file in files:
        # It gives back what it does not know: ["--name", "value", ...].
        settings = _read_yaml(file)
        if wrong := [f"{name}: {_ELSEWHERE[name]}; leave it out" for name in _ELSEWHERE if name in settings]:
            raise MISError(f"{file}: {'; '.join(wrong)}")
        if unknown := parser.set_defaults_with_config(**settings)[::2]:
            raise MISError(f"{file}: no setting of a recipe: {', '.join(name.strip('-') for name in unknown)}")
    words = ["--output_dir", str(out / "checkpoints"), "--seed", str(seed)]
    words += [] if torch.cuda.is_available() else ["--use_cpu", "true"]  # without it, bf16 is refused
    # The others wait while the first process asks and judges, which takes as long as the judge does.
    words += ["--ddp_timeout", _PATIENCE] if read_settings(path, overrides).get("gate_every") else []
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):  # argparse prints what is wrong, then exits
            recipe, config = parser.parse_args_into_dataclasses(words)
            if config.use_cpu and config.bf16 and not models.has_bfloat16_units(torch.device("cpu")):
                words += ["--bf16", "false"]
            if config.use_liger_kernel and (config.use_cpu or find_spec("liger_kernel") is None):
                words += ["--use_liger_kernel", "false"]
            recipe, config = parser.parse_args_into_dataclasses(words)
    except (ValueError, TypeError, ArithmeticError, ImportError, OSError) as error:
        raise MISError(f"{named}: {error}") from error
    except SystemExit as error:
        raise MISError(f"{named}: {(said.getvalue().strip().splitlines() or ['not understood'])[-1]}") from error
    if faults := [*_faults(config, read_settings(path, overrides).keys())]:
        raise MISError(f"{named}: {'; '.join(faults)}")
    if config.use_cpu and config.loss_type != "nll":
        raise MISError(f"{named}: loss_type {config.loss_type!r} is not known on the CPU; use nll")
    if config.max_length is not None:
        raise MISError(f"{named}: max_length {config.max_length} would cut pictures in two; it has to be null")
    if unwanted := [name for name in _REFUSED if getattr(config, name)]:
        raise MISError(f"{named}: {', '.join(unwanted)} is not for `sft`; leave it out")
    return recipe, config


def read_settings(path: Path, overrides: Sequence[Path] = ()) -> dict[str, Any]:
    """What the files say together: a recipe, and what lies over it.

    Raises:
        MISError: A file is missing or no flat YAML.
    """
    settings: dict[str, Any] = {}
    for file in (path, *overrides):
        settings |= _read_yaml(file)
    return settings


def _read_yaml(file: Path) -> dict[str, Any]:
    if not file.is_file():
        shipped = sorted(path.relative_to(CONFIGS).as_posix() for path in CONFIGS.rglob("*.yaml"))
        shipped = [name for name in shipped if not name.startswith("accelerate/")]
        raise MISError(f"{file}: no such recipe; those shipped are {', '.join(shipped)}")
    return read_flat_yaml(file)


def _faults(config: SFTConfig, given: AbstractSet[str]) -> Iterator[str]:
    """Settings of TRL's of a type or a size that it does not look at, and would fail on or train nonsense with."""
    hints = get_type_hints(type(config))
    for name in sorted(given & hints.keys()):
        value, kinds = getattr(config, name), {*(get_args(hints[name]) or (hints[name],))}
        if kinds <= {bool, int, float, str, type(None)} and not _is_of(value, kinds):
            yield f"{name}: {value!r} is of another type"
            continue
        least = 1 if name in _FROM_ONE else 0 if name in _FROM_ZERO else None
        if least is not None and value is not None and value < least:
            yield f"{name}: {value} is below {least}"
        if name in _ABOVE_ZERO and value <= 0:
            yield f"{name}: {value} is not above 0"
        if name in _BELOW_ONE and value >= 1:
            yield f"{name}: {value} is not below 1"
        if isinstance(value, int | float) and not abs(value) <= _MOST:
            yield f"{name}: {value} is no number that a training can have"


def _is_of(value: Any, kinds: set[Any]) -> bool:
    """Whether a value is of a type, where a whole number is a number too, and true is none."""
    if isinstance(value, bool) or value is None:
        return type(value) in kinds
    return isinstance(value, tuple(kinds)) or (isinstance(value, int) and float in kinds)
