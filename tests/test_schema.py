"""Names, columns and features."""

from __future__ import annotations

from datasets import Image, List, Value

from mis_dataset.published import SUB_CATEGORY_ROWS
from mis_dataset.schema import (
    CATEGORIES,
    COLUMNS,
    SOURCES,
    SPLITS,
    SUB_CATEGORIES,
    SUB_CATEGORIES_OF,
    features,
    paper_sub_category,
)


def test_splits_and_columns_are_these() -> None:
    assert SPLITS == ("train", "test_easy", "test_hard", "test_real", "test_benign")
    assert COLUMNS == (
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


def test_features_are_the_columns_in_order_with_their_types() -> None:
    made = features()
    assert tuple(made) == COLUMNS
    assert made["images"] == List(Image())
    assert (made["raw_id"], made["changed_image"]) == (Value("int32"), Value("int8"))
    assert {made[name].dtype for name in COLUMNS if name not in ("images", "raw_id", "changed_image")} == {"string"}


def test_raw_strings_become_the_names_of_the_paper() -> None:
    assert paper_sub_category("Cybercrime") == "Cybercrimes"
    assert paper_sub_category("Identity Theft and Impersonation") == "Identity Theft"
    assert paper_sub_category("Adult Content") == paper_sub_category("Erotic Visual Content")
    assert len(SUB_CATEGORIES) == 15
    assert len(set(SUB_CATEGORIES.values())) == 14


def test_every_category_has_the_sub_categories_whose_rows_in_table_3_add_up_to_its_own() -> None:
    assert sorted(name for names in SUB_CATEGORIES_OF.values() for name in names) == sorted(SUB_CATEGORIES)
    rows = {
        category: sum(SUB_CATEGORY_ROWS[name] for name in {SUB_CATEGORIES[raw] for raw in names})
        for category, names in SUB_CATEGORIES_OF.items()
    }
    assert rows == dict(zip(CATEGORIES, (1016, 416, 150, 146, 310, 147), strict=True))


def test_an_unknown_or_missing_sub_category_has_no_name() -> None:
    assert paper_sub_category("Jaywalking") is None
    assert paper_sub_category(None) is None


def test_every_split_has_a_file_and_the_authors_have_four() -> None:
    assert {source.split for source in SOURCES} == set(SPLITS)
    assert [source.file for source in SOURCES if source.required] == [
        "mis_train.json",
        "mis_easy.json",
        "mis_hard.json",
        "mis_real.json",
    ]
