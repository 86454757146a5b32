"""A run's files -> the dataset card and the model card of its Hub repositories.

`cards.pack` makes whole repositories of them, and the cards of adapter and base beside.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cards.audit import STATS, Plot, audit, plots_of
from cards.construction import refuse_constructed
from cards.facts import Dataset, Report, check_unchanged, read_dataset
from cards.headers import mini_header
from cards.model_card import VERB, Ids, arms_of, model_card, seen, settings_of, tables_of
from cards.pages import CARD, check_name, fill, loading, publish
from cards.rates import eval_yaml

EVAL = "eval.yaml"
NAME = "MIS-mini"


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
    """Write both cards of a run, eval.yaml and the plots of `stats`; what stands there already is left alone.

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
    refuse_constructed(run / "MIS")
    check_unchanged(run, report, model)
    name = model_id or f"mis-mini-{model}"
    ids = Ids(dataset_id, name, f"{name}-adapter", "mis-mini-base")
    plots = plots_of(run / STATS)
    paths = {card: out / card / CARD for card in ("dataset", "model")}
    texts = {
        paths["dataset"]: dataset_card(report, dataset, run, dataset_id, plots),
        paths["model"]: model_card(report, dataset, run, model, ids),
        paths["dataset"].with_name(EVAL): eval_yaml(NAME, dataset),
    }
    publish(VERB, texts, {paths["dataset"].with_name(plot.path.name): plot.path for plot in plots})
    return paths


def dataset_card(
    report: Report, dataset: Dataset, run: Path, dataset_id: str, plots: Sequence[Plot] = (), metrics: str = "cards"
) -> str:
    """Text of the dataset card.

    Args:
        report: of the run; its settings and the rates of its models are shown.
        dataset: the built dataset.
        run: folder of the run, for what `stats` and `leaks` found.
        dataset_id: what `load_dataset` is called with.
        plots: of `stats`, which lie beside the card.
        metrics: where `evaluate` finds them: an owner on the Hub, or their folder in the checkout.

    Raises:
        CardError: a field is missing.
    """
    return fill(
        "dataset/README.md.j2",
        VERB,
        {
            "header": mini_header(dataset),
            "dataset": dataset,
            "categories": _names(dataset, "categories"),
            "levels": _names(dataset, "levels"),
            "settings": settings_of(report),
            "arms": arms_of(report),
            "metrics": check_name(metrics),
            "plots": plots,
            "croissant": (run / "MIS" / "croissant.json").is_file(),
            **loading(dataset_id, dataset),
            **audit(run),
            **seen(report),
            **tables_of(report),
        },
    )


def _names(dataset: Dataset, kind: str) -> list[str]:
    """Categories or levels of all splits, each once, in order of appearance."""
    found = [name for split in dataset.splits for name in getattr(split, kind) if name is not None]
    return list(dict.fromkeys(found))
