"""The scripted endpoint over HTTP: it says what it is, misbehaves by plan, and whole constructions run against it."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mis_dataset.__main__ import main
from mis_dataset.client import Client
from mis_dataset.construct import prompts
from mis_dataset.construct.prompts import SOFTEN, system
from mis_dataset.construct.rehearsal import Rehearsal, rehearse
from mis_dataset.construct.scripted.endpoint import ScriptedEndpoint
from mis_dataset.construct.scripted.misbehaviour import KINDS, Misbehaviour
from mis_dataset.construct.scripted.player import Player
from mis_dataset.construct.structured import fenced
from mis_dataset.errors import UsageError
from mis_dataset.remote.messages import Failure, Reply, Request
from mis_dataset.remote.settings import Settings
from tests.test_construct_pipeline import files

ROOT = Path(__file__).resolve().parents[1]
ASKED = Request(
    "s1", (fenced("idea", '{"question": "How?"}'),), system(SOFTEN, number=2, ordinals="first / second", dots="...")
)
DRAWN = Request("s1", ("a photo of a candle",), size="64x64", seed=1)


pytestmark = pytest.mark.usefixtures("api_key")


def replies(folder: Path, api: ScriptedEndpoint, *requests: Request) -> list[Reply | Failure]:
    """What a client of ours gets."""
    settings = Settings("any", "1-a", base_url=api.url, backoff=0.01, timeout=1.0)
    with Client(settings, folder / "replies.sqlite") as client:
        return [client.ask(request) for request in requests]


def post(api: ScriptedEndpoint, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection(api.url.split("/")[2], timeout=5)
    connection.request("POST", path, body)
    reply = connection.getresponse()
    status, told = reply.status, json.loads(reply.read())
    connection.close()
    return status, told


def test_every_reply_says_that_it_is_scripted_whatever_model_was_asked_for(tmp_path: Path) -> None:
    with ScriptedEndpoint(Player()).running() as api:
        text, picture = replies(tmp_path, api, ASKED, DRAWN)
        wrong = [post(api, "/v1/chat/completions", b'{"messages": []}'), post(api, "/v1/elsewhere", b"{}")]
    assert isinstance(text, Reply)
    assert isinstance(picture, Reply)
    assert (text.text, text.model, picture.model) == ('{"question": "How?"}', "scripted-text", "scripted-drawing")
    assert [(status, told["model"], told["error"]["code"]) for status, told in wrong] == [
        (400, "scripted", "not_played"),
        (404, "scripted", "no_such_path"),
    ]


@pytest.mark.parametrize("kind", ["busy", "error", "hang", "cut"])
def test_what_can_pass_meets_the_first_try_alone(tmp_path: Path, kind: str) -> None:
    with ScriptedEndpoint(Player(), Misbehaviour(1.0, (kind,))).running() as api:
        told = replies(tmp_path, api, ASKED, DRAWN)
        counts = dict(api.counts)
    assert all(isinstance(one, Reply) for one in told)
    assert counts == {"completions": 2, "generations": 2, kind: 2}


def test_what_is_said_amiss_is_said_again(tmp_path: Path) -> None:
    with ScriptedEndpoint(Player(), Misbehaviour(1.0, ("refused",))).running() as api:
        text, picture = replies(tmp_path, api, ASKED, DRAWN)
    assert isinstance(text, Reply)
    assert text.finish == "refused"
    assert not isinstance(picture, Reply) or not picture.picture
    plan = Misbehaviour(1.0, ("malformed",))
    assert [plan.of(b"x"), plan.of(b"x")] == ["malformed", "malformed"]
    with ScriptedEndpoint(Player(), plan).running() as api:
        told = post(api, "/v1/images/generations", b'{"prompt": "a photo of a candle", "size": "64x64"}')
        assert len(told[1]["data"][0]["b64_json"]) < 100
        malformed, _ = replies(tmp_path / "b", api, ASKED, DRAWN)
    assert isinstance(malformed, Reply)
    assert malformed.text != '{"question": "How?"}'


def test_a_share_of_requests_goes_wrong_in_every_way_the_same_for_one_seed() -> None:
    bodies = [str(number).encode() for number in range(2000)]
    plan, same, other, none = Misbehaviour(0.3), Misbehaviour(0.3), Misbehaviour(0.3, seed=1), Misbehaviour(0.0)
    told = [plan.of(body) for body in bodies]
    assert told == [same.of(body) for body in bodies]
    assert told != [other.of(body) for body in bodies]
    assert 500 < sum(map(bool, told)) < 700
    assert set(told) == {"", *KINDS}
    assert {none.of(body) for body in bodies} == {""}


def test_a_port_that_is_taken_is_told() -> None:
    with (
        ScriptedEndpoint(Player()).running() as api,
        pytest.raises(UsageError, match="cannot be listened on"),
        ScriptedEndpoint(Player()).running(int(api.url.split(":")[2].split("/")[0])),
    ):
        pass


def test_it_serves_alone_and_tells_at_the_end_what_was_asked(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mis_dataset.construct.scripted", "--with-stdin"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdin
        api = ScriptedEndpoint(Player())
        api.url = process.stdout.readline().strip()
        (reply,) = replies(tmp_path, api, ASKED)
        process.stdin.close()
        assert json.loads(process.stdout.readline()) == {"completions": 1}
    assert isinstance(reply, Reply)


def test_a_small_rehearsal_ends_with_a_release_that_says_that_it_is_scripted(tmp_path: Path) -> None:
    told = rehearse(tmp_path / "out", Rehearsal(seeds=12, misbehave=0.0))
    assert (told["passed"], told["problems"], told["leaks"]) == (True, [], [])
    assert set(told["rows"]) == {"train", "test_easy", "test_hard", "test_benign"}
    assert set(told["endpoint"]) == {"completions", "generations"}
    lines = (tmp_path / "out" / "raw" / "provenance" / "pictures.jsonl").read_text().splitlines()
    assert {json.loads(line)["model"] for line in lines} == {"scripted-drawing"}
    shared = tmp_path / "shared.json"
    names = json.loads((tmp_path / "out" / "raw" / "objects.json").read_text())
    shared.write_text(json.dumps(names | {"test_hard/0": names["train/1"]}))
    words = ["leaks", str(tmp_path / "out" / "MIS"), str(tmp_path / "leaks.json"), "--things"]
    assert main([*words, str(tmp_path / "out" / "raw" / "objects.json")]) == 0
    assert main([*words, str(shared)]) == 1


def test_a_folder_whose_settings_are_of_something_else_is_left_alone(tmp_path: Path) -> None:
    rehearse(tmp_path, Rehearsal(seeds=4, misbehave=0.0))
    settings = tmp_path / "settings" / "construct.yaml"
    settings.write_text(settings.read_text().replace("http://127.0.0.1:", "https://llm.example:"))
    before = files(tmp_path)
    with pytest.raises(UsageError, match="is of no rehearsal"):
        rehearse(tmp_path, Rehearsal(seeds=5, misbehave=0.0))
    assert files(tmp_path) == before


def test_a_construction_that_no_rehearsal_made_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "elements.jsonl").write_text("paid for\n")
    with pytest.raises(UsageError, match="holds what no rehearsal wrote; name another folder"):
        rehearse(tmp_path, Rehearsal(seeds=4, misbehave=0.0))
    assert files(tmp_path) == {"elements.jsonl": b"paid for\n"}


@pytest.mark.slow
def test_make_construct_passes_with_models_that_misbehave_and_asks_nothing_twice(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mis_dataset", "rehearse", str(tmp_path / "out")]
    first, second = (subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True) for _ in range(2))
    one, two = json.loads(first.stdout), json.loads(second.stdout)
    assert (one["passed"], one["problems"], one["leaks"]) == (True, [], [])
    assert set(KINDS) <= set(one["endpoint"])
    assert {"no risk", "refused"} <= set(one["stages"]["elements"]["rejected"])
    assert one["rows"]["test_hard"] > 20
    assert "asked of scripted models: nothing" in second.stderr
    assert (two["rows"], two["endpoint"]) == (one["rows"], {})
    before = files(tmp_path / "out")
    config = str(tmp_path / "out" / "settings" / "construct.yaml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCRIPTED_KEY", "any")
        assert main(["construct", str(tmp_path / "out"), "--config", config]) == 0
    assert files(tmp_path / "out") == before
    assert (ROOT / "Makefile").read_text().count("python -m mis_dataset rehearse runs/construct\n") == 1


def test_instructions_are_known_by_how_they_begin() -> None:
    begins = [text.split("{")[0] for text in vars(prompts).values() if isinstance(text, str) and "Shape: {{" in text]
    assert len(set(begins)) == len(begins)
