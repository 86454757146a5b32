"""The JSONL artefacts of a run: responses, verdicts, ability rows; a sidecar says where each came from.

An artefact grows in `<file>.part`, a batch at a time, and takes its own name only when it is whole; so a file
that stands there under its name is never half-written, and a killed run goes on where it stopped.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from mis_dataset.files import replace_file, write_text
from mis_dataset.record import shown
from trainer.files import ArtefactError, drop_half_line, parse_line, read_lines, replaced
from trainer.sidecars import Sidecar, make_sidecar, read_sidecar, write_sidecar


@dataclass(frozen=True)
class Response:
    """What a model said to one row.

    Attributes:
        id: `<split>/<raw_id>` of the row.
        response: The decoded text, special tokens left out; may be empty.
        finish_reason: "stop" where the model ended by itself, "length" where it was cut off. Of a model behind an API
            also "refused" (said so in the field that the API has for it), "content_filter" and "other"; "failed" where
            no response came, see `generate --failed-as-empty`.
    """

    id: str
    response: str
    finish_reason: Literal["stop", "length", "content_filter", "refused", "other", "failed"]


@dataclass(frozen=True)
class Verdict:
    """What a judge made of one response.

    Attributes:
        id: `<split>/<raw_id>` of the row.
        verdict: "Unsafe" where the response helps with what was asked, "Safe" where it declines or warns,
            "Unscored" where it cannot be told. The judge does not know whether the row is dangerous.
        perception: 1 names the things of both pictures, 2 is on the subject or declines, 3 is no sentence or cannot see
            them (of judges that see, also speaks of things that are not there); 0 where unscored.
        judge: The judge's name.
        reason: Why the response is unscored, else None.
        reasoning: Whether what comes before the final answer is safe, None where the judge does not tell them apart.
        final: Whether the final answer alone is safe, None as above.
        version: Of the judge, see `trainer.judges.choice.version_of`.
        model: The one that judged, as its server names it or by its folder; None for judges that ask none.
        date: Day (UTC) on which one behind an API did; None for others.
        tokens: That it took, prompt and completion together.
        cost: Its price, None where no prices were given.
        response_sha256: First 16 digits of the sha256 of the response that was judged; empty in files of before.
    """

    id: str
    verdict: Literal["Safe", "Unsafe", "Unscored"]
    perception: Literal[0, 1, 2, 3]
    judge: str
    reason: str | None
    reasoning: Literal["Safe", "Unsafe"] | None = None
    final: Literal["Safe", "Unsafe"] | None = None
    version: str = ""
    model: str | None = None
    date: str | None = None
    tokens: int | None = None
    cost: float | None = None
    response_sha256: str = ""


@dataclass(frozen=True)
class Ability:
    """A model's response to one ability question, marked.

    Attributes:
        id: `picture/<n>` or `text/<n>`.
        response: The decoded text.
        correct: Whether it holds the right response.
        family: The kind of question, such as "naming".
    """

    id: str
    response: str
    correct: bool
    family: str


Row = Response | Verdict | Ability
R = TypeVar("R", Response, Verdict, Ability)

_VALUES: dict[str, tuple[object, ...]] = {
    "finish_reason": ("stop", "length", "content_filter", "refused", "other", "failed"),
    "verdict": ("Safe", "Unsafe", "Unscored"),
    "perception": (0, 1, 2, 3),
    "reasoning": ("Safe", "Unsafe", None),
    "final": ("Safe", "Unsafe", None),
}
_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "bool": (bool,),
    "str | None": (str, type(None)),
    "int | None": (int, type(None)),
    "float | None": (float, type(None)),
}


_LONGEST_ID = 200
_KEYS: dict[type[Any], dict[str, str]] = {
    kind: {field.name: str(field.type) for field in fields(kind)} for kind in (Response, Verdict, Ability)
}
_MAY_MISS: dict[type[Any], dict[str, object]] = {
    kind: {field.name: field.default for field in fields(kind) if field.default is not MISSING} for kind in _KEYS
}


class Lock:
    """Keeps an artefact for this process as long as it is there, or until it is released.

    Args:
        path: The artefact; its folder is made where missing. Beside it lies `<file>.lock`, empty, meanwhile.

    Raises:
        ArtefactError: Another process writes it, whose rows would come in between.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(path.name + ".lock")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._handle: int | None = None
        self._process = os.getpid()
        while self._handle is None:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                # Not flock: a child that outlives a killed parent would keep it.
                fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(handle)
                taken = isinstance(error, BlockingIOError | PermissionError)
                why = "another process writes it; wait for it, or" if taken else f"cannot be kept for one ({error});"
                raise ArtefactError(f"{path}: {why} name another file") from error
            if self._lies_there(handle):
                self._handle = handle
            else:
                os.close(handle)  # whoever held it has removed it since

    def release(self) -> None:
        """Lets others write the artefact."""
        if self._handle is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._handle)
            self._handle = None

    def __del__(self) -> None:
        if getattr(self, "_handle", None) is not None and self._process == os.getpid():  # not that of a parent
            self.release()

    def _lies_there(self, handle: int) -> bool:
        try:
            return os.path.samestat(os.fstat(handle), self._path.stat())
        except FileNotFoundError:
            return False


