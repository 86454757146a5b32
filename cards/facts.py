"""Reads what the cards say from the files of a run; nothing else is known here.

    report.json                       rates, settings, hashes, stations
    MIS/MANIFEST.json                 version and fingerprint of the dataset
    MIS/data/<split>-*.parquet        rows per split, category and level (text columns alone are read)
    base.meta.json, base/**/*.meta.json       how the base model was made
    arms/<arm>.meta.json, arms/<arm>/**/*.meta.json   how the arm was made

What a card needs and no file holds is an error that names the file and the field.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os.path import normpath
from pathlib import Path
from typing import Any

from cards.reading import CardError, read_json
from mis_dataset.files import sha256_of
from mis_dataset.schema import SPLITS

RATE_FIELDS = ("rate", "k", "n", "low", "high")
READS = ("1-a", "1-b", "1-c", "1-d")
"""Versions of report.json that are read."""


@dataclass(frozen=True)
class Rate:
    """One rate of a report.

    Attributes:
        rate: fraction 0..1, None over nothing.
        k: rows counted.
        n: rows scored.
        low: lower end of the 95 % Wilson interval, fraction 0..1, None over nothing.
        high: its upper end.
        unscored: rows without a verdict, in neither k nor n; None for rates that need none.
    """

    rate: float | None
    k: int
    n: int
    low: float | None
    high: float | None
    unscored: int | None = None


@dataclass(frozen=True)
class Split:
    """One split as it lies on disk.

    Attributes:
        name: such as "test_hard".
        pattern: glob of its files, relative to the dataset's folder.
        files: its files, relative to the dataset's folder, in the order of its rows.
        rows: number of rows.
        bytes: size of its files.
        unpacked: bytes that their columns take when they are read.
        twins: rows that are the benign twin of another.
        responses: rows that carry a response.
        categories: category (None where the release has none) -> rows.
        levels: level of generalisation (None where the release has none) -> rows.
    """

    name: str
    pattern: str
    files: tuple[str, ...]
    rows: int
    bytes: int
    unpacked: int
    twins: int
    responses: int
    categories: Mapping[str | None, int]
    levels: Mapping[str | None, int]


@dataclass(frozen=True)
class Dataset:
    """The built dataset of a run.

    Attributes:
        version: as its manifest gives it.
        sha256: of its manifest, which holds the sha256 of every file.
        splits: in the order of the schema.
    """

    version: str
    sha256: str
    splits: tuple[Split, ...]


@dataclass(frozen=True)
class Sidecar:
    """How one file or folder of a run was made.

    Attributes:
        path: of the sidecar, relative to the run.
        settings: dotted name -> value.
        inputs: what it was made from, as `public_name` names it -> its sha256.
        versions: package -> version.
        git_commit: of the code, None outside of a checkout.
        device: such as "cpu".
    """

    path: str
    settings: Mapping[str, Any]
    inputs: Mapping[str, str]
    versions: Mapping[str, str]
    git_commit: str | None
    device: str


class Report:
    """report.json, read field by field: a field that is missing or wrong is a `CardError` that names it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            raise CardError(f"{path}: no such file; name a finished run, as `make reproduce` leaves it in runs/mini")
        self.content = read_json(path)
        version = self.content.get("report_version", READS[0])  # reports of before versions have none
        if version not in READS:
            raise CardError(
                f"{path}: report_version is {version!r}, these cards read {', '.join(READS)}; run `report` again"
            )

    def at(self, *keys: str) -> Any:
        """What stands under `keys`.

        Raises:
            CardError: nothing stands there.
        """
        found: Any = self.content
        for depth, key in enumerate(keys):
            if not isinstance(found, dict) or key not in found:
                field = ".".join(keys[: depth + 1])
                raise CardError(f"{self.path}: {field} is missing; run `python -m trainer report` again")
            found = found[key]
        return found

    def names(self, *keys: str) -> list[str]:
        """Keys of the object under `keys`, in the file's order.

        Raises:
            CardError: nothing stands there, or no object.
        """
        found = self.at(*keys)
        if not isinstance(found, dict):
            raise CardError(f"{self.path}: {'.'.join(keys)} is a {type(found).__name__}, expected an object")
        return list(found)

    def fraction(self, *keys: str) -> float:
        """The fraction under `keys`.

        Raises:
            CardError: nothing stands there, or no number within 0..1.
        """
        found = self.at(*keys)
        if not isinstance(found, int | float) or isinstance(found, bool) or not 0 <= found <= 1:
            raise CardError(f"{self.path}: {'.'.join(keys)} is {found!r}, expected a fraction 0..1")
        return float(found)

    def number(self, *keys: str) -> float | None:
        """The number under `keys`; None where null stands there.

        Raises:
            CardError: nothing stands there, or something else.
        """
        found = self.at(*keys)
        if found is not None and (not isinstance(found, int | float) or isinstance(found, bool)):
            raise CardError(f"{self.path}: {'.'.join(keys)} is a {type(found).__name__}, expected a number")
        return found

    def rate(self, *keys: str) -> Rate:
        """The rate under `keys`, checked; rates that share their rows share one `unscored` beside them.

        Raises:
            CardError: it is missing, not a rate, or its numbers contradict each other.
        """
        where = f"{self.path}: {'.'.join(keys)}"
        found = self.at(*keys)
        if not isinstance(found, dict) or any(field not in found for field in RATE_FIELDS):
            raise CardError(f"{where} is not a rate: expected {', '.join(RATE_FIELDS)}")
        unscored = found.get("unscored", self.at(*keys[:-1]).get("unscored"))
        rate = Rate(found["rate"], found["k"], found["n"], found["low"], found["high"], unscored)
        _check_rate(rate, where)
        return rate


