"""What a training writes and holds against what is free."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.tiny import Tiny, write_recipe
from trainer.preflight.room import checkpoints, disk_faults, learning, memory_faults
from trainer.recipe import RecipeArguments, read_recipe
from trainer.training.learning import make_trainer
from trainer.training.rows import training_rows

MEMORY = "MemTotal:       9000 kB\nMemAvailable:   1000 kB\n"


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"save_steps": 2, "save_total_limit": None}, 4),
        ({"save_steps": 2, "save_total_limit": 1}, 2),
        ({"save_steps": 0.5, "save_total_limit": None}, 2),
        ({"save_steps": 100}, 0),
        ({"max_steps": 3, "save_steps": 1, "save_total_limit": None}, 3),
        ({"save_strategy": "epoch", "save_total_limit": None}, 2),
        ({"save_strategy": "no"}, 0),
    ],
)
def test_checkpoints_that_lie_there_at_once(tmp_path: Path, changes: dict[str, object], wanted: int) -> None:
    """31 rows in batches of 8 are 4 steps an epoch, of which there are two."""
    _, config = read_recipe(write_recipe(tmp_path / "recipe.yaml", **changes), tmp_path, 0)
    assert checkpoints(config, 31) == wanted


@pytest.mark.parametrize(
    "changes", [{"lora_layers": "all"}, {"lora_layers": "attention", "train_projector": False}, {"method": "full"}]
)
def test_what_learns_is_counted_as_torch_counts_it(tiny: Tiny, tmp_path: Path, changes: dict[str, object]) -> None:
    wanted = {"doses": [], "projector_learning_rate": None} | changes
    recipe, config = read_recipe(write_recipe(tmp_path / "recipe.yaml", **wanted), tmp_path, 0)
    trainer = make_trainer(tiny.model, training_rows(tiny.dataset, recipe, 0, 2), config, recipe)
    weights = [one for one in trainer.model.parameters() if one.requires_grad]
    found = learning(tiny.model, recipe)
    assert (found.numbers, found.bytes) == (sum(one.numel() for one in weights), sum(one.nbytes for one in weights))
    files = sum(file.stat().st_size for file in tiny.model.glob("*.safetensors"))
    assert files - 20_000 < found.base_bytes < files  # the headers are no weights


def test_a_disk_without_room_is_told(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, config = read_recipe(write_recipe(tmp_path / "recipe.yaml"), tmp_path, 0)
    out = tmp_path / "arms" / "new"
    assert [*disk_faults(tiny.model, out, RecipeArguments(), config, 31)] == []
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    [fault] = disk_faults(tiny.model, out, RecipeArguments(), config, 31)
    assert (fault.kind, fault.id) == ("disk", None)
    bare = shutil.copytree(tiny.model, tmp_path / "bare", ignore=shutil.ignore_patterns("*.safetensors"))
    assert [*disk_faults(Path(bare), out, RecipeArguments(), config, 31)] == []


def test_the_best_checkpoint_of_a_gate_takes_room_too(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    _, config = read_recipe(write_recipe(tmp_path / "recipe.yaml"), tmp_path, 0)
    told = []
    for recipe in (RecipeArguments(lora_r=2**16), RecipeArguments(lora_r=2**16, gate_every=5)):
        [fault] = disk_faults(tiny.model, tmp_path, recipe, config, 31)
        told.append(float(fault.found.split()[0]))
    assert told[1] - told[0] == pytest.approx(2 * learning(tiny.model, recipe).bytes / 1e9, abs=0.2)


def test_memory_without_room_is_told(tmp_path: Path) -> None:
    _, config = read_recipe(write_recipe(tmp_path / "recipe.yaml", dataloader_num_workers=2), tmp_path, 0)
    (tmp_path / "meminfo").write_text(MEMORY)
    # Two workers with two batches each and the one that is worked on, of eight rows each.
    assert [*memory_faults(config, 1_024_000 // 40, tmp_path / "meminfo")] == []
    [fault] = memory_faults(config, 1_024_000 // 40 + 1, tmp_path / "meminfo")
    assert (fault.kind, fault.id) == ("memory", None)
    assert [*memory_faults(config, 10**15, tmp_path / "missing")] == []
    (tmp_path / "meminfo").write_text("nothing\n")
    assert [*memory_faults(config, 10**15, tmp_path / "meminfo")] == []
