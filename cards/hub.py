"""The one way from here to the Hub: tries that are counted, one clear error, and no token in any word of it.

A token comes from the environment (`HF_TOKEN`) or from `hf auth login`, as huggingface_hub finds it. What the Hub says
may repeat it, so nothing of that is passed on unmasked.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from cards.reading import CardError
from mis_dataset.files import sha256_of

if TYPE_CHECKING:
    from huggingface_hub import HfApi

T = TypeVar("T")
TRIES = 5
_AGAIN = "the same command goes on where it stopped"
_BUSY = (408, 429, 500, 502, 503, 504)
"""Statuses after which another try may go better."""
_LONGEST = 300
"""Seconds that are waited at most because the Hub asks for it."""
_BLOCK = 2**20
_WORDS = 300
_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_OURS = (".gitattributes",)
"""What the Hub puts into every repository itself."""


class HubError(CardError):
    """The Hub did not do what was asked; the message says what is up and what to do."""


class MovedError(HubError):
    """Somebody else has committed in the meantime."""


class HubFile(NamedTuple):
    """A file as the Hub knows it.

    Attributes:
        size: in bytes.
        git: git's sha1 of it, or of its pointer where it lies in LFS.
        sha256: of its bytes, where it lies in LFS or Xet.
    """

    size: int
    git: str
    sha256: str | None

    def same(self, path: Path) -> bool:
        """Whether a local file has the same bytes."""
        if path.stat().st_size != self.size:
            return False
        return sha256_of(path) == self.sha256 if self.sha256 else _git_hash(path) == self.git


class Remote(NamedTuple):
    """A repository as it is on the Hub.

    Attributes:
        commit: the last one of its branch main, or of the revision that was named.
        private: whether only its owner sees it.
        gated: "manual" or "auto" where readers have to ask; else False.
        files: path -> file, at that commit, without what the Hub puts there itself.
        tags: name -> commit.
    """

    commit: str
    private: bool
    gated: str | bool
    files: Mapping[str, HubFile]
    tags: Mapping[str, str]


class Hub:
    """huggingface_hub's API with a token, and what is said of its errors.

    Attributes:
        api: huggingface_hub's own.
        tries: how often a request is made at most; what huggingface_hub repeats itself, it repeats five times.
        token: None where there is none.
    """

    def __init__(self, tries: int = TRIES, must_log_in: bool = True) -> None:
        """Looks for a token.

        Args:
            tries: see above.
            must_log_in: whether nothing can be done without a token.

        Raises:
            HubError: there is none.
        """
        from huggingface_hub import HfApi, get_token

        _quieten()
        token = get_token()
        if not token and must_log_in:
            raise HubError("no token of the Hub: log in with `hf auth login`, or set HF_TOKEN in the environment")
        self.api: HfApi = HfApi(token=token or False)
        self.tries = tries
        self.token = token

    @property
    def endpoint(self) -> str:
        """Address of the Hub, without a slash at its end."""
        return str(self.api.endpoint)

    def mask(self, words: str) -> str:
        """Words of somebody else on one line, without a token in them."""
        hidden = words.replace(self.token, "***") if self.token else words
        plain = re.sub(r"hf_[A-Za-z0-9]{4,}|(?<=Bearer )\S+", "***", hidden)
        return " ".join("".join(sign if sign.isprintable() else " " for sign in plain).split())[:_WORDS]

    def call(self, what: str, ask: Callable[[], T], tries: int | None = None) -> T:
        """Asks the Hub, again where that may help.

        Args:
            what: is asked about, for the error, such as "OWNER/NAME".
            ask: does it; doing it twice must be as good as doing it once.
            tries: how often, where huggingface_hub itself tries again.

        Returns:
            What `ask` returns.

        Raises:
            MovedError: the branch has another last commit than was thought.
            HubError: the Hub refuses, cannot be reached, or is not one.
            OSError: a file of ours cannot be read.
        """
        tries = tries or self.tries
        for number in range(1, tries + 1):
            try:
                with warnings.catch_warnings(record=True) as told:
                    warnings.simplefilter("always")
                    found = ask()
            except _errors() as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise
                wait = _wait(error, number) if number < tries else None
                if wait is None:
                    raise self._error(what, error) from None
                say(f"{what}: {_short(error)}; trying again in {wait} s ({number} of {tries})")
                time.sleep(wait)
            else:
                for warning in told:
                    if issubclass(warning.category, DeprecationWarning):  # of one library to another
                        continue
                    say(f"{what}: {self.mask(str(warning.message))}")
                return found
        raise AssertionError("unreachable")

    def look(self, repo: str, repo_type: str, revision: str = "main") -> Remote | None:
        """A repository as it is now, at a revision; None where there is none, or none that the token may see.

        Raises:
            HubError: the Hub cannot be asked, or there is no such revision.
        """
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

        unseen = (404,) if self.token else (401, 404)

        def info() -> tuple[str, bool, str | bool] | None:
            try:
                found = self.api.repo_info(repo, repo_type=repo_type, revision=revision)
            except RepositoryNotFoundError as error:
                if isinstance(error, GatedRepoError) or error.response.status_code not in unseen:
                    raise
                return None
            return found.sha or "", bool(found.private), getattr(found, "gated", None) or False

        known = self.call(repo, info)
        if known is None:
            return None
        refs = self.call(repo, lambda: self.api.list_repo_refs(repo, repo_type=repo_type))
        tags = {ref.name: ref.target_commit for ref in refs.tags}
        return Remote(*known, self.files(repo, repo_type, known[0]), tags)

    def files(self, repo: str, repo_type: str, commit: str) -> dict[str, HubFile]:
        """The files of a repository at a commit.

        Raises:
            HubError: the Hub cannot be asked.
        """
        from huggingface_hub.hf_api import RepoFile

        def tree() -> list[RepoFile]:
            entries = self.api.list_repo_tree(repo, recursive=True, revision=commit, repo_type=repo_type)
            return [entry for entry in entries if isinstance(entry, RepoFile)]

        files = {file.path: file for file in self.call(repo, tree, tries=1) if file.path not in _OURS}
        return {
            path: HubFile(file.size, file.blob_id, file.lfs.sha256 if file.lfs else None)
            for path, file in files.items()
        }

    def _error(self, what: str, error: Exception) -> HubError:
        cause = _cause(error)
        status = _status(cause)
        if status == 412:
            return MovedError(f"{what}: somebody else has committed to it in the meantime; {_AGAIN}")
        return HubError(f"{what}: {self._reason(what, cause, status)}")

    def _reason(self, what: str, error: Exception, status: int | None) -> str:
        from huggingface_hub.errors import GatedRepoError, OfflineModeIsEnabled

        owner = what.split("/")[0]
        known = {
            401: "the Hub does not take this token (401): log in again with `hf auth login`, or set HF_TOKEN",
            402: "the Hub wants a paid plan for this (402)",
            403: f"this token may not do that (403): make one with write access to {owner} at "
            f"{self.endpoint}/settings/tokens",
            404: "no such repository or revision, or this token may not see it (404)",
        }
        if isinstance(error, GatedRepoError):
            return "its owner has to let you in first; ask for access on its page"
        if isinstance(error, OfflineModeIsEnabled):
            return "the Hub may not be asked while HF_HUB_OFFLINE is set; unset it"
        if status in known:
            return known[status]
        if status in _BUSY:
            asked = _asked_wait(error)
            wanted = f", and wants {asked} s of rest" if asked else ""
            return f"the Hub answers {status} time after time{wanted}; {_AGAIN}"
        if status is not None:
            return f"the Hub refuses it ({status}): {self.mask(getattr(error, 'server_message', None) or 'no reason')}"
        if isinstance(error, json.JSONDecodeError | KeyError):
            return f"what answers is not the Hub ({type(error).__name__}); look at HF_ENDPOINT and the proxy"
        if isinstance(error, ValueError):
            return f"is refused: {self.mask(str(error))}"
        return f"the Hub cannot be reached, or broke off ({type(error).__name__}); {_AGAIN}"


def say(line: str) -> None:
    """One line of progress, on stderr."""
    print(line, file=sys.stderr, flush=True)


def check_id(repo: str) -> str:
    """A Hub id, as it is.

    Raises:
        CardError: it is none.
    """
    if not _ID.fullmatch(repo):
        raise CardError(f"{repo!r} is no id of a repository; expected OWNER/NAME")
    return repo


def url_of(endpoint: str, repo: str, repo_type: str) -> str:
    """Address of a repository's page.

    >>> url_of("https://huggingface.co", "me/MIS", "dataset"), url_of("https://huggingface.co", "me/mis", "model")
    ('https://huggingface.co/datasets/me/MIS', 'https://huggingface.co/me/mis')
    """
    return f"{endpoint}/{'' if repo_type == 'model' else repo_type + 's/'}{repo}"


def _errors() -> tuple[type[Exception], ...]:
    """What huggingface_hub raises.

    Its HTTP client is another in other versions; RuntimeError comes from uploads and from hf_xet, ValueError and
    KeyError from an answer that is not the Hub's, or from what huggingface_hub refuses to send.
    """
    from huggingface_hub.errors import HfHubHTTPError

    return HfHubHTTPError.__bases__[0], OSError, RuntimeError, ValueError, KeyError


def _cause(error: Exception) -> Exception:
    """The error behind one of an upload, which names only the file, or of a download, which looks in the cache then."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    behind, wrapped = error.__cause__, isinstance(error, RuntimeError | LocalEntryNotFoundError)
    return behind if wrapped and isinstance(behind, Exception) else error


