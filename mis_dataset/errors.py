"""The exceptions of this project, one tree.

```
MISError             what a user or the data did; its text is for the terminal, no traceback belongs to it
├── UsageError       a verb was pointed at the wrong place: no such folder, a target that is not ours (exit 2)
├── ProblemsError    carries a list of problems
│   ├── RecordError  one raw record is not valid; every fault of that record
│   └── ReleaseError a release has problems; all of them
├── PictureError     one picture cannot be had, or is not a picture
├── ManifestError    a MANIFEST.json is missing or unreadable
├── DatasetError     a built dataset is not one, or cannot be read
├── DownloadError    the Hub did not give the release
├── RemoteError      a remote model cannot be asked at all: its address, its name or the key is wrong
├── BudgetError      the calls, tokens or money that a run may use are used up; carries how many requests are left
├── CacheError       a cache of replies is none, is broken, or cannot be written
└── BuildError       the dataset could not be written: disk full, no permission
```

A fault of the program itself is never wrapped in one of these: it keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, NamedTuple, NoReturn

_SHOWN = 20


class MISError(Exception):
    """Root of the tree. `exit_code` is what a verb returns to the shell."""

    exit_code: ClassVar[int] = 1


class UsageError(MISError):
    """The command was used in a wrong way; nothing was read or written."""

    exit_code: ClassVar[int] = 2


class Problem(NamedTuple):
    """One thing that is wrong with a release.

    Attributes:
        file: file inside the release, POSIX path relative to it, e.g. ``"mis_train.json"``; empty where a
            record was made by hand.
        id: row id such as ``"train/3"``, or None where the whole file is meant.
        text: what was found and what to do; never a question, a response or a picture.
    """

    file: str
    id: str | None
    text: str

    def __str__(self) -> str:
        return plain(": ".join(part for part in self if part))


class ProblemsError(MISError):
    """Base of the errors that carry more than one problem.

    Attributes:
        problems: all that was found, in the order of the files.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        lines = [str(problem) for problem in self.problems[:_SHOWN]]
        if len(self.problems) > _SHOWN:
            lines.append(f"... and {len(self.problems) - _SHOWN} more (`check RAW --json` lists all)")
        super().__init__("\n".join(lines))


class RecordError(ProblemsError):
    """One raw record is not valid."""


class ReleaseError(ProblemsError):
    """A release has problems."""


class PictureError(MISError):
    """One picture cannot be had, or its bytes are not a picture."""


class ManifestError(MISError):
    """A MANIFEST.json is missing or unreadable."""


class DatasetError(MISError):
    """A built dataset is not one, or cannot be read."""


class DownloadError(MISError):
    """The Hub did not give the release."""


class RemoteError(MISError):
    """A remote model cannot be asked: every further request would fail as this one did."""


class BudgetError(MISError):
    """A run has used what it may use.

    Attributes:
        left: requests that were not asked.
    """

    def __init__(self, text: str, left: int = 0) -> None:
        self.left = left
        super().__init__(text)


class CacheError(MISError):
    """A cache of replies is none, is broken, or cannot be written."""


class BuildError(MISError):
    """The dataset could not be written."""


def plain(text: str) -> str:
    r"""A text for a terminal: what is no letter, sign or space stands there as its code, so that no name can act.

    >>> plain("a\nb\x1b[2Jü")
    'a\\nb\\x1b[2Jü'
    """
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def refuse_constant(name: str) -> NoReturn:
    """For ``parse_constant`` of `json.loads`, which would take NaN and Infinity for numbers.

    Raises:
        ValueError: Always; whoever reads the file says which it is.
    """
    raise ValueError(f"{name} is not a number")
