"""The verbs of the dataset room: ``python -m mis_dataset VERB ...``.

stdout holds one JSON line with the result; stderr holds progress, problems and errors. Exit 0: good; 1: the
data or the run has problems; 2: wrong use; 130: Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from mis_dataset.arguments import positive
from mis_dataset.errors import MISError


def main(argv: list[str] | None = None) -> int:
    """Runs one verb.

    Args:
        argv: words of the command line without the program; None: those of this process.

    Returns:
        The exit code.
    """
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit as stop:  # argparse has printed the help or the wrong use
        return int(stop.code or 0)
    try:
        summary, code = _VERBS[arguments.verb](arguments)
    except MISError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"{error.filename or arguments.verb}: {error.strerror or error}", file=sys.stderr)
        return 1
    except RuntimeError as error:
        if "Symlink loop" not in str(error):  # as pathlib of Python 3.11 says it
            raise
        print(f"{arguments.verb}: {error}; name a folder", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{arguments.verb}: stopped; run it again to start over", file=sys.stderr)
        return 130
    print(json.dumps({"verb": arguments.verb, **summary}))
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m mis_dataset", description="MIS: from a raw release to rows.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    mini = verbs.add_parser("mini", help="draw MIS-mini, a small harmless release in the authors' layout")
    mini.add_argument("raw", type=Path, metavar="RAW", help="folder to write")
    mini.add_argument("--seed", type=int, default=0, help="the same seed gives the same bytes (default 0)")
    mini.add_argument("--zip", action="store_true", help="pack the train pictures into images.zip")
    mini.add_argument("--smoke", action="store_true", help="a few rows of each split only")
    check = verbs.add_parser("check", help="read a raw release, decode every picture, list all problems")
    check.add_argument("raw", type=Path, metavar="RAW", help="folder of the release")
    check.add_argument("--json", action="store_true", help="put the lists into the result, not on stderr")
    check.add_argument("--limit", type=positive, metavar="N", help="pictures of the first N records of a file only")
    build = verbs.add_parser("build", help="build the Parquet dataset from a raw release")
    build.add_argument("raw", type=Path, metavar="RAW", help="folder of the release")
    build.add_argument("out", type=Path, metavar="OUT", help="folder of the dataset, e.g. MIS")
    build.add_argument("--check", action="store_true", help="decode every picture first")
    shortcuts = verbs.add_parser("shortcuts", help="can text or one picture alone tell hard rows from twins?")
    shortcuts.add_argument("raw", type=Path, metavar="RAW", help="folder of MIS-mini")
    return parser


def _mini(arguments: argparse.Namespace) -> tuple[dict[str, Any], int]:
    from mis_dataset.mini.write import write_release

    rows = write_release(arguments.raw, arguments.seed, arguments.zip, arguments.smoke)
    return {"raw": str(arguments.raw), "rows": rows}, 0


def _check(arguments: argparse.Namespace) -> tuple[dict[str, Any], int]:
    from mis_dataset.release import check_release

    release = check_release(arguments.raw, arguments.limit)
    passed = not release.problems
    lists: dict[str, Any] = {"problems": release.problems, "warnings": release.warnings}
    if not arguments.json:
        for word, found in lists.items():
            for problem in found:
                print(f"{word.removesuffix('s')}: {problem}", file=sys.stderr)
    parts = {
        word: [problem._asdict() for problem in found] if arguments.json else len(found)
        for word, found in lists.items()
    }
    summary = {"raw": str(arguments.raw), "passed": passed, "rows": release.counts(), **parts}
    return summary, 0 if passed else 1


def _build(arguments: argparse.Namespace) -> tuple[dict[str, Any], int]:
    import datasets

    from mis_dataset.build import build

    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    built = build(arguments.raw, arguments.out, decode=arguments.check)
    if not built.written:
        print(f"{arguments.out}: up to date, nothing to do", file=sys.stderr)
    return {"out": str(arguments.out), "written": built.written, "rows": built.rows}, 0


def _shortcuts(arguments: argparse.Namespace) -> tuple[dict[str, Any], int]:
    from mis_dataset.mini.shortcuts import find_shortcuts

    summary = find_shortcuts(arguments.raw)
    return summary, 0 if summary["passed"] else 1


_VERBS = {"mini": _mini, "check": _check, "build": _build, "shortcuts": _shortcuts}

if __name__ == "__main__":
    sys.exit(main())
