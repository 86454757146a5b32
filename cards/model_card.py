"""A run's files -> the cards of its models: a merged checkpoint, the adapter it was merged from, and the base of both.

The templates hold the prose, `cards.facts` the numbers; this file joins them. Rates are fractions everywhere but in
the text of the cards, where they are per cent; the model-index in a card's header keeps the fractions, so that reading
a card back gives the report's own numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cards.facts import Dataset, Rate, Report, Sidecar, flatten, folder_of, public_name, read_sidecars
from cards.headers import model_header
from cards.pages import check_name, fill
from cards.rates import METRICS, SAFETY, eval_results, measured
from cards.reading import CardError
from cards.tables import Line, by_group, by_model, settings_table, share, table
from mis_dataset.files import sha256_of

VERB = "render"
SPLITS = ("easy", "hard", "real")
ARMS = {
    "mirage": "the paper's recipe: dangerous rows and a share of general rows",
    "contrast": "dangerous rows, their benign twins and a share of general rows",
    "refusal": "dangerous rows whose responses only refuse",
    "shuffled": "the rows of `contrast`, danger assigned at random: a control",
}
"""arm -> what it was trained on."""

LANGUAGE_MODELS = {"HuggingFaceTB/SmolLM2-135M-Instruct": "apache-2.0"}
"""base language model on the Hub -> its licence; a run at toy size has none of them."""


class Ids(NamedTuple):
    """The names under which a run is published: ids on the Hub, or folders.

    Attributes:
        dataset: what `load_dataset` is called with.
        model: of the merged checkpoint.
        adapter: of the adapter.
        base: of the checkpoint that both were made from.
    """

    dataset: str
    model: str
    adapter: str
    base: str

    @property
    def has_base(self) -> bool:
        """Whether the base is published too."""
        return "/" in self.base


def model_card(report: Report, dataset: Dataset, run: Path, model: str, ids: Ids) -> str:
    """Text of the card of a merged checkpoint.

    Args:
        report: of the run.
        dataset: what it was trained and measured on.
        run: folder of the run, for the sidecars of the base and the arm.
        model: the arm.
        ids: the names under which the run is published.

    Raises:
        CardError: an arm this file has no words for, or a field that is missing.
    """
    if model not in ARMS:
        raise CardError(f"no card is written for {model!r}: choose one of {', '.join(ARMS)}")
    base, arm = read_sidecars(run, "base"), read_sidecars(run, folder_of(model))
    language_model = known_language_model(base)
    made_from = ids.base if ids.has_base else language_model  # the Hub draws a tree of models by it
    found = eval_results(report, model, ids.dataset, dataset.version)
    facts = {
        "header": model_header(
            ids.model,
            ids.dataset,
            dataset.version,
            _licence(language_model),
            (made_from, "finetune") if made_from else None,
            found,
        ),
        "model": model,
        "arms": arms_of(report),
        "language_model": language_model,
        "sidecars": [*base, *arm],
        "made_from": _inputs([*base, *arm]),
        "headline": _headline(report, model),
        "swapped": _swapped(report, model),
        "four": _four(report, model),
        "levels": by_group("level", group_lines(report, model, "levels")),
        "categories": by_group("category", group_lines(report, model, "categories")),
        **_judged(report),
        "kappas": _kappas(report),
        "hashes": _hashes(report),
        "stations": table(["station", "seconds", "peak memory, GB"], _stations(report)),
        "settings": settings_of(report),
    }
    return fill("model/README.md.j2", VERB, facts | _asked(report, dataset, ids, model))


def adapter_card(report: Report, dataset: Dataset, run: Path, model: str, ids: Ids, config: dict[str, Any]) -> str:
    """Text of the card of an adapter.

    Args:
        report: of the run.
        dataset: what it was trained and measured on.
        run: folder of the run.
        model: the arm.
        ids: the names under which the run is published.
        config: of the adapter, as PEFT wrote it.

    Raises:
        CardError: a field is missing.
    """
    language_model = known_language_model(read_sidecars(run, "base"))
    names = ("r", "lora_alpha", "lora_dropout", "target_modules", "modules_to_save")
    missing = [name for name in names if name not in config]
    if missing:
        raise CardError(f"{run / folder_of(model)}: its adapter_config.json lacks {', '.join(missing)}; train it again")
    licence, base = _licence(language_model), (ids.base, "adapter")
    facts = {
        "header": model_header(ids.adapter, ids.dataset, dataset.version, licence, base, adapter=True),
        "model": model,
        "arms": ARMS,
        "language_model": language_model,
        "config": settings_table({name: config[name] for name in names}),
        "headline": _headline(report, model),
    }
    return fill("model/adapter.md.j2", VERB, facts | _asked(report, dataset, ids, model))


def base_card(report: Report, dataset: Dataset, run: Path, model: str, ids: Ids) -> str:
    """Text of the card of the checkpoint that every arm was made from.

    Args:
        report: of the run.
        dataset: what it was measured on.
        run: folder of the run.
        model: the arm that is published with it.
        ids: the names under which the run is published.

    Raises:
        CardError: a field is missing.
    """
    sidecars = read_sidecars(run, "base")
    language_model = known_language_model(sidecars)
    licence = _licence(language_model)
    found = eval_results(report, "base", ids.dataset, dataset.version)
    related = (language_model, "finetune") if language_model else None
    facts = {
        "header": model_header(ids.base, ids.dataset, dataset.version, licence, related, found),
        "model": model,
        "language_model": language_model,
        "sidecars": sidecars,
        "made_from": _inputs(sidecars),
        "headline": _headline(report, "base"),
        "four": _four(report, "base"),
        **_judged(report),
    }
    return fill("model/base.md.j2", VERB, facts | _asked(report, dataset, ids, "base"))


def model_lines(report: Report, kind: str, below: tuple[str, ...] = ()) -> list[tuple[str, dict[str, Rate]]]:
    """One kind of rate for every model of the report.

    Args:
        report: of the run.
        kind: "splits", "over_refusal", "pair_accuracy" or "ability".
        below: keys between the kind's parts and the rate, such as ("asr",).

    Returns:
        (model, part -> rate), models and parts in the report's order; a part that the report marks has its †.
    """
    return [
        (
            model,
            {
                _marked(report, part): report.rate("models", model, kind, part, *below)
                for part in report.names("models", model, kind)
            },
        )
        for model in report.names("models")
    ]


def group_lines(report: Report, model: str, kind: str) -> list[Line]:
    """ASR, over-refusal and pair accuracy of one model in every group and split.

    Args:
        report: of the run.
        model: the arm.
        kind: "levels" or "categories".

    Returns:
        Lines labelled (group, split); a rate that the report has not is None, a line without any is left out.
    """
    lines = []
    groups = report.names("models", model, kind) if kind in report.names("models", model) else []
    for group in groups:
        at = ("models", model, kind, group)
        for split in SPLITS:
            paths = (("splits", split, "asr"), ("over_refusal", split), ("pair_accuracy", split))
            found = [_rate_or_none(report, at, path) for path in paths]
            if any(rate is not None and rate.n for rate in found):
                lines.append(Line((group, _marked(report, split)), tuple(found)))
    return lines


def arms_of(report: Report) -> dict[str, str]:
    """The arms that the report has rates of -> what each was trained on."""
    return {name: ARMS[name] for name in report.names("models") if name in ARMS}


def tables_of(report: Report, model: str | None = None) -> dict[str, str]:
    """Tables of rates, a line a model; `model` is set in bold."""
    return {
        "safety": by_model(model_lines(report, "splits", ("asr",)), model),
        "refusal": by_model(model_lines(report, "over_refusal"), model),
        "pairs": by_model(model_lines(report, "pair_accuracy"), model),
        "ability": by_model(model_lines(report, "ability"), model),
    }


def seen(report: Report) -> dict[str, Any]:
    """What the base's vision tower names of every style, in per cent, and the splits whose rates that marks."""
    naming = {style: share(report.fraction("naming", style)) for style in ("trained", "real")}
    return {"naming": naming, "marked": report.at("marked"), "report_sha256": sha256_of(report.path)}


