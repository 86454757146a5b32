"""Checking a release whole: by threads and by processes, each picture once, told for every row that has it.

Single faults of records stand in test_release.py, those of pictures in test_pictures.py.
"""

from __future__ import annotations

import io
import shutil
import struct
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from PIL import Image

from mis_dataset.check import check_release
from mis_dataset.errors import MISError, UsageError
from mis_dataset.release import survey
from tests.made_release import change, make_release, png, write, zip_images


def bomb() -> bytes:
    """A PNG that says it has 144 million pixels."""
    header = struct.pack(">IIBBBBB", 12_000, 12_000, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    return b"\x89PNG\r\n\x1a\n" + chunk + png(1)[33:]


def cmyk() -> bytes:
    stream = io.BytesIO()
    Image.new("CMYK", (8, 8)).save(stream, "JPEG")
    return stream.getvalue()


def shortened(problems: tuple[object, ...]) -> list[str]:
    return [str(problem).split(" (")[0].split(";")[0].split(", in")[0] for problem in problems]


def spoilt(raw: Path) -> Path:
    """A release of enough pictures for two processes, with one fault of every kind and one remark."""
    make_release(raw, rows=80)
    change(raw, "mis_easy.json", 1, category="Fun")
    (raw / "images" / "40" / "object2.png").write_bytes(png(1)[:-20])
    (raw / "images" / "9" / "object1.png").unlink()
    (raw / "hard_image" / "2" / "object1.png").write_bytes(bomb())
    (raw / "real_image" / "1" / "object2.png").write_bytes(cmyk())
    shutil.copy(raw / "easy_image" / "1" / "object1.png", raw / "benign_image" / "1" / "object1.png")
    (raw / "broken.zip").write_bytes(b"PK")
    return raw


def test_processes_find_what_threads_find_in_the_same_order(tmp_path: Path) -> None:
    raw = spoilt(tmp_path)
    by_threads, by_processes = check_release(raw), check_release(raw, num_proc=2)
    assert by_processes == by_threads
    assert shortened(by_threads.problems) == [
        "broken.zip: cannot be opened as a zip: File is not a zip file",
        "mis_easy.json: test_easy/1: category is 'Fun'",
        "mis_train.json: train/9: picture 'images/9/object1.png' is missing",
        "mis_train.json: train/40: picture 'images/40/object2.png' is not an intact picture",
        "mis_hard.json: test_hard/1: picture 'hard_image/2/object1.png' is not an intact picture",
        "mis_benign.json: test_benign/0: changed_image is 1, but the pictures other than those of test_easy/0 are []",
    ]
    assert [str(one) for one in by_threads.warnings] == [
        "mis_real.json: pictures are JPEG under a name in '.png' (pictures: 1)",
        "mis_real.json: pictures are in CMYK, which models read as other colours (pictures: 1)",
    ]


def test_what_is_read_is_what_survey_reads(tmp_path: Path) -> None:
    make_release(tmp_path)
    assert check_release(tmp_path) == survey(tmp_path)


def test_a_picture_of_several_rows_is_told_for_each_and_once_for_a_row(tmp_path: Path) -> None:
    raw = make_release(tmp_path, twins=False)
    for index in (0, 2):
        change(raw, "mis_train.json", index, image=["images/1/object1.png", "images/2/object2.png"])
    change(raw, "mis_real.json", 1, image_path1="images/1/object1.png", image_path2="images/1/object1.png")
    (raw / "images" / "1" / "object1.png").write_bytes(b"no picture")
    (raw / "images" / "2" / "object2.png").write_bytes(cmyk())
    checked = check_release(raw)
    said = "picture 'images/1/object1.png' is not an intact picture"
    assert shortened(checked.problems) == [
        f"mis_train.json: train/1: {said}",
        f"mis_train.json: train/3: {said}",
        f"mis_real.json: test_real/1: {said}",
    ]
    # Counted by the rows that have it, 1, 2 and 3.
    assert str(checked.warnings[0]) == "mis_train.json: pictures are JPEG under a name in '.png' (pictures: 3)"


def test_a_twin_of_a_broken_row_or_with_a_broken_picture_is_not_told_twice(tmp_path: Path) -> None:
    raw = make_release(tmp_path)
    (raw / "easy_image" / "1" / "object2.png").write_bytes(b"no picture")  # of easy 0, whose twin has a copy
    (raw / "benign_image" / "2" / "object2.png").write_bytes(b"no picture")  # of the twin of hard 0
    assert [(problem.file, problem.id) for problem in check_release(raw).problems] == [
        ("mis_easy.json", "test_easy/0"),
        ("mis_benign.json", "test_benign/1"),
    ]


def test_a_twin_in_train_is_compared_with_its_row(tmp_path: Path) -> None:
    raw = make_release(tmp_path)
    change(raw, "mis_train_benign.json", 0, changed_image=1)
    said = "changed_image is 1, but the pictures other than those of train/1 are [2]"
    assert [str(one) for one in check_release(raw).problems] == [f"mis_train_benign.json: train/4: {said}"]


def test_a_picture_that_was_copied_under_another_name_was_not_exchanged(tmp_path: Path) -> None:
    raw = make_release(tmp_path)
    (raw / "benign_image" / "1" / "object1.png").unlink()
    shutil.copy(raw / "easy_image" / "1" / "object1.png", raw / "benign_image" / "1" / "new.png")
    change(raw, "mis_benign.json", 0, image_path1="benign_image/1/new.png")
    assert shortened(check_release(raw).problems) == [
        "mis_benign.json: test_benign/0: changed_image is 1, but the pictures other than those of test_easy/0 are []"
    ]


@pytest.mark.parametrize(("limit", "told"), [(1, ["train/2"]), (2, ["train/2", "test_hard/1"])])
def test_a_limit_leaves_pictures_unread_and_no_record(tmp_path: Path, limit: int, told: list[str]) -> None:
    raw = make_release(tmp_path)
    change(raw, "mis_train.json", 1, category="Fun")
    (raw / "hard_image" / "2" / "object1.png").write_bytes(b"no picture")
    checked = check_release(raw, limit=limit)
    assert [problem.id for problem in checked.problems] == told
    assert checked.counts()["test_hard"] == 2


def test_pictures_in_a_zip_are_decoded_by_processes_too(tmp_path: Path) -> None:
    raw = make_release(tmp_path, twins=False, rows=80)
    (raw / "images" / "7" / "object1.png").write_bytes(png(1)[:-20])
    zip_images(raw)
    assert [problem.id for problem in check_release(raw, num_proc=2).problems] == ["train/7"]


def test_a_release_without_a_valid_record_is_told_and_not_decoded(tmp_path: Path) -> None:
    for name in ("train", "easy", "hard", "real"):
        write(tmp_path, f"mis_{name}.json", [])
    checked = check_release(tmp_path, num_proc=4)
    assert [problem.text for problem in checked.problems] == ["must hold a list with at least one record"] * 4


def test_what_is_no_folder_is_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a folder"):
        check_release(tmp_path / "nowhere")


def test_a_killed_process_is_one_clear_error(tmp_path: Path) -> None:
    raw, stream = make_release(tmp_path, twins=False, rows=64), io.BytesIO()
    Image.effect_noise((1500, 1500), 80).save(stream, "PNG")
    for path in (raw / "images").rglob("*.png"):
        path.write_bytes(stream.getvalue())
    with ThreadPoolExecutor(1) as pool:
        checked = pool.submit(check_release, raw, num_proc=2)
        while len(_workers()) < 2:
            time.sleep(0.01)
        time.sleep(0.5)  # a pool that is not up yet may wait for ever: a fault of Python's
        assert not checked.done()
        _workers()[0].kill()
        with pytest.raises(MISError, match=r": a process was killed \(out of memory\?\); run it again$"):
            checked.result(60)


def _workers() -> list[psutil.Process]:
    """The processes of a pool, without the one that tracks what they share."""
    return [one for one in psutil.Process().children() if "spawn_main" in " ".join(one.cmdline())]
