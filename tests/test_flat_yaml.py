"""Flat YAML: what PyYAML would take, and a recipe must not hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from mis_dataset.errors import MISError
from mis_dataset.flat_yaml import read_flat_yaml


def written(folder: Path, text: str) -> Path:
    (folder / "recipe.yaml").write_text(text, "utf-8")
    return folder / "recipe.yaml"


def test_settings_are_read_as_they_stand_there(tmp_path: Path) -> None:
    text = "a: 1\nb: 1e-4\nc: [x, 2.5, null]\nd: {e: true}\n"
    found = read_flat_yaml(written(tmp_path, text))
    assert found == {"a": 1, "b": "1e-4", "c": ["x", 2.5, None], "d": {"e": True}}  # PyYAML takes 1e-4 for a text


BOMB = "a: &a [1, 1]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", "a stands there twice; leave one"),
        (BOMB, r"line 2 holds an alias \(\*a\); write out what it stands for"),
        ("a: &a [*a]\n", "line 1 holds an alias"),
        ("a: " + "[" * 5000 + "]" * 5000, "line 1 is nested too deeply"),
        ("a: .nan\n", "a holds a number that is none"),
        ("a: [{b: -.inf}]\n", "a holds a number that is none"),
        ("a: 2020-01-01\n", "a holds .* a date"),
        ("a: 2020-99-99\n", "month must be in 1..12"),
        ('a: "\\ud800"\n', "half a letter"),
        ("a: {1: 2}\n", "a holds"),
        (f"a: {'9' * 5000}\n", "Exceeds the limit"),
        ("a: !!python/object/apply:os.getcwd []\n", "could not determine a constructor"),
        ("1: 2\n", "no settings stand there"),
        ("a: " + "x" * 10**6, "has more than 1000000 bytes"),
    ],
)
def test_what_a_recipe_must_not_hold_is_one_clear_error(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(MISError, match=rf"recipe\.yaml: .*{said}"):
        read_flat_yaml(written(tmp_path, text))
