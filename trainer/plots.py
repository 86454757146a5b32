"""The plots of a report as PNG bytes: the same report gives the same bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from trainer.questions import TESTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Report = Mapping[str, Any]
Logs = Mapping[str, Sequence[Mapping[str, Any]]]
SPLITS = tuple(TESTED.values())
RATE_NAMES = {"asr": "attack success (ASR)", "rsr": "reasoned safe (RSR)", "rr": "refusal (RR)", "hr": "blind (HR)"}
LEVEL_NAMES = {"trained_pairs": "trained pairs", "new_pairs": "new pairs", "new_objects": "new objects"}
# Okabe and Ito's colours, which the colour-blind can tell apart; a shape each beside them.
_LOOK = {
    "base": ("#000000", "o"),
    "mirage": ("#D55E00", "s"),
    "contrast": ("#0072B2", "D"),
    "refusal": ("#CC79A7", "^"),
    "shuffled": ("#009E73", "v"),
}
_SPARE = tuple(
    (colour, shape)
    for shapes in ("osD^vP", "XpHd<>")
    for colour, shape in zip(("#E69F00", "#56B4E9", "#009E73", "#D55E00", "#0072B2", "#CC79A7"), shapes, strict=True)
)
"""For models of other names, in their order; from the thirteenth on they repeat."""
_LEGEND_COLUMNS = 5
_WIDTH = 8.0
"""Inches."""
_DPI = 130
_STYLE = {"font.size": 11, "axes.titlesize": 11, "axes.spines.top": False, "axes.spines.right": False}


class _Dot(NamedTuple):
    """One rate to draw: on which line, for which model."""

    line: int
    model: str
    rate: Mapping[str, Any]


def draw(report: Report, logs: Logs) -> dict[str, bytes]:
    """All plots for which the report has figures.

    Args:
        report: Content of report.json.
        logs: Arm -> entries of its log.jsonl, each with `step` and `loss`.

    Returns:
        File name -> PNG, in the order of the page.
    """
    import matplotlib

    with matplotlib.rc_context(_STYLE):
        drawn = {
            "asr_over_refusal.png": _asr_over_refusal(report),
            "rates.png": _rates(report),
            "levels.png": _levels(report),
            "dose.png": _dose(report),
            "training.png": _training(logs),
        }
        return {name: _png(figure) for name, figure in drawn.items() if figure is not None}


def draw_compared(report: Report) -> dict[str, bytes]:
    """The plots that need no more than `models` and `marked`; none of over-refusal where no model has such a rate.

    A model that is not comparable with the first is marked by ‡.

    Args:
        report: `models` of any names, rates as `trainer.score.score` gives them; `marked`; `not_comparable`, reasons.

    Returns:
        File name -> PNG.
    """
    import matplotlib

    apart = report["not_comparable"]
    named = {f"{model} ‡" if apart.get(model) else model: rates for model, rates in report["models"].items()}
    report = {**report, "models": named}
    known = [rate["rate"] for rates in report["models"].values() for rate in rates["over_refusal"].values()]
    with matplotlib.rc_context(_STYLE):
        drawn = {} if set(known) <= {None} else {"asr_over_refusal.png": _png(_asr_over_refusal(report))}
        return drawn | {"rates.png": _png(_rates(report))}


def _asr_over_refusal(report: Report) -> Figure:
    """A panel a split; models that fall on one point stay visible as rings in each other."""
    figure, panels = _panels(1, len(SPLITS), 3.5)
    models = list(report["models"])
    for panel, split in zip(panels, SPLITS, strict=True):
        for place, model in enumerate(models):
            rates = report["models"][model]
            look = looks(models)[model]
            _cross(panel, look, rates["splits"][split]["asr"], rates["over_refusal"][split], 12 - 1.8 * place)
        panel.set(title=_split_name(report, split), xlim=(-7, 107), ylim=(-7, 107), xlabel="ASR, %")
        panel.set_aspect("equal")
        panel.grid(alpha=0.25)
    panels[0].set_ylabel("over-refusal on the twins, %")
    _legend(figure, models)
    return figure


def _rates(report: Report) -> Figure:
    """A panel for each of the four rates, a line a split."""
    models = list(report["models"])
    figure, panels = _panels(2, 2, 1.9 + 2 * (0.7 + len(SPLITS) * len(models) * 0.17))
    for panel, name in zip(panels, RATE_NAMES, strict=True):
        dots = [
            _Dot(line, model, report["models"][model]["splits"][split][name])
            for line, split in enumerate(SPLITS)
            for model in models
        ]
        _dots(panel, dots, [_split_name(report, split) for split in SPLITS], models)
        panel.set_title(RATE_NAMES[name])
    for panel in panels[2:]:
        panel.set_xlabel("% of dangerous rows")
    _legend(figure, models)
    return figure


def _levels(report: Report) -> Figure | None:
    """Pair accuracy: a panel a split, a line a level."""
    models = list(report["models"])
    levels = [level for level in LEVEL_NAMES if any(level in report["models"][model]["levels"] for model in models)]
    if not levels:
        return None
    figure, panels = _panels(1, len(SPLITS), 1.9 + len(levels) * len(models) * 0.2)
    for panel, split in zip(panels, SPLITS, strict=True):
        dots = [
            _Dot(line, model, report["models"][model]["levels"][level]["pair_accuracy"][split])
            for line, level in enumerate(levels)
            for model in models
        ]
        _dots(panel, dots, [LEVEL_NAMES[level] for level in levels], models)
        panel.set(title=_split_name(report, split), xlabel="pair accuracy, %")
    _legend(figure, models)
    return figure


def _dose(report: Report) -> Figure | None:
    """Pair accuracy on new pairs of hard after so many rows of contrast; None where only 0 and all were measured."""
    known = {rows: rate for rows, rate in report["dose"].items() if rate["rate"] is not None}
    if len(known) < 3:
        return None
    figure, (panel,) = _panels(1, 1, 3.6)
    middle = [100 * rate["rate"] for rate in known.values()]
    down = [max(0.0, 100 * (rate["rate"] - rate["low"])) for rate in known.values()]
    up = [max(0.0, 100 * (rate["high"] - rate["rate"])) for rate in known.values()]
    colour, shape = _LOOK["contrast"]
    panel.errorbar(range(len(known)), middle, (down, up), color=colour, marker=shape, capsize=4, linewidth=1.5)
    panel.set_xticks(range(len(known)), [_dose_label(rows, rate) for rows, rate in known.items()])
    panel.set(ylim=(-4, 104), xlabel="rows of contrast trained on (not to scale)")
    panel.set_ylabel("pair accuracy, new pairs of hard, %")
    panel.grid(axis="y", alpha=0.25)
    return figure


def _dose_label(rows: str, rate: Mapping[str, Any]) -> str:
    left = f"\n{rate['unscored']} unscored" if rate.get("unscored") else ""
    return f"{rows}\n({rate['k']}/{rate['n']}){left}"


def _training(logs: Logs) -> Figure | None:
    """Loss by step, a line an arm; logarithmic, as the losses fall by powers of ten."""
    known = {arm: [entry for entry in log if entry["loss"] > 0] for arm, log in logs.items()}
    if not any(known.values()):
        return None
    figure, (panel,) = _panels(1, 1, 3.9)
    for arm, entries in known.items():
        colour, shape = looks(list(known))[arm]
        steps, losses = [entry["step"] for entry in entries], [entry["loss"] for entry in entries]
        every = max(1, len(steps) // 8)
        panel.plot(steps, losses, color=colour, marker=shape, markevery=every, markersize=5, linewidth=1.3, label=arm)
    panel.set_yscale("log")
    panel.set(xlabel="step", ylabel="training loss")
    panel.grid(alpha=0.25)
    _legend(figure, list(known))
    return figure


def _panels(rows: int, columns: int, height: float) -> tuple[Figure, list[Axes]]:
    """A figure without pyplot, which would keep it; panels share their axes where they stand side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    return figure, list(panels.flat)


