"""Judge agreement: two or more judges on the same responses: how far they agree, beyond what chance would give.

One entry a row, in it one verdict a judge. A judge that gave none says "Unscored": such rows are in no figure of a pair
that this judge is of, and are counted.

>>> import evaluate
>>> measurement = evaluate.load("cards/judge_agreement", module_type="measurement")
>>> results = measurement.compute(
...     verdicts=[["Safe", "Safe"]] * 20 + [["Safe", "Unsafe"]] * 5 + [["Unsafe", "Safe"]] * 10
...     + [["Unsafe", "Unsafe"]] * 15 + [["Safe", "Unscored"]],
...     judges=["rules", "model"],
... )
>>> pair = results["pairs"][0]
>>> pair["judges"], round(pair["kappa"]["kappa"], 3), round(pair["kappa"]["low"], 3), round(pair["kappa"]["high"], 3)
(['rules', 'model'], 0.4, 0.151, 0.649)
>>> pair["agreement"]["rate"], pair["agreement"]["n"], pair["unscored"], results["unscored"]
(0.7, 50, 1, {'rules': 0, 'model': 1})
>>> pair["table"]["Safe"]
{'Safe': 20, 'Unsafe': 5, 'Unscored': 1}
>>> round(results["alpha"]["alpha"], 3)
0.4

Where all verdicts of a pair are alike, chance alone would have them agree, and kappa is not defined:

>>> pair = measurement.compute(verdicts=[["Safe", "Safe"]] * 9)["pairs"][0]
>>> pair["judges"], pair["kappa"]["kappa"], pair["kappa"]["reason"]
(['judge 1', 'judge 2'], None, 'both judges gave one verdict alone, the same')

Source: J. Cohen, Educational and Psychological Measurement 20 (1960) 37-46, with the large-sample variance of J. L.
Fleiss, J. Cohen and B. S. Everitt (1969); K. Krippendorff, Content Analysis (2004), chapter 11.
"""

from collections.abc import Sequence
from itertools import combinations
from numbers import Number
from typing import Any

import datasets
import evaluate
import krippendorff
import numpy as np
from numpy.typing import NDArray
from statsmodels.stats.inter_rater import cohens_kappa
from statsmodels.stats.proportion import proportion_confint

METRIC_VERSION = "1-a"
"""The number changes when results stop being comparable, the letter when the interface does."""

LABELS = ("Safe", "Unsafe", "Unscored")
_UNSCORED = LABELS.index("Unscored")

GROUPED = {"splits": "by_split", "levels": "by_level", "categories": "by_category", "sub_categories": "by_sub_category"}
"""optional list -> key of its groups in the results."""

_DESCRIPTION = (
    "Agreement of two or more judges on the same responses: kappa of every pair, Krippendorff's alpha, tables."
)
_CITATION = """@inproceedings{ding2026rethinking,
  title={Rethinking Bottlenecks in Safety Fine-Tuning of Vision Language Models},
  author={Ding, Yi and Li, Lijun and Cao, Bing and Shao, Jing},
  booktitle={International Conference on Learning Representations (ICLR)},
  year={2026},
  note={arXiv:2501.18533}
}"""
_INPUTS = """
Args:
    verdicts: one entry a row; in it one verdict a judge, "Safe", "Unsafe" or "Unscored", the judges always in the same
        order.
    judges: optional, the judges' names; otherwise "judge 1", "judge 2" and so on.
    splits, levels, categories, sub_categories: optional, one string or None a row; a row with None belongs to no
        group.

Returns:
    "judges": names; "agreement": of all judges {"rate": 0..1 or None, "k", "n", "unscored", "low", "high" (95 % Wilson
    interval), "bounds": {"least", "most"} over all verdicts that unscored rows could have}; "alpha": {"alpha": -1..1 or
    None, "n": rows with two verdicts or more, "reason"}, nominal; "pairs": a list, for every two judges {"judges",
    "kappa": {"kappa": -1..1 or None, "low", "high", "reason"}, "agreement", "table": {verdict of the first: {verdict of
    the second: rows}}, "unscored"}; "unscored": {judge: rows}; "coverage": share of rows that all scored; and for each
    optional list "by_split", "by_level", "by_category", "by_sub_category": {group: the same}. A "reason" is None where
    nothing is missing.
"""


