"""Which rows a recipe trains on, and with which labels."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mis_dataset.errors import MISError
from mis_dataset.files import sha256_of
from mis_dataset.mini.draw import draw_disturbed
from mis_dataset.mini.grammar import REFUSALS
from mis_dataset.mini.lessons import GENERAL_FAMILIES, UNSEEN, lessons
from mis_dataset.mini.text_questions import text_questions
from tests.made_general import make_general
from tests.made_release import make_release
from tests.made_rows import decoded
from tests.made_runs import write_responses, write_said
from tests.tiny import Tiny
from trainer.recipe import Labels, RecipeArguments
from trainer.training.rows import lesson_rows, make_dataset, read_split, said_rows, training_rows

CUT = ": "


def rows_of(
    tiny: Tiny,
    labels: Labels = "safety_cot",
    *,
    twins: bool = True,
    share: float = 0.11,
    seed: int = 0,
    limit: int | None = None,
) -> dict[str, dict[str, Any]]:
    """Rows by id."""
    recipe = RecipeArguments(twins=twins, labels=labels, general_share=share)
    rows: list[dict[str, Any]] = training_rows(tiny.dataset, recipe, seed, limit).to_list()
    return {row["id"]: row for row in rows}


def responses(rows: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Completion text by id, the general rows left out."""
    return {id_: row["completion"][0]["content"][0]["text"] for id_, row in rows.items() if id_.startswith("train/")}


def counts(rows: dict[str, Any]) -> dict[str, int]:
    names = [id_.split("/")[0] for id_ in rows]
    return {name: names.count(name) for name in set(names)}


def released(tiny: Tiny) -> list[dict[str, Any]]:
    from datasets import load_dataset

    rows: list[dict[str, Any]] = load_dataset(str(tiny.dataset), split="train").remove_columns("images").to_list()
    return rows


def test_contrast_has_every_dangerous_row_its_twin_and_general_rows(tiny: Tiny) -> None:
    assert counts(rows_of(tiny)) == {"train": 28, "general": 3}
    assert responses(rows_of(tiny)) == {row["id"]: row["response"] for row in released(tiny)}


def test_mirage_has_no_twin(tiny: Tiny) -> None:
    dangerous = {row["id"] for row in released(tiny) if row["twin_of"] is None}
    assert set(responses(rows_of(tiny, twins=False))) == dangerous
    assert len(dangerous) == 14


@pytest.mark.parametrize(("share", "general"), [(0.0, 0), (0.11, 3), (0.5, 28)])
def test_the_general_share_is_of_all_rows(tiny: Tiny, share: float, general: int) -> None:
    assert counts(rows_of(tiny, share=share)).get("general", 0) == general


def test_general_rows_show_unseen_things_as_hard_to_read_as_a_new_style(tiny: Tiny) -> None:
    general = decoded(training_rows(tiny.dataset, RecipeArguments(twins=True, general_share=0.5), 0))
    shown = [row for row in general if row["id"].startswith("general/")]
    made = lessons("general/0", GENERAL_FAMILIES, 28, UNSEEN, draw_disturbed)
    assert [[one.tobytes() for one in row["images"]] for row in shown] == [
        [one.tobytes() for one in lesson.pictures] for lesson in made
    ]
    assert all(set(lesson.things) & set(UNSEEN) for lesson in made)


def test_half_of_the_general_rows_are_text_only_where_there_are_such(tiny: Tiny, tmp_path: Path) -> None:
    said = write_said(tmp_path / "said.jsonl", {f"text/{n}": f"It is {n}." for n in range(40)})
    rows = training_rows(tiny.dataset, RecipeArguments(twins=True, general_share=0.5), 0, None, said).to_list()
    assert counts({row["id"]: row for row in rows}) == {"train": 28, "general": 14, "text": 14}
    for row in rows:
        if row["id"].startswith("text/"):
            question = text_questions()[int(row["id"].split("/")[1])].question
            assert (row["images"], row["prompt"][0]["content"][0]["text"]) == ([], question)


