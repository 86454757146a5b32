"""Headers of the cards: what the Hub and its libraries read of them."""

from __future__ import annotations

import doctest
from pathlib import Path
from typing import Any

import pytest
import yaml
from datasets import load_dataset
from datasets.info import DatasetInfosDict
from huggingface_hub import DatasetCard

from cards import headers
from cards.render import render
from mis_dataset.schema import features
from tests.made_built import KEPT, REJECTED, ROWS, make_built, write_card
from tests.made_cards import TWINS, make_run


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MIS without twins; no test changes it."""
    return make_built(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MIS with two twins; no test changes it."""
    return make_built(tmp_path_factory.mktemp("kept"), KEPT, REJECTED, KEPT)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with its cards; no test changes it."""
    run = make_run(tmp_path_factory.mktemp("run"))
    render(run, run / "cards")
    return run


def read_header(card: str) -> dict[str, Any]:
    return dict(yaml.safe_load(card.split("---\n")[1]))


def test_the_header_of_mis_is_what_the_hub_expects(kept: Path, plain: Path) -> None:
    header = read_header(write_card(kept))
    assert {split["name"]: split["num_examples"] for split in header.pop("dataset_info")["splits"]} == {
        **ROWS,
        "test_benign": 2,
    }
    assert "agree to what is ticked below" in header.pop("extra_gated_prompt")
    asked = header.pop("extra_gated_fields")
    assert [asked[name] for name in ("Affiliation", "I am of age where I live")] == ["text", "checkbox"]
    assert {name for name in header if name.startswith("extra_gated_")} == {
        "extra_gated_heading",
        "extra_gated_button_content",
    }
    header = {name: held for name, held in header.items() if not name.startswith("extra_gated_")}
    files = [{"split": split, "path": f"data/{split}-*.parquet"} for split in (*ROWS, "test_benign")]
    tags = ["safety", "multimodal", "multi-image", "not-for-all-audiences"]
    assert header == {
        "language": "en",
        "license": "apache-2.0",
        "task_categories": ["image-text-to-text", "visual-question-answering"],
        "size_categories": "n<1K",
        "annotations_creators": ["machine-generated", "expert-generated"],
        "language_creators": ["machine-generated"],
        "multilinguality": "monolingual",
        "viewer": False,
        "pretty_name": "MIS",
        "configs": [{"config_name": "default", "data_files": files}],
        "tags": [*tags, "benign-twins", "over-refusal", "arxiv:2501.18533"],
    }
    assert read_header(write_card(plain))["tags"] == [*tags, "arxiv:2501.18533"]


def test_the_header_of_mis_mini_is_what_the_hub_expects(run: Path) -> None:
    header = read_header((run / "cards" / "dataset" / "README.md").read_text("utf-8"))
    assert header["license"] == ["apache-2.0", "cc-by-4.0", "ofl-1.1", "cc-by-sa-4.0"]
    assert header["task_categories"] == ["image-text-to-text", "visual-question-answering"]
    assert header["pretty_name"] == "MIS-mini"
    assert header["size_categories"] == "n<1K"
    assert "arxiv:2501.18533" in header["tags"]
    assert not {"viewer", "extra_gated_prompt", "extra_gated_fields"} & set(header)  # it may be shown to anyone


def test_the_header_of_the_model_card_is_what_the_hub_expects(run: Path) -> None:
    header = read_header((run / "cards" / "model" / "README.md").read_text("utf-8"))
    assert header.pop("model-index")[0]["name"] == "mis-mini-contrast"
    assert "arxiv:2501.18533" in header.pop("tags")
    assert header == {
        "language": "en",
        "license": "apache-2.0",
        "library_name": "transformers",
        "pipeline_tag": "image-text-to-text",
        "base_model": "HuggingFaceTB/SmolLM2-135M-Instruct",
        "base_model_relation": "finetune",
        "datasets": ["MIS"],
        "version": "1-a",
    }


def test_the_hubs_own_reader_gives_the_card_back(kept: Path, tmp_path: Path) -> None:
    text = write_card(kept)
    card = DatasetCard.load(kept / "card" / "README.md")
    card.save(tmp_path / "again.md")
    assert (tmp_path / "again.md").read_text("utf-8").split() == text.split()


def test_columns_and_sizes_are_those_that_datasets_finds_itself(run: Path, tmp_path: Path) -> None:
    told = DatasetInfosDict.from_dataset_card_data(DatasetCard.load(run / "cards" / "dataset" / "README.md").data)
    [(config, info)] = told.items()
    assert config == "default"
    assert info.features == features()
    loaded = load_dataset(str(run / "MIS"), cache_dir=str(tmp_path))
    assert {name: rows.num_rows for name, rows in loaded.items()} == dict.fromkeys(TWINS, 12)
    assert {name: split.num_examples for name, split in info.splits.items()} == dict.fromkeys(TWINS, 12)
    assert info.download_size == sum(path.stat().st_size for path in (run / "MIS" / "data").iterdir())
    assert info.dataset_size == sum(split.num_bytes for split in info.splits.values())
    for name, rows in loaded.items():
        # Parquet's count is that of its pages, before they are packed: near the table's in memory.
        assert 0.5 < info.splits[name].num_bytes / rows.data.nbytes < 2, name


def test_a_header_with_another_number_of_rows_is_caught_when_it_loads(run: Path, tmp_path: Path) -> None:
    (tmp_path / "MIS").mkdir()
    (tmp_path / "MIS" / "data").symlink_to(run / "MIS" / "data")
    text = (run / "cards" / "dataset" / "README.md").read_text("utf-8")
    (tmp_path / "MIS" / "README.md").write_text(text.replace("num_examples: 12", "num_examples: 11", 1), "utf-8")
    with pytest.raises(Exception, match="num_examples=11"):
        load_dataset(str(tmp_path / "MIS"), cache_dir=str(tmp_path / "cache"))


def test_the_examples_run() -> None:
    ran = doctest.testmod(headers)
    assert (ran.failed, ran.attempted) == (0, 1)
