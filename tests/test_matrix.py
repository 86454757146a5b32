"""Any number of judges on the same responses: rates, kappas and alpha counted by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.made_runs import DECLINE, HELP, write_dataset, write_responses, write_verdicts
from tests.tiny import attempt
from trainer.artefacts import Verdict, open_artefact
from trainer.files import ArtefactError
from trainer.matrix import alpha, matrix
from trainer.score import score
from trainer.sidecars import sidecar_path

WORDS = {"U": "Unsafe", "S": "Safe", "-": "Unscored"}


def judged(path: Path, verdicts: str, judge: str) -> Path:
    """A file of verdicts, a letter each."""
    rows = {f"test_hard/{n}": (WORDS[one], 0 if one == "-" else 1) for n, one in enumerate(verdicts)}
    return write_verdicts(path, rows, judge)


def built(folder: Path) -> Path:
    """Twelve dangerous rows of hard and their twins."""
    if not (folder / "MIS").exists():
        write_dataset(folder / "MIS", {"test_hard": 12})
    return folder / "MIS"


def three(folder: Path) -> list[Path]:
    return [
        judged(folder / "rules.jsonl", "UUUUSSSS", "mini_rules"),
        judged(folder / "minilm.jsonl", "UUSSSSSS", "minilm"),
        judged(folder / "words.jsonl", "UUUUUU--", "keywords"),
    ]


def test_kappas_of_every_pair_are_those_counted_by_hand(tmp_path: Path) -> None:
    found = matrix(three(tmp_path), built(tmp_path))
    counts = {
        judge: (one["asr"]["k"], one["asr"]["n"], one["asr"]["unscored"]) for judge, one in found["rates"].items()
    }
    assert counts == {"mini_rules": (4, 8, 0), "minilm": (2, 8, 0), "keywords": (6, 6, 2)}
    assert [one["judges"] for one in found["pairs"]] == [
        ["mini_rules", "minilm"],
        ["mini_rules", "keywords"],
        ["minilm", "keywords"],
    ]
    # 6 of 8 the same, 4 of 8 by chance.
    assert found["pairs"][0]["kappa"]["kappa"] == pytest.approx(0.5)
    reason = "one judge gave one verdict alone: kappa is 0 and has no interval"
    assert found["pairs"][1]["kappa"] == {"kappa": 0.0, "low": None, "high": None, "reason": reason}
    assert found["pairs"][1]["unscored"] == 2
    assert found["n"] == 8


def test_dangerous_rows_and_twins_are_rated_apart_as_score_rates_them(tmp_path: Path) -> None:
    dataset, paths = built(tmp_path), []
    said = {"minilm": ("UUUSSSSSSSS-", "UUUUUUUUSSSS"), "keywords": ("USSSSSSSSSSS", "UUUUUUUU----")}
    for judge, sides in said.items():
        verdicts = {
            f"{split}/{n}": (WORDS[one], 0 if one == "-" else 2)
            for split, side in zip(("test_hard", "test_benign"), sides, strict=True)
            for n, one in enumerate(side)
        }
        paths.append(write_verdicts(tmp_path / f"{judge}.jsonl", verdicts, judge))
    rates = matrix(paths, dataset)["rates"]
    for path, judge in zip(paths, said, strict=True):
        scored = score(path, dataset)
        hard = scored["splits"]["hard"]
        assert rates[judge]["asr"] == {**hard["asr"], "coverage": hard["coverage"]}
        assert rates[judge]["over_refusal"] == scored["over_refusal"]["hard"]
    asr, declined = rates["minilm"]["asr"], rates["keywords"]["over_refusal"]
    assert (asr["k"], asr["n"], asr["unscored"], asr["coverage"]) == (3, 11, 1, 11 / 12)
    assert asr["bounds"] == {"least": 3 / 12, "most": 4 / 12}
    assert asr["low"] < 3 / 11 < asr["high"]
    assert (declined["k"], declined["n"], declined["coverage"]) == (0, 8, 8 / 12)
    assert declined["bounds"] == {"least": 0.0, "most": 4 / 12}


def test_verdicts_of_another_dataset_are_refused(tmp_path: Path) -> None:
    write_dataset(tmp_path / "other", {"test_hard": 3})
    with pytest.raises(ArtefactError, match=r"rules.jsonl: 5 verdicts belong to no row of .*other \(first: "):
        matrix(three(tmp_path), tmp_path / "other")


def test_alpha_is_that_computed_by_hand() -> None:
    # 8 units of two: 6 alike; of 16 verdicts 6 Unsafe, 10 Safe. Apart 4/16, by chance 2*6*10/(16*15) = 1/2.
    found = alpha([[WORDS[one] for one in "UUUUSSSS"], [WORDS[one] for one in "UUSSSSSS"]])
    assert found["alpha"] == pytest.approx(0.5)
    assert found["n"] == 8
    assert found["low"] is not None
    assert found["high"] is not None
    assert found["low"] < 0.5 < found["high"] <= 1


def test_alpha_is_one_where_judges_agree_and_below_nothing_where_they_contradict() -> None:
    same, other = ([WORDS[one] for one in text] for text in ("UUSSUUSS", "SSUUSSUU"))
    assert alpha([same, same])["alpha"] == pytest.approx(1)
    # Apart 16/16, by chance 2*8*8/(16*15) = 8/15.
    assert alpha([same, other])["alpha"] == pytest.approx(1 - 15 / 8)


def test_what_one_judge_alone_scored_is_not_in_alpha() -> None:
    full, holes = ([WORDS[one] for one in text] for text in ("UUSSS", "US-S-"))
    found = alpha([full, holes])
    # 3 units: one apart, 3 Unsafe and 3 Safe of 6: 1 - (2/6) / (2*3*3/30).
    assert found["alpha"] == pytest.approx(1 - 10 / 18)
    assert found["n"] == 3


def test_alpha_of_a_single_verdict_is_none() -> None:
    nothing = dict.fromkeys(("alpha", "low", "high"))
    same, none = "all verdicts are the same", "no row was scored by two judges"
    assert alpha([["Safe"] * 4, ["Safe"] * 3 + ["Unscored"]]) == {**nothing, "n": 3, "reason": same}
    assert alpha([["Safe"], ["Unscored"]]) == {**nothing, "n": 0, "reason": none}


def test_other_rows_other_responses_and_a_judge_twice_are_refused(tmp_path: Path) -> None:
    first, second, _ = three(tmp_path)
    short = judged(tmp_path / "short.jsonl", "UUU", "keywords")
    with pytest.raises(ArtefactError, match="5 ids stand in one only"):
        matrix([first, second, short], built(tmp_path))
    again = judged(tmp_path / "again.jsonl", "UUUUUUUU", "minilm")
    with pytest.raises(ArtefactError, match=r"again.jsonl: minilm judged another of the files"):
        matrix([first, second, again], built(tmp_path))
    for name, text in (("a", HELP), ("b", DECLINE)):
        write_responses(tmp_path / name / "responses.jsonl", {"test_hard/0": text})
    paths = [judged(tmp_path / name / "v.jsonl", "U", judge) for name, judge in (("a", "minilm"), ("b", "keywords"))]
    with pytest.raises(ArtefactError, match="were made from other responses"):
        matrix(paths, built(tmp_path))


def test_a_judge_that_asks_another_model_is_another_judge(tmp_path: Path) -> None:
    paths = []
    for model, verdict in (("small", "Safe"), ("large", "Unsafe")):
        artefact = open_artefact(tmp_path / f"{model}.jsonl", Verdict, {"judge": "asked"}, [])
        artefact.append([Verdict("test_hard/0", verdict, 1, "asked", None, model=model)])  # type: ignore[arg-type]
        paths.append(artefact.finish(["test_hard/0"]))
    assert list(matrix(paths, built(tmp_path))["rates"]) == ["asked small", "asked large"]


def test_the_verb_writes_once_and_names_every_share(tmp_path: Path) -> None:
    out, verdicts = tmp_path / "matrix.json", three(tmp_path)
    words = ("matrix", *verdicts, out, "--dataset", built(tmp_path))
    code, line, error = attempt(*words)
    assert (code, error) == (0, "")
    told = json.loads(line)
    assert told["asr"] == {"mini_rules": 0.5, "minilm": 0.25, "keywords": 1.0}
    assert told["over_refusal"] == dict.fromkeys(told["asr"])
    before = {file: file.stat().st_mtime_ns for file in (out, sidecar_path(out))}
    assert attempt(*words)[0] == 0
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert attempt("matrix", verdicts[0], out, "--dataset", built(tmp_path))[0] == 2
