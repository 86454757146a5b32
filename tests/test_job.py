"""Jobs, against a Hub on loopback, and what their script does, run for real with the costly commands replaced."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import JobHardware, constants

from mis_dataset.errors import MISError, UsageError
from tests.loopback_jobs import TOKEN, LoopbackJobs
from tests.made_checkout import URL, Checkout, make_checkout
from tests.tiny import attempt
from trainer import job
from trainer.job import Job
from trainer.pushed import Commit

BASE, MIS, OUT = "org/base-hf", "org/MIS", "org/runs/arms/mirage"
RECIPE = "# a recipe\nactivation_checkpointing: true\nmax_length: null\ngeneral_share: 0.0\n"
FILES = {
    "trainer/configs/mirage.yaml": RECIPE,
    "trainer/configs/general.yaml": RECIPE.replace("0.0", "0.2") + "general: runs/M4\n",
    "trainer/configs/cpu.yaml": RECIPE + "use_cpu: true\n",
    "trainer/configs/overrides/dose.yaml": "# lies over\nrows: 50\n",
    "trainer/configs/overrides/wrong.yaml": "# lies over\nrowz: 50\n",
    "trainer/configs/accelerate/fsdp2.yaml": "# shared\n",
    "trainer/configs/accelerate/ddp.yaml": "# shared\n",
    "Makefile": "setup:\n",
}
HOSTILE = ["it's", 'say "hi"', "a; touch owned", "$(touch owned)", "`touch owned`", "$HOME", "-x", "a\nb", "&& a", "*"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    return make_checkout(tmp_path_factory.mktemp("made"), FILES)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackJobs]:
    """A Hub that somebody is logged in on."""
    with LoopbackJobs().running() as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield running


def call(made: Checkout, *words: str, config: str = "mirage", out: str = OUT, flavor: str = "h200x8") -> dict[str, Any]:
    """Runs the verb on a made checkout."""
    return job.run(arguments(made, config, out, flavor, *words), made.folder)


def arguments(made: Checkout, config: str, out: str, flavor: str, *words: str, base: str = BASE) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    job.add_arguments(parser)
    recipe = str(made.folder / f"trainer/configs/{config}.yaml")
    return parser.parse_args([base, MIS, out, "--config", recipe, "--flavor", flavor, *words])


@pytest.fixture(scope="module")
def ready(made: Checkout) -> Job:
    """A job that is only to be launched."""
    return job.make_job(arguments(made, "mirage", OUT, "h200x8"), made.folder)


# What is shown


def test_without_yes_everything_is_shown_and_nobody_asked(
    made: Checkout, hub: LoopbackJobs, capsys: pytest.CaptureFixture[str]
) -> None:
    head = made.git("rev-parse", "HEAD")
    found = call(made, "--override", str(made.folder / "trainer/configs/overrides/dose.yaml"), "--limit", "64")
    script = found["command"][2].splitlines()
    assert found.pop("command")[:2] == ["bash", "-c"]
    assert len(found["labels"].pop("out")) == 32
    assert found == {
        "launched": False,
        "image": "python:3.11-bookworm",
        "flavor": "h200x8",
        "gpus": 8,
        "timeout": "12h",
        "volumes": [
            "hf://models/org/base-hf:/mnt/base:ro",
            "hf://datasets/org/MIS:/mnt/mis:ro",
            "hf://buckets/org/runs:/mnt/out:rw",
        ],
        "secrets": ["HF_TOKEN"],
        "labels": {"recipe": "mirage-dose", "commit": head},
    }
    assert script == [
        "set -eu",
        'cd -- "${TMPDIR:-/tmp}"',
        "git clone --quiet -- https://example.org/mis.git mis",
        "cd mis",
        f"git checkout --quiet --detach {head}",
        "make setup",
        "exec .venv/bin/accelerate launch --config_file trainer/configs/accelerate/ddp.yaml --num_processes 8 "
        "-m trainer sft /mnt/base /mnt/mis /mnt/out/arms/mirage --config trainer/configs/mirage.yaml "
        "--override trainer/configs/overrides/dose.yaml --seed 0 --limit 64",
    ]
    told = capsys.readouterr().err
    assert all(line in told for line in [*script, *found["volumes"], "h200x8", "12h", "Nothing was launched"])
    assert TOKEN not in told
    assert hub.asked == []


def test_one_gpu_needs_no_launcher_and_several_share_as_they_are_told(made: Checkout) -> None:
    alone = call(made, flavor="l40sx1")["command"][2].splitlines()[-1]
    assert alone.startswith("exec .venv/bin/python -m trainer sft /mnt/base /mnt/mis /mnt/out/arms/mirage --config")
    shared = call(made, "--parallel", "ddp", flavor="a10g-largex2")["command"][2].splitlines()[-1]
    assert "accelerate launch --config_file trainer/configs/accelerate/ddp.yaml --num_processes 2 -m trainer" in shared
    with pytest.raises(UsageError, match="--parallel: l40sx1 has 1 GPUs, it is for several; leave it out"):
        call(made, "--parallel", "ddp", flavor="l40sx1")
    with pytest.raises(MISError, match=r"zero3.yaml: is not in commit"):
        call(made, "--parallel", "zero3")


def test_every_machine_of_the_client_is_known() -> None:
    assert set(job.FLAVORS) == {flavor.value for flavor in JobHardware}
    counted = {name: count for name, count in job.FLAVORS.items() if re.search(r"x\d$", name)}
    assert counted == {name: int(name[-1]) for name in counted}
    assert all(name.startswith("cpu-") == (count == 0) for name, count in job.FLAVORS.items())


def test_base_and_rows_may_lie_in_buckets_and_at_revisions(made: Checkout) -> None:
    args = arguments(
        made, "general", "hf://buckets/org/runs", "h200", "--general", "org/M4@v1", base="hf://buckets/org/b/8b"
    )
    found = job.run(args, made.folder)
    assert found["volumes"] == [
        "hf://buckets/org/b/8b:/mnt/base:ro",
        "hf://datasets/org/MIS:/mnt/mis:ro",
        "hf://buckets/org/runs:/mnt/out:rw",
        "hf://datasets/org/M4@v1:/mnt/general:ro",
    ]
    assert " /mnt/base /mnt/mis /mnt/out --config " in found["command"][2]


@pytest.mark.parametrize("out", ["runs", "hf://models/org/runs", "org/runs/../other", "", "org/b/a\nb", "org//x"])
def test_an_out_that_is_no_folder_of_a_bucket_is_refused(made: Checkout, out: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"OUT {out!r}")):
        call(made, out=out)


def test_general_rows_are_mounted_where_the_recipe_looks_for_them(made: Checkout) -> None:
    found = call(made, "--general", "hf://buckets/org/M4", config="general")
    assert found["volumes"][3] == "hf://buckets/org/M4:/mnt/general:ro"
    assert found["command"][2].splitlines()[6:8] == ["mkdir -p -- runs", "ln -sT -- /mnt/general runs/M4"]
    with pytest.raises(UsageError, match="mixes in rows of runs/M4; name with --general where they lie"):
        call(made, config="general")
    with pytest.raises(UsageError, match="the recipe mixes in no rows of a dataset"):
        call(made, "--general", "org/M4")


def test_a_recipe_that_is_wrong_or_of_the_cpu_rents_no_gpus(made: Checkout) -> None:
    with pytest.raises(UsageError, match=r"cpu.yaml: trains on the CPU \(use_cpu\), and h200x8 has GPUs"):
        call(made, config="cpu")
    assert call(made, config="cpu", flavor="cpu-upgrade")["gpus"] == 0
    with pytest.raises(MISError, match=r"wrong.yaml: no setting of a recipe: rowz"):
        call(made, "--override", str(made.folder / "trainer/configs/overrides/wrong.yaml"))


def test_what_is_not_pushed_is_not_launched(made: Checkout, hub: LoopbackJobs) -> None:
    made.write("left.py", "")
    with pytest.raises(MISError, match=r"is not as committed: left\.py; commit and push"):
        call(made, "--yes")
    head = made.git("rev-parse", "HEAD")
    assert call(made, "--code", f"https://example.com/fork@{head}")["labels"]["commit"] == head
    (made.folder / "left.py").unlink()
    assert hub.asked == []


@pytest.mark.parametrize(
    "words",
    [["--timeout", "0h"], ["--timeout", "soon"], ["--timeout", "1.5"], ["--flavor", "h300"], ["--namespace", "a/../b"]],
)
def test_wrong_words_exit_2(made: Checkout, words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        call(made, *words)
    assert caught.value.code == 2


def test_follow_without_yes_is_refused_and_the_verb_says_what_is_wrong() -> None:
    words = ["job", BASE, MIS, OUT, "--config", job.CHECKOUT / "trainer/configs/mini_contrast.yaml", "--flavor"]
    code, said, errors = attempt(*words, "cpu-upgrade", "--follow")
    assert (code, said) == (2, "")
    assert errors == "job: --follow shows the log of a job that is launched; give --yes too\n"
    code, said, errors = attempt(*words, "cpu-upgrade", "--code", f"https://example.org/x@{'0' * 40}", "--yes")
    assert (code, said) == (1, "")
    assert f"does not know commit {'0' * 40}" in errors


# Launching


def test_what_was_shown_is_launched_and_the_token_is_a_secret_only(
    made: Checkout, hub: LoopbackJobs, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = call(made, "--namespace", "org")
    found = call(made, "--namespace", "org", "--yes")
    assert found == shown | {"launched": True, "job": "job1", "url": f"{hub.url}/jobs/org/job1", "stage": "SCHEDULING"}
    spec = hub.launched[0]
    assert spec.pop("secrets") == {"HF_TOKEN": TOKEN}
    assert spec == {
        "command": shown["command"],
        "arguments": [],
        "environment": {},
        "flavor": "h200x8",
        "timeoutSeconds": 43200,
        "labels": shown["labels"] | {"name": "sft-mirage"},
        "volumes": [
            {"type": "model", "source": "org/base-hf", "mountPath": "/mnt/base", "readOnly": True},
            {"type": "dataset", "source": "org/MIS", "mountPath": "/mnt/mis", "readOnly": True},
            {"type": "bucket", "source": "org/runs", "mountPath": "/mnt/out", "readOnly": False},
        ],
        "dockerImage": "python:3.11-bookworm",
    }
    assert hub.tokens == {f"Bearer {TOKEN}"}
    assert hub.asked[-1] == "POST /api/jobs/org"
    assert TOKEN not in json.dumps(found) + json.dumps(spec) + "".join(capsys.readouterr())


def test_who_is_logged_in_pays_unless_another_is_named(made: Checkout, hub: LoopbackJobs) -> None:
    assert call(made, "--yes")["url"] == f"{hub.url}/jobs/me/job1"
    assert hub.asked[0] == "GET /api/whoami-v2"


def test_no_second_job_writes_to_the_same_folder(made: Checkout, hub: LoopbackJobs) -> None:
    call(made, "--yes")
    with pytest.raises(MISError, match="jobs/me/job1: is at work on the same OUT; wait for it, or `hf jobs cancel"):
        call(made, "--yes", flavor="h200")
    call(made, "--yes", out="org/runs/arms/other")
    hub.jobs["job1"]["status"]["stage"] = "ERROR"
    assert call(made, "--yes")["job"] == "job3"


def test_a_job_is_followed_to_its_end(made: Checkout, hub: LoopbackJobs, capsys: pytest.CaptureFixture[str]) -> None:
    hub.log = ["{'loss': 1.5}", f"env: {TOKEN}", "\x1b[2Jgone"]
    found = call(made, "--yes", "--follow")
    assert (found["stage"], found["passed"]) == ("COMPLETED", True)
    told = capsys.readouterr().err
    assert "{'loss': 1.5}\nenv: ***\n\\x1b[2Jgone\n" in told
    assert TOKEN not in told


@pytest.mark.parametrize("stage", ["ERROR", "CANCELED", "DELETED"])
def test_a_job_that_does_not_complete_has_not_passed(
    ready: Job, hub: LoopbackJobs, capsys: pytest.CaptureFixture[str], stage: str
) -> None:
    hub.end = (stage, "Job timeout")
    found = job.launch(ready, "org", True)
    assert (found["stage"], found["passed"]) == (stage, False)
    told = f"ended as {stage} (Job timeout); the same command goes on from its last checkpoint\n"
    assert capsys.readouterr().err.endswith(told)


def test_who_is_not_logged_in_is_told_so(made: Checkout, hub: LoopbackJobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(MISError, match="nobody is logged in on the Hub; `hf auth login`, or put a token into HF_TOKEN"):
        call(made, "--yes")
    assert hub.asked == []


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (401, "it does not know the token"),
        (402, "the account has no credit left; add some at"),
        (403, "the token may not do this"),
        (404, "no such namespace, model, dataset or bucket"),
        (429, "too many requests; wait a few minutes"),
        (400, "it says .*Bearer \\*\\*\\* is not allowed"),
        (500, "run it again, which launches no second one"),
        (503, "run it again, which launches no second one"),
    ],
)
@pytest.mark.parametrize("where", ["whoami", "launch"])
def test_what_the_hub_refuses_is_one_message_without_the_token(
    ready: Job, hub: LoopbackJobs, where: str, status: int, told: str
) -> None:
    hub.faults = {where: status}
    doing = "launching the job" if where == "launch" else "asking the Hub"
    with pytest.raises(MISError, match=f"^{doing}: the Hub answers {status}: {told}") as caught:
        job.launch(ready, None, False)
    assert TOKEN not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert hub.launched == []


def test_nothing_is_launched_where_it_cannot_be_told_what_is_at_work(ready: Job, hub: LoopbackJobs) -> None:
    hub.faults = {"list": 403}
    with pytest.raises(MISError, match="asking the Hub: the Hub answers 403: the token may not do this"):
        job.launch(ready, None, False)
    assert hub.launched == []


def test_what_is_not_the_hub_is_told_as_that(ready: Job, hub: LoopbackJobs, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.faults = {"launch": 0}
    with pytest.raises(MISError, match=r"launching the job: what answers is not the Hub \(\w+\); look at HF_ENDPOINT"):
        job.launch(ready, None, False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(MISError, match="the Hub may not be asked while HF_HUB_OFFLINE is set"):
        job.launch(ready, None, False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(MISError, match=r"asking the Hub: the Hub cannot be reached, or broke off \(\w+\); run it"):
        job.launch(ready, None, False)


@pytest.mark.parametrize("where", ["log", "inspect"])
def test_a_log_that_breaks_off_leaves_the_job_and_says_so(ready: Job, hub: LoopbackJobs, where: str) -> None:
    hub.faults = {where: 403}
    with pytest.raises(
        MISError, match=r"me/job1: was launched and goes on \(`hf jobs logs job1`\): the Hub answers 403"
    ):
        job.launch(ready, None, True)
    assert len(hub.launched) == 1


# What the script does


def run_script(script: str, made: Checkout, folder: Path) -> tuple[list[str], str]:
    """Runs a script, but for `make` and what it installs; returns the words of its last command, and its commit."""
    stubs = folder / "stubs"
    stubs.mkdir(parents=True)
    record = '#!/bin/sh\ngit rev-parse HEAD > "$RECORD.commit"\nprintf "%s\\0" ".venv/bin/${0##*/}" "$@" > "$RECORD"\n'
    copies = "".join(f'cp "{stubs}/record" .venv/bin/{name}\n' for name in ("python", "accelerate"))
    setup = f"#!/bin/sh\nmkdir -p .venv/bin\n{copies}"
    for name, text in (("record", record), ("make", setup)):
        (stubs / name).write_text(text)
        (stubs / name).chmod(0o755)
    (folder / "there").mkdir()
    env = {**made.env, "PATH": f"{stubs}:{os.environ['PATH']}", "TMPDIR": str(folder / "there")}
    env |= {"RECORD": str(folder / "said")}
    subprocess.run(["bash", "-c", script], env=env, check=True, capture_output=True, cwd=folder)
    words = (folder / "said").read_bytes().decode().split("\0")[:-1]
    return words, (folder / "said.commit").read_text().strip()


def test_the_script_clones_the_commit_and_trains_in_it(made: Checkout, tmp_path: Path) -> None:
    head = made.git("rev-parse", "HEAD")
    found = call(made, "--general", "org/M4", config="general")
    words, commit = run_script(found["command"][2], made, tmp_path)
    assert words[:4] == [".venv/bin/accelerate", "launch", "--config_file", "trainer/configs/accelerate/ddp.yaml"]
    assert words[4:10] == ["--num_processes", "8", "-m", "trainer", "sft", "/mnt/base"]
    assert commit == head
    there = tmp_path / "there/mis"
    assert (there / "trainer/configs/general.yaml").read_text() == FILES["trainer/configs/general.yaml"]
    assert (there / "runs/M4").readlink() == Path("/mnt/general")


def test_whatever_a_word_holds_it_arrives_as_one(made: Checkout, tmp_path: Path) -> None:
    commit = Commit(URL, made.git("rev-parse", "HEAD"))
    general = "runs/" + "".join(HOSTILE)
    script = job.remote_script(commit, [".venv/bin/python", *HOSTILE, *(f"--x={word}" for word in HOSTILE)], general)
    words, _ = run_script(script, made, tmp_path)
    assert words == [".venv/bin/python", *HOSTILE, *(f"--x={word}" for word in HOSTILE)]
    assert (tmp_path / "there/mis" / general).readlink() == Path("/mnt/general")
    assert list(tmp_path.rglob("owned")) == []


def test_a_hostile_folder_and_recipe_arrive_as_one_word_each(made: Checkout, tmp_path: Path) -> None:
    name = 'it\'s $(touch owned); "x"'
    copied = Checkout(tmp_path / "copied", made.env)
    shutil.copytree(made.folder, copied.folder)
    copied.write(f"trainer/configs/{name}.yaml", FILES["trainer/configs/mirage.yaml"])
    copied.commit()
    found = call(copied, config=name, out=f"org/runs/{name}", flavor="h200")
    words, _ = run_script(found["command"][2], copied, tmp_path / "ran")
    assert words == [
        *(".venv/bin/python", "-m", "trainer", "sft", "/mnt/base", "/mnt/mis", f"/mnt/out/{name}"),
        *("--config", f"trainer/configs/{name}.yaml", "--seed", "0"),
    ]
    assert re.fullmatch("[A-Za-z0-9_-]+", found["labels"]["recipe"])
    assert list(tmp_path.rglob("owned")) == []


def test_words_that_are_not_quoted_would_be_caught(made: Checkout, tmp_path: Path) -> None:
    commit = Commit(URL, made.git("rev-parse", "HEAD"))
    script = job.remote_script(commit, [".venv/bin/python", "WORD"])
    words, _ = run_script(script.replace("WORD", "$(touch owned) x"), made, tmp_path)
    assert words == [".venv/bin/python", "x"]
    assert len(list(tmp_path.rglob("owned"))) == 1


def test_a_step_that_fails_ends_the_job(made: Checkout, tmp_path: Path) -> None:
    script = job.remote_script(Commit(URL, "0" * 40), [".venv/bin/python"])
    with pytest.raises(subprocess.CalledProcessError):
        run_script(script, made, tmp_path)
    assert not (tmp_path / "said").exists()
