"""A whole construction in blocks: what is shown is as often dangerous as harmless, and every verb takes the release."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mis_dataset.__main__ import main
from mis_dataset.check import check_release
from mis_dataset.construct.config import read_config
from mis_dataset.construct.pipeline import construct
from tests.loopback_api import LoopbackApi
from tests.scripted_models import THINGS, ScriptedModels
from tests.test_construct_faults import prepared_for, scripted
from tests.test_construct_pipeline import SETTINGS, files

ROWS = {"train": 8, "test_easy": 1, "test_hard": 6, "test_benign": 7}
"""The drum's picture is explicit: in the other half it would stand in the twin, so that one half is all there is."""


pytestmark = pytest.mark.usefixtures("api_key")


@pytest.fixture
def api() -> Iterator[LoopbackApi]:
    with LoopbackApi().running() as running:
        yield running


def settings(api: LoopbackApi, folder: Path, number: int, blocks: str) -> Path:
    """Settings for rows of so many pictures, and a seed for each thing; the models are ready for both."""
    api.decide = ScriptedModels(number)
    lines = [json.dumps({"text": f"What must not happen with a {thing}?"}) for thing in THINGS]
    (folder / "seeds.jsonl").write_text("\n".join(lines))
    text = SETTINGS.format(url=api.url).replace("blocks: false", f"blocks: {blocks}")
    (folder / "construct.yaml").write_text(f"{text}\nobjects: {number}\n")
    return folder / "construct.yaml"


def worst(told: dict[str, Any], split: str) -> tuple[int, int, int]:
    """Worst differences of questions, objects and pictures."""
    found = told["balance"][split]
    return found["questions"]["worst"], found["objects"]["worst"], found["pictures"]["worst"]


@pytest.mark.parametrize("number", [2, 3])
def test_with_blocks_nothing_shown_or_asked_decides_and_without_them_it_does(
    api: LoopbackApi, tmp_path: Path, number: int
) -> None:
    told = construct(read_config(settings(api, tmp_path, number, "true")), tmp_path / "out")
    assert told["rows"] == ROWS
    assert worst(told, "test_hard") == worst(told, "train") == (0, 0, 0)
    assert json.loads((tmp_path / "out" / "construct.json").read_text())["balance"] == told["balance"]
    alone = construct(read_config(settings(api, tmp_path, number, "false")), tmp_path / "alone")
    assert alone["rows"] == {"train": 4, "test_easy": 1, "test_hard": 3, "test_benign": 4}
    assert worst(alone, "test_hard") == (0, 3, 1)  # three times the same cushion makes it harmless


def test_what_is_drawn_and_judged_is_paid_for_once(api: LoopbackApi, tmp_path: Path) -> None:
    config = read_config(settings(api, tmp_path, 2, "true"))
    first = construct(config, tmp_path / "out")
    calls = {name: stage["calls"] for name, stage in first["stages"].items()}
    # A block: 4 instructions; 4 drawings and 4 pairings; words once, 4 pictures (of the drum's, 2), 4 pairings.
    assert (calls["questions"], calls["pictures"], calls["filters"]) == (24, 48, 52)
    assert (first["stages"]["filters"]["read"], first["stages"]["labels"]["read"]) == (12, 4)
    before, count = files(tmp_path / "out"), api.count
    assert construct(config, tmp_path / "out") == first
    assert (files(tmp_path / "out"), api.count) == (before, count)


def test_the_release_is_checked_built_and_compared_as_any_other(
    api: LoopbackApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = construct(read_config(settings(api, tmp_path, 2, "true")), tmp_path / "out")
    raw, things = tmp_path / "out" / "raw", str(tmp_path / "out" / "raw" / "objects.json")
    assert check_release(raw).problems == ()
    rows = [json.loads(line) for line in (raw / "provenance" / "rows.jsonl").read_text().splitlines()]
    hard = [one["row"] for one in rows if one["id"].startswith("test_hard/")]
    assert hard == ["s4.1", "s4.1b", "s5.1", "s5.1b", "s6.1", "s6.1b"]  # halves are neighbours
    assert main(["build", str(raw), str(tmp_path / "MIS")]) == 0
    assert main(["stats", str(tmp_path / "MIS"), str(tmp_path / "stats"), "--things", things]) == 0
    assert json.loads((tmp_path / "stats" / "stats.json").read_text())["balance"] == told["balance"]
    capsys.readouterr()
    assert main(["leaks", str(tmp_path / "MIS"), str(tmp_path / "leaks.json")]) == 0
    shared = json.loads(capsys.readouterr().out)["rows"]["test_hard/test_benign"]
    assert not {"same_text", "same_image", "twin_image", "same_pair"} & set(shared)


def test_a_quota_cuts_no_block(api: LoopbackApi, tmp_path: Path) -> None:
    config = settings(api, tmp_path, 2, "true")
    config.write_text(config.read_text() + "quotas: {test_hard: 5, train: 1}\n")
    told = construct(read_config(config), tmp_path / "out")
    assert told["rows"] == {
        "train": 2,
        "test_easy": 1,
        "test_hard": 4,
        "test_benign": 5,
    }  # a train row comes with its twin
    assert worst(told, "test_hard") == (0, 0, 0)


@pytest.mark.slow
def test_models_that_misbehave_cost_whole_blocks(tmp_path: Path) -> None:
    with scripted(share=0.2, latency=0.0) as api:
        config = prepared_for(api, tmp_path, 60)
        config.write_text(config.read_text().replace("blocks: false", "blocks: true"))
        told = construct(read_config(config), tmp_path / "out")
    assert told["stages"]["pictures"]["rejected"]
    assert told["rows"]["test_hard"] > 5
    assert worst(told, "test_hard") == (0, 0, 0)
    assert check_release(tmp_path / "out" / "raw").problems == ()
