"""Drawing here: what is told without diffusers; the cases with it run in an environment of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mis_dataset.construct.config import read_config
from mis_dataset.construct.diffusion import Diffusion, DiffusionDrawer, size_of
from mis_dataset.construct.hub_seeds import HubSeeds
from mis_dataset.construct.shelves import Photographs
from mis_dataset.errors import MISError, UsageError
from tests.made_environment import environment
from tests.test_construct_config import WHOLE, written

ROOT = Path(__file__).resolve().parents[1]
DRAWING = "{model: draws, prices: [0, 0, 0.04], picture_format: null}"
SEEDS = "[a.jsonl, more/b.jsonl]"


@pytest.mark.slow
def test_a_tiny_pipeline_draws_in_an_environment_with_diffusers(tmp_path: Path) -> None:
    python = environment(tmp_path / "env", ["diffusers"])
    # diffusers itself uses what torch has given up.
    words = ("-q", "-p", "no:cacheprovider", "-W", "ignore:`torch.jit.script` is deprecated")
    ended = subprocess.run(
        [python, "-m", "pytest", *words, "tests/diffusion_cases.py", "tests/drawing_cases.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-2000:]
    assert "20 passed" in ended.stdout


def test_without_diffusers_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with (
        pytest.raises(UsageError, match=r"drawing here needs diffusers; pip install 'mis-dataset\[draw\]'"),
        DiffusionDrawer(Diffusion("OWNER/NAME"), tmp_path / "replies.sqlite"),
    ):
        pass


def test_a_construction_by_endpoints_loads_neither_torch_nor_datasets() -> None:
    heavy = "{'torch', 'transformers', 'diffusers', 'datasets'} & set(sys.modules)"
    code = f"import sys, mis_dataset.construct.pipeline; sys.exit(bool({heavy}))"
    paths = os.environ | {"PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=paths).returncode == 0


def test_engines_and_datasets_are_read_and_folders_stand_beside_the_settings(tmp_path: Path) -> None:
    for name in ("draws", "clip", "photographs", "texts"):
        (tmp_path / name).mkdir()
    own = "{engine: diffusers, model: draws, steps: 20, guidance: 7}"
    seeds = "[a.jsonl, {hub: texts, text: prompt, category: Hate}, {hub: walledai/AdvBench, revision: main}]"
    config = read_config(written(tmp_path, WHOLE.replace(DRAWING, own).replace(SEEDS, seeds)))
    assert config.drawing == Diffusion(str(tmp_path / "draws"), steps=20, guidance=7)
    assert config.seeds == (
        tmp_path / "a.jsonl",
        HubSeeds(str(tmp_path / "texts"), "prompt", category="Hate", licence="unknown"),
        HubSeeds("walledai/AdvBench", "prompt", licence="MIT", revision="main"),
    )
    own = "{engine: folder, model: clip, folder: photographs}"
    config = read_config(written(tmp_path, WHOLE.replace(DRAWING, own)))
    assert config.drawing == Photographs(str(tmp_path / "clip"), str(tmp_path / "photographs"))


@pytest.mark.parametrize(
    ("was", "now", "fault"),
    [
        (DRAWING, "{engine: paint, model: draws}", "drawing: engine is none of diffusers, folder"),
        (DRAWING, "{engine: diffusers}", "drawing: .*missing 1 required positional argument: 'model'"),
        (DRAWING, "{engine: diffusers, model: a/b, prices: [1, 2]}", "prices is no setting of the engine diffusers"),
        (DRAWING, "{engine: diffusers, model: a/b, steps: 0}", "drawing: steps is no whole number from 1 to 1000"),
        (DRAWING, "{engine: diffusers, model: a/b, steps: true}", "drawing: steps is no whole number"),
        (DRAWING, "{engine: diffusers, model: a/b, guidance: -1}", "drawing: guidance is no number from 0 on"),
        (DRAWING, "{engine: diffusers, model: a/b, dtype: int8}", "drawing: dtype is none of auto, float32"),
        (DRAWING, "{engine: diffusers, model: 7}", "drawing: model, revision and negative are texts"),
        (DRAWING, "{engine: folder, model: a/b}", "drawing: .*missing 1 required positional argument: 'folder'"),
        (DRAWING, "{engine: folder, model: a/b, folder: ''}", "drawing: model, folder and revision are texts"),
        (DRAWING, "{engine: diffusers, model: a/b}\nsize: 100x100", "size: 100x100 is no WIDTHxHEIGHT of pixels"),
        (SEEDS, "[{hub: OWNER/NAME}]", "seeds: the columns of OWNER/NAME are not known"),
        (SEEDS, "[{hub: OWNER/NAME, text: a, licenze: b}]", "seeds: licenze is no setting of a dataset"),
        (SEEDS, "[7]", "seeds is no list of names of files and tables"),
    ],
)
def test_what_is_wrong_with_an_engine_or_a_dataset_is_named(tmp_path: Path, was: str, now: str, fault: str) -> None:
    assert was in WHOLE
    with pytest.raises(MISError, match=fault):
        read_config(written(tmp_path, WHOLE.replace(was, now)))


@pytest.mark.parametrize("size", ["512", "512x", "100x100", "0x8", "512X512", "8x8\n"])
def test_a_size_that_no_pipeline_draws_is_refused(size: str) -> None:
    with pytest.raises(UsageError, match="is no WIDTHxHEIGHT of pixels, both a multiple of 8"):
        size_of(size)
    assert size_of("24x16") == (24, 16)
