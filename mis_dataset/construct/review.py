"""What people say of rows: a sheet to fill in, and how it is read back.

CSV, or JSON Lines where the name ends so. A line is one row; `id`, `seen`, `verdict` (keep or reject), `reason` and
`reviewer` are read, all else is there to be looked at. `seen` is a hash of question and pictures: a review holds for
what was seen. A line without a verdict is one that nobody has looked at yet.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mis_dataset.construct.experts import KEEP
from mis_dataset.construct.filters import fate
from mis_dataset.construct.rows import Judged, Pictured, Verdict, read_rows
from mis_dataset.errors import MISError, UsageError, plain, refuse_constant
from mis_dataset.files import write_text

NAME = "review"
REJECTED = "rejected by a person"
_WORDS = ("keep", "reject")
_READ = ("id", "seen", "verdict", "reason", "reviewer")
_COLUMNS = ("id", "seen", "place", "category", "question", "pictures", "twin", "verdict", "reason", "reviewer")
_MOST_TEXT = 500
_SHOWN = 20
_ACTS = ("=", "+", "-", "@", "\t", "\r")
"""What a cell begins with that a spreadsheet takes for a formula."""


class Line(NamedTuple):
    """A decision.

    Attributes:
        number: of its line in the file.
        seen: as `seen` gave it.
        verdict: "keep" or "reject".
        reason: the reviewer's words; one line.
        reviewer: a name.
    """

    number: int
    seen: str
    verdict: str
    reason: str
    reviewer: str


class Reviews(NamedTuple):
    """The decisions of a file.

    Attributes:
        file: its path; None where there is none.
        lines: row id -> its decision.
    """

    file: Path | None
    lines: Mapping[str, Line]

    def verdict(self, row: Pictured) -> Verdict | None:
        """What a person said of a row; None where nobody did.

        Raises:
            MISError: Something else was seen.
        """
        line = self.lines.get(row.id)
        if line is None:
            return None
        if line.seen != seen(row):
            text = "has another question or other pictures since; write the sheet anew and look at it again"
            raise MISError(f"{self.file}: line {line.number}: {row.id} {text}")
        told = ": ".join(part for part in (line.reviewer, line.reason) if part)
        return Verdict(NAME, REJECTED if line.verdict == "reject" else KEEP, told)

    def all_met(self, rows: Iterable[Judged], whole: bool) -> Iterator[Judged]:
        """The rows, and at their end an error where a decision is about none of them.

        Args:
            rows: of the construction.
            whole: whether they are all; of a trial with a few seeds they are not.

        Raises:
            MISError: An id is unknown; all are named.
        """
        left = dict(self.lines)
        for row in rows:
            left.pop(row.id, None)
            yield row
        if left and whole:
            faults = [f"line {line.number}: no row {plain(name)[:40]} is there" for name, line in left.items()]
            raise MISError(_told(self.file, faults))


NOBODY = Reviews(None, {})
"""Where nobody reviewed."""


def seen(row: Pictured) -> str:
    """A hash of question and pictures; begins with a letter, so that no spreadsheet takes it for a number."""
    shown = (row.row.question, *(one.sha256 for one in (*row.pictures, row.twin_picture)))
    return "x" + hashlib.sha256("\n".join(shown).encode()).hexdigest()[:16]


def read_reviews(file: Path | None) -> Reviews:
    """Reads a sheet that people have filled in.

    Raises:
        UsageError: A line is none, its verdict is another word, it has no reviewer, a rejection no reason, or an id
            stands there twice; all such lines are named, and nothing of them is repeated but ids.
        OSError: It cannot be read.
    """
    if file is None:
        return NOBODY
    faults: list[str] = []
    known: dict[str, int] = {}
    lines: dict[str, Line] = {}
    for number, found in _lines(file):
        fault = _fault(found)
        name = "" if fault else found["id"]
        if not fault and name in known:
            fault = f"{name} stands in line {known[name]} already; drop one"
        if fault:
            faults.append(f"line {number}: {fault}")
            continue
        known[name] = number
        if found["verdict"]:
            lines[name] = Line(number, found["seen"], found["verdict"], found["reason"], found["reviewer"])
    if faults:
        raise UsageError(_told(file, faults))
    return Reviews(file, lines)


def write_sheet(judged: Path, sheet: Path) -> dict[str, int]:
    """Writes the sheet of all rows that are to be looked at; decisions that are there already stay.

    Args:
        judged: file of `Judged` rows.
        sheet: to write, ``.csv`` or ``.jsonl``.

    Returns:
        "rows": on the sheet; "decided": of these; "rejected": of these.

    Raises:
        UsageError: There is no `judged` yet, `sheet` has another ending, or is there and is no sheet, or decisions on
            it would be lost; nothing was written.
        MISError: `judged` is no file of a construction.
        OSError: A file cannot be read or written.
    """
    if sheet.suffix not in (".csv", ".jsonl"):
        raise UsageError(f"{sheet}: a sheet is .csv or .jsonl")
    if not judged.is_file():
        raise UsageError(f"{judged}: no such file; name the folder of a construction that has ended")
    left = dict(read_reviews(sheet if sheet.exists() else None).lines)
    rows: list[dict[str, str]] = []
    for row in read_rows(judged, Judged):
        line = left.get(row.id)
        decided = line is not None and line.seen == seen(row.row)
        if decided:
            line = left.pop(row.id)
        others = tuple(one for one in row.verdicts if one.expert != NAME)
        where = fate(Judged(row.row, row.sub_category, others))
        if decided or isinstance(where, str):
            rows.append(_row(row, where if isinstance(where, str) else where.reason, line if decided else None))
    if left:
        first = next(iter(left.values())).number
        text = f"{len(left)} decisions are about rows that are not there any more, or are others (first: line {first})"
        raise UsageError(f"{sheet}: {text}; move it away to begin anew")
    write_text(sheet, _written(rows, sheet.suffix))
    words = [row["verdict"] for row in rows]
    return {"rows": len(rows), "decided": len(words) - words.count(""), "rejected": words.count("reject")}


def _row(row: Judged, place: str, line: Line | None) -> dict[str, str]:
    question = row.row.row
    pictures = " ".join(one.file for one in row.row.pictures)
    told = (row.id, seen(row.row), place, question.category, question.question, pictures, row.row.twin_picture.file)
    decided = (line.verdict, line.reason, line.reviewer) if line else ("", "", "")
    return dict(zip(_COLUMNS, (*told, *decided), strict=True))


def _written(rows: Iterable[Mapping[str, str]], suffix: str) -> str:
    if suffix == ".jsonl":
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for row in rows:
        writer.writerow([_harmless(plain(row[column])) for column in _COLUMNS])
    return "\ufeff" + stream.getvalue()  # without that mark Excel takes it for another encoding


def _harmless(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula.

    >>> _harmless("=1+1"), _harmless("one")
    ("'=1+1", 'one')
    """
    return f"'{cell}" if cell.lstrip(" '").startswith(_ACTS) else cell


