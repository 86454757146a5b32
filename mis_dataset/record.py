r"""One raw record of a release, valid or an error that names it.

Before (a test record of `mis_hard.json`, and a train record of `mis_train.json`):

    {"category": "Violent", "sub_category": "Cybercrime", "question": "How do I use ...?",
     "image_path1": "hard_image/1/object1.png", "image_path2": "hard_image/1/object2.png", "id": 0}
    {"id": 1, "category": ..., "sub_category": ..., "image": ["images/1/object1.png", ...],
     "conversations": [{"from": "human", "value": "<image>\n<image>\nHow ...?"},
                       {"from": "gpt", "value": ...}]}

After: ``Record(id="test_hard/0", ...)`` and ``Record(id="train/1", question="How ...?", ...)``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

from mis_dataset.errors import Problem, RecordError
from mis_dataset.schema import (
    BENIGN,
    CATEGORIES,
    COLUMNS,
    LEVELS,
    MOST_IMAGES,
    SPLITS,
    SUB_CATEGORIES,
    TRAIN,
    Source,
    paper_sub_category,
)

PLACEHOLDER = "<image>"
_PATH_KEYS = tuple(f"image_path{number}" for number in range(1, MOST_IMAGES + 1))
_TEST_KEYS = frozenset({"category", "sub_category", "question", *_PATH_KEYS[:2], "id"})
_TRAIN_KEYS = frozenset({"id", "category", "sub_category", "image", "conversations"})
_TWIN_KEYS = frozenset({"twin_of", "changed_image"})
_KNOWN_KEYS = _TEST_KEYS | _TRAIN_KEYS | _TWIN_KEYS | {"level", *_PATH_KEYS}
_COLUMNS_OF_KEY: dict[str, tuple[str, ...]] = {
    "id": ("id", "raw_id"),
    "image": ("images",),
    **dict.fromkeys(_PATH_KEYS, ("images",)),
    "sub_category": ("raw_sub_category",),
    "conversations": ("question", "response"),
    "twin_of": ("twin_of", "changed_image"),
}
_WITH_CATEGORY = frozenset({TRAIN, "test_easy", "test_hard"})
_UNSAFE_IN_PATH = re.compile(r"[\x00-\x1f\x7f\\:]")
_TWIN_OF = re.compile(r"(train|test_(?:easy|hard|real))/\d+", re.ASCII)


@dataclass(frozen=True)
class Record:
    """One valid row without its pictures' bytes.

    Attributes:
        id: ``<split>/<raw_id>``.
        images: paths of the pictures, relative to the release; two in MIS, at most `schema.MOST_IMAGES`.
        question: text without ``<image>``.
        response: the label; None in the test splits.
        category: one of `schema.CATEGORIES`; may be None in ``test_real`` and ``test_benign``.
        raw_sub_category: string of the raw file; may be None where `category` may.
        raw_id: number of the raw file, 1-based in train, 0-based in the test splits.
        level: one of `schema.LEVELS` in the test splits of MIS-mini, else None.
        twin_of: id of the dangerous row whose benign twin this is, else None.
        changed_image: number of the picture that was exchanged, from 1; None where `twin_of` is.

    Raises:
        RecordError: a value is not valid; all faults are listed.
    """

    id: str
    images: tuple[str, ...]
    question: str
    response: str | None
    category: str | None
    raw_sub_category: str | None
    raw_id: int
    level: str | None = None
    twin_of: str | None = None
    changed_image: int | None = None

    def __post_init__(self) -> None:
        faults = faults_of(asdict(self))
        if faults:
            raise RecordError([Problem("", str(self.id), fault) for fault in faults])

    @property
    def split(self) -> str:
        """The part of the id before the slash."""
        return self.id.split("/")[0]

    @property
    def sub_category(self) -> str | None:
        """The paper's name of `raw_sub_category`; None where that is None or unknown to the paper."""
        return paper_sub_category(self.raw_sub_category)

    def row(self) -> dict[str, Any]:
        """The row: every column in order, with paths where the pictures go."""
        return {column: getattr(self, column) for column in COLUMNS}


