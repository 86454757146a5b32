"""Verb `judge`: responses.jsonl -> verdicts.jsonl, by one judge."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mis_dataset.arguments import positive
from trainer.artefacts import Response, Verdict, open_artefact, read
from trainer.files import ArtefactError, sha256_of
from trainer.judges.base import JUDGE_VERSION, Judge
from trainer.questions import RowFacts, read_rows, read_things

JUDGES = ("mini_rules", "minilm")
_BATCH = 256


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the verb."""
    parser.add_argument("responses", type=Path, help="responses.jsonl")
    parser.add_argument("verdicts", type=Path, help="verdicts.jsonl to write")
    parser.add_argument("--judge", choices=JUDGES, default="mini_rules")
    parser.add_argument("--things", type=Path, required=True, help="RAW/mini/objects.json")
    parser.add_argument("--dataset", type=Path, required=True, help="the built dataset, for the questions")
    parser.add_argument("--limit", type=positive, default=None, help="judge the first N responses only")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Judge, and count the verdicts."""
    judge_responses(args.responses, args.verdicts, args.judge, args.things, args.dataset, args.limit)
    verdicts = read(args.verdicts, Verdict)
    counts: Counter[str] = Counter(one.verdict for one in verdicts)
    return {"verdicts": str(args.verdicts), "judge": args.judge, "n": len(verdicts), **counts}


def judge_responses(
    responses: Path, verdicts: Path, judge: str, things: Path, dataset: Path, limit: int | None = None
) -> Path:
    """Judge every response once; goes on where it was stopped.

    Args:
        responses: What to judge.
        verdicts: Where the verdicts go, in the order of the responses.
        judge: One of `JUDGES`.
        things: `RAW/mini/objects.json`.
        dataset: The built dataset; only its questions are read.
        limit: Judge the first so many only.

    Returns:
        The path of the verdicts.

    Raises:
        ArtefactError: A response belongs to no row, or the verdicts were begun with other settings.
    """
    rows = read(responses, Response)[:limit]
    settings = {"judge": judge, "judge_version": JUDGE_VERSION, "limit": limit, **_settings(judge)}
    artefact = open_artefact(verdicts, Verdict, settings, [responses, things, dataset])
    todo = [row for row in rows if row.id not in artefact.done]
    for batch in _judged(todo, judge, read_rows(dataset), read_things(things), responses):
        artefact.append(batch)
    return artefact.finish([row.id for row in rows])


def make_judge(name: str, ahead: Sequence[str] = ()) -> Judge:
    """The judge of that name.

    Args:
        name: One of `JUDGES`.
        ahead: Responses that it will be given, for a judge that is faster when it knows.

    Raises:
        ArtefactError: There is none.
    """
    if name == "mini_rules":
        from trainer.judges.mini_rules import MiniRules

        return MiniRules()
    if name == "minilm":
        from trainer.judges.minilm import MiniLM

        return MiniLM(ahead)
    raise ArtefactError(f"no judge {name!r}; there are {', '.join(JUDGES)}")


def _judged(
    todo: list[Response],
    judge: str,
    rows: dict[str, RowFacts],
    things: dict[str, tuple[str, str]],
    path: Path,
) -> Iterator[list[Verdict]]:
    unknown = [row.id for row in todo if row.id not in rows or row.id not in things]
    if unknown:
        raise ArtefactError(
            f"{path}: {len(unknown)} responses belong to no row of the dataset, or its things are not named "
            f"(first: {unknown[:3]}); give the dataset and the objects.json of the same release"
        )
    judging = make_judge(judge, [row.response for row in todo]) if todo else None
    for start in range(0, len(todo), _BATCH):
        assert judging is not None
        batch = todo[start : start + _BATCH]
        found = [judging.judge(rows[row.id].question, things[row.id], row.response) for row in batch]
        yield [
            Verdict(row.id, one.verdict, one.perception, judge, one.reason)
            for row, one in zip(batch, found, strict=True)
        ]


def _settings(judge: str) -> dict[str, str]:
    """What else a verdict hangs on: the judge's own files."""
    folder = Path(__file__).with_name("judges")
    files = {
        "mini_rules": ("mini_rules.py", "cues.py", "english.py"),
        "minilm": ("minilm.py", "minilm_examples.tsv"),
    }
    return {name: sha256_of(folder / name) for name in files[judge]}
