"""The table of the dataset room's benchmark: what holds and what does not."""

from __future__ import annotations

import tomllib

import pytest

from benchmarks.dataset_room import BARS, held

LIMITS = {"ratios": {"build": {"least": 0.6}, "stream": {"most": 1.5}}}


@pytest.mark.parametrize(
    ("build", "stream", "lines"),
    [
        (0.6, 1.5, ["holds          0.6  >= 0.6    ratios: build", "holds          1.5  <= 1.5    ratios: stream"]),
        (0.59, 1.51, ["MISSED        0.59  >= 0.6    ratios: build", "MISSED        1.51  <= 1.5    ratios: stream"]),
    ],
)
def test_a_limit_holds_on_itself_and_is_missed_beyond(build: float, stream: float, lines: list[str]) -> None:
    assert held({"ratios": {"build": build, "stream": stream}}, LIMITS) == lines


def test_the_limits_are_those_that_were_promised() -> None:
    assert tomllib.loads(BARS.read_text("utf-8")) == {
        "ratios": {
            "build throughput to copying": {"least": 0.6},
            "check throughput to decoding in two processes": {"least": 0.9},
            "build throughput to ImageFolder": {"least": 2},
            "first streamed row to one row by pyarrow, time": {"most": 1.5},
            "pass over decoded pictures to pass over text, time": {"least": 50},
        },
        "seconds": {"help": {"most": 0.25}, "import alone": {"most": 0.1}},
        "peak_mb": {"build": {"most": 700}, "check": {"most": 700}, "verify": {"most": 700}},
    }