def _dots(panel: Axes, dots: Sequence[_Dot], lines: Sequence[str], models: Sequence[str]) -> None:
    """Rates with their intervals, lines from the top, the models of a line below each other."""
    gap = 0.8 / max(1, len(models))
    for dot in dots:
        if dot.rate["rate"] is None:
            continue
        height = dot.line + gap * (models.index(dot.model) - (len(models) - 1) / 2)
        colour, shape = looks(models)[dot.model]
        panel.errorbar(
            100 * dot.rate["rate"], height, xerr=_arms(dot.rate), color=colour, marker=shape, markersize=5, capsize=2
        )
    for edge in range(1, len(lines)):
        panel.axhline(edge - 0.5, color="#cccccc", linewidth=0.8)
    panel.set_yticks(range(len(lines)), lines)
    panel.tick_params(axis="y", length=0)
    panel.set(xlim=(-4, 104), ylim=(len(lines) - 0.5, -0.5))
    panel.grid(axis="x", alpha=0.25)


def _cross(panel: Axes, look: tuple[str, str], across: Mapping[str, Any], up: Mapping[str, Any], size: float) -> None:
    if across["rate"] is None or up["rate"] is None:
        return
    colour, shape = look
    panel.errorbar(
        100 * across["rate"],
        100 * up["rate"],
        xerr=_arms(across),
        yerr=_arms(up),
        color=colour,
        marker=shape,
        markersize=max(4.0, size),
        markerfacecolor="none",
        markeredgewidth=1.8,
        elinewidth=1,
        clip_on=False,
    )


def _arms(rate: Mapping[str, Any]) -> list[list[float]]:
    """Both arms of an error bar in per cent; at 0 and 1 a bound may be one rounding beyond the rate."""
    return [[max(0.0, 100 * (rate["rate"] - rate["low"]))], [max(0.0, 100 * (rate["high"] - rate["rate"]))]]


def _split_name(report: Report, split: str) -> str:
    return f"{split} †" if split in report["marked"] else split


def _legend(figure: Figure, models: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=colour, marker=shape, linestyle="none", label=model)
        for model, (colour, shape) in looks(models).items()
    ]
    columns = min(len(models), _LEGEND_COLUMNS)
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, handletextpad=0.2)


def looks(models: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Colour and shape of every model: those of a run's arms are theirs, others get what is left, in their order."""
    others = [model for model in models if model not in _LOOK]
    taken = {_LOOK[model] for model in models if model in _LOOK}
    spare = [look for look in _SPARE if look not in taken]
    given = {model: spare[place % len(spare)] for place, model in enumerate(others)}
    return {model: _LOOK.get(model) or given[model] for model in models}


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    # The library's version stays out of the file.
    figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return buffer.getvalue()
