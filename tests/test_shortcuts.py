"""No single clue tells hard rows from their twins; a planted release where one does is caught."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from mis_dataset.errors import UsageError
from mis_dataset.mini.objects import BY_KIND
from mis_dataset.mini.plan import plan_test
from mis_dataset.mini.shortcuts import find_shortcuts
from mis_dataset.mini.write import BLOCKS, write_release


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shortcuts") / "raw"
    write_release(folder, seed=0, zipped=False, smoke=True)
    return folder


@pytest.fixture
def smoke(made: Path, tmp_path: Path) -> Path:
    """A release of this test's own, without the pictures, which shortcuts never reads."""
    pictures = shutil.ignore_patterns("*.png")
    return Path(shutil.copytree(made, tmp_path / "raw", ignore=pictures))


@pytest.fixture(scope="module")
def found(made: Path) -> dict[str, Any]:
    return find_shortcuts(made)


def edit(path: Path, change: Any) -> None:
    content = json.loads(path.read_text("utf-8"))
    change(content)
    path.write_text(json.dumps(content), "utf-8")


def test_nothing_but_both_things_together_decides_hard(found: dict[str, Any]) -> None:
    assert found["passed"] is True
    assert found["limit"] == 0.55
    assert sorted(found["accuracy"]) == ["question", "thing_1", "thing_2"]
    assert max(found["accuracy"].values()) <= 0.55
    assert found["ceiling"] == {"question": 0.5, "thing_1": 0.5, "thing_2": 0.5}
    assert found["control"]["accuracy"] >= 0.9
    assert len(found["classifiers"]["question"]) == 4
    assert found["rows"] == 40


def test_the_first_picture_decides_easy_and_is_reported_only(found: dict[str, Any]) -> None:
    assert found["easy"]["thing_1"] >= 0.9
    assert found["easy"]["question"] <= 0.55


def test_the_same_release_gives_the_same_numbers(smoke: Path, found: dict[str, Any]) -> None:
    assert find_shortcuts(smoke) == found


def test_a_second_thing_that_shows_up_in_twins_alone_is_caught(smoke: Path) -> None:
    def plant(named: dict[str, list[str]]) -> None:
        for row_id in named:
            if row_id.startswith("test_benign/"):
                named[row_id][1] = BY_KIND["present"][0].name

    edit(smoke / "mini" / "objects.json", plant)
    found = find_shortcuts(smoke)
    assert found["passed"] is False
    assert found["accuracy"]["thing_2"] == found["ceiling"]["thing_2"] == 1.0
    assert found["accuracy"]["question"] <= 0.55


def test_a_first_thing_that_leans_one_way_is_caught(smoke: Path) -> None:
    def plant(named: dict[str, list[str]]) -> None:
        # A third of the dangerous rows show a weapon first, no twin does.
        for number in range(0, 20, 3):
            named[f"test_hard/{number}"][0] = BY_KIND["weapon"][0].name

    edit(smoke / "mini" / "objects.json", plant)
    found = find_shortcuts(smoke)
    assert found["passed"] is False
    assert found["ceiling"]["thing_1"] > 0.55


def test_a_control_that_cannot_decide_fails_the_check(smoke: Path) -> None:
    def plant(named: dict[str, list[str]]) -> None:
        for names in named.values():
            names[:] = [BY_KIND["flame"][0].name] * 2

    edit(smoke / "mini" / "objects.json", plant)
    found = find_shortcuts(smoke)
    assert max(found["accuracy"].values()) <= 0.55
    assert found["control"]["accuracy"] <= 0.55
    assert found["passed"] is False


def test_a_release_without_names_or_twins_is_refused(smoke: Path, tmp_path: Path) -> None:
    edit(smoke / "mini" / "objects.json", lambda named: named.pop("test_hard/3"))
    with pytest.raises(UsageError, match="test_hard/3: no two known things"):
        find_shortcuts(smoke)
    (smoke / "mini" / "objects.json").unlink()
    with pytest.raises(UsageError, match=r"objects\.json: cannot be read"):
        find_shortcuts(smoke)
    with pytest.raises(UsageError, match="not a folder"):
        find_shortcuts(tmp_path / "nothing")


def test_a_row_without_a_twin_is_refused(smoke: Path) -> None:
    edit(smoke / "mis_benign.json", lambda rows: rows.pop(10))
    with pytest.raises(UsageError, match="1 rows of test_hard have no twin"):
        find_shortcuts(smoke)


@pytest.mark.slow
def test_the_whole_release_passes(tmp_path: Path) -> None:
    write_release(tmp_path / "raw", seed=0, zipped=False, smoke=False)
    found = find_shortcuts(tmp_path / "raw")
    assert found["passed"] is True
    assert found["rows"] == 2 * len(plan_test("hard", BLOCKS["hard"]))
