"""Stage `seeds`: files of risky texts -> seeds with ids of ours.

A file is JSON Lines with a "text" in every line, and perhaps "category", "licence" and "source"; what else a line holds
is not read. Texts that stand there twice are one seed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from mis_dataset.construct.rows import Seed
from mis_dataset.errors import MISError, plain, refuse_constant
from mis_dataset.schema import CATEGORIES

_MOST_LINE = 2**21
"""Bytes of a line; far more than a text that is asked about."""
_MOST_NAME = 200


def read_seeds(paths: Iterable[Path], limit: int | None = None) -> Iterator[Seed]:
    """Reads files of seeds, one line at a time.

    Args:
        paths: of the files, in order.
        limit: seeds, at most.

    Raises:
        MISError: A line is none; the text says which and never repeats it.
        OSError: A file cannot be read.
    """
    seen: set[bytes] = set()
    for path in paths:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if len(seen) == limit:
                    return
                if line.strip():
                    seed = _seed(line, f"{path.name}:{number}", f"s{len(seen) + 1}")
                    digest = hashlib.sha256(seed.text.encode("utf-8", "replace")).digest()[:16]
                    if digest not in seen:
                        seen.add(digest)
                        yield seed


def _seed(line: bytes, where: str, name: str) -> Seed:
    if len(line) > _MOST_LINE:
        raise MISError(f"{where}: has {len(line)} bytes, a seed at most {_MOST_LINE}; take it out")
    try:
        found = json.loads(line, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        raise MISError(f'{where}: is no JSON; write one object a line, such as {{"text": "..."}}') from error
    if not isinstance(found, dict) or not isinstance(found.get("text"), str) or not found["text"].strip():
        raise MISError(f'{where}: has no "text"; write one object a line, such as {{"text": "..."}}')
    category = found.get("category")
    if category is not None and category not in CATEGORIES:
        raise MISError(f"{where}: category is none of {', '.join(CATEGORIES)}; leave it out where none fits")
    text = found["text"].encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return Seed(name, text, _name(found.get("source")) or where, _name(found.get("licence")), category)


def _name(value: object) -> str:
    """A short text of one line, or nothing."""
    return plain(value)[:_MOST_NAME] if isinstance(value, str) else ""
