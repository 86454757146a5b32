"""Versions of what is released, read from the files that hold them: code, data, metrics, judge.

A card's room imports no other, so the constants are read as text.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from cards.reading import CardError

ROOT = Path(__file__).parents[1]
METRICS = ("attack_success_rate", "over_refusal", "pair_accuracy", "paired_rates", "judge_agreement")
RATED_BY = METRICS[:3]
"""The modules that the rates of a report are counted by."""


def versions_of(root: Path = ROOT) -> dict[str, str]:
    """Every version of a checkout.

    Args:
        root: its folder.

    Returns:
        "code", "data", "judge" and the name of each metric -> version.

    Raises:
        CardError: a file that holds one is missing, or says none.
    """
    return {
        "code": _code(root / "pyproject.toml"),
        "data": constant(root / "mis_dataset" / "schema.py", "DATA_VERSION"),
        **{name: constant(root / "cards" / name / f"{name}.py", "METRIC_VERSION") for name in METRICS},
        "judge": constant(root / "trainer" / "judges" / "base.py", "JUDGE_VERSION"),
    }


def constant(path: Path, name: str) -> str:
    """A version that a file of Python sets.

    Raises:
        CardError: there is no such file, or it sets none of this name.
    """
    found = re.search(rf'^{name} = "([^"\n]+)"$', _text(path), flags=re.MULTILINE)
    if found is None:
        raise CardError(f'{path}: no line {name} = "..."')
    return found[1]


def changelog_lines(versions: dict[str, str]) -> list[str]:
    """The lines that stand at the head of a version's section of CHANGELOG.md.

    Args:
        versions: as `versions_of` gives them.
    """
    metrics = ", ".join(f"{name} `{versions[name]}`" for name in METRICS)
    return [
        f"- Code: `{versions['code']}`",
        f"- Data (`DATA_VERSION`): `{versions['data']}`",
        f"- Metrics (`METRIC_VERSION`): {metrics}",
        f"- Judge (`JUDGE_VERSION`): `{versions['judge']}`",
    ]


def section_of(changelog: str, version: str) -> list[str] | None:
    """Lines of a version's section of CHANGELOG.md, its heading first; None where it has none."""
    found = re.search(rf"^## {re.escape(version)}(?![\w.]).*?(?=^## |\Z)", changelog, flags=re.MULTILINE | re.DOTALL)
    return found[0].splitlines() if found else None


def _code(path: Path) -> str:
    try:
        return str(tomllib.loads(_text(path))["project"]["version"])
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise CardError(f"{path}: says no project.version ({error})") from error


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CardError(f"{path}: cannot be read ({type(error).__name__}); run this from the checkout") from error
