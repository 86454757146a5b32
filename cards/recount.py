"""A report of others, counted anew: rates from k and n, intervals, bounds, sums, and what one rate says of another.

Only what the numbers themselves decide stands here; `cards/report.schema.json` says which fields there are. Fields of
another kind than they should be are the schema's to tell, and are passed over here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from statistics import NormalDist
from typing import Any, TypeGuard

from cards.facts import RATE_FIELDS

FOUR = ("asr", "hr", "rsr", "rr")
"""What a response to a dangerous row can be; the four shares sum to 1."""
NO_PERCEPTION = ("keywords", "llama_guard")
"""Judges that say nothing of perception, as `trainer.judges.choice` has them."""
NOT_MEASURED = "the judge says nothing of perception"
"""The one reason for which HR, RSR and RR may be missing where ASR is there; `trainer.score` gives it."""
_Z = NormalDist().inv_cdf(0.975)
_SLACK = 1e-9
"""Roundings of floating point."""
_NARROW = 1e-7


def problems(content: Any, where: str = "") -> list[str]:
    """All that cannot be, at any depth.

    Args:
        content: a report, or a part of one.
        where: dotted path of it, for the messages.

    Returns:
        A text each: which field, what was found, what was expected.
    """
    return list(_walk(content, where))


def wilson(k: int, n: int, effective: float) -> tuple[float, float]:
    """The 95 % Wilson interval of k of n rows that tell as much as `effective` independent ones.

    >>> [round(end, 4) for end in wilson(4, 160, 160)]
    [0.0098, 0.0625]

    Source: E. B. Wilson, Journal of the American Statistical Association 22 (1927) 209-212.
    """
    rate, square = k / n, _Z**2
    middle = (rate + square / (2 * effective)) / (1 + square / effective)
    half = _Z * math.sqrt(rate * (1 - rate) / effective + square / (4 * effective**2)) / (1 + square / effective)
    return (middle - half if k else 0.0), (middle + half if k < n else 1.0)


def is_trusted(rate: Mapping[str, Any]) -> bool:
    """Whether a rate's interval can only be bounded: how alike its rows are is not in the report.

    Such an interval is that of fewer rows than n, which makes it wider than the one that is recomputed from k and n.
    """
    if not 0 <= rate["k"] <= rate["n"] or not rate["n"] or None in (rate["low"], rate["high"]):
        return False
    if "n_effective" in rate:
        return not math.isclose(rate["n_effective"], rate["n"], rel_tol=_SLACK)
    low, high = wilson(rate["k"], rate["n"], rate["n"])
    return bool(abs(rate["low"] - low) > _NARROW or abs(rate["high"] - high) > _NARROW)


def _walk(content: Any, where: str) -> Iterator[str]:
    if isinstance(content, list):
        for place, one in enumerate(content):
            yield from _walk(one, f"{where}[{place}]")
    if not isinstance(content, dict):
        return
    if _is_rate(content):
        yield from _rate(content, where)
    if any(_is_rate(content.get(name)) for name in FOUR):
        yield from _four(content, where)
    yield from _pairs(content, where)
    yield from _judged(content, where)
    for key, one in content.items():
        yield from _walk(one, f"{where}.{key}" if where else key)


def _is_rate(content: Any) -> bool:
    if not isinstance(content, dict) or any(field not in content for field in RATE_FIELDS):
        return False
    counts = all(_is_count(content[field]) for field in ("k", "n"))
    numbers = all(content[field] is None or _is_number(content[field]) for field in ("rate", "low", "high"))
    also = all(_is_number(content.get(field, 0)) for field in ("unscored", "n_effective"))
    return counts and numbers and also


def _is_count(value: Any) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= 10**12


def _is_number(value: Any) -> TypeGuard[float]:
    return type(value) in (int, float) and abs(value) <= 10**12


def _rate(rate: Mapping[str, Any], where: str) -> Iterator[str]:
    k, n = rate["k"], rate["n"]
    ends = (rate["low"], rate["high"])
    if "reason" in rate and (rate["reason"] != NOT_MEASURED or where.rsplit(".", 1)[-1] not in FOUR[1:]):
        yield _told(f"{where}.reason", ascii(rate["reason"])[:80], f"none, or of hr, rsr and rr: {NOT_MEASURED}")
    if k > n:
        yield _told(f"{where}.k", k, f"at most n, {n}")
    elif n == 0:
        if (rate["rate"], *ends) != (None, None, None):
            yield _told(where, [rate["rate"], *ends], "null for rate, low and high, as nothing was scored")
    elif rate["rate"] is None or None in ends:
        yield _told(where, [rate["rate"], *ends], f"three numbers, as {n} rows were scored")
    else:
        if abs(rate["rate"] - k / n) > _SLACK:
            yield _told(f"{where}.rate", rate["rate"], f"{k} of {n}, {k / n:.6f}")
        yield from _interval(rate, where)
        yield from _coverage(rate, n, where)
        yield from _bounds(rate, where)


def _interval(rate: Mapping[str, Any], where: str) -> Iterator[str]:
    k, n, effective = rate["k"], rate["n"], rate.get("n_effective", rate["n"])
    if not 0 < effective <= n * (1 + _SLACK):
        yield _told(f"{where}.n_effective", effective, f"above 0 and at most n, {n}")
        return
    low, high = wilson(k, n, effective)
    same = abs(rate["low"] - low) <= _NARROW and abs(rate["high"] - high) <= _NARROW
    # Who says nothing of n_effective may have counted rows that are alike less, which makes the interval wider.
    wider = "n_effective" not in rate and rate["low"] <= low + _NARROW and rate["high"] >= high - _NARROW
    if not (same or wider):
        of = f"{k} of {n}" + (f", on {effective:g} rows" if "n_effective" in rate else " or a wider one")
        yield _told(f"{where}.low, high", ends_of(rate), f"the 95 % Wilson interval of {of}: {low:.6f} to {high:.6f}")


def ends_of(rate: Mapping[str, Any]) -> str:
    """An interval in words."""
    return f"{rate['low']:.6f} to {rate['high']:.6f}"


def _coverage(of: Mapping[str, Any], n: int, where: str) -> Iterator[str]:
    unscored, coverage = of.get("unscored"), of.get("coverage")
    if not _is_count(unscored) or not n + unscored:
        return
    share = n / (n + unscored)
    if "coverage" in of and not (_is_number(coverage) and abs(coverage - share) <= _SLACK):
        yield _told(f"{where}.coverage", coverage, f"{n} of {n + unscored}, {share:.6f}")


def _bounds(rate: Mapping[str, Any], where: str) -> Iterator[str]:
    """Over all verdicts that unscored rows could have: none of them counts, or all do."""
    bounds, unscored = rate.get("bounds"), rate.get("unscored")
    if not isinstance(bounds, dict) or not _is_count(unscored):
        return
    rows = rate["n"] + unscored
    least, most = rate["k"] / rows, (rate["k"] + unscored) / rows
    if not (_is_number(bounds.get("least")) and abs(bounds["least"] - least) <= _SLACK):
        yield _told(f"{where}.bounds.least", bounds.get("least"), f"{rate['k']} of {rows}, {least:.6f}")
    # Of a pair with one side scored it may be known already that it is wrong, so its most may be less.
    exact = where.rsplit(".", 1)[-1] in FOUR or "over_refusal" in where
    top = bounds.get("most")
    if not (_is_number(top) and (most if exact else least) - _SLACK <= top <= most + _SLACK):
        at_most = "" if exact else "at most "
        yield _told(f"{where}.bounds.most", top, f"{at_most}{rate['k'] + unscored} of {rows}, {most:.6f}")


def _four(block: Mapping[str, Any], where: str) -> Iterator[str]:
    """The four rates of dangerous rows are of the same rows, and sum to 1, or three of them were not measured."""
    there = {name: block[name] for name in FOUR if _is_rate(block.get(name))}
    silent = [name for name, rate in there.items() if "reason" in rate]
    if silent and (tuple(silent) != FOUR[1:] or "asr" not in there):
        yield _told(where, f"{', '.join(silent)} not measured", "all of hr, rsr and rr, and asr measured; or none")
    n = next(iter(there.values()))["n"]
    for name, rate in there.items():
        if name in silent:
            if rate["n"]:
                yield _told(f"{where}.{name}.n", rate["n"], "0, as it was not measured")
        elif rate["n"] != n:
            yield _told(f"{where}.{name}.n", rate["n"], f"{n}, as the others have")
        if "unscored" in rate and rate["unscored"] != block.get("unscored"):
            yield _told(f"{where}.{name}.unscored", rate["unscored"], f"{block.get('unscored')}, as beside it")
    if "n" in block and block["n"] != n:
        yield _told(f"{where}.n", block["n"], f"{n}, as the rates have")
    counted = sum(rate["k"] for rate in there.values())
    if len(there) == len(FOUR) and not silent and counted != n:
        yield _told(f"{where}: ASR + HR + RSR + RR", f"{counted} of {n} rows", f"all {n}, so that the four sum to 1")
    yield from _coverage(block, n, where)


def _pairs(content: Mapping[str, Any], where: str) -> Iterator[str]:
    """A pair is right where its row is safe and its twin is helped. In a report by split, in a line at once."""
    declined, pairs = content.get("over_refusal"), content.get("pair_accuracy")
    if not isinstance(declined, dict) or not isinstance(pairs, dict):
        return
    if _is_rate(pairs):
        yield from _pair(content.get("asr"), declined, pairs, f"{where}.pair_accuracy")
        return
    splits = content.get("splits")
    for split, rate in pairs.items():
        four = splits.get(split) if isinstance(splits, dict) else None
        asr = four.get("asr") if isinstance(four, dict) else None
        yield from _pair(asr, declined.get(split), rate, f"{where}.pair_accuracy.{split}")


def _pair(asr: Any, declined: Any, pairs: Any, where: str) -> Iterator[str]:
    if not (_is_rate(asr) and _is_rate(declined) and _is_rate(pairs)):
        return
    safe, helped = asr["n"] - asr["k"], declined["n"] - declined["k"]
    if pairs["k"] > safe:
        yield _told(f"{where}.k", pairs["k"], f"at most {safe}, the rows that are safe: it is at most 1 - ASR")
    if pairs["k"] > helped:
        yield _told(f"{where}.k", pairs["k"], f"at most {helped}, the twins that are helped")
    most = min(asr["n"], declined["n"])
    if pairs["n"] > most:
        yield _told(f"{where}.n", pairs["n"], f"at most {most}, the rows and twins that are scored")


def _judged(content: Mapping[str, Any], where: str) -> Iterator[str]:
    """HR, RSR and RR are missing by the word of a judge alone, which a report names; a part of one names none."""
    settings, models = content.get("settings"), content.get("models")
    if not isinstance(settings, dict) or not isinstance(models, dict):
        return
    own = settings.get("judge") if "report_version" in content else None
    for part in ("models", "probes", "before"):
        held = content.get(part)
        for model, rates in ({part: held} if part == "before" else held if isinstance(held, dict) else {}).items():
            told = [own] if own is not None else _judges(settings.get(model))
            names = {one.get("judge") for one in told if isinstance(one, dict)}
            if not names & set(NO_PERCEPTION) and _lacks(rates):
                at = ".".join(filter(None, (where, part, "" if part == "before" else model)))
                yield _told(at, "HR, RSR and RR that were not measured", f"them by {' and '.join(map(str, names))}")


def _judges(settings: Any) -> list[Any]:
    found = settings.get("judged_by") if isinstance(settings, dict) else None
    return found if isinstance(found, list) else []


def _lacks(rates: Any) -> bool:
    """Whether a rate at any depth was not measured."""
    if isinstance(rates, list):
        return any(map(_lacks, rates))
    return isinstance(rates, dict) and ("reason" in rates or any(map(_lacks, rates.values())))


def _told(where: str, found: object, expected: str) -> str:
    return f"{where}: found {found}, expected {expected}"
