"""The benchmark of construction: its limits, and that it walks."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from benchmarks.constructing import BARS, measure


def test_the_limits_are_those_that_were_promised() -> None:
    assert tomllib.loads(BARS.read_text("utf-8")) == {
        "ratios": {
            "ideal to construction, time": {"least": 0.8},
            "construction to the same again, time": {"least": 50},
            "construction to replay, time": {"least": 15},
            "four times the seeds, memory": {"most": 1.1},
            "four times the seeds, time": {"most": 4.4},
        },
        "counts": {"most in flight": {"most": 64}, "calls beside those of the first run": {"most": 0}},
    }


@pytest.mark.slow
def test_a_small_run_asks_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "to be put back")
    measured = measure(40, tmp_path)
    assert measured["counts"]["calls beside those of the first run"] == 0
    assert 8 < measured["counts"]["most in flight"] <= 64
    assert measured["runs"]["large"]["calls"] > 300
    assert measured["ratios"]["construction to replay, time"] > 1
