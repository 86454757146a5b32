"""Which judge, and what it needs to know beside the responses."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mis_dataset.arguments import positive
from mis_dataset.errors import UsageError
from trainer import remote as endpoints
from trainer.engines import local as engines
from trainer.files import ArtefactError, checkpoint_files, sha256_of, sha256_text
from trainer.judges.asking import ASKING_VERSION
from trainer.judges.base import JUDGE_VERSION, TRANSFORMERS_TOKENS, Judge
from trainer.judges.endpoint import VERSION, EndpointJudge
from trainer.remote import Remote

JUDGES = ("mini_rules", "minilm", "keywords", "openai", "transformers", "llama_guard")
OF_MINI = ("mini_rules", "minilm")
"""Judges that need the names of the things, which only MIS-mini has."""
BY_THINGS = ("mini_rules",)
"""Judges that cannot decide without those; of others, only what they say of perception hangs on them."""
TEXT_ONLY = ("mini_rules", "minilm", "keywords")
"""Judges that read words and see no picture."""
NO_PERCEPTION = ("keywords", "llama_guard")
"""Judges that say nothing of perception: it is 2 wherever they score, so that HR, RSR and RR mean nothing."""
LOCAL = ("transformers", "llama_guard")
"""Judges that are a checkpoint in a folder."""
OPENAI_TOKENS = 512
"""As `TRANSFORMERS_TOKENS`, of `openai`."""
_JUDGE = f"{' and '.join(OF_MINI)} read MIS-mini alone, with --things; openai is a model behind an API, "
_JUDGE += f"{' and '.join(LOCAL)} are checkpoints (default %(default)s)"
_TAKES = {"openai": None, "transformers": {"judge_model", "judge_max_tokens"}, "llama_guard": {"judge_model"}}
"""Judge -> the flags of `add_model` that it takes, None: all; others take none."""
_FILES = {
    "mini_rules": ("mini_rules.py", "cues.py", "english.py"),
    "minilm": ("minilm.py", "minilm_examples.tsv"),
    "keywords": ("keywords.py",),
    "openai": ("endpoint.py", "asking.py"),
    "transformers": ("local.py", "asking.py", "../engines/local.py"),
    "llama_guard": ("llama_guard.py", "local.py", "../engines/local.py"),
}
"""Judge -> the files on which its verdicts hang; a judge that is a checkpoint speaks by the engine."""


@dataclass(frozen=True)
class Choice:
    """One judge as it was asked for.

    Attributes:
        name: one of `JUDGES`.
        model: of `openai` its name at the endpoint, of a judge in `LOCAL` the folder of its checkpoint; else None.
        remote: how `openai` is asked.
        max_tokens: most new tokens of a reply of `transformers`; None: `TRANSFORMERS_TOKENS`.
    """

    name: str
    model: str | None = None
    remote: Remote | None = None
    max_tokens: int | None = None

    @property
    def sees(self) -> bool:
        """Whether it is shown the pictures; of Llama Guard 3 only the one with vision is, and 4.

        Raises:
            MISError: The checkpoint of a Llama Guard is none.
        """
        if self.name != "llama_guard":
            return self.name not in TEXT_ONLY
        from trainer.models import guard_pictures

        return guard_pictures(self.folder) != 0

    @property
    def model_name(self) -> str | None:
        """Name of its model: as it is asked for at an endpoint, or that of its folder."""
        return self.folder.resolve().name if self.name in LOCAL else self.model

    @property
    def folder(self) -> Path:
        """Of its checkpoint.

        Raises:
            UsageError: None was named.
        """
        if self.model is None:
            raise UsageError(f"the judge {self.name} is a checkpoint; name its folder with --judge-model")
        return Path(self.model)

    def recorded(self) -> dict[str, Any]:
        """All that its verdicts hang on; for sidecars."""
        folder = Path(__file__).parent
        files = {name: sha256_of(folder / name) for name in _FILES[self.name]}
        asked = self.remote.recorded() if self.remote else {}
        asked |= {"max_tokens": self.max_tokens or TRANSFORMERS_TOKENS} if self.name == "transformers" else {}
        return {"judge": self.name, "judge_version": version_of(self.name), **files, **asked, **self._checkpoint()}

    def _checkpoint(self) -> dict[str, Any]:
        if self.name not in LOCAL:
            return {}
        hashed = "".join(f"{file.name}\0{sha256_of(file)}\n" for file in checkpoint_files(self.folder))
        told = {"model": self.model_name, "checkpoint": sha256_text(hashed), "sees": self.sees}
        return {**told, "version": engines.VERSION}


def version_of(name: str) -> str:
    """The version of a judge's verdicts: of one that is asked by `trainer.judges.asking` with that of how.

    >>> version_of("mini_rules"), version_of("openai")
    ('1-a', '1-a/2-a')
    """
    return f"{JUDGE_VERSION}/{ASKING_VERSION}" if "asking.py" in _FILES[name] else JUDGE_VERSION


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags about the judge, of every verb that asks one."""
    parser.add_argument("--judge", choices=JUDGES, default="mini_rules", help=_JUDGE)
    add_model(parser)


