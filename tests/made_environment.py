"""An environment for a framework that lives beside ours: its packages above those that are here."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path


def environment(folder: Path, packages: Sequence[str], without_dependencies: Sequence[str] = ()) -> Path:
    """Makes an environment.

    Torch and all else that is installed here is seen from there, not installed again; a package whose version does not
    fit is installed above it.

    Args:
        folder: of the new environment.
        packages: to install, with what they need.
        without_dependencies: to install alone.

    Returns:
        Its interpreter.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    [site_packages] = (folder / "lib").glob("python*/site-packages")
    (site_packages / "below.pth").write_text(sysconfig.get_path("purelib") + "\n", "utf-8")
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-compile"]
    subprocess.run([*install, *packages], check=True)
    if without_dependencies:
        subprocess.run([*install, "--no-deps", *without_dependencies], check=True)
    return python
