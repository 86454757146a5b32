"""report.html: one file that opens offline; styles, plots and pictures lie inside it, and it needs no script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from trainer.findings import findings, in_full, kappa_words, per_cent
from trainer.plots import LEVEL_NAMES, RATE_NAMES, SPLITS
from trainer.sheet import STYLE, Plot, Table, flat, png_uri, render_sheet

Report = Mapping[str, Any]
CAPTIONS = {
    "asr_over_refusal.png": "Attack success against over-refusal, with 95 % intervals. Bottom left is best: no help "
    "with dangerous rows, help with their twins. Always helping is bottom right, always declining top left.",
    "rates.png": "The four rates of every split, with 95 % intervals; together they make 100 %.",
    "levels.png": "Pair accuracy by level of generalisation, with 95 % intervals.",
    "dose.png": "Pair accuracy on new pairs of hard by rows trained on, 95 % intervals; 0: the base, all: contrast.",
    "training.png": "Training loss of every arm, on the completion only.",
}


ABILITIES_CAPTION = "Abilities apart from safety, trained in part: share of right responses"


class Side(NamedTuple):
    """A row as the page shows it, with what every model said.

    Attributes:
        id: Row id.
        pictures: Two data URIs.
        changed: Which picture the twin exchanged, 1 or 2; None for the dangerous row.
        said: (model, response, verdict), a line a model.
    """

    id: str
    pictures: tuple[str, str]
    changed: int | None
    said: tuple[tuple[str, str, str], ...]


class Example(NamedTuple):
    """A dangerous row beside its twin: `question`, short name of the `split`, `level` or None, both sides."""

    question: str
    split: str
    level: str | None
    row: Side
    twin: Side


def render(report: Report, plots: Mapping[str, bytes], examples: Sequence[Example]) -> str:
    """The page as HTML; everything that comes from a run is escaped.

    Args:
        report: Content of report.json.
        plots: File name -> PNG.
        examples: Rows beside their twins.
    """
    facts = {
        "report": report,
        "headline": headline(report),
        "findings": findings(report),
        "plots": [Plot(png_uri(png), CAPTIONS[name]) for name, png in plots.items()],
        "tables": tables(report),
        "examples": examples,
        "level_names": LEVEL_NAMES,
        "particulars": particulars(report),
    }
    return render_sheet("report.html.j2", STYLE.read_text("utf-8"), facts)


def headline(report: Report) -> Table:
    """Three rates on hard, a line a model."""
    lines = tuple(
        (
            model,
            in_full(rates["splits"]["hard"]["asr"]),
            in_full(rates["over_refusal"]["hard"]),
            in_full(rates["pair_accuracy"]["hard"]),
        )
        for model, rates in report["models"].items()
    )
    return Table("On hard", ("model", "ASR", "over-refusal on the twins", "pair accuracy"), lines)


def tables(report: Report) -> list[Table]:
    """Every rate of the report; tables without a line are left out."""
    made = [
        _safety(report),
        _by_split(report, "over_refusal", "Over-refusal: share of harmless twins that were declined"),
        _by_split(report, "pair_accuracy", "Pair accuracy: row declined and its twin helped"),
        *groups(report),
        _naming(report),
        abilities(report),
        _partial(report, "probes", "Contrast shown other pictures (text only: pair accuracy is 0 by construction)"),
        _before(report),
        _kappas(report),
        _labels(report),
    ]
    return [table for table in made if table.lines]


def groups(report: Report) -> list[Table]:
    """Rates by level and by category.

    Args:
        report: `models` with rates as `trainer.score.score` gives them; `marked`, splits to be marked.
    """
    return [_groups(report, "levels", "By level of generalisation"), _groups(report, "categories", "By category")]


def abilities(report: Report, caption: str = ABILITIES_CAPTION) -> Table:
    """Share of right responses to what has nothing to do with safety, a line a model that was asked."""
    kinds = ("picture", "text")
    lines = tuple(
        (model, *(per_cent(rates["ability"][kind]) if kind in rates["ability"] else "–" for kind in kinds))
        for model, rates in report["models"].items()
        if rates["ability"]
    )
    return Table(caption, ("model", "picture", "text"), lines)


def particulars(report: Report) -> list[Table]:
    """Stations, settings and hashes, for those who check."""
    stations = tuple(
        (name, f"{one['seconds']:.0f}" + (" and more" if one["cut"] else ""), f"{one['peak_memory_bytes'] / 1e9:.2f}")
        for name, one in report["stations"].items()
    )
    return [
        Table("Stations", ("station", "seconds", "peak memory, GB"), stations),
        Table("Settings", ("setting", "value"), tuple(flat(report["settings"]))),
        Table("What was read", ("file", "sha256"), tuple(flat(report["hashes"]))),
    ]


def _safety(report: Report) -> Table:
    lines = tuple(
        (
            model,
            _marked(report, split),
            *(in_full(rates["splits"][split][rate]) for rate in RATE_NAMES),
            str(rates["splits"][split]["unscored"]),
        )
        for model, rates in report["models"].items()
        for split in SPLITS
    )
    return Table("The four rates of the dangerous rows", ("model", "split", *RATE_NAMES.values(), "unscored"), lines)


def _by_split(report: Report, kind: str, caption: str) -> Table:
    splits = list(report["models"]["base"][kind])
    lines = tuple(
        (model, *(in_full(rates[kind][split]) for split in splits)) for model, rates in report["models"].items()
    )
    return Table(caption, ("model", *(_marked(report, split) for split in splits)), lines)


def _groups(report: Report, kind: str, caption: str) -> Table:
    lines = tuple(
        (
            model,
            LEVEL_NAMES.get(group, group),
            _marked(report, split),
            in_full(found["splits"][split]["asr"]),
            in_full(found["over_refusal"][split]),
            in_full(found["pair_accuracy"][split]),
        )
        for model, rates in report["models"].items()
        for group, found in rates[kind].items()
        for split in SPLITS
        if found["splits"][split]["asr"]["n"]
    )
    return Table(caption, ("model", "group", "split", "ASR", "over-refusal on the twins", "pair accuracy"), lines)


def _naming(report: Report) -> Table:
    rates = report["models"]["contrast"]
    styles = {"trained": ("easy", "hard"), "real": ("real",)}
    lines = tuple(
        (
            f"{100 * report['naming'][style]:.1f} %",
            _marked(report, split),
            in_full(rates["splits"][split]["asr"]),
            in_full(rates["over_refusal"][split]),
            in_full(rates["pair_accuracy"][split]),
        )
        for style, splits in styles.items()
        for split in splits
    )
    head = ("named by the base's tower", "split", "ASR", "over-refusal on the twins", "pair accuracy")
    caption = "What the pictures' style does: the naming of the tower alone, beside contrast's rates"
    return Table(caption, head, lines)


def _partial(report: Report, kind: str, caption: str) -> Table:
    lines = tuple(
        (
            name,
            in_full(rates["splits"]["hard"]["asr"]),
            in_full(rates["over_refusal"]["hard"]),
            in_full(rates["pair_accuracy"]["hard"]),
        )
        for name, rates in report[kind].items()
    )
    return Table(caption, ("shown", "ASR on hard", "over-refusal on the twins", "pair accuracy"), lines)


def _before(report: Report) -> Table:
    own = report.get("before")
    lines = () if own is None else ((in_full(own["splits"]["hard"]["asr"]), in_full(own["over_refusal"]["hard"])),)
    return Table("SmolLM2 before, told in words what the pictures show", ("ASR on hard", "over-refusal"), lines)


def _kappas(report: Report) -> Table:
    lines = tuple(
        (
            model,
            " and ".join(found["judges"]),
            kappa_words(found["kappa"]),
            _with_unscored(found["agreement"] | {"unscored": found["unscored"]}),
        )
        for model, found in report["agreement"]["models"].items()
    )
    return Table("Two judges on the same responses", ("model", "judges", "kappa", "same verdict"), lines)


def _labels(report: Report) -> Table:
    lines = tuple(
        (
            judge,
            _with_unscored(found["sensitivity"]),
            _with_unscored(found["specificity"]),
            per_cent(found["perception"]),
        )
        for judge, found in (report["agreement"]["labels"] or {}).items()
    )
    return Table("The judges against readers", ("judge", "sensitivity", "specificity", "perception"), lines)


def _with_unscored(rate: Mapping[str, Any]) -> str:
    return per_cent(rate) + (f", {rate['unscored']} unscored" if rate.get("unscored") else "")


def _marked(report: Report, split: str) -> str:
    return f"{split} †" if split in report["marked"] else split
