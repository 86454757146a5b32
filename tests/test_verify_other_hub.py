"""What was pushed, served by a Hub that somebody else made (olah), loads as it does from ours."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.hub_room import ROOT, environment, open_room
from tests.made_environment import environment as make_environment
from tests.test_verify_published import published_dataset
from tests.tiny import Tiny

pytestmark = pytest.mark.slow
_OLAH = "olah==0.5.4"
_SETTINGS = """
[basic]
host = "127.0.0.1"
port = {port}
repos-path = "{folder}/repos"
hf-scheme = "http"
hf-netloc = "127.0.0.1:9"
hf-lfs-netloc = "127.0.0.1:9"
mirror-scheme = "http"
mirror-netloc = "127.0.0.1:{port}"
mirrors-path = ["{folder}/mirrors"]

[accessibility]
offline = true
"""


@contextmanager
def olah(folder: Path) -> Iterator[str]:
    """Serves what lies as git repositories under `mirrors`; gives its address."""
    try:
        python = make_environment(folder / "venv", [_OLAH])
    except subprocess.CalledProcessError:
        pytest.skip(f"pip cannot fetch {_OLAH}")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "olah.toml").write_text(_SETTINGS.format(port=port, folder=folder))
    command = [str(python.with_name("olah-cli")), "-c", str(folder / "olah.toml")]
    with (folder / "olah.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=log, env=os.environ | {"HF_HUB_OFFLINE": "0"}
        )
        try:
            url = f"http://127.0.0.1:{port}"
            wait_for(url, folder / "olah.log")
            yield url
        finally:
            process.terminate()
            process.wait(30)


def wait_for(url: str, log: Path) -> None:
    """Waits until something answers there."""
    for _ in range(240):
        try:
            urllib.request.urlopen(url, timeout=5)
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.5)
        else:
            return
    raise AssertionError(log.read_text())


def test_a_dataset_loads_from_a_hub_of_somebody_else(tiny: Tiny, tmp_path: Path) -> None:
    folder = published_dataset(tiny, tmp_path / "MIS")
    with open_room(tmp_path / "room") as room:
        room("push", folder, "me/MIS", "--yes")
        room.hub.dataset("me/MIS").export(tmp_path / "mirrors" / "datasets" / "me" / "MIS")
        settings = environment(room.hub, tmp_path / "home")
    with olah(tmp_path) as url:
        ended = subprocess.run(
            [sys.executable, "-m", "cards", "verify", "me/MIS", "--type", "dataset"],
            cwd=ROOT,
            env=settings | {"HF_ENDPOINT": url},
            capture_output=True,
            text=True,
        )
        request = urllib.request.Request(f"{url}/datasets/me/MIS/resolve/main/NOTICE", headers={"Range": "bytes=0-3"})
        with urllib.request.urlopen(request, timeout=30) as reply:
            whole = (reply.status, len(reply.read()))
    # olah 0.5.4 sends the whole file where a part of one of its own was asked for, so what reads parts cannot read it.
    assert whole == (200, 15)
    told = json.loads(ended.stdout)
    rows = json.loads((folder / "MANIFEST.json").read_text())["rows"]
    assert told["loaded"] == {"whole": {"rows": rows, "pictures": 2 * len(rows)}}
    assert [problem.split(":")[0] for problem in told["problems"]] == ["does not load (streamed)"]
