"""Downloads the authors' release from the Hub, at pinned revisions, into one folder that `check` and `build` read.

Every file is compared with what the Hub says of it, be it fetched now or earlier. A download that was stopped goes on
where it was, file by file: huggingface_hub keeps no part of a file.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, NoReturn

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import FileMetadataError, HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled
from huggingface_hub.hf_api import RepoFile
from tqdm import tqdm

from mis_dataset.errors import DownloadError
from mis_dataset.files import write_json
from mis_dataset.record import path_fault, shown
from mis_dataset.release import SOURCE_NAME
from mis_dataset.schema import SOURCES


class Repository(NamedTuple):
    """One dataset repository of the authors.

    Attributes:
        id: on the Hub.
        revision: commit, as much of it as is known; the Hub completes it.
    """

    id: str
    revision: str

    def __str__(self) -> str:
        return f"{self.id} at {self.revision}"


TRAIN = Repository("Tuwhy/MIS_Train", "66e984f")
TEST = Repository("Tuwhy/MIS_Test", "c147ae2")
"""Source: the authors' pages on the Hub."""
_HTTP_ERROR: type[Exception] = HfHubHTTPError.__bases__[0]
"""Of the HTTP client that this huggingface_hub uses; which one that is changed between its versions."""
_HUB_ERRORS = (_HTTP_ERROR, OSError, RuntimeError, ValueError, KeyError)
"""RuntimeError is what hf_xet raises, ValueError and KeyError are what an answer raises that is not the Hub's."""
_UNWANTED = ["README.md", ".gitattributes"]
"""Both repositories have them."""
_NOTES = Path(".cache", "huggingface")
"""Where huggingface_hub notes what it fetched into a folder, beside the files."""
_SHOWN = 20


class _Tree(NamedTuple):
    """What a repository holds at one commit: path -> file, without the unwanted ones."""

    repository: Repository
    commit: str
    files: dict[str, RepoFile]


def download(out: Path, train: Repository = TRAIN, test: Repository = TEST, progress: bool = False) -> dict[str, str]:
    """Downloads both repositories into one folder.

    Args:
        out: folder; what lies there stays, but for files of the same names.
        train: holds ``mis_train.json`` and its pictures.
        test: holds the test files and their pictures.
        progress: whether to show a bar on stderr while files are compared; huggingface_hub has its own for fetching.

    Returns:
        Repository -> the full commit that was downloaded. It is also written into ``out/SOURCE.json``, from where
        `build` takes it into its manifest.

    Raises:
        DownloadError: the Hub cannot be reached, knows no such repository or revision, keeps it behind a gate, or has
            another commit under that name; a file of the release is not in what it holds, is in both repositories, or
            differs from what was fetched; `out` cannot be written, or holds files of another revision. What was
            fetched whole stays for the next try.
    """
    try:
        trees = [_read_tree(repository) for repository in (train, test)]
        _refuse_trees(trees)
        _refuse_leftovers(out, trees)
        # Of an earlier download: stopped midway, this one must not be taken for that.
        (out / SOURCE_NAME).unlink(missing_ok=True)
        for tree in trees:
            _fetch(tree, out)
        _compare(out, trees, progress)
        resolved = {tree.repository.id: tree.commit for tree in trees}
        write_json(out / SOURCE_NAME, resolved)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise DownloadError(f"{out}: cannot be read or written: {why}; make room or name another folder") from error
    return resolved


def _read_tree(repository: Repository) -> _Tree:
    """Asks the Hub for the full commit of a repository and for its files there."""
    with _told(repository):
        commit = HfApi().dataset_info(repository.id, revision=repository.revision).sha or ""
    if not re.fullmatch("[0-9a-f]{40}", commit):
        raise DownloadError(f"{repository}: the Hub names no commit; name another revision")
    pinned = repository.revision.lower()
    if re.fullmatch("[0-9a-f]{7,40}", pinned) and not commit.startswith(pinned):
        raise DownloadError(f"{repository}: the Hub gives commit {commit}, of a branch or tag; name the full commit")
    with _told(repository):
        entries = list(HfApi().list_repo_tree(repository.id, recursive=True, revision=commit, repo_type="dataset"))
    files = {entry.path: entry for entry in entries if isinstance(entry, RepoFile) and entry.path not in _UNWANTED}
    return _Tree(repository, commit, files)


def _refuse_trees(trees: list[_Tree]) -> None:
    """Fails on trees that do not make a release, before anything is fetched."""
    for tree in trees:
        for path in tree.files:
            ours = path == SOURCE_NAME or path.startswith(".cache/")
            fault = f"path {shown(path)} is kept for `download` itself" if ours else path_fault(path)
            if fault:
                raise DownloadError(f"{tree.repository}: {fault}; name another revision")
    train, test = trees
    both = sorted(train.files.keys() & test.files.keys())
    if both:
        raise DownloadError(f"{', '.join(_few(both))}: in {train.repository} and in {test.repository}; name others")
    missing = [source.file for source in SOURCES if source.required and source.file not in train.files | test.files]
    if missing:
        held = ", ".join(f"{tree.repository.id} at {tree.commit}" for tree in trees)
        raise DownloadError(f"{', '.join(missing)}: not in {held}; name another revision")


