"""`python -m cards` against a Hub on loopback, as a user runs it, in a process that lives as long as the Hub.

huggingface_hub reads the Hub's address when it is imported, so the process of the tests, which has it offline, cannot
ask; and a process for every command would take most of the time of every test.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.loopback_hub_writes import WritableHub
from tests.loopback_routes import ME, USERS

ROOT = Path(__file__).resolve().parents[1]
_WORKER = """
import contextlib, io, json, os, sys
from cards.__main__ import main
for line in sys.stdin:
    asked = json.loads(line)
    os.environ.pop("HF_TOKEN", None)
    os.environ.update({"HF_TOKEN": asked["token"]} if asked["token"] else {})
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(asked["words"])
    print(json.dumps({"code": code, "stdout": out.getvalue(), "stderr": err.getvalue()}), flush=True)
"""


class Ended(NamedTuple):
    """How a command ended.

    Attributes:
        code: it exited with.
        stdout: what it wrote there.
        stderr: and there.
    """

    code: int
    stdout: str
    stderr: str

    @property
    def told(self) -> dict[str, Any]:
        """Its line of JSON."""
        assert self.code == 0, self.stderr
        found: dict[str, Any] = json.loads(self.stdout)
        return found


class Room:
    """Runs commands of `cards` against one Hub.

    Attributes:
        hub: on loopback.
        home: of huggingface_hub, and where it logs.
    """

    def __init__(self, hub: WritableHub, home: Path, worker: subprocess.Popen[str]) -> None:
        self.hub = hub
        self.home = home
        self._worker = worker

    def __call__(self, *words: object, token: str | None = ME) -> Ended:
        """Runs one command; fails where a token is in what it wrote."""
        assert self._worker.stdin
        assert self._worker.stdout
        self._worker.stdin.write(json.dumps({"words": [str(word) for word in words], "token": token}) + "\n")
        self._worker.stdin.flush()
        ended = Ended(**json.loads(self._worker.stdout.readline()))
        assert not any(secret in ended.stdout + ended.stderr for secret in USERS)
        assert "Traceback" not in ended.stderr
        return ended

    def leaks(self) -> list[Path]:
        """Files of the home and the log in which a token stands."""
        files = [path for path in self.home.rglob("*") if path.is_file()]
        return [path for path in files if any(secret.encode() in path.read_bytes() for secret in USERS)]


def environment(hub: WritableHub, home: Path) -> dict[str, str]:
    """Of a process that asks that Hub, without a token."""
    quiet = {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_OFFLINE": "0"}
    return {**os.environ, **quiet, "HF_ENDPOINT": hub.url, "HF_HOME": str(home)}


@contextmanager
def open_room(home: Path) -> Iterator[Room]:
    """A Hub, and a process that runs commands against it."""
    home.mkdir(parents=True, exist_ok=True)
    with WritableHub().running() as hub, (home / "stderr.log").open("w") as log:
        worker = subprocess.Popen(
            [sys.executable, "-c", _WORKER],
            cwd=ROOT,
            env=environment(hub, home),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        with worker:
            yield Room(hub, home, worker)
            assert worker.stdin
            worker.stdin.close()
