"""Verb `judge`: responses.jsonl -> verdicts.jsonl, by one judge."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mis_dataset.arguments import positive
from mis_dataset.errors import UsageError
from mis_dataset.files import write_text
from trainer.artefacts import Artefact, Lock, Response, Verdict, open_artefact, part_path, read
from trainer.files import ArtefactError, drop_half_line, sha256_of, sha256_text
from trainer.judges.base import WINDOW, Case, Judgement, cannot_be_asked, failed, place_of
from trainer.judges.choice import JUDGES, LOCAL, OF_MINI, TEXT_ONLY, Choice, choice_of, make_judge, version_of
from trainer.judges.choice import add_arguments as add_judge
from trainer.probes import PROBES, Picture, Probe
from trainer.prompts import pictures_of
from trainer.questions import RowFacts, read_rows, read_things, rows_file
from trainer.shares import refuse_several
from trainer.sidecars import make_sidecar, read_sidecar, sidecar_path, write_sidecar

_BATCH = 32
"""Verdicts that are brought to the disk together."""
_FINAL = (
    "and would not be if tried again: they stay unscored; into another file, other settings may do, as --judge-max-side"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the verb."""
    parser.add_argument("responses", type=Path, help="responses.jsonl")
    parser.add_argument("verdicts", type=Path, help="verdicts.jsonl to write")
    add_judge(parser)
    parser.add_argument("--things", type=Path, default=None, help="RAW/mini/objects.json, for the judges of MIS-mini")
    parser.add_argument("--dataset", type=Path, required=True, help="the built dataset, for questions and pictures")
    parser.add_argument("--pictures", choices=PROBES, default="own", help="shown to a judge that sees (default own)")
    parser.add_argument("--retry", action="store_true", help="judge anew what is unscored because a call failed")
    parser.add_argument("--limit", type=positive, default=None, help="judge the first N responses only")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Judge, and count the verdicts; where a call failed, or none could be made, the run has not passed.

    Raises:
        UsageError: A probe is asked of a judge that sees no picture, or a flag about a model is wrong.
    """
    refuse_several("judge")
    choice = choice_of(args, args.verdicts)
    if args.retry and not choice.remote:
        raise UsageError(f"--retry: of no use to the judge {args.judge}, which makes no calls that could fail")
    judge_responses(
        args.responses, args.verdicts, choice, args.dataset, args.things, args.limit, args.pictures, args.retry
    )
    verdicts = read(args.verdicts, Verdict)
    counts: Counter[str] = Counter(one.verdict for one in verdicts)
    told = {"verdicts": str(args.verdicts), "judge": args.judge, "n": len(verdicts), **counts}
    reasons: Counter[str] = Counter(one.reason for one in verdicts if one.reason)
    told |= {"reasons": dict(sorted(reasons.items()))} if reasons else {}
    if choice.remote:
        costs = [one.cost for one in verdicts if one.cost is not None]
        spent = {"tokens": sum(one.tokens or 0 for one in verdicts), "cost": sum(costs) if costs else None}
        lost = sum(failed(one.reason) for one in verdicts)
        final = sum(cannot_be_asked(one.reason) for one in verdicts)
        told |= {**spent, "now": choice.remote.used(), "passed": not lost and final < len(verdicts)}
        if lost:
            print(f"judge: {lost} of {len(verdicts)} calls failed; `--retry` makes them again", file=sys.stderr)
        if final:
            print(f"judge: {final} of {len(verdicts)} cannot be asked, {_FINAL}", file=sys.stderr)
    return told


def judge_responses(
    responses: Path,
    verdicts: Path,
    choice: Choice,
    dataset: Path,
    things: Path | None = None,
    limit: int | None = None,
    probe: Probe = "own",
    retry: bool = False,
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
        retry: Judge anew what is unscored because a call failed; all other verdicts stay.

    Returns:
        The path of the verdicts.

    Raises:
        UsageError: A probe is asked of a judge that sees no picture, or the key of an endpoint is missing.
        BudgetError: What a judge may use is used up. As with the next two, what was judged by then is on the disk.
        RemoteError: A judge behind an API cannot be asked.
        CacheError: Its replies cannot be kept.
        ArtefactError: A response belongs to no row, the judge needs things and none are given, or the verdicts were
            begun with other settings.
    """
    if choice.name in OF_MINI and things is None:
        raise ArtefactError(
            f"the judge {choice.name} needs the names of the things; give --things RAW/mini/objects.json"
        )
    if probe != "own" and not choice.sees:
        raise UsageError(f"--pictures {probe}: the judge {choice.name} reads words only; take {_others(choice.name)}")
    rows = read(responses, Response)[:limit]
    settings = {**choice.recorded(), "limit": limit, **({"pictures": probe} if choice.sees else {})}
    if choice.remote and (retry or not verdicts.exists()):
        choice.remote.settings.key()  # missing, it is told before any file is made
    artefact = _open(verdicts, rows, settings, [responses, rows_file(dataset), *([things] if things else [])], retry)
    done = artefact.done
    wanted = set(missing([row.id for row in rows], done, WINDOW if choice.name in LOCAL else 1))
    todo = [row for row in rows if row.id in wanted]
    if todo:
        facts, names = read_rows(dataset), read_things(things) if things else None
        _refuse_foreign(todo, facts, names, responses)
        shown = pictures_of(dataset, (row.id for row in todo), probe) if choice.sees else {}
        judge = make_judge(choice)
        artefact.made_on(place_of(judge))
        judged = judge.judge(cases_of(todo, facts, names or {}, shown))
        # Judges of words are done before a bar would be drawn.
        bar = judged if choice.name in TEXT_ONLY else tqdm(judged, total=len(todo), unit=" responses")
        said = {row.id: row.response for row in todo if row.id not in done}
        append_all(artefact, (verdict_of(id_, choice.name, found, said[id_]) for id_, found in bar if id_ in said))
    return artefact.finish([row.id for row in rows])


