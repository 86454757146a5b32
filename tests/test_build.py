"""Building, rebuilding, loading, and what stops a build."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import datasets
import pyarrow.parquet as pq
import pytest

from mis_dataset.build import Options, build
from mis_dataset.errors import BuildError, ReleaseError, UsageError
from mis_dataset.files import sha256_of
from mis_dataset.manifest import read_manifest
from mis_dataset.processes import alone
from mis_dataset.release import read_release
from mis_dataset.schema import COLUMNS, features
from mis_dataset.verify import verify
from tests.made_release import change, make_release, png, zip_images

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds `raw` and the `MIS` built of it."""
    folder = tmp_path_factory.mktemp("built")
    build(make_release(folder / "raw"), folder / "MIS")
    return folder


def hashes(folder: Path) -> dict[str, str]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in paths}


def run(*words: str, limit: int | None = None) -> subprocess.CompletedProcess[str]:
    """Runs the verb `build` in a process of its own, whose files may have `limit` bytes."""

    def cap() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit or 0, limit or 0))

    command = [sys.executable, "-m", "mis_dataset", "build", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, preexec_fn=cap if limit else None)


def test_the_five_splits_load_by_the_name_of_the_folder(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(built)
    loaded = datasets.load_dataset("MIS")
    assert {split: len(rows) for split, rows in loaded.items()} == {
        "train": 4,
        "test_easy": 2,
        "test_hard": 2,
        "test_real": 2,
        "test_benign": 2,
    }
    assert all(rows.features == features() and tuple(rows.column_names) == COLUMNS for rows in loaded.values())
    row = loaded["train"][3]
    assert (row["id"], row["twin_of"], row["changed_image"], row["raw_id"]) == ("train/4", "train/1", 2, 4)
    assert row["images"][0].size == (8, 8)
    assert loaded["test_hard"][0]["sub_category"] == "Cybercrimes"
    assert loaded["test_real"]["category"][:] == [None, None]


def test_row_order_is_raw_order_and_image_bytes_are_those_of_the_release(built: Path) -> None:
    release = read_release(built / "raw")
    for split in release.counts():
        rows = pq.read_table(built / "MIS" / "data" / f"{split}-00000-of-00001.parquet").to_pylist()
        assert [row["id"] for row in rows] == [record.id for record in release.rows(split)]
        for row, record in zip(rows, release.rows(split), strict=True):
            assert [image["bytes"] for image in row["images"]] == [
                (built / "raw" / path).read_bytes() for path in record.images
            ]
            assert [image["path"] for image in row["images"]] == ["object1.png", "object2.png"]


def test_a_build_holds_data_and_manifest_and_leaves_nothing_beside_it(built: Path) -> None:
    manifest = read_manifest(built / "MIS")
    assert list(manifest.files) == [
        "data/test_benign-00000-of-00001.parquet",
        "data/test_easy-00000-of-00001.parquet",
        "data/test_hard-00000-of-00001.parquet",
        "data/test_real-00000-of-00001.parquet",
        "data/train-00000-of-00001.parquet",
    ]
    assert manifest.rows == {"train": 4, "test_easy": 2, "test_hard": 2, "test_real": 2, "test_benign": 2}
    assert set(manifest.inputs) >= {"mis_train.json", "mis_benign.json", "pictures"}
    assert sorted(path.name for path in built.iterdir()) == ["MIS", "raw"]


def test_a_second_build_of_an_unchanged_release_does_nothing(built: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (built / "MIS").rglob("*")}
    again = build(built / "raw", built / "MIS")
    assert (again.written, again.rows["train"]) == (False, 4)
    assert {path: path.stat().st_mtime_ns for path in (built / "MIS").rglob("*")} == before


def test_another_process_builds_the_same_bytes_from_a_zip(built: Path, tmp_path: Path) -> None:
    make_release(tmp_path / "raw")
    zip_images(tmp_path / "raw", inside="")
    ended = run(str(tmp_path / "raw"), str(tmp_path / "deep" / "MIS"))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert hashes(tmp_path / "deep" / "MIS") == hashes(built / "MIS")


def test_a_release_without_twins_builds_four_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "test_benign" not in build(make_release(tmp_path / "raw", twins=False), tmp_path / "MIS").rows
    monkeypatch.chdir(tmp_path)
    assert set(datasets.load_dataset("MIS")) == {"train", "test_easy", "test_hard", "test_real"}


def test_a_changed_release_or_a_changed_file_is_built_anew(tmp_path: Path) -> None:
    raw, out = make_release(tmp_path / "raw", twins=False), tmp_path / "MIS"
    build(raw, out)
    change(raw, "mis_hard.json", 0, question="Something else?")
    assert build(raw, out).written
    first = hashes(out)
    (raw / "real_image" / "1" / "object1.png").write_bytes((raw / "images" / "1" / "object1.png").read_bytes())
    assert build(raw, out).written
    assert sorted(name for name, digest in hashes(out).items() if first[name] != digest) == [
        "MANIFEST.json",
        "data/test_real-00000-of-00001.parquet",
    ]
    (out / "data" / "train-00000-of-00001.parquet").write_bytes(b"broken")
    assert build(raw, out).written
    assert verify(out) == []


def test_a_large_split_is_numbered_and_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "MAX_ROW_GROUP_SIZE", "2KB")
    build(make_release(tmp_path / "raw", twins=False, rows=250), tmp_path / "MIS")
    names = [path.name for path in sorted((tmp_path / "MIS" / "data").glob("train-*"))]
    assert len(names) > 9
    assert names == [f"train-{number:05d}-of-{len(names):05d}.parquet" for number in range(len(names))]
    monkeypatch.chdir(tmp_path)
    assert datasets.load_dataset("MIS", split="train")["raw_id"][:] == list(range(1, 251))


