"""Another dataset, from a folder or the Hub, as rows that `leaks` can compare: VLGuard, MM-SafetyBench, SIUO, ...

`trainer.benchmarks` reads by the same rules. The dataset is not trusted: no code of it is run,
its pictures are read from its own folder only, and no row of it is printed.
"""

from __future__ import annotations

import lzma
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import pyarrow as pa
import yaml
from datasets.exceptions import DatasetsError
from datasets.utils.file_utils import xopen
from huggingface_hub import HfApi
from huggingface_hub.constants import HF_HUB_CACHE
from huggingface_hub.errors import HfHubHTTPError

from mis_dataset.decoding import strict_pillow
from mis_dataset.errors import DatasetError, UsageError
from mis_dataset.leaks import Row, make_row
from mis_dataset.pictures import MAX_BYTES
from mis_dataset.record import shown

_DATASETS = 5
"""Major version of `datasets` from which on no file of a dataset is run: it has no loading scripts and no pickles."""
_TEXT_NAMES = ("question", "instruction", "prompt", "query", "text")
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_ZIPPED = re.compile(r"(?P<entry>zip://[^:]+)::(?P<archive>[^:]+)")
"""How `datasets` names a picture in a zip of a folder of pictures."""
_HTTP_ERROR: type[Exception] = HfHubHTTPError.__bases__[0]
"""Of the HTTP client that this huggingface_hub uses; which one that is changed between its versions."""
READ_ERRORS = (
    OSError,
    ValueError,
    RuntimeError,
    LookupError,
    EOFError,
    pa.ArrowException,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)
"""How reading a row or a picture fails."""
LOAD_ERRORS = (
    *READ_ERRORS,
    DatasetsError,
    TypeError,  # a README.md whose YAML is of another shape than meant
    AttributeError,
    AssertionError,
    StopIteration,  # a file of JSON without a row
    ImportError,  # a format that wants a package of its own
    struct.error,
    tarfile.TarError,
    yaml.YAMLError,
    _HTTP_ERROR,
)
"""How `datasets` fails on what it did not expect; there is no common root."""


class Other(NamedTuple):
    """Another dataset.

    Attributes:
        rows: of all splits.
        columns: split -> the columns that were read.
    """

    rows: list[Row]
    columns: dict[str, list[str]]


def read_other(name: str, text: str | None = None, image: str | None = None, config: str | None = None) -> Other:
    """Reads all splits of a dataset that has a column of texts, columns of pictures, or both.

    Args:
        name: folder, or repository on the Hub as ``OWNER/NAME``.
        text: column of the texts; None: the first of the usual names, else the first column of strings.
        image: column of the pictures, one or a list of them a row; None: all of that kind.
        config: one of its configs; None: the only one, or the one that it calls its default.

    Returns:
        Its rows and what was read of it; ids are ``<name>/<split>/<number>``, counted from 0. A row without a text has
        an empty one.

    Raises:
        UsageError: it is neither a folder nor such a name, has no such columns or configs, or several configs of which
            none is named; or `datasets` is too old.
        DatasetError: it cannot be loaded, or a row or a picture of it cannot be read.
    """
    place = place_of(name)
    rows: list[Row] = []
    columns: dict[str, list[str]] = {}
    with strict_pillow():
        for split, table in _load(name, place, config).items():
            where = f"{name}: split {split}"
            texts = _columns(where, table.features, text, "strings", is_text, _TEXT_NAMES)[:1]
            pictures = _columns(where, table.features, image, "pictures", _holds_pictures)
            columns[split] = texts + pictures
            if not columns[split]:
                types = ", ".join(f"{listed([one])} {shown(feature)}" for one, feature in table.features.items())
                raise UsageError(f"{where} has columns neither of strings nor of pictures; it has {types}")
            for number, row in enumerate(_undecoded(where, table.select_columns(columns[split]), pictures)):
                row_id = f"{name}/{split}/{number}"
                held = [one for column in pictures for one in _as_list(row[column])]
                said = " ".join(row[column] or "" for column in texts)
                rows.append(make_row(row_id, said, bytes_of(row_id, held, place.folder)))
    return Other(rows, columns)


class Place(NamedTuple):
    """Where a dataset lies.

    Attributes:
        path: what `load_dataset` calls it.
        folder: the one that its pictures may be read from.
        commit: of the repository, where all of it is read; None: of a folder, or that of now.
    """

    path: str
    folder: Path
    commit: str | None = None


def place_of(name: str) -> Place:
    """Where a dataset lies that is not trusted.

    Args:
        name: folder, or repository on the Hub as ``OWNER/NAME``.

    Raises:
        UsageError: it is neither, or a folder is called as the owner and lacks it, so that a slip is not looked for on
            the Hub; or `datasets` is so old that it runs files of a dataset.
    """
    if int(datasets.__version__.split(".")[0]) < _DATASETS:
        raise UsageError(f"{name}: needs datasets {_DATASETS} or newer, found {datasets.__version__}; update it")
    # A bare name may be one of the library's own loaders, such as "text", which would read the working directory.
    folder = Path(name)
    if folder.is_dir():
        return Place(str(folder.resolve()), folder.resolve())
    if folder.exists() or not _REPOSITORY.fullmatch(name):
        raise UsageError(f"{name}: is neither a folder nor OWNER/NAME of a dataset on the Hub")
    if folder.parent.is_dir():
        raise UsageError(f"{name}: there is a folder {folder.parent} here without it; name one that is there")
    return Place(name, Path(HF_HUB_CACHE, f"datasets--{name.replace('/', '--')}").resolve())


