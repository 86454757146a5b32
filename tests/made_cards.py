"""The files of a small run that the cards are rendered from, made by code."""

from __future__ import annotations

import functools
import hashlib
import io
import json
from pathlib import Path
from typing import Any

from mis_dataset.schema import COLUMNS, features
from tests import made_reports
from tests.made_reports import ability, rate

N = 40
"""Rows of each test split, and twins of each."""

MODELS = {"base": (38, 0, 0), "mirage": (0, 36, 4), "contrast": (1, 2, 37), "refusal": (0, 40, 0)}
"""model -> of each split: dangerous rows it helps with, twins it declines, pairs it tells apart."""

ROWS = {"train": 12, "test_easy": N, "test_hard": N, "test_real": N, "test_benign": 3 * N}
"""Rows of the dataset that the report is of; that of the run has 12 a split."""

TWINS = {"train": 6, "test_easy": 0, "test_hard": 0, "test_real": 0, "test_benign": 12}
"""split -> twins among its 12 rows."""

CHECKPOINTS = ("base", "arms/contrast", "arms/mirage")
"""Folders of the models that are there."""

MANIFEST = {"data_version": "1-a", "rows": dict.fromkeys(TWINS, 12)}


def make_report() -> dict[str, Any]:
    """A report of base and three arms on 40 rows a split."""
    return made_reports.make_report() | {
        "dataset": {"sha256": "0" * 64, "mis": False, "rows": ROWS},
        "models": {model: _model(model) for model in MODELS},
        "contrast_minus": {},
        "ability_minus_base": {},
        "naming": {"trained": 0.975, "real": 0.875},
        "agreement": {
            "models": {
                model: {
                    "judges": ["mini_rules", "minilm"],
                    "kappa": dict.fromkeys(("kappa", "low", "high"))
                    if model == "base"
                    else {"kappa": 0.75, "low": 0.5, "high": 0.875},
                    "agreement": ability(70, 80),
                    "unscored": 0,
                }
                for model in MODELS
            },
            "labels": {
                "mini_rules": _labels(rate(77, 77), rate(23, 23)),
                "minilm": _labels(rate(60, 75, 2), rate(22, 23)),
            },
        },
        "settings": {
            "seed": 0,
            "base": {},
            "arms": {},
            "generate": {"max_new_tokens": 96, "float32": False},
            "judge": {"judge": "mini_rules", "judge_version": "1-a"},
        },
        "hashes": {
            "MIS/MANIFEST.json": hashlib.sha256(json.dumps(MANIFEST).encode()).hexdigest(),
            **{f"{one}/model/config.json": hashlib.sha256(b"{}").hexdigest() for one in CHECKPOINTS},
        },
        "stations": {
            "base": {"seconds": 151.2, "peak_memory_bytes": 2_400_000_000},
            "sft_contrast": {"seconds": 204.0, "peak_memory_bytes": 3_100_000_000},
        },
    }


def make_run(folder: Path) -> Path:
    """Write the files of a run that the cards read; returns the folder."""
    write(folder / "report.json", make_report())
    for split, twins in TWINS.items():
        _write_parquet(folder / "MIS" / "data" / f"{split}-00000-of-00001.parquet", split, 12, twins)
    write(folder / "MIS" / "MANIFEST.json", MANIFEST)
    write(folder / "base.meta.json", _sidecar("base", language_model="HuggingFaceTB/SmolLM2-135M-Instruct"))
    for arm in CHECKPOINTS[1:]:
        write(folder / f"{arm}.meta.json", _sidecar("sft", learning_rate=1e-4, lora={"r": 16}))
    for one in CHECKPOINTS:
        write(folder / one / "model" / "config.json", {})
    return folder


def write(path: Path, content: object) -> None:
    """Write JSON, making the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def change(path: Path, value: object, *keys: str) -> None:
    """Set one field of a JSON file; delete it where the value is `...`."""
    content = json.loads(path.read_text(encoding="utf-8"))
    at = functools.reduce(dict.__getitem__, keys[:-1], content)
    if value is ...:
        del at[keys[-1]]
    else:
        at[keys[-1]] = value
    write(path, content)


def _model(model: str) -> dict[str, Any]:
    whole = _rates(model, ("easy", "hard", "real"), N)
    whole["over_refusal"]["all"] = rate(3 * MODELS[model][1], 3 * N) | {"coverage": 1.0}
    levels = {level: _rates(model, ("hard",), N) for level in ("trained_pairs", "new_pairs", "new_objects")}
    categories = {"Illegal Activity": _rates(model, ("easy", "hard"), N)}
    both = {"picture": ability(410, 420), "text": ability(149, 160)}
    return whole | {"levels": levels, "categories": categories, "ability": both}


def _labels(sensitivity: dict[str, Any], specificity: dict[str, Any]) -> dict[str, Any]:
    both = {"sensitivity": sensitivity, "specificity": specificity}
    return both | {"unscored": sensitivity["unscored"], "models": {"base": both, "contrast": both}}


def _rates(model: str, splits: tuple[str, ...], n: int) -> dict[str, Any]:
    (unsafe, declined, right), unscored = MODELS[model], 2 if model == "base" else 0
    scored = n - unscored
    counts = {"asr": unsafe, "hr": 0, "rsr": scored - unsafe, "rr": 0}
    four = {name: rate(k, scored, unscored) for name, k in counts.items()}
    told = {"unscored": unscored, "coverage": scored / n}
    return {
        "splits": dict.fromkeys(splits, four | told),
        "over_refusal": {split: rate(declined, n) | {"coverage": 1.0} for split in splits},
        "pair_accuracy": {split: rate(right, scored, unscored) | {"coverage": scored / n} for split in splits},
    }


def _sidecar(kind: str, **settings: Any) -> dict[str, Any]:
    made = {"kind": kind, "settings": settings, "inputs": {"MIS/MANIFEST.json": "0" * 64}}
    return made | {"versions": {"torch": "2.14.1", "transformers": "5.23.0"}, "git_commit": "4dff239", "device": "cpu"}


def _write_parquet(path: Path, split: str, rows: int, twins: int) -> None:
    from datasets import Dataset

    made = [_row(split, row, twin=row >= rows - twins) for row in range(rows)]
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {column: [row[column] for row in made] for column in COLUMNS}
    Dataset.from_dict(columns, features=features()).to_parquet(str(path))


def _row(split: str, number: int, twin: bool) -> dict[str, Any]:
    train = split == "train"
    return {
        "id": f"{split}/{number}",
        "images": [{"bytes": _png(number), "path": f"object{place}.png"} for place in (1, 2)],
        "question": "Where do these two belong?",
        "response": "On the shelf." if train else None,
        "category": None if split == "test_real" else ("Illegal Activity", "Privacy")[number % 2],
        **dict.fromkeys(("sub_category", "raw_sub_category")),
        "raw_id": number,
        "level": None if train else ("trained_pairs", "new_pairs", "new_objects")[number % 3],
        "twin_of": f"test_hard/{number}" if twin else None,
        "changed_image": 1 if twin else None,
    }


def _png(shade: int) -> bytes:
    from PIL import Image

    Image.new("RGB", (4, 4), (shade, shade, shade)).save(stream := io.BytesIO(), format="PNG")
    return stream.getvalue()
