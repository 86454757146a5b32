"""What only saves memory or time changes no loss and no gradient: accumulation, recomputing, chunks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.modeling_layers import GradientCheckpointingLayer
from trl.trainer import utils

from tests.made_general import make_general
from tests.tiny import Tiny, write_recipe
from trainer.recipe import RecipeArguments, read_recipe
from trainer.training import learning
from trainer.training.learning import make_trainer
from trainer.training.rows import training_rows

pytestmark = pytest.mark.usefixtures("one_thread")

Weights = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def general(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_general(tmp_path_factory.mktemp("general") / "rows")


def made(tiny: Tiny, base: Path, general: Path, out: Path, **changes: Any) -> Any:
    """A trainer of whole models whose one step moves each weight by its gradient."""
    one_step = {"method": "full", "max_steps": 1, "optim": "sgd", "learning_rate": 1.0, "max_grad_norm": 1e9}
    one_step |= {"general": str(general), "general_share": 0.3, "doses": [], "projector_learning_rate": None}
    path = write_recipe(out / "recipe.yaml", **one_step | {"save_strategy": "no"} | changes)
    recipe, config = read_recipe(path, out, 0)
    return make_trainer(base, training_rows(tiny.dataset, recipe, 0), config, recipe)


def stepped(trainer: Any) -> tuple[float, Weights]:
    """The loss that is logged, and what the step took from each weight that learns: its gradient."""
    before = {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}
    trainer.train()
    moved = {name: before[name] - weight.detach() for name, weight in trainer.model.named_parameters()}
    return trainer.state.log_history[0]["loss"], {name: step for name, step in moved.items() if step.any()}


def assert_alike(found: tuple[float, Weights], wanted: tuple[float, Weights]) -> None:
    """Losses to 1e-5 of their size, gradients to 1e-3 of the largest of their tensor."""
    assert found[0] == pytest.approx(wanted[0], rel=1e-5)
    assert found[1].keys() == wanted[1].keys()
    for name, gradient in wanted[1].items():
        largest = float(gradient.abs().max())
        torch.testing.assert_close(found[1][name], gradient, rtol=0, atol=max(1e-3 * largest, 1e-6), msg=name)


@pytest.mark.parametrize("family", ["internvl", "qwen2_5_vl"])
def test_four_rows_at_once_or_one_by_one_make_the_same_step(
    tiny: Tiny, vlm: Callable[[str], Path], general: Path, tmp_path: Path, family: str
) -> None:
    """Rows have labels of different lengths, so a mean of means would be another loss."""
    at_once = stepped(made(tiny, vlm(family), general, tmp_path, per_device_train_batch_size=4))
    split = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4}
    assert_alike(stepped(made(tiny, vlm(family), general, tmp_path, **split)), at_once)
    means = made(tiny, vlm(family), general, tmp_path, **split)
    means.model_accepts_loss_kwargs = False
    assert stepped(means)[0] != pytest.approx(at_once[0], rel=1e-5)


@pytest.mark.parametrize("family", ["internvl", "qwen3_vl"])
def test_layers_that_are_recomputed_have_the_same_gradients(
    tiny: Tiny, vlm: Callable[[str], Path], general: Path, tmp_path: Path, family: str
) -> None:
    steps = []
    for recomputed in (False, True):
        trainer = made(tiny, vlm(family), general, tmp_path, activation_checkpointing=recomputed)
        layers = [one for one in trainer.model.modules() if isinstance(one, GradientCheckpointingLayer)]
        calls: list[None] = []
        # Of a norm inside: recomputing begins in the layer's own `__call__`.
        last = next(one for name, one in layers[-1].named_children() if "norm" in name)
        last.register_forward_hook(lambda *_, calls=calls: calls.append(None))
        steps.append(stepped(trainer))
        assert len(calls) == 1 + recomputed
    assert_alike(steps[1], steps[0])


def test_the_loss_in_chunks_is_that_of_the_model_itself(
    tiny: Tiny, vlm: Callable[[str], Path], general: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(utils, "_CHUNKED_LOGPROB_CHUNK_SIZE", 5)
    trainer = made(tiny, vlm("qwen2_vl"), general, tmp_path)
    batch = next(iter(trainer.get_train_dataloader()))
    assert int((batch["labels"] != -100).sum()) > 5 * 5
    found = []
    for loss in (trainer.compute_loss(trainer.model, dict(batch)), trainer.model(**batch).loss):
        trainer.model.zero_grad()
        loss.backward()
        named = trainer.model.named_parameters()
        found.append((loss.item(), {name: one.grad.clone() for name, one in named if one.grad is not None}))
    assert_alike(found[0], found[1])


def test_liger_is_left_out_where_it_cannot_run(
    tiny: Tiny, vlm: Callable[[str], Path], general: Path, tmp_path: Path
) -> None:
    trainer = made(tiny, vlm("internvl"), general, tmp_path, use_liger_kernel=True)
    assert trainer.args.use_liger_kernel is False
    assert stepped(trainer)[0] > 0


def test_flash_attention_is_taken_on_a_gpu_in_bfloat16_where_its_package_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, config = read_recipe(write_recipe(tmp_path / "recipe.yaml"), tmp_path, 0)
    assert learning.attention(config) == "sdpa"
    monkeypatch.setattr(learning, "is_flash_attn_2_available", lambda: True)
    assert learning.attention(config) == "sdpa"
    config.use_cpu, config.bf16 = False, True
    assert learning.attention(config) == "flash_attention_2"
    config.bf16 = False
    assert learning.attention(config) == "sdpa"


def test_what_learns_is_float32_beside_a_frozen_base_in_bfloat16(
    tiny: Tiny, vlm: Callable[[str], Path], general: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    trainer = made(tiny, vlm("internvl"), general, tmp_path, method="lora", bf16=True)
    formats = {weight.requires_grad: weight.dtype for weight in trainer.model.parameters()}
    assert formats == {True: torch.float32, False: torch.bfloat16}
    assert RecipeArguments().trained_in == "float32"
