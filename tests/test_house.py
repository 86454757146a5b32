"""Holds the house: layout, direction of imports, sizes, words, and that the README says what is on disk.

Each check is a function from texts to a list of problems, seen failing on a planted text beside it.
Public docstrings and types are held by ruff and mypy.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import re
import shlex
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("mis_dataset", "trainer", "cards")
BARE = ("arguments", "errors", "files", "schema", "stats")
"""Files of the first room that `cards` may import."""
FRAMEWORKS = ("inspect_ai", "lmms_eval")
"""Not installed here; test_frameworks.py runs their commands."""
HEAVY = {
    "torch",
    "transformers",
    "trl",
    "peft",
    "datasets",
    "evaluate",
    "openai",
    "vllm",
    "sklearn",
    "statsmodels",
    "matplotlib",
}
WEIGHTS = ("torch", "transformers", "trl", "peft", "accelerate")
DRAWS_HERE = tuple(f"mis_dataset/construct/{name}.py" for name in ("checkpoints", "diffusion", "clip"))
FORBIDDEN_WORDS = {"sample", "samples", "item", "items", "data", "output", "outputs", "result", "results"} | {
    "answer",
    "answers",
    "query",
    "queries",
}
# Spelt so that this file does not find itself.
MACHINE = re.compile(r"/(wor[k]|roo[t]|far[m])/|/tm[p]/x\b|[.]librar[y]/|index-ur[l]|find-link[s]")


def tracked() -> list[str]:
    """Paths of all files that git tracks, relative to the root, `/` between parts."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True)
    return [path for path in listed.stdout.split("\0") if path and (ROOT / path).exists()]


def sources(*folders: str) -> dict[str, str]:
    """Tracked Python files under `folders` (everywhere when none is named): path -> text."""
    chosen = [p for p in tracked() if p.endswith(".py") and (not folders or p.split("/")[0] in folders)]
    return {path: (ROOT / path).read_text("utf-8") for path in chosen}


def fences(markdown: str, language: str) -> list[str]:
    """Bodies of the fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", markdown, flags=re.MULTILINE | re.DOTALL)


README = (ROOT / "README.md").read_text("utf-8")
TRAINING = (ROOT / "docs" / "training.md").read_text("utf-8")


# The tree of the README


def read_tree(block: str) -> list[str]:
    """Paths of a tree drawn by indentation, two spaces a level, in order; folders end in `/`."""
    paths: list[str] = []
    parents: list[str] = []
    for line in filter(str.strip, block.splitlines()):
        names = re.split(r"\s{2,}", line.strip())[0].split()
        del parents[(len(line) - len(line.lstrip())) // 2 :]
        paths += ["".join(parents) + name for name in names]
        parents.append(names[-1])
    return paths


def tree_problems(tree: list[str], files: Iterable[str]) -> list[str]:
    """What the tree shows and disk lacks, and what lies in a folder the tree opens and is not shown."""
    files = [f for f in files if PurePosixPath(f).name not in ("__init__.py", "py.typed")]
    folders = {f"{parent}/" for f in files for parent in PurePosixPath(f).parents if str(parent) != "."}
    missing = [path for path in tree if path not in folders and path not in files]
    opened = {""} | {_folder(path) for path in tree}
    covered = [*tree, *(folder for path in tree for folder in _folders(path))]
    there = [*files, *sorted(folders)]
    extra = [path for path in there if _folder(path) in opened and path not in covered]
    return [f"README shows {p}, disk lacks it" for p in missing] + [f"README lacks {p}" for p in extra]


def _folder(path: str) -> str:
    """Folder a path stands in: `a/b.py` and `a/b/` stand in `a/`, `b.py` in the empty one."""
    return path.rstrip("/").rpartition("/")[0] + "/" if "/" in path.rstrip("/") else ""


def _folders(path: str) -> Iterator[str]:
    """All folders above a path, innermost first."""
    while path := _folder(path):
        yield path


def test_the_tree_of_the_readme_equals_disk() -> None:
    assert "\n".join(tree_problems(read_tree(fences(README, "text")[0]), tracked())) == ""


def test_a_tree_that_differs_from_disk_is_caught() -> None:
    tree = read_tree("a/    room\n  one.py   first\n  gone.py\nb/  closed\n")
    assert tree == ["a/", "a/one.py", "a/gone.py", "b/"]
    assert tree_problems(tree, ["a/one.py", "a/new.py", "b/x.py", "a/__init__.py"]) == [
        "README shows a/gone.py, disk lacks it",
        "README lacks a/new.py",
    ]


# Imports


def imports(text: str) -> list[str]:
    """Dotted names a file imports anywhere in it, functions included; `from a import b` gives `a.b`."""
    names = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def room_problems(path: str, text: str) -> list[str]:
    """Imports that cross the rooms against the path, or bring weights where none are needed."""
    room, depth = path.split("/")[0], path.count("/")
    weights = () if path.startswith(("cards/demo/", *DRAWS_HERE)) else WEIGHTS  # it runs alone; behind an extra
    banned = {
        "mis_dataset": ("trainer", "cards", *weights),
        "trainer": ("cards",),
        "cards": ("trainer", *weights),
    }
    wrong = [name for name in imports(text) if name.split(".")[0] in banned.get(room, ())]
    if room == "cards":
        ours = [name for name in imports(text) if name.split(".")[0] in ("mis_dataset", "cards")]
        allowed = (*(f"mis_dataset.{name}" for name in BARE), "cards.") if depth == 1 else ()
        wrong += [name for name in ours if not name.startswith(allowed)]
    return [f"{path} imports {name}" for name in wrong]


def order_problems(path: str, text: str, tree: list[str]) -> list[str]:
    """Imports of what stands below `path` in the tree."""
    here = _place(path, tree)
    named = [name for name in imports(text) if not name.endswith(".__version__")]
    ours = [(name, _source(name)) for name in named if name.split(".")[0] in ROOMS]
    below = [name for name, source in ours if source and source != path and _place(source, tree) > here]
    return [f"{path} imports {name}, which stands below it" for name in below]


def _source(name: str) -> str | None:
    """File that a dotted name lies in, or None when there is no such file of ours."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        stem = "/".join(parts[:end])
        for path in (f"{stem}.py", f"{stem}/__init__.py"):
            if (ROOT / path).exists() and path != f"{parts[0]}.py":
                return path
    return None


