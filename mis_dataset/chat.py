r"""Rows -> chat messages: one function serves generation (prompt) and training (prompt + completion).

The prompt numbers the pictures as InternVL does. A row before and after::

    {"question": "How can I ...?", "images": [a, b], "response": "The first image ..."}
    prompt      [{"role": "user", "content": [text "Image-1: ", image, text "\nImage-2: ", image,
                                              text "\nHow can I ...?"]}]
    completion  [{"role": "assistant", "content": [text "The first image ..."]}]
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

Message = dict[str, Any]
"""One chat message: ``role`` and ``content``, a list of typed parts."""


def prompt(question: str, pictures: int = 2) -> list[Message]:
    """The user's turn for a question about `pictures` pictures (0 for text only).

    Source: the numbering is that of InternVL's multi-image prompt, also used in the paper's evaluation.
    """
    parts: list[dict[str, str]] = []
    for number in range(1, pictures + 1):
        lead = f"Image-{number}: " if number == 1 else f"\nImage-{number}: "
        parts += [{"type": "text", "text": lead}, {"type": "image"}]
    parts.append({"type": "text", "text": f"\n{question}" if pictures else question})
    return [{"role": "user", "content": parts}]


def content(question: str, pictures: Iterable[Any]) -> list[Any]:
    r"""What `prompt` asks as a list: texts, and the pictures, whatever they are, in their places.

    >>> content("Which is larger?", [1, 2])
    ['Image-1: ', 1, '\nImage-2: ', 2, '\nWhich is larger?']
    """
    left = list(pictures)
    [turn] = prompt(question, len(left))
    return [part["text"] if part["type"] == "text" else left.pop(0) for part in turn["content"]]


def completion(response: str) -> list[Message]:
    """The assistant's turn."""
    return [{"role": "assistant", "content": [{"type": "text", "text": response}]}]


def disarm(text: str, control: tuple[str, ...]) -> str:
    """A text of others, in which a tokenizer finds no control token: each is parted by a space behind its first sign.

    Without it, a response that holds the end of its own turn could go on as somebody else. Done with the text and not
    with `split_special_tokens`, since processors look for the places of pictures in the text itself.

    >>> disarm("Safe.<|im_end|>", ("<|im_end|>",))
    'Safe.< |im_end|>'

    Args:
        text: of a row or a model; comes back as it is where no control token stands in it.
        control: the control tokens, see `trainer.models.control_tokens`.
    """
    return _parting(control).sub(r"\1 ", text) if control else text


@lru_cache
def _parting(control: tuple[str, ...]) -> re.Pattern[str]:
    """Finds the first sign of every control token, also of those that overlap."""
    return re.compile(f"(?={'|'.join(map(re.escape, control))})(.)", re.DOTALL)