def test_a_foreign_target_is_refused_and_left_alone(tmp_path: Path) -> None:
    raw = make_release(tmp_path / "raw", twins=False)
    (tmp_path / "MIS").mkdir()
    (tmp_path / "MIS" / "letters.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="is not empty and not a built dataset; name a new folder"):
        build(raw, tmp_path / "MIS")
    with pytest.raises(UsageError, match="is a file"):
        build(raw, tmp_path / "file")
    for out in (raw, raw / "MIS", tmp_path):
        with pytest.raises(UsageError, match="lie inside one another"):
            build(raw, out)
    assert [path.name for path in (tmp_path / "MIS").iterdir()] == ["letters.txt"]


def test_files_added_to_a_build_stay_and_stop_a_rebuild(tmp_path: Path) -> None:
    raw, out = make_release(tmp_path / "raw", twins=False), tmp_path / "MIS"
    out.mkdir()  # an empty target is taken
    build(raw, out)
    (out / "README.md").write_text("mine")
    assert not build(raw, out).written
    change(raw, "mis_hard.json", 0, question="Something else?")
    with pytest.raises(UsageError, match=r"move them away: README\.md"):
        build(raw, out)
    assert (out / "README.md").read_text() == "mine"


def test_problems_of_records_and_pictures_stop_a_build_before_it_writes(tmp_path: Path) -> None:
    raw = make_release(tmp_path / "raw")
    change(raw, "mis_train.json", 0, id="1")
    (raw / "hard_image" / "1" / "object1.png").unlink()
    (raw / "hard_image" / "1" / "object2.png").write_bytes(b"no picture")
    with pytest.raises(ReleaseError) as caught:
        build(raw, tmp_path / "MIS")
    texts = [str(problem).split(";")[0].split(", in")[0] for problem in caught.value.problems]
    assert texts[0] == "mis_train.json: record at index 0: id is text"
    assert texts[-2:] == [
        "mis_hard.json: test_hard/0: picture 'hard_image/1/object1.png' is missing",
        "mis_hard.json: test_hard/0: picture 'hard_image/1/object2.png' is not an intact picture (format unknown)",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_a_picture_broken_after_its_header_stops_a_build_that_decodes(tmp_path: Path) -> None:
    raw = make_release(tmp_path / "raw", twins=False)
    path = raw / "hard_image" / "1" / "object1.png"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ReleaseError, match=r"mis_hard\.json: test_hard/0: picture .* is not an intact"):
        build(raw, tmp_path / "MIS", Options(decode=True))
    assert not (tmp_path / "MIS").exists()


def test_a_full_disk_is_one_clear_error_and_leaves_nothing(tmp_path: Path) -> None:
    raw = make_release(tmp_path / "raw", twins=False)
    ended = run(str(raw), str(tmp_path / "MIS"), limit=3000)
    assert ended.returncode == 1
    assert ended.stderr == f"{tmp_path}/MIS: cannot be written: File too large; nothing was changed there\n"
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_a_full_disk_leaves_an_earlier_build_as_it_was(tmp_path: Path) -> None:
    raw = make_release(tmp_path / "raw", twins=False)
    build(raw, tmp_path / "MIS")
    before = hashes(tmp_path / "MIS")
    change(raw, "mis_hard.json", 0, question="Something else?")
    assert run(str(raw), str(tmp_path / "MIS"), limit=3000).returncode == 1
    assert hashes(tmp_path / "MIS") == before


@pytest.mark.parametrize("stop", [KeyboardInterrupt, PermissionError])
def test_what_stops_a_build_between_its_two_renames_leaves_the_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: type[BaseException]
) -> None:
    raw, out = make_release(tmp_path / "raw", twins=False), tmp_path / "MIS"
    build(raw, out)
    before = hashes(out)
    change(raw, "mis_hard.json", 0, question="Something else?")
    rename = Path.rename

    def stopped(self: Path, target: Path) -> Path:
        if self.name == "new":
            assert not out.exists()
            raise stop
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", stopped)
    with pytest.raises(KeyboardInterrupt if stop is KeyboardInterrupt else BuildError):
        build(raw, out)
    assert hashes(out) == before
    monkeypatch.undo()
    assert build(raw, out).written
    assert sorted(path.name for path in tmp_path.iterdir()) == ["MIS", "raw"]


