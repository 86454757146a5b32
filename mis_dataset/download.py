"""Downloads the authors' release from the Hub, at pinned revisions, into one folder that `check` and `build` read.

A download that was stopped goes on where it was, and files that are there are not fetched again.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

from mis_dataset.errors import DownloadError
from mis_dataset.manifest import write_json
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


TRAIN = Repository("Tuwhy/MIS_Train", "66e984f")
TEST = Repository("Tuwhy/MIS_Test", "c147ae2")
"""Source: the authors' pages on the Hub."""
_HTTP_ERROR: type[Exception] = HfHubHTTPError.__bases__[0]
"""Of the HTTP client that this huggingface_hub uses; which one that is changed between its versions."""
_UNWANTED = ["README.md", ".gitattributes"]
"""Both repositories have them."""


def download(out: Path, train: Repository = TRAIN, test: Repository = TEST) -> dict[str, str]:
    """Downloads both repositories into one folder.

    Args:
        out: folder; what lies there stays, but for files of the same names.
        train: holds ``mis_train.json`` and its pictures.
        test: holds the test files and their pictures.

    Returns:
        Repository -> the full commit that was downloaded. It is also written into ``out/SOURCE.json``, from where
        `build` takes it into its manifest.

    Raises:
        DownloadError: the Hub cannot be reached, knows no such repository or revision, or keeps it behind a gate; or
            a file of the release is not in what it gave. What was fetched stays for the next try.
    """
    # Of an earlier download: stopped midway, this one must not be taken for that.
    (out / SOURCE_NAME).unlink(missing_ok=True)
    resolved = {repository.id: _fetch(repository, out) for repository in (train, test)}
    missing = [source.file for source in SOURCES if source.required and not (out / source.file).is_file()]
    if missing:
        held = ", ".join(f"{name} at {commit}" for name, commit in resolved.items())
        raise DownloadError(f"{', '.join(missing)}: not in {held}; name another revision")
    write_json(out / SOURCE_NAME, resolved)
    return resolved


def _fetch(repository: Repository, out: Path) -> str:
    """Downloads one repository; returns its full commit."""
    name = f"{repository.id} at {repository.revision}"
    try:
        commit = HfApi().dataset_info(repository.id, revision=repository.revision).sha
        if not commit:
            raise DownloadError(f"{name}: the Hub names no commit; name another revision")
        snapshot_download(repository.id, repo_type="dataset", revision=commit, local_dir=out, ignore_patterns=_UNWANTED)
    except HfHubHTTPError as error:
        raise DownloadError(f"{name}: {_reason(error)}") from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, _HTTP_ERROR) as error:
        raise DownloadError(f"{name}: the Hub cannot be reached ({type(error).__name__}); run it again") from error
    except OSError as error:
        raise DownloadError(f"{out}: cannot be written: {error.strerror or type(error).__name__}") from error
    return commit


def _reason(error: HfHubHTTPError) -> str:
    """What the Hub answered, in words; its own text may hold a token's owner, and is left out."""
    status = error.response.status_code
    if status in (401, 403, 404):
        return f"the Hub answers {status}: no such repository or revision, or it wants a login (`hf auth login`)"
    return f"the Hub answers {status}; run it again"
