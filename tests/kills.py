"""Runs of the trainer in processes of their own, for tests that kill them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_PATIENCE = 0.002
"""Seconds between two looks at what a run has written."""


class Run:
    """`python -m trainer`, or what else stands before its words, running; `stdout` and `stderr` when it has ended.

    Args:
        words: of the verb.
        before: the command, without Python.
    """

    def __init__(self, words: Sequence[object], before: Sequence[str] = ("-m", "trainer")) -> None:
        command = [sys.executable, *before, *map(str, words)]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": "."},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.stdout = self.stderr = ""

    def end(self) -> int:
        """Waits; returns the exit code."""
        self.stdout, self.stderr = self.process.communicate(timeout=300)
        return self.process.returncode

    def kill_when(self, due: Callable[[], bool], victim: Callable[[], int] | None = None) -> int:
        """Kills the run, or one process in it, as soon as something is so; returns the exit code."""
        while not due():
            assert self.process.poll() is None, f"ended before it could be killed: {self.end()} {self.stderr}"
            time.sleep(_PATIENCE)
        os.kill(victim() if victim else self.process.pid, signal.SIGKILL)
        return self.end()

    def ranks(self) -> dict[int, int]:
        """Of a launcher: number of a process -> its id."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        named = {child: Path(f"/proc/{child}/environ").read_bytes().split(b"\0") for child in children}
        return {int(word[5:]): int(pid) for pid, words in named.items() for word in words if word.startswith(b"RANK=")}


def steps(arm: Path) -> list[int]:
    """After which steps whole checkpoints of an arm were written, those that are still there."""
    return sorted(int(path.parent.name.split("-")[1]) for path in arm.glob("checkpoints/*/trainer_state.json"))


def is_writing(arm: Path, after: int) -> bool:
    """Whether a checkpoint of a later step is begun and not yet whole."""
    begun = [path for path in arm.glob("checkpoints/checkpoint-*") if int(path.name.split("-")[1]) > after]
    return any(not (path / "trainer_state.json").exists() for path in begun)