def _place(path: str, tree: list[str]) -> int:
    """Line of a file in the tree, or of the folder that stands for it; an `__init__.py` ends its folder."""
    if path.endswith("__init__.py"):
        return max((i for i, shown in enumerate(tree) if shown.startswith(_folder(path))), default=-1)
    for shown in (path, *_folders(path)):
        if shown in tree:
            return tree.index(shown)
    return -1


@pytest.mark.parametrize("path", sorted(sources(*ROOMS)))
def test_a_file_imports_only_what_stands_before_it(path: str) -> None:
    text = (ROOT / path).read_text("utf-8")
    assert room_problems(path, text) + order_problems(path, text, read_tree(fences(README, "text")[0])) == []


def test_an_import_against_the_path_is_caught() -> None:
    assert room_problems("mis_dataset/build.py", "def f():\n    from torch import nn\n") == [
        "mis_dataset/build.py imports torch.nn"
    ]
    assert room_problems("trainer/sft.py", "import cards.render") == ["trainer/sft.py imports cards.render"]
    assert room_problems("cards/render.py", "from mis_dataset.schema import SPLITS") == []
    assert room_problems("cards/render.py", "from mis_dataset.build import x") != []
    assert room_problems("cards/over_refusal/app.py", "from mis_dataset.schema import SPLITS") != []
    assert room_problems("cards/over_refusal/app.py", "import torch") == ["cards/over_refusal/app.py imports torch"]
    assert room_problems("cards/demo/models.py", "import torch") == []
    assert room_problems("cards/demo/models.py", "import trainer.models") != []
    tree = ["mis_dataset/", "mis_dataset/mini/", "mis_dataset/mini/objects.py", "mis_dataset/mini/draw.py"]
    later = "from mis_dataset.mini.draw import draw"
    assert order_problems("mis_dataset/mini/objects.py", later, tree) == [
        "mis_dataset/mini/objects.py imports mis_dataset.mini.draw.draw, which stands below it"
    ]
    assert order_problems("mis_dataset/mini/draw.py", "from mis_dataset.mini.objects import x", tree) == []


