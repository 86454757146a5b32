"""Recipes: what is read, and that a wrong one is one clear error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mis_dataset.errors import MISError
from tests.tiny import write_recipe
from trainer.recipe import CONFIGS, read_recipe


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_shipped_is_read_and_trains_on_the_completion_alone(path: Path, tmp_path: Path) -> None:
    recipe, config = read_recipe(path, tmp_path, 3)
    assert config.completion_only_loss is True
    assert config.max_length is None
    assert config.seed == 3
    assert Path(config.output_dir) == tmp_path / "checkpoints"
    assert (recipe.twins, recipe.labels) == {
        "mini_base": (False, "safety_cot"),
        "mini_mirage": (False, "safety_cot"),
        "mini_contrast": (True, "safety_cot"),
        "mini_refusal": (False, "refusal"),
        "mini_shuffled": (True, "shuffled"),
    }[path.stem]


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"learning_rat": 0.1}, "learning_rat"),
        ({"twin": True}, "twin"),
        ({"labels": "cot"}, "labels"),
        ({"general_share": 1.0}, "general_share"),
        ({"lora_r": 0}, "lora_r"),
        ({"doses": [0]}, "doses"),
        ({"projector_learning_rate": 0}, "projector_learning_rate"),
        ({"doses": 5}, "doses: 5 is no list of numbers"),
        ({"gate_every": -1}, "gate_every: -1 is no whole number from 0 on"),
        ({"gate_rows": 0}, "gate_rows: 0 is no whole number from 1 on"),
        ({"gate_max_new_tokens": 1.5}, "gate_max_new_tokens"),
        ({"gate_patience": 0}, "gate_patience: 0 is no whole number from 1 on"),
        ({"gate_max_ability_drop": 1.1}, "gate_max_ability_drop: 1.1 is not in 0..1"),
        ({"gate_max_share": 0}, "gate_max_share: 0.* is not above 0 and at most 1"),
        ({"gate_max_share": 2}, "gate_max_share: 2.* is not above 0 and at most 1"),
        ({"general_share": None}, "general_share: None is not in 0..1"),
        ({"text_share": 1.1}, "text_share: 1.1 is not in 0..1"),
        ({"lora_r": 1.5}, "lora_r"),
        ({"lora_r": "abc"}, "lora_r"),
        ({"lora_layers": "some"}, "lora_layers: 'some' is none of all, attention"),
        ({"learning_rate": "fast"}, "learning_rate"),
        ({"twins": "maybe"}, "twins"),
    ],
)
def test_a_wrong_recipe_is_one_clear_error(tmp_path: Path, changes: dict[str, Any], found: str) -> None:
    path = write_recipe(tmp_path / "wrong.yaml", **changes)
    with pytest.raises(MISError, match=rf"wrong\.yaml.*{found}"):
        read_recipe(path, tmp_path, 0)


@pytest.mark.parametrize("text", ["", "[1, 2]\n", "a: [1\n"])
def test_a_recipe_that_is_no_flat_yaml_is_one_clear_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "wrong.yaml").write_text(text)
    with pytest.raises(MISError, match=r"wrong\.yaml"):
        read_recipe(tmp_path / "wrong.yaml", tmp_path, 0)


def test_a_missing_recipe_is_refused_and_those_shipped_are_named(tmp_path: Path) -> None:
    with pytest.raises(MISError, match=r"none\.yaml: no such recipe; .*mini_contrast\.yaml"):
        read_recipe(tmp_path / "none.yaml", tmp_path, 0)
