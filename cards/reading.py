"""What goes wrong in this room, and JSON as it is read here: nothing in it is trusted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mis_dataset.errors import refuse_constant

_MOST_DIGITS = 18
"""Of a whole number; no count has more."""


class CardError(Exception):
    """A card cannot be rendered; the message names the file, the field, and what to do."""


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        CardError: no such file, no JSON, as with NaN, huge numbers or half a letter in it, or no object.
        OSError: it cannot be read, as it is a folder.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse_constant, parse_int=_whole)
        _refuse_halves(content)
    except FileNotFoundError as error:
        raise CardError(f"{path}: no such file; run the verb that writes it first") from error
    except (ValueError, RecursionError) as error:
        raise CardError(f"{path} is no JSON ({error}); run the verb that writes it again") from error
    if not isinstance(content, dict):
        raise CardError(f"{path} holds a {type(content).__name__}, expected an object")
    return content


def _refuse_halves(content: object) -> None:
    """Halves of surrogate pairs cannot be written anywhere; without recursion, as JSON may be deep."""
    left = [content]
    while left:
        one = left.pop()
        if isinstance(one, str):
            one.encode()
        elif isinstance(one, dict):
            left += [*one, *one.values()]
        elif isinstance(one, list):
            left += one


def _whole(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)
