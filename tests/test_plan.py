"""What a training will cost: totals of the paper's models, what GPUs hold, steps and hours, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from transformers import AutoModelForImageTextToText
from trl import SFTConfig

from mis_dataset.errors import MISError, UsageError
from tests.made_vlms import make_vlm
from trainer.__main__ import main
from trainer.costs import counted
from trainer.costs.counted import Step
from trainer.costs.gpus import GPUS, gpu_of
from trainer.costs.ways import Counted, Memory, Numbers, Way, hours, ways_of
from trainer.plan import MODELS, count, model_folder, rows_of, steps_of
from trainer.recipe import RecipeArguments

GB = 10**9
INTERNVL, QWEN, LLAVA = (
    "OpenGVLab/InternVL2_5-8B",
    "Qwen/Qwen2-VL-7B-Instruct",
    "llava-hf/llava-onevision-qwen2-7b-ov-hf",
)
EMPTY = Path("recipe.yaml")


def config_of(tmp_path: Path, **settings: Any) -> SFTConfig:
    return SFTConfig(output_dir=str(tmp_path), bf16=False, activation_checkpointing=False, report_to="none", **settings)


# The paper's models


@pytest.mark.parametrize(
    ("base", "parameters"),
    [(INTERNVL, 8_075_365_376), (QWEN, 8_291_375_616)],  # as their pages on the Hub count them: 8.08 B and 8.29 B
)
def test_configurations_have_the_published_numbers_of_parameters(base: str, parameters: int) -> None:
    model = counted.build(model_folder(base, EMPTY), torch.bfloat16)
    assert sum(counted.parameters_by_part(model, model.config.model_type).values()) == parameters


@pytest.mark.parametrize("part", ["text_config", "vision_config"])
def test_a_part_that_is_null_is_not_counted_as_one_of_default_size(part: str, tmp_path: Path) -> None:
    config = json.loads((model_folder(INTERNVL, EMPTY) / "config.json").read_text("utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(config | {part: None}))
    with pytest.raises(MISError, match=f"config.json: {part} is no object; copy the file anew"):
        counted.build(tmp_path, torch.bfloat16)


def test_the_language_model_of_llava_is_qwen2_7b_with_64_more_tokens() -> None:
    parts = counted.parameters_by_part(counted.build(model_folder(LLAVA, EMPTY), torch.bfloat16), "llava_onevision")
    assert parts["language_model"] == 7_615_616_512 + 2 * 64 * 3584


@pytest.mark.parametrize(("base", "tiles", "tokens"), [(INTERNVL, 4, 1280), (INTERNVL, 1, 256), (LLAVA, None, 730)])
def test_a_picture_of_1024_pixels_has_the_tokens_of_its_model(base: str, tiles: int | None, tokens: int) -> None:
    folder = model_folder(base, EMPTY)
    shown = counted.seen(folder, 1, 1024, RecipeArguments(max_tiles=tiles))
    model = counted.build(folder, torch.bfloat16)
    with counted.Shapes():
        counted.take_shape(model, torch.bfloat16)
        batch = counted.make_batch(model, shown, 1, 512)
    assert (batch.picture, batch.tokens, batch.labels) == (tokens, 2 * tokens + 512, 384)


def test_every_shipped_configuration_is_named_as_on_the_hub() -> None:
    shipped = {path.parent.relative_to(MODELS).as_posix() for path in MODELS.rglob("config.json")}
    assert shipped == {INTERNVL, QWEN, LLAVA}


# Steps and hours


def test_an_epoch_has_dangerous_rows_twins_and_a_share_of_general_ones() -> None:
    assert rows_of(RecipeArguments(general_share=0.0)) == 3927
    assert rows_of(RecipeArguments(general_share=0.1129)) == 4427
    assert rows_of(RecipeArguments(general_share=0.5, rows=50, twins=True)) == 200
    assert rows_of(RecipeArguments(general_share=0.0, rows=50), 7) == 7


def test_steps_are_those_of_transformers(tmp_path: Path) -> None:
    config = config_of(
        tmp_path, per_device_train_batch_size=2, gradient_accumulation_steps=4, num_train_epochs=3, max_length=None
    )
    assert steps_of(100, config, gpus=1) == 3 * 13  # 50 batches, 4 a step, the last of 2
    assert steps_of(100, config, gpus=8) == 3 * 2
    config.max_steps = 5
    assert steps_of(100, config, gpus=1) == 5


def test_hours_lie_between_two_utilisations_and_wait_for_what_is_sent() -> None:
    a100 = GPUS["a100-80"]
    an_hour = 8 * a100.flops * 3600
    assert hours(a100, 8, 0.45 * an_hour, 0, steps=1) == (1.0, 1.8)
    assert hours(a100, 8, 0.45 * an_hour, a100.link * 7200, steps=1) == (2.0, 3.8)


# What a GPU holds


STEP = Step(weights=100, gradients=40, optimizer=80, activations=10)
NUMBERS = Numbers({}, 35, 10, block=5, block_trained=2, root=15, root_trained=4, quantised=20, widest=3)
COUNTED = Counted(NUMBERS, STEP, STEP._replace(activations=7), flops=1, frozen=2, width=2, row={})
LORA = RecipeArguments()


def test_one_gpu_holds_all(tmp_path: Path) -> None:
    ways = ways_of(COUNTED, LORA, config_of(tmp_path), gpus=1)
    assert ways == {"none": Way(Memory(100, 40, 80, 10, 0), 0)}


def test_several_gpus_hold_shares_and_what_they_gather(tmp_path: Path) -> None:
    ways = ways_of(COUNTED, LORA, config_of(tmp_path, gradient_accumulation_steps=3), gpus=4)
    assert ways["none"] == Way(Memory(100, 40, 80, 10, 40), 60)
    assert ways["fsdp2"] == Way(Memory((2 * 25 + 4 * 10) / 4, 10, 20, 7, 2 * (15 + 4 + 2 * (5 + 2))), 0.75 * 3 * 2 * 80)
    assert ways["zero3"] == Way(Memory((2 * 35 + 4 * 10) / 4, 5, 20, 7, 2 * (35 + 2)), 0.75 * 3 * 2 * 80)


def test_4_bits_and_an_8_bit_optimizer_take_less_and_are_not_sharded(tmp_path: Path) -> None:
    ways = ways_of(COUNTED, RecipeArguments(method="qlora"), config_of(tmp_path, optim="adamw_8bit"), gpus=2)
    assert list(ways) == ["none"]
    weights, _, optimizer, activations, _ = ways["none"].memory
    assert weights == pytest.approx(100 - 20 * (2 - 4.127 / 8))
    assert (optimizer, activations) == (20, 16)


@pytest.fixture
def four_ranks() -> Iterator[Any]:
    """A group of four processes of which only this one is there: nothing is sent."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    torch.distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=4)
    yield init_device_mesh("cpu", (4,))
    torch.distributed.destroy_process_group()