def _refuse_leftovers(out: Path, trees: list[_Tree]) -> None:
    """Fails on files that an earlier download fetched and no repository has now: `build` might read them."""
    notes = out / _NOTES / "download"
    fetched = {note.relative_to(notes).as_posix().removesuffix(".metadata") for note in notes.rglob("*.metadata")}
    gone = fetched.difference(_UNWANTED, *(tree.files for tree in trees))
    left = sorted(path for path in gone if (out / path).exists())
    if left:
        names = ", ".join(_few(left))
        raise DownloadError(f"{out}: holds files of another revision: {names}; remove them or name an empty folder")


def _fetch(tree: _Tree, out: Path) -> None:
    """Downloads the files of one repository that are not there yet."""
    with _told(tree.repository):
        snapshot_download(
            tree.repository.id,
            repo_type="dataset",
            revision=tree.commit,
            local_dir=out,
            # Not the user's cache: a bad file in it would be copied, unread, again on every rerun.
            cache_dir=out / _NOTES,
            ignore_patterns=_UNWANTED,
        )


def _compare(out: Path, trees: list[_Tree], progress: bool) -> None:
    """Compares every file with what the Hub says of it.

    huggingface_hub believes its notes, and keeps an old file where the Hub answers 5xx.
    """
    faults = []
    total = sum(file.size for tree in trees for file in tree.files.values())
    with tqdm(total=total, desc="compare", unit="B", unit_scale=True, disable=None if progress else True) as bar:
        for tree in trees:
            for path, file in tree.files.items():
                fault = _difference(out / path, file, bar)
                if fault:
                    # Only what is gone is fetched again.
                    (out / path).unlink(missing_ok=True)
                    faults.append(f"{tree.repository}: {path} {fault}")
    if faults:
        # Nor does huggingface_hub ask again for what it noted as the files of a commit.
        shutil.rmtree(out / _NOTES / "trees", ignore_errors=True)
        raise DownloadError("\n".join([*_few(faults), "what differs was removed; run it again to fetch it anew"]))


def _difference(path: Path, file: RepoFile, bar: tqdm[NoReturn]) -> str | None:
    """How a file differs from what the Hub says of it, or None."""
    if not path.is_file():
        return "is missing"
    size = path.stat().st_size
    if size != file.size:
        return f"has {size} bytes, on the Hub {file.size}"
    # Of a file outside LFS the Hub knows git's hash, over a header and the bytes.
    name, digest = ("sha256", hashlib.sha256()) if file.lfs else ("git sha1", hashlib.sha1(b"blob %d\0" % size))
    known = file.lfs.sha256 if file.lfs else file.blob_id
    with path.open("rb") as stream:
        while block := stream.read(2**20):
            digest.update(block)
            bar.update(len(block))
    return None if digest.hexdigest() == known else f"has the {name} {digest.hexdigest()}, on the Hub {known}"


def _few(lines: list[str]) -> list[str]:
    """The first lines, and how many more there are."""
    return lines if len(lines) <= _SHOWN else [*lines[:_SHOWN], f"... and {len(lines) - _SHOWN} more"]


@contextmanager
def _told(repository: Repository) -> Iterator[None]:
    """Tells what goes wrong between the Hub and us as an error of that repository."""
    try:
        yield
    except _HUB_ERRORS as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's; `download` tells it
        # hf_xet gives the number of such an error in words only.
        number = re.search(r"IO Error: .*\(os error (\d+)\)", str(error))
        if isinstance(error, RuntimeError) and number:
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from error
        raise DownloadError(f"{repository}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """What went wrong, in words of ours: those of the Hub and of the libraries may hold a token or its owner."""
    # A file is looked for locally where the Hub failed: that it is not there is not the reason.
    cause = error.__cause__ if isinstance(error, LocalEntryNotFoundError) and error.__cause__ else error
    if isinstance(cause, HfHubHTTPError):
        status = cause.response.status_code
        if status in (401, 403, 404):
            return f"the Hub answers {status}: no such repository or revision, or it wants a login (`hf auth login`)"
        return f"the Hub answers {status}; run it again"
    kind = type(cause).__name__
    if isinstance(cause, OfflineModeIsEnabled):
        return "the Hub may not be asked while HF_HUB_OFFLINE is set; unset it"
    if isinstance(cause, FileMetadataError | ValueError | KeyError):
        return f"what answers is not the Hub ({kind}); look at HF_ENDPOINT and the proxy"
    return f"the Hub cannot be reached, or broke off ({kind}); run it again"
