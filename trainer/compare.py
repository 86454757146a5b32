"""Verb `compare`: any number of measured models -> comparison.json, comparison.html, leaderboard.csv, leaderboard.json.

Rates are counted anew from the verdicts; models that were measured in other ways are shown and never differenced.
docs/comparison.md describes comparison.json.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mis_dataset.arguments import inner_fraction, positive
from mis_dataset.errors import UsageError
from mis_dataset.files import to_json
from mis_dataset.schema import TRAIN
from trainer.comparison.browser import Pair, pairs_of, thumbnails, units
from trainer.comparison.calibrated import Read, corrected_rates, fit, read_calibration
from trainer.comparison.differences import differences
from trainer.comparison.leaderboard import PUBLISHED, leaderboard, measured_lines, to_csv
from trainer.comparison.measured import Measured, differing, named_folder, read_measured, remarks, settings_of
from trainer.comparison.page import render
from trainer.files import ArtefactError, read_json, replaced, sha256_of
from trainer.plots import draw_compared
from trainer.questions import RowFacts, data_version, is_mis, read_rows, rows_file, rows_sha256, split_of, twins
from trainer.score import metric_version, score
from trainer.sidecars import Sidecar, is_from, make_sidecar, read_sidecar, sidecar_path, write_sidecar

COMPARISON_VERSION = "1-c"
"""The number changes when figures stop being comparable, the letter when keys do."""
MARGIN = 0.05
_KIND = "comparison"
FILES = ("comparison.json", "comparison.html", "leaderboard.csv", "leaderboard.json")
_HELP = "NAME=FOLDER of one measured model: responses.jsonl, verdicts.jsonl; the first is what others are held against"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write into")
    parser.add_argument("--dataset", type=Path, required=True, help="the built dataset that all were asked about")
    parser.add_argument("--run", action="append", required=True, metavar="NAME=FOLDER", help=_HELP)
    add_showing(parser)


def add_showing(parser: argparse.ArgumentParser) -> None:
    """Flags about the page."""
    parser.add_argument(
        "--calibration", type=Path, nargs="+", action="extend", default=[], metavar="JSON", help="of `calibrate`"
    )
    parser.add_argument("--rows", type=positive, default=200, help="rows to look at in the page (default %(default)s)")
    parser.add_argument("--no-pictures", action="store_true", help="leave pictures out of the page")
    parser.add_argument(
        "--margin",
        type=inner_fraction,
        default=MARGIN,
        help="by how much over-refusal may rise and be called non-inferior, between 0 and 1 (default %(default)s)",
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Write what differs from what is there.

    Raises:
        UsageError: A run is named twice or in a wrong way, or two calibrations fit one run.
        ArtefactError: A file is missing or broken, or OUT holds files of others.
    """
    named = [(name, Path(folder)) for name, folder in map(named_folder, args.run)]
    twice = [name for name, count in Counter(name for name, _ in named).items() if count > 1]
    if twice:
        raise UsageError(f"--run {twice[0]}: is named twice; give every model a name of its own")
    _refuse_others(args.out)
    runs = [read_measured(name, folder) for name, folder in named]
    rows = read_rows(args.dataset)
    found = gather(args.dataset, rows, runs, [read_calibration(path) for path in args.calibration], args.margin)
    chosen = pairs_of(runs, rows, twins(rows))
    found["rows"] = _counted(chosen, args.rows, not args.no_pictures)
    shown = chosen[: args.rows]
    pictures = {} if args.no_pictures else thumbnails(args.dataset, shown)
    page = render(found, draw_compared(found), units(shown, runs, rows, pictures))
    table = found["leaderboard"]
    contents = (to_json(found), page, to_csv(table["measured"]), to_json(table))
    written = _write(args.out, contents, _sidecar(args, runs))
    apart = [name for name, reasons in found["not_comparable"].items() if reasons]
    return {
        "comparison": str(args.out / "comparison.html"),
        "runs": len(runs),
        "not_comparable": apart,
        "written": written,
    }


