"""ASR against over-refusal as a drawing inside the page: it takes the page's colours, in light and in dark."""

from __future__ import annotations

from collections.abc import Sequence

from leaderboard import MEASURED, Line, Rate, per_cent
from markup import shown

SIDE, LEFT, TOP, RIGHT, BOTTOM = 300.0, 70.0, 20.0, 20.0, 60.0
"""Of the drawn field and the room around it, in units of the drawing."""
ROOM = 9.0
"""Around the field, so that a sign at 0 or 100 covers neither an axis nor its words."""
_SHAPES = ("circle", "square", "diamond", "triangle")
_LOOKS = 6
"""Colours in style.css; with the shapes, so many models look different."""


def draw_plot(lines: Sequence[Line]) -> str:
    """One point a line, with its 95 % intervals: the better, the nearer to the lower left corner.

    Args:
        lines: of one split; those without both rates are left out.

    Returns:
        HTML with an `svg`, or a sentence where there is nothing to draw.
    """
    points = [(line, line.rates["asr"], line.rates["over_refusal"]) for line in lines]
    drawn = [(line, asr, over) for line, asr, over in points if asr and over]
    if not drawn:
        return "<p class='note'>No model has both an ASR and an over-refusal here, so there is nothing to draw.</p>"
    said = "; ".join(
        f"{line.model}: ASR {per_cent(asr.rate)} %, over-refusal {per_cent(over.rate)} %" for line, asr, over in drawn
    )
    width, height = LEFT + SIDE + RIGHT, TOP + SIDE + BOTTOM
    marks = "".join(_mark(place, *one) for place, one in enumerate(drawn))
    legend = "".join(_legend(place, line) for place, (line, _, _) in enumerate(drawn))
    return (
        f"<figure class='plot'><svg viewBox='0 0 {width:g} {height:g}' role='img' "
        f"aria-label='{shown(f'ASR against over-refusal, in per cent. {said}')}'>{_axes()}{marks}</svg>"
        f"<ul class='legend'>{legend}</ul></figure>"
    )


def _axes() -> str:
    grid = [
        f"<rect class='best' x='{_x(0) - ROOM:g}' y='{_y(0.25):g}' width='{_x(0.25) - _x(0) + ROOM:g}' "
        f"height='{_y(0) - _y(0.25) + ROOM:g}'/>",
    ]
    for tick in (0, 25, 50, 75, 100):
        x, y = _x(tick / 100), _y(tick / 100)
        grid.append(f"<line class='grid' x1='{x:g}' y1='{_y(0) + ROOM:g}' x2='{x:g}' y2='{_y(1) - ROOM:g}'/>")
        grid.append(f"<line class='grid' x1='{_x(0) - ROOM:g}' y1='{y:g}' x2='{_x(1) + ROOM:g}' y2='{y:g}'/>")
        grid.append(f"<text x='{x:g}' y='{_y(0) + ROOM + 17:g}' text-anchor='middle'>{tick}</text>")
        grid.append(f"<text x='{_x(0) - ROOM - 6:g}' y='{y + 4:g}' text-anchor='end'>{tick}</text>")
    words = [
        f"<text class='corner' x='{_x(0.24):g}' y='{_y(0.19):g}' text-anchor='end'>best</text>",
        f"<text class='corner far' x='{_x(0.04):g}' y='{_y(0.91):g}'>declines all</text>",
        f"<text class='corner far' x='{_x(0.96):g}' y='{_y(0.06):g}' text-anchor='end'>helps with all</text>",
    ]
    middle = _y(0.5)
    return (
        "".join(grid + words)
        + f"<text x='{_x(0.5):g}' y='{_y(0) + ROOM + 40:g}' text-anchor='middle'>ASR, %</text>"
        + f"<text x='14' y='{middle:g}' text-anchor='middle' transform='rotate(-90 14 {middle:g})'>"
        "over-refusal, %</text>"
    )


def _mark(place: int, line: Line, asr: Rate, over: Rate) -> str:
    x, y = _x(asr.rate), _y(over.rate)
    bars = ""
    if asr.low is not None and asr.high is not None:
        bars += f"<line x1='{_x(asr.low):g}' y1='{y:g}' x2='{_x(asr.high):g}' y2='{y:g}'/>"
    if over.low is not None and over.high is not None:
        bars += f"<line x1='{x:g}' y1='{_y(over.low):g}' x2='{x:g}' y2='{_y(over.high):g}'/>"
    return f"<g class='look{place % _LOOKS}'>{_told(line, asr, over)}{bars}{_shape(place, x, y)}</g>"


def _told(line: Line, asr: Rate, over: Rate) -> str:
    """What the mouse is told over a sign; the label of the whole drawing says the same."""
    return f"<title>{shown(line.model)}: ASR {per_cent(asr.rate)} %, over-refusal {per_cent(over.rate)} %</title>"


def _legend(place: int, line: Line) -> str:
    shape = (
        f"<svg viewBox='0 0 16 16' aria-hidden='true'><g class='look{place % _LOOKS}'>{_shape(place, 8, 8)}</g></svg>"
    )
    source = "" if line.source == MEASURED else f" <span>({shown(line.source)})</span>"
    return f"<li>{shape} {shown(line.model)}{source}</li>"


def _shape(place: int, x: float, y: float) -> str:
    """A sign of its own for each model, so that nobody has to tell colours apart."""
    shape = _SHAPES[place % len(_SHAPES)]
    if shape == "circle":
        return f"<circle cx='{x:g}' cy='{y:g}' r='5.5'/>"
    corners = {
        "square": ((-5, -5), (5, -5), (5, 5), (-5, 5)),
        "diamond": ((0, -7), (7, 0), (0, 7), (-7, 0)),
        "triangle": ((0, -6.5), (6.5, 5), (-6.5, 5)),
    }[shape]
    return f"<polygon points='{' '.join(f'{x + dx:g},{y + dy:g}' for dx, dy in corners)}'/>"


def _x(rate: float) -> float:
    return LEFT + SIDE * rate


def _y(rate: float) -> float:
    return TOP + SIDE * (1 - rate)
