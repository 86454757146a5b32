"""What learns by which method, in every family: weights, labels, bounds of pictures, and what is written of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import yaml

from mis_dataset.errors import MISError
from tests.made_general import make_general
from tests.made_vlms import make_vlm
from tests.tiny import Tiny, attempt, call, hashes
from trainer import models
from trainer.families import FAMILIES
from trainer.recipe import CONFIGS, RecipeArguments, read_recipe
from trainer.training.learning import make_trainer, trained_model
from trainer.training.rows import training_rows

pytestmark = pytest.mark.usefixtures("one_thread")

BASES = {"internvl2_5_8b": "internvl", "qwen2_vl_7b": "qwen2_vl", "llava_ov_7b": "llava_onevision"}
"""First part of a recipe's name -> the family of its base."""
SHIPPED = sorted(path.stem for path in CONFIGS.glob("*.yaml") if not path.stem.startswith("mini_"))
TOWERS = dict.fromkeys(("internvl", "llava_onevision"), "model.vision_tower.")
TOWERS |= dict.fromkeys(("qwen2_vl", "qwen2_5_vl", "qwen3_vl"), "model.visual.")
TOWERS |= dict.fromkeys(("idefics3", "smolvlm"), "model.vision_model.")
PROJECTORS: dict[str, tuple[str, ...]] = {
    "internvl": ("model.multi_modal_projector.",),
    "llava_onevision": ("model.multi_modal_projector.", "model.image_newline"),
    "qwen2_vl": ("model.visual.merger.",),
    "qwen2_5_vl": ("model.visual.merger.",),
    "qwen3_vl": ("model.visual.merger.", "model.visual.deepstack_merger_list."),
    "idefics3": ("model.connector.",),
    "smolvlm": ("model.connector.",),
}
ENDS = dict.fromkeys(("idefics3", "smolvlm"), "<end_of_utterance>\n")
BEGINS = dict.fromkeys(("idefics3", "smolvlm"), " ")
"""Before a response, where the prompt ends with a colon."""
FAST = ("internvl", "qwen3_vl")
"""Families whose LoRA is tried in the fast tier; that all are trained whole there is enough to see their parts."""


class Twin(NamedTuple):
    """A tiny checkpoint and what a shipped recipe makes of it."""

    base: Path
    rows: Any
    config: Any
    recipe: RecipeArguments

    def trainer(self) -> Any:
        return make_trainer(self.base, self.rows, self.config, self.recipe)


def tiny_settings(general: Path, **changes: Any) -> dict[str, Any]:
    """What lies over a shipped recipe, so that two steps of it take a second."""
    small = {"max_steps": 2, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1, "logging_steps": 1}
    return small | {"dataloader_num_workers": 0, "save_strategy": "no", "general": str(general)} | changes


def twin(tiny: Tiny, folder: Path, stem: str, family: str, **changes: Any) -> Twin:
    general = make_general(folder / "general")
    over = folder / "tiny.yaml"
    over.write_text(yaml.safe_dump(tiny_settings(general, **changes)))
    recipe, config = read_recipe(CONFIGS / f"{stem}.yaml", folder, 0, [over])
    return Twin(make_vlm(folder / "base", family), training_rows(tiny.dataset, recipe, 0), config, recipe)


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


def part(family: str, name: str) -> str:
    """What a weight of a plain model belongs to, by its name."""
    if name.startswith(PROJECTORS[family]):
        return "projector"
    return "tower" if name.startswith(TOWERS[family]) else "language"


def assert_learns(made: Any, family: str, learns: set[str]) -> None:
    """Trains, and holds every weight of the parts that learn against every other."""
    before = weights(made.model)
    made.train()
    after = weights(made.model)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if part(family, name) in learns}
    assert {part(family, name) for name in before} == {"language", "projector", "tower"}


# Methods


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_full_fine_tuning_moves_language_model_and_projector_and_nothing_of_the_tower(
    tiny: Tiny, tmp_path: Path, family: str
) -> None:
    made = twin(tiny, tmp_path, "internvl2_5_8b_mirage", family, max_tiles=None).trainer()
    assert_learns(made, family, {"language", "projector"})
    assert {weight.dtype for weight in made.model.parameters()} == {torch.float32}


def test_the_language_model_alone_learns_where_the_recipe_says_so(tiny: Tiny, tmp_path: Path) -> None:
    made = twin(tiny, tmp_path, "qwen2_vl_7b_mirage", "qwen2_vl", train_projector=False, learning_rate=0.01).trainer()
    assert_learns(made, "qwen2_vl", {"language"})


