"""The card of a constructed release says how it was made, from files alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cards.construction import refuse_constructed
from cards.kinds import KINDS, check_folder, problems_of
from cards.reading import CardError
from cards.released import released
from mis_dataset.__main__ import main as mis_dataset
from mis_dataset.construct.prompts import PROMPT_VERSION, digest
from mis_dataset.manifest import NAME
from mis_dataset.schema import CONSTRUCTION, MADE, PICTURES, PROVENANCE
from mis_dataset.verify import verify
from tests.loopback_api import KEY
from tests.made_built import make_built
from tests.made_construction import make_construction


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A construction whose drawing model is named as scripted, and MIS, which is built of it; no test changes it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", KEY)
        folder = tmp_path_factory.mktemp("made")
        make_construction(folder)
        assert mis_dataset(["build", str(folder / "out" / "raw"), str(folder / "MIS")]) == 0
        yield folder


@pytest.fixture
def own(made: Path, tmp_path: Path) -> Path:
    """A copy of the built dataset that a test may spoil."""
    return Path(shutil.copytree(made / "MIS", tmp_path / "MIS"))


def change(folder: Path, name: str, **fields: Any) -> None:
    """Changes fields of a file of the dataset, as if it had been built so; None removes one."""
    lines = [json.loads(line) for line in (folder / name).read_text("utf-8").splitlines()] if "jsonl" in name else []
    held = lines[0] if lines else json.loads((folder / name).read_text("utf-8"))
    held |= {field: value for field, value in fields.items() if value is not None}
    for field in (field for field, value in fields.items() if value is None):
        del held[field]
    write(folder, name, "\n".join(map(json.dumps, lines)) if lines else json.dumps(held))


def write(folder: Path, name: str, text: str) -> None:
    from mis_dataset.files import sha256_of

    (folder / name).write_text(text, encoding="utf-8")
    manifest = json.loads((folder / NAME).read_text("utf-8"))
    manifest["files"][name] = sha256_of(folder / name)
    (folder / NAME).write_text(json.dumps(manifest), encoding="utf-8")


def test_build_carries_on_where_rows_come_from_and_is_built_anew_where_that_changes(made: Path, tmp_path: Path) -> None:
    for name in MADE:
        assert (made / "MIS" / name).read_bytes() == (made / "out" / "raw" / name).read_bytes()
    assert verify(made / "MIS") == []
    raw = Path(shutil.copytree(made / "out" / "raw", tmp_path / "raw"))
    command = ["build", str(raw), str(tmp_path / "MIS")]
    assert mis_dataset(command) == 0
    with (raw / PICTURES).open("a", encoding="utf-8") as file:
        file.write("\n")
    assert mis_dataset(command) == 0
    assert (tmp_path / "MIS" / PICTURES).read_bytes() == (raw / PICTURES).read_bytes()
    (tmp_path / "MIS" / PROVENANCE).write_text("{}")
    assert verify(tmp_path / "MIS") == [f"{PROVENANCE}: was changed"]


def test_rows_load_with_their_provenance_beside_them(own: Path, tmp_path: Path) -> None:
    from datasets import load_dataset

    released(own, own)
    loaded = load_dataset(str(own), cache_dir=str(tmp_path / "cache"))
    assert {split: loaded[split].num_rows for split in loaded} == {
        "train": 4,
        "test_easy": 1,
        "test_hard": 3,
        "test_benign": 4,
    }


def test_the_card_names_models_instructions_seeds_licences_and_what_experts_said(made: Path, tmp_path: Path) -> None:
    text = released(made / "MIS", tmp_path, "someone/mine")["card"].read_text("utf-8")
    for told in (
        "# mine, constructed after MIS",
        f"instructions of version `{PROMPT_VERSION} {digest()[:12]}` and the seed 0.",
        "| vision | accepts or refuses pictures, judges rows by them, writes responses | vision | loopback-1 |",
        "| drawing | draws the pictures | scripted-draws (a program that plays a model) | draws-1 |",
        "| judge 2 | judges responses | two | loopback-1 |",
        "> **Made by programs that play models:** scripted-draws.",
        "| found | CC-BY-4.0 | 1 |",
        "| made | not stated | 6 |",
        "| draws-1 | CC0-1.0 | 24 |",
        "| words | unsafe words | 2 |",
        "| explicit | explicit picture | 1 |",
        "| together | keep | 6 |",
        "Whether people have looked at the rows is not recorded.",
        "From 7 seeds to rows",
        "| elements | no risk | 1 |",
        "| `train` | 4 | 2 | 4 |",
        "arXiv:2501.18533",
        "license: other\n",
    ):
        assert told in text
    assert "`test_real`" not in text  # no row of it is there
    for foreign in ("GPT-4o", "Stable Diffusion", "InternVL", "LAION", "By the authors", "experts took"):
        assert foreign not in text
    notice = (tmp_path / "NOTICE").read_text("utf-8")
    for told in ("drawn by draws-1: CC0-1.0", "found: CC-BY-4.0", "made: not stated", "no part of it"):
        assert told in notice
    assert "Apache" not in (tmp_path / "LICENSE").read_text("utf-8")


def test_what_people_decided_is_counted_in_the_card(own: Path, tmp_path: Path) -> None:
    told = json.loads((own / CONSTRUCTION).read_text("utf-8"))
    change(own, CONSTRUCTION, verdicts=told["verdicts"] | {"review": {"keep": 1, "rejected by a person": 2}})
    text = released(own, tmp_path / "card")["card"].read_text("utf-8")
    assert "People decided on 3 of 6 judged rows" in text
    assert "is not recorded" not in text


def test_a_card_says_of_an_outage_and_of_a_second_opinion_where_there_was_one(own: Path, tmp_path: Path) -> None:
    text = released(own, tmp_path / "card")["card"].read_text("utf-8")
    assert "got no reply" not in text
    assert "`second`" not in text
    told = json.loads((own / CONSTRUCTION).read_text("utf-8"))
    second = {"second": told["settings"]["vision"] | {"model": "sees-too"}}
    heard = {"heard": told["heard"] | {"second": ["sees-too-1"]}}
    change(own, CONSTRUCTION, unanswered={"elements": 2, "labels": 1}, settings=told["settings"] | second, **heard)
    text = released(own, tmp_path / "other")["card"].read_text("utf-8")
    assert "3 requests got no reply; rows that hang on them are not here" in text
    assert "| second | judges rows by their pictures once more | sees-too | sees-too-1 |" in text
    assert "once more to another model (`second`)" in text


def test_no_program_is_named_where_all_are_models(own: Path, tmp_path: Path) -> None:
    told = json.loads((own / CONSTRUCTION).read_text("utf-8"))["settings"]
    change(own, CONSTRUCTION, settings=told | {"drawing": told["drawing"] | {"model": "draws"}})
    text = released(own, tmp_path / "card")["card"].read_text("utf-8")
    assert "| drawing | draws the pictures | draws | draws-1 |" in text
    assert "program" not in text


def test_a_card_says_whether_pictures_were_drawn_here_or_found_and_where(own: Path, tmp_path: Path) -> None:
    told = json.loads((own / CONSTRUCTION).read_text("utf-8"))["settings"]
    here = {"model": "OWNER/draws", "revision": "", "engine": "diffusers"}  # without instructions, so without a version
    change(own, CONSTRUCTION, settings=told | {"drawing": here})
    text = released(own, tmp_path / "card")["card"].read_text("utf-8")
    assert "| drawing | draws the pictures | OWNER/draws |" in text
    assert "found, not drawn" not in text
    change(own, CONSTRUCTION, settings=told | {"drawing": here | {"engine": "folder"}})
    text = released(own, tmp_path / "card")["card"].read_text("utf-8")
    assert "They are photographs that were found, not drawn; where each comes from" in text
    change(own, CONSTRUCTION, settings=told | {"drawing": here | {"engine": "dataset", "hub": "OWNER/NAME"}})
    with pytest.raises(CardError, match="does not say how the release was made"):  # of which commit?
        released(own, tmp_path / "card")
    change(own, CONSTRUCTION, settings=told | {"drawing": {"model": "draws"}})
    with pytest.raises(CardError, match="does not say how the release was made"):  # a remote model has a version
        released(own, tmp_path / "card")


def test_a_build_of_the_authors_release_says_nothing_of_a_construction(tmp_path: Path) -> None:
    folder = make_built(tmp_path)
    refuse_constructed(folder / "MIS")
    text = released(folder / "MIS", tmp_path / "card")["card"].read_text("utf-8")
    assert "By the authors, as the paper tells it" in text
    assert "constructed" not in text


def test_card_and_dataset_make_a_folder_that_can_be_pushed(own: Path) -> None:
    released(own, own, "someone/mine")
    assert check_folder(own, KINDS["dataset"])
    (own / PICTURES).write_text("{}\n")
    assert problems_of(own, KINDS["dataset"]) == [
        f"{PICTURES} has another sha256 than MANIFEST.json says; build the dataset again"
    ]


@pytest.mark.parametrize("name", MADE)
def test_a_file_that_is_missing_or_was_changed_is_named(own: Path, tmp_path: Path, name: str) -> None:
    (own / name).write_text("{}\n")
    with pytest.raises(CardError, match=f"{name}: is missing or not as it was built"):
        released(own, tmp_path / "card")
    (own / name).unlink()
    with pytest.raises(CardError, match=f"{name}: is missing or not as it was built"):
        released(own, tmp_path / "card")
    assert not (tmp_path / "card").exists()


@pytest.mark.parametrize("field", ["kind", "settings", "heard", "steps", "splits", "sources", "verdicts", "rejected"])
def test_a_field_that_no_file_fills_stays_an_error(own: Path, tmp_path: Path, field: str) -> None:
    change(own, CONSTRUCTION, **{field: None})
    with pytest.raises(CardError, match="does not say how the release was made"):
        released(own, tmp_path / "card")


def test_pictures_without_a_licence_and_models_without_a_name_are_errors(own: Path, tmp_path: Path) -> None:
    before = (own / PICTURES).read_text("utf-8")
    write(own, PICTURES, before.replace('"licence": "CC0-1.0"', '"licence": ""', 1))
    with pytest.raises(CardError, match=r"a picture of 'train/1' has no licence; set `licence`"):
        released(own, tmp_path / "card")
    write(own, PICTURES, before)
    settings = json.loads((own / CONSTRUCTION).read_text("utf-8"))["settings"]
    change(own, CONSTRUCTION, settings=settings | {"text": settings["text"] | {"model": " "}})
    with pytest.raises(CardError, match="does not say how the release was made"):
        released(own, tmp_path / "card")


def test_provenance_of_other_rows_is_an_error(own: Path, tmp_path: Path) -> None:
    lines = (own / PROVENANCE).read_text("utf-8").splitlines()
    write(own, PROVENANCE, "\n".join(lines[1:]) + "\n")
    with pytest.raises(CardError, match=r"tells of \{'train': 3,"):
        released(own, tmp_path / "card")
    write(own, PROVENANCE, "\n".join([*lines, "[]"]))
    with pytest.raises(CardError, match="line 13 is no JSON object"):
        released(own, tmp_path / "card")


def test_names_of_seeds_and_models_do_not_act_in_the_card(own: Path, tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script> | [a](https://b) \u202e"
    change(own, CONSTRUCTION, sources=[[hostile, hostile, 7]])
    released(own, tmp_path / "card")
    text = (tmp_path / "card" / "README.md").read_text("utf-8")
    assert "<script" not in text
    assert "| &lt;script>alert(1)&lt;/script> \\| [a]&#40;https&#58;//b) \\u202e |" in text
    assert "\u202e" not in (tmp_path / "card" / "NOTICE").read_text("utf-8")


def test_croissant_does_not_say_of_it_what_is_true_of_mis(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert mis_dataset(["croissant", str(own)]) == 1
    assert "is of a construction, which its card describes" in capsys.readouterr().err
    assert not (own / "croissant.json").exists()


def test_cards_of_a_run_of_mis_mini_are_not_written_for_it(own: Path) -> None:
    with pytest.raises(CardError, match=r"was constructed.*python -m cards dataset"):
        refuse_constructed(own)
