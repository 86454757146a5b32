"""A gate beside a training: it changes no weight, goes on after a kill, stops a collapse and keeps the best."""

from __future__ import annotations

import argparse
import json
import random
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerControl

from mis_dataset.errors import MISError
from tests.tiny import Tiny, attempt, call, hashes, write_recipe
from trainer import models, sft
from trainer.files import sha256_of
from trainer.gates import callback
from trainer.gates.callback import UNSCORED, Gate, make_gate, summary, undisturbed
from trainer.gates.rows import Asking, ask, draw, judged, rates
from trainer.gates.rules import read_evaluations
from trainer.judges.base import Case, Judge, Judgement
from trainer.judges.choice import Choice
from trainer.judges.mini_rules import MiniRules
from trainer.recipe import RecipeArguments, read_recipe
from trainer.report import _log
from trainer.score import Metrics
from trainer.sidecars import read_sidecar
from trainer.training.rows import training_rows

GATED: dict[str, Any] = {"gate_every": 3, "gate_rows": 2, "gate_max_new_tokens": 6, "gate_max_share": 1.0}
RULES = Choice("mini_rules")


def words(tiny: Tiny, out: Path, recipe: Path, *more: object) -> list[object]:
    things = tiny.raw / "mini" / "objects.json"
    return ["sft", tiny.model, tiny.dataset, out, "--config", recipe, "--things", things, *more]


