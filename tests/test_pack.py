"""`python -m cards pack`: a finished run becomes what is published, whole and only that, or nothing is written."""

from __future__ import annotations

import json
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cards.__main__ import main
from cards.alone import alone
from cards.pack import pack
from cards.reading import CardError
from cards.rights import ROOT
from cards.versions import METRICS
from tests.made_cards import TWINS, change
from tests.made_packs import CHECKPOINT, OTHERS_FOLDER, make_packable, sha256, write_safetensors

TEXTS = {"LICENSE", "NOTICE", "README.md"}
CHECKPOINTS = {
    *CHECKPOINT,
    *TEXTS,
    "chat_template.jinja",
    "model.safetensors",
    "SHA256SUMS",
    ".eval_results/mis-mini.yaml",
}
PARQUET = {f"data/{split}-00000-of-00001.parquet" for split in TWINS}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that no test changes."""
    return make_packable(tmp_path_factory.mktemp("packed") / "run")


@pytest.fixture(scope="module")
def out(run: Path) -> Path:
    """Its release; no test changes it."""
    pack(run, run.parent / "out", "someone")
    return run.parent / "out"


@pytest.fixture
def own(run: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may spoil."""
    return Path(shutil.copytree(run, tmp_path / "run"))


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """What changes where a file is written anew."""
    return {name: (found.st_ino, found.st_mtime_ns) for name in files(folder) if (found := (folder / name).stat())}


def test_the_verb_says_what_it_made(run: Path, tmp_path: Path, capsys: Any) -> None:
    assert main(["pack", str(run), str(tmp_path / "out"), "--owner", "someone"]) == 0
    printed = capsys.readouterr()
    told = json.loads(printed.out)
    assert printed.err == ""
    assert (told["verb"], told["owner"]) == ("pack", "someone")
    assert told["release"] == str(tmp_path / "out" / "RELEASE.json")
    assert told["written"] == len(files(tmp_path / "out"))
    assert main(["pack", str(run), str(tmp_path / "out")]) == 2


