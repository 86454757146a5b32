"""A training that is killed, whenever that is, ends with the weights of one that was not."""

from __future__ import annotations

import json
import re
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

from tests.kills import Run, is_writing, steps
from tests.made_general import make_general
from tests.made_vlms import make_vlm
from tests.tiny import Tiny, attempt, call, hashes, write_recipe

pytestmark = pytest.mark.slow

STEPS = 12
"""Of 24 micro-batches of 4 rows, three times through 31 rows: kills fall into every epoch."""


class Arms(NamedTuple):
    """Words of the verb but for the folder, an arm that was trained without interruption, and a folder beside it."""

    words: list[object]
    whole: Path
    root: Path

    def run(self, name: str) -> tuple[Path, list[object]]:
        return self.root / name, [*self.words[:3], self.root / name, *self.words[3:]]


@pytest.fixture(scope="module", params=["lora", "full"])
def arms(request: pytest.FixtureRequest, tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Arms:
    root = tmp_path_factory.mktemp(request.param)
    changes = {
        "method": request.param,
        "doses": [] if request.param == "full" else [16],
        "general": str(make_general(root / "general")),
        "max_steps": STEPS,
        "save_steps": 2,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "dataloader_num_workers": 2,
        "warmup_steps": 3,
        "learning_rate": 1e-3,
        "weight_decay": 0.1,
        "source_losses": True,
    }
    recipe = write_recipe(root / "recipe.yaml", **changes)
    words: list[object] = ["sft", make_vlm(root / "base", "internvl"), tiny.dataset, "--config", recipe]
    made = Arms(words, root / "whole", root)
    assert call(*made.run("whole")[1])["steps"] == STEPS
    return made


def test_killed_at_any_step_and_again_a_run_ends_with_the_same_bytes(arms: Arms) -> None:
    arm, words = arms.run("steps")
    random = Random(0)
    for earliest in (0, 4, 8):
        due = earliest + random.randrange(1, 4)
        assert Run(words).kill_when(lambda due=due: bool(steps(arm)) and steps(arm)[-1] >= due) == -9  # type: ignore[misc]
        assert not (arm / "model").exists()
    last = steps(arm)[-1]
    code, line, error = attempt(*words)
    assert (code, json.loads(line)["steps"]) == (0, STEPS)
    assert re.findall("goes on from checkpoint-([0-9]+)", error) == [str(last)]
    assert_same(arms.whole, arm)


def test_killed_while_a_checkpoint_is_written_a_run_ends_with_the_same_bytes(arms: Arms) -> None:
    arm, words = arms.run("writing")
    cut = 0
    for after in (0, 2, 4, 6, 8):
        Run(words).kill_when(lambda after=after: is_writing(arm, after))  # type: ignore[misc]
        cut += is_writing(arm, after)
        if cut == 2:
            break
    assert cut == 2, "no kill fell into the writing of a checkpoint"
    assert call(*words)["steps"] == STEPS
    assert_same(arms.whole, arm)


def test_a_killed_run_does_not_go_on_with_other_settings(arms: Arms) -> None:
    arm, words = arms.run("other")
    Run(words).kill_when(lambda: bool(steps(arm)))
    before = hashes(arm)
    code, line, error = attempt(*words, "--seed", 1)
    assert (code, line) == (1, "")
    assert f"{arm}: made with seed=0, asked for 1" in error
    assert hashes(arm) == before


def test_another_seed_ends_with_other_bytes(arms: Arms) -> None:
    arm, words = arms.run("seed")
    call(*words, "--seed", 1)
    assert hashes(arms.whole)["model/model.safetensors"] != hashes(arm)["model/model.safetensors"]


def assert_same(whole: Path, arm: Path) -> None:
    """Every file but the sidecar, which names the folder of its inputs; and nothing is left of the checkpoints."""
    wanted, found = ({name: one for name, one in hashes(path).items() if "meta" not in name} for path in (whole, arm))
    assert json.loads((arm / "log.jsonl").read_text().splitlines()[-1])["step"] == STEPS
    assert found == wanted
    assert not (arm / "checkpoints").exists()
