"""What the demo does when a visitor acts: everything but the widgets. What is missing is said, the rest goes on."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import markup
from leaderboard import ALL, Board, of_split, read_board, splits_of
from models import Model
from pictures import Picture, read_upload
from plot import draw_plot
from rows import Pair, Row, Rows, Wanted, alt_of, choices, chosen, page_of, pairs_of, read_rows, shelf
from settings import DemoError, Settings
from verdicts import SAFE, UNSAFE, judge
from visitors import RateLimit, read_question

Pictures = tuple[Picture | None, Picture | None]
"""The two pictures of one visitor's session."""
Kind = TypeVar("Kind")
NOTHING: Pictures = (None, None)
_SHELF, _READY = 40, 24
"""Pictures of the gallery, rows that are offered whole."""
_ASKED = "{most} questions came from your network address within a minute. Ask again in {wait} s."


class Asked(NamedTuple):
    """Parts of the page while a question is answered: what both models said, and a message."""

    base: str
    tuned: str
    notice: str


class Example(NamedTuple):
    """A row to begin with: its part of the page, and what its button says."""

    part: str
    button: str
    row: Row


class Demo:
    """A loaded demo.

    Attributes:
        settings: what it was started with.
        model: what is asked; None where it could not be loaded.
        rows: of the dataset; None where it could not be read.
        pairs: its rows beside their twins.
        board: measured and published rates; None where there are none.
        faults: what could not be loaded, in words: `model`, `rows`, `shelf` or `board` -> why.
    """

    def __init__(self, settings: Settings) -> None:
        """Loads model, dataset and leaderboard; what cannot be loaded is told in `faults`."""
        limits = settings.limits
        self.settings = settings
        self.faults: dict[str, str] = {}
        self.rows: Rows | None = self._try(
            "rows", lambda: read_rows(settings.dataset, settings.things, limits["MIS_MAX_MEGAPIXELS"])
        )
        self.pairs: list[Pair] = pairs_of(self.rows.rows) if self.rows else []
        self.shelf: list[Picture] = self._try("shelf", self._shelved) or []
        self.model: Model | None = self._try(
            "model", lambda: Model(settings.base, settings.adapter, limits["MIS_MAX_NEW_TOKENS"])
        )
        path = settings.leaderboard
        self.board: Board | None = self._try("board", lambda: read_board(path)) if path else None
        if not path:
            self.faults["board"] = (
                "There is no leaderboard.json here. `python -m trainer compare` writes one; put it beside app.py, "
                "or name it in MIS_RESULTS."
            )
        self._limit = RateLimit(limits["MIS_ASKS_PER_MINUTE"])
        self._addresses = RateLimit(limits["MIS_ASKS_PER_ADDRESS"], _ASKED)

    @property
    def tuned(self) -> bool:
        """Whether there are two models to compare."""
        return bool(self.settings.adapter)

    def ready(self) -> list[tuple[str, str]]:
        """Whole rows of the tests to begin with: what a menu shows, and the id."""
        tests = [pair for pair in self.pairs if pair.row.split != "train"][: _READY // 2]
        rows = [row for pair in tests for row in pair if row]
        return [(f"{_named(row)}: {row.question}", row.id) for row in rows]

    def examples(self) -> list[Example]:
        """A row and its twin to begin with, where there are such; they ask the same."""
        pair = next((pair for pair in self.pairs if pair.twin and pair.row.split != "train"), None)
        found = self._pictures(pair) if pair else {}
        if pair is None or not all(found.values()):
            return []
        return [
            Example(markup.example(row, found[row.id]), f"Ask about {' and '.join(row.things or [row.id])}", row)
            for row in filter(None, pair)
        ]

    def took_row(self, id_: str | None, kept: Pictures) -> tuple[Pictures, str | None, str]:
        """Both pictures and the question of a row; unknown ids change nothing (the question is then None).

        Args:
            id_: of a row.
            kept: the visitor's pictures so far.
        """
        row = next((row for row in self.rows.rows if row.id == id_), None) if self.rows else None
        if row is None or self.rows is None:
            return kept, None, ""
        try:
            return (
                self.rows.pictures(row),
                row.question,
                markup.notice(f"Took both pictures and the question of {row.id}."),
            )
        except DemoError as error:
            return kept, None, markup.notice(str(error), fault=True)

    def took(self, number: object, place: object, kept: Pictures) -> Pictures:
        """One picture of the gallery becomes the first or the second; numbers that a page cannot send change nothing.

        Args:
            number: of the picture in the gallery.
            place: 0 or 1.
            kept: the visitor's pictures so far.
        """
        if type(number) is int and type(place) is int and 0 <= number < len(self.shelf) and place in (0, 1):
            return _put(kept, place, self.shelf[number])
        return kept

    def uploaded(self, encoded: bytes, place: int, kept: Pictures) -> tuple[Pictures, str]:
        """A picture that a visitor uploaded, or why it is none.

        Args:
            encoded: all bytes of the file.
            place: 0 or 1.
            kept: the visitor's pictures so far.
        """
        limits = self.settings.limits
        try:
            png = read_upload(encoded, limits["MIS_MAX_UPLOAD_MB"], limits["MIS_MAX_MEGAPIXELS"])
        except DemoError as error:
            return kept, markup.notice(str(error), fault=True)
        return _put(kept, place, Picture(png, "your picture")), markup.notice(
            "Your picture stays in this session alone. What it shows is not known here, so perception is unknown."
        )

    def asked(self, typed: str | None, kept: Pictures, visitor: str, address: str = "") -> Iterator[Asked]:
        """Asks the base, then the tuned model.

        Args:
            typed: the question as it comes from the page.
            kept: both pictures.
            visitor: the session's name, which whoever asks may choose.
            address: whose it is, as the server sees it; empty where it does not.

        Yields:
            The page's parts, anew with every token.
        """
        names = self._names()
        blank = [markup.said(name, None, None) for name in names]
        try:
            question = read_question(typed, self.settings.limits["MIS_MAX_QUESTION"])
            if self.model is None:
                raise DemoError(self.faults["model"])
            shown = [one for one in kept if one]
            if len(shown) < len(kept):
                raise DemoError("Choose or upload two pictures first.")
            self._limit.ask(visitor, time.monotonic())
            self._addresses.ask(address, time.monotonic())
            message = (
                f"Your question was too long: its last {question.cut} letters were cut off." if question.cut else ""
            )
            row = self._row(question.text, kept)
            for parts in self._streamed(question.text, shown, names, self.model, row):
                yield Asked(parts[0], parts[1], markup.notice(message))
            yield Asked(parts[0], parts[1], markup.notice(message, heard="The response is complete."))
        except DemoError as error:
            yield Asked(blank[0], blank[1], markup.notice(str(error), fault=True))

    def explored(self, wanted: Wanted, page: int) -> tuple[str, int]:
        """A page of rows beside their twins; returns it and its number."""
        if self.rows is None:
            return markup.notice(self.faults["rows"], fault=True), 1
        found = chosen(self.pairs, wanted)
        here, number, pages = page_of(found, page, self.settings.limits["MIS_PAGE"])
        parts = [markup.pair(one, self._pictures(one), place) for place, one in enumerate(here)]
        return markup.explored(parts, len(found), number, pages), number

    def filters(self, column: str) -> list[str]:
        """What a filter of the explorer offers."""
        return choices(self.pairs, column)

    def splits(self) -> list[str]:
        """What the filter of the leaderboard offers."""
        return splits_of(self.board) if self.board else [ALL]

    def compared(self, split: str) -> tuple[str, str, str]:
        """Table, plots and bars of one split, or of all."""
        if self.board is None:
            return markup.notice(self.faults["board"]), "", ""
        lines = of_split(self.board, split)
        splits = [one for one in self.splits() if one != ALL] if split == ALL else [split]
        plots = [f"<div><h4>{markup.shown(one)}</h4>{draw_plot(of_split(self.board, one))}</div>" for one in splits]
        drawn = f"<div class='plots'>{''.join(plots)}</div>"
        return markup.table(lines, self.board.dataset), drawn, markup.pair_accuracy(lines)

    def _names(self) -> tuple[str, str]:
        return ("Base model", "Tuned model") if self.tuned else ("Model", "")

    def _streamed(
        self, question: str, pictures: Sequence[Picture], names: Sequence[str], model: Model, row: Row | None
    ) -> Iterator[list[str]]:
        """Both columns, anew with every token: the base first, then the tuned model."""
        right = None if row is None else UNSAFE if row.twin_of else SAFE
        images = [one.image() for one in pictures]
        things = [one.thing for one in pictures]
        parts = [markup.said(name, None, None, busy=True) for name in names]
        yield parts
        for place in range(1 + self.tuned):
            text = ""
            for text in model.stream(question, images, adapted=place == 1):
                parts[place] = markup.said(names[place], text, None, busy=True)
                yield parts
            parts[place] = markup.said(names[place], text, judge(text, things), right=right)
            yield parts

    def _row(self, question: str, kept: Pictures) -> Row | None:
        """The row of the tests that a visitor asks about, letter by letter; None where it is another question."""
        named = [one and one.alt for one in kept]
        rows = [row for pair in self.pairs for row in pair if row and row.split != "train"]
        return next(
            (row for row in rows if row.question == question and named == [alt_of(row, 0), alt_of(row, 1)]), None
        )

    def _pictures(self, pair: Pair) -> dict[str, Sequence[Picture]]:
        """The pictures of a pair; of a row whose pictures are broken, none."""
        found: dict[str, Sequence[Picture]] = {}
        for row in filter(None, pair):
            try:
                found[row.id] = self.rows.pictures(row) if self.rows else ()
            except DemoError:
                found[row.id] = ()
        return found

    def _shelved(self) -> list[Picture]:
        """Pictures to choose from; those of rows that are broken are left out."""
        found = []
        for row, place in shelf(self.pairs, _SHELF):
            both = self._pictures(Pair(row, None))[row.id]
            if both:
                found.append(both[place])
            else:
                print(f"{row.id}: its pictures cannot be shown; verify the dataset", file=sys.stderr)
        return found

    def _try(self, what: str, load: Callable[[], Kind]) -> Kind | None:
        try:
            return load()
        except DemoError as error:
            self.faults[what] = str(error)
            return None


def _named(row: Row) -> str:
    """A row in a menu: its things, where they are known, and its id."""
    twin = "benign twin" if row.twin_of else "dangerous"
    return f"{' and '.join(row.things)} ({twin}, {row.id})" if row.things else f"{row.id} ({twin})"


def _put(kept: Pictures, place: int, picture: Picture) -> Pictures:
    return (picture, kept[1]) if place == 0 else (kept[0], picture)
