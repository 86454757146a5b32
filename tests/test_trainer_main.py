"""The verbs of the trainer as a user types them: exit codes, one line on stdout, one clear error on stderr."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.made_runs import write_responses
from tests.tiny import Tiny, attempt, call
from trainer.__main__ import VERBS, make_parser

ROOT = Path(__file__).resolve().parents[1]


def type_words(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trainer", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_help_lists_every_verb() -> None:
    ended = type_words("--help")
    assert ended.returncode == 0
    assert [verb for verb in VERBS if verb not in ended.stdout] == []


@pytest.mark.parametrize("words", [["nonsense"], ["sft"], []])
def test_wrong_use_is_exit_code_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        make_parser().parse_args(words)
    assert end.value.code == 2
    assert "usage: " in capsys.readouterr().err


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_says_what_it_does(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        make_parser().parse_args([verb, "--help"])
    assert end.value.code == 0
    assert "usage: python -m trainer " in capsys.readouterr().out


def test_an_error_is_one_line_on_stderr_and_exit_code_1(tmp_path: Path) -> None:
    ended = type_words("bars", str(tmp_path / "none"))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.count("\n") == 1
    assert str(tmp_path / "none") in ended.stderr


def test_broken_weights_are_one_clear_error(tiny: Tiny, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny.model, model)
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    code, line, error = attempt("ability", model, tmp_path / "ability.jsonl", "--pictures", 3, "--limit", 1)
    assert (code, line) == (1, "")
    assert "cannot be read (SafetensorError: Error while deserializing header" in error
    assert "Traceback" not in error


@pytest.mark.slow
@pytest.mark.parametrize(("size", "says"), [(200_000, "File too large"), (6_000_000, "Error while serializing: I/O")])
def test_a_full_disk_while_a_model_is_written_is_one_clear_error(tmp_path: Path, size: int, says: str) -> None:
    def cap() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    command = [sys.executable, "-m", "trainer", "base", str(tmp_path / "base"), "--smoke"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, preexec_fn=cap)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.splitlines()[-1].startswith(f"base: a model cannot be written or read: {says}")
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "base" / "tower").exists()


def test_a_verb_prints_one_line_of_json(tiny: Tiny, tmp_path: Path) -> None:
    responses = write_responses(tmp_path / "responses.jsonl", {"test_easy/0": "No, that is dangerous."})
    things = tiny.raw / "mini" / "objects.json"
    words = ("judge", responses, tmp_path / "verdicts.jsonl", "--things", things, "--dataset", tiny.dataset)
    code, line, _ = attempt(*words)
    assert code == 0
    assert line.count("\n") == 1
    assert json.loads(line)["verb"] == "judge"
    assert call(*words)["verb"] == "judge"
