"""What can be wrong with the rows of a training, what to do about each, and how it is told."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

from mis_dataset.errors import plain

_NAMED = 5
"""Ids that the table names of each kind; a report holds all."""


class Kind(NamedTuple):
    """One kind of fault.

    Attributes:
        error: whether a training must not begin; else it is a warning.
        remedy: what to do.
    """

    error: bool
    remedy: str


KINDS: dict[str, Kind] = {
    "id": Kind(True, "give every row an id of its own: it is the row's name in every artefact"),
    "empty": Kind(True, "write what is missing, or take the row out"),
    "places": Kind(True, "let the prompt hold one place for every picture of the row"),
    "picture": Kind(True, "put the original file there and build the dataset again, or take the row out"),
    "control": Kind(True, "take the control token out of the text: the tokenizer would not read it as words"),
    "template": Kind(True, "take the chat template that belongs to the checkpoint, or correct it"),
    "labels": Kind(True, "set completion_only_loss: true, and take a tokenizer that reads back what it wrote"),
    "vocabulary": Kind(True, "take the tokenizer that belongs to the checkpoint"),
    "long": Kind(True, "show fewer tiles or pixels (max_tiles, max_pixels), shorten the row, or take it out"),
    "render": Kind(True, "correct the row or the processor; a training would end with this error"),
    "count": Kind(True, "report this: lengths of rows that were only counted are not to be trusted"),
    "swapped": Kind(True, "take the image processor that belongs to the checkpoint"),
    "test_row": Kind(True, "take the row out of training: a rate on that test row would mean nothing"),
    "leak": Kind(True, "take the row out of training, or build the splits anew"),
    "near_test": Kind(False, "look at the two questions; what is asked in training is not new in a test"),
    "blanks": Kind(False, "know that the model learns to begin with blanks which generation puts into the prompt"),
    "moved": Kind(False, "know that this template puts pictures before the words, so numbers of pictures stand apart"),
    "limit": Kind(False, "know that such a row is longer than what the family is evaluated with"),
    "alike": Kind(False, "see that the completions are meant to be the same, as bare refusals are"),
    "twin_opening": Kind(
        False, "see if the words name what is shown; if not, let all rows begin alike, or they decide the rest unseen"
    ),
    "general_opening": Kind(False, "know that first words tell safety rows: a model may begin so whatever it is asked"),
    "memory": Kind(False, "use fewer or smaller rows in a batch, fewer workers, or a machine with more memory"),
    "disk": Kind(False, "make room, write elsewhere, or keep fewer checkpoints (save_total_limit)"),
}
"""What is found -> whether it is an error, and what to do."""


class Fault(NamedTuple):
    """One thing that is wrong.

    Attributes:
        kind: one of `KINDS`.
        id: of the row; None where no single row is meant.
        found: what was found; never a text or a picture of the row.
    """

    kind: str
    id: str | None
    found: str


def summarize(faults: Iterable[Fault]) -> list[dict[str, Any]]:
    """Faults by kind, errors first.

    Returns:
        ``{"kind", "error", "rows", "ids", "found", "remedy"}`` each; ``found`` is that of the first id.
    """
    grouped: dict[str, list[Fault]] = defaultdict(list)
    for fault in faults:
        grouped[fault.kind].append(fault)
    told = []
    for kind in sorted(grouped, key=list(KINDS).index):
        ids = list(dict.fromkeys(one.id for one in grouped[kind] if one.id is not None))
        found = grouped[kind][0].found
        error, remedy = KINDS[kind]
        told.append({"kind": kind, "error": error, "rows": len(ids), "ids": ids, "found": found, "remedy": remedy})
    return sorted(told, key=lambda one: not one["error"])


def counts(told: Iterable[dict[str, Any]], error: bool) -> dict[str, int]:
    """Kind -> rows, of errors or of warnings; what is of no single row counts as one."""
    return {one["kind"]: max(1, one["rows"]) for one in told if one["error"] == error}


def table(told: Iterable[dict[str, Any]]) -> str:
    """What `summarize` gave as lines for a terminal."""
    lines = []
    for one in told:
        word = "error  " if one["error"] else "warning"
        names = ", ".join(one["ids"][:_NAMED]) + (", ..." if len(one["ids"]) > _NAMED else "")
        who = f"{one['rows']} rows ({names}), the first {one['found']}" if one["ids"] else one["found"]
        lines += [f"{word} {one['kind']:15} {plain(who)}", f"{'':23} -> {one['remedy']}"]
    return "\n".join(lines) or "nothing is wrong"
