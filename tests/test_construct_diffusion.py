"""Drawing here: what is told without diffusers; the cases with it run in an environment of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mis_dataset.construct.config import read_config
from mis_dataset.construct.diffusion import Diffusion, DiffusionDrawer, size_of
from mis_dataset.construct.drawers import Given, Wanted
from mis_dataset.construct.hub_seeds import HubSeeds
from mis_dataset.construct.pipeline import construct
from mis_dataset.construct.shelves import Photographs
from mis_dataset.errors import MISError, RemoteError, UsageError
from mis_dataset.remote.messages import Reply
from tests.loopback_api import LoopbackApi
from tests.made_environment import environment
from tests.test_construct_config import WHOLE, written
from tests.test_construct_pipeline import api as api
from tests.test_construct_pipeline import settings as settings

ROOT = Path(__file__).resolve().parents[1]
DRAWING = "{model: draws, prices: [0, 0, 0.04], picture_format: null}"
SEEDS = "[a.jsonl, more/b.jsonl]"
WANTED = Wanted("s1.1", "a lamp", "a photo of a lamp", 1, "16x16", 7)


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


def test_a_replay_draws_what_is_kept_and_stops_at_what_is_not_without_weights_or_diffusers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    (tmp_path / "draws").mkdir()
    (tmp_path / "draws" / "model_index.json").write_text('{"_class_name": "AnyPipeline"}')
    cache, settings = tmp_path / "replies.sqlite", Diffusion(str(tmp_path / "draws"), dtype="float32")
    with DiffusionDrawer(settings, cache, replay=True) as drawer:
        drawer._cache.put(drawer._key(WANTED), Reply("", "stop", model="draws@1", picture=b"kept"))
        assert drawer.draw(WANTED) == Given(b"kept", "a photo of a lamp", "draws@1")
        never = (
            rf"replies\.sqlite: draws@{drawer.identity[:12]} never drew this for s2\.1, or with other settings; run it"
        )
        with pytest.raises(RemoteError, match=never):
            drawer.draw(WANTED._replace(id="s2.1", seed=8))
        assert not drawer._pipeline
    with DiffusionDrawer(replace(settings, steps=3), cache, replay=True) as other, pytest.raises(RemoteError):
        other.draw(WANTED)


def test_a_replay_asks_the_hub_for_no_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    drawer = DiffusionDrawer(Diffusion("OWNER/draws"), tmp_path / "replies.sqlite", replay=True)
    with (
        pytest.raises(MISError, match="OWNER/draws: was not fetched before, and a replay does not ask the Hub"),
        drawer,
    ):
        pass
    snapshot = tmp_path / "hub" / "models--OWNER--draws" / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "model_index.json").write_text('{"_class_name": "AnyPipeline"}')
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("a" * 40)
    with drawer:
        assert drawer.identity == "a" * 40


@pytest.mark.usefixtures("api_key")
def test_a_replay_of_a_construction_draws_nothing(api: LoopbackApi, settings: Path, tmp_path: Path) -> None:
    settings.write_text(settings.read_text().replace("size: 8x8", "size: 16x16"))
    construct(read_config(settings), tmp_path / "out")
    (tmp_path / "draws").mkdir()
    (tmp_path / "draws" / "model_index.json").write_text('{"_class_name": "AnyPipeline"}')
    hosted = next(line for line in settings.read_text().splitlines() if line.startswith("drawing"))
    settings.write_text(settings.read_text().replace(hosted, "drawing: {engine: diffusers, model: draws}"))
    with pytest.raises(RemoteError, match=r"draws@[0-9a-f]{12} never drew this for s1\.1"):
        construct(read_config(settings), tmp_path / "out", replay=True)


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
