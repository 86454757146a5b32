"""Where an artefact came from: `<file>.meta.json` beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mis_dataset.files import to_json, write_json, write_text
from trainer.files import ArtefactError, git_commit, library_versions, parse_json, read_text, sha256_of


@dataclass(frozen=True)
class Sidecar:
    """Where an artefact came from.

    Attributes:
        kind: The row type's name in lower case, or a word of the caller's.
        settings: Everything chosen that could change a row.
        inputs: Path as seen from the sidecar's folder -> sha256, of every file or folder that was read.
        versions: Package -> version; several, with ", " between them, where rows were made by several.
        git_commit: The checkout's commit, None outside of one; several as above.
        device: Where it was made: "cpu", or with a model "cpu/float32"; with "+" where a run was begun on one and ended
            on the other, as in "cpu/float32+cuda/bfloat16".
    """

    kind: str
    settings: dict[str, Any]
    inputs: dict[str, str]
    versions: dict[str, str]
    git_commit: str | None
    device: str

    def now(self, device: str) -> Sidecar:
        """The same, of what is made there, by the versions and the commit of now."""
        return replace(self, versions=library_versions(), git_commit=git_commit(), device=device)

    def but_of(self, other: Sidecar) -> Sidecar:
        """The same, made where and by what the other says."""
        return replace(self, versions=other.versions, git_commit=other.git_commit, device=other.device)

    def and_of(self, other: Sidecar) -> Sidecar:
        """The same, made where and by what both say, this one first."""
        packages = sorted({*self.versions, *other.versions})
        return replace(
            self,
            versions={one: _joined(self.versions.get(one), other.versions.get(one)) or "" for one in packages},
            git_commit=_joined(self.git_commit, other.git_commit),
            device="+".join(sorted({*self.device.split("+"), *other.device.split("+")})),
        )


def _joined(before: str | None, now: str | None) -> str | None:
    """Both, in the order in which they came, each once."""
    several = [part for one in (before, now) if one is not None for part in one.split(", ")]
    return ", ".join(dict.fromkeys(several)) if several else None


def make_sidecar(
    path: Path, kind: str, settings: Mapping[str, Any], inputs: Sequence[Path], device: str = "cpu"
) -> Sidecar:
    """Say where the artefact at `path` comes from; the inputs are hashed.

    Inputs are named as seen from the artefact's folder, so that a run that is moved as a whole stays valid.

    Raises:
        ArtefactError: An input is missing, or a setting is no JSON.
    """
    folder = Path(path).absolute().parent
    try:
        plain: dict[str, Any] = json.loads(json.dumps(dict(settings)))
    except TypeError as error:
        raise ArtefactError(f"{path}: a setting cannot be written as JSON ({error})") from error
    hashes = {Path(os.path.relpath(Path(one).absolute(), folder)).as_posix(): sha256_of(one) for one in inputs}
    return Sidecar(kind, plain, hashes, library_versions(), git_commit(), device)


def sidecar_path(path: Path) -> Path:
    """The sidecar of an artefact: `<file>.meta.json`."""
    return Path(path).with_name(Path(path).name + ".meta.json")


def write_sidecar(path: Path, sidecar: Sidecar) -> None:
    """Write the sidecar of the artefact at `path`, whole or not at all."""
    write_json(sidecar_path(path), asdict(sidecar))


def write_derived(path: Path, content: object, sidecar: Sidecar) -> None:
    """Write JSON, then its sidecar; nothing where both are there and say the same, whatever was committed since."""
    text = to_json(content)
    if path.is_file() and path.read_bytes() == text.encode() and is_from(path, sidecar):
        return
    if Path(path).name in sidecar.inputs:
        raise ArtefactError(f"{path}: is read here, so it cannot be written; name another file")
    ours = sidecar_path(path).is_file() and read_sidecar(path).kind == sidecar.kind
    # A kill between the two writes leaves the text without its sidecar.
    if path.is_file() and not ours and path.read_bytes() != text.encode():
        raise ArtefactError(f"{path}: is there and was not written by this verb; name another file")
    write_text(path, text)
    write_sidecar(path, sidecar)


def is_from(path: Path, sidecar: Sidecar) -> bool:
    """Whether the sidecar at `path` names the kind, settings and inputs of `sidecar`."""
    if not sidecar_path(path).is_file():
        return False
    found = read_sidecar(path)
    return (found.kind, found.settings, found.inputs) == (sidecar.kind, sidecar.settings, sidecar.inputs)


def read_sidecar(path: Path) -> Sidecar:
    """Read the sidecar of the artefact at `path`.

    Raises:
        ArtefactError: There is none, or it is not one of ours.
    """
    file = sidecar_path(path)
    try:
        found = Sidecar(**parse_json(read_text(file)))
        if not all(isinstance(part, dict) for part in (found.settings, found.inputs, found.versions)):
            raise TypeError("settings, inputs and versions are objects")
        if not all(isinstance(sha256, str) for sha256 in found.inputs.values()):
            raise TypeError("inputs name a sha256 each")
        if not isinstance(found.device, str) or not isinstance(found.git_commit, str | None):
            raise TypeError("device and git_commit are texts")
        return found
    except FileNotFoundError as error:
        raise ArtefactError(f"{file}: no such file, so nothing says how {path} was made; delete {path}") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise ArtefactError(f"{file} is not a sidecar ({error}); delete it and {path}") from error