def _open(
    verdicts: Path, rows: Sequence[Response], settings: Mapping[str, Any], inputs: Sequence[Path], retry: bool
) -> Artefact[Verdict]:
    """The verdicts that stay."""
    lock = Lock(verdicts)
    follow(verdicts, rows, settings, inputs)
    artefact = open_artefact(verdicts, Verdict, settings, inputs, lock)
    if retry:
        artefact.forget(lambda one: failed(one.reason))
    return artefact


def follow(verdicts: Path, rows: Sequence[Response], settings: Mapping[str, Any], inputs: Sequence[Path]) -> None:
    """Where the responses were changed since, as by `generate --retry`, keep the verdicts on what is still the same.

    A file without the hashes of its responses, or that differs in anything else, is left to `open_artefact` to refuse.
    Whoever is stopped here finds the file as it was, or its `.part` alone: never old verdicts beside new responses.

    Args:
        verdicts: The artefact, which may be missing or begun.
        rows: Responses that are to be judged.
        settings: As for `open_artefact`.
        inputs: As for `open_artefact`, the responses first.
    """
    part = part_path(verdicts)
    begun = part if part.is_file() else verdicts
    if not begun.is_file() or not sidecar_path(verdicts).is_file():
        return
    before = read_sidecar(verdicts)
    name = Path(os.path.relpath(inputs[0].absolute(), verdicts.absolute().parent)).as_posix()
    if before.inputs.get(name) in (None, sha256_of(inputs[0])):
        return
    now = make_sidecar(verdicts, before.kind, settings, inputs)
    others = {**now.inputs, name: before.inputs[name]}
    drop_half_line(begun)
    held = read(begun, Verdict) if begun.stat().st_size else []
    if (before.settings, before.inputs) != (now.settings, others) or not all(one.response_sha256 for one in held):
        return
    said = {row.id: _short(row.response) for row in rows}
    kept = [one for one in held if said.get(one.id) == one.response_sha256]
    print(f"judge: {inputs[0]} has changed; {len(kept)} of {len(held)} verdicts stay", file=sys.stderr)
    write_text(part, "".join(json.dumps(vars(one), ensure_ascii=False) + "\n" for one in kept))
    verdicts.unlink(missing_ok=True)
    write_sidecar(verdicts, replace(before, inputs=now.inputs))


def append_all(artefact: Artefact[Verdict], verdicts: Iterable[Verdict]) -> None:
    """Bring verdicts to the disk as they come, also those before an error or an interruption."""
    batch: list[Verdict] = []
    try:
        for one in verdicts:
            batch.append(one)
            if len(batch) == _BATCH:
                full, batch = batch, []
                artefact.append(full)
    finally:
        if batch:
            artefact.append(batch)


def missing(ids: Sequence[str], done: set[str], window: int) -> list[str]:
    """What is to be judged: every window in which a verdict is missing, whole.

    In bfloat16 what else is in a batch may decide a near tie, so who goes on after an interruption asks the same ones.

    Args:
        ids: Of all responses, in their order.
        done: Those that have a verdict.
        window: How many a judge takes together; 1 where each is asked by itself.
    """
    windows = (ids[start : start + window] for start in range(0, len(ids), window))
    return [id_ for held in windows if not done.issuperset(held) for id_ in held]


def _others(name: str) -> str:
    seeing = [one for one in JUDGES if one not in TEXT_ONLY]
    return " or ".join(f"a {one} with vision" if one == name else one for one in seeing)


def _refuse_foreign(
    todo: Sequence[Response], rows: Mapping[str, RowFacts], things: Mapping[str, tuple[str, str]] | None, path: Path
) -> None:
    unknown = [row.id for row in todo if row.id not in rows or (things is not None and row.id not in things)]
    if unknown:
        raise ArtefactError(
            f"{path}: {len(unknown)} responses belong to no row of the dataset, or its things are not named "
            f"(first: {unknown[:3]}); give the dataset and the objects.json of the same release"
        )


def cases_of(
    todo: Sequence[Response],
    rows: Mapping[str, RowFacts],
    things: Mapping[str, tuple[str, str]],
    pictures: Mapping[str, Sequence[Picture]],
) -> Iterator[Case]:
    """What a judge is given; pictures are read as it takes them.

    Args:
        todo: responses to judge.
        rows: id -> what was asked.
        things: id -> names of both things, for the judges that need them.
        pictures: id -> what a judge that sees is shown.
    """
    for row in todo:
        shown = tuple(one.read() for one in pictures.get(row.id, ()))
        yield Case(row.id, rows[row.id].question, row.response, things.get(row.id), shown)


def verdict_of(id_: str, judge: str, found: Judgement, response: str) -> Verdict:
    """What the judge of that name decided about a response, as it is kept."""
    call = found.call._asdict() if found.call else {}
    told = found._asdict()
    del told["call"]
    return Verdict(id=id_, judge=judge, version=version_of(judge), **told, **call, response_sha256=_short(response))


def _short(response: str) -> str:
    return sha256_text(response)[:16]
