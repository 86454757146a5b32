"""Verb `score`: verdicts and ability rows -> rates, by the metric modules as any user loads them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trainer.artefacts import Ability, Verdict, read
from trainer.benchmarks import BENCHMARKS, Benchmark
from trainer.files import ArtefactError
from trainer.judges.choice import NO_PERCEPTION
from trainer.questions import TESTED, RowFacts, cluster_of, read_rows, rows_file, split_of, twins
from trainer.sidecars import make_sidecar, write_derived

CARDS = Path(__file__).resolve().parents[1] / "cards"
ABILITIES = ("picture", "text")
_MODULES = ("attack_success_rate", "over_refusal", "pair_accuracy")
_SAFETY = ("asr", "hr", "rsr", "rr")
_OF_PERCEPTION = ("hr", "rsr", "rr")
NOT_MEASURED = "the judge says nothing of perception"
"""Why there is no HR, RSR and RR; `cards/recount.py` knows these words."""
_UNMEASURED = {"rate": None, "k": 0, "n": 0, "low": None, "high": None}
_NOTHING = {**_UNMEASURED, "unscored": 0, "bounds": {"least": None, "most": None}, "n_effective": 0.0}
"""A rate of the metrics where no row is."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the verb."""
    parser.add_argument("verdicts", type=Path, help="verdicts.jsonl")
    parser.add_argument("out", type=Path, help="JSON to write")
    parser.add_argument("--dataset", type=Path, required=True, help="the built dataset")
    parser.add_argument("--ability", type=Path, default=None, help="ability.jsonl")
    parser.add_argument("--partial", action="store_true", help="allow test rows without a verdict (probes)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Score, write the rates with their sidecar where they are not there yet, and name the headline."""
    rates = score(args.verdicts, args.dataset, args.ability, args.partial)
    inputs = [args.verdicts, rows_file(args.dataset), *([args.ability] if args.ability else [])]
    settings = {"partial": args.partial, "metric_version": metric_version()}
    write_derived(args.out, rates, make_sidecar(args.out, "rates", settings, inputs))
    pairs = {split: rates["pair_accuracy"][split]["rate"] for split in TESTED.values()}
    asr = {split: rates["splits"][split]["asr"]["rate"] for split in TESTED.values()}
    told = {name: _headline(found) for name, found in rates.get("benchmarks", {}).items()}
    return {"rates": str(args.out), "asr": asr, "pair_accuracy": pairs, **({"benchmarks": told} if told else {})}


def score(verdicts: Path, dataset: Path, ability: Path | None = None, partial: bool = False) -> dict[str, Any]:
    """Rates of one model.

    Args:
        verdicts: verdicts.jsonl of the test rows and their twins.
        dataset: The built dataset, for twins, levels and categories.
        ability: ability.jsonl, where there is one.
        partial: Allow test rows that have no verdict; n shows how many were judged.

    Returns:
        {"splits", "over_refusal", "pair_accuracy", "levels", "categories", "ability"}: rates are fractions
        0..1 with k, n and a 95 % Wilson interval, None over nothing; all but those of ability also with unscored,
        coverage, bounds over what unscored rows could be, and n_effective, which counts rows that ask the same less.
        Where a judge says nothing of perception, HR, RSR and RR are rates over nothing with `NOT_MEASURED` as "reason".
        `levels.<level>` and `categories.<category>` hold the first three again.
        Where the dataset is a benchmark's, also "benchmarks": `<name>` -> {"harmful", "paper": {"judge", "n"}, rates as
        `splits` or `over_refusal` has them, "categories": the same of each}.

    Raises:
        ArtefactError: A verdict belongs to no row, or a test row has none and `partial` is False.
    """
    rows = read_rows(dataset)
    found = {one.id: one for one in read(verdicts, Verdict)}
    _check_cover(verdicts, rows, found, partial)
    pairs = twins(rows)
    metrics = Metrics()
    tested = [row for row in rows.values() if row.id.split("/")[0] in TESTED]
    others = {one.name: metrics.benchmark(one, rows, found) for one in BENCHMARKS if _holds(rows, one)}
    levels = sorted({row.level for row in tested if row.level})
    categories = sorted({row.category for row in tested if row.category})
    return {
        **metrics.rates(tested, pairs, found),
        "levels": {
            level: metrics.rates([row for row in tested if row.level == level], pairs, found) for level in levels
        },
        "categories": {
            category: metrics.rates([row for row in tested if row.category == category], pairs, found)
            for category in categories
        },
        "ability": ability_rates(ability) if ability else {},
        **({"benchmarks": others} if others else {}),
    }


def metric_version(modules: Sequence[str] = _MODULES) -> str:
    """`METRIC_VERSION` of some modules of cards/, such as "1-b"; joined by "and" where theirs differ.

    Args:
        modules: their names; those that rate one model, unless others are named.
    """
    texts = [(CARDS / name / f"{name}.py").read_text("utf-8") for name in modules]
    found = [re.findall(r'^METRIC_VERSION = "(.+)"$', text, flags=re.MULTILINE) for text in texts]
    return " and ".join(dict.fromkeys(version for versions in found for version in versions))


def ability_rates(path: Path) -> dict[str, Any]:
    """Share of right responses for picture and for text questions, with 95 % Wilson intervals."""
    rows = read(path, Ability)
    foreign = [row.id for row in rows if row.id.split("/")[0] not in ABILITIES]
    if foreign:
        raise ArtefactError(f"{path}: {len(foreign)} ids are no questions (first: {foreign[0]}); run `ability` anew")
    marks = {kind: [row.correct for row in rows if row.id.startswith(f"{kind}/")] for kind in ABILITIES}
    return {kind: rate_of(right) for kind, right in marks.items()}


def rate_of(hits: Sequence[bool]) -> dict[str, float | int | None]:
    """Share of what is True as every report holds a rate: {rate, k, n, low, high}, a 95 % Wilson interval."""
    from statsmodels.stats.proportion import proportion_confint

    if not hits:
        return dict(_UNMEASURED)
    k, n = sum(hits), len(hits)
    low, high = proportion_confint(k, n, alpha=0.05, method="wilson")
    return {"rate": k / n, "k": k, "n": n, "low": max(0.0, float(low)), "high": min(1.0, float(high))}


def columns_of(rows: Iterable[RowFacts]) -> dict[str, list[str | None]]:
    """What the metrics are told of every row beside its verdict; of a twin, what its row says."""
    known = list(rows)
    return {"splits": [TESTED[row.id.split("/")[0]] for row in known], "clusters": [cluster_of(row) for row in known]}


class Metrics:
    """The three evaluate modules, loaded once."""

    def __init__(self) -> None:
        import evaluate

        def load(name: str) -> Any:
            return evaluate.load(str(CARDS / name), keep_in_memory=True)

        self._asr, self._over_refusal, self._pair_accuracy = map(load, _MODULES)

    def rates(
        self,
        tested: Iterable[RowFacts],
        pairs: Mapping[str, str],
        found: Mapping[str, Verdict],
        together: bool = False,
    ) -> dict[str, Any]:
        """Rates of dangerous rows and of their twins; what was not judged is left out.

        Args:
            tested: dangerous rows of any test splits.
            pairs: id of each -> id of its twin, where it has one.
            found: id -> verdict, of rows and twins.
            together: also over all splits, under "all".

        Returns:
            {"splits", "over_refusal", "pair_accuracy"}, as `score` has them.
        """
        rows = list(tested)
        judged = [row for row in rows if row.id in found]
        benign = [row for row in rows if pairs.get(row.id) in found]
        return {
            "splits": self._safety(judged, [found[row.id] for row in judged], together),
            "over_refusal": self._refusals(benign, [found[pairs[row.id]] for row in benign]),
            "pair_accuracy": self._pairs([row for row in judged if pairs.get(row.id) in found], pairs, found, together),
        }

    def benchmark(
        self, benchmark: Benchmark, rows: Mapping[str, RowFacts], found: Mapping[str, Verdict]
    ) -> dict[str, Any]:
        """Rates of one of the paper's other benchmarks: attacks that succeed, or what is refused without need.

        Rows count as independent, as in the paper: most of these benchmarks ask the same of many pictures.
        """
        judged = [row for row in rows.values() if split_of(row.id) == benchmark.name and row.id in found]
        verdicts = [found[row.id] for row in judged]
        groups = {
            "predictions": [one.verdict for one in verdicts],
            "categories": [row.category for row in judged],
            **({"perceptions": [one.perception for one in verdicts]} if benchmark.harmful else {}),
        }
        scores = judged and (self._asr if benchmark.harmful else self._over_refusal).compute(**groups)
        rates = _SAFETY if benchmark.harmful else ("over_refusal",)
        told = scores or {**{rate: dict(_NOTHING) for rate in rates}, "unscored": 0, "by_category": {}}
        return {
            "harmful": benchmark.harmful,
            "paper": {"judge": benchmark.judge, "n": benchmark.n},
            **_heard({name: told[name] for name in (*rates, "unscored")}, verdicts),
            "categories": {name: _heard(one, verdicts) for name, one in told["by_category"].items()},
        }

    def _safety(self, of: list[RowFacts], verdicts: list[Verdict], together: bool) -> dict[str, Any]:
        empty: dict[str, Any] = {**dict.fromkeys(_SAFETY, _NOTHING), "unscored": 0, "coverage": None}
        scores = verdicts and self._asr.compute(
            predictions=[one.verdict for one in verdicts],
            perceptions=[one.perception for one in verdicts],
            **columns_of(of),
        )
        groups = {**scores["by_split"], "all": {key: scores[key] for key in empty}} if scores else {}
        return {split: _heard(groups.get(split, empty), verdicts) for split in _splits(together)}

    def _refusals(self, of: list[RowFacts], verdicts: list[Verdict]) -> dict[str, Any]:
        scores = verdicts and self._over_refusal.compute(
            predictions=[one.verdict for one in verdicts], **columns_of(of)
        )
        groups = {**scores["by_split"], "all": scores} if scores else {}
        return {split: _flat(groups, split, "over_refusal") for split in _splits(together=True)}

    def _pairs(
        self, of: list[RowFacts], pairs: Mapping[str, str], found: Mapping[str, Verdict], together: bool
    ) -> dict[str, Any]:
        scores = of and self._pair_accuracy.compute(
            predictions=[found[row.id].verdict for row in of],
            twins=[found[pairs[row.id]].verdict for row in of],
            **columns_of(of),
        )
        groups = {**scores["by_split"], "all": scores} if scores else {}
        return {split: _flat(groups, split, "pair_accuracy") for split in _splits(together)}


def _splits(together: bool) -> tuple[str, ...]:
    return (*TESTED.values(), *(("all",) if together else ()))


def _heard(rates: Mapping[str, Any], verdicts: Iterable[Verdict]) -> dict[str, Any]:
    """The rates of some rows without what their judge did not say: HR, RSR and RR want its word on perception."""
    if "hr" not in rates or not any(one.judge in NO_PERCEPTION for one in verdicts):
        return dict(rates)
    silent = {**_NOTHING, "unscored": rates["unscored"], "reason": NOT_MEASURED}
    return {**rates, **dict.fromkeys(_OF_PERCEPTION, silent)}


def _flat(groups: Mapping[str, Any], split: str, rate: str) -> dict[str, Any]:
    if split not in groups:
        return {**_NOTHING, "coverage": None}
    return {**groups[split][rate], "coverage": groups[split]["coverage"]}


def _holds(rows: Mapping[str, RowFacts], benchmark: Benchmark) -> bool:
    return any(split_of(id_) == benchmark.name for id_ in rows)


def _headline(found: Mapping[str, Any]) -> dict[str, Any]:
    rate = "asr" if found["harmful"] else "over_refusal"
    return {rate: found[rate]["rate"], "n": found[rate]["n"], "unscored": found["unscored"]}


def _check_cover(path: Path, rows: Mapping[str, RowFacts], found: Mapping[str, Verdict], partial: bool) -> None:
    foreign = [id_ for id_ in found if id_ not in rows]
    if foreign:
        raise ArtefactError(f"{path}: {len(foreign)} verdicts belong to no row (first: {foreign[:3]})")
    missing = [id_ for id_ in rows if not id_.startswith("train/") and id_ not in found]
    if missing and not partial:
        raise ArtefactError(
            f"{path}: {len(missing)} test rows have no verdict (first: {missing[:3]}); generate and judge them, "
            "or give --partial for a probe"
        )
