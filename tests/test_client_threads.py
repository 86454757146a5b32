"""A client that threads ask one request after the other."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path

import pytest

from mis_dataset.client import Client, Loop
from mis_dataset.errors import BudgetError, CacheError, RemoteError, UsageError
from mis_dataset.remote.budget import Meter
from mis_dataset.remote.messages import Failure, Reply, Request
from mis_dataset.remote.settings import Budget, Prices
from tests.asked import questions, tiny
from tests.loopback_api import LoopbackApi, Step

pytestmark = pytest.mark.usefixtures("api_key")


@pytest.fixture
def api() -> Iterator[LoopbackApi]:
    with LoopbackApi().running() as running:
        yield running


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "replies.sqlite"


def test_one_reply_can_decide_what_is_asked_next_and_both_are_kept(api: LoopbackApi, cache: Path) -> None:
    meter = Meter()
    for cached in (False, True):
        with Client(tiny(api), cache, meter) as client:
            first = client.ask(Request("a/1", ("hello",)))
            assert isinstance(first, Reply)
            again = client.ask(Request("a/1", (first.text,)))
        assert again == Reply("about about hello", "stop", 10, 5, "loopback-1", cached=cached)
    assert api.count == meter.used.calls == 2


def test_threads_ask_at_once_and_each_request_is_made_once(api: LoopbackApi, cache: Path) -> None:
    api.latency = 0.05
    with Client(tiny(api, in_flight=8), cache) as client, ThreadPoolExecutor(32) as threads:
        replies = list(threads.map(client.ask, questions(32) * 2))
    assert [reply.text for reply in replies if isinstance(reply, Reply)] == [  # as many as were asked
        f"about question {place}" for place in range(32)
    ] * 2
    assert (api.count, api.most_in_flight) == (32, 8)


def test_a_failure_comes_back_and_what_stops_all_is_raised(api: LoopbackApi, cache: Path) -> None:
    api.plan = {"bad": [Step(400)], "gone": [Step(404)]}
    with Client(tiny(api), cache) as client:
        assert client.ask(Request("a/1", ("bad",))) == Failure("HTTP 400", 1)
        with pytest.raises(RemoteError, match="is no such endpoint"):
            client.ask(Request("a/2", ("gone",)))
        with pytest.raises(RemoteError, match="is no such endpoint"):
            client.ask(Request("a/3", ("hello",)))
    with Client(tiny(api, budget=Budget(calls=1)), cache) as client:
        client.ask(Request("a/3", ("hello",)))
        with pytest.raises(BudgetError, match="1 of 1 calls are used"):
            client.ask(Request("a/4", ("another",)))
        assert isinstance(client.ask(Request("a/3", ("hello",))), Reply)  # the cache has it


def test_who_still_waits_when_the_block_ends_is_told(api: LoopbackApi, cache: Path) -> None:
    api.every = Step(end="hang")
    with ThreadPoolExecutor(1) as threads:
        with Client(tiny(api), cache) as client:
            asked = threads.submit(client.ask, Request("a/1", ("hello",)))
            while not api.count:
                pass
        with pytest.raises(CancelledError):
            asked.result(timeout=10)


def test_nothing_begins_once_the_block_has_ended(api: LoopbackApi, cache: Path) -> None:
    api.every, ended = Step(end="hang"), list[str]()

    def asks_on(client: Client, name: int) -> None:
        for turn in range(1000):
            try:
                client.ask(Request("a/1", (f"{name} {turn}",)))
            except CancelledError:  # by the end of the block: whoever asks on all the same waits for nothing
                ended.append("waited")
            except CacheError:
                break

    for _ in range(5):
        with Loop() as loop, ThreadPoolExecutor(16) as threads:
            before = api.count
            with Client(tiny(api, in_flight=16), cache, loop=loop) as client:
                asking = [threads.submit(asks_on, client, name) for name in range(16)]
                while api.count < before + 16:
                    pass
            for one in asking:
                one.result(timeout=10)
    assert len(ended) >= 5 * 16


def test_a_call_that_is_given_up_midway_counts_all_that_it_may_have_used(api: LoopbackApi, cache: Path) -> None:
    api.every, meter = Step(end="hang"), Meter()
    settings = tiny(api, prices=Prices(1e6, 1e6))
    with ThreadPoolExecutor(1) as threads:
        with Client(settings, cache, meter) as client:
            asking = threads.submit(client.ask, Request("a/1", ("hello",)))
            while not api.count:
                assert not asking.done()
        assert isinstance(asking.exception(), CancelledError)
    assert (meter.used.calls, meter.used.tokens_out) == (1, settings.max_tokens)
    assert meter.spent == meter.used.tokens_in + meter.used.tokens_out > settings.max_tokens


@pytest.mark.parametrize(("most", "under_way"), [(None, 8), (3, 3)])
def test_clients_of_one_loop_share_its_room(api: LoopbackApi, cache: Path, most: int | None, under_way: int) -> None:
    api.latency = 0.1
    with (
        Loop(most) as loop,
        Client(tiny(api, in_flight=4), cache, loop=loop) as one,
        Client(tiny(api, in_flight=4), cache, loop=loop) as other,
        ThreadPoolExecutor(24) as threads,
    ):
        asked = [threads.submit((one, other)[n % 2].ask, Request(f"a/{n}", (f"question {n}",))) for n in range(24)]
        assert all(isinstance(call.result(), Reply) for call in asked)
    assert api.most_in_flight == under_way


def test_a_loop_that_has_ended_takes_nothing_more() -> None:
    async def work() -> int:
        return 7

    with Loop() as loop:
        assert loop.begin(work()).result(timeout=10) == 7
    with pytest.raises(CancelledError):
        loop.begin(work())


def test_what_is_missing_is_told_before_anything_is_opened(
    api: LoopbackApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "text").write_text("no cache" * 99)
    with pytest.raises(CacheError, match="is no cache of replies"), Client(tiny(api), tmp_path / "text"):
        pass
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(UsageError, match="OPENAI_API_KEY is not set"):
        Client(tiny(api), tmp_path / "replies.sqlite")
    assert not (tmp_path / "replies.sqlite").exists()


def test_a_replay_has_replies_and_failures_of_the_last_run_and_needs_no_key(
    api: LoopbackApi, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = {"one": Step(400), "zero": Step(500)}
    with Client(tiny(api), cache) as client:
        failed = {}
        for text, api.every in steps.items():
            failed[text] = client.ask(Request("a/1", (text,)))
        api.every = Step()
        replied = client.ask(Request("a/2", ("two",)))
    assert failed == {"one": Failure("HTTP 400", 1), "zero": Failure("HTTP 500", 3, again=True)}
    assert isinstance(replied, Reply)
    monkeypatch.delenv("OPENAI_API_KEY")
    count = api.count
    with Client(tiny(api), cache, replay=True) as client:
        assert {text: client.ask(Request("b/1", (text,))) for text in steps} == failed
        again = client.ask(Request("b/2", ("two",)))
        assert isinstance(again, Reply)
        assert again.text == replied.text
        with pytest.raises(RemoteError, match=r"replies.sqlite: a-model was never asked this about b/3"):
            client.ask(Request("b/3", ("three",)))
    assert api.count == count


def test_a_request_that_failed_is_asked_again_and_its_reply_counts_from_then_on(api: LoopbackApi, cache: Path) -> None:
    api.every = Step(400)
    request = Request("a/1", ("one",))
    with Client(tiny(api), cache) as client:
        assert isinstance(client.ask(request), Failure)
        api.every = Step()
        assert isinstance(client.ask(request), Reply)
    with Client(tiny(api), cache, replay=True) as client:
        assert isinstance(client.ask(request), Reply)
