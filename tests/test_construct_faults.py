"""Constructions that are killed, share their calls, and meet models that misbehave by plan."""

from __future__ import annotations

import json
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from mis_dataset.check import check_release
from mis_dataset.construct.scripted.endpoint import ScriptedEndpoint
from mis_dataset.construct.scripted.misbehaviour import KINDS, Misbehaviour
from mis_dataset.construct.scripted.player import Player
from mis_dataset.construct.scripted.scenes import seed_texts
from tests.loopback_api import LoopbackApi
from tests.scripted_models import THINGS, ScriptedModels
from tests.test_construct_pipeline import SETTINGS, files

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("elements", "questions", "pictures", "filters", "duplicates", "labels")
BOUNDARIES = ("filters.meta.json", "duplicates.jsonl", "labels.jsonl", ".raw.part", ".raw.part/mis_train.json")


pytestmark = pytest.mark.usefixtures("api_key")


def prepared(api: LoopbackApi, folder: Path, seeds: int) -> Path:
    """Settings and seeds in a folder."""
    lines = [json.dumps({"text": f"What of a {THINGS[n % len(THINGS)]}, number {n}?"}) for n in range(seeds)]
    (folder / "seeds.jsonl").write_text("\n".join(lines))
    (folder / "construct.yaml").write_text(SETTINGS.format(url=api.url))
    return folder / "construct.yaml"


def run(config: Path, out: Path) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "mis_dataset", "construct", str(out), "--config", str(config)]
    return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


@contextmanager
def scripted(share: float = 0.06, latency: float = 0.02) -> Iterator[ScriptedEndpoint]:
    """Scripted models that misbehave."""
    with ScriptedEndpoint(Player(), Misbehaviour(share), latency).running() as api:
        yield api


def prepared_for(api: ScriptedEndpoint, folder: Path, seeds: int) -> Path:
    """Settings and seeds of MIS-mini's grammar in a folder."""
    (folder / "seeds.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in seed_texts(seeds, 0)))
    models = SETTINGS.replace(", backoff: 0.01", "").replace('"{url}"', '"{url}", backoff: 0.01, timeout: 1')
    (folder / "construct.yaml").write_text(models.format(url=api.url))
    return folder / "construct.yaml"


def asked(api: ScriptedEndpoint) -> int:
    """How many calls came in."""
    return api.counts["completions"] + api.counts["generations"]


def asked_anew(api: ScriptedEndpoint) -> int:
    """The same, and begins to count and to misbehave anew."""
    count = asked(api)
    api.counts.clear()
    api.misbehaviour = Misbehaviour(api.misbehaviour.share)
    return count


def ended(process: subprocess.Popen[bytes]) -> int:
    process.communicate(timeout=120)
    return process.returncode


def kept(out: Path) -> int:
    """How many replies are kept so far."""
    path = out / "replies.sqlite"
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as file:
        return int(file.execute("SELECT count(*) FROM replies").fetchone()[0])
    return 0


def under_way(out: Path) -> str:
    """The stage that is not whole, or what comes behind them all."""
    whole = {path.name.removesuffix(".meta.json") for path in out.glob("*.meta.json")}
    return next((name for name in (*STAGES, "raw") if name not in whole), "nothing")


def killed(config: Path, out: Path, points: list[int]) -> str:
    """Kills a run at a file that appears, or at the first of some numbers of kept replies; the stage that it was in."""
    ahead = [out / name for name in BOUNDARIES if not (out / name).exists()]
    process = run(config, out)
    while process.poll() is None:
        if any(path.exists() for path in ahead):
            break
        if points and kept(out) >= points[0]:
            points.pop(0)
            break
        time.sleep(0.0005)
    process.send_signal(signal.SIGKILL)
    if ended(process) != -signal.SIGKILL:  # it was quicker: its release is assembled once more
        shutil.rmtree(out / "raw")
        (out / "raw.meta.json").unlink()
        return "nothing"
    return under_way(out)


@pytest.mark.slow
def test_a_construction_that_is_killed_20_times_ends_with_the_same_bytes(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with scripted() as api:
        config = prepared_for(api, tmp_path, 40)
        assert ended(run(config, tmp_path / "whole")) == 0
        calls, whole = kept(tmp_path / "whole"), asked_anew(api)
        points = sorted(random.Random(0).sample(range(1, calls), 20 - len(BOUNDARIES)))
        fell = Counter(killed(config, out, points) for _ in range(20))
        assert ended(run(config, out)) == 0
    assert files(out) == files(tmp_path / "whole")
    assert points == []
    assert {*STAGES, "raw"} - set(fell) <= {"duplicates"}  # asks nobody, and is over in a few milliseconds
    assert fell["nothing"] < 3
    assert asked(api) <= whole + 20 * 8  # no more paid twice than was under way


@pytest.mark.slow
def test_two_processes_share_the_calls_of_one_construction(tmp_path: Path) -> None:
    with LoopbackApi(latency=0.02).running() as api:
        api.decide = ScriptedModels()
        config = prepared(api, tmp_path, 40)
        assert ended(run(config, tmp_path / "whole")) == 0
        whole, api.count = api.count, 0
        both = [run(config, tmp_path / "out") for _ in range(2)]
        assert [ended(process) for process in both] == [0, 0]
        assert api.count == whole
    assert files(tmp_path / "out") == files(tmp_path / "whole")


@pytest.mark.slow
def test_models_that_misbehave_cost_rows_with_a_reason_and_no_more(tmp_path: Path) -> None:
    with scripted(share=0.3) as api:
        config = prepared_for(api, tmp_path, 60)
        assert ended(run(config, tmp_path / "out")) == 0
        assert set(KINDS) <= set(api.counts)
    told = json.loads((tmp_path / "out" / "construct.json").read_text())
    assert sum(told["rows"].values()) > 20
    reasons = {reason for stage in told["stages"].values() for reason in stage["rejected"]}
    about_rows = {"no risk", "not visible", "not as meant", "does not decline", "does not help"}
    assert {"refused", "no picture"} <= reasons <= about_rows | {"refused", "malformed", "no picture", "no verdict"}
    for name, stage in told["stages"].items():
        lines = (tmp_path / "out" / f"{name}.rejected.jsonl").read_text().splitlines()
        assert len(lines) == sum(stage["rejected"].values())
    assert check_release(tmp_path / "out" / "raw").problems == ()
