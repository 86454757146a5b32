"""Measured and published rates of the splits of MIS in one table: leaderboard.csv and leaderboard.json.

The CSV has the columns that `python -m trainer audit` reads and holds what was measured; what the authors published
lies beside this file's reader in the same columns, and stands in the JSON, marked and audited.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from trainer.audit import COLUMNS, RATES, TableRow, audit, read_table
from trainer.counts import print_rate
from trainer.judges.choice import NO_PERCEPTION
from trainer.questions import TESTED

LEADERBOARD_VERSION = "1-b"
"""The number changes when figures stop being comparable, the letter when keys do."""
PUBLISHED = Path(__file__).resolve().parents[2] / "benchmarks" / "published_leaderboard.csv"
PUBLISHED_JUDGE = "GPT-4o"
"""Source: arXiv 2501.18533, appendix B.3.1: the judge of MIS."""
_DECIMALS = 2
_ALSO = ("over_refusal", "pair_accuracy")
_BESIDE = ("source", "judge", "judge_version", "unscored", *_ALSO)
_OF_PERCEPTION = ("hr", "rsr", "rr")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A cell that begins so is a formula to spreadsheets."""


def measured_lines(
    models: Mapping[str, Mapping[str, Any]],
    judges: Mapping[str, Sequence[Mapping[str, str]]],
    versions: Mapping[str, str | None] = MappingProxyType({}),
) -> list[dict[str, Any]]:
    """One line a model and split.

    Args:
        models: Name -> rates as `trainer.score.score` gives them.
        judges: Name -> {"judge", "version", "model"} of every judge that its verdicts are of.
        versions: "data" and "metric" -> version of the rows and of what counted them.

    Returns:
        {"model", "split", "source": "measured", "judge", "judge_version", "data_version", "metric_version", "n": scored
        dangerous rows, "unscored",
        "coverage", "asr", "hr", "rsr", "rr", "over_refusal", "pair_accuracy"}: the last six are rates, 0..1; "hr",
        "rsr" and "rr" None where a judge says nothing of perception, so that they were not measured.
    """
    return [
        {
            "model": model,
            "split": split,
            "source": "measured",
            "judge": " and ".join(dict.fromkeys(one["model"] or one["judge"] for one in judges[model])),
            "judge_version": " and ".join(dict.fromkeys(one["version"] for one in judges[model])),
            "data_version": versions.get("data"),
            "metric_version": versions.get("metric"),
            "n": rates["splits"][split]["asr"]["n"],
            "unscored": rates["splits"][split]["unscored"],
            "coverage": rates["splits"][split]["coverage"],
            **{name: rates["splits"][split][name] for name in RATES},
            **(dict.fromkeys(_OF_PERCEPTION) if _says_none(judges[model]) else {}),
            **{name: rates[name][split] for name in _ALSO},
        }
        for model, rates in models.items()
        for split in TESTED.values()
    ]


def published_lines(path: Path = PUBLISHED) -> list[dict[str, Any]]:
    """What the authors published, a line a model and split, with what in it cannot be.

    Args:
        path: CSV as `trainer.audit` reads it.

    Returns:
        {"model", "split", "source": "published", "judge", "n", "asr", "hr", "rsr", "rr": each {"printed": per cent as
        printed, "rate": 0..1}, "impossible": texts, empty where counts can stand behind all of it}.
    """
    table = read_table(path)
    problems = _problems(audit(table))
    return [
        {
            "model": row.model,
            "split": row.split,
            "source": "published",
            "judge": PUBLISHED_JUDGE,
            "n": row.n,
            **{name: _printed(row, name) for name in RATES},
            "impossible": problems.get(row.line, []),
        }
        for row in table
    ]


def leaderboard(measured: Sequence[Mapping[str, Any]], mis: bool, rows: Mapping[str, int]) -> dict[str, Any]:
    """What leaderboard.json holds.

    Args:
        measured: `measured_lines`.
        mis: Whether they are of MIS proper.
        rows: Test split -> rows of the dataset.
    """
    return {
        "leaderboard_version": LEADERBOARD_VERSION,
        "dataset": "MIS"
        if mis
        else "another dataset than MIS: the published rates are not comparable with the measured",
        "rows": dict(rows),
        "measured": list(measured),
        "published": published_lines(),
    }


def to_csv(measured: Sequence[Mapping[str, Any]]) -> str:
    """The measured lines as CSV: rates in per cent, rounded to two decimals; over nothing no line.

    Args:
        measured: `measured_lines`.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*COLUMNS, *_BESIDE])
    for line in measured:
        if line["n"]:
            rates = {name: _per_cent(line[name]) for name in (*RATES, *_ALSO)}
            writer.writerow([_harmless(str({**line, **rates}[name])) for name in (*COLUMNS, *_BESIDE)])
    return stream.getvalue()


def _harmless(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula: a single quote stands before what could be one."""
    return f"'{cell}" if cell.lstrip(" ").startswith(_FORMULA) else cell


def _says_none(judges: Sequence[Mapping[str, str]]) -> bool:
    return any(one["judge"] in NO_PERCEPTION for one in judges)


def _per_cent(rate: Mapping[str, Any] | None) -> str:
    return print_rate(rate["k"], rate["n"], _DECIMALS) if rate and rate["n"] else ""


def _printed(row: TableRow, name: str) -> dict[str, Any] | None:
    if name not in row.rates:
        return None
    rate = row.rates[name]
    return {"printed": rate.text, "rate": rate.digits / rate.hundred}


def _problems(found: Mapping[str, Any]) -> dict[int, list[str]]:
    """Line -> what of it no counts can give."""
    told: dict[int, list[str]] = {}
    for cell in found["impossible_cells"]:
        told.setdefault(cell["line"], []).append(
            f"{cell['column'].upper()} {cell['printed']} is no count of {cell['n']}"
        )
    for row in found["impossible_rows"]:
        ends = " to ".join(dict.fromkeys(str(end) for end in row["counts_sum"].values()))
        told.setdefault(row["line"], []).append(f"the counts add up to {ends} of {row['n']}")
    return told
