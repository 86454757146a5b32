r"""General rows: a few rows of any dataset of conversations, mixed in so that no ability is forgotten.

A folder or a dataset on the Hub with a column `messages`, `conversations` (ShareGPT), or `question` beside `answer`,
`response` or `completion`; and with pictures in `images` or `image`, or without. A row before and after::

    {"conversations": [{"from": "human", "value": "<image>\n<image>\nWhat differs?"}, {"from": "gpt", "value": "..."}],
     "images": ["a.png", "b.png"]}
    {"id": "general/7", "source": "general_picture", "images": [{"bytes": b"...", "path": None}, ...],
     "prompt": [{"role": "user", "content": [image, text "\n", image, text "\nWhat differs?"]}], "completion": [...]}

Of a conversation with several turns the last is the completion. The dataset is not trusted: no code of it is run, and
pictures are read from its own folder only.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random
from typing import Any

from mis_dataset.chat import Message, completion, prompt
from mis_dataset.errors import MISError, UsageError
from mis_dataset.record import shown
from trainer.files import parse_json, parse_line, read_text

Row = dict[str, Any]
_PLACEHOLDER = "<image>"
_ROLES = {"human": "user", "gpt": "assistant"} | {role: role for role in ("system", "user", "assistant")}
"""What a turn says who speaks -> a role of a chat template."""
_ANSWERS = ("answer", "response", "completion")
_ELSE = "the recipe says `general:`; another, or `general_share: 0.0`, is a line of a file of --override"
_TOLD = 20
"""Faults that an error names; the rest is counted."""


def general_rows(source: str, count: int, seed: int) -> list[Row]:
    """Rows of a dataset, as TRL wants them, in the dataset's order.

    It is read once from end to end and never held whole, but for a file of JSON that is one array. Every row has the
    same chance, whatever the order of the dataset. On the Hub, all of its split `train` is fetched for it.

    Args:
        source: a folder with Parquet, JSON Lines or JSON files, or ``OWNER/NAME`` on the Hub.
        count: how many rows are drawn.
        seed: of which.

    Returns:
        Rows with the ids ``general/<number of the row in the dataset, from 0>``.

    Raises:
        MISError: No such dataset, it cannot be read, has too few rows, or rows that were drawn are no conversations,
            have pictures that cannot be read, or more or fewer pictures than places for them: all of these are listed.
    """
    from mis_dataset.other import LOAD_ERRORS, place_of, reason_of

    if not count:
        return []
    try:
        place = place_of(source)
    except UsageError as error:
        raise UsageError(f"{error} ({_ELSE})") from error
    random = Random(f"general/{seed}")
    try:
        ranked = ((random.random(), number, row) for number, row in enumerate(_read(source)))
        drawn = heapq.nsmallest(count, ranked, key=lambda one: one[:2])
    except LOAD_ERRORS as error:
        raise MISError(f"{source}: cannot be read as general rows: {reason_of(error)} ({_ELSE})") from error
    if len(drawn) < count:
        raise MISError(f"{source}: has {len(drawn)} rows, the recipe draws {count}; take another or a smaller share")
    rows, faults = [], []
    for _, number, row in sorted(drawn, key=lambda one: one[1]):
        try:
            rows.append(_as_row(f"general/{number}", row, place.folder))
        except MISError as error:
            faults.append(str(error))
    if faults:
        told = "; ".join(faults[:_TOLD]) + (f"; and {len(faults) - _TOLD} more" if len(faults) > _TOLD else "")
        raise MISError(f"{source}: {len(faults)} of {count} rows that were drawn cannot be trained on: {told}")
    return rows


def general_source(images: Iterable[Any]) -> str:
    """What the log calls a general row."""
    return "general_picture" if list(images) else "general_text"


def _read(source: str) -> Iterator[Row]:
    """Every row, its pictures undecoded."""
    import datasets

    folder = Path(source)
    if not folder.is_dir():
        yield from datasets.load_dataset(source, split="train", streaming=True).decode(False)
        return
    tables = sorted(folder.rglob("*.parquet"))
    tables = [path for path in tables if path.name.startswith("train")] or tables
    if tables:
        files = [str(path) for path in tables]
        yield from datasets.load_dataset("parquet", data_files=files, split="train", streaming=True).decode(False)
        return
    texts = sorted([*folder.glob("*.jsonl"), *folder.glob("*.json")])
    if not texts:
        raise MISError(f"{source}: neither Parquet, JSON Lines nor JSON files lie there; name another folder")
    for path in texts:
        yield from _read_json(path)


def _read_json(path: Path) -> Iterator[Row]:
    """By Python's own reader: `datasets` wants every row to have the same types."""
    if path.suffix == ".jsonl":
        with path.open(encoding="utf-8") as lines:
            yield from (parse_line(line) for line in lines if line.strip())
        return
    found = parse_json(read_text(path))
    if not isinstance(found, list):
        raise MISError(f"{path}: holds no list of rows; move it elsewhere or name another folder")
    yield from found


