"""Batches are TRL's own to the bit, with the cache and without; workers change nothing; a broken row is named."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from PIL import Image
from transformers import Trainer
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

from tests.made_rows import decoded, made_rows, picture
from tests.tiny import write_recipe
from trainer import families, models
from trainer.families import FAMILIES, ModelError
from trainer.recipe import read_recipe
from trainer.training.collating import RowCollator, whole_ones
from trainer.training.learning import make_trainer
from trainer.training.pixel_cache import PixelCache
from trainer.training.rows import make_dataset

pytestmark = pytest.mark.usefixtures("one_thread")


def collator(base: Path, completion_only_loss: bool = True) -> DataCollatorForVisionLanguageModeling:
    return DataCollatorForVisionLanguageModeling(models.load_processor(base), completion_only_loss=completion_only_loss)


def assert_same(found: dict[str, Any], wanted: Any) -> None:
    assert found.keys() - {"ids", "sources"} == wanted.keys()
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype, name
        assert torch.equal(found[name], tensor), name


# What TRL makes


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_is_that_of_trl_to_the_bit_with_the_cache_and_without(
    vlm: Callable[[str], Path], tmp_path: Path, family: str
) -> None:
    trl, rows = collator(vlm(family)), made_rows()
    cached = RowCollator(trl, PixelCache(tmp_path / "pixels", 10**9))
    filled = []
    for chosen in ([0, 1, 2, 3, 4], [2], [4, 0], [1], [1, 3, 2]):
        undecoded = rows.select(chosen).to_list()
        wanted = trl(list(decoded(rows.select(chosen))))
        for ours in (RowCollator(trl), cached, cached):
            batch = ours(undecoded)
            assert_same(batch, wanted)
            assert batch["ids"] == [f"made/{number}" for number in chosen]
            assert batch["sources"].tolist() == [(0, 3, 2, 1, 0)[number] for number in chosen]
        filled.append(len(list((tmp_path / "pixels").glob("*"))))
    assert filled == [4] * 5
    assert (wanted["labels"] != -100).sum() < wanted["labels"].numel() / 2


def test_the_whole_row_is_labelled_where_the_recipe_says_so(vlm: Callable[[str], Path]) -> None:
    trl, rows = collator(vlm("internvl"), completion_only_loss=False), made_rows()
    batch = RowCollator(trl)(rows.to_list())
    assert_same(batch, trl(list(decoded(rows))))
    assert torch.equal(batch["labels"] != -100, batch["attention_mask"].bool())


def test_a_picture_is_turned_as_its_exif_says(vlm: Callable[[str], Path], tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    picture((60, 30), 1).save(stream, "PNG", exif=exif)
    row = made_rows()[2] | {"images": [{"bytes": stream.getvalue(), "path": None}]}
    trl = collator(vlm("qwen2_vl"))
    upright = picture((60, 30), 1).transpose(Image.Transpose.ROTATE_270)
    for ours in (RowCollator(trl), RowCollator(trl, PixelCache(tmp_path, 10**9))):
        assert_same(ours([row]), trl([row | {"images": [upright]}]))


def test_bounds_of_pictures_hold_in_a_batch_and_another_bound_is_another_file(
    vlm: Callable[[str], Path], tmp_path: Path
) -> None:
    tiles = []
    for most in (None, 2, 4):
        trl = collator(vlm("internvl"))
        families.limit_pictures(trl.processor, families.training_limits(vlm("internvl"), max_tiles=most))
        batch = RowCollator(trl, PixelCache(tmp_path, 10**9))(made_rows().select([2]).to_list())
        tiles.append((len(batch["pixel_values"]), len(list(tmp_path.glob("*")))))
    assert tiles == [(4, 1), (3, 2), (4, 2)]


def test_bounds_of_pictures_hold_in_worker_processes(vlm: Callable[[str], Path], tmp_path: Path) -> None:
    shown = []
    for changes in ({}, {"max_tiles": 1}, {"max_tiles": 1, "dataloader_num_workers": 2}):
        recipe, config = read_recipe(write_recipe(tmp_path / "recipe.yaml", **changes), tmp_path, 0)
        made = make_trainer(vlm("internvl"), made_rows(), config, recipe)
        shown.append(sum(len(batch["pixel_values"]) for batch in made.get_train_dataloader()))
    assert shown[0] > 2 * shown[1]
    assert shown[1:] == [7, 7]


# What is wrong with a row


@pytest.mark.parametrize("cut", [0, 20, 700])
@pytest.mark.parametrize("cached", [False, True])
def test_a_broken_picture_is_named_by_its_row_and_place(
    vlm: Callable[[str], Path], tmp_path: Path, cut: int, cached: bool
) -> None:
    rows = made_rows().to_list()
    rows[3]["images"][1]["bytes"] = rows[3]["images"][1]["bytes"][:cut]
    ours = RowCollator(collator(vlm("internvl")), PixelCache(tmp_path, 10**9) if cached else None)
    with pytest.raises(ModelError, match=r"^made/3: picture 2 is not an intact picture"):
        list(whole_ones(iter([ours(rows)])))
    assert [batch["ids"] for batch in whole_ones(iter([ours(rows[:3])]))] == [["made/0", "made/1", "made/2"]]


def test_a_row_with_more_places_than_pictures_is_named_and_none_of_its_words_told(vlm: Callable[[str], Path]) -> None:
    rows = made_rows().to_list()
    rows[4]["images"].pop()
    fault = RowCollator(collator(vlm("internvl")))(rows)
    assert fault == {"fault": "made/4: cannot be rendered (ValueError)"}


# In a training


def trained(base: Path, folder: Path, rows: Dataset, **changes: Any) -> tuple[dict[str, torch.Tensor], list[float]]:
    """Weights and losses of two epochs."""
    config = write_recipe(
        folder / "recipe.yaml", doses=[], per_device_train_batch_size=2, save_strategy="no", **changes
    )
    recipe, settings = read_recipe(config, folder, 0)
    made = make_trainer(base, rows, settings, recipe)
    made.train()
    losses = [entry["loss"] for entry in made.state.log_history if "loss" in entry]
    return {name: weight.detach().clone() for name, weight in made.model.named_parameters()}, losses


def test_workers_and_the_cache_change_no_bit_of_what_is_trained(vlm: Callable[[str], Path], tmp_path: Path) -> None:
    base, rows, pixels = vlm("internvl"), made_rows(), str(tmp_path / "pixels")
    wanted, losses = trained(base, tmp_path, rows)
    assert len(losses) == 6
    for changes in (
        {"dataloader_num_workers": 1},
        {"dataloader_num_workers": 2, "dataloader_persistent_workers": True, "pixel_cache": pixels},
        {"pixel_cache": pixels},
    ):
        weights, found = trained(base, tmp_path, rows, **changes)
        assert found == losses, changes
        assert all(torch.equal(weights[name], weight) for name, weight in wanted.items()), changes
    assert len(list((tmp_path / "pixels").iterdir())) == 4
    other, _ = trained(base, tmp_path, rows.select([0, 1, 2, 4]))
    assert any(not torch.equal(other[name], weight) for name, weight in wanted.items())


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_picture_ends_a_training_by_one_line(vlm: Callable[[str], Path], tmp_path: Path, workers: int) -> None:
    held = made_rows().to_list()
    held[3]["images"][1]["bytes"] = held[3]["images"][1]["bytes"][:500]
    with pytest.raises(ModelError) as found:
        trained(vlm("internvl"), tmp_path, make_dataset(held), dataloader_num_workers=workers)
    assert str(found.value).startswith("made/3: picture 2 is not an intact picture (")
    assert "\n" not in str(found.value)


def test_a_loss_that_is_no_number_ends_a_training_and_names_the_rows(
    vlm: Callable[[str], Path], tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=r"^the loss of made/\d, made/\d is nan in step \d"):
        trained(vlm("internvl"), tmp_path, made_rows(), learning_rate=1e12, weight_decay=1e12)


def test_operations_are_counted_as_the_trainer_counts_them(vlm: Callable[[str], Path], tmp_path: Path) -> None:
    recipe, config = read_recipe(write_recipe(tmp_path / "recipe.yaml"), tmp_path, 0)
    made = make_trainer(vlm("internvl"), made_rows(), config, recipe)
    for rows in (made_rows(), made_rows().select([1])):
        batch = made.data_collator(rows.to_list())
        assert made.floating_point_ops(batch) == Trainer.floating_point_ops(made, batch)
    assert made.floating_point_ops(made.data_collator(made_rows().to_list())) > 0


def test_a_collator_can_be_sent_to_a_process(vlm: Callable[[str], Path], tmp_path: Path) -> None:
    ours = RowCollator(collator(vlm("internvl")), PixelCache(tmp_path, 10**9))
    wanted = ours(made_rows().to_list())
    found = pickle.loads(pickle.dumps(ours))(made_rows().to_list())
    assert torch.equal(found["pixel_values"], wanted["pixel_values"])


def test_an_error_of_a_step_bears_the_rows_of_its_batch(vlm: Callable[[str], Path], tmp_path: Path) -> None:
    recipe, config = read_recipe(write_recipe(tmp_path / "recipe.yaml"), tmp_path, 0)
    made = make_trainer(vlm("internvl"), made_rows(), config, recipe)
    batch = next(iter(made.get_train_dataloader()))
    ids = batch["ids"]
    batch["input_ids"] += 10**6
    with pytest.raises(IndexError) as found:
        made.training_step(made.model, batch)
    assert found.value.__notes__ == [f"Rows of this batch: {', '.join(ids)}"]
