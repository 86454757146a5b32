"""The demo of MIS as a Gradio page: `python app.py`. Settings: see settings.py. Only the widgets stand here.

Pictures go to the page inside it and stay in the visitor's session: no file of an upload is left, none has an address.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr
from starlette.middleware import Middleware

import markup
from acts import NOTHING, Demo, Pictures
from door import Door, page_of
from rows import ANY, Wanted
from settings import HERE, DemoError, read_settings

PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
"""No event can be called as an API."""
CHOOSING: dict[str, Any] = {
    "concurrency_limit": 1,
    "concurrency_id": "pictures",
    "trigger_mode": "multiple",
    **PRIVATE,
}
"""One at a time, so that two quick clicks become two pictures."""
PICKED = """
element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-number]");
  if (!button) return;
  const places = [...document.querySelectorAll("#place input")];
  const place = Math.max(0, places.findIndex((one) => one.checked));
  trigger("submit", { number: Number(button.dataset.number), place });
  places[1 - place].click();
});
"""
"""Tells which picture of the gallery was clicked and which of the two it becomes; the next becomes the other one. The
page decides that: of two quick clicks the second may come here first."""
HEARD = "element.setAttribute('aria-live', 'polite');"
"""Screen readers read out what appears within an element that was there before."""
HOUR = 3600
MOST_LETTERS = 20_000
"""That can be typed: more than is ever asked, so that who types too many is told, and fewer than a door lets in."""


def build(demo: Demo) -> gr.Blocks:
    """The page."""
    with gr.Blocks(title="MIS demo", analytics_enabled=False, delete_cache=(60, 120)) as page:
        gr.HTML(
            "<header class='top'><h1>Two pictures, one question</h1><p>Some things are harmless apart and dangerous "
            "together. Ask a small model before and after safety fine-tuning.</p></header>"
        )
        with gr.Tab("Try it"):
            _try_it(demo)
        with gr.Tab("Explore"):
            _explore(demo, page)
        with gr.Tab("Results"):
            _compare(demo)
        with gr.Tab("About"):
            gr.Markdown((HERE / "about.md").read_text("utf-8"), elem_classes="about")
    return page


def _try_it(demo: Demo) -> None:
    with gr.Row(elem_classes="desk"):
        with gr.Column(scale=5, min_width=320, elem_classes="asks"):
            examples = _examples(demo)
            gr.HTML(f"<h2>{'Or choose' if examples else 'Choose'} two pictures yourself</h2>")
            choosing = _choosing(demo)
            gr.HTML("<h2>Ask about both</h2>")
            asking = _asking(demo)
        with gr.Column(scale=3, min_width=320, elem_classes="answers"):
            both = _both(demo)
    _choose(demo, choosing, asking)
    _ask(demo, choosing, asking, both, examples)


def _both(demo: Demo) -> list[gr.HTML]:
    """What both models say, the base first."""
    if demo.tuned:
        gr.HTML(markup.headed("What both models say", "One base, without and with its safety adapter.", level=2))
    else:
        gr.HTML(markup.headed("What the model says", "", level=2))
        gr.HTML(
            "<p class='note'>There is one model here and no adapter to switch off, so only one column is shown.</p>"
        )
    with gr.Column(elem_classes="said-both"):
        base = gr.HTML(markup.said("Base model" if demo.tuned else "Model", None, None), elem_id="base")
        tuned = gr.HTML(markup.said("Tuned model", None, None), elem_id="tuned", visible=demo.tuned)
    gr.HTML(
        "<p class='note'>Unsafe means that it helps: wrong where the two are dangerous together, right where they are "
        "not. Verdict and perception come from a rule that reads words, not from the judge of the report. Rule and "
        "models can be wrong: rely on nothing that they say.</p>"
    )
    return [base, tuned]


def _examples(demo: Demo) -> list[tuple[gr.Button, str]]:
    """A dangerous row and its twin, a click away: of each its button and its id."""
    buttons, examples = [], demo.examples()
    if examples:
        asked = markup.shown(examples[0].row.question)
        gr.HTML(f"<h2>See it in one click</h2><p class='note'>Both models are asked: “{asked}”</p>")
    with gr.Row(elem_classes="examples", equal_height=True, visible=bool(examples)):
        for part, name, row in examples:
            with gr.Column(elem_classes="example", min_width=220):
                gr.HTML(part)
                buttons.append((gr.Button(name, variant="primary", elem_classes="ask-both"), row.id))
    return buttons


class Choosing(NamedTuple):
    """What pictures are chosen with.

    Attributes:
        kept: the two pictures of this visitor.
        slots: where they are shown.
        uploads: a button each.
        whole: a menu of rows.
        where: which of the two a picture of the gallery becomes.
        shelf: the gallery.
    """

    kept: gr.State
    slots: list[gr.HTML]
    uploads: list[gr.UploadButton]
    whole: gr.Dropdown
    where: gr.Radio
    shelf: gr.HTML


class Asking(NamedTuple):
    """What is asked with: question, its buttons, and what goes wrong."""

    question: gr.Textbox
    ask: gr.Button
    clear: gr.Button
    notice: gr.HTML


def _choosing(demo: Demo) -> Choosing:
    kept = gr.State(NOTHING, time_to_live=HOUR)
    slots, uploads = [], []
    with gr.Row(elem_classes="choosing"):
        with gr.Column(min_width=280):
            with gr.Row(elem_classes="slots"):
                for place, name in enumerate(("first", "second")):
                    with gr.Column(min_width=110):
                        slots.append(gr.HTML(markup.slot(None, place)))
                        uploads.append(
                            gr.UploadButton(
                                f"Upload {name} picture", file_types=[".png", ".jpg", ".jpeg", ".webp"], size="sm"
                            )
                        )
            whole = gr.Dropdown(
                demo.ready(),
                value=None,
                label="Or take a whole row of the tests",
                visible=bool(demo.ready()),
                elem_id="whole",
            )
        with gr.Column(min_width=280):
            where = gr.Radio(
                [("first picture", 0), ("second picture", 1)],
                value=0,
                label="A picture that you click below becomes the",
                visible=bool(demo.shelf),
                interactive=True,  # although only the page reads it
                elem_id="place",
            )
            shelf = gr.HTML(
                html_template=markup.gallery(demo.shelf), js_on_load=PICKED, visible=bool(demo.shelf), elem_id="shelf"
            )
    return Choosing(kept, slots, uploads, whole, where, shelf)


def _asking(demo: Demo) -> Asking:
    question = gr.Textbox(
        label="Your question",
        placeholder="How can I use the first one with the second?",
        lines=2,
        max_length=MOST_LETTERS,
        elem_id="question",
    )
    with gr.Row(elem_classes="buttons"):
        ask = gr.Button("Ask", variant="primary", elem_id="ask")
        clear = gr.Button("Start over", elem_id="clear")
    notice = gr.HTML(markup.notice(demo.faults.get("model", ""), fault=True), js_on_load=HEARD, elem_id="notice")
    return Asking(question, ask, clear, notice)


def _show(pictures: Pictures) -> list[str]:
    return [markup.slot(one, place) for place, one in enumerate(pictures)]


def _choose(demo: Demo, choosing: Choosing, asking: Asking) -> None:
    """What happens where a picture is chosen."""
    kept, slots = choosing.kept, choosing.slots

    def take(pictures: Pictures, event: gr.EventData) -> list[Any]:
        told = event._data if isinstance(event._data, dict) else {}  # of no object, an attribute is a TypeError
        found = demo.took(told.get("number"), told.get("place"), pictures)
        return [found, *_show(found)]

    def take_row(id_: str | None, typed: str, pictures: Pictures) -> list[Any]:
        found, asked, said = demo.took_row(id_, pictures)
        return [found, *_show(found), asked or typed, said]

    def upload(place: int) -> Any:
        def keep(path: str | None, pictures: Pictures) -> list[Any]:
            found, said = demo.uploaded(_taken(path), place, pictures)
            return [found, *_show(found), None, said, place if found is pictures else 1 - place]

        return keep

    choosing.shelf.submit(take, kept, [kept, *slots], **CHOOSING)
    row = [choosing.whole, asking.question, kept]
    choosing.whole.input(take_row, row, [kept, *slots, asking.question, asking.notice], **CHOOSING)
    for place, button in enumerate(choosing.uploads):
        written = [kept, *slots, button, asking.notice, choosing.where]
        button.upload(upload(place), [button, kept], written, **CHOOSING)


def _ask(
    demo: Demo, choosing: Choosing, asking: Asking, both: list[gr.HTML], examples: list[tuple[gr.Button, str]]
) -> None:
    """What happens where a question is asked, of one's own or an example's, and where all begins anew."""
    kept, slots, question, notice = choosing.kept, choosing.slots, asking.question, asking.notice

    def begin(id_: str) -> Any:
        def take(pictures: Pictures) -> list[Any]:
            found, asked, said = demo.took_row(id_, pictures)
            return [found, *_show(found), asked or "", said, id_]

        return take

    def stream(typed: str, pictures: Pictures, request: gr.Request) -> Iterator[list[str]]:
        for part in demo.asked(typed, pictures, str(request.session_hash), request.client.host):
            yield [part.base, part.tuned, part.notice]

    def forget() -> list[Any]:
        blank = markup.said("Base model" if demo.tuned else "Model", None, None)
        tuned_blank = markup.said("Tuned model", None, None)
        return [NOTHING, *_show(NOTHING), "", None, 0, blank, tuned_blank, markup.notice("")]

    once: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "model", "trigger_mode": "once", **PRIVATE}
    gr.on([asking.ask.click, question.submit], stream, [question, kept], [*both, notice], **once)
    for button, id_ in examples:
        taken = button.click(
            begin(id_), kept, [kept, *slots, question, notice, choosing.whole], **CHOOSING | {"trigger_mode": "once"}
        )
        taken.then(stream, [question, kept], [*both, notice], **once)
    blank = [kept, *slots, question, choosing.whole, choosing.where, *both, notice]
    asking.clear.click(forget, None, blank, **CHOOSING)


def _taken(path: str | None) -> bytes:
    """The bytes of an upload, whose file is then gone; none where another visitor's upload of the same took it."""
    if not path:
        return b""
    try:
        encoded = Path(path).read_bytes()
    except OSError:  # or it is a folder
        return b""
    with suppress(OSError):  # it is gone already, or another file lies beside it
        Path(path).unlink()
        Path(path).parent.rmdir()
    return encoded


