"""A finished run -> one folder a Hub repository, each complete and ready to push.

    OUT/dataset/                 MIS-mini: card, plots, Parquet, MANIFEST.json, croissant.json, eval.yaml
    OUT/base/ OUT/model/         the base and an arm: card, weights, configuration, processor, .eval_results
    OUT/adapter/                 the arm's adapter and its card
    OUT/<metric>/                Spaces, as they lie in the checkout, their cards with the owner's name
    OUT/demo/                    the same, with leaderboard.json of this run and things.json of its dataset
    OUT/RELEASE.json             owner, what each folder is and where it goes, and the sha256 of every file

Weights and Parquet are linked where the disk can, so that a pack takes no room of its own. All of it is made under
another name and gets the name OUT when it is whole: what lies there is never a half of two releases. A second pack
waits for the first.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from cards import rights
from cards.alone import alone
from cards.audit import STATS, plots_of
from cards.construction import refuse_constructed
from cards.facts import Dataset, Report, check_built, check_unchanged, folder_of, read_dataset, read_sidecars
from cards.kinds import KINDS, RELEASE, SUMS, file_problems, files_of
from cards.leaderboard import added, new_board
from cards.model_card import ARMS, Ids, adapter_card, base_card, known_language_model, model_card
from cards.pages import CARD
from cards.rates import day_asked, entries, entries_yaml, eval_yaml
from cards.reading import CardError, read_json
from cards.render import EVAL, NAME, dataset_card
from cards.versions import METRICS
from mis_dataset.files import sha256_of, to_json

DEMO = "demo"
_OWNER = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9]|[._-](?=[A-Za-z0-9])){0,95}")
_CONFIG = "adapter_config.json"
_LINKED = ("*.safetensors", "*.parquet")

Source = Path | str
"""A file of a folder: one that is copied, or a text."""


@dataclass(frozen=True)
class Folder:
    """One folder of a release.

    Attributes:
        kind: "dataset", "model", "adapter", "metric" or "demo".
        repo: id of the Hub repository that it becomes.
        files: path in it -> where it comes from.
    """

    kind: str
    repo: str
    files: Mapping[str, Source]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a finished run")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write; one of an earlier pack is replaced")
    parser.add_argument("--owner", required=True, help="user or organisation of the Hub that it is published under")
    parser.add_argument("--model", default="contrast", help="arm that is published (%(default)s)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Writes the release; returns what it holds."""
    return pack(args.run, args.out, args.owner, args.model)


def pack(run: Path, out: Path, owner: str, model: str = "contrast") -> dict[str, Any]:
    """Make everything that is published of a run; nothing is written where that is there already.

    Args:
        run: folder of a finished run, as `python -m trainer reproduce` leaves it.
        out: folder for the release.
        owner: user or organisation on the Hub.
        model: the arm.

    Returns:
        "release" -> path of RELEASE.json; "owner"; "folders": folder -> repository; "written": files that were written,
        0 where the release was there.

    Raises:
        CardError: the run is not what its report was measured on, or holds more; a file is a pickle or has no place in
            a release; the owner is no name on the Hub; or `out` holds what was not written here. `out` is as it was
            then.
        OSError: a file cannot be read or written.
    """
    if not _OWNER.fullmatch(owner):
        raise CardError(f"--owner {owner!r}: is no name on the Hub: letters, digits and single . _ - between them")
    folders = folders_of(run, owner, model)
    files = {f"{name}/{path}": source for name, folder in folders.items() for path, source in folder.files.items()}
    release = {
        "owner": owner,
        "folders": {name: {"kind": folder.kind, "repo": folder.repo} for name, folder in folders.items()},
        "files": {path: _sha256(source) for path, source in files.items()},
    }
    told: dict[str, Any] = {"release": str(out / RELEASE), "owner": owner}
    told |= {"folders": {name: folder.repo for name, folder in folders.items()}}
    with alone(out):
        if _refuse_others(out) == release:
            return told | {"written": 0}
        _write(out, files, to_json(release))
    return told | {"written": len(files) + 1}


