"""`python -m cards release`: what is stale or of another version is not released; and what `make release` calls."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cards.__main__ import main
from cards.pack import pack
from cards.render import render
from cards.versions import METRICS, ROOT, changelog_lines, section_of, versions_of
from mis_dataset.files import sha256_of
from tests.made_cards import change, make_run
from tests.made_checkout import Checkout, make_checkout
from tests.made_packs import make_packable, write_safetensors

VERSION = "1.2.3"
CODE = {
    "pyproject.toml": f'[project]\nversion = "{VERSION}"\n',
    "CITATION.cff": f"cff-version: 1.2.0\nversion: {VERSION}\n",
    "mis_dataset/schema.py": 'DATA_VERSION = "1-a"\n',
    "trainer/judges/base.py": 'JUDGE_VERSION = "1-a"\n',
    **{f"cards/{name}/{name}.py": 'METRIC_VERSION = "1-b"\n' for name in METRICS},
}
HEAD = """- Code: `1.2.3`
- Data (`DATA_VERSION`): `1-a`
- Metrics (`METRIC_VERSION`): attack_success_rate `1-b`, over_refusal `1-b`, pair_accuracy `1-b`, paired_rates `1-b`, \
judge_agreement `1-b`
- Judge (`JUDGE_VERSION`): `1-a`
"""
CHANGES = f"# Changelog\n\n## {VERSION} (unreleased)\n\n{HEAD}\n- One can.\n\n## 1.2.2\n\n- Older.\n"
WEIGHTS = "arms/contrast/model/model.safetensors"


class Made(NamedTuple):
    """A checkout, a run with weights, and what was packed of it."""

    checkout: Checkout
    run: Path
    packed: Path

    def release(self, *more: str, version: str = VERSION, packed: bool = True) -> int:
        """Exit code of the verb."""
        of = ["--packed", str(self.packed)] if packed else []
        return main(["release", version, str(self.run), "--checkout", str(self.checkout.folder), *of, *more])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """One that can be released; no test changes it."""
    folder = tmp_path_factory.mktemp("whole")
    made = Made(make_checkout(folder, {**CODE, "CHANGELOG.md": CHANGES}), make_run(folder / "run"), folder / "packed")
    (made.run / WEIGHTS).write_bytes(b"weights")
    hashes = json.loads((made.run / "report.json").read_text("utf-8"))["hashes"]
    change(made.run / "report.json", {**hashes, WEIGHTS: sha256_of(made.run / WEIGHTS)}, "hashes")
    render(made.run, made.packed)
    shutil.copy(made.run / WEIGHTS, made.packed / "model")
    return made


@pytest.fixture
def made(whole: Made, tmp_path: Path) -> Made:
    """One that a test may spoil."""
    code, run, packed = (
        Path(shutil.copytree(one, tmp_path / one.name)) for one in (whole.checkout.folder, whole.run, whole.packed)
    )
    return Made(Checkout(code, whole.checkout.env), run, packed)


def test_what_is_fresh_can_be_released(whole: Made, capsys: Any) -> None:
    assert whole.release() == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["verb"], said["version"], said["versions"]["judge"]) == ("release", VERSION, "1-a")
    assert whole.release(packed=False) == 0


def test_a_card_says_which_report_it_is_rendered_from(whole: Made) -> None:
    line = f"<!-- rendered from report.json {sha256_of(whole.run / 'report.json')} -->"
    for card in ("dataset", "model"):
        assert line in (whole.packed / card / "README.md").read_text("utf-8").splitlines()


def test_a_file_that_is_not_committed_is_named(made: Made, capsys: Any) -> None:
    made.checkout.write("mine.py", "")
    made.checkout.write("mis_dataset/schema.py", CODE["mis_dataset/schema.py"] + "\n")
    assert made.release() == 1
    assert "is not as committed: mis_dataset/schema.py, mine.py; commit or remove them" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("pyproject.toml", "1.2.3", "1.2.4", "pyproject.toml: found version 1.2.4, expected 1.2.3"),
        ("CITATION.cff", "\nversion: 1.2.3", "", "CITATION.cff: found no line version: 1.2.3"),
        ("CHANGELOG.md", "## 1.2.3", "## 1.2.30", "CHANGELOG.md: found no section 1.2.3"),
        ("CHANGELOG.md", "Code: `1.2.3`", "Code: `1.2.2`", "CHANGELOG.md: 1.2.3 lacks the line - Code: `1.2.3`"),
        ("mis_dataset/schema.py", "1-a", "2-a", "CHANGELOG.md: 1.2.3 lacks the line - Data (`DATA_VERSION`): `2-a`"),
        ("trainer/judges/base.py", "1-a", "1-b", "CHANGELOG.md: 1.2.3 lacks the line - Judge (`JUDGE_VERSION`): `1-b`"),
        ("cards/over_refusal/over_refusal.py", "1-b", "1-c", "lacks the line - Metrics (`METRIC_VERSION`): attack_suc"),
        ("cards/over_refusal/over_refusal.py", "METRIC", "OTHER", 'over_refusal.py: no line METRIC_VERSION = "..."'),
    ],
)
def test_a_version_that_is_told_otherwise_is_named(
    made: Made, capsys: Any, file: str, old: str, new: str, message: str
) -> None:
    path = made.checkout.folder / file
    made.checkout.write(file, path.read_text("utf-8").replace(old, new))
    made.checkout.commit(push=False)
    assert made.release(packed=False) == 1
    assert message in capsys.readouterr().err


def test_a_version_of_another_form_or_without_a_day_is_not_pushed(whole: Made, capsys: Any) -> None:
    assert whole.release(version="v1") == 1
    assert "VERSION: found 'v1', expected three numbers such as 0.1.0" in capsys.readouterr().err
    assert whole.release("--push") == 1
    said = capsys.readouterr().err
    assert "found '## 1.2.3 (unreleased)', expected its day" in said
    assert "1.2.3 cannot be released, for 1 reason:\n" in said


def test_cards_that_are_older_than_the_report_are_named(made: Made, capsys: Any) -> None:
    change(made.run / "report.json", ["real"], "marked")
    assert made.release() == 1
    said = capsys.readouterr().err
    assert said.count("is not rendered from") == 2
    render(made.run, made.packed)
    assert made.release() == 0
    (made.packed / "dataset" / "README.md").unlink()
    assert made.release() == 1
    assert "dataset/README.md: is missing; render or pack the run again" in capsys.readouterr().err


def test_other_weights_than_those_that_the_report_rates_are_named(made: Made, capsys: Any) -> None:
    (made.packed / "model" / "model.safetensors").write_bytes(b"others")
    assert made.release() == 1
    assert f"packed/model/model.safetensors: is not {WEIGHTS} that the rates of" in capsys.readouterr().err
    shutil.copy(made.run / WEIGHTS, made.packed / "model")
    assert made.release() == 0
    (made.run / WEIGHTS).write_bytes(b"others")
    assert made.release(packed=False) == 1
    assert "is no longer what the rates of report.json were measured on" in capsys.readouterr().err


def test_of_what_pack_wrote_the_base_and_the_adapter_are_looked_at_too(tmp_path: Path, capsys: Any) -> None:
    checkout = make_checkout(tmp_path, {**CODE, "CHANGELOG.md": CHANGES})
    made = Made(checkout, make_packable(tmp_path / "run"), tmp_path / "packed")
    pack(made.run, made.packed, "someone")
    assert made.release() == 0
    for folder in ("base", "adapter"):
        card = made.packed / folder / "README.md"
        card.write_text(card.read_text("utf-8").replace("rendered from report.json ", "rendered from report.json 0"))
    path = made.packed / "base" / "model.safetensors"
    path.unlink()  # or the run's own, to which it is linked, would change
    path.write_bytes(b"others")
    assert made.release() == 1
    said = capsys.readouterr().err
    for told in (
        "packed/base/README.md: is not rendered from",
        "packed/adapter/README.md: is not rendered from",
        "packed/base/model.safetensors: is not base/model/model.safetensors that the rates of",
        "for 3 reasons",
    ):
        assert told in said
    write_safetensors(made.run / "base" / "model" / "model.safetensors", 77)
    assert made.release(packed=False) == 1
    assert "base/model/model.safetensors: is no longer what the rates of" in capsys.readouterr().err


def test_everything_that_is_stale_is_told_at_once(made: Made, capsys: Any) -> None:
    made.checkout.write("mine.py", "")
    (made.run / WEIGHTS).unlink()
    change(made.run / "report.json", ["real"], "marked")
    assert made.release(version="1.2.4") == 1
    said = capsys.readouterr().err
    assert f"1.2.4 cannot be released, for {said.count(chr(10) + '  - ')} reasons:" in said
    for told in (
        "mine.py",
        "pyproject.toml",
        "CITATION.cff",
        "CHANGELOG.md",
        WEIGHTS,
        "dataset/README.md",
        "model/README",
    ):
        assert told in said


def test_a_folder_without_git_or_report_is_no_release(made: Made, tmp_path: Path, capsys: Any) -> None:
    shutil.rmtree(made.checkout.folder / ".git")
    (made.run / "report.json").unlink()
    assert made.release() == 1
    said = capsys.readouterr().err
    assert "is no git checkout; release from one" in said
    assert "report.json: no such file; name a finished run" in said


# This repository


def test_the_changelog_says_the_versions_of_the_code() -> None:
    versions = versions_of(ROOT)
    section = section_of((ROOT / "CHANGELOG.md").read_text("utf-8"), versions["code"])
    assert section is not None
    assert section[2:6] == changelog_lines(versions)
    assert changelog_lines({**versions, "judge": "9-z"})[3] not in section


def test_make_release_works_in_its_order_and_pushes_only_where_it_is_told_to(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "requirements/pins.txt", "requirements/no-deps.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / ".complete").touch()
    verbs = ["cards release", "mis_dataset verify", "pytest", "cards pack", "cards release"]
    assert _walked(tmp_path, "VERSION=1.2.3") == verbs
    assert _walked(tmp_path, "VERSION=1.2.3", "PUSH=me") == [*verbs, "cards push"]
    ended = _make(tmp_path)
    assert ended.returncode == 2
    assert "give VERSION=x.y.z" in ended.stderr


def _walked(folder: Path, *given: str) -> list[str]:
    """Room and verb of what make would run, in order."""
    ended = _make(folder, *given)
    assert ended.returncode == 0, ended.stderr
    words = [line.split() for line in ended.stdout.splitlines() if line.startswith(".venv/bin/python -m")]
    return [" ".join(one[2:4]) if one[2] != "pytest" else "pytest" for one in words]


def _make(folder: Path, *given: str) -> subprocess.CompletedProcess[str]:
    """What make would run; as these tests run inside `make release` too, what that make was given is not handed on."""
    command = ["make", "-n", "release", *given]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"})
