"""The engine `openai`: a model behind an API. Pictures go out as the bytes that the dataset or the probe holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from tqdm.auto import tqdm

from mis_dataset.chat import prompt
from mis_dataset.client import ask
from mis_dataset.errors import RemoteError
from mis_dataset.remote.messages import Reply, Request
from trainer.artefacts import Response
from trainer.prompts import Prompt
from trainer.remote import Remote

VERSION = "1-a"
"""The number changes when the same row is asked in other words."""


@dataclass
class Spent:
    """What the replies of this run took; those from the cache took nothing.

    Attributes:
        calls: replies that were asked for.
        tokens_in: of their prompts, as far as the endpoint says.
        tokens_out: of the replies themselves, likewise.
        cost: None where there are no prices.
        failures: reason -> prompts that got no reply.
    """

    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float | None = None
    failures: Counter[str] = field(default_factory=Counter)

    def add(self, reply: Reply) -> None:
        """Counts a reply."""
        if reply.cached:
            return
        self.calls += 1
        self.tokens_in += reply.tokens_in or 0
        self.tokens_out += reply.tokens_out or 0
        if reply.cost is not None:
            self.cost = (self.cost or 0.0) + reply.cost

    def said(self) -> dict[str, Any]:
        """For the line of JSON."""
        return {"calls": self.calls, "tokens_in": self.tokens_in, "tokens_out": self.tokens_out, "cost": self.cost}


def generate(
    prompts: list[Prompt],
    remote: Remote,
    spent: Spent,
    done: Collection[str] = (),
    *,
    failed_as_empty: bool = False,
) -> Iterator[list[Response]]:
    """Responses one by one, as they come; equal prompts are paid for once.

    Args:
        prompts: no id twice.
        remote: the model and how it is asked.
        spent: what is counted here.
        done: ids that have a response.
        failed_as_empty: whether a prompt without a reply becomes an empty response, "failed".

    Raises:
        UsageError: As `mis_dataset.client.ask`.
        RemoteError: As `ask`; or, at the end, some prompts got no reply and `failed_as_empty` is not set.
        BudgetError: As `ask`.
    """
    wanted = [one for one in prompts if one.id not in done]
    requests = (Request(one.id, _parts(one)) for one in wanted)
    first = ""
    with tqdm(total=len(prompts), initial=len(prompts) - len(wanted), desc="generate") as bar:
        for id_, told in ask(requests, remote.settings, remote.cache):
            bar.update()
            if isinstance(told, Reply):
                spent.add(told)
                yield [Response(id_, told.text.strip(), told.finish)]
                continue
            spent.failures[told.reason] += 1
            first = first or id_
            if failed_as_empty:
                yield [Response(id_, "", "failed")]
    if spent.failures and not failed_as_empty:
        why = ", ".join(f"{reason} ({times})" for reason, times in spent.failures.most_common())
        raise RemoteError(
            f"{spent.failures.total()} of {len(prompts)} prompts got no reply (first: {first}): {why}; run it again to "
            "ask only those, with --failed-as-empty to end with empty responses in their place"
        )


def _parts(one: Prompt) -> tuple[str | bytes, ...]:
    """What the user says: texts and pictures in the order of `mis_dataset.chat.prompt`."""
    pictures = iter(one.pictures)
    [message] = prompt(one.question, len(one.pictures))
    return tuple(part["text"] if part["type"] == "text" else next(pictures).read() for part in message["content"])
