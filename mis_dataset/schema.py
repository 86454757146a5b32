"""The one home of split names, categories, columns and `DATA_VERSION`.

Importing this file costs nothing: `datasets` is imported when `features` is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from datasets import Features

DATA_VERSION = "1-a"
"""The number changes when rows stop being comparable, the letter when columns or file names do."""

TRAIN = "train"
BENIGN = "test_benign"
SPLITS: tuple[str, ...] = (TRAIN, "test_easy", "test_hard", "test_real", BENIGN)
"""Split names of the built dataset, in this order. A row's id is ``<split>/<raw id>``."""

LEVELS: tuple[str, ...] = ("trained_pairs", "new_pairs", "new_objects")
"""What a test row of MIS-mini asks of a model: new pictures of pairs of objects seen in training; new pairs
of objects seen in training; objects that no safety row holds. MIS proper has no levels."""

CATEGORIES: tuple[str, ...] = ("Illegal Activity", "Violent", "Self-Harm", "Erotic", "Hate", "Privacy")
"""In the order in which the test files are sorted. Source: arXiv 2501.18533, Table 3."""

SUB_CATEGORIES: dict[str, str] = {
    "Property Crimes": "Property Crimes",
    "Cybercrime": "Cybercrimes",
    "Drug-Related Offenses": "Drug-Related Offenses",
    "Human Trafficking and Exploitation": "Human Trafficking",
    "Weapon-Related Violence": "Weapon-Related Violence",
    "Public Violence and Rioting": "Public Violence and Rioting",
    "Abuse and Physical Altercations": "Abuse and Physical Altercations",
    "Racial and Ethnic Discrimination": "Racial and Ethnic Discrimination",
    "Gender and Sexual Orientation Discrimination": "Gender Discrimination",
    "Physical Self-Injury": "Physical Self-Injury",
    "Psychological and Disordered Harm": "Psychological Harm",
    "Unauthorized Data Collection": "Unauthorized Data Collection",
    "Identity Theft and Impersonation": "Identity Theft",
    "Erotic Visual Content": "Erotic Visual Content",
    "Adult Content": "Erotic Visual Content",
}
"""String in the raw files -> name in the paper. The paper prints "Physical Alterations", a slip for
"Altercations". Source: arXiv 2501.18533, Table 3; the raw strings are VLSBench's."""

SUB_CATEGORIES_OF: dict[str, tuple[str, ...]] = {
    "Illegal Activity": (
        "Property Crimes",
        "Cybercrime",
        "Drug-Related Offenses",
        "Human Trafficking and Exploitation",
    ),
    "Violent": ("Weapon-Related Violence", "Public Violence and Rioting", "Abuse and Physical Altercations"),
    "Self-Harm": ("Physical Self-Injury", "Psychological and Disordered Harm"),
    "Erotic": ("Erotic Visual Content", "Adult Content"),
    "Hate": ("Racial and Ethnic Discrimination", "Gender and Sexual Orientation Discrimination"),
    "Privacy": ("Unauthorized Data Collection", "Identity Theft and Impersonation"),
}
"""Category -> the raw strings of its sub-categories, whose rows in Table 3 add up to its own."""


LEAKS: tuple[str, ...] = (
    "same_text",
    "near_text",
    "same_image",
    "twin_image",
    "near_image",
    "same_pair",
    "same_pair_other_question",
    "same_things",
)
"""Kinds of what rows may share; see `mis_dataset.leaks`."""


class Source(NamedTuple):
    """One JSON file of a raw release.

    Attributes:
        file: its name.
        split: the split that its records become rows of.
        twins: whether its records are benign twins of rows of other files.
        required: whether the authors' release has it.
    """

    file: str
    split: str
    twins: bool
    required: bool


SOURCES: tuple[Source, ...] = (
    Source("mis_train.json", TRAIN, twins=False, required=True),
    Source("mis_train_benign.json", TRAIN, twins=True, required=False),
    Source("mis_easy.json", "test_easy", twins=False, required=True),
    Source("mis_hard.json", "test_hard", twins=False, required=True),
    Source("mis_real.json", "test_real", twins=False, required=True),
    Source("mis_benign.json", BENIGN, twins=True, required=False),
    Source("mis_benign_proposed.json", BENIGN, twins=True, required=False),
)
"""The files in the order of the rows: dangerous train rows before their twins."""

MOST_IMAGES = 4
"""Pictures of a row; MIS has two, which is the least."""

PROVENANCE = "provenance/rows.jsonl"
"""Stands in a release that `mis_dataset.construct` made: where each row comes from. Such a release may have fewer
splits than the authors'."""
PICTURES = "provenance/pictures.jsonl"
"""There too: where each picture comes from."""
CONSTRUCTION = "provenance/construction.json"
"""There too: settings and counts of the construction."""
MADE: tuple[str, ...] = (PROVENANCE, PICTURES, CONSTRUCTION)
"""What says how a release was constructed; `build` carries it on beside the rows."""

COLUMNS: tuple[str, ...] = (
    "id",
    "images",
    "question",
    "response",
    "category",
    "sub_category",
    "raw_sub_category",
    "raw_id",
    "level",
    "twin_of",
    "changed_image",
)
"""Columns of every split, in this order."""


def paper_sub_category(raw: str | None) -> str | None:
    """Names a raw sub-category as the paper does.

    Args:
        raw: string of the raw file; None or unknown strings give None.

    Returns:
        The paper's name, e.g. ``"Cybercrime"`` -> ``"Cybercrimes"``.
    """
    return SUB_CATEGORIES.get(raw) if raw is not None else None


def features() -> Features:
    """Makes the features of every split.

    Returns:
        `COLUMNS` with their types. `images` is written ``[Image()]``, which every version of `datasets`
        reads; from version 4 on it becomes ``List(Image())``.
    """
    from datasets import Features, Image, Value

    special = {"images": [Image()], "raw_id": Value("int32"), "changed_image": Value("int8")}
    return Features({column: special.get(column, Value("string")) for column in COLUMNS})
