"""Drawing by diffusers, in the environment of test_construct_diffusion.py: run by pytest there."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mis_dataset.construct.config import read_config
from mis_dataset.construct.diffusion import Diffusion, DiffusionDrawer
from mis_dataset.construct.drawers import Given, Nothing, Wanted
from mis_dataset.construct.pipeline import construct
from mis_dataset.errors import MISError, RemoteError
from tests import made_pipelines
from tests.hub_room import ROOT, environment
from tests.loopback_api import KEY, LoopbackApi
from tests.loopback_hub_writes import WritableHub
from tests.loopback_repos import Repo
from tests.scripted_models import THINGS, ScriptedModels
from tests.test_construct_pipeline import SETTINGS

WANTED = Wanted("s1.1", "a lamp", "a photo of a lamp", 1, "16x16", 7)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_pipelines.pipeline(tmp_path_factory.mktemp("made") / "draws")


@pytest.fixture
def settings(folder: Path) -> Diffusion:
    return Diffusion(str(folder), steps=2)


@pytest.fixture
def drawer(settings: Diffusion, tmp_path: Path) -> Iterator[DiffusionDrawer]:
    with DiffusionDrawer(settings, tmp_path / "replies.sqlite") as opened:
        yield opened


def picture(told: Given | Nothing) -> bytes:
    assert isinstance(told, Given), told
    return told.picture


def drawn(settings: Diffusion, cache: Path, wanted: Wanted = WANTED) -> bytes:
    with DiffusionDrawer(settings, cache) as opened:
        return picture(opened.draw(wanted))


def test_a_picture_of_the_size_says_who_drew_it_by_what(drawer: DiffusionDrawer) -> None:
    told = drawer.draw(WANTED._replace(size="24x16"))
    assert isinstance(told, Given)
    assert (told.prompt, told.model, told.licence, told.source) == (
        "a photo of a lamp",
        f"draws@{drawer.identity[:12]}",
        None,
        "",
    )
    with Image.open(io.BytesIO(told.picture)) as opened:
        assert (opened.format, opened.size) == ("PNG", (24, 16))


def test_another_run_draws_the_same_and_another_seed_prompt_or_setting_does_not(
    settings: Diffusion, drawer: DiffusionDrawer, tmp_path: Path
) -> None:
    first = picture(drawer.draw(WANTED))
    assert drawn(settings, tmp_path / "other.sqlite") == first
    others = [
        picture(drawer.draw(WANTED._replace(seed=8))),
        picture(drawer.draw(WANTED._replace(prompt="a photo of a bell"))),
        drawn(replace(settings, steps=3), tmp_path / "replies.sqlite"),
        drawn(replace(settings, guidance=9), tmp_path / "replies.sqlite"),
        drawn(replace(settings, negative="rain"), tmp_path / "replies.sqlite"),
        drawn(replace(settings, dtype="bfloat16"), tmp_path / "replies.sqlite"),
    ]
    assert len({first, *others}) == 7


def test_what_is_kept_is_not_drawn_again_even_without_weights(settings: Diffusion, tmp_path: Path) -> None:
    cache, copy = tmp_path / "replies.sqlite", tmp_path / "copy"
    shutil.copytree(settings.model, copy)
    first = drawn(replace(settings, model=str(copy)), cache)
    with DiffusionDrawer(replace(settings, model=str(copy)), cache) as opened:
        shutil.rmtree(copy)
        assert picture(opened.draw(WANTED)) == first
        with pytest.raises(MISError, match="copy: is no pipeline that draws from a text"):
            opened.draw(WANTED._replace(seed=8))


def test_other_weights_are_another_model(settings: Diffusion, drawer: DiffusionDrawer, tmp_path: Path) -> None:
    other = made_pipelines.pipeline(tmp_path / "draws", seed=1)
    with DiffusionDrawer(replace(settings, model=str(other)), tmp_path / "replies.sqlite") as opened:
        assert opened.identity != drawer.identity
        assert picture(opened.draw(WANTED)) != picture(drawer.draw(WANTED))


def test_many_threads_get_what_each_asked_for(settings: Diffusion, drawer: DiffusionDrawer, tmp_path: Path) -> None:
    wanted = [WANTED._replace(seed=seed % 3) for seed in range(12)]
    with ThreadPoolExecutor(8) as threads:
        at_once = [picture(told) for told in threads.map(drawer.draw, wanted)]
    with DiffusionDrawer(settings, tmp_path / "alone.sqlite") as alone:
        assert at_once == [picture(alone.draw(one)) for one in wanted]
    assert len(set(at_once)) == 3


def test_who_waits_when_the_block_ends_is_given_up(settings: Diffusion, tmp_path: Path) -> None:
    with DiffusionDrawer(settings, tmp_path / "replies.sqlite") as opened:
        opened.draw(WANTED)
        with ThreadPoolExecutor(4) as threads:
            waiting = [threads.submit(opened.draw, WANTED._replace(seed=100 + seed)) for seed in range(40)]
            opened.__exit__(None, None, None)
            errors = {type(one.exception()) for one in waiting}
    assert CancelledError in errors
    assert errors <= {CancelledError, type(None)}


def test_a_filter_of_the_pipeline_is_a_refusal(settings: Diffusion, tmp_path: Path) -> None:
    """Such as pipelines of the first Stable Diffusion have; the one made here has none, so its words stand in."""

    class Filtered:
        images = (Image.new("RGB", (8, 8)),)
        nsfw_content_detected = (True,)

    with DiffusionDrawer(settings, tmp_path / "replies.sqlite") as opened:
        opened._pipeline = lambda **_: Filtered()
        assert opened.draw(WANTED) == Nothing("refused", "content_filter")
        opened._pipeline = None
        assert opened.draw(WANTED) == Nothing("refused", "content_filter")


def test_a_picture_that_does_not_fit_into_memory_ends_the_run_and_is_not_kept(
    settings: Diffusion, tmp_path: Path
) -> None:
    import torch

    def full(**_: object) -> None:
        raise torch.OutOfMemoryError

    with DiffusionDrawer(settings, tmp_path / "replies.sqlite") as opened:
        opened._pipeline = full
        with pytest.raises(MISError, match="a picture of 16x16 does not fit into memory; draw smaller ones"):
            opened.draw(WANTED)
        opened._pipeline = None
        assert picture(opened.draw(WANTED))


def told(folder: Path) -> Any:
    return json.loads((folder / "model_index.json").read_text())


def test_weights_in_pickles_and_what_is_no_pipeline_are_refused(settings: Diffusion, tmp_path: Path) -> None:
    import torch

    copy = tmp_path / "copy"
    shutil.copytree(settings.model, copy)
    [weights] = (copy / "transformer").glob("*.safetensors")
    weights.unlink()
    torch.save({}, copy / "transformer" / "diffusion_pytorch_model.bin")
    with (
        DiffusionDrawer(replace(settings, model=str(copy)), tmp_path / "replies.sqlite") as opened,
        pytest.raises(MISError, match="copy: is no pipeline that draws from a text, in safetensors"),
    ):
        opened.draw(WANTED)
    (copy / "model_index.json").write_text(json.dumps(told(copy) | {"_class_name": "NoSuchPipeline"}))
    with (
        DiffusionDrawer(replace(settings, model=str(copy)), tmp_path / "replies.sqlite") as opened,
        pytest.raises(MISError, match="copy: is no pipeline that draws from a text"),
    ):
        opened.draw(WANTED)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"_class_name": ["pipeline", "Mine"]}, "names no class of diffusers; code of its own is not run"),
        (None, "holds pipeline.py, code of its own, which is not run"),
    ],
)
def test_a_pipeline_that_brings_code_is_refused_before_anything_is_loaded(
    settings: Diffusion, tmp_path: Path, change: dict[str, Any] | None, fault: str
) -> None:
    copy, mark = tmp_path / "copy", tmp_path / "ran"
    shutil.copytree(settings.model, copy)
    if change:
        (copy / "model_index.json").write_text(json.dumps(told(copy) | change))
    else:
        (copy / "pipeline.py").write_text(f"open({str(mark)!r}, 'w')")
    with pytest.raises(MISError, match=fault), DiffusionDrawer(replace(settings, model=str(copy)), tmp_path / "r"):
        pass
    assert not mark.exists()


def test_a_folder_without_an_index_is_no_pipeline(settings: Diffusion, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with (
        pytest.raises(MISError, match=r"has no model_index\.json, so it is no pipeline"),
        DiffusionDrawer(Diffusion(str(tmp_path / "empty")), tmp_path / "r"),
    ):
        pass


def test_a_repository_is_fetched_by_commit_without_what_the_pipeline_does_not_read(
    settings: Diffusion, tmp_path: Path
) -> None:
    folder = Path(settings.model)
    held = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    code = (
        "import sys; from pathlib import Path; from mis_dataset.construct.diffusion import *\n"
        "with DiffusionDrawer(Diffusion('OWNER/draws', sys.argv[2], steps=2), Path(sys.argv[1])) as drawer:\n"
        "    print(drawer.identity, drawer.draw(Wanted('s1.1', '', 'a photo of a lamp', 1, '16x16', 7)).model)"
    )
    with WritableHub().running() as hub:
        repo = hub.repos["models", "OWNER/draws"] = Repo("OWNER/draws", "models")
        for name, path in held.items():
            repo.put(name, path.read_bytes())
        repo.put("transformer/diffusion_pytorch_model.bin", b"unread")
        repo.put("whole.safetensors", b"unread")
        home = environment(hub, tmp_path / "home") | {"PYTHONPATH": str(ROOT)}
        for revision in ("", repo.head.oid):
            words = [sys.executable, "-c", code, str(tmp_path / "replies.sqlite"), revision]
            ended = subprocess.run(words, env=home, cwd=ROOT, capture_output=True, text=True)
            assert ended.stdout == f"{repo.head.oid} draws@{repo.head.oid[:12]}\n", ended.stderr[-2000:]
        count = len(hub.asked)
        replay = code.replace("sys.argv[1])", "sys.argv[1]), True")
        words = [sys.executable, "-c", replay, str(tmp_path / "replies.sqlite"), ""]
        ended = subprocess.run(words, env=home, cwd=ROOT, capture_output=True, text=True)
        assert ended.stdout == f"{repo.head.oid} draws@{repo.head.oid[:12]}\n", ended.stderr[-2000:]
        assert len(hub.asked) == count
        assert not any("pytorch_model.bin" in line or "whole" in line for line in hub.asked if "resolve" in line)


def test_a_repository_that_cannot_be_fetched_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with (
        pytest.raises(MISError, match="nobody/nothing: cannot be fetched as a pipeline"),
        DiffusionDrawer(Diffusion("nobody/nothing"), tmp_path / "r"),
    ):
        pass


class SeesNothing(ScriptedModels):
    """The scripted models, to whom what a random pipeline draws shows nothing."""

    def _look(self, url: str) -> str:
        return ""


def test_a_construction_draws_here_and_after_a_kill_draws_nothing_twice(
    settings: Diffusion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    copy, out = tmp_path / "draws", tmp_path / "out"
    shutil.copytree(settings.model, copy)
    texts = [json.dumps({"text": f"What must not happen with a {thing}?"}) for thing in THINGS]
    (tmp_path / "seeds.jsonl").write_text("\n".join(texts))
    with LoopbackApi().running() as api:
        api.decide = SeesNothing()
        hosted = f'{{model: draws, base_url: "{api.url}", backoff: 0.01, prices: [0, 0, 0.04]}}'
        text = SETTINGS.format(url=api.url).replace("size: 8x8", "size: 16x16")
        assert hosted in text
        own = "{engine: diffusers, model: draws, steps: 1}"
        (tmp_path / "construct.yaml").write_text(text.replace(hosted, own))
        config = read_config(tmp_path / "construct.yaml")
        first = construct(config, out)
        assert (first["stages"]["pictures"]["made"], first["stages"]["pictures"]["rejected"]) == (6, {})
        before = (out / "pictures.jsonl").read_bytes()
        assert json.loads(before.splitlines()[0])["pictures"][0]["model"].startswith("draws@")
        # As of a run that was killed: the stage is not written, and only what was kept can be had again.
        (out / "pictures.jsonl").unlink()
        monkeypatch.setitem(sys.modules, "safetensors", None)  # nothing can be loaded
        count = api.count
        construct(config, out)
        assert (out / "pictures.jsonl").read_bytes() == before
        assert api.count == count
        (out / "pictures.jsonl").unlink()
        construct(config, out, replay=True)
        assert (out / "pictures.jsonl").read_bytes() == before
        # Other weights are another model, which would have to be loaded.
        next((copy / "transformer").glob("*.safetensors")).write_bytes(b"other")
        with pytest.raises(RemoteError, match="never drew this"):
            construct(config, out, replay=True)
        with pytest.raises(ImportError):
            construct(config, out)
