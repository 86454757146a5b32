"""General rows as people publish them, made by code: conversations in JSON with pictures beside them, and Parquet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

COLOURS = ("red", "green", "blue", "white", "black", "yellow")


def make_general(folder: Path, rows: list[dict[str, Any]] | None = None, file: str = "rows.json") -> Path:
    """A folder with pictures named by their colours and one file of rows; without rows, 24 conversations.

    Half of these are text only, the others show one picture or two.
    """
    (folder / "pictures").mkdir(parents=True)
    for colour in COLOURS:
        Image.new("RGB", (40, 40), colour).save(folder / "pictures" / f"{colour}.png")
    rows = [_conversation(number) for number in range(24)] if rows is None else rows
    text = json.dumps(rows) if file.endswith(".json") else "\n".join(map(json.dumps, rows)) + "\n"
    (folder / file).write_text(text, "utf-8")
    return folder


def turns(*texts: str) -> list[dict[str, str]]:
    """A conversation as ShareGPT has it, the human first."""
    return [{"from": ("human", "gpt")[place % 2], "value": text} for place, text in enumerate(texts)]


def _conversation(number: int) -> dict[str, Any]:
    shown = COLOURS[: (0, 1, 0, 2)[number % 4]]
    asked = "<image>\n" * len(shown) + f"Which colours are shown, number {number}?"
    row: dict[str, Any] = {"id": number if number % 2 else str(number), "conversations": turns(asked, "Look at them.")}
    return row | ({"image": [f"pictures/{colour}.png" for colour in shown]} if shown else {})
