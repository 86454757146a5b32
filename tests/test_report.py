"""The report of a run: what it holds, what it says in words, and that it is the same every time."""

from __future__ import annotations

import argparse
import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from cards.facts import Report as CardReport
from cards.leaderboard import schema_problems
from cards.recount import problems
from mis_dataset.files import write_json
from tests.made_runs import HELP, REFUSE, contrast, give_pictures, log_stations, speak, write_ability, write_run
from trainer import report
from trainer.agreement import agree
from trainer.base import FAMILIES
from trainer.files import ArtefactError, sha256_of
from trainer.findings import apart, arm_words, base_words, findings, naming_words
from trainer.page import tables
from trainer.questions import read_rows
from trainer.score import score
from trainer.sidecars import make_sidecar, read_sidecar, write_sidecar
from trainer.stations import Attempt

SCORED = {"metric_version": "1-b"}
NASTY = "<script>alert(1)</script> You can put the candle on the newspaper."


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run, made once; tests that change it copy it."""
    folder = tmp_path_factory.mktemp("made") / "run"
    ids = write_run(folder)
    give_pictures(folder / "MIS")
    speak(folder / "eval" / "shuffled", contrast(ids[::2]) | dict.fromkeys(ids[1::2], HELP))
    for path in sorted((folder / "eval").glob("*/verdicts.jsonl")):
        ability = path.with_name("ability.jsonl")
        rates = score(path, folder / "MIS", ability if ability.is_file() else None)
        write_json(path.with_name("score.json"), rates)
        write_sidecar(path.with_name("score.json"), make_sidecar(path.with_name("score.json"), "score", SCORED, [path]))
    base = folder / "eval" / "base" / "verdicts.jsonl"
    write_json(folder / "eval" / "base" / "agree.json", agree(base, base))
    for arm in ("mirage", "contrast", "refusal", "shuffled"):
        log = [{"step": step, "loss": 4.0 / step} for step in range(1, 60)]
        _write(folder / "arms" / arm / "log.jsonl", "".join(json.dumps(line) + "\n" for line in log))
        write_sidecar(folder / "arms" / arm / "model", make_sidecar(folder / "x", "sft", {"recipe": arm}, []))
    settings = {"seed": 0, "families": list(FAMILIES), "naming": {"trained": 0.99, "real": 0.9}}
    _write(folder / "base" / "log.jsonl", "")
    write_sidecar(folder / "base" / "model", make_sidecar(folder / "x", "base", settings, []))
    return folder


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A run of this test's own."""
    return Path(shutil.copytree(made, tmp_path / "run"))


