"""The whole of publication: a run is packed, everything is pushed to a Hub on loopback, and all of it loads back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cards.kinds import RELEASE
from tests.hub_room import open_room
from trainer.__main__ import main

pytestmark = pytest.mark.slow


def test_a_run_is_packed_pushed_and_loads_back(tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    assert main(["reproduce", str(run), "--smoke"]) == 0
    with open_room(tmp_path / "home") as room:
        assert room("pack", run, out, "--owner", "me").told["owner"] == "me"
        release = json.loads((out / RELEASE).read_text())
        repos = [one["repo"] for one in release["folders"].values()]
        pushed = room("push", out, "me", "--yes").told["repositories"]
        assert [one["repo"] for one in pushed] == repos
        assert all(one["uploaded"] == one["files"] > 0 for one in pushed)
        found = {repo: room("verify", repo).told for repo in repos}
        assert [repo for repo, told in found.items() if not told["passed"]] == []
        again = room("push", out, "me", "--yes").told["repositories"]
        assert [(one["uploaded"], one["commits"]) for one in again] == [(0, 0)] * len(repos)
        assert room.leaks() == []
