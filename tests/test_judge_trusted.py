"""A model behind an API as a judge: what it is calibrated by, and whether it sees."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.loopback_api import LoopbackApi, Step
from tests.loopback_judge import LoopbackJudge, pictures_in
from tests.made_gold import NO, YES, gold_line, write_gold
from tests.made_judged import Judged, words
from tests.tiny import attempt
from trainer.questions import read_rows
from trainer.sidecars import read_sidecar

LABELS = Path(__file__).parent / "fixtures" / "reader_labels.jsonl"

pytestmark = pytest.mark.usefixtures("api_key")


def calibration(gold: Path, out: Path, api: LoopbackApi, *more: object) -> tuple[int, str, str]:
    return attempt("calibrate", "openai", gold, out, "--judge-model", "a-judge", "--judge-base-url", api.url, *more)


def test_calibrate_does_not_pass_while_calls_fail_and_asks_those_again(tmp_path: Path) -> None:
    gold, out = (
        write_gold(tmp_path / "gold.jsonl", [gold_line(n, f"row-{n}", "helps") for n in range(3)]),
        tmp_path / "c",
    )
    plan: dict[str, list[Step | str]] = {"row-1": [Step(500)], "row-2": ["Hm."]}
    with LoopbackJudge(plan=plan).behind().running() as api:
        assert calibration(gold, out, api, "--judge-attempts", 1)[0] == 1
        reasons = json.loads(out.read_text())["sets"]["gold"]["reasons"]
        assert reasons == {"call failed: HTTP 500": 1, "no verdict in the reply": 1}
        code, line, _ = calibration(gold, out, api, "--judge-attempts", 1)
    assert (code, json.loads(line)["now"]["calls"]) == (0, 1)
    assert json.loads(out.read_text())["sets"]["gold"]["reasons"] == {"no verdict in the reply": 1}


def test_calibrate_shows_the_things_of_every_response_and_counts(api: LoopbackApi, tmp_path: Path) -> None:
    lines = [gold_line(0, YES, "helps"), gold_line(1, NO, "declines"), gold_line(2, "Better do not.", "declines")]
    lines.append({**gold_line(3, YES, "helps"), "things": None})
    gold, out = write_gold(tmp_path / "gold.jsonl", lines), tmp_path / "calibration.json"
    code, line, errors = calibration(gold, out, api)
    assert (code, errors, json.loads(line)["now"]["calls"]) == (0, "", 4)
    written = json.loads(out.read_text())
    assert [written[key] for key in ("judge", "model", "judge_version")] == ["openai", "a-judge", "1-a/2-a"]
    assert written["sets"]["gold"]["matrix"]["Unsafe"] == {"helps": 2, "declines": 1}
    assert sorted(len(pictures_in(call.body)) for call in api.calls) == [0, 2, 2, 2]
    assert written["shown"] == {"dataset": 0, "drawn": 3, "nothing": 1}
    settings = read_sidecar(out).settings
    assert (settings["base_url"], settings["arm"]) == (api.url, None)
    before = out.read_bytes()
    assert calibration(gold, out, api)[0] == 0
    assert (api.count, out.read_bytes()) == (4, before)
    assert calibration(gold, tmp_path / "other.json", api, "--judge-max-calls", 1)[0] == 1
    assert not (tmp_path / "other.json").exists()


def test_calibrate_shows_the_pictures_of_the_rows_of_a_dataset(
    judged: Judged, api: LoopbackApi, tmp_path: Path
) -> None:
    assert attempt(*words(judged, tmp_path / "verdicts.jsonl", api))[0] == 0
    shown = {tuple(pictures_in(call.body)) for call in api.calls}
    # As of MIS, where nobody knows the names of the things.
    of_row = {
        id_: {"id": id_, "question": row.question, "things": None} for id_, row in read_rows(judged.dataset).items()
    }
    lines = [gold_line(0, YES, "helps") | of_row[id_] for id_ in judged.ids()]
    gold, out = write_gold(tmp_path / "gold.jsonl", lines), tmp_path / "calibration.json"
    api.calls.clear()
    assert calibration(gold, out, api, "--dataset", judged.dataset)[0] == 0
    assert {tuple(pictures_in(call.body)) for call in api.calls} == shown
    assert len(shown) == 6
    assert json.loads(out.read_text("utf-8"))["shown"] == {"dataset": 6, "drawn": 0, "nothing": 0}
    api.calls.clear()
    foreign = write_gold(tmp_path / "foreign.jsonl", [lines[0] | {"id": "test_hard/999"}])
    code, _, errors = calibration(foreign, tmp_path / "other.json", api, "--dataset", judged.dataset)
    assert (code, "are of no row of" in errors, len(api.calls)) == (1, True, 0)


@pytest.mark.parametrize(
    ("judge", "state"),
    [
        (LoopbackJudge(sees=True), "sees"),
        (LoopbackJudge(obeys=True), "sees"),  # no verdict of its moves
        (LoopbackJudge(), "not decided"),
    ],
)
def test_canary_tells_a_judge_that_looks_from_one_that_does_not(
    judged: Judged, tmp_path: Path, judge: LoopbackJudge, state: str
) -> None:
    with judge.behind().running() as api:
        for probe in ("own", "both_black", "swapped", "none"):
            prices = ("--judge-price-in", 1, "--judge-price-out", 1) if probe == "own" else ()
            assert attempt(*words(judged, tmp_path / f"{probe}.jsonl", api, "--pictures", probe, *prices))[0] == 0
        shown = [len(pictures_in(call.body)) for call in api.calls]
    assert shown == [2] * 18 + [0] * 6
    files = [tmp_path / f"{probe}.jsonl" for probe in ("own", "both_black", "swapped", "none")]
    code, line, errors = attempt("canary", *files, tmp_path / "canary.json")
    assert (code, errors, json.loads(line)["state"]) == (0 if state == "sees" else 1, "", state)
    probes = json.loads((tmp_path / "canary.json").read_text("utf-8"))["probes"]
    assert any(one["verdict_moved"]["k"] for one in probes) == judge.sees


def test_canary_refuses_a_probe_of_another_model(judged: Judged, api: LoopbackApi, tmp_path: Path) -> None:
    own, other = tmp_path / "own.jsonl", tmp_path / "other.jsonl"
    assert attempt(*words(judged, own, api))[0] == 0
    assert attempt(*words(judged, other, api, "--pictures", "none", "--judge-model", "another"))[0] == 0
    code, _, errors = attempt("canary", own, other, tmp_path / "canary.json")
    assert (code, "its model is another, that of" in errors) == (1, True)


def test_it_is_compared_with_a_judge_of_words_and_named_with_its_model(judged: Judged, tmp_path: Path) -> None:
    asked, read_only = tmp_path / "asked.jsonl", tmp_path / "words.jsonl"
    with LoopbackJudge(plan={"row-0": [Step(500)]}).behind().running() as api:
        assert (
            attempt(*words(judged, asked, api, "--judge-attempts", 1))[0] == 1
        )  # one call failed, which names no model
    things = tmp_path / "things.json"
    things.write_text(json.dumps({id_: ["candle", "newspaper"] for id_ in judged.ids()}))
    flags = ("--judge", "keywords", "--dataset", judged.dataset, "--things", things)
    assert attempt("judge", judged.responses, read_only, *flags)[0] == 0
    code, line, errors = attempt("agree", asked, read_only, tmp_path / "agree.json")
    assert (code, errors, json.loads(line)["judges"]) == (0, "", ["openai loopback-1", "keywords"])
    code, _, errors = attempt("agree", asked, read_only, tmp_path / "b.json", "--labels", LABELS)
    wanted = "agree: --labels: openai and keywords are not both asked anew here; measure them with `calibrate`\n"
    assert (code, errors) == (2, wanted)
