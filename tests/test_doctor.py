"""The doctor: every planted fault is told by the id of its row, and a healthy dataset passes beside it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mis_dataset.files import sha256_of
from mis_dataset.manifest import NAME, read_manifest
from tests.made_vlms import make_vlm
from tests.tiny import Tiny, attempt, write_recipe
from trainer.families import FAMILIES
from trainer.sidecars import read_sidecar

Row = dict[str, Any]
PLANTED = ["train/2", "train/3", "train/4", "train/5", "train/6", "train/7"]
"""Dangerous rows of the smoke release that get a fault each."""


def change_train(dataset: Path, out: Path, edit: Callable[[list[Row]], list[Row]]) -> Path:
    """A copy of a built dataset whose train rows `edit` changed, with a manifest that says so."""
    shutil.copytree(dataset, out)
    name = "data/train-00000-of-00001.parquet"
    table = pq.read_table(out / name)
    pq.write_table(pa.Table.from_pylist(edit(table.to_pylist()), schema=table.schema), out / name)
    manifest, wrong = (out / NAME).read_text("utf-8"), read_manifest(out).files[name]
    (out / NAME).write_text(manifest.replace(wrong, sha256_of(out / name)), "utf-8")
    return out


def bare(model: Path, out: Path, change: Callable[[str], str] = str) -> Path:
    """A checkpoint without its weights, its chat template changed."""
    shutil.copytree(model, out, ignore=shutil.ignore_patterns("*.safetensors"))
    template = out / "chat_template.jinja"
    before = template.read_text("utf-8")
    template.write_text(change(before), "utf-8")
    assert change is str or template.read_text("utf-8") != before
    return out


def doctor(base: Path, dataset: Path, folder: Path, *flags: object, **recipe: Any) -> tuple[int, dict[str, list[str]]]:
    """Runs the verb; returns its exit code, and kind of fault -> ids."""
    config = write_recipe(folder / "recipe.yaml", **recipe)
    out = folder / "doctor.json"
    code, line, _ = attempt("doctor", base, dataset, "--config", config, "--out", out, *flags)
    found = json.loads(out.read_text("utf-8"))["findings"]
    told = json.loads(line)
    assert told["passed"] == (code == 0) == (not told["errors"])
    assert told["errors"] | told["warnings"] == {one["kind"]: max(1, len(one["ids"])) for one in found}
    return code, {one["kind"]: one["ids"] for one in found}


def test_a_healthy_dataset_passes_without_a_warning(tiny: Tiny, tmp_path: Path) -> None:
    base = bare(tiny.model, tmp_path / "base")
    assert doctor(base, tiny.dataset, tmp_path) == (0, {})
    report = json.loads((tmp_path / "doctor.json").read_text("utf-8"))
    assert report["kinds"] == {"dangerous": 14, "twin": 14, "general": 3}
    assert (report["rows"], report["rendered"]) == (31, 31)
    assert sum(number for _, _, number in report["tokens"]["histogram"]) == 31
    assert read_sidecar(tmp_path / "doctor.json").settings["twins"] is True


def test_rows_with_a_fault_each_are_all_told(tiny: Tiny, tmp_path: Path) -> None:
    tests = pq.read_table(tiny.dataset / "data" / "test_hard-00000-of-00001.parquet").to_pylist()

    def plant(rows: list[Row]) -> list[Row]:
        held = {row["id"]: row for row in rows}
        unreadable, cut, literal, ended, empty, tested = (held[id_] for id_ in PLANTED)
        unreadable["images"][0]["bytes"] = b"no picture"
        cut["images"][1]["bytes"] = cut["images"][1]["bytes"][:-40]
        literal["question"] += " <IMG_CONTEXT>"
        ended["response"] = "No.<|im_end|>\n<|im_start|>user\nGo on."
        empty["response"] = " "
        tested |= {name: tests[0][name] for name in ("question", "images")}
        held["train/8"]["response"] = "I see. " * 5000
        for id_ in ("train/9", "train/10", "train/11", "train/12", "train/13"):
            held[id_]["response"] = "No."
        return [*rows, held["train/1"]]

    dataset = change_train(tiny.dataset, tmp_path / "MIS", plant)
    code, found = doctor(tiny.model, dataset, tmp_path, twins=False, general_share=0.0)
    assert code == 1
    assert found.pop("alike") == ["train/9", "train/10", "train/11", "train/12", "train/13"]
    assert found == {
        "id": ["train/1"],
        "empty": ["train/6"],
        "picture": ["train/2", "train/3"],
        "control": ["train/4", "train/5"],
        "long": ["train/8"],
        "test_row": ["train/7"],
    }


def test_a_first_word_that_only_dangerous_rows_have_is_told(tiny: Tiny, tmp_path: Path) -> None:
    def warn(rows: list[Row]) -> list[Row]:
        return [row if row["twin_of"] else row | {"response": f"Warning! {row['response']}"} for row in rows]

    code, found = doctor(tiny.model, change_train(tiny.dataset, tmp_path / "MIS", warn), tmp_path, general_share=0.0)
    assert (code, set(found)) == (0, {"twin_opening"})
    assert len(found["twin_opening"]) == 28
    told = json.loads((tmp_path / "doctor.json").read_text("utf-8"))["openings"]
    assert [(one["against"], one["words"], one["auc"], one["dangerous"], one["harmless"]) for one in told] == [
        ("twin", 1, 1.0, 14, 14),
        ("twin", 3, 1.0, 14, 14),
        ("twin", 5, 1.0, 14, 14),
    ]


def test_a_template_that_is_not_the_checkpoints_is_told_of_every_row(tiny: Tiny, tmp_path: Path) -> None:
    base = bare(tiny.model, tmp_path / "base", lambda text: text.replace("<|im_end|>", ""))
    code, found = doctor(base, tiny.dataset, tmp_path, "--limit", 2)
    assert (code, {kind: len(ids) for kind, ids in found.items()}) == (1, {"template": 4})


def test_labels_on_the_whole_row_are_told(tiny: Tiny, tmp_path: Path) -> None:
    code, found = doctor(tiny.model, tiny.dataset, tmp_path, "--limit", 2, completion_only_loss=False)
    assert (code, {kind: len(ids) for kind, ids in found.items()}) == (1, {"labels": 4})


def test_what_leaks_found_is_told_of_trained_rows(tiny: Tiny, tmp_path: Path) -> None:
    from mis_dataset.__main__ import main as dataset_main

    test = pq.read_table(tiny.dataset / "data" / "test_hard-00000-of-00001.parquet").to_pylist()[0]

    def share(rows: list[Row]) -> list[Row]:
        rows[0]["images"][0] = test["images"][0]
        rows[1]["question"] = "Where do the two of them stand, in which of the rooms?"
        return rows

    dataset = change_train(tiny.dataset, tmp_path / "MIS", share)
    leaks = tmp_path / "leaks.json"
    assert dataset_main(["leaks", str(dataset), str(leaks)]) == 1
    code, found = doctor(tiny.model, dataset, tmp_path, "--leaks", leaks, twins=False, general_share=0.0)
    assert (code, found) == (1, {"leak": ["train/1"]})
    config = write_recipe(tmp_path / "recipe.yaml")
    code, _, said = attempt("doctor", tiny.model, tiny.dataset, "--config", config, "--leaks", leaks)
    assert (code, "was not written by `mis_dataset leaks` for" in said) == (2, True)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_healthy_dataset_passes_for_every_family(tiny: Tiny, tmp_path: Path, family: str) -> None:
    base = bare(make_vlm(tmp_path / "model", family), tmp_path / "base")
    assert doctor(base, tiny.dataset, tmp_path, "--limit", 2, general_share=0.3) == (0, {})
