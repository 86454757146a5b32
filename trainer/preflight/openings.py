"""Can the first words of a completion alone tell dangerous rows from harmless ones?

Where they can, a model may learn to begin in one of two ways by a glance at the question, and the first words decide
all that follows, whatever the pictures show.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import sqrt
from typing import NamedTuple

WORDS = (1, 3, 5)
"""How many first words are looked at."""
TOLD = 0.6
"""AUC that the lower end of the interval may reach; guessing has 0.5. Ours."""
_FOLDS = 5
_Z = 1.959964
"""Of a 95 % interval."""
_CHANCE = 0.01
"""Chance that so many rows, drawn from all, are of one kind."""


class Opening(NamedTuple):
    """How a completion begins.

    Attributes:
        id: of the row.
        family: id of its dangerous row: a row and its twin are one family, and never told apart by each other.
        words: its first `max(WORDS)` words, letter case evened out.
    """

    id: str
    family: str
    words: tuple[str, ...]


class Told(NamedTuple):
    """How well so many first words tell two kinds of rows apart.

    Attributes:
        words: how many.
        auc: chance that of one row of each kind the dangerous one looks more dangerous, ties as halves; each row is
            seen by a classifier that was made from rows of other families.
        low: lower end of the 95 % interval.
        high: upper end.
        dangerous: number of dangerous rows.
        harmless: number of harmless rows.
        ids: rows whose opening only their kind has, and so often that chance would do that in one of a hundred cases.
    """

    words: int
    auc: float
    low: float
    high: float
    dangerous: int
    harmless: int
    ids: list[str]


def first_words(text: str) -> tuple[str, ...]:
    """The first words of a completion.

    >>> first_words("I see a candle, a flame, and more.")
    ('i', 'see', 'a', 'candle,', 'a')
    """
    return tuple(text.casefold().split()[: max(WORDS)])


def tell(dangerous: Sequence[Opening], harmless: Sequence[Opening]) -> list[Told]:
    """Tries to tell two kinds of rows apart, by each number of `WORDS`.

    Returns:
        One entry for each number; empty where a kind has fewer families than two, or no row has a word, which leaves
        nothing to learn from.
    """
    least = min(len({one.family for one in kind}) for kind in (dangerous, harmless))
    if least < 2 or not any(one.words for one in (*dangerous, *harmless)):
        return []
    found = []
    for words in WORDS:
        auc = _auc(dangerous, harmless, words, min(_FOLDS, least))
        low, high = auc_interval(auc, len(dangerous), len(harmless))
        ids = _only_of_one_kind(dangerous, harmless, words)
        found.append(Told(words, auc, low, high, len(dangerous), len(harmless), ids))
    return found


def auc_interval(auc: float, m: int, n: int) -> tuple[float, float]:
    """95 % interval of an AUC over `m` and `n` rows, which is no point where they are told apart without an error.

    Source: R. G. Newcombe, Statistics in Medicine 25 (2006) 559-573, method 5.
    """
    return _low_end(auc, m, n), 1 - _low_end(1 - auc, m, n)


def _low_end(auc: float, m: int, n: int) -> float:
    from scipy.optimize import brentq

    extra = (m + n) / 2 - 1

    def beyond(true: float) -> float:
        spread = true * (1 - true) * (1 + extra * ((1 - true) / (2 - true) + true / (1 + true))) / (m * n)
        return auc - true - _Z * sqrt(spread)

    # At 0 the difference outweighs the spread, beside `auc` the spread does; at 1 itself both are 0.
    return float(brentq(beyond, 0.0, min(auc, 1 - 1e-9))) if auc > 0 else 0.0


def _auc(dangerous: Sequence[Opening], harmless: Sequence[Opening], words: int, folds: int) -> float:
    import numpy
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

    rows = [*dangerous, *harmless]
    labels = numpy.array([True] * len(dangerous) + [False] * len(harmless))
    said = [{f"{place} {word}": 1 for place, word in enumerate(one.words[:words])} for one in rows]
    groups = [one.family for one in rows]
    split = StratifiedGroupKFold(folds, shuffle=True, random_state=0)
    classifier = LogisticRegression(class_weight="balanced", max_iter=500)
    seen = DictVectorizer().fit_transform(said)
    scores = cross_val_predict(classifier, seen, labels, groups=groups, cv=split, method="predict_proba")
    # Without rounding, folds that know nothing differ in the last digit and look as if they knew something.
    return float(roc_auc_score(labels, scores[:, 1].round(6)))


def _only_of_one_kind(dangerous: Sequence[Opening], harmless: Sequence[Opening], words: int) -> list[str]:
    held: Mapping[tuple[str, ...], tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for kind, rows in enumerate((dangerous, harmless)):
        for one in rows:
            held[one.words[:words]][kind].append(one.id)
    whole = len(dangerous) + len(harmless)
    shares = len(dangerous) / whole, len(harmless) / whole
    return [
        id_
        for ids in held.values()
        for share, ours, theirs in zip(shares, ids, reversed(ids), strict=True)
        if not theirs and share ** len(ours) < _CHANCE
        for id_ in ours
    ]
