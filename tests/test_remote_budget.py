"""What a purse grants, and what it sets aside."""

from __future__ import annotations

import asyncio

import pytest

from mis_dataset.errors import BudgetError
from mis_dataset.remote.budget import Meter, Purse, Used
from mis_dataset.remote.messages import Request
from mis_dataset.remote.settings import Budget, Prices, Settings

ASKED = Request("a/1", ("x" * 100, b"picture", "é"), "s" * 10)


def purse(meter: Meter | None = None, **limits: int) -> Purse:
    settings = Settings("a-model", "1-a", budget=Budget(**limits), max_tokens=50, picture_tokens=1000)
    return Purse(settings, meter or Meter())


def test_the_most_that_a_call_can_use_is_set_aside() -> None:
    async def take() -> Used:
        return await purse().take(ASKED)

    assert asyncio.run(take()) == Used(1, 100 + 2 + 10 + 1000 + 32, 50)


def test_once_a_prompt_was_larger_than_reckoned_all_are_reckoned_so() -> None:
    async def take() -> tuple[Used, Used]:
        meter = Meter()
        one = purse(meter)
        first = await one.take(ASKED)
        await one.give_back(first, Used(1, 30000, 5))
        return meter.used, await one.take(ASKED)

    assert asyncio.run(take()) == (Used(1, 30000, 5), Used(1, 30000, 50))


def test_a_call_waits_for_those_under_way_and_is_refused_where_there_are_none() -> None:
    async def take() -> None:
        one = purse(tokens=2000)
        first = await one.take(ASKED)
        second = asyncio.create_task(one.take(ASKED))
        await asyncio.sleep(0.01)
        assert not second.done()  # 2 x 1194 are more than 2000
        await one.give_back(first, Used(1, 100, 5))
        aside = await second
        await one.give_back(aside, Used(1, 1000, 5))
        await one.take(ASKED)

    with pytest.raises(BudgetError, match="1110 of 2000 tokens are used"):
        asyncio.run(take())


def test_what_a_call_that_failed_did_not_use_is_free_again() -> None:
    async def take() -> Used:
        meter = Meter()
        one = purse(meter, tokens=2000)
        for _ in range(5):
            await one.give_back(await one.take(ASKED), Used(1))
        return meter.used

    assert asyncio.run(take()) == Used(5, 0, 0)


def test_runs_that_share_a_meter_share_the_budget() -> None:
    async def take() -> None:
        meter = Meter()
        one, other = purse(meter, calls=2), purse(meter, calls=2)
        await one.give_back(await one.take(ASKED), Used(1, 100, 5))
        aside = await other.take(ASKED)
        waiting = asyncio.create_task(one.take(ASKED))
        await asyncio.sleep(0.01)
        assert not waiting.done()  # the call of the other may yet fail to be made
        await other.give_back(aside, Used(0))
        aside = await waiting
        await one.give_back(aside, Used(1))
        await other.take(ASKED)

    with pytest.raises(BudgetError, match="2 of 2 calls are used"):
        asyncio.run(take())


def test_money_is_counted_at_the_prices_of_each_run() -> None:
    meter = Meter()
    cheap = Settings("a-model", "1-a", prices=Prices(1.0, 0.0), budget=Budget(money=1.0))
    dear = Settings("a-model", "1-a", prices=Prices(0.0, 0.0, call=0.4), budget=Budget(money=1.0))
    for settings, used in ((cheap, Used(1, 500_000, 0)), (dear, Used(1, 0, 0))):
        assert meter.set_aside(used, settings) == ""
        meter.count(used, used, settings)
    assert meter.spent == pytest.approx(0.9)
    assert meter.set_aside(Used(1, 0, 0), dear) == "0.9 of 1 are spent"
    assert meter.set_aside(Used(1, 100_000, 0), cheap) == ""
