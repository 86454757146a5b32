"""A real model of 135 million parameters writes, the scripted ones play the rest; what comes of it is counted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.local_construct import TEXT, Mixed, local_model, measure, page
from mis_dataset.construct.prompts import TWIN, system

ROOT = Path(__file__).resolve().parents[1]
TWO = {"number": 2, "ordinals": "first / second", "dots": '"...", "..."'}


def chatter(chat: list[dict[str, str]], most: int) -> str:
    """A model that never writes JSON."""
    return f"I was asked {len(chat)} things and may say {most} words."


def test_an_instruction_goes_to_the_real_model_only_where_it_plays_it() -> None:
    field = '<idea 0123456789ab>\n{"question": "How?", "objects": ["a candle", "a box"]}\n</idea 0123456789ab>'
    turns = [{"role": "system", "content": system(TWIN, **TWO)}, {"role": "user", "content": field}]
    body = {"messages": turns, "max_tokens": 9}
    assert Mixed(chatter, ["TWIN"]).told(body) == (
        "SmolLM2-135M-Instruct",
        "I was asked 2 things and may say 9 words.",
    )
    assert Mixed(chatter, ["WORDS"]).told(body) == ("scripted-text", '{"changed_image": 2, "object": "a door"}')


def test_what_a_model_says_amiss_is_counted_by_stage_and_reason() -> None:
    nothing, words = measure(chatter, 4, []), measure(chatter, 4, ["ELEMENTS"])
    assert sum(nothing["rows"].values()) > 0
    assert nothing["stages"]["elements"] == {"read": 4, "made": 4, "rejected": {}}
    detail = "malformed: it holds no JSON object; then: it holds no JSON object"
    assert words["stages"]["elements"] == {"read": 4, "made": 0, "rejected": {detail: 4}}
    assert (words["rows"], words["verdicts"]) == ({}, {})
    assert {"words", "together", "duplicates"} <= set(nothing["verdicts"])


def test_the_page_is_that_of_the_measurement() -> None:
    told = json.loads((ROOT / "benchmarks" / "local_construct.json").read_text())
    assert (ROOT / "docs" / "local_construct.md").read_text() == page(told)
    assert page(told | {"seeds": 999}) != page(told)
    assert set(told["runs"]) == {"nothing", "all text", *TEXT}


@pytest.mark.slow
def test_a_real_model_writes_for_two_seeds_and_every_row_is_accounted_for() -> None:
    told = measure(local_model(), 2, TEXT)
    elements = told["stages"]["elements"]
    assert elements["read"] == 2
    assert elements["made"] + sum(elements["rejected"].values()) == 2  # an idea a seed, at most
    assert all(reason.startswith(("malformed", "no risk")) for reason in elements["rejected"])