@pytest.mark.parametrize("room", [room for room in ROOMS if (ROOT / room / "__main__.py").exists()])
def test_help_starts_without_heavy_imports(room: str) -> None:
    watch = (
        "import runpy, sys\n"
        "sys.argv = [sys.argv[1], '--help']\n"
        "try:\n    runpy.run_module(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "print(' '.join(sorted(sys.modules)), file=sys.stderr)\n"
    )
    command = [sys.executable, "-c", watch, room]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert HEAVY & set(ended.stderr.splitlines()[-1].split()) == set()


# Sizes and words


def functions(text: str) -> list[tuple[str, int]]:
    """(name, lines) of every function of a file."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    found = [node for node in ast.walk(ast.parse(text)) if isinstance(node, kinds)]
    return [(node.name, (node.end_lineno or node.lineno) - node.lineno + 1) for node in found]


def size_problems(path: str, text: str) -> list[str]:
    """A file over 400 lines, functions over 60."""
    lines = text.count("\n")
    long_file = [f"{path}: {lines} lines, at most 400"] if lines > 400 else []
    long_ones = [(name, length) for name, length in functions(text) if length > 60]
    return long_file + [f"{path}: {name} has {length} lines, at most 60" for name, length in long_ones]


def word_problems(path: str, text: str) -> list[str]:
    """Functions, classes, parameters and fields named by a word that the house has another word for."""
    names: list[str] = [PurePosixPath(path).stem]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.append(node.name)
        if isinstance(node, ast.arg):
            names.append(node.arg)
        if isinstance(node, ast.ClassDef):
            fields = [line.target for line in node.body if isinstance(line, ast.AnnAssign)]
            names += [field.id for field in fields if isinstance(field, ast.Name)]
    return [f"{path}: {name}" for name in names if name.lower().strip("_") in FORBIDDEN_WORDS]


@pytest.mark.parametrize("path", sorted(sources()))
def test_files_and_functions_stay_small(path: str) -> None:
    assert size_problems(path, (ROOT / path).read_text("utf-8")) == []


def test_most_functions_are_short() -> None:
    lengths = [length for text in sources(*ROOMS).values() for _, length in functions(text)]
    assert statistics.quantiles(lengths, n=10)[-1] <= 35


@pytest.mark.parametrize("path", sorted(sources(*ROOMS)))
def test_names_use_the_words_of_the_house(path: str) -> None:
    assert word_problems(path, (ROOT / path).read_text("utf-8")) == []


def test_a_long_function_and_a_wrong_word_are_caught() -> None:
    text = "def load(data):\n" + "    x = 1\n" * 60 + "class Sample:\n    answer: str\n    response: str\n"
    assert size_problems("a.py", text) == ["a.py: load has 61 lines, at most 60"]
    assert size_problems("a.py", "\n" * 401) == ["a.py: 401 lines, at most 400"]
    assert word_problems("query.py", text) == [
        "query.py: query",
        "query.py: Sample",
        "query.py: answer",
        "query.py: data",
    ]


def test_tracked_files_are_small_and_name_no_machine() -> None:
    big = [path for path in tracked() if (ROOT / path).stat().st_size > 2**20]
    texts = {path: (ROOT / path).read_bytes().decode("utf-8", errors="ignore") for path in tracked()}
    assert big == []
    assert [path for path, text in texts.items() if MACHINE.search(text)] == []


def test_a_machine_path_is_caught() -> None:
    assert MACHINE.search("see " + "/".join(["", "root", "cache"]))
    assert not MACHINE.search("the framework/root of it")


# What the README and the settings say


def parser(room: str) -> argparse.ArgumentParser:
    """The parser of a room's verbs: what the one function of its `__main__` that returns a parser returns."""
    module = importlib.import_module(f"{room}.__main__")
    made = [f for f in vars(module).values() if getattr(f, "__annotations__", {}).get("return") in _PARSER]
    assert len(made) == 1, f"{room}/__main__.py: one function without parameters returns the ArgumentParser"
    built = made[0]()
    assert isinstance(built, argparse.ArgumentParser)
    return built


_PARSER = ("argparse.ArgumentParser", "ArgumentParser", argparse.ArgumentParser)


def verbs(built: argparse.ArgumentParser) -> set[str]:
    """Names of a parser's verbs."""
    subs = [a for a in built._actions if isinstance(a, argparse._SubParsersAction)]
    return {verb for sub in subs for verb in sub.choices}


