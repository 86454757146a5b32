"""Stage `filters`: what all experts say of a row, and what follows for it.

A row's fate hangs on its verdicts alone, so that it can be computed again from the file, with other rules or quotas,
without asking anybody. A block stands or falls whole, and both halves go to one split.

Source: the step "multi-expert filter" of arXiv 2501.18533, section 3.2: rows whose words are unsafe go to train, those
with an explicit picture to easy, those with neither to hard. Test rows whose pictures are all photographs are those of
real.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mis_dataset.construct.blocks import HALF, in_blocks, is_half
from mis_dataset.construct.experts import EXPLICIT_PICTURE, KEEP, UNSAFE_WORDS, Words
from mis_dataset.construct.rows import Judged, Pictured, Rejected, Verdict
from mis_dataset.schema import TRAIN

NAME = "filters"
EASY, HARD, REAL = "test_easy", "test_hard", "test_real"
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


def within_quotas(rows: Iterable[Judged], quotas: Mapping[str, int]) -> Iterator[tuple[Judged, str | Rejected]]:
    """Every row with its fate, at most so many of a category in each split; the first ones stay, no block is cut.

    Args:
        rows: in their order.
        quotas: split -> rows of one category, at most; without a number there is no limit.

    Yields:
        The row, and its split or why it has none.
    """
    counts: Counter[tuple[str, str]] = Counter()
    for block in in_blocks(rows):
        fates = _fates(block)
        split, category = fates[0], block[0].row.row.category
        if isinstance(split, str):
            most = quotas.get(split)
            if most is None or counts[split, category] + len(block) <= most:
                counts[split, category] += len(block)
            else:
                why = "over quota", f"{most} rows of {category} in {split}"
                fates = [Rejected(row.id, NAME, *why) for row in block]
        yield from zip(block, fates, strict=True)


def _fates(block: tuple[Judged, ...]) -> list[str | Rejected]:
    """Of all rows of a block, the same split or none for each."""
    fates = [fate(row) for row in block]
    lost = [f"{one.id}: {one.reason}" for one in fates if isinstance(one, Rejected)]
    if is_half(block, lambda row: row.row.row):
        lost = ["the other one is not there"]
    if not lost:
        return [next(split for split in (TRAIN, REAL, EASY, HARD) if split in fates)] * len(block)
    return [
        one if isinstance(one, Rejected) else Rejected(row.id, NAME, HALF, lost[0])
        for row, one in zip(block, fates, strict=True)
    ]
