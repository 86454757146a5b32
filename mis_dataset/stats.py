"""Counts and sizes of a built dataset -> JSON and plots for the card.

No picture is decoded: format and size stand in its header.
"""

from __future__ import annotations

import hashlib
import itertools
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mis_dataset.balance import Balance
from mis_dataset.built import files_of, rows_of
from mis_dataset.decoding import UNREADABLE, open_picture, strict_pillow
from mis_dataset.errors import DatasetError, UsageError
from mis_dataset.files import replace_file, sha256_of
from mis_dataset.manifest import read_manifest, refuse_other, write_about

KIND = "mis_dataset stats"
_PLOTS = ("rows.png", "words.png")
_UNNAMED = "none"


def measure(
    folder: Path, limit: int | None = None, things: Mapping[str, Sequence[str]] | None = None
) -> dict[str, Any]:
    """Measures every split.

    Args:
        folder: of the built dataset.
        limit: rows of each split that are measured, for a trial; None: all.
        things: row id -> names of its objects, where they are known.

    Returns:
        ``{"limit": ..., "balance": ..., "splits": {split: {...}}}``, the balance as `Balance.told`. A split has
        `rows` and `twins` (counts); `categories`, `sub_categories` and `levels` (name -> rows, ``"none"`` for null);
        `question_words` and `response_words` (null without responses; least, median, most); `images` with `n`,
        `formats` (name -> n), `sizes` (``"width x height"`` -> n) and `bytes` (least, median, most, total); and
        `duplicates`: rows whose question, or one of whose pictures, or whose pair of pictures in any order another row
        of the split has too.

    Raises:
        DatasetError: no dataset lies there, or a file or a picture of it cannot be read.
    """
    with strict_pillow():
        balance = Balance()
        splits = {split: _split(paths, limit, balance, things or {}) for split, paths in files_of(folder).items()}
        return {"limit": limit, "balance": balance.told(), "splits": splits}


def draw(measured: dict[str, Any], folder: Path) -> list[Path]:
    """Draws what `measure` found.

    Args:
        measured: its result.
        folder: where to put the plots; made where it is missing.

    Returns:
        The PNG files: rows by category and split, and words of questions and responses by split.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    splits = measured["splits"]
    rows = Figure(figsize=(8, 4), layout="constrained")
    axes = rows.subplots()
    names = list(dict.fromkeys(name for split in splits.values() for name in split["categories"]))
    left = [0] * len(splits)
    for name in names:
        counts = [split["categories"].get(name, 0) for split in splits.values()]
        axes.barh(list(splits), counts, left=left, label=name.replace("$", r"\$"))
        left = [one + two for one, two in zip(left, counts, strict=True)]
    axes.invert_yaxis()
    axes.set_xlabel("rows")
    axes.legend(fontsize="small")
    words = Figure(figsize=(8, 4), layout="constrained")
    axes = words.subplots()
    for offset, what in ((-0.15, "question_words"), (0.15, "response_words")):
        held = [(place + offset, split[what]) for place, split in enumerate(splits.values()) if split[what]]
        middle = [told["median"] for _, told in held]
        spread = [
            [told["median"] - told["least"] for _, told in held],
            [told["most"] - told["median"] for _, told in held],
        ]
        axes.errorbar([x for x, _ in held], middle, spread, fmt="o", capsize=4, label=what.replace("_", " "))
    axes.set_xticks(range(len(splits)), list(splits))
    axes.set_ylabel("words: least, median, most")
    axes.legend()
    paths = [folder / name for name in _PLOTS]
    for figure, path in zip((rows, words), paths, strict=True):
        with replace_file(path) as temporary:
            figure.savefig(temporary, format="png", dpi=120, metadata={"Software": None})
    return paths


def write(
    folder: Path, out: Path, limit: int | None = None, things: Mapping[str, Sequence[str]] | None = None
) -> dict[str, Any]:
    """Measures a dataset and writes ``out/stats.json`` and its plots.

    Args:
        folder: of the built dataset.
        out: folder to write.
        limit: see `measure`.
        things: see `measure`.

    Returns:
        What `measure` does.

    Raises:
        DatasetError: as `measure`.
        ManifestError: the folder has no manifest of ours.
        UsageError: ``out/stats.json`` or a plot is not ours.
        OSError: the disk is full, or `out` cannot be written.
    """
    path = out / "stats.json"
    refuse_other(path, KIND)
    if not path.is_file() and (other := [name for name in _PLOTS if (out / name).exists()]):
        raise UsageError(f"{out / other[0]}: was not drawn by `{KIND}`; name another folder")
    read_manifest(folder)
    measured = measure(folder, limit, things)
    plots = {plot.name: sha256_of(plot) for plot in draw(measured, out)}
    write_about(folder, path, KIND, measured | {"plots": plots})
    return measured


def _split(
    paths: Sequence[Path], limit: int | None, balance: Balance, things: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    texts, pictures, digests = [], [], []
    for row in itertools.islice(rows_of(paths), limit):
        pair = [hashlib.sha256(picture["bytes"]).hexdigest() for picture in row["images"]]
        digests.append(pair)
        balance.add(row["id"], row["twin_of"], row["question"], pair, things.get(row["id"], ()))
        pictures += [_header(row["id"], picture["bytes"]) for picture in row.pop("images")]
        texts.append(row)
    sizes = [size for _, _, size in pictures]
    return {
        "rows": len(texts),
        "twins": sum(row["twin_of"] is not None for row in texts),
        **{
            name: dict(Counter(row[column] or _UNNAMED for row in texts).most_common())
            for name, column in (("categories", "category"), ("sub_categories", "sub_category"), ("levels", "level"))
        },
        "question_words": _spread([len(row["question"].split()) for row in texts]),
        "response_words": _spread([len(row["response"].split()) for row in texts if row["response"]]),
        "images": {
            "n": len(pictures),
            "formats": dict(Counter(kind for kind, _, _ in pictures).most_common()),
            "sizes": dict(Counter(shape for _, shape, _ in pictures).most_common()),
            "bytes": {**(_spread(sizes) or {}), "total": sum(sizes)},
        },
        "duplicates": {
            "questions": _repeated([row["question"]] for row in texts),
            "images": _repeated(set(pair) for pair in digests),
            "pairs": _repeated([tuple(sorted(pair))] for pair in digests),
        },
    }


def _header(row_id: str, encoded: bytes) -> tuple[str, str, int]:
    """Format, size in pixels and bytes of a picture."""
    try:
        with open_picture(encoded) as picture:
            return str(picture.format), f"{picture.width} x {picture.height}", len(encoded)
    except UNREADABLE as error:
        raise DatasetError(f"{row_id}: a picture cannot be read; run `python -m mis_dataset verify`") from error


def _spread(values: Sequence[int]) -> dict[str, float] | None:
    if not values:
        return None
    return {"least": min(values), "median": statistics.median(values), "most": max(values)}


def _repeated(keys: Iterable[Iterable[object]]) -> int:
    """Rows of which some key is also that of another row."""
    held = [set(one) for one in keys]
    counts = Counter(key for one in held for key in one)
    return sum(any(counts[key] > 1 for key in one) for one in held)
