"""What `stats` and `leaks` found of a run's dataset, as tables for its card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cards.reading import CardError, read_json
from cards.tables import by_split, share, table
from mis_dataset.files import sha256_of
from mis_dataset.schema import BENIGN, TRAIN

STATS = "stats/stats.json"
LEAKS = "leaks.json"
_KINDS = {
    "same_text": "the question",
    "near_text": "a nearly equal question",
    "same_image": "a picture, byte for byte",
    "twin_image": "a benign twin's picture, byte for byte",
    "near_image": "a picture that looks alike",
    "same_pair": "both pictures, in any order",
    "same_pair_other_question": "both pictures, with another question",
    "same_things": "the pair of things, outside of trained pairs",
}
"""Kind of `leaks` -> what is shared, in words."""

PLOTS = {
    "rows.png": "Bars: rows of each split, by category",
    "words.png": "Ranges: least, median and most words of questions and responses, by split",
}
"""Plot of `stats` -> what it shows, for those who do not see it."""


class Plot(NamedTuple):
    """A plot of `stats`, and what it shows in words."""

    path: Path
    alt: str


def audit(run: Path) -> dict[str, Any]:
    """What both verbs found of a run's dataset; None for what the run has not.

    Args:
        run: folder of the run.

    Returns:
        As `audit_of`.

    Raises:
        CardError: as `audit_of`.
    """
    stats, leaks = (path if path.is_file() else None for path in (run / STATS, run / LEAKS))
    return audit_of(run / "MIS", stats, leaks)


def audit_of(dataset: Path, stats: Path | None, leaks: Path | None) -> dict[str, Any]:
    """What both verbs found of a dataset; None for what was not measured.

    Args:
        dataset: folder of the built dataset.
        stats: `stats.json` of it.
        leaks: `leaks.json` of it.

    Returns:
        Of `leaks`: `shared` (table: what test rows share with train), `no_picture_shared` (whether no picture is),
        `alike` (in words: the share of pictures that look like one of train, and what chance gives) and
        `trained_twins` (rows of test_benign with a picture of train). Of `stats`: the tables `sizes` (words and
        pictures by split), `repeated` (rows that share with another of their split) and `sub_categories`.

    Raises:
        CardError: a file is not as its verb writes it, or is not of all rows of this very dataset.
    """
    found: dict[str, Any] = dict.fromkeys(("shared", "alike", "trained_twins", "sizes", "repeated", "sub_categories"))
    found["no_picture_shared"] = False
    for path, told in ((leaks, _of_leaks), (stats, _of_stats)):
        if path is not None:
            try:
                found |= told(_of_this(dataset, path))
            except (LookupError, TypeError, AttributeError, ValueError, OverflowError) as error:
                raise CardError(f"{path}: is not as its verb writes it ({error!r}); make it anew") from error
    return found


def plots_of(stats: Path | None) -> list[Plot]:
    """The plots that lie beside a `stats.json`; none where there is no such file.

    Raises:
        CardError: it is none, or one of them is not the plot that it tells of.
    """
    if stats is None or not stats.is_file():
        return []
    drawn = read_json(stats).get("plots")
    plots = [Plot(stats.with_name(name), alt) for name, alt in PLOTS.items()]
    plots = [plot for plot in plots if plot.path.is_file()]
    told = drawn if isinstance(drawn, dict) else {}
    other = [plot.path for plot in plots if told.get(plot.path.name) != sha256_of(plot.path)]
    if other:
        raise CardError(f"{other[0]}: is not the plot that {stats.name} tells of; run `stats` again")
    return plots


def _of_this(dataset: Path, path: Path) -> dict[str, Any]:
    """What a verb found in this dataset, all of its rows."""
    found = read_json(path)
    manifest = dataset / "MANIFEST.json"
    if not manifest.is_file() or found.get("manifest") != sha256_of(manifest) or found["limit"] is not None:
        raise CardError(f"{path}: is not of all rows of {dataset} as it is now; run its verb again")
    return found


def _of_leaks(leaks: Mapping[str, Any]) -> dict[str, Any]:
    shared = _train(leaks, "same_image") + _train(leaks, "twin_image")
    twins = [int(one["rows"]["twin_image"]) for one in leaks["compared"] if (one["one"], one["two"]) == (TRAIN, BENIGN)]
    return {
        "shared": _shared(leaks),
        "no_picture_shared": bool(shared) and not any(shared),
        "alike": _alike(leaks),
        "trained_twins": twins[0] if twins else None,
    }


def _of_stats(stats: Mapping[str, Any]) -> dict[str, Any]:
    splits = stats["splits"]
    named = {split: _named(told["sub_categories"]) for split, told in splits.items()}
    return {
        "sizes": _sizes(splits),
        "repeated": _repeated(splits),
        "sub_categories": by_split("sub-category", named),
    }


def _named(rows: Mapping[str, int]) -> dict[str | None, int]:
    """Name -> rows; `stats` calls rows without a name "none"."""
    return {None if name == "none" else name: count for name, count in rows.items()}


def _shared(leaks: Mapping[str, Any]) -> str:
    """Test rows that share something with train rows: a line a kind, a column a split."""
    splits = [one["two"] for one in leaks["compared"] if one["one"] == TRAIN]
    known = set(leaks["compared"][0]["rows"])
    lines = [[words, *_train(leaks, kind)] for kind, words in _KINDS.items() if kind in known]
    return table(["rows that share with a train row", *(f"`{split}`" for split in splits)], lines)


def _train(leaks: Mapping[str, Any], kind: str) -> list[int]:
    """Rows of every test split that share that with train."""
    return [int(one["rows"][kind]) for one in leaks["compared"] if one["one"] == TRAIN]


def _alike(leaks: Mapping[str, Any]) -> str | None:
    """In words: how many pictures look like one of train, beside what chance gives."""
    shares = [f"{share(one['near_share'])} in `{one['two']}`" for one in leaks["compared"] if _counts(one)]
    chance = leaks["near_image_chance"]
    if not shares or chance is None:
        return None
    return (
        f"Of the pictures of each split, so many look like one of train: {', '.join(shares)}. Of those of train itself "
        f"{share(chance)} look like one of another train row that is no twin: what chance gives."
    )


def _counts(one: Mapping[str, Any]) -> bool:
    return one["one"] == TRAIN and one["near_share"] is not None


def _sizes(splits: Mapping[str, Any]) -> str:
    head = ["split", "words of a question", "words of a response", "pictures", "pixels", "formats"]
    return table(head, [[f"`{split}`", *_size(told)] for split, told in splits.items()])


def _repeated(splits: Mapping[str, Any]) -> str:
    head = ["rows that share with another row of their split", *(f"`{split}`" for split in splits)]
    kinds = {"questions": "the question", "images": "a picture, byte for byte", "pairs": "both pictures, in any order"}
    lines = [[words, *(told["duplicates"][kind] for told in splits.values())] for kind, words in kinds.items()]
    return table(head, lines)


def _size(told: Mapping[str, Any]) -> list[object]:
    images = told["images"]
    shapes = list(images["sizes"])
    shown = ", ".join(shapes[:2]) + (f" and {len(shapes) - 2} more" if len(shapes) > 2 else "")
    return [
        _spread(told["question_words"]),
        _spread(told["response_words"]),
        images["n"],
        shown,
        ", ".join(images["formats"]),
    ]


def _spread(found: Mapping[str, float] | None) -> str:
    return f"{found['least']:g} to {found['most']:g}, median {found['median']:g}" if found else "–"
