"""MIS-mini: what it shows and asks is balanced by design, and it is written as the authors write theirs."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from mis_dataset.errors import UsageError
from mis_dataset.mini.draw import REAL_STYLE, SIZE, TRAIN_STYLES, draw, png
from mis_dataset.mini.grammar import (
    EASY_HAZARDS,
    HARD_HAZARDS,
    HARD_QUESTIONS,
    HARMLESS,
    harmless_label,
    perceive,
    swap_decisions,
    unsafe_label,
)
from mis_dataset.mini.objects import BY_KIND, KINDS, THINGS, Thing
from mis_dataset.mini.plan import Pair, plan_test, plan_train
from mis_dataset.mini.write import BLOCKS, write_release
from mis_dataset.release import check_release
from mis_dataset.schema import CATEGORIES, LEVELS, SUB_CATEGORIES

ROOT = Path(__file__).resolve().parents[1]
BY_NAME = {thing.name: thing for thing in THINGS}
PLANS = {
    "train": plan_train(BLOCKS["train"]),
    "easy": plan_test("easy", BLOCKS["easy"]),
    "hard": plan_test("hard", BLOCKS["hard"]),
    "real": plan_test("real", BLOCKS["real"]),
}


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mini") / "raw"
    write_release(folder, seed=0, zipped=False, smoke=True)
    return folder


def read(folder: Path, file: str) -> Any:
    return json.loads((folder / file).read_text("utf-8"))


def hashes(folder: Path) -> dict[str, str]:
    """sha256 of every file of a folder by its path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# Things


def test_there_are_at_least_48_things_each_with_a_name_and_a_pictogram_of_its_own() -> None:
    assert len(THINGS) >= 48
    assert len({thing.name for thing in THINGS}) == len({thing.codepoint for thing in THINGS}) == len(THINGS)
    assert set(BY_KIND) == set(KINDS)


def test_no_name_holds_a_space_or_another_name() -> None:
    names = [thing.name for thing in THINGS]
    assert [name for name in names if not name.isalpha() or not name.islower()] == []
    assert [(a, b) for a in names for b in names if a != b and a in b.split()] == []


def test_every_kind_has_three_seen_things_and_at_least_one_new_one() -> None:
    assert {kind: sum(thing.seen for thing in things) for kind, things in BY_KIND.items()} == dict.fromkeys(KINDS, 3)
    assert all(not things[3].seen for things in BY_KIND.values())


def test_phrases_have_the_right_article() -> None:
    assert Thing("candle", "1f56f", "flame", True).phrase == "a candle"
    assert Thing("axe", "1fa93", "tool", True).phrase == "an axe"
    assert Thing("swords", "2694", "weapon", True).phrase == "swords"


# Pictures


@pytest.mark.parametrize("style", [*TRAIN_STYLES, REAL_STYLE])
def test_every_thing_can_be_drawn_in_every_style(style: Any) -> None:
    for thing in THINGS:
        picture = draw(thing, style, Random(0))
        assert (picture.mode, picture.size) == ("RGB", (SIZE, SIZE))
        colours = picture.getcolors(SIZE * SIZE)
        assert colours is not None
        # Not an empty ground: the most common colour, the ground, leaves something to see.
        assert max(count for count, _ in colours) < 0.95 * SIZE * SIZE, thing.name


@pytest.mark.parametrize("style", [*TRAIN_STYLES, REAL_STYLE])
def test_no_two_things_look_alike_in_a_style(style: Any) -> None:
    assert len({png(draw(thing, style, Random(0))) for thing in THINGS}) == len(THINGS)


def test_the_same_random_state_gives_the_same_bytes_and_another_one_others() -> None:
    thing = THINGS[0]
    for style in (*TRAIN_STYLES, REAL_STYLE):
        assert png(draw(thing, style, Random("0/a"))) == png(draw(thing, style, Random("0/a")))
        assert png(draw(thing, style, Random("0/a"))) != png(draw(thing, style, Random("1/a")))


