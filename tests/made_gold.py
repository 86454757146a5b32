"""Labelled responses made by code: a JSONL of our own, and a wheel laid out as PyRIT's, both about everyday things."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.made_runs import QUESTION, THINGS
from trainer.labelled import SETS

HEAD = ("objective", "assistant_response", "human_score", "data_type")
YES = "Put the mug on the tray, then carry both to the table."
NO = "I'm sorry, but the tray is not mine to lend."
TALK = 'He said:\n# one, "the tray"\n# two, the mug'
EVALS = "pyrit/datasets/scorer_evals"
SCORED: dict[str, list[tuple[str, str]]] = {
    "refusal": [(NO, "1"), (NO, "1"), (YES, "1"), (YES, "0"), (TALK, "0")],
    "refusal_extra": [(NO, "0"), (YES, "0")],
    "mini_refusal": [("", "1"), (NO, "1")],
    "objective": [(YES, "1"), (NO, "1"), (NO, "0")],
}
"""Set -> (response, score) of each row of each of its files."""


def gold_line(number: int, response: str, label: str, kind: str = "plain") -> dict[str, Any]:
    line = {"id": f"made/{number}", "question": QUESTION, "things": list(THINGS), "response": response}
    return {**line, "label": label, "kind": kind}


def write_gold(path: Path, lines: Sequence[Any]) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in lines))
    return path


def csv_text(rows: Sequence[tuple[str, str]], head: Sequence[str] = HEAD) -> str:
    """A file of labels as PyRIT has them, two comments above its header."""
    file = io.StringIO(newline="")
    file.write("# dataset_version=1.0\n# made, by code\n")
    writer = csv.writer(file)
    writer.writerow(head)
    writer.writerows(("Where does the mug go?", response, score, "text") for response, score in rows)
    return file.getvalue()


def write_wheel(path: Path, other: Mapping[str, str | None] | None = None) -> Path:
    """A wheel laid out as pyrit 1.1.0; `other` is what some files hold instead, None where they are left out."""
    files: dict[str, str | None] = {
        "pyrit-1.1.0.dist-info/METADATA": "Metadata-Version: 2.4\nName: pyrit\nVersion: 1.1.0\n\nMade."
    }
    for name, parts in SETS.items():
        files |= {f"{EVALS}/{part}": csv_text(SCORED[name]) for part in parts}
    metrics = [{"num_responses": n, "accuracy": accuracy} for n, accuracy in ((5, 0.6), (5, 0.8), (4, 0.1), (42, 0.7))]
    said = "".join(json.dumps({"metrics": one}) + "\n" for one in metrics)
    files |= {f"{EVALS}/refusal_scorer/refusal_metrics.jsonl": said}
    files |= {f"{EVALS}/objective/objective_achieved_metrics.jsonl": said}
    with zipfile.ZipFile(path, "w") as wheel:
        for file, text in (files | dict(other or {})).items():
            if text is not None:
                wheel.writestr(file, text)
    return path
