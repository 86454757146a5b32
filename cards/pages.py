"""What all cards share: a template and facts -> the text of a card; texts and plots -> files.

Only what the same verb wrote is replaced: a card has a line that says who wrote it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from cards.facts import Dataset
from cards.reading import CardError
from cards.tables import escape, per_cent, settings_table
from mis_dataset.errors import plain
from mis_dataset.files import replace_file

TEMPLATES = Path(__file__).parent
CARD = "README.md"
_NAME = re.compile(r"[\w./~ -]+")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def mark(verb: str) -> str:
    """The line by which a card of a verb is known again."""
    return f"<!-- written by python -m cards {verb} -->"


def from_report(sha256: str) -> str:
    """The line that says which report.json a card is rendered from."""
    return f"<!-- rendered from report.json {sha256} -->"


def fill(template: str, verb: str, facts: Mapping[str, Any]) -> str:
    """Text of a card.

    Args:
        template: its path in `cards/`; it has a line `{{ mark }}`.
        verb: the one that writes it.
        facts: what else the template names; where `report_sha256` is there, the card says it.

    Raises:
        CardError: the template names what `facts` has not.
    """
    import jinja2

    said = "\n".join([mark(verb), *([from_report(facts["report_sha256"])] if "report_sha256" in facts else [])])
    try:
        text: str = _environment().get_template(template).render({"mark": said, **facts})
        return "\n".join(map(plain, text.split("\n")))  # no sign of a file acts unseen in a card
    except jinja2.UndefinedError as error:
        raise CardError(f"{TEMPLATES / template}: {error.message}; no file of the run fills it") from error


def loading(dataset_id: str, dataset: Dataset, config: str | None = None) -> dict[str, Any]:
    """What the part of a dataset card about loading names.

    Args:
        dataset_id: id on the Hub, or a folder; one that exists is a folder.
        dataset: as it lies on disk.
        config: what `load_dataset` needs beside the id, or None.

    Returns:
        `dataset_id`, `config`, `place` (before the path of a file, for readers of Parquet), `folder` (what a
        downloaded copy is called) and `shown` (the split that is read).

    Raises:
        CardError: the name is none that a command could hold.
    """
    check_name(dataset_id)
    on_hub = bool(_HUB_ID.fullmatch(dataset_id)) and not Path(dataset_id).exists()
    shown = next((split for split in dataset.splits if split.name == "test_hard"), dataset.splits[0])
    return {
        "dataset_id": dataset_id,
        "config": config,
        "place": f"hf://datasets/{dataset_id}" if on_hub else dataset_id.rstrip("/"),
        "folder": dataset_id.rstrip("/").rsplit("/", 1)[-1],
        "shown": shown,
    }


def check_name(name: str) -> str:
    """Gives back an id or the name of a folder.

    Raises:
        CardError: it holds what would end a string or a line of the code that a card shows.
    """
    if not _NAME.fullmatch(name):
        raise CardError(f"{name!r}: is no id on the Hub and no plain name of a folder; give letters, digits and ./_-")
    return name


def publish(verb: str, cards: Mapping[Path, str], plots: Mapping[Path, Path]) -> None:
    """Write cards and the plots beside them, each whole or not at all; what stands there already is left alone.

    Args:
        verb: the one that writes them.
        cards: a card's path -> its text.
        plots: path of a copy, beside a card -> the plot.

    Raises:
        CardError: at one of these names lies what this verb did not write; nothing was written.
        OSError: a plot cannot be read, or a file cannot be written.
    """
    try:
        contents = {path: text.encode() for path, text in cards.items()}
    except UnicodeEncodeError as error:
        raise CardError(f"a file that a card is made from holds half of a surrogate pair ({error.reason})") from error
    contents |= {path: plot.read_bytes() for path, plot in plots.items()}
    changed = {path: content for path, content in contents.items() if not _holds(path, content)}
    for path in changed:
        # A plot says nothing of who drew it: it is ours where the card beside it is.
        if os.path.lexists(path) and not _is_ours(path.with_name(CARD), verb):
            raise CardError(
                f"{path}: was not written by `python -m cards {verb}`; move it away, or name another folder"
            )
    for path, content in changed.items():
        with replace_file(path) as temporary:
            temporary.write_bytes(content)


@cache
def _environment() -> Any:
    """Made once, as it keeps the templates that it has read."""
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # Markdown, not HTML: the filter `cell` guards what comes from files
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters.update(per_cent=per_cent, cell=escape, settings=settings_table)
    return made


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content


def _is_ours(card: Path, verb: str) -> bool:
    return card.is_file() and mark(verb).encode() in card.read_bytes().splitlines()
