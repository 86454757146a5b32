r"""Rows -> chat messages: one function serves generation (prompt) and training (prompt + completion).

The prompt numbers the pictures as InternVL does. A row before and after::

    {"question": "How can I ...?", "images": [a, b], "response": "The first image ..."}
    prompt      [{"role": "user", "content": [text "Image-1: ", image, text "\nImage-2: ", image,
                                              text "\nHow can I ...?"]}]
    completion  [{"role": "assistant", "content": [text "The first image ..."]}]
"""

from __future__ import annotations

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


def completion(response: str) -> list[Message]:
    """The assistant's turn."""
    return [{"role": "assistant", "content": [{"type": "text", "text": response}]}]
