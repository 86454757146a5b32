"""A dataset built from the authors' release, or from one that was constructed -> its dataset card.

What the card says of this build comes from its manifest, its Parquet, and what `stats` and `leaks` found in it; what it
says of the release in words is that of `mis_dataset/croissant.toml`. It shows no row, no question and no picture.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cards import rights
from cards.audit import audit_of, plots_of
from cards.construction import Construction, read_construction, tables_of
from cards.facts import Dataset, Split, check_built, read_dataset
from cards.headers import constructed_header, released_header
from cards.pages import CARD, check_name, fill, loading, publish
from cards.rates import eval_yaml
from cards.reading import CardError, read_json
from cards.tables import by_split, share, size, table
from mis_dataset.errors import plain
from mis_dataset.schema import BENIGN, TRAIN

VERB = "dataset"
_KIND = "mis_dataset build"
_CONFIG = re.compile(r"default|max[1-9][0-9]*")


@dataclass(frozen=True)
class Reviews:
    """What became of proposed twins.

    Attributes:
        proposed: how many there were.
        kept: of these, rows of test_benign.
        rejected: of these, refused by a reviewer.
        reviewers: names of those who kept or rejected.
    """

    proposed: int
    kept: int
    rejected: int
    reviewers: tuple[str, ...]


@dataclass(frozen=True)
class Built:
    """What the manifest of a dataset says of how it was built.

    Attributes:
        config: "default", or "max<N>" where pictures were made smaller.
        source: Hub repository -> commit; empty where none is recorded.
        inputs: what was read -> its sha256.
        files: what was written -> its sha256.
        versions: library -> version that wrote it.
        reviews: of proposed twins; None where none were proposed.
    """

    config: str
    source: Mapping[str, str]
    inputs: Mapping[str, str]
    files: Mapping[str, str]
    versions: Mapping[str, str]
    reviews: Reviews | None

    @property
    def max_side(self) -> str | None:
        """Pixels of the longer side at most; None where pictures are as the release has them."""
        return self.config.removeprefix("max") if self.config != "default" else None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("mis", type=Path, metavar="MIS", help="folder of the dataset, as `mis_dataset build` wrote it")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write to; MIS itself where it is to be pushed")
    parser.add_argument("--dataset-id", default="MIS", help="Hub id of the dataset, or its folder (%(default)s)")
    parser.add_argument("--stats", type=Path, metavar="STATS_DIR", help="folder that `mis_dataset stats` wrote")
    parser.add_argument(
        "--metrics", default="cards", help="owner of the metrics on the Hub, or their folder (%(default)s)"
    )
    parser.add_argument("--leaks", type=Path, metavar="LEAKS_JSON", help="file that `mis_dataset leaks` wrote")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Writes the card; returns its path."""
    paths = released(args.mis, args.out, args.dataset_id, args.stats, args.leaks, args.metrics)
    return {name: str(path) for name, path in paths.items()}


def released(
    folder: Path,
    out: Path,
    dataset_id: str = "MIS",
    stats: Path | None = None,
    leaks: Path | None = None,
    metrics: str = "cards",
) -> dict[str, Path]:
    """Write the card of a built dataset, all that is published beside it; what stands there already is left alone.

    Args:
        folder: of the dataset, as `python -m mis_dataset build` wrote it from the authors' release.
        out: folder for `README.md`, `eval.yaml`, `LICENSE`, `NOTICE` and the plots of `stats`; the dataset's
            own, where it is to be pushed.
        dataset_id: the dataset's id on the Hub, or its folder.
        stats: folder that `python -m mis_dataset stats` wrote; its tables and plots are left out where None.
        leaks: file that `python -m mis_dataset leaks` wrote; what tests share with train is left out where None.
        metrics: where `evaluate` finds them: an owner on the Hub, or their folder in the checkout.

    Returns:
        "card" -> its path.

    Raises:
        CardError: the dataset is a trial, is MIS-mini or is not as it was built; `stats` or `leaks` are of another; or
            what lies in `out` was not written by this verb. Nothing was written.
        OSError: a file cannot be read or written.
    """
    built = read_built(folder)
    dataset = read_dataset(folder, built.config if built.max_side else "data")
    if any(level is not None for split in dataset.splits for level in split.levels):
        raise CardError(f"{folder}: is MIS-mini; its card is written by `python -m cards render RUN OUT`")
    check_built(folder, dataset)
    measured = stats / "stats.json" if stats else None
    plots = plots_of(measured)
    made = read_construction(folder, dataset, built.files)
    title = f"{dataset_id.rstrip('/').rsplit('/', 1)[-1]}, constructed after MIS"
    header = constructed_header(dataset, built.config, title) if made else released_header(dataset, built.config)
    facts = {
        "header": header,
        "built": built,
        "croissant": (folder / "croissant.json").is_file(),
        **loading(dataset_id, dataset, built.config if built.max_side else None),
        "plots": plots,
        "metrics": check_name(metrics),
        **_told(dataset, built),
        **audit_of(folder, measured, leaks),
        **({"title": title, **tables_of(made)} if made else {}),
    }
    card = out / CARD
    text = fill(f"dataset/{'constructed' if made else 'released'}.md.j2", VERB, facts)
    beside = {
        "eval.yaml": eval_yaml(title if made else "MIS", dataset, built.config),
        rights.LICENCE: rights.constructed_licence() if made else rights.licence(),
        rights.NOTICE: _notice(title, made) if made else rights.released_notice(),
    }
    texts = {card: text, **{out / name: told for name, told in beside.items()}}
    publish(VERB, texts, {out / plot.path.name: plot.path for plot in plots})
    return {"card": card}