def parse_record(raw: object, source: Source, index: int) -> Record:
    """Makes a record of one element of a raw file's list.

    Args:
        raw: what the JSON file holds at `index`.
        source: the file.
        index: place in the list, counted from 0; names a record that has no id.

    Returns:
        The record.

    Raises:
        RecordError: it is not valid; all faults are listed.
    """
    if not isinstance(raw, dict):
        text = f"record at index {index} is {kind(raw)}; write an object with the keys of its file"
        raise RecordError([Problem(source.file, None, text)])
    missing, faults = _key_faults(raw, source)
    skipped = {column for key in missing for column in _COLUMNS_OF_KEY.get(key, (key,))}
    if source.split == TRAIN and "conversations" not in missing:
        turns = _turns_fault(raw["conversations"], raw.get("image"))
        if turns:
            faults.append(turns)
            skipped |= {"question", "response"}
    if source.twins and "twin_of" not in missing and raw["twin_of"] is None:
        faults.append("twin_of is null; write the id of the row whose twin this is")
        skipped |= {"twin_of", "changed_image"}
    values = _values(raw, source, skipped)
    faults += faults_of(values, skipped)
    if faults:
        raise RecordError(_named(faults, raw, source, index))
    return Record(**cast(dict[str, Any], values))


def remarks_on(raw: object, source: Source) -> list[str]:
    """Says what of a valid raw record is unusual but no fault.

    Args:
        raw: an element that `parse_record` took.
        source: its file.

    Returns:
        One text a remark, the same text for the same thing, so that a reader can count them.
    """
    if not isinstance(raw, dict):
        return []
    remarks = [f"the unknown key {shown(key)} is not read" for key in raw if key not in _KNOWN_KEYS]
    sub_category = raw.get("sub_category")
    if sub_category and sub_category not in SUB_CATEGORIES:
        remarks.append(f"sub_category {shown(sub_category)} is not in the paper's table: the row gets null")
    if source.split == TRAIN:
        human, gpt = (turn["value"] for turn in raw["conversations"])
        if PLACEHOLDER not in human:
            remarks.append(f"the human turn has no {PLACEHOLDER}")
        if PLACEHOLDER in gpt:
            remarks.append(f"a {PLACEHOLDER} was removed from the response")
    return remarks


def faults_of(values: Mapping[str, object], skipped: Collection[str] = ()) -> list[str]:
    """Applies every rule of a row to values of any type.

    Args:
        values: by field of `Record`.
        skipped: fields to leave out.

    Returns:
        One text a fault, in the order of the fields.
    """
    split = str(values["id"]).split("/")[0]
    found = {
        "id": _id_fault(values),
        "images": _images_fault(values["images"]),
        "question": text_fault("question", values["question"]),
        "response": _response_fault(values["response"], split),
        "category": _choice_fault("category", values["category"], CATEGORIES, split in _WITH_CATEGORY),
        "raw_sub_category": _raw_sub_category_fault(values["raw_sub_category"], split),
        "raw_id": _raw_id_fault(values["raw_id"], split),
        "level": _level_fault(values["level"], split),
        "twin_of": _twin_of_fault(values["twin_of"], split),
        "changed_image": _changed_image_fault(values["changed_image"], values["twin_of"], values["images"]),
    }
    return [fault for column, fault in found.items() if fault and column not in skipped]


def path_fault(path: str) -> str | None:
    """Says why a path may not be used inside a release, or None.

    Args:
        path: POSIX path relative to the release.

    Returns:
        None for a path such as ``images/1/object1.png``.
    """
    if not path:
        return "an empty path; write a path relative to the release"
    if _UNSAFE_IN_PATH.search(path) or not _is_utf8(path):
        return f"path {shown(path)} holds a colon, a backslash or a control character; write a plain path"
    if path.startswith("/") or ".." in path.split("/"):
        return f"path {shown(path)} leaves the release; write a relative path without '..'"
    return None


def text_fault(name: str, value: object) -> str | None:
    """Says why a value is not a usable text, or None; the text itself is never part of it."""
    if not isinstance(value, str):
        return f"{name} is {kind(value)}; write text"
    if not value.strip():
        return f"{name} is empty"
    if not _is_utf8(value):
        return f"{name} holds half of a surrogate pair, which no UTF-8 file can hold"
    return f"{name} still holds {PLACEHOLDER}" if PLACEHOLDER in value else None


