"""`python -m cards leaderboard add`: what others measured is checked, then stands on a board."""

from __future__ import annotations

import doctest
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cards import lines
from cards.__main__ import main
from cards.leaderboard import KINDS, LEADERBOARD_VERSION, PUBLISHED, schema_problems
from cards.lines import MIS_ROWS, OTHER
from cards.recount import NO_PERCEPTION
from cards.versions import ROOT, constant
from mis_dataset.published import ROWS
from mis_dataset.schema import SOURCES
from tests.made_reports import changed, make_comparison, make_leaderboard, make_report, rate, silenced, write
from trainer.comparison import leaderboard as theirs
from trainer.judges import choice

MADE = {"report": make_report, "comparison": make_comparison, "leaderboard": make_leaderboard}
needs_schemas = pytest.mark.usefixtures("schemas")


@pytest.fixture
def schemas() -> None:
    """Skips where the package that reads schemas is not there yet."""
    pytest.importorskip("jsonschema")


def add(report: Path, board: Path, *more: str) -> int:
    """Exit code of the verb."""
    return main(["leaderboard", "add", str(report), "--board", str(board), *more])


def lines_on(board: Path) -> list[dict[str, Any]]:
    """The measured lines of a board."""
    found: list[dict[str, Any]] = json.loads(board.read_text("utf-8"))["measured"]
    return found


# What both rooms know


def test_cards_and_trainer_know_the_same() -> None:
    assert LEADERBOARD_VERSION == theirs.LEADERBOARD_VERSION
    assert NO_PERCEPTION == choice.NO_PERCEPTION
    assert theirs.leaderboard([], mis=False, rows={})["dataset"] == OTHER
    assert {one.split: ROWS[one.file] for one in SOURCES if one.file in ROWS and one.split != "train"} == MIS_ROWS
    names = ("attack_success_rate", "over_refusal", "pair_accuracy")
    assert {constant(ROOT / "cards" / name / f"{name}.py", "METRIC_VERSION")[0] for name in names} == {"1"}
    assert doctest.testmod(lines) == (0, 1)


def test_the_published_lines_are_those_of_the_table_in_this_repository() -> None:
    held = json.loads(PUBLISHED.read_text("utf-8"))["published"]
    assert held == theirs.published_lines(), "write trainer.comparison.leaderboard.published_lines() there again"
    assert {line["source"] for line in held} == {"published"}


# Layout


@needs_schemas
@pytest.mark.parametrize("kind", KINDS)
def test_what_holds_to_its_schema_has_no_problems_and_a_key_too_many_is_named(kind: str) -> None:
    made = MADE[kind]()
    assert schema_problems(made, kind) == []
    assert schema_problems({**made, f"{kind}_version": "0-a"}, kind) == [
        f'{kind}_version: found "0-a", expected enum ' + json.dumps(_versions(kind))
    ]
    if kind != "comparison":  # which has keys that no board needs
        assert "'mine' was unexpected" in schema_problems({**made, "mine": 1}, kind)[0]


def _versions(kind: str) -> list[str]:
    return (
        ["1-a", "1-b", "1-c", "1-d"]
        if kind == "report"
        else ["1-a", "1-b", "1-c"]
        if kind == "comparison"
        else ["1-a", "1-b"]
    )


@needs_schemas
def test_the_report_that_a_run_wrote_holds_to_the_schema_of_its_version() -> None:
    found = json.loads((ROOT / "benchmarks" / "report.json").read_text("utf-8"))
    assert schema_problems(found, "report") == []
    del found["dataset"], found["models"]["base"]["splits"]["hard"]["asr"]["bounds"]
    problems = schema_problems(found, "report")
    assert "$: 'dataset' is a required property" in problems
    assert any("'bounds' is a required property" in one for one in problems)


@needs_schemas
@pytest.mark.parametrize(
    ("value", "keys", "message"),
    [
        (..., ("models",), "$: 'models' is a required property"),
        (
            "12",
            ("models", "base", "splits", "easy", "asr", "k"),
            'models.base.splits.easy.asr.k: found "12", expected type',
        ),
        (1.5, ("naming", "real"), "naming.real: found 1.5, expected maximum 1"),
        ({"<b>x</b>": make_report()["models"]["base"]}, ("models",), 'models: found "<b>x</b>", expected pattern'),
        ({"../x": make_report()["models"]["base"]}, ("models",), 'models: found "../x", expected pattern'),
        ("../../x\x1b[31m", ("hashes", "eval/base/responses.jsonl"), "expected pattern"),
        ([1], ("models", "base"), "models.base: found a list, expected type"),
    ],
)
def test_a_field_that_is_not_as_it_should_be_is_named(value: object, keys: tuple[str, ...], message: str) -> None:
    told = schema_problems(changed(make_report(), value, *keys), "report")
    assert any(message in one for one in told), told
    assert all(one.isascii() and "\x1b" not in one for one in told)