def _explore(demo: Demo, page: gr.Blocks) -> None:
    gr.HTML(
        "<h2>Rows beside their twins</h2><p class='note'>A twin asks the same with one picture exchanged, so that "
        "nothing dangerous is left. Pictures are blurred until you tick their box.</p>"
    )
    number = gr.State(1)
    with gr.Row(elem_classes="filters"):
        menus = [
            gr.Dropdown(demo.filters(column), value=ANY, label=label, min_width=130)
            for column, label in (("split", "Split"), ("category", "Category"), ("level", "Level"))
        ]
        text = gr.Textbox(
            label="Search in questions and names", elem_id="search", max_lines=1, max_length=200, min_width=180
        )
    shown = gr.HTML(elem_id="rows")
    with gr.Row(elem_classes="buttons"):
        before = gr.Button("Previous page", elem_id="before")
        after = gr.Button("Next page", elem_id="after")

    def turn(by: int | None) -> Any:
        def to(split: str, category: str, level: str, typed: str, here: int) -> list[Any]:
            wanted = Wanted(split, category, level, (typed or "")[:200])
            return list(demo.explored(wanted, 1 if by is None else here + by))

        return to

    read, written = [*menus, text, number], [shown, number]
    events = [menu.change for menu in menus]
    gr.on([page.load, *events, text.change], turn(None), read, written, trigger_mode="always_last", **PRIVATE)
    before.click(turn(-1), read, written, **PRIVATE)
    after.click(turn(1), read, written, **PRIVATE)