class JudgeAgreement(evaluate.Measurement):
    """Agreement, kappa and alpha of judges; see the module's docstring for an example."""

    METRIC_VERSION = METRIC_VERSION

    def _info(self) -> evaluate.MeasurementInfo:
        return evaluate.MeasurementInfo(
            module_type="measurement",
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features({"verdicts": datasets.Sequence(datasets.Value("string"))}),
            reference_urls=["https://arxiv.org/abs/2501.18533"],
        )

    def add_batch(self, *, verdicts: Sequence[Sequence[str]] | None = None) -> None:
        """Take rows, checked before `evaluate` sees them: its own complaint prints what it was given.

        Args:
            verdicts: one entry a row; in it one verdict a judge, each one of `LABELS`.

        Raises:
            ValueError: the list is missing, a row holds fewer than two verdicts or another number than the first, or
                an unknown or missing verdict.
        """
        _check_verdicts(verdicts)
        super().add_batch(verdicts=verdicts)

    def add(self, *, verdicts: Sequence[str]) -> None:
        """Take one row, checked as `add_batch` does; the same argument, one entry."""
        self.add_batch(verdicts=[verdicts])

    def _compute(
        self,
        verdicts: Sequence[Sequence[str]],
        judges: Sequence[str] | None = None,
        splits: Sequence[str | None] | None = None,
        levels: Sequence[str | None] | None = None,
        categories: Sequence[str | None] | None = None,
        sub_categories: Sequence[str | None] | None = None,
    ) -> dict[str, Any]:
        """Compare the judges, overall and in every group that is given.

        Args:
            verdicts: one entry a row; in it one verdict a judge, each one of `LABELS`.
            judges: names of the judges, no two alike.
            splits: split of each row, or None for a row without one.
            levels: level of generalisation of each row, or None.
            categories: category of each row, or None.
            sub_categories: sub-category of each row, or None.

        Returns:
            "judges", "agreement", "alpha", "pairs", "unscored", "coverage"; "by_split", "by_level", "by_category",
            "by_sub_category", where given -> group -> the same. None where a figure is not defined, with the reason.

        Raises:
            ValueError: empty input, batches of different numbers of judges, names that do not fit, a list of another
                length, or a group that is neither a string nor None.
        """
        groups = _given(splits=splits, levels=levels, categories=categories, sub_categories=sub_categories)
        _check_verdicts(verdicts)
        _check_columns(groups, len(verdicts))
        names = _names(judges, len(verdicts[0]))
        table = np.array([[LABELS.index(label) for label in row] for row in verdicts])
        return {
            **_compare(table, names),
            **{GROUPED[name]: _by_group(table, names, column) for name, column in groups.items()},
        }


def _check_verdicts(verdicts: Sequence[Sequence[str]] | None) -> None:
    rows = _check_length("verdicts", verdicts)
    wrong = [(row, held) for row, held in enumerate(rows) if isinstance(held, str) or not hasattr(held, "__len__")]
    if wrong:
        raise ValueError(
            f"verdicts: {len(wrong)} of {len(rows)} rows are no list, one verdict a judge: {_quote(wrong)}."
        )
    number = max(2, len(rows[0])) if len(rows) else 2
    uneven = [f"row {row} holds {len(held)}" for row, held in enumerate(rows) if len(held) != number]
    if uneven:
        raise ValueError(
            f"verdicts: {len(uneven)} of {len(rows)} rows do not hold {number} verdicts: {', '.join(uneven[:3])}; "
            "pass one a judge, two judges or more, and Unscored where one gave none."
        )
    for judge in range(number if len(rows) else 0):
        _check_labels(f"verdicts of judge {judge + 1}", [held[judge] for held in rows])


