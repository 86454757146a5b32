"""The README's figures are those that `bars`, `seeds` and `agree` wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trainer.bars import BARS, _aim, _must, read_bars

README = (Path(__file__).resolve().parents[1] / "README.md").read_text("utf-8")
MEASURED = json.loads(BARS.with_name("measured.json").read_text("utf-8"))
"""What `bars` printed for the run that the README speaks of."""
SPREAD = json.loads(BARS.with_name("seeds.json").read_text("utf-8"))
"""What `seeds` wrote for the same run."""


def bars_table(found: dict[str, Any]) -> str:
    """The bars that have a must: a line each, a column for every run; n is the least of all runs."""
    held = [bar for bar in found["bars"] if bar["must"] and bar["state"] != "absent"]
    runs = dict.fromkeys(bar["run"] or "measured" for bar in held)
    lines = [row("figure", "must", *runs, "n", ""), row(*["---"] * (len(runs) + 4))]
    for name in dict.fromkeys(bar["name"] for bar in held):
        one = [bar for bar in held if bar["name"] == name]
        measured = ["-" if bar["measured"] is None else f"{bar['measured']:.4g}" for bar in one]
        state = "**missed**" if any(bar["state"] == "fail" for bar in one) else "holds"
        lines.append(row(name, one[0]["must"], *measured, str(min(bar["n"] for bar in one)), state))
    return "\n".join(lines)


def spread_table(found: dict[str, Any]) -> str:
    """Mean, least and most of every figure."""
    heads = [f"{kind} seeds {', '.join(part['runs'])}" for kind, part in found.items()]
    lines = [row("contrast: mean (least to most)", *heads), row(*["---"] * (len(heads) + 1))]
    for figure in found["data"]["spread"]:
        ranges = [part["spread"][figure] for part in found.values()]
        lines.append(row(figure, *(f"{one['mean']:.3f} ({one['low']:.3f} to {one['high']:.3f})" for one in ranges)))
    return "\n".join(lines)


def row(*cells: str) -> str:
    """A row of a Markdown table."""
    return "|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|"


def test_the_readme_shows_what_was_measured() -> None:
    table = bars_table(MEASURED)
    assert table in README, f"README.md should show:\n{table}"


def test_the_readme_shows_the_spread_that_was_measured() -> None:
    table = spread_table(SPREAD)
    assert table in README, f"README.md should show:\n{table}"


def test_the_readme_names_every_bar_that_was_missed() -> None:
    missed = {bar["name"] for bar in MEASURED["bars"] if bar["state"] == "fail"}
    stands = README.partition("## Where it stands")[2].partition("## Limits")[0]
    assert [name for name in missed if name not in " ".join(stands.split())] == []
    assert ("Every must" in stands) == MEASURED["passed"]


def test_the_readme_says_how_far_the_judges_agree() -> None:
    found = json.loads(BARS.with_name("agree.json").read_text("utf-8"))["all"]
    same, kappa = found["agreement"], found["kappa"]["kappa"]
    said = (
        f"{same['k']} of {same['n']} responses of contrast the same verdict (kappa {kappa:.2f}; {found['unscored']} un"
    )
    assert said in " ".join(README.split())


def test_what_was_measured_was_held_against_these_bars() -> None:
    found = {bar["name"]: (bar["must"], bar["aim"]) for bar in MEASURED["bars"]}
    assert found == {bar.name: (_must(bar), _aim(bar)) for bar in read_bars(BARS)}
