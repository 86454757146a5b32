"""Verb `agree`: two judges against each other, and each against labels made by readers who had not seen them."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from mis_dataset.errors import UsageError, plain
from trainer.artefacts import Verdict, read
from trainer.files import ArtefactError, parse_json, read_lines
from trainer.judges.base import Case, Judgement
from trainer.judges.choice import TEXT_ONLY, Choice, make_judge
from trainer.questions import split_of
from trainer.score import rate_of
from trainer.sidecars import make_sidecar, read_sidecar, write_derived


@dataclass(frozen=True)
class ReaderLabel:
    """One real response as a reader labelled it: a person, or a model that reads without rules (the README says which).

    Attributes:
        id: Row id.
        model: Which model said it.
        question: What was asked.
        things: Names of both things.
        response: What the model said.
        label: "helps", "declines" or "unclear".
        perception: 1 both things named, 2 on the subject or a plain refusal, 3 no sentence.
    """

    id: str
    model: str
    question: str
    things: tuple[str, str]
    response: str
    label: Literal["helps", "declines", "unclear"]
    perception: Literal[1, 2, 3]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the verb."""
    parser.add_argument("verdicts_a", type=Path, help="verdicts.jsonl of one judge")
    parser.add_argument("verdicts_b", type=Path, help="verdicts.jsonl of another, same responses")
    parser.add_argument("out", type=Path, help="JSON to write")
    parser.add_argument("--labels", type=Path, default=None, help="JSONL of responses labelled by readers")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Compare, write, and name kappa."""
    agreement = agree(args.verdicts_a, args.verdicts_b, args.labels)
    inputs = [args.verdicts_a, args.verdicts_b, *([args.labels] if args.labels else [])]
    write_derived(args.out, agreement, make_sidecar(args.out, "agreement", {}, inputs))
    return {"agreement": str(args.out), "judges": agreement["judges"], **agreement["all"]["kappa"]}


def agree(verdicts_a: Path, verdicts_b: Path, labels: Path | None = None) -> dict[str, Any]:
    """Agreement of two judges on the same responses.

    Args:
        verdicts_a: One judge's verdicts.
        verdicts_b: The other's.
        labels: Responses labelled by readers; both judges judge them anew.

    Returns:
        {"judges": [a, b], "all": {"kappa": `kappa_of`, "agreement": {rate, k, n, low, high},
        "table": {a's verdict: {b's verdict: count}}, "unscored": by either}, "splits": {split: the same},
        "labels": {judge: `against_labels`} or None}.

    Raises:
        ArtefactError: The files do not hold the same ids, or were made from other responses.
        UsageError: A judge that is or asks a model is to be held against labels.
    """
    first, second = read_same(verdicts_a, verdicts_b)
    pairs = list(zip(first, second, strict=True))
    names = [first[0].judge, second[0].judge]
    if labels and set(names) - set(TEXT_ONLY):
        raise UsageError(
            f"--labels: {plain(' and '.join(names))} are not both asked anew here; measure them with `calibrate`"
        )
    splits = sorted({split_of(one.id) for one in first})
    return {
        "judges": [judge_of(first), judge_of(second)],
        "all": compare(pairs),
        "splits": {split: compare([pair for pair in pairs if split_of(pair[0].id) == split]) for split in splits},
        "labels": {judge: against_labels(judge, read_labels(labels)) for judge in names} if labels else None,
    }


def judge_of(verdicts: Sequence[Verdict]) -> str:
    """The judge of a file; one that asks a model behind an API is another judge with another model.

    Verdicts whose call failed name no model.
    """
    asked = sorted({f"{one.judge} {one.model}" for one in verdicts if one.model})
    return "/".join(asked or sorted({one.judge for one in verdicts}))


def read_same(verdicts_a: Path, verdicts_b: Path) -> tuple[list[Verdict], list[Verdict]]:
    """The verdicts of two judges on the same responses, both in the order of the first file.

    Raises:
        ArtefactError: The files do not hold the same ids, or were made from other responses.
    """
    first, second = read_same_ids(verdicts_a, verdicts_b)
    one, two = (set(read_sidecar(path).inputs.values()) for path in (verdicts_a, verdicts_b))
    # A judge that needs the names of things has read one file more.
    if one != two and not (one and two and (one <= two or two <= one)):
        raise ArtefactError(
            f"{verdicts_a} and {verdicts_b} were made from other responses, things or rows, as the sha256 in their "
            "sidecars say; judge the same responses with both"
        )
    return first, second


def read_same_ids(verdicts_a: Path, verdicts_b: Path) -> tuple[list[Verdict], list[Verdict]]:
    """Two files of verdicts on the same rows, both in the order of the first.

    Raises:
        ArtefactError: The files do not hold the same ids.
    """
    first, second = read(verdicts_a, Verdict), read(verdicts_b, Verdict)
    other = {one.id: one for one in second}
    differing = sorted({one.id for one in first} ^ set(other))
    if differing:
        raise ArtefactError(
            f"{verdicts_a} and {verdicts_b}: {len(differing)} ids stand in one only (first: {differing[:3]}); "
            "judge the same responses with both"
        )
    return first, [other[one.id] for one in first]


def against_labels(judge: str, labels: Sequence[ReaderLabel]) -> dict[str, Any]:
    """How a judge does on responses labelled by readers.

    Returns:
        {"sensitivity": share of helping responses judged Unsafe, "specificity": share of declining ones judged
        Safe (both with their "unscored"), "perception": share of equal levels (each {rate, k, n, low, high}, over
        what was scored),
        "unscored": scored by readers but not by the judge, "unclear": not decided by readers,
        "models": {model: sensitivity and specificity}}.
    """
    cases = [Case(str(number), one.question, one.response, one.things) for number, one in enumerate(labels)]
    judged = dict(make_judge(Choice(judge)).judge(cases))
    found = [(one, judged[case.id]) for one, case in zip(labels, cases, strict=True)]
    decided = [(one, verdict) for one, verdict in found if one.label != "unclear"]
    models = sorted({one.model for one in labels})
    return {
        **_both(decided),
        "perception": rate_of([one.perception == got.perception for one, got in decided if got.verdict != "Unscored"]),
        "unscored": sum(got.verdict == "Unscored" for _, got in decided),
        "unclear": len(found) - len(decided),
        "models": {model: _both([pair for pair in decided if pair[0].model == model]) for model in models},
    }


def read_labels(path: Path) -> list[ReaderLabel]:
    """Read a file of labels, every line checked.

    Raises:
        ArtefactError: A line is no label, or a response of a model stands there twice.
    """
    found: dict[tuple[str, str], ReaderLabel] = {}
    for number, line in enumerate(read_lines(path), start=1):
        where = f"{path}: line {number}"
        try:
            label = _label(parse_json(line))
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise ArtefactError(f"{where} is no label ({error}); correct it") from error
        if (label.model, label.id) in found:
            raise ArtefactError(f"{where}: {plain(f'{label.id} of {label.model}')} stands there twice; drop one")
        found[label.model, label.id] = label
    if not found:
        raise ArtefactError(f"{path} is empty; give a file of labels")
    return list(found.values())


def compare(pairs: Sequence[tuple[Verdict, Verdict]]) -> dict[str, Any]:
    """Two judges on the same responses.

    Args:
        pairs: Both verdicts of each response.

    Returns:
        {"kappa": `kappa_of`, "agreement": share of equal verdicts where both scored, {rate, k, n, low, high}, "table":
        {first verdict: {second verdict: count}}, "unscored": by either}.
    """
    counts: Counter[tuple[str, str]] = Counter((one.verdict, two.verdict) for one, two in pairs)
    scored = ("Safe", "Unsafe")
    table = {one: {two: counts[one, two] for two in scored} for one in scored}
    both = [(one, two) for one, two in pairs if "Unscored" not in (one.verdict, two.verdict)]
    return {
        "kappa": kappa_of([[table[one][two] for two in scored] for one in scored]),
        "agreement": rate_of([one.verdict == two.verdict for one, two in both]),
        "table": table,
        "unscored": len(pairs) - len(both),
    }


def both_rates(pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Sensitivity and specificity of verdicts against labels.

    Args:
        pairs: (label, verdict) of each response; labels are "helps" and "declines".

    Returns:
        {"sensitivity": share of helping responses judged Unsafe, "specificity": share of declining ones judged Safe},
        each {rate, k, n, low, high} over what was scored, with its "unscored".
    """

    def found(label: str, right: str) -> dict[str, Any]:
        verdicts = [verdict for one, verdict in pairs if one == label]
        scored = [verdict for verdict in verdicts if verdict != "Unscored"]
        return rate_of([verdict == right for verdict in scored]) | {"unscored": len(verdicts) - len(scored)}

    return {"sensitivity": found("helps", "Unsafe"), "specificity": found("declines", "Safe")}


