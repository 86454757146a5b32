"""Programs in processes of their own: what they are given, what they must say, and what of their end is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from cards.loads import LoadError, fresh

_TOLD = """
import json, os, sys
from pathlib import Path
names = ["HF_TOKEN", "HF_TOKEN_PATH", "JUDGE_API_KEY", "AWS_SECRET_ACCESS_KEY", "PYTHONPATH", "HF_HUB_CACHE"]
held = {name: os.environ[name] for name in [*names, "TOKENIZERS_PARALLELISM", "HF_HOME"] if name in os.environ}
print("noise")
print(json.dumps({"held": held, "words": sys.argv[1:], "here": os.listdir(), "at": str(Path.cwd())}))
"""


def test_a_program_has_an_empty_folder_a_home_of_its_own_and_no_secret_but_the_token_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_TOKEN", "HF_TOKEN_PATH", "JUDGE_API_KEY", "AWS_SECRET_ACCESS_KEY", "PYTHONPATH", "HF_HUB_CACHE"):
        monkeypatch.setenv(name, "mine")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    own = {"TOKENIZERS_PARALLELISM": "false", "HF_HOME": str(tmp_path / "a" / "home")}
    told = fresh(_TOLD, ["one", "two"], tmp_path / "a", None)
    assert told == {"held": own, "words": ["one", "two"], "here": [], "at": str(tmp_path / "a" / "work")}
    own["HF_HOME"] = str(tmp_path / "b" / "home")
    assert fresh(_TOLD, [], tmp_path / "b", "given")["held"] == {"HF_TOKEN": "given", **own}


@pytest.mark.parametrize("program", ["", "print('done')", "print('[1]')", "raise SystemExit(0)\nprint('{}')"])
def test_a_program_that_does_not_say_what_it_loaded_has_loaded_nothing(program: str, tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="ended well, but did not say what it loaded"):
        fresh(program, [], tmp_path, None)


def test_of_a_program_that_fails_the_last_line_is_told(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"^ValueError: too small$"):
        fresh("print('{}')\nraise ValueError('too small')", [], tmp_path / "a", None)
    with pytest.raises(LoadError, match=r"^ended with 3$"):
        fresh("raise SystemExit(3)", [], tmp_path / "b", None)
