"""What got no reply: whether it is final, and that a construction says how much of it there is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mis_dataset.__main__ import main
from mis_dataset.construct.config import read_config
from mis_dataset.construct.pipeline import construct
from tests.loopback_api import LoopbackApi, Step
from tests.scripted_models import THINGS, ScriptedModels
from tests.test_construct_faults import prepared
from tests.test_construct_pipeline import ROWS

pytestmark = pytest.mark.usefixtures("api_key")


@pytest.fixture
def api() -> Iterator[LoopbackApi]:
    with LoopbackApi().running() as running:
        running.decide = ScriptedModels()
        yield running


def failing(step: Step, seeds: int) -> Callable[[bytes], Step]:
    """Scripted models that fail at the first seeds."""
    texts, models = [f"What of a {thing}, number".encode() for thing in THINGS[:seeds]], ScriptedModels()
    return lambda body: step if any(text in body for text in texts) else models(body)


def tried(settings: Path, attempts: int) -> Path:
    """The same settings with other attempts of the model of texts."""
    text = settings.read_text().replace("attempts: 2, ", "").replace("attempts: 1, ", "")
    settings.write_text(text.replace("{model: text, ", f"{{model: text, attempts: {attempts}, "))
    return settings


def test_what_a_replay_reads_of_an_outage_is_asked_again_whatever_the_attempts(
    api: LoopbackApi, tmp_path: Path
) -> None:
    settings = prepared(api, tmp_path, len(THINGS))
    api.decide = failing(Step(500), 2)
    construct(read_config(tried(settings, 2)), tmp_path / "out")
    (tmp_path / "again").mkdir()
    (tmp_path / "out" / "replies.sqlite").rename(tmp_path / "again" / "replies.sqlite")
    config = read_config(tried(settings, 6))
    replayed = construct(config, tmp_path / "again", replay=True)
    assert replayed["stages"]["elements"]["rejected"] == {"no reply": 2}
    api.decide = ScriptedModels()
    assert construct(config, tmp_path / "again")["rows"] == ROWS


def test_what_an_endpoint_refuses_is_final_also_where_there_is_one_attempt(api: LoopbackApi, tmp_path: Path) -> None:
    config = read_config(tried(prepared(api, tmp_path, len(THINGS)), 1))
    api.decide = failing(Step(400), 2)
    first, api.count = construct(config, tmp_path / "out"), 0
    assert construct(config, tmp_path / "out") == first
    assert api.count == 0


def told(text: str) -> dict[str, int]:
    """Stage -> requests without a reply, of the line that the verb prints."""
    return {name: stage["unanswered"] for name, stage in json.loads(text)["stages"].items() if stage["unanswered"]}


def test_an_outage_is_a_problem_of_the_run_and_stands_in_page_and_release_until_it_has_passed(
    api: LoopbackApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["construct", str(tmp_path / "out"), "--config", str(prepared(api, tmp_path, len(THINGS)))]
    page, release = tmp_path / "out" / "construct.html", tmp_path / "out" / "raw" / "provenance" / "construction.json"
    api.decide = failing(Step(500), 5)
    assert main(words) == 1
    shown = capsys.readouterr()
    assert told(shown.out) == told((tmp_path / "out" / "construct.json").read_text()) == {"elements": 5}
    text = "requests without a reply: 5 (elements 5); rows that hang on them are not in the release"
    assert f"problem: {text}; this asks them again: python -m mis_dataset {' '.join(words)}\n" in shown.err
    assert text in page.read_text()
    assert json.loads(release.read_text())["unanswered"] == {"elements": 5}
    assert main([*words, "--replay"]) == 1
    assert told(capsys.readouterr().out) == {"elements": 5}
    api.decide = ScriptedModels()
    assert main(words) == 0
    shown = capsys.readouterr()
    assert told(shown.out) == {}
    assert "without a reply" not in shown.err + page.read_text()
    assert json.loads(release.read_text())["unanswered"] == {}


def test_what_is_refused_at_once_is_a_fate_of_rows_and_no_problem_of_the_run(api: LoopbackApi, tmp_path: Path) -> None:
    words = ["construct", str(tmp_path / "out"), "--config", str(prepared(api, tmp_path, len(THINGS)))]
    api.decide = failing(Step(400), 5)
    assert main(words) == 0
