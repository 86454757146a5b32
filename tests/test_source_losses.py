"""The loss of each kind of row is logged, and what is trained does not notice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.made_general import make_general
from tests.tiny import Tiny, write_recipe
from trainer.recipe import read_recipe
from trainer.training.collating import SOURCES
from trainer.training.completion_loss import CompletionLossTrainer
from trainer.training.learning import make_trainer
from trainer.training.rows import training_rows
from trainer.training.source_losses import SourceLossTrainer

pytestmark = pytest.mark.usefixtures("one_thread")
Lines = list[dict[str, float]]


def trained(tiny: Tiny, out: Path, **changes: Any) -> tuple[Lines, dict[str, torch.Tensor]]:
    """The log and the weights that learnt after four steps."""
    path = write_recipe(out.with_suffix(".yaml"), doses=[], max_steps=4, save_strategy="no", **changes)
    recipe, config = read_recipe(path, out, 0)
    made = make_trainer(tiny.model, training_rows(tiny.dataset, recipe, 0), config, recipe)
    made.train()
    learnt = {name: weight for name, weight in made.model.named_parameters() if weight.requires_grad}
    return [line for line in made.state.log_history if "loss" in line], learnt


@pytest.mark.slow
def test_the_log_gains_a_loss_a_kind_of_row_and_the_training_is_the_same(tiny: Tiny, tmp_path: Path) -> None:
    general = {"general": str(make_general(tmp_path / "general")), "general_share": 0.3}
    plain, weights = trained(tiny, tmp_path / "plain", **general)
    told, same = trained(tiny, tmp_path / "told", **general, source_losses=True)
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    names = {f"loss_{source}" for source in SOURCES}
    assert not any(names & line.keys() for line in plain)
    assert [{name: line[name] for name in line if name not in names} for line in told] == plain
    assert {name for line in told for name in names & line.keys()} == names
    for line in told:
        found = [line[name] for name in names & line.keys()]
        assert min(found) <= line["loss"] <= max(found)


def test_of_one_kind_of_row_the_loss_is_the_whole_one(tiny: Tiny, tmp_path: Path) -> None:
    lines, _ = trained(tiny, tmp_path / "alone", twins=False, general_share=0.0, source_losses=True)
    for line in lines:
        assert line["loss_dangerous"] == pytest.approx(line["loss"], rel=1e-5)
        assert {name for name in line if name.startswith("loss_")} == {"loss_dangerous"}


def test_both_trainers_tell_the_same_sums_over_labelled_tokens(tiny: Tiny, tmp_path: Path) -> None:
    path = write_recipe(tmp_path / "both.yaml", general=str(make_general(tmp_path / "general")), source_losses=True)
    recipe, config = read_recipe(path, tmp_path, 0)
    made = make_trainer(tiny.model, training_rows(tiny.dataset, recipe, 0), config, recipe)
    batch = next(iter(made.get_train_dataloader()))
    told = []
    for compute in (CompletionLossTrainer.compute_loss, SourceLossTrainer.compute_loss):
        with torch.no_grad():
            compute(made, made.model, dict(batch))
        assert made._told is not None
        told.append(made._told.clone())
        made._told.zero_()
    torch.testing.assert_close(told[0], told[1], rtol=1e-4, atol=1e-4)
    counts = torch.zeros(len(SOURCES)).index_add_(0, batch["sources"], (batch["labels"] != -100).sum(dim=1).float())
    torch.testing.assert_close(told[0][1], counts)
    assert (counts > 0).sum() > 1
