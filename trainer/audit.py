"""Verb `audit`: a published table of safety rates -> cells and rows that no counts can give.

The table is a CSV with the columns model, split, n, asr, hr, rsr, rr; others are left alone. n is how many rows were
asked, the others are rates of them in per cent, as printed; a cell may be empty. The four rates share out the rows of a
split, so some counts k of n must stand behind them, and these must add up to n.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mis_dataset.errors import UsageError
from mis_dataset.record import shown
from trainer.counts import Printed, nearest, possible, print_rate, print_sum, read_rate, rounded, sums
from trainer.files import ArtefactError, refuse_endless

RATES = ("asr", "hr", "rsr", "rr")
COLUMNS = ("model", "split", "n", *RATES)
LARGEST_N = 10**15
"""Every reader of JSON takes counts up to here for what they are."""
LISTED = 100
"""So many possible counts of a cell are listed one by one; of more, the least and the most say all."""
_TOLD = 100
_MOST_BYTES = 16 * 10**6
"""A table that somebody published has some hundred lines; a larger file is another one, or never ends."""


class TableError(UsageError):
    """A table cannot be audited; the message names file, line and column of everything that is wrong with it."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        more = len(problems) - _TOLD
        super().__init__("\n".join([*problems[:_TOLD], *([f"... and {more} more"] if more > 0 else [])]))