def test_what_was_killed_between_its_two_renames_is_put_back(tmp_path: Path) -> None:
    raw, out = make_release(tmp_path / "raw", twins=False), tmp_path / "MIS"
    build(raw, out)
    before = hashes(out)
    (tmp_path / ".MIS.building").mkdir()
    out.rename(tmp_path / ".MIS.building" / "old")
    change(raw, "mis_hard.json", 0, image_path1="hard_image/none.png")
    with pytest.raises(ReleaseError):
        build(raw, out)
    assert hashes(out) == before
    change(raw, "mis_hard.json", 0, image_path1="hard_image/1/object1.png", question="And now?")
    assert build(raw, out).written
    assert verify(out) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["MIS", "raw"]


def test_what_was_killed_while_it_cleared_up_is_neither_put_back_nor_in_the_way(tmp_path: Path) -> None:
    raw, out = make_release(tmp_path / "raw", twins=False), tmp_path / "MIS"
    build(raw, out)
    (tmp_path / ".MIS.building" / "old" / "data").mkdir(parents=True)
    change(raw, "mis_hard.json", 0, question="Something else?")
    assert build(raw, out).written
    assert verify(out) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["MIS", "raw"]


def test_a_target_under_a_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(BuildError, match="cannot be written: Not a directory"):
        build(make_release(tmp_path / "raw", twins=False), tmp_path / "file" / "MIS")