def test_the_help_keeps_the_list_of_what_is_made(capsys: Any) -> None:
    assert main(["pack", "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "    OUT/adapter/                 the arm's adapter and its card" in lines
    assert lines[lines.index("A finished run -> one folder a Hub repository, each complete and ready to") + 2] == ""


def test_a_release_names_every_folder_its_kind_and_where_it_goes(out: Path) -> None:
    told = json.loads((out / "RELEASE.json").read_text("utf-8"))
    folders = told["folders"]
    assert told["owner"] == "someone"
    assert folders == {
        "dataset": {"kind": "dataset", "repo": "someone/MIS-mini"},
        "base": {"kind": "model", "repo": "someone/mis-mini-base"},
        "model": {"kind": "model", "repo": "someone/mis-mini-contrast"},
        "adapter": {"kind": "adapter", "repo": "someone/mis-mini-contrast-adapter"},
        **{metric: {"kind": "metric", "repo": f"someone/{metric}"} for metric in METRICS},
        "demo": {"kind": "demo", "repo": "someone/MIS-demo"},
    }
    assert told["files"] == {name: sha256(out / name) for name in files(out) - {"RELEASE.json"}}


def test_each_folder_holds_what_its_kind_has_and_nothing_else(out: Path) -> None:
    dataset = {*TEXTS, *PARQUET, "MANIFEST.json", "croissant.json", "eval.yaml"}
    assert files(out / "dataset") == dataset
    for model in ("base", "model"):
        assert files(out / model) == CHECKPOINTS
    assert files(out / "adapter") == {*TEXTS, "adapter_config.json", "adapter_model.safetensors", "SHA256SUMS"}
    for metric in METRICS:
        assert {f"{metric}.py", "README.md", "requirements.txt"} <= files(out / metric)
        for name in files(out / metric) - {"README.md"}:
            assert (out / metric / name).read_bytes() == (ROOT / "cards" / metric / name).read_bytes()


def test_the_cards_of_metrics_and_dataset_load_them_from_where_they_are_published(out: Path) -> None:
    for metric in METRICS:
        before, after = ((folder / metric / "README.md").read_text("utf-8") for folder in (ROOT / "cards", out))
        assert f'evaluate.load("cards/{metric}"' in before
        assert f'evaluate.load("someone/{metric}"' in after
        assert "cards/" not in after
        assert after.replace(f'"someone/{metric}"', f'"cards/{metric}"') == before
    card = (out / "dataset" / "README.md").read_text("utf-8")
    assert 'evaluate.load("someone/pair_accuracy")' in card
    assert "in the checkout" not in card


def test_the_demo_has_what_this_run_measured_and_loads_what_is_published_beside_it(run: Path, out: Path) -> None:
    card = (out / "demo" / "README.md").read_text("utf-8")
    assert "\n- someone/mis-mini-base\n- someone/mis-mini-contrast-adapter\n" in card
    assert "MIS_DATASET=someone/MIS-mini" in card
    assert "OWNER" not in card
    board = json.loads((out / "demo" / "leaderboard.json").read_text("utf-8"))
    names = [line["model"] for line in board["measured"] if line["split"] == "hard"]
    assert names == ["MIS-mini base", "MIS-mini contrast", "MIS-mini mirage", "MIS-mini refusal"]
    assert {line["source"] for line in board["published"]} == {"published"}
    assert (out / "demo" / "things.json").read_bytes() == (run / "raw" / "mini" / "objects.json").read_bytes()
    for name in files(out / "demo") - {"README.md", "leaderboard.json", "things.json"}:
        assert (out / "demo" / name).read_bytes() == (ROOT / "cards" / "demo" / name).read_bytes()


def test_weights_and_rows_are_those_of_the_run_and_take_no_room_of_their_own(run: Path, out: Path) -> None:
    for packed, made in (("base/model", "base"), ("arms/contrast/model", "model")):
        for name in (*CHECKPOINT, "model.safetensors", "chat_template.jinja"):
            assert (out / made / name).read_bytes() == (run / packed / name).read_bytes()
        assert (out / made / "model.safetensors").samefile(run / packed / "model.safetensors")
        assert not (out / made / "config.json").samefile(run / packed / "config.json")
    for name in PARQUET:
        assert (out / "dataset" / name).samefile(run / "MIS" / name)


def test_sha256sum_finds_every_file_as_it_is(out: Path, tmp_path: Path) -> None:
    for folder in ("base", "model", "adapter"):
        ended = subprocess.run(
            ["sha256sum", "--check", "SHA256SUMS"], cwd=out / folder, capture_output=True, text=True, check=True
        )
        found = {line.split(": ")[0] for line in ended.stdout.splitlines()}
        assert found == files(out / folder) - {"SHA256SUMS"}
    shutil.copytree(out / "model", tmp_path / "model", copy_function=shutil.copyfile)
    (tmp_path / "model" / "config.json").write_text("{}")
    assert subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=tmp_path / "model").returncode == 1


def test_no_text_names_the_machine_that_made_it(run: Path, out: Path) -> None:
    assert OTHERS_FOLDER in (run / "arms" / "contrast" / "adapter" / "adapter_config.json").read_text("utf-8")
    for name in files(out):
        content = (out / name).read_bytes()
        for place in (OTHERS_FOLDER, "/home/someone", str(run), str(ROOT), "../"):
            assert place.encode() not in content, name
    config = json.loads((out / "adapter" / "adapter_config.json").read_text("utf-8"))
    assert config["base_model_name_or_path"] == "someone/mis-mini-base"
    assert "| `labels.jsonl` |" in (out / "model" / "README.md").read_text("utf-8")


def test_cards_name_each_other_by_their_ids(out: Path) -> None:
    cards = {name: (out / name / "README.md").read_text("utf-8") for name in ("dataset", "base", "model", "adapter")}
    assert 'load_dataset("someone/MIS-mini")' in cards["dataset"]
    assert 'pipeline("image-text-to-text", model="someone/mis-mini-contrast")' in cards["model"]
    assert 'PeftModel.from_pretrained(base, "someone/mis-mini-contrast-adapter")' in cards["adapter"]
    for line in ("base_model: someone/mis-mini-base", "base_model_relation: adapter", "library_name: peft"):
        assert f"\n{line}\n" in cards["adapter"]
    for line in ("base_model: someone/mis-mini-base", "base_model_relation: finetune"):
        assert f"\n{line}\n" in cards["model"]
    assert "\nbase_model: HuggingFaceTB/SmolLM2-135M-Instruct\n" in cards["base"]
    assert 'pipeline("image-text-to-text", model="someone/mis-mini-base")' in cards["base"]
    assert "On `test_hard` its attack success rate is 100.0 % (38/38; 90.8–100.0), 2 unscored" in cards["base"]
    for text in cards.values():
        assert "ASR alone cannot tell reasoning from refusal" in text
        assert not re.search(r"\{\{|\{%|\n\n\n\n", text)


def test_another_arm_is_published_under_its_own_name(own: Path) -> None:
    shutil.copytree(own / "arms" / "contrast", own / "arms" / "mirage", dirs_exist_ok=True)
    with pytest.raises(CardError, match=r"hashes names no file of arms/mirage/, so no rate is of it"):
        pack(own, own.parent / "out", "someone", "mirage")
    for path in (own / "arms" / "mirage" / "model").iterdir():
        change(own / "report.json", sha256(path), "hashes", path.relative_to(own).as_posix())
    told = pack(own, own.parent / "out", "someone", "mirage")
    assert told["folders"]["adapter"] == "someone/mis-mini-mirage-adapter"
    with pytest.raises(CardError, match="--model 'base': is no arm; choose one of mirage, contrast"):
        pack(own, own.parent / "other", "someone", "base")
    assert not (own.parent / "other").exists()


def test_the_same_command_again_changes_nothing(run: Path, out: Path) -> None:
    before = stamps(out)
    assert pack(run, out, "someone")["written"] == 0
    assert stamps(out) == before


def test_what_changed_is_packed_anew_and_what_is_gone_goes(own: Path) -> None:
    out = own.parent / "out"
    pack(own, out, "someone")
    assert pack(own, out, "another")["written"] == len(files(out))
    assert "another/MIS-mini" in (out / "dataset" / "README.md").read_text("utf-8")
    assert sorted(path.name for path in own.parent.iterdir()) == ["out", "run"]  # nothing is left beside it


def test_a_pack_that_was_killed_is_made_whole(own: Path) -> None:
    out = own.parent / "out"
    half = own.parent / ".out.tmp" / "model"
    half.mkdir(parents=True)
    (half / "left.bin").write_text("half")
    pack(own, out, "someone")
    assert files(out / "model") == CHECKPOINTS
    shutil.rmtree(out)
    out.mkdir()  # an empty folder holds nothing of others
    pack(own, out, "someone")
    assert files(out / "model") == CHECKPOINTS


@pytest.mark.parametrize(
    "place", ["model/notes.txt", "notes.txt", "extra/README.md", "model/README.md", "RELEASE.json"]
)
def test_what_lies_in_out_and_was_not_written_here_is_kept_and_named(own: Path, place: str) -> None:
    out = own.parent / "out"
    pack(own, out, "someone")
    (out / place).parent.mkdir(exist_ok=True)
    (out / place).write_text("{}")
    before = stamps(out)
    with pytest.raises(CardError, match="was not written by `python -m cards pack`, or was changed"):
        pack(own, out, "another")
    assert stamps(out) == before


def test_a_folder_or_a_file_of_others_is_kept(own: Path) -> None:
    (own.parent / "photos").mkdir()
    (own.parent / "photos" / "a.png").write_bytes(b"holiday")
    (own.parent / "file").write_text("mine")
    for name, said in (("photos", r"a\.png: was not written by"), ("file", "is no folder; name another one")):
        with pytest.raises(CardError, match=said):
            pack(own, own.parent / name, "someone")
    assert files(own.parent) - {f"run/{name}" for name in files(own)} == {"photos/a.png", "file"}


def test_a_file_that_went_missing_in_out_is_written_again(own: Path) -> None:
    out = own.parent / "out"
    pack(own, out, "someone")
    (out / "model" / "NOTICE").unlink()
    assert pack(own, out, "someone")["written"] > 0
    assert (out / "model" / "NOTICE").is_file()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("base/model/model.safetensors", "is no longer what the rates of report.json were measured on"),
        ("arms/contrast/model/model.safetensors", "is no longer what the rates of report.json were measured on"),
        ("MIS/data/train-00000-of-00001.parquet", "is not as it was built"),
    ],
)
def test_weights_and_rows_that_are_not_those_that_were_measured_are_refused(own: Path, name: str, said: str) -> None:
    path = own / name
    if path.suffix == ".parquet":
        shutil.copy(own / "MIS/data/test_hard-00000-of-00001.parquet", path)
    else:
        write_safetensors(path, 77)
    with pytest.raises(CardError, match=f"{re.escape(path.name)}: {said}"):
        pack(own, own.parent / "out", "someone")
    assert not (own.parent / "out").exists()


