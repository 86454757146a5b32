"""The door as a loading script, in an environment of its own with the last `datasets` that runs scripts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.made_release import make_release

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
LOAD = """
import json, sys, datasets
loaded = datasets.load_dataset(sys.argv[1], data_dir=sys.argv[2], trust_remote_code=True)
row = loaded["train"][3]
first = next(iter(datasets.load_dataset(
    sys.argv[1], data_dir=sys.argv[2], trust_remote_code=True, streaming=True, split="test_hard"
)))
print(json.dumps({
    "version": datasets.__version__,
    "rows": {split: len(rows) for split, rows in loaded.items()},
    "id": row["id"],
    "twin_of": row["twin_of"],
    "sizes": [image.size for image in row["images"]],
    "streamed": first["id"],
}))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with datasets 3.6 and Pillow."""
    folder = tmp_path_factory.mktemp("datasets3")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "datasets==3.6.0", "pillow"], check=True)
    return python


def run(python: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_HOME": str(folder / "home"), "PYTHONPATH": str(ROOT)}
    return subprocess.run([python, *words], cwd=folder, env=environment, capture_output=True, text=True)


def test_the_door_is_a_loading_script_for_datasets_3(python: Path, tmp_path: Path) -> None:
    raw = make_release(tmp_path / "raw")
    ended = run(python, tmp_path, "-c", LOAD, str(ROOT / "mis_dataset.py"), str(raw))
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout.splitlines()[-1]) == {
        "version": "3.6.0",
        "rows": {"train": 4, "test_easy": 2, "test_hard": 2, "test_real": 2, "test_benign": 2},
        "id": "train/4",
        "twin_of": "train/1",
        "sizes": [[8, 8], [8, 8]],
        "streamed": "test_hard/0",
    }


def test_build_says_that_it_needs_a_newer_one(python: Path, tmp_path: Path) -> None:
    raw = make_release(tmp_path / "raw")
    ended = run(python, tmp_path, "-m", "mis_dataset", "build", str(raw), str(tmp_path / "MIS"))
    assert ended.returncode == 2
    assert ended.stderr == "build needs datasets 5 or newer, found 3.6.0; update it\n"
