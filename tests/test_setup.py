"""`make setup` runs when needed and is trusted only when it ended; the wheel holds mis_dataset alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

import mis_dataset

ROOT = Path(__file__).resolve().parents[1]
VENV = "python3.11 -m venv .venv"


def planned(folder: Path, *arguments: str) -> list[str]:
    """Commands that `make` would run in `folder`, none of them run."""
    shell = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    ended = subprocess.run(
        ["make", "-n", *arguments], cwd=folder, env=shell, capture_output=True, text=True, check=True
    )
    return ended.stdout.splitlines()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with what setup reads, an hour old, and no .venv."""
    for name in ("Makefile", "pyproject.toml", "requirements/pins.txt", "requirements/no-deps.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
        stat = (tmp_path / name).stat()
        os.utime(tmp_path / name, (stat.st_atime, stat.st_mtime - 3600))
    return tmp_path


@pytest.mark.parametrize("target", ["setup", "reproduce", "test", "test-slow"])
def test_every_target_sets_up_where_there_is_no_venv(checkout: Path, target: str) -> None:
    assert VENV in planned(checkout, target)


def test_an_interrupted_setup_is_repeated(checkout: Path) -> None:
    (checkout / ".venv/bin").mkdir(parents=True)
    (checkout / ".venv/bin/python").touch()
    assert VENV in planned(checkout, "test")


def test_a_complete_setup_is_kept_until_a_pin_changes(checkout: Path) -> None:
    (checkout / ".venv").mkdir()
    (checkout / ".venv/.complete").touch()
    assert VENV not in planned(checkout, "test")
    os.utime(checkout / ".venv/.complete", (0, 0))
    assert VENV in planned(checkout, "test")


@pytest.mark.parametrize(
    ("given", "command"),
    [
        ([], ".venv/bin/python -m trainer reproduce runs/mini"),
        (["SMOKE=1"], ".venv/bin/python -m trainer reproduce runs/smoke --smoke"),
        (["LONG=1", "SEEDS=0,1,2"], ".venv/bin/python -m trainer reproduce runs/mini-long-seeds --long --seeds 0,1,2"),
    ],
)
def test_reproduce_hands_its_settings_on(checkout: Path, given: list[str], command: str) -> None:
    assert [" ".join(line.split()) for line in planned(checkout, "reproduce", *given)][-1] == command


def test_one_version_everywhere() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert mis_dataset.__version__ == settings["project"]["version"] == citation["version"]
    assert f"## {mis_dataset.__version__}" in changes


@pytest.mark.slow
def test_the_wheel_holds_mis_dataset_alone(tmp_path: Path) -> None:
    source = tmp_path / "source"
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(lambda path: (ROOT / path).is_file(), listed.stdout.splitlines()):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
        ".",
    ]
    subprocess.run(build, cwd=source, check=True, capture_output=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = wheel.namelist()
    assert "mis_dataset/mini/objects.py" in names
    assert {name.split("/")[0] for name in names} == {"mis_dataset", "mis_dataset-0.1.0.dist-info"}
    assert {
        "mis_dataset-0.1.0.dist-info/licenses/LICENSE",
        "mis_dataset-0.1.0.dist-info/licenses/NOTICE",
    } <= {*names}