# The verb


@needs_schemas
@pytest.mark.parametrize("kind", KINDS)
def test_a_report_of_each_kind_stands_on_the_board_with_where_it_is_from(
    kind: str, tmp_path: Path, capsys: Any
) -> None:
    report, board = write(tmp_path / "theirs.json", MADE[kind]()), tmp_path / "sub" / "board.json"
    assert add(report, board) == 0
    said = json.loads(capsys.readouterr().out)
    models = ["base", "contrast"] if kind == "report" else ["another"]
    assert (said["models"], said["lines"], said["changed"], said["trusted"]) == (models, 3 * len(models), True, {})
    found = json.loads(board.read_text("utf-8"))
    assert schema_problems(found, "leaderboard") == []
    assert [(one["model"], one["split"]) for one in found["measured"]] == [
        (model, split) for model in models for split in ("easy", "hard", "real")
    ]
    line = found["measured"][-2]
    told = {key: line[key] for key in ("source", "judge", "judge_version", "data_version", "metric_version", "n")}
    judge = "mini_rules" if kind == "report" else "gpt-4o-mini"
    assert told == {
        **{"source": "measured", "judge": judge, "judge_version": "1-a", "data_version": "1-a"},
        **{"metric_version": "1-b", "n": 40},
    }
    assert line["report"]["model"] == models[-1]
    assert len(line["report"]["sha256"]) == 64
    assert len(found["published"]) == 45


@needs_schemas
def test_the_same_report_twice_changes_nothing_and_another_joins_it_in_order(tmp_path: Path, capsys: Any) -> None:
    board, first = tmp_path / "board.json", write(tmp_path / "a.json", make_report())
    assert add(first, board) == 0
    before = (board.read_bytes(), board.stat().st_mtime_ns)
    assert add(first, board) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["changed"] is False
    assert (board.read_bytes(), board.stat().st_mtime_ns) == before
    assert add(write(tmp_path / "b.json", make_comparison()), board) == 0
    assert [one["model"] for one in lines_on(board)][::3] == ["another", "base", "contrast"]
    backwards = tmp_path / "backwards.json"
    for report in ("b.json", "a.json"):
        assert add(tmp_path / report, backwards) == 0
    assert backwards.read_bytes() == board.read_bytes()


@needs_schemas
def test_two_reports_that_are_added_at_once_both_stand_there(tmp_path: Path) -> None:
    reports = [write(tmp_path / "a.json", make_report()), write(tmp_path / "b.json", make_comparison())]
    command = [sys.executable, "-m", "cards", "leaderboard", "add", "--board", str(tmp_path / "board.json")]
    both = [subprocess.Popen([*command, str(path)], cwd=ROOT, stdout=subprocess.DEVNULL) for path in reports]
    assert [process.wait(60) for process in both] == [0, 0]
    assert [one["model"] for one in lines_on(tmp_path / "board.json")][::3] == ["another", "base", "contrast"]


@needs_schemas
def test_a_name_is_chosen_and_one_that_is_taken_is_refused(tmp_path: Path, capsys: Any) -> None:
    board, report = tmp_path / "board.json", write(tmp_path / "a.json", make_report())
    assert add(report, board, "--model", "contrast", "--name", "Ours 1") == 0
    assert {one["model"] for one in lines_on(board)} == {"Ours 1"}
    before = board.read_bytes()
    other = write(tmp_path / "b.json", make_comparison())
    assert add(other, board, "--name", "ours 1") == 1
    assert "model: found ours 1, which is another report's on this board; give --name" in capsys.readouterr().err
    assert add(report, board, "--model", "contrast", "--name", "Ours 2") == 1
    assert "model: found Ours 2, expected Ours 1, as which this report stands there already" in capsys.readouterr().err
    assert add(report, board, "--model", "nobody") == 1
    assert "found the models base, contrast, expected nobody" in capsys.readouterr().err
    assert board.read_bytes() == before
    assert add(other, board, "--name", "ours/2") == 0
    assert {one["model"] for one in lines_on(board)} == {"Ours 1", "ours/2"}