@pytest.mark.parametrize("name", ["base/model/vocab.json", "arms/contrast/model/model-00001-of-00001.safetensors"])
def test_a_file_that_came_into_a_checkpoint_after_it_was_measured_is_refused(own: Path, name: str) -> None:
    if name.endswith(".json"):
        (own / name).write_text("{}")
    else:
        write_safetensors(own / name, 77)
    with pytest.raises(CardError, match=f"{re.escape(name)}: is not among what the rates of report.json were measured"):
        pack(own, own.parent / "out", "someone")
    assert not (own.parent / "out").exists()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("arms/contrast/model/pytorch_model.bin", "has no place in a folder of kind model: a pickle"),
        ("base/model/training_args.bin", "has no place in a folder of kind model: a pickle"),
        ("arms/contrast/adapter/adapter_model.bin", "has no place in a folder of kind adapter: a pickle"),
        ("arms/contrast/adapter/optimizer.pt", "has no place in a folder of kind adapter: a pickle"),
        ("arms/contrast/adapter/adapter_model.safetensors", "is not in the format of safetensors, perhaps a pickle"),
        ("arms/contrast/model/extra.safetensors", "has no place in a folder of kind model: weights of another place"),
        ("arms/contrast/model/notes.txt", "has no place in a folder of kind model: nothing that it has a place for"),
        (
            "arms/contrast/model/modeling_mine.py",
            "has no place in a folder of kind model: nothing that it has a place for",
        ),
    ],
)
def test_a_pickle_and_what_has_no_place_are_refused(own: Path, name: str, said: str) -> None:
    (own / name).write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(CardError, match=f"{re.escape(Path(name).name)} {said}"):
        pack(own, own.parent / "out", "someone")
    assert not (own.parent / "out").exists()


