"""OUT/construct.html: what a construction made, rejected and cost, in one file that opens offline and has no script.

Whatever a seed, a model or a file says is escaped, and the policy of the page forbids all but its own styles and
pictures. Texts that were rejected are not on it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from mis_dataset.construct.funnel import STEPS, Funnel, Shown, in_order
from mis_dataset.construct.ledger import Spent, total
from mis_dataset.construct.notes import missing_in_words
from mis_dataset.construct.plot import draw
from mis_dataset.construct.rows import Picture, Verdict
from mis_dataset.decoding import thumbnail
from mis_dataset.errors import PictureError, plain
from mis_dataset.files import write_text

NAME = "construct.html"
STYLE = Path(__file__).with_name("page.css")
_SIDE = 320
"""Pixels of the longer side of a picture on the page, at most."""
_HEAD = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>A construction</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>A construction</h1>
"""
_WARNING = """\
<section class="warning"><h3>Content warning</h3>
<p>A row asks what may be harmful, and its pictures may show it. Nothing is shown before you open a row; its pictures
stay blurred until you tick the box above them, and are left out in print.</p></section>
<p>Two rows of each split, by the hash of their ids, so nobody chose them. The picture with an edge is that of the
benign twin. Of what was rejected no text is shown, here or above.</p>
"""


class Told(NamedTuple):
    """What a page shows beside counts and rows.

    Attributes:
        spent: stage -> what it has used, in all runs.
        settings: that can change a row, nested.
        heard: role of a model -> names under which it replied, as its endpoint says.
        unpriced: models without prices.
        stopped: why the run ended before its end; empty where it is whole.
        unanswered: stage -> requests that got no reply and may get one on another day, where there are any.
    """

    spent: Mapping[str, Spent]
    settings: Mapping[str, Any]
    heard: Mapping[str, Sequence[str]]
    unpriced: Sequence[str] = ()
    stopped: str = ""
    unanswered: Mapping[str, int] = MappingProxyType({})


def write_page(folder: Path, funnel: Funnel, shown: Sequence[Shown], told: Told) -> None:
    """Writes the page; the same counts, rows and settings give the same bytes. Call it inside `strict_pillow`.

    Args:
        folder: of the construction.
        funnel: what it made and rejected.
        shown: a few kept rows.
        told: what else stands there.

    Raises:
        PictureError: a picture is none; the text says which.
        OSError: a picture cannot be read, or the page cannot be written.
    """
    parts = [
        *_top(funnel, told),
        *_unanswered(told),
        "<h2>From seeds to rows</h2>",
        f'<figure><div class="wide" tabindex="0">{draw(funnel)}</div></figure>',
        _funnel_table(funnel),
        "<h2>What was rejected, and why</h2>",
        _rejects_table(funnel),
        _verdicts_table(funnel),
        "<h2>What it cost</h2>",
        *_costs(funnel, told),
        "<h2>A few kept rows</h2>",
        _WARNING if shown else "<p>There is none yet.</p>",
        *(_kept(folder, one, number) for number, one in enumerate(shown)),
        "<h2>For those who check</h2>",
        table(
            "Seeds", ("source", "licence", "seeds"), [(one, two or "not stated", n) for one, two, n in funnel.sources]
        ),
        _models_table(told),
        table("Settings of the whole", ("setting", "value"), flat(_whole(told.settings))),
    ]
    style = STYLE.read_text("utf-8")
    text = _HEAD.format(policy=_policy(style), style=style) + "\n".join(parts) + "\n</main>\n</body>\n</html>\n"
    write_text(folder / NAME, text)