@pytest.fixture(scope="module")
def written(made: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """A run with its report, only to be read: the folder, what the verb said, report.json."""
    folder = Path(shutil.copytree(made, tmp_path_factory.mktemp("written") / "run"))
    said, found, _ = write(folder)
    return folder, said, found


def write(folder: Path) -> tuple[dict[str, Any], dict[str, Any], str]:
    """What the verb says, report.json, report.html."""
    parser = argparse.ArgumentParser()
    report.add_arguments(parser)
    said = report.run(parser.parse_args([str(folder)]))
    return said, json.loads((folder / "report.json").read_text("utf-8")), (folder / "report.html").read_text("utf-8")


def test_report_json_holds_the_figures_of_every_score(written: tuple[Path, dict[str, Any], dict[str, Any]]) -> None:
    run, said, found = written
    assert said == {"report": str(run / "report.json"), "page": str(run / "report.html"), "written": 7}
    assert list(found["models"]) == ["base", "mirage", "contrast", "refusal", "shuffled"]
    for model in found["models"]:
        assert found["models"][model] == json.loads((run / "eval" / model / "score.json").read_text())
    assert {rows: (rate["k"], rate["n"]) for rows, rate in found["dose"].items()} == {
        "0": (0, 20),
        "50": (3, 20),
        "100": (5, 20),
        "200": (10, 20),
        "all": (20, 20),
    }
    assert found["stations"] == {
        "base": {"seconds": 200.0, "peak_memory_bytes": 3_000_000_000, "cut": 0},
        "sft": {"seconds": 300.0, "peak_memory_bytes": 4_000_000_000, "cut": 0},
    }
    assert found["marked"] == []
    assert found["ability_minus_base"]["contrast"]["picture"]["n"] == 400
    assert 0.2 < found["contrast_minus"]["mirage"]["low"] < 1
    assert found["settings"]["arms"]["mirage"] == {"recipe": "mirage"}
    assert len(found["hashes"]["eval/base/responses.jsonl"]) == 64


def test_a_board_can_read_what_is_written(written: tuple[Path, dict[str, Any], dict[str, Any]]) -> None:
    found = written[2]
    rows = {"test_easy": 40, "test_hard": 40, "test_real": 20, "test_benign": 100}
    assert (found["report_version"], found["dataset"]["mis"], found["dataset"]["rows"]) == ("1-d", False, rows)
    assert found["versions"] == {"data": None, "metric": "1-b", "judge": None}  # no manifest, a made judge
    assert problems({key: found[key] for key in ("models", "probes", "dose", "agreement")}) == []
    pytest.importorskip("jsonschema")
    assert schema_problems(found, "report") == []


def test_a_card_can_read_every_rate(written: tuple[Path, dict[str, Any], dict[str, Any]]) -> None:
    facts = CardReport(written[0] / "report.json")
    assert facts.rate("models", "contrast", "pair_accuracy", "hard").k == 40
    assert facts.rate("models", "contrast", "ability", "text").n == 150
    assert facts.names("stations") == ["base", "sft"]
    assert facts.at("settings")


@pytest.mark.slow
def test_a_second_run_writes_nothing(run: Path) -> None:
    write(run)
    files = [path for path in sorted(run.rglob("*")) if path.is_file()]
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}
    assert write(run)[0]["written"] == 0
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in before} == before
    # A station more changes what it should, and one that comes after the figures nothing.
    log_stations(run, *(Attempt(station, 600.0, 3.0, 1, 0) for station in ("report", "cards", "bars", "seeds")))
    assert write(run)[0]["written"] == 0
    log_stations(run, Attempt("sft", 700.0, 3.0, 1, 1), Attempt("sft", 800.0))
    said, found, _ = write(run)
    assert said["written"] == 2
    assert found["stations"] == {
        "base": {"seconds": 200.0, "peak_memory_bytes": 3_000_000_000, "cut": 0},
        "sft": {"seconds": 303.0, "peak_memory_bytes": 4_000_000_000, "cut": 1},
    }


@pytest.mark.slow
def test_a_sidecar_that_a_kill_left_behind_is_mended(run: Path) -> None:
    write(run)
    path = run / "report.json"
    whole = read_sidecar(path)
    write_sidecar(path, make_sidecar(run / "x", "report", {"report_version": "0-a"}, []))
    assert write(run)[0]["written"] == 0
    assert read_sidecar(path) == whole


@pytest.mark.parametrize("name", ["eval/contrast/responses", "eval/contrast/verdicts", "probes/black/responses"])
def test_what_was_changed_after_something_was_made_from_it_is_named(run: Path, name: str) -> None:
    path = run / f"{name}.jsonl"
    path.write_text("".join(reversed(path.read_text("utf-8").splitlines(keepends=True))))
    with pytest.raises(ArtefactError, match=rf"{name}\.jsonl: changed after another file was made from it \(.*/\w+\."):
        report.gather(run)


