"""Constructions that are killed, share their calls, and meet models that misbehave by plan."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import pytest

from mis_dataset.check import check_release
from tests.loopback_api import KEY, LoopbackApi, Step, completion
from tests.scripted_models import THINGS, ScriptedModels
from tests.test_construct_pipeline import SETTINGS, files

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def prepared(api: LoopbackApi, folder: Path, seeds: int) -> Path:
    """Settings and seeds in a folder."""
    lines = [json.dumps({"text": f"What of a {THINGS[n % len(THINGS)]}, number {n}?"}) for n in range(seeds)]
    (folder / "seeds.jsonl").write_text("\n".join(lines))
    (folder / "construct.yaml").write_text(SETTINGS.format(url=api.url))
    return folder / "construct.yaml"


def run(config: Path, out: Path) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "mis_dataset", "construct", str(out), "--config", str(config)]
    return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def ended(process: subprocess.Popen[bytes]) -> int:
    process.communicate(timeout=120)
    return process.returncode


@pytest.mark.slow
def test_a_construction_that_is_killed_20_times_ends_with_the_same_bytes(tmp_path: Path) -> None:
    scatter = random.Random(0)
    with LoopbackApi(latency=0.02).running() as api:
        api.decide = ScriptedModels()
        config = prepared(api, tmp_path, 40)
        assert ended(run(config, tmp_path / "whole")) == 0
        whole, api.count = api.count, 0
        for _ in range(20):
            until, process = api.count + scatter.randint(1, whole // 20), run(config, tmp_path / "out")
            while api.count < until and process.poll() is None:
                time.sleep(0.001)
            process.send_signal(signal.SIGKILL)
            ended(process)
        killed_at = api.count
        assert ended(run(config, tmp_path / "out")) == 0
    assert files(tmp_path / "out") == files(tmp_path / "whole")
    assert whole // 3 < killed_at  # kills fell in the middle of it
    assert api.count <= whole + 20 * 8  # no more paid twice than was under way


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


class Misbehaving:
    """Scripted models whose first try of many requests goes wrong, each in a way of its own."""

    def __init__(self) -> None:
        self._scripted = ScriptedModels()
        self._tried: set[int] = set()
        self._lock = threading.Lock()

    def __call__(self, body: bytes) -> Step:
        with self._lock:
            number = zlib.crc32(body)
            first = number not in self._tried
            self._tried.add(number)
        if b'"prompt"' in body:
            steps = [Step(500), Step(end="reset"), Step(429, headers={"retry-after": "0.05"}), Step(body=b"{}")]
        else:
            steps = [
                Step(429, headers={"retry-after": "0.05"}),
                Step(body=completion("I would rather talk about the weather.")),
                Step(body=completion('{"rows": [{"category": "Cooking"}]}')),
                Step(body=completion("{" * 10**4)),
                Step(body=completion(None, refusal="I cannot.")),
                Step(end="hang"),
                Step(body=b"<p>Welcome to our WLAN</p>"),
            ]
        return steps[number % len(steps)] if first and number % 3 == 0 else self._scripted(body)


@pytest.mark.slow
def test_models_that_misbehave_cost_rows_with_a_reason_and_no_more(tmp_path: Path) -> None:
    with LoopbackApi().running() as api:
        api.decide = Misbehaving()
        config = prepared(api, tmp_path, 60)
        config.write_text(config.read_text().replace("backoff: 0.01", "backoff: 0.01, timeout: 1"))
        assert ended(run(config, tmp_path / "out")) == 0
    told = json.loads((tmp_path / "out" / "construct.json").read_text())
    assert sum(told["rows"].values()) > 20
    reasons = {reason for stage in told["stages"].values() for reason in stage["rejected"]}
    assert {"refused"} <= reasons <= {"refused", "malformed", "no verdict", "no risk"}
    for name, stage in told["stages"].items():
        lines = (tmp_path / "out" / f"{name}.rejected.jsonl").read_text().splitlines()
        assert len(lines) == sum(stage["rejected"].values())
    assert check_release(tmp_path / "out" / "raw").problems == ()
