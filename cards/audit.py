"""What `stats` and `leaks` found of a run's dataset, as tables for its card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cards.facts import CardError, read_json
from cards.tables import share, table

STATS = "stats/stats.json"
LEAKS = "leaks.json"
_KINDS = {
    "same_text": "the question",
    "near_text": "a nearly equal question",
    "same_image": "a picture, byte for byte",
    "near_image": "a picture that looks alike",
    "same_pair": "both pictures, in any order",
    "same_pair_other_question": "both pictures, with another question",
    "same_things": "the pair of things, outside of trained pairs",
}
"""Kind of `leaks` -> what is shared, in words."""


def audit(run: Path) -> dict[str, Any]:
    """Both tables; None for what the run has not.

    Args:
        run: folder of the run.

    Returns:
        `shared` (what test rows share with train), `no_picture_shared` (whether no picture is), `alike` (the share of
        pictures that look like one of train, and what chance gives), and `sizes` (words and pictures by split).

    Raises:
        CardError: a file is not as its verb writes it.
    """
    found: dict[str, Any] = {"shared": None, "no_picture_shared": False, "alike": None, "sizes": None}
    try:
        if (run / LEAKS).is_file():
            leaks = read_json(run / LEAKS)
            found |= {"shared": _shared(leaks), "alike": _alike(leaks)}
            shared = _train(leaks, "same_image")
            found["no_picture_shared"] = bool(shared) and not any(shared)
        if (run / STATS).is_file():
            found["sizes"] = _sizes(read_json(run / STATS)["splits"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise CardError(
            f"{run}: {LEAKS} or {STATS} is not as its verb writes it ({error!r}); make both anew"
        ) from error
    return found


def _shared(leaks: Mapping[str, Any]) -> str:
    """Test rows that share something with train rows: a line a kind, a column a split."""
    splits = [one["two"] for one in leaks["compared"] if one["one"] == "train"]
    known = set(leaks["compared"][0]["rows"])
    lines = [[words, *_train(leaks, kind)] for kind, words in _KINDS.items() if kind in known]
    return table(["rows that share with a train row", *(f"`{split}`" for split in splits)], lines)


def _train(leaks: Mapping[str, Any], kind: str) -> list[int]:
    """Rows of every test split that share that with train."""
    return [int(one["rows"][kind]) for one in leaks["compared"] if one["one"] == "train"]


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
    return one["one"] == "train" and one["near_share"] is not None


def _sizes(splits: Mapping[str, Any]) -> str:
    head = ["split", "words of a question", "words of a response", "pictures", "pixels", "formats"]
    return table(head, [[f"`{split}`", *_size(told)] for split, told in splits.items()])


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
