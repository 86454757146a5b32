"""Endpoints that fail: each way to, what is tried again, and runs that are killed."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from mis_dataset.client import ask
from mis_dataset.errors import RemoteError
from mis_dataset.remote.bodies import prepare
from mis_dataset.remote.cache import Cache
from mis_dataset.remote.endpoint import MOST_REPLY_BYTES
from mis_dataset.remote.messages import Failure, Reply, Request
from tests.asked import questions, tiny
from tests.loopback_api import LoopbackApi, Step, completion, error

ROOT = Path(__file__).resolve().parents[1]
GOOD = Reply("about hello", "stop", 10, 5, "loopback-1")


pytestmark = pytest.mark.usefixtures("api_key")


@pytest.fixture
def api() -> Iterator[LoopbackApi]:
    with LoopbackApi().running() as running:
        yield running


def told(api: LoopbackApi, folder: Path, *steps: Step, **changes: Any) -> Reply | Failure:
    """What comes of one request whose calls go that way, and well after that."""
    api.plan = {"hello": list(steps)}
    [(_, reply)] = ask([Request("a/1", ("hello",))], tiny(api, **changes), folder / "replies.sqlite")
    return reply


PASSING = {
    "408": (Step(408), "HTTP 408"),
    "409": (Step(409), "HTTP 409"),
    "429": (Step(429), "HTTP 429"),
    "500": (Step(500, b"<h1>oops</h1>"), "HTTP 500"),
    "503": (Step(503), "HTTP 503"),
    "529": (Step(529, error("overloaded")), "HTTP 529"),
    "reset": (Step(end="reset"), "the connection broke (ReadError)"),
    "closed": (Step(end="closed"), "the connection broke (RemoteProtocolError)"),
    "broken": (Step(end="broken"), "the connection broke (ReadError)"),
    "hang": (Step(end="hang"), "no reply within 0.6 s"),
    "drip": (Step(end="drip"), "no reply within 0.6 s"),
    "empty": (Step(body=b""), "the reply is no JSON"),
    "half": (Step(body=completion("x")[:40]), "the reply is no JSON"),
    "page": (Step(body=b"<p>Welcome to our WLAN</p>"), "the reply is no JSON"),
    "deep": (Step(body=b"[" * 10**5), "the reply is no JSON"),
    "NaN": (Step(body=b'{"choices": NaN}'), "the reply is no JSON"),
    "list": (Step(body=b"[]"), "the reply is no JSON object"),
    "error in 200": (Step(body=error("overloaded")), "the reply has no choices"),
    "no message": (Step(body=b'{"choices": [{}]}'), "the reply has no message"),
    "a number": (
        Step(body=b'{"choices": [{"message": {"content": 7}}]}'),
        "the reply holds something else than a text",
    ),
}


@pytest.mark.parametrize("name", PASSING)
def test_what_can_pass_is_tried_again_and_a_failure_when_it_does_not(
    api: LoopbackApi, tmp_path: Path, name: str
) -> None:
    step, reason = PASSING[name]
    timeout = 0.6 if reason.startswith("no reply") else 10.0
    assert told(api, tmp_path, *[step] * 3, timeout=timeout) == Failure(reason, 3, again=True)
    assert api.count == 3
    assert told(api, tmp_path, step, step, timeout=timeout) == GOOD
    assert api.count == 6


@pytest.mark.parametrize("status", [400, 402, 405, 413, 422, 451])
def test_what_cannot_pass_is_tried_once_and_the_run_goes_on(api: LoopbackApi, tmp_path: Path, status: int) -> None:
    assert told(api, tmp_path, Step(status)) == Failure(f"HTTP {status}", 1)
    assert told(api, tmp_path) == GOOD
    assert api.count == 2


@pytest.mark.parametrize(
    ("step", "reply"),
    [
        (Step(body=completion(None, "content_filter")), Reply("", "content_filter", 10, 5, "loopback-1")),
        (Step(body=completion(None, refusal="I can't.")), Reply("I can't.", "refused", 10, 5, "loopback-1")),
        (Step(400, error("content_filter")), Reply("", "content_filter", 0, 0)),
        (Step(body=completion("")), Reply("", "stop", 10, 5, "loopback-1")),
        (Step(body=completion("Y", None, usage=None)), Reply("Y", "other", None, None, "loopback-1")),
    ],
    ids=["filtered", "refused", "prompt filtered", "nothing", "bare"],
)
def test_a_refusal_and_an_empty_reply_are_replies_and_kept(
    api: LoopbackApi, tmp_path: Path, step: Step, reply: Reply
) -> None:
    assert told(api, tmp_path, step) == reply
    assert isinstance(again := told(api, tmp_path), Reply)
    assert (again.text, again.finish, again.cached) == (reply.text, reply.finish, True)
    assert api.count == 1


@pytest.mark.parametrize(
    "step",
    [Step(body=completion("x" * 10_000_000)), Step(end="endless"), Step(500, end="endless"), Step(401, end="endless")],
    ids=["10 MB", "endless", "endless error", "endless refusal"],
)
def test_a_reply_that_is_too_large_is_not_read(api: LoopbackApi, tmp_path: Path, step: Step) -> None:
    assert told(api, tmp_path, step) == Failure("the reply has more than 1048576 bytes", 1)
    # What is read, and what the kernel and the endpoint hold for one connection.
    assert api.sent < MOST_REPLY_BYTES + 8 * 2**20
    assert told(api, tmp_path) == GOOD


def test_a_reply_of_nearly_a_megabyte_is_read(api: LoopbackApi, tmp_path: Path) -> None:
    reply = told(api, tmp_path, Step(body=completion("x" * 1_000_000)))
    assert isinstance(reply, Reply)
    assert reply.text == "x" * 1_000_000


def test_a_compressed_reply_is_not_unpacked(api: LoopbackApi, tmp_path: Path) -> None:
    step = Step(body=b"\x1f\x8b\x08", headers={"Content-Encoding": "gzip"})
    assert told(api, tmp_path, step) == Failure("the reply is compressed, though none was asked for", 1)
    assert api.calls[0].headers["accept-encoding"] == "identity"


def test_a_text_that_is_no_utf8_can_be_written(api: LoopbackApi, tmp_path: Path) -> None:
    body = json.dumps({"choices": [{"message": {"content": "half: \ud83d, zero: \0"}}]}).encode()
    reply = told(api, tmp_path, Step(body=body))
    assert isinstance(reply, Reply)
    assert reply.text == "half: \ufffd, zero: \0"
    (tmp_path / "text").write_text(reply.text, encoding="utf-8")
    assert isinstance(again := told(api, tmp_path), Reply)
    assert (again.text, again.cached) == (reply.text, True)


# Waits


def test_waits_double_and_scatter(api: LoopbackApi, tmp_path: Path) -> None:
    told(api, tmp_path, *[Step(500)] * 4, backoff=0.1, attempts=5)
    gaps = [later.at - earlier.at for earlier, later in zip(api.calls, api.calls[1:], strict=False)]
    assert len(gaps) == 4
    for gap, most in zip(gaps, (0.1, 0.2, 0.4, 0.8), strict=True):
        assert most / 2 <= gap < most + 0.2


def in_seconds(seconds: float) -> dict[str, str]:
    """`Retry-After` as a date, by a clock that is years off."""
    return {"Date": formatdate(1e9, usegmt=True), "Retry-After": formatdate(1e9 + seconds, usegmt=True)}


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("headers", [{"Retry-After": "1"}, in_seconds(1)], ids=["seconds", "date"])
def test_no_call_comes_before_the_time_that_the_endpoint_asks_for(
    api: LoopbackApi, tmp_path: Path, headers: dict[str, str], status: int
) -> None:
    assert told(api, tmp_path, Step(status, headers=headers)) == GOOD
    assert api.calls[1].at - api.calls[0].at >= 1
    assert told(api, tmp_path, Step(status), version="2-a") == GOOD
    assert api.calls[3].at - api.calls[2].at < 1  # or all calls would be slow


def test_others_wait_too_when_one_is_asked_to(api: LoopbackApi, tmp_path: Path) -> None:
    api.latency = 0.2
    api.plan = {"question 0": [Step(429, headers={"Retry-After": "1"}, wait=0.1)]}
    replies = dict(ask(questions(6), tiny(api, in_flight=2), tmp_path / "replies.sqlite"))
    assert all(isinstance(reply, Reply) for reply in replies.values())
    assert sorted(api.texts()[:2]) == ["question 0", "question 1"]  # the second was under way already
    assert min(call.at for call in api.calls[2:]) - api.calls[0].at >= 1
    assert api.count == 7


def test_an_endpoint_that_asks_for_too_long_a_wait_ends_the_run(api: LoopbackApi, tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(RemoteError) as caught:
        told(api, tmp_path, Step(429, headers={"Retry-After": "86400"}))
    assert str(caught.value) == (
        f"{api.url}: asks to wait 86400 s (HTTP 429), longer than longest_wait; run it again later"
    )
    assert time.monotonic() - started < 5
    assert api.count == 1


def test_an_endpoint_that_goes_away_makes_failures_not_an_error(tmp_path: Path) -> None:
    with LoopbackApi().running() as api:
        asked = (Request(f"a/{place}", (f"question {place}",)) for place in range(3))
        replies = ask(asked, tiny(api, in_flight=1, backoff=0.1), tmp_path / "replies.sqlite")
        api.plan = {"question 1": [Step(500)] * 3, "question 2": [Step(500)] * 3}
        assert isinstance(next(replies)[1], Reply)
    assert {failure for _, failure in replies} <= {Failure("no connection", 3, True), Failure("HTTP 500", 3, True)}


def test_faults_side_by_side_hit_only_their_own_requests(api: LoopbackApi, tmp_path: Path) -> None:
    steps = [step for step, _ in PASSING.values()]
    api.plan = {f"question {place}": [steps[place % len(steps)]] for place in range(0, 120, 2)}
    requests = [Request(f"a/{place}", (f"question {place}",)) for place in range(120)]
    replies = dict(ask(requests, tiny(api, in_flight=16, timeout=3.0), tmp_path / "replies.sqlite"))
    assert {name: reply.text for name, reply in replies.items() if isinstance(reply, Reply)} == {
        f"a/{place}": f"about question {place}" for place in range(120)
    }
    assert api.count == 180
    assert api.most_in_flight <= 16


# Kills

RUN = """
import sys
from pathlib import Path
from mis_dataset.client import ask
from mis_dataset.remote.messages import Request
from mis_dataset.remote.settings import Settings
cache, url, shown = sys.argv[1:]
settings = Settings("a-model", "1-a", base_url=url, in_flight=8, backoff=0.01)
requests = [Request(f"a/{place}", (f"question {place}",)) for place in range(400)]
with open(shown, "a", buffering=1) as file:
    for name, reply in ask(requests, settings, Path(cache)):
        file.write(f"{name.removeprefix('a/')}\\t{reply.text}\\n")