def add_model(parser: argparse.ArgumentParser) -> None:
    """Flags about the model that a judge is, or asks."""
    parser.add_argument(
        "--judge-model",
        metavar="MODEL",
        help=f"its name at the endpoint, for openai; the folder of its checkpoint, for {' and '.join(LOCAL)}",
    )
    parser.add_argument(
        "--judge-max-tokens",
        type=positive,
        metavar="N",
        help=f"of a reply, with thoughts (default: {OPENAI_TOKENS} of openai, {TRANSFORMERS_TOKENS} of transformers)",
    )
    endpoints.add_arguments(parser, "judge-")


def choice_of(args: argparse.Namespace, out: Path) -> Choice:
    """What the flags say.

    Args:
        args: parsed by `add_arguments`.
        out: the artefact that is written.

    Raises:
        UsageError: A model is missing or of no use, or a flag about it is out of range.
    """
    if args.judge_model is not None and args.judge != "openai" and args.judge not in LOCAL:
        raise UsageError(f"the judge {args.judge} takes no --judge-model; those that do: openai, {', '.join(LOCAL)}")
    if unfit := _unfit(args):
        raise UsageError(f"{', '.join(unfit)}: of no use to the judge {args.judge}")
    if args.judge == "openai":
        if not args.judge_model:
            raise UsageError("--judge openai needs --judge-model NAME, the model's name at the endpoint")
        most = args.judge_max_tokens or OPENAI_TOKENS
        remote = endpoints.remote_of(args, args.judge_model, VERSION, most, out, "judge-")
        return Choice(args.judge, args.judge_model, remote)
    choice = Choice(args.judge, args.judge_model, max_tokens=args.judge_max_tokens)
    if args.judge in LOCAL:
        checkpoint_files(choice.folder)
    return choice


def _unfit(args: argparse.Namespace) -> list[str]:
    """Flags about a model that were given and would do nothing."""
    parser = argparse.ArgumentParser()
    add_model(parser)
    takes = _TAKES.get(args.judge, set())
    given = [name for name, value in vars(parser.parse_args([])).items() if getattr(args, name) != value]
    return [] if takes is None else [f"--{name.replace('_', '-')}" for name in given if name not in takes]


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
    if choice.name == "transformers":
        from trainer.judges.local import Local

        return Local(choice.folder, choice.max_tokens or TRANSFORMERS_TOKENS)
    if choice.name == "llama_guard":
        from trainer.judges.llama_guard import LlamaGuard

        return LlamaGuard(choice.folder)
    raise ArtefactError(f"no judge {choice.name!r}; there are {', '.join(JUDGES)}")
