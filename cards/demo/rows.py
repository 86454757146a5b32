"""The rows of a dataset, each dangerous one beside its benign twin, and what of them a visitor looks for."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pictures import Picture, read_picture
from settings import DemoError

ANY = "all"
NONE = "none"
_TEXTS = ("id", "question", "response", "category", "level", "twin_of", "changed_image")
_KINDS: Mapping[str, Any] = {"id": str, "question": str, "changed_image": int | None}
"""What some of these are; all others are a text or nothing."""
_ORDER = ("test_hard", "test_easy", "test_real", "train")


class Row(NamedTuple):
    """A row without its pictures.

    Attributes:
        id: `<split>/<number>`.
        question: what is asked about both pictures.
        response: of a train row, the safe response; else None.
        category: of the paper; None where there is none.
        level: what it asks of a model, in MIS-mini; else None.
        twin_of: of a benign twin, the id of its dangerous row; else None.
        changed_image: of a benign twin, which picture was exchanged, 1 or 2.
        things: names of what the two pictures show, where they are known.
    """

    id: str
    question: str
    response: str | None
    category: str | None
    level: str | None
    twin_of: str | None
    changed_image: int | None
    things: tuple[str, str] | None = None

    @property
    def split(self) -> str:
        """The split that the row stands in."""
        return self.id.rpartition("/")[0]


class Pair(NamedTuple):
    """A dangerous row and its benign twin; one of them may be missing.

    Attributes:
        row: the dangerous one; of a twin that stands alone, the twin.
        twin: None where there is none.
    """

    row: Row
    twin: Row | None


class Wanted(NamedTuple):
    """What a visitor looks for; `ANY` leaves it open, `NONE` wants rows without one."""

    split: str = ANY
    category: str = ANY
    level: str = ANY
    text: str = ""


@dataclass(frozen=True)
class Rows:
    """The rows of a dataset and the way to their pictures.

    Attributes:
        rows: in the order of the dataset.
        tables: split -> its table, which gives the bytes of pictures by place.
        places: id -> place of the row in the table of its split.
        megapixels: the most millions of pixels of a picture that is shown.
    """

    rows: tuple[Row, ...]
    tables: Mapping[str, Any]
    places: Mapping[str, int]
    megapixels: int

    def pictures(self, row: Row) -> tuple[Picture, Picture]:
        """Both pictures of a row.

        Raises:
            DemoError: One cannot be decoded, or there are not two.
        """
        held = self.tables[row.split][self.places[row.id]]["images"]
        if not held or len(held) != 2 or not all(one and one["bytes"] for one in held):
            raise DemoError(f"{row.id} has not two pictures. Set MIS_DATASET to a built MIS dataset.")
        first, second = (
            Picture(read_picture(one["bytes"], self.megapixels), alt_of(row, place), row.things and row.things[place])
            for place, one in enumerate(held)
        )
        return first, second


def alt_of(row: Row, place: int) -> str:
    """What a picture is in words: what it shows, where that is known, else where it stands."""
    shown = f": {row.things[place]}" if row.things else ""
    return f"{('First', 'Second')[place]} picture of {row.id}{shown}"


def read_rows(dataset: str, things: Path | None, megapixels: int) -> Rows:
    """Reads a dataset, from its folder or the Hub.

    Args:
        dataset: folder or Hub id.
        things: JSON, row id -> names of its two things; None: they are not known.
        megapixels: the most millions of pixels of a picture that is shown.

    Raises:
        DemoError: It cannot be read, or is of another form.
    """
    import datasets

    try:
        datasets.disable_progress_bars()
        found = datasets.load_dataset(dataset)
        form = datasets.List(datasets.Image(decode=False))
        tables = {str(split): table.cast_column("images", form) for split, table in found.items()}
        texts = {split: table.select_columns(list(_TEXTS)).to_list() for split, table in tables.items()}
    except (OSError, ValueError, KeyError, TypeError, datasets.exceptions.DatasetsError) as error:
        raise DemoError(
            f"The dataset {dataset} cannot be read ({type(error).__name__}). Set MIS_DATASET to a built MIS dataset."
        ) from error
    ids = [one["id"] for split in texts.values() for one in split]
    told = (_fault(one, split, place) for split in texts for place, one in enumerate(texts[split]))
    problems = [fault for fault in told if fault]
    problems += [f"{name} stands there twice" for name, times in Counter(map(str, ids)).items() if times > 1]
    if problems:
        more = f", and {len(problems) - 1} more like it" if len(problems) > 1 else ""
        raise DemoError(f"The dataset {dataset} is none of MIS: {problems[0]}{more}. Build it anew.")
    named = read_things(things) if things else {}
    rows = tuple(Row(**texts_of, things=named.get(texts_of["id"])) for split in texts for texts_of in texts[split])
    places = {one["id"]: place for split in texts.values() for place, one in enumerate(split)}
    return Rows(rows, tables, places, megapixels)


def read_things(path: Path) -> dict[str, tuple[str, str]]:
    """The names of the two things of each row.

    Raises:
        DemoError: The file is not {id: [name, name]}.
    """
    try:
        return {row: _two_names(names) for row, names in json.loads(path.read_text("utf-8")).items()}
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise DemoError(f"{path.name} is not {{id: [name, name]}}; make it anew or leave it away") from error


def _two_names(names: object) -> tuple[str, str]:
    if not isinstance(names, list) or len(names) != 2 or not all(isinstance(name, str) and name for name in names):
        raise ValueError("no two names")
    return names[0], names[1]


def _fault(texts: Mapping[str, Any], split: str, place: int) -> str:
    """What of a row is not as the dataset has it; empty for nothing."""
    if not isinstance(texts["id"], str) or texts["id"].rpartition("/")[0] != split:
        return f"row {place} of {split} has an id of something else"
    wrong = [name for name in _TEXTS if not isinstance(texts[name], _KINDS.get(name, str | None))]
    return f"{texts['id']} has no {wrong[0]} that could be one" if wrong else ""


def pairs_of(rows: Iterable[Row]) -> list[Pair]:
    """Every dangerous row beside its benign twin; a twin whose row is not there stands alone at the end."""
    known = {row.id: row for row in rows}
    twins = {row.twin_of: row for row in known.values() if row.twin_of in known}
    beside = [Pair(row, twins.get(row.id)) for row in known.values() if row.twin_of is None]
    beside.sort(key=lambda pair: _ORDER.index(pair.row.split) if pair.row.split in _ORDER else len(_ORDER))
    return beside + [Pair(row, None) for row in known.values() if row.twin_of is not None and row.twin_of not in known]


def chosen(pairs: Sequence[Pair], wanted: Wanted) -> list[Pair]:
    """The pairs that a visitor looks for: category, level and split of the row, each word in the text of the pair."""
    words = wanted.text.casefold().split()
    return [
        pair
        for pair in pairs
        if wanted.split in (ANY, pair.row.split)
        and wanted.category in (ANY, pair.row.category or NONE)
        and wanted.level in (ANY, pair.row.level or NONE)
        and all(word in _text_of(pair) for word in words)
    ]


def choices(pairs: Sequence[Pair], column: str) -> list[str]:
    """What a filter offers: `ANY`, and every value that a row of the pairs has, in the order of the rows."""
    return [ANY, *dict.fromkeys(str(getattr(pair.row, column) or NONE) for pair in pairs)]


def page_of(pairs: Sequence[Pair], number: int, size: int) -> tuple[list[Pair], int, int]:
    """One page.

    Args:
        pairs: all that were chosen.
        number: of the page, from 1; what is beyond the first or last page becomes that page.
        size: pairs on a page.

    Returns:
        Its pairs, its number, and how many pages there are, at least 1.
    """
    pages = max(1, -(-len(pairs) // size))
    number = min(max(1, number), pages)
    return list(pairs[(number - 1) * size : number * size]), number, pages


def shelf(pairs: Sequence[Pair], most: int) -> list[tuple[Row, int]]:
    """Pictures to choose from: of the test rows and their twins, one of every thing where things are known.

    Returns:
        Row and place (0 or 1) of at most `most` pictures.
    """
    seen: dict[object, tuple[Row, int]] = {}
    tests = [pair for pair in pairs if pair.row.split != "train"] or list(pairs)
    for pair in tests:
        for row in filter(None, pair):
            for place in (0, 1):
                seen.setdefault(row.things[place] if row.things else (row.id, place), (row, place))
    return list(seen.values())[:most]


def _text_of(pair: Pair) -> str:
    rows = [row for row in pair if row]
    return " ".join(
        " ".join((row.id, row.question, row.response or "", *(row.things or ()))) for row in rows
    ).casefold()
