"""The verbs of the dataset room as a user types them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mis_dataset.__main__ import main
from tests.made_release import change, make_release

Shown = pytest.CaptureFixture[str]
ROOT = Path(__file__).resolve().parents[1]


def test_check_prints_one_line_of_json_for_a_good_release(tmp_path: Path, capsys: Shown) -> None:
    assert main(["check", str(make_release(tmp_path, twins=False))]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {
        "verb": "check",
        "raw": str(tmp_path),
        "passed": True,
        "limit": None,
        "rows": {"train": 3, "test_easy": 2, "test_hard": 2, "test_real": 2},
        "problems": 0,
        "warnings": 7,
    }
    assert shown.out.count("\n") == 1
    assert all("(published" in line for line in shown.err.splitlines())


def test_check_lists_problems_and_warnings_and_exits_1(tmp_path: Path, capsys: Shown) -> None:
    make_release(tmp_path, twins=False)
    change(tmp_path, "mis_hard.json", 0, category="Fun")
    change(tmp_path, "mis_hard.json", 1, source="web")
    assert main(["check", str(tmp_path)]) == 1
    shown = capsys.readouterr()
    assert json.loads(shown.out)["problems"] == 1
    assert [line[:36] for line in shown.err.splitlines() if "(published" not in line] == [
        "problem: mis_hard.json: test_hard/0:",
        "warning: mis_hard.json: the unknown ",
    ]
    assert main(["check", "--json", str(tmp_path)]) == 1
    shown = capsys.readouterr()
    assert shown.err == ""
    listed = json.loads(shown.out)["problems"]
    assert [(one["file"], one["id"]) for one in listed] == [("mis_hard.json", "test_hard/0")]


def test_build_says_what_it_did_and_that_a_second_time_nothing_was_to_do(tmp_path: Path, capsys: Shown) -> None:
    words = ["build", str(make_release(tmp_path / "raw")), str(tmp_path / "MIS"), "--check"]
    assert main(words) == 0
    first = json.loads(capsys.readouterr().out)
    assert (first["verb"], first["written"], first["rows"]["test_benign"]) == ("build", True, 2)
    assert main(words) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["written"] is False
    assert shown.err == f"{tmp_path}/MIS: up to date, nothing to do\n"


def test_a_problem_is_one_clear_message_without_a_traceback(tmp_path: Path, capsys: Shown) -> None:
    (make_release(tmp_path / "raw", twins=False) / "mis_easy.json").write_text("")
    assert main(["build", str(tmp_path / "raw"), str(tmp_path / "MIS")]) == 1
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "mis_easy.json: is empty\n")


@pytest.mark.parametrize("words", [[], ["fly"], ["check"], ["check", "R", "--limit", "x"], ["build", "R"]])
def test_wrong_words_exit_2(words: list[str], capsys: Shown) -> None:
    assert main(words) == 2
    assert "usage: python -m mis_dataset" in capsys.readouterr().err


def test_a_missing_extra_is_named(tmp_path: Path, capsys: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasketch", None)
    monkeypatch.delitem(sys.modules, "mis_dataset.leaks", raising=False)
    assert main(["leaks", str(tmp_path), str(tmp_path / "leaks.json")]) == 2
    assert capsys.readouterr().err == "leaks: needs datasketch; pip install 'mis-dataset[audit]'\n"


def test_a_release_that_is_not_there_exits_2(tmp_path: Path, capsys: Shown) -> None:
    assert main(["check", str(tmp_path / "nowhere")]) == 2
    assert capsys.readouterr().err == (f"{tmp_path}/nowhere: not a folder; name the folder that holds mis_train.json\n")


def test_help_names_every_verb_and_starts_fast() -> None:
    def timed() -> float:
        started = time.perf_counter()
        command = [sys.executable, "-m", "mis_dataset", "--help"]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        assert all(f"    {verb}" in ended.stdout for verb in ("mini", "check", "build", "shortcuts"))
        return time.perf_counter() - started

    # The fastest of several: another process may hold the cores for a moment.
    assert min(timed() for _ in range(5)) < 0.25
