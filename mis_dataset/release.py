"""Reads a raw release: the published layout of JSON files beside a folder or zips of pictures.

`survey` looks at everything and lists what is wrong; `read_release` gives records or fails with that list.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from mis_dataset.errors import Problem, RecordError, ReleaseError, UsageError, refuse_constant
from mis_dataset.pictures import fold
from mis_dataset.record import Record, parse_record, remarks_on, shown
from mis_dataset.schema import BENIGN, MADE, PROVENANCE, SOURCES, SPLITS, Source

SOURCE_NAME = "SOURCE.json"
"""What `download` leaves beside a release: Hub repository -> commit."""
PROPOSED = "mis_benign_proposed.json"
"""Twins that `twins` proposed; those that a reviewer kept are rows."""
REVIEW = "twins.jsonl"
"""What reviewers say of them, a line each."""
_REPOSITORY = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
STATUSES = ("proposed", "kept", "rejected")


@dataclass(frozen=True)
class Release:
    """What the JSON files of a release hold.

    Attributes:
        root: its folder.
        records: file name -> its valid records, in the order of the file.
        problems: all that is wrong, in the order of the files.
        warnings: what is unusual, one entry for each kind of thing in a file.
        inputs: file name -> sha256 of the JSON file, hexadecimal; of a construction also of its `schema.MADE`.
        source: Hub repository -> commit, where `download` has written them down.
        reviews: what became of proposed twins: `proposed`, `kept` and `rejected` (counts) and `reviewers` (names of
            those who kept or rejected); empty where none were proposed.
        limit: how many records of each file are in `records`; None: all.
    """

    root: Path
    records: dict[str, tuple[Record, ...]] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    inputs: dict[str, str] = field(default_factory=dict)
    source: dict[str, str] = field(default_factory=dict)
    reviews: dict[str, Any] = field(default_factory=dict)
    limit: int | None = None

    def rows(self, split: str) -> tuple[Record, ...]:
        """The records of a split in row order: raw order, in train the dangerous rows before their twins."""
        files = [source.file for source in SOURCES if source.split == split]
        return tuple(record for file in files for record in self.records.get(file, ()))

    def counts(self) -> dict[str, int]:
        """Rows by split, for the splits that have any."""
        return {split: len(self.rows(split)) for split in SPLITS if self.rows(split)}

    def first(self, limit: int) -> Release:
        """The first records of each file, less twins whose row is not among them; for a trial."""
        some = {file: held[:limit] for file, held in self.records.items()}
        there = {None, *(record.id for held in some.values() for record in held)}
        whole = {file: tuple(one for one in held if one.twin_of in there) for file, held in some.items()}
        return replace(self, records=whole, limit=limit)


def survey(root: Path) -> Release:
    """Reads all JSON files of a release and notes what is wrong instead of stopping there.

    Args:
        root: folder of the release.

    Returns:
        The release, with `problems` where it has any.

    Raises:
        UsageError: `root` is not a folder.
    """
    if not root.is_dir():
        raise UsageError(f"{root}: not a folder; name the folder that holds {SOURCES[0].file}")
    records: dict[str, tuple[Record, ...]] = {}
    inputs: dict[str, str] = {}
    problems: list[Problem] = []
    warnings: list[Problem] = []
    reviews: dict[str, Any] = {}
    constructed = (root / PROVENANCE).is_file()
    for source in SOURCES:
        if (constructed or not source.required) and not os.path.lexists(root / source.file):
            continue
        try:
            data = _read_bytes(root, source.file)
            elements, repeated = _read_json(data, source)
        except ReleaseError as error:
            problems += error.problems
            continue
        inputs[source.file] = hashlib.sha256(data).hexdigest()
        parsed = _parse_all(elements, source)
        records[source.file] = parsed.records
        if source.file == PROPOSED:
            records[source.file], reviews, faults = _kept(root, parsed.records)
            problems += faults
            inputs |= {REVIEW: hashlib.sha256((root / REVIEW).read_bytes()).hexdigest()} if not faults else {}
        problems += repeated + parsed.problems
        warnings += parsed.warnings
    told, faults = _provenance(root) if constructed else ({}, [])
    inputs |= told
    problems += faults
    problems += _repeated_ids(records) + _twin_faults(records) + _alike_paths(records)
    if not records and not problems:
        problems.append(Problem(SOURCES[0].file, None, "no file with rows is there; construct some"))
    commits, faults = _read_source(root)
    problems = _by_file(problems) + faults
    return Release(root, records, tuple(problems), tuple(warnings), inputs, commits, reviews)


def read_release(root: Path) -> Release:
    """Reads all records of a release.

    Args:
        root: folder of the release.

    Returns:
        The release, without problems.

    Raises:
        UsageError: `root` is not a folder.
        ReleaseError: it has problems; all that the JSON files show are listed.
    """
    release = survey(root)
    if release.problems:
        raise ReleaseError(release.problems)
    return release


class _Parsed(NamedTuple):
    """What one file's list gave."""

    records: tuple[Record, ...]
    problems: list[Problem]
    warnings: list[Problem]


