"""What a training will cost, from its recipe and the model's configuration alone: no weights, no dataset, no GPU.

Counted by torch, see `trainer.costs.counted`: parameters, bytes on one GPU, operations of a step. From these, by rule,
see `trainer.costs.ways`: what each of several GPUs holds, and hours. Assumed, and told: which part of its peak a GPU
reaches, and how large pictures and texts are. Not in the hours: decoding that the GPU waits for, saving, and the gate.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mis_dataset.arguments import positive
from mis_dataset.errors import MISError, UsageError
from trainer.costs.gpus import GPUS, gpu_of
from trainer.costs.ways import ADAMW, UTILISATION, Counted, Memory, Numbers, hours, ways_of
from trainer.recipe import CONFIGS, RecipeArguments, read_recipe, read_settings
from trainer.recipe import add_arguments as add_recipe

if TYPE_CHECKING:
    from trl import SFTConfig

    from trainer.costs.counted import Step

MODELS = CONFIGS / "models"
"""Configurations of the paper's models, by their ids on the Hub."""
SIDE = 1024
"""Pixels of a picture of MIS. Source: the default of Stable Diffusion 3.5, which drew them; the paper does not say."""
TRAIN_ROWS = 3927
"""Of MIS-train. Source: paper, Table 19."""
TEXT = 512
"""Tokens of question and response with their template. Ours, an upper estimate for labels of 100 to 300 words."""
_MOST_TOKENS, _MOST_SIDE = 10**7, 16384
HEADROOM = 2 * 10**9
"""Bytes of a GPU that CUDA, NCCL and gaps between tensors take. Ours, an assumption."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb ``plan``."""
    add_recipe(parser)
    parser.add_argument("--gpu", required=True, help=f"one of {', '.join(GPUS)}")
    parser.add_argument("--gpus", type=positive, default=1, metavar="G", help="how many of them (default 1)")
    parser.add_argument("--model", type=Path, metavar="FOLDER", help="checkpoint, instead of the recipe's base")
    parser.add_argument("--rows", type=positive, metavar="N", help=f"dangerous rows; default: {TRAIN_ROWS:,}")
    parser.add_argument(
        "--tokens", type=positive, default=TEXT, metavar="N", help="of a row's text; default: %(default)s"
    )
    parser.add_argument(
        "--side", type=positive, default=SIDE, metavar="N", help="of a picture; default: %(default)s px"
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Plans one training.

    Returns:
        All figures; ``passed`` is false where no way to share the model fits on the GPUs.

    Raises:
        MISError: The recipe is wrong, or names a model, an optimizer or a GPU that is not known.
    """
    gpu = gpu_of(args.gpu)
    if not 4 <= args.tokens <= _MOST_TOKENS:
        raise UsageError(f"--tokens {args.tokens}: a question and a response have at least 4, at most {_MOST_TOKENS}")
    if args.side > _MOST_SIDE:
        raise UsageError(f"--side {args.side}: a blank picture of that size is processed, at most {_MOST_SIDE} px")
    recipe, config = read_recipe(args.config, Path("plan"), 0, args.override)
    folder = args.model or model_folder(recipe.base, args.config)
    if config.optim not in ADAMW:
        raise MISError(f"{args.config}: optim {config.optim.value} cannot be planned; known are {', '.join(ADAMW)}")
    # What the files say: `read_recipe` takes bfloat16 back on a CPU, and a plan is for a GPU.
    halved = bool(read_settings(args.config, args.override).get("bf16", True))
    print(f"{folder}: its training step is counted, which takes up to a minute", file=sys.stderr)
    try:
        counted = count(folder, recipe, config, halved, args.tokens, args.side, args.gpus > 1)
    except (RuntimeError, ArithmeticError, MemoryError) as error:  # what torch says to sizes that no model has
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise MISError(f"{args.config}: no step of it can be counted with {folder}: {said}; look at both") from error
    rows = rows_of(recipe, args.rows)
    steps = steps_of(rows, config, args.gpus)
    flops = counted.flops * config.gradient_accumulation_steps * args.gpus
    ways = {
        name: {
            **_rounded(way.memory),
            "fits": sum(way.memory) <= gpu.memory - HEADROOM,
            "hours": hours(gpu, args.gpus, flops, way.sent, steps),
        }
        for name, way in ways_of(counted, recipe, config, args.gpus).items()
    }
    found = {
        "model": recipe.base if args.model is None else str(folder),
        "method": recipe.method,
        "gpu": args.gpu,
        "gpus": args.gpus,
        "parameters": counted.numbers.parts | {"all": sum(counted.numbers.parts.values())},
        "trained": counted.numbers.trained,
        "row": counted.row,
        "rows": rows,
        "steps": steps,
        "flops_a_step": flops,
        "flops": flops * steps,
        "memory": gpu.memory - HEADROOM,
        "ways": ways,
        "assumed": {"utilisation": UTILISATION, "side": args.side, "text": args.tokens, "headroom": HEADROOM},
        "passed": any(way["fits"] for way in ways.values()),
    }
    print(table(found), file=sys.stderr)
    return found


def model_folder(base: str, recipe: Path) -> Path:
    """Where the configuration of the recipe's model lies.

    Raises:
        MISError: The recipe names no model, or one whose configuration is not shipped.
    """
    shipped = {path.parent.relative_to(MODELS).as_posix(): path.parent for path in MODELS.glob("*/*/config.json")}
    if not base:
        raise UsageError(f"{recipe}: names no base; say which model with --model FOLDER")
    if base not in shipped:
        known = ", ".join(sorted(shipped))
        raise UsageError(f"{recipe}: base {base!r} is not shipped; use --model FOLDER, or one of {known}")
    return shipped[base]


def rows_of(recipe: RecipeArguments, dangerous: int | None = None) -> int:
    """Rows of an epoch: dangerous ones, their twins, and general ones by their share of all.

    >>> rows_of(RecipeArguments(general_share=0.11))
    4412
    """
    own = (dangerous or recipe.rows or TRAIN_ROWS) * (2 if recipe.twins else 1)
    return own + round(own * recipe.general_share / (1 - recipe.general_share))


def steps_of(rows: int, config: SFTConfig, gpus: int) -> int:
    """Optimizer steps of the training, as transformers counts them."""
    if config.max_steps > 0:
        return int(config.max_steps)
    batches = math.ceil(rows / (config.per_device_train_batch_size * gpus))
    steps: int = math.ceil(config.num_train_epochs * math.ceil(batches / config.gradient_accumulation_steps))
    return steps


def count(
    folder: Path, recipe: RecipeArguments, config: SFTConfig, halved: bool, text: int, side: int, shared: bool
) -> Counted:
    """Trains a model of shapes for one step, once whole and once as sharding hands it over.

    Raises:
        ModelError: No configuration lies in `folder`, or of a family that is not known.
    """
    import torch

    from trainer.costs import counted
    from trainer.families import FAMILIES, family_of

    family, rows = family_of(folder), config.per_device_train_batch_size
    shown = counted.seen(folder, rows, side, recipe)
    narrow = torch.bfloat16 if halved else torch.float32
    kept = torch.bfloat16 if recipe.trained_in == "bfloat16" else torch.float32
    # As trainer.training.learning loads it: a model that learns whole in float32 is float32 where it is frozen too.
    formats = [(kept if recipe.method == "full" and kept == torch.float32 else narrow, kept)]
    if shared and (narrow, narrow) not in formats:
        formats.append((narrow, narrow))
    steps: list[Step] = []
    flops = 0
    for frozen, trained in formats:
        model = counted.build(folder, frozen)
        by_part = counted.parameters_by_part(model, family)
        model = counted.choose_trained(model, recipe)
        numbers = _numbers(model, by_part, FAMILIES[family].language_model)
        with counted.Shapes():
            counted.take_shape(model, trained)
            batch = counted.make_batch(model, shown, rows, text)
            steps.append(counted.count_step(model, batch, halved, bool(config.activation_checkpointing)))
            flops = flops or counted.count_flops(model, batch, halved)
    row = {"tokens": batch.tokens, "picture": batch.picture, "labels": batch.labels}
    return Counted(numbers, steps[0], steps[-1], flops, formats[0][0].itemsize, narrow.itemsize, row)


def _numbers(model: Any, by_part: dict[str, int], language_model: str) -> Numbers:
    """Counts weights; a layer is what stands in a list of modules."""
    from torch import nn

    layers = [layer for stack in model.modules() if isinstance(stack, nn.ModuleList) for layer in stack]
    sizes = [(_size(layer), _size(layer, trained=True)) for layer in layers]
    inside = {weight for layer in layers for weight in layer.parameters()}
    outside = [weight for weight in model.parameters() if weight not in inside]
    matrices = [
        module.weight.numel()
        for name, module in model.named_modules()
        if f"{language_model}." in name and isinstance(module, nn.Linear) and not module.weight.requires_grad
    ]
    return Numbers(
        parts=by_part,
        weights=_size(model),
        trained=_size(model, trained=True),
        block=max(size for size, _ in sizes),
        block_trained=max(trained for _, trained in sizes),
        root=sum(weight.numel() for weight in outside),
        root_trained=sum(weight.numel() for weight in outside if weight.requires_grad),
        quantised=sum(matrices),
        widest=max(matrices, default=0),
    )


def _size(module: Any, trained: bool = False) -> int:
    return sum(weight.numel() for weight in module.parameters() if weight.requires_grad or not trained)


def _rounded(memory: Memory) -> dict[str, int]:
    parts = {name: round(size) for name, size in memory._asdict().items()}
    return parts | {"all": sum(parts.values())}


def table(found: dict[str, Any]) -> str:
    """The figures of a plan for a reader."""
    parameters = ", ".join(f"{name.replace('_', ' ')} {n / 1e6:,.1f} M" for name, n in found["parameters"].items())
    row, slow, fast = found["row"], *UTILISATION
    lines = [
        f"{found['model']}, {found['method']}, {found['gpus']} x {found['gpu']}",
        f"parameters  {parameters}; trained {found['trained'] / 1e6:,.1f} M",
        f"row         {row['tokens']:,} tokens: 2 pictures of {row['picture']:,}, {row['labels']:,} with labels",
        f"steps       {found['steps']:,} for {found['rows']:,} rows an epoch; {found['flops_a_step']:.2e} FLOPs a step",
        f"in all      {found['flops']:.2e} FLOPs; hours assume {slow:.0%} to {fast:.0%} of the GPU's peak",
        f"GB on each GPU, of {found['memory'] / 1e9:.0f}",
        "          weights  gradients  optimizer  activations  gathered     all  fits  hours",
    ]
    for way, held in found["ways"].items():
        sizes = [held[name] / 1e9 for name in (*Memory._fields, "all")]
        shown = "{:9.1f}{:11.1f}{:11.1f}{:13.1f}{:10.1f}{:8.1f}".format(*sizes)
        least, most = held["hours"]
        lines.append(f"{way:8}{shown}  {'yes' if held['fits'] else 'no ':4}  {least:.2f} to {most:.2f}")
    return "\n".join(lines)
