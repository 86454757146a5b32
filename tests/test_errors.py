"""The exception tree."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import mis_dataset.errors as errors
from mis_dataset.errors import MISError, Problem, RecordError, ReleaseError, UsageError


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    drawn = re.findall(r"^[│├└─ ]*(\w+Error)\b", str(errors.__doc__), re.MULTILINE)
    classes = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, MISError)]
    assert sorted(drawn) == sorted(one.__name__ for one in classes)


def test_a_problem_reads_as_file_id_text() -> None:
    assert str(Problem("mis_hard.json", "test_hard/3", "question is empty")) == (
        "mis_hard.json: test_hard/3: question is empty"
    )
    assert str(Problem("mis_hard.json", None, "is empty")) == "mis_hard.json: is empty"


def test_an_error_shows_twenty_problems_and_keeps_all() -> None:
    error = ReleaseError(Problem("a.json", f"train/{n}", "id twice") for n in range(25))
    assert len(error.problems) == 25
    assert str(error).count("id twice") == 20
    assert str(error).endswith("... and 5 more (`check RAW --json` lists all)")
    assert "more" not in str(RecordError(error.problems[:20]))


@pytest.mark.parametrize(("kind", "code"), [(MISError, 1), (ReleaseError, 1), (UsageError, 2)])
def test_wrong_use_exits_with_another_code_than_a_problem(kind: type[MISError], code: int) -> None:
    assert kind.exit_code == code


def test_importing_the_room_loads_no_library() -> None:
    script = "import mis_dataset, sys; print({'datasets', 'PIL', 'numpy'} & set(sys.modules))"
    root = Path(__file__).parents[1]
    shown = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)
    assert shown.stdout == "set()\n"
