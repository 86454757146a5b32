"""Folders -> what is published where, every folder checked before the Hub is asked anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from cards.hub import check_id
from cards.kinds import KINDS, RELEASE, Kind, check_folder, kind_of, version_of
from cards.pages import CARD
from cards.reading import CardError, read_json


class Target(NamedTuple):
    """One folder and where it goes.

    Attributes:
        folder: what is uploaded.
        kind: of repository.
        repo: OWNER/NAME.
        paths: files of the folder, the card last.
        tag: version of what it holds, which its commit gets as a tag; None where nothing says one.
    """

    folder: Path
    kind: Kind
    repo: str
    paths: tuple[str, ...]
    tag: str | None

    @property
    def repo_type(self) -> str:
        """The Hub's word for it."""
        return self.kind.repo_type


def targets_of(folder: Path, repo: str) -> list[Target]:
    """What is published of a folder.

    Args:
        folder: of one repository, or of a release, which `RELEASE.json` in it tells.
        repo: OWNER/NAME; OWNER alone of a release.

    Returns:
        One target, or those of the release in the order in which they are published.

    Raises:
        CardError: a folder is not as its kind has to be, or the names do not fit; of a release all problems of all
            folders.
    """
    if (folder / RELEASE).is_file():
        return _released(folder, repo)
    _check_packed(folder, check_id(repo))
    return [_target(folder, repo)]


def _check_packed(folder: Path, repo: str) -> None:
    """That a folder of a release, one alone, goes where its card says that it lies."""
    path = folder.resolve().parent / RELEASE
    told = read_json(path).get("folders") if path.is_file() else None
    entry = told.get(folder.resolve().name) if isinstance(told, dict) else None
    packed = entry.get("repo") if isinstance(entry, dict) else repo
    if packed != repo:
        raise CardError(
            f"{folder}: was packed for {packed!r}, as which cards name it, not for {repo!r}; push it there, pack the "
            "run again with another --owner, or move the folder away from its release"
        )


def _target(folder: Path, repo: str, kind: Kind | None = None) -> Target:
    """A folder that was checked."""
    kind = kind or kind_of(folder)
    paths = check_folder(folder, kind)
    name = folder.resolve().name
    if kind.name == "metric" and repo.split("/")[1] != name:
        raise CardError(f"{repo}: evaluate looks there for {repo.split('/')[1]}.py; push {folder} as OWNER/{name}")
    return Target(folder, kind, repo, tuple(sorted(paths, key=lambda path: path == CARD)), version_of(folder, kind))


def _released(folder: Path, owner: str) -> list[Target]:
    """The folders of a release, in the order in which they are published; all problems of all are told at once."""
    path = folder / RELEASE
    told = read_json(path)
    if told.get("owner") != owner:
        raise CardError(
            f"{path}: was packed for {told.get('owner')!r}, whom its cards name, not for {owner!r}; "
            "give that name here, or pack the run again with --owner"
        )
    targets, problems = [], []
    for name, entry in told["folders"].items() if isinstance(told.get("folders"), dict) else ():
        try:
            targets.append(_target(folder / _plain(path, name), *_entry(path, name, entry, owner)))
        except CardError as error:
            problems.append(str(error))
    if problems or not targets:
        raise CardError("\n".join(problems) or f"{path}: names no folders; pack the release again")
    order = list(KINDS)
    return sorted(targets, key=lambda target: order.index(target.kind.name))


def _plain(path: Path, name: str) -> str:
    if name != Path(name).name or name in ("", ".", "..") or (path.parent / name).is_symlink():
        raise CardError(f"{path}: {name!r} is no name of a folder beside it; pack the release again")
    return name


def _entry(path: Path, name: str, entry: Any, owner: str) -> tuple[str, Kind]:
    kind, repo = (entry.get("kind"), entry.get("repo")) if isinstance(entry, dict) else (None, None)
    if kind not in KINDS or not isinstance(repo, str) or check_id(repo).split("/")[0] != owner:
        raise CardError(f"{path}: {name} has no kind of {', '.join(KINDS)} or no repo of {owner}; pack it again")
    return repo, KINDS[kind]
