"""MIS proper in small: built from a made release, with what its card is made from."""

from __future__ import annotations

import json
from pathlib import Path

from cards.released import released
from mis_dataset.__main__ import main as mis_dataset
from mis_dataset.release import REVIEW
from tests.made_release import make_release

KEPT, REJECTED = ("kept", "A. N. Other"), ("rejected", "B. Second")
"""What a reviewer made of a proposed twin."""
ROWS = {"train": 3, "test_easy": 2, "test_hard": 2, "test_real": 2}
"""Rows by split, without twins."""


def make_built(folder: Path, *reviews: tuple[str, str], twins: bool = False, propose: bool = False) -> Path:
    """Builds MIS of a release under `folder`, and its stats and leaks; the first proposals are reviewed as told."""
    raw = make_release(folder / "raw", twins=twins)
    if reviews or propose:
        assert mis_dataset(["twins", str(raw)]) == 0
        lines = [json.loads(line) for line in (raw / REVIEW).read_text("utf-8").splitlines()]
        for line, (status, reviewer) in zip(lines, reviews, strict=False):
            line |= {"status": status, "reviewer": reviewer}
        (raw / REVIEW).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert mis_dataset(["build", str(raw), str(folder / "MIS")]) == 0
    assert mis_dataset(["stats", str(folder / "MIS"), str(folder / "stats")]) == 0
    assert mis_dataset(["leaks", str(folder / "MIS"), str(folder / "leaks.json")]) == 0
    return folder


def write_card(folder: Path) -> str:
    """The card of `make_built`, from all that was measured."""
    found = released(folder / "MIS", folder / "card", "MIS", folder / "stats", folder / "leaks.json")
    return found["card"].read_text("utf-8")
