"""The engine `openai`: a model behind an API. Pictures go out as the bytes that the dataset or the probe holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator

from tqdm.auto import tqdm

from mis_dataset.chat import content
from mis_dataset.errors import RemoteError
from mis_dataset.remote.messages import Reply, Request
from trainer.artefacts import Response
from trainer.prompts import Prompt
from trainer.remote import Remote

VERSION = "1-a"
"""The number changes when the same row is asked in other words."""


def generate(
    prompts: list[Prompt],
    remote: Remote,
    done: Collection[str] = (),
    *,
    failed_as_empty: bool = False,
) -> Iterator[list[Response]]:
    """Responses one by one, as they come; equal prompts are paid for once.

    Args:
        prompts: no id twice.
        remote: the model and how it is asked; it counts what that takes.
        done: ids that have a response.
        failed_as_empty: whether a prompt without a reply becomes an empty response, "failed".

    Raises:
        UsageError: As `mis_dataset.client.ask`.
        RemoteError: As `ask`; or, at the end, some prompts got no reply and `failed_as_empty` is not set.
        BudgetError: As `ask`.
    """
    wanted = [one for one in prompts if one.id not in done]
    requests = (
        Request(one.id, tuple(content(one.question, (picture.read() for picture in one.pictures)))) for one in wanted
    )
    failures: Counter[str] = Counter()
    first, final = "", 0
    with tqdm(total=len(prompts), initial=len(prompts) - len(wanted), desc="generate") as bar:
        for id_, told in remote.ask(requests):
            bar.update()
            if isinstance(told, Reply):
                yield [Response(id_, told.text.strip(), told.finish)]
                continue
            failures[told.reason] += 1
            first, final = first or id_, final + (not told.again)
            if failed_as_empty:
                yield [Response(id_, "", "failed")]
    if failures and not failed_as_empty:
        why = ", ".join(f"{reason} ({times})" for reason, times in failures.most_common())
        told_all = f"{failures.total()} of {len(prompts)} prompts got no reply (first: {first}): {why}"
        again = "run it again to ask only those, " if final < failures.total() else ""
        refused = f"{final} would get none again, other settings may mend that; " if final else ""
        raise RemoteError(
            f"{told_all}; {refused}{again}with --failed-as-empty it ends with empty responses in their place"
        )