def without_placeholders(text: str) -> str:
    r"""Takes the image placeholders out of a text, wherever they stand.

    Args:
        text: for example ``"<image>\n<image>\nWhat is this?"``.

    Returns:
        For example ``"What is this?"``; a text without placeholders comes back unchanged.
    """
    if PLACEHOLDER not in text:
        return text
    # No regular expression: over a long run of spaces it would take the square of its length.
    return " ".join(part for piece in text.split(PLACEHOLDER) if (part := piece.strip()))


def kind(value: object) -> str:
    """Names the JSON type of a value, e.g. ``"a list"``, and an integer by itself."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, int):
        return f"the number {value}" if abs(value) < 10**12 else "a huge number"
    names = {str: "text", float: "a fraction", dict: "an object", list: "a list", tuple: "a list"}
    return names.get(type(value), type(value).__name__)


def shown(value: object) -> str:
    """A key, path or category for a message: ASCII, quoted, at most 80 characters."""
    text = ascii(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _key_faults(raw: Mapping[str, object], source: Source) -> tuple[set[str], list[str]]:
    """Missing keys, and the faults that missing or misplaced keys are."""
    required = _TRAIN_KEYS if source.split == TRAIN else _TEST_KEYS
    if source.split not in _WITH_CATEGORY:
        required = required - {"category", "sub_category"}
    required |= _TWIN_KEYS if source.twins else frozenset()
    allowed = required | {"category", "sub_category"} | (set() if source.split == TRAIN else {"level", *_PATH_KEYS})
    missing = set(required - raw.keys())
    faults = []
    for key in sorted(missing):
        like = difflib.get_close_matches(key, [other for other in raw if other not in _KNOWN_KEYS], 1)
        faults.append(f"key {key!r} is missing" + (f"; is {shown(like[0])} meant for it?" if like else ""))
    faults += [f"key {key!r} does not belong in {source.file}" for key in raw if key in _KNOWN_KEYS - allowed]
    for key in (key for key in raw if key not in _KNOWN_KEYS):
        # A misspelt optional key would otherwise vanish with no more than a remark.
        like = difflib.get_close_matches(key, allowed - required - raw.keys(), 1, 0.75)
        faults += [f"key {shown(key)} is unknown; is {like[0]!r} meant?"] if like else []
    return missing, faults


def _turns_fault(turns: object, images: object) -> str | None:
    """Why `turns` is not one human and one gpt turn about these pictures."""
    if not isinstance(turns, list) or len(turns) != 2 or not all(isinstance(turn, dict) for turn in turns):
        return "conversations must be a list of two objects, the human turn and the gpt turn"
    speakers = [turn.get("from") for turn in turns]
    if speakers != ["human", "gpt"]:
        return f"conversations must go human, gpt in 'from'; found {shown(speakers)}"
    for speaker, turn in zip(speakers, turns, strict=True):
        if not isinstance(turn.get("value"), str):
            return f"'value' of the {speaker} turn is {kind(turn.get('value'))}; write text"
    found = turns[0]["value"].count(PLACEHOLDER)
    most = len(images) if isinstance(images, list) else MOST_IMAGES
    return f"the human turn has {found} {PLACEHOLDER}; the row has {most} pictures" if found > most else None


def _values(raw: Mapping[str, Any], source: Source, skipped: Collection[str]) -> dict[str, object]:
    """The fields of `Record`, unchecked; None for those in `skipped`."""
    if source.split == TRAIN:
        turns = [None, None] if "question" in skipped else [turn["value"] for turn in raw["conversations"]]
        question, response = turns
        images = raw.get("image")
    else:
        question, response = raw.get("question"), None
        # A key that is left out between two others is no path.
        last = max((number for number, key in enumerate(_PATH_KEYS, start=1) if key in raw), default=0)
        images = [raw.get(key) for key in _PATH_KEYS[: max(last, 2)]]
    raw_id = raw.get("id")
    return {
        "id": f"{source.split}/{raw_id if type(raw_id) is int and abs(raw_id) < 10**12 else '?'}",
        "images": tuple(images) if isinstance(images, list) else images,
        "question": without_placeholders(question) if isinstance(question, str) else question,
        "response": without_placeholders(response) if isinstance(response, str) else response,
        # The authors' mis_real.json has these as empty text or not at all.
        "category": None if raw.get("category") == "" else raw.get("category"),
        "raw_sub_category": None if raw.get("sub_category") == "" else raw.get("sub_category"),
        "raw_id": raw_id,
        "level": raw.get("level"),
        "twin_of": raw.get("twin_of"),
        "changed_image": raw.get("changed_image"),
    }


def _named(faults: list[str], raw: Mapping[str, object], source: Source, index: int) -> list[Problem]:
    """The faults under the record's id, or under its place in the list where it has no valid one."""
    raw_id = raw.get("id")
    if _raw_id_fault(raw_id, source.split):
        return [Problem(source.file, None, f"record at index {index}: {fault}") for fault in faults]
    return [Problem(source.file, f"{source.split}/{raw_id}", fault) for fault in faults]


