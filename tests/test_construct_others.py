"""Files of somebody else in OUT: none is written over."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mis_dataset.construct.config import read_config
from mis_dataset.construct.given import digest_of
from mis_dataset.construct.others import refuse_others
from mis_dataset.construct.pipeline import construct
from mis_dataset.construct.rows import Seed, to_line
from mis_dataset.errors import UsageError
from tests.loopback_api import LoopbackApi
from tests.test_construct_pipeline import api as api
from tests.test_construct_pipeline import files
from tests.test_construct_pipeline import settings as settings

pytestmark = pytest.mark.usefixtures("api_key")
OURS = to_line(Seed("s1", "one", "a.jsonl:1"))


def test_seeds_that_lie_in_out_under_our_name_are_not_written_over(tmp_path: Path) -> None:
    seeds = tmp_path / "seeds.jsonl"
    seeds.write_text(OURS)
    (tmp_path / "more").symlink_to(tmp_path)
    for name in (seeds, tmp_path / "more" / "seeds.jsonl"):
        with pytest.raises(UsageError, match=r"seeds\.jsonl: is read as seeds, and would be written over"):
            refuse_others(tmp_path, [name])
    refuse_others(tmp_path, [tmp_path / "mine.jsonl"])  # those of an earlier run of ours


def test_files_under_names_of_ours_that_are_not_ours_are_named(tmp_path: Path) -> None:
    (tmp_path / "seeds.jsonl").write_text(json.dumps({"text": "one"}) + "\n")
    with pytest.raises(UsageError, match=r"seeds\.jsonl: was not written by a construction"):
        refuse_others(tmp_path, [])
    (tmp_path / "seeds.jsonl").unlink()
    refuse_others(tmp_path, [])
    (tmp_path / "labels.jsonl").write_text("mine")
    with pytest.raises(UsageError, match=r"labels\.jsonl: was not written by a construction of this folder"):
        refuse_others(tmp_path, [])
    (tmp_path / "seeds.jsonl").write_text(OURS)
    refuse_others(tmp_path, [])  # that of a run which was killed: it is written anew


def test_what_is_no_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("file", "link"):
        with pytest.raises(UsageError, match=f"{name}: is no folder; name another one"):
            refuse_others(tmp_path / name, [])
    refuse_others(tmp_path / "new", [])


def test_a_run_refuses_them_before_anything_is_asked(api: LoopbackApi, settings: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "raw").mkdir(parents=True)
    (tmp_path / "out" / "raw" / "mine").write_text("mine")
    with pytest.raises(UsageError, match="raw: is not empty and no release of a construction"):
        construct(read_config(settings), tmp_path / "out")
    with pytest.raises(UsageError, match=r"seeds\.jsonl: is read as seeds"):
        construct(read_config(settings), tmp_path, limit=1)
    assert (api.count, len((tmp_path / "seeds.jsonl").read_text().splitlines())) == (0, 8)
    (tmp_path / "out" / "raw" / "mine").unlink()
    assert construct(read_config(settings), tmp_path / "out", limit=1)["rows"] == {"train": 2}


@pytest.mark.parametrize("broken", ["", "{", "null", "[]", "[" * 10**5])
def test_notes_of_an_earlier_run_that_are_broken_are_made_anew(
    api: LoopbackApi, settings: Path, tmp_path: Path, broken: str
) -> None:
    construct(read_config(settings), tmp_path / "out", limit=1)
    before, count = files(tmp_path / "out"), api.count
    for name in ("seeds.meta.json", "elements.meta.json", "raw.meta.json"):
        (tmp_path / "out" / name).write_text(broken)
    assert construct(read_config(settings), tmp_path / "out", limit=1)["rows"] == {"train": 2}
    assert (files(tmp_path / "out"), api.count) == (before, count)
    assert json.loads((tmp_path / "out" / "elements.meta.json").read_text())["told"]["made"] == 1


def test_a_folder_to_keep_apart_from_that_is_no_release_is_named(settings: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=rf"^{tmp_path}: is neither a built dataset nor a raw release:\nmis_train"):
        digest_of([tmp_path])
    construct(read_config(settings), tmp_path / "out")
    assert len(digest_of([tmp_path / "out" / "raw"])) == 1


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_ended_says_what_to_do_and_its_calls_are_counted(tmp_path: Path, number: int) -> None:
    command = [sys.executable, "-m", "mis_dataset", "rehearse", str(tmp_path / "out"), "--seeds", "8"]
    run = subprocess.Popen([*command, "--latency", "1"], stderr=subprocess.PIPE, text=True)
    while run.poll() is None and not (tmp_path / "out" / "seeds.meta.json").is_file():
        time.sleep(0.05)
    time.sleep(2)
    run.send_signal(number)
    told = run.communicate(timeout=30)[1]
    assert (run.returncode, told.split("\n")[-2]) == (130, "rehearse: stopped; run it again")
    assert [word for word in ("Traceback", "Error", "Warning", "Exception") if word in told] == []
    line = json.loads((tmp_path / "out" / "used.jsonl").read_text().splitlines()[-1])
    assert (line["whole"], line["calls"] > 0) == (False, True)


@pytest.mark.slow
def test_scripted_models_end_in_silence_with_a_run_that_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mis_dataset", "rehearse", str(tmp_path / "out"), "--seeds", "8"]
    run = subprocess.Popen([*command, "--latency", "1"], stderr=subprocess.PIPE, text=True)
    while run.poll() is None and not (tmp_path / "out" / "seeds.meta.json").is_file():
        time.sleep(0.05)
    time.sleep(2)
    run.kill()
    told = run.communicate(timeout=30)[1]  # ends when the models have ended too
    assert [word for word in ("Traceback", "Error", "Warning", "Exception") if word in told] == []