@pytest.mark.parametrize(
    "name", ["<b>x</b>", "../x", "/etc/x", "a/b/c", "a..b", "", "x" * 61, "x\n", "javascript:x", "Ｘ"]
)
def test_a_name_that_could_act_is_wrong_use(tmp_path: Path, name: str) -> None:
    assert add(tmp_path / "a.json", tmp_path / "board.json", f"--name={name}") == 2


@needs_schemas
def test_all_reasons_are_told_at_once_and_nothing_is_written(tmp_path: Path, capsys: Any) -> None:
    report = changed(make_report(), 0.5, "models", "base", "splits", "easy", "asr", "rate")
    report = changed(report, "2-a", "versions", "data")
    report = changed(report, None, "versions", "metric")
    report = changed(report, 41, "dataset", "rows", "test_easy")
    path = write(tmp_path / "a.json", report)
    assert add(path, tmp_path / "board.json") == 1
    said = capsys.readouterr().err
    for told in (
        f"{path}: is not added, for 15 reasons:",
        "models.base.splits.easy.asr.rate: found 0.5, expected 18 of 38",
        "base on easy: data_version: found '2-a', expected one that compares with 1-a",
        "base on easy: metric_version: found 'None', expected one that compares with 1-b",
        "contrast on easy: n + unscored: found 40, expected all 41 rows of test_easy",
    ):
        assert told in said
    assert list(tmp_path.iterdir()) == [path]


@needs_schemas
@pytest.mark.parametrize(
    ("kind", "value", "keys", "message"),
    [
        ("report", True, ("dataset", "mis"), "dataset.rows: found"),
        (
            "report",
            99,
            ("dataset", "rows", "test_benign"),
            "found 100 twins, expected at most 99, the rows of test_benign",
        ),
        ("report", ..., ("dataset", "rows", "test_hard"), "rows.test_hard: is missing"),
        ("report", None, ("versions", "judge"), "judge_version: found None, expected one version such as 1-a"),
        ("leaderboard", "MIS", ("dataset",), "dataset.rows: found"),
        ("leaderboard", "mine", ("dataset",), "dataset: found 'mine', expected MIS or"),
        ("leaderboard", ..., ("rows",), "rows.test_easy: is missing"),
        ("leaderboard", "<i>", ("measured", 0, "judge"), "measured[0].judge: found"),
        (
            "comparison",
            rate(2, 40),
            ("leaderboard", "measured", 1, "over_refusal"),
            "over_refusal: found another rate than in",
        ),
        ("comparison", "nobody", ("leaderboard", "measured", 1, "model"), "found no such model in models"),
        ("comparison", "1-a and 1-b", ("leaderboard", "measured", 1, "judge_version"), "expected pattern"),
    ],
)
def test_what_does_not_belong_on_a_board_is_refused(
    kind: str, value: object, keys: tuple[str | int, ...], message: str, tmp_path: Path, capsys: Any
) -> None:
    path = write(tmp_path / "a.json", changed(MADE[kind](), value, *keys))
    assert add(path, tmp_path / "board.json") == 1
    assert message in capsys.readouterr().err


