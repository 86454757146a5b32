"""Where photographs lie: what every such place has, and the first of them, a folder.

    drawing: {engine: folder, model: google/siglip-base-patch16-224, folder: photographs}

Where a picture of a folder comes from and under which licence is read from `metadata.jsonl` beside them, a line a file:

    {"file_name": "lamp.jpg", "licence": "CC-BY-4.0", "source": "https://photos.example/7"}
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol

from mis_dataset import pictures
from mis_dataset.errors import MISError, PictureError, Problem, ProblemsError, UsageError, plain, refuse_constant

ENGINE = "folder"
METADATA = "metadata.jsonl"
_ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
_MOST_NAME = 300


class Photograph(NamedTuple):
    """A picture of a shelf, unread.

    Attributes:
        name: by which the shelf reads it; its source too, where nobody says another.
        sha256: of its file.
        licence: empty where nobody says it.
        source: empty where nobody says it.
    """

    name: str
    sha256: str
    licence: str
    source: str


class Shelf(Protocol):
    """A place with photographs; a context manager, from which many threads read."""

    @property
    def what(self) -> str:
        """In a word, such as "folder"."""

    @property
    def patient(self) -> bool:
        """Whether those that are no pictures are left out, and do not end the run."""

    def __enter__(self) -> Shelf: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def listed(self) -> list[Photograph]:
        """All that can be read, in order, each once. Call it once, before the others."""

    def read(self, name: str) -> bytes:
        """The file of a photograph, untrusted."""

    def judged(self, problems: Sequence[Problem]) -> Mapping[str, Any]:
        """Hears which photographs are no pictures, once all were looked at; what a run is to say of the shelf."""


@dataclass(frozen=True)
class Photographs:
    """A folder of photographs and who finds them.

    Attributes:
        model: of texts and images: folder, or repository on the Hub.
        folder: of the pictures, at any depth.
        revision: of that repository.

    Raises:
        UsageError: One is no text, or empty.
    """

    model: str
    folder: str
    revision: str = ""

    def __post_init__(self) -> None:
        texts = (self.model, self.folder, self.revision)
        if not all(isinstance(text, str) for text in texts) or not (self.model and self.folder):
            raise UsageError("model, folder and revision are texts, and the first two are not empty")

    def shelf(self) -> Shelf:
        """The folder."""
        return Folder(Path(self.folder))


class Folder:
    """Photographs in a folder, which somebody keeps: all that is wrong with it is told, and ends the run.

    Raises:
        UsageError: It is none; when the block begins.
    """

    what, patient = "folder", False

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> Folder:
        if not self._folder.is_dir():
            raise UsageError(f"{self._folder}: is no folder of photographs")
        self._release = pictures.Pictures(self._folder)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release.__exit__(kind, error, trace)

    def listed(self) -> list[Photograph]:
        """All pictures of the folder, by name, each once.

        Raises:
            UsageError: There is none.
            ProblemsError: Files lead out of it, or cannot be read; all of them.
            MISError: metadata.jsonl is broken.
        """
        about, found, problems = _metadata(self._folder / METADATA), dict[str, Photograph](), list[Problem]()
        for path in sorted(self._folder.rglob("*")):
            if path.suffix.lower() not in _ENDINGS or path.is_dir():
                continue
            name = path.relative_to(self._folder).as_posix()
            try:
                sha256 = hashlib.sha256(self._release.read(name)).hexdigest()
            except PictureError as error:
                problems.append(Problem(name, None, str(error)))
                continue
            found.setdefault(sha256, Photograph(name, sha256, *about.get(name, ("", ""))))
        self.judged(problems)
        if not found:
            raise UsageError(f"{self._folder}: holds no picture; put photographs there")
        return list(found.values())

    def read(self, name: str) -> bytes:
        """The file of a photograph.

        Raises:
            PictureError: It cannot be read.
        """
        return self._release.read(name)

    def judged(self, problems: Sequence[Problem]) -> Mapping[str, Any]:
        """Says nothing of a folder.

        Raises:
            ProblemsError: There are any.
        """
        if problems:
            raise ProblemsError(problems)
        return {}


def short(text: str) -> str:
    """What a stranger says of a picture, fit for a terminal and a line of provenance."""
    return plain(text)[:_MOST_NAME]


def _metadata(path: Path) -> dict[str, tuple[str, str]]:
    """File name -> its licence and source."""
    found: dict[str, tuple[str, str]] = {}
    if not path.is_file():
        return found
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, parse_constant=refuse_constant)
            name = row["file_name"]
            told = [row.get(one, row.get(other, "")) for one, other in (("licence", "license"), ("source", "url"))]
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise MISError(f'{path.name}:{number}: is no object with a "file_name"') from error
        if not all(isinstance(text, str) for text in (name, *told)):
            raise MISError(f"{path.name}:{number}: file_name, licence and source are texts")
        found[name] = (short(told[0]), short(told[1]))
    return found