def _read_bytes(root: Path, file: str) -> bytes:
    """The bytes of a JSON file that is there, inside the release, and not empty."""
    path = root / file
    if not path.is_file():
        _fail(file, "is missing; a release has it in its top folder")
    if not path.resolve().is_relative_to(root.resolve()):
        _fail(file, "is a link that leaves the release; copy the file")
    try:
        data = path.read_bytes()
    except OSError as error:
        _fail(file, f"cannot be read: {error.strerror}")
    if not data.strip():
        _fail(file, "is empty")
    return data


def read_reviews(root: Path) -> dict[str, dict[str, Any]]:
    """What reviewers say of proposed twins.

    Args:
        root: folder of the release.

    Returns:
        Id -> its line: `id`, `pair` (see `pair_hash`), `status` (one of `STATUSES`) and `reviewer`, and what else
        stands there; empty where there is no such file.

    Raises:
        ReleaseError: a line is none, or says kept or rejected without a reviewer's name; all such lines are listed.
    """
    if not os.path.lexists(root / REVIEW):
        return {}
    problems: list[Problem] = []
    found: dict[str, dict[str, Any]] = {}
    try:
        text = _read_bytes(root, REVIEW).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        _fail(REVIEW, f"is not UTF-8 at byte {error.start}; save it as UTF-8")
    # Not splitlines(): it also cuts at U+2028, which a name may hold.
    written = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    for number, line in written:
        try:
            held = json.loads(line, parse_constant=refuse_constant)
        except (ValueError, RecursionError):
            held = None
        fault = _review_fault(held)
        if fault is None and held["id"] in found:
            fault = f"{shown(held['id'])} stands there twice; drop one"
        problems += [Problem(REVIEW, None, f"line {number}: {fault}")] if fault else []
        found |= {held["id"]: held} if fault is None else {}
    if problems:
        raise ReleaseError(problems)
    return found


def pair_hash(record: Record) -> str:
    """sha256 over question and picture paths of a row: what a reviewer saw."""
    return hashlib.sha256("\n".join((record.question, *record.images)).encode()).hexdigest()


def _review_fault(held: Any) -> str | None:
    if not isinstance(held, dict) or not {"id", "pair", "status", "reviewer"} <= set(held):
        return "is no object with id, pair, status and reviewer"
    if not isinstance(held["id"], str) or not isinstance(held["pair"], str):
        return "id and pair are texts"
    if held["status"] not in STATUSES:
        return f"status of {shown(held['id'])} is none of {', '.join(STATUSES)}"
    name = held["reviewer"]
    if held["status"] != "proposed" and not (isinstance(name, str) and name.strip() and name.isprintable()):
        return f"{shown(held['id'])} is {held['status']} by nobody; write a reviewer's name"
    return None


def _kept(root: Path, proposed: tuple[Record, ...]) -> tuple[tuple[Record, ...], dict[str, Any], list[Problem]]:
    """The proposed twins that a reviewer kept, and what became of all."""
    try:
        reviews = read_reviews(root)
    except ReleaseError as error:
        return (), {}, list(error.problems)
    unknown = sorted(set(reviews) - {record.id for record in proposed})
    if unknown or not (root / REVIEW).is_file():
        text = f"{shown(unknown[0])} was not proposed" if unknown else "is missing"
        return (), {}, [Problem(REVIEW, None, f"{text}; run `python -m mis_dataset twins` again")]
    kept = [one for one in proposed if reviews.get(one.id, {}).get("status") == "kept"]
    other = [one.id for one in kept if reviews[one.id]["pair"] != pair_hash(one)]
    text = "was reviewed with another question or other pictures; run `python -m mis_dataset twins` and review it again"
    return tuple(kept), _counted(len(proposed), reviews.values()), [Problem(REVIEW, id_, text) for id_ in other]