def settings_of(report: Report) -> str:
    """The settings of the run as a table.

    Raises:
        CardError: there are none.
    """
    settings = flatten(report.at("settings"))
    if not settings:
        raise CardError(f"{report.path}: settings is empty, so nothing says how the run was made")
    return settings_table(settings)


def known_language_model(base: Sequence[Sidecar]) -> str | None:
    """The language model of a base, by its id on the Hub; None where it is a tiny random one.

    Raises:
        CardError: no sidecar of the base names one.
    """
    found = [sidecar.settings["language_model"] for sidecar in base if "language_model" in sidecar.settings]
    if not found:
        paths = ", ".join(sidecar.path for sidecar in base)
        raise CardError(f"{paths}: settings.language_model is missing; build the base again")
    return next((name for name in LANGUAGE_MODELS if name == found[0]), None)


def _licence(language_model: str | None) -> str:
    """Of weights, in the Hub's word: that of the language model in them, ours where it is a tiny random one."""
    return LANGUAGE_MODELS[language_model] if language_model else "apache-2.0"


def _asked(report: Report, dataset: Dataset, ids: Ids, model: str) -> dict[str, Any]:
    """What every card of a model needs: its names, how it is asked, and its rates beside those of the others."""
    for name in ids:
        check_name(name)
    told = {"ids": ids, "dataset": dataset, "tokens": report.at("settings", "generate", "max_new_tokens")}
    return told | {"beside": _beside(report, model)} | seen(report) | tables_of(report, model)


