"""Photographs in a column of a dataset on the Hub, or of a local folder that `load_dataset` reads.

    drawing: {engine: dataset, model: google/siglip-base-patch16-224, hub: OWNER/NAME, image: photo, licence: CC0-1.0}

The dataset is kept as `datasets` keeps any, in its cache on the disk, from which a picture is read when it is wanted. A
row before and after, where `source_column: url` is set and where it is not::

    {"photo": <7.jpg>, "url": "https://photos.example/7", ...}
    Photograph("OWNER/NAME@<commit>:train:6", "<sha256>", "CC0-1.0", "https://photos.example/7")
    Photograph("OWNER/NAME@<commit>:train:6", "<sha256>", "CC0-1.0", "")

Of a dataset nobody here can mend a row: those without a picture that can be read are left out, and how many is said.
"""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from mis_dataset.construct.hub_sets import HubSet, pinned
from mis_dataset.construct.shelves import Photograph, Shelf, short
from mis_dataset.errors import DatasetError, PictureError, Problem, UsageError, plain
from mis_dataset.record import path_fault, shown

if TYPE_CHECKING:
    from datasets import Dataset

ENGINE = "dataset"
_STRINGS = ("string", "large_string")


@dataclass(frozen=True)
class PhotoSet:
    """A dataset with a column of photographs, and who finds them.

    Attributes:
        model: of texts and images: folder, or repository on the Hub.
        hub: the dataset: repository on the Hub, or a local folder.
        image: column of the pictures.
        split: as `load_dataset` calls it; ``train[:1000]`` is one too.
        config: one of its configs; empty for the default.
        files: of rows inside the dataset, with wildcards; empty: as its card says.
        licence: of all pictures, as an SPDX id or in its own words.
        licence_column: that of each; where a row has none there, `licence` holds.
        source_column: where each comes from; where a row has none there, its place in the dataset is.
        hub_revision: branch, tag or commit of the dataset; a run is written down by the commit.
        revision: of the model.

    Raises:
        UsageError: One is no text, or empty, or `files` leads out of the dataset.
    """

    model: str
    hub: str
    image: str = "image"
    split: str = "train"
    config: str = ""
    files: str = ""
    licence: str = ""
    licence_column: str = ""
    source_column: str = ""
    hub_revision: str = ""
    revision: str = ""

    def __post_init__(self) -> None:
        if wrong := next((name for name, value in vars(self).items() if not isinstance(value, str)), None):
            raise UsageError(f"{wrong} is no text")
        if empty := next((name for name in ("model", "hub", "image", "split") if not vars(self)[name]), None):
            raise UsageError(f"{empty} is empty")
        if self.files and (fault := path_fault(self.files)):
            raise UsageError(f"files: {fault}")

    def shelf(self) -> Shelf:
        """The dataset."""
        return SetShelf(self)


