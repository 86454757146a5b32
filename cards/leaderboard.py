"""What others measured -> a line a model and split on a board, after it was counted anew.

    add REPORT      report.json of a run, or comparison.json or leaderboard.json of `python -m trainer compare`

A report is held against cards/report.schema.json, and all that its counts decide is counted anew. What does not hold
is refused with all reasons at once. How alike rows are is in no report: an interval that is wider than that of k of n
for this reason is only bounded, not recomputed, and the line says so (`trusted`). Nor can it be known whether a judge
was right, or whether a response was ever given: a line says what a report says. docs/comparison.md has the layout.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cards.alone import alone
from cards.lines import (
    clashes,
    dataset_of,
    disagreements,
    is_name,
    line_problems,
    lines_of,
    name_lines,
    place,
    rows_of,
)
from cards.reading import CardError, read_json
from cards.recount import problems
from cards.tables import counted
from mis_dataset.files import sha256_of, to_json, write_text

LEADERBOARD_VERSION = "1-b"
"""As `trainer.comparison.leaderboard` has it."""
SCHEMA = Path(__file__).with_name("report.schema.json")
PUBLISHED = Path(__file__).parents[1] / "benchmarks" / "published_leaderboard.json"
"""What the authors published, as `trainer.comparison.leaderboard` tells it."""
BOARD = Path("runs/leaderboard.json")
KINDS = ("report", "comparison", "leaderboard")
_READ = {
    "report": ("report_version", "settings", "models", "before", "probes", "dose", "agreement"),
    "comparison": ("settings", "models", "leaderboard"),
}
"""Kind -> its keys in which rates are counted anew, and those that name their judge; all of a leaderboard."""
_MOST_BYTES = 64 * 2**20
_MOST_REASONS = 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    doing = parser.add_subparsers(dest="doing", required=True, metavar="add")
    shown = parser.formatter_class
    told = "check a report and put its rates on a board"
    add = doing.add_parser("add", help=told, description=__doc__, formatter_class=shown)
    add.add_argument("report", type=Path, metavar="REPORT", help="report.json, comparison.json or leaderboard.json")
    add.add_argument("--board", type=Path, default=BOARD, metavar="FILE", help="made where it is not (%(default)s)")
    add.add_argument("--name", type=_name, help="what the model is called there; of several models, what precedes it")
    add.add_argument("--model", help="the one of the report's models to add; all where it is not given")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Add a report; the same one twice changes nothing.

    Raises:
        CardError: the report, or the board that is there, does not hold; the message has all reasons.
        OSError: a file cannot be read or written.
    """
    with alone(args.board):
        board = _read_board(args.board) if args.board.exists() else new_board()
        made, lines = added(board, args.report, args.model, args.name)
        changed = made != board or not args.board.exists()
        if changed:
            write_text(args.board, to_json(made))
    return {
        "board": str(args.board),
        "models": sorted({line["model"] for line in lines}),
        "lines": len(made["measured"]),
        "changed": changed,
        "trusted": {f"{line['model']} on {line['split']}": line["trusted"] for line in lines if line["trusted"]},
    }


class Added(NamedTuple):
    """A board with what a report adds to it, and the lines that it adds."""

    board: dict[str, Any]
    lines: list[dict[str, Any]]


def added(board: Mapping[str, Any], path: Path, model: str | None = None, name: str | None = None) -> Added:
    """Check a report, count it anew, and add its rates to a board.

    Args:
        board: as `new_board` makes one; it is left as it is.
        path: of the report.
        model: the one of its models to add; None: all.
        name: what the model is called on the board; of several models, what precedes it.

    Raises:
        CardError: the report does not hold; the message has all reasons.
        OSError: it cannot be read.
    """
    report, kind = read_report(path)
    layout, counted = _held(path, report, kind)
    if layout:
        _refuse(path, [*layout, *counted])
    lines = name_lines(_chosen(path, model, lines_of(report, kind)), name, sha256_of(path))
    rows, of = rows_of(report, kind), dataset_of(report, kind)
    other = disagreements(report) if kind == "comparison" else []
    _refuse(path, [*counted, *other, *line_problems(lines, rows, of), *clashes(board, lines, rows, of)])
    ours = [line["report"] for line in lines]
    kept = [line for line in board["measured"] if line.get("report") not in ours]
    measured = sorted([*kept, *lines], key=place)
    return Added({**board, "dataset": of, "rows": rows, "measured": measured}, lines)


