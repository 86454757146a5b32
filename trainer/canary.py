"""Verb `canary`: do a judge's verdicts hang on the pictures?

A judge that is given pictures may decide by the words alone. So the same responses are judged again with pictures that
are removed, swapped or blank; where hardly a verdict moves, the judge is blind, whatever it was given.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mis_dataset.arguments import fraction
from mis_dataset.errors import plain
from trainer.agreement import read_same_ids
from trainer.artefacts import Verdict
from trainer.calibrate import VERDICTS
from trainer.files import ArtefactError
from trainer.judges.base import CALL_FAILED, CANNOT_ASK
from trainer.judges.choice import TEXT_ONLY
from trainer.score import rate_of
from trainer.sidecars import Sidecar, make_sidecar, read_sidecar, write_derived

MARGIN = 0.05
"""Share of verdicts that may move in every probe before a judge counts as seeing; ours."""
_MAY_DIFFER = {"pictures", "prices"}
"""Settings that move no verdict, but for the pictures, which are to."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the verb."""
    parser.add_argument("own", type=Path, metavar="OWN", help="verdicts.jsonl with the rows' own pictures")
    parser.add_argument(
        "probes", type=Path, nargs="+", metavar="PROBE", help="verdicts.jsonl with pictures removed, swapped or blank"
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="JSON to write")
    parser.add_argument("--margin", type=fraction, default=MARGIN, help="that may move, 0..1 (default %(default)s)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Compare, write, and say whether the judge sees; a blind one does not pass."""
    found = canary(args.own, args.probes, args.margin)
    sidecar = make_sidecar(args.out, "canary", {"margin": args.margin}, [args.own, *args.probes])
    write_derived(args.out, found, sidecar)
    head = {"canary": str(args.out), "judge": found["judge"], "state": found["state"]}
    return {**head, "moved": [one["moved"]["rate"] for one in found["probes"]], "passed": found["state"] != "blind"}


def canary(own: Path, probes: Sequence[Path], margin: float = MARGIN) -> dict[str, Any]:
    """How many verdicts move when the pictures do.

    Args:
        own: Verdicts of a judge that was given the rows' own pictures.
        probes: Verdicts of the same judge on the same responses, given other pictures or none.
        margin: Share of verdicts that may move in every probe, 0..1.

    Returns:
        {"judge", "margin", "state": "sees"; "blind" where no probe moved more than the margin; or "sees no picture",
        as the judge reads words only, "probes": [{"file", "moved": share of verdicts that differ, also to and from
        Unscored, {rate, k, n, low, high}, where the judge can be asked in both files, "table": {own verdict: {the
        probe's: count}}}]}.

    Raises:
        ArtefactError: A probe is of other rows, responses, another judge, or one that was asked otherwise, or was made
            just as `own`; or in one of the files verdicts are missing because a call failed, or no pair is left.
    """
    pairs = [read_same_ids(own, probe) for probe in probes]
    for probe, both in zip(probes, pairs, strict=True):
        _refuse_failed(own, both[0])
        _refuse_failed(probe, both[1])
    judge = pairs[0][0][0].judge
    # A Llama Guard may see or not; what it was given says which.
    reads_only = judge in TEXT_ONLY or read_sidecar(own).settings.get("sees") is False
    for probe in probes:
        _check(own, probe, reads_only)
    found = [_moved(probe, *_asked(probe, *verdicts)) for probe, verdicts in zip(probes, pairs, strict=True)]
    seeing = any(one["moved"]["rate"] > margin for one in found)
    state = "sees no picture" if reads_only else "sees" if seeing else "blind"
    return {"judge": judge, "margin": margin, "state": state, "probes": found}


def _refuse_failed(path: Path, verdicts: Sequence[Verdict]) -> None:
    """Refuse verdicts that a call lost and no picture: they would all have moved, and a blind judge would see."""
    failed = [one.id for one in verdicts if one.reason and one.reason.startswith(CALL_FAILED)]
    if failed:
        raise ArtefactError(
            f"{path}: {len(failed)} verdicts are missing because a call failed (first: {failed[0]}); ask again with "
            "`judge --retry`"
        )


def _asked(
    probe: Path, own: Sequence[Verdict], other: Sequence[Verdict]
) -> tuple[Sequence[Verdict], Sequence[Verdict]]:
    """Pairs of which neither could not be asked: one refused for its pictures says nothing of the judge's eyes."""
    pairs = [pair for pair in zip(own, other, strict=True) if not any(map(_cannot, pair))]
    if not pairs:
        raise ArtefactError(f"{probe}: of no response can the judge be asked both ways; judge with other settings")
    return [one for one, _ in pairs], [two for _, two in pairs]


def _cannot(one: Verdict) -> bool:
    return one.reason is not None and one.reason.startswith(CANNOT_ASK)


def _check(own: Path, probe: Path, text_only: bool) -> None:
    """Refuse what is no probe of the same judge on the same responses."""
    first, second, free = read_sidecar(own), read_sidecar(probe), {"prices": None}
    for word in sorted({*first.settings, *second.settings} - _MAY_DIFFER):
        before, now = first.settings.get(word), second.settings.get(word)
        if before != now:
            told, other = (plain(str(value)) for value in (now, before))
            raise ArtefactError(
                f"{probe}: its {plain(word)} is {told}, that of {own} {other}; judge both with the same"
            )
    if _responses(first) != _responses(second):
        raise ArtefactError(f"{probe}: was made from other responses than {own}; judge the same responses")
    if not text_only and (first.settings | free, first.inputs) == (second.settings | free, second.inputs):
        raise ArtefactError(f"{probe}: was made with the same pictures as {own}; judge with others, or none")


def _responses(sidecar: Sidecar) -> list[str]:
    return sorted(sha256 for path, sha256 in sidecar.inputs.items() if path.endswith(".jsonl"))


def _moved(probe: Path, own: Sequence[Verdict], other: Sequence[Verdict]) -> dict[str, Any]:
    pairs = [(one.verdict, two.verdict) for one, two in zip(own, other, strict=True)]
    counts: Counter[tuple[str, str]] = Counter(pairs)
    return {
        "file": probe.name,
        "moved": rate_of([one != two for one, two in pairs]),
        "table": {one: {two: counts[one, two] for two in VERDICTS} for one in VERDICTS},
    }
