"""Responses of a model behind an API, against an endpoint on loopback."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.loopback_api import KEY, LoopbackApi, Step, completion, error
from tests.tiny import Tiny, attempt, hashes
from trainer.artefacts import Response, Verdict, read
from trainer.prompts import Prompt, read_prompts
from trainer.sidecars import read_sidecar

IDS = ["test_hard/0", "test_hard/1", "test_hard/2"]


pytestmark = pytest.mark.usefixtures("api_key")


@pytest.fixture
def api() -> Iterator[LoopbackApi]:
    with LoopbackApi().running() as running:
        yield running


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "run" / "responses.jsonl"


def ask(tiny: Tiny, api: LoopbackApi, out: Path, *words: object) -> tuple[int, str, str]:
    """The verb on three hard rows; tries are not repeated."""
    asked = ("a-model", tiny.dataset, out, "--engine", "openai", "--base-url", api.url, "--attempts", 1)
    code, line, errors = attempt("generate", *asked, "--splits", "test_hard", "--limit", 3, *words)
    assert KEY not in line + errors
    return code, line, errors


def well(tiny: Tiny, api: LoopbackApi, out: Path, *words: object) -> dict[str, Any]:
    code, line, errors = ask(tiny, api, out, *words)
    assert code == 0, errors
    found: dict[str, Any] = json.loads(line)
    return found


def prompts(tiny: Tiny, probe: Any = "own") -> list[Prompt]:
    return list(read_prompts(tiny.dataset, ["test_hard"], probe, limit=3))


def last_texts(tiny: Tiny) -> list[str]:
    """What the endpoint knows each row by."""
    texts = [f"\n{one.question}" for one in prompts(tiny)]
    assert len(set(texts)) == 3
    return texts


# What is asked and what is kept


def test_responses_are_those_of_the_rows_in_their_order(tiny: Tiny, api: LoopbackApi, out: Path) -> None:
    found = well(tiny, api, out, "--price-in", 2, "--price-out", 10)
    assert found == {
        **{"verb": "generate", "responses": str(out), "n": 3, "generated": 3, "finish_reasons": {"stop": 3}},
        "now": {"calls": 3, "tokens": 45, "cost": pytest.approx(0.00021)},
    }
    assert read(out, Response) == [
        Response(id_, f"about {text}".strip(), "stop") for id_, text in zip(IDS, last_texts(tiny), strict=True)
    ]


@pytest.mark.parametrize("probe", ["own", "both_black", "none"])
def test_texts_and_the_bytes_of_pictures_go_out_in_the_order_of_the_prompt(
    tiny: Tiny, api: LoopbackApi, out: Path, probe: str
) -> None:
    well(tiny, api, out, "--pictures", probe, "--max-new-tokens", 7)
    body = json.loads(min(api.calls, key=lambda call: last_texts(tiny).index("\n" + call.text.strip("\n"))).body)
    [message] = body.pop("messages")
    assert body == {"model": "a-model", "max_tokens": 7, "temperature": 0.0, "seed": 0}
    first = prompts(tiny, probe)[0]
    urls = [f"data:image/png;base64,{base64.b64encode(one.read()).decode()}" for one in first.pictures]
    if probe == "none":
        assert message["content"] in (first.question, [{"type": "text", "text": first.question}])
        return
    assert message["content"] == [
        {"type": "text", "text": "Image-1: "},
        {"type": "image_url", "image_url": {"url": urls[0]}},
        {"type": "text", "text": "\nImage-2: "},
        {"type": "image_url", "image_url": {"url": urls[1]}},
        {"type": "text", "text": f"\n{first.question}"},
    ]


def test_the_sidecar_says_how_the_model_was_asked_and_names_no_checkpoint(
    tiny: Tiny, api: LoopbackApi, out: Path
) -> None:
    well(tiny, api, out, "--no-seed", "--in-flight", 2)
    sidecar = read_sidecar(out)
    assert [Path(name).name for name in sidecar.inputs] == ["MANIFEST.json"]
    asked = {"engine": "openai", "model": "a-model", "base_url": api.url, "image_max_side": None}
    assert sidecar.settings.items() >= {**asked, "max_tokens": 1024, "temperature": 0.0}.items()
    assert not {"seed", "float32"} & sidecar.settings.keys()
    assert sidecar.device == "remote"
    code, _, errors = ask(tiny, api, out, "--no-seed", "--max-side", 64)
    assert code == 1
    assert f"{out} was made with another setting: image_max_side was None, now it is 64" in errors


def test_why_a_reply_ended_is_kept(tiny: Tiny, api: LoopbackApi, out: Path) -> None:
    ends = (completion("Half", "content_filter"), completion(None, refusal="Not this."), completion("So", "tool_calls"))
    api.plan = {text: [Step(body=body)] for text, body in zip(last_texts(tiny), ends, strict=True)}
    assert well(tiny, api, out)["finish_reasons"] == {"content_filter": 1, "other": 1, "refused": 1}
    assert read(out, Response) == [
        Response(IDS[0], "Half", "content_filter"),
        Response(IDS[1], "Not this.", "refused"),
        Response(IDS[2], "So", "other"),
    ]


# What does not come


def test_what_came_is_kept_and_a_rerun_asks_only_for_the_rest(tiny: Tiny, api: LoopbackApi, out: Path) -> None:
    texts = last_texts(tiny)
    api.plan = {texts[0]: [Step(500)], texts[2]: [Step(400, error("bad_request"))]}
    code, line, errors = ask(tiny, api, out)
    assert (code, line) == (1, "")
    assert errors.splitlines()[-1].startswith("generate: 2 of 3 prompts got no reply (first: test_hard/")
    assert "HTTP 500 (1)" in errors
    assert "HTTP 400 (1)" in errors
    assert "; 1 would get none again, other settings may mend that; run it again to ask only those, with" in errors
    assert not any(text.strip() in errors for text in texts)
    assert not out.exists()
    before = api.count
    found = well(tiny, api, out)
    assert (api.count - before, found["generated"], found["now"]["calls"]) == (2, 2, 2)
    assert [row.id for row in read(out, Response)] == IDS


@pytest.mark.parametrize(("step", "advised"), [(Step(400, error("bad_request")), False), (Step(500), True)])
def test_who_would_be_refused_again_is_not_told_to_run_it_again(
    tiny: Tiny, api: LoopbackApi, out: Path, step: Step, advised: bool
) -> None:
    api.plan = {last_texts(tiny)[0]: [step]}
    _, _, errors = ask(tiny, api, out)
    assert ("run it again" in errors, "would get none again" in errors) == (advised, not advised)


def test_who_asks_for_it_gets_empty_responses_that_no_judge_scores(tiny: Tiny, api: LoopbackApi, out: Path) -> None:
    text = last_texts(tiny)[1]
    api.plan = {text: [Step(500)] * 2}
    assert ask(tiny, api, out)[0] == 1
    code, line, errors = ask(tiny, api, out, "--failed-as-empty")
    assert (code, json.loads(line)["finish_reasons"], json.loads(line)["passed"]) == (
        1,
        {"failed": 1, "stop": 2},
        False,
    )
    assert errors.splitlines()[-1] == "generate: 1 of 3 rows got no reply; `--retry` asks them again"
    assert read(out, Response)[1] == Response(IDS[1], "", "failed")
    verdicts = out.with_name("verdicts.jsonl")
    code, _, errors = attempt("judge", out, verdicts, "--judge", "keywords", "--dataset", tiny.dataset)
    assert code == 0, errors
    assert [row.verdict == "Unscored" for row in read(verdicts, Verdict)] == [False, True, False]
    assert (ask(tiny, api, out)[0], api.count) == (1, 4)
    found = well(tiny, api, out, "--retry")
    assert (found["generated"], found["finish_reasons"]) == (1, {"stop": 3})


def test_a_run_whose_budget_is_used_up_is_gone_on_with(tiny: Tiny, api: LoopbackApi, out: Path) -> None:
    code, _, errors = ask(tiny, api, out, "--max-calls", 2)
    assert code == 1
    assert errors.splitlines()[-1] == (
        "generate: the budget is used up: 2 of 2 calls are used; 1 requests were not asked"
    )
    found = well(tiny, api, out, "--max-calls", 2)
    assert (found["generated"], found["now"]["calls"], api.count) == (1, 1, 3)


def test_replies_that_were_paid_for_are_not_asked_for_again(tiny: Tiny, api: LoopbackApi, out: Path) -> None:
    well(tiny, api, out)
    before = hashes(out.parent)
    assert well(tiny, api, out)["generated"] == 0
    assert hashes(out.parent) == before
    first = out.read_bytes()
    out.unlink()
    found = well(tiny, api, out)
    assert (found["now"], api.count) == ({"calls": 0, "tokens": 0, "cost": None}, 3)
    assert out.read_bytes() == first


def test_a_missing_key_is_said_before_anything_is_made(
    tiny: Tiny, api: LoopbackApi, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    code, line, errors = ask(tiny, api, out)
    assert (code, line) == (2, "")
    assert errors.startswith("generate: the environment variable OPENAI_API_KEY is not set")
    assert not out.parent.exists()


def test_an_endpoint_that_has_no_such_model_is_one_error(tiny: Tiny, api: LoopbackApi, out: Path) -> None:
    api.every = Step(404, error("model_not_found"))
    code, _, errors = ask(tiny, api, out)
    assert code == 1
    assert "has no model 'a-model'" in errors.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("--engine", "openai", "--adapter", "a", "--float32"), "--adapter, --float32: of no use with --engine openai"),
        (("--failed-as-empty",), "--failed-as-empty: of no use with --engine transformers"),
        (("--retry",), "--retry: of no use with --engine transformers"),
        (("--max-side", "64"), "--max-side: of no use with --engine transformers"),
        (("--engine", "openai", "--batch-size", "9"), "--batch-size: of no use with --engine openai"),
        (("--engine", "vllm", "--batch-size", "9"), "--batch-size: of no use with --engine vllm"),
        (("--also-base", "b.jsonl"), "--also-base wants --adapter, and another file than RESPONSES"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(tiny: Tiny, out: Path, words: tuple[str, ...], found: str) -> None:
    code, _, errors = attempt("generate", tiny.model, tiny.dataset, out, *words)
    assert (code, errors) == (2, f"generate: {found}\n")
    assert not out.parent.exists()
