"""The benchmark of converting: its limits, what it measured, and that it walks."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from benchmarks.converting import BARS, measure
from benchmarks.dataset_room import held

MEASURED = Path(__file__).resolve().parents[1] / "benchmarks" / "converting.json"
THERE = "peak memory to 1.2 x the largest shard + 500 MB"
BACK = "peak memory back to 1.2 x the largest shard + 500 MB"


def test_the_limits_are_those_that_were_promised() -> None:
    assert tomllib.loads(BARS.read_text("utf-8")) == {"ratios": {THERE: {"most": 1}, BACK: {"most": 1}}}


def test_what_was_measured_holds_and_converting_all_at_once_would_not() -> None:
    bars = tomllib.loads(BARS.read_text("utf-8"))
    measured = json.loads(MEASURED.read_text("utf-8"))
    assert [line for line in held(measured, bars) if not line.startswith("holds")] == []
    allowed = 1.2 * measured["mb"]["largest shard"] + 500
    measured["ratios"][THERE] = measured["runs"]["all at once"]["peak_mb"] / allowed
    assert len([line for line in held(measured, bars) if line.startswith("MISSED")]) == 1


@pytest.mark.slow
def test_a_small_run_takes_little_memory(tmp_path: Path) -> None:
    assert measure(1, tmp_path)["ratios"][THERE] <= 1
