"""Labelled responses to hold a judge against: a file of our own, or those of people that lie in PyRIT's wheel.

What PyRIT's rows say is harmful in earnest. It is read in memory, judged and dropped; no error here quotes a line.
"""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from mis_dataset.errors import plain
from trainer.files import ArtefactError, parse_json, read_lines, sha256_of

LABELS = ("helps", "declines")
_KIND = re.compile(r"[a-z][a-z0-9_, -]{0,39}")
"""A kind stands in what is written, so it is a short word and never a response."""

_FOLDER = "pyrit/datasets/scorer_evals"
_HARMS = (
    *("bias", "chemical_biological", "cyber", "exploits", "harassment_bullying", "hate_speech", "illegal_activity"),
    *("info_integrity", "misinformation", "phishing", "privacy", "self_harm", "sexual", "violence"),
)
SETS: dict[str, tuple[str, ...]] = {
    "refusal": ("refusal_scorer/refusal.csv",),
    "refusal_extra": ("refusal_scorer/refusal_extra.csv",),
    "mini_refusal": ("sample/mini_refusal.csv",),
    "objective": tuple(f"objective/{harm}.csv" for harm in _HARMS),
}
"""Set -> its files in the wheel. A score of 1 means that the response refuses; in `objective`, that it achieves what
was wanted. Source: pyrit 1.1.0, datasets/scorer_evals."""
_METRICS = {
    "refusal": "refusal_scorer/refusal_metrics.jsonl",
    "objective": "objective/objective_achieved_metrics.jsonl",
}
"""Set -> the file in which PyRIT says how its own judges, models behind an API, did on it."""
_COLUMNS = ("objective", "assistant_response", "human_score")
_SCORES = {"1": True, "true": True, "0": False, "false": False}
_LARGEST = 2**25
"""Bytes of one file when unpacked; those of 1.1.0 have less than a hundredth of it."""
_WHEEL = re.compile(r"pyrit-(?P<version>[0-9][0-9a-z.]*)-[\w.]+-[\w.]+-[\w.]+\.whl")


class Published(NamedTuple):
    """What PyRIT's own judges reach on a set, as its wheel says; not measured here.

    Attributes:
        judges: How many were measured on as many responses as the set has.
        least: Accuracy of the worst, 0..1.
        most: Accuracy of the best.
    """

    judges: int
    least: float
    most: float


@dataclass(frozen=True)
class GoldResponse:
    """One response with the label that a judge should find.

    Attributes:
        id: Unique in its file.
        question: What was asked.
        things: Names of both things; None where the question is of no two pictures.
        response: What was said.
        label: "helps" or "declines".
        kind: Sort of response in a short word, such as "refusal" or "quoted danger".
        perception: 1 both things named, 2 on the subject or a plain refusal, 3 no sentence; None where not labelled.
    """

    id: str
    question: str
    things: tuple[str, str] | None
    response: str
    label: Literal["helps", "declines"]
    kind: str
    perception: Literal[1, 2, 3] | None = None


class Gold(NamedTuple):
    """Where labelled responses come from.

    Attributes:
        name: Of the file.
        version: Of the package, None for a file of one's own.
        sha256: Of the file's bytes.
        published: Set -> what others reach on it, as the file says.
    """

    name: str
    version: str | None
    sha256: str
    published: Mapping[str, Published] = MappingProxyType({})


def read_gold(path: Path) -> list[GoldResponse]:
    """Read a JSONL file of labelled responses, every line checked.

    Raises:
        ArtefactError: A line is no labelled response, or an id stands there twice.
    """
    found: dict[str, GoldResponse] = {}
    for number, line in enumerate(read_lines(path), start=1):
        where = f"{path}: line {number}"
        try:
            one = _labelled(parse_json(line))
        except (TypeError, ValueError, RecursionError) as error:
            raise ArtefactError(f"{where} is no labelled response ({error}); correct it") from error
        if one.id in found:
            raise ArtefactError(f"{where}: {plain(one.id)} stands there twice; drop one")
        found[one.id] = one
    if not found:
        raise ArtefactError(f"{path} is empty; give a file of labelled responses")
    return list(found.values())


def read_wheel(path: Path) -> tuple[Gold, dict[str, list[GoldResponse]]]:
    """Read the responses that people labelled from PyRIT's wheel; it is not installed, nothing is unpacked to disk.

    Args:
        path: pyrit-<version>-<tags>.whl, as `pip download pyrit --no-deps` saves it.

    Returns:
        What the wheel is, and set -> its responses, in the order of the files; a kind is the name of a file.

    Raises:
        ArtefactError: It is no wheel of PyRIT, lacks a file, or a row has no score.
    """
    named = _WHEEL.fullmatch(path.name)
    if not named:
        raise ArtefactError(f"{path}: not named as a wheel of pyrit; give it as `pip download` named it")
    gold = Gold(path.name, named["version"], sha256_of(path))
    try:
        with zipfile.ZipFile(path) as wheel:
            _check_version(path, wheel, gold)
            sets = {name: _read_set(path, wheel, name) for name in SETS}
            published = {name: _read_published(path, wheel, name, len(sets[name])) for name in _METRICS}
            return gold._replace(published=published), sets
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise ArtefactError(f"{path}: cannot be unpacked ({type(error).__name__}); download it again") from error


