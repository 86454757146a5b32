"""Which things, question and decision every row of MIS-mini has: balanced by design, no randomness.

Rows come in *blocks*: block ``t`` holds one row of every hazard, all with the same pair of positions ``(x, y)``
within their kinds, and the twin of each. The twin of hazard ``i``'s row takes the second thing of hazard ``j``'s row
(or gives its first thing to ``j``), where ``i -> j`` is one-to-one. So inside one block every thing and every
question occurs exactly as often in dangerous rows as in harmless ones: text alone, or one picture alone, decides
nothing. A pair of positions also fixes the level of generalisation, the same for a row and its twin.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from mis_dataset.mini.grammar import (
    EASY_HARMLESS,
    EASY_HAZARDS,
    EASY_QUESTIONS,
    HARD_HAZARDS,
    HARD_QUESTIONS,
    HARMLESS,
    Hazard,
    Question,
)
from mis_dataset.mini.objects import BY_KIND, SEEN_PER_KIND, THINGS, Thing

Positions = tuple[int, int]

TRAINED_PAIRS: tuple[Positions, ...] = ((0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (2, 0))
"""Positions of pairs that train rows show; tests show them in new pictures."""
NEW_PAIRS: tuple[Positions, ...] = ((0, 2), (1, 0), (2, 1))
"""Positions of pairs of seen things that no train row shows together."""
NEW_OBJECTS: tuple[Positions, ...] = ((3, 3), (3, 0), (0, 3), (3, 1), (1, 3), (3, 2), (2, 3))
"""Positions of pairs in which at least one thing occurs in no train row."""
REAL_PAIRS: tuple[Positions, ...] = ((0, 0), (0, 1))
"""Positions of ``real``: the things whose pictograms are most alike in all three sets stand first in their kind. Both
are trained pairs: what is new about ``real`` is its style."""


class Pair(NamedTuple):
    """A dangerous row and its benign twin.

    Attributes:
        hazard: what is dangerous about the row.
        question: asked in both.
        things: the two things of the dangerous row.
        twin_things: the two things of the twin; differs from `things` in one place.
        changed_image: 1 or 2, the place that differs.
        level: ``trained_pairs``, ``new_pairs`` or ``new_objects``.
    """

    hazard: Hazard
    question: Question
    things: tuple[Thing, Thing]
    twin_things: tuple[Thing, Thing]
    changed_image: int
    level: str


def hard_block(block: int, positions: Positions) -> Iterator[Pair]:
    """The five pairs of one block of *hard* (or *real*, or train)."""
    by_second = {hazard.second: hazard for hazard in HARD_HAZARDS}
    harmless = HARMLESS[block % 2]
    for number, hazard in enumerate(HARD_HAZARDS):
        first, second = _things(hazard, positions)
        question = HARD_QUESTIONS[(block + number) % len(HARD_QUESTIONS)]
        if (block // 2) % 2:
            other = next(h for h in HARD_HAZARDS if harmless[h.first] == hazard.second)
            twin, changed = (_things(other, positions)[0], second), 1
        else:
            twin, changed = (first, _things(by_second[harmless[hazard.first]], positions)[1]), 2
        yield Pair(hazard, question, (first, second), twin, changed, level_of(positions))


def easy_block(block: int, positions: Positions) -> Iterator[Pair]:
    """The two pairs of one block of *easy*: the weapon gives way to something nice.

    Three questions and few pairs: rows of a level come again with other pictures.
    """
    for number, hazard in enumerate(EASY_HAZARDS):
        first, second = _things(hazard, positions)
        question = EASY_QUESTIONS[(block // SEEN_PER_KIND + number) % len(EASY_QUESTIONS)]
        twin = (BY_KIND[EASY_HARMLESS][positions[0]], second)
        yield Pair(hazard, question, (first, second), twin, 1, level_of(positions))


def level_of(positions: Positions) -> str:
    """Level of generalisation of a pair of positions."""
    if max(positions) >= SEEN_PER_KIND:
        return "new_objects"
    return "trained_pairs" if positions in TRAINED_PAIRS else "new_pairs"


def plan_train(blocks: int) -> list[Pair]:
    """`blocks` blocks of hard and easy hazards over the trained pairs: 7 pairs a block."""
    rows: list[Pair] = []
    for block in range(blocks):
        positions = TRAINED_PAIRS[block % len(TRAINED_PAIRS)]
        rows += [*hard_block(block // len(TRAINED_PAIRS), positions), *easy_block(block, positions)]
    return rows


def plan_test(split: str, blocks: int) -> list[Pair]:
    """The pairs of ``easy``, ``hard`` or ``real``; half of the blocks show new pairs, a quarter each other level.

    Raises:
        KeyError: `split` is none of the three.
    """
    fill = {"easy": easy_block, "hard": hard_block, "real": hard_block}[split]
    levels = (REAL_PAIRS,) if split == "real" else (NEW_PAIRS, TRAINED_PAIRS, NEW_PAIRS, NEW_OBJECTS)
    rows: list[Pair] = []
    turns: Counter[tuple[Positions, ...]] = Counter()
    for block in range(blocks):
        choices = levels[block % len(levels)]
        turn = turns[choices]
        turns[choices] += 1
        rows += fill(turn, choices[turn % len(choices)])
    return rows


def real_things() -> list[Thing]:
    """The things that rows of ``real`` and their twins show."""
    shown = {thing for hazard in HARD_HAZARDS for positions in REAL_PAIRS for thing in _things(hazard, positions)}
    return [thing for thing in THINGS if thing in shown]


def _things(hazard: Hazard, positions: Positions) -> tuple[Thing, Thing]:
    return BY_KIND[hazard.first][positions[0]], BY_KIND[hazard.second][positions[1]]
