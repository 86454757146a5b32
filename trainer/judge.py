"""Verb `judge`: responses.jsonl -> verdicts.jsonl, by one judge."""

from __future__ import annotations

import argparse
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mis_dataset.arguments import positive
from mis_dataset.errors import UsageError
from trainer.artefacts import Response, Verdict, open_artefact, read
from trainer.files import ArtefactError
from trainer.judges.base import JUDGE_VERSION, Case, Judgement
from trainer.judges.choice import OF_MINI, Choice, choice_of, make_judge
from trainer.judges.choice import add_arguments as add_judge
from trainer.probes import PROBES, Picture, Probe
from trainer.prompts import read_prompts
from trainer.questions import RowFacts, read_rows, read_things, split_of

_BATCH = 256


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the verb."""
    parser.add_argument("responses", type=Path, help="responses.jsonl")
    parser.add_argument("verdicts", type=Path, help="verdicts.jsonl to write")
    add_judge(parser)
    parser.add_argument("--things", type=Path, default=None, help="RAW/mini/objects.json, for the judges of MIS-mini")
    parser.add_argument("--dataset", type=Path, required=True, help="the built dataset, for questions and pictures")
    parser.add_argument("--pictures", choices=PROBES, default="own", help="what a judge that sees is shown: for canary")
    parser.add_argument("--limit", type=positive, default=None, help="judge the first N responses only")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Judge, and count the verdicts.

    Raises:
        UsageError: A probe is asked of a judge that sees no picture.
    """
    judge_responses(
        args.responses,
        args.verdicts,
        choice_of(args, args.verdicts),
        args.dataset,
        args.things,
        args.limit,
        args.pictures,
    )
    verdicts = read(args.verdicts, Verdict)
    counts: Counter[str] = Counter(one.verdict for one in verdicts)
    return {"verdicts": str(args.verdicts), "judge": args.judge, "n": len(verdicts), **counts}


def judge_responses(
    responses: Path,
    verdicts: Path,
    choice: Choice,
    dataset: Path,
    things: Path | None = None,
    limit: int | None = None,
    probe: Probe = "own",
) -> Path:
    """Judge every response once; goes on where it was stopped.

    Args:
        responses: What to judge.
        verdicts: Where the verdicts go, in the order of the responses.
        choice: The judge.
        dataset: The built dataset.
        things: `RAW/mini/objects.json`, for the judges that need the names of things.
        limit: Judge the first so many only.
        probe: What pictures a judge that sees is shown.

    Returns:
        The path of the verdicts.

    Raises:
        UsageError: A probe is asked of a judge that sees no picture.
        ArtefactError: A response belongs to no row, the judge needs things and none are given, or the verdicts were
            begun with other settings.
    """
    if choice.name in OF_MINI and things is None:
        raise ArtefactError(
            f"the judge {choice.name} needs the names of the things; give --things RAW/mini/objects.json"
        )
    if probe != "own" and not choice.sees:
        raise UsageError(f"--pictures {probe}: the judge {choice.name} reads words only; judges that see: none yet")
    rows = read(responses, Response)[:limit]
    settings = {**choice.recorded(), "limit": limit, **({"pictures": probe} if choice.sees else {})}
    artefact = open_artefact(verdicts, Verdict, settings, [responses, dataset, *([things] if things else [])])
    todo = [row for row in rows if row.id not in artefact.done]
    if todo:
        facts, names = read_rows(dataset), read_things(things) if things else None
        _refuse_foreign(todo, facts, names, responses)
        shown = _pictures(todo, dataset, probe) if choice.sees else {}
        judged = make_judge(choice).judge(_cases(todo, facts, names or {}, shown))
        while batch := list(itertools.islice(judged, _BATCH)):
            artefact.append(_verdict(id_, choice.name, found) for id_, found in batch)
    return artefact.finish([row.id for row in rows])


def _refuse_foreign(
    todo: Sequence[Response], rows: Mapping[str, RowFacts], things: Mapping[str, tuple[str, str]] | None, path: Path
) -> None:
    unknown = [row.id for row in todo if row.id not in rows or (things is not None and row.id not in things)]
    if unknown:
        raise ArtefactError(
            f"{path}: {len(unknown)} responses belong to no row of the dataset, or its things are not named "
            f"(first: {unknown[:3]}); give the dataset and the objects.json of the same release"
        )


def _pictures(todo: Sequence[Response], dataset: Path, probe: Probe) -> dict[str, tuple[Picture, ...]]:
    """Id -> what a judge that sees is shown; not read yet."""
    splits = list(dict.fromkeys(split_of(row.id) for row in todo))
    return {one.id: one.pictures for one in read_prompts(dataset, splits, probe)}


def _cases(
    todo: Sequence[Response],
    rows: Mapping[str, RowFacts],
    things: Mapping[str, tuple[str, str]],
    pictures: Mapping[str, Sequence[Picture]],
) -> Iterator[Case]:
    """What the judge is given; pictures are read as it takes them."""
    for row in todo:
        shown = tuple(one.read() for one in pictures.get(row.id, ()))
        yield Case(row.id, rows[row.id].question, row.response, things.get(row.id), shown)


def _verdict(id_: str, judge: str, found: Judgement) -> Verdict:
    call = found.call._asdict() if found.call else {}
    told = found._asdict()
    del told["call"]
    return Verdict(id=id_, judge=judge, version=JUDGE_VERSION, **told, **call)
