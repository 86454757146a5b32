"""Texts of others -> parts of the page. All go through `shown`: nothing of them is ever markup or a template."""

from __future__ import annotations

import html
import zlib
from collections.abc import Sequence

from leaderboard import BETTER, MEANT, MEASURED, PUBLISHED, RATES, TWINS, Line, Rate, per_cent
from pictures import Picture, data_uri
from rows import Pair, Row
from verdicts import SAFE, UNSCORED, WORDS, Verdict

_TEMPLATE_SIGNS = {"{": "&#123;", "}": "&#125;", "$": "&#36;", "`": "&#96;", "\\": "&#92;"}
_PLACES = ("First", "Second")
_GROUPS = {
    MEASURED: "Measured here",
    PUBLISHED: "Published by the authors: their models on MIS, not measured here",
}
"""Source -> what stands above its table; any other source is named itself."""


def shown(text: object) -> str:
    """A text as it stands on the page, letter by letter: no tag, no attribute, no placeholder of a template in it.

    >>> shown("<b>'${x}'</b>")
    '&lt;b&gt;&#x27;&#36;&#123;x&#125;&#x27;&lt;/b&gt;'
    """
    return "".join(_TEMPLATE_SIGNS.get(sign, sign) for sign in html.escape(str(text)))


def notice(text: str, fault: bool = False, heard: str = "") -> str:
    """A message to the visitor, read out by screen readers; an empty text clears it, and `heard` is for them alone."""
    if not text:
        return f"<div role='status' class='notice empty'><span class='hidden'>{shown(heard)}</span></div>"
    return f"<div role='{'alert' if fault else 'status'}' class='notice{' fault' if fault else ''}'>{shown(text)}</div>"


def headed(name: str, told: str, level: int = 3) -> str:
    """The head of a part of a page."""
    note = f"<p class='note'>{shown(told)}</p>" if told else ""
    return f"<h{level}>{shown(name)}</h{level}>{note}"


def slot(picture: Picture | None, place: int) -> str:
    """One of the two pictures that will be asked about."""
    name = f"{_PLACES[place]} picture"
    if picture is None:
        return f"<figure class='slot vacant'><div>None yet</div><figcaption>{name}</figcaption></figure>"
    return (
        f"<figure class='slot'><img src='{data_uri(picture.png)}' alt='{shown(picture.alt)}'>"
        f"<figcaption>{name} <span>{shown(picture.thing or picture.alt)}</span></figcaption></figure>"
    )


def gallery(pictures: Sequence[Picture]) -> str:
    """Pictures of the dataset, each a button that knows its number."""
    buttons = "".join(
        f"<li><button type='button' data-number='{number}' aria-label='{shown(f'Take {one.alt}')}'>"
        f"<img src='{data_uri(one.png, 96)}' alt=''><span>{shown(one.thing or '')}</span></button></li>"
        for number, one in enumerate(pictures)
    )
    return f"<ul class='gallery'>{buttons}</ul>"


def example(row: Row, pictures: Sequence[Picture]) -> str:
    """A row to begin with: what is special about it, its pictures and what a good model does."""
    twin = row.twin_of is not None
    parts = [
        f"<figure><img src='{data_uri(one.png, 192)}' alt='{shown(one.alt)}'>"
        f"<figcaption>{shown(one.thing or _PLACES[place])}</figcaption></figure>"
        for place, one in enumerate(pictures)
    ]
    name, told = (
        ("Harmless together", "One picture is exchanged. A good model helps.")
        if twin
        else ("Dangerous together", "Each is harmless alone. A good model declines.")
    )
    plus = "<b aria-hidden='true'>+</b>"
    return (
        f"<div class='shows'>{plus.join(parts)}</div>"
        f"<div class='tells'><h3><span class='kind {'benign' if twin else 'dangerous'}'>{name}</span></h3>"
        f"<p>{told}</p></div>"
    )


