"""The loading script beside the package."""

from __future__ import annotations

import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import datasets
import pytest

from mis_dataset.build import build
from mis_dataset.builder import MISBuilder
from mis_dataset.verify import verify
from tests.made_release import make_release

DOOR = Path(__file__).resolve().parents[1] / "mis_dataset.py"


def test_the_door_builds_from_anywhere(tmp_path: Path) -> None:
    make_release(tmp_path / "raw", twins=False)
    command = [sys.executable, str(DOOR), "raw", "MIS"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert json.loads(ended.stdout)["rows"] == {"train": 3, "test_easy": 2, "test_hard": 2, "test_real": 2}
    assert verify(tmp_path / "MIS") == []


def test_the_door_is_not_built_beside_the_rows_where_it_would_break_them(tmp_path: Path) -> None:
    build(make_release(tmp_path / "raw", twins=False), tmp_path / "MIS")
    assert list((tmp_path / "MIS").rglob("*.py")) == []
    shutil.copy(DOOR, tmp_path / "MIS" / "MIS.py")
    with pytest.raises(RuntimeError, match="Dataset scripts are no longer supported"):
        datasets.load_dataset(str(tmp_path / "MIS"))


def test_the_door_without_words_is_wrong_use() -> None:
    ended = subprocess.run([sys.executable, str(DOOR)], capture_output=True, text=True)
    assert ended.returncode == 2
    assert "usage: python -m mis_dataset build" in ended.stderr


def test_the_door_shows_the_builder_as_a_loading_script_must_and_holds_no_logic() -> None:
    assert runpy.run_path(str(DOOR))["MISBuilder"] is MISBuilder
    assert len(DOOR.read_text("utf-8").splitlines()) <= 40
