"""The loss that spares the prompt the language-model head is TRL's own loss, gradients included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig
from trl import SFTTrainer

from mis_dataset.mini.lessons import lessons
from tests.made_rows import decoded
from tests.made_runs import write_said
from tests.made_vlms import make_vlm
from tests.tiny import Tiny, write_recipe
from trainer import models
from trainer.families import FAMILIES
from trainer.recipe import RecipeArguments, read_recipe
from trainer.training.completion_loss import END_TO_END, CompletionLossTrainer
from trainer.training.learning import train_in
from trainer.training.rows import lesson_rows, make_dataset, training_rows

Gradients = dict[str, torch.Tensor]


def loss_and_gradients(
    kind: type[SFTTrainer], tiny: Tiny, out: Path, counted: bool, bf16: bool = False
) -> tuple[float, Gradients]:
    """One backward pass over a batch of rows of different lengths, with and without a given number of tokens."""
    _, config = read_recipe(write_recipe(out / "recipe.yaml", bf16=bf16), out, 0)
    torch.manual_seed(0)
    model, processor = models.load(tiny.model, cpu=True, float32=not bf16)
    lora = LoraConfig(r=2, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    rows = decoded(make_dataset(lesson_rows(lessons("loss", ("kind", "naming"), 4), "lesson")))
    trainer = kind(model, args=config, train_dataset=rows, processing_class=processor, peft_config=lora)
    train_in(trainer.model, torch.float32)
    batch = next(iter(trainer.get_train_dataloader()))
    tokens = (batch["labels"] != -100).sum() if counted else None
    loss = trainer.compute_loss(trainer.model.train(), batch, num_items_in_batch=tokens)
    loss.backward()
    moved = {name: weight.grad for name, weight in trainer.model.named_parameters() if weight.grad is not None}
    return loss.item(), moved


@pytest.mark.parametrize("counted", [True, False])
def test_loss_and_gradients_are_those_of_trl(tiny: Tiny, tmp_path: Path, counted: bool) -> None:
    loss, gradients = loss_and_gradients(CompletionLossTrainer, tiny, tmp_path, counted)
    wanted, wanted_gradients = loss_and_gradients(SFTTrainer, tiny, tmp_path, counted)
    assert loss == pytest.approx(wanted, rel=1e-5)
    assert gradients.keys() == wanted_gradients.keys()
    assert any(gradient.abs().max() > 1e-4 for gradient in gradients.values())
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, wanted_gradients[name], rtol=1e-4, atol=1e-6, msg=name)


def test_prompts_do_not_reach_the_head(tiny: Tiny, tmp_path: Path) -> None:
    _, config = read_recipe(write_recipe(tmp_path / "recipe.yaml"), tmp_path, 0)
    model, processor = models.load(tiny.model, cpu=True, float32=True)
    rows = decoded(make_dataset(lesson_rows(lessons("loss", ("naming",), 2), "lesson")))
    trainer = CompletionLossTrainer(
        model,
        args=config,
        train_dataset=rows,
        processing_class=processor,
        peft_config=LoraConfig(r=2, target_modules=["q_proj"]),
    )
    batch: dict[str, Any] = next(iter(trainer.get_train_dataloader()))
    seen: list[int] = []
    model.get_output_embeddings().register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    loss, outputs = trainer.compute_loss(trainer.model, batch, return_outputs=True)
    assert seen == [int((batch["labels"][:, 1:] != -100).sum())]
    assert seen[0] < batch["labels"].numel() / 2
    assert loss.item() > 0
    assert outputs.last_hidden_state.shape[:2] == (1, int(batch["attention_mask"].sum()))


def loss_of_family(kind: type[SFTTrainer], base: Path, rows: Any, out: Path) -> tuple[float, Gradients]:
    """One backward pass of a whole model."""
    _, config = read_recipe(write_recipe(out / "recipe.yaml", per_device_train_batch_size=3), out, 0)
    model, processor = models.load(base, cpu=True, float32=True)
    trainer = kind(model, args=config, train_dataset=rows, processing_class=processor)
    batch = next(iter(trainer.get_train_dataloader()))
    assert len({int(mask.sum()) for mask in batch["attention_mask"]}) > 1
    loss = trainer.compute_loss(trainer.model.train(), batch)
    loss.backward()
    return loss.item(), {name: one.grad for name, one in trainer.model.named_parameters() if one.grad is not None}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_whole_model_has_trls_loss_where_rows_can_be_laid_end_to_end_and_another_elsewhere(
    tiny: Tiny, tmp_path: Path, family: str
) -> None:
    said = write_said(tmp_path / "said.jsonl", {f"text/{n}": f"It is {n}, said at some length." for n in range(4)})
    recipe = RecipeArguments(general_share=0.3, text_share=1.0)
    rows = decoded(training_rows(tiny.dataset, recipe, 0, 2, said))
    assert {len(row["images"]) for row in rows} == {0, 2}
    base = make_vlm(tmp_path / "base", family)
    loss, gradients = loss_of_family(CompletionLossTrainer, base, rows, tmp_path)
    wanted, wanted_gradients = loss_of_family(SFTTrainer, base, rows, tmp_path)
    assert (loss == pytest.approx(wanted, rel=1e-5)) is (family in END_TO_END)
    if family in END_TO_END:
        assert gradients.keys() == wanted_gradients.keys()
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, wanted_gradients[name], rtol=1e-3, atol=1e-5, msg=name)
