"""Which judge, and what it needs to know beside the responses."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mis_dataset.arguments import positive
from mis_dataset.errors import UsageError
from trainer import remote as endpoints
from trainer.files import ArtefactError, sha256_of
from trainer.judges.base import JUDGE_VERSION, Judge
from trainer.judges.endpoint import VERSION, EndpointJudge
from trainer.remote import Remote

JUDGES = ("mini_rules", "minilm", "keywords", "openai")
OF_MINI = ("mini_rules", "minilm")
"""Judges that need the names of the things, which only MIS-mini has."""
TEXT_ONLY = ("mini_rules", "minilm", "keywords")
"""Judges that read words and see no picture."""
_FILES = {
    "mini_rules": ("mini_rules.py", "cues.py", "english.py"),
    "minilm": ("minilm.py", "minilm_examples.tsv"),
    "keywords": ("keywords.py",),
    "openai": ("endpoint.py", "asking.py"),
}
"""Judge -> its own files, on which its verdicts hang."""


@dataclass(frozen=True)
class Choice:
    """One judge as it was asked for.

    Attributes:
        name: one of `JUDGES`.
        model: its name at the endpoint; None where the judge is no model of the user's choice.
        remote: how it is asked, where it is behind an API.
    """

    name: str
    model: str | None = None
    remote: Remote | None = None

    @property
    def sees(self) -> bool:
        """Whether it is shown the pictures."""
        return self.name not in TEXT_ONLY

    def recorded(self) -> dict[str, Any]:
        """All that its verdicts hang on; for sidecars."""
        folder = Path(__file__).parent
        files = {name: sha256_of(folder / name) for name in _FILES[self.name]}
        asked = self.remote.recorded() if self.remote else {}
        return {"judge": self.name, "judge_version": JUDGE_VERSION, **files, **asked}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags about the judge, of every verb that asks one."""
    parser.add_argument("--judge", choices=JUDGES, default="mini_rules")
    add_model(parser)


def add_model(parser: argparse.ArgumentParser) -> None:
    """Flags about the model that judges, where the judge is one."""
    parser.add_argument("--judge-model", metavar="NAME", default=None, help="its name at the endpoint, for openai")
    parser.add_argument("--judge-max-tokens", type=positive, default=512, help="of a reply, what is thought included")
    endpoints.add_arguments(parser, "judge-")


def choice_of(args: argparse.Namespace, out: Path) -> Choice:
    """What the flags say.

    Args:
        args: parsed by `add_arguments`.
        out: the artefact that is written.

    Raises:
        UsageError: A model is missing or of no use, or a flag about it is out of range.
    """
    if args.judge == "openai":
        if not args.judge_model:
            raise UsageError("--judge openai needs --judge-model NAME, the model's name at the endpoint")
        remote = endpoints.remote_of(args, args.judge_model, VERSION, args.judge_max_tokens, out, "judge-")
        return Choice(args.judge, args.judge_model, remote)
    if args.judge_model:
        raise UsageError(f"--judge-model: the judge {args.judge} is no model of your choice; take --judge openai")
    return Choice(args.judge)


def make_judge(choice: Choice) -> Judge:
    """The judge that was chosen.

    Raises:
        UsageError: It needs a model, and none was chosen.
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
    if choice.name == "openai":
        if not choice.remote:
            raise UsageError("the judge openai needs a model; `judge` and `calibrate` take --judge-model")
        return EndpointJudge(choice.remote)
    raise ArtefactError(f"no judge {choice.name!r}; there are {', '.join(JUDGES)}")