@pytest.mark.filterwarnings("ignore:FSDP2-wrapped module .* returned a view tensor:UserWarning")  # nothing is in-place
def test_fsdp2_holds_what_torch_counts_of_a_sharded_model(four_ranks: Any, tmp_path: Path) -> None:
    from torch.distributed._tools.fsdp2_mem_tracker import FSDPMemTracker
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    recipe = RecipeArguments(method="full", general_share=0.0)
    folder = make_vlm(tmp_path / "vlm", "internvl")
    config = config_of(tmp_path, per_device_train_batch_size=2)
    planned = ways_of(count(folder, recipe, config, True, 64, 64, shared=True), recipe, config, gpus=4)["fsdp2"].memory
    loaded = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")
    model = counted.choose_trained(loaded, recipe)
    batch = counted.make_batch(model, counted.seen(folder, 2, 64, recipe), 2, 64)
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    layers = [layer for stack in model.modules() if isinstance(stack, nn.ModuleList) for layer in stack]
    for module in (*layers, model):
        fully_shard(module, mesh=four_ranks, mp_policy=policy)
    optimizer = torch.optim.AdamW([weight for weight in model.train().parameters() if weight.requires_grad])
    _loss(model, batch).backward()
    optimizer.step()  # so that the step that is counted finds gradients and what AdamW keeps
    tracker = FSDPMemTracker(model, optimizer)
    tracker.track_inputs(tuple(batch.inputs.values()))
    with tracker:
        _loss(model, batch).backward()
        optimizer.step()
    kept, peak = (tracker.get_tracker_snapshot(moment)[torch.device("cpu")] for moment in ("current", "peak"))
    by_name = {str(getattr(kind, "value", kind)): size for kind, size in kept.items()}
    assert planned.weights == pytest.approx(by_name["Sharded Param"], rel=0.02)
    assert planned.gradients == pytest.approx(by_name["Sharded Grad"], rel=0.02)
    assert planned.optimizer == pytest.approx(by_name["OptState"], rel=0.02)
    assert sum(planned) == pytest.approx(peak["Total"], rel=0.15)


