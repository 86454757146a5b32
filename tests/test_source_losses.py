"""The loss of each kind of row is logged, and what is trained does not notice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.made_general import make_general
from tests.tiny import Tiny, call, hashes, write_recipe
from trainer.collating import SOURCES
from trainer.completion_loss import CompletionLossTrainer
from trainer.learning import make_trainer
from trainer.recipe import read_recipe
from trainer.rows import training_rows
from trainer.source_losses import SourceLossTrainer

pytestmark = pytest.mark.usefixtures("one_thread")
Lines = list[dict[str, float]]


def trained(tiny: Tiny, out: Path, **changes: object) -> tuple[Lines, dict[str, str]]:
    """The log and the hashes of the weights of an arm."""
    general = out.parent / "general"
    path = write_recipe(out.with_suffix(".yaml"), general=str(general), general_share=0.3, max_steps=4, **changes)
    call("sft", tiny.model, tiny.dataset, out, "--config", path)
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()], hashes(out / "model")


def test_the_log_gains_a_loss_a_kind_of_row_and_the_training_is_the_same(tiny: Tiny, tmp_path: Path) -> None:
    make_general(tmp_path / "general")
    plain, weights = trained(tiny, tmp_path / "plain", doses=[])
    told, same = trained(tiny, tmp_path / "told", doses=[], source_losses=True)
    assert same == weights
    names = {f"loss_{source}" for source in SOURCES}
    assert not any(names & line.keys() for line in plain)
    assert [{name: line[name] for name in line if name not in names} for line in told] == plain
    assert {name for line in told for name in names & line.keys()} == names
    for line in told:
        found = [line[name] for name in names & line.keys()]
        assert min(found) <= line["loss"] <= max(found)


def test_of_one_kind_of_row_the_loss_is_the_whole_one(tiny: Tiny, tmp_path: Path) -> None:
    changes = {"doses": [], "twins": False, "general": "", "general_share": 0.0, "source_losses": True, "max_steps": 2}
    path = write_recipe(tmp_path / "alone.yaml", **changes)
    call("sft", tiny.model, tiny.dataset, tmp_path / "arm", "--config", path)
    for line in map(json.loads, (tmp_path / "arm" / "log.jsonl").read_text().splitlines()):
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
