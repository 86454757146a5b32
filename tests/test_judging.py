"""The benchmark of judging: its limits, what it measured, and that it walks."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from benchmarks.dataset_room import held
from benchmarks.judging import BARS, measure

MEASURED = Path(__file__).resolve().parents[1] / "benchmarks" / "judging.json"


def test_the_limits_are_those_that_were_promised() -> None:
    assert tomllib.loads(BARS.read_text("utf-8")) == {
        "ratios": {"one by one to in flight, time a row": {"least": 40}},
        "counts": {"most in flight": {"most": 64}, "calls of two runs a row": {"most": 1}},
        "seconds": {"second run": {"most": 10}},
        "peak_mb": {"256 px": {"most": 700}},
    }


def test_what_was_measured_holds_and_a_serial_judge_would_not() -> None:
    bars = tomllib.loads(BARS.read_text("utf-8"))
    measured = json.loads(MEASURED.read_text("utf-8"))
    assert [line for line in held(measured, bars) if not line.startswith("holds")] == []
    measured["ratios"] = dict.fromkeys(measured["ratios"], 1.0)
    assert len([line for line in held(measured, bars) if line.startswith("MISSED")]) == 1


@pytest.mark.slow
def test_a_small_run_is_bounded_and_its_second_half_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_DATASETS_CACHE", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, "to be put back")
    measured = measure(200, 4, tmp_path)
    assert measured["counts"] == {"most in flight": 64, "calls of two runs a row": 1.0}
    assert measured["ratios"]["one by one to in flight, time a row"] > 3
    assert set(measured["runs"]) == {"256 px", "1024 px", "1024 px made 512"}
