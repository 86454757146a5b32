"""Numbers of a run as Markdown tables, rates in per cent: the only file that leaves fractions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cards.facts import Rate


class Line(NamedTuple):
    """One line of a table of rates: its labels, then one rate a column (None: the report has none there)."""

    labels: tuple[str, ...]
    rates: tuple[Rate | None, ...]


def per_cent(rate: Rate | None) -> str:
    """A rate as a card shows it.

    >>> per_cent(Rate(0.025, 4, 160, 0.0098, 0.0625))
    '2.5 % (4/160; 1.0–6.2)'
    >>> per_cent(Rate(None, 0, 0, None, None)), per_cent(None)
    ('– (0/0)', '–')
    """
    if rate is None:
        return "–"
    if rate.rate is None or rate.low is None or rate.high is None:
        return f"– ({rate.k}/{rate.n})" + (f", {rate.unscored} unscored" if rate.unscored else "")
    shown = f"{100 * rate.rate:.1f} % ({rate.k}/{rate.n}; {100 * rate.low:.1f}–{100 * rate.high:.1f})"
    return shown + (f", {rate.unscored} unscored" if rate.unscored else "")


def share(fraction: float) -> str:
    """A fraction without its counts.

    >>> share(0.9751)
    '97.5 %'
    """
    return f"{100 * fraction:.1f} %"


def by_model(lines: Sequence[tuple[str, Mapping[str, Rate]]], marked: str | None = None) -> str:
    """A table with a line a model and a column a part.

    Args:
        lines: (model, part -> rate); a part that a model has not is shown as a dash.
        marked: the model to set in bold, or None.
    """
    parts = list(dict.fromkeys(part for _, rates in lines for part in rates))
    shown = [
        [f"**{model}**" if model == marked else model, *(rates.get(part) for part in parts)] for model, rates in lines
    ]
    return table(["model", *parts], shown)


def by_group(word: str, lines: Sequence[Line]) -> str:
    """A table with a line a group and split; "" where there is no line.

    Args:
        word: what a group is called, such as "level".
        lines: labels (group, split), rates (ASR, over-refusal, pair accuracy).
    """
    head = [word, "split", "ASR", "over-refusal on the twins", "pair accuracy"]
    return table(head, [[*line.labels, *line.rates] for line in lines]) if lines else ""


def by_split(word: str, counts: Mapping[str, Mapping[str | None, int]]) -> str:
    """A table with a line a name and a column a split; "" where no split has a name.

    Args:
        word: what a name is, such as "category".
        counts: split -> name (None: rows without one) -> rows.
    """
    names = list(dict.fromkeys(name for split in counts.values() for name in split if name is not None))
    if not names:
        return ""
    bare = [["(none)", *(split.get(None, 0) for split in counts.values())]]
    lines = [[name, *(split.get(name, 0) for split in counts.values())] for name in names]
    lines += bare if any(bare[0][1:]) else []
    return table([word, *(f"`{split}`" for split in counts)], lines)


def size(count: int) -> str:
    """A number of bytes as a card shows it.

    >>> size(43_210), size(10_600_000_000)
    ('0.04 MB', '10.60 GB')
    """
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.2f} MB"


def counted(count: int, word: str) -> str:
    """A number of things in words.

    >>> counted(1, "reason"), counted(2, "reason")
    ('1 reason', '2 reasons')
    """
    return f"{count} {word}{'' if count == 1 else 's'}"


def settings_table(settings: Mapping[str, Any]) -> str:
    """A table of settings: dotted name -> value, what is no string, or an empty one, as JSON.

    >>> print(settings_table({"base": "", "method": "lora", "rows": None}).splitlines()[2:])
    ['| `base` | "" |', '| `method` | lora |', '| `rows` | null |']
    """
    shown = {
        name: value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
        for name, value in settings.items()
    }
    return table(["setting", "value"], [[f"`{name}`", value] for name, value in shown.items()])


def table(head: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    """A Markdown table; rates and what is missing as `per_cent`, everything else as `escape`."""
    rule = ["---"] * len(head)
    cells = [[escape(word) for word in head], rule, *([_cell(value) for value in line] for line in lines)]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def escape(value: object) -> str:
    """A value as one cell of a table: no line break, column mark, tag, picture or link, nor an address to become one.

    >>> escape("a < b & c")
    'a &lt; b &amp; c'
    """
    text = " ".join(str(value).split())
    return (
        text.replace("&", "&amp;")
        .replace("<", "&lt;")
        .replace("|", "\\|")
        .replace("](", "]&#40;")
        .replace("://", "&#58;//")
        .replace("www.", "www&#46;")
    )


def _cell(value: object) -> str:
    return per_cent(value) if value is None or isinstance(value, Rate) else escape(value)