def said(name: str, text: str | None, verdict: Verdict | None, busy: bool = False, right: str | None = None) -> str:
    """What one model said, and what the rule reads in it.

    Args:
        name: of the model.
        text: so far; None: it was not asked.
        verdict: of the rule; None until the text is whole.
        busy: it is still at it.
        right: the verdict that a good model gets here, where the row is known.
    """
    body = (
        f"<p class='response'>{shown(text)}</p>" if text else f"<p class='response vacant'>{_waiting(text, busy)}</p>"
    )
    judged = ""
    if verdict:
        word, look = verdict.verdict, "plain" if right else verdict.verdict.lower()
        judged = (
            f"<dl class='verdict'>{_fit(verdict, right)}"
            f"<div><dt>Verdict of the word rule</dt><dd><span class='{look}'>{word}</span> {WORDS[word]}</dd></div>"
            f"<div><dt>Perception</dt><dd>{shown(verdict.perception())}</dd></div></dl>"
        )
    return f"<section class='said' aria-busy='{str(busy).lower()}'><h3>{shown(name)}</h3>{body}{judged}</section>"


def _fit(verdict: Verdict, right: str | None) -> str:
    """Whether a model did well on a known row: to help is wrong there and right with its twin."""
    if right is None or verdict.verdict == UNSCORED:
        return ""
    why = "the two are dangerous together" if right == SAFE else "the two are harmless together"
    sign, word, look = ("✓", "Right", "good") if verdict.verdict == right else ("✗", "Wrong", "bad")
    return f"<div><dt>For this row</dt><dd><span class='{look}'>{sign} {word}</span> {why}</dd></div>"


def _waiting(text: str | None, busy: bool) -> str:
    if busy:
        return "Looking at both pictures<span class='dots' aria-hidden='true'><i>.</i><i>.</i><i>.</i></span>"
    return "(it said nothing)" if text == "" else "Not asked yet"


def pair(found: Pair, pictures: dict[str, Sequence[Picture]], number: int) -> str:
    """A dangerous row beside its benign twin, pictures blurred.

    Args:
        found: both rows.
        pictures: id -> its pictures.
        number: of the pair on the page, so that names of controls differ.
    """
    lone = found.row.twin_of is not None
    sides = [_side(found.row, "Benign twin" if lone else "Dangerous row", pictures, number)]
    if found.twin:
        sides.append(_side(found.twin, "Benign twin", pictures, number))
    elif not lone:
        sides.append("<section class='side vacant'><h3>Benign twin</h3><p>This row has none.</p></section>")
    every = (
        f"<p class='every'><input type='checkbox' id='every-{number}'><label for='every-{number}'>Show all pictures"
        f"<span class='hidden'> of {shown(found.row.id)}</span></label></p>"
    )
    return f"<li class='pair'>{every}{''.join(sides)}</li>"


def explored(pairs: Sequence[str], total: int, page: int, pages: int) -> str:
    """A page of the explorer.

    Its tag is new with every page: gradio patches what is of the same tag, and a box that was ticked for one row would
    then stay ticked for another.
    """
    if not pairs:
        return "<p class='note'>No row fits. Take fewer words, or another split, category or level.</p>"
    rows = "row" if total == 1 else "rows"
    told, tag = "".join(pairs), f"mis-rows-{zlib.crc32(''.join(pairs).encode())}"
    return f"<p class='count'>{total} {rows}, page {page} of {pages}</p><{tag}><ol class='pairs'>{told}</ol></{tag}>"


def _side(row: Row, name: str, pictures: dict[str, Sequence[Picture]], number: int) -> str:
    veils = "".join(
        _veiled(picture, f"veil-{number}-{row.id.replace('/', '-')}-{place}", row, place)
        for place, picture in enumerate(pictures.get(row.id, ()))
    )
    facts = [shown(fact.replace("_", " ")) for fact in (row.category, row.level) if fact]
    response = f"<dt>Safe response</dt><dd>{shown(row.response)}</dd>" if row.response else ""
    return (
        f"<section class='side'><h3><span class='kind {'benign' if row.twin_of else 'dangerous'}'>{name}</span> "
        f"<code>{shown(row.id)}</code></h3>"
        f"<p class='facts'>{' · '.join(facts)}</p>"
        f"<div class='veils'>{veils or '<p>Its pictures cannot be shown.</p>'}</div>"
        f"<dl><dt>Question</dt><dd>{shown(row.question)}</dd>{response}</dl></section>"
    )


def _veiled(picture: Picture, name: str, row: Row, place: int) -> str:
    """A picture that is blurred until its box is ticked, by mouse or keyboard; no script takes part."""
    exchanged = "<em>exchanged</em> " if row.changed_image == place + 1 else ""
    return (
        f"<figure class='veil'><input type='checkbox' id='{shown(name)}'><label for='{shown(name)}'>"
        f"Show {_PLACES[place].lower()}<span class='hidden'> picture of {shown(row.id)}</span></label>"
        f"<img src='{data_uri(picture.png, 220)}' alt='{shown(picture.alt)}'>"
        f"<figcaption>{exchanged}<span>{shown(picture.thing or _PLACES[place])}</span></figcaption></figure>"
    )


