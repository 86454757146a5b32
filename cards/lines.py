"""Lines of a board: those that a report gives, and what speaks against them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cards.recount import FOUR, NO_PERCEPTION, is_trusted
from cards.versions import METRICS, ROOT, constant
from mis_dataset.schema import BENIGN, DATA_VERSION

SPLITS = {"easy": "test_easy", "hard": "test_hard", "real": "test_real"}
"""Split of a line -> split of the dataset."""
MIS_ROWS = {"test_easy": 1675, "test_hard": 510, "test_real": 100}
"""Source: arXiv 2501.18533, section 3.2 and Table 19."""
MIS = "MIS"
OTHER = "another dataset than MIS: the published rates are not comparable with the measured"
RATES = (*FOUR, "over_refusal", "pair_accuracy")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+()-]{0,59}(/[A-Za-z0-9][A-Za-z0-9 ._+()-]{0,59})?")
"""A name, or OWNER/NAME of the Hub: nothing in it is a tag, an address or a way out of a folder."""
_VERSION = re.compile("[0-9]{1,4}-[a-z]")
_JUDGE_VERSION = re.compile("[0-9]{1,4}-[a-z](/[0-9]{1,4}-[a-z])?")
"""Of a judge that is asked the version of how stands behind it."""


def is_name(text: str) -> bool:
    """Whether a name can stand on a board.

    >>> is_name("OpenGVLab/InternVL2_5-8B"), is_name("<b>x</b>"), is_name("../x"), is_name("/etc/x")
    (True, False, False, False)
    """
    return _NAME.fullmatch(text) is not None and ".." not in text


def rows_of(report: Mapping[str, Any], kind: str) -> dict[str, int]:
    """Test split -> rows of the dataset that was asked about; empty where the file does not say.

    Args:
        report: what was read.
        kind: "report", "comparison" or "leaderboard".
    """
    found = report.get("rows", {}) if kind == "leaderboard" else report.get("dataset", {}).get("rows", {})
    return {split: found[split] for split in (*SPLITS.values(), BENIGN) if split in found}


def dataset_of(report: Mapping[str, Any], kind: str) -> str:
    """What a board says of the dataset; arguments as `rows_of`."""
    if kind == "leaderboard":
        return str(report["dataset"])
    return MIS if report.get("dataset", {}).get("mis") else OTHER


def lines_of(report: Mapping[str, Any], kind: str) -> list[dict[str, Any]]:
    """A line a model and split that was asked about, as `python -m trainer compare` makes them.

    Args:
        report: what was read, and holds to its schema.
        kind: "report", "comparison" or "leaderboard".
    """
    table = report["leaderboard"] if kind == "comparison" else report
    found = list(_of_run(report)) if kind == "report" else [dict(line) for line in table["measured"]]
    return [line for line in found if line["n"] + line["unscored"]]


def disagreements(comparison: Mapping[str, Any]) -> list[str]:
    """Where the lines of a comparison.json are not its models' rates.

    Args:
        comparison: what was read, and holds to its schema.
    """
    told = []
    for line in comparison["leaderboard"]["measured"]:
        where, rates = f"{line['model']} on {line['split']}", comparison["models"].get(line["model"])
        if rates is None:
            told.append(f"leaderboard: {where}: found no such model in models, expected one")
            continue
        four = rates["splits"].get(line["split"], {})
        there = {**four, **{name: rates[name].get(line["split"]) for name in ("over_refusal", "pair_accuracy")}}
        told += [
            f"leaderboard: {where}: {name}: found another rate than in models, expected the same"
            for name in RATES
            if line[name] is not None and line[name] != there.get(name)
        ]
    return told


def name_lines(lines: Sequence[Mapping[str, Any]], name: str | None, sha256: str) -> list[dict[str, Any]]:
    """The same lines as they stand on a board.

    Args:
        lines: of one report.
        name: of its model on the board; of several, what precedes their names; None keeps them.
        sha256: of the report.
    """
    several = len({line["model"] for line in lines}) > 1
    return [
        {
            **line,
            "model": " ".join(filter(None, (name, line["model"] if several else ""))) or line["model"],
            "trusted": [rate for rate in RATES if line[rate] and is_trusted(line[rate])],
            "report": {"sha256": sha256, "model": line["model"]},
        }
        for line in lines
    ]


def line_problems(lines: Sequence[Mapping[str, Any]], rows: Mapping[str, int], of: str) -> list[str]:
    """What forbids lines to stand on a board, beside what `cards.recount` finds.

    Args:
        lines: of one report, named.
        rows: test split -> rows of the dataset.
        of: what dataset that is.

    Returns:
        A text each: which field, what was found, what was expected.
    """
    if of not in (MIS, OTHER):
        return [f"dataset: found {ascii(of)[:80]}, expected {MIS} or: {OTHER}"]
    if of == MIS and {split: rows.get(split) for split in MIS_ROWS} != MIS_ROWS:
        return [f"dataset.rows: found {dict(rows)}, expected {MIS_ROWS} of MIS"]
    return [*(told for line in lines for told in _line(line, rows)), *_twice(lines), *_twins(lines, rows)]


def clashes(
    board: Mapping[str, Any], lines: Sequence[Mapping[str, Any]], rows: Mapping[str, int], of: str
) -> list[str]:
    """What forbids lines to stand on this board: another dataset, or names that are taken; arguments as above."""
    told = []
    if board["measured"] and (board["dataset"], board.get("rows")) != (of, dict(rows)):
        told.append(f"dataset: found {of} with rows {dict(rows)}, expected that of the board, {board.get('rows')}")
    by_name = {one["model"].casefold(): one.get("report") for one in board["measured"]}
    by_report = {_source(one["report"]): one["model"] for one in board["measured"] if "report" in one}
    for model, report in {line["model"]: line["report"] for line in lines}.items():
        known = by_report.get(_source(report), model)
        if known != model:
            told.append(f"model: found {model}, expected {known}, as which this report stands there already")
        elif by_name.get(model.casefold(), report) != report:
            told.append(f"model: found {model}, which is another report's on this board; give --name")
    return told


def place(line: Mapping[str, Any]) -> tuple[str, str, int]:
    """Where a line stands on a board: by name, then easy, hard, real."""
    return line["model"].casefold(), line["model"], list(SPLITS).index(line["split"])


def _of_run(report: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Lines of a run's report.json, in which all models have one judge."""
    judge, versions = report["settings"]["judge"], report.get("versions", {})
    silent = FOUR[1:] if judge["judge"] in NO_PERCEPTION else ()
    for model, rates in report["models"].items():
        for split in (split for split in SPLITS if split in rates["splits"]):
            four = rates["splits"][split]
            yield {
                "model": model,
                "split": split,
                "source": "measured",
                "judge": str(judge.get("model") or judge["judge"]),
                "judge_version": versions.get("judge"),
                "data_version": versions.get("data"),
                "metric_version": versions.get("metric"),
                "n": four["asr"]["n"],
                "unscored": four["unscored"],
                "coverage": four.get("coverage"),
                **{name: None if name in silent else four[name] for name in ("asr", "hr", "rsr", "rr")},
                "over_refusal": rates["over_refusal"][split],
                "pair_accuracy": rates["pair_accuracy"][split],
            }