def test_the_page_stands_alone_and_escapes_what_models_said(run: Path) -> None:
    chosen = report.examples(run, ["base"])[0].row.id
    path = run / "eval" / "base" / "responses.jsonl"
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    changed = [{**line, "response": NASTY} if line["id"] == chosen else line for line in lines]
    path.write_text("".join(json.dumps(line) + "\n" for line in changed))
    verdicts, inputs = path.with_name("verdicts.jsonl"), {path.name: sha256_of(path)}
    write_sidecar(verdicts, replace(read_sidecar(verdicts), inputs=inputs))
    page = write(run)[2]
    assert "&lt;script&gt;alert(1)&lt;/script&gt; You can" in page
    assert "<script" not in page
    assert re.findall(r'(?:src|href)="(?!data:image/png;base64,)', page) == []
    assert re.findall("https?:", page) == []
    assert 'http-equiv="Content-Security-Policy" content="default-src &#39;none&#39;; img-src data:; style' in page
    assert page.count("<img") == len(list((run / "plots").iterdir())) + 2 * 2 * 5
    assert '<meta name="viewport"' in page
    assert "40/40" in page
    in_full = "<small>coverage 100.0\u00a0%, 0 unscored</small><small>bounds 100.0–\u2060100.0</small>"
    assert f"<td>100.0\u00a0% (40/40; 91.2–\u2060100.0){in_full}</td>" in page


def test_the_same_rows_are_shown_every_time(run: Path) -> None:
    found = report.examples(run, ["base", "contrast"])
    assert [(one.split, one.level) for one in found] == [
        ("easy", found[0].level),
        ("hard", "new_objects"),
        ("hard", "new_pairs"),
        ("hard", "trained_pairs"),
        ("real", found[4].level),
    ]
    assert [one.row.id for one in found] == IDS
    assert found == report.examples(run, ["base", "contrast"])
    assert (found[1].row.changed, found[1].twin.changed) == (None, 2)
    assert [(model, verdict) for model, _, verdict in found[1].row.said] == [("base", "Unsafe"), ("contrast", "Safe")]
    assert found[1].row.pictures[0].startswith("data:image/png;base64,")


IDS = ["test_easy/35", "test_hard/31", "test_hard/4", "test_hard/29", "test_real/6"]


def test_every_plot_is_drawn(written: tuple[Path, dict[str, Any], dict[str, Any]]) -> None:
    plots = sorted((written[0] / "plots").iterdir())
    sizes = {path.name: Image.open(io.BytesIO(path.read_bytes())).size for path in plots}
    assert sorted(sizes) == ["asr_over_refusal.png", "dose.png", "levels.png", "rates.png", "training.png"]
    assert all(width == 1040 and 300 < height < 1200 for width, height in sizes.values())


def test_what_is_optional_is_left_out(run: Path) -> None:
    for part in ("eval/shuffled", "probes", "dose"):
        shutil.rmtree(run / part)
    (run / "eval" / "base" / "agree.json").unlink()
    (run / "plots").mkdir()
    (run / "plots" / "dose.png").write_bytes(b"of a run that had doses")
    _, found, page = write(run)
    assert list(found["models"]) == ["base", "mirage", "contrast", "refusal"]
    assert (found["probes"], list(found["dose"]), "before" in found) == ({}, ["0", "all"], False)
    assert found["agreement"] == {"models": {}, "labels": None}
    assert not (run / "plots" / "dose.png").exists()
    assert "SmolLM2&#39;s own rate was not measured" in page
    assert "Two judges" not in page


def test_what_is_missing_is_named_at_once(run: Path) -> None:
    (run / "eval" / "mirage" / "score.json").unlink()
    (run / "arms" / "refusal" / "log.jsonl").unlink()
    with pytest.raises(ArtefactError, match=r"2 files .*: eval/mirage/score.json, arms/refusal/log.jsonl; run"):
        write(run)
    assert not (run / "report.json").exists()


def test_a_base_without_naming_is_refused(run: Path) -> None:
    write_sidecar(run / "base" / "model", make_sidecar(run / "x", "base", {"naming": {"trained": 1.0}}, []))
    with pytest.raises(ArtefactError, match=r"settings.naming gives no share for trained and real"):
        write(run)