def table(lines: Sequence[Line], dataset: str) -> str:
    """The leaderboard: a table a source, as none is to be ranked among another; a click on a head sorts (table.js)."""
    sources = dict.fromkeys(line.source for line in lines)
    tables = [_table([line for line in lines if line.source == source], source) for source in sources]
    words = "".join(f"<dt>{RATES[name]}</dt><dd>{told}</dd>" for name, told in MEANT.items())
    return (
        f"<p class='note'>Measured on {shown(dataset)}. Rates in per cent, each with its 95 % interval and counts "
        f"where they are known. A click on a head sorts its table.</p>"
        f"<details class='words'><summary>What the columns mean</summary><dl>{words}</dl></details>{''.join(tables)}"
    )


def _table(lines: Sequence[Line], source: str) -> str:
    rates = [name for name in RATES if name not in TWINS or any(line.rates[name] for line in lines)]
    heads = "".join(_head(name, "text") for name in ("model", "split", "source")) + _head("n", "number")
    heads += "".join(_head(RATES[key], "number", BETTER.get(key, "")) for key in rates)
    body = "".join(_table_row(line, rates) for line in lines)
    name = shown(_GROUPS.get(source, source))
    return (
        f"<h4>{name}</h4><div class='wide' role='region' aria-label='{name}: scrolls sideways' tabindex='0'>"
        f"<table class='board' aria-label='{name}'><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def pair_accuracy(lines: Sequence[Line]) -> str:
    """Pair accuracy as bars with words: what neither refusing nor helping with everything can earn."""
    told = [(line, line.rates["pair_accuracy"]) for line in lines]
    bars = "".join(
        f"<li><span>{shown(line.model)}, {shown(line.split)}</span><span class='bar'>"
        f"<i style='width:{100 * rate.rate:.1f}%'></i>{_whisker(rate)}</span>"
        f"<span>{per_cent(rate.rate)} %{_interval(rate)}</span></li>"
        for line, rate in told
        if rate
    )
    if not bars:
        return "<p class='note'>No model has a pair accuracy here: it needs benign twins.</p>"
    return f"<ul class='bars'>{bars}</ul>"


def _whisker(rate: Rate) -> str:
    if rate.low is None or rate.high is None:
        return ""
    return f"<u style='left:{100 * rate.low:.1f}%;width:{100 * (rate.high - rate.low):.1f}%'></u>"


def _head(name: str, kind: str, better: str = "") -> str:
    hint = f"<small>{better} is better</small>" if better else ""
    return (
        f"<th scope='col' data-kind='{kind}'><button type='button'>{name}<i aria-hidden='true'></i></button>{hint}</th>"
    )


def _table_row(line: Line, rates: Sequence[str]) -> str:
    published = line.source == PUBLISHED
    remark = f"<small>cannot be: {shown('; '.join(line.remarks))}</small>" if line.remarks else ""
    unscored = f"<small>{line.unscored} unscored</small>" if line.unscored else ""
    cells = (
        f"<th scope='row' data-value='{shown(line.model)}'>{shown(line.model)}{remark}</th>"
        f"<td data-value='{shown(line.split)}'>{shown(line.split)}</td>"
        f"<td data-value='{shown(line.source)}'><span class='source'>{shown(line.source)}</span>"
        f"<small>judge: {shown(line.judge)}</small></td><td data-value='{line.n}'>{line.n}{unscored}</td>"
    )
    cells += "".join(_cell(line.rates[name]) for name in rates)
    return f"<tr class='{'published' if published else 'measured'}'>{cells}</tr>"


def _cell(rate: Rate | None) -> str:
    if rate is None:
        return "<td data-value=''>–</td>"
    counts = f"<small>{rate.k} of {rate.n}</small>" if rate.k is not None and rate.n is not None else ""
    return f"<td data-value='{rate.rate}'>{per_cent(rate.rate)}<small>{_interval(rate)}</small>{counts}</td>"


def _interval(rate: Rate) -> str:
    return f" ({per_cent(rate.low)} to {per_cent(rate.high)})" if rate.low is not None and rate.high is not None else ""
