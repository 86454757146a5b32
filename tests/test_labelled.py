"""Labelled responses as they are read, and that no error quotes one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.made_gold import EVALS, HEAD, NO, TALK, YES, csv_text, gold_line, write_gold, write_wheel
from tests.made_runs import QUESTION, THINGS
from trainer.files import ArtefactError
from trainer.labelled import GoldResponse, Published, read_gold, read_wheel

WHEEL = "pyrit-1.1.0-py3-none-any.whl"
BIAS = f"{EVALS}/objective/bias.csv"


def test_a_labelled_response_is_read_as_it_stands(tmp_path: Path) -> None:
    lines = [
        gold_line(0, NO, "declines", "quoted danger"),
        gold_line(1, YES, "helps") | {"things": None, "perception": 2},
    ]
    assert read_gold(write_gold(tmp_path / "gold.jsonl", lines)) == [
        GoldResponse("made/0", QUESTION, THINGS, NO, "declines", "quoted danger"),
        GoldResponse("made/1", QUESTION, None, YES, "helps", "plain", 2),
    ]


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ({"label": NO}, "label is helps or declines"),
        ({"extra": NO}, "not an object with the keys id, question"),
        ({"things": [NO]}, "things are two names, or null"),
        ({"things": ["mug", ""]}, "things are two names, or null"),
        ({"things": NO}, "things are two names, or null"),
        ({"kind": NO}, "kind a short word"),
        ({"id": ""}, "id is not empty"),
        ({"response": [NO]}, "all but things and perception are texts"),
        ({"perception": 0}, "perception, where it is given, is 1, 2 or 3"),
        ({"perception": True}, "perception, where it is given, is 1, 2 or 3"),
        ({"response": "\ud800"}, "surrogates not allowed"),
    ],
)
def test_a_broken_line_is_named_and_not_quoted(tmp_path: Path, broken: dict[str, Any], says: str) -> None:
    path = write_gold(tmp_path / "gold.jsonl", [gold_line(0, NO, "declines"), gold_line(1, NO, "declines") | broken])
    with pytest.raises(ArtefactError, match="line 2 is no labelled response") as error:
        read_gold(path)
    assert says in str(error.value)
    assert "tray" not in str(error.value)


@pytest.mark.parametrize("line", [[NO], NO, 3, None])
def test_a_line_that_is_no_object_is_refused_and_not_quoted(tmp_path: Path, line: object) -> None:
    with pytest.raises(ArtefactError, match="line 1 is no labelled response") as error:
        read_gold(write_gold(tmp_path / "gold.jsonl", [line]))
    assert "tray" not in str(error.value)


def test_half_a_line_an_id_twice_and_an_empty_file_are_refused(tmp_path: Path) -> None:
    path = write_gold(tmp_path / "gold.jsonl", [gold_line(0, NO, "declines")] * 2)
    with pytest.raises(ArtefactError, match="line 2: made/0 stands there twice"):
        read_gold(path)
    path.write_text(path.read_text()[:-5])
    with pytest.raises(ArtefactError, match="line 2 is no labelled response"):
        read_gold(path)
    path.write_text("")
    with pytest.raises(ArtefactError, match="is empty"):
        read_gold(path)


def test_a_wheel_is_read_with_its_version_and_every_row_of_every_set(tmp_path: Path) -> None:
    gold, sets = read_wheel(write_wheel(tmp_path / WHEEL))
    assert (gold.name, gold.version, len(gold.sha256)) == (WHEEL, "1.1.0", 64)
    assert {name: len(rows) for name, rows in sets.items()} == {
        "refusal": 5,
        "refusal_extra": 2,
        "mini_refusal": 2,
        "objective": 42,
    }
    assert gold.published == {"refusal": Published(2, 0.6, 0.8), "objective": Published(1, 0.7, 0.7)}


def test_a_score_of_one_declines_in_refusal_sets_and_helps_in_objective(tmp_path: Path) -> None:
    _, sets = read_wheel(write_wheel(tmp_path / WHEEL))
    assert [row.label for row in sets["refusal"]] == ["declines", "declines", "declines", "helps", "helps"]
    assert [row.label for row in sets["objective"][:3]] == ["helps", "helps", "declines"]
    assert Counter(row.kind for row in sets["objective"])["self_harm"] == 3
    assert sets["objective"][0] == GoldResponse(
        "objective/bias/1", "Where does the mug go?", None, YES, "helps", "bias"
    )


def test_lines_of_a_response_that_begin_as_comments_do_are_kept(tmp_path: Path) -> None:
    _, sets = read_wheel(write_wheel(tmp_path / WHEEL))
    assert sets["refusal"][4].response == TALK


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({BIAS: None}, "holds no pyrit/datasets/scorer_evals/objective/bias.csv"),
        ({BIAS: csv_text([(YES, "1"), (NO, NO)])}, "bias.csv: row 2 has a cell missing, or no score"),
        ({BIAS: csv_text([(YES, "1")]) + NO}, "bias.csv: row 2 has a cell missing, or no score"),
        ({BIAS: csv_text([(YES, "1")], (*HEAD[:2], "rated", "data_type"))}, r"no column \['human_score'\]"),
        ({BIAS: "human_score,objective,assistant_response\n1,Where?\n"}, "bias.csv: row 1 has a cell missing"),
        ({BIAS: csv_text([])}, "has no rows"),
        ({BIAS: "#"}, "has no rows"),
        ({BIAS: csv_text([("x" * 200_000, "1")])}, "is no CSV"),
        ({BIAS: " " * 2**25 + "x"}, "more than 33554432"),
        ({"pyrit-1.1.0.dist-info/METADATA": "Name: pyrit\nVersion: 1.0.9\n"}, "is not that of pyrit 1.1.0"),
        ({f"{EVALS}/refusal_scorer/refusal_metrics.jsonl": "{}"}, "holds no metrics"),
        ({f"{EVALS}/refusal_scorer/refusal_metrics.jsonl": ""}, "no judge that was measured on all 5 rows"),
    ],
)
def test_a_wheel_that_is_otherwise_is_refused_and_not_quoted(tmp_path: Path, other: Any, says: str) -> None:
    with pytest.raises(ArtefactError, match=says) as error:
        read_wheel(write_wheel(tmp_path / WHEEL, other))
    assert "tray" not in str(error.value)


def test_what_is_no_wheel_of_pyrit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="not named as a wheel of pyrit"):
        read_wheel(write_wheel(tmp_path / "tray-1.0-py3-none-any.whl"))
    (tmp_path / WHEEL).write_bytes(b"PK")
    with pytest.raises(ArtefactError, match="cannot be unpacked"):
        read_wheel(tmp_path / WHEEL)
    (tmp_path / WHEEL).unlink()
    with pytest.raises(ArtefactError, match="no such file"):
        read_wheel(tmp_path / WHEEL)
