"""The benchmark of construction: its limits, and that it walks."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from benchmarks.constructing import BARS, measure
from benchmarks.dataset_room import held

MEASURED = Path(__file__).resolve().parents[1] / "benchmarks" / "constructing.json"


def test_the_limits_are_those_that_were_promised() -> None:
    assert tomllib.loads(BARS.read_text("utf-8")) == {
        "ratios": {
            "ideal to construction, time": {"least": 0.8},
            "construction to the same again, time": {"least": 50},
            "construction to replay, time": {"least": 8},
            "four times the seeds, memory": {"most": 1.1},
            "four times the seeds, time": {"most": 4.4},
        },
        "counts": {"most in flight": {"most": 64}, "calls beside those of the first run": {"most": 0}},
    }


def test_what_was_measured_holds_and_one_row_after_the_other_would_not() -> None:
    bars = tomllib.loads(BARS.read_text("utf-8"))
    measured = json.loads(MEASURED.read_text("utf-8"))
    assert [line for line in held(measured, bars) if not line.startswith("holds")] == []
    measured["ratios"] = dict.fromkeys(measured["ratios"], 1 / 64)
    assert len([line for line in held(measured, bars) if line.startswith("MISSED")]) == 3


def test_readme_and_decisions_say_what_was_measured() -> None:
    measured = json.loads(MEASURED.read_text("utf-8"))
    large, small = measured["runs"]["large"], measured["runs"]["small"]
    ideal, again = (measured["ratios"][name] for name in list(measured["ratios"])[:2])
    readme = " ".join((MEASURED.parents[1] / "README.md").read_text("utf-8").split())
    assert f"took {large['seconds']:.0f} s on two cores, {ideal:.2f} of what {large['calls']:,} calls allow" in readme
    assert f"again {large['again']:.1f} s (`benchmarks/constructing.json`" in readme
    assert f"by `--replay`, {large['replay']['seconds']:.1f} s." in readme
    told = (MEASURED.parents[1] / "docs" / "decisions.md").read_text("utf-8")
    assert f"at most {large['peak_mb']:.0f} MB ({small['peak_mb']:.0f} with a quarter of the seeds)" in told
    assert f"{large['again']:.2f} s, {again:.0f} times as fast" in told


@pytest.mark.slow
def test_a_small_run_asks_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "to be put back")
    measured = measure(40, tmp_path)
    assert measured["counts"]["calls beside those of the first run"] == 0
    assert 8 < measured["counts"]["most in flight"] <= 64
    assert measured["runs"]["large"]["calls"] > 300
    assert measured["ratios"]["construction to replay, time"] > 1
