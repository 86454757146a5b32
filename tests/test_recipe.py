"""Recipes: what is read, and that a wrong one is one clear error."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from mis_dataset.errors import MISError
from tests.tiny import write_recipe
from trainer.recipe import CONFIGS, read_recipe, read_settings

SHIPPED = sorted(CONFIGS.glob("*.yaml"))
OVERRIDES = sorted((CONFIGS / "overrides").glob("*.yaml"))
PAPER = {
    "internvl2_5_8b": ("OpenGVLab/InternVL2_5-8B", 5e-6, 2),
    "qwen2_vl_7b": ("Qwen/Qwen2-VL-7B-Instruct", 2e-6, 3),
    "llava_ov_7b": ("llava-hf/llava-onevision-qwen2-7b-ov-hf", 5e-6, 3),
}
"""Table 7 of the paper: base, learning rate, epochs."""


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_recipe_shipped_is_read_and_trains_on_the_completion_alone(path: Path, tmp_path: Path) -> None:
    recipe, config = read_recipe(path, tmp_path, 3)
    assert config.completion_only_loss is True
    assert config.max_length is None
    assert config.seed == 3
    assert Path(config.output_dir) == tmp_path / "checkpoints"
    assert (recipe.twins, recipe.labels) == {
        "base": (False, "safety_cot"),
        "mirage": (False, "safety_cot"),
        "contrast": (True, "safety_cot"),
        "refusal": (False, "refusal"),
        "shuffled": (True, "shuffled"),
    }[path.stem.removesuffix("_lora").removesuffix("_qlora").split("_")[-1]]


@pytest.mark.parametrize("method", ["full", "lora", "qlora"])
@pytest.mark.parametrize("arm", ["mirage", "contrast"])
@pytest.mark.parametrize("base", PAPER)
def test_recipes_of_the_papers_models_have_the_papers_values(base: str, arm: str, method: str, tmp_path: Path) -> None:
    suffix = "" if method == "full" else f"_{method}"
    recipe, config = read_recipe(CONFIGS / f"{base}_{arm}{suffix}.yaml", tmp_path, 0)
    name, rate, epochs = PAPER[base]
    assert (recipe.base, recipe.method, recipe.train_projector) == (name, method, True)
    assert (recipe.projector_learning_rate or config.learning_rate, config.num_train_epochs) == (rate, epochs)
    assert config.learning_rate == (rate if method == "full" else 1e-4)
    assert config.warmup_steps == 0.03
    assert (recipe.pictures, recipe.rows, recipe.without) == ("own", None, [])
    assert round(3927 * recipe.general_share / (1 - recipe.general_share)) == 500
    assert (
        config.per_device_train_batch_size * config.gradient_accumulation_steps * (8 if method == "full" else 1) == 32
    )


@pytest.mark.parametrize(
    "path", [one for one in SHIPPED if not one.stem.startswith("mini_")], ids=lambda path: path.stem
)
def test_every_override_lies_over_every_recipe_of_the_papers_models(path: Path, tmp_path: Path) -> None:
    before, _ = read_recipe(path, tmp_path, 0)
    found = {over.stem: read_recipe(path, tmp_path, 0, [over]) for over in OVERRIDES}
    assert {name: recipe.rows for name, (recipe, _) in found.items() if recipe.rows} == {
        f"dose_{count}": count for count in (50, 100, 200, 400)
    }
    assert found["refusal"][0].labels == "refusal"
    assert found["text_only"][0].pictures == "none"
    assert found["no_general"][0].general_share == 0
    assert found["without_privacy_self_harm"][0].without == ["Privacy", "Self-Harm"]
    textual, config = found["textual_sft"]
    assert (textual.method, textual.train_projector, textual.pictures) == ("full", False, "black")
    assert (config.learning_rate, textual.general_share, config.num_train_epochs) == (
        2e-5,
        0.3333,
        read_recipe(path, tmp_path, 0)[1].num_train_epochs,
    )
    reasons, config = found["vlguard_r"]
    assert (reasons.method, reasons.general_share, config.num_train_epochs) == (before.method, 0.3333, 3)
    assert found["vlguard_r_qwen2_vl"][1].learning_rate == 1e-5


def test_the_last_override_wins_and_null_takes_a_value_back(tmp_path: Path) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("learning_rate: 0.5\nrows: 7\nlora_r: 3\n")
    second.write_text("learning_rate: 0.25\nrows: null\n")
    path = CONFIGS / "internvl2_5_8b_mirage_lora.yaml"
    recipe, config = read_recipe(path, tmp_path, 0, [first, second])
    assert (config.learning_rate, recipe.rows, recipe.lora_r, config.num_train_epochs) == (0.25, None, 3, 2)
    settings = read_settings(path, [first, second])
    assert (settings["learning_rate"], settings["rows"], settings["lora_r"]) == (0.25, None, 3)
    assert settings["base"] == "OpenGVLab/InternVL2_5-8B"


def test_an_override_with_a_setting_that_nobody_knows_is_named(tmp_path: Path) -> None:
    (tmp_path / "over.yaml").write_text("general_part: 0.1\nenv: none\n")
    with pytest.raises(MISError, match=r"over\.yaml: no setting of a recipe: general_part, env"):
        read_recipe(CONFIGS / "internvl2_5_8b_mirage.yaml", tmp_path, 0, [tmp_path / "over.yaml"])


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
        ({"general": 5}, "general: 5 is no text"),
        ({"pixel_cache": True}, "pixel_cache: True is no text"),
        ({"gate_every": True}, "gate_every: True is no whole number"),
        ({"save_only_model": True}, "save_only_model is not for `sft`"),
        ({"push_to_hub": True}, "push_to_hub is not for `sft`"),
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
        ({"method": "dora"}, "method: 'dora' is none of lora, qlora, full"),
        ({"pictures": "white"}, "pictures: 'white' is none of own, none, black"),
        ({"trained_in": "float16"}, "trained_in: 'float16' is none of float32, bfloat16"),
        ({"without": ["Privacy", "Spam"]}, r"without: \['Privacy', 'Spam'\] is no list of categories, which are Ill"),
        ({"without": "Privacy"}, "without: Privacy is no list of categories"),
        ({"rows": 0}, "rows: 0 is no whole number from 1 on"),
        ({"rows": "many"}, "rows"),
        ({"max_tiles": -1}, "max_tiles: -1 is no whole number"),
        ({"max_pixels": 1.5}, "max_pixels: 1.5 is no whole number"),
        ({"method": "full"}, "doses: adapters are kept on the way, and method full has none"),
        ({"labels": "shuffled", "twins": False}, "labels: shuffled swaps the decisions of a row and its twin"),
        ({"max_length": 1024}, "max_length 1024 would cut pictures in two; it has to be null"),
        ({"train_projector": "no way"}, "train_projector"),
        ({"projector_learning_rate": math.inf}, "projector_learning_rate"),
        ({"projector_learning_rate": "1e400"}, "projector_learning_rate: inf is not above 0"),
        ({"pixel_cache_gb": math.nan}, "pixel_cache_gb holds a number that is none"),
        ({"pixel_cache_gb": True}, "pixel_cache_gb: True is not above 0"),
        ({"learning_rate": math.nan}, "learning_rate holds a number that is none"),
        ({"learning_rate": "1e400"}, "learning_rate: inf is no number that a training can have"),
        ({"learning_rate": -1}, "learning_rate: -1 is not above 0"),
        ({"learning_rate": True}, "learning_rate: True is of another type"),
        ({"learning_rate": [0.1]}, r"learning_rate: \[0.1\] is of another type"),
        ({"num_train_epochs": 1e300}, "num_train_epochs: 1e.300 is no number that a training can have"),
        ({"lora_r": 10**9}, "lora_r: 1000000000 is above 65536"),
        ({"num_train_epochs": 0}, "num_train_epochs: 0 is not above 0"),
        ({"per_device_train_batch_size": 0}, "per_device_train_batch_size: 0 is below 1"),
        ({"per_device_train_batch_size": 1.5}, "per_device_train_batch_size: 1.5 is of another type"),
        ({"gradient_accumulation_steps": -1}, "gradient_accumulation_steps: -1 is below 1"),
        ({"weight_decay": None}, "weight_decay: None is of another type"),
        ({"adam_beta1": 1}, "adam_beta1: 1 is not below 1"),
        ({"deepspeed": "none.json"}, "deepspeed"),
        ({"seed": 5}, "seed: it is --seed of the command line; leave it out"),
        ({"output_dir": "/elsewhere"}, "output_dir: it is OUT of the command line"),
        ({"resume_from_checkpoint": "/elsewhere"}, "resume_from_checkpoint: `sft` goes on from OUT's own"),
    ],
)
def test_a_wrong_recipe_is_one_clear_error(tmp_path: Path, changes: dict[str, Any], found: str) -> None:
    path = write_recipe(tmp_path / "wrong.yaml", **changes)
    with pytest.raises(MISError, match=rf"wrong\.yaml.*{found}"):
        read_recipe(path, tmp_path, 0)


def test_a_secret_in_a_recipe_is_refused_and_not_shown(tmp_path: Path) -> None:
    path = write_recipe(tmp_path / "wrong.yaml", hub_token="hf_made_up")
    with pytest.raises(MISError, match="hub_token: a secret stands in no file; put it into HF_TOKEN") as caught:
        read_recipe(path, tmp_path, 0)
    assert "hf_made_up" not in str(caught.value)


def test_processes_wait_for_the_one_that_asks_a_gates_questions(tmp_path: Path) -> None:
    for every, seconds in ((0, 1800), (5, 86400)):
        _, config = read_recipe(write_recipe(tmp_path / "gated.yaml", gate_every=every), tmp_path, 0)
        assert config.ddp_timeout == seconds


@pytest.mark.parametrize("text", ["", "[1, 2]\n", "a: [1\n"])
def test_a_recipe_that_is_no_flat_yaml_is_one_clear_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "wrong.yaml").write_text(text)
    with pytest.raises(MISError, match=r"wrong\.yaml"):
        read_recipe(tmp_path / "wrong.yaml", tmp_path, 0)


def test_a_missing_recipe_is_refused_and_those_shipped_are_named(tmp_path: Path) -> None:
    with pytest.raises(MISError, match=r"none\.yaml: no such recipe; .*mini_contrast\.yaml"):
        read_recipe(tmp_path / "none.yaml", tmp_path, 0)
