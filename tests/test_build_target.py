"""Where a build may go: what it refuses to replace, what it cannot write, and a trial of some rows."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest

from mis_dataset.__main__ import main
from mis_dataset.build import Options, build
from mis_dataset.errors import UsageError
from mis_dataset.manifest import read_manifest
from tests.made_release import change, make_release

_DROP, _DAC_OVERRIDE = 24, 1
"""Of Linux: prctl's PR_CAPBSET_DROP, and the right of root to write where modes forbid it."""


def test_a_target_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    raw = make_release(tmp_path / "raw")
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed").chmod(0o555)
    out = tmp_path / "closed" / "MIS"
    ended = subprocess.run(
        [sys.executable, "-m", "mis_dataset", "build", str(raw), str(out)],
        preexec_fn=lambda: ctypes.CDLL(None).prctl(_DROP, _DAC_OVERRIDE),
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 1
    assert ended.stderr == f"{out}: cannot be written: Permission denied; nothing was changed there\n"
    assert list((tmp_path / "closed").iterdir()) == []


def test_a_mount_point_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    raw = make_release(tmp_path / "raw")
    with pytest.raises(UsageError, match="/dev/shm: is a mount point, which cannot be replaced whole"):
        build(raw, Path("/dev/shm"))


def test_what_was_added_while_a_build_ran_stays_and_stops_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw, out = make_release(tmp_path / "raw"), tmp_path / "MIS"
    build(raw, out)
    change(raw, "mis_real.json", 0, question="Which of the two is red?")
    write_table = pq.ParquetWriter.write_table

    def slow(writer: pq.ParquetWriter, *words: Any, **options: Any) -> None:
        (out / "notes.txt").write_text("mine")
        write_table(writer, *words, **options)

    monkeypatch.setattr(pq.ParquetWriter, "write_table", slow)
    with pytest.raises(UsageError, match=r"MIS: must be built anew but holds other files, move them away: notes\.txt"):
        build(raw, out)
    assert (out / "notes.txt").read_text() == "mine"
    monkeypatch.undo()
    (out / "notes.txt").unlink()
    assert build(raw, out).written
    assert not (tmp_path / ".MIS.building").exists()


def test_a_file_added_in_the_folder_of_the_data_is_not_up_to_date(tmp_path: Path) -> None:
    raw, out = make_release(tmp_path / "raw", twins=False), tmp_path / "MIS"
    build(raw, out)
    shutil.copy(out / "data/test_hard-00000-of-00001.parquet", out / "data/test_benign-00000-of-00001.parquet")
    with pytest.raises(UsageError, match=r"move them away: data/test_benign-00000-of-00001\.parquet"):
        build(raw, out)


def test_what_a_stopped_build_of_another_config_left_is_not_taken_along(tmp_path: Path) -> None:
    raw, out = make_release(tmp_path / "raw"), tmp_path / "MIS"
    left = tmp_path / ".MIS.building" / "new"
    (left / "max4").mkdir(parents=True)
    (left / "max4" / "train-00000-of-00001.parquet").write_bytes(b"x")
    (left / "README.md").write_text("of max4")
    build(raw, out)
    assert sorted(path.name for path in out.iterdir()) == ["MANIFEST.json", "data"]


def test_what_a_stopped_build_left_beside_a_target_that_is_up_to_date_is_removed(tmp_path: Path) -> None:
    raw, out = make_release(tmp_path / "raw"), tmp_path / "MIS"
    build(raw, out)
    (tmp_path / ".MIS.building" / "new" / "data").mkdir(parents=True)
    assert not build(raw, out).written
    assert sorted(path.name for path in tmp_path.iterdir()) == ["MIS", "raw"]


def test_a_trial_builds_the_first_records_of_each_file_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw, out = make_release(tmp_path / "raw"), tmp_path / "MIS"
    assert main(["build", str(raw), str(out), "--limit", "1"]) == 0
    rows = {split: part["id"][:] for split, part in datasets.load_dataset(str(out)).items()}
    assert rows == {
        "train": ["train/1", "train/4"],
        "test_easy": ["test_easy/0"],
        "test_hard": ["test_hard/0"],
        "test_real": ["test_real/0"],
        "test_benign": ["test_benign/0"],
    }
    assert read_manifest(out).limit == 1
    assert not build(raw, out, Options(limit=1)).written
    assert build(raw, out).written
    assert read_manifest(out).limit is None
    with pytest.raises(UsageError, match="MIS: holds all records, which a trial must not replace"):
        build(raw, out, Options(limit=1))
    capsys.readouterr()


def test_a_trial_leaves_out_twins_whose_row_it_leaves_out(tmp_path: Path) -> None:
    raw = make_release(tmp_path / "raw")
    change(
        raw,
        "mis_benign.json",
        0,
        twin_of="test_easy/1",
        question="How do I place the first thing on the second, easy 1?",
    )
    for side in (1, 2):
        shutil.copy(raw / f"easy_image/2/object{side}.png", raw / f"benign_image/1/object{side}.png")
    build(raw, tmp_path / "MIS", Options(limit=1))
    assert "test_benign" not in read_manifest(tmp_path / "MIS").rows