def _status(error: Exception) -> int | None:
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def _asked_wait(error: Exception) -> int | None:
    """Seconds that the Hub wants to be left alone."""
    headers = getattr(getattr(error, "response", None), "headers", {})
    words = str(headers.get("Retry-After", "")).strip()
    return int(words) if words.isdigit() else None


def _wait(error: Exception, number: int) -> int | None:
    """Seconds before the next try; None where there is no point in one."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    status, own = _status(error), int(min(8, 2 ** (number - 1)))
    if status is not None and status not in _BUSY:
        return None
    if status is None and isinstance(error, RuntimeError | ValueError | KeyError):
        return own if isinstance(error, json.JSONDecodeError) else None
    if isinstance(error, OfflineModeIsEnabled):
        return None
    asked = _asked_wait(error)
    return own if asked is None else asked if asked <= _LONGEST else None


def _short(error: Exception) -> str:
    status = _status(error)
    return f"the Hub answers {status}" if status else f"the Hub cannot be reached ({type(error).__name__})"


def _git_hash(path: Path) -> str:
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _quieten() -> None:
    """Of what huggingface_hub logs of its own tries, leaves how long it waits: the rest names signed addresses."""
    logger = logging.getLogger("huggingface_hub.utils._http")
    if not logger.filters:
        logger.addFilter(lambda record: record.getMessage().startswith(("Retrying in", "Rate limited")))
