"""Which judge, and what it needs to know beside the responses."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.files import ArtefactError, sha256_of
from trainer.judges.base import JUDGE_VERSION, Judge

JUDGES = ("mini_rules", "minilm", "keywords")
OF_MINI = ("mini_rules", "minilm")
"""Judges that need the names of the things, which only MIS-mini has."""
TEXT_ONLY = ("mini_rules", "minilm", "keywords")
"""Judges that read words and see no picture."""
_FILES = {
    "mini_rules": ("mini_rules.py", "cues.py", "english.py"),
    "minilm": ("minilm.py", "minilm_examples.tsv"),
    "keywords": ("keywords.py",),
}
"""Judge -> its own files, on which its verdicts hang."""


@dataclass(frozen=True)
class Choice:
    """One judge as it was asked for.

    Attributes:
        name: one of `JUDGES`.
    """

    name: str

    @property
    def sees(self) -> bool:
        """Whether it is shown the pictures."""
        return self.name not in TEXT_ONLY

    def recorded(self) -> dict[str, Any]:
        """All that its verdicts hang on; for sidecars."""
        folder = Path(__file__).parent
        files = {name: sha256_of(folder / name) for name in _FILES[self.name]}
        return {"judge": self.name, "judge_version": JUDGE_VERSION, **files}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags about the judge, of every verb that asks one."""
    parser.add_argument("--judge", choices=JUDGES, default="mini_rules")


def choice_of(args: argparse.Namespace, out: Path) -> Choice:
    """What the flags say.

    Args:
        args: parsed by `add_arguments`.
        out: the artefact that is written.
    """
    return Choice(args.judge)


def make_judge(choice: Choice) -> Judge:
    """The judge that was chosen.

    Raises:
        ArtefactError: There is none of that name.
    """
    if choice.name == "mini_rules":
        from trainer.judges.mini_rules import MiniRules

        return MiniRules()
    if choice.name == "minilm":
        from trainer.judges.minilm import MiniLM

        return MiniLM()
    if choice.name == "keywords":
        from trainer.judges.keywords import Keywords

        return Keywords()
    raise ArtefactError(f"no judge {choice.name!r}; there are {', '.join(JUDGES)}")
