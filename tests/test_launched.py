"""`sft` by `accelerate launch` in two processes on the CPU: as one process, with DDP and with FSDP2, killed or not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file

from tests.fsdp_on_cpu import LEFT_NONE
from tests.kills import Run, is_writing, steps
from tests.made_general import make_general
from tests.made_vlms import make_vlm
from tests.tiny import Tiny, call, hashes, write_recipe
from trainer.families import FAMILIES
from trainer.gates.rules import read_evaluations
from trainer.recipe import CONFIGS

pytestmark = pytest.mark.slow

STEPS = 4
METHODS = ("full", "lora")
_LAUNCH = ("-m", "accelerate.commands.accelerate_cli", "launch", "--num_processes", "2", "--config_file")
DDP = (*_LAUNCH, str(CONFIGS / "accelerate" / "ddp.yaml"), "-m", "trainer")
FSDP2 = (*_LAUNCH, str(CONFIGS / "accelerate" / "fsdp2.yaml"), "-m", "tests.fsdp_on_cpu")


class Bench(NamedTuple):
    """Recipes, bases and arms that one process trained, under one folder."""

    dataset: Path
    root: Path

    def words(self, arm: str, family: str, method: str, rows: int) -> list[object]:
        recipe = self.root / f"{method}{rows}.yaml"
        return ["sft", self.root / family, self.dataset, self.root / arm, "--config", recipe]

    def one(self, family: str, method: str) -> Path:
        """The arm that one process trained with two rows a micro-batch; two processes have one each."""
        arm = self.root / f"one_{family}_{method}"
        call(*self.words(arm.name, family, method, 2))
        return arm


@pytest.fixture(scope="module")
def bench(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    root = tmp_path_factory.mktemp("launched")
    settings: dict[str, Any] = {"general": str(make_general(root / "general")), "general_share": 0.3}
    settings |= {"max_steps": STEPS, "save_steps": 1, "gradient_accumulation_steps": 2, "source_losses": True}
    settings |= {"activation_checkpointing": True}
    for rows in (1, 2):
        common = settings | {"per_device_train_batch_size": rows}
        write_recipe(root / f"lora{rows}.yaml", **common, doses=[8])
        full = {"method": "full", "doses": [], "learning_rate": 1e-3, "projector_learning_rate": None}
        write_recipe(root / f"full{rows}.yaml", **common, **full)
    for family in FAMILIES:
        make_vlm(root / family, family)
    return Bench(tiny.dataset, root)


def assert_alike(one: Path, two: Path, base: Path) -> None:
    """Losses to 1e-4 of their size; weights to a thousandth of the largest step that one of a tensor made."""
    logs = [[json.loads(line) for line in (arm / "log.jsonl").read_text().splitlines()] for arm in (one, two)]
    assert [line["step"] for line in logs[1]] == list(range(1, STEPS + 1))
    for wanted, found in zip(*logs, strict=True):
        told = [name for name in wanted if name.startswith("loss")]
        assert {name: found[name] for name in told} == pytest.approx({name: wanted[name] for name in told}, rel=1e-4)
    before, wanted, found = (load_file(folder / "model.safetensors") for folder in (base, one / "model", two / "model"))
    assert wanted.keys() == found.keys() == before.keys()
    moved = {name for name in before if not torch.equal(before[name], wanted[name])}
    assert len(moved) > 8
    for name, weight in wanted.items():
        assert weight.dtype == found[name].dtype
        largest = float((weight - before[name]).abs().max())
        assert float((weight - found[name]).abs().max()) <= (2e-3 * largest if name in moved else 0), name
    names = [{path.relative_to(arm) for path in arm.rglob("*")} for arm in (one, two)]
    assert names[0] == names[1]


@pytest.fixture(scope="module")
def ddp(bench: Bench) -> Run:
    run = Run(bench.words("ddp", "internvl", "full", 1), DDP)
    assert run.end() == 0, run.stderr
    return run


def test_two_processes_train_as_one_and_one_of_them_speaks(bench: Bench, ddp: Run) -> None:
    line = json.loads(ddp.stdout)  # one line
    assert (line["arm"], line["trained"], line["steps"]) == (str(bench.root / "ddp"), True, STEPS)
    assert_alike(bench.one("internvl", "full"), bench.root / "ddp", bench.root / "internvl")
    assert ddp.stderr.count("'train_runtime'") == ddp.stderr.count("'epoch': '0.4'") - 1 == 1
    settings = json.loads((bench.root / "ddp" / "model.meta.json").read_text())["settings"]
    assert (settings["processes"], settings["sharded_by"]) == (2, None)


def test_a_second_launch_finds_the_arm_trained_and_another_number_of_processes_is_refused(
    bench: Bench, ddp: Run
) -> None:
    before = hashes(bench.root / "ddp")
    again = Run(bench.words("ddp", "internvl", "full", 1), DDP)
    assert again.end() == 0, again.stderr
    assert json.loads(again.stdout)["trained"] is False
    alone = Run(bench.words("ddp", "internvl", "full", 1))
    assert alone.end() == 1
    assert "made with processes=2, asked for 1; give another folder" in alone.stderr
    assert hashes(bench.root / "ddp") == before


@pytest.mark.parametrize("rank", [0, 1])
def test_if_one_process_is_killed_all_end_and_a_rerun_ends_with_the_same_bytes(
    bench: Bench, ddp: Run, rank: int
) -> None:
    arm = bench.root / f"killed{rank}"
    run = Run(bench.words(arm.name, "internvl", "full", 1), DDP)
    others: list[int] = []

    def victim() -> int:
        ranks = run.ranks()
        others.append(ranks[1 - rank])
        return ranks[rank]

    assert run.kill_when(lambda: bool(steps(arm)) and steps(arm)[-1] >= 2, victim) not in (0, -9)
    assert run.stdout == ""
    assert not Path(f"/proc/{others[0]}").exists()
    assert not (arm / "model").exists()
    again = Run(bench.words(arm.name, "internvl", "full", 1), DDP)
    assert again.end() == 0, again.stderr
    assert_same_bytes(bench.root / "ddp", arm)


def test_a_gate_asks_in_one_of_two_processes_as_in_one_alone_and_changes_no_weight(
    tiny: Tiny, bench: Bench, ddp: Run
) -> None:
    over = bench.root / "gated.yaml"
    over.write_text("{gate_every: 2, gate_rows: 2, gate_max_new_tokens: 4, gate_max_share: 1.0, gate_patience: 9}")
    more = ["--override", over, "--things", tiny.raw / "mini" / "objects.json"]
    run = Run([*bench.words("gated", "internvl", "full", 1), *more], DDP)
    assert run.end() == 0, run.stderr
    assert json.loads(run.stdout)["gate"]["stopped"] is None
    lines, alone = bench.root / "gated" / "gate.jsonl", bench.root / "gated_alone"
    assert [one.step for one in read_evaluations(lines)] == [0, 2, STEPS]
    models = [load_file(bench.root / arm / "model" / "model.safetensors") for arm in ("ddp", "gated")]
    assert all(torch.equal(weight, models[1][name]) for name, weight in models[0].items())
    call(*bench.words(alone.name, "internvl", "full", 2), *more)
    first, other = (path.read_text().splitlines()[0] for path in (lines, alone / "gate.jsonl"))
    assert first == other


@pytest.fixture(scope="module")
def fsdp(bench: Bench) -> Run:
    """Every family by both methods, one after the other."""
    words: list[object] = []
    for family in FAMILIES:
        for method in METHODS:
            words += ["+", *bench.words(f"fsdp_{family}_{method}", family, method, 1)]
    run = Run(words[1:], FSDP2)
    assert run.end() == 0, run.stderr
    assert LEFT_NONE not in run.stderr
    return run


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", FAMILIES)
def test_processes_that_share_a_model_train_as_one(bench: Bench, fsdp: Run, family: str, method: str) -> None:
    """Half of the general rows have no picture, so that one process often has one where the other has none."""
    arm = bench.root / f"fsdp_{family}_{method}"
    assert_alike(bench.one(family, method), arm, bench.root / family)
    assert len(fsdp.stdout.splitlines()) == len(FAMILIES) * len(METHODS)
    assert json.loads((arm / "model.meta.json").read_text())["settings"]["sharded_by"] == "fsdp"


@pytest.mark.parametrize("method", METHODS)
def test_killed_processes_that_share_a_model_end_with_the_same_bytes(bench: Bench, fsdp: Run, method: str) -> None:
    arm = bench.root / f"shared_{method}"
    run = Run(bench.words(arm.name, "internvl", method, 1), FSDP2)
    assert run.kill_when(lambda: bool(steps(arm)) and is_writing(arm, steps(arm)[-1]), lambda: run.ranks()[0]) != 0
    assert not (arm / "model").exists()
    again = Run(bench.words(arm.name, "internvl", method, 1), FSDP2)
    assert again.end() == 0, again.stderr
    assert_same_bytes(bench.root / f"fsdp_internvl_{method}", arm)


def assert_same_bytes(whole: Path, arm: Path) -> None:
    wanted, found = ({name: one for name, one in hashes(path).items() if "meta" not in name} for path in (whole, arm))
    assert found == wanted
    assert not (arm / "checkpoints").exists()