@pytest.mark.slow
@pytest.mark.parametrize(("stop", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_stopped_build_leaves_no_target_and_the_next_one_goes_on_to_the_same_bytes(
    tmp_path: Path, stop: signal.Signals, code: int
) -> None:
    raw, out = make_release(tmp_path / "raw", rows=1500), tmp_path / "MIS"
    command = [sys.executable, "-m", "mis_dataset", "build", str(raw), str(out)]
    # A shell that runs the tests in the background has them ignore SIGINT, and children with them.
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    first = tmp_path / ".MIS.building" / "notes" / "train-00000-of-00001.parquet.json"
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, preexec_fn=heed) as process:
        until = time.monotonic() + 60
        while not first.exists() and time.monotonic() < until:
            time.sleep(0.001)
        process.send_signal(stop)
        _, shown = process.communicate()
    assert process.returncode == code
    assert shown == ("build: stopped; run it again\n" if code == 130 else "")
    assert not out.exists()
    kept = tmp_path / ".MIS.building" / "new" / "data" / "train-00000-of-00001.parquet"
    written = kept.stat().st_mtime_ns
    assert build(raw, out).rows["train"] == 1501
    assert (out / "data" / kept.name).stat().st_mtime_ns == written
    assert sorted(path.name for path in tmp_path.iterdir()) == ["MIS", "raw"]
    build(raw, tmp_path / "whole")
    assert hashes(out) == hashes(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_build_killed_again_and_again_ends_with_the_same_bytes(tmp_path: Path, processes: int) -> None:
    raw, out = make_release(tmp_path / "raw", rows=1500), tmp_path / "MIS"
    # Shards of ten rows: the kills fall before, between and after them.
    code = (
        "import sys, datasets; from pathlib import Path; from mis_dataset.build import Options, build\n"
        "datasets.config.MAX_ROW_GROUP_SIZE = '4KB'\n"
        "if __name__ == '__main__': build(Path(sys.argv[1]), Path(sys.argv[2]), Options(num_proc=int(sys.argv[3])))\n"
    )
    (tmp_path / "run.py").write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(tmp_path / "run.py"), str(raw), str(out), str(processes)]
    notes, kills = tmp_path / ".MIS.building" / "notes", 0
    for wanted in (1, 5, 20, 50):
        with subprocess.Popen(command, env=environment) as process:
            while process.poll() is None and len(list(notes.glob("*.json"))) < wanted:
                time.sleep(0.001)
            process.kill()
        kills += process.returncode == -signal.SIGKILL
    assert kills > 1
    assert not out.exists()
    assert subprocess.run(command, env=environment).returncode == 0
    command[3] = str(tmp_path / "whole")
    assert subprocess.run(command, env=environment).returncode == 0
    assert hashes(out) == hashes(tmp_path / "whole")
    assert verify(out) == []


def test_what_a_stopped_build_left_of_another_release_or_half_written_is_not_used(tmp_path: Path) -> None:
    raw, out = make_release(tmp_path / "raw", twins=False), tmp_path / "MIS"
    build(raw, out)
    left = tmp_path / ".MIS.building"
    (left / "notes").mkdir(parents=True)
    out.rename(left / "new")
    (left / "new" / "data" / ".train.7.tmp").write_bytes(b"half")
    (left / "notes" / "train-00000-of-00001.parquet.json").write_text("{", encoding="utf-8")
    change(raw, "mis_hard.json", 0, question="Something else?")
    build(raw, out)
    build(raw, tmp_path / "whole")
    assert hashes(out) == hashes(tmp_path / "whole")


def test_two_processes_write_the_bytes_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "MAX_ROW_GROUP_SIZE", "2KB")
    raw = make_release(tmp_path / "raw", rows=30)
    build(raw, tmp_path / "one")
    build(raw, tmp_path / "two", Options(num_proc=2))
    assert hashes(tmp_path / "one") == hashes(tmp_path / "two")
    assert len(hashes(tmp_path / "one")) > 6


def test_a_second_build_of_the_same_target_is_kept_away(tmp_path: Path) -> None:
    raw = make_release(tmp_path / "raw", twins=False)
    with alone(tmp_path / ".MIS.building", "x"):
        ended = run(str(raw), str(tmp_path / "MIS"))
    assert ended.returncode == 2
    assert ended.stderr == f"{tmp_path}/MIS: another process works there; wait for it or name another folder\n"


def test_smaller_pictures_are_another_config_that_says_so(tmp_path: Path) -> None:
    raw = make_release(tmp_path / "raw", twins=False)
    (raw / "images" / "1" / "object1.png").write_bytes(png(3, 64))
    build(raw, tmp_path / "MIS", Options(max_side=32))
    row = datasets.load_dataset(str(tmp_path / "MIS"), "max32", split="train")[0]
    assert [image.size for image in row["images"]] == [(32, 32), (8, 8)]
    manifest = read_manifest(tmp_path / "MIS")
    assert manifest.config == "max32"
    assert {Path(name).parent.as_posix() for name in manifest.files} == {"max32"}
    build(raw, tmp_path / "whole")
    whole = read_manifest(tmp_path / "whole")
    assert manifest.inputs == whole.inputs
    changed = [id for id, hashed in whole.row_hashes["train"].items() if manifest.row_hashes["train"][id] != hashed]
    assert changed == ["train/1"]
    assert not build(raw, tmp_path / "MIS", Options(max_side=32)).written
    change(raw, "mis_real.json", 0, question="Which of the two is red?")
    assert build(raw, tmp_path / "MIS", Options(max_side=32)).written
    manifest = read_manifest(tmp_path / "MIS")
    with pytest.raises(UsageError, match="MIS: holds the config max32, not default; name another folder"):
        build(raw, tmp_path / "MIS")
    assert read_manifest(tmp_path / "MIS") == manifest
