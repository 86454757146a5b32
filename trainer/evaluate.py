"""Verb `evaluate`: models and a dataset -> responses, verdicts, rates and one page that compares them.

It calls `generate`, `judge`, `score` and `compare`, each as it is called alone, so every file can be made and read by
itself, and whatever is there already is not made again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, NamedTuple

from mis_dataset.errors import UsageError
from mis_dataset.remote.budget import Meter
from trainer import ability, compare, generate, judge, score
from trainer.comparison.measured import named_folder
from trainer.judges.choice import add_arguments as add_judge
from trainer.judges.choice import choice_of
from trainer.probes import PROBES
from trainer.shares import launched

_MODEL = "NAME=MODEL: folder of a checkpoint, or with --engine openai a name at the endpoint; the first is what others "
_MODEL += "are held against"

_RETRY = "ask models behind an API again about rows without a reply, and judge anew what changed or where a call failed"


class Asked(NamedTuple):
    """One model, shown one kind of pictures.

    Attributes:
        name: of the model, with the probe where there is one.
        model: its checkpoint, or its name at an endpoint.
        adapter: on top of it.
        probe: what pictures it is shown.
        folder: where its files go.
    """

    name: str
    model: str
    adapter: Path | None
    probe: str
    folder: Path


class Measured(NamedTuple):
    """What came of one.

    Attributes:
        told: its rates and counts, for the line of JSON.
        passed: whether no call failed, of the model or of a judge.
        now: "models", "judge", where they are behind an API -> what this run has used so far, see `Remote.used`.
    """

    told: dict[str, Any]
    passed: bool
    now: dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("dataset", type=Path, metavar="MIS", help="folder of the built dataset")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write into")
    parser.add_argument("--model", action="append", required=True, metavar="NAME=MODEL", help=_MODEL)
    parser.add_argument("--adapter", action="append", default=[], metavar="NAME=FOLDER", help="PEFT adapter of a model")
    parser.add_argument(
        "--probes", nargs="+", choices=PROBES[1:], default=[], help="ask every model again with these pictures"
    )
    parser.add_argument("--ability", action="store_true", help="ask checkpoints MIS-mini's ability questions too")
    parser.add_argument("--things", type=Path, help="RAW/mini/objects.json, for the judges of MIS-mini")
    generate.add_asking(parser)
    add_judge(parser)
    parser.add_argument("--retry", action="store_true", help=_RETRY)
    compare.add_showing(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measures every model and writes the page; has not passed where calls of a model or a judge failed.

    Raises:
        UsageError: Flags that do not go together.
        MISError: As the verbs that it calls; what they made stays, and the same command goes on.
    """
    if launched().of > 1:
        raise UsageError("evaluate is started once; start `generate` in several processes, and evaluate goes on")
    if args.ability and args.engine == "openai":
        raise UsageError("--ability asks checkpoints; leave it out with --engine openai")
    if args.retry and "openai" not in (args.engine, args.judge):
        raise UsageError("--retry: of no use without --engine openai or --judge openai: no call can have failed")
    all_asked = _asked(args)
    args = _with(args, meter=Meter(), judge_meter=Meter())  # one budget for all files of models, one for all judging
    judge_choice = choice_of(args, args.out)
    if judge_choice.remote:
        judge_choice.remote.settings.key()  # missing, it is told before a model is asked
    found = [_measure(args, one) for one in all_asked]
    page = compare.run(_with(args, run=[f"{one.name}={one.folder}" for one in all_asked]))
    told = {one.name: measured.told for one, measured in zip(all_asked, found, strict=True)}
    passed = all(measured.passed for measured in found)
    used = {"now": found[-1].now} if found[-1].now else {}
    return {"page": page["comparison"], "models": told, **used, "passed": passed}


def _asked(args: argparse.Namespace) -> list[Asked]:
    """Every model with its own pictures first, then the probes."""
    models = [_named("--model", text) for text in args.model]
    adapters = dict(_named("--adapter", text) for text in args.adapter)
    names = [name for name, _ in models]
    if len(set(names)) < len(names):
        raise UsageError("--model: a name is given twice; give every model a name of its own")
    if len(adapters) < len(args.adapter):
        raise UsageError("--adapter: a name is given twice; a model has one adapter")
    if foreign := sorted(adapters.keys() - set(names)):
        raise UsageError(f"--adapter {foreign[0]}: there is no --model of that name")
    return [
        Asked(
            name if probe == "own" else f"{name} {probe}",
            model,
            Path(adapters[name]) if name in adapters else None,
            probe,
            args.out / name / ("" if probe == "own" else probe),
        )
        for probe in ("own", *args.probes)
        for name, model in models
    ]


def _named(flag: str, text: str) -> tuple[str, str]:
    """NAME=MODEL; the name is that of a folder too, so it holds no slash."""
    name, model = named_folder(text, flag)
    if "/" in name:
        raise UsageError(f"{flag} {name}: a folder is called so; give a name without a slash")
    return name, model


def _measure(args: argparse.Namespace, one: Asked) -> Measured:
    """Asks, judges and scores."""
    responses, verdicts = one.folder / "responses.jsonl", one.folder / "verdicts.jsonl"
    print(f"== {one.name}", file=sys.stderr)
    asking = _with(args, model=one.model, adapter=one.adapter, out=responses, pictures=one.probe)
    asked = generate.run(_with(asking, also_base=None, things=None, retry=args.retry and args.engine == "openai"))
    again = args.retry and args.judge == "openai"
    judged = judge.run(_with(args, responses=responses, verdicts=verdicts, limit=None, pictures="own", retry=again))
    marked = one.folder / "ability.jsonl" if args.ability and one.probe == "own" else None
    if marked:
        words = [one.model, str(marked), *(["--float32"] if args.float32 else [])]
        ability.run(_parsed(ability, [*words, *(["--adapter", str(one.adapter)] if one.adapter else [])]))
    rates = score.run(
        _with(args, verdicts=verdicts, out=one.folder / "score.json", ability=marked, partial=_is_partial(args))
    )
    unscored = judged.get("Unscored", 0)
    if unscored == judged["n"]:
        print(f"{one.name}: all {unscored} verdicts are unscored, so it has no rate", file=sys.stderr)
    counts = {"n": judged["n"], "unscored": unscored}
    now = {whom: told["now"] for whom, told in {"models": asked, "judge": judged}.items() if "now" in told}
    headline = {key: found for key, found in rates.items() if key != "rates"}
    passed = all(told.get("passed", True) for told in (asked, judged))
    return Measured({**headline, **counts}, passed, now)


def _is_partial(args: argparse.Namespace) -> bool:
    """Whether some test rows are not asked about."""
    return bool(args.limit or args.only or args.level or args.splits)


def _with(args: argparse.Namespace, **changes: Any) -> argparse.Namespace:
    """The flags of another verb: those given here, with what only it has."""
    return argparse.Namespace(**{**vars(args), **changes})


def _parsed(module: Any, words: list[str]) -> argparse.Namespace:
    """The flags of another verb, those not named as it has them by default."""
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    return parser.parse_args(words)
