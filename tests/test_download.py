"""Downloading the release from a Hub on loopback, as a user does: in a process of its own."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mis_dataset.build import build
from mis_dataset.manifest import read_manifest
from tests.loopback_hub import COMMITS, LoopbackHub
from tests.made_release import make_release, zip_images

ROOT = Path(__file__).resolve().parents[1]
TRAIN, TEST = "Tuwhy/MIS_Train", "Tuwhy/MIS_Test"
AGAIN = "what differs was removed; run it again to fetch it anew\n"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LoopbackHub]:
    """A Hub with both repositories of the authors' layout, READMEs included."""
    raw = make_release(tmp_path / "source", twins=False)
    zip_images(raw)
    held = {path.relative_to(raw).as_posix(): path.read_bytes() for path in raw.rglob("*") if path.is_file()}
    train = {name: data for name, data in held.items() if name in ("mis_train.json", "images.zip")}
    test = {name: data for name, data in held.items() if name not in train}
    files = {TRAIN: train | {"README.md": b"a"}, TEST: test | {"README.md": b"b"}}
    with LoopbackHub(files).running() as running:
        yield running


def download(
    hub: LoopbackHub, out: Path, *words: str, limit: int | None = None, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Runs the verb; its files may have `limit` bytes."""

    def cap() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit or 0, limit or 0))

    quiet = {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_OFFLINE": "0"}
    home = {"HF_ENDPOINT": hub.url, "HF_HOME": str(out.parent / "home")}
    command = [sys.executable, "-m", "mis_dataset", "download", str(out), *words]
    return subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, **quiet, **home, **settings},
        preexec_fn=cap if limit else None,
    )


def refusal(hub: LoopbackHub, out: Path, *words: str, limit: int | None = None, **settings: str) -> str:
    """What a download that fails says on stderr."""
    ended = download(hub, out, *words, limit=limit, **settings)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "Traceback" not in ended.stderr
    return ended.stderr


def test_both_repositories_land_in_one_folder_that_builds_and_names_its_commits(
    hub: LoopbackHub, tmp_path: Path
) -> None:
    out = tmp_path / "raw"
    ended = download(hub, out)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert json.loads(ended.stdout)["commits"] == COMMITS
    assert not (out / "README.md").exists()
    assert build(out, tmp_path / "MIS").rows["train"] == 3
    assert read_manifest(tmp_path / "MIS").source == COMMITS
    hub.asked.clear()
    assert download(hub, out).returncode == 0
    assert hub.fetched() == []


# What cannot be fetched


def test_what_was_cut_off_goes_on(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.faults["mis_hard.json"] = "400"
    told = refusal(hub, tmp_path / "raw")
    assert told == "Tuwhy/MIS_Test at c147ae2: the Hub answers 400; run it again\n"
    assert not (tmp_path / "raw" / "SOURCE.json").exists()
    assert (tmp_path / "raw" / "mis_train.json").exists()
    hub.faults.clear()
    hub.asked.clear()
    assert download(hub, tmp_path / "raw").returncode == 0
    assert "mis_hard.json" in hub.fetched()
    assert "images.zip" not in hub.fetched()


def test_a_broken_connection_is_one_error_and_the_next_run_fetches_that_file_anew(
    hub: LoopbackHub, tmp_path: Path
) -> None:
    hub.files[TRAIN]["more.zip"] = bytes(range(256)) * 4096
    hub.faults["more.zip"] = "reset"
    told = refusal(hub, tmp_path / "raw")
    assert told.endswith(
        "Tuwhy/MIS_Train at 66e984f: the Hub cannot be reached, or broke off (ReadError); run it again\n"
    )
    assert not (tmp_path / "raw" / "more.zip").exists()
    hub.asked.clear()
    assert download(hub, tmp_path / "raw").returncode == 0
    # Not from the middle: huggingface_hub 2 has deleted the first half.
    assert [line.rsplit("/", 1)[1] for line in hub.asked if "more.zip" in line] == ["more.zip", "more.zip"]
    assert (tmp_path / "raw" / "more.zip").read_bytes() == hub.files[TRAIN]["more.zip"]


def test_a_connection_that_ends_early_goes_on_in_the_middle_of_the_file(hub: LoopbackHub, tmp_path: Path) -> None:
    # More than two of the 10 MB that huggingface_hub writes at a time.
    hub.files[TRAIN]["more.zip"] = bytes(range(256)) * (24 * 4096)
    hub.faults["more.zip"] = "closed"
    assert download(hub, tmp_path / "raw").returncode == 0
    fetched = [line.rsplit("/", 1)[1] for line in hub.asked if line.startswith("GET") and "more.zip" in line]
    assert fetched == ["more.zip", "more.zip bytes=10485760-"]
    assert (tmp_path / "raw" / "more.zip").read_bytes() == hub.files[TRAIN]["more.zip"]


@pytest.mark.parametrize(("flag", "name"), [("--train-revision", TRAIN), ("--test-revision", TEST)])
def test_an_unknown_revision_names_its_repository_and_no_token(
    hub: LoopbackHub, tmp_path: Path, flag: str, name: str
) -> None:
    assert refusal(hub, tmp_path / "raw", flag, "abcdef0", HF_TOKEN="hf_secret") == (
        f"{name} at abcdef0: the Hub answers 404: no such repository or revision, or it wants a login "
        "(`hf auth login`)\n"
    )
    assert hub.tokens == {"Bearer hf_secret"}


def test_what_xet_stores_is_fetched_compared_and_told_as_the_hub_where_it_fails(
    hub: LoopbackHub, tmp_path: Path
) -> None:
    hub.xet = True
    hub.faults["images.zip"] = "404"
    told = refusal(hub, tmp_path / "raw", HF_HUB_DISABLE_XET="0")
    assert told.endswith(
        "Tuwhy/MIS_Train at 66e984f: the Hub cannot be reached, or broke off (RuntimeError); run it again\n"
    )
    assert "xet_secret" not in told
    hub.faults["images.zip"] = "other bytes"
    told = refusal(hub, tmp_path / "raw", HF_HUB_DISABLE_XET="0")
    assert "Tuwhy/MIS_Train at 66e984f: images.zip has the sha256 " in told
    hub.faults.clear()
    assert download(hub, tmp_path / "raw", HF_HUB_DISABLE_XET="0").returncode == 0
    assert (tmp_path / "raw" / "images.zip").read_bytes() == hub.files[TRAIN]["images.zip"]
    assert "images.zip" not in hub.fetched()


@pytest.mark.parametrize(
    ("path", "fault", "kind"),
    [("images.zip", "no etag", "FileMetadataError"), ("", "no json", "JSONDecodeError")],
)
def test_what_is_not_a_hub_is_told_so(hub: LoopbackHub, tmp_path: Path, path: str, fault: str, kind: str) -> None:
    hub.faults[path] = fault
    assert refusal(hub, tmp_path / "raw") == (
        f"Tuwhy/MIS_Train at 66e984f: what answers is not the Hub ({kind}); look at HF_ENDPOINT and the proxy\n"
    )


def test_a_hub_that_may_not_be_asked_or_is_not_there_is_told_so(hub: LoopbackHub, tmp_path: Path) -> None:
    assert refusal(hub, tmp_path / "raw", HF_HUB_OFFLINE="1") == (
        "Tuwhy/MIS_Train at 66e984f: the Hub may not be asked while HF_HUB_OFFLINE is set; unset it\n"
    )
    assert refusal(hub, tmp_path / "raw", HF_ENDPOINT="http://127.0.0.1:9") == (
        "Tuwhy/MIS_Train at 66e984f: the Hub cannot be reached, or broke off (ConnectError); run it again\n"
    )


@pytest.mark.parametrize("xet", [False, True])
def test_a_full_disk_is_told_with_the_name_of_the_folder(hub: LoopbackHub, tmp_path: Path, xet: bool) -> None:
    hub.xet = xet
    hub.files[TRAIN]["more.zip"] = bytes(range(256)) * 4096
    assert refusal(hub, tmp_path / "raw", limit=2**19, HF_HUB_DISABLE_XET="0").endswith(
        f"{tmp_path}/raw: cannot be read or written: File too large; make room or name another folder\n"
    )


def test_a_folder_that_is_none_is_told(hub: LoopbackHub, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert refusal(hub, tmp_path / "file") == (
        f"{tmp_path}/file: cannot be read or written: Not a directory; make room or name another folder\n"
    )


# What was fetched and is not what the Hub has


def test_a_file_that_came_with_other_bytes_is_removed_and_fetched_again(hub: LoopbackHub, tmp_path: Path) -> None:
    out = tmp_path / "raw"
    hub.faults |= {"mis_train.json": "other bytes", "images.zip": "other bytes"}
    lines = refusal(hub, out).splitlines(keepends=True)
    assert [line.rsplit(" ", 5)[0] for line in lines[:2]] == [
        "Tuwhy/MIS_Train at 66e984f: images.zip has the sha256",
        "Tuwhy/MIS_Train at 66e984f: mis_train.json has the git sha1",
    ]
    assert lines[2:] == [AGAIN]
    assert not (out / "SOURCE.json").exists()
    hub.faults.clear()
    hub.asked.clear()
    assert download(hub, out).returncode == 0
    assert sorted(hub.fetched()) == ["images.zip", "mis_train.json"]
    assert (out / "images.zip").read_bytes() == hub.files[TRAIN]["images.zip"]


@pytest.mark.parametrize(("cut", "word"), [(0, "git sha1"), (5, "bytes")])
def test_a_file_that_was_spoilt_on_disk_is_found_although_it_was_noted_as_fetched(
    hub: LoopbackHub, tmp_path: Path, cut: int, word: str
) -> None:
    path = tmp_path / "raw" / "mis_easy.json"
    assert download(hub, tmp_path / "raw").returncode == 0
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    path.write_bytes(bytes(path.stat().st_size - cut))
    os.utime(path, ns=times)
    told = refusal(hub, tmp_path / "raw")
    assert told.startswith("Tuwhy/MIS_Test at c147ae2: mis_easy.json has ")
    assert word in told
    assert told.endswith(AGAIN)
    assert not (tmp_path / "raw" / "SOURCE.json").exists()
    assert download(hub, tmp_path / "raw").returncode == 0
    assert path.read_bytes() == hub.files[TEST]["mis_easy.json"]


def test_an_old_file_that_is_kept_because_the_hub_fails_is_not_taken_for_the_new_one(
    hub: LoopbackHub, tmp_path: Path
) -> None:
    path = tmp_path / "raw" / "mis_hard.json"
    path.parent.mkdir()
    path.write_bytes(b"[]")
    hub.faults["mis_hard.json"] = "503"
    size = len(hub.files[TEST]["mis_hard.json"])
    assert refusal(hub, tmp_path / "raw").endswith(
        f"Tuwhy/MIS_Test at c147ae2: mis_hard.json has 2 bytes, on the Hub {size}\n{AGAIN}"
    )
    hub.faults.clear()
    assert download(hub, tmp_path / "raw").returncode == 0
    assert path.read_bytes() == hub.files[TEST]["mis_hard.json"]


def test_a_file_that_was_left_out_is_missing_and_then_fetched(hub: LoopbackHub, tmp_path: Path) -> None:
    out = tmp_path / "raw"
    assert download(hub, out).returncode == 0
    noted = out / ".cache/huggingface/trees" / f"{COMMITS[TEST]}.json"
    tree = json.loads(noted.read_bytes())
    del tree["files"]["mis_easy.json"]
    noted.write_text(json.dumps(tree), encoding="utf-8")
    (out / "mis_easy.json").unlink()
    assert refusal(hub, out) == f"Tuwhy/MIS_Test at c147ae2: mis_easy.json is missing\n{AGAIN}"
    assert download(hub, out).returncode == 0
    assert (out / "mis_easy.json").read_bytes() == hub.files[TEST]["mis_easy.json"]


def test_a_bad_file_in_the_users_cache_is_not_copied(hub: LoopbackHub, tmp_path: Path) -> None:
    cached = tmp_path / "home/hub/datasets--Tuwhy--MIS_Test/snapshots" / COMMITS[TEST] / "mis_hard.json"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"[]")
    assert download(hub, tmp_path / "raw").returncode == 0


# Trees that make no release


def test_files_of_an_earlier_revision_are_named_and_stay(hub: LoopbackHub, tmp_path: Path) -> None:
    out = tmp_path / "raw"
    hub.files[TEST] |= {"gone.zip": b"1", "hard_image/9/object1.png": b"2"}
    assert download(hub, out).returncode == 0
    # A user's own, and what `hf download` would have fetched.
    for path in ("twins.jsonl", "README.md", ".cache/huggingface/download/README.md.metadata"):
        (out / path).touch()
    hub.commits[TEST] = "c147ae2" + "3" * 33
    del hub.files[TEST]["gone.zip"], hub.files[TEST]["hard_image/9/object1.png"]
    hub.files[TEST]["mis_hard.json"] += b" "
    hub.asked.clear()
    assert refusal(hub, out) == (
        f"{out}: holds files of another revision: gone.zip, hard_image/9/object1.png; remove them or name an empty "
        "folder\n"
    )
    assert hub.fetched() == []
    (out / "gone.zip").unlink()
    (out / "hard_image/9/object1.png").unlink()
    assert download(hub, out).returncode == 0
    assert hub.fetched() == ["mis_hard.json"]


def test_of_many_files_the_first_are_named_and_the_others_counted(hub: LoopbackHub, tmp_path: Path) -> None:
    for number in range(22):
        hub.files[TRAIN][f"{number:02}.png"] = hub.files[TEST][f"{number:02}.png"] = b"1"
    told = refusal(hub, tmp_path / "raw")
    assert told.startswith("00.png, 01.png, ")
    assert ", 19.png, ... and 2 more: in Tuwhy/MIS_Train at 66e984f and in" in told


def test_a_file_that_the_revision_lacks_is_named_before_anything_is_fetched(hub: LoopbackHub, tmp_path: Path) -> None:
    del hub.files[TEST]["mis_easy.json"]
    assert refusal(hub, tmp_path / "raw") == (
        f"mis_easy.json: not in Tuwhy/MIS_Train at {COMMITS[TRAIN]}, Tuwhy/MIS_Test at {COMMITS[TEST]}; name another "
        "revision\n"
    )
    assert hub.fetched() == []


def test_a_file_of_both_repositories_is_refused_before_anything_is_fetched(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.files[TEST]["images.zip"] = b"other pictures"
    assert refusal(hub, tmp_path / "raw") == (
        "images.zip: in Tuwhy/MIS_Train at 66e984f and in Tuwhy/MIS_Test at c147ae2; name others\n"
    )
    assert hub.fetched() == []


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("../evil.json", "path '../evil.json' leaves the release; write a relative path without '..'"),
        ("SOURCE.json", "path 'SOURCE.json' is kept for `download` itself"),
        (".cache/huggingface/trees/a.json", "path '.cache/huggingface/trees/a.json' is kept for `download` itself"),
    ],
)
def test_a_path_that_would_harm_is_refused(hub: LoopbackHub, tmp_path: Path, path: str, fault: str) -> None:
    hub.files[TEST][path] = b"{}"
    assert refusal(hub, tmp_path / "raw") == f"Tuwhy/MIS_Test at c147ae2: {fault}; name another revision\n"
    assert hub.fetched() == []


def test_a_branch_named_as_the_pinned_commit_is_refused(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.commits[TEST] = "9" * 40
    hub.branches |= {"c147ae2", "main"}
    assert refusal(hub, tmp_path / "raw") == (
        f"Tuwhy/MIS_Test at c147ae2: the Hub gives commit {'9' * 40}, of a branch or tag; name the full commit\n"
    )
    assert hub.fetched() == []
    ended = download(hub, tmp_path / "raw", "--test-revision", "main")
    assert json.loads(ended.stdout)["commits"] == {TRAIN: COMMITS[TRAIN], TEST: "9" * 40}


def test_a_hub_that_names_no_commit_is_refused(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.commits[TRAIN] = "main"
    hub.branches.add("66e984f")
    assert refusal(hub, tmp_path / "raw") == (
        "Tuwhy/MIS_Train at 66e984f: the Hub names no commit; name another revision\n"
    )