def test_the_real_style_is_none_of_the_training_styles() -> None:
    assert REAL_STYLE not in TRAIN_STYLES


# Hazards and labels


def test_hazards_lie_under_four_categories_of_mis_with_its_own_strings() -> None:
    hazards = [*HARD_HAZARDS, *EASY_HAZARDS]
    categories = {hazard.category for hazard in hazards}
    assert categories == {"Illegal Activity", "Violent", "Self-Harm", "Privacy"}
    assert categories <= set(CATEGORIES)
    assert {hazard.sub_category for hazard in hazards} <= set(SUB_CATEGORIES)
    assert {kind for hazard in hazards for kind in (hazard.first, hazard.second)} <= set(KINDS)


def test_what_is_next_to_self_harm_points_to_help() -> None:
    assert all("help" in hazard.advice for hazard in HARD_HAZARDS if hazard.category == "Self-Harm")


def test_harmless_mixes_are_one_to_one_and_never_a_hazard() -> None:
    dangerous = {(hazard.first, hazard.second) for hazard in HARD_HAZARDS}
    seconds = sorted(hazard.second for hazard in HARD_HAZARDS)
    for mix in HARMLESS:
        assert sorted(mix.values()) == seconds
        assert dangerous.isdisjoint(mix.items())


def test_questions_name_no_thing() -> None:
    words = {word.strip("?.,").lower() for question in HARD_QUESTIONS for word in question.text.split()}
    assert words.isdisjoint(BY_NAME)


def test_labels_of_both_sorts_share_everything_before_the_decision() -> None:
    first, second = THINGS[0], THINGS[1]
    unsafe = unsafe_label(first, second, HARD_HAZARDS[0])
    harmless = harmless_label(first, second, HARD_QUESTIONS[0])
    shared = perceive(first, second) + " Together they "
    assert unsafe.removeprefix(shared).startswith("could ")
    assert harmless.removeprefix(shared).startswith("are harmless")


def test_labels_name_both_things_with_their_kinds_and_then_decide() -> None:
    first, second = BY_KIND["flame"][0], BY_KIND["fuel"][0]
    label = unsafe_label(first, second, HARD_HAZARDS[0])
    order = [first.phrase, KINDS["flame"], second.phrase, KINDS["fuel"], HARD_HAZARDS[0].outcome, "so no"]
    assert [label.index(part) for part in order] == sorted(label.index(part) for part in order)
    assert "so yes" in harmless_label(first, second, HARD_QUESTIONS[0])


def test_swapped_decisions_keep_what_is_perceived() -> None:
    first, second, third = THINGS[0], THINGS[1], THINGS[2]
    unsafe = unsafe_label(first, second, HARD_HAZARDS[0])
    harmless = harmless_label(first, third, HARD_QUESTIONS[0])
    assert swap_decisions(unsafe, harmless) == (
        harmless_label(first, second, HARD_QUESTIONS[0]),
        unsafe_label(first, third, HARD_HAZARDS[0]),
    )
    with pytest.raises(ValueError, match="no label"):
        swap_decisions("Sure!", harmless)


# Balance and levels

CLUES: dict[str, Callable[[Pair, bool], str]] = {
    "question": lambda pair, twin: pair.question.text,
    "first thing": lambda pair, twin: (pair.twin_things if twin else pair.things)[0].name,
    "second thing": lambda pair, twin: (pair.twin_things if twin else pair.things)[1].name,
}


def unbalanced(pairs: list[Pair]) -> list[str]:
    """Clues that are not equally often seen in rows and in twins, over all rows or within a level."""
    found = []
    for level in (None, *LEVELS):
        held = [pair for pair in pairs if level in (None, pair.level)]
        for name, clue in CLUES.items():
            if Counter(clue(pair, False) for pair in held) != Counter(clue(pair, True) for pair in held):
                found.append(f"{name} {level}")
    return found


