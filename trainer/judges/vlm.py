"""A model behind an API as a judge: it is shown both pictures, and asked through the one client for remote models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from mis_dataset.client import ask as ask_remote
from mis_dataset.remote.messages import Failure, Reply, Request
from trainer.judges.asking import INSTRUCTIONS, ask, read_reply
from trainer.judges.base import Call, Case, Judgement, unscored
from trainer.remote import Remote


class VLM:
    """`Judge` by a model that sees pictures; replies are kept in a file, so that asking again costs nothing.

    Attributes:
        name: of the judge.
    """

    name = "vlm"

    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    def judge(self, cases: Iterable[Case]) -> Iterator[tuple[str, Judgement]]:
        """See `trainer.judges.base.Judge`; every case brings its pictures.

        Raises:
            MISError: As `mis_dataset.client.ask` does: no key, an endpoint that cannot be asked, a spent budget.
        """
        under_way: dict[str, Case] = {}
        silent: list[str] = []
        for id_, told in ask_remote(_requests(cases, under_way, silent), self._remote.settings, self._remote.cache):
            yield id_, _judgement(told, under_way.pop(id_))
        yield from ((id_, unscored("empty")) for id_ in silent)


def message(case: Case) -> tuple[str | bytes, ...]:
    """What the judge is told of a case beside `INSTRUCTIONS`: both pictures, then question and response."""
    return (*case.images, ask(case))


def _requests(cases: Iterable[Case], under_way: dict[str, Case], silent: list[str]) -> Iterator[Request]:
    """The requests; notes each case until its reply is read, and the ids of those in which nothing was said."""
    for case in cases:
        if not case.response.strip():
            silent.append(case.id)
            continue
        under_way[case.id] = case
        yield Request(case.id, message(case), INSTRUCTIONS)


def _judgement(told: Reply | Failure, case: Case) -> Judgement:
    if isinstance(told, Failure):
        return unscored(f"no reply: {told.reason}")
    return read_reply(told.text, case, None if told.cached else _call(told))


def _call(reply: Reply) -> Call:
    tokens = (reply.tokens_in or 0) + (reply.tokens_out or 0)
    return Call(reply.model, datetime.now(UTC).date().isoformat(), tokens, reply.cost)
