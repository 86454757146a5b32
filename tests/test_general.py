"""Result files of lmms-eval and VLMEvalKit, made by code in their layouts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trainer.__main__ import main
from trainer.files import ArtefactError
from trainer.general import ResultsError, read_results

LMMS: dict[str, Any] = {
    "qbench_dev": {"alias": "qbench_dev", "qbench_acc,none": 0.75, "qbench_acc_stderr,none": "N/A"},
    "mmstar": {"math,none": 0.1, "average,none": 0.5},
    "mmmu_val": {"mmmu_acc,none": 0.5, "mmmu_acc_stderr,none": "N/A"},
    "muirbench": {"muirbench_score_overall,flexible-extract": 0.25},
    "mmt_mi_val": {"accuracy,none": 50.0, "submission,none": None},
    "gsm8k": {"exact_match,none": 0.9},
}
KIT = {
    "a_b_Q-Bench1_VAL_acc.csv": '"split","Overall"\n"val","0.75"\n',
    "a_b_MMStar_acc.csv": '"split","Overall","math"\n"none","0.5","0.1"\n',
    "a_b_MMMU_DEV_VAL_acc.csv": '"split","Overall"\n"dev","0.9"\n"validation","0.5"\n',
    "a_b_MUIRBench_acc.csv": '"Overall"\n"0.25"\n',
    "a_b_MMT-Bench_VAL_MI_acc.csv": '"split","Overall"\n"val","0.5"\n"all","0.6"\n',
    "a_b_AI2D_TEST_acc.csv": '"Overall"\n"0.9"\n',
}
RATES = {"q_bench": 0.75, "mmstar": 0.5, "mmmu": 0.5, "muirbench": 0.25, "mmt_bench": 0.5}


def lmms(path: Path, scores: Any = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"results": LMMS if scores is None else scores, "n-samples": {}}), "utf-8")
    return path


def kit(folder: Path, **changes: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in {**KIT, **changes}.items():
        (folder / name).write_text(text, "utf-8")
    return folder


def refused(path: Path) -> str:
    with pytest.raises(ResultsError) as caught:
        read_results(path)
    return str(caught.value)


def test_rates_of_lmms_eval_are_read(tmp_path: Path) -> None:
    assert read_results(lmms(tmp_path / "a" / "20261126_results.json")) == RATES
    assert read_results(tmp_path / "a") == RATES


def test_rates_of_vlmevalkit_are_read(tmp_path: Path) -> None:
    assert read_results(kit(tmp_path / "a")) == RATES
    assert read_results(tmp_path / "a" / "a_b_MMStar_acc.csv") == {"mmstar": 0.5}


def test_files_of_both_are_put_together_but_never_one_task_twice(tmp_path: Path) -> None:
    kit(tmp_path / "a")
    (tmp_path / "a" / "a_b_MMStar_acc.csv").unlink()
    lmms(tmp_path / "a" / "1_results.json", {"mmstar": LMMS["mmstar"]})
    assert read_results(tmp_path / "a") == RATES
    lmms(tmp_path / "a" / "2_results.json", {"mmstar": LMMS["mmstar"]})
    assert refused(tmp_path / "a").endswith("2_results.json: has mmstar a second time; leave one file of it")


@pytest.mark.parametrize("wrong", [1.01, -0.1, "N/A", None, True, float("nan"), 10**400])
def test_what_is_no_rate_is_refused(wrong: Any, tmp_path: Path) -> None:
    path = lmms(tmp_path / "a_results.json", {"mmmu_val": {"mmmu_acc,none": wrong}})
    assert str(path) in refused(path)
    assert read_results(lmms(path, {"mmmu_val": {"mmmu_acc,none": 1}})) == {"mmmu": 1.0}


def test_other_layouts_are_told(tmp_path: Path) -> None:
    assert "has 0 of mmmu_acc, not one" in refused(lmms(tmp_path / "a_results.json", {"mmmu_val": {"acc,none": 0.5}}))
    twice = {"mmmu_val": {"mmmu_acc,none": 0.5, "mmmu_acc,other": 0.4}}
    assert "has 2 of mmmu_acc, not one" in refused(lmms(tmp_path / "b_results.json", twice))
    assert "has no table of results" in refused(lmms(tmp_path / "c_results.json", []))
    (tmp_path / "d_results.json").write_text("{", "utf-8")
    assert "is no results file of lmms-eval" in refused(tmp_path / "d_results.json")
    named = {"a_b_MMStar_acc.csv": '"split","Score"\n"none","0.5"\n'}
    assert "has no column Overall" in refused(kit(tmp_path / "f", **named))
    named = {"a_b_MMMU_DEV_VAL_acc.csv": '"split","Overall"\n"dev","0.9"\n"test","0.5"\n'}
    assert "has 0 of 2 rows of split validation, not one" in refused(kit(tmp_path / "g", **named))
    (tmp_path / "empty").mkdir()
    assert "holds neither" in refused(tmp_path / "empty")


def test_what_holds_none_of_the_five_is_refused_and_what_is_read_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = tmp_path / "rates.csv"
    foreign.write_text('"Overall"\n"0.9"\n', "utf-8")
    others = lmms(tmp_path / "o" / "1_results.json", {"gsm8k": LMMS["gsm8k"]})
    kit(tmp_path / "k", **dict.fromkeys(KIT, '"Overall"\n"0.9"\n'))
    for name in KIT:
        if "AI2D" not in name:
            (tmp_path / "k" / name).unlink()
    for path in (foreign, others, others.parent, tmp_path / "k"):
        said = refused(path)
        assert said.startswith(f"{path}: holds none of the five benchmarks; read are qbench_dev, mmstar, mmmu_val, ")
        assert said.endswith("*_MMT-Bench_VAL_MI_acc.csv by VLMEvalKit")
    assert main(["general", str(foreign)]) == 1
    assert capsys.readouterr().out == ""
    assert main(["general", str(lmms(tmp_path / "a_results.json")), "--base", str(foreign)]) == 1


def test_a_device_is_not_read(tmp_path: Path) -> None:
    for name in ("1_results.json", "a_b_MMStar_acc.csv"):
        (tmp_path / name).symlink_to("/dev/zero")
        with pytest.raises(ArtefactError):
            read_results(tmp_path / name)


def test_the_verb_tells_means_and_what_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = lmms(tmp_path / "base_results.json")
    tuned = lmms(tmp_path / "tuned_results.json", {**LMMS, "mmmu_val": {"mmmu_acc,none": 0.75}})
    assert main(["general", str(tuned), "--base", str(base)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["mean"], told["base_mean"]) == (0.55, 0.5)
    assert told["change"] == {"q_bench": 0.0, "mmstar": 0.0, "mmmu": 0.25, "muirbench": 0.0, "mmt_bench": 0.0}
    assert main(["general", str(lmms(tmp_path / "one_results.json", {"mmstar": LMMS["mmstar"]}))]) == 0
    assert json.loads(capsys.readouterr().out) == {"verb": "general", "rates": {"mmstar": 0.5}, "mean": None}
