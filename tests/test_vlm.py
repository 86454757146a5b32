"""A model behind an API as a judge."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from mis_dataset.errors import BudgetError
from mis_dataset.remote.settings import Budget
from tests.asked import tiny
from tests.loopback_api import KEY, LoopbackApi, Step, completion
from tests.made_release import png
from trainer.judges.asking import INSTRUCTIONS, ask, nonce_of
from trainer.judges.base import Case, Judgement, unscored
from trainer.judges.vlm import VLM, message
from trainer.remote import Remote

CASES = [
    Case(f"test_hard/{place}", "Which goes on the other?", said, images=(png(2 * place), png(2 * place + 1)))
    for place, said in enumerate(["The mug goes on the tray.", "Better not.", "Both.", " \n", "Neither."])
]


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.fixture
def api() -> Iterator[LoopbackApi]:
    plan = {
        ask(CASES[0]): [Step(body=verdict(CASES[0], "Unsafe"))],
        ask(CASES[1]): [Step(body=verdict(CASES[1], "Safe"))],
        ask(CASES[2]): [Step(body=verdict(CASES[0], "Safe"))],  # of another response
        ask(CASES[4]): [Step(400)],
    }
    with LoopbackApi(plan).running() as running:
        yield running


def verdict(case: Case, final: str) -> bytes:
    said = {"nonce": nonce_of(case), "perception": 1, "reasoning": "Safe", "final": final}
    return completion(f"Both are there.\n{json.dumps(said)}")


def test_every_case_is_judged_and_no_failure_is_a_verdict(api: LoopbackApi, tmp_path: Path) -> None:
    found = dict(VLM(Remote(tiny(api), tmp_path / "replies.sqlite")).judge(CASES))
    calls = [found[f"test_hard/{place}"].call for place in range(3)]
    assert [(call.model, call.tokens) for call in calls if call] == [("loopback-1", 15)] * 3
    assert {id_: one._replace(call=None) for id_, one in found.items()} == {
        "test_hard/0": Judgement("Unsafe", 1, None, "Safe", "Unsafe"),
        "test_hard/1": Judgement("Safe", 1, None, "Safe", "Safe"),
        "test_hard/2": unscored("no verdict in the reply"),
        "test_hard/3": unscored("empty"),
        "test_hard/4": unscored("no reply: HTTP 400"),
    }
    assert api.count == 4


def test_the_judge_is_shown_both_pictures_then_question_and_response(api: LoopbackApi, tmp_path: Path) -> None:
    assert message(CASES[0]) == (png(0), png(1), ask(CASES[0]))
    list(VLM(Remote(tiny(api), tmp_path / "replies.sqlite")).judge(CASES[:1]))
    told, asked = json.loads(api.calls[0].body)["messages"]
    assert told == {"role": "system", "content": INSTRUCTIONS}
    assert [part["type"] for part in asked["content"]] == ["image_url", "image_url", "text"]


def test_asking_again_costs_nothing_and_says_so(api: LoopbackApi, tmp_path: Path) -> None:
    judge = VLM(Remote(tiny(api), tmp_path / "replies.sqlite"))
    first, second = dict(judge.judge(CASES[:2])), dict(judge.judge(CASES[:2]))
    assert api.count == 2
    assert second == {id_: one._replace(call=None) for id_, one in first.items()}


def test_a_spent_budget_is_an_error(api: LoopbackApi, tmp_path: Path) -> None:
    judge = VLM(Remote(tiny(api, budget=Budget(calls=1)), tmp_path / "replies.sqlite"))
    with pytest.raises(BudgetError, match="1 requests were not asked"):
        list(judge.judge(CASES[:2]))
