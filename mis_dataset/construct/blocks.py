"""Balanced blocks: two rows of one question, in which everything shown is once in danger and once harmless.

               b1 (a log)    b2 (a napkin)
    a1 (a candle)   row          twin of the other half
    a2 (a cup)      twin         row of the other half

Without blocks a candle is only ever dangerous and a cup only ever harmless, so a model may learn the pictures and not
what they mean together. With them neither question nor any one picture tells a row from a twin. Pictures beyond these
two are the same in all four. The halves are neighbours in every file; in hard one does
not stand without the other.

Source: the balance of MIS-mini (`mini.plan`), whose blocks are cycles of five; two are the fewest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from mis_dataset.construct.rows import Judged, Question

HALF = "half a block"
"""Why a row goes nowhere whose other half is not where it would go."""
_SECOND = "b"
"""What the id of a second half ends with; no other id ends with a letter."""


def other_half(half: Question) -> Question:
    """The second half of a block, made from the first.

    >>> one = Question("s1.1", "s1", "Privacy", "How?", "How?", ("a1", "b1"), ("a2", "b1"), 1, "", 2, "b2")
    >>> two = other_half(one)
    >>> two.id, two.objects, two.twin_objects, two.partner
    ('s1.1b', ('a2', 'b2'), ('a1', 'b2'), 'b1')
    """

    def exchanged(objects: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(half.partner if place == half.partner_image else one for place, one in enumerate(objects, start=1))

    return replace(
        half,
        id=half.id + _SECOND,
        objects=exchanged(half.twin_objects),
        twin_objects=exchanged(half.objects),
        partner=half.objects[half.partner_image - 1],
    )


def block_of(name: str) -> str:
    """The id of a row without what tells the halves of a block apart.

    >>> block_of("s1.1b"), block_of("s1.1")
    ('s1.1', 's1.1')
    """
    return name.removesuffix(_SECOND)


def are_halves(first: str, second: str) -> bool:
    """Whether these are the ids of both halves of a block, in their order.

    >>> are_halves("s1.1", "s1.1b"), are_halves("s1.1b", "s1.1")
    (True, False)
    """
    return second == first + _SECOND


def in_blocks(rows: Iterable[Judged]) -> Iterator[tuple[Judged, ...]]:
    """Rows as they stand or fall: both halves of a block, or one without another.

    Args:
        rows: in their order; one is held, never more.
    """
    first: Judged | None = None
    for row in rows:
        if first is not None and are_halves(first.id, row.id):
            yield first, row
            first = None
            continue
        if first is not None:
            yield (first,)
        first = row
    if first is not None:
        yield (first,)
