"""A run's files -> the dataset card and the model card of its Hub repositories.

The templates hold the prose, `cards.facts` the numbers; this file joins them. Rates are fractions everywhere
but in the text of the cards, where they are per cent; the model-index in a card's header keeps the fractions,
so that reading a card back gives the report's own numbers.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cards.audit import STATS, Plot, audit, plots_of
from cards.facts import CardError, Dataset, Rate, Report, Sidecar, check_unchanged, flatten, read_dataset, read_sidecars
from cards.pages import CARD, PAPER, fill, publish, size_category
from cards.tables import Line, by_group, by_model, settings_table, share, table
from mis_dataset.files import sha256_of

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

VERB = "render"
SPLITS = ("easy", "hard", "real")
SAFETY = {"asr": "ASR", "rsr": "RSR", "rr": "RR", "hr": "HR"}
METRICS = SAFETY | {"over_refusal": "over-refusal", "pair_accuracy": "pair accuracy", "accuracy": "accuracy"}
ARMS = {
    "mirage": "the paper's recipe: dangerous rows and a share of general rows",
    "contrast": "dangerous rows, their benign twins and a share of general rows",
    "refusal": "dangerous rows whose responses only refuse",
    "shuffled": "the rows of `contrast`, danger assigned at random: a control",
}
"""arm -> what it was trained on."""

LANGUAGE_MODELS = {"HuggingFaceTB/SmolLM2-135M-Instruct": "apache-2.0"}
"""base language model on the Hub -> its licence; a run at toy size has none of them."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run that has its report.json")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write to, such as RUN/cards")
    parser.add_argument("--model", default="contrast", help="arm that the model card is about (%(default)s)")
    parser.add_argument("--dataset-id", default="MIS", help="Hub id of the dataset, or its folder (%(default)s)")
    parser.add_argument("--model-id", help="Hub id of the model, or its folder (mis-mini-MODEL)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Writes both cards; returns their paths."""
    paths = render(args.run, args.out, args.model, args.dataset_id, args.model_id)
    return {name: str(path) for name, path in paths.items()}


def render(
    run: Path, out: Path, model: str = "contrast", dataset_id: str = "MIS", model_id: str | None = None
) -> dict[str, Path]:
    """Write both cards of a run, and the plots of `stats`; what stands there already is left alone.

    Args:
        run: folder of a finished run.
        out: folder for `dataset/README.md` and `model/README.md`.
        model: the arm that the model card is about.
        dataset_id: the dataset's id on the Hub, or its folder.
        model_id: the model's id on the Hub, or its folder; `mis-mini-<model>` where None.

    Returns:
        "dataset" and "model" -> the card's path.

    Raises:
        CardError: a file or a field that a card needs is missing or contradicts itself, or what lies where a card
            goes was not written by this verb; nothing was written then.
        OSError: a card cannot be written.
    """
    report = Report(run / "report.json")
    dataset = read_dataset(run / "MIS")
    check_unchanged(run, report, model)
    name = model_id or f"mis-mini-{model}"
    plots = plots_of(run / STATS)
    paths = {card: out / card / CARD for card in ("dataset", "model")}
    texts = {
        paths["dataset"]: dataset_card(report, dataset, run, dataset_id, plots),
        paths["model"]: model_card(report, dataset, run, model, dataset_id, name),
    }
    publish(VERB, texts, {paths["dataset"].with_name(plot.path.name): plot.path for plot in plots})
    return paths


def dataset_card(report: Report, dataset: Dataset, run: Path, dataset_id: str, plots: Sequence[Plot] = ()) -> str:
    """Text of the dataset card.

    Args:
        report: of the run; its settings and the rates of its models are shown.
        dataset: the built dataset.
        run: folder of the run, for what `stats` and `leaks` found.
        dataset_id: what `load_dataset` is called with.
        plots: of `stats`, which lie beside the card.

    Raises:
        CardError: a field is missing.
    """
    from huggingface_hub import DatasetCardData

    files = [{"split": split.name, "path": split.pattern} for split in dataset.splits]
    header = DatasetCardData(
        language="en",
        license=["apache-2.0", "cc-by-4.0", "ofl-1.1", "cc-by-sa-4.0"],
        task_categories=["image-text-to-text", "visual-question-answering"],
        size_categories=size_category(sum(split.rows for split in dataset.splits)),
        pretty_name="MIS-mini",
        configs=[{"config_name": "default", "data_files": files}],
        tags=["safety", "multimodal", "multi-image", "benign-twins", "over-refusal", PAPER],
    )
    return fill(
        "dataset/README.md.j2",
        VERB,
        {
            "header": header.to_yaml(),
            "dataset_id": dataset_id,
            "dataset": dataset,
            "categories": _names(dataset, "categories"),
            "levels": _names(dataset, "levels"),
            "settings": _settings(report),
            "plots": plots,
            **audit(run),
            **_seen(report),
            **_tables(report),
        },
    )


def model_card(report: Report, dataset: Dataset, run: Path, model: str, dataset_id: str, model_id: str) -> str:
    """Text of the model card.

    Args:
        report: of the run.
        dataset: what it was trained and measured on.
        run: folder of the run, for the sidecars of the base and the arm.
        model: the arm.
        dataset_id: the dataset's id on the Hub, or its folder.
        model_id: what `from_pretrained` is called with.

    Raises:
        CardError: an arm this file has no words for, or a field that is missing.
    """
    if model not in ARMS:
        raise CardError(f"no card is written for {model!r}: choose one of {', '.join(ARMS)}")
    base, arm = read_sidecars(run, "base"), read_sidecars(run, f"arms/{model}")
    language_model = _language_model(base)
    return fill(
        "model/README.md.j2",
        VERB,
        {
            "header": _model_header(report, dataset, model, language_model, dataset_id, model_id),
            "model": model,
            "arms": {name: ARMS[name] for name in report.names("models") if name in ARMS},
            "dataset_id": dataset_id,
            "model_id": model_id,
            "dataset": dataset,
            "language_model": language_model if language_model in LANGUAGE_MODELS else None,
            "sidecars": [*base, *arm],
            **_seen(report),
            **_tables(report, model),
            "kappas": _kappas(report),
            "labels": _labels(report),
            "hashes": _hashes(report),
            "stations": table(["station", "seconds", "peak memory, GB"], _stations(report)),
            "settings": _settings(report),
        },
    )


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


def eval_results(report: Report, model: str, dataset_id: str, version: str) -> list[EvalResult]:
    """The model's rates as the Hub's evaluation entries: fractions, with k, n and the interval beside each.

    A rate over nothing has no entry.

    Args:
        report: of the run.
        model: the arm.
        dataset_id: the dataset's id on the Hub, or its folder.
        version: of the dataset.
    """
    from huggingface_hub import EvalResult

    return [
        EvalResult(
            task_type="image-text-to-text",
            dataset_type="mis-mini-ability" if kind == "ability" else dataset_id,
            dataset_name="MIS-mini ability questions" if kind == "ability" else "MIS-mini",
            dataset_split=split,
            dataset_args={"data_version": version},
            metric_type=metric,
            metric_name=f"{METRICS[metric]} ({part})",
            metric_config=part,
            metric_value=rate.rate,
            metric_args={name: value for name, value in rate_fields(rate).items() if value is not None},
        )
        for kind, part, split, metric, rate in _measured(report, model)
        if rate.n
    ]


def rate_fields(rate: Rate) -> dict[str, float | int | None]:
    """What stands beside a rate's value: k, n, low, high, unscored."""
    return {"k": rate.k, "n": rate.n, "low": rate.low, "high": rate.high, "unscored": rate.unscored}


def _tables(report: Report, model: str | None = None) -> dict[str, Any]:
    """Tables of rates: of all models, and those of `model` alone where one is named."""
    tables: dict[str, Any] = {
        "safety": by_model(model_lines(report, "splits", ("asr",)), model),
        "refusal": by_model(model_lines(report, "over_refusal"), model),
        "pairs": by_model(model_lines(report, "pair_accuracy"), model),
        "ability": by_model(model_lines(report, "ability"), model),
    }
    if model is None:
        return tables
    four: list[list[object]] = [
        [_marked(report, split), *(report.rate("models", model, "splits", split, rate) for rate in SAFETY)]
        for split in report.names("models", model, "splits")
    ]
    headline = {
        "asr": report.rate("models", model, "splits", "hard", "asr"),
        "over_refusal": report.rate("models", model, "over_refusal", "hard"),
        "pair_accuracy": report.rate("models", model, "pair_accuracy", "hard"),
    }
    return tables | {
        "four": table(["split", *SAFETY.values()], four),
        "levels": by_group("level", group_lines(report, model, "levels")),
        "categories": by_group("category", group_lines(report, model, "categories")),
        "headline": headline,
    }


def _seen(report: Report) -> dict[str, Any]:
    """What the base's vision tower names of every style, in per cent, and the splits whose rates that marks."""
    naming = {style: share(report.fraction("naming", style)) for style in ("trained", "real")}
    return {"naming": naming, "marked": report.at("marked"), "report_sha256": sha256_of(report.path)}


def _marked(report: Report, part: str) -> str:
    return f"{part} †" if part in report.at("marked") else part


def _measured(report: Report, model: str) -> Iterator[tuple[str, str, str, str, Rate]]:
    """(kind, part, split of the dataset, metric, rate) of every overall rate of a model."""
    at = ("models", model)
    for part in report.names(*at, "splits"):
        for metric in SAFETY:
            yield "splits", part, f"test_{part}", metric, report.rate(*at, "splits", part, metric)
    for part in report.names(*at, "over_refusal"):
        yield "over_refusal", part, "test_benign", "over_refusal", report.rate(*at, "over_refusal", part)
    for part in report.names(*at, "pair_accuracy"):
        yield "pair_accuracy", part, f"test_{part}", "pair_accuracy", report.rate(*at, "pair_accuracy", part)
    for part in report.names(*at, "ability"):
        yield "ability", part, part, "accuracy", report.rate(*at, "ability", part)


def _model_header(
    report: Report, dataset: Dataset, model: str, language_model: str, dataset_id: str, model_id: str
) -> str:
    from huggingface_hub import ModelCardData

    return ModelCardData(
        language="en",
        license=LANGUAGE_MODELS.get(language_model, "apache-2.0"),
        library_name="transformers",
        pipeline_tag="image-text-to-text",
        base_model=language_model if language_model in LANGUAGE_MODELS else None,
        datasets=[dataset_id],
        tags=["safety", "multimodal", "multi-image", "trl", "peft", PAPER],
        model_name=model_id,
        eval_results=eval_results(report, model, dataset_id, dataset.version),
    ).to_yaml()


def _language_model(base: Sequence[Sidecar]) -> str:
    found = [sidecar.settings["language_model"] for sidecar in base if "language_model" in sidecar.settings]
    if not found:
        paths = ", ".join(sidecar.path for sidecar in base)
        raise CardError(f"{paths}: settings.language_model is missing; build the base again")
    return str(found[0])


def _rate_or_none(report: Report, group: Sequence[str], path: Sequence[str]) -> Rate | None:
    """A group need not have every kind of rate, nor every split."""
    kind, split = path[:2]
    there = kind in report.names(*group) and split in report.names(*group, kind)
    return report.rate(*group, *path) if there else None


def _names(dataset: Dataset, kind: str) -> list[str]:
    """Categories or levels of all splits, each once, in order of appearance."""
    found = [name for split in dataset.splits for name in getattr(split, kind) if name is not None]
    return list(dict.fromkeys(found))


def _settings(report: Report) -> str:
    settings = flatten(report.at("settings"))
    if not settings:
        raise CardError(f"{report.path}: settings is empty, so nothing says how the run was made")
    return settings_table(settings)


def _hashes(report: Report) -> str:
    return table(["read", "sha256"], [[f"`{name}`", f"`{sha}`"] for name, sha in flatten(report.at("hashes")).items()])


def _kappas(report: Report) -> str:
    """A line a model: how far the two judges agree; "" where no model has two."""
    lines: list[list[object]] = []
    for model in report.names("agreement", "models"):
        at = ("agreement", "models", model)
        first, second = report.at(*at, "judges")
        kappa, low, high = (report.at(*at, "kappa", part) for part in ("kappa", "low", "high"))
        shown = "–" if kappa is None else f"{kappa:.2f}" + ("" if low is None else f" ({low:.2f}–{high:.2f})")
        lines.append([model, f"{first}, {second}", shown, report.rate(*at, "agreement")])
    return table(["model", "judges", "kappa", "same verdict"], lines) if lines else ""


def _labels(report: Report) -> str:
    """A line a judge: what it finds of what a reader found; "" without labels."""
    judges = report.names("agreement", "labels") if report.at("agreement", "labels") else []
    lines = [
        [judge, *(report.rate("agreement", "labels", judge, part) for part in ("sensitivity", "specificity"))]
        for judge in judges
    ]
    return table(["judge", "finds of the helping", "finds of the declining"], lines) if lines else ""


def _stations(report: Report) -> list[list[str]]:
    return [
        [
            station,
            f"{report.at('stations', station, 'seconds'):.0f}",
            f"{report.at('stations', station, 'peak_memory_bytes') / 1e9:.1f}",
        ]
        for station in report.names("stations")
    ]
