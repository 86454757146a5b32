"""What a folder of each kind must and may hold."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cards.kinds import KINDS, check_folder, kind_of, problems_of, version_of
from cards.reading import CardError
from tests.made_folders import (
    WEIGHTS,
    adapter_folder,
    dataset_folder,
    demo_folder,
    metric_folder,
    model_folder,
    write,
    write_sums,
)

MAKERS: dict[str, Callable[[Path], Path]] = {
    "dataset": dataset_folder,
    "model": model_folder,
    "adapter": adapter_folder,
    "metric": metric_folder,
    "demo": demo_folder,
}


@pytest.mark.parametrize("name", MAKERS)
def test_a_folder_is_known_by_what_lies_there_and_is_good(name: str, tmp_path: Path) -> None:
    folder = MAKERS[name](tmp_path / "pair_accuracy")
    assert kind_of(folder).name == name
    paths = check_folder(folder, KINDS[name])
    assert paths == sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", MAKERS)
def test_every_required_file_is_missed(name: str, tmp_path: Path) -> None:
    for number, pattern in enumerate(KINDS[name].required):
        folder = MAKERS[name](tmp_path / str(number) / "pair_accuracy")
        wanted = pattern.format(name="pair_accuracy").split("|")
        for path in list(folder.glob(wanted[0])):
            path.unlink()
        problems = problems_of(folder, KINDS[name])
        assert f"{' or '.join(wanted)} is missing" in problems
        hinted = any("those of MIS by `cards dataset`" in problem for problem in problems)
        assert hinted == (pattern == "README.md")


def test_a_folder_of_no_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CardError, match="is of no kind that is published"):
        kind_of(tmp_path)
    with pytest.raises(CardError, match="no such folder"):
        kind_of(tmp_path / "gone")


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("pytorch_model.bin", "a pickle, which runs code where it is loaded"),
        ("weights.pt", "a pickle"),
        ("kept.pkl", "a pickle"),
        ("last.ckpt", "a pickle"),
        ("optimizer.safetensors", "the state of a training"),
        ("trainer_state.json", "the state of a training"),
        ("checkpoint-8/model.safetensors", "weights of another place"),
        (".env", "a hidden file"),
        (".git/config", "a hidden file"),
        ("__pycache__/app.txt", "a cache of Python"),
        ("notes.txt", "nothing that it has a place for"),
    ],
)
def test_what_has_no_place_in_a_model_is_refused(path: str, why: str, tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model")
    write(folder, {path: "x"})
    (problem,) = [line for line in problems_of(folder, KINDS["model"]) if "SHA256SUMS" not in line]
    assert problem.startswith(f"{path} has no place in a folder of kind model: {why}")


def test_a_loading_script_beside_a_dataset_is_refused(tmp_path: Path) -> None:
    folder = write(dataset_folder(tmp_path / "MIS"), {"mis_dataset.py": "x", "data/model.safetensors": "x"})
    assert problems_of(folder, KINDS["dataset"]) == [
        "data/model.safetensors has no place in a folder of kind dataset: weights of another place; move it away",
        "mis_dataset.py has no place in a folder of kind dataset: a loading script, beside which newer versions of "
        "datasets refuse to load; move it away",
    ]


def test_links_that_lead_outside_or_nowhere_are_refused_and_others_are_not(tmp_path: Path) -> None:
    folder = demo_folder(tmp_path / "demo")
    (tmp_path / "outside.css").write_text("p {}")
    (folder / "far.css").symlink_to(tmp_path / "outside.css")
    (folder / "gone.css").symlink_to(folder / "nothing.css")
    (folder / "near.css").symlink_to(folder / "style.css")
    (folder / "all").symlink_to(tmp_path)
    assert problems_of(folder, KINDS["demo"]) == [
        "all is a link that leads outside of the folder; copy what it stands for",
        "far.css is a link that leads outside of the folder; copy what it stands for",
        "gone.css is a link to no file; copy what it stands for",
    ]


def test_a_token_in_any_text_is_found_wherever_it_stands(tmp_path: Path) -> None:
    folder = demo_folder(tmp_path / "demo")
    token = "hf_" + "aB3" * 12
    write(folder, {"page.py": "#" * (2**20 - 9) + token, "style.css": "hf_short"})
    (problem,) = problems_of(folder, KINDS["demo"])
    assert problem.startswith("page.py holds what looks like a token of the Hub")
    assert token not in problem


def test_code_that_would_be_loaded_with_a_model_is_refused(tmp_path: Path) -> None:
    folder = write(model_folder(tmp_path / "model"), {"config.json": '{"auto_map": {"AutoModel": "evil.Model"}}'})
    write_sums(folder)
    (problem,) = problems_of(folder, KINDS["model"])
    assert problem.startswith("config.json names code that would be loaded with it")
    write_sums(write(folder, {"config.json": '{"x": NaN}'}))
    assert problems_of(folder, KINDS["model"]) == ["config.json is no JSON object; write it again"]


def test_weights_that_are_no_safetensors_are_refused(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model")
    for text in ("", "weights", "\x80\x04a pickle", "\x03" + WEIGHTS[1:]):
        write_sums(write(folder, {"model.safetensors": text}))
        [problem] = problems_of(folder, KINDS["model"])
        assert problem.startswith("model.safetensors is not in the format of safetensors, perhaps a pickle")


def test_sums_that_do_not_fit_are_told_file_by_file(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model")
    write(folder, {"model.safetensors": WEIGHTS + " ", "merges.txt": "new"})
    (folder / "NOTICE").unlink()
    assert problems_of(folder, KINDS["model"]) == [
        "NOTICE is missing",
        "NOTICE stands in SHA256SUMS and is missing",
        "merges.txt does not stand in SHA256SUMS; write that again",
        "model.safetensors has another sha256 than SHA256SUMS says; one of them was changed",
    ]
    write(model_folder(tmp_path / "other"), {"SHA256SUMS": "nonsense\n"})
    assert any("has a line that is not" in line for line in problems_of(tmp_path / "other", KINDS["model"]))


def test_parquet_that_does_not_fit_the_manifest_is_told(tmp_path: Path) -> None:
    folder = dataset_folder(tmp_path / "MIS")
    write(folder, {"data/train-00000-of-00002.parquet": "other", "data/test_easy-00000-of-00001.parquet": "new"})
    (folder / "data/train-00001-of-00002.parquet").unlink()
    assert problems_of(folder, KINDS["dataset"]) == [
        "data/test_easy-00000-of-00001.parquet does not stand in MANIFEST.json; build the dataset again",
        "data/train-00000-of-00002.parquet has another sha256 than MANIFEST.json says; build the dataset again",
        "data/train-00001-of-00002.parquet stands in MANIFEST.json and is missing; build the dataset again",
    ]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"limit": 5}, "MANIFEST.json is of a trial"),
        ({"data_version": "0-z"}, "MANIFEST.json is of version '0-z', this is 1-a"),
        ({"files": None}, "MANIFEST.json was not written by"),
    ],
)
def test_a_trial_or_another_version_of_a_dataset_is_refused(
    change: dict[str, object], problem: str, tmp_path: Path
) -> None:
    folder = dataset_folder(tmp_path / "MIS")
    told = json.loads((folder / "MANIFEST.json").read_text())
    write(folder, {"MANIFEST.json": json.dumps(told | change)})
    assert [line[: len(problem)] for line in problems_of(folder, KINDS["dataset"])] == [problem]


def test_a_space_says_its_sdk(tmp_path: Path) -> None:
    folder = write(demo_folder(tmp_path / "demo"), {"README.md": "# no header\nsdk: gradio\n"})
    assert problems_of(folder, KINDS["demo"]) == [
        "README.md has no sdk in its header, without which the Hub makes no Space; write sdk: gradio"
    ]


def test_all_problems_are_one_error_that_names_the_folder(tmp_path: Path) -> None:
    folder = write(demo_folder(tmp_path / "demo"), {".env": "x", "b.bin": "x"})
    with pytest.raises(CardError) as caught:
        check_folder(folder, KINDS["demo"])
    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"{folder}: ") for line in lines)


def test_a_version_stands_where_its_kind_has_it(tmp_path: Path) -> None:
    versions = {name: version_of(make(tmp_path / name), KINDS[name]) for name, make in MAKERS.items()}
    assert versions == {"dataset": "1-a", "model": "0.1", "adapter": None, "metric": "1-b", "demo": None}


def test_the_metrics_of_this_repository_have_no_stray_file(tmp_path: Path) -> None:
    source = Path(__file__).resolve().parents[1] / "cards" / "pair_accuracy"
    folder = shutil.copytree(source, tmp_path / "pair_accuracy", ignore=shutil.ignore_patterns("__pycache__"))
    assert problems_of(folder, KINDS["metric"]) == []
    write(folder, {"notes.txt": "mine"})
    (problem,) = problems_of(folder, KINDS["metric"])
    assert problem.startswith("notes.txt has no place in a folder of kind metric")