def _loss(model: Any, batch: counted.Batch) -> torch.Tensor:
    before = torch.arange(batch.tokens - batch.labels - 1, batch.tokens - 1)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(**batch.inputs, logits_to_keep=before, use_cache=False).logits
    targets = batch.inputs["input_ids"][:, -batch.labels :]
    loss: torch.Tensor = nn.functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten())
    return loss


# The verb


RECIPE = """# made here
base: "{base}"
method: {method}
optim: {optim}
max_length: null
activation_checkpointing: true
report_to: none
"""


def recipe_file(folder: Path, base: str = "", method: str = "lora", optim: str = "adamw_torch") -> Path:
    path = folder / "recipe.yaml"
    path.write_text(RECIPE.format(base=base, method=method, optim=optim))
    return path


def test_the_verb_tells_figures_on_stdout_and_a_table_on_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_vlm(tmp_path / "vlm", "qwen2_vl")
    (folder / "model.safetensors").unlink()
    words = ["plan", "--config", str(recipe_file(tmp_path)), "--gpu", "h100", "--gpus", "8", "--model", str(folder)]
    assert main([*words, "--side", "64", "--tokens", "64", "--rows", "100"]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert found["row"] == {"tokens": 72, "picture": 4, "labels": 48}
    assert (found["rows"], found["steps"], found["passed"]) == (112, 6, True)
    assert found["flops"] == 6 * found["flops_a_step"] > 0
    assert found["assumed"]["utilisation"] == [0.25, 0.45]
    assert list(found["ways"]) == ["none", "fsdp2", "zero3"]
    assert "fsdp2" in said.err.splitlines()[-2]
    assert not list(Path.cwd().glob("plan"))


def test_what_fits_on_no_gpu_exits_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_vlm(tmp_path / "vlm", "internvl")
    words = ["plan", "--config", str(recipe_file(tmp_path)), "--gpu", "l4", "--model", str(folder), "--side", "64"]
    assert main([*words, "--tokens", "3000000"]) == 1
    (way,) = json.loads(capsys.readouterr().out)["ways"].values()
    assert way["all"] > 24 * GB
    assert way["fits"] is False


def test_what_is_not_known_is_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="GPU 'h1000' is not known; known are h100, h200"):
        gpu_of("h1000")
    with pytest.raises(UsageError, match="names no base; say which model with --model FOLDER"):
        model_folder("", EMPTY)
    with pytest.raises(
        UsageError, match=r"base '\.\./x' is not shipped; use --model FOLDER, or one of OpenGVLab/Inter"
    ):
        model_folder("../x", EMPTY)
    words = ["plan", "--config", str(recipe_file(tmp_path, base=QWEN, optim="adafactor")), "--gpu", "h100"]
    for wrong in (("--tokens", "3"), ("--tokens", "10000001"), ("--side", "16385")):
        assert main([*words, *wrong]) == 2
    assert main(words) == 1
    assert "optim adafactor cannot be planned; known are adamw_torch" in capsys.readouterr().err
    with pytest.raises(MISError, match="no checkpoint lies there"):
        counted.seen(tmp_path, 1, 64, RecipeArguments())


def test_sizes_that_no_model_has_are_one_clear_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = make_vlm(tmp_path / "model", "internvl")
    config = json.loads((model / "config.json").read_text())
    config["text_config"]["vocab_size"] = 10**15
    (model / "config.json").write_text(json.dumps(config))
    assert main(["plan", "--config", str(recipe_file(tmp_path)), "--gpu", "h100", "--model", str(model)]) == 1
    assert "recipe.yaml: no step of it can be counted with" in capsys.readouterr().err
