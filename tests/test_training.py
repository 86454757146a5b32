"""The benchmark of training: its limits, and that it walks at a tiny size."""

from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.dataset_room import held
from benchmarks.training import BARS, Made, Sizes, measure, measure_pixels
from tests.made_rows import made_rows

PIXELS = "Parquet to pixels to decoding and resizing, throughput"
pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_limits_are_those_that_were_promised() -> None:
    assert tomllib.loads(BARS.read_text("utf-8")) == {
        "ratios": {
            "step to forward, backward and optimizer, time": {"most": 1.05},
            "ours to TRL on rows of unequal length, throughput": {"least": 1.2},
            "ours to TRL on rows of unequal length, the worst seed": {"least": 1},
            "ours to TRL on rows of one length, throughput": {"least": 1},
            PIXELS: {"least": 0.9},
        },
        "counts": {"held-out loss off TRL's, the worst seed, share": {"most": 0.02}},
    }


def test_what_was_measured_holds_and_rows_of_the_main_process_would_not() -> None:
    bars = tomllib.loads(BARS.read_text("utf-8"))
    measured = json.loads(BARS.with_name("training.json").read_text("utf-8"))
    assert [line for line in held(measured, bars) if not line.startswith("holds")] == []
    step, unequal, worst, _, pixels = measured["ratios"].values()
    words = " ".join((BARS.parents[1] / "README.md").read_text("utf-8").split())
    assert f"a step took {step:.2f} times its forward pass" in words
    assert f"{unequal:.2f} times as fast as by plain `SFTTrainer` ({worst:.2f} in the worst of three seeds" in words
    assert f"pixels came at {pixels:.2f} of the rate" in words
    assert measured["counts"]["held-out loss off TRL's, the worst seed, share"] < 0.005  # as it says
    seconds = measured["seconds"]["of large rows"]
    measured["ratios"][PIXELS] = seconds["bare"] / (2 * seconds["mini"])  # by one process instead of two
    assert len([line for line in held(measured, bars) if line.startswith("MISSED")]) == 1


@pytest.mark.slow
def test_large_rows_are_measured_and_the_cache_is_filled(vlm: Callable[[str], Path], tmp_path: Path) -> None:
    shutil.copytree(vlm("internvl"), tmp_path / "tiled")
    made = Made(tmp_path, vlm("internvl"), made_rows(), made_rows())
    seconds = measure_pixels(made, Sizes(large=3, side=32))
    assert seconds.pop("rows") == 3
    assert len(list((tmp_path / "pixels").iterdir())) == 3
    assert set(seconds) == {"opening", "bare", "mini", "bare tiles", "tiles", "cached"}
    assert all(0 < one < 60 for one in seconds.values())


@pytest.mark.slow
def test_a_small_run_measures_all_that_is_limited_and_trains_to_one_loss(tmp_path: Path) -> None:
    sizes = Sizes(rows=12, held_out=4, seeds=2, rounds=1, large=3, side=32, smoke=True)
    measured = measure(tmp_path, sizes)
    assert len(held(measured, tomllib.loads(BARS.read_text("utf-8")))) == 6
    assert measured["counts"]["held-out loss off TRL's, the worst seed, share"] < 1e-3
    assert measured["tokens a row"]["least"] < measured["tokens a row"]["most"]
    assert all(one > 0 for one in measured["ratios"].values())
