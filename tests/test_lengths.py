"""Tokens of rows are counted as the collator makes them, and transformers' own samplers group by them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from transformers.trainer_pt_utils import BatchRebalanceSampler
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

from tests.made_rows import made_rows
from tests.tiny import write_recipe
from trainer import models
from trainer.families import FAMILIES
from trainer.recipe import read_recipe
from trainer.training.collating import RowCollator
from trainer.training.learning import make_trainer
from trainer.training.lengths import row_lengths

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("family", FAMILIES)
def test_lengths_are_those_of_the_batch(vlm: Callable[[str], Path], family: str) -> None:
    processor, rows = models.load_processor(vlm(family)), made_rows()
    lengths = row_lengths(rows, processor)
    batch = RowCollator(DataCollatorForVisionLanguageModeling(processor))(rows.to_list())
    assert lengths == batch["attention_mask"].sum(dim=1).tolist()
    assert len(set(lengths)) == len(rows)


def test_a_picture_that_cannot_be_read_counts_nothing(vlm: Callable[[str], Path]) -> None:
    processor = models.load_processor(vlm("internvl"))
    whole, broken = made_rows(), made_rows().to_list()
    broken[2]["images"][0]["bytes"] = b"no picture"
    lengths, found = (
        row_lengths(whole, processor),
        row_lengths(type(whole).from_list(broken, whole.features), processor),
    )
    assert [first - second > 0 for first, second in zip(lengths, found, strict=True)] == [0, 0, 1, 0, 0]


def order(base: Path, folder: Path, strategy: str, seed: int = 0, **changes: Any) -> list[list[str]]:
    """Ids of the batches of an epoch."""
    settings = {"train_sampling_strategy": strategy, "per_device_train_batch_size": 2} | changes
    recipe, config = read_recipe(write_recipe(folder / "recipe.yaml", **settings), folder, seed)
    made = make_trainer(base, made_rows(), config, recipe)
    if strategy == "batch_rebalance":
        assert isinstance(made._get_train_sampler(), BatchRebalanceSampler)
    return [batch["ids"] for batch in made.get_train_dataloader()]


def test_rows_are_grouped_by_transformers_own_samplers(vlm: Callable[[str], Path], tmp_path: Path) -> None:
    base = vlm("internvl")
    lengths = dict(zip(made_rows()["id"], row_lengths(made_rows(), models.load_processor(base)), strict=True))
    by_length = order(base, tmp_path, "group_by_length", per_device_train_batch_size=5)
    assert by_length == [sorted(lengths, key=lambda id_: -lengths[id_])]
    # One step of five rows in two batches, no longer of the same number of rows.
    [costly, cheap] = order(
        base, tmp_path, "batch_rebalance", per_device_train_batch_size=3, gradient_accumulation_steps=2
    )
    assert sorted([*costly, *cheap]) == sorted(lengths)
    assert min(lengths[id_] for id_ in costly) >= max(lengths[id_] for id_ in cheap) or (
        max(lengths[id_] for id_ in costly) <= min(lengths[id_] for id_ in cheap)
    )


@pytest.mark.parametrize("strategy", ["random", "group_by_length", "batch_rebalance"])
def test_the_seed_of_a_training_decides_the_order(vlm: Callable[[str], Path], tmp_path: Path, strategy: str) -> None:
    orders = [order(vlm("internvl"), tmp_path, strategy, seed, per_device_train_batch_size=1) for seed in (0, 0, 3)]
    assert orders[0] == orders[1]
    assert len({str(one) for one in orders}) > 1
    assert {tuple(sorted(chain.from_iterable(one))) for one in orders} == {tuple(made_rows()["id"])}


def test_every_epoch_has_an_order_of_its_own(vlm: Callable[[str], Path], tmp_path: Path) -> None:
    path = write_recipe(
        tmp_path / "recipe.yaml", train_sampling_strategy="batch_rebalance", per_device_train_batch_size=2
    )
    recipe, config = read_recipe(path, tmp_path, 0)
    batches = make_trainer(vlm("internvl"), made_rows(), config, recipe).get_train_dataloader()
    orders = []
    for epoch in range(3):
        batches.set_epoch(epoch)
        orders.append(str([batch["ids"] for batch in batches]))
    assert len(set(orders)) > 1
