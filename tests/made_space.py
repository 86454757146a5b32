"""The demo as a Space: a copy of its folder alone, in an environment of its requirements, and a browser to visit it."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.made_demo import DEMO
from tests.made_environment import environment

DRIVER = ("playwright==1.65.2", "axe-playwright-python==0.1.8")
"""What drives a browser, and axe-core inside the second."""
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_START = 180.0
"""Seconds that a Space may take to answer first."""


def find_browser() -> str:
    """The path of a Chromium; without one the test is skipped."""
    found = next((path for name in _BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium here (Debian: apt-get install chromium); the demo was not visited")
    return found


def space_python(cache: Path) -> Path:
    """The interpreter of an environment with what the demo requires, made once for a requirements.txt."""
    requirements = DEMO / "requirements.txt"
    folder = cache / f"space-{hashlib.sha256(requirements.read_bytes()).hexdigest()[:16]}"
    stamp = folder / "complete"
    if not stamp.exists():
        shutil.rmtree(folder, ignore_errors=True)
        with _or_skip("what the demo requires"):
            environment(folder, ["-r", str(requirements)])
        stamp.touch()
    return folder / "bin" / "python"


def driver(cache: Path) -> tuple[Any, str]:
    """Playwright's module and the source of axe-core, from a folder beside our environment."""
    folder = cache / f"driver-{hashlib.sha256(repr(DRIVER).encode()).hexdigest()[:16]}"
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--target", str(folder), *DRIVER]
        with _or_skip("Playwright"):
            subprocess.run(command, check=True)
        (folder / "complete").touch()
    sys.path.append(str(folder))
    [axe] = folder.glob("axe_playwright_python/**/axe.min.js")
    return importlib.import_module("playwright.sync_api"), axe.read_text("utf-8")


@contextlib.contextmanager
def serving(python: Path, folder: Path, settings: Mapping[str, str]) -> Iterator[str]:
    """Starts a copy of the demo, alone in `folder`, and gives its address.

    Args:
        python: of `space_python`.
        folder: a new one; the demo is copied to `folder / "demo"`, its uploads lie in `folder / "uploads"`.
        settings: `MIS_*` variables.
    """
    copy = folder / "demo"
    shutil.copytree(DEMO, copy, ignore=shutil.ignore_patterns("__pycache__"))
    port = _free_port()
    usual = {name: os.environ[name] for name in ("PATH", "HOME", "HF_HOME", "HF_HUB_OFFLINE", "OMP_NUM_THREADS")}
    variables = {"GRADIO_SERVER_PORT": str(port), "GRADIO_TEMP_DIR": str(folder / "uploads"), "PYTHONUNBUFFERED": "1"}
    with (folder / "log").open("wb") as log:
        space = subprocess.Popen(
            [python, "app.py"], cwd=copy, env={**usual, **variables, **settings}, stdout=log, stderr=log
        )
        try:
            address = f"http://127.0.0.1:{port}"
            _wait(address, space, folder / "log")
            yield address
        finally:
            space.terminate()
            space.wait(30)


def _wait(address: str, space: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _START
    while time.monotonic() < end:
        assert space.poll() is None, log.read_text("utf-8")
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/config", timeout=5):
            return
        time.sleep(0.3)
    raise AssertionError(f"the Space did not answer: {log.read_text('utf-8')}")


def _free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


@contextlib.contextmanager
def _or_skip(what: str) -> Iterator[None]:
    try:
        yield
    except subprocess.CalledProcessError as error:
        pytest.skip(f"{what} could not be installed ({error.returncode}); the demo was not visited")