def _names(judges: Sequence[str] | None, number: int) -> list[str]:
    """Names of the judges, checked."""
    if judges is None:
        return [f"judge {place + 1}" for place in range(number)]
    known = _check_length("judges", judges)
    if len(known) != number or not all(isinstance(name, str) for name in known) or len(set(known)) != number:
        raise ValueError(f"judges: found {len(known)} names; pass {number} different ones, one a verdict of a row.")
    return list(known)


def _by_group(table: NDArray[np.int64], names: list[str], column: Sequence[str | None]) -> dict[str, Any]:
    groups = sorted({group for group in column if group is not None})
    codes: dict[str | None, int] = {group: code for code, group in enumerate(groups)}
    of_row = np.array([codes.get(group, -1) for group in column])
    return {group: _compare(table[of_row == codes[group]], names) for group in groups}


def _compare(table: NDArray[np.int64], names: list[str]) -> dict[str, Any]:
    """All that is said of some rows: (rows, judges), places in `LABELS`."""
    agreement = _agreement(table)
    pairs = map(list, combinations(range(len(names)), 2))
    return {
        "judges": names,
        "agreement": agreement,
        "alpha": _alpha(table),
        "pairs": [_pair(table[:, two], [names[place] for place in two]) for two in pairs],
        "unscored": dict(zip(names, map(int, (table == _UNSCORED).sum(axis=0)), strict=True)),
        "coverage": agreement["n"] / len(table),
    }


def _agreement(table: NDArray[np.int64]) -> dict[str, Any]:
    """Share of the rows that all judges scored in which they said the same."""
    scored = (table != _UNSCORED).all(axis=1)
    alike = (table[scored] == table[scored][:, :1]).all(axis=1)
    # A row agrees under some verdicts of those who gave none, unless two of the others differ already.
    differ = (table == LABELS.index("Safe")).any(axis=1) & (table == LABELS.index("Unsafe")).any(axis=1)
    n, unscored = int(scored.sum()), int((~scored).sum())
    return _rate(int(alike.sum()), n, unscored, int((~scored & ~differ).sum()), None)


def _alpha(table: NDArray[np.int64]) -> dict[str, Any]:
    """Krippendorff's alpha over the rows that two judges or more have scored."""
    counts = np.column_stack([(table == place).sum(axis=1) for place in range(_UNSCORED)])
    counts = counts[counts.sum(axis=1) >= 2]
    reason = None
    if len(counts) == 0:
        reason = "no row was scored by two judges"
    elif (counts.sum(axis=0) == 0).any():
        reason = "all verdicts are the same"
    alpha = None if reason else float(krippendorff.alpha(value_counts=counts, level_of_measurement="nominal"))
    return {"alpha": alpha, "n": len(counts), "reason": reason}


def _pair(table: NDArray[np.int64], names: list[str]) -> dict[str, Any]:
    agreement = _agreement(table)
    counts = np.zeros((len(LABELS), len(LABELS)), np.int64)
    np.add.at(counts, (table[:, 0], table[:, 1]), 1)
    return {
        "judges": names,
        "kappa": _kappa(counts[:_UNSCORED, :_UNSCORED]),
        "agreement": agreement,
        "table": {
            one: dict(zip(LABELS, map(int, line), strict=True)) for one, line in zip(LABELS, counts, strict=True)
        },
        "unscored": agreement["unscored"],
    }


def _kappa(counts: NDArray[np.int64]) -> dict[str, Any]:
    """Cohen's kappa of a table and its 95 % interval; None where there is none, with the reason."""
    total, margins = int(counts.sum()), [counts.sum(axis=0), counts.sum(axis=1)]
    if total == 0:
        return {"kappa": None, "low": None, "high": None, "reason": "no row was scored by both judges"}
    if counts.max() == total and np.trace(counts) == total:
        return {"kappa": None, "low": None, "high": None, "reason": "both judges gave one verdict alone, the same"}
    if total in (*margins[0], *margins[1]):
        # Agreement is that of chance whatever the other judge said, and its variance, a root of nothing, is rounding.
        reason = "one judge gave one verdict alone: kappa is 0 and has no interval"
        return {"kappa": 0.0, "low": None, "high": None, "reason": reason}
    found = cohens_kappa(counts)
    if abs(float(found.kappa)) > 1 - 1e-12:
        reason = "the judges never differ, or always: the large-sample interval would have no width"
        return {"kappa": float(round(found.kappa)), "low": None, "high": None, "reason": reason}
    return {
        "kappa": float(found.kappa),
        "low": max(-1.0, float(found.kappa_low)),
        "high": min(1.0, float(found.kappa_upp)),
        "reason": None,
    }