"""


def run(api: LoopbackApi, folder: Path, stderr: int | None = None) -> subprocess.Popen[bytes]:
    """Begins a run of 400 requests in a process of its own."""
    words = [sys.executable, "-c", RUN, str(folder / "replies.sqlite"), api.url, str(folder / "shown")]
    return subprocess.Popen(words, cwd=ROOT, stderr=stderr)


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_loses_nothing_and_pays_twice_for_what_was_under_way_alone(
    tmp_path: Path,
) -> None:
    scatter = random.Random(0)
    marks: list[tuple[int, set[str]]] = []
    with LoopbackApi(latency=0.05).running() as api:
        for _ in range(20):
            process, until = run(api, tmp_path), api.count + scatter.randint(1, 25)
            while api.count < until:
                time.sleep(0.001)
            time.sleep(scatter.uniform(0, 0.06))
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
            time.sleep(0.1)  # what the killed one had sent has come in
            marks.append((api.count, set(lines(tmp_path / "shown"))))
        assert run(api, tmp_path).wait() == 0
        assert run(api, tmp_path).wait() == 0
    expected = {f"{place}\tabout question {place}" for place in range(400)}
    assert set(lines(tmp_path / "shown")) == expected
    assert set(lines(tmp_path / "shown")[-400:]) == expected  # of the last run, which asked nothing
    paid = Counter(api.texts())
    assert len(paid) == 400
    assert 400 < api.count <= 400 + 20 * 8
    for count, seen in marks:
        again = {text.removeprefix("question ") for text in api.texts()[count:]}
        assert again & {line.split("\t")[0] for line in seen} == set()
    assert len(marks[-1][1]) > 100  # kills fell where there was something to lose


@pytest.mark.slow
def test_an_interrupted_run_ends_at_once_and_keeps_what_it_had(tmp_path: Path) -> None:
    with LoopbackApi(latency=0.05).running() as api:
        process = run(api, tmp_path, stderr=subprocess.PIPE)
        while api.count < 50:
            time.sleep(0.01)
        api.every = Step(end="hang")
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)  # a busy machine takes its time; a hang would take for ever
        assert told.decode().endswith("KeyboardInterrupt\n")
        assert "never retrieved" not in told.decode()
        seen = len(lines(tmp_path / "shown"))
        api.every = Step()
        count = api.count
        assert run(api, tmp_path).wait() == 0
    assert seen >= 40
    assert api.count - count <= 400 - seen


def test_what_another_process_failed_to_get_is_asked_again(tmp_path: Path) -> None:
    with LoopbackApi().running() as api, Cache(tmp_path / "replies.sqlite") as other:
        key = prepare(Request("a/1", ("hello",)), tiny(api)).key
        assert other.claim(key)
        threading.Timer(0.5, other.give_up, (key,)).start()
        began = time.monotonic()
        assert told(api, tmp_path) == GOOD
        assert time.monotonic() - began > 0.4
    assert api.count == 1


def lines(path: Path) -> list[str]:
    """Whole lines of a file; a kill may have cut the last."""
    return path.read_text("utf-8").split("\n")[:-1] if path.exists() else []


@pytest.mark.slow
def test_two_processes_share_the_calls_of_one_cache(tmp_path: Path) -> None:
    with LoopbackApi(latency=0.02).running() as api:
        both = [run(api, tmp_path), run(api, tmp_path)]
        assert [process.wait() for process in both] == [0, 0]
        count = api.count
        assert run(api, tmp_path).wait() == 0
    assert count == 400  # each is paid for once
    assert api.count == count
    assert Counter(lines(tmp_path / "shown")) == {f"{place}\tabout question {place}": 3 for place in range(400)}
