"""A git checkout with one recipe, pushed to an origin that only tests can reach by its address."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import NamedTuple

URL = "https://example.org/mis.git"


class Checkout(NamedTuple):
    """A checkout.

    Attributes:
        folder: where it lies.
        env: the environment in which git finds its origin at `URL`.
    """

    folder: Path
    env: dict[str, str]

    def git(self, *words: str) -> str:
        """What git says."""
        command = ["git", "-C", str(self.folder), *words]
        return subprocess.run(command, env=self.env, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, push: bool = True) -> str:
        """Commits all files; returns the commit."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "made by a test")
        if push:
            self.git("push", "--quiet", "origin", "HEAD:main")
        return self.git("rev-parse", "HEAD")

    def write(self, name: str, text: str) -> Path:
        """Writes a file."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        return path


def make_checkout(folder: Path, files: dict[str, str]) -> Checkout:
    """A checkout with these files, committed and pushed."""
    origin = folder / "origin.git"
    names = {f"GIT_{role}_{what}": "made@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    elsewhere = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.{origin}.insteadOf", "GIT_CONFIG_VALUE_0": URL}
    alone = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    made = Checkout(folder / "checkout", {**os.environ, **names, **elsewhere, **alone})
    made.folder.mkdir(parents=True)
    subprocess.run(
        ["git", "init", "--quiet", "--bare", "--initial-branch", "main", str(origin)], env=made.env, check=True
    )
    made.git("init", "--quiet", "--initial-branch", "main")
    made.git("remote", "add", "origin", URL)
    for name, text in files.items():
        made.write(name, text)
    made.commit()
    return made
