"""comparison.html: every measured model beside the others, in one file that opens offline and needs no script."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from trainer.comparison.browser import MOST_LETTERS, Unit, visible
from trainer.comparison.differences import FIGURES
from trainer.findings import in_full
from trainer.page import CAPTIONS, abilities, groups
from trainer.plots import LEVEL_NAMES
from trainer.questions import TESTED
from trainer.sheet import STYLE, Plot, Table, flat, png_uri, render_sheet

Comparison = Mapping[str, Any]
OWN_STYLE = Path(__file__).with_name("compare.css")
NAMES = {
    "asr": "ASR",
    "hr": "HR",
    "rsr": "RSR",
    "rr": "RR",
    "over_refusal": "over-refusal on the twins",
    "pair_accuracy": "pair accuracy",
}
"""Rate -> its name in a table."""
_MEASURED = ("generate", "device", "judge", "judged_by", "responses", "verdicts")
"""Settings that stand side by side; the others are for those who check."""
_KINDS = {"by_split": "split", "by_level": "level", "by_category": "category"}


class Note(NamedTuple):
    """What a reader has to know of one model: its name, and texts."""

    model: str
    texts: tuple[str, ...]


def render(found: Comparison, plots: Mapping[str, bytes], shown: Sequence[Unit]) -> str:
    """The page as HTML; everything that comes from a run is escaped.

    Args:
        found: Content of comparison.json.
        plots: File name -> PNG.
        shown: Rows beside their twins.
    """
    splits = list(dict.fromkeys(unit.split for unit in shown))
    facts = {
        "found": found,
        "own": _own(found),
        "warnings": _notes({name: found["not_comparable"][name] for name in _own(found)}),
        "differing": _differing(settings(found, True)),
        "probes": probes(found),
        "remarks": _notes(found["remarks"]),
        "settings": settings(found, True),
        "leaderboard": leaderboard(found),
        "published": published(found),
        "corrected": corrections(found),
        "differences": differences(found),
        "tables": [table for table in (*groups(found), _others(found), _abilities(found)) if table.lines],
        "plots": [Plot(png_uri(png), f"{CAPTIONS[name]}{_apart(found)}") for name, png in plots.items()],
        "particulars": settings(found, False),
        "units": shown,
        "splits": splits,
        "most": MOST_LETTERS,
        "level_names": LEVEL_NAMES,
    }
    style = STYLE.read_text("utf-8") + OWN_STYLE.read_text("utf-8") + "".join(_filters(len(splits)))
    return render_sheet("comparison/compare.html.j2", style, facts)


def settings(found: Comparison, side_by_side: bool) -> Table:
    """Settings, a column a model; what differs is marked.

    Args:
        found: Content of comparison.json.
        side_by_side: Those that decide whether rates can be compared; else versions and hashes.
    """
    known = {
        model: {visible(key): visible(value) for key, value in flat(_chosen(one, side_by_side))}
        for model, one in found["settings"].items()
    }
    keys = list(dict.fromkeys(key for one in known.values() for key in one))
    lines = tuple(_setting(key, [one.get(key, "–") for one in known.values()]) for key in keys)
    caption = "How each was measured" if side_by_side else "Versions, commits and sha256 of what was read"
    return Table(caption, ("setting", *known, ""), lines)


def leaderboard(found: Comparison) -> Table:
    """Every rate of every model, a line a split and model."""
    lines = tuple(
        (
            line["split"],
            line["model"] + (" ‡" if found["not_comparable"].get(line["model"]) else ""),
            *("not measured" if line[name] is None else in_full(line[name]) for name in NAMES),
            visible(f"{line['judge']} {line['judge_version']}".strip()),
        )
        for split in TESTED.values()
        for line in found["leaderboard"]["measured"]
        if line["split"] == split and (line["n"] or line["unscored"] or line["over_refusal"]["n"])
    )
    return Table(f"Measured here.{_apart(found)}", ("split", "model", *NAMES.values(), "judge"), lines)


def probes(found: Comparison) -> Table:
    """Every model under every probe beside its own pictures, a line each; empty where there was no probe."""
    asked = list(found["models"]) if len(_own(found)) < len(found["models"]) else []
    lines = tuple(
        (
            split,
            model,
            _probe(found, model).replace("_", " "),
            in_full(rates["splits"][split]["asr"]),
            *(in_full(rates[name][split]) for name in ("over_refusal", "pair_accuracy")),
        )
        for split in TESTED.values()
        for model in asked
        if (rates := found["models"][model])["splits"][split]["asr"]["n"] or rates["over_refusal"][split]["n"]
    )
    head = ("split", "asked as", "pictures", *(NAMES[name] for name in ("asr", "over_refusal", "pair_accuracy")))
    return Table("Own pictures and others", head, lines)


def published(found: Comparison) -> Table:
    """What the authors published, with what in it cannot be."""
    lines = tuple(
        (
            line["split"],
            line["model"],
            str(line["n"]),
            *(f"{line[name]['printed']} %" if line[name] else "–" for name in ("asr", "hr", "rsr", "rr")),
            line["judge"],
            "; ".join(line["impossible"]),
        )
        for split in TESTED.values()
        for line in found["leaderboard"]["published"]
        if line["split"] == split
    )
    head = ("split", "model", "n", "ASR", "HR", "RSR", "RR", "judge", "what cannot be")
    return Table("Published by the authors, not measured here; without k, interval, unscored or bounds", head, lines)


def corrections(found: Comparison) -> Table:
    """Rates beside themselves corrected; one line for a model of which nothing can be."""
    lines = [line for model in found["models"] for line in _corrected(found, model)]
    return Table(
        "As judged, and without the judge's errors", ("model", "split", "rate", "as judged", "corrected"), tuple(lines)
    )


def differences(found: Comparison) -> list[Table]:
    """Every comparable model less the first, by split, level and category."""
    head = (
        "model",
        "rate",
        "of",
        "its rate",
        f"{found['first']}",
        "difference in points",
        "p",
        "p, Holm",
        "twins helped",
    )
    tables = [
        Table(f"Difference from {found['first']}, by {word}", head, tuple(_differences(found, kind)))
        for kind, word in _KINDS.items()
    ]
    return [table for table in tables if table.lines]


def _probe(found: Comparison, model: str) -> str:
    return str(found["settings"][model]["generate"].get("pictures", "own"))


def _own(found: Comparison) -> list[str]:
    """The models as they are, not under a probe."""
    return [model for model in found["models"] if _probe(found, model) == "own"]


def _differing(table: Table) -> Table:
    lines = tuple(line for line in table.lines if line[-1])
    return Table("What differs in how they were measured", table.head, lines)


def _apart(found: Comparison) -> str:
    """What the mark says, where any model has it."""
    return f" ‡ not comparable with {found['first']}." if any(found["not_comparable"].values()) else ""


def _notes(told: Mapping[str, Sequence[str]]) -> list[Note]:
    return [Note(model, tuple(map(visible, texts))) for model, texts in told.items() if texts]


def _chosen(one: Mapping[str, Any], side_by_side: bool) -> dict[str, Any]:
    judges = "; ".join(" ".join(part for part in judge.values() if part) for judge in one["judged_by"])
    return {key: value for key, value in {**one, "judged_by": judges}.items() if (key in _MEASURED) == side_by_side}


def _setting(key: str, values: list[str]) -> tuple[str, ...]:
    return (key, *values, "differs" if len(set(values)) > 1 else "")


def _corrected(found: Comparison, model: str) -> Iterator[tuple[str, ...]]:
    rates, corrected = found["models"][model], found["corrected"][model]
    notes = {one["note"] for split in corrected.values() for one in split.values() if one["rate"] is None}
    if len(notes) == 1 and all(one["rate"] is None for split in corrected.values() for one in split.values()):
        yield model, "every split", "every rate", "as above", notes.pop()
        return
    for split, told in corrected.items():
        for name, one in told.items():
            judged = rates["splits"][split].get(name) or rates[name][split]
            yield model, split, NAMES[name], in_full(judged), _corrected_cell(one)


def _corrected_cell(one: Mapping[str, Any]) -> str:
    if one["rate"] is None:
        return str(one["note"])
    interval = f"{100 * one['rate']:.1f} % ({100 * one['low']:.1f}–{100 * one['high']:.1f})"
    return interval + (f"\n{one['note']}" if one["note"] else "")


def _differences(found: Comparison, kind: str) -> Iterator[tuple[str, ...]]:
    for model, figures in found["minus_first"].items():
        for name in FIGURES:
            for group, one in ((figures[name] or {}).get(kind) or {}).items():
                yield model, NAMES[name], LEVEL_NAMES.get(group, group), *_difference(one)


def _difference(one: Mapping[str, Any]) -> tuple[str, ...]:
    unscored = f"coverage {100 * one['coverage']:.1f} %, {one['unscored']} unscored"
    bounds = f"bounds {_points(one['bounds']['least'])} to {_points(one['bounds']['most'])}"
    effective = f", n_eff {one['n_effective']:.1f}" if one["n_effective"] < one["n"] else ""
    beside = f"{unscored}\n{bounds}{effective}"
    if one["difference"] is None:
        return "–", "–", f"–\n{beside}", "–", "–", "–"
    interval = f"{_points(one['difference'])} ({_points(one['low'])} to {_points(one['high'])})"
    rates = (f"{100 * one[rate]['rate']:.1f} % ({one[rate]['k']}/{one[rate]['n']})" for rate in ("rate1", "rate2"))
    return *rates, f"{interval}\n{beside}", _p(one["p"]), _p(one["p_holm"]), _inferiority(one.get("non_inferiority"))


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"


def _p(p: float | None) -> str:
    if p is None:
        return "–"
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}"


def _inferiority(found: Mapping[str, Any] | None) -> str:
    if not found or not found["found"]:
        return ""
    why = f"\n{found['reason']}" if found["reason"] else ""
    return f"{found['found']} at {100 * found['margin']:g} points{why}"


def _others(found: Comparison) -> Table:
    lines = tuple(
        (
            model,
            name,
            "harmful" if one["harmful"] else "harmless",
            *(in_full(one[rate]) if rate in one else "–" for rate in ("asr", "over_refusal")),
            f"{one['paper']['judge']}, n = {one['paper']['n']}",
        )
        for model, rates in found["models"].items()
        for name, one in rates.get("benchmarks", {}).items()
    )
    head = ("model", "benchmark", "its rows are", "ASR", "over-refusal", "the paper's judge and n")
    return Table("Other benchmarks", head, lines)


def _abilities(found: Comparison) -> Table:
    return abilities(found, "Abilities apart from safety: share of right responses")


def _filters(splits: int) -> Iterator[str]:
    """The rules that hide rows of other splits; the page's own names stand in no rule."""
    for place in range(splits):
        yield f".browser:has(#split-{place}:checked) .unit:not(.split-{place}) {{ display: none; }}\n"
