"""A judge that is the model which writes the labels: allowed, and said wherever models are listed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cards.released import released
from mis_dataset.__main__ import main
from mis_dataset.construct.config import own_judges, read_config
from mis_dataset.schema import CONSTRUCTION
from tests.test_construct_config import WHOLE, written
from tests.test_construct_pipeline import api as api
from tests.test_construct_pipeline import settings as settings

SAID = "judges: judge 2 is the model that writes the labels, and judges its own words"


@pytest.mark.parametrize(
    ("judges", "own"),
    [
        ("{model: one}, {model: two}", []),
        ("{model: vision}, {model: two}", [1]),
        ("{model: one}, {model: vision, temperature: 1}", [2]),
        ('{model: one}, {model: vision, base_url: "https://api.openai.com/v1/"}', [2]),
        ('{model: one}, {model: vision, base_url: "https://other.example/v1"}', []),
        ("{model: one}, {model: text}", []),
    ],
)
def test_a_judge_of_the_name_and_address_of_the_model_that_sees_is_that_model(
    tmp_path: Path, judges: str, own: list[int]
) -> None:
    assert own_judges(read_config(written(tmp_path, WHOLE.replace("{model: one}, {model: two}", judges)))) == own


@pytest.mark.usefixtures("api_key")
@pytest.mark.parametrize("own", [True, False])
def test_terminal_page_and_card_say_which_judge_wrote_the_labels(
    settings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], own: bool
) -> None:
    if own:
        settings.write_text(settings.read_text().replace("{model: two,", "{model: vision,"))
    out = tmp_path / "out"
    assert main(["construct", str(out), "--config", str(settings), "--limit", "3"]) == 0
    assert capsys.readouterr().err.count(SAID) == own
    page = (out / "construct.html").read_text("utf-8")
    assert ("<p>judge 2 is the model that wrote the labels.</p>" in page) is own
    assert "judge 1 is the model" not in page
    told = json.loads((out / "raw" / CONSTRUCTION).read_text("utf-8"))["settings"]["judges"]
    assert [one.get("wrote_labels", False) for one in told] == [False, own]
    assert main(["build", str(out / "raw"), str(tmp_path / "MIS")]) == 0
    card = released(tmp_path / "MIS", tmp_path / "card", "someone/mine")["card"].read_text("utf-8")
    assert "| judge 1 | judges responses | one |" in card
    assert ("| judge 2 | judges responses, and is the model that wrote the labels | vision |" in card) is own