def _notice(title: str, made: Construction) -> str:
    models = dict.fromkeys(name for role, name in made.models.items() if role != "drawing")
    text = rights.constructed_notice(title, models, made.sources, made.pictures, made.finds)
    return "\n".join(map(plain, text.split("\n")))


def read_built(folder: Path) -> Built:
    """Read how a dataset was built.

    Args:
        folder: of the dataset.

    Raises:
        CardError: there is no manifest, it is not one of `build`, or it is that of a trial.
    """
    path = folder / "MANIFEST.json"
    told = read_json(path)
    if told.get("kind") != _KIND or "limit" not in told:
        raise CardError(f"{path}: was not written by `python -m {_KIND}` as it is now; build the dataset again")
    if told["limit"] is not None:
        raise CardError(f"{path}: is of a trial, `build --limit`; a card is written for a whole dataset only")
    if not isinstance(told.get("config"), str) or not _CONFIG.fullmatch(told["config"]):
        raise CardError(f"{path}: config is neither default nor max<N>; build the dataset again")
    source, inputs, files, versions = (_texts(path, told, name) for name in ("source", "inputs", "files", "versions"))
    return Built(told["config"], source, inputs, files, versions, _reviews(path, told))


def _texts(path: Path, told: Mapping[str, Any], field: str) -> dict[str, str]:
    found = told.get(field)
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise CardError(f"{path}: {field} is not an object of texts; build the dataset again")
    return found


def _reviews(path: Path, told: Mapping[str, Any]) -> Reviews | None:
    found = told.get("reviews")
    if found == {}:
        return None
    try:
        reviews = Reviews(found["proposed"], found["kept"], found["rejected"], tuple(found["reviewers"]))  # type: ignore[index]
    except (TypeError, KeyError) as error:
        raise CardError(f"{path}: reviews is not as `build` writes it ({error!r}); build the dataset again") from error
    counts = (reviews.kept, reviews.rejected, reviews.proposed)
    whole = all(type(count) is int and count >= 0 for count in counts) and sum(counts[:2]) <= counts[2]
    rows = told["rows"].get(BENIGN, 0) if isinstance(told.get("rows"), dict) else 0
    if not whole or reviews.kept > rows or bool(reviews.reviewers) != any(counts[:2]):
        raise CardError(f"{path}: reviews contradicts itself or the rows of {BENIGN}; build the dataset again")
    return reviews


def _told(dataset: Dataset, built: Built) -> dict[str, Any]:
    """What manifest and Parquet tell, as numbers and tables."""
    splits = {split.name: split for split in dataset.splits}
    benign, kept = splits.get(BENIGN), built.reviews.kept if built.reviews else 0
    head = ["split", "rows", "of which twins", "with a response", "size"]
    return {
        "dataset": dataset,
        "splits": table(head, [_line(split) for split in dataset.splits]),
        "categories": by_split("category", {name: split.categories for name, split in splits.items()}),
        "largest": _largest(dataset),
        "least": _least(dataset),
        "bare": [split.name for split in dataset.splits if not any(split.categories)],
        "twins": benign.rows if benign else 0,
        "train_twins": splits[TRAIN].twins if TRAIN in splits else 0,
        "given_twins": (benign.rows if benign else 0) - kept,
        "reviewed": _reviewed(built.reviews) if built.reviews else "",
        "source": table(["repository", "commit"], list(built.source.items())) if built.source else "",
        "inputs": table(["read", "sha256"], list(built.inputs.items())),
        "versions": ", ".join(f"{name} {version}" for name, version in built.versions.items()),
    }


def _line(split: Split) -> list[object]:
    return [f"`{split.name}`", split.rows, split.twins, split.responses, size(split.bytes)]


def _largest(dataset: Dataset) -> tuple[str, str] | None:
    """The largest category of easy and hard, and its share of their rows that have one."""
    counts: Counter[str] = Counter()
    for split in dataset.splits:
        if split.name in ("test_easy", "test_hard"):
            counts.update({name: rows for name, rows in split.categories.items() if name is not None})
    if not counts:
        return None
    name, rows = counts.most_common(1)[0]
    return name, share(rows / counts.total())


def _least(dataset: Dataset) -> tuple[str, int] | None:
    """The smallest category of test_hard that has rows, and how many."""
    named = [
        (rows, name)
        for split in dataset.splits
        if split.name == "test_hard"
        for name, rows in split.categories.items()
        if name is not None
    ]
    return (min(named)[1], min(named)[0]) if named else None


def _reviewed(reviews: Reviews) -> str:
    left = reviews.proposed - reviews.kept - reviews.rejected
    names = ", ".join(map(str, reviews.reviewers)) or "nobody yet"
    head = ["proposed", "kept", "rejected", "not yet decided", "reviewers"]
    return table(head, [[reviews.proposed, reviews.kept, reviews.rejected, left, names]])