def _line(line: Mapping[str, Any], rows: Mapping[str, int]) -> Iterator[str]:
    where, split = f"{line['model']} on {line['split']}", SPLITS[line["split"]]
    for field in ("model", "judge"):
        if not is_name(line[field]):
            yield f"{where}: {field}: found {ascii(line[field])[:80]}, expected letters, digits and . _ + ( ) -"
    if not _JUDGE_VERSION.fullmatch(str(line.get("judge_version"))):
        yield f"{where}: judge_version: found {ascii(line.get('judge_version'))[:80]}, expected one version such as 1-a"
    metric = constant(ROOT / "cards" / METRICS[0] / f"{METRICS[0]}.py", "METRIC_VERSION")
    for field, ours in (("data_version", DATA_VERSION), ("metric_version", metric)):
        told = str(line.get(field))
        if not _VERSION.fullmatch(told) or told.split("-")[0] != ours.split("-")[0]:
            yield f"{where}: {field}: found {told!a}, expected one that compares with {ours}; measure it again"
    asked = line["n"] + line["unscored"]
    if split not in rows:
        yield f"{where}: rows.{split}: is missing, expected how many rows the split has; measure it with this version"
    elif asked != rows[split]:
        yield f"{where}: n + unscored: found {asked}, expected all {rows[split]} rows of {split}"


def _twice(lines: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A model has one line a split: of two, nobody could tell which rates are its own."""
    known = Counter((line["model"].casefold(), line["split"]) for line in lines)
    for (model, split), found in known.items():
        if found > 1:
            yield f"{model} on {split}: found {found} lines, expected one"


def _twins(lines: Sequence[Mapping[str, Any]], rows: Mapping[str, int]) -> Iterator[str]:
    """No split has more twins than rows, and all splits together no more than there are."""
    twins: dict[str, int] = {}
    for line in lines:
        rate = line["over_refusal"]
        asked = rate["n"] + rate.get("unscored", 0)
        twins[line["model"]] = twins.get(line["model"], 0) + asked
        if asked > line["n"] + line["unscored"]:
            yield f"{line['model']} on {line['split']}: over_refusal.n: found {asked} twins, expected at most one a row"
    for model, asked in twins.items():
        if asked > rows.get(BENIGN, 0):
            most = rows.get(BENIGN, 0)
            yield f"{model}: over_refusal.n: found {asked} twins, expected at most {most}, the rows of {BENIGN}"


def _source(report: Mapping[str, str]) -> tuple[str, str]:
    return report["sha256"], report["model"]
