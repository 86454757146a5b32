"""Two processes that draw the same, in the environment of test_construct_diffusion.py: run by pytest there."""

from __future__ import annotations

import io
import json
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mis_dataset.construct.diffusion import Diffusion, DiffusionDrawer
from mis_dataset.construct.drawers import Given
from mis_dataset.errors import MISError
from mis_dataset.remote.cache import LEASE, Cache
from mis_dataset.remote.messages import Reply
from tests.diffusion_cases import WANTED
from tests.diffusion_cases import folder as folder
from tests.diffusion_cases import settings as settings
from tests.hub_room import ROOT

DRAWS = """
import hashlib, json, sys, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from mis_dataset.construct.diffusion import Diffusion, DiffusionDrawer
from tests.drawing_cases import Counted, WANTED

folder, cache, name, count = sys.argv[1:]
with DiffusionDrawer(Diffusion(folder, steps=2), Path(cache)) as drawer:
    drawer.draw(WANTED._replace(prompt=name))  # loads the weights
    drawer._pipeline = pipeline = Counted(drawer._pipeline)
    Path(cache).with_name(name).touch()
    while len(list(Path(cache).parent.glob("ready*"))) < 2:
        time.sleep(0.01)
    with ThreadPoolExecutor(4) as threads:
        told = list(threads.map(drawer.draw, [WANTED._replace(seed=seed) for seed in range(int(count))]))
print(json.dumps([pipeline.count, [hashlib.sha256(one.picture).hexdigest() for one in told]]))
"""


class Counted:
    """A pipeline, and how often it drew."""

    def __init__(self, pipeline: Any) -> None:
        self._pipeline, self.count = pipeline, 0

    def __call__(self, **words: Any) -> Any:
        self.count += 1
        return self._pipeline(**words)


class Made:
    """What a pipeline gives."""

    def __init__(self) -> None:
        self.images = [Image.new("RGB", (8, 8))]


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "replies.sqlite"


def claims(cache: Path) -> list[tuple[str, float]]:
    with sqlite3.connect(cache) as file:
        return list(file.execute("SELECT key, until FROM claims"))


def test_two_processes_draw_every_picture_once(settings: Diffusion, cache: Path) -> None:
    words = [sys.executable, "-c", DRAWS, settings.model, str(cache)]
    running = [
        subprocess.Popen([*words, f"ready{number}", "24"], cwd=ROOT, stdout=subprocess.PIPE) for number in range(2)
    ]
    (first, shown), (second, same) = (json.loads(one.communicate(timeout=120)[0]) for one in running)
    assert first + second == 24
    assert min(first, second) > 0
    assert (shown, len(set(shown))) == (same, 24)
    assert claims(cache) == []


def test_what_another_process_draws_is_waited_for_and_other_pictures_are_not(settings: Diffusion, cache: Path) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(picture, "PNG")
    with DiffusionDrawer(settings, cache) as drawer, Cache(cache) as other:
        key = drawer._key(WANTED)
        assert other.claim(key)
        drawer._pipeline = pipeline = Counted(lambda **_: Made())
        told: list[Any] = []
        waiting = threading.Thread(target=lambda: told.append(drawer.draw(WANTED)))
        waiting.start()
        assert isinstance(drawer.draw(WANTED._replace(seed=8)), Given)
        assert (told, pipeline.count) == ([], 1)
        other.put(key, Reply("", "stop", model="another", picture=picture.getvalue()))
        waiting.join()
        assert (told[0].model, told[0].picture, pipeline.count) == ("another", picture.getvalue(), 1)


def test_a_claim_that_is_given_up_without_a_picture_is_taken(settings: Diffusion, cache: Path) -> None:
    with DiffusionDrawer(settings, cache) as drawer, Cache(cache) as other:
        assert other.claim(drawer._key(WANTED))
        threading.Timer(0.5, other.give_up, (drawer._key(WANTED),)).start()
        began = time.monotonic()
        assert isinstance(drawer.draw(WANTED), Given)
        assert time.monotonic() - began > 0.4


def test_the_claim_of_a_killed_process_holds_nobody_up(settings: Diffusion, cache: Path) -> None:
    claim = "import os, sys; from pathlib import Path; from mis_dataset.remote.cache import Cache\n"
    claim += "assert Cache(Path(sys.argv[1])).claim(sys.argv[2]); os.kill(os.getpid(), 9)"
    with DiffusionDrawer(settings, cache) as drawer:
        drawer._pipeline = lambda **_: Made()
        key = drawer._key(WANTED)
        assert subprocess.run([sys.executable, "-c", claim, str(cache), key], cwd=ROOT).returncode == -9
        assert [name for name, _ in claims(cache)] == [key]
        began = time.monotonic()
        assert isinstance(drawer.draw(WANTED), Given)
        assert time.monotonic() - began < LEASE / 2
    assert claims(cache) == []


def test_a_drawing_that_takes_long_keeps_its_claim_and_one_that_fails_gives_it_up(
    settings: Diffusion, cache: Path
) -> None:
    import torch

    seen: list[float] = []

    def slow(**_: object) -> Made:
        seen.extend(until for _, until in claims(cache))
        time.sleep(LEASE / 2)
        seen.extend(until for _, until in claims(cache))
        return Made()

    def full(**_: object) -> None:
        assert len(claims(cache)) == 1
        raise torch.OutOfMemoryError

    with DiffusionDrawer(settings, cache) as drawer:
        drawer._pipeline = slow
        drawer.draw(WANTED)
        first, second = seen
        assert second - first > LEASE / 5
        drawer._pipeline = full
        with pytest.raises(MISError, match="does not fit into memory"):
            drawer.draw(WANTED._replace(seed=8))
        assert claims(cache) == []
