"""Artefacts: what was appended is on disk, a killed run goes on, and other settings are refused."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mis_dataset.files import write_json
from trainer import files
from trainer.artefacts import Ability, Response, Verdict, open_artefact, read
from trainer.files import (
    ArtefactError,
    adapter_files,
    checkpoint_files,
    git_commit,
    library_versions,
    sha256_of,
    sha256_text,
)
from trainer.questions import split_of
from trainer.sidecars import make_sidecar, read_sidecar, sidecar_path, write_derived, write_sidecar

ROWS = [Response(f"train/{n}", f"The lamp is on. {n}", "stop") for n in range(1, 7)]
ORDER = [row.id for row in ROWS]


def test_rows_come_back_in_the_order_of_the_input(tmp_path: Path) -> None:
    path = tmp_path / "responses.jsonl"
    artefact = open_artefact(path, Response, {"seed": 0}, [])
    artefact.append([ROWS[3], ROWS[0]])
    artefact.append([ROWS[5], ROWS[1], ROWS[4], ROWS[2]])
    assert not path.exists()
    assert artefact.finish(ORDER) == path
    assert read(path, Response) == ROWS
    assert not (tmp_path / "responses.jsonl.part").exists()


def test_a_run_killed_in_the_middle_of_a_line_ends_with_the_same_bytes(tmp_path: Path) -> None:
    whole = open_artefact(tmp_path / "whole.jsonl", Response, {"seed": 0}, [])
    whole.append(ROWS)
    whole.finish(ORDER)
    path = tmp_path / "killed.jsonl"
    open_artefact(path, Response, {"seed": 0}, []).append(ROWS[:2])
    with (tmp_path / "killed.jsonl.part").open("a") as file:
        file.write('{"id": "train/3", "resp')
    again = open_artefact(path, Response, {"seed": 0}, [])
    assert again.done == {"train/1", "train/2"}
    again.append(ROWS[2:])
    again.finish(ORDER)
    assert path.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert sidecar_path(path).read_bytes() == sidecar_path(tmp_path / "whole.jsonl").read_bytes()


def test_an_appended_batch_outlives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "responses.jsonl"
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from trainer.artefacts import Response, open_artefact\n"
        "open_artefact(Path(sys.argv[1]), Response, {}, []).append([Response('train/1', 'Yes.', 'stop')])\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    code = subprocess.run([sys.executable, "-c", program, str(path)], check=False, cwd=Path.cwd()).returncode
    assert code == -signal.SIGKILL
    assert open_artefact(path, Response, {}, []).done == {"train/1"}


def test_other_settings_are_refused_with_both_values(tmp_path: Path) -> None:
    path = tmp_path / "responses.jsonl"
    open_artefact(path, Response, {"seed": 0}, []).append(ROWS[:1])
    with pytest.raises(ArtefactError, match=r"responses\.jsonl was made with another setting: seed was 0, now it is 1"):
        open_artefact(path, Response, {"seed": 1}, [])
    with pytest.raises(ArtefactError, match="another kind: kind was 'response', now it is 'verdict'"):
        open_artefact(path, Verdict, {"seed": 0}, [])


def test_a_changed_input_is_refused_and_named(tmp_path: Path) -> None:
    source = tmp_path / "in.txt"
    source.write_text("a candle")
    path = tmp_path / "run" / "responses.jsonl"
    open_artefact(path, Response, {}, [source]).append(ROWS[:1])
    assert open_artefact(path, Response, {}, [source]).done == {"train/1"}
    source.write_text("a lamp")
    with pytest.raises(ArtefactError, match=r"another input: \.\./in\.txt was "):
        open_artefact(path, Response, {}, [source])


def test_a_finished_artefact_can_be_opened_again_and_written_nothing_new(tmp_path: Path) -> None:
    path = tmp_path / "responses.jsonl"
    first = open_artefact(path, Response, {}, [])
    first.append(ROWS)
    first.finish(ORDER)
    before = path.read_bytes()
    again = open_artefact(path, Response, {}, [])
    assert again.done == set(ORDER)
    again.finish(ORDER)
    assert path.read_bytes() == before


def test_more_rows_after_a_finish_keep_the_old_ones(tmp_path: Path) -> None:
    path = tmp_path / "responses.jsonl"
    first = open_artefact(path, Response, {}, [])
    first.append(ROWS[:2])
    first.finish(ORDER[:2])
    again = open_artefact(path, Response, {}, [])
    again.append(ROWS[2:])
    again.finish(ORDER)
    assert read(path, Response) == ROWS


def test_forgotten_rows_are_made_anew_and_stay_in_the_file_until_then(tmp_path: Path) -> None:
    test_rows_come_back_in_the_order_of_the_input(tmp_path)
    open_artefact(tmp_path / "responses.jsonl", Response, {"seed": 0}, []).forget(lambda row: row == ROWS[1])
    assert read(tmp_path / "responses.jsonl", Response) == ROWS
    assert open_artefact(tmp_path / "responses.jsonl", Response, {"seed": 0}, []).done == {*ORDER} - {"train/2"}


def test_finish_refuses_missing_and_unasked_ids(tmp_path: Path) -> None:
    artefact = open_artefact(tmp_path / "responses.jsonl", Response, {}, [])
    artefact.append(ROWS[:2])
    with pytest.raises(ArtefactError, match=r"1 ids are missing \(first: \['train/3'\]\)"):
        artefact.finish(["train/1", "train/2", "train/3"])
    with pytest.raises(ArtefactError, match=r"1 were not asked for \(first: \['train/2'\]\)"):
        artefact.finish(["train/1"])
    with pytest.raises(ArtefactError, match="1 asked for twice"):
        artefact.finish(["train/1", "train/2", "train/2"])


def test_an_id_is_appended_once(tmp_path: Path) -> None:
    artefact = open_artefact(tmp_path / "responses.jsonl", Response, {}, [])
    artefact.append(ROWS[:1])
    with pytest.raises(ArtefactError, match="id train/1 is there already"):
        artefact.append(ROWS[:1])
    assert open_artefact(tmp_path / "responses.jsonl", Response, {}, []).done == {"train/1"}


GOOD = {"id": "train/1", "verdict": "Safe", "perception": 1, "judge": "mini_rules", "reason": None}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (json.dumps(GOOD | {"score": 1}), "line 1: expected the keys"),
        ('{"id": "train/1"}', "line 1: expected the keys"),
        ("[1]", "found list"),
        ("not json", "line 1 is no JSON"),
        (json.dumps(GOOD | {"verdict": "safe"}), "verdict must be one of"),
        (json.dumps(GOOD | {"perception": True}), "perception must be one of"),
        (json.dumps(GOOD | {"perception": 0}), "perception is 0 where the verdict is Unscored"),
        (json.dumps(GOOD | {"reason": 1}), "reason must be str | None, found int"),
        (json.dumps(GOOD | {"id": "train"}), "not of the form"),
        (json.dumps(GOOD) + "\n" + json.dumps(GOOD), "line 2: id 'train/1' stands there twice"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "verdicts.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(ArtefactError) as error:
        read(path, Verdict)
    assert str(path) in str(error.value)
    assert says in str(error.value)


def test_a_good_line_reads(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.jsonl"
    path.write_text(json.dumps(GOOD) + "\n")
    assert read(path, Verdict) == [Verdict("train/1", "Safe", 1, "mini_rules", None)]


def test_a_last_line_without_an_end_is_read_or_refused_but_never_left_out(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.jsonl"
    path.write_text(json.dumps(GOOD) + "\n" + json.dumps(GOOD | {"id": "train/2"}))
    assert [row.id for row in read(path, Verdict)] == ["train/1", "train/2"]
    path.write_text(json.dumps(GOOD) + "\n" + '{"id": "train/2", "verd')
    with pytest.raises(ArtefactError, match="line 2 is no JSON"):
        read(path, Verdict)
    path.write_bytes(json.dumps(GOOD).encode() + b'\n{"id": "\xe2\x80')
    with pytest.raises(ArtefactError, match=r"verdicts\.jsonl: cannot be read"):
        read(path, Verdict)


def test_what_is_derived_is_written_once_and_anew_when_it_or_what_it_is_made_from_changes(tmp_path: Path) -> None:
    source, path = tmp_path / "in.txt", tmp_path / "rates.json"
    source.write_text("a candle")

    def write(content: object, seed: int = 0) -> dict[str, int]:
        made = make_sidecar(path, "rates", {"seed": seed}, [source])
        write_derived(path, content, replace(made, git_commit="1" * 40))
        return {file.name: file.stat().st_ino for file in (path, sidecar_path(path))}

    first = write({"rate": 0.5})
    made = make_sidecar(path, "rates", {"seed": 0}, [source])
    write_derived(path, {"rate": 0.5}, replace(made, git_commit="2" * 40))
    assert read_sidecar(path).git_commit == "1" * 40
    assert write({"rate": 0.5}) == first
    assert write({"rate": 0.5}, seed=1) != first
    assert read_sidecar(path).settings == {"seed": 1}
    before = write({"rate": 0.5}, seed=1)
    assert write({"rate": 0.75}, seed=1) != before
    source.write_text("a lamp")
    assert write({"rate": 0.75}, seed=1) != before
    assert read_sidecar(path).inputs == {"in.txt": sha256_text("a lamp")}


def test_a_sidecar_never_stands_before_what_it_speaks_of(tmp_path: Path) -> None:
    path = tmp_path / "rates.json"
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_derived(path, {"rate": float("nan")}, make_sidecar(path, "rates", {}, []))
    assert list(tmp_path.iterdir()) == []
    path.mkdir()  # where the file cannot be written, no sidecar says that it was
    with pytest.raises(OSError, match="directory"):
        write_derived(path, {"rate": 0.5}, make_sidecar(path, "rates", {}, []))
    assert not sidecar_path(path).exists()


def test_what_another_wrote_and_what_is_read_is_not_written_over(tmp_path: Path) -> None:
    notes = tmp_path / "notes.md"
    notes.write_text("mine")
    with pytest.raises(ArtefactError, match=r"notes\.md: is there and was not written by this verb"):
        write_derived(notes, {"rate": 0.5}, make_sidecar(notes, "rates", {}, []))
    with pytest.raises(ArtefactError, match=r"notes\.md: is read here, so it cannot be written"):
        write_derived(notes, {"rate": 0.5}, make_sidecar(notes, "rates", {}, [notes]))
    write_sidecar(notes, make_sidecar(notes, "agreement", {}, []))
    with pytest.raises(ArtefactError, match="was not written by this verb"):
        write_derived(notes, {"rate": 0.5}, make_sidecar(notes, "rates", {}, []))
    assert notes.read_text() == "mine"


def test_half_of_a_surrogate_pair_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "responses.jsonl"
    path.write_text('{"id": "test_hard/0", "response": "\\ud800", "finish_reason": "stop"}\n')
    with pytest.raises(ArtefactError, match="line 1: response holds half of a surrogate pair"):
        read(path, Response)


def test_missing_empty_and_unfinished_files_say_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "ability.jsonl"
    with pytest.raises(ArtefactError, match="no such file: missing; run the verb"):
        read(path, Ability)
    path.write_text("")
    with pytest.raises(ArtefactError, match="is empty"):
        read(path, Ability)
    path.unlink()
    open_artefact(path, Ability, {}, []).append([Ability("text/1", "Paris", True, "facts")])
    with pytest.raises(ArtefactError, match="was stopped"):
        read(path, Ability)


def test_a_line_separator_inside_a_response_is_no_new_line(tmp_path: Path) -> None:
    row = Response("train/1", "One\u2028two\nthree\x85four", "stop")
    artefact = open_artefact(tmp_path / "responses.jsonl", Response, {}, [])
    artefact.append([row])
    artefact.finish(["train/1"])
    assert read(tmp_path / "responses.jsonl", Response) == [row]


def test_the_sidecar_says_where_the_artefact_came_from(tmp_path: Path) -> None:
    folder = tmp_path / "MIS"
    folder.mkdir()
    (folder / "a.txt").write_text("a")
    path = tmp_path / "eval" / "responses.jsonl"
    open_artefact(path, Response, {"seed": 3, "batch": (1, 2)}, [folder])
    sidecar = read_sidecar(path)
    assert sidecar.settings == {"seed": 3, "batch": [1, 2]}
    assert sidecar.inputs == {"../MIS": sha256_text(f"a.txt\0{sha256_text('a')}\n")}
    assert (sidecar.kind, sidecar.device) == ("response", "cpu")
    assert sidecar.versions["torch"] == library_versions(["torch"])["torch"]


def test_the_sidecar_names_every_device_that_rows_were_made_on(tmp_path: Path) -> None:
    path = tmp_path / "responses.jsonl"
    artefact = open_artefact(path, Response, {}, [])
    artefact.made_on("cuda")
    assert read_sidecar(path).device == "cuda"  # no row of it was made on the CPU
    artefact.append(ROWS[:1])
    written = sidecar_path(path).stat().st_mtime_ns
    artefact.made_on("cuda")
    assert sidecar_path(path).stat().st_mtime_ns == written
    again = open_artefact(path, Response, {}, [])
    again.made_on("cpu")
    assert read_sidecar(path).device == "cpu+cuda"
    assert open_artefact(path, Response, {}, []).done == {"train/1"}
    assert read_sidecar(path).device == "cpu+cuda"


def write_files(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text(name)
    return folder


def test_a_checkpoint_is_all_its_shards_and_what_decides_how_they_speak(tmp_path: Path) -> None:
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"]
    others = ["config.json", "generation_config.json", "tokenizer.json", "chat_template.jinja"]
    processors = ["processor_config.json", "preprocessor_config.json"]
    folder = write_files(tmp_path / "model", *shards, *others, *processors, "README.md", "optimizer.pt", "log.jsonl")
    assert [path.name for path in checkpoint_files(folder)] == [*shards, *others, *processors]


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        ((), "config.json"),
        (("model.safetensors",), "config.json"),
        (("config.json", "model.safetensors.index.json"), r"\*\.safetensors"),
    ],
)
def test_a_folder_without_config_or_weights_is_no_checkpoint(
    tmp_path: Path, names: tuple[str, ...], missing: str
) -> None:
    folder = write_files(tmp_path / "model", *names)
    with pytest.raises(ArtefactError, match=rf"model: no checkpoint lies there \({missing} is missing\)"):
        checkpoint_files(folder)


def test_an_adapter_is_its_weights_and_its_config(tmp_path: Path) -> None:
    names = ["adapter_config.json", "adapter_model.safetensors"]
    folder = write_files(tmp_path / "adapter", *names, "tokenizer.json", "README.md")
    assert [path.name for path in adapter_files(folder)] == names
    (folder / "adapter_config.json").unlink()
    with pytest.raises(ArtefactError, match=r"adapter: no adapter lies there \(adapter_config\.json is missing\)"):
        adapter_files(folder)


def test_an_artefact_without_its_sidecar_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "responses.jsonl"
    open_artefact(path, Response, {}, []).append(ROWS[:1])
    sidecar_path(path).unlink()
    with pytest.raises(ArtefactError, match="nothing says how"):
        open_artefact(path, Response, {}, [])


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_json(path, {"rate": 0.5})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"rate": float("nan")})
    assert json.loads(path.read_text()) == {"rate": 0.5}
    assert [file.name for file in tmp_path.iterdir()] == ["report.json"]


def test_hashes_are_those_of_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of(tmp_path / "a") == expected
    assert sha256_text("abc") == expected
    with pytest.raises(ArtefactError, match="no such file or folder"):
        sha256_of(tmp_path / "b")


def test_commit_and_versions_are_what_is_installed() -> None:
    commit = git_commit()
    assert commit is None or re.fullmatch(r"[0-9a-f]{40}(\+dirty)?", commit)
    assert library_versions(["no-such-package-of-ours"]) == {}


def test_a_commit_with_other_files_on_disk_is_called_dirty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "files.py"
    file.write_text("a = 1\n")
    me = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", "."], [*me, "commit", "-qm", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    monkeypatch.setattr(files, "__file__", str(file))
    clean = git_commit()
    assert re.fullmatch("[0-9a-f]{40}", str(clean))
    file.write_text("a = 2\n")
    assert git_commit() == f"{clean}+dirty"


def test_the_split_is_the_part_before_the_slash() -> None:
    assert split_of("test_benign/12") == "test_benign"


@pytest.mark.parametrize("part", ["settings", "inputs", "versions"])
def test_a_sidecar_whose_parts_are_no_objects_is_one_clear_error(tmp_path: Path, part: str) -> None:
    path = tmp_path / "responses.jsonl"
    write_sidecar(path, make_sidecar(path, "response", {}, []))
    found = json.loads(sidecar_path(path).read_text("utf-8"))
    sidecar_path(path).write_text(json.dumps(found | {part: [1]}))
    with pytest.raises(ArtefactError, match="is not a sidecar"):
        read_sidecar(path)