@pytest.mark.parametrize(
    "family", [pytest.param(name, marks=[] if name in FAST else pytest.mark.slow) for name in FAMILIES]
)
def test_lora_moves_layers_of_the_language_model_and_the_projector_and_nothing_else(
    tiny: Tiny, tmp_path: Path, family: str
) -> None:
    changes = {"max_tiles": None, "warmup_steps": 0}  # B is zero at first, so A moves from the second step on
    made = twin(tiny, tmp_path, "internvl2_5_8b_contrast_lora", family, **changes).trainer()
    before = weights(made.model)
    made.train()
    after = weights(made.model)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    copies = {name for name in before if "modules_to_save" in name}
    assert moved == copies | {name for name in before if ".lora_" in name}
    bare = {name.removeprefix("base_model.model.").replace("modules_to_save.default.", "") for name in copies}
    assert {part(family, name) for name in bare} == {"projector"}
    adapted = {name.split(".lora_")[0].removeprefix("base_model.model.") for name in before if ".lora_" in name}
    assert {part(family, name) for name in adapted} == {"language"}
    assert len(adapted) == 7 * made.model.config.get_text_config().num_hidden_layers


@pytest.mark.parametrize("stem", ["internvl2_5_8b_mirage", "internvl2_5_8b_mirage_lora"])
@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_what_learns_is_in_the_number_format_of_the_recipe(tiny: Tiny, tmp_path: Path, stem: str, name: str) -> None:
    made = twin(tiny, tmp_path, stem, "internvl", trained_in=name).trainer()
    formats = {weight.dtype for weight in made.model.parameters() if weight.requires_grad}
    assert formats == {getattr(torch, name)}


def test_without_the_projector_lora_is_all_that_learns(tiny: Tiny, tmp_path: Path) -> None:
    made = twin(tiny, tmp_path, "internvl2_5_8b_mirage_lora", "internvl", train_projector=False).trainer()
    assert all(".lora_" in name for name, weight in made.model.named_parameters() if weight.requires_grad)


@pytest.mark.parametrize("stem", [stem for stem in SHIPPED if not stem.endswith("_qlora")])
@pytest.mark.slow
def test_every_recipe_shipped_trains_two_steps_and_moves_what_learns_alone(
    tiny: Tiny, tmp_path: Path, stem: str
) -> None:
    family = BASES["_".join(stem.split("_")[: stem.split("_").index("mirage" if "mirage" in stem else "contrast")])]
    made = twin(tiny, tmp_path, stem, family, warmup_steps=0).trainer()
    if made.args.learning_rate < 1e-4:
        assert_learns(made, family, {"language", "projector"})
        return
    before = weights(made.model)
    made.train()
    after = weights(made.model)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if "modules_to_save" in name or ".lora_" in name}


# Labels


@pytest.mark.parametrize("family", FAMILIES)
def test_labels_decode_to_exactly_the_completion_and_the_end_of_the_turn(
    tiny: Tiny, tmp_path: Path, family: str
) -> None:
    given = twin(tiny, tmp_path, "internvl2_5_8b_contrast", family, max_tiles=None, general_share=0.3)
    assert {len(row["images"]) for row in given.rows} == {0, 1, 2}
    made = given.trainer()
    decoded = []
    for batch in made.get_train_dataloader():
        for ids, labels in zip(batch["input_ids"], batch["labels"], strict=True):
            trained = labels != -100
            assert torch.equal(ids[trained], labels[trained])
            decoded.append(made.processing_class.tokenizer.decode(labels[trained]))
    said = [row["completion"][0]["content"][0]["text"] for row in given.rows]
    begin, end = BEGINS.get(family, ""), ENDS.get(family, "<|im_end|>\n")
    assert sorted(decoded) == sorted(f"{begin}{text}{end}" for text in said)


# Several GPUs without a launcher


def test_one_process_that_sees_several_gpus_is_refused_before_weights_are_read(tiny: Tiny, tmp_path: Path) -> None:
    given = twin(tiny, tmp_path, "internvl2_5_8b_mirage_lora", "internvl")
    (given.base / "model.safetensors").unlink()
    for gpus, found in ((2, "one process sees 2 GPUs: put CUDA_VISIBLE_DEVICES=0 before"), (1, "cannot be read")):
        given.config._n_gpu = gpus
        with pytest.raises(MISError, match=found):
            given.trainer()


# 4 bits


