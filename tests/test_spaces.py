"""Every evaluate module under cards/ runs alone, and its metric card says what it is."""

from __future__ import annotations

import ast
import doctest
import importlib.util
from itertools import combinations
from pathlib import Path

import pytest
import yaml

from tests.made_verdicts import CARDS, KINDS, load


@pytest.mark.parametrize("name", KINDS)
def test_the_version_of_a_metric_is_pinned(name: str) -> None:
    version = {"paired_rates": "2-a", "judge_agreement": "1-a"}.get(name, "1-b")
    assert version == load(name).METRIC_VERSION
    assert f"**Version:** `{version}`" in (CARDS / name / "README.md").read_text()


@pytest.mark.parametrize("name", KINDS)
def test_the_examples_of_module_and_metric_card_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CARDS.parent)
    spec = importlib.util.spec_from_file_location(name, CARDS / name / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    in_module = doctest.testmod(module)
    in_card = doctest.testfile(str(CARDS / name / "README.md"), module_relative=False)
    assert (in_module.failed, in_card.failed) == (0, 0)
    assert min(in_module.attempted, in_card.attempted) >= 4


@pytest.mark.parametrize("name", KINDS)
def test_a_module_runs_alone_and_imports_what_it_requires(name: str) -> None:
    tree = ast.parse((CARDS / name / f"{name}.py").read_text())
    roots = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert len(node.names) == 1, "evaluate reads one name a line"
            roots.add(node.names[0].name.split(".")[0])
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            roots.add(str(node.module).split(".")[0])
    lines = (CARDS / name / "requirements.txt").read_text().split()
    needed = roots - {"collections", "itertools", "math", "numbers", "typing"}
    assert needed | {"gradio"} == {line.split(">=")[0] for line in lines}


def test_what_two_modules_share_they_share_to_the_letter() -> None:
    sources = [functions(CARDS / name / f"{name}.py") for name in KINDS]
    assert differing(sources) == OWN
    shared = {"_given", "_check_labels", "_check_length", "_check_columns", "_quote", "_told", "_wilson"}
    assert all(shared <= set(source) for source in sources)


def test_a_helper_that_differs_is_caught() -> None:
    one, two = ({"_wilson": text, "_quote": "the same"} for text in ("95 %", "90 %"))
    assert differing([one, two]) == {"_wilson"}


OWN = {"_rows", "_by_group", "_chosen", "_compare"}
"""Functions of one name that do another thing in each module."""


def differing(sources: list[dict[str, str]]) -> set[str]:
    """Names of functions that stand in two modules and differ."""
    pairs = list(combinations(sources, 2))
    return {name for one, two in pairs for name in one.keys() & two.keys() if one[name] != two[name]}


@pytest.mark.parametrize("name", KINDS)
def test_a_metric_card_has_the_sections_the_hub_expects(name: str) -> None:
    card = (CARDS / name / "README.md").read_text()
    headings = [line.removeprefix("## ") for line in card.splitlines() if line.startswith("## ")]
    assert headings == [
        "Metric description",
        "How to use",
        "Inputs",
        "Output values",
        "Example",
        "Limitations and bias",
        "Citation",
    ]
    assert "**Range:**" in card
    assert "better" in card


@pytest.mark.parametrize("name", KINDS)
def test_a_metric_card_promises_no_file_that_is_not_there(name: str) -> None:
    assert missing_files(CARDS / name, (CARDS / name / "README.md").read_text()) == []


def test_a_promised_file_that_is_not_there_is_caught(tmp_path: Path) -> None:
    card = "---\ntitle: x\nsdk: gradio\napp_file: app.py\n---\n"
    assert missing_files(tmp_path, card) == ["app.py"]
    assert missing_files(tmp_path, card.replace("app_file: app.py\n", "")) == ["app.py"]


def missing_files(folder: Path, card: str) -> list[str]:
    """What the header of a Space names, or its kit starts, and the folder lacks."""
    header = yaml.safe_load(card.split("---\n")[1])
    named = {header.get("app_file"), "app.py" if "sdk" in header else None} - {None}
    return sorted(name for name in named if not (folder / name).is_file())


def functions(path: Path) -> dict[str, str]:
    return {node.name: ast.dump(node) for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}
