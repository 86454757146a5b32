"""Verbs of the room `cards`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; print one line of JSON.

    Args:
        argv: words after `python -m cards`; those of the process where None.

    Returns:
        0 good, 1 the run has problems, 2 wrong use, 130 interrupted.
    """
    parser = make_parser()
    try:
        chosen = parser.parse_args(argv)
    except SystemExit as end:
        return int(end.code or 0)
    from cards.facts import CardError
    from cards.render import render

    try:
        written = render(chosen.run, chosen.out, chosen.model, chosen.dataset_id, chosen.model_id)
    except (CardError, OSError) as error:
        print(f"cards {chosen.verb}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"cards {chosen.verb}: interrupted; run it again", file=sys.stderr)
        return 130
    print(json.dumps({"verb": chosen.verb, **{name: str(path) for name, path in written.items()}}))
    return 0


def make_parser() -> argparse.ArgumentParser:
    """The verbs and their options."""
    parser = argparse.ArgumentParser(prog="python -m cards", description="Cards, rendered from a run's files.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    verb = verbs.add_parser(
        "render",
        help="dataset card and model card of a finished run",
        description="Writes OUT/dataset/README.md and OUT/model/README.md from the files of RUN alone.",
    )
    verb.add_argument("run", type=Path, metavar="RUN", help="folder of a run that has its report.json")
    verb.add_argument("out", type=Path, metavar="OUT", help="folder to write to, such as RUN/cards")
    verb.add_argument("--model", default="contrast", help="arm that the model card is about (%(default)s)")
    verb.add_argument("--dataset-id", default="MIS", help="Hub id of the dataset, or its folder (%(default)s)")
    verb.add_argument("--model-id", help="Hub id of the model, or its folder (mis-mini-MODEL)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