def test_qlora_needs_bitsandbytes_and_a_gpu(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = twin(tiny, tmp_path, "internvl2_5_8b_mirage_qlora", "internvl")
    with pytest.raises(MISError, match="method qlora needs the package bitsandbytes: pip install bitsandbytes"):
        given.trainer()
    (tmp_path / "packages" / "bitsandbytes").mkdir(parents=True)
    (tmp_path / "packages" / "bitsandbytes" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    with pytest.raises(MISError, match="method qlora needs a GPU; take method lora on the CPU"):
        given.trainer()


def test_an_adapter_of_qlora_is_merged_into_the_base_as_it_was(tiny: Tiny, tiny_arm: Path) -> None:
    recipe = RecipeArguments(method="qlora")
    merged = trained_model(None, None, tiny.model, recipe, tiny_arm / "adapter").state_dict()
    wanted, base = (models.load(folder, cpu=True)[0].state_dict() for folder in (tiny_arm / "model", tiny.model))
    assert {name for name in wanted if not torch.equal(base[name], wanted[name])}
    for name in wanted:
        torch.testing.assert_close(merged[name], wanted[name], rtol=0.02, atol=0.02)


# What is written


@pytest.fixture(scope="module")
def full_arm(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An arm trained whole by the verb, with an override; its base lies beside it."""
    root = tmp_path_factory.mktemp("full")
    over = root / "tiny.yaml"
    over.write_text(yaml.safe_dump(tiny_settings(make_general(root / "general"), learning_rate=0.01, max_tiles=2)))
    base = make_vlm(root / "base", "internvl")
    config = CONFIGS / "internvl2_5_8b_mirage.yaml"
    call("sft", base, tiny.dataset, root / "arm", "--config", config, "--override", over)
    return root / "arm"


def test_full_fine_tuning_writes_a_checkpoint_like_the_base_and_no_adapter(full_arm: Path) -> None:
    base = full_arm.parent / "base"
    assert {path.name for path in full_arm.iterdir()} == {"model", "model.meta.json", "log.jsonl"}
    assert {path.name for path in (full_arm / "model").iterdir()} == {path.name for path in base.iterdir()}
    configs = [json.loads((folder / "config.json").read_text()) for folder in (base, full_arm / "model")]
    assert configs[0]["dtype"] == configs[1]["dtype"] == "float32"
    for name in ("generation_config.json", "chat_template.jinja", "processor_config.json", "tokenizer.json"):
        assert (
            json.loads((base / name).read_text()) == json.loads((full_arm / "model" / name).read_text())
            if (name.endswith(".json"))
            else (base / name).read_bytes() == (full_arm / "model" / name).read_bytes()
        )
    model, processor = models.load(full_arm / "model")
    assert processor.image_processor.max_patches == 4
    assert next(model.parameters()).device.type == "cpu"


def test_the_sidecar_holds_what_recipe_and_override_say_together(tiny: Tiny, full_arm: Path) -> None:
    sidecar = json.loads((full_arm / "model.meta.json").read_text())
    assert sidecar["settings"]["recipe"] == "internvl2_5_8b_mirage+tiny"
    assert sidecar["settings"]["settings"]["learning_rate"] == 0.01
    assert sidecar["settings"]["settings"]["warmup_steps"] == 0.03
    assert len(sidecar["settings"]["general_rows"]) == 64
    names = {Path(name).name for name in sidecar["inputs"]}
    assert {"internvl2_5_8b_mirage.yaml", "tiny.yaml", "MANIFEST.json", "model.safetensors"} <= names


def test_a_second_run_with_another_override_is_refused(tiny: Tiny, full_arm: Path) -> None:
    words = ["sft", full_arm.parent / "base", tiny.dataset, full_arm, "--config"]
    config, over = CONFIGS / "internvl2_5_8b_mirage.yaml", full_arm.parent / "tiny.yaml"
    before = hashes(full_arm)
    assert call(*words, config, "--override", over)["trained"] is False
    no_general = CONFIGS / "overrides" / "no_general.yaml"
    code, line, error = attempt(*words, config, "--override", over, "--override", no_general)
    assert (code, line) == (1, "")
    assert "made with recipe='internvl2_5_8b_mirage+tiny'" in error
    assert hashes(full_arm) == before


# Bounds of pictures


@pytest.mark.parametrize(
    ("family", "bounds", "found"),
    [
        ("internvl", {"max_tiles": 2}, 2),
        ("internvl", {"max_tiles": 9}, 4),
        ("qwen2_vl", {"max_tiles": None, "max_pixels": 512}, 512),
        ("qwen2_vl", {"max_tiles": None, "max_pixels": 9999}, 1024),
    ],
)
def test_bounds_of_pictures_are_upper_ones(
    tiny: Tiny, tmp_path: Path, family: str, bounds: dict[str, int], found: int
) -> None:
    pictures = (
        twin(tiny, tmp_path, "internvl2_5_8b_mirage", family, **bounds).trainer().processing_class.image_processor
    )
    assert (pictures.max_patches if family == "internvl" else pictures.size["longest_edge"]) == found


@pytest.mark.parametrize(
    ("family", "bounds", "found"),
    [
        (
            "llava_onevision",
            {"max_tiles": 4},
            "max_tiles does not bound the pictures of llava_onevision; each of two pictures is one tile",
        ),
        ("internvl", {"max_pixels": 512}, "max_pixels does not bound the pictures of internvl; use max_tiles"),
    ],
)
def test_a_bound_that_a_family_does_not_have_is_refused(
    tiny: Tiny, tmp_path: Path, family: str, bounds: dict[str, int], found: str
) -> None:
    with pytest.raises(MISError, match=found):
        twin(tiny, tmp_path, "internvl2_5_8b_mirage", family, **bounds).trainer()
