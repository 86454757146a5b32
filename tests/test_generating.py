"""The benchmark of `generate`: its limits, what it measured, and that it walks."""

from __future__ import annotations

import json
import tomllib

import pytest

from benchmarks.dataset_room import held
from benchmarks.generating import BARS, measure
from tests.tiny import Tiny
from trainer.models import load
from trainer.prompts import read_prompts

MEASURED = BARS.with_name("generating.json")


def test_the_limits_are_those_that_were_promised() -> None:
    assert tomllib.loads(BARS.read_text("utf-8")) == {
        "ratios": {"one by one to batched, time a row": {"least": 4}},
        "counts": {"responses that differ": {"most": 0}},
    }


def test_what_was_measured_holds_and_one_by_one_would_not() -> None:
    bars = tomllib.loads(BARS.read_text("utf-8"))
    measured = json.loads(MEASURED.read_text("utf-8"))
    assert measured["place"] == "cpu/float32"
    assert [line.split()[0] for line in held(measured, bars)] == ["holds"] * 2
    other = measured | {"ratios": dict.fromkeys(measured["ratios"], 1.0), "counts": {"responses that differ": 1}}
    assert [line.split()[0] for line in held(other, bars)] == ["MISSED"] * 2


@pytest.mark.slow
def test_both_ways_say_the_same(tiny: Tiny) -> None:
    prompts = list(read_prompts(tiny.dataset, ["test_easy", "test_hard"], limit=4))
    measured = measure(*load(tiny.model, float32=True), prompts)
    assert (measured["rows"], measured["counts"]) == (8, {"responses that differ": 0})
    assert measured["seconds"]["one by one, a row"] > 0