def test_text_only_rows_are_what_was_said_to_the_end_to_questions_of_the_bank(tmp_path: Path) -> None:
    path = write_said(tmp_path / "said.jsonl", {"text/0": "Paris.", "text/2": "It is the"}, cut=["text/2"])
    assert [row["id"] for row in said_rows(path, 9, 0)] == ["text/0"]
    foreign = write_said(tmp_path / "foreign.jsonl", {"test_hard/0": "Hm."})
    with pytest.raises(MISError, match=r"foreign\.jsonl: 1 responses answer no text question \(first: test_hard/0\)"):
        said_rows(foreign, 9, 0)
    other = write_responses(tmp_path / "other.jsonl", {"text/0": "Hm."})
    with pytest.raises(MISError, match=r"other\.jsonl: answers questions of another bank than today's"):
        said_rows(other, 9, 0)


def test_a_limit_counts_dangerous_rows_and_keeps_their_twins(tiny: Tiny) -> None:
    chosen = set(responses(rows_of(tiny, limit=3)))
    twin_of = {row["id"]: row["twin_of"] for row in released(tiny)}
    first = [id_ for id_ in chosen if twin_of[id_] is None]
    assert len(first) == 3
    assert {twin_of[id_] for id_ in chosen - set(first)} == set(first)


def test_refusal_labels_are_bare_refusals(tiny: Tiny) -> None:
    said = responses(rows_of(tiny, "refusal", twins=False))
    assert set(said.values()) == set(REFUSALS)
    assert len(said) == 14


def test_shuffled_labels_swap_decisions_within_a_pair_and_keep_what_they_perceive(tiny: Tiny) -> None:
    before, after = responses(rows_of(tiny)), responses(rows_of(tiny, "shuffled"))
    perceived = {id_: text.partition(CUT)[0] for id_, text in before.items()}
    assert {id_: text.partition(CUT)[0] for id_, text in after.items()} == perceived
    swapped = 0
    for row in released(tiny):
        if row["twin_of"] is None:
            continue
        pair = (row["twin_of"], row["id"])
        old, new = ([said[id_].partition(CUT)[2] for id_ in pair] for said in (before, after))
        assert new in (old, old[::-1])
        swapped += new == old[::-1]
    assert 0 < swapped < 14


def test_the_seed_decides_which_pairs_are_swapped(tiny: Tiny) -> None:
    first = responses(rows_of(tiny, "shuffled"))
    assert first == responses(rows_of(tiny, "shuffled"))
    assert first != responses(rows_of(tiny, "shuffled", seed=1))


def test_a_row_has_prompt_completion_and_two_pictures(tiny: Tiny) -> None:
    row = rows_of(tiny, limit=1)["train/1"]
    assert set(row) == {"id", "source", "images", "prompt", "completion"}
    assert [part["type"] for part in row["prompt"][0]["content"]] == ["text", "image", "text", "image", "text"]
    assert len(row["images"]) == 2


def test_lessons_become_rows_with_their_own_pictures() -> None:
    made = lessons("rows", ("naming",), 3)
    rows = decoded(make_dataset(lesson_rows(made, "general")))
    assert rows["id"] == ["general/0", "general/1", "general/2"]
    for row, lesson in zip(rows, made, strict=True):
        assert [picture.tobytes() for picture in row["images"]] == [picture.tobytes() for picture in lesson.pictures]


def test_a_dataset_without_twins_is_refused_where_twins_are_asked_for(tmp_path: Path) -> None:
    from mis_dataset.build import build

    build(make_release(tmp_path / "raw", twins=False), tmp_path / "MIS")
    assert len(training_rows(tmp_path / "MIS", RecipeArguments(general_share=0.0), 0)) == 3
    with pytest.raises(MISError, match=r"MIS: no twins of train rows"):
        training_rows(tmp_path / "MIS", RecipeArguments(twins=True, general_share=0.0), 0)


