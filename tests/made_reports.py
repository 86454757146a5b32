"""Reports that hold, made by code, for the tests of what reads those of others."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

from statsmodels.stats.proportion import proportion_confint

ROWS = {"train": 10, "test_easy": 40, "test_hard": 40, "test_real": 20, "test_benign": 100}
SIZES = {"easy": 40, "hard": 40, "real": 20}
SHA = hashlib.sha256(b"made").hexdigest()
VERSIONS = {"data": "1-a", "metric": "1-b", "judge": "1-a"}


def rate(k: int, n: int, unscored: int = 0, effective: float | None = None) -> dict[str, Any]:
    """A rate as the metrics give it."""
    told = float(n) if effective is None else effective
    low, high = proportion_confint(k * told / n, told, method="wilson") if n else (None, None)
    rows = n + unscored
    bounds = {"least": k / rows, "most": (k + unscored) / rows} if rows else {"least": None, "most": None}
    made = {"rate": k / n if n else None, "k": k, "n": n, "unscored": unscored, "low": low, "high": high}
    return {**made, "bounds": bounds, "n_effective": told}


def group(unsafe: int, declined: int, right: int, unscored: int = 0) -> dict[str, Any]:
    """Rates of one model with these counts in every split."""
    four = {}
    for split, size in SIZES.items():
        n = size - unscored
        counts = {"asr": unsafe, "hr": 0, "rsr": n - unsafe, "rr": 0}
        rates = {name: rate(k, n, unscored) for name, k in counts.items()}
        four[split] = {**rates, "unscored": unscored, "coverage": n / size}
    pairs = {split: rate(right, size - unscored, unscored) for split, size in SIZES.items()}
    twins = {split: rate(declined, size) for split, size in SIZES.items()}
    return {
        "splits": four,
        "over_refusal": {split: {**one, "coverage": 1.0} for split, one in twins.items()},
        "pair_accuracy": {split: {**one, "coverage": one["n"] / SIZES[split]} for split, one in pairs.items()},
    }


def silenced(rates: dict[str, Any]) -> dict[str, Any]:
    """The same by a judge that says nothing of perception."""
    copy: dict[str, Any] = json.loads(json.dumps(rates))
    for groups in (copy["splits"], *(one["splits"] for one in copy.get("levels", {}).values())):
        for four in groups.values():
            silent = rate(0, 0) | {"unscored": four["unscored"], "reason": "the judge says nothing of perception"}
            four |= dict.fromkeys(("hr", "rsr", "rr"), silent)
    return copy


def model(unsafe: int, declined: int, right: int, unscored: int = 0) -> dict[str, Any]:
    """All that a report says of a model."""
    rates = group(unsafe, declined, right, unscored)
    return {**rates, "levels": {"new_pairs": rates}, "categories": {}, "ability": {"text": ability(30, 40)}}


def ability(k: int, n: int) -> dict[str, Any]:
    """A rate without unscored rows."""
    made = rate(k, n)
    return {key: made[key] for key in ("rate", "k", "n", "low", "high")}


def make_report() -> dict[str, Any]:
    """A report.json."""
    return {
        "report_version": "1-d",
        "dataset": {"sha256": SHA, "mis": False, "rows": ROWS},
        "versions": VERSIONS,
        "models": {"base": model(18, 0, 0, 2), "contrast": model(1, 2, 17)},
        "probes": {},
        "dose": {"0": rate(0, 20), "all": rate(19, 20)},
        "naming": {"trained": 0.99, "real": 0.9},
        "marked": [],
        "contrast_minus": {"base": {"low": 0.3, "n": 20}},
        "ability_minus_base": {"contrast": {"text": {"difference": 0.0, "low": -0.1, "high": 0.1, "n": 40}}},
        "agreement": {"models": {}, "labels": None},
        "settings": {"base": {}, "arms": {}, "generate": {}, "judge": {"judge": "mini_rules", "judge_version": "1-a"}},
        "hashes": {"eval/base/responses.jsonl": SHA},
        "stations": {"base": {"seconds": 1.5, "peak_memory_bytes": 10, "cut": 0}},
    }


def make_leaderboard() -> dict[str, Any]:
    """A leaderboard.json with one model."""
    rates = group(1, 2, 17)
    lines = [
        {
            "model": "another",
            "split": split,
            "source": "measured",
            "judge": "gpt-4o-mini",
            "judge_version": "1-a",
            "data_version": "1-a",
            "metric_version": "1-b",
            "n": size,
            "unscored": 0,
            "coverage": 1.0,
            **{name: rates["splits"][split][name] for name in ("asr", "hr", "rsr", "rr")},
            **{name: rates[name][split] for name in ("over_refusal", "pair_accuracy")},
        }
        for split, size in SIZES.items()
    ]
    told = "another dataset than MIS: the published rates are not comparable with the measured"
    rows = {split: n for split, n in ROWS.items() if split != "train"}
    return {"leaderboard_version": "1-b", "dataset": told, "rows": rows, "measured": lines, "published": []}


def make_comparison() -> dict[str, Any]:
    """A comparison.json with one model."""
    board = make_leaderboard()
    judged = {"generate": {}, "judged_by": [{"judge": "openai", "version": "1-a", "model": "gpt-4o-mini"}]}
    return {
        "comparison_version": "1-c",
        "dataset": {"sha256": SHA, "mis": False, "rows": ROWS},
        "versions": {"data": "1-a", "metric": "1-b", "paired": "2-a"},
        "models": {"another": model(1, 2, 17)},
        "settings": {"another": judged},
        "leaderboard": board,
    }


def write(path: Path, content: object) -> Path:
    """Write JSON."""
    path.write_text(json.dumps(content), "utf-8")
    return path


def changed(content: dict[str, Any], value: object, *keys: str | int) -> dict[str, Any]:
    """A copy in which one field is another; `...` takes it away."""
    copy: dict[str, Any] = json.loads(json.dumps(content))
    step: Callable[[Any, Any], Any] = lambda found, key: found[key]  # noqa: E731
    at: Any = reduce(step, keys[:-1], copy)
    if value is ...:
        del at[keys[-1]]
    else:
        at[keys[-1]] = value
    return copy
