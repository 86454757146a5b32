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
        0 good, 1 the run or the dataset has problems, 2 wrong use, 130 interrupted.
    """
    parser = make_parser()
    try:
        chosen = parser.parse_args(argv)
    except SystemExit as end:
        return int(end.code or 0)
    from cards.facts import CardError

    try:
        written = _VERBS[chosen.verb](chosen)
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
    parser = argparse.ArgumentParser(prog="python -m cards", description="Cards, rendered from files alone.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    render = verbs.add_parser(
        "render",
        help="dataset card and model card of a finished run",
        description="Writes OUT/dataset/README.md and OUT/model/README.md from the files of RUN alone.",
    )
    render.add_argument("run", type=Path, metavar="RUN", help="folder of a run that has its report.json")
    render.add_argument("out", type=Path, metavar="OUT", help="folder to write to, such as RUN/cards")
    render.add_argument("--model", default="contrast", help="arm that the model card is about (%(default)s)")
    render.add_argument("--dataset-id", default="MIS", help="Hub id of the dataset, or its folder (%(default)s)")
    render.add_argument("--model-id", help="Hub id of the model, or its folder (mis-mini-MODEL)")
    dataset = verbs.add_parser(
        "dataset",
        help="dataset card of MIS proper, built from the authors' release",
        description="Writes OUT/README.md, and the plots of STATS_DIR beside it, from the files named here alone.",
    )
    dataset.add_argument("mis", type=Path, metavar="MIS", help="folder of the dataset, as `mis_dataset build` wrote it")
    dataset.add_argument("out", type=Path, metavar="OUT", help="folder to write to")
    dataset.add_argument("--dataset-id", default="MIS", help="Hub id of the dataset, or its folder (%(default)s)")
    dataset.add_argument("--stats", type=Path, metavar="STATS_DIR", help="folder that `mis_dataset stats` wrote")
    dataset.add_argument("--leaks", type=Path, metavar="LEAKS_JSON", help="file that `mis_dataset leaks` wrote")
    return parser


def _render(chosen: argparse.Namespace) -> dict[str, Path]:
    from cards.render import render

    return render(chosen.run, chosen.out, chosen.model, chosen.dataset_id, chosen.model_id)


def _dataset(chosen: argparse.Namespace) -> dict[str, Path]:
    from cards.released import released

    return released(chosen.mis, chosen.out, chosen.dataset_id, chosen.stats, chosen.leaks)


_VERBS = {"render": _render, "dataset": _dataset}

if __name__ == "__main__":
    sys.exit(main())