class SetShelf:
    """The pictures of a dataset, which is not trusted: no code of it is run, no file outside of it read.

    Raises:
        UsageError: It is neither a folder nor a repository, or `datasets` is too old; when the block begins.
    """

    what, patient = "dataset", True

    def __init__(self, settings: PhotoSet) -> None:
        self._settings = settings
        self._commit = self._name = self._first = ""
        self._number = self._unread = self._listed = 0
        self._copies = Counter[str]()

    def __enter__(self) -> SetShelf:
        from mis_dataset.other import place_of

        self._place = place_of(self._settings.hub)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes nothing: the cache is that of `datasets`."""

    def listed(self) -> list[Photograph]:
        """All rows with a picture, in order, each picture once; whether its pixels are whole is not known yet.

        Raises:
            UsageError: A column is not there, or of another kind.
            DatasetError: It cannot be loaded or read; the text never repeats a row.
        """
        settings, found = self._settings, dict[str, Photograph]()
        with self._told():
            self._table = self._loaded()
            self._number = len(self._table)
            for number, row in enumerate(tqdm(self._table, desc=ENGINE, unit=" rows", file=sys.stderr)):
                name = f"{self._name}:{number}"
                try:
                    sha256 = hashlib.sha256(self._bytes(name, row)).hexdigest()
                except PictureError as error:
                    self._unread += 1
                    self._first = self._first or str(error)
                    continue
                if sha256 in found:
                    self._copies[found[sha256].name] += 1
                    continue
                licence = _said(row, settings.licence_column) or short(settings.licence)
                found[sha256] = Photograph(name, sha256, licence, _said(row, settings.source_column))
        self._listed = len(found)
        return list(found.values())

    def read(self, name: str) -> bytes:
        """The file of a photograph.

        Raises:
            PictureError: It cannot be read.
            DatasetError: Its row cannot be read.
        """
        with self._told():
            return self._bytes(name, self._table[int(name.rpartition(":")[2])])

    def judged(self, problems: Sequence[Problem]) -> Mapping[str, Any]:
        """Says how many rows are left out.

        Returns:
            Commit, rows, pictures that can be found, and rows that are left out.

        Raises:
            DatasetError: No row is left.
        """
        pictures = self._listed - len(problems)
        left = self._unread + sum(1 + self._copies[problem.file] for problem in problems)
        where = f"{self._settings.hub}: split {shown(self._settings.split)}"
        first = f"the first: {self._first or problems[0]}" if left else ""
        if not pictures:
            raise DatasetError(f"{where}: none of its {self._number} rows has a picture that can be read; {first}")
        if left:
            told = f"{where}: {left} of {self._number} rows have no picture that can be read and are left out; {first}"
            print(plain(told), file=sys.stderr)
        return {"commit": self._commit, "rows": self._number, "pictures": pictures, "left_out": left}

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Tells what `datasets` says as a fault of the dataset."""
        from mis_dataset.other import LOAD_ERRORS, reason_of

        try:
            yield
        except LOAD_ERRORS as error:
            text = f"cannot be read: {reason_of(error)}; see what load_dataset says of it"
            raise DatasetError(f"{self._settings.hub}: {text}") from error

    def _loaded(self) -> Dataset:
        """The columns that are wanted, from files on the disk; pictures as ``{"bytes": ..., "path": ...}``."""
        import datasets

        one = self._settings
        found = pinned(HubSet(one.hub, one.config, one.files, one.hub_revision), self._place)
        self._commit, self._name = found.commit, f"{found.name}:{one.split}"
        found.builder.download_and_prepare()
        table = found.builder.as_dataset(split=one.split)
        assert isinstance(table, datasets.Dataset)
        self._refuse_missing(table.features)
        columns = dict.fromkeys((one.image, one.licence_column, one.source_column))
        table = table.select_columns([name for name in columns if name])
        undecoded = isinstance(table.features[one.image], datasets.Image)
        return table.cast_column(one.image, datasets.Image(decode=False)) if undecoded else table

    def _refuse_missing(self, features: Mapping[str, Any]) -> None:
        from mis_dataset.other import is_text, listed

        one = self._settings
        for column, fits, kind in (
            (one.image, _is_picture, "pictures"),
            (one.licence_column, is_text, "texts"),
            (one.source_column, is_text, "texts"),
        ):
            where = f"{one.hub}: split {shown(one.split)}"
            if column and column not in features:
                raise UsageError(f"{where} has no column {shown(column)}; it has {listed(features)}")
            if column and not fits(features[column]):
                kinds = f"is {shown(features[column])}, not of {kind}"
                raise UsageError(f"{where}: column {shown(column)} {kinds}; name another")

    def _bytes(self, name: str, row: Mapping[str, Any]) -> bytes:
        """The picture of a row, undecoded."""
        from mis_dataset.other import bytes_of

        held = row[self._settings.image]
        try:
            found = bytes_of(name, [held], self._place.folder)
        except DatasetError as error:
            raise PictureError(str(error)) from error
        if not found or not found[0]:
            raise PictureError(f"{name}: has no picture")
        return found[0]


def _is_picture(feature: Any) -> bool:
    """Whether a column is one of pictures, or looks like one whose file does not say so."""
    import datasets

    if isinstance(feature, datasets.Image):
        return True
    kinds = {name: getattr(one, "dtype", "") for name, one in feature.items()} if isinstance(feature, dict) else {}
    return kinds.get("bytes") in ("binary", "large_binary") and kinds.get("path") in (*_STRINGS, "null")


def _said(row: Mapping[str, Any], column: str) -> str:
    """What a row says in a column, in one line; empty where it says nothing."""
    return short((row[column] or "").strip()) if column else ""