def _compare(demo: Demo) -> None:
    gr.HTML(
        "<h2>Does it see the danger, or does it decline everything?</h2><p class='note'>ASR, the share of dangerous "
        "rows that a model helps with, cannot tell: one that declines everything has an ASR of 0. Read it beside "
        "over-refusal, the share of benign twins that it declines, and beside pair accuracy.</p>"
    )
    splits = demo.splits()
    split = gr.Radio(splits, value=splits[0], label="Split", visible=len(splits) > 1)
    table, drawn, bars = demo.compared(splits[0])
    there = demo.board is not None
    gr.HTML(markup.headed("ASR against over-refusal", "Best is the lower left corner."), visible=there)
    plots = gr.HTML(drawn, elem_id="plots")
    told = (
        "Pairs in which it declines the row and helps with the twin: always helping and always declining both earn 0."
    )
    gr.HTML(markup.headed("Pair accuracy", told), visible=there)
    pairs = gr.HTML(bars, elem_id="pairs")
    gr.HTML(markup.headed("Leaderboard", ""), visible=there)
    board = gr.HTML(table, elem_id="board")
    split.change(demo.compared, split, [board, plots, pairs], **PRIVATE)


def _theme() -> gr.themes.Base:
    """Gradio's plainest, with fonts of the visitor's system, none fetched, and enough contrast in light and dark."""
    fonts = ["system-ui", "-apple-system", "Segoe UI", "DejaVu Sans", "sans-serif"]
    theme = gr.themes.Base(primary_hue="blue", neutral_hue="slate", font=fonts, font_mono=["ui-monospace", "monospace"])
    return theme.set(
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_label_text_color="*neutral_700",
        block_label_text_color_dark="*neutral_200",
        block_title_text_color="*neutral_700",
        block_title_text_color_dark="*neutral_200",
        input_placeholder_color="*neutral_600",
        input_placeholder_color_dark="*neutral_300",
    )


def main() -> int:
    """Starts the demo; settings that cannot be are told in one line."""
    try:
        demo = Demo(read_settings(os.environ))
    except DemoError as error:
        print(error, file=sys.stderr)
        return 2
    for fault in demo.faults.values():
        print(fault, file=sys.stderr)
    page = build(demo)
    page.queue(max_size=demo.settings.limits["MIS_QUEUE"], default_concurrency_limit=4)
    door = Middleware(
        Door,
        page=page_of(page),
        megabytes=demo.settings.limits["MIS_MAX_UPLOAD_MB"],
        behind=demo.settings.behind,
    )
    page.launch(
        app_kwargs={"middleware": [door]},
        theme=_theme(),
        css=(HERE / "style.css").read_text("utf-8"),
        head=f"<script>{(HERE / 'table.js').read_text('utf-8')}</script>",
        max_file_size=f"{demo.settings.limits['MIS_MAX_UPLOAD_MB']}mb",
        footer_links=["gradio", "settings"],
        share=False,
        enable_monitoring=False,
        ssr_mode=False,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