def folders_of(run: Path, owner: str, model: str) -> dict[str, Folder]:
    """What a release of a run holds: folder -> its files, where they come from, and where they go.

    Raises:
        CardError: as `pack`.
        OSError: a file cannot be read.
    """
    if model not in ARMS:
        raise CardError(f"--model {model!r}: is no arm; choose one of {', '.join(ARMS)}")
    report, dataset = Report(run / "report.json"), read_dataset(run / "MIS")
    refuse_constructed(run / "MIS")
    check_unchanged(run, report, "base", model)
    check_built(run / "MIS", dataset)
    board = added(new_board(), run / "report.json", name=NAME).board  # first of all: it holds the report to its schema
    name = f"{owner}/mis-mini-{model}"
    ids = Ids(f"{owner}/{NAME}", name, f"{name}-adapter", f"{owner}/mis-mini-base")
    known = known_language_model(read_sidecars(run, "base")) is not None
    made = {
        "dataset": Folder("dataset", ids.dataset, _dataset(report, dataset, run, ids, owner)),
        "base": Folder("model", ids.base, _model(report, dataset, run, ids, "base", model, known)),
        "model": Folder("model", ids.model, _model(report, dataset, run, ids, model, model, known)),
        "adapter": Folder("adapter", ids.adapter, _adapter(report, dataset, run, ids, model, known)),
    }
    made |= {metric: Folder("metric", f"{owner}/{metric}", _metric(metric, owner)) for metric in METRICS}
    made |= {DEMO: Folder("demo", f"{owner}/MIS-demo", _demo(run, owner, ids, board))}
    for name, folder in made.items():
        if missing := KINDS[folder.kind].missing(name, folder.files):
            raise CardError(
                f"{run}: its {name} lacks {', '.join(missing)}; run `python -m trainer reproduce` on it again"
            )
    return made


def _dataset(report: Report, dataset: Dataset, run: Path, ids: Ids, owner: str) -> dict[str, Source]:
    mis, plots = run / "MIS", plots_of(run / STATS)
    _check_croissant(mis, dataset)
    names = ["MANIFEST.json", "croissant.json", *(name for split in dataset.splits for name in split.files)]
    return {
        CARD: dataset_card(report, dataset, run, ids.dataset, plots, owner),
        **{plot.path.name: plot.path for plot in plots},
        **{name: mis / name for name in names},
        EVAL: eval_yaml(NAME, dataset),
        rights.LICENCE: rights.licence(),
        rights.NOTICE: rights.dataset_notice(NAME),
    }


def _model(
    report: Report, dataset: Dataset, run: Path, ids: Ids, one: str, published: str, known: bool
) -> dict[str, Source]:
    """A checkpoint of the run with its card: the base, or the arm that is published."""
    repo = ids.base if one == "base" else ids.model
    card = base_card if one == "base" else model_card
    found = entries(report, one, ids.dataset, repo, dataset.version, day_asked(run, one))
    folder = run / folder_of(one) / "model"
    taken = _taken(folder, "model")
    _check_measured(report, run, folder, taken)
    return _summed(
        {
            CARD: card(report, dataset, run, published, ids),
            **taken,
            **({".eval_results/mis-mini.yaml": entries_yaml(found)} if found else {}),
            rights.LICENCE: rights.licence(),
            rights.NOTICE: rights.model_notice(repo.split("/")[-1], known),
        }
    )


def _adapter(report: Report, dataset: Dataset, run: Path, ids: Ids, model: str, known: bool) -> dict[str, Source]:
    folder = run / folder_of(model) / "adapter"
    # The folder of the base on the machine that trained it is of no use to others, and theirs to know.
    config = read_json(folder / _CONFIG) | {"base_model_name_or_path": ids.base, "revision": None}
    return _summed(
        {
            **_taken(folder, "adapter"),
            CARD: adapter_card(report, dataset, run, model, ids, config),  # that of PEFT says nothing
            _CONFIG: to_json(config),
            rights.LICENCE: rights.licence(),
            rights.NOTICE: rights.model_notice(ids.adapter.split("/")[-1], known),
        }
    )


def _check_measured(report: Report, run: Path, folder: Path, names: Iterable[str]) -> None:
    """That no file of a checkpoint was put there since: `check_unchanged` knows those of the report alone."""
    hashes, inside = report.at("hashes"), folder.relative_to(run).as_posix()
    for name in names:
        if f"{inside}/{name}" not in hashes:
            raise CardError(
                f"{folder / name}: is not among what the rates of report.json were measured on; remove it, or run "
                "`python -m trainer report` again"
            )


