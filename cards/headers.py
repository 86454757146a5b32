"""The YAML headers of the cards, as the Hub reads them: what is found by a filter, and how `load_dataset` loads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cards.facts import Dataset, Split
from mis_dataset.schema import COLUMNS

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

PAPER = "arxiv:2501.18533"
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"))
TASK = "image-text-to-text"
MINI_LICENCES = ("apache-2.0", "cc-by-4.0", "ofl-1.1", "cc-by-sa-4.0")
"""Of MIS-mini: text and structure, then its pictures; NOTICE says which is which."""

_TYPES = {"images": {"list": "image"}, "raw_id": {"dtype": "int32"}, "changed_image": {"dtype": "int8"}}
"""Columns that are no strings, as the Hub writes the type of a column."""

GATE = {
    "extra_gated_heading": "MIS holds pictures and questions about violence, self-harm, hate, sex and crime",
    "extra_gated_prompt": (
        "The rows are there to measure and to improve how safely models respond. They describe dangerous uses of "
        "everyday and of dangerous things and may distress. Some pictures come from the web and may show people. By "
        "asking for access you agree to what is ticked below."
    ),
    "extra_gated_fields": {
        "Affiliation": "text",
        "I want to use it for": {
            "type": "select",
            "options": [
                "measuring the safety of models",
                "training models to be safer",
                {"label": "something else", "value": "other"},
            ],
        },
        "I am of age where I live": "checkbox",
        "I will not train a model to help with such requests": "checkbox",
        "I will not show single rows in public or try to identify a person": "checkbox",
        "I will not pass the rows on without these terms": "checkbox",
    },
    "extra_gated_button_content": "Agree and ask for access",
}
"""What someone is asked for before MIS proper opens; the Hub's names of fields.

Source: https://huggingface.co/docs/hub/datasets-gated.
"""

_HEADING = "These rows may be about violence, self-harm, hate, sex and crime"
_PROMPT = (
    "The rows were made by models, to measure and to improve how safely models respond. They describe dangerous uses "
    "of things and may distress. By asking for access you agree to what is ticked below."
)


def size_category(rows: int) -> str:
    """The Hub's word for a number of rows.

    >>> size_category(6212)
    '1K<n<10K'
    """
    return next((name for limit, name in SIZES if rows < limit), "100K<n<1M")


def mini_header(dataset: Dataset) -> str:
    """Header of MIS-mini's card."""
    tags = ["safety", "multimodal", "multi-image", "benign-twins", "over-refusal", PAPER]
    return _dataset_header(dataset, "default", "MIS-mini", list(MINI_LICENCES), tags, ["machine-generated"])


def released_header(dataset: Dataset, config: str) -> str:
    """Header of the card of MIS proper: gated, its rows shown by no viewer.

    Args:
        dataset: a build of the authors' release.
        config: its name, "default" or "max<N>".
    """
    twins = ["benign-twins", "over-refusal"] if any(split.twins for split in dataset.splits) else []
    tags = ["safety", "multimodal", "multi-image", "not-for-all-audiences", *twins, PAPER]
    # The authors' categories are a model's choice, and experts took pairs out.
    annotators = ["machine-generated", "expert-generated"]
    return _dataset_header(dataset, config, "MIS", "apache-2.0", tags, annotators, viewer=False, **GATE)


def constructed_header(dataset: Dataset, config: str, title: str) -> str:
    """Header of the card of a dataset that was constructed: gated, its rows shown by no viewer.

    Args:
        dataset: a build of it.
        config: its name, "default" or "max<N>".
        title: what it is called.
    """
    tags = ["safety", "multimodal", "multi-image", "not-for-all-audiences", "benign-twins", "synthetic", PAPER]
    more = {**GATE, "extra_gated_heading": _HEADING, "extra_gated_prompt": _PROMPT, "license_name": "by-part"}
    return _dataset_header(
        dataset, config, title, "other", tags, ["machine-generated"], viewer=False, license_link="NOTICE", **more
    )


def model_header(
    model_id: str,
    dataset_id: str,
    version: str,
    licence: str,
    base: tuple[str, str] | None,
    eval_results: Sequence[EvalResult] = (),
    adapter: bool = False,
) -> str:
    """Header of the card of a checkpoint or an adapter.

    Args:
        model_id: its id on the Hub.
        dataset_id: id of what it was trained or measured on.
        version: of that dataset.
        licence: the Hub's word for the licence of its weights.
        base: id of what it was made from, and the Hub's word for how: "finetune" or "adapter"; None where that is
            nowhere on the Hub.
        eval_results: its rates.
        adapter: whether PEFT loads it, or transformers.
    """
    from huggingface_hub import ModelCardData

    relation: dict[str, Any] = {"base_model_relation": base[1]} if base else {}
    return ModelCardData(
        language="en",
        license=licence,
        library_name="peft" if adapter else "transformers",
        pipeline_tag=TASK,
        datasets=[dataset_id],
        tags=["safety", "multimodal", "multi-image", "trl", "lora" if adapter else "peft", PAPER],
        model_name=model_id,
        eval_results=list(eval_results) or None,
        version=version,
        base_model=base[0] if base else None,
        **relation,
    ).to_yaml()


def dataset_info(splits: Sequence[Split], config: str) -> dict[str, Any]:
    """Columns and sizes of a dataset, as the header of its card holds them.

    Args:
        splits: as they lie on disk.
        config: the name by which they are loaded.
    """
    unpacked = {split.name: split.unpacked for split in splits}
    return {
        "config_name": config,
        "features": [{"name": column, **_TYPES.get(column, {"dtype": "string"})} for column in COLUMNS],
        "splits": [
            {"name": split.name, "num_bytes": unpacked[split.name], "num_examples": split.rows} for split in splits
        ],
        "download_size": sum(split.bytes for split in splits),
        "dataset_size": sum(unpacked.values()),
    }


def _dataset_header(
    dataset: Dataset,
    config: str,
    name: str,
    licence: str | list[str],
    tags: list[str],
    annotators: list[str],
    **more: Any,
) -> str:
    from huggingface_hub import DatasetCardData

    files = [{"split": split.name, "path": split.pattern} for split in dataset.splits]
    return DatasetCardData(
        language="en",
        license=licence,
        annotations_creators=annotators,
        language_creators=["machine-generated"],
        multilinguality="monolingual",
        task_categories=[TASK, "visual-question-answering"],
        size_categories=size_category(sum(split.rows for split in dataset.splits)),
        pretty_name=name,
        configs=[{"config_name": config, "data_files": files}],
        tags=tags,
        dataset_info=dataset_info(dataset.splits, config),
        **more,
    ).to_yaml()