def read_dataset(folder: Path, inside: str = "data") -> Dataset:
    """Read the built dataset's manifest and count its rows.

    Args:
        folder: MIS of a run, as `python -m mis_dataset build` writes it.
        inside: folder of the Parquet in it: "data", or the name of a config of smaller pictures.

    Raises:
        CardError: no manifest, a field missing in it, no Parquet, one that cannot be read, or another
            number of rows than the manifest says.
    """
    manifest = folder / "MANIFEST.json"
    told = read_json(manifest)
    for field in ("data_version", "rows"):
        if field not in told:
            raise CardError(f"{manifest}: {field} is missing; run `python -m mis_dataset build` again")
    files: dict[str, list[Path]] = {}
    for path in sorted((folder / inside).glob("*.parquet")):
        files.setdefault(path.name.split("-")[0], []).append(path)
    if not files:
        raise CardError(f"{folder / inside}: no Parquet; run `python -m mis_dataset build` first")
    unknown = sorted(set(files) - set(SPLITS))
    if unknown:
        raise CardError(f"{folder / inside}: {', '.join(unknown)} is none of the splits {', '.join(SPLITS)}")
    splits = tuple(_read_split(name, inside, files[name]) for name in SPLITS if name in files)
    rows = {split.name: split.rows for split in splits}
    if rows != told["rows"]:
        raise CardError(f"{manifest}: counts {told['rows']}, the Parquet holds {rows}; build the dataset again")
    return Dataset(told["data_version"], sha256_of(manifest), splits)


def check_unchanged(run: Path, report: Report, *models: str) -> None:
    """Holds the dataset and the weights of models against those that the report's rates were measured on.

    Raises:
        CardError: a file is missing, or another than the one that was measured; or the report names none of the dataset
            or of a model.
    """
    measured = ("MIS/", *(f"{folder_of(model)}/" for model in models))
    hashes = {name: report.at("hashes", name) for name in report.names("hashes")}
    for folder in measured:
        if not any(name.startswith(folder) for name in hashes):
            raise CardError(
                f"{report.path}: hashes names no file of {folder}, so no rate is of it; choose a model of the report, "
                "or run `python -m trainer report` again"
            )
    for name, sha in hashes.items():
        path = run / name
        if name.startswith(measured) and not (path.is_file() and sha256_of(path) == sha):
            raise CardError(
                f"{path}: {'is no longer what' if path.is_file() else 'missing, but'} the rates of report.json were "
                "measured on; run `python -m trainer reproduce` on the run again"
            )


def check_built(folder: Path, dataset: Dataset) -> None:
    """Holds the Parquet of a built dataset against its manifest.

    Raises:
        CardError: a file is missing, another, or one that the manifest does not know.
    """
    told = read_json(folder / "MANIFEST.json").get("files")
    files = told if isinstance(told, dict) else {}
    found = {name for split in dataset.splits for name in split.files}
    for name in sorted(found | {name for name in files if name.endswith(".parquet")}):
        if name not in found or sha256_of(folder / name) != files.get(name):
            raise CardError(
                f"{folder / name}: is not as it was built; `python -m mis_dataset verify {folder}` lists all"
            )


def folder_of(model: str) -> str:
    """Where a run keeps a model that it measured.

    >>> folder_of("base"), folder_of("contrast")
    ('base', 'arms/contrast')
    """
    return model if model == "base" else f"arms/{model}"