def commands(markdown: str) -> list[list[str]]:
    """Commands of the ```bash blocks, comments removed."""
    lines = "\n".join(fences(markdown, "bash")).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def command_problem(words: list[str]) -> str | None:
    """Why a command of the README would be refused; None when it would not."""
    if words[0] == "make":
        targets = [word for word in words[1:] if "=" not in word]
        rules = (ROOT / "Makefile").read_text("utf-8")
        return next((f"make {t}" for t in targets if not re.search(rf"^{t}:", rules, re.MULTILINE)), None)
    if words[:2] == ["accelerate", "launch"] and "-m" in words:
        words = ["python", *words[words.index("-m") :]]
    if words[:2] == ["python", "mis_dataset.py"]:
        words = ["python", "-m", "mis_dataset", "build", *words[2:]]
    while "=" in words[0]:  # of the environment
        words = words[1:]
    if (words[1:2] == ["-m"] and words[2] in FRAMEWORKS) or "venv" in " ".join(words[:3]):  # in its own environment
        paths = [word.split("@")[0] for word in words if word.split("/")[0] in ROOMS]
        return next((f"no {path}" for path in paths if not (ROOT / path).exists()), None)
    if words[1:2] != ["-m"] or words[2] not in ROOMS:
        return None if words[0] in ("cd", "git", "hf") else f"unknown command {words[0]}"
    try:
        parser(words[2]).parse_args(words[3:])
    except SystemExit as end:
        return " ".join(words) if end.code else None
    return None


@pytest.mark.parametrize("words", commands(README + TRAINING), ids=" ".join)
def test_every_command_of_the_readme_parses(words: list[str]) -> None:
    assert command_problem(words) is None


def test_a_command_that_does_not_exist_is_caught() -> None:
    assert command_problem(["make", "everything"]) == "make everything"
    assert command_problem(["pip", "install", "x"]) == "unknown command pip"
    assert command_problem(["A=1", "python", "-m", "lmms_eval", "trainer/ecosystem"]) is None
    assert command_problem(["A=1", "python", "-m", "lmms_eval", "trainer/gone"]) == "no trainer/gone"
    assert command_problem(["accelerate", "launch", "x.py"]) == "unknown command accelerate"
    assert command_problem(["accelerate", "launch", "-m", "trainer", "x"]) == "python -m trainer x"
    assert command_problem(["python", "-m", "mis_dataset", "nonsense"]) == "python -m mis_dataset nonsense"


@pytest.mark.parametrize("room", ROOMS)
def test_every_verb_stands_in_the_readme(room: str) -> None:
    shown = {words[3] for words in commands(README) if words[1:3] == ["-m", room]}
    assert verbs(parser(room)) - shown == set()


@pytest.mark.parametrize("block", fences(README + TRAINING, "python"))
def test_the_python_of_the_readme_compiles(block: str) -> None:
    ast.parse(block)


def config_problems(path: str, text: str) -> list[str]:
    """A YAML that does not parse, is not flat, or does not begin with its manual."""
    try:
        settings = yaml.safe_load(text)
    except yaml.YAMLError as error:
        return [f"{path}: {error}"]
    if not isinstance(settings, dict):
        return [f"{path}: no settings"]
    # Those of accelerate have its form.
    flat = not path.startswith("trainer/configs/accelerate/")
    nested = [f"{path}: {key} is nested" for key, value in settings.items() if isinstance(value, dict) and flat]
    return nested + ([] if text.startswith("#") else [f"{path}: no header of comments"])


@pytest.mark.parametrize("path", sorted(p for p in tracked() if re.match(r"trainer/configs/.*\.ya?ml$", p)))
def test_every_config_parses(path: str) -> None:
    assert config_problems(path, (ROOT / path).read_text("utf-8")) == []


def test_a_broken_config_is_caught() -> None:
    assert config_problems("a.yaml", "# how\nlr: 1.0e-4\nfreeze: [tower]\n") == []
    assert config_problems("a.yaml", "lr: 1\n") == ["a.yaml: no header of comments"]
    assert config_problems("a.yaml", "# how\nlora: {r: 8}\n") == ["a.yaml: lora is nested"]
    assert config_problems("a.yaml", "# how\na: [1\n") != []
