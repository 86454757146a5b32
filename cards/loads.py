"""What loads a published repository as a user would: short programs, each run in a process and with caches of its own.

They are texts and not modules: this room knows no weights, and nothing of ours may be there to help. Each runs in an
empty folder, with the libraries that are installed and nothing else.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cards.reading import CardError

DATASET = """
import json, sys
from datasets import load_dataset
repo, revision, config, way = sys.argv[1:]
how = {"name": config or None, "revision": revision, "streaming": way == "streaming"}
if how["streaming"]:
    ids = load_dataset(repo, columns=["id"], **how)
    rows = {name: sum(1 for _ in split) for name, split in ids.items()}
else:
    rows = {name: len(split) for name, split in load_dataset(repo, **how).items()}
pictures = 0
for split in load_dataset(repo, **how).values():
    for picture in next(iter(split))["images"]:
        picture.load()
        pictures += 1
print(json.dumps({"rows": rows, "pictures": pictures}))
"""
MODEL = """
import json, sys
from transformers import AutoModelForImageTextToText, AutoProcessor
repo, revision = sys.argv[1:]
how = {"revision": revision, "trust_remote_code": False}
model, told = AutoModelForImageTextToText.from_pretrained(
    repo, use_safetensors=True, output_loading_info=True, **how)
AutoProcessor.from_pretrained(repo, **how)
wrong = sorted(str(key) for kind in ("missing_keys", "unexpected_keys", "mismatched_keys") for key in told[kind])
print(json.dumps({"model": type(model).__name__, "parameters": model.num_parameters(), "wrong": wrong}))
"""
ADAPTER = """
import json, sys, warnings
from peft import PeftModel
from transformers import AutoModelForImageTextToText
repo, revision, base = sys.argv[1:]
warnings.filterwarnings("error", message=".*missing adapter keys")  # PEFT goes on with those that it made itself
model = AutoModelForImageTextToText.from_pretrained(base, use_safetensors=True, trust_remote_code=False)
before = model.num_parameters()
adapted = PeftModel.from_pretrained(model, repo, revision=revision)
print(json.dumps({"model": type(model).__name__, "parameters": adapted.num_parameters() - before}))
"""
METRIC = """
import json, sys
import evaluate
repo, revision = sys.argv[1:]
module = evaluate.load(repo, revision=revision)
print(json.dumps({"module_type": module.module_type, "metric": type(module).__name__}))
"""
_TIMEOUT = 3600
_CACHES = (
    "HF_HUB_CACHE HUGGINGFACE_HUB_CACHE HF_DATASETS_CACHE HF_MODULES_CACHE HF_EVALUATE_CACHE HF_METRICS_CACHE "
    "HF_ASSETS_CACHE HF_XET_CACHE TRANSFORMERS_CACHE HF_DATASETS_DOWNLOADED_DATASETS_PATH "
    "HF_DATASETS_DOWNLOADED_EVALUATE_PATH HF_DATASETS_EXTRACTED_DATASETS_PATH"
).split()
_SECRET = re.compile(r"(^|_)(TOKENS?|SECRETS?|KEYS?|PASSWORD|CREDENTIALS?|OIDC)(_|$)", re.IGNORECASE)
"""In the name of a variable that is no business of others' code: keys of judges and clouds, beside those of the Hub."""


class LoadError(CardError):
    """A program failed; the message is the last line that it wrote."""


def fresh(program: str, words: Sequence[str], folder: Path, token: str | None) -> dict[str, Any]:
    """Runs a program in a new process, with an empty home of the libraries and in an empty folder.

    Args:
        program: in Python; its last line on stdout is one JSON object.
        words: its arguments.
        folder: empty; home and folder of the process are made in it.
        token: of the Hub, given in the environment; None: the process has none. Of the environment it gets nothing
            else whose name is that of a secret. What lies in files of the user it could read all the same.

    Returns:
        What it wrote. All else that it writes is dropped.

    Raises:
        LoadError: it failed, took an hour, or ended before it wrote that.
    """
    work = folder / "work"
    work.mkdir(parents=True)
    dropped = {*_CACHES, "PYTHONPATH"}
    kept = {name: word for name, word in os.environ.items() if name not in dropped and not _SECRET.search(name)}
    # evaluate asks another host, only to count, unless it is told not to.
    own = {"HF_HOME": str(folder / "home"), "HF_UPDATE_DOWNLOAD_COUNTS": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    secret = {"HF_TOKEN": token} if token else {}
    try:
        ended = subprocess.run(
            [sys.executable, "-c", program, *words],
            cwd=work,
            env=kept | own | secret,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT,
        )
    except subprocess.TimeoutExpired as error:
        raise LoadError(f"takes longer than {_TIMEOUT} s") from error
    if ended.returncode:
        lines = [line for line in ended.stderr.splitlines() if line.strip()]
        raise LoadError(lines[-1].strip() if lines else f"ended with {ended.returncode}")
    return _last(ended.stdout)


def _last(text: str) -> dict[str, Any]:
    try:
        told = json.loads(text.strip().splitlines()[-1])
    except (ValueError, IndexError):
        told = None
    if not isinstance(told, dict):
        raise LoadError("ended well, but did not say what it loaded")
    return told