def public_name(name: str) -> str:
    """Names a file that a run read: outside of the run by its last part, as the rest is the machine's alone.

    >>> public_name("../../home/me/labels.jsonl"), public_name("MIS/MANIFEST.json")
    ('labels.jsonl', 'MIS/MANIFEST.json')
    """
    return name.rsplit("/", 1)[-1] if name.startswith(("..", "/")) else name


def read_sidecars(run: Path, stem: str) -> list[Sidecar]:
    """Read what says how a model of the run was made: sidecars beside and inside its folder.

    Args:
        run: folder of the run.
        stem: the model's folder, relative to the run, such as "arms/contrast".

    Raises:
        CardError: there is none, or one is not a sidecar.
    """
    beside = run / f"{stem}.meta.json"
    paths = [*([beside] if beside.is_file() else []), *sorted((run / stem).rglob("*.meta.json"))]
    if not paths:
        raise CardError(f"{run / stem}: no *.meta.json beside or inside it, so nothing says how it was made")
    return [_read_sidecar(path, run) for path in paths]


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Give nested settings dotted names.

    >>> flatten({"lora": {"r": 8}, "seed": 0})
    {'lora.r': 8, 'seed': 0}
    """
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _check_rate(rate: Rate, where: str) -> None:
    counts = (rate.k, rate.n, 0 if rate.unscored is None else rate.unscored)
    if any(type(count) is not int or count < 0 for count in counts):
        raise CardError(f"{where}: k, n and unscored are whole numbers from 0 on, found {counts!r}")
    numbers = (rate.rate, rate.low, rate.high)
    if rate.n == 0:
        if numbers != (None, None, None) or rate.k != 0:
            raise CardError(f"{where}: a rate over nothing must be null, found {numbers}")
        return
    if any(not isinstance(number, int | float) or isinstance(number, bool) for number in numbers):
        raise CardError(f"{where}: {rate.k} of {rate.n}, but not every number of {numbers} is one")
    if rate.rate is None or not math.isclose(rate.rate, rate.k / rate.n, abs_tol=1e-9):
        raise CardError(f"{where}: rate is {rate.rate}, but {rate.k} of {rate.n} is {rate.k / rate.n}")
    slack = 1e-9  # at 0 and at 1 a bound may be one rounding off
    if not -slack <= (rate.low or 0) <= rate.rate + slack <= (rate.high or 0) + 2 * slack <= 1 + 3 * slack:
        raise CardError(f"{where}: {rate.low} <= {rate.rate} <= {rate.high} does not hold within 0..1")


def _read_split(name: str, inside: str, paths: Sequence[Path]) -> Split:
    import pyarrow
    import pyarrow.parquet

    columns = ["category", "level", "twin_of", "response"]
    rows: list[dict[str, Any]] = []
    unpacked = 0
    for path in paths:
        try:
            about = pyarrow.parquet.read_metadata(path)
            found = about.schema.to_arrow_schema().names
            if not set(columns) <= set(found):
                raise CardError(f"{path}: expected the columns {columns}, found {found}; build it again")
            unpacked += sum(about.row_group(group).total_byte_size for group in range(about.num_row_groups))
            rows += pyarrow.parquet.read_table(path, columns=columns).to_pylist()
        except (OSError, pyarrow.ArrowException) as error:
            raise CardError(f"{path}: cannot be read ({type(error).__name__}); build it again") from error
    return Split(
        name=name,
        pattern=f"{inside}/{name}-*.parquet",
        files=tuple(f"{inside}/{path.name}" for path in paths),
        rows=len(rows),
        bytes=sum(path.stat().st_size for path in paths),
        unpacked=unpacked,
        twins=sum(row["twin_of"] is not None for row in rows),
        responses=sum(row["response"] is not None for row in rows),
        categories=Counter(row["category"] for row in rows),
        levels=Counter(row["level"] for row in rows),
    )


def _read_sidecar(path: Path, run: Path) -> Sidecar:
    content = read_json(path)
    here = path.relative_to(run).parent.as_posix()
    try:
        return Sidecar(
            path=path.relative_to(run).as_posix(),
            settings=flatten(content["settings"]),
            inputs={public_name(normpath(f"{here}/{name}")): sha for name, sha in content["inputs"].items()},
            versions=dict(content["versions"]),
            git_commit=content["git_commit"],
            device=content["device"],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CardError(f"{path} is not a sidecar ({error!r}); make its artefact again") from error
