"""Stage `seeds`: files of risky texts, and datasets -> seeds with ids of ours.

A file is JSON Lines with a "text" in every line, and perhaps "category", "licence" and "source"; what else a line holds
is not read. Texts that stand there twice are one seed; a text about two pictures is two. What a dataset holds:
`hub_seeds`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from mis_dataset.construct.hub_seeds import HubSeeds, RawSeed, rows_of_hub
from mis_dataset.construct.rows import Seed
from mis_dataset.errors import MISError, plain, refuse_constant
from mis_dataset.files import replace_file
from mis_dataset.schema import CATEGORIES

_MOST_LINE = 2**21
"""Bytes of a line; far more than a text that is asked about."""
_MOST_NAME = 200


def read_seeds(sources: Iterable[Path | HubSeeds], limit: int | None = None, out: Path = Path()) -> Iterator[Seed]:
    """Reads files and datasets of seeds, one row at a time.

    Args:
        sources: paths of files, and datasets, in order.
        limit: seeds, at most, from 1 on.
        out: folder of the construction, where their pictures are kept as ``seeds/<id>.png``.

    Raises:
        MISError: A line or a row is none; the text says which and never repeats it.
        OSError: A file cannot be read or written.
    """
    seen: set[bytes] = set()
    for source in sources:
        for raw in _rows(source):
            told = raw.text.encode("utf-8", "replace") + b"\0" * bool(raw.picture) + raw.picture
            digest = hashlib.sha256(told).digest()[:16]
            if digest not in seen:
                seen.add(digest)
                yield _kept(raw, f"s{len(seen)}", out)
            if len(seen) == limit:
                return  # nothing behind is read


def _rows(source: Path | HubSeeds) -> Iterator[RawSeed]:
    if isinstance(source, HubSeeds):
        for raw in rows_of_hub(source):
            yield raw._replace(text=_shown(raw.text), source=_name(raw.source), licence=_name(raw.licence))
        return
    with source.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield _raw(line, f"{source.name}:{number}")


def _kept(raw: RawSeed, name: str, out: Path) -> Seed:
    """The seed, once its picture is on the disk."""
    picture = f"seeds/{name}.png" if raw.picture else ""
    if picture:
        with replace_file(out / picture) as temporary:
            temporary.write_bytes(raw.picture)
    return Seed(name, raw.text, raw.source, raw.licence, raw.category, picture)


def _raw(line: bytes, where: str) -> RawSeed:
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
    source, licence = _name(found.get("source")) or where, _name(found.get("licence"))
    return RawSeed(_shown(found["text"]), source, licence, category, b"")


def _shown(text: str) -> str:
    """A text without halves of letters."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _name(value: object) -> str:
    """A short text of one line, or nothing."""
    return plain(value)[:_MOST_NAME] if isinstance(value, str) else ""
