"""A step on a model of shapes takes what the same step on a real one takes, by torch's counters and its allocator."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForImageTextToText

from tests.made_vlms import make_vlm
from trainer.costs import counted
from trainer.costs.counted import Batch, Step
from trainer.families import FAMILIES
from trainer.recipe import RecipeArguments

ROWS, TEXT, SIDE = 2, 64, 64
LORA = RecipeArguments(lora_r=4)
FULL = RecipeArguments(method="full")


@pytest.fixture(scope="module")
def vlms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tiny checkpoints, one of each family."""
    folder = tmp_path_factory.mktemp("vlms")
    for family in FAMILIES:
        make_vlm(folder / family, family)
    return folder


def real(folder: Path, recipe: RecipeArguments, halved: bool = False, text: int = TEXT) -> tuple[Any, Batch]:
    """The checkpoint with its weights, as a training begins, and its batch."""
    frozen = torch.bfloat16 if halved and recipe.method != "full" else torch.float32
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=frozen, attn_implementation="sdpa")
    model = counted.choose_trained(model, recipe)
    for weight in model.parameters():
        weight.data = weight.data.float() if weight.requires_grad else weight.data
    return model, counted.make_batch(model, counted.seen(folder, ROWS, SIDE, recipe), ROWS, text)


def planned(
    folder: Path, recipe: RecipeArguments, halved: bool = False, checkpointed: bool = False, text: int = TEXT
) -> tuple[Step, int]:
    """Bytes and operations by the configuration alone."""
    shown = counted.seen(folder, ROWS, SIDE, recipe)
    frozen = torch.bfloat16 if halved and recipe.method != "full" else torch.float32
    model = counted.choose_trained(counted.build(folder, frozen), recipe)
    with counted.Shapes():
        counted.take_shape(model, torch.float32)
        batch = counted.make_batch(model, shown, ROWS, text)
        return counted.count_step(model, batch, halved, checkpointed), counted.count_flops(model, batch, halved)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_of_shapes_counts_as_a_real_one_of_every_family(vlms: Path, family: str) -> None:
    model, batch = real(vlms / family, LORA)
    step, flops = planned(vlms / family, LORA)
    found = counted.count_step(model, batch, halved=False, checkpointed=False)
    assert step[:3] == found[:3]
    assert step.activations == pytest.approx(found.activations, rel=0.02)
    assert flops == counted.count_flops(model, batch, halved=False) > 10**6


# Against what is written by hand, and what the allocator says


def train_by_hand(model: Any, batch: Batch, halved: bool) -> torch.Tensor:
    """The loss of the last tokens, as transformers itself would be asked for it."""
    before = torch.arange(batch.tokens - batch.labels - 1, batch.tokens - 1)
    with torch.autocast("cpu", torch.bfloat16, enabled=halved):
        logits = model(**batch.inputs, logits_to_keep=before, use_cache=False).logits
    targets = batch.inputs["input_ids"][:, -batch.labels :]
    loss: torch.Tensor = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten())
    return loss


def most_allocated(events: Iterable[Any]) -> int:
    """Most bytes that were allocated at once, by the allocator's own record."""
    sizes = [
        event.nbytes() for event in sorted(events, key=lambda event: event.start_ns()) if event.name() == "[memory]"
    ]
    held = [0]
    for size in sizes:
        held.append(held[-1] + size)
    return max(held)


SHAPES: list[tuple[str, RecipeArguments, bool, bool]] = [
    ("internvl", FULL, False, True),
    ("qwen2_vl", LORA, True, False),
    ("llava_onevision", FULL, True, True),
]


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # PEFT asks under its old name
@pytest.mark.parametrize(("family", "recipe", "halved", "checkpointed"), SHAPES)
def test_a_plan_is_within_15_per_cent_of_a_real_step(
    vlms: Path, family: str, recipe: RecipeArguments, halved: bool, checkpointed: bool
) -> None:
    step, flops = planned(vlms / family, recipe, halved, checkpointed)
    model, batch = real(vlms / family, recipe, halved)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained)
    if checkpointed:
        model.activation_checkpointing_enable({"use_reentrant": False})
    model.train()
    train_by_hand(model, batch, halved).backward()
    optimizer.step()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        train_by_hand(model, batch, halved).backward()
    own = sum(tensor.nbytes for tensor in batch.inputs.values())
    found = own + most_allocated(recorded.profiler.kineto_results.events())
    assert step.activations == pytest.approx(found, rel=0.15)
    assert step.weights == sum(weight.numel() * weight.element_size() for weight in model.parameters())
    assert step.gradients == sum(weight.numel() * 4 for weight in trained)
    assert step.optimizer == sum(2 * weight.numel() * 4 + 4 for weight in trained)  # two moments and a count of steps
    with FlopCounterMode(display=False, custom_mapping=counted.ON_CPU) as counter:
        train_by_hand(model, batch, halved).backward()
    assert flops == counter.get_total_flops()


def test_a_plan_of_another_step_is_further_off(vlms: Path) -> None:
    step, flops = planned(vlms / "internvl", FULL)
    longer, more = planned(vlms / "internvl", FULL, text=2 * TEXT)
    checkpointed, twice = planned(vlms / "internvl", FULL, checkpointed=True)
    assert longer.activations > 1.3 * step.activations
    assert more > 1.3 * flops
    assert checkpointed.activations < 0.85 * step.activations
    assert twice > flops


def test_rows_without_pictures_have_text_alone(vlms: Path) -> None:
    blind = RecipeArguments(method="full", pictures="none")
    shown = counted.seen(vlms / "internvl", ROWS, SIDE, blind)
    model, batch = real(vlms / "internvl", blind)
    assert shown == {}
    assert (batch.tokens, batch.picture, batch.labels) == (TEXT, 0, 48)
    assert counted.count_flops(model, batch, halved=False) > 0


def test_fewer_tiles_are_fewer_tokens(vlms: Path) -> None:
    sizes = {}
    for tiles in (None, 2):
        shown = counted.seen(vlms / "internvl", ROWS, SIDE, RecipeArguments(max_tiles=tiles))
        sizes[tiles] = len(shown["pixel_values"])
    assert sizes[None] > sizes[2]
