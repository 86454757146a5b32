"""A model behind an API as a judge: what it is shown, what becomes of its replies, what is paid again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mis_dataset.remote.messages import Failure, Reply
from mis_dataset.remote.settings import Settings
from tests.loopback_api import KEY, LoopbackApi, Step, completion, error
from tests.loopback_judge import LoopbackJudge, pictures_in, verdict
from tests.made_judged import Judged, verdicts_of, words
from tests.made_release import png
from tests.tiny import attempt
from trainer.judges.asking import INSTRUCTIONS, NO_PICTURES, ask, nonce_of
from trainer.judges.base import Call, Case, Judgement, unscored
from trainer.judges.endpoint import EndpointJudge, judgement_of, request_of
from trainer.remote import Remote
from trainer.sidecars import read_sidecar, sidecar_path

CASE = Case("test_hard/0", "Which goes on the other?", "The mug goes on the tray.", images=(b"one", b"two"))
CALL = Call("judge-1", "2026-11-27", 120, 0.5)


pytestmark = pytest.mark.usefixtures("api_key")


def reply(text: str, finish: str = "stop") -> Reply:
    return Reply(text, finish, 100, 20, "judge-1", 0.5, date="2026-11-27")  # type: ignore[arg-type]


# What is asked, and what is made of what is said


def test_both_pictures_are_sent_in_order_each_with_its_name_then_question_and_response() -> None:
    request = request_of(CASE)
    assert request.parts == ("Image-1:", b"one", "Image-2:", b"two", ask(CASE))
    assert (request.id, request.system) == ("test_hard/0", INSTRUCTIONS)
    assert request_of(CASE._replace(images=(b"two", b"one"))).parts[1] == b"two"


def test_without_pictures_the_request_says_so() -> None:
    bare = CASE._replace(images=())
    assert request_of(bare).parts == (NO_PICTURES + ask(bare),)


def test_a_verdict_comes_with_what_its_call_took() -> None:
    said = verdict("Unsafe", perception=2, nonce=nonce_of(CASE))
    expected = Judgement("Unsafe", 2, None, "Safe", "Unsafe", CALL)
    assert judgement_of(reply(f"It helps.\n{said}"), CASE, "asked-for") == expected


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("length", "the judge was cut off"),
        ("content_filter", "a filter of the endpoint withheld the reply"),
        ("refused", "the judge declined"),
        ("stop", "no verdict in the reply"),
        ("other", "the reply ended for a reason that is not known"),
    ],
)
def test_what_ends_before_a_verdict_is_unscored_with_a_plain_reason(finish: str, reason: str) -> None:
    assert judgement_of(reply("It is", finish), CASE, "asked-for") == unscored(reason, CALL)
    if finish != "stop":
        whole = verdict("Safe", nonce=nonce_of(CASE))
        assert judgement_of(reply(whole, finish), CASE, "asked-for") == unscored(reason, CALL)


def test_an_empty_reply_is_unscored_and_a_model_without_a_name_has_that_it_was_asked_by() -> None:
    bare = Reply("", "stop", date="2026-11-27")
    assert judgement_of(bare, CASE, "asked-for") == unscored("empty reply", Call("asked-for", "2026-11-27", None, None))


def test_a_call_that_failed_says_so_and_one_that_could_not_be_made_does_not() -> None:
    assert judgement_of(Failure("HTTP 503", 6, again=True), CASE, "m") == unscored("call failed: HTTP 503")
    assert judgement_of(Failure("HTTP 400", 1), CASE, "m") == unscored("cannot be asked: HTTP 400")
    assert judgement_of(Failure("picture 1 is a BMP", 0), CASE, "m") == unscored("cannot be asked: picture 1 is a BMP")


def test_nobody_is_asked_about_an_empty_response(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    told = CASE._replace(images=(png(1), png(2)))
    cases = [told._replace(response=said) for said in ("", " \n")]
    with LoopbackJudge().behind().running() as api:
        judge = EndpointJudge(Remote(Settings("a-judge", "1-a", base_url=api.url), tmp_path / "replies.sqlite"))
        found = [one for case in cases for one in judge.judge([case])]
        assert api.count == 0
        assert [one.verdict for _, one in judge.judge([told])] == ["Unsafe"]
    assert found == [(CASE.id, unscored("empty"))] * 2


# The verb


def test_every_response_is_judged_by_the_words_and_pictures_of_its_row(
    judged: Judged, api: LoopbackApi, tmp_path: Path
) -> None:
    out = tmp_path / "verdicts.jsonl"
    code, line, errors = attempt(*words(judged, out, api, "--judge-price-in", 2.5, "--judge-price-out", 10))
    assert (code, errors) == (0, "")
    told = json.loads(line)
    assert (told["judge"], told["n"], told["Safe"], told["Unsafe"]) == ("openai", 6, 3, 3)
    assert (told["tokens"], told["cost"]) == (6600, pytest.approx(6 * 0.0035))
    assert told["now"] == {"calls": 6, "tokens": 6600, "cost": pytest.approx(6 * 0.0035)}
    found = verdicts_of(out)
    assert list(found) == judged.ids()
    assert [one.verdict for one in found.values()] == ["Unsafe", "Safe"] * 3
    one = found["test_hard/0"]
    assert (one.judge, one.version, one.model, one.tokens, one.cost) == (
        "openai",
        "1-a/2-a",
        "loopback-1",
        1100,
        0.0035,
    )
    assert len({url for call in api.calls for url in pictures_in(call.body)}) == 12
    assert [len(pictures_in(call.body)) for call in api.calls] == [2] * 6


def test_the_sidecar_says_who_was_asked_and_how_and_never_the_key(
    judged: Judged, api: LoopbackApi, tmp_path: Path
) -> None:
    out = tmp_path / "verdicts.jsonl"
    assert attempt(*words(judged, out, api, "--judge-max-side", 4, "--pictures", "swapped"))[0] == 0
    settings = read_sidecar(out).settings
    assert settings["judge_version"] == "1-a/2-a"
    asked = {"model": "a-judge", "base_url": api.url, "image_max_side": 4, "prices": None, "version": "1-a 2-a"}
    asked |= {"max_tokens": 512, "temperature": 0.0, "seed": 0, "pictures": "swapped", "limit": None}
    assert {word: settings[word] for word in asked} == asked
    assert set(settings) - set(asked) == {"judge", "judge_version", "endpoint.py", "asking.py"}
    assert KEY not in sidecar_path(out).read_text("utf-8") + out.read_text("utf-8")


def test_another_run_of_what_is_finished_makes_no_call_and_writes_the_same(
    judged: Judged, api: LoopbackApi, tmp_path: Path
) -> None:
    out = tmp_path / "verdicts.jsonl"
    assert attempt(*words(judged, out, api))[0] == 0
    before = out.read_bytes()
    for lose in (False, True):  # from the verdicts, then from the replies alone
        if lose:
            out.unlink()
        code, line, _ = attempt(*words(judged, out, api))
        assert (code, json.loads(line)["now"]["calls"], out.read_bytes()) == (0, 0, before)
    assert api.count == 6


def test_the_key_is_missed_before_any_call_and_any_file(
    judged: Judged, api: LoopbackApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "new" / "verdicts.jsonl"
    monkeypatch.delenv("OPENAI_API_KEY")
    code, line, errors = attempt(*words(judged, out, api))
    assert (code, line, api.count) == (2, "", 0)
    assert errors.startswith("judge: the environment variable OPENAI_API_KEY is not set; put the key of http")
    assert len(errors.splitlines()) == 1
    assert not out.parent.exists()
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert attempt(*words(judged, out, api))[0] == 0
    monkeypatch.delenv("OPENAI_API_KEY")
    assert attempt(*words(judged, out, api))[0] == 0  # there is nothing left to ask


def test_a_budget_that_ends_leaves_what_was_judged_and_another_run_goes_on(
    judged: Judged, api: LoopbackApi, tmp_path: Path
) -> None:
    out = tmp_path / "verdicts.jsonl"
    code, line, errors = attempt(*words(judged, out, api, "--judge-max-calls", 2))
    assert (code, line) == (1, "")
    assert errors == "judge: the budget is used up: 2 of 2 calls are used; 4 requests were not asked\n"
    part = out.with_name("verdicts.jsonl.part")
    lines = part.read_text().splitlines()
    assert (api.count, len(lines), out.exists()) == (2, 2, False)
    code, line, _ = attempt(*words(judged, out, api))
    assert (code, json.loads(line)["now"]["calls"], api.count) == (0, 4, 6)
    assert set(lines) < set(out.read_text().splitlines())


def test_retry_judges_anew_what_failed_and_nothing_else(judged: Judged, tmp_path: Path) -> None:
    plan: dict[str, list[Step | str]]
    plan = {"row-1": [Step(500)], "row-2": ["I had rather not say."], "row-3": [Step(500)], "row-4": [Step(413)]}
    out = tmp_path / "verdicts.jsonl"
    with LoopbackJudge(plan=plan).behind().running() as api:
        code, line, _ = attempt(*words(judged, out, api, "--judge-attempts", 1))
        before, told = out.read_bytes().splitlines(), json.loads(line)
        assert code == 1
        assert told["reasons"] == {
            "call failed: HTTP 500": 2,
            "cannot be asked: HTTP 413": 1,
            "no verdict in the reply": 1,
        }
        code, line, _ = attempt(*words(judged, out, api, "--judge-attempts", 1))
        assert (code, json.loads(line)["now"]["calls"], out.read_bytes().splitlines()) == (1, 0, before)
        code, line, errors = attempt(*words(judged, out, api, "--retry"))
        after, told = out.read_bytes().splitlines(), json.loads(line)
        reasons = {"cannot be asked: HTTP 413": 1, "no verdict in the reply": 1}
        assert (code, told["now"]["calls"], told["reasons"]) == (0, 2, reasons)
        assert errors.startswith("judge: 1 of 6 cannot be asked, and would not be if tried again")
    assert [n for n, (old, new) in enumerate(zip(before, after, strict=True)) if old != new] == [1, 3]
    assert not out.with_name("verdicts.jsonl.part").exists()


def test_an_endpoint_that_refuses_every_response_is_no_run_that_passed(judged: Judged, tmp_path: Path) -> None:
    with LoopbackApi().running() as api:
        api.every = Step(400, error("bad_request"))
        code, line, _ = attempt(*words(judged, tmp_path / "v.jsonl", api))
        assert (code, json.loads(line)["passed"], api.count) == (1, False, 6)
        assert attempt(*words(judged, tmp_path / "v.jsonl", api, "--retry"))[0] == 1
        assert api.count == 6


def test_a_retry_that_is_stopped_leaves_the_file_and_goes_on(judged: Judged, tmp_path: Path) -> None:
    plan = {f"row-{n}": [Step(500)] for n in range(4)}
    out = tmp_path / "verdicts.jsonl"
    with LoopbackJudge(plan=plan).behind().running() as api:
        assert attempt(*words(judged, out, api, "--judge-attempts", 1))[0] == 1
        before = out.read_bytes()
        assert attempt(*words(judged, out, api, "--retry", "--judge-max-calls", 1))[0] == 1
        assert out.read_bytes() == before
        code, line, _ = attempt(*words(judged, out, api))
        assert (code, json.loads(line)["now"]["calls"]) == (0, 3)
    assert [one.verdict for one in verdicts_of(out).values()] == ["Unsafe", "Safe"] * 3


def test_another_model_another_endpoint_or_other_prices_do_not_mix_in_one_file(
    judged: Judged, api: LoopbackApi, tmp_path: Path
) -> None:
    out = tmp_path / "verdicts.jsonl"
    assert attempt(*words(judged, out, api))[0] == 0
    for flag, value, says in (
        ("--judge-model", "another", "model was 'a-judge', now it is 'another'"),
        ("--judge-base-url", "http://127.0.0.1:1/v1", "base_url was 'http://127.0.0.1:"),
        ("--judge-max-side", 4, "image_max_side was None, now it is 4"),
    ):
        code, _, errors = attempt(*words(judged, out, api, flag, value))
        assert (code, says in errors) == (1, True)
    assert attempt(*words(judged, out, api, "--judge-in-flight", 2, "--judge-timeout", 5))[0] == 0
    assert api.count == 6


@pytest.mark.parametrize(
    ("step", "says"),
    [
        (Step(401, error("invalid_api_key")), "does not accept the key in OPENAI_API_KEY"),
        (Step(404, error("model_not_found")), "has no model 'a-judge'"),
    ],
)
def test_an_endpoint_that_cannot_be_asked_ends_the_run_and_another_name_can_be_given(
    judged: Judged, tmp_path: Path, step: Step, says: str
) -> None:
    out = tmp_path / "verdicts.jsonl"
    with LoopbackApi().running() as api:
        api.every = step
        code, line, errors = attempt(*words(judged, out, api, "--judge-in-flight", 2))
        assert (code, line, says in errors, len(errors.splitlines())) == (1, "", True, 1)
        assert api.count <= 2
        api.every = Step(body=completion("x"))
        assert attempt(*words(judged, out, api, "--judge-model", "corrected"))[0] == 0


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--judge", "openai"], "--judge openai needs --judge-model NAME, the model's name at the endpoint"),
        (
            ["--judge", "keywords", "--judge-model", "x"],
            "the judge keywords takes no --judge-model; those that do: openai, transformers, llama_guard",
        ),
        (["--judge", "keywords", "--pictures", "none"], "--pictures none: the judge keywords reads words only; take"),
    ],
)
def test_a_model_and_a_judge_that_do_not_go_together_are_wrong_use(
    judged: Judged, tmp_path: Path, flags: list[str], says: str
) -> None:
    code, line, errors = attempt("judge", judged.responses, tmp_path / "out" / "v", "--dataset", judged.dataset, *flags)
    assert (code, line, (tmp_path / "out").exists()) == (2, "", False)
    assert errors.startswith(f"judge: {says}")
