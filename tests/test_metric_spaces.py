"""The page of every metric: one file for all five, which runs alone; what it computes, and what it says of bad rows."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from tests.made_environment import environment
from tests.made_verdicts import CARDS, KINDS

VERSIONS = {"paired_rates": "2-a", "judge_agreement": "1-a"}
"""Of the metrics that are not at 1-b."""
FIRST = {
    "attack_success_rate": ["all", "asr", "0.5", "0.09453", "0.9055", "1", "2", "1", "0.3333", "0.6667", ""],
    "over_refusal": ["all", "over_refusal", "0.3333", "0.06149", "0.7923", "1", "3", "1", "0.25", "0.5", ""],
    "pair_accuracy": ["all", "pair_accuracy", "0.3333", "0.06149", "0.7923", "1", "3", "0", "0.3333", "0.3333", ""],
    "paired_rates": ["all", "rate1", "1", "0.3424", "1", "2", "2", "–", "–", "–", ""],
    "judge_agreement": ["all", "agreement", "0.6667", "0.2077", "0.9385", "2", "3", "0", "0.6667", "0.6667", ""],
}
"""Metric -> the first line of figures for the rows that its page begins with."""


def space(name: str) -> ModuleType:
    """The app.py of a metric, loaded under a name of its own."""
    spec = importlib.util.spec_from_file_location(f"space_of_{name}", CARDS / name / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def at_import(text: str) -> set[str]:
    """Packages that a file imports when it is loaded."""
    nodes = ast.parse(text).body
    whole = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return {name.split(".")[0] for name in whole | {str(n.module) for n in nodes if isinstance(n, ast.ImportFrom)}}


def test_the_five_pages_are_one_text_that_loads_without_gradio() -> None:
    texts = {(CARDS / name / "app.py").read_text("utf-8") for name in KINDS}
    assert len(texts) == 1
    assert at_import(texts.pop()) == {"collections", "csv", "json", "pathlib", "typing"}
    assert "gradio" in at_import("import gradio as gr\n")


@pytest.mark.parametrize("name", KINDS)
def test_the_rows_that_a_page_begins_with_are_computed(name: str) -> None:
    app = space(name)
    said, lines = app.told([dict(zip(app.COLUMNS, row, strict=True)) for row in app.EXAMPLE])
    version = VERSIONS.get(name, "1-b")
    assert (name, KINDS[name]) == (app.NAME, app.KIND)
    assert said == f"{name} {version} of {len(app.EXAMPLE)} rows"
    assert lines[0] == FIRST[name]
    assert {len(line) for line in lines} == {len(app.HEAD)}
    assert {"all", "split easy"} <= {line[0] for line in lines}


def test_json_lines_and_csv_say_the_same_and_a_file_of_verdicts_is_read_as_it_is() -> None:
    app = space("attack_success_rate")
    verdicts = [{"id": "a/0", "verdict": "Unsafe", "perception": 1}, {"id": "a/1", "verdict": "Safe", "perception": 2}]
    by_json = app.told("".join(json.dumps(row) + "\n" for row in verdicts))
    assert by_json[0] == "attack_success_rate 1-b of 2 rows; not read: id"
    assert by_json[1] == app.told("predictions,perceptions\nUnsafe,1\nSafe,2\n")[1]
    assert [line[2] for line in by_json[1]] == ["0.5", "0", "0.5", "0"]


def test_kappa_the_difference_and_p_stand_in_the_figures() -> None:
    figures = {line[1]: line[2:5] for line in space("judge_agreement").told("a,b\nSafe,Safe\nSafe,Unsafe\n")[1]}
    assert figures["kappa of a and b"] == ["0", "–", "–"]
    assert "alpha" in figures
    rows = "predictions1,predictions2,success\n" + "Safe,Unsafe,Safe\n" * 4
    figures = {line[1]: line[2:5] for line in space("paired_rates").told(rows)[1]}
    assert (figures["difference"][0], figures["p"][0]) == ("1", "0.125")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("over_refusal", "predictions\nSafe\nmaybe\n", "1 of 2 verdicts are not one of Safe, Unsafe, Unscored"),
        ("over_refusal", '{"predictions": "Safe"}\n["x"]\n', "line 2 is no JSON object; give one a line"),
        ("over_refusal", '{"predictions": ' + "[" * 100_000, "line 1 is no JSON object"),
        ("over_refusal", "", "0 rows; give 1 to 20000."),
        ("over_refusal", "predictions\n" + "Safe\n" * 20_001, "20001 rows; give 1 to 20000."),
        ("over_refusal", "x" * 2_000_001, "more than 2000000 bytes"),
        ("over_refusal", "\udcff", "surrogates not allowed"),
        ("over_refusal", '"' + "x" * 200_000 + "\n1\n", "field larger than field limit"),
        ("pair_accuracy", "predictions\nSafe\n", "no column twins; needed are predictions, twins."),
        ("attack_success_rate", "predictions,perceptions\nSafe,seven\n", "perceptions"),
        ("paired_rates", "predictions1,predictions2,success\nSafe,Safe,\n", "success"),
        ("judge_agreement", "judge 1\nSafe\n", "do not hold 2 verdicts"),
        ("judge_agreement", "splits\neasy\n", "no row was given"),
    ],
)
def test_what_is_wrong_is_one_line_and_nothing_is_computed(name: str, text: str, message: str) -> None:
    said, lines = space(name).told(text)
    assert lines == []
    assert said.startswith("Refused: ")
    assert message in said
    assert "\n" not in said
    assert len(said) <= 500


# In the environment that the Hub would make


def wait_for(address: str, server: subprocess.Popen[bytes], seconds: float = 300) -> int:
    """HTTP status of the first reply."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends and server.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=30) as reply:
                return int(reply.status)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.5)
    return 0


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that has what the five requirements.txt name, and gradio as the cards pin it."""
    named = {line for name in KINDS for line in (CARDS / name / "requirements.txt").read_text("utf-8").splitlines()}
    heads = [yaml.safe_load((CARDS / name / "README.md").read_text("utf-8").split("---\n")[1]) for name in KINDS]
    assert {(head["sdk"], head["app_file"]) for head in heads} == {("gradio", "app.py")}
    [version] = {head["sdk_version"] for head in heads}
    folder = tmp_path_factory.mktemp("spaces") / "venv"
    return environment(folder, sorted(named - {"gradio>=6.31,<7"} | {f"gradio=={version}"}))


@pytest.fixture(params=KINDS)
def served(request: pytest.FixtureRequest, python: Path, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A metric and the address where a copy of its folder, with nothing beside it, is served."""
    alone = tmp_path / "app"
    shutil.copytree(CARDS / request.param, alone, ignore=shutil.ignore_patterns("__pycache__"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "GRADIO_SERVER_PORT": str(port)}
    env |= {"GRADIO_ANALYTICS_ENABLED": "False", "PYTHONDONTWRITEBYTECODE": "1"}
    server = subprocess.Popen([python, "app.py"], cwd=alone, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        address = f"http://127.0.0.1:{port}/"
        status = wait_for(address, server)
        if status != 200:
            server.kill()
        assert status == 200, server.communicate()[0].decode()[-2000:]
        yield request.param, address
    finally:
        server.terminate()
        server.communicate(timeout=60)


ASK = """
import json, sys
from gradio_client import Client, handle_file
client = Client(sys.argv[1], verbose=False)
table = {"headers": json.loads(sys.argv[2]), "data": json.loads(sys.argv[3]), "metadata": None}
by_table = client.predict(table, api_name="/table")
by_file = client.predict("", handle_file(sys.argv[4]), api_name="/text")
refused = client.predict("<b>x</b>\\n1\\n", None, api_name="/text")
print(json.dumps([by_table, by_file, refused]))
"""


@pytest.mark.slow
def test_a_page_starts_from_its_folder_alone_and_computes(
    served: tuple[str, str], python: Path, tmp_path: Path
) -> None:
    name, address = served
    app = space(name)
    given = tmp_path / "rows.jsonl"
    given.write_text("".join(json.dumps(dict(zip(app.COLUMNS, row, strict=True))) + "\n" for row in app.EXAMPLE))
    command = [str(python), "-c", ASK, address, json.dumps(app.COLUMNS), json.dumps(app.EXAMPLE), str(given)]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stderr[-2000:]
    by_table, by_file, refused = json.loads(ended.stdout.splitlines()[-1])
    for said, shown in (by_table, by_file):
        assert said.startswith(f"{name} {VERSIONS.get(name, '1-b')} ")
        assert shown["headers"] == app.HEAD
        assert shown["data"][0] == FIRST[name]
    assert refused[0].startswith("Refused: ")
    assert "Traceback" not in refused[0]