def _taken(folder: Path, kind: str, name: str = "") -> dict[str, Source]:
    """The files of a folder, without Python's caches; all must have a place in what becomes a folder of this kind."""
    paths = [path for path in files_of(folder) if "__pycache__" not in path.split("/")]
    problems = [problem for path in paths for problem in file_problems(folder, path, KINDS[kind], name)]
    if problems:
        raise CardError("\n".join(f"{folder}: {problem}" for problem in problems))
    return {path: folder / path for path in paths}


def _space(kind: str, name: str) -> dict[str, Source]:
    """The files of a Space as they lie in the checkout."""
    return _taken(rights.ROOT / "cards" / name, kind, name)


def _metric(name: str, owner: str) -> dict[str, Source]:
    """A metric, whose card loads it from where it is published; its code is as it was when the rates were counted."""
    card = (rights.ROOT / "cards" / name / CARD).read_text("utf-8")
    return {**_space("metric", name), CARD: card.replace(f'"cards/{name}"', f'"{owner}/{name}"')}


def _demo(run: Path, owner: str, ids: Ids, board: Mapping[str, Any]) -> dict[str, Source]:
    """The demo, whose card says what it loads: in the checkout repositories of nobody, here those of this release."""
    card = (rights.ROOT / "cards" / DEMO / CARD).read_text("utf-8")
    return {
        **_space("demo", DEMO),
        CARD: card.replace("OWNER/mis-mini-contrast-adapter", ids.adapter).replace("OWNER/", f"{owner}/"),
        "leaderboard.json": to_json(board),
        "things.json": run / "raw" / "mini" / "objects.json",
    }


def _check_croissant(mis: Path, dataset: Dataset) -> None:
    """Holds croissant.json against the Parquet: it names each file with its sha256."""
    path = mis / "croissant.json"
    told = read_json(path).get("distribution")
    named = {str(one.get("sha256")) for one in told if isinstance(one, dict)} if isinstance(told, list) else set()
    if not {sha256_of(mis / name) for split in dataset.splits for name in split.files} <= named:
        raise CardError(f"{path}: is of another build; run `python -m mis_dataset croissant {mis}` again")


def _summed(files: dict[str, Source]) -> dict[str, Source]:
    """The files with SHA256SUMS of all of them, as `sha256sum --check` reads it."""
    return files | {SUMS: "".join(f"{_sha256(files[name])}  {name}\n" for name in sorted(files))}


def _sha256(source: Source) -> str:
    return hashlib.sha256(source.encode()).hexdigest() if isinstance(source, str) else sha256_of(source)


def _refuse_others(out: Path) -> dict[str, Any] | None:
    """What RELEASE.json in `out` holds, where all that lies there was written here; None where nothing does.

    Raises:
        CardError: there is something else.
    """
    if not os.path.lexists(out):
        return None
    if not out.is_dir() or out.is_symlink():
        raise CardError(f"{out}: is no folder; name another one")
    there = files_of(out)
    if not there:
        return None
    told = read_json(out / RELEASE) if RELEASE in there else {}
    files = told.get("files")
    known: dict[str, str] = files if isinstance(files, dict) else {}
    for name in there:
        ours = name == RELEASE and known
        if not ours and not ((out / name).is_file() and known.get(name) == sha256_of(out / name)):
            raise CardError(
                f"{out / name}: was not written by `python -m cards pack`, or was changed; move it away, or name "
                "another folder"
            )
    return told if set(known) <= set(there) else {}


def _write(out: Path, files: Mapping[str, Source], release: str) -> None:
    """Makes all of it beside `out`, then gives it that name."""
    out = out.absolute()
    made, before = (out.with_name(f".{out.name}.{end}") for end in ("tmp", "old"))
    for left in (made, before):
        shutil.rmtree(left, ignore_errors=True)
    try:
        for name, source in {**files, RELEASE: release}.items():
            _put(source, made / name)
        if out.is_dir():
            out.rename(before)
        try:
            made.rename(out)
        except OSError:
            if before.is_dir():
                before.rename(out)
            raise
    finally:
        shutil.rmtree(made, ignore_errors=True)
    shutil.rmtree(before, ignore_errors=True)


def _put(source: Source, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(source, str):
        path.write_text(source, encoding="utf-8", newline="\n")
        return
    if any(fnmatchcase(source.name, name) for name in _LINKED):
        try:
            os.link(source.resolve(), path)
            return
        except OSError:  # another disk, or one that knows no links
            pass
    shutil.copyfile(source, path)