def _lines(file: Path) -> Iterator[tuple[int, Any]]:
    """Number and content of every line that is not empty."""
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{file}: is not UTF-8 at byte {error.start}; save it as UTF-8") from error
    if file.suffix == ".jsonl":
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                try:
                    yield number, json.loads(line, parse_constant=refuse_constant)
                except (ValueError, RecursionError):
                    yield number, None
        return
    head = text.split("\n", 1)[0]
    # Where a comma stands in numbers, spreadsheets write semicolons.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=";" if ";" in head and "," not in head else ",")
    try:
        columns = next(reader, [])
        missing = [name for name in _READ if columns.count(name) != 1]
        if missing:
            raise UsageError(f"{file}: line 1: has no column {missing[0]}; fill in the sheet that `review` writes")
        for cells in reader:
            if any(cells):
                yield reader.line_num, dict(zip(columns, map(_told_cell, cells), strict=False))
    except csv.Error as error:
        raise UsageError(f"{file}: line {reader.line_num}: is no CSV ({error})") from error


def _told_cell(cell: str) -> str:
    """A cell without the sign that `_harmless` put before it."""
    return cell[1:] if cell.startswith("'") and _harmless(cell[1:]) == cell else cell


def _fault(found: Any) -> str:
    """What is wrong with a line; empty for nothing."""
    if not isinstance(found, dict) or not all(isinstance(found.get(name), str) for name in _READ):
        return f"has no texts {', '.join(_READ)}"
    for name in _READ:
        found[name] = plain(" ".join(found[name].split()))
        if len(found[name]) > _MOST_TEXT:
            return f"{name} has more than {_MOST_TEXT} letters"
    if not found["id"]:
        return "has no id"
    if found["verdict"] not in ("", *_WORDS):
        return f"the verdict of {found['id'][:40]} is neither keep nor reject"
    if found["verdict"] and not found["reviewer"]:
        return f"{found['id'][:40]} is decided by nobody; write a reviewer's name"
    if found["verdict"] == "reject" and not found["reason"]:
        return f"{found['id'][:40]} is rejected without a reason"
    return ""


def _told(file: Path | None, faults: list[str]) -> str:
    more = [f"... and {len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else []
    return "\n".join(f"{file}: {fault}" for fault in [*faults[:_SHOWN], *more])