def kappa_of(table: list[list[int]]) -> dict[str, Any]:
    """Cohen's kappa and its 95 % interval, as `cards/judge_agreement` has them, to the digit.

    That module is not loaded for it: `evaluate` takes four times as long to import as all that is needed here.

    Args:
        table: 2 x 2 counts: the verdicts of one judge down, those of the other, or labels, across.

    Returns:
        {"kappa": -1..1, "low", "high": also, "reason": what is missing and why, else None}. Kappa is None over nothing
        and where both gave one verdict alone, the same; it is 0 where one of them did, and 1 or -1 where they never
        differ or always, each without an interval.
    """
    import numpy as np
    from statsmodels.stats.inter_rater import cohens_kappa

    counts = np.array(table)
    total = int(counts.sum())
    if total == 0:
        return _kappa(None, "no row was scored by both judges")
    if counts.max() == total and np.trace(counts) == total:
        return _kappa(None, "both judges gave one verdict alone, the same")
    if total in (*counts.sum(axis=0), *counts.sum(axis=1)):
        # Agreement is that of chance whatever the other said, and its variance, a root of nothing or less, is rounding.
        return _kappa(0.0, "one judge gave one verdict alone: kappa is 0 and has no interval")
    found = cohens_kappa(counts)
    kappa = float(found.kappa)
    if abs(kappa) > 1 - 1e-12:
        reason = "the judges never differ, or always: the large-sample interval would have no width"
        return _kappa(float(round(kappa)), reason)
    ends = {"low": max(-1.0, float(found.kappa_low)), "high": min(1.0, float(found.kappa_upp))}
    return _kappa(kappa, None) | ends


def _kappa(kappa: float | None, reason: str | None) -> dict[str, Any]:
    return {"kappa": kappa, "low": None, "high": None, "reason": reason}


def _label(line: dict[str, Any]) -> ReaderLabel:
    names = {field.name for field in fields(ReaderLabel)}
    if set(line) != names:
        raise ValueError(f"{len(set(line) ^ names)} keys are missing or others; give {sorted(names)}")
    if line["label"] not in ("helps", "declines", "unclear") or line["perception"] not in (1, 2, 3):
        raise ValueError("label is helps, declines or unclear, perception 1, 2 or 3")
    texts = names - {"label", "perception", "things"}
    if not all(isinstance(line[name], str) for name in texts):
        raise ValueError(f"{', '.join(sorted(texts))} are texts")
    first, second = line["things"]
    return ReaderLabel(**{**line, "things": (str(first), str(second))})


def _both(pairs: Sequence[tuple[ReaderLabel, Judgement]]) -> dict[str, Any]:
    return both_rates([(one.label, got.verdict) for one, got in pairs])
