"""Where the demo finds what it shows, and what a visitor may do."""

from __future__ import annotations

import ast
import doctest
import sys
from pathlib import Path

import pytest
import yaml

from tests.made_demo import DEMO, NAMES, load

settings, visitors = load("settings"), load("visitors")
HEADER = "---\nmodels:\n- me/base\n- me/adapter\ndatasets:\n- me/MIS\n---\n# Demo\n"
NAMED = {"starlette": "gradio", "huggingface_hub": "huggingface-hub", "PIL": "pillow", "yaml": "pyyaml"}
"""Import -> its name in requirements.txt, where they differ."""


def read(folder: Path, **environment: str) -> object:
    return settings.read_settings(environment, folder)


def test_without_an_environment_the_header_of_the_readme_decides(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(HEADER)
    found = settings.read_settings({}, tmp_path)
    assert (found.dataset, found.base, found.adapter) == ("me/MIS", "me/base", "me/adapter")
    assert (found.things, found.leaderboard, found.limits["MIS_MAX_NEW_TOKENS"]) == (None, None, 64)


def test_the_environment_comes_first_and_an_adapter_of_another_base_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(HEADER)
    found = settings.read_settings({"MIS_BASE": "you/base", "MIS_MAX_NEW_TOKENS": "7"}, tmp_path)
    assert (found.dataset, found.base, found.adapter, found.limits["MIS_MAX_NEW_TOKENS"]) == (
        "me/MIS",
        "you/base",
        None,
        7,
    )
    assert settings.read_settings({"MIS_ADAPTER": "none"}, tmp_path).adapter is None


def test_on_the_hub_the_owner_of_the_space_owns_what_the_shipped_header_names() -> None:
    found = settings.read_settings({"SPACE_ID": "somebody/MIS-demo"})
    assert (found.dataset, found.base) == ("somebody/MIS-mini", "somebody/mis-mini-base")
    assert found.adapter == "somebody/mis-mini-contrast-adapter"
    assert settings.read_settings({}).dataset == "OWNER/MIS-mini"


def test_files_beside_the_demo_are_found(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(HEADER)
    (tmp_path / "things.json").write_text("{}")
    dataset = tmp_path / "MIS"
    dataset.mkdir()
    (dataset / "leaderboard.json").write_text("{}")
    found = settings.read_settings({"MIS_DATASET": str(dataset)}, tmp_path)
    assert (found.things, found.leaderboard) == (tmp_path / "things.json", dataset / "leaderboard.json")


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"MIS_QUEUE": "0"}, "MIS_QUEUE is '0'; set it to a whole number from 1 to 1000"),
        ({"MIS_QUEUE": "x"}, "MIS_QUEUE is 'x'; set it to a whole number from 1 to 1000"),
        ({"MIS_RESULTS": "/none/board.json"}, "MIS_RESULTS: there is no file /none/board.json"),
    ],
)
def test_settings_that_cannot_be_are_told_in_one_line(tmp_path: Path, environment: dict[str, str], told: str) -> None:
    (tmp_path / "README.md").write_text(HEADER)
    with pytest.raises(settings.DemoError, match="^" + told.replace("(", r"\(")):
        read(tmp_path, **environment)


def test_where_nothing_names_a_dataset_or_a_header_is_broken_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(settings.DemoError, match="MIS_DATASET is not set"):
        read(tmp_path)
    (tmp_path / "README.md").write_text("---\n{\n---\n")
    with pytest.raises(settings.DemoError, match="its header is no YAML"):
        read(tmp_path)


def test_a_question_is_cut_and_an_empty_one_refused() -> None:
    assert visitors.read_question("ab cd", 4) == ("ab c", 1)
    assert visitors.read_question("ab\n\u202ecd", 9) == ("ab cd", 0)
    with pytest.raises(settings.DemoError, match="Write a question first"):
        visitors.read_question(" \x00\n", 9)


def test_a_visitor_may_ask_so_often_a_minute_and_others_meanwhile() -> None:
    limit = visitors.RateLimit(2)
    limit.ask("one", 0.0)
    limit.ask("one", 10.0)
    with pytest.raises(settings.DemoError, match=r"2 questions within a minute\. Ask again in 31 s"):
        limit.ask("one", 30.0)
    limit.ask("other", 30.0)
    limit.ask("one", 60.5)
    assert sorted(limit._times) == ["one", "other"]
    limit.ask("third", 500.0)
    assert sorted(limit._times) == ["third"]


def test_the_folder_imports_nothing_but_itself_and_what_it_requires() -> None:
    required = {line.split(">")[0].split("=")[0] for line in (DEMO / "requirements.txt").read_text().split()}
    imported = set()
    for path in DEMO.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(str(node.module).split(".")[0])
    others = imported - set(NAMES) - set(sys.stdlib_module_names)
    # InternVL's processor wants torchvision without this folder naming it.
    assert {NAMED.get(name, name) for name in others} | {"torchvision"} == required
    assert {path.stem for path in DEMO.glob("*.py")} == {*NAMES, "app"}


def test_the_header_of_the_space_is_what_the_hub_expects() -> None:
    header = yaml.safe_load((DEMO / "README.md").read_text().split("---\n")[1])
    assert header["sdk"] == "gradio"
    assert f"gradio=={header['sdk_version']}" in (DEMO / "requirements.txt").read_text()
    assert (DEMO / header["app_file"]).is_file()
    assert len(header["short_description"]) <= 60
    assert header["license"] == "apache-2.0"
    assert all(name.startswith("OWNER/") for name in header["models"] + header["datasets"])


@pytest.mark.parametrize("name", NAMES)
def test_examples_run(name: str) -> None:
    assert doctest.testmod(load(name)).failed == 0
