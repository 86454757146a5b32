"""Verb `gate`: does a model hold its limits? Exits 0 or 1, for use in CI.

RUN is an arm that `sft` trained with a gate, whose ``best/`` or last checkpoint is held against the limits, or the
folder of a measured model with its ``score.json``, as `evaluate` and `reproduce` write them. What was not measured does
not pass.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from mis_dataset.arguments import fraction
from mis_dataset.errors import UsageError
from trainer.artefacts import Ability, read
from trainer.bars import UNSCORED
from trainer.files import ArtefactError, read_json
from trainer.gates.rules import Evaluation, Rate, rate_in, read_evaluations
from trainer.paired import paired_difference
from trainer.questions import TESTED, split_of
from trainer.score import ABILITIES
from trainer.sidecars import read_sidecar

_FIGURES = {"max_asr": "asr", "max_over_refusal": "over_refusal", "min_pair_accuracy": "pair_accuracy"}
"""Flag -> the rate that it limits."""
Marks = dict[str, bool]
"""Id of an ability question -> whether it was answered rightly."""


class Subject(NamedTuple):
    """What is held against the limits.

    Attributes:
        found: its rates, as score.json or a line of gate.jsonl has them.
        step: of the checkpoint; None for a model that was measured by itself.
        ability: its marks.
        before: those of the model that it was trained from.
    """

    found: Mapping[str, Any]
    step: int | None
    ability: Marks
    before: Marks


@dataclass(frozen=True)
class Held:
    """One limit and what was found.

    Attributes:
        figure: asr, over_refusal, pair_accuracy or ability_drop.
        of: easy, hard or real; of ability picture or text.
        must: the limit in words.
        measured: the figure; None over nothing.
        bound: its conservative end: of the 95 % interval, or with every unscored row counted against it, if worse.
        n: rows or questions that it stands on.
        unscored: rows that no judge could score.
        state: ``holds``, ``missed`` or ``not measured``.
    """

    figure: str
    of: str
    must: str
    measured: float | None
    bound: float | None
    n: int
    unscored: int
    state: Literal["holds", "missed", "not measured"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("run", type=Path, metavar="RUN", help="arm of sft with gate.jsonl, or folder with score.json")
    parser.add_argument("--max-asr", type=fraction, help="attack success rate, 0..1, of every split")
    parser.add_argument("--max-over-refusal", type=fraction, help="share of refused twins, 0..1, of every split")
    parser.add_argument("--min-pair-accuracy", type=fraction, help="0..1, of every split")
    parser.add_argument("--max-ability-drop", type=fraction, help="0..1, of picture and of text questions")
    parser.add_argument(
        "--by",
        choices=["bound", "point"],
        default="bound",
        help="the end of the 95 %% interval that is worse must hold, or the rate alone (default %(default)s)",
    )
    parser.add_argument("--splits", nargs="+", choices=list(TESTED.values()), help="default: all that were asked")
    parser.add_argument(
        "--checkpoint", choices=["best", "last"], default="best", help="of an arm (default %(default)s)"
    )
    parser.add_argument("--base", type=Path, help="folder of the measured model before training, for the ability drop")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Holds every limit; `passed` is False where one is missed or was not measured.

    Raises:
        UsageError: No limit is given, or --base where it is of no use or is missing.
        ArtefactError: RUN is none, or a file of it is broken.
    """
    limits = {name: getattr(args, name) for name in _FIGURES if getattr(args, name) is not None}
    if not limits and args.max_ability_drop is None:
        raise UsageError("give a limit: --max-asr, --max-over-refusal, --min-pair-accuracy or --max-ability-drop")
    subject = _of_arm(args) if (args.run / "gate.jsonl").is_file() else _of_measured(args)
    held = []
    for name, limit in limits.items():
        for split in args.splits or _splits(subject.found, args.run):
            rate = rate_in(subject.found, _FIGURES[name], split, str(args.run))
            held.append(_held(_FIGURES[name], split, rate, name, limit, args.by))
    if args.max_ability_drop is not None:
        held += [_drop(kind, subject, args.max_ability_drop, args.by) for kind in ABILITIES]
    print(table(held), file=sys.stderr)
    return {
        "run": str(args.run),
        "step": subject.step,
        "by": args.by,
        "limits": [asdict(one) for one in held],
        "passed": all(one.state == "holds" for one in held),
    }


def table(held: list[Held]) -> str:
    """The limits as text, a line each."""
    lines = [f"{'':14}{'measured':>10}{'bound':>8}  {'must':8}{'n':>6}{'unscored':>10}  of"]
    for one in held:
        measured, bound = ("-" if share is None else f"{share:.3f}" for share in (one.measured, one.bound))
        of = f"{one.figure} {one.of}"
        lines.append(f"{one.state:14}{measured:>10}{bound:>8}  {one.must:8}{one.n:>6}{one.unscored:>10}  {of}")
    return "\n".join(lines)


