"""Verb `judge`: responses.jsonl -> verdicts.jsonl, by one judge."""

from __future__ import annotations

import argparse
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mis_dataset.arguments import positive
from trainer.artefacts import Response, Verdict, open_artefact, read
from trainer.files import ArtefactError, sha256_of
from trainer.judges.base import JUDGE_VERSION, Case, Judge, Judgement
from trainer.questions import RowFacts, read_rows, read_things

JUDGES = ("mini_rules", "minilm", "keywords")
OF_MINI = ("mini_rules", "minilm")
"""Judges that need the names of the things, which only MIS-mini has."""
TEXT_ONLY = ("mini_rules", "minilm", "keywords")
"""Judges that read words and see no picture."""
_BATCH = 256


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the verb."""
    parser.add_argument("responses", type=Path, help="responses.jsonl")
    parser.add_argument("verdicts", type=Path, help="verdicts.jsonl to write")
    parser.add_argument("--judge", choices=JUDGES, default="mini_rules")
    parser.add_argument("--things", type=Path, default=None, help="RAW/mini/objects.json, for the judges of MIS-mini")
    parser.add_argument("--dataset", type=Path, required=True, help="the built dataset, for the questions")
    parser.add_argument("--limit", type=positive, default=None, help="judge the first N responses only")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Judge, and count the verdicts."""
    judge_responses(args.responses, args.verdicts, args.judge, args.dataset, args.things, args.limit)
    verdicts = read(args.verdicts, Verdict)
    counts: Counter[str] = Counter(one.verdict for one in verdicts)
    return {"verdicts": str(args.verdicts), "judge": args.judge, "n": len(verdicts), **counts}


def judge_responses(
    responses: Path, verdicts: Path, judge: str, dataset: Path, things: Path | None = None, limit: int | None = None
) -> Path:
    """Judge every response once; goes on where it was stopped.

    Args:
        responses: What to judge.
        verdicts: Where the verdicts go, in the order of the responses.
        judge: One of `JUDGES`.
        dataset: The built dataset.
        things: `RAW/mini/objects.json`, for the judges that need the names of things.
        limit: Judge the first so many only.

    Returns:
        The path of the verdicts.

    Raises:
        ArtefactError: A response belongs to no row, the judge needs things and none are given, or the verdicts were
            begun with other settings.
    """
    if judge in OF_MINI and things is None:
        raise ArtefactError(f"the judge {judge} needs the names of the things; give --things RAW/mini/objects.json")
    rows = read(responses, Response)[:limit]
    settings = {"judge": judge, "judge_version": JUDGE_VERSION, "limit": limit, **settings_of(judge)}
    artefact = open_artefact(verdicts, Verdict, settings, [responses, dataset, *([things] if things else [])])
    todo = [row for row in rows if row.id not in artefact.done]
    if todo:
        judged = make_judge(judge).judge(
            _cases(todo, read_rows(dataset), read_things(things) if things else None, responses)
        )
        while batch := list(itertools.islice(judged, _BATCH)):
            artefact.append(_verdict(id_, judge, found) for id_, found in batch)
    return artefact.finish([row.id for row in rows])


def make_judge(name: str) -> Judge:
    """The judge of that name.

    Args:
        name: One of `JUDGES`.

    Raises:
        ArtefactError: There is none.
    """
    if name == "mini_rules":
        from trainer.judges.mini_rules import MiniRules

        return MiniRules()
    if name == "minilm":
        from trainer.judges.minilm import MiniLM

        return MiniLM()
    if name == "keywords":
        from trainer.judges.keywords import Keywords

        return Keywords()
    raise ArtefactError(f"no judge {name!r}; there are {', '.join(JUDGES)}")


def settings_of(judge: str) -> dict[str, str]:
    """What else a verdict hangs on: the judge's own files."""
    folder = Path(__file__).with_name("judges")
    files = {
        "mini_rules": ("mini_rules.py", "cues.py", "english.py"),
        "minilm": ("minilm.py", "minilm_examples.tsv"),
        "keywords": ("keywords.py",),
    }
    return {name: sha256_of(folder / name) for name in files[judge]}


def _cases(
    todo: Sequence[Response], rows: Mapping[str, RowFacts], things: Mapping[str, tuple[str, str]] | None, path: Path
) -> list[Case]:
    """What the judge is given.

    Raises:
        ArtefactError: A response belongs to no row.
    """
    unknown = [row.id for row in todo if row.id not in rows or (things is not None and row.id not in things)]
    if unknown:
        raise ArtefactError(
            f"{path}: {len(unknown)} responses belong to no row of the dataset, or its things are not named "
            f"(first: {unknown[:3]}); give the dataset and the objects.json of the same release"
        )
    named = things or {}
    return [Case(row.id, rows[row.id].question, row.response, named.get(row.id)) for row in todo]


def _verdict(id_: str, judge: str, found: Judgement) -> Verdict:
    call = found.call._asdict() if found.call else {}
    told = found._asdict()
    del told["call"]
    return Verdict(id=id_, judge=judge, version=JUDGE_VERSION, **told, **call)
