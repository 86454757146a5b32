"""A smoke release, its dataset, a smoke base and one arm, each made once a session by the verbs a user types."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from trainer.__main__ import main as trainer_main
from trainer.recipe import CONFIGS


class Tiny(NamedTuple):
    """Folders that tests read and never write to.

    Attributes:
        raw: MIS-mini, a few rows a split.
        dataset: built from it.
        base: `tower/` and `model/` of a base with a tiny random language model.
    """

    raw: Path
    dataset: Path
    base: Path

    @property
    def model(self) -> Path:
        return self.base / "model"


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """For models so small that more threads are slower."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    from mis_dataset.__main__ import main as dataset_main

    root = tmp_path_factory.mktemp("tiny")
    made = Tiny(root / "raw", root / "MIS", root / "base")
    with contextlib.redirect_stdout(io.StringIO()):
        assert dataset_main(["mini", str(made.raw), "--smoke"]) == 0
        assert dataset_main(["build", str(made.raw), str(made.dataset)]) == 0
    call("base", made.base, "--smoke")
    return made


@pytest.fixture(scope="session")
def tiny_arm(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The contrast recipe in 8 bold steps, so that what it learnt can be seen."""
    out = tmp_path_factory.mktemp("arms") / "contrast"
    call("sft", tiny.model, tiny.dataset, out, "--config", write_recipe(out.parent / "bold.yaml"))
    return out


@pytest.fixture(scope="session")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives a tiny random checkpoint of a family, made once a session; tests never write to it."""
    from tests.made_vlms import make_vlm

    return cache(lambda family: make_vlm(tmp_path_factory.mktemp("vlms") / family, family))


def write_recipe(path: Path, **changes: Any) -> Path:
    """`mini_contrast.yaml` at a large learning rate from the first step on, two epochs, with `changes`."""
    shipped = yaml.safe_load((CONFIGS / "mini_contrast.yaml").read_text("utf-8"))
    bold = {
        "per_device_train_batch_size": 8,
        "general_share": 0.11,
        "learning_rate": 0.01,
        "warmup_steps": 0,
        "num_train_epochs": 2,
        "bf16": False,
        "doses": [8],
        "logging_steps": 1,
    }
    path.write_text("# made by a test\n" + yaml.safe_dump(shipped | bold | changes), "utf-8")
    return path


def call(*words: object) -> dict[str, Any]:
    """Runs a verb of the trainer that must end well; returns its line of JSON."""
    code, line, _ = attempt(*words)
    assert code == 0, f"exit code {code}"
    found: dict[str, Any] = json.loads(line)
    return found


def attempt(*words: object) -> tuple[int, str, str]:
    """Runs a verb of the trainer; returns exit code, stdout and stderr."""
    said, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(errors):
        code = trainer_main([str(word) for word in words])
    return code, said.getvalue(), errors.getvalue()


def hashes(folder: Path) -> dict[str, str]:
    """sha256 of every file under a folder, by its relative path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
