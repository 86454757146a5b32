"""The base of MIS-mini: what it is made of, made once, never mixed with another."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mis_dataset.mini.draw import draw_disturbed, png
from mis_dataset.mini.lessons import lessons
from tests.tiny import Tiny, attempt, call, hashes
from trainer import base
from trainer.files import sha256_of
from trainer.sidecars import read_sidecar
from trainer.training.rows import read_said


def test_a_second_run_writes_nothing_new(tiny: Tiny) -> None:
    before = hashes(tiny.base)
    assert call("base", tiny.base, "--smoke") == {"verb": "base", "base": str(tiny.base), "trained": False}
    assert hashes(tiny.base) == before


@pytest.mark.parametrize(("words", "found"), [(("--smoke", "--seed", "1"), "seed"), ((), "language_model")])
def test_other_settings_are_refused(tiny: Tiny, words: tuple[str, ...], found: str) -> None:
    code, line, error = attempt("base", tiny.base, *words)
    assert (code, line) == (1, "")
    assert f"{tiny.base}: made with {found}=" in error


def test_a_base_that_was_begun_with_other_settings_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    # What a kill leaves: the sidecar, which is written first, and no model, but a tower on its way.
    shutil.copy(tiny.base / "model.meta.json", tmp_path)
    (tmp_path / "tower.safetensors").touch()
    code, line, error = attempt("base", tmp_path, "--smoke", "--seed", 1)
    assert (code, line) == (1, "")
    assert error == f"base: {tmp_path}: made with seed=0, asked for 1; give another folder\n"
    assert {path.name for path in tmp_path.iterdir()} == {"model.meta.json", "tower.safetensors"}


def test_lessons_show_things_as_hard_to_read_as_a_new_style(tiny: Tiny) -> None:
    shown = [row["images"] for row in base._rows(tiny.base, 0, 12).to_list() if row["id"].startswith("lesson/")]
    made = lessons("base/0", base.FAMILIES, 12, paint=draw_disturbed)
    assert [[picture["bytes"] for picture in pictures] for pictures in shown] == [
        [png(picture) for picture in lesson.pictures] for lesson in made
    ]


def test_the_lessons_leave_the_tower_as_it_was_and_train_the_rest(tiny: Tiny) -> None:
    before, after = (load_file(tiny.base / name / "model.safetensors") for name in ("tower", "model"))
    moved = {name for name, weight in before.items() if not torch.equal(weight.to(after[name].dtype), after[name])}
    assert moved
    assert all("projector" in name or ("language_model" in name and "_proj" in name) for name in moved)


def test_the_sidecar_says_how_well_things_are_named_in_either_style(tiny: Tiny) -> None:
    sidecar = read_sidecar(tiny.model)
    assert sidecar.kind == "base"
    assert sidecar.settings["language_model"] == "random"
    assert set(sidecar.settings["naming"]) == {"trained", "real"}
    assert all(0 <= share <= 1 for share in sidecar.settings["naming"].values())


def test_nothing_temporary_is_left(tiny: Tiny) -> None:
    made = {"tower", "adapter", "model", "model.meta.json", "log.jsonl"}
    said = {name + end for name in ("said.jsonl", "said_before.jsonl") for end in ("", ".meta.json")}
    assert {path.name for path in tiny.base.iterdir()} == made | said


def test_both_the_language_model_and_the_base_are_asked_the_same_text_questions(tiny: Tiny) -> None:
    for said, folder in (("said_before.jsonl", "tower"), ("said.jsonl", "model")):
        assert len(read_said(tiny.base / said)) == 4
        weights = sha256_of(tiny.base / folder / "model.safetensors")
        assert weights in read_sidecar(tiny.base / said).inputs.values()


def test_a_model_without_its_sidecar_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    code, _, error = attempt("base", tmp_path, "--smoke")
    assert code == 1
    assert error == f"base: {tmp_path}: holds a model without its sidecar; remove the folder and run again\n"