@pytest.fixture(scope="module")
def gated(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The arm of `tiny_arm`, trained with a gate."""
    root = tmp_path_factory.mktemp("gated")
    found = call(*words(tiny, root / "arm", write_recipe(root / "bold.yaml", **GATED, gate_patience=9)))
    assert (found["steps"], found["passed"], found["gate"]["stopped"]) == (8, True, None)
    return root / "arm"


@pytest.mark.parametrize("changes", [{"seconds": 5}, {"asked": None}, {"best": {}}, {"stopped": 1}, {"share": "x"}])
def test_a_gate_json_that_no_gate_wrote_is_one_clear_error(
    gated: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    found = json.loads((gated / "gate.json").read_text())
    (tmp_path / "gate.json").write_text(json.dumps(found))
    assert summary(tmp_path)["gate"]["stopped"] is None
    (tmp_path / "gate.json").write_text(json.dumps(found | changes))
    with pytest.raises(MISError, match=r"gate\.json: is not as a gate writes it"):
        summary(tmp_path)


# It disturbs nothing


def test_training_with_a_gate_gives_the_same_bits(tiny_arm: Path, gated: Path) -> None:
    for name in ("adapter/adapter_model.safetensors", "model/model.safetensors", "dose/8/adapter_model.safetensors"):
        before, after = load_file(tiny_arm / name), load_file(gated / name)
        assert before.keys() == after.keys()
        assert all(torch.equal(weight, after[key]) for key, weight in before.items())
    steps: list[dict[str, Any]] = []
    gates: list[dict[str, Any]] = []
    for entry in map(json.loads, (gated / "log.jsonl").read_text().splitlines()):
        (gates if UNSCORED in entry else steps).append(entry)
    assert steps == [json.loads(entry) for entry in (tiny_arm / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in gates] == [0, 3, 6, 8]
    assert [entry["gate/ability"] for entry in gates] == [
        one.rate("ability").rate for one in read_evaluations(gated / "gate.jsonl")
    ]
    assert [entry["step"] for entry in _log(gated / "log.jsonl")] == [1, 2, 3, 4, 5, 6, 7, 8]  # what a report draws


def test_random_states_and_modes_are_as_before_whatever_is_drawn() -> None:
    model = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(2, 2)).train()
    model[1].eval()

    def draws() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    def seeded() -> None:
        random.seed(0)
        np.random.seed(0)
        torch.manual_seed(0)

    seeded()
    wanted = draws()
    seeded()
    with undisturbed(model):
        assert [part.training for part in model.modules()] == [False] * 3
        draws()
    assert draws() == wanted
    assert [part.training for part in model.modules()] == [True, True, False]
    seeded()
    draws()
    assert draws() != wanted  # what would follow without it


def test_a_model_that_checkpoints_its_layers_is_asked_with_a_cache(tiny: Tiny) -> None:
    model, processor = models.load(tiny.model, cpu=True, float32=True)
    model.activation_checkpointing_enable()
    model.config.use_cache = False  # as the Trainer leaves it
    model.train()
    lengths: list[int] = []
    layer = model.model.language_model.layers[0]
    layer.register_forward_pre_hook(lambda _, inputs: lengths.append(inputs[0].shape[1]))
    slices = draw(tiny.dataset, 1, 0, None, Choice("keywords"))
    with undisturbed(model):
        ask(slices, model, processor, Asking(4, 8))
    assert lengths.count(1) > len(lengths) / 2  # the prompt once, then token by token
    assert max(lengths) > 10
    assert model.training


# What it finds is what the checkpoints say


def test_its_figures_are_those_of_the_checkpoints_asked_by_themselves(tiny: Tiny, gated: Path) -> None:
    slices = draw(tiny.dataset, 2, 0, tiny.raw / "mini" / "objects.json", RULES)
    metrics, evaluations = Metrics(), read_evaluations(gated / "gate.jsonl")
    said = []
    for adapter in (None, gated / "adapter"):
        model, processor = models.load(tiny.model, adapter, cpu=True, float32=True)
        said.append(ask(slices, model, processor, Asking(6, 8)))
    for told, one in zip(said, (evaluations[0], evaluations[-1]), strict=True):
        wanted = rates(slices, told, judged(slices, told, MiniRules(), RULES), metrics)
        assert json.loads(json.dumps(wanted)) == one.found
    assert [one.response for one in said[0].rows] != [one.response for one in said[1].rows]  # it was the adapter's


def test_the_rows_that_were_asked_are_written_down(tiny: Tiny, gated: Path) -> None:
    settings = read_sidecar(gated / "gate.jsonl").settings
    slices = draw(tiny.dataset, 2, 0, tiny.raw / "mini" / "objects.json", RULES)
    assert settings["rows"] == slices.ids()
    assert (settings["judge"], settings["seed"]) == ("mini_rules", 0)


def test_what_it_took_is_told_and_a_second_run_writes_nothing_new(tiny: Tiny, gated: Path) -> None:
    found = json.loads((gated / "gate.json").read_text())
    assert (found["steps"], found["left_out"], found["asked"]) == ([0, 3, 6, 8], [], 4)
    whole = found["seconds"]["gate"] + found["seconds"]["training"]
    assert found["share"] == pytest.approx(found["seconds"]["gate"] / whole, rel=1e-3)
    assert 0 < found["share"] < 1
    before = hashes(gated)
    again = call(*words(tiny, gated, gated.parent / "bold.yaml"))
    assert again == {"verb": "sft", "arm": str(gated), "trained": False, **summary(gated)}
    assert hashes(gated) == before


# With a judge that says what it is told


class Told:
    """A judge that gives what it is told at each evaluation: (verdict of rows, verdict of twins)."""

    def __init__(self, *verdicts: tuple[Any, Any], fails_at: int | None = None) -> None:
        self._verdicts, self._fails_at = verdicts, fails_at
        self.asked = 0

    def judge(self, cases: Iterable[Case]) -> Iterator[tuple[str, Judgement]]:
        if self.asked == self._fails_at:
            raise KeyboardInterrupt
        of = self._verdicts[min(self.asked, len(self._verdicts) - 1)]
        self.asked += 1
        yield from ((case.id, Judgement(of[case.id.startswith("test_benign/")], 1)) for case in cases)


HELPS, WELL, REFUSES = ("Unsafe", "Unsafe"), ("Safe", "Unsafe"), ("Safe", "Safe")


def train(tiny: Tiny, out: Path, judge: Judge, flags: Mapping[str, Any] = {}, **changes: Any) -> dict[str, Any]:
    """As the verb, with a judge of ours."""
    path = write_recipe(out.parent / "recipe.yaml", **GATED | changes)
    recipe, config = read_recipe(path, out, 0)
    sft.begin(out, "sft", {}, [path])
    gate = gate_of(tiny, out, recipe, judge, flags)
    rows = training_rows(tiny.dataset, recipe, 0)
    return sft.fine_tune(tiny.model, rows, config, recipe, out, gate) | summary(out)


def gate_of(tiny: Tiny, out: Path, recipe: RecipeArguments, judge: Judge, flags: Mapping[str, Any] = {}) -> Gate:
    parser = argparse.ArgumentParser()
    callback.add_arguments(parser)
    given = {**vars(parser.parse_args(["--judge", "keywords"])), **flags}
    gate = make_gate(argparse.Namespace(out=out, dataset=tiny.dataset, **given), recipe, 0, 8)
    assert gate
    return Gate(out, recipe, gate._slices, gate._choice, gate._asking, gate._sidecar, lambda: judge)


def written(out: Path) -> dict[str, Any]:
    """All that shall not hang on whether training was interrupted."""
    weights = {name: sha256_of(out / name / "adapter_model.safetensors") for name in ("adapter", "best")}
    told = json.loads((out / "gate.json").read_text())
    kept = {key: told[key] for key in ("best", "stopped", "steps", "left_out", "first", "last")}
    return weights | kept | {name: (out / name).read_bytes() for name in ("gate.jsonl", "log.jsonl")}


@pytest.fixture(scope="module")
def interrupted(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`whole/`, an arm with a gate, and `killed/`, the same interrupted at step 8, its last checkpoint of step 5."""
    root, verdicts = tmp_path_factory.mktemp("interrupted"), (HELPS, REFUSES, WELL, HELPS)
    train(tiny, root / "whole", Told(*verdicts), save_steps=5)
    with pytest.raises(KeyboardInterrupt):
        train(tiny, root / "killed", Told(*verdicts, fails_at=3), save_steps=5)
    return root


def test_a_killed_training_goes_on_without_doubling_or_losing_an_evaluation(tiny: Tiny, interrupted: Path) -> None:
    wanted = written(interrupted / "whole")
    assert (wanted["best"]["step"], wanted["steps"]) == (6, [0, 3, 6, 8])
    out = Path(shutil.copytree(interrupted / "killed", interrupted / "again"))
    assert [one.step for one in read_evaluations(out / "gate.jsonl")] == [0, 3, 6]
    assert not (out / "adapter").exists()
    judge = Told(HELPS)
    train(tiny, out, judge, save_steps=5)
    assert judge.asked == 1
    assert written(out) == wanted


def test_a_training_that_goes_on_wants_the_judge_that_it_began_with(tiny: Tiny, interrupted: Path) -> None:
    out = Path(shutil.copytree(interrupted / "killed", interrupted / "other"))
    things = tiny.raw / "mini" / "objects.json"
    with pytest.raises(MISError, match=r"gate\.jsonl: was begun with another judge, dataset or things"):
        train(tiny, out, MiniRules(), flags={"judge": "mini_rules", "things": things}, save_steps=5)
    before, after = hashes(interrupted / "killed"), hashes(out)
    assert {name for name in before if before[name] != after.get(name)} <= {"model.meta.json"}


@pytest.mark.slow
def test_a_training_that_was_killed_before_its_first_checkpoint_asks_nothing_twice(tiny: Tiny, tmp_path: Path) -> None:
    out = tmp_path / "arm"
    with pytest.raises(KeyboardInterrupt):
        train(tiny, out, Told(HELPS, WELL, fails_at=2), save_steps=100)
    again = Told(HELPS)
    train(tiny, out, again, save_steps=100)
    assert again.asked == 2
    assert [one.step for one in read_evaluations(out / "gate.jsonl")] == [0, 3, 6, 8]


def test_the_best_checkpoint_is_that_of_its_step(tiny: Tiny, tmp_path: Path) -> None:
    out = tmp_path / "arm"
    found = train(tiny, out, Told(HELPS, WELL, REFUSES, HELPS), doses=[24])
    assert (found["steps"], found["passed"], found["gate"]["best"]) == (8, True, 3)  # one refusal stops nothing
    best, dose = (load_file(out / name / "adapter_model.safetensors") for name in ("best", "dose/24"))
    assert all(torch.equal(weight, dose[key]) for key, weight in best.items())  # 24 rows are 3 steps
    last = load_file(out / "adapter" / "adapter_model.safetensors")
    assert any(not torch.equal(weight, last[key]) for key, weight in best.items())
    assert json.loads((out / "gate.json").read_text())["best"]["pair_accuracy"] == 1


@pytest.mark.slow
def test_the_best_checkpoint_of_a_whole_model_loads_by_itself(tiny: Tiny, tmp_path: Path) -> None:
    changes = {"method": "full", "doses": [], "learning_rate": 1e-3, "gate_patience": 9}
    recipe = write_recipe(tmp_path / "full.yaml", **GATED | changes)
    found = call(*words(tiny, tmp_path / "arm", recipe))
    folders = (tiny.model, tmp_path / "arm" / "best", tmp_path / "arm" / "model")
    heads = [models.load(one, cpu=True, float32=True)[0].lm_head.weight for one in folders]
    assert found["gate"]["best"] in (3, 6, 8)
    assert json.loads((folders[1] / "config.json").read_text())["use_cache"] is True
    assert not torch.equal(heads[0], heads[1])
    assert torch.equal(heads[1], heads[2]) is (found["gate"]["best"] == 8)


def test_a_training_that_collapses_is_stopped_with_a_reason(tiny: Tiny, tmp_path: Path) -> None:
    found = train(tiny, tmp_path / "arm", Told(HELPS, REFUSES), save_steps=6, num_train_epochs=4)
    assert found["steps"] == 6  # of 16
    assert found["gate"]["stopped"] == (
        "at steps 3, 6 the model had collapsed; at the last, it refused 1.00 of 4 harmless twins"
    )
    assert found["passed"] is False
    assert (tmp_path / "arm" / "model").is_dir()


@pytest.mark.parametrize(("stopped", "saves"), [("collapsed", False), (None, True)])
def test_the_step_that_stopped_leaves_no_checkpoint_to_go_on_from(
    tiny: Tiny, tmp_path: Path, stopped: str | None, saves: bool
) -> None:
    recipe, _ = read_recipe(write_recipe(tmp_path / "recipe.yaml", **GATED), tmp_path, 0)
    sft.begin(tmp_path / "arm", "sft", {}, [])
    control, gate = TrainerControl(should_save=True), gate_of(tiny, tmp_path / "arm", recipe, Told(HELPS))
    gate._stopped = stopped
    gate.hold(control)
    assert control.should_save is saves


def test_asking_is_left_out_where_it_would_take_too_long(tiny: Tiny, tmp_path: Path) -> None:
    train(tiny, tmp_path / "arm", Told(HELPS, WELL), gate_max_share=1e-6)
    found = json.loads((tmp_path / "arm" / "gate.json").read_text())
    assert (found["steps"], found["left_out"], found["asked"]) == ([0, 8], [3, 6], 2)
    assert found["best"]["step"] == 8


# Wrong use


def test_flags_about_a_gate_want_one(tiny: Tiny, tmp_path: Path) -> None:
    code, said, error = attempt(*words(tiny, tmp_path / "arm", write_recipe(tmp_path / "none.yaml")))
    assert (code, said) == (2, "")
    assert "the recipe sets no gate_every" in error


def test_a_gate_without_the_names_of_things_is_refused_before_training(tiny: Tiny, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "gated.yaml", **GATED)
    code, said, error = attempt("sft", tiny.model, tiny.dataset, tmp_path / "arm", "--config", recipe)
    assert (code, said) == (1, "")
    assert "give --things RAW/mini/objects.json" in error
    assert not (tmp_path / "arm" / "gate.jsonl").exists()