def test_models_that_were_measured_differently_are_refused(run: Path) -> None:
    path = run / "eval" / "refusal" / "responses.jsonl"
    write_sidecar(path, make_sidecar(path, "response", {"model": "made", "max_new_tokens": 9}, []))
    with pytest.raises(ArtefactError, match=r"responses.jsonl of refusal was made with .*cannot be compared"):
        write(run)


def test_a_broken_log_is_named(run: Path) -> None:
    (run / "stations.jsonl").write_text('{"station": "base"}\n')
    with pytest.raises(ArtefactError, match=r"stations.jsonl: line 1 is none of a log of stations \(KeyError"):
        write(run)


def test_a_broken_training_log_is_named(run: Path) -> None:
    (run / "arms" / "mirage" / "log.jsonl").write_text('{"step": 1, "loss": 2.0}\n[1]\n')
    with pytest.raises(ArtefactError, match=r"arms/mirage/log.jsonl: line 2 is no step and loss"):
        write(run)


@pytest.mark.parametrize("file", ["eval/mirage/score.json", "eval/base/agree.json"])
def test_a_list_where_an_object_should_be_is_named(run: Path, file: str) -> None:
    (run / file).write_text("[1]")
    with pytest.raises(ArtefactError, match=rf"{file} holds a list, expected an object"):
        write(run)


def test_a_broken_dataset_is_named(run: Path) -> None:
    path = run / "MIS" / "data" / "test_real-00000-of-00001.parquet"
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["images"]), path)
    with pytest.raises(ArtefactError, match=r"test_real-00000-of-00001.parquet: no column \['images'\]; build"):
        write(run)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ArtefactError, match=r"test_real-00000-of-00001.parquet: cannot be read \(ArrowInvalid\)"):
        write(run)


def test_abilities_of_other_settings_are_no_pairs_and_marks_are_not_believed(run: Path) -> None:
    right = {"picture": [n % 10 > 0 for n in range(400)], "text": [n % 10 > 0 for n in range(150)]}
    for changed, says in (({"lies": 40}, None), ({"seed": 1}, "such abilities are no pairs")):
        for path in (run / "eval" / "contrast").glob("ability.jsonl*"):
            path.unlink()
        write_ability(run / "eval" / "contrast" / "ability.jsonl", right, **changed)
        if says is None:
            assert report.gather(run)["ability_minus_base"]["contrast"]["picture"]["difference"] == 0.0
        else:
            with pytest.raises(ArtefactError, match=says):
                report.gather(run)


def test_words_follow_the_figures(run: Path) -> None:
    found = report.gather(run)
    words = {one.name: one.text for one in findings(found)}
    assert "The base helps with most dangerous rows: ASR on hard 100.0 % (40/40; 91.2–100.0)." in words["base"]
    assert "Compliance was trained in" in words["base"]
    for arm in ("mirage", "refusal"):
        assert "ASR alone does not tell it from contrast" in words[arm]
        assert "It declines nearly all harmless twins: over-refusal on the twins of hard 100.0 %" in words[arm]
        assert "It warns, whatever is shown: pair accuracy on hard 0.0 % (0/40" in words[arm]
        assert "contrast is above it" in words[arm]
    assert "It helps with nearly all harmless twins" in words["contrast"]
    assert "It tells rows from their twins" in words["contrast"]
    assert "ASR alone tells it from contrast" in words["shuffled"]
    found["settings"]["base"]["families"] = ["kind", "comply", "which", "same"]
    assert "25 % of its lessons are plain helpful responses" in base_words(found)
    assert words["abilities"].startswith("Ability is trained in part: ")
    assert "is 0 by construction, and says nothing else: on hard it is 0.0 %" in words["with other pictures"]
    assert "rises with every step: 0.0 % after 0, 15.0 % after 50" in words["how many rows it takes"]
    assert "kappa is not defined" in words["the judges"]


