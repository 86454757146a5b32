"""Ability: which questions are asked, how they are marked, and resuming."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from mis_dataset.errors import MISError
from mis_dataset.mini.lessons import ABILITY_FAMILIES, lessons
from mis_dataset.mini.text_questions import text_questions
from tests.made_runs import write_said
from tests.tiny import Tiny, attempt, call, hashes
from trainer.ability import chosen_families
from trainer.artefacts import Ability, read
from trainer.engines.local import VERSION
from trainer.sidecars import read_sidecar

FEW = ("--pictures", 9, "--limit", 4, "--max-new-tokens", 4, "--float32")


@pytest.fixture(scope="module")
def made(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ability") / "ability.jsonl"
    found = call("ability", tiny.model, out, *FEW, "--batch-size", 3)
    assert {key: found[key] for key in ("n", "asked")} == {"n": 8, "asked": 8}
    return out


def know(path: Path, right: dict[str, int]) -> Path:
    """A finished said.jsonl of 10 questions of each family, so many of them answered right."""
    said: dict[str, str] = {}
    for family, count in right.items():
        asked = [one for one in text_questions() if (one.family, one.half) == (family, "choose")][:10]
        said |= {one.id: one.expected[0] if n < count else "Hm." for n, one in enumerate(asked)}
    return write_said(path, said)


def test_pictures_come_first_then_the_measuring_half_of_the_text_questions(made: Path) -> None:
    measured = [one.id for one in text_questions() if one.half == "measure"][:4]
    assert [row.id for row in read(made, Ability)] == [f"picture/{n}" for n in range(4)] + measured


def test_a_row_carries_its_family_and_a_random_model_is_mostly_wrong(made: Path) -> None:
    rows = read(made, Ability)
    asked = lessons("ability/0", ABILITY_FAMILIES, 9)[:4]
    assert [row.family for row in rows[:4]] == [one.family for one in asked]
    assert sum(row.correct for row in rows) < len(rows)


def test_families_are_measured_that_are_answered_right_often_enough(tmp_path: Path) -> None:
    right = {"capitals": 6, "plurals": 5, "kind": 0}
    assert chosen_families(know(tmp_path / "said.jsonl", right)) == ["capitals"]


def test_no_family_that_is_good_enough_is_an_error(tmp_path: Path) -> None:
    path = know(tmp_path / "said.jsonl", {"plurals": 2})
    with pytest.raises(MISError, match=f"{path}: no family of text questions"):
        chosen_families(path)


def test_only_families_that_the_language_model_knows_are_asked(tiny: Tiny, tmp_path: Path) -> None:
    said = know(tmp_path / "said.jsonl", {"plurals": 10, "kind": 0})
    call("ability", tiny.model, tmp_path / "a.jsonl", *FEW, "--said", said)
    asked = {row.family for row in read(tmp_path / "a.jsonl", Ability) if row.id.startswith("text/")}
    assert asked == {"plurals"}


def test_a_second_run_writes_nothing_new(tiny: Tiny, made: Path) -> None:
    before = hashes(made.parent)
    assert call("ability", tiny.model, made, *FEW)["asked"] == 0
    assert hashes(made.parent) == before


def test_an_interrupted_run_ends_with_the_same_bytes(tiny: Tiny, made: Path, tmp_path: Path) -> None:
    lines = made.read_text("utf-8").splitlines(keepends=True)
    (tmp_path / "ability.jsonl.part").write_text("".join([*lines[5:8], lines[0][:20]]), "utf-8")
    meta = json.loads(made.with_name("ability.jsonl.meta.json").read_text("utf-8"))
    here = Path(os.path.relpath(tiny.model, tmp_path))
    meta["inputs"] = {(here / Path(name).name).as_posix(): hash_ for name, hash_ in meta["inputs"].items()}
    meta["device"] = "cuda/bfloat16"
    (tmp_path / "ability.jsonl.meta.json").write_text(json.dumps(meta))
    assert call("ability", tiny.model, tmp_path / "ability.jsonl", *FEW)["asked"] == 5
    assert (tmp_path / "ability.jsonl").read_bytes() == made.read_bytes()
    assert read_sidecar(tmp_path / "ability.jsonl").device == "cpu/float32+cuda/bfloat16"


def test_all_of_the_checkpoint_is_pinned(made: Path) -> None:
    pinned = {Path(name).name for name in read_sidecar(made).inputs}
    assert {"model.safetensors", "config.json", "generation_config.json", "tokenizer_config.json"} <= pinned
    assert read_sidecar(made).settings["version"] == VERSION


def test_other_settings_are_refused(tiny: Tiny, made: Path) -> None:
    code, line, error = attempt("ability", tiny.model, made, *FEW, "--seed", 1)
    assert (code, line) == (1, "")
    assert f"{made} was made with another setting: seed was 0" in error


def test_a_folder_without_a_model_is_one_clear_error(tmp_path: Path) -> None:
    code, line, error = attempt("ability", tmp_path / "none", tmp_path / "a.jsonl", *FEW)
    assert (code, line) == (1, "")
    assert f"{tmp_path / 'none'}" in error