@dataclass(frozen=True)
class TableRow:
    """One row of a table.

    Attributes:
        line: Line of the file on which it begins, from 1.
        model: Whose rates these are.
        split: Of which rows.
        n: How many rows, 1 to `LARGEST_N`.
        rates: Printed rates by column; empty cells are left out.
    """

    line: int
    model: str
    split: str
    n: int
    rates: Mapping[str, Printed]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("table", type=Path, metavar="TABLE.csv", help=f"CSV with the columns {', '.join(COLUMNS)}")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Audit the table, tell stderr in words what is wrong; `passed` is False where anything is impossible."""
    found = audit(read_table(args.table))
    for line in in_words(found):
        print(f"{args.table}: {line}", file=sys.stderr)
    return {"table": args.table.as_posix(), **found}


def audit(rows: Sequence[TableRow]) -> dict[str, Any]:
    """What is impossible, and all that is possible.

    A cell is impossible where no count of 0 to n is printed so, rounded or truncated; it is truncated where one is only
    when truncated. A row is impossible where no choice of counts adds up to n: an impossible cell stands there with the
    two nearest counts, an empty one with any. With one rate alone nothing can be added up, so such rows do not count
    as checked.

    Returns:
        {"passed": nothing is impossible, "cells": {checked, impossible, truncated}, "rows": {checked, impossible},
        "impossible_cells": [{line, model, split, n, column, printed, nearest: two of {k, printed}}],
        "truncated_cells": [{..., k, rounded: how k is printed when rounded}],
        "impossible_rows": [{line, model, split, n, printed_sum, counts_sum: {least, most}}],
        "counts": [{line, model, split, n, asr: {least, most, k: [...]}, hr, ...}]}. Rates are texts, in per cent. All
        counts from least to most are possible, of a sum too; both are None where none is. k is None where there are
        more than `LISTED`.
    """
    cells = [(row, column) for row in rows for column in row.rates]
    summed = [row for row in rows if len(row.rates) > 1]
    impossible = [_impossible(*cell) for cell in cells if not _possible(*cell)]
    truncated = [_truncated(*cell) for cell in cells if _possible(*cell) and not _rounded(*cell)]
    wrong = [_sums(row) for row in summed if row.n not in _counts_sum(row)]
    return {
        "passed": not impossible and not wrong,
        "cells": {"checked": len(cells), "impossible": len(impossible), "truncated": len(truncated)},
        "rows": {"checked": len(summed), "impossible": len(wrong)},
        "impossible_cells": impossible,
        "truncated_cells": truncated,
        "impossible_rows": wrong,
        "counts": [_named(row) | {column: _listed(_possible(row, column)) for column in row.rates} for row in rows],
    }


def in_words(found: Mapping[str, Any]) -> Iterator[str]:
    """What `audit` found, a line each.

    >>> rate = read_rate("0.65")
    >>> list(in_words(audit([TableRow(7, "A", "easy", 1675, {"rsr": rate})])))
    ["line 7: 'A', 'easy': rsr 0.65 is 11 of 1675 only if truncated; rounded it is 0.66"]
    """
    for one in found["impossible_cells"]:
        below, above = (f"{near['printed']} ({near['k']})" for near in one["nearest"])
        yield f"{_where(one)}: {one['column']} {one['printed']} is no count of {one['n']}: nearest {below} and {above}"
    for one in found["truncated_cells"]:
        yield (
            f"{_where(one)}: {one['column']} {one['printed']} is {one['k']} of {one['n']} only if truncated; "
            f"rounded it is {one['rounded']}"
        )
    for one in found["impossible_rows"]:
        least, most = one["counts_sum"].values()
        counts = str(least) if least == most else f"{least} to {most}"
        yield f"{_where(one)}: the rates add up to {one['printed_sum']}, which is {counts} rows of {one['n']}"


def read_table(path: Path) -> list[TableRow]:
    """Read a table, every cell checked.

    Args:
        path: CSV in UTF-8, with or without a byte order mark, any line ends. Letter case and blanks around the names of
            columns do not matter; lines without any text are passed over.

    Raises:
        TableError: Everything that is wrong: no readable file, a pipe, a device or more than 16 MB, no row or no rate
            at all, columns that are missing or stand there twice, lines of another length than the header, an n that is
            no whole number, a rate that is none.
    """
    lines = _lines(path)
    if not lines:
        raise TableError([f"{path}: is empty; give a CSV with the columns {', '.join(COLUMNS)}"])
    names = [name.strip().lower() for name in lines[0][1]]
    if problems := _header_problems(names):
        raise TableError([f"{path}: line {lines[0][0]}, {problem}" for problem in problems])
    if not lines[1:]:
        raise TableError([f"{path}: holds no row; give one line for every model and split"])
    rows, problems = [], []
    for number, cells in lines[1:]:
        found = _read_row(number, names, cells)
        if isinstance(found, TableRow):
            rows.append(found)
        else:
            problems += [f"{path}: line {number}, {problem}" for problem in found]
    if not problems and not any(row.rates for row in rows):
        problems = [f"{path}: all rates are empty; give at least one"]
    if problems:
        raise TableError(problems)
    return rows


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """Every line of a CSV that holds any text, with its number; a quoted cell may hold line ends."""
    found, number = [], 1
    try:
        refuse_endless(path)
        size = Path(path).stat().st_size
        if size > _MOST_BYTES:
            most = _MOST_BYTES // 10**6
            raise TableError([f"{path}: has {size} bytes, more than the {most} MB of any table; give the table alone"])
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    found.append((number, cells))
                number = reader.line_num + 1
    except ArtefactError as error:
        raise TableError([str(error)]) from error
    except (OSError, UnicodeError) as error:
        raise TableError([f"{path}: cannot be read ({error}); give a CSV file in UTF-8"]) from error
    except csv.Error as error:
        # A quote that was never closed swallows lines: what stands before it cannot be trusted either.
        raise TableError([f"{path}: line {number} is no CSV ({error}); see that quotes are closed"]) from error
    return found


def _header_problems(names: Sequence[str]) -> list[str]:
    missing = [f"column {name}: is missing; name it in the header" for name in COLUMNS if name not in names]
    if missing and len(names) == 1:
        missing = [f"column {shown(names[0])}: stands alone; separate columns by commas"]
    twice = [name for name in COLUMNS if names.count(name) > 1]
    return missing + [f"column {name}: stands there {names.count(name)} times; keep one" for name in twice]


def _read_row(line: int, names: Sequence[str], cells: Sequence[str]) -> TableRow | list[str]:
    """The row, or all that is wrong with it."""
    if len(cells) != len(names):
        lengths = f"{len(cells)} cells where the header has {len(names)}"
        return [f"column {min(len(cells), len(names)) + 1}: {lengths}; quote cells that hold commas"]
    by_name = {name: cell.strip() for name, cell in zip(names, cells, strict=True)}
    problems, rates = [], {}
    n = int(by_name["n"]) if re.fullmatch(r"[0-9]{1,16}", by_name["n"]) else 0
    if not 1 <= n <= LARGEST_N:
        problems.append(f"column n: {shown(by_name['n'])} is no whole number from 1 to {LARGEST_N}; write it in digits")
    for column in (name for name in RATES if by_name[name]):
        try:
            rates[column] = read_rate(by_name[column])
        except ValueError as error:
            problems.append(
                f"column {column}: {shown(by_name[column])} {error}; write the rate in per cent, or nothing"
            )
    return problems or TableRow(line, by_name["model"], by_name["split"], n, rates)


def _possible(row: TableRow, column: str) -> range:
    return possible(row.rates[column], row.n)


def _rounded(row: TableRow, column: str) -> range:
    return rounded(row.rates[column], row.n)


def _impossible(row: TableRow, column: str) -> dict[str, Any]:
    rate = row.rates[column]
    near = [{"k": k, "printed": print_rate(k, row.n, rate.decimals)} for k in nearest(rate, row.n)]
    return _named(row) | {"column": column, "printed": rate.text, "nearest": near}


def _truncated(row: TableRow, column: str) -> dict[str, Any]:
    rate = row.rates[column]
    # One alone: where two rates lie so near that both are truncated to one, one of them is also rounded to it.
    (k,) = _possible(row, column)
    return _named(row) | {
        "column": column,
        "printed": rate.text,
        "k": k,
        "rounded": print_rate(k, row.n, rate.decimals),
    }


def _sums(row: TableRow) -> dict[str, Any]:
    total = _counts_sum(row)
    ends = {"least": total[0], "most": total[-1]}
    return _named(row) | {"printed_sum": print_sum(list(row.rates.values())), "counts_sum": ends}


def _counts_sum(row: TableRow) -> range:
    """What the counts of a row can add up to."""
    found = [possible(rate, row.n) or nearest(rate, row.n) for rate in row.rates.values()]
    return sums(found + [range(row.n + 1)] * (len(RATES) - len(found)))


def _listed(counts: range) -> dict[str, Any]:
    if not counts:
        return {"least": None, "most": None, "k": []}
    few = counts[-1] - counts[0] < LISTED
    return {"least": counts[0], "most": counts[-1], "k": list(counts) if few else None}


def _named(row: TableRow) -> dict[str, Any]:
    return {"line": row.line, "model": row.model, "split": row.split, "n": row.n}


def _where(one: Mapping[str, Any]) -> str:
    return f"line {one['line']}: {shown(one['model'])}, {shown(one['split'])}"
