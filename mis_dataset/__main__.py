"""The verbs of the dataset room: ``python -m mis_dataset VERB ...``.

stdout holds one JSON line with the result; stderr holds progress, problems and errors. Exit 0: good; 1: the
data or the run has problems; 2: wrong use; 130: Ctrl-C, or SIGTERM, which ends a run as cleanly.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

from mis_dataset.arguments import above_zero, limit, positive, seed
from mis_dataset.errors import BudgetError, MISError, UsageError, plain
from mis_dataset.record import shown
from mis_dataset.schema import LEAKS


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
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("mis_dataset"):
            raise
        extra = "mini" if arguments.verb in ("mini", "shortcuts", "rehearse") else "audit"
        print(f"{arguments.verb}: needs {error.name}; pip install 'mis-dataset[{extra}]'", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{error.filename or arguments.verb}: {error.strerror or error}", file=sys.stderr)
        return 1
    except RuntimeError as error:
        if "Symlink loop" not in str(error):  # as pathlib of Python 3.11 says it
            raise
        print(f"{arguments.verb}: {error}; name a folder", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{arguments.verb}: stopped; run it again", file=sys.stderr)
        return 130
    print(json.dumps({"verb": arguments.verb, **summary}))
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m mis_dataset", description="MIS: from a raw release to rows.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    mini = verbs.add_parser("mini", help="draw MIS-mini, a small harmless release in the authors' layout")
    mini.add_argument("raw", type=Path, metavar="RAW", help="folder to write")
    mini.add_argument("--seed", type=seed, default=0, help="the same seed gives the same bytes (default 0)")
    mini.add_argument("--zip", action="store_true", help="pack the train pictures into images.zip")
    mini.add_argument("--smoke", action="store_true", help="a few rows of each split only")
    download = verbs.add_parser("download", help="fetch the authors' release from the Hub, at pinned revisions")
    download.add_argument("out", type=Path, metavar="OUT", help="folder to write; a second run goes on")
    download.add_argument("--train-revision", metavar="REV", help="another revision of the train repository")
    download.add_argument("--test-revision", metavar="REV", help="another revision of the test repository")
    check = verbs.add_parser("check", help="read a raw release, decode every picture, list all problems")
    check.add_argument("raw", type=Path, metavar="RAW", help="folder of the release")
    check.add_argument("--json", action="store_true", help="put the lists into the result, not on stderr")
    check.add_argument("--limit", type=positive, metavar="N", help="pictures of the first N records of a file only")
    check.add_argument("--num-proc", type=positive, metavar="N", help="processes that decode (default: cores, up to 8)")
    build = verbs.add_parser("build", help="build the Parquet dataset from a raw release")
    build.add_argument("raw", type=Path, metavar="RAW", help="folder of the release")
    build.add_argument("out", type=Path, metavar="OUT", help="folder of the dataset, e.g. MIS")
    build.add_argument("--check", action="store_true", help="decode every picture first")
    build.add_argument(
        "--num-proc",
        type=positive,
        default=1,
        metavar="N",
        help="processes that write, each with memory of its own (default 1, which writes two files at a time)",
    )
    build.add_argument(
        "--image-max-side", type=positive, metavar="N", help="make pictures smaller, as the config max<N>; loses detail"
    )
    build.add_argument("--limit", type=positive, metavar="N", help="the first N records of each file only, for a trial")
    verify = verbs.add_parser("verify", help="find what of a built dataset was changed, is missing, added or moved")
    verify.add_argument("out", type=Path, metavar="OUT", help="folder of the dataset")
    twins = verbs.add_parser("twins", help="propose benign twins for test rows that have none, for people to review")
    twins.add_argument(
        "raw", type=Path, metavar="RAW", help="folder of the release; gets the proposals and twins.jsonl"
    )
    twins.add_argument("--things", type=Path, metavar="FILE", help="JSON: row id -> names of its two objects")
    stats = verbs.add_parser("stats", help="count and measure a built dataset -> stats.json and plots")
    stats.add_argument("dataset", type=Path, metavar="MIS", help="folder of the dataset")
    stats.add_argument("out", type=Path, metavar="OUT", help="folder to write")
    stats.add_argument(
        "--things", type=Path, metavar="FILE", help="names of the objects: RAW/objects.json or RAW/mini/objects.json"
    )
    stats.add_argument("--limit", type=positive, metavar="N", help="the first N rows of each split only, for a trial")
    _add_leaks(verbs)
    _add_rehearse(verbs)
    croissant = verbs.add_parser("croissant", help="describe a built dataset in JSON-LD, as croissant.json beside it")
    croissant.add_argument("dataset", type=Path, metavar="MIS", help="folder of the dataset")
    _add_construction(verbs)
    shortcuts = verbs.add_parser("shortcuts", help="can text or one picture alone tell hard rows from twins?")
    shortcuts.add_argument("raw", type=Path, metavar="RAW", help="folder of MIS-mini")
    return parser


def _add_construction(verbs: Any) -> None:
    construct = verbs.add_parser("construct", help="make a release like MIS from seeds, by remote models")
    construct.add_argument("out", type=Path, metavar="OUT", help="folder; a second run goes on. The release is OUT/raw")
    construct.add_argument(
        "--config", type=Path, required=True, metavar="FILE", help="YAML: seeds, models, budget; `rehearse` writes one"
    )
    construct.add_argument("--limit", type=positive, metavar="N", help="the first N seeds only, for a trial")
    construct.add_argument(
        "--replay", action="store_true", help="ask no endpoint, draw nothing: read what models said from OUT alone"
    )
    funnel = verbs.add_parser("funnel", help="draw the counts of a construction, from seeds to splits, as an SVG")
    funnel.add_argument("out", type=Path, metavar="OUT", help="folder of the construction")
    funnel.add_argument("plot", type=Path, metavar="SVG", help="file to write")
    forecast = verbs.add_parser("forecast", help="reckon from a trial what a larger construction would use")
    forecast.add_argument("out", type=Path, metavar="OUT", help="folder of a construction that has ended")
    forecast.add_argument(
        "--rows", type=positive, required=True, metavar="N", help="dangerous rows wanted, beside twins"
    )
    told = "that a model takes for a reply: hours are then those of the calls, and no less than OUT took, times as "
    told += "many rows, as drawing and experts here take time without calls; without it, all are those of OUT"
    forecast.add_argument("--call-seconds", type=above_zero, metavar="S", help=told)
    forecast.add_argument("--at-once", type=positive, default=64, metavar="N", help="calls under way then (default 64)")
    review = verbs.add_parser("review", help="write the sheet on which people review the rows of a construction")
    review.add_argument("out", type=Path, metavar="OUT", help="folder of the construction")
    review.add_argument("sheet", type=Path, metavar="SHEET", help=".csv or .jsonl; decisions that are there stay")


def _add_leaks(verbs: Any) -> None:
    leaks = verbs.add_parser("leaks", help="find what train and tests share -> leaks.json; exits 1 above a limit")
    leaks.add_argument("dataset", type=Path, metavar="MIS", help="folder of the dataset")
    leaks.add_argument("out", type=Path, metavar="OUT", help="JSON file to write")
    leaks.add_argument(
        "--things", type=Path, metavar="FILE", help="names of the objects: RAW/objects.json or RAW/mini/objects.json"
    )
    leaks.add_argument("--against", metavar="OTHER", help="another dataset, a folder or a Hub repository")
    leaks.add_argument("--config", metavar="NAME", help="config of that dataset, where it has several")
    leaks.add_argument("--text-column", metavar="NAME", help="column of its texts (default: found by name)")
    leaks.add_argument("--image-column", metavar="NAME", help="column of its pictures (default: all of that type)")
    leaks.add_argument(
        "--max",
        action="append",
        default=[],
        metavar="KIND=N",
        help=f"test rows that may share that (default 0 of same_image, twin_image, same_things); of {', '.join(LEAKS)}",
        type=limit,
    )
    leaks.add_argument("--limit", type=positive, metavar="N", help="the first N rows of each split only, for a trial")


def _add_rehearse(verbs: Any) -> None:
    from mis_dataset.arguments import fraction

    rehearse = verbs.add_parser("rehearse", help="construct with scripted models, then check, build and leaks")
    rehearse.add_argument("out", type=Path, metavar="OUT", help="folder; a second run goes on, and asks nothing twice")
    rehearse.add_argument("--seeds", type=positive, default=160, metavar="N", help="how many (default 160)")
    told = "share of requests that go wrong, 0 to 1 (default 0.06)"
    rehearse.add_argument("--misbehave", type=fraction, default=0.06, metavar="SHARE", help=told)
    rehearse.add_argument("--latency", type=float, default=0.0, metavar="S", help="seconds before a reply (default 0)")
    rehearse.add_argument("--seed", type=seed, default=0, help="another one takes other seeds (default 0)")


def _mini(arguments: argparse.Namespace) -> tuple[dict[str, Any], int]:
    from mis_dataset.mini.write import write_release

    rows = write_release(arguments.raw, arguments.seed, arguments.zip, arguments.smoke)
    return {"raw": str(arguments.raw), "rows": rows}, 0


def _download(arguments: argparse.Namespace) -> tuple[dict[str, Any], int]:
    from mis_dataset.download import TEST, TRAIN, download

    train = TRAIN._replace(revision=arguments.train_revision or TRAIN.revision)
    test = TEST._replace(revision=arguments.test_revision or TEST.revision)
    return {"out": str(arguments.out), "commits": download(arguments.out, train, test, progress=True)}, 0


def _check(arguments: argparse.Namespace) -> tuple[dict[str, Any], int]:
    from mis_dataset.check import check_release
    from mis_dataset.published import differences

    # Each process has memory of its own.
    num_proc = arguments.num_proc or min(os.cpu_count() or 1, 8)
    release = check_release(arguments.raw, arguments.limit, num_proc, progress=True)
    passed = not release.problems
    lists: dict[str, Any] = {"problems": release.problems, "warnings": [*release.warnings, *differences(release)]}
    if not arguments.json:
        for word, found in lists.items():
            for problem in found:
                print(f"{word.removesuffix('s')}: {problem}", file=sys.stderr)
    parts = {
        word: [problem._asdict() for problem in found] if arguments.json else len(found)
        for word, found in lists.items()
    }
    summary = {
        "raw": str(arguments.raw),
        "passed": passed,
        "limit": arguments.limit,
        "rows": release.counts(),
        **parts,
    }
    return summary, 0 if passed else 1


def _build(arguments: argparse.Namespace) -> tuple[dict[str, Any], int]:
    from mis_dataset.build import Options, build

    options = Options(
        arguments.check, arguments.num_proc, arguments.image_max_side, limit=arguments.limit, progress=True
    )
    built = build(arguments.raw, arguments.out, options)
    if not built.written:
        print(f"{arguments.out}: up to date, nothing to do", file=sys.stderr)
    return {"out": str(arguments.out), "written": built.written, "limit": arguments.limit, "rows": built.rows}, 0


def _verify(arguments: argparse.Namespace) -> tuple[dict[str, Any], int]:
    from mis_dataset.verify import verify

    texts = verify(arguments.out)
    for text in texts:
        # A file may have any name.
        print(f"problem: {plain(text)}", file=sys.stderr)
    return {"out": str(arguments.out), "passed": not texts, "problems": len(texts)}, 1 if texts else 0


def _twins(arguments: argparse.Namespace) -> tuple[dict[str, Any], int]:
    from mis_dataset.built import read_things
    from mis_dataset.twins import propose

    found = propose(arguments.raw, read_things(arguments.things) if arguments.things else None)
    return {"raw": str(arguments.raw), **found._asdict()}, 0


def _stats(arguments: argparse.Namespace) -> tuple[dict[str, Any], int]:
    from mis_dataset.built import read_things
    from mis_dataset.stats import write

    things = read_things(arguments.things) if arguments.things else None
    measured = write(arguments.dataset, arguments.out, arguments.limit, things)
    rows = {split: told["rows"] for split, told in measured["splits"].items()}
    told = {"limit": arguments.limit, "rows": rows, "balance": measured["balance"]}
    return {"out": str(arguments.out), **told}, 0


def _leaks(arguments: argparse.Namespace) -> tuple[dict[str, Any], int]:
    from mis_dataset.built import read_things
    from mis_dataset.leaks import FORBIDDEN, KIND, find_leaks, read_rows, summary, table, too_many
    from mis_dataset.manifest import read_manifest, refuse_other, write_about

    limits = FORBIDDEN | dict(arguments.max)
    if read_manifest(arguments.dataset).reviews.get("kept") and "twin_image" not in dict(arguments.max):
        del limits["twin_image"]
    unknown = sorted(set(limits) - set(LEAKS))
    if unknown:
        raise UsageError(f"--max {unknown[0]}: is none of {', '.join(LEAKS)}")
    refuse_other(arguments.out, KIND)
    things = read_things(arguments.things) if arguments.things else None
    rows = read_rows(arguments.dataset, things, arguments.limit)
    other = None
    if arguments.against is not None:
        from mis_dataset.other import read_other

        columns = arguments.text_column, arguments.image_column
        against = read_other(arguments.against, *columns, config=arguments.config)
        for split, read in against.columns.items():
            print(f"{arguments.against}/{split}: read {', '.join(map(shown, read))}", file=sys.stderr)
        other = arguments.against, against.rows
    found = find_leaks(rows, other)
    write_about(arguments.dataset, arguments.out, KIND, summary(found, rows, arguments.limit))
    print(table(found), file=sys.stderr)
    if not things:
        print("same_things: not compared without --things", file=sys.stderr)
    above = too_many(found, limits)
    for text in above:
        print(f"problem: {text}", file=sys.stderr)
    counts = {f"{leaks.one}/{leaks.two}": {kind: n for kind, n in leaks.rows().items() if n} for leaks in found}
    summed = {"out": str(arguments.out), "passed": not above, "limit": arguments.limit, "rows": counts}
    return summed, 1 if above else 0


def _rehearse(arguments: argparse.Namespace) -> tuple[dict[str, Any], int]:
    from mis_dataset.construct.rehearsal import Rehearsal, rehearse, table

    how = Rehearsal(arguments.seeds, arguments.misbehave, arguments.latency, arguments.seed)
    told = rehearse(arguments.out, how)
    print(table(arguments.out, told), file=sys.stderr)
    return {"out": str(arguments.out), **told}, 0 if told["passed"] else 1


def _croissant(arguments: argparse.Namespace) -> tuple[dict[str, Any], int]:
    from mis_dataset.croissant import write

    return {"out": str(write(arguments.dataset))}, 0


def _construct(arguments: argparse.Namespace) -> tuple[dict[str, Any], int]:
    from mis_dataset.construct.config import read_config
    from mis_dataset.construct.ledger import costs, read_spent
    from mis_dataset.construct.notes import missing_in_words, unanswered
    from mis_dataset.construct.page import NAME
    from mis_dataset.construct.pipeline import construct
    from mis_dataset.construct.plot import in_words, read_funnel

    limit = [] if arguments.limit is None else ["--limit", str(arguments.limit)]
    words = [str(arguments.out), "--config", str(arguments.config), *limit]
    again = f"python -m mis_dataset construct {shlex.join(words)}"
    try:
        told = construct(read_config(arguments.config), arguments.out, arguments.limit, arguments.replay)
    except BudgetError as error:
        print(costs(read_spent(arguments.out)), file=sys.stderr)
        more = f"to go on, with as much again (`budget` in {arguments.config} says how much): {again}"
        raise BudgetError(f"{error}\n{more}") from error
    print(costs(read_spent(arguments.out)), in_words(read_funnel(arguments.out)), sep="\n", file=sys.stderr)
    trial = f"a trial: the first {arguments.limit} seeds alone, as --limit says\n" if limit else ""
    none = "" if told["rows"] else "no row was kept; the lines above say why\n"
    print(f"{trial}{none}to look at: {arguments.out / NAME}", file=sys.stderr)
    missing = unanswered(told["stages"])
    if missing:
        print(f"problem: {missing_in_words(missing)}; this asks them again: {again}", file=sys.stderr)
    return {"out": str(arguments.out), "limit": arguments.limit, **told}, 1 if missing else 0


def _funnel(arguments: argparse.Namespace) -> tuple[dict[str, Any], int]:
    from mis_dataset.construct.plot import write_plot

    return {"plot": str(arguments.plot), "rows": write_plot(arguments.out, arguments.plot)}, 0


def _forecast(arguments: argparse.Namespace) -> tuple[dict[str, Any], int]:
    from mis_dataset.construct.forecast import forecast, table

    told = forecast(arguments.out, arguments.rows, arguments.call_seconds, arguments.at_once)
    print(table(told), file=sys.stderr)
    return told, 0


def _review(arguments: argparse.Namespace) -> tuple[dict[str, Any], int]:
    from mis_dataset.construct.duplicates import NAME
    from mis_dataset.construct.review import write_sheet

    told = write_sheet(arguments.out / f"{NAME}.jsonl", arguments.sheet)
    return {"sheet": str(arguments.sheet), **told}, 0


def _shortcuts(arguments: argparse.Namespace) -> tuple[dict[str, Any], int]:
    from mis_dataset.mini.shortcuts import find_shortcuts

    summary = find_shortcuts(arguments.raw)
    return summary, 0 if summary["passed"] else 1


_VERBS = {
    "mini": _mini,
    "download": _download,
    "check": _check,
    "build": _build,
    "verify": _verify,
    "twins": _twins,
    "stats": _stats,
    "leaks": _leaks,
    "rehearse": _rehearse,
    "croissant": _croissant,
    "construct": _construct,
    "funnel": _funnel,
    "forecast": _forecast,
    "review": _review,
    "shortcuts": _shortcuts,
}


def _stop(number: int, frame: object) -> None:
    """Ends a run as Ctrl-C does, where a scheduler asks for it; a process that was forked off ends at once."""
    if os.getpid() == _PID:
        raise KeyboardInterrupt
    os._exit(128 + number)


if __name__ == "__main__":
    _PID = os.getpid()
    signal.signal(signal.SIGTERM, _stop)
    sys.exit(main())
