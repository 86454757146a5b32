"""One process at a time where something is read and written anew."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cards.versions import ROOT

_COUNTS = """
import sys, time
from contextlib import nullcontext
from pathlib import Path
from cards.alone import alone
path = Path(sys.argv[1])
path.with_name(f"begun {sys.argv[3]}").touch()
while len(list(path.parent.glob("begun*"))) < 2:
    time.sleep(0.001)
for _ in range(20):
    with alone(path) if sys.argv[2] == "alone" else nullcontext():
        number = int(path.read_text()) if path.exists() else 0
        time.sleep(0.005)
        path.write_text(str(number + 1))
"""


@pytest.mark.parametrize("how", ["alone", "together"])
def test_what_two_processes_count_is_lost_only_without(how: str, tmp_path: Path) -> None:
    path = tmp_path / "new" / "count"
    path.parent.mkdir()
    command = [sys.executable, "-c", _COUNTS, str(path), how]
    both = [subprocess.Popen([*command, name], cwd=ROOT, stderr=subprocess.DEVNULL) for name in "ab"]
    ended = [process.wait(60) for process in both]
    assert (ended == [0, 0] and path.read_text() == "40") == (how == "alone")