def _labelled(line: Any) -> GoldResponse:
    names = [field.name for field in fields(GoldResponse)]
    if not isinstance(line, dict) or set(line) | {"perception"} != set(names):
        raise ValueError(f"not an object with the keys {', '.join(names)} (the last may be left out)")
    texts = [line[name] for name in names if name not in ("things", "perception")]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("all but things and perception are texts")
    if type(line.get("perception", 1)) is not int or line.get("perception", 1) not in (1, 2, 3):
        raise ValueError("perception, where it is given, is 1, 2 or 3")
    for text in texts:
        text.encode()
    if line["label"] not in LABELS:
        raise ValueError(f"label is {' or '.join(LABELS)}")
    if not line["id"] or not _KIND.fullmatch(line["kind"]):
        raise ValueError("id is not empty, kind a short word in small letters")
    return GoldResponse(**{**line, "things": _things(line["things"])})


def _things(named: Any) -> tuple[str, str] | None:
    if named is None:
        return None
    if not isinstance(named, list) or len(named) != 2 or not all(isinstance(name, str) and name for name in named):
        raise ValueError("things are two names, or null")
    return named[0], named[1]


def _check_version(path: Path, wheel: zipfile.ZipFile, gold: Gold) -> None:
    said = _unpack(path, wheel, f"pyrit-{gold.version}.dist-info/METADATA").split("\n\n")[0].splitlines()
    if not {"Name: pyrit", f"Version: {gold.version}"} <= set(said):
        raise ArtefactError(f"{path}: its METADATA is not that of pyrit {gold.version}; download it again")


def _read_set(path: Path, wheel: zipfile.ZipFile, name: str) -> list[GoldResponse]:
    found: list[GoldResponse] = []
    for file in SETS[name]:
        kind = Path(file).stem
        for number, row in enumerate(_rows(path, wheel, f"{_FOLDER}/{file}"), start=1):
            score = _SCORES.get((row["human_score"] or "").strip().lower())
            if score is None or row["objective"] is None or row["assistant_response"] is None:
                raise ArtefactError(f"{path}: {file}: row {number} has a cell missing, or no score of 0 or 1")
            label: Literal["helps", "declines"] = "helps" if score == (name == "objective") else "declines"
            said = row["assistant_response"]
            found.append(GoldResponse(f"{name}/{kind}/{number}", row["objective"], None, said, label, kind))
    return found


def _read_published(path: Path, wheel: zipfile.ZipFile, name: str, n: int) -> Published:
    file = _METRICS[name]
    try:
        lines = [json.loads(line) for line in _unpack(path, wheel, f"{_FOLDER}/{file}").splitlines()]
        found = [float(one["metrics"]["accuracy"]) for one in lines if one["metrics"]["num_responses"] == n]
    except (KeyError, TypeError, ValueError) as error:
        raise ArtefactError(f"{path}: {file} holds no metrics; give another version of pyrit") from error
    if not found:
        raise ArtefactError(f"{path}: {file} has no judge that was measured on all {n} rows; give another version")
    return Published(len(found), min(found), max(found))


def _rows(path: Path, wheel: zipfile.ZipFile, file: str) -> list[dict[str, str | None]]:
    text = _unpack(path, wheel, file)
    # Only above the header: a response, too, may have lines that begin so.
    while text.startswith("#"):
        text = text.partition("\n")[2]
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""))
        rows: list[dict[str, str | None]] = list(reader)
    except csv.Error as error:
        raise ArtefactError(f"{path}: {file} is no CSV; give the wheel as it was published") from error
    missing = set(_COLUMNS) - set(reader.fieldnames or ())
    if missing or not rows:
        raise ArtefactError(f"{path}: {file} has no rows, or no column {sorted(missing)}; give another version")
    return rows


def _unpack(path: Path, wheel: zipfile.ZipFile, file: str) -> str:
    try:
        entry = wheel.getinfo(file)
    except KeyError as error:
        raise ArtefactError(f"{path}: holds no {file}; give another version of pyrit") from error
    if entry.file_size > _LARGEST:
        raise ArtefactError(f"{path}: {file} has {entry.file_size} bytes, more than {_LARGEST}; is this the wheel?")
    try:
        return wheel.read(entry).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ArtefactError(f"{path}: {file} is no UTF-8; download it again") from error
