"""Measured models of any names, each a folder of responses and verdicts; and which of them can be compared."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mis_dataset.errors import UsageError
from mis_dataset.manifest import NAME as MANIFEST
from mis_dataset.record import shown
from trainer.artefacts import Response, Verdict, read
from trainer.files import ArtefactError, sha256_of
from trainer.judges.base import failed
from trainer.judges.choice import NO_PERCEPTION
from trainer.sidecars import Sidecar, read_sidecar

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+/()-]{0,59}")
"""A name stands in tables, plots and CSV files, so it is short and nothing in it can act."""
_WHO = ("model", "adapter", "base_url", "picture_limits")
"""Settings that say who was asked, not how; how large pictures may be hangs on the family."""
_OF_ENGINES = ("engine", "max_tokens", "max_completion_tokens", "seed", "temperature", "image_max_side")
"""Settings that only some engines have; what of them is how a model was asked stands in `_how`."""
_VERSION = "version"
"""Of how a row is asked: those of checkpoints and of models behind an API are counted apart."""
_TOLD = ("engine", _VERSION, "pictures")
"""Settings that all engines have."""
_NO_MATTER = ("prices", "float32")
"""Settings that move neither a response nor a verdict, or no more than near ties: the number format is remarked."""
_LIMIT = "limit"
"""A setting of the judge that decides which rows there are, and rows are compared themselves."""
_NOT_JUDGED = ("model", *_NO_MATTER, _LIMIT, "judge", "judge_version")
"""Settings of the judge that are compared by the verdicts themselves, or not at all."""
_ENDS = {
    "length": "were cut off at the limit of tokens",
    "content_filter": "were cut off or withheld by a filter of the endpoint",
    "refused": "are refusals that the endpoint marks as such",
    "failed": "are empty because no reply came",
    "other": "ended for a reason that is not known",
}
"""Why a response ended -> what is said of it."""


class Measured(NamedTuple):
    """One measured model.

    Attributes:
        name: As it is called here.
        folder: Where its files lie.
        responses: Id -> response.
        verdicts: Id -> verdict; of some or all of the responses.
        generate: The sidecar of the responses.
        judge: The sidecar of the verdicts.
    """

    name: str
    folder: Path
    responses: Mapping[str, Response]
    verdicts: Mapping[str, Verdict]
    generate: Sidecar
    judge: Sidecar

    @property
    def files(self) -> list[Path]:
        """All that is read of it."""
        names = ("responses.jsonl", "verdicts.jsonl", "ability.jsonl", "score.json")
        return [self.folder / name for name in names if (self.folder / name).is_file()]

    @property
    def ability(self) -> Path | None:
        """Its ability.jsonl, where it has one."""
        path = self.folder / "ability.jsonl"
        return path if path.is_file() else None

    @property
    def judged_by(self) -> list[tuple[str, str, str]]:
        """Judge, version and, where it is one or asks one, model of the verdicts, each combination once.

        A model that was not asked, as about an empty response, or gave no reply, stands in no verdict.
        """
        told = str(self.judge.settings.get("judge_version", ""))
        found = {(one.judge, one.version or told, one.model or "") for one in self.verdicts.values()}
        named = {(judge, version) for judge, version, model in found if model}
        return sorted(one for one in found if one[2] or one[:2] not in named)

    @property
    def probe(self) -> str:
        """What pictures it was shown, see `trainer.probes`."""
        return str(self.generate.settings["pictures"])

    @property
    def judges_asked(self) -> list[tuple[str, str]]:
        """Judge, with its model as that was asked for, and version of the verdicts, each combination once."""
        asked = f" {self.judge.settings['model']}" if self.judge.settings.get("model") else ""
        return sorted({(judge + asked, version) for judge, version, _ in self.judged_by})

    @property
    def manifest(self) -> str | None:
        """sha256 of the manifest of the dataset that was asked; None where the sidecar names none."""
        found = [sha for name, sha in self.generate.inputs.items() if Path(name).name == MANIFEST]
        return found[0] if found else None


def named_folder(text: str, flag: str = "--run") -> tuple[str, str]:
    """A name and what it stands for.

    Args:
        text: NAME=FOLDER.
        flag: that gave it, for errors.

    Raises:
        UsageError: It is none, or the name holds other than letters, digits and a few signs.
    """
    name, _, folder = text.partition("=")
    if not _NAME.fullmatch(name) or not folder:
        raise UsageError(
            f"{flag} {shown(text)}: give NAME=..., the name of at most 60 letters, digits, spaces and . _ + / ( ) -, "
            "a letter or digit first"
        )
    return name, folder


def read_measured(name: str, folder: Path) -> Measured:
    """Read what was measured of one model.

    Raises:
        ArtefactError: A file or sidecar is missing or broken, or the verdicts are of other responses.
    """
    said, judged = folder / "responses.jsonl", folder / "verdicts.jsonl"
    responses = {one.id: one for one in read(said, Response)}
    verdicts = {one.id: one for one in read(judged, Verdict)}
    measured = Measured(name, folder, responses, verdicts, read_sidecar(said), read_sidecar(judged))
    untold = [key for key in _TOLD if key not in measured.generate.settings]
    if untold:
        raise ArtefactError(f"{said}: its sidecar does not say {untold[0]}, as `generate` does now; generate it anew")
    strange = [id_ for id_ in verdicts if id_ not in responses]
    if strange or sha256_of(said) not in measured.judge.inputs.values():
        raise ArtefactError(
            f"{judged}: its verdicts are not of {said.name} beside it as that is now "
            f"({len(strange)} of no response); judge the responses again"
        )
    return measured


def differing(one: Measured, first: Measured) -> list[str]:
    """Why the rates of two models cannot be compared; empty where they can.

    Args:
        one: A model.
        first: The one that it is held against.
    """
    found = [f"the verdicts of {of.name} are of {len(of.judged_by)} judges" for of in (one, first) if _mixed(of)]
    if one.judged_by != first.judged_by:
        found.append(f"another judge: {_judges(one)}, that of {first.name} is {_judges(first)}")
    found += _settings("judged", one.judge.settings, first.judge.settings, _NOT_JUDGED)
    how, of_first = _how(one.generate.settings), _how(first.generate.settings)
    kinds = {of.generate.settings["engine"] == "openai" for of in (one, first)}
    found += _settings("generated", how, of_first, () if len(kinds) == 1 else (_VERSION,))
    if one.manifest != first.manifest:
        found.append("asked about another build of the dataset")
    read_by_judge, read_by_other = _judged_from(one), _judged_from(first)
    # A judge that was given the names of things without need has read one file more.
    if not (read_by_judge <= read_by_other or read_by_other <= read_by_judge):
        found.append("judged with another build of the dataset, or other things")
    ours, theirs = one.verdicts.keys(), first.verdicts.keys()
    if ours != theirs:
        found.append(f"other rows: {len(ours - theirs)} that {first.name} lacks, {len(theirs - ours)} that it lacks")
    return list(dict.fromkeys(found))


def remarks(one: Measured, first: Measured, dataset: Path) -> list[str]:
    """What a reader should know that forbids no comparison.

    Args:
        one: A model.
        first: The one that it is held against.
        dataset: The built dataset.
    """
    found = []
    if one.generate.device != first.generate.device:
        found.append(
            f"generated on {one.generate.device}, {first.name} on {first.generate.device}: near ties may differ"
        )
    engine, other = (each.generate.settings["engine"] for each in (one, first))
    if engine != other:
        found.append(f"asked through {shown(engine)}, {first.name} through {shown(other)}")
    manifest = dataset / MANIFEST
    if one.manifest and manifest.is_file() and sha256_of(manifest) != one.manifest:
        found.append(
            "asked about another build of the dataset than the one whose rows, categories and pictures stand here"
        )
    ends: Counter[str] = Counter(one.responses[id_].finish_reason for id_ in one.verdicts)
    found += [f"{ends[end]} of {len(one.verdicts)} responses {said}" for end, said in _ENDS.items() if ends[end]]
    lost = sum(failed(verdict.reason) for verdict in one.verdicts.values())
    if lost:
        found.append(
            f"{lost} of {len(one.verdicts)} verdicts are missing because a call of the judge failed; `judge --retry` "
            "asks again"
        )
    silent = sorted({judge for judge, _, _ in one.judged_by} & set(NO_PERCEPTION))
    if silent:
        found.append(
            f"{' and '.join(silent)} says nothing of perception: HR, RSR and RR were not measured, only ASR, "
            "over-refusal and pair accuracy were"
        )
    unjudged = len(one.responses.keys() - one.verdicts.keys())
    if unjudged:
        found.append(f"{unjudged} responses have no verdict and are in no rate")
    return found


def settings_of(one: Measured) -> dict[str, Any]:
    """How a model was measured, for a table beside others."""
    return {
        "generate": one.generate.settings,
        "device": one.generate.device,
        "judge": one.judge.settings,
        "judged_by": [dict(zip(("judge", "version", "model"), each, strict=True)) for each in one.judged_by],
        "responses": len(one.responses),
        "verdicts": len(one.verdicts),
        "versions": one.generate.versions,
        "git_commit": {"generate": one.generate.git_commit, "judge": one.judge.git_commit},
        # Seen from here, not from the folder of each, or one dataset would have many names.
        "read": {re.sub(r"^(\.\./)+", "", name): sha for name, sha in one.generate.inputs.items()},
        "sha256": {path.name: sha256_of(path) for path in one.files},
    }


def _how(settings: Mapping[str, Any]) -> dict[str, Any]:
    """How responses were made, told alike for all engines: checkpoints speak greedily and get whole pictures."""
    told = {key: value for key, value in settings.items() if key not in (*_WHO, *_NO_MATTER, *_OF_ENGINES)}
    remote = settings["engine"] == "openai"
    return {
        **told,
        "temperature": settings.get("temperature") if remote else 0.0,
        "image_max_side": settings.get("image_max_side"),
    }


def _judged_from(one: Measured) -> set[str]:
    """sha256 of what the judge read beside the responses."""
    return set(one.judge.inputs.values()) - {sha256_of(one.folder / "responses.jsonl")}


def _mixed(one: Measured) -> bool:
    return len(one.judged_by) > 1


def _judges(one: Measured) -> str:
    return " and ".join(" ".join(part for part in judge if part) for judge in one.judged_by)


def _settings(verb: str, ours: Mapping[str, Any], theirs: Mapping[str, Any], but: Sequence[str]) -> list[str]:
    keys = [key for key in dict.fromkeys((*ours, *theirs)) if key not in but]
    return [
        f"{verb} with {key} = {shown(ours.get(key))}, the first with {shown(theirs.get(key))}"
        for key in keys
        if ours.get(key) != theirs.get(key)
    ]
