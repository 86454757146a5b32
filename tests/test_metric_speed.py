"""The benchmark of the evaluate modules: what it times, and what it holds that against."""

from __future__ import annotations

import json
import tomllib

import pytest

from benchmarks.dataset_room import held
from benchmarks.metrics import BARS, KINDS, Empty, make_columns, measure
from tests import made_verdicts
from tests.made_verdicts import load


def test_every_module_is_timed_beside_an_empty_one() -> None:
    measured = measure(60)
    assert list(measured["seconds"]) == list(measured["empty"]) == list(made_verdicts.KINDS)
    assert made_verdicts.KINDS == KINDS
    for name, seconds in measured["seconds"].items():
        assert seconds == pytest.approx(measured["whole"][name] - measured["empty"][name])


@pytest.mark.parametrize("name", KINDS)
def test_an_empty_module_takes_the_same_rows_and_computes_nothing(name: str) -> None:
    columns = make_columns(60)[name]
    assert Empty(load(name)).compute(**columns) == {}
    assert load(name).compute(**columns)["coverage"] > 0


def test_what_was_measured_stands_in_the_readme_and_holds() -> None:
    measured = json.loads(BARS.with_name("metrics.json").read_text("utf-8"))
    words = " ".join((BARS.parents[1] / "README.md").read_text("utf-8").split())
    seconds = measured["seconds"]["attack_success_rate"]
    assert f"On {measured['rows']:,} verdicts `attack_success_rate` takes {seconds:.2f} s longer" in words
    lines = held(measured, tomllib.loads(BARS.read_text("utf-8")))
    assert [line.split()[0] for line in lines] == ["holds"] * 5


def test_the_limits_are_those_that_were_promised() -> None:
    limits = tomllib.loads(BARS.read_text("utf-8"))
    assert limits["seconds"]["attack_success_rate"] == {"most": 1}
    assert list(limits["seconds"]) == list(KINDS)
    slow = dict.fromkeys(KINDS, 0.5) | {"attack_success_rate": 1.01}
    missed = [line for line in held({"seconds": slow}, limits) if line.startswith("MISSED")]
    assert missed == ["MISSED        1.01  <= 1      seconds: attack_success_rate"]
