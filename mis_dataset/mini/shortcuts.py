"""Proves without a VLM that a release of MIS-mini has no shortcut: nothing but both things together decides.

Several classifiers try to tell the dangerous rows of a split from their benign twins by one clue alone: the
question, the first thing, or the second thing (by its true name, so perfect sight is granted). On *hard* none
may do better than `LIMIT`, nor may the best rule there is. The pair of both things' kinds must do better than
`CONTROL`, or the check could not have found anything. On *easy* the first picture is meant to decide: its
accuracies are reported only.

Accuracies far below 0.50 are no finding: where a clue is balanced over all rows, the rows left out of
training lean the other way than those trained on. `ceiling` shows that no rule does better, turned or not.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from mis_dataset.errors import UsageError
from mis_dataset.mini.objects import THINGS
from mis_dataset.release import Release, read_release
from mis_dataset.schema import BENIGN

LIMIT = 0.55
"""Highest cross-validated accuracy that a clue may have on hard; guessing has 0.50."""
CONTROL = 0.90
"""Lowest accuracy that both things together must have on hard."""
FOLDS = 5
SHUFFLES = 5


class _Clues(NamedTuple):
    """What each row of a split and its twins shows, clue by clue, and whether it is dangerous."""

    clues: dict[str, list[str]]
    dangerous: list[bool]


def find_shortcuts(release: Path) -> dict[str, Any]:
    """Measures how well single clues tell the rows of hard and easy from their twins.

    Args:
        release: folder of a MIS-mini release, with ``mini/objects.json``.

    Returns:
        - ``passed``, ``limit``, and ``rows``: how many rows and twins of hard were told apart;
        - ``accuracy``: clue -> the best classifier's mean cross-validated accuracy on hard, a fraction;
        - ``ceiling``: clue -> accuracy on hard of the best rule that sees this clue of all rows and labels;
        - ``control``: the accuracy for both things together, and its limit;
        - ``easy``: clue -> the best classifier's accuracy on easy;
        - ``classifiers``: clue -> classifier -> accuracy on hard.

    Raises:
        UsageError: `release` is no folder, or has no ``mini/objects.json`` that names its rows' things.
        ReleaseError: the release has problems.
    """
    read = read_release(release)
    things = _things(release, read)
    hard, easy = (_clues(read, things, split) for split in ("test_hard", "test_easy"))
    classifiers = {clue: _accuracies(values, hard.dangerous) for clue, values in hard.clues.items()}
    accuracy = {clue: max(found.values()) for clue, found in classifiers.items()}
    control = accuracy.pop("both_things")
    ceiling = {clue: _ceiling(hard.clues[clue], hard.dangerous) for clue in accuracy}
    return {
        "passed": max(*accuracy.values(), *ceiling.values()) <= LIMIT and control >= CONTROL,
        "limit": LIMIT,
        "accuracy": accuracy,
        "ceiling": ceiling,
        "control": {"accuracy": control, "limit": CONTROL},
        "easy": {clue: max(_accuracies(values, easy.dangerous).values()) for clue, values in easy.clues.items()},
        "classifiers": classifiers,
        "rows": len(hard.dangerous),
    }


def _things(folder: Path, release: Release) -> dict[str, tuple[str, str]]:
    """Row id -> names of the two things, for all rows of the release."""
    path = folder / "mini" / "objects.json"
    try:
        named = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read ({error}); name a release written by `mini`") from error
    if not isinstance(named, dict):
        raise UsageError(f"{path}: is no object; write the release anew with `mini`")
    known = {thing.name for thing in THINGS}
    found: dict[str, tuple[str, str]] = {}
    for record in (record for held in release.records.values() for record in held):
        names = named.get(record.id)
        if not isinstance(names, list) or len(names) != 2 or not known.issuperset(names):
            raise UsageError(f"{path}: {record.id}: no two known things; write the release anew with `mini`")
        found[record.id] = (names[0], names[1])
    return found


def _clues(release: Release, things: dict[str, tuple[str, str]], split: str) -> _Clues:
    """The rows of a split, each followed by its twin."""
    kinds = {thing.name: thing.kind for thing in THINGS}
    twins = {record.twin_of: record for record in release.rows(BENIGN)}
    lacking = [record.id for record in release.rows(split) if record.id not in twins]
    if lacking or not release.rows(split):
        found = f"{len(lacking)} rows of {split} have no twin, the first is {lacking[:1]}"
        raise UsageError(f"{release.root}: {found}; shortcuts compares rows with twins")
    records = [record for row in release.rows(split) for record in (row, twins[row.id])]
    pairs = [things[record.id] for record in records]
    clues = {
        "question": [record.question for record in records],
        "thing_1": [first for first, _ in pairs],
        "thing_2": [second for _, second in pairs],
        "both_things": [f"{kinds[first]}_{kinds[second]}" for first, second in pairs],
    }
    return _Clues(clues, [record.twin_of is None for record in records])


def _accuracies(values: list[str], dangerous: list[bool]) -> dict[str, float]:
    """Mean accuracy of each classifier on words and pairs of words, over shuffled stratified folds."""
    import numpy
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.model_selection import RepeatedStratifiedKFold, cross_val_score

    # The words are those of all rows: the test fold lends its vocabulary, never its labels.
    counts = CountVectorizer(ngram_range=(1, 2), token_pattern=r"\S+", binary=True).fit_transform(values)
    labels = numpy.array(dangerous)
    folds = RepeatedStratifiedKFold(n_splits=FOLDS, n_repeats=SHUFFLES, random_state=0)
    return {
        name: round(float(cross_val_score(classifier, counts.toarray(), labels, cv=folds).mean()), 4)
        for name, classifier in _classifiers().items()
    }


def _classifiers() -> dict[str, Any]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import BernoulliNB
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.tree import DecisionTreeClassifier

    return {
        "logistic_regression": LogisticRegression(max_iter=500),
        "naive_bayes": BernoulliNB(),
        "nearest_neighbours": KNeighborsClassifier(n_neighbors=5),
        "tree": DecisionTreeClassifier(random_state=0),
    }


def _ceiling(values: list[str], dangerous: list[bool]) -> float:
    """Accuracy of the rule that gives each value of a clue the label that most rows with it have."""
    seen = Counter(zip(values, dangerous, strict=True))
    best = sum(max(seen[value, True], seen[value, False]) for value in set(values))
    return round(best / len(values), 4)
