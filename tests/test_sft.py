"""Fine-tuning: labels, which weights move, what is written, and that a killed run ends as an uninterrupted one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mis_dataset.chat import prompt
from mis_dataset.errors import MISError
from tests.made_runs import write_said
from tests.tiny import Tiny, attempt, call, hashes, write_recipe
from trainer import models, sft
from trainer.files import checkpoint_files
from trainer.recipe import CONFIGS, RecipeArguments, read_recipe
from trainer.sidecars import read_sidecar
from trainer.training.rows import training_rows

ROOT = Path(__file__).resolve().parents[1]
TOWER, PROJECTOR = "model.vision_tower.", "model.multi_modal_projector."


def tensors(folder: Path, name: str = "model.safetensors") -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(folder / name)
    return found


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    assert set(before) == set(after)
    return {name for name, weight in before.items() if not torch.equal(weight.to(after[name].dtype), after[name])}


# Recipes


def test_lora_and_the_projector_each_have_their_rate(tiny: Tiny, tmp_path: Path) -> None:
    path = write_recipe(tmp_path / "rates.yaml", learning_rate=0.25, projector_learning_rate=0.125, weight_decay=0.5)
    recipe, config = read_recipe(path, tmp_path, 0)
    rows = training_rows(tiny.dataset, RecipeArguments(twins=True), 0)
    trainer = sft._make_trainer(tiny.model, rows, config, recipe, tmp_path)
    names = {weight: name for name, weight in trainer.model.named_parameters() if weight.requires_grad}
    groups = trainer.optimizer.param_groups
    rates = {names[weight]: group["lr"] for group in groups for weight in group["params"]}
    assert rates == {name: 0.25 if "lora" in name else 0.125 for name in names.values()}
    assert set(rates.values()) == {0.25, 0.125}
    # As without it: biases and norms of the projector are not decayed.
    decayed = {names[weight] for group in groups if group["weight_decay"] for weight in group["params"]}
    assert set(names.values()) - decayed == {
        name for name in names.values() if "modules_to_save" in name and ("bias" in name or "layer_norm" in name)
    }


@pytest.mark.parametrize(
    ("layers", "wanted"),
    [
        ("attention", {"q_proj", "k_proj", "v_proj", "o_proj"}),
        ("all", {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}),
    ],
)
def test_lora_is_on_the_layers_that_the_recipe_names(tiny: Tiny, tmp_path: Path, layers: str, wanted: set[str]) -> None:
    recipe, config = read_recipe(write_recipe(tmp_path / "layers.yaml", lora_layers=layers), tmp_path, 0)
    rows = training_rows(tiny.dataset, RecipeArguments(twins=True), 0)
    trainer = sft._make_trainer(tiny.model, rows, config, recipe, tmp_path)
    lora = [name for name, weight in trainer.model.named_parameters() if "lora_B" in name and weight.requires_grad]
    assert len(lora) == 2 * len(wanted)
    assert {name.split(".lora_B")[0].rsplit(".", 1)[-1] for name in lora} == wanted
    assert all("language_model" in name for name in lora)


def test_what_was_refused_before_it_had_anything_to_lose_may_begin_with_other_settings(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("twins: false\n")
    assert sft.begin(tmp_path / "arm", "sft", {"twins": False}, [tmp_path / "recipe.yaml"])
    (tmp_path / "recipe.yaml").write_text("twins: true\n")
    assert sft.begin(tmp_path / "arm", "sft", {"twins": True}, [tmp_path / "recipe.yaml"])
    assert read_sidecar(tmp_path / "arm" / "model").settings == {"twins": True}
    (tmp_path / "arm" / "checkpoints" / "checkpoint-100").mkdir(parents=True)
    with pytest.raises(MISError, match="made with twins=True, asked for False"):
        sft.begin(tmp_path / "arm", "sft", {"twins": False}, [tmp_path / "recipe.yaml"])


def test_a_model_that_went_on_elsewhere_names_both_places() -> None:
    assert sft._both("a", "b") == "a+b"
    assert sft._both("a+b", "b") == "a+b"
    assert sft._both(None, "b") == "b"
    assert sft._both(None, None) is None


def test_a_folder_that_holds_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "mine.txt").write_text("mine")
    with pytest.raises(MISError, match="is not empty and nothing there says that this verb began it"):
        sft.begin(tmp_path, "sft", {}, [])
    assert [path.name for path in tmp_path.rglob("*")] == ["adapter", "mine.txt"]


@pytest.mark.parametrize("link", [False, True])
def test_a_file_where_the_model_goes_is_told_before_the_training(link: bool, tmp_path: Path) -> None:
    sft.begin(tmp_path, "sft", {}, [])
    if link:
        (tmp_path / "model").symlink_to(tmp_path / "nowhere")
    else:
        (tmp_path / "model").write_text("mine")
    with pytest.raises(MISError, match="model: is no folder, and the model goes there"):
        sft.begin(tmp_path, "sft", {}, [])


# Labels


@pytest.mark.parametrize("completion_only", [True, False])
def test_labels_decode_to_exactly_the_completion_and_the_end_token(
    tiny: Tiny, tmp_path: Path, completion_only: bool
) -> None:
    recipe, config = read_recipe(CONFIGS / "mini_contrast.yaml", tmp_path, 0)
    config.completion_only_loss = completion_only
    rows = training_rows(tiny.dataset, RecipeArguments(twins=True), 0)
    trainer = sft._make_trainer(tiny.model, rows, config, recipe, tmp_path)
    decoded = []
    for batch in trainer.get_train_dataloader():
        for ids, labels in zip(batch["input_ids"], batch["labels"], strict=True):
            trained = labels != -100
            assert torch.equal(ids[trained], labels[trained])
            decoded.append(trainer.processing_class.tokenizer.decode(labels[trained]))
    wanted = sorted(f"{row['completion'][0]['content'][0]['text']}<|im_end|>\n" for row in rows)
    assert (sorted(decoded) == wanted) is completion_only
    assert any("Image-1" in text for text in decoded) is not completion_only


def test_labels_of_text_only_rows_beside_rows_with_pictures_are_their_completions_too(
    tiny: Tiny, tmp_path: Path
) -> None:
    recipe, config = read_recipe(CONFIGS / "mini_contrast.yaml", tmp_path, 0)
    said = write_said(tmp_path / "said.jsonl", {f"text/{n}": f"It is {n}." for n in range(9)})
    rows = training_rows(tiny.dataset, RecipeArguments(twins=True, general_share=0.3), 0, 4, said)
    assert {len(row["images"]) for row in rows} == {0, 2}
    trainer = sft._make_trainer(tiny.model, rows, config, recipe, tmp_path)
    decoded = []
    for batch in trainer.get_train_dataloader():
        shown = int((batch["input_ids"] == trainer.model.config.image_token_id).sum())
        assert shown == len(batch["pixel_values"])
        for labels in batch["labels"]:
            decoded.append(trainer.processing_class.tokenizer.decode(labels[labels != -100]))
    assert sorted(decoded) == sorted(f"{row['completion'][0]['content'][0]['text']}<|im_end|>\n" for row in rows)


# Weights


def test_every_trainable_weight_moved(tiny: Tiny, tiny_arm: Path) -> None:
    weights = tensors(tiny_arm / "adapter", "adapter_model.safetensors").items()
    lora = {name: weight for name, weight in weights if "lora_B" in name}
    assert len(lora) == 2 * 4
    assert [name for name, weight in lora.items() if not weight.any()] == []
    projector = {name for name in tensors(tiny.model) if name.startswith(("multi_modal_projector", PROJECTOR))}
    changed = moved(tensors(tiny.model), tensors(tiny_arm / "model"))
    assert projector
    assert projector <= changed


def test_no_frozen_weight_moved(tiny: Tiny, tiny_arm: Path) -> None:
    before = tensors(tiny.model)
    changed = moved(before, tensors(tiny_arm / "model"))
    attention = {name for name in before if "language_model" in name and "self_attn" in name and "_proj.weight" in name}
    assert {name for name in changed if "projector" not in name} == attention
    kept = " ".join(set(before) - changed)
    assert all(part in kept for part in ("vision_tower", "embed_tokens", "down_proj"))


def test_a_dose_is_an_earlier_state_of_the_adapter(tiny_arm: Path) -> None:
    assert [path.name for path in (tiny_arm / "dose").iterdir()] == ["8"]
    name = "adapter_model.safetensors"
    assert moved(tensors(tiny_arm / "dose" / "8", name), tensors(tiny_arm / "adapter", name)) != set()


def test_two_doses_in_one_step_are_refused(tiny: Tiny, tmp_path: Path) -> None:
    path = write_recipe(tmp_path / "doses.yaml", doses=[7, 8])
    recipe, config = read_recipe(path, tmp_path, 0)
    with pytest.raises(MISError, match=r"doses: two of \[7, 8\] end in one step of 8 rows"):
        sft._make_trainer(tiny.model, training_rows(tiny.dataset, recipe, 0), config, recipe, tmp_path)


def test_what_an_attempt_with_other_settings_kept_on_the_way_is_gone(tiny: Tiny, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "short.yaml", doses=[], num_train_epochs=1)
    (tmp_path / "arm" / "dose" / "52").mkdir(parents=True)
    (tmp_path / "arm" / "model.meta.json").write_text((tiny.base / "model.meta.json").read_text())
    call("sft", tiny.model, tiny.dataset, tmp_path / "arm", "--config", recipe)
    assert not (tmp_path / "arm" / "dose").exists()
    assert (tmp_path / "arm" / "adapter").is_dir()


def test_the_adapter_on_the_base_says_what_the_merged_checkpoint_says(tiny: Tiny, tiny_arm: Path) -> None:
    from datasets import load_dataset

    row = load_dataset(str(tiny.dataset), split="test_hard")[0]
    found = []
    for folder, adapter in ((tiny_arm / "model", None), (tiny.model, tiny_arm / "adapter"), (tiny.model, None)):
        model, processor = models.load(folder, adapter, float32=True)
        text = processor.apply_chat_template(prompt(row["question"]), add_generation_prompt=True)
        inputs = processor(text=[text], images=[row["images"]], return_tensors="pt")
        with torch.no_grad():
            logits = model(**inputs).logits[0, -1]
            made = model.generate(**inputs, max_new_tokens=8, do_sample=False)[0].tolist()
        found.append((logits, made))
    (merged, said), (adapted, said_too), (base, _) = found
    assert torch.allclose(merged, adapted, atol=1e-4)
    assert said == said_too
    assert not torch.allclose(merged, base, atol=1e-2)


# What is written


def test_the_merged_checkpoint_loads_as_any_other_and_answers_about_two_pictures(tiny_arm: Path) -> None:
    from PIL import Image
    from transformers import AutoModelForImageTextToText, AutoProcessor, pipeline

    folder = str(tiny_arm / "model")
    model, processor = AutoModelForImageTextToText.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    assert (type(model).__name__, type(processor).__name__) == ("InternVLForConditionalGeneration", "InternVLProcessor")
    pictures = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    content = [{"type": "image", "image": picture} for picture in pictures]
    messages = [{"role": "user", "content": [*content, {"type": "text", "text": "What is it?"}]}]
    pipe = pipeline("image-text-to-text", model=folder)
    (said,) = pipe(text=messages, generate_kwargs={"max_new_tokens": 4, "do_sample": False}, return_full_text=False)
    assert isinstance(said["generated_text"], str)
    assert said["generated_text"]


def test_a_model_folder_holds_no_pickle(tiny: Tiny, tiny_arm: Path) -> None:
    for folder in (tiny.model, tiny.base / "tower", tiny_arm / "model"):
        assert {path.suffix for path in folder.rglob("*") if path.is_file()} <= {".safetensors", ".json", ".jinja"}
    everywhere = {path.suffix for path in tiny_arm.rglob("*") if path.is_file()}
    assert everywhere <= {".safetensors", ".json", ".jsonl", ".jinja", ".md"}


def test_the_log_has_a_line_for_every_step_and_the_sidecar_says_how(tiny: Tiny, tiny_arm: Path) -> None:
    lines = [json.loads(line) for line in (tiny_arm / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert lines[-1]["loss"] < lines[0]["loss"]
    sidecar = read_sidecar(tiny_arm / "model")
    assert sidecar.kind == "sft"
    assert sidecar.settings["twins"] is True
    names = {Path(name).name for name in sidecar.inputs}
    assert names == {path.name for path in checkpoint_files(tiny.model)} | {"MANIFEST.json", "bold.yaml"}
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= names


def test_a_second_run_writes_nothing_new(tiny: Tiny, tiny_arm: Path) -> None:
    before = hashes(tiny_arm)
    found = call("sft", tiny.model, tiny.dataset, tiny_arm, "--config", tiny_arm.parent / "bold.yaml")
    assert found == {"verb": "sft", "arm": str(tiny_arm), "trained": False}
    assert hashes(tiny_arm) == before


@pytest.mark.parametrize(
    ("flag", "value", "found"), [("--seed", 1, "seed"), ("--epochs", 1, "epochs"), ("--limit", 2, "limit")]
)
def test_other_settings_are_refused(tiny: Tiny, tiny_arm: Path, flag: str, value: int, found: str) -> None:
    recipe = tiny_arm.parent / "bold.yaml"
    code, line, error = attempt("sft", tiny.model, tiny.dataset, tiny_arm, "--config", recipe, flag, value)
    assert (code, line) == (1, "")
    assert f"{tiny_arm}: made with {found}=" in error


def test_a_wrong_base_or_dataset_is_one_clear_error(tiny: Tiny, tmp_path: Path) -> None:
    recipe = CONFIGS / "mini_contrast.yaml"
    for base, dataset in ((tmp_path / "none", tiny.dataset), (tiny.model, tmp_path / "none")):
        code, line, error = attempt("sft", base, dataset, tmp_path / "out", "--config", recipe)
        assert (code, line) == (1, "")
        assert f"{tmp_path / 'none'}" in error
        assert not (tmp_path / "out" / "model").exists()