def _as_row(id_: str, row: Row, folder: Path) -> Row:
    from mis_dataset.other import bytes_of

    if not isinstance(row, dict):
        raise MISError(f"{id_}: is no object")
    held: Any = next((row[name] for name in ("images", "image") if row.get(name) is not None), [])
    files = [{"bytes": None, "path": one} if isinstance(one, str) else one for one in _as_list(held)]
    if not all(isinstance(one, dict) and {"bytes", "path"} <= one.keys() for one in files):
        raise MISError(f"{id_}: its pictures are neither paths nor pictures of `datasets`")
    turns = _turns(id_, row, len(files))
    places = sum(part["type"] == "image" for turn in turns for part in turn["content"])
    if places != len(files):
        raise MISError(f"{id_}: has {len(files)} pictures and {places} places for them")
    if [turn["role"] for turn in turns[-2:]] != ["user", "assistant"]:
        raise MISError(f"{id_}: does not end with a question and what is said to it")
    said = "".join(part.get("text", "") for part in turns[-1]["content"])
    if not said.strip() or any(part["type"] == "image" for turn in turns for part in _said(turn)):
        raise MISError(f"{id_}: what is said is empty, or shows a picture")
    images = [{"bytes": encoded, "path": None} for encoded in bytes_of(id_, files, folder)]
    made = {"id": id_, "source": general_source(images), "images": images}
    return made | {"prompt": turns[:-1], "completion": completion(said)}


def _as_list(held: Any) -> list[Any]:
    return held if isinstance(held, list) else [held]


def _said(turn: Message) -> list[dict[str, str]]:
    """The parts of a turn that is not the user's."""
    return [] if turn["role"] == "user" else turn["content"]


def _turns(id_: str, row: Row, pictures: int) -> list[Message]:
    """A conversation as messages, every content a list of parts."""
    for name in ("messages", "conversations"):
        if isinstance(row.get(name), list):
            return [_turn(id_, turn) for turn in row[name]]
    question = row.get("question")
    said = next((row[name] for name in _ANSWERS if isinstance(row.get(name), str)), None)
    if not isinstance(question, str) or said is None:
        wanted = f"messages, conversations, or question and one of {', '.join(_ANSWERS)}"
        raise MISError(f"{id_}: has none of the columns {wanted}; it has {', '.join(map(shown, row))}")
    if _PLACEHOLDER in question:
        return [{"role": "user", "content": _parts(question)}, *completion(said)]
    return [*prompt(question, pictures), *completion(said)]


def _turn(id_: str, turn: Any) -> Message:
    if not isinstance(turn, dict):
        raise MISError(f"{id_}: a turn is no object")
    speaker = turn.get("role", turn.get("from"))
    content = turn.get("content", turn.get("value"))
    if not isinstance(speaker, str) or speaker not in _ROLES:
        raise MISError(f"{id_}: {shown(speaker)} speaks, known are {', '.join(_ROLES)}")
    if isinstance(content, str):
        return {"role": _ROLES[speaker], "content": _parts(content)}
    if not isinstance(content, list) or not all(map(_is_part, content)):
        raise MISError(f"{id_}: a turn is neither a text nor a list of texts and pictures")
    return {"role": _ROLES[speaker], "content": [_plain(part) for part in content]}


def _is_part(part: Any) -> bool:
    kind = part.get("type") if isinstance(part, dict) else None
    return kind == "image" or (kind == "text" and isinstance(part.get("text"), str))


def _plain(part: dict[str, Any]) -> dict[str, str]:
    return {"type": "image"} if part["type"] == "image" else {"type": "text", "text": part["text"]}


def _parts(text: str) -> list[dict[str, str]]:
    """A text, cut where its pictures stand."""
    parts: list[dict[str, str]] = []
    for place, piece in enumerate(text.split(_PLACEHOLDER)):
        parts += [{"type": "image"}] if place else []
        parts += [{"type": "text", "text": piece}] if piece else []
    return parts
