"""Whether a training finds room: on the disk for what it writes, in memory for what it reads.

Weights are counted in the headers of BASE's files: nothing is loaded.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from math import ceil, prod
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import safe_open

from trainer.diagnosis import Fault
from trainer.families import broken, parts_of
from trainer.recipe import LORA_LAYERS, RecipeArguments

if TYPE_CHECKING:
    from trl import SFTConfig

_FLOAT = 4
_MOMENTS = 2
"""Numbers that AdamW keeps of every weight that learns, in float32 as the weight."""
_GB = 1e9


def disk_faults(base: Path, out: Path, recipe: RecipeArguments, config: SFTConfig, rows: int) -> Iterator[Fault]:
    """Whether the checkpoints on the way, the adapter and the merged model fit on the disk of `out`.

    Nothing is told where BASE has no weights, whose size is not known then.
    """
    weights = sorted(base.glob("*.safetensors"))
    if not weights:
        return
    learns = learning(base, recipe) * _FLOAT
    model = sum(file.stat().st_size for file in weights)
    needed = model + learns * (1 + len(recipe.doses)) + checkpoints(config, rows) * learns * (1 + _MOMENTS)
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
        said = f"{waiting} batches of {needed / waiting / _GB:.1f} GB wait in memory, of which {free / _GB:.1f} GB are free"
        yield Fault("memory", None, said)


def learning(base: Path, recipe: RecipeArguments) -> int:
    """How many numbers learn: those of the adapter and of the projector.

    Raises:
        ModelError: A file of weights cannot be read.
    """
    family, number = parts_of(base), 0
    layer = re.compile(rf"\.{LORA_LAYERS[recipe.lora_layers]}\.weight$")
    for name, shape in _shapes(base):
        if _lies_in(name, family.projector):
            number += prod(shape)
        elif layer.search(name) and not _lies_in(name, (family.vision_tower,)):
            number += recipe.lora_r * sum(shape)
    return number


def checkpoints(config: SFTConfig, rows: int) -> int:
    """How many checkpoints lie on the disk at once: a new one is whole before an old one is removed."""
    a_step = config.per_device_train_batch_size * config.gradient_accumulation_steps
    epochs = config.num_train_epochs
    steps = config.max_steps if config.max_steps > 0 else ceil(ceil(rows / a_step) * epochs)
    # A `save_steps` below 1 is a share of all steps.
    every = config.save_steps if config.save_steps >= 1 else max(1, ceil(steps * config.save_steps))
    made = {"no": 0, "steps": int(steps // every), "epoch": ceil(epochs)}[str(config.save_strategy.value)]
    return made if config.save_total_limit is None else min(made, config.save_total_limit + 1)


def _shapes(base: Path) -> Iterator[tuple[str, list[int]]]:
    for file in sorted(base.glob("*.safetensors")):
        with broken(base), safe_open(file, "pt") as weights:
            yield from [(name, weights.get_slice(name).get_shape()) for name in weights.keys()]


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
    return 1024 * int(found[1]) if found else None
