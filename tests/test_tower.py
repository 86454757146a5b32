"""The vision tower's training: what moves, and that a resumed run ends with the same weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mis_dataset.errors import MISError
from mis_dataset.mini.draw import REAL_STYLE, TRAIN_STYLES
from mis_dataset.mini.objects import THINGS
from tests.tiny import Tiny
from trainer import models
from trainer.tower import TowerSettings, encode, name_embeddings, naming_accuracy, train_tower

FEW = TowerSettings(steps=3, batch=8, pictures=52)
TRAINED = ("model.vision_tower.", "model.multi_modal_projector.")


def load_tower(tiny: Tiny) -> tuple[Any, Any]:
    model, processor = models.load(tiny.base / "tower", float32=True)
    return model, processor


def weights_of(model: Any) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, weight in before.items() if not torch.equal(weight, after[name])}


def test_tower_and_projector_move_and_nothing_else_does(tiny: Tiny, tmp_path: Path) -> None:
    model, processor = load_tower(tiny)
    before = weights_of(model)
    train_tower(model, processor, FEW, tmp_path / "state.safetensors")
    assert moved(before, weights_of(model)) == {name for name in before if name.startswith(TRAINED)}
    assert any(name.startswith("model.language_model.") for name in before)
    assert not model.training


def test_the_seed_decides_the_weights(tiny: Tiny, tmp_path: Path) -> None:
    ended = []
    for number, seed in enumerate((0, 0, 1)):
        model, processor = load_tower(tiny)
        train_tower(model, processor, replace(FEW, seed=seed), tmp_path / f"{number}.safetensors")
        ended.append(weights_of(model))
    assert moved(ended[0], ended[1]) == set()
    assert moved(ended[0], ended[2]) == {name for name in ended[0] if name.startswith(TRAINED)}


def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(tiny: Tiny, tmp_path: Path) -> None:
    settings = TowerSettings(steps=202, batch=2, pictures=52)
    state = tmp_path / "state.safetensors"
    model, processor = load_tower(tiny)
    fresh = weights_of(model)
    train_tower(model, processor, settings, state)
    uninterrupted = weights_of(model)
    # What a kill after step 200 leaves: the state of that step and a model that knows nothing of it.
    assert int(load_file(state)["step"]) == 200
    model.load_state_dict(fresh, strict=False)
    train_tower(model, processor, settings, state)
    assert moved(uninterrupted, weights_of(model)) == set()
    assert moved(uninterrupted, fresh) != set()


def test_a_tower_begun_with_other_settings_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    settings = TowerSettings(steps=200, batch=1, pictures=52)
    train_tower(*load_tower(tiny), settings, tmp_path / "state.safetensors")
    with pytest.raises(MISError, match=r"a tower begun with .* remove it to begin anew"):
        train_tower(*load_tower(tiny), replace(settings, seed=1), tmp_path / "state.safetensors")


def test_every_thing_has_the_embeddings_of_its_name(tiny: Tiny) -> None:
    model, processor = load_tower(tiny)
    names = name_embeddings(model, processor)
    assert names.shape == (len(THINGS), 1, 64)
    (candle,) = [place for place, thing in enumerate(THINGS) if thing.name == "candle"]
    first = processor.tokenizer.encode(" candle", add_special_tokens=False)[0]
    assert torch.equal(names[candle, 0], model.get_input_embeddings().weight[first])


def test_pictures_become_image_tokens(tiny: Tiny) -> None:
    model, _ = load_tower(tiny)
    with torch.no_grad():
        tokens = encode(model, torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    assert tokens.shape == (3, 1, 64)


def test_naming_accuracy_is_a_share_of_the_pictures_that_the_seed_names(tiny: Tiny) -> None:
    model, processor = load_tower(tiny)
    found = naming_accuracy(model, processor, TRAIN_STYLES, THINGS, 52, "a")
    assert found == naming_accuracy(model, processor, TRAIN_STYLES, THINGS, 52, "a")
    assert found * 52 == pytest.approx(round(found * 52))
    assert 0 <= naming_accuracy(model, processor, (REAL_STYLE,), THINGS[:5], 52, "a") <= 1
