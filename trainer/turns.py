r"""Where a prompt ends and what the model says begins, for chat templates that write the two in different ways.

LLaVA-OneVision's ends a prompt with ``<|im_start|>assistant\n``, and writes what was said as ``<|im_start|>assistant ``
and ``\n`` before the text. TRL cuts where the two part, before the space, so a model would learn to begin with a space
and a new line that nobody writes for it when it is asked. Here it learns what comes after its prompt::

    TRL    prompt "...<|im_start|>assistant"     completion " \nThe first ...<|im_end|>"
    here   prompt "...<|im_start|>assistant\n"   completion "The first ...<|im_end|>"
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mis_dataset.chat import completion, prompt

_ASKED, _SAID = "What is it?", "A spoon."

Collate = Callable[[list[dict[str, Any]]], Any]
"""Rows -> a batch."""


def splits_its_prompts(processor: Any) -> bool:
    """Whether a chat template writes a turn that was said otherwise than it asks for one."""
    asked = prompt(_ASKED, 0)
    begun = processor.apply_chat_template(asked, add_generation_prompt=True)
    return not processor.apply_chat_template([*asked, *completion(_SAID)]).startswith(begun)


class TurnCollator:
    """A collator that gives another the texts of prompt and completion in place of their messages.

    Args:
        collate: of TRL.
        processor: its chat template writes the prompts.
    """

    def __init__(self, collate: Collate, processor: Any) -> None:
        self._collate = collate
        self._processor = processor
        whole = processor.apply_chat_template([*prompt(_ASKED, 0), *completion(_SAID)])
        self._end = whole.rpartition(_SAID)[2]

    def __call__(self, rows: list[dict[str, Any]]) -> Any:
        """The batch of some rows."""
        return self._collate([row | self._texts(row) for row in rows])

    def _texts(self, row: dict[str, Any]) -> dict[str, str]:
        asked = self._processor.apply_chat_template(row["prompt"], add_generation_prompt=True)
        said = "".join(part["text"] for part in row["completion"][0]["content"])
        return {"prompt": asked, "completion": said + self._end}