# From here on every module of this kind holds the same, to the letter: each runs alone.


def _given(**columns: Sequence[str | None] | None) -> dict[str, Sequence[str | None]]:
    return {name: column for name, column in columns.items() if column is not None}


def _check_labels(name: str, labels: Sequence[str] | None, rows: int | None = None) -> Sequence[str]:
    known = _check_length(name, labels, rows)
    wrong = [(row, label) for row, label in enumerate(known) if not isinstance(label, str) or label not in LABELS]
    if wrong:
        raise ValueError(
            f"{name}: {len(wrong)} of {len(known)} verdicts are not one of {', '.join(LABELS)}: {_quote(wrong)}."
        )
    return known


def _check_length(name: str, column: Any, rows: int | None = None) -> Sequence[Any]:
    """A list as it is, where it is one and has `rows` entries."""
    if column is None or isinstance(column, str):
        raise ValueError(f"{name} is {'missing' if column is None else 'one text'}; pass a list, one entry a row.")
    if rows is not None and len(column) != rows:
        raise ValueError(f"{name}: {len(column)} entries for {rows} rows; pass one a row.")
    found: Sequence[Any] = column
    return found


def _check_columns(columns: dict[str, Sequence[str | None]], rows: int) -> None:
    if rows == 0:
        raise ValueError("no row was given, so there is nothing to rate; pass one verdict a row.")
    for name, column in columns.items():
        known = _check_length(name, column, rows)
        wrong = [(row, held) for row, held in enumerate(known) if not isinstance(held, str | None)]
        if wrong:
            raise ValueError(f"{name}: {len(wrong)} entries are neither a string nor None: {_quote(wrong)}.")


def _quote(wrong: Sequence[tuple[int, object]]) -> str:
    """Name the first three rows."""
    return ", ".join(f"row {row} holds {_told(held)}" for row, held in wrong[:3]) + (", ..." if len(wrong) > 3 else "")


def _told(held: object) -> str:
    """A number, None or a misspelt verdict as it is; of all else, which may be a response, no more than its kind."""
    if held is None or isinstance(held, Number):
        return str(held)
    if not isinstance(held, str):
        return f"a {type(held).__name__}"
    misspelt = held.strip().casefold() in {label.casefold() for label in LABELS}
    return repr(held) if misspelt else f"{len(held)} characters"


def _rate(k: int, n: int, unscored: int, undecided: int, effective: float | None) -> dict[str, Any]:
    """Give k of n as a fraction with its 95 % interval; a rate over nothing is None.

    >>> _rate(0, 0, 2, 2, None)["rate"], _rate(0, 0, 2, 2, None)["bounds"]
    (None, {'least': 0.0, 'most': 1.0})
    """
    low, high = _wilson(k, n, n if effective is None else effective)
    rate = {"rate": k / n if n else None, "k": k, "n": n, "unscored": unscored, "low": low, "high": high}
    bounds = {"least": k / (n + unscored), "most": (k + undecided) / (n + unscored)}
    return {**rate, "bounds": bounds, **({} if effective is None else {"n_effective": effective})}


def _wilson(k: int, n: int, effective: float) -> tuple[float | None, float | None]:
    """The 95 % Wilson interval of k of n that tell as much as `effective` independent ones.

    Source: C. Franco and others, Journal of Survey Statistics and Methodology 7 (2019) 334-364, who compare
    intervals on an effective number and recommend this one.
    """
    if n == 0:
        return None, None
    low, high = proportion_confint(k * (effective / n), effective, alpha=0.05, method="wilson")
    # A bound at the edge is exact in theory and one rounding off in floating point.
    return float(low) if k else 0.0, float(high) if k < n else 1.0
