"""Whether a training finds room: on the disk for what it writes, in memory for what it reads.

Weights are counted in the headers of BASE's files: nothing is loaded.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from math import ceil, prod
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from safetensors import safe_open

from trainer.families import broken, parts_of
from trainer.preflight.diagnosis import Fault
from trainer.recipe import LORA_LAYERS, RecipeArguments

if TYPE_CHECKING:
    from trl import SFTConfig

_MOMENTS = 2
"""Numbers that AdamW keeps of every weight that learns, in its number format."""
_SIZES = {"F64": 8, "F32": 4, "BF16": 2, "F16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
"""Bytes of a number, by the names in files of weights."""
_GB = 1e9


class Learning(NamedTuple):
    """What learns of a checkpoint.

    Attributes:
        numbers: how many: of an adapter and the projector, or of the language model and the projector.
        bytes: of them, in the number format in which they learn.
        frozen_bytes: of all other weights, in the checkpoint's format.
        base_bytes: of all weights, in the checkpoint's format.
    """

    numbers: int
    bytes: int
    frozen_bytes: int
    base_bytes: int


def disk_faults(base: Path, out: Path, recipe: RecipeArguments, config: SFTConfig, rows: int) -> Iterator[Fault]:
    """Whether the checkpoints on the way, the adapter and the merged model fit on the disk of `out`.

    Nothing is told where BASE has no weights, whose size is not known then.
    """
    if not any(base.glob("*.safetensors")):
        return
    learns = learning(base, recipe)
    full = recipe.method == "full"
    # The Trainer keeps all of a model that learns whole, of others the adapter; the last model is as large as BASE.
    checkpoint = learns.bytes + _MOMENTS * learns.bytes + (learns.frozen_bytes if full else 0)
    kept = 0 if full else 1 + len(recipe.doses)
    # The best checkpoint of a gate is written beside the one before.
    best = 2 * (learns.bytes + (learns.frozen_bytes if full else 0)) if recipe.gate_every else 0
    needed = learns.base_bytes + kept * learns.bytes + best + checkpoints(config, rows) * checkpoint
    free = shutil.disk_usage(_there(out)).free
    if needed > free:
        yield Fault("disk", None, f"{needed / _GB:.1f} GB are written to {out}, where {free / _GB:.1f} GB are free")


def memory_faults(config: SFTConfig, batch_bytes: int, memory: Path = Path("/proc/meminfo")) -> Iterator[Fault]:
    """Whether the batches that wait in memory fit in, beside the rows, which are in it while this is asked.

    Args:
        config: of the training.
        batch_bytes: of one row as the collator gives it, the largest.
        memory: where the system says what is free; nothing is told where it does not.
    """
    waiting = config.dataloader_num_workers * (config.dataloader_prefetch_factor or 2) + 1
    needed = waiting * config.per_device_train_batch_size * batch_bytes
    free = _available(memory)
    if free is not None and needed > free:
        said = f"{waiting} batches of {needed / waiting / _GB:.1f} GB wait, {free / _GB:.1f} GB of memory are free"
        yield Fault("memory", None, said)


def learning(base: Path, recipe: RecipeArguments) -> Learning:
    """What learns of a checkpoint by a recipe.

    Raises:
        ModelError: No checkpoint of a known family lies there, or a file of weights cannot be read.
    """
    family, numbers, frozen, whole = parts_of(base), 0, 0, 0
    layer = re.compile(rf"\.{LORA_LAYERS[recipe.lora_layers]}\.weight$")
    for name, shape, size in _weights(base):
        projects, sees = _lies_in(name, family.projector), _lies_in(name, (family.vision_tower,))
        learns = recipe.train_projector if projects else recipe.method == "full" and not sees
        if learns:
            numbers += prod(shape)
        elif recipe.method != "full" and layer.search(name) and not sees:
            numbers += recipe.lora_r * sum(shape)
        whole += size
        frozen += 0 if learns else size
    return Learning(numbers, numbers * (4 if recipe.trained_in == "float32" else 2), frozen, whole)


def checkpoints(config: SFTConfig, rows: int) -> int:
    """How many checkpoints lie on the disk at once: a new one is whole before an old one is removed."""
    a_step = config.per_device_train_batch_size * config.gradient_accumulation_steps
    epochs = config.num_train_epochs
    steps = config.max_steps if config.max_steps > 0 else ceil(ceil(rows / a_step) * epochs)
    # A `save_steps` below 1 is a share of all steps.
    every = config.save_steps if config.save_steps >= 1 else max(1, ceil(steps * config.save_steps))
    made = {"no": 0, "epoch": ceil(epochs)}.get(str(config.save_strategy.value), int(steps // every))
    most = made if config.save_total_limit is None else config.save_total_limit + 1
    return int(min(made, most))


def _weights(base: Path) -> Iterator[tuple[str, list[int], int]]:
    """Name, shape and bytes of every weight, from the headers of the files."""
    for file in sorted(base.glob("*.safetensors")):
        with broken(base), safe_open(file, "pt") as weights:
            held = [(name, weights.get_slice(name)) for name in weights.offset_keys()]
            yield from [(name, one.get_shape(), prod(one.get_shape()) * _SIZES[one.get_dtype()]) for name, one in held]


def _lies_in(name: str, parts: tuple[str, ...]) -> bool:
    """Whether a weight is of one of these parts, of which older checkpoints name only the last words."""
    return any(part.rsplit(".", 1)[-1] in name.split(".") for part in parts)


def _there(folder: Path) -> Path:
    """The folder, or the first one above it that is there."""
    return next(one for one in (folder.absolute(), *folder.absolute().parents) if one.is_dir())


def _available(memory: Path) -> int | None:
    """Bytes that can be taken without swapping; None where the system does not say."""
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", memory.read_text(), re.MULTILINE)
    except OSError:
        return None
    return 1024 * int(found.group(1)) if found else None