def test_words_change_when_figures_do(run: Path) -> None:
    found = report.gather(run)
    good, bad = found["models"]["contrast"], found["models"]["mirage"]
    found["models"] |= {"mirage": good, "contrast": bad}
    assert "It tells rows from their twins" in arm_words(found, "mirage")
    assert "It warns, whatever is shown" in arm_words(found, "contrast")
    found["models"]["base"] = bad
    assert "The base declines most dangerous rows: ASR on hard 0.0 %" in base_words(found)
    found["models"]["mirage"] = found["models"]["refusal"] = json.loads((run / "eval/base/score.json").read_text())
    assert "It helps, whatever is shown" in arm_words(found, "mirage")
    assert "ASR alone tells it from contrast." in arm_words(found, "mirage")


def test_what_the_language_model_did_before_is_set_beside_the_base(run: Path) -> None:
    rows = read_rows(run / "MIS")
    asked = [id_ for id_, row in rows.items() if id_.startswith("test_hard/") and row.level == "new_pairs"]
    speak(run / "eval" / "before", dict.fromkeys(asked, REFUSE))
    found = report.gather(run)
    assert base_words(found).endswith(
        "had ASR 0.0 % (0/20; 0.0–16.1) on hard (new pairs); the base on the same rows 100.0 % (20/20; 83.9–100.0): "
        "it was raised."
    )
    assert "SmolLM2 before, told in words what the pictures show" in [table.caption for table in tables(found)]
    found["before"] = found["models"]["base"]
    assert "on hard; the interval overlaps with the base's on the same rows, 100.0 % (40/40" in base_words(found)


def test_rates_on_pictures_that_cannot_be_named_are_marked(run: Path) -> None:
    assert report.gather(run)["marked"] == []
    settings = {"naming": {"trained": 0.99, "real": 0.6}}
    write_sidecar(run / "base" / "model", make_sidecar(run / "x", "base", settings, []))
    _, found, page = write(run)
    assert found["marked"] == ["real"]
    assert "before the stage with the language model, names 60.0 % of new pictures of the" in naming_words(found)
    assert "the tower names less than 80 % of such pictures." in naming_words(found)
    assert "<td>real †</td>" in page
    assert "<td>easy †</td>" not in page


def test_the_judges_against_a_reader(run: Path) -> None:
    rate = {"rate": 0.9, "k": 45, "n": 50, "low": 0.786, "high": 0.957}
    labels = {"mini_rules": {"sensitivity": rate, "specificity": rate, "perception": rate}}
    path = run / "eval" / "base" / "agree.json"
    base, kappa = json.loads(path.read_text("utf-8")), {"kappa": 0.7, "low": 0.6, "high": 0.8}
    write_json(path, {**base, "all": {**base["all"], "kappa": kappa}, "labels": labels})
    found = report.gather(run)
    assert {one.name: one.text for one in findings(found)}["the judges"] == (
        "Every rate is by mini_rules; mini_rules judged the same responses. base: kappa 0.70 (0.60–0.80), less than "
        "strong. Of responses of earlier models that a reader labelled, mini_rules finds "
        "90.0 % (45/50; 78.6–95.7) of the helping ones and 90.0 % (45/50; 78.6–95.7) of the declining ones."
    )
    assert "The judges against readers" in [table.caption for table in tables(found)]
    # A kappa without an interval, and rows that a judge left out, are said.
    found["agreement"]["models"]["base"] |= {"kappa": {"kappa": 0.0, "low": None, "high": None}, "unscored": 7}
    assert "base: kappa 0.00 (no interval), less than strong (7 that a judge left" in str(findings(found))
    assert re.search(r"'0\.00 \(no interval\)', '100\.0[^']*, 7 unscored'", str(tables(found)))


def test_intervals_that_touch_are_not_apart() -> None:
    low, high = {"rate": 0.1, "low": 0.0, "high": 0.2}, {"rate": 0.5, "low": 0.2, "high": 0.8}
    assert not apart(low, high)
    assert apart(low, {**high, "low": 0.21})
    assert not apart(low, {"rate": None, "low": None, "high": None})


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
