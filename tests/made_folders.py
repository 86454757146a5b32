"""Tiny folders of every kind of Hub repository, of files that only look like what they are."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from mis_dataset.schema import DATA_VERSION

_LEGAL = {"LICENSE": "Apache-2.0\n", "NOTICE": "made by a test\n"}
WEIGHTS = "\x02\0\0\0\0\0\0\0{}"
"""In the format of safetensors, of no tensor."""
_SPACE = "---\nsdk: gradio\n---\n# {name}\n"


def write(folder: Path, files: dict[str, str]) -> Path:
    """Writes files; returns the folder."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    return folder


def dataset_folder(folder: Path, shards: int = 2) -> Path:
    """A dataset of so many shards."""
    files = {f"data/train-{number:05d}-of-{shards:05d}.parquet": f"shard {number} " * 99 for number in range(shards)}
    sums = {name: _sha256(text) for name, text in files.items()}
    told = {"data_version": DATA_VERSION, "config": "default", "limit": None, "rows": {"train": shards}, "files": sums}
    return write(
        folder, {**files, **_LEGAL, "MANIFEST.json": json.dumps(told), "README.md": "---\nlicense: mit\n---\n"}
    )


def model_folder(folder: Path) -> Path:
    """A model, with its sums."""
    files = {
        "README.md": '---\nversion: "0.1"\n---\n',
        **dict.fromkeys(("config.json", "generation_config.json"), "{}"),
    }
    files |= {"chat_template.jinja": "{{ messages }}", "model.safetensors": WEIGHTS, **_LEGAL}
    write(folder, {**files, ".eval_results/mis.yaml": "- value: 1\n"})
    return write_sums(folder)


def adapter_folder(folder: Path) -> Path:
    """An adapter, with its sums."""
    write(folder, {"README.md": "card", "adapter_config.json": "{}", "adapter_model.safetensors": WEIGHTS, **_LEGAL})
    return write_sums(folder)


def metric_folder(folder: Path) -> Path:
    """A metric that evaluate loads."""
    module = (
        "import datasets\nimport evaluate\n\nMETRIC_VERSION = '1-b'\n\n\nclass Share(evaluate.Metric):\n"
        "    def _info(self):\n        features = datasets.Features({'predictions': datasets.Value('string')})\n"
        "        return evaluate.MetricInfo(description='', citation='', inputs_description='', features=features)\n\n"
        "    def _compute(self, predictions):\n        return {'n': len(predictions)}\n"
    )
    files = {f"{folder.name}.py": module, "app.py": "print('app')\n", "requirements.txt": "evaluate\ndatasets\n"}
    return write(folder, {**files, "README.md": _SPACE.format(name=folder.name)})


def demo_folder(folder: Path) -> Path:
    """A Space that is a demo."""
    files = {
        "app.py": "print('demo')\n",
        "page.py": "WIDTH = 3\n",
        "style.css": "p {}\n",
        "requirements.txt": "gradio\n",
    }
    return write(folder, {**files, "README.md": _SPACE.format(name=folder.name)})


def release_folder(folder: Path) -> Path:
    """A release of all kinds, by `me`."""
    dataset_folder(folder / "dataset")
    model_folder(folder / "model")
    adapter_folder(folder / "adapter")
    metric_folder(folder / "pair_accuracy")
    demo_folder(folder / "demo")
    kinds = {
        "demo": ("demo", "me/MIS-demo"),
        "dataset": ("dataset", "me/MIS-mini"),
        "model": ("model", "me/mis-mini-contrast"),
        "adapter": ("adapter", "me/mis-mini-contrast-adapter"),
        "pair_accuracy": ("metric", "me/pair_accuracy"),
    }
    folders = {name: {"kind": kind, "repo": repo} for name, (kind, repo) in kinds.items()}
    return write(folder, {"RELEASE.json": json.dumps({"owner": "me", "folders": folders})})


def write_sums(folder: Path) -> Path:
    """Writes SHA256SUMS over all other files; returns the folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "SHA256SUMS")
    lines = (
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}" for path in paths
    )
    return write(folder, {"SHA256SUMS": "".join(f"{line}\n" for line in lines)})


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
