"""Rates as the Hub takes them: what is read back is what the report holds."""

from __future__ import annotations

import doctest
import json
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries

from cards import rates
from cards.facts import Report, read_dataset
from cards.rates import day_asked, entries, entries_yaml, eval_yaml
from cards.reading import CardError
from cards.render import render
from tests.made_cards import N, change, make_run
from tests.made_reports import rate

UNTOLD = {"bounds", "coverage", "n_effective"}
"""What a card leaves to report.json."""

ASKED = {"station": "generate contrast", "started": 1795645000.0, "seconds": 3.0, "exit": 0}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with its cards; no test changes it."""
    run = make_run(tmp_path_factory.mktemp("run"))
    render(run, run / "cards")
    return run


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A run that a test may spoil."""
    return make_run(tmp_path / "own")


def write_entries(run: Path, day: str | None = None) -> str:
    report = Report(run / "report.json")
    return entries_yaml(entries(report, "contrast", "someone/MIS-mini", "someone/model", "1-a", day))


def test_the_model_card_reads_back_to_the_numbers_of_the_report(run: Path) -> None:
    model = json.loads((run / "report.json").read_text("utf-8"))["models"]["contrast"]
    card = ModelCard.load(run / "cards" / "model" / "README.md")
    read = {(r.dataset_split, r.metric_type, r.metric_config): r for r in card.data.eval_results}
    expected = {("test_benign", "over_refusal", part): r for part, r in model["over_refusal"].items()}
    expected |= {(part, "accuracy", part): r for part, r in model["ability"].items()}
    for split in ("easy", "hard", "real"):
        expected[f"test_{split}", "pair_accuracy", split] = model["pair_accuracy"][split]
        for metric in ("asr", "hr", "rsr", "rr"):
            expected[f"test_{split}", metric, split] = model["splits"][split][metric]
    assert len(expected) == 21
    assert set(read) == set(expected)
    for key, found in expected.items():
        fields = {"rate": read[key].metric_value, **read[key].metric_args}
        told = {name: figure for name, figure in found.items() if name not in UNTOLD}
        assert {name: fields[name] for name in told} == told


def test_a_changed_report_changes_what_the_card_reads_back_to(own: Path) -> None:
    change(own / "report.json", rate(13, N), "models", "contrast", "splits", "hard", "asr")
    card = ModelCard.load(render(own, own / "cards")["model"])
    assert [r.metric_value for r in card.data.eval_results if r.metric_name == "ASR (hard)"] == [13 / N]
    assert "its attack success rate is 32.5 % (13/40; 20.1–48.0)" in card.text


def test_the_eval_results_read_back_to_the_numbers_of_the_report(run: Path) -> None:
    model = json.loads((run / "report.json").read_text("utf-8"))["models"]["contrast"]
    read = {one.task_id: one for one in parse_eval_result_entries(yaml.safe_load(write_entries(run, "2026-11-27")))}
    splits = ("easy", "hard", "real")
    expected = {f"asr_{split}": model["splits"][split]["asr"] for split in splits}
    for kind in ("over_refusal", "pair_accuracy"):
        expected |= {f"{kind}_{split}": model[kind][split] for split in splits}
    assert {task: one.value for task, one in read.items()} == {task: found["rate"] for task, found in expected.items()}
    assert {one.dataset_id for one in read.values()} == {"someone/MIS-mini"}
    assert {(one.date, one.source_url) for one in read.values()} == {
        ("2026-11-27", "https://huggingface.co/someone/model")
    }
    assert read["asr_hard"].notes == ("1 of 40 rows; 95 % interval 0.004427 to 0.1288; judge mini_rules 1-a; data 1-a")


def test_a_changed_report_changes_the_eval_results(own: Path) -> None:
    change(own / "report.json", rate(13, N), "models", "contrast", "splits", "hard", "asr")
    read = parse_eval_result_entries(yaml.safe_load(write_entries(own)))
    assert [one.value for one in read if one.task_id == "asr_hard"] == [13 / N]


def test_a_rate_over_nothing_is_shown_as_such_and_has_no_entry(own: Path) -> None:
    change(own / "report.json", rate(0, 0, 40), "models", "contrast", "pair_accuracy", "real")
    card = ModelCard.load(render(own, own / "cards")["model"])
    assert "| – (0/0), 40 unscored |" in card.text
    assert "pair accuracy (real)" not in {r.metric_name for r in card.data.eval_results}
    assert "pair accuracy (hard)" in {r.metric_name for r in card.data.eval_results}
    tasks = {one.task_id for one in parse_eval_result_entries(yaml.safe_load(write_entries(own)))}
    assert {"pair_accuracy_real", "pair_accuracy_hard"} & tasks == {"pair_accuracy_hard"}


def test_every_result_has_its_task_and_every_task_its_split(run: Path) -> None:
    told = yaml.safe_load(eval_yaml("MIS-mini", read_dataset(run / "MIS")))
    assert set(told) == {"name", "description", "evaluation_framework", "tasks"}
    assert {task["id"]: task["split"] for task in told["tasks"] if "hard" in task["id"]} == {
        "asr_hard": "test_hard",
        "over_refusal_hard": "test_benign",
        "pair_accuracy_hard": "test_hard",
    }
    assert {task["config"] for task in told["tasks"]} == {"default"}
    ids = [task["id"] for task in told["tasks"]]
    assert len(set(ids)) == len(ids) == 9
    assert {one["dataset"]["task_id"] for one in yaml.safe_load(write_entries(run))} == set(ids)


def test_without_twins_nothing_is_asked_that_needs_them(own: Path) -> None:
    for path in (own / "MIS" / "data").glob("test_benign-*"):
        path.unlink()
    change(own / "MIS" / "MANIFEST.json", ..., "rows", "test_benign")
    told = yaml.safe_load(eval_yaml("MIS", read_dataset(own / "MIS")))
    assert [task["id"] for task in told["tasks"]] == ["asr_easy", "asr_hard", "asr_real"]
    assert "twin" not in told["description"]


def test_the_day_is_that_of_the_last_time_the_model_was_asked(tmp_path: Path) -> None:
    assert day_asked(tmp_path, "contrast") is None
    later = ASKED | {"started": 1795645000.0 + 24 * 3600}
    failed = ASKED | {"started": 1795645000.0 + 48 * 3600, "exit": 1}
    lines = [ASKED, later, failed, ASKED | {"station": "generate base"}]
    (tmp_path / "stations.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    assert day_asked(tmp_path, "contrast") == "2026-11-26"
    assert day_asked(tmp_path, "mirage") is None


@pytest.mark.parametrize("line", ["{", "[]", '{"seconds": 1}', json.dumps(ASKED | {"started": "x"})])
def test_a_log_that_is_none_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "stations.jsonl").write_text(line + "\n", "utf-8")
    with pytest.raises(CardError, match=r"stations\.jsonl: is not the log of a run"):
        day_asked(tmp_path, "contrast")


def test_the_examples_run() -> None:
    ran = doctest.testmod(rates)
    assert (ran.failed, ran.attempted) == (0, 1)