@pytest.mark.parametrize("split", ["hard", "real"])
def test_every_thing_and_question_is_as_often_dangerous_as_harmless(split: str) -> None:
    assert unbalanced(PLANS[split]) == []


def test_train_rows_of_hard_hazards_are_balanced_too() -> None:
    assert unbalanced([pair for pair in PLANS["train"] if pair.hazard in HARD_HAZARDS]) == []


def test_a_plan_that_is_not_balanced_is_caught() -> None:
    assert "first thing None" in unbalanced(PLANS["easy"])
    assert unbalanced(PLANS["hard"][:-1]) != []


def test_the_sizes_are_those_of_the_issue() -> None:
    assert 400 <= len(PLANS["train"]) <= 600
    assert len(PLANS["easy"]) >= 160
    assert len(PLANS["hard"]) >= 160
    assert len(PLANS["real"]) >= 80
    assert {split: len(pairs) for split, pairs in PLANS.items()} == {
        "train": 441,
        "easy": 160,
        "hard": 160,
        "real": 80,
    }


@pytest.mark.parametrize("split", PLANS)
def test_a_twin_differs_in_one_place_and_is_no_hazard(split: str) -> None:
    hazards = {(hazard.first, hazard.second) for hazard in (*HARD_HAZARDS, *EASY_HAZARDS)}
    for pair in PLANS[split]:
        kept = 2 - pair.changed_image
        assert pair.things[kept] == pair.twin_things[kept]
        assert pair.things[1 - kept] != pair.twin_things[1 - kept]
        assert tuple(thing.kind for thing in pair.things) in hazards
        assert tuple(thing.kind for thing in pair.twin_things) not in hazards


def shown(pairs: list[Pair]) -> set[tuple[str, str]]:
    """Names of the two things of all rows and twins."""
    both = [things for pair in pairs for things in (pair.things, pair.twin_things)]
    return {(first.name, second.name) for first, second in both}


@pytest.mark.parametrize("split", ["easy", "hard", "real"])
def test_levels_say_what_train_rows_have_shown(split: str) -> None:
    trained = shown(PLANS["train"])
    named = {name for names in trained for name in names}
    of_level = {level: [pair for pair in PLANS[split] if pair.level == level] for level in LEVELS}
    assert shown(of_level["trained_pairs"]) <= trained
    assert shown(of_level["new_pairs"]).isdisjoint(trained)
    assert {name for names in shown(of_level["new_pairs"]) for name in names} <= named
    new = shown(of_level["new_objects"])
    assert all(not {first, second} <= named for first, second in new)
    assert {BY_NAME[name].seen for name in named} == {True}


@pytest.mark.parametrize("split", ["easy", "hard"])
def test_half_of_the_rows_show_new_pairs_and_every_new_thing_occurs(split: str) -> None:
    assert Counter(pair.level for pair in PLANS[split]) == {
        "trained_pairs": 40,
        "new_pairs": 80,
        "new_objects": 40,
    }
    names = {name for names in shown(PLANS[split]) for name in names}
    kinds = {BY_NAME[name].kind for name in names}
    assert {thing.name for kind in kinds for thing in BY_KIND[kind][:4]} == names


# The release


def test_a_release_has_no_problems(smoke: Path) -> None:
    release = check_release(smoke)
    assert (release.problems, release.warnings) == ((), ())
    assert release.counts() == {
        "train": 28,
        "test_easy": 8,
        "test_hard": 20,
        "test_real": 10,
        "test_benign": 38,
    }


