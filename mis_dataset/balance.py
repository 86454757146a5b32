"""How often what is asked or shown is dangerous, and how often harmless: what it tells by itself.

Where every question and every picture, at its place, is as often part of a dangerous row as of a benign twin, neither
decides anything alone; that is so with balanced blocks (`construct.blocks`). A worst difference of 0 proves it; a
larger one says that there is something to learn, not that a model learns it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

_DANGEROUS = 2**32
"""One dangerous row, in a count whose lower half are harmless ones: memory grows by two numbers a different thing."""


class Balance:
    """Counts of a release, split by split; a twin counts as harmless in the split of its row."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[str, Counter[int]]] = {}

    def add(
        self, row_id: str, twin_of: str | None, question: str, pictures: Sequence[str], objects: Sequence[str] = ()
    ) -> None:
        """Counts a row.

        Args:
            row_id: its id.
            twin_of: id of its dangerous row, None where it is one.
            question: letter case and spaces make no other one.
            pictures: sha256 of each, in order.
            objects: what each shows, in order, where it is known; letter case and spaces make no other one.
        """
        held = self._counts.setdefault((twin_of or row_id).split("/")[0], {})
        for kind, texts in (("questions", [question]), ("objects", objects), ("pictures", pictures)):
            counts = held.setdefault(kind, Counter())
            for place, text in enumerate(texts):
                counts[_key(place, text)] += 1 if twin_of else _DANGEROUS

    def told(self) -> dict[str, dict[str, dict[str, int] | None] | None]:
        """What was counted.

        Returns:
            Split -> "questions", "objects" and "pictures", each with `n` different ones, how many of them are
            `unequal`, and the `worst` difference with how often that one is `dangerous` and `harmless`. A picture or
            an object counts by its place. Null for objects whose names are not known, and for a split without twins.
        """
        return {split: _told(held) for split, held in self._counts.items()}


def _told(held: dict[str, Counter[int]]) -> dict[str, dict[str, int] | None] | None:
    if not any(count % _DANGEROUS for count in held["questions"].values()):
        return None
    return {kind: _worst(counts) if counts else None for kind, counts in held.items()}


def _worst(counts: Counter[int]) -> dict[str, int]:
    most, unequal = (0, 0), 0
    for count in counts.values():
        pair = divmod(count, _DANGEROUS)
        unequal += pair[0] != pair[1]
        most = max(most, pair, key=lambda one: (abs(one[0] - one[1]), one))
    told = {"worst": abs(most[0] - most[1]), "dangerous": most[0], "harmless": most[1]}
    return {"n": len(counts), "unequal": unequal, **told}


def _key(place: int, text: str) -> int:
    told = f"{place}\0{' '.join(text.casefold().split())}".encode("utf-8", "replace")
    return int.from_bytes(hashlib.blake2b(told, digest_size=8).digest())