def table(
    caption: str, head: Sequence[str], lines: Iterable[Sequence[object]], numbers: bool = False, summed: bool = False
) -> str:
    """A table, all cells escaped.

    >>> "<td>&lt;b&gt;</td><td>2</td>" in table("Rows", ("of", "rows"), [("<b>", 2)])
    True
    """
    lines = [[_cell(cell) for cell in line] for line in lines]
    rows = ["<tr>" + "".join(f"<td>{cell}</td>" for cell in line) + "</tr>" for line in lines]
    if summed and rows:
        rows[-1] = rows[-1].replace("<tr>", '<tr class="sum">', 1)
    heads = "".join(f'<th scope="col">{_cell(word)}</th>' for word in head)
    kind = ' class="numbers"' if numbers else ""
    return (
        f'<figure><figcaption>{_cell(caption)}</figcaption><div class="wide" tabindex="0"><table{kind}>'
        f"<thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div></figure>"
    )


def flat(content: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as lines of a table.

    >>> flat({"seed": 0, "quotas": {"test_hard": 4}})
    [('seed', '0'), ('quotas.test_hard', '4')]
    """
    lines: list[tuple[str, str]] = []
    for key, value in content.items():
        lines += flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(f"{prefix}{key}", str(value))]
    return lines


def _top(funnel: Funnel, told: Told) -> list[str]:
    seeds, kept = sum(funnel.steps["seeds"].values()), funnel.kept()
    splits = ", ".join(f"{sum(found.values())} in {split}" for split, found in funnel.splits.items())
    spent = total(dict(told.spent))
    if told.stopped:
        return [
            f'<section class="warning"><h3>Not finished</h3><pre>{_cell(told.stopped)}</pre></section>',
            f"<p>So far {seeds} seeds were read; the steps that are whole are counted below.</p>",
        ]
    return [
        f"<p>{seeds} seeds became <b>{kept} rows</b> ({_cell(splits)}), each with a benign twin, by {spent.calls} "
        "calls of models.</p>"
    ]


def _unanswered(told: Told) -> list[str]:
    if not told.unanswered:
        return []
    return [
        f'<section class="warning"><h3>Not all was answered</h3><p>{_cell(missing_in_words(told.unanswered))}. Below '
        "these rows are among the rejected. The same command asks again.</p></section>"
    ]


def _funnel_table(funnel: Funnel) -> str:
    columns = {name: funnel.steps[name] for name in STEPS if name in funnel.steps} | funnel.splits
    names = in_order(category for found in columns.values() for category in found)
    lines = [(name, *(found.get(name, 0) for found in columns.values())) for name in names]
    sums = ("all", *(sum(found.values()) for found in columns.values()))
    return table("Rows of every step by category", ("category", *columns), [*lines, sums], numbers=True, summed=True)


def _rejects_table(funnel: Funnel) -> str:
    if not funnel.rejected:
        return "<p>Nothing.</p>"
    lines = [
        (
            one.stage,
            one.reason,
            one.rows,
            "\n".join(f"{name}: {detail}".removesuffix(": ") for name, detail in one.first),
        )
        for one in funnel.rejected
    ]
    lines.append(("all", "", sum(one.rows for one in funnel.rejected), ""))
    return table("By stage and reason", ("stage", "reason", "rows", "the first ones"), lines, summed=True)


def _verdicts_table(funnel: Funnel) -> str:
    lines = [(expert, told, rows) for expert, found in funnel.verdicts.items() for told, rows in found.items()]
    told = "<p>A row may have several verdicts against it and is counted above by the first; who keeps rows apart "
    told += "(duplicates) sees only those that no other rejected.</p>"
    return table("What the experts said", ("expert", "verdict", "rows"), lines) + told if lines else ""


def _costs(funnel: Funnel, told: Told) -> list[str]:
    spent, kept = total(dict(told.spent)), funnel.kept()
    lines = [(stage, *_figures(one)) for stage, one in told.spent.items()]
    each = f"{spent.cost / kept:.4f}, and {spent.calls / kept:.1f} calls" if kept else "not known, as none is kept"
    free = f" Without prices, and so counted as 0: {', '.join(told.unpriced)}." if told.unpriced else ""
    return [
        table(
            "All runs so far",
            ("stage", "calls", "tokens in", "tokens out", "cost", "seconds"),
            [*lines, ("all", *_figures(spent))],
            numbers=True,
            summed=True,
        ),
        f"<p>Cost of a kept row with its twin: {each}; what was rejected is in it. Cost is at the prices of the "
        f"settings, in their currency.{_cell(free)} A reply that was there already costs nothing; what a killed run "
        "had used in the stage that it was killed in is not counted.</p>",
    ]


def _models(settings: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Role -> settings of its model."""
    found = {name: value for name, value in settings.items() if isinstance(value, Mapping) and "model" in value}
    judges = enumerate(settings.get("judges", ()), start=1)
    return found | {f"judge {place}": one for place, one in judges}


def _models_table(told: Told) -> str:
    models = _models(told.settings)
    names = list(dict.fromkeys(name for one in models.values() for name in one))
    lines = [(name, *(one.get(name, "") for one in models.values())) for name in names]
    heard = ("replied as", *("\n".join(told.heard.get(role, ())) for role in models))
    own = [f"{role} is the model that wrote the labels" for role, one in models.items() if one.get("wrote_labels")]
    shown = table("Models, as they were asked for", ("setting", *models), [*lines[:1], heard, *lines[1:]])
    return shown + "".join(f"<p>{_cell(text)}.</p>" for text in own)


def _whole(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in (*_models(settings), "judges")}


def _figures(spent: Spent) -> tuple[object, ...]:
    return (*spent[:3], f"{spent.cost:.4f}", f"{spent.seconds:.1f}")


def _kept(folder: Path, one: Shown, number: int) -> str:
    """A row that opens on a click; its pictures are clear only after another."""
    row, question = one.row.row, one.row.row.row
    pictures = [(picture, f"picture {place}", "") for place, picture in enumerate(row.pictures, start=1)]
    pictures.append((row.twin_picture, f"picture {question.changed_image} of the twin", ' class="twin"'))
    names = [*question.objects, question.twin_objects[question.changed_image - 1]]
    drawn = [_figure(folder, *about, name) for about, name in zip(pictures, names, strict=True)]
    said = [
        ("verdicts", ", ".join(map(_verdict, one.row.verdicts))),
        *zip(("response", "response of the twin"), one.labels, strict=False),
    ]
    lines = "".join(f'<dt>{_cell(word)}</dt><dd dir="auto">{_cell(text)}</dd>' for word, text in said)
    return (
        f'<details class="kept"><summary><code>{_cell(row.id)}</code> {_cell(one.split)}, {_cell(question.category)}'
        f'</summary><p class="question" dir="auto">“{_cell(question.question)}”</p>'
        f'<input type="checkbox" class="unveil" id="unveil-{number}" autocomplete="off">'
        f'<label for="unveil-{number}"> show the pictures of {_cell(row.id)}</label>'
        f'<div class="veiled">{"".join(drawn)}</div><dl>{lines}</dl></details>'
    )


def _verdict(told: Verdict) -> str:
    reasons = ", ".join(filter(None, (told.detail, told.why)))
    return f"{told.expert}: {told.verdict}" + f" ({reasons})" * bool(reasons)


def _figure(folder: Path, picture: Picture, what: str, kind: str, name: str) -> str:
    path = folder / picture.file
    try:
        small = thumbnail(path.read_bytes(), _SIDE)
    except PictureError as error:
        raise PictureError(f"{path} {error}") from error
    uri = "data:image/jpeg;base64," + base64.b64encode(small).decode("ascii")
    return (
        f'<figure{kind}><span><img src="{uri}" alt="{_cell(what)}" decoding="async" loading="lazy"></span>'
        f"<small>{_cell(what)}: {_cell(name)}, by {_cell(picture.model)}</small></figure>"
    )


def _cell(value: object) -> str:
    """A text of a page: no tag, and no sign that acts unseen; several lines stay several."""
    return "<br>".join(escape(plain(line)) for line in str(value).split("\n"))


def _policy(style: str) -> str:
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    return f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