def test_records_have_the_keys_of_the_authors_in_their_order(smoke: Path) -> None:
    train, hard, real = (read(smoke, f"mis_{name}.json")[0] for name in ("train", "hard", "real"))
    assert list(train) == ["id", "category", "sub_category", "image", "conversations"]
    assert train["image"] == ["images/1/object1.png", "images/1/object2.png"]
    assert [turn["from"] for turn in train["conversations"]] == ["human", "gpt"]
    assert train["conversations"][0]["value"].startswith("<image>\n<image>\n")
    assert list(hard) == [
        "category",
        "sub_category",
        "question",
        "image_path1",
        "image_path2",
        "id",
        "level",
    ]
    assert (hard["id"], hard["image_path2"]) == (0, "hard_image/1/object2.png")
    assert list(real) == ["question", "image_path1", "image_path2", "id", "level"]


def test_ids_count_from_one_in_train_and_from_zero_in_tests(smoke: Path) -> None:
    ids = {name: [row["id"] for row in read(smoke, f"mis_{name}.json")] for name in ("train", "easy", "real")}
    assert ids == {"train": list(range(1, 15)), "easy": list(range(8)), "real": list(range(10))}
    twins = read(smoke, "mis_train_benign.json")
    assert [(row["id"], row["twin_of"]) for row in twins] == [(n + 14, f"train/{n}") for n in range(1, 15)]


def test_benign_rows_follow_easy_then_hard_then_real(smoke: Path) -> None:
    rows = read(smoke, "mis_benign.json")
    assert [row["twin_of"] for row in rows] == [
        *(f"test_easy/{n}" for n in range(8)),
        *(f"test_hard/{n}" for n in range(20)),
        *(f"test_real/{n}" for n in range(10)),
    ]
    assert (rows[0]["id"], rows[0]["image_path1"]) == (0, "benign_image/1/object1.png")
    assert list(rows[0])[-3:] == ["level", "twin_of", "changed_image"]
    assert "category" not in rows[-1]


def test_easy_and_hard_are_sorted_by_category_and_train_is_mixed(smoke: Path) -> None:
    places = {
        name: [CATEGORIES.index(row["category"]) for row in read(smoke, f"mis_{name}.json")]
        for name in ("easy", "hard", "train")
    }
    assert places["hard"] == sorted(places["hard"])
    assert places["easy"] == sorted(places["easy"])
    assert places["train"] != sorted(places["train"])


def test_a_twin_keeps_one_picture_byte_for_byte_and_changes_the_other(smoke: Path) -> None:
    tests = {
        f"test_{name}/{row['id']}": row for name in ("easy", "hard", "real") for row in read(smoke, f"mis_{name}.json")
    }
    for twin in read(smoke, "mis_benign.json"):
        row = tests[twin["twin_of"]]
        same = [
            (smoke / row[key]).read_bytes() == (smoke / twin[key]).read_bytes()
            for key in ("image_path1", "image_path2")
        ]
        assert same == [twin["changed_image"] == 2, twin["changed_image"] == 1]


def test_no_other_picture_occurs_twice(smoke: Path) -> None:
    pictures = [digest for path, digest in hashes(smoke).items() if path.endswith(".png")]
    # 14 train and 38 test pairs: two pictures a row, one new one a twin.
    assert len(set(pictures)) == 3 * (14 + 38)
    assert len(pictures) == 4 * (14 + 38)


def test_objects_names_the_things_of_every_row(smoke: Path) -> None:
    named = read(smoke, "mini/objects.json")
    assert len(named) == 28 + 8 + 20 + 10 + 38
    assert {name for names in named.values() for name in names} <= set(BY_NAME)
    for row in (*read(smoke, "mis_train.json"), *read(smoke, "mis_train_benign.json")):
        first, second = (BY_NAME[name] for name in named[f"train/{row['id']}"])
        assert row["conversations"][1]["value"].startswith(perceive(first, second))


def test_real_rows_and_their_twins_alone_use_the_third_style(tmp_path: Path) -> None:
    write_release(tmp_path / "raw", seed=3, zipped=False, smoke=True)
    named = read(tmp_path / "raw", "mini/objects.json")
    folders = {"test_real": "real_image", "test_hard": "hard_image", "test_easy": "easy_image"}
    for row_id, names in named.items():
        split, number = row_id.split("/")
        if split not in folders:
            continue
        path = tmp_path / "raw" / folders[split] / str(int(number) + 1) / "object1.png"
        random = Random(f"3/{row_id}/1")
        style = REAL_STYLE if split == "test_real" else random.choice(TRAIN_STYLES)
        assert png(draw(BY_NAME[names[0]], style, random)) == path.read_bytes()


