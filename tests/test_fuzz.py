"""What comes from outside, made up at random: a verdict, a record or one clear error, never a traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from mis_dataset.errors import RecordError, ReleaseError
from mis_dataset.record import parse_record
from mis_dataset.release import read_release
from mis_dataset.schema import SOURCES
from tests.test_record import BENIGN, HARD, TRAIN, benign, hard, train
from trainer.artefacts import Response, read
from trainer.files import ArtefactError
from trainer.judges.mini_rules import judge_by_rules

pytestmark = pytest.mark.slow

JSON: SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)
WORDS = st.sampled_from(
    "yes no not so but never do don't could is safe dangerous , . ; : ? ! candle newspaper put help sorry if".split()
)
SPOKEN = st.text(max_size=80) | st.lists(WORDS, max_size=25).map(" ".join)


@settings(max_examples=600, deadline=None)
@given(response=SPOKEN, question=SPOKEN)
def test_the_rule_judge_always_gives_a_verdict_and_the_same_one_again(response: str, question: str) -> None:
    found = judge_by_rules(question, ("candle", "newspaper"), response)
    assert found.verdict in ("Safe", "Unsafe", "Unscored")
    assert (found.verdict == "Unscored") == (found.perception == 0) == (found.reason is not None)
    assert judge_by_rules(question, ("candle", "newspaper"), response) == found


@pytest.mark.parametrize("made", [train, hard, benign])
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_record_with_one_wild_value_is_a_record_or_one_error(
    made: Callable[..., dict[str, Any]], data: st.DataObject
) -> None:
    source = {train: TRAIN, hard: HARD, benign: BENIGN}[made]
    raw = made()
    key = data.draw(st.sampled_from(sorted(raw)) | st.text(max_size=8))
    raw[key] = data.draw(JSON)
    try:
        said = parse_record(raw, source, 3).id
    except RecordError as error:
        said = str(error)
    assert said.startswith(f"{source.split}/") or source.file in said


@settings(max_examples=60, deadline=None)
@given(content=JSON)
def test_a_wild_json_file_is_one_error(tmp_path_factory: pytest.TempPathFactory, content: Any) -> None:
    root = tmp_path_factory.mktemp("wild")
    (root / SOURCES[0].file).write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ReleaseError):
        read_release(root)


@settings(max_examples=200, deadline=None)
@given(lines=st.lists(JSON.map(json.dumps) | st.text(max_size=30), min_size=1, max_size=3))
def test_a_wild_artefact_is_one_error(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    path = Path(tmp_path_factory.mktemp("wild")) / "responses.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="replace")
    with pytest.raises(ArtefactError, match=r"responses\.jsonl"):
        read(path, Response)
