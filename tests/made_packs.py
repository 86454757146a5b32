"""A small run with all that a release of it needs; its weights are no model's."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
from pathlib import Path
from typing import Any

from tests.made_cards import change, make_run, write
from tests.tiny import Tiny

CHECKPOINT = (
    "config.json",
    "generation_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
)
OTHERS_FOLDER = "/home/someone/runs/mini/base/model"
"""The base as PEFT names it, on the machine that trained."""


def make_packable(folder: Path) -> Path:
    """Writes the run; returns its folder."""
    make_run(folder)
    manifest = folder / "MIS" / "MANIFEST.json"
    files = {f"data/{path.name}": sha256(path) for path in sorted((folder / "MIS" / "data").iterdir())}
    change(manifest, files, "files")
    described = [{"@type": "cr:FileObject", "contentUrl": name, "sha256": sha} for name, sha in files.items()]
    write(folder / "MIS" / "croissant.json", {"distribution": described})
    write(folder / "raw" / "mini" / "objects.json", {f"test_hard/{row}": ["lamp", "box"] for row in range(12)})
    for model in ("base", "arms/contrast"):
        _write_checkpoint(folder / model / "model", shade=len(model))
    _write_adapter(folder / "arms" / "contrast" / "adapter")
    return hash_files(folder)


def make_real(folder: Path, tiny: Tiny, arm: Path) -> Path:
    """A run whose dataset, base and arm are real; its rates are made up, as nobody asked them."""
    from mis_dataset.__main__ import main

    make_run(folder)
    shutil.copytree(tiny.raw / "mini", folder / "raw" / "mini")
    shutil.rmtree(folder / "MIS")
    shutil.copytree(tiny.dataset, folder / "MIS")
    assert main(["croissant", str(folder / "MIS")]) == 0
    shutil.copytree(tiny.model, folder / "base" / "model", dirs_exist_ok=True)
    shutil.copytree(arm, folder / "arms" / "contrast", dirs_exist_ok=True)
    return hash_files(folder)


def hash_files(folder: Path) -> Path:
    """Has report.json name what lies in the run, as if its rates had been measured on that."""
    hashed = [path for model in ("base", "arms/contrast") for path in sorted((folder / model / "model").iterdir())]
    found = [folder / "MIS" / "MANIFEST.json", *hashed]
    hashes = {path.relative_to(folder).as_posix(): sha256(path) for path in found}
    change(folder / "report.json", hashes | {"../../home/someone/labels.jsonl": "0" * 64}, "hashes")
    return folder


def sha256(path: Path) -> str:
    """Of a file, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_safetensors(path: Path, shade: int) -> None:
    """One tensor of four bytes, in the format of safetensors."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = json.dumps({"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(struct.pack("<Q", len(head)) + head + bytes([shade] * 4))


def _write_checkpoint(folder: Path, shade: int) -> None:
    write_safetensors(folder / "model.safetensors", shade)
    for name in CHECKPOINT:
        write(folder / name, {"made": name})
    (folder / "chat_template.jinja").write_text("{{ messages }}", encoding="utf-8")


def _write_adapter(folder: Path) -> None:
    write_safetensors(folder / "adapter_model.safetensors", 9)
    config: dict[str, Any] = {"base_model_name_or_path": OTHERS_FOLDER, "r": 16, "lora_alpha": 32}
    config |= {
        "lora_dropout": 0.0,
        "target_modules": "q_proj|v_proj",
        "modules_to_save": ["projector"],
        "revision": None,
    }
    write(folder / "adapter_config.json", config)
    (folder / "README.md").write_text("what PEFT writes", encoding="utf-8")