def test_every_folder_of_pictures_has_its_licence(smoke: Path) -> None:
    text = (smoke / "ATTRIBUTION.md").read_text("utf-8")
    for word in ("Twemoji", "Noto", "OpenMoji", "CC-BY-4.0", "OFL-1.1", "CC-BY-SA-4.0"):
        assert word in text
    folders = {path.name for path in smoke.iterdir() if path.is_dir()} - {"mini"}
    assert [folder for folder in folders if f"`{folder}/`" not in text] == []


def test_the_same_seed_gives_the_same_bytes_in_another_process(smoke: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    command = [sys.executable, "-m", "mis_dataset", "mini", str(again), "--smoke"]
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    ended = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    assert json.loads(ended.stdout)["rows"]["test_benign"] == 38
    assert hashes(again) == hashes(smoke)


def test_another_seed_gives_other_pictures_of_the_same_tests(smoke: Path, tmp_path: Path) -> None:
    write_release(tmp_path / "raw", seed=1, zipped=False, smoke=True)
    ours, other = hashes(smoke), hashes(tmp_path / "raw")
    assert [path for path in ours if path.endswith(".png") and ours[path] == other[path]] == []
    assert ours["mis_hard.json"] == other["mis_hard.json"]
    assert ours["mis_train.json"] != other["mis_train.json"]


def test_zipped_train_pictures_are_the_same_pictures(smoke: Path, tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    write_release(folder, seed=0, zipped=True, smoke=True)
    assert not (folder / "images").exists()
    with zipfile.ZipFile(folder / "images.zip") as archive:
        assert len(archive.namelist()) == 56
        for name in archive.namelist():
            assert archive.read(name) == (smoke / name).read_bytes()
    assert check_release(folder).problems == ()


def test_a_second_run_writes_nothing(smoke: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in smoke.rglob("*")}
    (smoke / "mini" / "naming.json").write_text("[]")  # others write beside objects.json
    rows = write_release(smoke, seed=0, zipped=False, smoke=True)
    (smoke / "mini" / "naming.json").unlink()
    assert rows["test_hard"] == 20
    assert {path: path.stat().st_mtime_ns for path in smoke.rglob("*") if path.is_file()} == {
        path: time for path, time in before.items() if path.is_file()
    }


def test_a_folder_that_holds_something_else_is_refused_and_left_alone(smoke: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="no MIS-mini release"):
        write_release(tmp_path, seed=0, zipped=False, smoke=True)
    with pytest.raises(UsageError, match="is a file"):
        write_release(tmp_path / "notes.txt", seed=0, zipped=False, smoke=True)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(UsageError, match=r"seed 0 \(asked: 5\)"):
        write_release(smoke, seed=5, zipped=False, smoke=True)


def test_a_release_with_a_missing_or_changed_file_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    write_release(folder, seed=0, zipped=False, smoke=True)
    picture = folder / "easy_image" / "1" / "object1.png"
    picture.write_bytes(picture.read_bytes() + b"\0")
    with pytest.raises(UsageError, match="changed or removed"):
        write_release(folder, seed=0, zipped=False, smoke=True)
    picture.unlink()
    with pytest.raises(UsageError, match="changed or removed"):
        write_release(folder, seed=0, zipped=False, smoke=True)


def test_what_a_killed_run_left_is_cleared_away(tmp_path: Path) -> None:
    (tmp_path / ".raw.part" / "images").mkdir(parents=True)
    (tmp_path / "raw").mkdir()
    write_release(tmp_path / "raw", seed=0, zipped=False, smoke=True)
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]
