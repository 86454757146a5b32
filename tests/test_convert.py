"""The verb `convert` as it is typed: flags, exit codes, kills."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.made_internvl_chat import SIZES, make_config, make_weights, read, write
from trainer.__main__ import main

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def original(tmp_path: Path) -> Path:
    config = make_config(SIZES["2B"], 40)
    return write(tmp_path / "original", config, make_weights(config), shards=2)


def typed(*words: object) -> int:
    return main(["convert", *map(str, words)])


def test_it_converts_and_says_so_in_one_line(
    original: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "native"
    assert typed(original, out, "--weights-only", "--image-token-id", 5) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["verb"], told["to"], told["shards"], told["written"]) == ("convert", "native", 2, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["native", "native.meta.json", "original"]
    assert typed(original, out, "--weights-only", "--image-token-id", 5) == 0
    assert json.loads(capsys.readouterr().out)["written"] is False
    assert typed(out, tmp_path / "back", "--reverse", "--max-shard-size", "10KB") == 0
    assert json.loads(capsys.readouterr().out)["config"] is True
    assert sorted(read(tmp_path / "back")) == sorted(read(original))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--weights-only"], "go together"),
        (["--image-token-id", "5"], "go together"),
        (["--reverse", "--weights-only", "--image-token-id", "5"], "leave --weights-only"),
        (["--weights-only", "--image-token-id", "40"], "the model has 40 tokens"),
    ],
)
def test_flags_that_do_not_go_together_are_wrong_use(
    original: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert typed(original, tmp_path / "native", *words) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "native").exists()


@pytest.mark.parametrize(
    "words", [["--max-shard-size", "5 GB"], ["--max-shard-size", "0GB"], ["--image-token-id", "-1"]]
)
def test_a_size_or_id_that_is_none_is_wrong_use(original: Path, tmp_path: Path, words: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        typed(original, tmp_path / "native", *words)


def test_a_source_without_a_tokenizer_says_how_to_go_on(
    original: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(original, tmp_path / "native") == 1
    assert "convert with --weights-only" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["original/native", "."])
def test_a_target_inside_of_the_source_or_around_it_is_wrong_use(original: Path, tmp_path: Path, place: str) -> None:
    assert typed(original, tmp_path / place, "--weights-only", "--image-token-id", 5) == 2


@pytest.mark.parametrize("what", ["a file", "a folder"])
def test_what_lies_at_the_target_stays(original: Path, tmp_path: Path, what: str) -> None:
    out = tmp_path / "native"
    (out if what == "a file" else out / "notes").parent.mkdir(exist_ok=True)
    (out if what == "a file" else out / "notes").write_text("mine")
    assert typed(original, out, "--weights-only", "--image-token-id", 5) == 2
    assert (out if what == "a file" else out / "notes").read_text() == "mine"


@pytest.mark.slow
def test_after_a_kill_nothing_lies_at_the_target_and_a_rerun_writes_it(tmp_path: Path) -> None:
    config = make_config(SIZES["2B"], 50_000)
    original, out = write(tmp_path / "original", config, make_weights(config), shards=8), tmp_path / "native"
    words = [str(original), str(out), "--weights-only", "--image-token-id", "5", "--max-shard-size", "1MB"]
    process = subprocess.Popen(
        [sys.executable, "-m", "trainer", "convert", *words], cwd=ROOT, stderr=subprocess.DEVNULL
    )
    while process.poll() is None and not list(tmp_path.glob(".native.convert/new/*.safetensors")):
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert list(tmp_path.glob(".native.convert/new/*.safetensors")) != []
    assert not out.exists()
    assert typed(*words) == 0
    assert len(read(out)) == len(read(original)) + 2 * (4 + 2)  # two more of each packed tensor
    assert not list(tmp_path.glob(".native*"))