def _of_arm(args: argparse.Namespace) -> Subject:
    if args.base:
        raise UsageError(f"--base: {args.run} is an arm, whose gate asked before training; leave it out")
    path = args.run / "gate.jsonl"
    if not (args.run / "model").is_dir():
        raise ArtefactError(f"{args.run}: its training has not ended; run `sft` again to go on")
    evaluations = read_evaluations(path)
    chosen = _chosen(args.run, evaluations, args.checkpoint)
    if evaluations[0].step:
        raise ArtefactError(f"{path}: does not say what the model was before training; train the arm anew")
    questions = _asked(path)
    if unknown := {id_ for one in (chosen, evaluations[0]) for id_ in one.found["wrong"]} - {*questions}:
        raise ArtefactError(f"{path}: {min(unknown)} was not asked by its sidecar; the two are not of one training")
    return Subject(chosen.found, chosen.step, _marks(questions, chosen), _marks(questions, evaluations[0]))


def _asked(path: Path) -> list[str]:
    """The ability questions that a gate asked, by its sidecar.

    Raises:
        ArtefactError: It names none.
    """
    rows = read_sidecar(path).settings.get("rows")
    asked = [rows.get(kind, []) if isinstance(rows, dict) else None for kind in ABILITIES]
    if not all(isinstance(ids, list) and all(isinstance(id_, str) for id_ in ids) for ids in asked):
        raise ArtefactError(f"{path}: its sidecar does not name what was asked; train the arm anew")
    return [id_ for ids in asked for id_ in ids or []]


def _chosen(run: Path, evaluations: list[Evaluation], checkpoint: str) -> Evaluation:
    """The evaluation of the best or of the last checkpoint.

    Raises:
        ArtefactError: There is none.
    """
    if checkpoint == "last" and evaluations:
        return evaluations[-1]
    found = read_json(run / "gate.json").get("best")
    step = found.get("step") if isinstance(found, dict) else None
    chosen = next((one for one in evaluations if one.step == step and type(step) is int), None)
    if chosen is None:
        raise ArtefactError(f"{run}: no checkpoint kept its ability and could be scored, so there is no best one")
    return chosen


def _marks(questions: list[str], of: Evaluation) -> Marks:
    wrong = set(of.found["wrong"])
    return {id_: id_ not in wrong for id_ in questions}


def _of_measured(args: argparse.Namespace) -> Subject:
    path = args.run / "score.json"
    if not path.is_file():
        raise ArtefactError(f"{args.run}: neither gate.jsonl nor score.json; give what `sft` or `evaluate` wrote")
    if args.max_ability_drop is None:
        if args.base:
            raise UsageError("--base is for --max-ability-drop; give that too, or leave it out")
        return Subject(read_json(path), None, {}, {})
    if not args.base:
        raise UsageError("--max-ability-drop of a measured model wants --base, the folder of what it was trained from")
    files = [folder / "ability.jsonl" for folder in (args.run, args.base)]
    ours, before = ({one.id: one.correct for one in read(file, Ability)} for file in files)
    if ours.keys() != before.keys() or len({str(read_sidecar(file).settings) for file in files}) > 1:
        raise ArtefactError(f"{files[0]}: was asked otherwise than {files[1]}; run `ability` on both alike")
    return Subject(read_json(path), None, ours, before)


def _splits(found: Mapping[str, Any], where: Path) -> list[str]:
    """The splits of which a dangerous row was asked; easy and hard where there is none, so that they are missed."""
    asked = [split for split in TESTED.values() if (rate := rate_in(found, "asr", split, str(where))).n + rate.unscored]
    return asked or ["easy", "hard"]


def _held(figure: str, of: str, rate: Rate, flag: str, limit: float, by: str) -> Held:
    upper = flag.startswith("max")
    ends = [end for end in ((rate.high, rate.most) if upper else (rate.low, rate.least)) if end is not None]
    bound = (max(ends) if upper else min(ends)) if rate.rate is not None and len(ends) == 2 else None
    state = _state(rate.rate, bound, limit, upper, by)
    if by == "point" and rate.unscored > UNSCORED * (rate.n + rate.unscored):
        state = "not measured"
    must = f"{'<=' if upper else '>='} {limit:g}"
    return Held(figure, of, must, rate.rate, bound, rate.n, rate.unscored, state)


def _drop(kind: str, subject: Subject, limit: float, by: str) -> Held:
    ids = [id_ for id_ in subject.before if split_of(id_) == kind]
    found = paired_difference([subject.before[id_] for id_ in ids], [subject.ability[id_] for id_ in ids])
    state = _state(found.difference, found.high, limit, True, by)
    return Held("ability_drop", kind, f"<= {limit:g}", found.difference, found.high, found.n, 0, state)


def _state(
    measured: float | None, bound: float | None, limit: float, upper: bool, by: str
) -> Literal["holds", "missed", "not measured"]:
    if measured is None or bound is None:
        return "not measured"
    figure = bound if by == "bound" else measured
    return "holds" if (figure <= limit if upper else figure >= limit) else "missed"
