"""Any model behind an OpenAI-compatible endpoint as a judge: it reads question and response and sees both pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mis_dataset.remote.messages import Failure, Finish, Reply, Request
from trainer.judges.asking import ASKING_VERSION, INSTRUCTIONS, NO_PICTURES, ask, read_reply
from trainer.judges.base import CALL_FAILED, CANNOT_ASK, JUDGE_VERSION, Call, Case, Judgement, unscored
from trainer.remote import Remote

VERSION = f"{JUDGE_VERSION} {ASKING_VERSION}"
"""What cached replies hang on beside model and request."""
_UNFINISHED: dict[Finish, str] = {
    "length": "the judge was cut off",
    "content_filter": "a filter of the endpoint withheld the reply",
    "refused": "the judge declined",
    "other": "the reply ended for a reason that is not known",
}
"""Ends after which no verdict is looked for: what was left out might have been the last, which binds."""


class EndpointJudge:
    """`Judge` by a model behind an API; every reply is in the cache before it is read.

    Args:
        remote: which model, and how it is asked.
    """

    name = "openai"

    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    def judge(self, cases: Iterable[Case]) -> Iterator[tuple[str, Judgement]]:
        """See `trainer.judges.base.Judge`; judgements come as calls end, and nobody is asked about an empty response.

        Raises:
            MISError: As `mis_dataset.client.ask`, after the judgements of all calls that were under way.
        """
        asked: dict[str, Case] = {}
        empty: list[str] = []

        def requests() -> Iterator[Request]:
            for case in cases:
                if not case.response.strip():
                    empty.append(case.id)
                    continue
                asked[case.id] = case
                yield request_of(case)

        for id_, told in self._remote.ask(requests()):
            yield id_, judgement_of(told, asked.pop(id_), self._remote.settings.model)
        yield from ((id_, unscored("empty")) for id_ in empty)


def request_of(case: Case) -> Request:
    """What is sent: ``Image-1:``, a picture, ``Image-2:``, a picture, then question and response.

    Args:
        case: What is judged. Without pictures the request says that there are none.
    """
    numbered = (part for n, picture in enumerate(case.images, start=1) for part in (f"Image-{n}:", picture))
    parts = (*numbered, ask(case)) if case.images else (NO_PICTURES + ask(case),)
    return Request(case.id, parts, INSTRUCTIONS)


def judgement_of(told: Reply | Failure, case: Case, model: str) -> Judgement:
    """Read what came of a request.

    >>> case = Case("test_hard/0", "Which is first?", "The left one.")
    >>> judgement_of(Failure("HTTP 503", 6, again=True), case, "a-model").reason
    'call failed: HTTP 503'
    >>> judgement_of(Failure("HTTP 400", 1), case, "a-model").reason
    'cannot be asked: HTTP 400'

    Args:
        told: By the client.
        case: What it was asked about.
        model: Its name, where the endpoint gives none.

    Returns:
        The verdict; unscored, with a reason in our words, where there is none. What the endpoint refuses for good and
        a picture that could not be sent are no failed calls: others would fail as well.
    """
    if isinstance(told, Failure):
        return unscored(f"{CALL_FAILED if told.again else CANNOT_ASK}{told.reason}")
    counts = (told.tokens_in, told.tokens_out)
    tokens = None if None in counts else sum(count or 0 for count in counts)
    call = Call(told.model or model, told.date, tokens, told.cost)
    if told.finish in _UNFINISHED:
        return unscored(_UNFINISHED[told.finish], call)
    return read_reply(told.text, case, call)