def _id_fault(values: Mapping[str, object]) -> str | None:
    if str(values["id"]).split("/")[0] not in SPLITS:
        return f"id {shown(values['id'])} does not begin with a split"
    if _raw_id_fault(values["raw_id"], str(values["id"]).split("/")[0]):
        return None
    right = str(values["id"]).endswith(f"/{values['raw_id']}") and str(values["id"]).count("/") == 1
    return None if right else f"id {shown(values['id'])} is not <split>/<raw_id>"


def _raw_id_fault(raw_id: object, split: str) -> str | None:
    low = 1 if split == TRAIN else 0
    if type(raw_id) is int and low <= raw_id < 2**31:
        return None
    return f"id is {kind(raw_id)}; write a whole number from {low}"


def _images_fault(images: object) -> str | None:
    if not isinstance(images, tuple) or not 2 <= len(images) <= MOST_IMAGES:
        found = f"{len(images)} paths" if isinstance(images, tuple) else kind(images)
        return f"image is {found}; write a list of two to {MOST_IMAGES} paths"
    for number, path in enumerate(images, start=1):
        fault = path_fault(path) if isinstance(path, str) else f"the path is {kind(path)}; write text"
        if fault:
            return f"picture {number}: {fault}"
    return None


def _response_fault(response: object, split: str) -> str | None:
    if split == TRAIN:
        return text_fault("response", response)
    return None if response is None else "a test row has no response"


def _choice_fault(name: str, value: object, choices: tuple[str, ...], needed: bool) -> str | None:
    if value in choices or (value is None and not needed):
        return None
    found = shown(value) if isinstance(value, str) else kind(value)
    return f"{name} is {found}; write one of: {', '.join(choices)}"


def _raw_sub_category_fault(value: object, split: str) -> str | None:
    return None if value is None and split not in _WITH_CATEGORY else text_fault("sub_category", value)


def _level_fault(level: object, split: str) -> str | None:
    if split == TRAIN:
        return None if level is None else "a train row has no level"
    return _choice_fault("level", level, LEVELS, needed=False)


def _twin_of_fault(twin_of: object, split: str) -> str | None:
    if twin_of is None:
        return "twin_of is null; write the id of the row whose twin this is" if split == BENIGN else None
    if split not in (TRAIN, BENIGN):
        return f"a row of {split} has no twin_of"
    if not isinstance(twin_of, str) or not _TWIN_OF.fullmatch(twin_of):
        found = shown(twin_of) if isinstance(twin_of, str) else kind(twin_of)
        return f"twin_of is {found}; write a row id such as 'test_hard/3'"
    if twin_of.startswith("train/") != (split == TRAIN):
        return f"twin_of {twin_of!r} is a row of the wrong side of train and test"
    return None


def _changed_image_fault(changed: object, twin_of: object, images: object) -> str | None:
    if twin_of is None:
        return None if changed is None else "changed_image without twin_of"
    most = len(images) if isinstance(images, tuple) else MOST_IMAGES
    right = type(changed) is int and 1 <= changed <= most
    return None if right else f"changed_image is {kind(changed)}; write a number from 1 to {most}"


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