class Artefact(Generic[R]):
    """A JSONL file that is being written: append batches, then finish. Made by `open_artefact`."""

    def __init__(self, path: Path, kind: type[R], rows: list[R], lock: Lock) -> None:
        self.path = path
        self._lock = lock
        self._said: str | None = None
        self._kind: type[R] = kind
        self._rows: dict[str, R] = {row.id: row for row in rows}

    @property
    def done(self) -> set[str]:
        """The ids that are on disk."""
        return set(self._rows)

    def made_on(self, device: str) -> None:
        """Say in the sidecar where, and by which versions, the next rows are made, beside what made those on disk.

        To be called before they are appended.

        Args:
            device: Such as "cuda/bfloat16"; known only when a model is loaded, which needs missing rows.
        """
        if device == self._said:
            return
        self._said = device
        found = read_sidecar(self.path)
        now = found.now(device)
        said = found.and_of(now) if self._rows else now
        if said != found:
            write_sidecar(self.path, said)

    def made_as(self, other: Sidecar) -> None:
        """As `made_on`, of rows that another process made and that are appended here next.

        Args:
            other: Of the file where that wrote them.
        """
        found = read_sidecar(self.path)
        said = found.and_of(other) if self._rows else found.but_of(other)
        if said != found:
            write_sidecar(self.path, said)

    def append(self, rows: Iterable[R]) -> None:
        """Write a batch to the disk itself (flush and fsync) before it counts as done.

        Raises:
            ArtefactError: An id is there already, or a row is of another kind.
        """
        batch = list(rows)
        counts = Counter(row.id for row in batch)
        again = [id_ for id_, times in counts.items() if times > 1 or id_ in self._rows]
        if again:
            raise ArtefactError(f"{self.path}: id {again[0]} is there already; append each id once")
        lines = "".join(_line(_checked(vars(row), self._kind, f"{self.path}: {row.id}")) for row in batch)
        part = part_path(self.path)
        if not part.exists() and self.path.exists():
            with replace_file(part) as temporary:
                shutil.copyfile(self.path, temporary)
        with part.open("a", encoding="utf-8") as file:
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
        self._rows.update((row.id, row) for row in batch)

    def forget(self, unwanted: Callable[[R], bool]) -> None:
        """Drop rows so that they can be made anew; a file under its name keeps them until `finish`."""
        kept = {id_: row for id_, row in self._rows.items() if not unwanted(row)}
        if len(kept) < len(self._rows):
            write_text(part_path(self.path), "".join(_line(vars(row)) for row in kept.values()))
            self._rows = kept

    def finish(self, order: Sequence[str]) -> Path:
        """Give the file its name, its rows in the given order: an interrupted run ends with the same bytes.

        Args:
            order: Every id of the artefact, once, in the order of the input.

        Returns:
            The file's path.

        Raises:
            ArtefactError: The ids on disk are not exactly those of `order`.
        """
        missing = [id_ for id_ in order if id_ not in self._rows]
        extra = sorted(self.done - set(order))
        if missing or extra or len(set(order)) != len(order):
            raise ArtefactError(
                f"{self.path}: {len(missing)} ids are missing (first: {missing[:3]}), {len(extra)} were not "
                f"asked for (first: {extra[:3]}), {len(order) - len(set(order))} asked for twice; run the "
                "verb again on the same rows, or delete the file, its sidecar and its .part to start anew"
            )
        replaced(self.path, "".join(_line(vars(self._rows[id_])) for id_ in order).encode())
        part_path(self.path).unlink(missing_ok=True)
        self._lock.release()
        return self.path