@pytest.mark.parametrize("folder", ["missing", "empty"])
def test_a_folder_that_is_no_dataset_is_one_clear_error(tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(MISError, match=str(tmp_path / folder)):
        training_rows(tmp_path / folder, RecipeArguments(), 0)


def test_pictures_that_are_not_in_the_file_are_refused(tmp_path: Path) -> None:
    """Whoever decodes a picture without bytes opens its path, be it a file of this machine or an address."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from mis_dataset.build import build
    from mis_dataset.files import sha256_of
    from mis_dataset.manifest import NAME, read_manifest

    build(make_release(tmp_path / "raw", twins=False), tmp_path / "MIS")
    name = "data/train-00000-of-00001.parquet"
    table = pq.read_table(tmp_path / "MIS" / name)
    rows = table.to_pylist()
    rows[1]["images"][0] = {"bytes": None, "path": "/etc/hostname"}
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), tmp_path / "MIS" / name)
    known = (tmp_path / "MIS" / NAME).read_text()
    wrong = read_manifest(tmp_path / "MIS").files[name]
    (tmp_path / "MIS" / NAME).write_text(known.replace(wrong, sha256_of(tmp_path / "MIS" / name)))
    with pytest.raises(MISError, match="MIS: a picture's bytes are not in the files of train"):
        read_split(tmp_path / "MIS", "train")


def changed(tiny: Tiny, folder: Path, **values: Any) -> Path:
    """A copy of the dataset whose train rows have other values and whose manifest says so."""
    shutil.copytree(tiny.dataset, folder)
    (file,) = (folder / "data").glob("train-*.parquet")
    before, table = sha256_of(file), pq.read_table(file)
    for name, value in values.items():
        column = pa.array([value] * len(table), table.schema.field(name).type)
        table = table.set_column(table.column_names.index(name), name, column)
    pq.write_table(table, file)
    manifest = folder / "MANIFEST.json"
    manifest.write_text(manifest.read_text().replace(before, sha256_of(file)))
    return folder


@pytest.mark.parametrize("values", [{"question": None}, {"question": " "}, {"response": None}])
def test_rows_without_a_question_or_a_response_are_refused(
    tiny: Tiny, tmp_path: Path, values: dict[str, str | None]
) -> None:
    recipe = RecipeArguments(general_share=0.0)
    assert len(training_rows(changed(tiny, tmp_path / "same"), recipe, 0)) > 0
    with pytest.raises(MISError, match="train/1 lacks its question or its response"):
        training_rows(changed(tiny, tmp_path / "changed", **values), recipe, 0)


def test_a_card_that_names_files_elsewhere_is_not_followed(tiny: Tiny, tmp_path: Path) -> None:
    shutil.copytree(tiny.dataset, tmp_path / "MIS")
    other = changed(tiny, tmp_path / "other", question="Of another folder?") / "data"
    (other / "train.parquet").write_bytes(next(other.glob("train-*.parquet")).read_bytes())
    card = f"---\nconfigs:\n- config_name: default\n  data_files: {other}/train.parquet\n---\n"
    (tmp_path / "MIS" / "README.md").write_text(card)
    assert read_split(tmp_path / "MIS", "train")["question"] == read_split(tiny.dataset, "train")["question"]


def test_a_dataset_that_was_changed_since_it_was_built_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    dataset = Path(shutil.copytree(tiny.dataset, tmp_path / "MIS"))
    file = next((dataset / "data").glob("train-*.parquet"))
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(MISError, match=r"MIS: data/train-.*\.parquet: was changed since it was built"):
        read_split(dataset, "train")


# What recipes of other models change


def test_rows_show_their_own_pictures_none_or_black_ones_of_their_size(tiny: Tiny) -> None:
    own, none, black = (
        list(decoded(training_rows(tiny.dataset, RecipeArguments(pictures=shown, general_share=0.0), 0, 2)))
        for shown in ("own", "none", "black")
    )
    assert [row["id"] for row in own] == [row["id"] for row in none] == [row["id"] for row in black]
    for first, second, third in zip(own, none, black, strict=True):
        assert second["images"] == []
        assert [part["type"] for part in second["prompt"][0]["content"]] == ["text"]
        assert third["prompt"] == first["prompt"]
        assert [picture.size for picture in third["images"]] == [picture.size for picture in first["images"]]
        assert {picture.getextrema() for picture in third["images"]} == {((0, 0),) * 3}
        assert all(picture.convert("L").getextrema() != (0, 0) for picture in first["images"])


def test_pictures_are_those_of_the_dataset_byte_for_byte_in_the_rows_order(tiny: Tiny) -> None:
    chosen = training_rows(tiny.dataset, RecipeArguments(twins=True, rows=3), 1)
    released = read_split(tiny.dataset, "train")
    held = dict(zip(released["id"], released.data.column("images").to_pylist(), strict=True))
    table = chosen.with_format("arrow")[:].to_pylist()
    assert len(table) == 6 + 1
    for row in table[:6]:
        assert row["images"] == held[row["id"]]


def test_a_dose_is_drawn_by_the_seed_and_lies_within_a_larger_one(tiny: Tiny) -> None:
    def drawn(count: int, seed: int) -> list[str]:
        return training_rows(tiny.dataset, RecipeArguments(rows=count, general_share=0.0), seed)["id"]

    assert [len(drawn(count, 0)) for count in (3, 6, 14)] == [3, 6, 14]
    assert set(drawn(3, 0)) < set(drawn(6, 0)) < set(drawn(14, 0))
    assert set(drawn(6, 0)) != set(drawn(6, 1))
    assert drawn(6, 0) == [id_ for id_ in drawn(14, 0) if id_ in drawn(6, 0)]
    with pytest.raises(MISError, match="MIS: has 14 dangerous train rows, the recipe wants 15"):
        drawn(15, 0)


def test_categories_are_held_out_with_their_twins(tiny: Tiny) -> None:
    recipe = RecipeArguments(twins=True, without=["Privacy", "Self-Harm"])
    category = {row["id"]: row["category"] for row in released(tiny)}
    twin_of = {row["id"]: row["twin_of"] for row in released(tiny)}
    ids = [id_ for id_ in training_rows(tiny.dataset, recipe, 0)["id"] if id_.startswith("train/")]
    dangerous = [id_ for id_ in ids if twin_of[id_] is None]
    assert {category[id_] for id_ in dangerous} == set(category.values()) - {"Privacy", "Self-Harm", None}
    assert {twin_of[id_] for id_ in ids} - {None} == set(dangerous)


def test_rows_say_what_kind_they_are(tiny: Tiny, tmp_path: Path) -> None:
    general = make_general(tmp_path / "general")
    rows = training_rows(tiny.dataset, RecipeArguments(twins=True, general=str(general), general_share=0.3), 0)
    kinds = list(zip(rows["source"], rows["id"], rows["images"], strict=True))
    assert {kind for kind, *_ in kinds} == {"dangerous", "twin", "general_picture", "general_text"}
    twin_of = {row["id"]: row["twin_of"] for row in released(tiny)}
    for kind, id_, images in kinds:
        if id_.startswith("general/"):
            assert kind == ("general_picture" if images else "general_text")
        else:
            assert kind == ("dangerous" if twin_of[id_] is None else "twin")
    assert len([kind for kind, *_ in kinds if kind.startswith("general")]) == 12


def test_lessons_and_swapped_labels_of_mini_are_not_for_mis_proper(tmp_path: Path) -> None:
    from mis_dataset.build import build

    build(make_release(tmp_path / "raw"), tmp_path / "MIS")
    with pytest.raises(MISError, match=r"MIS: is not MIS-mini, .*name general rows in the recipe"):
        training_rows(tmp_path / "MIS", RecipeArguments(general_share=0.5), 0)
    with pytest.raises(MISError, match="MIS: labels: shuffled swaps the decisions of MIS-mini's labels"):
        training_rows(tmp_path / "MIS", RecipeArguments(twins=True, labels="shuffled", general_share=0.0), 1)
    general = str(make_general(tmp_path / "general"))
    rows = training_rows(tmp_path / "MIS", RecipeArguments(labels="refusal", general=general, general_share=0.5), 0)
    assert counts(dict.fromkeys(rows["id"])) == {"train": 3, "general": 3}
