"""Verbs of the room `cards`; each has a module with its arguments and what it does."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from mis_dataset.arguments import Paragraphs

VERBS = {
    "render": "dataset card and model card of a finished run",
    "dataset": "dataset card of MIS proper, built from the authors' release",
    "leaderboard": "measurements of others, counted anew, on a board",
    "pack": "everything that is published of a finished run, one folder a Hub repository",
    "push": "uploads one folder, or all of a release, to the Hub",
    "verify": "loads a published repository back in fresh processes",
    "release": "is everything of a release the same everywhere, and fresh?",
}
"""verb -> what it does; its module is of the same name, but for `dataset`."""
_MODULES = {"dataset": "released"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; print one line of JSON.

    Args:
        argv: words after `python -m cards`; those of the process where None.

    Returns:
        0 good, 1 the run or the dataset has problems, 2 wrong use, 130 interrupted.
    """
    parser = make_parser()
    try:
        args = parser.parse_args(argv)
    except SystemExit as end:
        return int(end.code or 0)
    from cards.reading import CardError

    try:
        told = _module(args.verb).run(args)
    except (CardError, OSError) as error:
        print(f"cards {args.verb}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"cards {args.verb}: interrupted; run it again", file=sys.stderr)
        return 130
    print(json.dumps({"verb": args.verb, **told}))
    return 0 if told.get("passed", True) else 1


def make_parser() -> argparse.ArgumentParser:
    """The verbs and their options."""
    parser = argparse.ArgumentParser(
        prog="python -m cards", description="Cards, rendered from files alone, and their way to the Hub."
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb, summary in VERBS.items():
        module = _module(verb)
        module.add_arguments(
            verbs.add_parser(verb, help=summary, description=module.__doc__, formatter_class=Paragraphs)
        )
    return parser


def _module(verb: str) -> Any:
    return import_module(f"cards.{_MODULES.get(verb, verb)}")


if __name__ == "__main__":
    sys.exit(main())