def _counted(proposed: int, reviews: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What became of proposed twins, for the manifest."""
    decided = [line for line in reviews if line["status"] != "proposed"]
    counts = Counter(line["status"] for line in decided)
    names = sorted({line["reviewer"].strip() for line in decided})
    return {"proposed": proposed, "kept": counts["kept"], "rejected": counts["rejected"], "reviewers": names}


def _provenance(root: Path) -> tuple[dict[str, str], list[Problem]]:
    """sha256 of each file that says where the rows of a construction come from."""
    found: dict[str, str] = {}
    problems: list[Problem] = []
    for name in (name for name in MADE if name == PROVENANCE or os.path.lexists(root / name)):
        try:
            found[name] = hashlib.sha256(_read_bytes(root, name)).hexdigest()
        except ReleaseError as error:
            problems += error.problems
    return found, problems


def _read_source(root: Path) -> tuple[dict[str, str], list[Problem]]:
    """Where `download` says the release came from; nothing where it was not used."""
    if not os.path.lexists(root / SOURCE_NAME):
        return {}, []
    try:
        held = json.loads(_read_bytes(root, SOURCE_NAME))
    except ReleaseError as error:
        return {}, list(error.problems)
    except (ValueError, RecursionError):
        held = None
    # Nothing else may pass into a manifest, which is published.
    if isinstance(held, dict) and all(
        _REPOSITORY.fullmatch(name) and isinstance(commit, str) and _COMMIT.fullmatch(commit)
        for name, commit in held.items()
    ):
        return held, []
    return {}, [Problem(SOURCE_NAME, None, "does not name repositories and their commits; remove it")]


def _read_json(text: bytes, source: Source) -> tuple[list[object], list[Problem]]:
    """The list that a JSON file holds, and the keys that it holds twice."""
    repeated: list[Problem] = []
    try:
        # utf-8-sig: some editors put a byte order mark in front, which changes nothing.
        elements = json.loads(
            text.decode("utf-8-sig"),
            object_pairs_hook=partial(_unique_keys, repeated, source),
            parse_constant=refuse_constant,
        )
    except UnicodeDecodeError as error:
        _fail(source.file, f"is not UTF-8 at byte {error.start}; save it as UTF-8")
    except json.JSONDecodeError as error:
        _fail(source.file, f"is not JSON: {error.msg} at line {error.lineno} column {error.colno}")
    except ValueError as error:  # NaN, or a number of thousands of digits
        _fail(source.file, f"is not JSON that can be read: {error}")
    except RecursionError:
        _fail(source.file, "is nested too deeply; write a list of objects")
    if not isinstance(elements, list) or not elements:
        _fail(source.file, "must hold a list with at least one record")
    return elements, repeated


def _fail(file: str, text: str) -> NoReturn:
    raise ReleaseError([Problem(file, None, text)])


def _unique_keys(repeated: list[Problem], source: Source, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Makes an object of its pairs and notes the keys that occur twice, of which JSON would keep the last."""
    made = dict(pairs)
    if len(made) < len(pairs):
        raw_id = made.get("id")
        row_id = f"{source.split}/{raw_id}" if type(raw_id) is int and 0 <= raw_id < 2**31 else None
        twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
        repeated += [
            Problem(source.file, row_id, f"an object has the key {shown(key)} more than once") for key in twice
        ]
    return made


def _parse_all(elements: list[object], source: Source) -> _Parsed:
    records: list[Record] = []
    problems: list[Problem] = []
    remarks: Counter[str] = Counter()
    for index, raw in enumerate(elements):
        try:
            records.append(parse_record(raw, source, index))
            remarks.update(remarks_on(raw, source))
        except RecordError as error:
            problems += error.problems
    # Counted: one line for a thing that all 3,927 records may share.
    warnings = [Problem(source.file, None, f"{text} (records: {n})") for text, n in remarks.items()]
    return _Parsed(tuple(records), problems, warnings)


def _repeated_ids(records: dict[str, tuple[Record, ...]]) -> list[Problem]:
    """Ids that more than one record has, within a file or over the two files of train."""
    problems = []
    first: dict[str, str] = {}
    for file, held in records.items():
        for record in held:
            if record.id in first:
                text = f"the id occurs twice, first in {first[record.id]}; ids go on after the last one"
                problems.append(Problem(file, record.id, text))
            first.setdefault(record.id, file)
    return problems


def _twin_faults(records: dict[str, tuple[Record, ...]]) -> list[Problem]:
    """Twins of rows that do not exist, are twins themselves, ask something else or have one already."""
    rows = {record.id: record for held in records.values() for record in held}
    problems = []
    paired: dict[str, str] = {}
    for file, twin in ((file, twin) for file, held in records.items() for twin in held if twin.twin_of):
        row = rows.get(str(twin.twin_of))
        if row is None:
            problems.append(Problem(file, twin.id, f"twin_of {twin.twin_of} names no valid row"))
        elif row.twin_of:
            problems.append(Problem(file, twin.id, f"twin_of {twin.twin_of} is a twin itself"))
        elif row.question != twin.question:
            problems.append(Problem(file, twin.id, f"the question is not that of its row {row.id}"))
        elif twin.split == BENIGN and row.id in paired:
            problems.append(Problem(file, twin.id, f"{row.id} has the twin {paired[row.id]} already"))
        else:
            paired[row.id] = twin.id
    return problems


def _alike_paths(records: dict[str, tuple[Record, ...]]) -> list[Problem]:
    """Pictures that a file system which knows no letter case or Unicode forms would take for one."""
    problems = []
    first: dict[str, str] = {}
    for file, record in ((file, record) for file, held in records.items() for record in held):
        for path in record.images:
            other = first.setdefault(fold(path), path)
            if other != path:
                both = f"pictures {shown(path)} and {shown(other)}"
                text = f"{both} are one file where letter case or Unicode form is lost; rename one"
                problems.append(Problem(file, record.id, text))
    return problems


def _by_file(problems: Iterable[Problem]) -> list[Problem]:
    order = [*(source.file for source in SOURCES), REVIEW]
    # Files of provenance come behind those that a release needs.
    return sorted(problems, key=lambda problem: order.index(problem.file) if problem.file in order else len(order))
