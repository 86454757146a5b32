"""A whole construction against scripted models: from seeds to a release that is checked, gone on with and replayed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from mis_dataset.__main__ import main
from mis_dataset.check import check_release
from mis_dataset.construct.config import read_config
from mis_dataset.construct.pipeline import construct
from mis_dataset.errors import BudgetError, RemoteError
from tests.loopback_api import LoopbackApi, Step
from tests.scripted_models import THINGS, ScriptedModels
from tests.test_construct_hub_seeds import parquet

SETTINGS = """
seeds: [seeds.jsonl]
licence: CC0-1.0
size: 8x8
at_once: 8
blocks: false
text: {{model: text, base_url: "{url}", backoff: 0.01}}
vision: {{model: vision, base_url: "{url}", backoff: 0.01}}
drawing: {{model: draws, base_url: "{url}", backoff: 0.01, prices: [0, 0, 0.04]}}
judges: [{{model: one, base_url: "{url}"}}, {{model: two, base_url: "{url}"}}]
"""
USED = ("used.jsonl", "construct.html")
"""Hang on how often a construction was run."""
ROWS = {"train": 4, "test_easy": 1, "test_hard": 3, "test_benign": 4}
CALLS = {"elements": 7, "questions": 18, "pictures": 30, "filters": 35, "duplicates": 0, "labels": 12}


pytestmark = pytest.mark.usefixtures("api_key")


@pytest.fixture
def api() -> Iterator[LoopbackApi]:
    with LoopbackApi().running() as running:
        running.decide = ScriptedModels()
        yield running


@pytest.fixture
def settings(api: LoopbackApi, tmp_path: Path) -> Path:
    texts = [f"What must not happen with a {thing}?" for thing in THINGS]
    lines = [json.dumps({"text": text}) for text in (*texts, "There is nothing here.", texts[0])]
    (tmp_path / "seeds.jsonl").write_text("\n".join(lines))
    (tmp_path / "construct.yaml").write_text(SETTINGS.format(url=api.url))
    return tmp_path / "construct.yaml"


def failing(api: LoopbackApi) -> dict[bytes, Step]:
    """Lets requests about two seeds fail, one for today and one for good, until they are taken out of this."""
    seeds, models = [f"happen with a {thing}?".encode() for thing in THINGS[:2]], ScriptedModels()
    fails = dict(zip(seeds, (Step(500), Step(400)), strict=True))
    api.decide = lambda body: next((step for text, step in fails.items() if text in body), None) or models(body)
    return fails


def files(folder: Path) -> dict[str, bytes]:
    """All that a construction made, but for what tells times."""
    ends = ("replies.sqlite", "replies.sqlite-wal", "replies.sqlite-shm", ".meta.json", "construct.json", *USED)
    paths = (path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(ends))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def of_stages(out: Path) -> dict[str, bytes]:
    """Files of stages and of the release, and what is written down of them; seeds are no stage."""
    names = (*CALLS, "raw")
    paths = (path for path in out.rglob("*") if path.is_file() and path.relative_to(out).parts[0].startswith(names))
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in paths}


def test_seeds_become_a_release_and_every_call_is_told(api: LoopbackApi, settings: Path, tmp_path: Path) -> None:
    told = construct(read_config(settings), tmp_path / "out")
    assert told["rows"] == ROWS
    assert {name: stage["calls"] for name, stage in told["stages"].items()} == CALLS
    assert api.count == sum(CALLS.values())
    assert told["stages"]["elements"]["rejected"] == {"no risk": 1}
    assert (told["stages"]["elements"]["read"], told["stages"]["elements"]["made"]) == (7, 6)
    assert told["stages"]["pictures"]["cost"] == pytest.approx(18 * 0.04)
    assert json.loads((tmp_path / "out" / "construct.json").read_text()) == told
    assert check_release(tmp_path / "out" / "raw").problems == ()


def test_calls_of_all_models_together_are_never_more_than_asked_for(
    api: LoopbackApi, settings: Path, tmp_path: Path
) -> None:
    api.latency = 0.02
    settings.write_text(settings.read_text().replace("at_once: 8", "at_once: 3"))
    assert construct(read_config(settings), tmp_path / "out")["rows"] == ROWS
    assert api.most_in_flight == 3


def test_a_second_opinion_is_one_more_verdict_on_every_row(api: LoopbackApi, settings: Path, tmp_path: Path) -> None:
    settings.write_text(f'{settings.read_text()}\nsecond: {{model: sees-too, base_url: "{api.url}"}}\n')
    told = construct(read_config(settings), tmp_path / "out")
    assert told["rows"] == ROWS
    assert told["stages"]["filters"]["calls"] == CALLS["filters"] + 12  # of six rows and their twins
    made = json.loads((tmp_path / "out" / "raw" / "provenance" / "construction.json").read_text())
    assert made["verdicts"]["second"] == made["verdicts"]["together"] == {"keep": 6}
    assert made["settings"]["second"]["model"] == "sees-too"


def test_a_second_run_asks_nothing_and_writes_the_same(api: LoopbackApi, settings: Path, tmp_path: Path) -> None:
    first = construct(read_config(settings), tmp_path / "out")
    before, count = files(tmp_path / "out"), api.count
    assert construct(read_config(settings), tmp_path / "out") == first
    assert (files(tmp_path / "out"), api.count) == (before, count)


def test_replies_alone_make_the_release_without_an_endpoint(api: LoopbackApi, settings: Path, tmp_path: Path) -> None:
    construct(read_config(settings), tmp_path / "out")
    (tmp_path / "again").mkdir()
    (tmp_path / "out" / "replies.sqlite").rename(tmp_path / "again" / "replies.sqlite")
    api.every, api.decide, count = Step(500), None, api.count
    again = construct(read_config(settings), tmp_path / "again")
    assert again["rows"] == ROWS
    assert api.count == count
    assert files(tmp_path / "again") == files(tmp_path / "out")


def test_what_got_no_reply_is_asked_again_by_the_next_run_and_what_was_refused_is_not(
    api: LoopbackApi, settings: Path, tmp_path: Path
) -> None:
    fails = failing(api)
    first = construct(read_config(settings), tmp_path / "out")
    assert first["stages"]["elements"]["rejected"] == {"no reply": 2, "no risk": 1}
    assert first["stages"]["elements"]["unanswered"] == 1
    del fails[next(iter(fails))]
    second = construct(read_config(settings), tmp_path / "out")
    assert second["stages"]["elements"]["rejected"] == {"no reply": 1, "no risk": 1}
    fails.clear()
    api.count = 0
    assert construct(read_config(settings), tmp_path / "out") == second  # status 400 passes on no other day
    assert api.count == 0


def test_a_replay_asks_nothing_and_fails_where_the_run_failed(
    api: LoopbackApi, settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails = failing(api)
    first = construct(read_config(settings), tmp_path / "out")
    assert first["stages"]["elements"]["rejected"] == {"no reply": 2, "no risk": 1}
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "replies.sqlite").write_bytes((tmp_path / "out" / "replies.sqlite").read_bytes())
    monkeypatch.delenv("OPENAI_API_KEY")
    fails.clear()
    api.count = 0
    assert construct(read_config(settings), tmp_path / "again", replay=True)["rows"] == first["rows"]
    assert api.count == 0
    assert files(tmp_path / "again") == files(tmp_path / "out")
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    assert construct(read_config(settings), tmp_path / "again")["rows"] == ROWS  # whoever does ask gets them
    assert api.count > 0


def test_a_replay_of_what_was_never_asked_says_so_and_writes_no_file_of_a_stage(
    api: LoopbackApi, settings: Path, tmp_path: Path
) -> None:
    construct(read_config(settings), tmp_path / "out", limit=2)
    before = of_stages(tmp_path / "out")
    assert {"elements.jsonl", "elements.meta.json", "labels.rejected.jsonl", "raw.meta.json"} <= set(before)
    fault = r"replies.sqlite: text was never asked this about s3, or with other settings; run it without a replay"
    with pytest.raises(RemoteError, match=fault):
        construct(read_config(settings), tmp_path / "out", replay=True)
    assert of_stages(tmp_path / "out") == before


@pytest.mark.parametrize("calls", [1, 20, 40, 70, 100])
def test_a_budget_that_is_used_up_ends_a_run_that_a_larger_one_goes_on_with(
    api: LoopbackApi, settings: Path, tmp_path: Path, calls: int
) -> None:
    construct(read_config(settings), tmp_path / "whole")
    text = settings.read_text()
    api.count = 0
    settings.write_text(f"{text}\nbudget: {{calls: {calls}}}\n")
    with pytest.raises(BudgetError, match=f"{calls} of {calls} calls are used"):
        construct(read_config(settings), tmp_path / "out")
    assert api.count == calls
    settings.write_text(f"{text}\nbudget: {{calls: {sum(CALLS.values())}}}\n")
    construct(read_config(settings), tmp_path / "out")
    assert api.count == sum(CALLS.values())
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_a_trial_of_a_few_seeds_is_paid_for_once(api: LoopbackApi, settings: Path, tmp_path: Path) -> None:
    assert construct(read_config(settings), tmp_path / "out", limit=2)["rows"] == {"train": 4}
    assert construct(read_config(settings), tmp_path / "out")["rows"] == ROWS
    assert api.count == sum(CALLS.values())


def test_rows_that_were_replaced_in_a_folder_of_seeds_are_read_and_nothing_else_of_it_is_noticed(
    api: LoopbackApi, settings: Path, tmp_path: Path
) -> None:
    folder, out = tmp_path / "texts", tmp_path / "texts" / "out"  # which lies in that folder, of all places
    parquet(folder / "train-0.parquet", prompt=[f"What must not happen with a {thing}?" for thing in THINGS[:2]])
    own = 'seeds: [{hub: texts, text: prompt, files: "*.parquet"}]'
    settings.write_text(settings.read_text().replace("seeds: [seeds.jsonl]", own))
    assert construct(read_config(settings), out)["rows"] == {"train": 4}
    written, count = (out / "seeds.jsonl").stat().st_mtime_ns, api.count
    (folder / ".cache").write_text("hidden")
    assert construct(read_config(settings), out)["rows"] == {"train": 4}
    assert ((out / "seeds.jsonl").stat().st_mtime_ns, api.count) == (written, count)
    parquet(folder / "train-0.parquet", prompt=[f"What must not happen with a {thing}?" for thing in THINGS[2:4]])
    assert "train" not in construct(read_config(settings), out)["rows"]
    assert THINGS[2] in (out / "seeds.jsonl").read_text()


def test_a_trial_says_that_it_is_one(
    api: LoopbackApi, settings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["construct", str(tmp_path / "out"), "--config", str(settings)]
    provenance = tmp_path / "out" / "raw" / "provenance" / "construction.json"
    assert main([*words, "--limit", "3"]) == 0
    assert "a trial: the first 3 seeds alone" in capsys.readouterr().err
    assert json.loads(provenance.read_text())["settings"]["limit"] == 3
    assert main(words) == 0
    assert "a trial" not in capsys.readouterr().err
    assert "limit" not in json.loads(provenance.read_text())["settings"]


def test_of_seeds_without_risk_nothing_is_kept_and_every_verb_says_so(
    api: LoopbackApi, settings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "seeds.jsonl").write_text(json.dumps({"text": "There is nothing here."}))
    assert main(["construct", str(tmp_path / "out"), "--config", str(settings)]) == 0
    assert "no row was kept" in capsys.readouterr().err
    assert main(["check", str(tmp_path / "out" / "raw")]) == 1
    assert main(["build", str(tmp_path / "out" / "raw"), str(tmp_path / "MIS")]) == 1
    assert "Traceback" not in capsys.readouterr().err


def test_other_settings_of_a_stage_run_what_hangs_on_it(api: LoopbackApi, settings: Path, tmp_path: Path) -> None:
    construct(read_config(settings), tmp_path / "out")
    count = api.count
    settings.write_text(settings.read_text() + "\nquotas: {test_hard: 1}\n")
    assert construct(read_config(settings), tmp_path / "out")["rows"] == ROWS | {"test_hard": 1, "test_benign": 2}
    assert api.count == count
    settings.write_text(settings.read_text() + "\nseed: 1\n")
    construct(read_config(settings), tmp_path / "out")
    assert api.count == count + CALLS["pictures"] + CALLS["filters"] - 6 + CALLS["labels"]  # words see no picture