def commit_of(repository: str) -> str:
    """Commit at which a dataset of the Hub stands now.

    Raises:
        DatasetError: the Hub does not say.
    """
    try:
        return str(HfApi().dataset_info(repository, revision="main").sha)
    except LOAD_ERRORS as error:
        raise DatasetError(f"{repository}: its commit cannot be told: {reason_of(error)}; try again") from error


def _load(name: str, place: Place, config: str | None) -> datasets.DatasetDict:
    """All splits of one config."""
    try:
        configs = datasets.get_dataset_config_names(place.path)
        if len(configs) > 1 and (config or datasets.get_dataset_default_config_name(place.path)) not in configs:
            lacks = f"has no config {shown(config)}" if config else "has several configs"
            raise UsageError(f"{name}: {lacks}; name one of {listed(configs)} with --config NAME")
        return datasets.load_dataset(place.path, config)
    except LOAD_ERRORS as error:
        raise DatasetError(f"{name}: cannot be loaded: {reason_of(error)}; see what load_dataset says of it") from error


def reason_of(error: BaseException) -> str:
    """What went wrong in `datasets`, of which kind; the words of the cause, which may hold a row, are left out."""
    kinds = " of ".join(type(one).__name__ for one in (error, error.__cause__) if one)
    words = " ".join(str(error).split())
    # The Hub's own text may hold a token's owner.
    return f"{kinds}: {shown(words)}" if words and not isinstance(error, _HTTP_ERROR) else kinds


def _columns(
    where: str,
    features: datasets.Features,
    named: str | None,
    kind: str,
    fits: Callable[[Any], bool],
    usual: Sequence[str] = (),
) -> list[str]:
    """The column that is named, or else all that fit, those of usual names first."""
    fitting = [column for column, feature in features.items() if fits(feature)]
    if named is None:
        return [*(one for one in usual if one in fitting), *(one for one in fitting if one not in usual)]
    if named not in features:
        raise UsageError(f"{where} has no column {shown(named)}; it has {listed(features)}")
    if named not in fitting:
        raise UsageError(f"{where}: column {shown(named)} is {shown(features[named])}, not of {kind}; name another")
    return [named]


def listed(names: Iterable[str]) -> str:
    """Names that a stranger gave, fit for a terminal."""
    # No control character may reach it.
    return ", ".join(shown(name)[1:-1] for name in names)


def is_text(feature: Any) -> bool:
    """Whether a column is one of strings."""
    return isinstance(feature, datasets.Value) and feature.dtype in ("string", "large_string", "string_view")


def _holds_pictures(feature: Any) -> bool:
    """Whether it is a picture or a list of them."""
    return isinstance(getattr(feature, "feature", feature), datasets.Image)


def _undecoded(where: str, table: datasets.Dataset, pictures: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Rows with pictures as ``{"bytes": ..., "path": ...}``."""
    plain = datasets.Image(decode=False)
    try:
        for column in pictures:
            feature = table.features[column]
            bare = plain if isinstance(feature, datasets.Image) else replace(feature, feature=plain)
            table = table.cast_column(column, bare)
        yield from table
    except READ_ERRORS as error:  # such as a string that is no UTF-8
        raise DatasetError(f"{where}: a row cannot be read: {type(error).__name__}; mend the file") from error


def _as_list(pictures: Any) -> list[Any]:
    return pictures if isinstance(pictures, list) else [pictures]


def bytes_of(row_id: str, pictures: Iterable[dict[str, Any] | None], folder: Path) -> list[bytes]:
    """The bytes of a row's pictures, undecoded.

    Args:
        row_id: for what is said of a fault.
        pictures: ``{"bytes": ..., "path": ...}`` as `datasets` has them; None is left out.
        folder: the one that paths may lead into.

    Raises:
        DatasetError: a picture is not there, is too large, or lies elsewhere.
    """
    held = []
    for picture in (one for one in pictures if one is not None):
        encoded, path = picture["bytes"], picture["path"]
        if encoded is None and path is None:
            raise DatasetError(f"{row_id}: a picture has neither bytes nor a path; mend that row")
        encoded = _read(row_id, path, folder) if encoded is None else encoded
        if len(encoded) > MAX_BYTES:
            raise DatasetError(f"{row_id}: a picture has more than {MAX_BYTES} bytes; make it smaller")
        held.append(encoded)
    return held


def _read(row_id: str, path: str, folder: Path) -> bytes:
    """Bytes of a picture file, or of an entry of a zip, one more than allowed at most."""
    zipped = _ZIPPED.fullmatch(path)
    try:
        # Followed to its end, so that no link and no ".." leads out; and a file, as a pipe would wait for ever.
        file = (folder / (zipped["archive"] if zipped else path)).resolve()
        if not file.is_relative_to(folder) or not file.is_file():
            raise DatasetError(f"{row_id}: picture {shown(path)} is no file in the dataset's own folder; put it there")
        with xopen(f"{zipped['entry']}::{file}", "rb") if zipped else file.open("rb") as stream:
            encoded: bytes = stream.read(MAX_BYTES + 1)
            return encoded
    except READ_ERRORS as error:
        reason = type(error).__name__
        raise DatasetError(f"{row_id}: picture {shown(path)} cannot be read ({reason}); mend it") from error
