"""Pushing folders to a Hub on loopback, as a user does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub_room import Room, open_room
from tests.loopback_routes import OTHER, READER, Fault
from tests.made_folders import (
    dataset_folder,
    demo_folder,
    metric_folder,
    model_folder,
    release_folder,
    write,
    write_sums,
)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    with open_room(tmp_path_factory.mktemp("room")) as room:
        yield room
        assert room.leaks() == []


@pytest.fixture
def room(opened: Room) -> Room:
    """The room with an empty Hub."""
    hub = opened.hub
    hub.repos.clear()
    hub.objects.clear()
    hub.collections.clear()
    hub.faults.clear()
    hub.asked.clear()
    return opened


@pytest.fixture
def mis(tmp_path: Path) -> Path:
    return dataset_folder(tmp_path / "dataset")


def test_nothing_is_written_before_it_was_shown_and_asked_for(room: Room, mis: Path) -> None:
    ended = room("push", mis, "me/MIS")
    assert ended.told == {
        "verb": "push",
        "repo": "me/MIS",
        "kind": "dataset",
        "url": f"{room.hub.url}/datasets/me/MIS",
        "pushed": False,
    }
    assert ended.stderr.splitlines() == [
        "me/MIS: dataset, is created; private, readers ask for access",
        "  add     LICENSE  11 bytes",
        f"  add     MANIFEST.json  {(mis / 'MANIFEST.json').stat().st_size} bytes",
        "  add     NOTICE  15 bytes",
        "  add     data/train-00000-of-00002.parquet  792 bytes",
        "  add     data/train-00001-of-00002.parquet  792 bytes",
        "  add     README.md  21 bytes",
        f"  6 files to upload, {sum(p.stat().st_size for p in mis.rglob('*') if p.is_file())} bytes; 0 there already; "
        "tag 1-a",
        "Nothing was uploaded; the same command with --yes does it.",
    ]
    assert room.hub.writes() == []


def test_a_dataset_is_there_private_gated_tagged_and_a_second_push_writes_nothing(room: Room, mis: Path) -> None:
    ended = room("push", mis, "me/MIS", "--yes")
    told, repo = ended.told, room.hub.dataset("me/MIS")
    assert (
        ended.stderr.splitlines()[-2:]
        == [  # and no warning of a library to another
            f"me/MIS: commit {repo.head.oid[:7]}, 6 files",
            "me/MIS: 6 files are there, of which 6 were uploaded; all hashes agree",
        ]
    )
    assert "content=" not in ended.stderr
    assert repo.bodies == {p.relative_to(mis).as_posix(): p.read_bytes() for p in mis.rglob("*") if p.is_file()}
    assert (repo.private, repo.gated, repo.tags) == (True, "manual", {"1-a": repo.head.oid})
    assert [commit.summary for commit in repo.commits] == ["initial commit", "MIS: dataset 1-a"]
    assert (told["uploaded"], told["commits"], told["commit"], told["passed"]) == (6, 1, repo.head.oid, True)
    room.hub.asked.clear()
    again = room("push", mis, "me/MIS", "--yes").told
    assert (again["uploaded"], again["commits"], again["commit"]) == (0, 0, repo.head.oid)
    assert room.hub.writes() == []
    assert "me/MIS: dataset, is there; private, readers ask for access" in room("push", mis, "me/MIS").stderr


def test_commits_are_bounded_and_the_card_comes_with_the_last(room: Room, mis: Path) -> None:
    told = room("push", mis, "me/MIS", "--yes", "--commit-files", "2", "--message", "first").told
    repo = room.hub.dataset("me/MIS")
    assert told["commits"] == 3
    assert ["README.md" in commit.files for commit in repo.commits] == [False, False, False, True]
    assert repo.head.summary == "first"


def test_what_differs_alone_is_uploaded(room: Room, tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model")
    assert room("push", folder, "me/mis", "--yes").told["tag"] == "0.1"
    write_sums(write(folder, {"NOTICE": "other\n", "README.md": "---\nversion: 0.2\n---\n"}))
    shown = room("push", folder, "me/mis").stderr
    assert "  replace NOTICE  6 bytes\n" in shown
    assert "  same    model.safetensors  10 bytes\n" in shown
    room.hub.asked.clear()
    assert room("push", folder, "me/mis", "--yes").told["uploaded"] == 3
    assert not any(line.startswith("PUT /lfs/") for line in room.hub.asked)
    assert set(room.hub.repos["models", "me/mis"].tags) == {"0.1", "0.2"}


def test_a_tag_of_other_files_is_an_error_before_anything_is_written(room: Room, tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model")
    room("push", folder, "me/mis", "--yes")
    first = room.hub.repos["models", "me/mis"].head.oid
    write_sums(write(folder, {"NOTICE": "other\n"}))
    room.hub.asked.clear()
    ended = room("push", folder, "me/mis", "--yes")
    assert ended.stderr == (
        f"cards push: me/mis: version 0.1 is a tag of commit {first[:7]} already, with other NOTICE, SHA256SUMS; "
        "raise the version, or give --no-tag where what it stands for is the same\n"
    )
    assert (ended.code, ended.stdout, room.hub.writes()) == (1, "", [])
    assert room("push", folder, "me/mis", "--yes", "--no-tag").told["tag"] is None
    assert room.hub.repos["models", "me/mis"].tags == {"0.1": first}
    write_sums(write(folder, {"NOTICE": "made by a test\n"}))
    assert room("push", folder, "me/mis", "--yes").told["tag"] == "0.1"


# Who may see it


def test_it_becomes_public_when_all_of_it_is_there(room: Room, mis: Path) -> None:
    assert room("push", mis, "me/MIS", "--yes", "--public", "--no-gate").told["public"]
    repo = room.hub.dataset("me/MIS")
    assert (repo.private, repo.gated) == (False, False)
    settings = [line for line in room.hub.writes() if line.endswith("/settings")]
    assert room.hub.writes()[-1:] == settings == ["PUT /api/datasets/me/MIS/settings"]


def test_what_is_public_is_not_pushed_into_unasked(room: Room, mis: Path) -> None:
    room("push", mis, "me/MIS", "--yes", "--public")
    assert room.hub.dataset("me/MIS").gated == "manual"
    write(mis, {"NOTICE": "other"})
    ended = room("push", mis, "me/MIS", "--yes", "--no-tag")
    assert ended.stderr == ("cards push: me/MIS is public; give --public, or make it private on its page first\n")
    assert room("push", mis, "me/MIS", "--yes", "--no-tag", "--public", "--no-gate").told["uploaded"] == 1
    assert (room.hub.dataset("me/MIS").private, room.hub.dataset("me/MIS").gated) == (False, False)


def test_the_gating_that_its_owner_chose_stays(room: Room, mis: Path) -> None:
    room("push", mis, "me/MIS", "--yes")
    room.hub.dataset("me/MIS").gated = "auto"
    room("push", mis, "me/MIS", "--yes")
    assert room.hub.dataset("me/MIS").gated == "auto"


# What others put there


def test_what_others_put_there_stays_until_it_is_pruned(room: Room, tmp_path: Path) -> None:
    folder = demo_folder(tmp_path / "demo")
    room("push", folder, "me/demo", "--yes")
    space = room.hub.space("me/demo")
    assert space.sdk == "gradio"
    space.put("thanks.txt", b"by somebody")
    ended = room("push", folder, "me/demo", "--yes")
    assert "  left    thanks.txt  11 bytes\n" in ended.stderr
    assert space.bodies["thanks.txt"] == b"by somebody"
    ended = room("push", folder, "me/demo", "--yes", "--prune")
    assert "  remove  thanks.txt  11 bytes\n" in ended.stderr
    assert (ended.told["commits"], "thanks.txt" in space.bodies, ".gitattributes" in space.head.files) == (
        1,
        False,
        True,
    )


def test_a_stray_shard_that_would_be_loaded_is_an_error_until_it_is_pruned(room: Room, mis: Path) -> None:
    room("push", mis, "me/MIS", "--yes")
    room.hub.dataset("me/MIS").put("data/train-00000-of-00001.parquet", b"of another build")
    ended = room("push", mis, "me/MIS", "--yes")
    assert ended.code == 1
    assert ended.stderr.startswith("cards push: me/MIS holds data/train-00000-of-00001.parquet, not in ")
    room("push", mis, "me/MIS", "--yes", "--prune")
    assert len(room.hub.dataset("me/MIS").bodies) == 6


@pytest.mark.parametrize("name", ["adapter_config.json", "special_tokens_map.json", "model-00001-of-00001.safetensors"])
def test_a_stray_file_that_would_change_a_model_is_an_error_until_it_is_pruned(
    name: str, room: Room, tmp_path: Path
) -> None:
    folder = model_folder(tmp_path / "model")
    room("push", folder, "me/mis", "--yes")
    room.hub.repos["models", "me/mis"].put(name, b"{}")
    ended = room("push", folder, "me/mis", "--yes")
    assert (ended.code, ended.stdout) == (1, "")
    assert ended.stderr.startswith(f"cards push: me/mis holds {name}, not in ")
    assert name in room.hub.repos["models", "me/mis"].bodies
    room("push", folder, "me/mis", "--yes", "--prune")
    assert name not in room.hub.repos["models", "me/mis"].bodies


# Releases


def test_a_release_is_all_its_folders_and_one_collection(room: Room, tmp_path: Path) -> None:
    folder = release_folder(tmp_path / "release")
    told = room("push", folder, "me", "--yes").told
    repos = ["me/MIS-mini", "me/mis-mini-contrast", "me/mis-mini-contrast-adapter", "me/pair_accuracy", "me/MIS-demo"]
    assert [each["repo"] for each in told["repositories"]] == repos
    assert [each["tag"] for each in told["repositories"]] == ["1-a", "0.1", None, "1-b", None]
    (collection,) = room.hub.collections.values()
    assert (collection["slug"], collection["title"], collection["private"]) == (told["collection"], "MIS", True)
    assert [entry["id"] for entry in collection["items"]] == repos
    assert [entry["type"] for entry in collection["items"]] == ["dataset", "model", "model", "space", "space"]
    room.hub.asked.clear()
    again = room("push", folder, "me", "--yes").told
    assert [each["uploaded"] for each in again["repositories"]] == [0] * 5
    assert room.hub.writes() == []
    room("push", folder, "me", "--yes", "--public")
    assert not any(repo.private for repo in room.hub.repos.values())
    assert not next(iter(room.hub.collections.values()))["private"]


def test_a_release_with_a_bad_folder_is_refused_whole_with_all_problems(room: Room, tmp_path: Path) -> None:
    folder = release_folder(tmp_path / "release")
    write(folder, {"demo/.env": "x", "model/trainer_state.json": "{}"})
    ended = room("push", folder, "me", "--yes")
    assert (ended.code, room.hub.asked) == (1, [])
    assert [line.split(": ")[-2].split(" ")[0] for line in ended.stderr.splitlines() if "has no place" in line] == [
        ".env",
        "trainer_state.json",
    ]
    told = "was packed for 'me', whom its cards name, not for 'you'; give that name here"
    assert told in room("push", folder, "you").stderr
    shutil.rmtree(folder / "demo")
    assert "demo: no such folder" in room("push", folder, "me").stderr


@pytest.mark.parametrize("name", ["../dataset", "a/b", "."])
def test_a_release_names_only_folders_beside_it(name: str, room: Room, tmp_path: Path) -> None:
    told = {"owner": "me", "folders": {name: {"kind": "demo", "repo": "me/x"}}}
    ended = room("push", write(tmp_path / "release", {"RELEASE.json": json.dumps(told)}), "me")
    assert f"'{name}' is no name of a folder beside it" in ended.stderr


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({}, "names no folders; pack the release again"),
        ({"folders": []}, "names no folders; pack the release again"),
        ({"folders": {}}, "names no folders; pack the release again"),
        ({"folders": {"demo": {"kind": "video", "repo": "me/x"}}}, "demo has no kind of dataset, model, adapter"),
        ({"folders": {"demo": {"kind": "demo", "repo": "you/x"}}}, "or no repo of me; pack it again"),
        ({"folders": {"demo": {"kind": "demo"}}}, "or no repo of me; pack it again"),
        ({"folders": {"demo": "demo"}}, "or no repo of me; pack it again"),
    ],
)
def test_a_release_that_names_nothing_or_something_else_is_refused(
    told: dict[str, object], message: str, room: Room, tmp_path: Path
) -> None:
    folder = write(release_folder(tmp_path / "release"), {"RELEASE.json": json.dumps({"owner": "me", **told})})
    ended = room("push", folder, "me", "--yes")
    assert (ended.code, room.hub.asked) == (1, [])
    assert message in ended.stderr


def test_a_metric_is_named_as_its_module(room: Room, tmp_path: Path) -> None:
    folder = metric_folder(tmp_path / "pair_accuracy")
    ended = room("push", folder, "me/other")
    assert ended.stderr.endswith(f"evaluate looks there for other.py; push {folder} as OWNER/pair_accuracy\n")
    for name in ("pair_accuracy", "me/pair_accuräcy", "me/../x"):
        assert "is no id of a repository" in room("push", folder, name).stderr


def test_a_metric_without_a_version_is_refused(room: Room, tmp_path: Path) -> None:
    folder = metric_folder(tmp_path / "pair_accuracy")
    assert room("push", folder, "me/pair_accuracy").told["kind"] == "metric"
    module = (folder / "pair_accuracy.py").read_text("utf-8")
    write(folder, {"pair_accuracy.py": module.replace("METRIC_VERSION =", "METRIC_VERSION: str =")})
    ended = room("push", folder, "me/pair_accuracy", "--yes")
    assert (ended.code, room.hub.writes()) == (1, [])
    assert 'pair_accuracy.py sets no METRIC_VERSION = "..."' in ended.stderr


def test_a_folder_of_a_release_goes_alone_only_where_its_card_says_it_lies(room: Room, tmp_path: Path) -> None:
    folder = release_folder(tmp_path / "release") / "model"
    room.hub.asked.clear()
    ended = room("push", folder, "me/other", "--yes")
    assert (ended.code, room.hub.asked) == (1, [])
    assert ended.stderr.startswith(f"cards push: {folder}: was packed for 'me/mis-mini-contrast', as which cards name ")
    assert "not for 'me/other'; push it there" in ended.stderr
    assert room("push", folder, "me/mis-mini-contrast", "--yes").told["passed"]
    apart = shutil.copytree(folder, tmp_path / "model")
    assert room("push", apart, "me/other", "--yes").told["passed"]


# Whose token


@pytest.mark.parametrize(
    ("token", "message"),
    [
        (None, "no token of the Hub: log in with `hf auth login`, or set HF_TOKEN in the environment"),
        ("hf_" + "Wrong0" * 6, "me/MIS: the Hub does not take this token (401): log in again with `hf auth login`, or "
         "set HF_TOKEN"),
        (READER, "me/MIS: this token may not do that (403): make one with write access to me at {url}/settings/tokens"),
        (OTHER, "me/MIS: this token may not do that (403): make one with write access to me at {url}/settings/tokens"),
    ],
)  # fmt: skip
def test_a_token_that_will_not_do_is_one_clear_line(token: str | None, message: str, room: Room, mis: Path) -> None:
    ended = room("push", mis, "me/MIS", "--yes", "--tries", "1", token=token)
    assert ended.code == 1
    assert ended.stderr.splitlines()[-1] == f"cards push: {message.format(url=room.hub.url)}"
    assert room.hub.repos == {}


def test_a_token_that_the_hub_repeats_is_masked(room: Room, mis: Path) -> None:
    write(mis, {"README.md": "---\nnot: [valid\n---\n"})
    ended = room("push", mis, "me/MIS", "--yes")
    assert ended.stderr.splitlines()[-1] == (
        "cards push: me/MIS: is refused: Invalid metadata in README.md. - bad YAML, ***"
    )
    room.hub.faults.append(Fault("POST", "/commit/", "422"))
    ended = room("push", dataset_folder(mis.parent / "good"), "me/MIS", "--yes", "--prune")
    assert ended.stderr.splitlines()[-1] == "cards push: me/MIS: the Hub refuses it (422): *** is not allowed"
