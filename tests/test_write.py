"""MIS-mini is written as the authors write theirs, with twins beside it, seeded, and whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from random import Random
from typing import Any

import pytest

from mis_dataset.check import check_release
from mis_dataset.errors import UsageError
from mis_dataset.mini.draw import REAL_STYLE, TRAIN_STYLES, draw, png
from mis_dataset.mini.objects import THINGS
from mis_dataset.mini.write import write_release
from mis_dataset.schema import CATEGORIES

ROOT = Path(__file__).resolve().parents[1]
BY_NAME = {thing.name: thing for thing in THINGS}


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
        said = row["conversations"][1]["value"]
        assert said.startswith(f"I see {first.phrase}, ")
        assert f", and {second.phrase}, " in said


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
