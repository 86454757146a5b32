"""Reading a raw release and finding all its problems."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from mis_dataset.check import check_release
from mis_dataset.errors import ReleaseError, UsageError
from mis_dataset.release import read_release, survey
from tests.made_release import change, make_release, png, write, zip_images


def found(root: Path) -> list[str]:
    """Problems of a release as `check` finds them."""
    return [str(problem) for problem in check_release(root).problems]


def test_a_release_is_read_in_row_order_with_both_id_bases(tmp_path: Path) -> None:
    release = read_release(make_release(tmp_path))
    assert release.counts() == {"train": 4, "test_easy": 2, "test_hard": 2, "test_real": 2, "test_benign": 2}
    ids = [record.id for split in release.counts() for record in release.rows(split)]
    assert ids[:6] == ["train/1", "train/2", "train/3", "train/4", "test_easy/0", "test_easy/1"]
    assert [record.twin_of for record in release.rows("train")] == [None, None, None, "train/1"]
    assert [record.category for record in release.rows("test_real")] == [None, None]
    held = (tmp_path / "mis_hard.json").read_bytes()
    assert release.inputs["mis_hard.json"] == hashlib.sha256(held).hexdigest()
    assert (release.problems, release.warnings) == ((), ())


def test_the_authors_release_has_no_twins_and_no_benign_split(tmp_path: Path) -> None:
    release = read_release(make_release(tmp_path, twins=False))
    assert release.counts() == {"train": 3, "test_easy": 2, "test_hard": 2, "test_real": 2}


def test_an_intact_release_has_no_problems_in_folder_or_zip(tmp_path: Path) -> None:
    make_release(tmp_path)
    assert found(tmp_path) == []
    zip_images(tmp_path)
    assert found(tmp_path) == []
    assert not (tmp_path / "images" / "1" / "object1.png").exists()


def test_many_pictures_are_decoded_by_processes_to_the_same_end(tmp_path: Path) -> None:
    raw = make_release(tmp_path, rows=80)
    (raw / "images" / "7" / "object1.png").write_bytes(b"no picture")
    (raw / "images" / "9" / "object2.png").unlink()
    one, two = check_release(raw), check_release(raw, num_proc=2)
    assert (one.problems, one.warnings) == (two.problems, two.warnings)
    assert [problem.id for problem in two.problems] == ["train/7", "train/9"]


def test_what_is_no_folder_is_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a folder; name the folder that holds"):
        read_release(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("held", "text"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"hello", "is not JSON: Expecting value at line 1 column 1"),
        (b'[{"id": 1},', "is not JSON: "),
        (b"\xff\xfe[\x00]\x00", "is not UTF-8 at byte 0; save it as UTF-8"),
        (b"[NaN]", "is not JSON that can be read: NaN is not a number"),
        (b"[" + b"9" * 5000 + b"]", "is not JSON that can be read: Exceeds the limit"),
        (b"[" * 100_000, "is nested too deeply"),
        (b"[]", "must hold a list with at least one record"),
        (b'{"id": 1}', "must hold a list with at least one record"),
        (b"null", "must hold a list with at least one record"),
    ],
)
def test_a_file_that_is_no_list_of_records_is_named(tmp_path: Path, held: bytes, text: str) -> None:
    make_release(tmp_path, twins=False)
    (tmp_path / "mis_easy.json").write_bytes(held)
    assert [str(problem).startswith(f"mis_easy.json: {text}") for problem in survey(tmp_path).problems] == [True]


def test_a_byte_order_mark_changes_nothing(tmp_path: Path) -> None:
    make_release(tmp_path)
    path = tmp_path / "mis_easy.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_release(tmp_path).counts()["test_easy"] == 2


def test_a_missing_file_is_named_unless_the_authors_lack_it(tmp_path: Path) -> None:
    make_release(tmp_path)
    for file in ("mis_hard.json", "mis_train_benign.json"):
        (tmp_path / file).unlink()
    assert "mis_hard.json: is missing; a release has it in its top folder" in found(tmp_path)
    assert not any("mis_train_benign.json" in text for text in found(tmp_path))


def test_a_json_file_that_links_out_is_refused(tmp_path: Path) -> None:
    root = make_release(tmp_path / "raw", twins=False)
    (root / "mis_hard.json").rename(tmp_path / "mis_hard.json")
    (root / "mis_hard.json").symlink_to(tmp_path / "mis_hard.json")
    assert found(root) == ["mis_hard.json: is a link that leaves the release; copy the file"]


def test_repeated_keys_and_ids_are_reported_by_file_and_id(tmp_path: Path) -> None:
    make_release(tmp_path)
    change(tmp_path, "mis_train_benign.json", 0, id=2)
    text = (tmp_path / "mis_hard.json").read_text("utf-8")
    (tmp_path / "mis_hard.json").write_text(text.replace('"id": 1}', '"id": 1, "question": "Why?"}'), "utf-8")
    assert found(tmp_path) == [
        "mis_train_benign.json: train/2: the id occurs twice, first in mis_train.json; ids go on after the last one",
        "mis_hard.json: test_hard/1: an object has the key 'question' more than once",
    ]


@pytest.mark.parametrize("held", [{"auths": {"a": "b"}}, {"o/n": "main"}, {"o/n": 1}, [], "x"])
def test_what_download_did_not_write_does_not_pass_for_a_source(tmp_path: Path, held: object) -> None:
    raw = make_release(tmp_path / "raw")
    (raw / "SOURCE.json").write_text(json.dumps(held))
    said = "SOURCE.json: does not name repositories and their commits; remove it"
    assert [str(problem) for problem in survey(raw).problems] == [said]


def test_a_source_that_links_out_is_not_read(tmp_path: Path) -> None:
    raw = make_release(tmp_path / "raw")
    (tmp_path / "secret.json").write_text(json.dumps({"o/n": "0" * 40}))
    (raw / "SOURCE.json").symlink_to(tmp_path / "secret.json")
    assert [str(one) for one in survey(raw).problems] == [
        "SOURCE.json: is a link that leaves the release; copy the file"
    ]
    (raw / "SOURCE.json").unlink()
    (raw / "SOURCE.json").write_text(json.dumps({"o/n": "0" * 40}))
    assert survey(raw).source == {"o/n": "0" * 40}


def test_pictures_whose_paths_differ_in_case_or_unicode_form_alone_are_reported(tmp_path: Path) -> None:
    raw = make_release(tmp_path / "raw")
    (raw / "images/2/OBJECT1.png").write_bytes((raw / "images/2/object1.png").read_bytes())
    change(raw, "mis_train.json", 1, image=["images/2/object1.png", "images/2/OBJECT1.png"])
    assert [str(problem) for problem in survey(raw).problems] == [
        "mis_train.json: train/2: pictures 'images/2/OBJECT1.png' and 'images/2/object1.png' are one file where letter "
        "case or Unicode form is lost; rename one"
    ]


def test_all_problems_of_all_files_are_reported_at_once(tmp_path: Path) -> None:
    make_release(tmp_path)
    change(tmp_path, "mis_train.json", 1, category="Fun")
    change(tmp_path, "mis_easy.json", 1, image_path1="../cup.png", question=None)
    (tmp_path / "mis_real.json").write_text("")
    (tmp_path / "hard_image" / "1" / "object2.png").unlink()
    (tmp_path / "hard_image" / "2" / "object1.png").write_bytes(png(1)[:-20])
    assert [text.split(";")[0].split(" (")[0].split(", in")[0] for text in found(tmp_path)] == [
        "mis_train.json: train/2: category is 'Fun'",
        "mis_easy.json: test_easy/1: picture 1: path '../cup.png' leaves the release",
        "mis_easy.json: test_easy/1: question is null",
        "mis_real.json: is empty",
        "mis_hard.json: test_hard/0: picture 'hard_image/1/object2.png' is missing",
        "mis_hard.json: test_hard/1: picture 'hard_image/2/object1.png' is not an intact picture",
    ]
    with pytest.raises(ReleaseError) as caught:
        read_release(tmp_path)
    assert len(caught.value.problems) == 4


def test_twins_without_a_fitting_row_are_reported(tmp_path: Path) -> None:
    make_release(tmp_path)
    twins = json.loads((tmp_path / "mis_benign.json").read_text("utf-8"))
    more = [
        {"id": 2, "twin_of": "test_hard/9"},
        {"id": 3, "twin_of": "test_hard/1"},
        {"id": 4, "twin_of": "test_hard/0", "question": twins[1]["question"]},
    ]
    write(tmp_path, "mis_benign.json", twins + [twins[0] | other for other in more])
    change(tmp_path, "mis_train_benign.json", 0, twin_of="train/4")
    assert found(tmp_path) == [
        "mis_train_benign.json: train/4: twin_of train/4 is a twin itself",
        "mis_benign.json: test_benign/2: twin_of test_hard/9 names no valid row",
        "mis_benign.json: test_benign/3: the question is not that of its row test_hard/1",
        "mis_benign.json: test_benign/4: test_hard/0 has the twin test_benign/1 already",
    ]


@pytest.mark.parametrize(
    ("file", "kept", "other"),
    [
        ("object1.png", "easy_image/1/object1.png", []),  # nothing was exchanged
        ("object2.png", "easy_image/2/object2.png", [1, 2]),  # both were
    ],
)
def test_a_twin_that_exchanges_other_pictures_than_it_says_is_reported(
    tmp_path: Path, file: str, kept: str, other: list[int]
) -> None:
    make_release(tmp_path)
    shutil.copy(tmp_path / kept, tmp_path / "benign_image" / "1" / file)
    said = f"changed_image is 1, but the pictures other than those of test_easy/0 are {other}"
    assert [str(one) for one in check_release(tmp_path).problems] == [f"mis_benign.json: test_benign/0: {said}"]


def test_a_twin_that_names_the_wrong_picture_is_reported(tmp_path: Path) -> None:
    make_release(tmp_path)
    change(tmp_path, "mis_benign.json", 1, changed_image=2)
    said = "changed_image is 2, but the pictures other than those of test_hard/0 are [1]"
    assert [str(one) for one in check_release(tmp_path).problems] == [f"mis_benign.json: test_benign/1: {said}"]


def test_unusual_things_are_counted_and_are_no_problem(tmp_path: Path) -> None:
    make_release(tmp_path)
    for index in range(2):
        change(tmp_path, "mis_hard.json", index, source="web")
    release = read_release(tmp_path)
    assert [str(one) for one in release.warnings] == [
        "mis_hard.json: the unknown key 'source' is not read (records: 2)"
    ]


def test_a_limit_decodes_only_the_first_pictures(tmp_path: Path) -> None:
    make_release(tmp_path)
    (tmp_path / "hard_image" / "2" / "object1.png").write_bytes(b"broken")
    assert check_release(tmp_path, limit=1).problems == ()
    assert len(check_release(tmp_path, limit=2).problems) == 1