def new_board() -> dict[str, Any]:
    """A board with nothing on it but what the authors published."""
    return {
        "leaderboard_version": LEADERBOARD_VERSION,
        "dataset": "",
        "rows": {},
        "measured": [],
        "published": _published(),
    }


def read_report(path: Path) -> tuple[dict[str, Any], str]:
    """Read what somebody measured.

    Returns:
        The content, and which of `KINDS` it is.

    Raises:
        CardError: it is none of them, is larger than any of them can be, or is no JSON.
    """
    if path.is_file() and path.stat().st_size > _MOST_BYTES:
        raise CardError(f"{path}: has {path.stat().st_size} bytes, a report at most {_MOST_BYTES}")
    content = read_json(path)
    kinds = [kind for kind in KINDS if f"{kind}_version" in content]
    if len(kinds) != 1:
        wanted = ", ".join(f"{kind}_version" for kind in KINDS)
        raise CardError(f"{path}: found {len(kinds)} of the keys {wanted}, expected one, which says what it is")
    return content, kinds[0]


def schema_problems(content: Mapping[str, Any], kind: str) -> list[str]:
    """Where a file is not laid out as its kind is.

    Args:
        content: of the file.
        kind: one of `KINDS`.

    Returns:
        A text each: which field, what was found, what was expected.

    Raises:
        CardError: the package that reads schemas is not installed.
    """
    try:
        from jsonschema import Draft202012Validator
    except ModuleNotFoundError as error:
        raise CardError(f"{error.name}: not installed, so nothing can be checked; `pip install jsonschema`") from error
    whole = read_json(SCHEMA)
    schema = whole if kind == "report" else {"$defs": whole["$defs"], "$ref": f"#/$defs/{kind}"}
    errors = sorted(Draft202012Validator(schema).iter_errors(content), key=lambda error: str(error.json_path))
    return [f"{_plain(error.json_path.removeprefix('$.'))}: {_said(error)}" for error in errors]


def _name(text: str) -> str:
    if not is_name(text):
        raise argparse.ArgumentTypeError("is no name of letters, digits, spaces and . _ + ( ) -, or OWNER/NAME of such")
    return text


def _held(path: Path, content: Mapping[str, Any], kind: str) -> tuple[list[str], list[str]]:
    """What of its layout, and what of its counts, does not hold."""
    read = {key: content[key] for key in _READ.get(kind, content) if key in content}
    try:
        return schema_problems(content, kind), problems(read)
    except RecursionError as error:
        raise CardError(f"{path}: is nested deeper than any report") from error


def _chosen(path: Path, model: str | None, lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    models = list(dict.fromkeys(line["model"] for line in lines))
    if not models or model not in (None, *models):
        found = f"the models {', '.join(models)}" if models else "no model that was asked about a test split"
        raise CardError(f"{path}: found {found}, expected {model or 'one at least'}")
    return [line for line in lines if model in (None, line["model"])]


def _read_board(path: Path) -> dict[str, Any]:
    """The board as it is, held to the same as what is added."""
    board = read_json(path)
    layout, counted = _held(path, board, "leaderboard")
    told = [*layout, *counted]
    if board.get("leaderboard_version") != LEADERBOARD_VERSION:
        told.append(f"leaderboard_version: found {board.get('leaderboard_version')}, expected {LEADERBOARD_VERSION}")
    if board.get("published") != _published():
        told.append(f"published: is not what {PUBLISHED.name} holds")
    if told:
        raise CardError(f"{path}: is no board to add to: {'; '.join(told[:5])}; name another --board, or move it away")
    return board


def _published() -> Any:
    return read_json(PUBLISHED)["published"]


def _said(error: Any) -> str:
    """What a validator found and expected; never more of a text than its beginning."""
    if error.validator in ("required", "additionalProperties", "unevaluatedProperties", "propertyNames"):
        return _plain(error.message)
    held = error.instance
    shown = f"a {type(held).__name__}" if isinstance(held, dict | list) else _plain(json.dumps(held))
    return f"found {shown}, expected {error.validator} {_plain(json.dumps(error.validator_value))}"


def _plain(text: str) -> str:
    """Short and without control characters: it comes from a file of others."""
    return text.encode("unicode_escape").decode()[:160]


def _refuse(path: Path, reasons: Sequence[str]) -> None:
    if reasons:
        more = [f"and {len(reasons) - _MOST_REASONS} more"] if len(reasons) > _MOST_REASONS else []
        told = "\n".join(f"  - {reason}" for reason in [*reasons[:_MOST_REASONS], *more])
        raise CardError(f"{path}: is not added, for {counted(len(reasons), 'reason')}:\n{told}")
