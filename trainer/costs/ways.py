"""How GPUs share a model that is trained: what each of them holds, and how long they take.

Counted by torch, see `trainer.costs.counted`: all that one GPU holds where it shares nothing, and activations. By rule:
shares, what is gathered, weights of 4 bits, states of 8 bits, hours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from trainer.costs.gpus import Gpu

if TYPE_CHECKING:
    from trl import SFTConfig

    from trainer.costs.counted import Step
    from trainer.recipe import RecipeArguments

UTILISATION = (0.25, 0.45)
"""Part of its peak that a GPU reaches in a training, recomputed operations counted. Ours, an assumption."""
LIVE = 10**9
"""Weights that ZeRO-3 keeps gathered at most. Source: DeepSpeed's default of ``stage3_max_live_parameters``."""
NF4 = 4.127 / 8
"""Bytes of a weight in 4 bits, its constants quantised too. Source: QLoRA (arXiv 2305.14314), section 3."""
_FLOAT = 4
ADAMW = {"adamw_torch": 1.0, "adamw_torch_fused": 1.0} | dict.fromkeys(
    ("adamw_8bit", "adamw_bnb_8bit", "paged_adamw_8bit"), 0.25
)
"""Optimizers of ``optim`` that are AdamW -> their bytes in parts of torch's, which keeps two float32 a weight."""


class Numbers(NamedTuple):
    """How many weights lie where.

    Attributes:
        parts: projector, vision tower and language model -> weights.
        weights: all of them while training, adapters too.
        trained: those that learn.
        block: of the largest layer, which sharding gathers as one.
        block_trained: most that learn in one layer.
        root: outside all layers: embeddings, head, projector.
        root_trained: those of them that learn.
        quantised: those that ``qlora`` keeps in 4 bits.
        widest: of the largest of these matrices.
    """

    parts: dict[str, int]
    weights: int
    trained: int
    block: int
    block_trained: int
    root: int
    root_trained: int
    quantised: int
    widest: int


class Counted(NamedTuple):
    """One step of one GPU.

    Attributes:
        numbers: of weights.
        whole: where each GPU holds the whole model.
        sharded: on weights that come in the format they are multiplied in.
        flops: of the step.
        frozen: bytes of a weight that does not learn, where it is kept.
        width: bytes of a number in the format that is multiplied.
        row: tokens of a row: all, those of one picture, those with labels.
    """

    numbers: Numbers
    whole: Step
    sharded: Step
    flops: int
    frozen: int
    width: int
    row: dict[str, int]


class Memory(NamedTuple):
    """Bytes on one GPU.

    Attributes:
        weights: kept all the time.
        gradients: kept all the time.
        optimizer: kept all the time.
        activations: most at any moment.
        gathered: copies of what other GPUs keep or get: layers, gradients.
    """

    weights: float
    gradients: float
    optimizer: float
    activations: float
    gathered: float


class Way(NamedTuple):
    """One way to share a model.

    Attributes:
        memory: of each GPU.
        sent: bytes that each GPU gets from the others in a step.
    """

    memory: Memory
    sent: float


def ways_of(counted: Counted, recipe: RecipeArguments, config: SFTConfig, gpus: int) -> dict[str, Way]:
    """How the GPUs can share the model, by name.

    One GPU shares nothing. Weights of 4 bits are not sharded either: ``qlora`` is for GPUs that each hold them all.
    """
    part, n = ADAMW[config.optim], counted.numbers
    others = (gpus - 1) / gpus
    ways = {"none": Way(_whole(counted, recipe, gpus, part), 2 * others * counted.whole.gradients)}
    if gpus > 1 and recipe.method != "qlora":
        # Every forward and backward pass gathers all weights, every backward pass sends the gradients.
        sent = others * config.gradient_accumulation_steps * counted.width * (2 * n.weights + n.trained)
        ways["fsdp2"] = Way(_fsdp2(counted, gpus, part), sent)
        ways["zero3"] = Way(_zero3(counted, gpus, part), sent)
    return ways


def _whole(counted: Counted, recipe: RecipeArguments, gpus: int, part: float) -> Memory:
    """Each GPU has all; several send gradients in buckets, which are copies (torch's DDP as accelerate sets it up).

    Of weights in 4 bits one matrix at a time becomes one of bfloat16.
    """
    n, step, in_4_bits = counted.numbers, counted.whole, recipe.method == "qlora"
    return Memory(
        weights=step.weights - (n.quantised * (counted.width - NF4) if in_4_bits else 0),
        gradients=step.gradients,
        optimizer=step.optimizer * part,
        activations=step.activations + (n.widest * counted.width if in_4_bits else 0),
        gathered=step.gradients if gpus > 1 else 0,
    )


def _fsdp2(counted: Counted, gpus: int, part: float) -> Memory:
    """Equal shares, of what is trained in float32; gathered: what is in no layer, and two layers, one of them ahead.

    Source: accelerate 1.15, which makes weights that are trained float32 whatever they were.
    """
    n = counted.numbers
    return Memory(
        weights=(counted.frozen * (n.weights - n.trained) + _FLOAT * n.trained) / gpus,
        gradients=_FLOAT * n.trained / gpus,
        optimizer=2 * _FLOAT * n.trained * part / gpus,
        activations=counted.sharded.activations,
        gathered=counted.width * (n.root + n.root_trained + 2 * (n.block + n.block_trained)),
    )


def _zero3(counted: Counted, gpus: int, part: float) -> Memory:
    """Equal shares, of what is trained also a copy in float32; gathered: up to `LIVE` weights.

    Source: ZeRO (arXiv 1910.02054), section 3.1: Adam in mixed precision.
    """
    n = counted.numbers
    live = min(n.weights, max(LIVE, n.root + n.block))
    return Memory(
        weights=(counted.width * n.weights + _FLOAT * n.trained) / gpus,
        gradients=counted.width * n.trained / gpus,
        optimizer=2 * _FLOAT * n.trained * part / gpus,
        activations=counted.sharded.activations,
        gathered=counted.width * (live + n.block_trained),
    )


def hours(gpu: Gpu, gpus: int, flops: float, sent: float, steps: int) -> tuple[float, float]:
    """Least and most hours: computing hides what is sent, or waits for it.

    Args:
        gpu: of the training.
        gpus: how many.
        flops: of a step, of all GPUs.
        sent: bytes that each GPU gets from the others in a step.
        steps: of the training.
    """
    slow, fast = (flops / (gpus * gpu.flops * part) for part in UTILISATION)
    sending = sent / gpu.link
    return round(steps * max(fast, sending) / 3600, 3), round(steps * (slow + sending) / 3600, 3)