@needs_schemas
@pytest.mark.parametrize(("version", "code"), [("1-a/1-a", 0), ("1-a/", 1), ("1-a/1-a/1-a", 1), ("1-a 1-a", 1)])
def test_a_judge_that_is_asked_has_two_versions(version: str, code: int, tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", changed(make_leaderboard(), version, "measured", 0, "judge_version"))
    assert add(path, tmp_path / "board.json") == code


@needs_schemas
@pytest.mark.parametrize("name", ["another", "ANOTHER"])
def test_a_second_line_of_a_model_and_split_is_refused(name: str, tmp_path: Path, capsys: Any) -> None:
    report = make_leaderboard()
    report["measured"].append({**report["measured"][0], "model": name})
    assert add(write(tmp_path / "a.json", report), tmp_path / "board.json") == 1
    assert "another on easy: found 2 lines, expected one" in capsys.readouterr().err
    assert not (tmp_path / "board.json").exists()


@needs_schemas
def test_a_board_that_is_nested_too_deep_is_one_error_at_every_depth(tmp_path: Path, capsys: Any) -> None:
    report, board = write(tmp_path / "a.json", make_report()), tmp_path / "board.json"
    said = []
    for depth in range(870, 1000, 2):  # JSON reads a little deeper than what walks through it
        board.write_text('{"leaderboard_version": "1-b", "measured": ' + '{"a":' * depth + "null" + "}" * (depth + 1))
        assert add(report, board) == 1
        said.append(capsys.readouterr().err)
    assert any("is nested deeper than any report" in one for one in said)
    assert any("is no board to add to" in one for one in said)


@needs_schemas
def test_of_a_judge_without_perception_three_rates_are_left_out(tmp_path: Path) -> None:
    report = changed(make_report(), "keywords", "settings", "judge", "judge")
    assert add(write(tmp_path / "a.json", report), tmp_path / "board.json") == 0
    line = lines_on(tmp_path / "board.json")[0]
    assert (line["hr"], line["rsr"], line["rr"], line["judge"]) == (None, None, None, "keywords")


@needs_schemas
def test_three_rates_that_a_judge_does_not_say_are_taken_and_no_other_gap(tmp_path: Path, capsys: Any) -> None:
    report = make_report()
    report["models"] = {name: silenced(rates) for name, rates in report["models"].items()}
    spoken = write(tmp_path / "spoken.json", report)
    assert add(spoken, tmp_path / "board.json") == 1
    assert (
        "models.base: found HR, RSR and RR that were not measured, expected them by mini_rules"
        in capsys.readouterr().err
    )
    silent = changed(report, "keywords", "settings", "judge", "judge")
    assert schema_problems(silent, "report") == []
    assert add(write(tmp_path / "silent.json", silent), tmp_path / "board.json") == 0
    assert [(line["hr"], line["rsr"], line["rr"]) for line in lines_on(tmp_path / "board.json")] == [(None,) * 3] * 6
    at = ("models", "base", "splits", "hard")
    for wrong in (
        changed(silent, rate(38, 38, 2), *at, "rsr"),
        changed(silent, 1, *at, "hr", "n"),
        changed(silent, 0.0, *at, "rr", "rate"),
        changed(silent, "no time", *at, "rr", "reason"),
        changed(silent, silent["models"]["base"]["splits"]["hard"]["hr"], *at, "asr"),
        changed(silent, ..., *at, "hr", "reason"),
    ):
        assert schema_problems(wrong, "report") != []


@needs_schemas
def test_an_interval_that_cannot_be_recomputed_is_marked(tmp_path: Path, capsys: Any) -> None:
    clustered = {**rate(2, 40, effective=12.5), "coverage": 1.0}
    report = changed(make_report(), clustered, "models", "contrast", "over_refusal", "hard")
    assert add(write(tmp_path / "a.json", report), tmp_path / "board.json") == 0
    assert json.loads(capsys.readouterr().out)["trusted"] == {"contrast on hard": ["over_refusal"]}
    assert [one["trusted"] for one in lines_on(tmp_path / "board.json")] == [[], [], [], [], ["over_refusal"], []]


@needs_schemas
def test_a_board_that_is_none_or_of_another_dataset_is_kept(tmp_path: Path, capsys: Any) -> None:
    board, report = tmp_path / "board.json", write(tmp_path / "a.json", make_report())
    assert add(report, board) == 0
    held = json.loads(board.read_text("utf-8"))
    for broken, message in (
        ({**held, "published": []}, "published: is not what published_leaderboard.json holds"),
        (changed(held, 0.5, "measured", 0, "asr", "rate"), "measured[0].asr.rate: found 0.5"),
        ({**held, "rows": {**held["rows"], "test_real": 30}}, "expected that of the board"),
        ({"mine": 1}, "is no board to add to"),
    ):
        before = write(board, broken).read_bytes()
        assert add(write(tmp_path / "b.json", make_comparison()), board) == 1
        assert message in capsys.readouterr().err
        assert board.read_bytes() == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "found 0 of the keys report_version, comparison_version, leaderboard_version, expected one"),
        ('{"report_version": "1-c", "comparison_version": "1-b"}', "found 2 of the keys"),
        ('{"report_version": NaN}', "is no JSON"),
        ("[]", "holds a list, expected an object"),
        ("{" + '"a":[' * 100_000, "is no JSON"),
    ],
)
def test_what_is_no_report_is_one_error(text: str, message: str, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "a.json").write_text(text)
    assert add(tmp_path / "a.json", tmp_path / "board.json") == 1
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert add(tmp_path / "none.json", tmp_path / "board.json") == 1
