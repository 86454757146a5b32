"""A commit that other machines can clone, and whether files that lie here are the ones that it holds."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from mis_dataset.errors import MISError, UsageError

_OTHERWISE = "or name one that is pushed: --code https://HOST/OWNER/NAME@COMMIT"


class Commit(NamedTuple):
    """A commit that can be cloned.

    Attributes:
        url: of its repository, without a user or a password: everybody who sees the job sees it.
        id: 40 hexadecimal digits.
    """

    url: str
    id: str


def pushed_commit(checkout: Path) -> Commit:
    """HEAD of a checkout, as its remote ``origin`` has it.

    Asks no network: what was pushed is what git noted when it pushed or fetched last.

    Raises:
        MISError: No checkout, no such remote or one that is not reached by https, files that are not committed, or
            a commit that is not pushed.
    """
    head, changes = _git(checkout, "rev-parse", "HEAD"), _git(checkout, "status", "--porcelain")
    # Not `git remote get-url`, which says how this machine alone reaches it.
    url = _git(checkout, "config", "--get", "remote.origin.url")
    if head is None or changes is None:
        raise MISError(f"{checkout}: is no git checkout with a commit; clone the repository, {_OTHERWISE}")
    if url is None:
        raise MISError(f"{checkout}: has no remote named origin; add one and push, {_OTHERWISE}")
    if changes:
        names = [line.split(maxsplit=1)[-1] for line in changes.splitlines()]
        told = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        raise MISError(f"{checkout}: is not as committed: {told}; commit and push, {_OTHERWISE}")
    if not _git(checkout, "branch", "--remotes", "--contains", head, "--list", "origin/*"):
        raise MISError(f"{checkout}: commit {head} is not at origin; `git push`, {_OTHERWISE}")
    _refuse_url(url)
    return Commit(url, head)


def named_commit(text: str, checkout: Path) -> Commit:
    """A commit that somebody named.

    Args:
        text: ``URL@COMMIT``, as in ``https://github.com/OWNER/NAME@0f3c...``.
        checkout: has to know the commit too, else no file could be compared with it.

    Raises:
        UsageError: It is not named like that.
        MISError: The checkout does not know the commit, or the address is none that a job can reach.
    """
    url, _, commit = text.rpartition("@")
    if not re.fullmatch("[0-9a-f]{40}", commit):
        raise UsageError("--code: does not end in @ and the 40 digits of a commit; give URL@COMMIT")
    _refuse_url(url)
    if _git(checkout, "cat-file", "-e", f"{commit}^{{commit}}") is None:
        raise MISError(f"{checkout}: does not know commit {commit}, so recipes cannot be compared; `git fetch` it")
    return Commit(url, commit)


def path_in(commit: Commit, file: Path, checkout: Path) -> str:
    """Path of a file inside its repository, POSIX.

    Raises:
        MISError: It lies outside of the checkout, or the commit holds none of that name, or one of other bytes.
    """
    path, root = file.resolve(), checkout.resolve()
    if not path.is_relative_to(root):
        raise MISError(f"{file}: lies outside of {root}, and a job has nothing else; put it there, commit and push")
    name = path.relative_to(root).as_posix()
    held = _git(root, "rev-parse", "--verify", "--quiet", f"{commit.id}:{name}")
    if held is None:
        raise MISError(f"{file}: is not in commit {commit.id}; commit and push it")
    if held != _git(root, "hash-object", "--", name):
        raise MISError(f"{file}: is not as in commit {commit.id}; commit and push it, or check that commit out")
    return name


def _refuse_url(url: str) -> None:
    """Fails on what a job cannot clone, or must not be told."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise UsageError(f"the address of the code is none; push it, {_OTHERWISE}") from None
    # git@ of ssh is no secret.
    if parts.password is not None or (parts.username is not None and parts.scheme != "ssh"):
        # Not shown: it may be a token.
        raise MISError(f"the address of the code holds a user or a password, which a job would show; {_OTHERWISE}")
    if parts.scheme != "https" or not parts.hostname or not url.isprintable():
        raise MISError(f"{url!r}: a job has no key and no disk of yours, it clones by https only; {_OTHERWISE}")


def _git(checkout: Path, *words: str) -> str | None:
    """What git says; None where it refuses."""
    try:
        ended = subprocess.run(["git", "-C", str(checkout), *words], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MISError(f"{checkout}: git does not run ({type(error).__name__}); install it") from error
    return ended.stdout.strip() if ended.returncode == 0 else None
