"""Stage `filters`: what all experts say of a row, and what follows for it.

A row's fate hangs on what stands in its line, its verdicts and where its pictures are from, so that it can be computed
again from the file, with other rules or quotas, without asking anybody; only `duplicates`, whose verdict hangs on other
rows, then looks anew. With blocks, hard takes whole ones only, so that nothing shown or asked there decides by itself.

Source: the step "multi-expert filter" of arXiv 2501.18533, section 3.2: rows whose words are unsafe go to train, those
with an explicit picture to easy, those with neither to hard. Test rows whose pictures are all photographs are those of
real.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from mis_dataset.construct.blocks import HALF, in_blocks
from mis_dataset.construct.experts import EXPLICIT_PICTURE, KEEP, UNSAFE_WORDS, Words
from mis_dataset.construct.rows import Judged, Pictured, Rejected, Verdict
from mis_dataset.schema import TRAIN

NAME = "filters"
EASY, HARD, REAL = "test_easy", "test_hard", "test_real"
_IN_BLOCKS = (HARD, REAL)
"""Splits that are balanced: of easy and train most rows have a thing that is harmful by itself, or words."""
Expert = Callable[[Pictured], Verdict]
"""One that looks at a row alone; two threads may ask it at once."""


@dataclass(frozen=True)
class Filters:
    """The stage.

    Attributes:
        words: the expert that also names the sub-category.
        experts: all others, in order. All are asked, whatever those before them say: a row that two reject tells more
            than a row that one does.
    """

    words: Words
    experts: Sequence[Expert]

    def __call__(self, row: Pictured) -> list[Judged]:
        """The row with all verdicts.

        Raises:
            MISError: as `Client.ask`.
        """
        said = self.words(row)
        return [Judged(row, said.sub_category, (said.verdict, *(expert(row) for expert in self.experts)))]


def fate(row: Judged) -> str | Rejected:
    """The split of a row, or why it has none.

    >>> from mis_dataset.construct.rows import Picture, Question
    >>> one = Picture("a.png", "0", "a lamp", "draws-1", 0, 1, "")
    >>> question = Question("s1.1", "s1", "Privacy", "How?", "How?", ("a", "b"), ("c", "b"), 1)
    >>> told = Verdict("words", "keep"), Verdict("explicit", "explicit picture")
    >>> fate(Judged(Pictured(question, (one, one), one), "Identity Theft and Impersonation", told))
    'test_easy'
    """
    for one in row.verdicts:
        if one.verdict not in (KEEP, UNSAFE_WORDS, EXPLICIT_PICTURE):
            return Rejected(row.id, NAME, one.verdict, f"{one.expert}: {one.detail}".removesuffix(": "))
    found = {one.verdict for one in row.verdicts}
    if UNSAFE_WORDS in found:
        return TRAIN
    if all(one.found for one in (*row.row.pictures, row.row.twin_picture)):
        return REAL
    return EASY if EXPLICIT_PICTURE in found else HARD


class Rules(NamedTuple):
    """What a row's place hangs on beside its verdicts.

    Attributes:
        quotas: split -> rows of one category, at most; without a number there is no limit.
        blocks: whether hard and real take whole blocks only.
    """

    quotas: Mapping[str, int] = MappingProxyType({})
    blocks: bool = False


UNLIMITED = Rules()
"""No quotas, and every row by itself."""


class Places:
    """Places in a release, given in the order of the rows; of a category that is full the first rows stay.

    Args:
        rules: by which they are given.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._counts: Counter[tuple[str, str]] = Counter()

    def give(self, block: tuple[Judged, ...]) -> Iterator[tuple[Judged, str | Rejected]]:
        """Every row of a block with its split or why it has none; no block of hard is cut.

        A row that does not wait for its other half (`waits`) may be given its place before that comes.
        """
        for unit, split in _units(block, self._rules):
            over = "" if isinstance(split, Rejected) else self._over(split, unit)
            for row in unit:
                yield row, Rejected(row.id, NAME, "over quota", over) if over else split

    def _over(self, split: str, unit: tuple[Judged, ...]) -> str:
        """The quota that these rows would break; empty where they do not, and are counted."""
        most, category = self._rules.quotas.get(split), unit[0].row.row.category
        if most is not None and self._counts[split, category] + len(unit) > most:
            return f"{most} rows of {category} in {split}"
        self._counts[split, category] += len(unit)
        return ""

    def waits(self, row: Judged) -> bool:
        """Whether its place hangs on the other half of its block."""
        return self._rules.blocks and fate(row) in _IN_BLOCKS


def placed(rows: Iterable[Judged], rules: Rules) -> Iterator[tuple[Judged, str | Rejected]]:
    """Every row with its split or why it has none.

    Args:
        rows: in their order; one is held, never more.
        rules: see there.
    """
    places = Places(rules)
    for block in in_blocks(rows):
        yield from places.give(block)


def _units(block: tuple[Judged, ...], rules: Rules) -> list[tuple[tuple[Judged, ...], str | Rejected]]:
    """Rows that stand or fall as one, with their fate: a block of hard, else every row by itself."""
    fates = [fate(row) for row in block]
    if not rules.blocks:
        return [((row,), one) for row, one in zip(block, fates, strict=True)]
    if len(block) == 2 and fates[0] == fates[1] and fates[0] in _IN_BLOCKS:
        return [(block, fates[0])]
    told = [one.reason if isinstance(one, Rejected) else one for one in fates]
    whys = (
        [f"{row.id}: {why}" for row, why in zip(block, told, strict=True)][::-1] if len(block) == 2 else ["no partner"]
    )
    return [
        ((row,), Rejected(row.id, NAME, HALF, why) if one in _IN_BLOCKS else one)
        for row, one, why in zip(block, fates, whys, strict=True)
    ]