def gather(
    dataset: Path, rows: dict[str, RowFacts], runs: Sequence[Measured], calibrations: Sequence[Read], margin: float
) -> dict[str, Any]:
    """All figures of a comparison, as comparison.json holds them but for `rows`.

    Args:
        dataset: The built dataset.
        rows: Its rows.
        runs: The models, one at least.
        calibrations: Judges against labelled responses.
        margin: 0..1, of non-inferiority.

    Returns:
        See docs/comparison.md.

    Raises:
        UsageError: Two calibrations fit one run.
        ArtefactError: A verdict belongs to no row, or an ability.jsonl is broken.
    """
    first, sha = runs[0], rows_sha256(dataset)
    models = {one.name: score(one.folder / "verdicts.jsonl", dataset, one.ability, partial=True) for one in runs}
    settings = {one.name: settings_of(one) for one in runs}
    apart = {one.name: differing(one, first) for one in runs}
    comparable = [one for one in runs[1:] if not apart[one.name]]
    fits = {one.name: fit(one.name, one.judges_asked, one.judge.settings, sha, calibrations) for one in runs}
    # A probe asks what a model looks at; it is no model of its own.
    shown = {one.name: models[one.name] for one in runs if one.probe == "own"}
    versions = {"data": data_version(dataset), "metric": metric_version(), "paired": metric_version(("paired_rates",))}
    measured = measured_lines(shown, {name: settings[name]["judged_by"] for name in shown}, versions)
    mis, counts = is_mis(rows), dict(Counter(split_of(id_) for id_ in rows))
    return {
        "comparison_version": COMPARISON_VERSION,
        "dataset": {"sha256": sha, "mis": mis, "rows": counts},
        "versions": versions,
        "first": first.name,
        "margin": margin,
        "models": models,
        "marked": [],
        "not_comparable": apart,
        "remarks": {one.name: [*remarks(one, first, dataset), *_stale(one, models[one.name])] for one in runs},
        "corrected": {name: corrected_rates(name, models[name], *found) for name, found in fits.items()},
        "minus_first": {one.name: differences(one, first, rows, twins(rows), margin) for one in comparable},
        "settings": settings,
        "leaderboard": leaderboard(measured, mis, {name: counts[name] for name in counts if name != TRAIN}),
    }


def _stale(one: Measured, rates: Mapping[str, Any]) -> list[str]:
    """Says where a score.json beside the verdicts is not what they give."""
    path = one.folder / "score.json"
    if not path.is_file() or read_json(path).get("splits") == rates["splits"]:
        return []
    return ["score.json says something else than the verdicts beside it; the rates here are counted from the verdicts"]


def _counted(chosen: Sequence[Pair], most: int, pictures: bool) -> dict[str, Any]:
    differ = sum(one.differs for one in chosen)
    return {"shown": min(most, len(chosen)), "of": len(chosen), "differing": differ, "pictures": pictures}


def _sidecar(args: argparse.Namespace, runs: Sequence[Measured]) -> Sidecar:
    settings = {
        "comparison_version": COMPARISON_VERSION,
        "runs": [one.name for one in runs],
        "published": sha256_of(PUBLISHED),
        **{name: getattr(args, name) for name in ("rows", "no_pictures", "margin")},
    }
    inputs = [rows_file(args.dataset), *args.calibration]
    return make_sidecar(
        args.out / "comparison.json", _KIND, settings, [*inputs, *(f for one in runs for f in one.files)]
    )


def _refuse_others(out: Path) -> None:
    """Raises ArtefactError where a file that would be replaced is not ours: our sidecar is written before our files."""
    main = out / FILES[0]
    there = [out / name for name in FILES if (out / name).exists()]
    if there and not (sidecar_path(main).is_file() and read_sidecar(main).kind == _KIND):
        raise ArtefactError(f"{there[0]}: is there and was not written by this verb; name another folder")


def _write(out: Path, contents: Sequence[str], sidecar: Sidecar) -> int:
    """Write the files that differ, and before them the sidecar of what made them; says how many files."""
    files = {out / name: text.encode() for name, text in zip(FILES, contents, strict=True)}
    differing = [path for path, content in files.items() if not path.is_file() or path.read_bytes() != content]
    if differing or not is_from(out / FILES[0], sidecar):
        write_sidecar(out / FILES[0], sidecar)
    return sum(replaced(path, files[path]) for path in differing)
