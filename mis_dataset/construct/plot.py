"""The counts of a construction -> one SVG: a bar a step, its colours the categories, below it what did not go on.

It stands on the page of the construction and by itself, as the file that `funnel` writes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from mis_dataset.construct import elements, filters, labels, pictures, questions
from mis_dataset.construct.funnel import NAME, STEPS, Funnel, Rejects, in_order
from mis_dataset.errors import MISError, UsageError, plain, refuse_constant
from mis_dataset.files import replace_file
from mis_dataset.schema import CATEGORIES

# Okabe and Ito's colours, which the colour-blind can tell apart.
_COLOURS = dict(
    zip(CATEGORIES, ("#E69F00", "#D55E00", "#56B4E9", "#CC79A7", "#009E73", "#0072B2"), strict=True),
)
_OTHER = "#8c8c8c"
_AFTER = {
    "seeds": (elements.NAME,),
    "ideas": (questions.NAME,),
    "questions": (pictures.NAME,),
    "judged": (filters.NAME, labels.NAME),
}
"""Step -> the stages that reject on the way from it to the next."""
_WIDTH, _LEFT, _BAR = 760, 110, 560
_LINE, _BELOW, _GAP = 30, 15, 5
"""Height of a bar with its gap, of a line below it, and of the gap after such lines."""
_REASONS = 2
"""That are named below a bar."""


def draw(funnel: Funnel) -> str:
    """The plot; the same counts give the same bytes.

    Args:
        funnel: what was made and rejected.
    """
    bars = [(step, funnel.steps[step]) for step in STEPS if step in funnel.steps]
    bars += list(funnel.splits.items())
    names = in_order(category for _, found in bars for category in found)
    most = max((sum(found.values()) for _, found in bars), default=0) or 1
    top = 34 + 20 * ((len(names) + 3) // 4)
    told = ", ".join(f"{name} {sum(found.values())}" for name, found in bars)
    drawn, y = _legend(names), top
    for name, found in bars:
        below = _below(funnel, name)
        drawn += _line(y, name, found, most, below)
        y += _LINE + len(below) * _BELOW + (_GAP if below else 0)
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y}" width="{_WIDTH}" height="{y}" '
        'role="img" color="#1b1b1b" font-family="system-ui, \'DejaVu Sans\', sans-serif" font-size="14">',
        f"<title>{_text(f'Rows of every step of the construction: {told}')}</title>",
        f'<rect class="ground" width="{_WIDTH}" height="{y}" fill="#ffffff"/>',
    ]
    return "\n".join([*head, *drawn, "</svg>\n"])


def write_plot(folder: Path, path: Path) -> dict[str, int]:
    """Draws the counts of a construction that has ended.

    Args:
        folder: of the construction.
        path: of the SVG.

    Returns:
        Step or split -> its rows.

    Raises:
        UsageError: the folder is of no construction that has ended, or the name is not that of an SVG.
        MISError: its counts were not written by this version.
        OSError: a file cannot be read or written.
    """
    if path.suffix != ".svg":
        raise UsageError(f"{path}: is no name of an SVG; name a file such as funnel.svg")
    funnel = read_funnel(folder)
    with replace_file(path) as temporary:
        temporary.write_text(draw(funnel), encoding="utf-8", newline="\n")
    return {name: sum(found.values()) for name, found in {**funnel.steps, **funnel.splits}.items()}


def in_words(funnel: Funnel) -> str:
    """The same for the terminal, with every reason; what verdicts reject is in it, which no stage counts.

    >>> few = Funnel({"seeds": {"Privacy": 3}, "ideas": {"Privacy": 2}}, 0, {"train": {"Privacy": 1}})
    >>> print(in_words(Funnel(few.steps, 0, few.splits, [Rejects("elements", "no risk", 1)])))
    3 seeds -> 2 ideas -> 1 train, each with a benign twin
    rejected by elements: 1 no risk
    """
    steps = [f"{sum(found.values())} {name}" for name, found in funnel.steps.items()]
    splits = ", ".join(f"{sum(found.values())} {name}" for name, found in funnel.splits.items())
    lines = [" -> ".join([*steps, f"{splits}, each with a benign twin"])]
    for stage in dict.fromkeys(one.stage for one in funnel.rejected):
        told = ", ".join(f"{one.rows} {one.reason}" for one in funnel.rejected if one.stage == stage)
        lines.append(f"rejected by {stage}: {plain(told)}")
    return "\n".join(lines)


def read_funnel(folder: Path) -> Funnel:
    """Reads OUT/funnel.json.

    Raises:
        UsageError: there is none.
        MISError: it was not written by this version.
        OSError: it cannot be read.
    """
    path = folder / NAME
    if not path.is_file():
        raise UsageError(f"{path}: no such file; name the folder of a construction that has ended")
    try:
        found = json.loads(path.read_bytes(), parse_constant=refuse_constant)
        rejected = [Rejects(one["stage"], one["reason"], int(one["rows"])) for one in found["rejected"]]
        steps, splits = ({name: _counts(one) for name, one in found[key].items()} for key in ("steps", "splits"))
        return Funnel(steps, int(found["to_label"]), splits, rejected)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise MISError(f"{path}: was not written by `construct` as it is now; run that again") from error


def _counts(found: Mapping[str, int]) -> dict[str, int]:
    counts = {str(name): int(rows) for name, rows in found.items()}
    if any(rows < 0 for rows in counts.values()):
        raise ValueError("less than none")
    return counts


def _legend(names: list[str]) -> list[str]:
    drawn = []
    for place, name in enumerate(names):
        x, y = 12 + 180 * (place % 4), 14 + 20 * (place // 4)
        drawn.append(f'<rect x="{x}" y="{y}" width="12" height="12" fill="{_COLOURS.get(name, _OTHER)}"/>')
        drawn.append(f'<text x="{x + 18}" y="{y + 11}" fill="currentColor">{_text(name)}</text>')
    return drawn


def _line(y: int, name: str, found: Mapping[str, int], most: int, below: Sequence[str]) -> list[str]:
    """One bar with its name before it, its number behind it and what did not go on below it."""
    drawn = [f'<text x="{_LEFT - 8}" y="{y + 15}" text-anchor="end" fill="currentColor">{_text(name)}</text>']
    x = float(_LEFT)
    for category, rows in found.items():
        width = _BAR * rows / most
        about = f"<title>{_text(f'{name}, {category}: {rows}')}</title>"
        colour = _COLOURS.get(category, _OTHER)
        drawn.append(f'<rect x="{x:.2f}" y="{y}" width="{width:.2f}" height="20" fill="{colour}">{about}</rect>')
        x += width
    rows = sum(found.values())
    drawn.append(f'<text x="{x + 8:.2f}" y="{y + 15}" font-weight="600" fill="currentColor">{rows}</text>')
    for place, text in enumerate(below):
        at = f'x="{_LEFT}" y="{y + 34 + place * _BELOW}"'
        drawn.append(f'<text {at} font-size="11.5" fill="currentColor" opacity="0.75">{_text(text)}</text>')
    return drawn


def _below(funnel: Funnel, name: str) -> list[str]:
    """What did not go on from a step, a line a stage; and why a step has more rows than the one before it."""
    told = [text for stage in _AFTER.get(name, ()) if (text := _rejected(funnel, stage))]
    made = [sum(funnel.steps.get(step, {}).values()) for step in ("questions", "pictured")]
    return told + ["two rows of a question in blocks"] * (name == "pictured" and made[1] > made[0])


def _rejected(funnel: Funnel, stage: str) -> str:
    found = [one for one in funnel.rejected if one.stage == stage]
    if not found:
        return ""
    told = [f"{one.rows} {one.reason}" for one in found[:_REASONS]]
    told += [f"{sum(one.rows for one in found[_REASONS:])} for other reasons"] if len(found) > _REASONS else []
    return f"{funnel.lost(stage)} rejected by {stage}: {', '.join(told)}"


def _text(text: str) -> str:
    return escape(plain(text))
