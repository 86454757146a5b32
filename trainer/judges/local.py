"""A local vision-language model as a judge: it is shown the pictures and asked by our rubric, see `asking`.

Any checkpoint that `generate` can ask can judge; how well, `calibrate` measures.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mis_dataset.chat import Message, disarm, prompt
from trainer import models
from trainer.engines.local import respond
from trainer.judges.asking import INSTRUCTIONS, NO_PICTURES, ask, read_reply
from trainer.judges.base import TRANSFORMERS_TOKENS, WINDOW, Call, Case, Judgement, unscored
from trainer.probes import Picture

if TYPE_CHECKING:
    from PIL.Image import Image

BATCH = 8
"""Cases that are asked together."""


class Local:
    """`Judge` by a checkpoint.

    Args:
        folder: the checkpoint.
        max_tokens: most new tokens of a reply; one that thinks wants more, and what is cut off is unscored.

    Raises:
        ModelError: It cannot be loaded, see `trainer.models.load`.
    """

    name = "transformers"

    def __init__(self, folder: Path, max_tokens: int = TRANSFORMERS_TOKENS) -> None:
        self._max_tokens = max_tokens
        self._name = folder.resolve().name
        self._model, self._processor = models.load(folder)
        self._control = models.control_tokens(self._processor)
        self._begin = instructed(self._processor)
        self.place = models.place_of(self._model)

    def judge(self, cases: Iterable[Case]) -> Iterator[tuple[str, Judgement]]:
        """See `trainer.judges.base.Judge`."""
        for batch in batches(cases):
            if not batch[0].response.strip():
                yield from ((case.id, unscored("empty")) for case in batch)
                continue
            asked = [(self.messages(case), pictures_of(case)) for case in batch]
            said = respond(self._model, self._processor, asked, self._max_tokens)
            for case, found in zip(batch, said, strict=True):
                call = Call(self._name, None, found.tokens, None)
                # What was left out might have been the last verdict, which binds.
                cut = unscored("the judge was cut off", call)
                yield case.id, read_reply(found.text, case, call) if found.ended else cut

    def messages(self, case: Case) -> list[Message]:
        """What is asked about a case, pictures as places."""
        text = disarm(ask(case), self._control)
        [message] = prompt(text if case.images else NO_PICTURES + text, len(case.images))
        return led(message, self._begin)


def batches(cases: Iterable[Case]) -> Iterator[list[Case]]:
    """Cases that may be asked together: of similar length, with equally many pictures, and none empty beside others.

    Args:
        cases: drawn a window at a time.
    """
    drawn = iter(cases)
    while window := list(itertools.islice(drawn, WINDOW)):
        ordered = sorted(window, key=_size, reverse=True)
        for _, alike in itertools.groupby(ordered, key=lambda case: _size(case)[:2]):
            group = list(alike)
            yield from (group[start : start + BATCH] for start in range(0, len(group), BATCH))


def _size(case: Case) -> tuple[bool, int, int]:
    return bool(case.response.strip()), len(case.images), len(case.question) + len(case.response)


def pictures_of(case: Case) -> list[Image]:
    """The pictures of a case, decoded.

    Raises:
        MISError: One is broken.
    """
    return [Picture(case.id, partial(bytes, encoded)).image() for encoded in case.images]


def instructed(processor: Any) -> Message | None:
    """How the chat template of a checkpoint takes `INSTRUCTIONS`: as a system message, or not at all.

    Args:
        processor: of the checkpoint.

    Returns:
        The system message, its content in parts or as one text; None where the template drops or refuses it, so that
        the instructions have to stand in front of the user's text.
    """
    from jinja2 import TemplateError

    contents: tuple[Any, ...] = ([{"type": "text", "text": INSTRUCTIONS}], INSTRUCTIONS)
    for content in contents:
        system = {"role": "system", "content": content}
        try:
            text = processor.apply_chat_template([system, *prompt("Hello", 0)], tokenize=False)
        except (TemplateError, TypeError):
            continue
        if text.count(INSTRUCTIONS.strip()) == 1:
            return system
    return None


def led(message: Message, system: Message | None) -> list[Message]:
    """A user's message with the instructions, as the template takes them.

    Args:
        message: what is asked.
        system: see `instructed`.
    """
    if system is not None:
        return [system, message]
    return [{**message, "content": [{"type": "text", "text": f"{INSTRUCTIONS}\n"}, *message["content"]]}]