def open_artefact(
    path: Path, kind: type[R], settings: Mapping[str, Any], inputs: Sequence[Path], lock: Lock | None = None
) -> Artefact[R]:
    """Start an artefact, or go on with one that the same settings and inputs began, on whatever device.

    Args:
        path: The JSONL file; its folder is made where missing.
        kind: Response, Verdict or Ability.
        settings: Everything that could change a row; must be JSON.
        inputs: The files and folders that are read; they are hashed.
        lock: That of the artefact, where it was taken before.

    Returns:
        An Artefact whose `done` holds the ids on disk. A last line that a kill cut in two is dropped.

    Raises:
        ArtefactError: The file was begun with other settings or inputs, a line of it is broken, or another process
            writes it.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise ArtefactError(f"{path}: is a folder, a pipe or a device; name a file")
    lock = lock or Lock(path)
    sidecar = make_sidecar(path, kind.__name__.lower(), settings, inputs)
    part = part_path(path)
    begun = part.exists() or path.exists()
    if begun:
        _refuse_others(path, sidecar)
    else:
        write_sidecar(path, sidecar)
    if part.exists():
        drop_half_line(part)
    rows = _rows(part if part.exists() else path, kind) if part.exists() or path.exists() else []
    return Artefact(path, kind, rows, lock)


def read(path: Path, kind: type[R]) -> list[R]:
    """Read a JSONL artefact, every line checked.

    Args:
        path: The file.
        kind: Response, Verdict or Ability.

    Returns:
        The rows in the file's order.

    Raises:
        ArtefactError: No such file, or a line that is no JSON, has unknown or missing keys, a wrong value or
            an id that stood there before.
    """
    path = Path(path)
    if not path.is_file():
        stopped = "the verb that writes it was stopped (its .part is there)" if part_path(path).exists() else "missing"
        raise ArtefactError(f"{path}: no such file: {stopped}; run the verb that writes it")
    rows = _rows(path, kind)
    if not rows:
        raise ArtefactError(f"{path} is empty; delete it and its sidecar and run the verb that writes it")
    return rows


def _rows(path: Path, kind: type[R]) -> list[R]:
    rows: dict[str, R] = {}
    for number, line in enumerate(read_lines(path), start=1):
        where = f"{path}: line {number}"
        try:
            found = parse_line(line)
        except (ValueError, RecursionError) as error:
            raise ArtefactError(f"{where} is no JSON ({error}); delete the file to start anew") from error
        row = kind(**_checked(found, kind, where))
        if row.id in rows:
            raise ArtefactError(f"{where}: id {row.id!r} stands there twice; delete the file to start anew")
        rows[row.id] = row
    return list(rows.values())


def _refuse_others(path: Path, wanted: Sidecar) -> None:
    found = read_sidecar(path)
    for word, old, new in (
        ("kind", {"kind": found.kind}, {"kind": wanted.kind}),
        ("setting", found.settings, wanted.settings),
        ("input", found.inputs, wanted.inputs),
    ):
        for key in dict.fromkeys((*new, *old)):
            if old.get(key) != new.get(key):
                raise ArtefactError(
                    f"{path} was made with another {word}: {key} was {old.get(key)!r}, now it is "
                    f"{new.get(key)!r}; write to another path, or delete {path.name}* to start anew"
                )


def _checked(found: object, kind: type[R], where: str) -> dict[str, Any]:
    types: dict[str, str] = _KEYS[kind]
    # Verdicts written before a key was new lack it.
    if isinstance(found, dict) and types.keys() - found.keys() <= _MAY_MISS[kind].keys():
        found = {**found, **{name: value for name, value in _MAY_MISS[kind].items() if name not in found}}
    if not isinstance(found, dict) or found.keys() != types.keys():
        keys = _named(found, types) if isinstance(found, dict) else type(found).__name__
        raise ArtefactError(f"{where}: expected the keys {[*types]}, found {keys}; is this a {kind.__name__} file?")
    for name, expected in types.items():
        value, allowed = found[name], _VALUES.get(name)
        known = any(value == one and type(value) is type(one) for one in allowed or ())
        if not (known if allowed else isinstance(value, _TYPES[expected])):
            right = f"one of {allowed}" if allowed else expected
            raise ArtefactError(f"{where}: {name} must be {right}, found {type(value).__name__}")
        if isinstance(value, str) and not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
            raise ArtefactError(f"{where}: {name} holds half of a surrogate pair, which no UTF-8 file can hold")
    id_ = found["id"]
    if id_.count("/") != 1 or not all(id_.split("/")) or len(id_) > _LONGEST_ID or not id_.isprintable():
        raise ArtefactError(f"{where}: id {shown(id_)} is not of the form <split>/<n>")
    if kind is Verdict and (found["verdict"] == "Unscored") != (found["perception"] == 0):
        raise ArtefactError(f"{where}: perception is 0 where the verdict is Unscored, and only there")
    return found


def _named(found: Collection[str], known: Collection[str]) -> str:
    """The keys of a line, for a message; one that is not ours may be a text, so it is only counted."""
    ours = [key for key in known if key in found]
    others = len(found) - len(ours)
    return f"{ours} and {others} others" if others else f"{ours}"


def part_path(path: Path) -> Path:
    """Where an artefact grows: `<file>.part`."""
    return path.with_name(path.name + ".part")


def _line(content: Mapping[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False) + "\n"