def test_a_checkpoint_that_names_code_is_refused(own: Path) -> None:
    change(own / "arms/contrast/model/config.json", {"AutoModel": "modeling_mine.Mine"}, "auto_map")
    change(
        own / "report.json",
        sha256(own / "arms/contrast/model/config.json"),
        "hashes",
        "arms/contrast/model/config.json",
    )
    with pytest.raises(CardError, match=r"config\.json names code that would be loaded with it \(auto_map\)"):
        pack(own, own.parent / "out", "someone")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("MIS/croissant.json", r"MIS/croissant\.json: no such file"),
        ("arms/contrast/adapter/adapter_config.json", r"adapter/adapter_config\.json: no such file"),
        ("base/model/generation_config.json", r"its base lacks generation_config\.json; run"),
        ("report.json", r"report\.json: no such file"),
    ],
)
def test_a_file_that_a_release_needs_and_the_run_lacks_is_named(own: Path, name: str, said: str) -> None:
    (own / name).unlink()
    if name.startswith("base/"):
        change(own / "report.json", ..., "hashes", name)
    with pytest.raises(CardError, match=said):
        pack(own, own.parent / "out", "someone")


def test_a_croissant_of_another_build_is_refused(own: Path) -> None:
    change(own / "MIS" / "croissant.json", [], "distribution")
    with pytest.raises(CardError, match=r"croissant\.json: is of another build; run `python -m mis_dataset croissant"):
        pack(own, own.parent / "out", "someone")


@pytest.mark.parametrize("owner", ["", "a/b", "../x", "a b", "-a", "a--b", "a.", "<b>", "a\n"])
def test_an_owner_that_is_no_name_on_the_hub_is_refused(run: Path, tmp_path: Path, owner: str) -> None:
    with pytest.raises(CardError, match="is no name on the Hub"):
        pack(run, tmp_path / "out", owner)


def test_every_licence_of_a_card_stands_in_its_notice(out: Path) -> None:
    for folder in ("dataset", "base", "model", "adapter"):
        card, notice = ((out / folder / name).read_text("utf-8") for name in ("README.md", "NOTICE"))
        for licence in ("CC-BY-4.0", "CC-BY-SA-4.0", "OFL", "Twemoji", "OpenMoji", "Noto Emoji"):
            assert licence in card
            assert licence.replace("OFL", "SIL Open Font License 1.1") in notice
        assert (out / folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert "SmolLM2-135M-Instruct" in (out / "model" / "NOTICE").read_text("utf-8")
    assert "Boxicons" in (out / "adapter" / "NOTICE").read_text("utf-8")
    for name in ("SmolLM2", "Boxicons", "MiniLM"):
        assert name not in (out / "dataset" / "NOTICE").read_text("utf-8")
    assert "MiniLM" not in (out / "model" / "NOTICE").read_text("utf-8")


def test_a_run_at_toy_size_has_no_notice_of_a_language_model(own: Path) -> None:
    change(own / "base.meta.json", "random", "settings", "language_model")
    pack(own, own.parent / "out", "someone")
    for folder in ("base", "model", "adapter"):
        assert "SmolLM2" not in (own.parent / "out" / folder / "NOTICE").read_text("utf-8")
        assert "\nbase_model: Hug" not in (own.parent / "out" / folder / "README.md").read_text("utf-8")


def test_two_packs_into_one_folder_wait_for_whoever_writes_there(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "cards", "pack", str(run), str(out), "--owner"]
    with alone(out):
        both = [subprocess.Popen([*command, owner], cwd=ROOT, stdout=subprocess.DEVNULL) for owner in ("one", "other")]
        with pytest.raises(subprocess.TimeoutExpired):
            both[0].wait(3)
        assert list(tmp_path.iterdir()) == []
    assert [process.wait(60) for process in both] == [0, 0]
    told = json.loads((out / "RELEASE.json").read_text("utf-8"))
    assert told["files"] == {name: sha256(out / name) for name in files(out) - {"RELEASE.json"}}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