def _beside(report: Report, model: str) -> str:
    """A line a rate, a column each for the base and the model: ASR, over-refusal, pair accuracy, ability."""
    shown = ("asr", "over_refusal", "pair_accuracy", "accuracy")
    models = list(dict.fromkeys(("base", model)))
    rates = {one: {(m.metric, m.part): m.rate for m in measured(report, one)} for one in models}
    wanted = [key for metric in shown for key in rates[model] if key[0] == metric and key[1] != "all"]
    names = METRICS | {"accuracy": "ability"}
    lines = [
        [f"{names[metric]}, {_marked(report, part)}", *(rates[one].get((metric, part)) for one in models)]
        for metric, part in wanted
    ]
    return table(["rate", *models], lines)


def _headline(report: Report, model: str) -> dict[str, Rate]:
    return {
        "asr": report.rate("models", model, "splits", "hard", "asr"),
        "over_refusal": report.rate("models", model, "over_refusal", "hard"),
        "pair_accuracy": report.rate("models", model, "pair_accuracy", "hard"),
    }


def _swapped(report: Report, model: str) -> Rate | None:
    """Pair accuracy on hard with a row's two pictures in the other order; contrast alone is asked so."""
    asked = model == "contrast" and "swapped" in report.names("probes")
    return report.rate("probes", "swapped", "pair_accuracy", "hard") if asked else None


def _four(report: Report, model: str) -> str:
    lines: list[list[object]] = [
        [_marked(report, split), *(report.rate("models", model, "splits", split, rate) for rate in SAFETY)]
        for split in report.names("models", model, "splits")
    ]
    return table(["split", *SAFETY.values()], lines)


def _marked(report: Report, part: str) -> str:
    return f"{part} †" if part in report.at("marked") else part


def _rate_or_none(report: Report, group: Sequence[str], path: Sequence[str]) -> Rate | None:
    """A group need not have every kind of rate, nor every split."""
    kind, split = path[:2]
    there = kind in report.names(*group) and split in report.names(*group, kind)
    return report.rate(*group, *path) if there else None


def _inputs(sidecars: Sequence[Sidecar]) -> str:
    """What a model was made from, each file once."""
    found = {name: sha for sidecar in sidecars for name, sha in sidecar.inputs.items()}
    return table(["read", "sha256"], [[f"`{name}`", f"`{sha}`"] for name, sha in found.items()]) if found else ""


def _hashes(report: Report) -> str:
    found = {public_name(name): sha for name, sha in flatten(report.at("hashes")).items()}
    return table(["read", "sha256"], [[f"`{name}`", f"`{sha}`"] for name, sha in found.items()])


def _judged(report: Report) -> dict[str, Any]:
    """The judge, its version, and what it and the second one find of what a reader found; "" without labels."""
    judges = report.names("agreement", "labels") if report.at("agreement", "labels") else []
    lines = [
        [judge, *(report.rate("agreement", "labels", judge, part) for part in ("sensitivity", "specificity"))]
        for judge in judges
    ]
    return {
        "judge": report.at("settings", "judge", "judge"),
        "judge_version": report.at("settings", "judge", "judge_version"),
        "labels": table(["judge", "sensitivity", "specificity"], lines) if lines else "",
        "labelled": report.names("agreement", "labels", judges[0], "models") if judges else [],
    }


def _kappas(report: Report) -> str:
    """A line a model: how far the two judges agree; "" where no model has two."""
    lines: list[list[object]] = []
    for model in report.names("agreement", "models"):
        at = ("agreement", "models", model)
        judges = report.at(*at, "judges")
        if not isinstance(judges, list):
            raise CardError(f"{report.path}: {'.'.join(at)}.judges is a {type(judges).__name__}, expected a list")
        kappa, low, high = (report.number(*at, "kappa", part) for part in ("kappa", "low", "high"))
        interval = "" if low is None or high is None else f" ({low:.2f}–{high:.2f})"
        shown = "–" if kappa is None else f"{kappa:.2f}{interval}"
        lines.append([model, ", ".join(map(str, judges)), shown, report.rate(*at, "agreement")])
    return table(["model", "judges", "kappa", "same verdict"], lines) if lines else ""


def _stations(report: Report) -> list[list[str]]:
    return [
        [
            station,
            f"{report.number('stations', station, 'seconds') or 0:.0f}",
            f"{(report.number('stations', station, 'peak_memory_bytes') or 0) / 1e9:.1f}",
        ]
        for station in report.names("stations")
    ]
